"""Attributes of rows that landed at once and are dated earlier: they are known from the landing
on.
"""

import datetime as dt
from collections.abc import Iterable, Mapping

import dagster as dg

from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import FeatureSet
from churn_orchestration.components.source.select import Select
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.storage.warehouse import Tables

KNOWN_LATE = "attributes_known_in_time"


def dated_back(sources: Iterable[SourceTable], selects: Mapping[str, Select]) -> set[str]:
    """The bronze and silver tables with rows of a source whose rows are dated before their landing.

    ``selects`` are the silver tables by name.
    """
    result = {f"bronze.{source.name}" for source in sources if source.is_dated_back}
    while (
        more := {name for name, table in selects.items() if result.intersection(table.upstream)}
        - result
    ):
        result |= more
    return result


def known_from(tables: Tables, declared: FeatureSet) -> dict[str, dt.date]:
    """The features that are known from a landing on, though their rows are dated earlier, with its
    day.
    """
    families: dict[str, dt.date] = {}
    for table in declared.attributes:
        late = table.mart.late if table.mart else (table.table,)
        landings = [
            landed
            for name in (late if table.known_late else ())
            if tables.columns(name)
            for (landed,) in tables.rows(f"select min(_partition) from {name}")
            if landed
        ]
        if landings:
            families |= dict.fromkeys(table.known_late, max(landings))
    known = dict[str, dt.date]()
    for f in catalogue(declared):
        landings = [families[f.family]] if f.family in families else []
        landings += [known[name] for name in f.made_of if name in known]
        if landings:
            known[f.name] = max(landings)
    return known


def known_late_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that names the attributes that no as_of before their landing has."""
    return dg.AssetCheckSpec(
        KNOWN_LATE,
        asset=key,
        description="Every attribute of rows that landed at once, and are dated earlier, "
        "is declared `fixed` or not: what is not has no value before the landing.",
    )


def known_late_result(
    key: dg.AssetKey, since: Mapping[str, dt.date], undeclared: Iterable[str]
) -> dg.AssetCheckResult:
    """A warning where tables of attributes, ``undeclared``, do not say which of their columns are
    fixed.
    """
    remedy = (
        f"say in {', '.join(undeclared)} which columns never change: `fixed: [column]`, "
        "or `fixed: []`"
    )
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=KNOWN_LATE,
        passed=not since,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{known_late_message(since)}; {remedy}" if since else None,
        metadata={"known_from": {name: str(day) for name, day in since.items()}},
    )


def known_late_message(since: Mapping[str, dt.date]) -> str:
    """Which features have no value before which day, and why."""
    by_day: dict[dt.date, list[str]] = {}
    for name, day in since.items():
        by_day.setdefault(day, []).append(name)
    return "; ".join(
        f"no value before {day}: "
        f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if names[5:] else ''}, for their "
        "rows landed on that day, and what they say may have changed since their own"
        for day, names in by_day.items()
    )
