"""The groups of customers that a question wants to fare alike: who is in which, how they fared."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.seen import latest
from churn_orchestration.churn.sql import identifier
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.components.question.question import QuestionSettings

ALIKE = "groups_fare_alike"
ALIKE_SAYS = (
    "No declared group is contacted less than the others, nor found less often among those who "
    "churn, by more than is declared fair and more than chance makes of it."
)


def read(settings: "QuestionSettings") -> list[str]:
    """The table that says who is in which group, where it is none that the question reads."""
    return [settings.fairness.table] if settings.fairness and settings.fairness.table else []


def attributes(
    tables: Tables, settings: "QuestionSettings", as_of: dt.date, features: Path | None
) -> "pd.DataFrame | None":
    """Of each customer what makes the groups, as known at the end of ``as_of``; None: no group is
    declared, or ``features``, a file that has those of that day, is not kept.

    Raises
    ------
    BusinessError : there is no such table yet, or no such column
    """
    fairness, entity = settings.fairness, settings.question.entity
    if fairness is None or (fairness.table is None and features is None):
        return None
    names = [identifier(name) for name in fairness.groups]
    if fairness.table is None:
        rows, key = f"(from {literal(features)} where as_of = {literal(as_of)})", entity
    else:
        rows, key = fairness.table, fairness.entity
        if not tables.columns(rows):
            raise BusinessError(
                f"{settings.name}: fairness: {rows} is not there yet: `churn run` makes it"
            )
    there = [name for name, *_ in tables.rows(f"describe from {rows}")]
    if absent := [name for name in (key, *fairness.groups) if name not in there]:
        raise BusinessError(
            f"{settings.name}: fairness: {fairness.table or settings.gold} has no column "
            f'"{absent[0]}" (columns: {", ".join(there[:40])})'
        )
    if fairness.table:
        rows = f"({latest(fairness.table, key, names, as_of)})"
    select = f"select {identifier(key)} as {identifier(entity)}, {', '.join(names)} from {rows}"
    return tables.db.execute(f"{select} order by 1").df()


def compared(
    settings: "QuestionSettings", graded: "pd.DataFrame", of_each: "pd.DataFrame"
) -> list[dict[str, Any]]:
    """How each group fared, see ``churn.grading.fairness``.

    ``graded``: one row per customer of one as_of, with ``label`` and ``contact``; ``of_each``: from
    ``attributes``.
    """
    from churn_orchestration.churn.grading import fairness

    assert settings.fairness is not None
    entity = settings.question.entity
    try:
        known = graded[[entity, "label", "contact"]].merge(of_each, on=entity, how="left")
    except ValueError:
        raise BusinessError(
            f"{settings.name}: fairness: {entity} is {of_each[entity].dtype} in "
            f"{settings.fairness.table}, and {graded[entity].dtype} in the forecasts: name a .sql "
            "table that casts it"
        ) from None
    try:
        return fairness.by_group(known, settings.fairness)
    except fairness.TooManyGroupsError as error:
        raise BusinessError(
            f"{settings.name}: fairness: {error}; name a .sql table that puts values together"
        ) from None


def alike(
    settings: "QuestionSettings", as_of: dt.date | None, result: Sequence[Mapping[str, Any]]
) -> dg.AssetCheckResult:
    """The check ALIKE on what was compared of an as_of."""
    from churn_orchestration.churn.grading.fairness import unfair

    assert settings.fairness is not None
    sentences = unfair(result, settings.fairness)
    why = "; ".join(sentences) or (None if result else "no outcome of a contact became known")
    shown: dict[str, Any] = {"as_of": str(as_of), "groups": dg.MetadataValue.md(markdown(result))}
    return dg.AssetCheckResult(
        check_name=ALIKE,
        passed=not sentences,
        severity=dg.AssetCheckSeverity.WARN,
        description=why,
        metadata=shown if result else {},
    )


def markdown(result: Iterable[Mapping[str, Any]]) -> str:
    """The groups as a Markdown table."""
    from churn_orchestration.churn.grading.fairness import COMPARED, RATES

    head = (
        "group", "customers", "churned", "contacted", "of the churners", "of those who stay",
        "contacted, ratio", "of the churners, difference",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for group in result:
        churned = f"{group['churned'] / group['rows']:.1%}"
        measured = [_cell(group, name, "too few to judge") for name in RATES]
        measured += [_cell(group, name, "") for name in COMPARED]
        cells = [f"{group['feature']} {group['segment']}", f"{group['rows']:,}", churned, *measured]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(group: Mapping[str, Any], name: str, empty: str) -> str:
    """A rate or a comparison with its interval."""
    if name not in group:
        return empty
    value = group[name]
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
