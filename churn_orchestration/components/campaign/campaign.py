"""A campaign -> actions/x, whom to contact with what, by day; monitoring/x_effect, what came of
it.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import dagster as dg
import duckdb
from pydantic import Field, PrivateAttr, field_validator, model_validator

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, BusinessError, digest, line_of
from churn_orchestration.churn.campaign import declared
from churn_orchestration.churn.campaign.rows import readable
from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.churn.question.labels import EVENT, STATIC
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, fault_message
from churn_orchestration.churn.rows.user_sql import parsed
from churn_orchestration.churn.value.question import SpendQuestion
from churn_orchestration.components.campaign.campaign_specs import (
    NAME,
    ActionSpec,
    CapSpec,
    OwnerSpec,
)
from churn_orchestration.components.campaign.effects import COLUMNS as EFFECT_COLUMNS
from churn_orchestration.components.campaign.effects import ORDER, Measured, course, effects
from churn_orchestration.components.campaign.estimates import COLUMNS as UPLIFT_COLUMNS
from churn_orchestration.components.campaign.estimates import ORDER as UPLIFT_ORDER
from churn_orchestration.components.campaign.estimates import Estimates
from churn_orchestration.components.campaign.lists import COLUMNS, LEARNED_COLUMNS, store_list
from churn_orchestration.components.campaign.outreach import (
    fault_of_log,
    left_alone,
    numbers,
    priorities,
)
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.features.proof import require_proved
from churn_orchestration.components.question.churn_model import ChurnModel
from churn_orchestration.components.question.day_rows import described, put_rows
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.segments.axes import Axes
from churn_orchestration.components.segments.segments import Segments, refuse_unknown_columns
from churn_orchestration.components.shown import keys
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.source.sql_tables import sql_tables_of
from churn_orchestration.components.sql_tables import keys_in
from churn_orchestration.components.value.value_model import ValueModel
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.warehouse import Tables

OF_TRIAL = {
    "arm", "treated", "touched", "outcome", "matured", "control_share", "question", "is_graded",
    "spent", "contact_days", "value", "value_low", "value_high", "as_of", "low", "high",
    "best_action",
}  # fmt: skip
"""Columns beside which the effect's rows have the sets of segments."""
LOG_IS_READ, LEFT_ALONE, NO_HARM = "outreach_is_known", "control_is_left_alone", "does_no_harm"


