"""Everything Dagster loads: the components of one business, its resources, jobs, schedule and
sensors.
"""

import warnings
from collections import Counter

import dagster as dg

from churn_orchestration.automation.alerts import alert_sensor
from churn_orchestration.automation.jobs import automation
from churn_orchestration.automation.retraining import sensors
from churn_orchestration.automation.rollback import roll_back_job
from churn_orchestration.business import Business, BusinessError, lines_named
from churn_orchestration.components.question.churn_model import questions_in
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.tree import component_tree
from churn_orchestration.report.weekly_digest import digest_sensor
from churn_orchestration.storage.resources import bring_up_to_date, resources


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the business that CHURN_BUSINESS names."""
    business = Business.current()
    bring_up_to_date(business)
    return definitions_of(business)


def definitions_of(business: Business, loaded: dg.ComponentTree | None = None) -> dg.Definitions:
    """The definitions of a business, wherever its folder lies; ``loaded``: its components, if they
    are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", dg.BetaWarning
        )  # about 40 of them a load, most of Dagster's own making
        tree = loaded or component_tree(business)
        result, sources = tree.build_defs(), tree.get_all_components(of_type=SourceTable)
        bound = dg.Definitions(resources=resources(business))
        _refuse_two_of_a_name(business, result)
        _refuse_unknown_upstreams(result)
        questions = questions_in(tree, business)
        settings = questions.values()
        acting = dg.Definitions(
            jobs=[roll_back_job(questions)],
            sensors=[
                *sensors(business, settings),
                alert_sensor(business, settings),
                digest_sensor(business),
            ],
        )
        return dg.Definitions.merge(result, automation(business, sources), acting, bound)


def _refuse_two_of_a_name(business: Business, result: dg.Definitions) -> None:
    """Two blocks of one name, or a block that is called as what another one makes beside its
    table.
    """
    assets = [asset for asset in result.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    made = Counter(spec.key for asset in assets for spec in asset.specs)
    for key, times in made.items():
        if times > 1:
            places = lines_named(business, key.path[-1])
            raise BusinessError(
                f"{', '.join(places) or business.folder}: {times} blocks make "
                f"{'.'.join(key.path)}: give one of them another name"
            )


def _refuse_unknown_upstreams(result: dg.Definitions) -> None:
    """A table that nothing makes would otherwise be waited for, for ever."""
    assets = [asset for asset in result.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    specs = {spec.key: spec for asset in assets for spec in asset.specs}
    for key, spec in specs.items():
        for upstream in (dep.asset_key for dep in spec.deps):
            if upstream not in specs:
                place = spec.metadata.get("declared_in", ".".join(key.path))
                known = ", ".join(
                    sorted(".".join(k.path) for k in specs if k.path[0] == upstream.path[0])
                )
                raise BusinessError(
                    f"{place} reads {'.'.join(upstream.path)}, which nothing makes; "
                    f"in {upstream.path[0]} there are: {known or 'no tables'}"
                )
