"""Is the question answerable: who and how many, how the label moves with its definition, what is
advised.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from churn_orchestration.business import BusinessError
from churn_orchestration.churn import calendar
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.protocol import ENTITY_FOLDS
from churn_orchestration.churn.question import answerable
from churn_orchestration.churn.question.copies import copies_message
from churn_orchestration.churn.question.labels import EVENT, STATIC, Question, labelled
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.training.model import newest_day
from churn_orchestration.components.question.training.snapshot import distinct
from churn_orchestration.report.text import grid, plain
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

Rows: TypeAlias = Sequence[Mapping[str, Any]]
MOST_AS_OFS = 24


def weighed(tables: Tables, settings: QuestionSettings) -> tuple[dict[str, Any], str]:
    """The verdict on a question from all that has landed: facts, and the same as text."""
    if settings.question.kind == STATIC:
        return _static(tables, settings)
    question, last = settings.question, newest_day(tables, settings)
    title = f"{settings.name}: {settings.sentence()}"
    about = {"question": settings.name, "asks": settings.sentence(), "data_until": last}
    first, history = _first_day(tables, settings, last), settings.min_history_days
    as_ofs = calendar.as_of_grid(
        last, question.horizon, first, history, MOST_AS_OFS, settings.every
    )
    if not as_ofs:
        message = (
            f"no outcome is known yet: data go from {first} to {last}, and the first as_of needs "
            f"{history} days before it and {question.horizon.words} after it"
        )
        return about | {"hopeless": [message]}, plain(title, f"hopeless: {message}")
    tried, unit = _Tried.of(tables, question, as_ofs, last), question.horizon.unit
    graded = tried.by_as_of.tail(settings.test_as_ofs)
    churned = int(graded["churned"].sum())
    least = answerable.detectable_auc(churned, int(graded["entities"].sum()) - churned)
    facts = {
        "as_ofs": tried.by_as_of.to_dict("records"),
        "horizons": tried.by_horizon.to_dict("records"),
        "windows": [] if tried.by_window is None else tried.by_window.to_dict("records"),
        "detectable_auc": least,
        f"advised_horizon_{unit}": answerable.recommended(tried.by_horizon, unit),
    }
    grids = [_months(facts["as_ofs"]), _horizons(facts["horizons"], tried.horizons, question)]
    if tried.by_window is not None:
        grids.append(_windows(facts["windows"], question, as_ofs[-1]))
    verdict = (
        f"{len(as_ofs)} as_ofs have matured. On the newest {len(graded)} an AUC of {least:.3f} or "
        "more can be distinguished from chance. " + _advice(tried.by_horizon, question)
    )
    return about | facts, plain(title, *grids, "* as it is declared now", verdict)


def _first_day(tables: Tables, settings: QuestionSettings, last: dt.date) -> dt.date:
    """The first day of the question's base. Raises BusinessError where it has no row."""
    table = settings.question.base.table
    [(first,)] = tables.rows(f"select min(day) from {table} where known_on <= date '{last}'")
    if first is None:
        raise BusinessError(
            f"{settings.name}: {table} has no row that is known by {last}: is there "
            "any, and what went to quarantine (`churn status`)?"
        )
    return first


class _Tried(NamedTuple):
    """A question's outcomes by as_of; by ``horizons``, its own and others; by observation window,
    where it has one.
    """

    horizons: list[calendar.Horizon]
    by_as_of: "pd.DataFrame"
    by_horizon: "pd.DataFrame"
    by_window: "pd.DataFrame | None"

    @classmethod
    def of(
        cls, tables: Tables, question: Question, as_ofs: Sequence[dt.date], last: dt.date
    ) -> "_Tried":
        outcomes = answerable.Outcomes(question, tuple(as_ofs), last, "outcomes")
        tables.db.execute(f"create or replace temp table outcomes as {outcomes.sql()}")
        window, own = question.observation_days, question.horizon
        lengths = sorted({*answerable.HORIZONS[own.unit], own.length})
        horizons = [replace(own, **{f"horizon_{own.unit}": length}) for length in lengths]
        windows: list[int | str] = [*answerable.WINDOWS, "all"]
        return cls(
            horizons,
            tables.db.execute(outcomes.by_as_of(window)).df(),
            tables.db.execute(outcomes.by_horizon(window, horizons)).df(),
            None if question.kind == EVENT else tables.db.execute(outcomes.by_window(windows)).df(),
        )