@dg.scaffold_with(
    example(
        churn="churn_90d",
        value=50,
        actions=[
            {
                "name": "call", "channel": "phone", "owner": "team:success", "cost": 5,
                "capacity_per_day": 20, "when": "band in ('high', 'critical')",
                "effect": {"low": 0.05, "high": 0.25}, "deadline_days": 3,
            }
        ],
    )
)  # fmt: skip
class Campaign(dg.Component, dg.Model, dg.Resolvable):
    """Whom to contact with what, day by day, beside a control that is held back by lot."""

    name: str = Field(
        pattern=NAME, description="the table's name in actions, and that in the outreach log"
    )
    description: str = Field("", description="shown in the UI")
    churn: str = Field(pattern=NAME, description="the churn question on whose forecasts it acts")
    value: str | float = Field(
        description="a value model, or one amount: what a customer is worth who is kept"
    )
    segments: list[str] = Field(
        [], description="sets of segments whose names `when` may read, and by which it is measured"
    )
    control: float = Field(
        0.1, gt=0, lt=1, description="share of the customers that is held back by lot"
    )
    budget: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="money of a day at most"
    )
    cautious: bool = Field(
        False, description="true: an action has to pay at the low end of its effect, too"
    )
    uplift: bool = Field(
        False,
        description="true: once outcomes of both arms say on whom an action works, lists use that "
        "in place of its `effect`; until then, and where it could be chance, the declared one",
    )
    begins: str | None = Field(
        None,
        description="the first as_of on whose list somebody acts: before it nobody is on a list or "
        "in the trial; for a campaign of a business that already has forecasts. Default: the first",
    )
    contacts: CapSpec | None = Field(
        None, description="how often a customer is contacted at most, over all campaigns of the log"
    )
    outreach: str | None = Field(
        None,
        pattern=r"^(bronze|silver)\.[a-z][a-z0-9_]*$",
        description="layer.table of what was really done: a row per contact with the entity, "
        "`campaign`, `action`, and day and known_on as every source",
    )
    owners: list[OwnerSpec] = Field(
        [],
        description="who has only so many hours of a day; each of their actions says its `minutes`",
    )
    actions: list[ActionSpec] = Field(min_length=1, description="what may be done")
    _place: Path = PrivateAttr(default=Path())

    @field_validator("value")
    @classmethod
    def _is_worth_something(cls, value: str | float) -> str | float:
        if not isinstance(value, str) and not 0 < value < float("inf"):
            raise ValueError(f"{value:g}: wanted an amount above 0, or the name of a value model")
        return value

    @field_validator("begins")
    @classmethod
    def _is_a_day(cls, begins: str | None) -> str | None:
        try:
            return begins and str(dt.date.fromisoformat(begins))
        except ValueError:
            raise ValueError(f"begins: {begins} is no day such as 2024-05-01") from None

    @model_validator(mode="after")
    def _consistent(self) -> "Campaign":
        names = [action.name for action in self.actions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: two actions are called {twice[0]}")
        for action in self.actions:
            parsed(action.when, f"{self.name}: {action.name}: when")
        if self.outreach is None:
            counted = ["contacts"] if self.contacts else []
            counted += [
                f"{action.name}: {field}"
                for action in self.actions
                for field in ("cool_down_days", "capacity_per_week")
                if getattr(action, field) is not None
            ]
            if counted:
                raise ValueError(
                    f"{self.name}: {counted[0]} counts contacts that were made, and no list says "
                    "that it was acted on: name the table of them, `outreach`"
                )
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the YAML that declares it."""
        loaded = super().load(attributes, context)
        loaded._place = Path(context.path) / "defs.yaml"
        return loaded

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets actions/x and monitoring/x_effect."""
        business, tree = Business.holding(context.path), context.component_tree
        questions = {each.name: each for each in tree.get_all_components(of_type=ChurnModel)}
        question = self._named(questions, self.churn, "churn")
        if question.kind == STATIC:
            self._refuse(f"churn: {self.churn} is static: nobody is left to leave, so to be kept")
        if question.kind == EVENT and question.gap_days:
            self._refuse(
                f"churn: {self.churn} has gap_days: who leaves within the gap has no outcome, and "
                "a contact works there too: name a question without it"
            )
        [table] = [
            each for each in tree.get_all_components(of_type=FeatureTable)
            if each.name == question.features
        ]  # fmt: skip
        if self.uplift and table.keep_days is not None:
            self._refuse(
                f"uplift learns from the features of the day on which a customer entered, and "
                f"{table.name} drops those of old days: remove its keep_days"
            )
        plan = self.plan(business, tree, table.entity)
        spend = self._spend(tree, table, business.settings.timezone)
        self._require_time()
        segments = self._segments(tree, table.name)
        self._require_columns(plan)
        peers = [
            each.name for each in tree.get_all_components(of_type=Campaign)
            if each.outreach == self.outreach
        ]  # fmt: skip
        estimates = self._estimates(plan, table, tree, business) if self.uplift else None
        assets = [
            self._lists(business, plan, table.name, peers, estimates).asset(),
            self._effect(business, plan, table.name, segments, question.settle_days, spend).asset(),
        ]
        if estimates:
            assets.append(self._learned(business, plan, table.name, estimates).asset())
        return dg.Definitions(assets=assets)

    def plan(self, business: Business, tree: dg.ComponentTree, entity: str) -> declared.Campaign:
        """What it declares, in the words of ``churn.campaign``."""
        return declared.Campaign(
            self.name, entity, self.churn, self.value, tuple(self.segments), self.control,
            business.name, self.budget, self.cautious,
            declared.Cap(self.contacts.most, self.contacts.days) if self.contacts else None,
            self._log(business, tree, entity),
            tuple(action.action() for action in self.actions),
            dt.date.fromisoformat(self.begins) if self.begins else None,
            tuple((owner.name, owner.hours_per_day) for owner in self.owners), self.uplift,
        )  # fmt: skip

    def _require_time(self) -> None:
        """Refuse hours that nothing is counted against, and minutes that nobody counts."""
        names = [owner.name for owner in self.owners]
        for owner in self.owners:
            if names.count(owner.name) > 1:
                self._refuse("is there twice among owners", owner.name)
            if not (mine := [each for each in self.actions if each.owner == owner.name]):
                others = ", ".join(sorted({each.owner for each in self.actions}))
                self._refuse(f"owns no action: those are of {others}", owner.name)
            for action in mine:
                if action.minutes is None:
                    self._refuse(
                        f"{owner.name} has hours_per_day: give the `minutes` that a contact takes",
                        action.name,
                    )
                elif action.minutes > 60 * owner.hours_per_day:
                    self._refuse(
                        f"minutes {action.minutes:g} are more than the {owner.hours_per_day:g} "
                        f"hours of {owner.name}: nobody would ever be contacted by it",
                        action.name,
                    )
        for action in self.actions:
            if action.minutes is not None and action.owner not in names:
                self._refuse(
                    f"minutes are counted by nobody: give {action.owner} `hours_per_day` in owners",
                    action.name,
                )

    def _refuse(self, words: str, *block: str) -> None:
        place = line_of(self._place, self.name, *block)
        raise BusinessError(f"{place}: {': '.join((self.name, *block))}: {words}")

    def _named(self, those: Mapping[str, Any], name: str, key: str) -> Any:
        if name not in those:
            self._refuse(f"{key}: there is no {name} ({', '.join(those) or 'none at all'})")
        return those[name]

    def _log(self, business: Business, tree: dg.ComponentTree, entity: str) -> EventSource | None:
        """The outreach log. Raises BusinessError: there is none, or it lacks a column."""
        if self.outreach is None:
            return None
        there: dict[str, Any] = {
            f"bronze.{source.name}": [column.name for column in source.bronze_columns()]
            for source in tree.get_all_components(of_type=SourceTable)
        }
        there |= {name: select.columns for name, select in sql_tables_of(business).items()}
        has = self._named(there, self.outreach, "outreach")
        wanted = (entity, declared.CAMPAIGN, declared.ACTION, "day")
        if has and (missing := [name for name in wanted if name not in has]):  # not known of a star
            self._refuse(
                f'outreach: {self.outreach} has no column "{missing[0]}" ({", ".join(has)}): '
                "let a .sql of silver name it so"
            )
        key = tuple(keys_in(tree).get(self.outreach, ()))
        return EventSource("outreach", self.outreach, entity, "contact", key)

    def _spend(
        self, tree: dg.ComponentTree, table: FeatureTable, timezone: str
    ) -> SpendQuestion | None:
        """The question of the value model; None: every customer is worth the same."""
        if not isinstance(self.value, str):
            return None
        models = {each.name: each for each in tree.get_all_components(of_type=ValueModel)}
        model = self._named(models, self.value, "value")
        if model.features != table.name:
            self._refuse(
                f"value: {self.value} forecasts those of {model.features}, not of {table.name}"
            )
        return model.question(table, timezone)

    def _segments(self, tree: dg.ComponentTree, features: str) -> dict[str, int]:
        """How many segments each set that is read declares; clusters are declared by none.

        Raises
        ------
        BusinessError : there is no such set, or it has other customers
        """
        sets: dict[str, Segments | Axes] = {
            each.name: each for each in tree.get_all_components(of_type=Segments)
        }
        for axes in tree.get_all_components(of_type=Axes):
            sets |= dict.fromkeys(axes.sets, axes)
        for name in self.segments:
            if self._named(sets, name, "segments").features != features:
                self._refuse(f"segments: {name} has no customers of {features}")
        return {
            name: len(each.segments) + 1
            for name in self.segments
            if isinstance(each := sets[name], Segments)
        }

    def _require_columns(self, plan: declared.Campaign) -> None:
        """Refuse a condition that reads what is no column of a customer's row."""
        known = readable(plan)
        if taken := [name for name in self.segments if name in OF_TRIAL]:
            self._refuse(
                f"segments: {taken[0]} is a column of the effect's table: give the set another name"
            )
        if twice := [name for name in self.segments if known.count(name) > 1]:
            self._refuse(f"segments: {twice[0]} is a column of the forecast too, or there twice")
        for action in self.actions:
            place = line_of(self._place, self.name, action.name)
            refuse_unknown_columns(action.when, known, f"{place}: {self.name}: {action.name}: when")

    def _estimates(
        self,
        plan: declared.Campaign,
        table: FeatureTable,
        tree: dg.ComponentTree,
        business: Business,
    ) -> Callable[[Tables], Estimates]:
        """From the tables to what the campaign has learned."""
        pipeline, features = table.pipeline(tree, business), f"gold.{table.name}"

        def estimates(tables: Tables) -> Estimates:
            def prove(day: dt.date) -> None:
                require_proved(tables, pipeline, features, day)

            return Estimates(tables, plan, features, _version_learned(plan), prove)

        return estimates

    def _learned(
        self,
        business: Business,
        plan: declared.Campaign,
        features: str,
        estimates: Callable[[Tables], Estimates],
    ) -> DayTable:
        def store(tables: Tables, days: list[dt.date]) -> Stored:
            kept = estimates(tables)
            rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
            for day in days:
                said = kept.rows(day)
                rows[day] = put_rows(
                    tables, plan.uplift_table, day, said, UPLIFT_COLUMNS, UPLIFT_ORDER
                )
                about[day] = {
                    f"{row['action']}_{name}": row[name]
                    for row in said
                    for name in ("verdict", "qini", "qini_low", "qini_high")
                    if row.get(name) is not None
                }
            return Stored(rows=rows, metadata=about)

        return DayTable(
            business=business,
            table=plan.uplift_table,
            says="One row per action, from the first month-end on: what was learned of its effect "
            "on each customer, whether that ranks them better than chance, and so whether the "
            "day's list uses it.",
            about=self.description,
            like=f"gold.{features}",
            columns=described(UPLIFT_COLUMNS),
            version=_version_learned(plan),
            upstream=[plan.table, plan.grades],
            store=store,
        )

    def _lists(
        self,
        business: Business,
        plan: declared.Campaign,
        features: str,
        peers: list[str],
        estimates: Callable[[Tables], Estimates] | None,
    ) -> DayTable:
        depends = [plan, _version_learned(plan)] if estimates else [plan]
        columns = {**COLUMNS, **(LEARNED_COLUMNS if estimates else {})}
        checks = {}
        if plan.outreach:
            checks = {
                LOG_IS_READ: "Every contact of the outreach log is of a declared campaign, of one "
                "of its actions, and of a customer of the day; others are named.",
                LEFT_ALONE: "Nobody of the control was contacted. Who was counts as control all "
                "the same, and the effect looks smaller.",
            }
        return DayTable(
            business=business,
            table=plan.table,
            says=f"One row per {plan.entity} with a forecast of {self.churn}, and as_of: the list "
            "to act on from the next day on, and why nobody contacts the others. Once a later "
            "day's is stored it is issued and stays as it is.",
            about=self.description,
            like=f"gold.{features}",
            columns=[*keys(plan.entity), *described(columns)],
            version=stages.version(digest(*depends), stages.ACTIONS),
            upstream=self._reads(plan, features),
            store=partial(self._store, plan, features, peers, estimates),
            faults=partial(self._faults, plan),
            checks=checks,
        )

    def _reads(self, plan: declared.Campaign, features: str) -> list[str]:
        return [
            f"gold.{features}", plan.forecasts, *([plan.values] if plan.values else []),
            *(f"segments.{name}" for name in plan.segments),
            *([plan.outreach.table] if plan.outreach else []),
            *([plan.grades] if plan.uplift else []),
        ]  # fmt: skip

    def _faults(
        self, plan: declared.Campaign, tables: Tables, days: list[dt.date]
    ) -> dict[dt.date, Refusal]:
        """The days without a forecast, which somebody waived."""
        reads = [plan.forecasts, *([plan.values] if plan.values else [])]
        reads += [f"segments.{name}" for name in plan.segments]
        return {
            day: f"{table} has no rows of {day}"
            for table in reversed(reads)
            for day in days
            if tables.recorded_file(table, day) is None
        }

    def _store(
        self, plan: declared.Campaign, features: str, peers: list[str],
        estimates: Callable[[Tables], Estimates] | None, tables: Tables, days: list[dt.date],
    ) -> Stored:  # fmt: skip
        learned = estimates(tables) if estimates else None
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            try:
                rows[day] = store_list(tables, plan, day, learned)
            except (duckdb.BinderException, *DATA_FAULTS) as error:
                place = line_of(self._place, self.name)
                raise BusinessError(f"{place}: {self.name}: {fault_message(error)}") from None
            about[day] = numbers(tables, plan, day)
        checks = []
        if plan.outreach and days:
            customers = f"gold.{features}"
            unknown = fault_of_log(tables, plan, peers, customers, max(days))
            checks = [_warning(LOG_IS_READ, unknown)]
            checks.append(_warning(LEFT_ALONE, left_alone(tables, plan, max(days))))
        drawn = {"picture_list": self._picture(tables, plan, max(days))} if days else {}
        return Stored(rows=rows, metadata=about, pictures=drawn, checks=checks)

    def _picture(self, tables: Tables, plan: declared.Campaign, day: dt.date) -> str | None:
        contacted, waiting = priorities(tables, plan, day)
        return pictures.listed(self.name, day, contacted, waiting)

    def _effect(
        self,
        business: Business,
        plan: declared.Campaign,
        features: str,
        segments: Mapping[str, int],
        settle_days: int,
        spend: SpendQuestion | None,
    ) -> DayTable:
        upstream = [plan.table, f"monitoring.{self.churn}_graded"]
        upstream += [f"segments.{name}" for name in plan.segments]
        measured = (
            plan.name,
            plan.question,
            plan.entity,
            plan.segments,
            plan.control,
            plan.outreach,
            settle_days,
            segments,
        )
        version = stages.version(digest(*measured, spend), stages.EFFECT)
        landed = [spend.activity.table] if spend else []
        landed += [plan.outreach.table] if plan.outreach else []
        return DayTable(
            business=business,
            table=plan.effect_table,
            says="One row per outcome, and per segment of the sets that are read: what the "
            "campaign has done so far. Customers count in the arm of their lot from the first day "
            "on which an action would have paid, contacted or not, once their outcome is known.",
            about=self.description,
            like=f"gold.{features}",
            columns=described(EFFECT_COLUMNS),
            version=version,
            upstream=[*upstream, *dict.fromkeys(landed)],
            store=partial(
                self._store_effect, plan, Measured(version, settle_days, segments, spend)
            ),
            checks={
                NO_HARM: "No outcome of all customers is known to be worse than the control's."
            },
        )

    def _store_effect(
        self, plan: declared.Campaign, by: Measured, tables: Tables, days: list[dt.date]
    ) -> Stored:
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        harmful = None
        for day in days:
            measured = effects(tables, plan, by, day)
            rows[day] = put_rows(tables, plan.effect_table, day, measured, EFFECT_COLUMNS, ORDER)
            whole = {row["outcome"]: row for row in measured if row["segments"] is None}
            about[day] = {
                f"{outcome}_{name}": row[name]
                for outcome, row in whole.items()
                for name in ("effect", "low", "high", "verdict", "treated", "control", "waiting")
                if row[name] is not None
            }
            harmful = "; ".join(_harm(row) for row in whole.values() if row["verdict"] == "harms")
        drawn = {}
        if days:
            drawn = {"picture_effect": pictures.effect(self.name, course(tables, plan, max(days)))}
        checks = [_warning(NO_HARM, harmful)] if days else []
        return Stored(rows=rows, metadata=about, pictures=drawn, checks=checks)


def _version_learned(plan: declared.Campaign) -> str:
    """What is learned of a campaign depends on this, besides the rows."""
    actions = [action.name for action in plan.actions]
    read = (plan.name, plan.question, plan.entity, plan.control, actions)
    return stages.version(digest(*read), stages.UPLIFT)


def _warning(name: str, message: str | None) -> dg.AssetCheckResult:
    """The result of a check that fails where there is something to say."""
    return dg.AssetCheckResult(
        check_name=name, passed=not message, severity=dg.AssetCheckSeverity.WARN,
        description=message or None,
    )  # fmt: skip


def _harm(row: Mapping[str, Any]) -> str:
    """In words."""
    by = f"by {-row['effect']:.3g} (95 % interval {-row['high']:.3g} to {-row['low']:.3g})"
    more = "more of the treated leave" if row["outcome"] == "leaves" else "the treated spend less"
    return f"{more}, {by}: stop it, or change what it does"
