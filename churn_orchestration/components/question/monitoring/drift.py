"""Drift of a day: features and forecasts against the training snapshot of the champion, and
outcomes.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business
from churn_orchestration.churn.question.labels import population
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.question.day_rows import described, put_rows, read_files
from churn_orchestration.components.question.monitoring import drift_page
from churn_orchestration.components.question.monitoring.causes import causes
from churn_orchestration.components.question.monitoring.reference import (
    SCORE,
    Reference,
    as_counts,
    sample,
    snapshot_file,
)
from churn_orchestration.pictures import pages
from churn_orchestration.storage import ledger
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    from churn_orchestration.churn.watching.drift import Drift
    from churn_orchestration.components.question.question import QuestionSettings

EXPLAINED = 2_000  # rows of which it is known what each feature adds to a score
NO_HARM = "no_harmful_drift"
HARMFUL, OPEN, HARMLESS, STEADY = "harmful", "open", "harmless", "steady"
COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "feature": ("text", "which one"),
        "model_version": ("text", "the champion, whose training snapshot it is compared with"),
        "verdict": (
            "text",
            "steady: no alarm; harmless: an alarm, and scores move by less than 0.05 log odds; "
            "harmful: more; open: less, but it follows from a change in what landed that nobody "
            "has accepted",
        ),
        "alarm": ("boolean", "further off than was ever usual, and than of late"),
        "measure": ("text", "psi; js, Jensen-Shannon in nats, of features with few values"),
        "value": ("double", "the distance from the training snapshot"),
        "usual_up_to": (
            "double",
            "up to where it is usual on this day, by replays of the days before",
        ),
        "recent": ("double", "the largest distance 8 to 35 days ago; null: not known"),
        "effect": ("double", "how far it moves the mean score, log odds of churn"),
        "missing": ("double", "share of rows without a value"),
        "missing_before": ("double", "the same of the training snapshot"),
        "beyond": ("double", "share of rows below or above all that the model was trained on"),
        "new_values": (
            "double",
            "share of rows with a value among few that the model was never trained on",
        ),
        "follows": (
            "text",
            "the open change in what landed that an alarm follows from: table and first day",
        ),
        MEASURED_ON: ("date", "the day that is compared"),
    }
)


def measure(
    tables: Tables, settings: "QuestionSettings", day: dt.date, reference: Reference | None
) -> int:
    """Store the drift of a day against the champion's training snapshot; no row where no model
    scored it.
    """
    rows = list[dict[str, Any]]()
    if reference:
        gold = literal(tables.day_file(settings.gold, day))
        people = population(settings.question, f"(from {gold})", day)
        tables.db.execute(f"create or replace temp table _people as {people}")
        judged, new = _judged(tables, settings, day, reference)
        moved = any(each.alarmed for each in judged)
        effects = _effects(tables, settings, reference) if moved else {}
        follows = causes(tables, settings, day) if moved else {}
        for each in judged:
            effect = effects[each.feature] if each.alarmed else None
            cause = follows.get(each.feature) if each.alarmed else None
            rows.append(_row(each, effect, cause, reference.version, new[each.feature], day))
        tables.db.execute("drop table _people")
    order = "alarm desc, abs(effect) desc nulls last, value / usual_up_to desc, feature"
    return put_rows(tables, settings.store.drift, day, rows, COLUMNS, order)


def _judged(
    tables: Tables, settings: "QuestionSettings", day: dt.date, reference: Reference
) -> tuple[list["Drift"], dict[str, float]]:
    """Each feature of the table ``_people``, and the share of values that the model was never
    trained on.
    """
    from churn_orchestration.churn.watching import drift

    if not reference.bins:  # nothing was replayed: a static question, or too short a history
        return [], {}
    of_features = [each for each in reference.bins if each.feature != SCORE]
    of_score = [each for each in reference.bins if each.feature == SCORE]
    scored = literal(tables.day_file(settings.store.forecasts, day))
    parts = [(of_features, "_people"), (of_score, scored)]
    query = " union all ".join(drift.counted(bins, rows) for bins, rows in parts if bins)
    result = tables.db.execute(query).df()
    if result.empty:
        return [], {}
    counts, before = (
        as_counts(result, reference.bins),
        _before(tables, settings, day, reference.version),
    )
    judged = [
        drift.drifted(
            each,
            counts[each.feature][day],
            day,
            reference.usual[each.feature],
            before.get(each.feature, {}),
        )
        for each in reference.bins
    ]
    by_feature = result.groupby("feature")
    return judged, (by_feature["new"].sum() / by_feature["rows"].sum()).to_dict()


def _effects(
    tables: Tables, settings: "QuestionSettings", reference: Reference
) -> dict[str, float]:
    """How far each feature moves the mean score of ``_people`` from that of the snapshot; log
    odds.
    """
    from churn_orchestration.churn.learning.contributions import contributions

    names, means = reference.record["features"], []
    for rows in ("_people", literal(snapshot_file(tables, settings, reference.record))):
        some = sample(tables, settings.question.entity, names, rows, EXPLAINED)[names].astype(float)
        means.append(contributions(reference.model, some)[0].mean())
    moved = means[0] - means[1]
    return {SCORE: float(moved.sum())} | {str(name): float(size) for name, size in moved.items()}


def _row(
    each: "Drift", effect: float | None, cause: str | None, version: str, new: float, day: dt.date
) -> dict[str, Any]:
    from churn_orchestration.churn.watching.drift import HARM

    small = OPEN if cause else HARMLESS
    verdict = STEADY if effect is None else HARMFUL if abs(effect) >= HARM else small
    return {
        "feature": each.feature, "model_version": version, "verdict": verdict,
        "alarm": each.alarmed, "measure": each.measure, "value": each.value,
        "usual_up_to": each.limit, "recent": each.recent, "effect": effect, "missing": each.missing,
        "missing_before": each.missing_before, "beyond": each.beyond, "new_values": new,
        "follows": cause, MEASURED_ON: day,
    }  # fmt: skip


def _before(
    tables: Tables, settings: "QuestionSettings", day: dt.date, version: str
) -> dict[str, dict[dt.date, float]]:
    """The distances of the days before, by the same reference."""
    from churn_orchestration.churn.watching.drift import RECENT

    files = tables.day_files(settings.store.drift, day - dt.timedelta(days=RECENT[0]))
    near = [file for then, file in files.items() if (day - then).days <= RECENT[1]]
    result: dict[str, dict[dt.date, float]] = {}
    if near:
        for feature, then, value in tables.rows(
            f"select feature, {MEASURED_ON}, value from {read_files(near)} where model_version = ?",
            [version],
        ):
            result.setdefault(feature, {})[then] = value
    return result


def drift_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """monitoring/<question>_drift, one partition a day."""
    return DayTable(
        business=business,
        about=settings.sentence(),
        like=settings.gold,
        table=settings.store.drift,
        says="One row per feature and day: how far the customers of the day are from "
        "those the champion was trained on, compared with how far is usual, by replays of "
        "the days before its cut-off. An alarm is ordered by how far it moves the "
        "scores; one that hardly does is called harmless.",
        columns=described(COLUMNS),
        version=settings.version(stages.DRIFT),
        upstream=[settings.store.forecasts],
        store=partial(_store, settings),
        checks={NO_HARM: "No drift that moves the scores."},
    ).asset()


def _store(settings: "QuestionSettings", tables: Tables, days: list[dt.date]) -> Stored:
    references = dict[str, Reference]()
    rows = {
        day: measure(tables, settings, day, _reference(tables, settings, day, references))
        for day in days
    }
    newest = max(rows, default=None)
    about = {day: day_metadata(tables, settings, day) for day in rows}
    if newest and about[newest]["alarms"]:
        path = page(tables, settings, newest)
        about[newest] |= {
            "drift_page": dg.MetadataValue.url(pages.address(path)),
            "drift_page_file": dg.MetadataValue.path(path),
        }
    return Stored(
        rows=rows,
        metadata=about,
        pictures={"picture_drift": picture(tables, settings, newest)} if newest else {},
        checks=[_checked(tables, settings, newest)],
    )


def _reference(
    tables: Tables, settings: "QuestionSettings", day: dt.date, known: dict[str, Reference]
) -> Reference | None:
    """That of the champion of a day, which is made once; None: there is no champion."""
    champion = ledger.champion(tables.state, settings.name, day, settings.question.meaning)
    if champion is None:
        return None
    version = champion["model_version"]
    if version not in known:
        dg.get_dagster_logger().info(
            f"{settings.name}: replays the days before {champion['cutoff']}"
        )
        known[version] = Reference.of(tables, settings, version)
    return known[version]


def alarms(tables: Tables, settings: "QuestionSettings", day: dt.date) -> list[dict[str, Any]]:
    """The alarms of a day, the one that moves the scores most first."""
    file = literal(tables.day_file(settings.store.drift, day))
    return tables.records(f"from {file} where alarm order by abs(effect) desc, feature")


def sentence(alarm: Mapping[str, Any]) -> str:
    """An alarm in words."""
    return (
        f"{alarm['feature']}: {alarm['measure'].upper()} {alarm['value']:.3f}, usual up to "
        f"{alarm['usual_up_to']:.3f}; it moves the mean score by {alarm['effect']:+.2f} log odds"
    )


def sentences(result: Sequence[Mapping[str, Any]]) -> list[str]:
    """Alarms in words; those that follow from one change in what landed are one, where the first
    is.
    """
    by_cause: dict[str, list[Mapping[str, Any]]] = {}
    for alarm in result:
        by_cause.setdefault(alarm.get("follows") or alarm["feature"], []).append(alarm)
    return [
        f"{len(each)} features follow from the change of {cause}, such as "
        f"{', '.join(alarm['feature'] for alarm in each[1:3])} and {sentence(each[0])}"
        if len(each) > 1
        else sentence(each[0])
        for cause, each in by_cause.items()
    ]


def _checked(
    tables: Tables, settings: "QuestionSettings", day: dt.date | None
) -> dg.AssetCheckResult:
    """The check of the newest day of a run."""
    result = alarms(tables, settings, day) if day else []
    harmful = [alarm for alarm in result if alarm["verdict"] in (HARMFUL, OPEN)]
    return dg.AssetCheckResult(
        check_name=NO_HARM,
        passed=not harmful,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{day}: {'; '.join(sentences(harmful)[:3])}" if harmful else None,
        metadata={
            "alarms": len(result),
            "harmful": [alarm["feature"] for alarm in harmful],
            "day": str(day),
        },
    )


def day_metadata(tables: Tables, settings: "QuestionSettings", day: dt.date) -> dict[str, Any]:
    """The numbers of a day that are worth a plot."""
    result = alarms(tables, settings, day)
    return {"alarms": len(result), "harmful": sum(alarm["verdict"] == HARMFUL for alarm in result)}


def page(tables: Tables, settings: "QuestionSettings", day: dt.date) -> Path:
    """Evidently's page of a day. Raises BusinessError where nothing was compared on it."""
    return drift_page.draw(tables, settings, day, settings.store.drift)


def picture(tables: Tables, settings: "QuestionSettings", day: dt.date) -> str | None:
    """The features that are furthest beyond, or nearest to, what is usual on a day."""
    file = literal(tables.day_file(settings.store.drift, day))
    rows = tables.db.execute(f"from {file} order by value / usual_up_to desc limit 12").df()
    return pictures.drift(settings.name, day, rows.to_dict("records"), settings.titles)