def _months(rows: Rows) -> "Table":
    result = grid(
        "by as_of, as the question is declared", "as_of", "population", "churned", "base rate"
    )
    for row in rows:
        entities, churned = f"{row['entities']:,}", f"{row['churned']:,}"
        result.add_row(str(row["as_of"])[:10], entities, churned, _share(row["base_rate"]))
    return result


def _horizons(rows: Rows, horizons: Sequence[calendar.Horizon], question: Question) -> "Table":
    result = grid(
        "by horizon, mean over the as_ofs for which it has passed",
        "horizon", "as_ofs", "base rate", "flip if half as long again",
        f"come back within {answerable.COME_BACK_DAYS} days more",
    )  # fmt: skip
    for horizon, row in zip(horizons, rows, strict=True):
        mark = " *" if horizon == question.horizon else ""
        shares = [_share(row[name]) for name in ("base_rate", "flips", "came_back")]
        result.add_row(f"{horizon.words}{mark}", str(row["as_ofs"]), *shares)
    return result


def _windows(rows: Rows, question: Question, as_of: dt.date) -> "Table":
    result = grid(f"by observation window, at {as_of}", "active within", "population", "base rate")
    for row in rows:
        days = row["observation_days"] + (" days" if row["observation_days"] != "all" else "")
        days += " *" if row["observation_days"] == str(question.observation_days) else ""
        result.add_row(days, f"{row['entities']:,}", _share(row["base_rate"]))
    return result


def _advice(by_horizon: "pd.DataFrame", question: Question) -> str:
    own, unit = question.horizon.length, question.horizon.unit
    few, advised = f"{answerable.FEW_COME_BACK:.0%}", answerable.recommended(by_horizon, unit)
    if question.kind == EVENT:
        return "The horizon is a matter of how early one wants to know."
    if advised is None:
        if by_horizon["came_back"].isna().all():
            return (
                f"Whether the silent come back within {answerable.COME_BACK_DAYS} "
                "days is not known yet."
            )
        return (
            f"After no horizon that is seen do fewer than {few} of the silent come back: "
            "ask with care."
        )
    [back] = by_horizon.loc[by_horizon[f"horizon_{unit}"] == own, "came_back"]
    words = replace(question.horizon, **{f"horizon_{unit}": advised}).words
    shortest = f"the shortest horizon after which fewer than {few} come back is {words}"
    if back != back:  # null: its horizon and the days to come back have passed of no as_of
        return f"Whether those called churned come back is not known yet, but {shortest}."
    if back <= answerable.FEW_COME_BACK:
        return (
            f"Few of the silent come back ({back:.0%}): the label means what it says; {shortest}."
        )
    return f"Of those called churned {_share(back)} come back, and {shortest}."


def _static(tables: Tables, settings: QuestionSettings) -> tuple[dict[str, Any], str]:
    label, last = settings.question.label, newest_day(tables, settings)
    assert label is not None
    people = labelled(
        settings.question, f"({features_at(settings.question.features, last)})", last, last
    )
    everybody = tables.db.execute(people).df()
    once = distinct(settings, everybody)
    entities, churned = len(once), int(once["label"].sum())
    copied = copies_message(len(everybody) - entities, len(everybody), settings.question.entity)
    least = answerable.detectable_auc(churned, entities - churned)
    facts = {
        "question": settings.name, "asks": settings.sentence(), "data_until": last,
        "entities": entities, "churned": churned, "copies": len(everybody) - entities,
        "detectable_auc": least,
    }  # fmt: skip
    message = (
        f"{copied}{'. ' if copied else ''}Of {entities:,} the label is known, {churned:,} have "
        f"churned ({_share(churned / max(1, entities))}). Out of fold ({ENTITY_FOLDS} folds) an "
        f"AUC of {least:.3f} or more can be distinguished from chance. The outcome is known on the "
        "day itself: nothing can say how well it is known before."
    )
    return facts, plain(f"{settings.name}: {settings.sentence()}", message)


def _share(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.1%}"
