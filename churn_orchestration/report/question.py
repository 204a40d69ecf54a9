"""Is the question answerable: who and how many, how the label moves with its definition, what is
advised.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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

MOST_AS_OFS = 24


def weighed(tables: Tables, settings: QuestionSettings) -> tuple[dict[str, Any], str]:
    """The verdict on a question from all that has landed: facts, and the same as text."""
    if settings.question.kind == STATIC:
        return _static(tables, settings)
    question, last = settings.question, newest_day(tables, settings)
    [(first,)] = tables.rows(
        f"select min(day) from {question.base.table} where known_on <= date '{last}'"
    )
    if first is None:
        raise BusinessError(
            f"{settings.name}: {question.base.table} has no row that is known by {last}: is there "
            "any, and what went to quarantine (`churn status`)?"
        )
    history = settings.min_history_days
    as_ofs = calendar.as_of_grid(
        last, question.horizon, first, history, MOST_AS_OFS, settings.every
    )
    facts: dict[str, Any] = {
        "question": settings.name,
        "asks": settings.sentence(),
        "data_until": last,
    }
    if not as_ofs:
        message = (
            f"no outcome is known yet: data go from {first} to {last}, and the first as_of needs "
        )
        message += (
            f"{settings.min_history_days} days before it and {question.horizon.words} after it"
        )
        return facts | {"hopeless": [message]}, plain(
            f"{settings.name}: {settings.sentence()}", f"hopeless: {message}"
        )
    outcomes = answerable.Outcomes(question, tuple(as_ofs), last, "outcomes")
    tables.db.execute(f"create or replace temp table outcomes as {outcomes.sql()}")
    window = question.observation_days
    unit = question.horizon.unit
    lengths = sorted({*answerable.HORIZONS[unit], question.horizon.length})
    horizons = [replace(question.horizon, **{f"horizon_{unit}": length}) for length in lengths]
    by_as_of = tables.db.execute(outcomes.by_as_of(window)).df()
    by_horizon = tables.db.execute(outcomes.by_horizon(window, horizons)).df()
    windows: list[int | str] = [*answerable.WINDOWS, "all"]
    by_window = (
        None if question.kind == EVENT else tables.db.execute(outcomes.by_window(windows)).df()
    )
    graded = by_as_of.tail(settings.test_as_ofs)
    churned = int(graded["churned"].sum())
    least = answerable.detectable_auc(churned, int(graded["entities"].sum()) - churned)
    advised = answerable.recommended(by_horizon, unit)
    facts |= {
        "as_ofs": by_as_of.to_dict("records"), "horizons": by_horizon.to_dict("records"),
        "windows": [] if by_window is None else by_window.to_dict("records"),
        "detectable_auc": least, f"advised_horizon_{unit}": advised,
    }  # fmt: skip
    months = grid(
        "by as_of, as the question is declared", "as_of", "population", "churned", "base rate"
    )
    for row in facts["as_ofs"]:
        months.add_row(
            str(row["as_of"])[:10],
            f"{row['entities']:,}",
            f"{row['churned']:,}",
            _share(row["base_rate"]),
        )
    tried = grid(
        "by horizon, mean over the as_ofs for which it has passed",
        "horizon", "as_ofs", "base rate", "flip if half as long again",
        f"come back within {answerable.COME_BACK_DAYS} days more",
    )  # fmt: skip
    for horizon, row in zip(horizons, facts["horizons"], strict=True):
        mark = " *" if horizon == question.horizon else ""
        shares = [_share(row[name]) for name in ("base_rate", "flips", "came_back")]
        tried.add_row(f"{horizon.words}{mark}", str(row["as_ofs"]), *shares)
    seen = grid(
        f"by observation window, at {as_ofs[-1]}", "active within", "population", "base rate"
    )
    for row in facts["windows"]:
        days = row["observation_days"] + (" days" if row["observation_days"] != "all" else "")
        days += " *" if row["observation_days"] == str(window) else ""
        seen.add_row(days, f"{row['entities']:,}", _share(row["base_rate"]))
    tables_shown = [months, tried] if by_window is None else [months, tried, seen]
    verdict = (
        f"{len(as_ofs)} as_ofs have matured. On the newest {len(graded)} an AUC of {least:.3f} or "
        "more can be distinguished from chance. " + _advice(by_horizon, question)
    )
    return facts, plain(
        f"{settings.name}: {settings.sentence()}", *tables_shown, "* as it is declared now", verdict
    )


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
