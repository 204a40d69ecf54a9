"""What the platform itself recommends -> monitoring/recommendations, by day."""

import datetime as dt
from dataclasses import asdict
from functools import partial
from pathlib import Path

import dagster as dg
from pydantic import Field

from churn_orchestration import stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.components.campaign.campaign import Campaign
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.question.churn_model import questions_in
from churn_orchestration.components.question.day_rows import described, put_rows
from churn_orchestration.components.recommendations.rules import (
    COLUMNS,
    ORDER,
    TABLE,
    Declared,
    Horizons,
    effects,
    lists,
    of_day,
)
from churn_orchestration.components.scaffolding import example
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables


@dg.scaffold_with(example(named=False, weeks=4))
class Recommendations(dg.Component, dg.Model, dg.Resolvable):
    """What the platform itself would change: features, horizon, capacity, campaigns, models."""

    weeks: int = Field(
        4,
        ge=1,
        description="how long one more contact, or unit of money, has to earn more than it costs "
        "before more room is recommended, and a table has no event before it is recommended to "
        "take its features out",
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset monitoring/recommendations."""
        business, tree = Business.holding(context.path), context.component_tree
        place = Path(context.path) / "defs.yaml"
        if len(tree.get_all_components(of_type=Recommendations)) > 1:
            raise BusinessError(
                f"{place}: there are two Recommendations blocks; one is for all: take one out"
            )
        campaigns = tree.get_all_components(of_type=Campaign)
        questions = list(questions_in(tree, business).values())
        features = tree.get_all_components(of_type=FeatureTable)
        if not features:
            raise BusinessError(
                f"{place}: there is no FeatureTable: nothing to recommend about; declare one"
            )
        declared = Declared(
            {f"gold.{t.name}": t.declared(business.settings.timezone) for t in features},
            questions,
            {each.name: each.outreach is not None for each in campaigns},
            self.weeks,
        )
        return dg.Definitions(assets=[self._table(business, declared).asset()])

    def _table(self, business: Business, declared: Declared) -> DayTable:
        moving = [each.store for each in declared.questions if each.question.kind != STATIC]
        upstream = [*declared.features]
        upstream += [
            t for store in moving for t in (store.forecasts, store.performance, store.drift)
        ]
        upstream += [lists(name) for name in declared.campaigns]
        upstream += [effects(name) for name in declared.campaigns]
        about = [*declared.features, *(q.name for q in declared.questions), *declared.campaigns]
        landed = {
            table
            for each in declared.features.values()
            for source in each.inputs
            for table in source.reads
        }
        return DayTable(
            business=business,
            table=TABLE,
            says="One row per change that the day speaks for. `churn recommendations` lists them, "
            "with what was decided on each and what came of it.",
            about="Recommended from what was known at the end of the day.",
            like=next(iter(declared.features)),
            columns=described(COLUMNS),
            version=stages.version(digest(self.weeks, *about), stages.RECOMMENDATIONS),
            upstream=[*upstream, *sorted(landed)],
            store=partial(_store, business, declared),
        )


def _store(business: Business, declared: Declared, tables: Tables, days: list[dt.date]) -> Stored:
    hashed, horizons, rows = business.files_hash(), Horizons(), dict[dt.date, int]()
    for day in days:
        made = [
            asdict(each) | {"declared": hashed, MEASURED_ON: day}
            for each in of_day(tables, declared, day, horizons)
        ]
        rows[day] = put_rows(tables, TABLE, day, made, COLUMNS, ORDER)
    return Stored(rows=rows, metadata={})
