"""How good the forecasts are: as expected on their day, and as realised once their outcome is
known.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, digest
from churn_orchestration.churn.protocol import EXPECTED, MIN_ENTITIES, REALISED, RESTATED
from churn_orchestration.churn.sql import identifier, identifiers
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.question import groups
from churn_orchestration.components.question.day_rows import described, put_rows, read_files
from churn_orchestration.components.question.monitoring.graded import last_known
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.grading import metrics
    from churn_orchestration.components.question.question import QuestionSettings

COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "as_of": ("date", "the day of the forecasts"),
        "kind": (
            "text",
            "expected: from the forecasts alone, before any outcome; realised: once it was known; "
            "restated: realised again, since late rows changed it",
        ),
        "model_version": ("text", "what forecast"),
        "feature": ("text", "whose segments are measured; null: all customers"),
        "segment": ("text", "the segment; null: all customers"),
        "metric": ("text", "auc, log_loss, base_rate, ..."),
        "value": ("double", "of the metric"),
        "low": (
            "double",
            "lower end of the 95 % interval; of what is expected: of the later measurement",
        ),
        "high": ("double", "its upper end"),
        "forecasts": ("bigint", "how many forecasts it was measured on"),
        "waiting": ("bigint", "forecasts of all days whose outcome was not known on measured_on"),
        MEASURED_ON: ("date", "the day at whose end this was known"),
    }
)
SHOWN_DAYS = 400


def _rows(
    of: dict[str, Any],
    result: Mapping[str, Any],
    forecasts: int,
    segment: tuple[str | None, str | None],
) -> Iterator[dict[str, Any]]:
    """One row per metric."""
    for metric, message in result.items():
        if isinstance(message, dict):
            yield (
                of
                | message
                | {"metric": metric, "forecasts": forecasts}
                | dict(zip(("feature", "segment"), segment, strict=True))
            )


def _measured(settings: "QuestionSettings") -> "dict[str, metrics.Metric]":
    """What is measured of a question's forecasts."""
    from churn_orchestration.churn.grading import metrics

    return {**metrics.METRICS, "profit": metrics.profit(settings.economics)}


def expected(
    settings: "QuestionSettings", scored: "pd.DataFrame", of: dict[str, Any]
) -> list[dict[str, Any]]:
    """What the forecasts of a day say of themselves; nothing where too few churners are among
    them.
    """
    from churn_orchestration.churn.grading import metrics

    chance, n = scored["churn_probability"].to_numpy(), len(scored)
    if not n or min(chance.sum(), n - chance.sum()) < MIN_ENTITIES:
        return []
    of = of | {"kind": EXPECTED, "model_version": scored["model_version"].iloc[0]}
    return list(_rows(of, metrics.expected(chance, metrics=_measured(settings)), n, (None, None)))


def realised(
    settings: "QuestionSettings",
    graded: "pd.DataFrame",
    features: "pd.DataFrame | None",
    of: dict[str, Any],
) -> list[dict[str, Any]]:
    """How the forecasts of one as_of did, whole and by segment; too few of one outcome: their rate
    alone.

    Parameters
    ----------
    graded : the last grade of each entity that has an outcome
    features : those of that as_of by which it is cut into segments; None: they are not kept
    """
    from churn_orchestration.churn.grading import metrics
    from churn_orchestration.churn.grading.segments import by_segment

    if graded.empty:
        return []
    label, entity = graded["label"].astype(bool), settings.question.entity
    of, n = of | {"model_version": graded["model_version"].iloc[0]}, len(graded)
    if min(label.sum(), n - label.sum()) < MIN_ENTITIES:
        rate = {"base_rate": {"value": float(label.mean()), "low": None, "high": None}}
        return list(_rows(of, rate, n, (None, None)))
    chance = graded["churn_probability"]
    whole = metrics.evaluate(label, chance, graded[entity], metrics=_measured(settings))
    result = list(_rows(of, whole, n, (None, None)))
    if features is not None:
        rows = graded.assign(label=label, model=graded["churn_probability"]).merge(
            features, on=entity
        )
        for part in by_segment(rows, entity, settings.segments):
            rate = {"base_rate": {"value": part["base_rate"], "low": None, "high": None}}
            result += _rows(of, part | rate, part["rows"], (part["feature"], part["segment"]))
    return result


def measure(tables: Tables, settings: "QuestionSettings", day: dt.date) -> int:
    """Store what is known of the forecasts' quality at the end of ``day``; its rows."""
    entity, file = (
        identifier(settings.question.entity),
        literal(tables.day_file(settings.store.grades, day)),
    )
    scored = tables.db.execute(
        "select churn_probability, model_version "
        f"from {literal(tables.day_file(settings.store.forecasts, day))} "
        f"where not backtest order by {entity}"
    ).df()
    of = {MEASURED_ON: day, "waiting": _waiting(tables, settings, day)}
    rows = expected(settings, scored, of | {"as_of": day})
    for as_of, restated in tables.rows(
        f"select as_of, bool_or(restated) from {file} group by 1 order by 1"
    ):
        last = last_known(tables, settings, as_of, day)
        graded = tables.db.execute(f"from ({last}) where label is not null order by {entity}").df()
        kind = RESTATED if restated else REALISED
        about = of | {"as_of": as_of, "kind": kind}
        rows += realised(settings, graded, _segmented(tables, settings, as_of), about)
        for group in _compared(tables, settings, as_of, graded):
            of_group = about | {"model_version": graded["model_version"].iloc[0]}
            segment = (group["feature"], group["segment"])
            rows += _rows(of_group, group, group["rows"], segment)
    order = "kind, as_of, feature nulls first, segment nulls first, metric"
    return put_rows(tables, settings.store.performance, day, rows, COLUMNS, order)


def _compared(
    tables: Tables, settings: "QuestionSettings", as_of: dt.date, graded: "pd.DataFrame"
) -> list[dict[str, Any]]:
    """How the declared groups of the graded forecasts of one as_of fared."""
    if graded.empty or not settings.fairness:
        return []
    features = tables.day_file(settings.gold, as_of)
    attributes = groups.attributes(tables, settings, as_of, features)
    return [] if attributes is None else groups.compared(settings, graded, attributes)


def _alike(
    tables: Tables, settings: "QuestionSettings", days: Sequence[dt.date]
) -> dg.AssetCheckResult:
    """The check of the groups: of the newest as_of that was graded on one of ``days``."""
    files = [tables.day_file(settings.store.grades, day) for day in days]
    graded = read_files(file for file in files if file)
    [(as_of,)] = tables.rows(f"select max(as_of) from {graded}") if days else [(None,)]
    result = []
    if as_of:
        last = last_known(tables, settings, as_of, max(days))
        rows = tables.db.execute(f"from ({last}) where label is not null").df()
        result = _compared(tables, settings, as_of, rows)
    return groups.alike(settings, as_of, result)


def _waiting(tables: Tables, settings: "QuestionSettings", day: dt.date) -> int:
    """How many forecasts up to ``day`` have no known outcome yet."""
    newest = settings.question.horizon.newest_as_of(day)
    files = [
        file
        for as_of, file in tables.day_files(settings.store.forecasts, day).items()
        if as_of > newest
    ]
    return int(tables.rows(f"select count(*) from {read_files(files)} where not backtest")[0][0])


def _segmented(
    tables: Tables, settings: "QuestionSettings", as_of: dt.date
) -> "pd.DataFrame | None":
    file = tables.day_file(settings.gold, as_of)
    if file is None or not settings.segments:
        return None
    names = identifiers([settings.question.entity, *settings.segments])
    return tables.db.execute(f"select {names} from {literal(file)}").df()


def performance_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """monitoring/<question>_performance, one partition a day."""
    return DayTable(
        business=business,
        about=settings.sentence(),
        like=settings.gold,
        table=settings.store.performance,
        says="One row per metric, segment and as_of: what the day's forecasts say of "
        "themselves before any outcome is known, and how those did whose outcome "
        "became known on the day, on matured forecasts only. What was expected is "
        "graded so by what came.",
        columns=described(COLUMNS),
        version=_version(settings),
        upstream=[settings.store.forecasts, settings.store.grades, *groups.read(settings)],
        store=partial(_store, settings),
        checks={groups.ALIKE: groups.ALIKE_SAYS} if settings.fairness else {},
    ).asset()


def _version(settings: "QuestionSettings") -> str:
    """What a day depends on: its groups too, where there are any."""
    if not settings.fairness:
        return settings.version(stages.PERFORMANCE)
    return stages.version(digest(settings.scoring, settings.fairness), stages.PERFORMANCE)


def _store(settings: "QuestionSettings", tables: Tables, days: list[dt.date]) -> Stored:
    rows = {day: measure(tables, settings, day) for day in days}
    return Stored(
        rows=rows,
        metadata={day: day_metadata(tables, settings, day) for day in rows},
        pictures={"picture_performance": picture(tables, settings, max(rows))} if rows else {},
        checks=[_alike(tables, settings, list(rows))] if settings.fairness else [],
    )


def day_metadata(tables: Tables, settings: "QuestionSettings", day: dt.date) -> dict[str, Any]:
    """The numbers of a day that are worth a plot."""
    file = literal(tables.day_file(settings.store.performance, day))
    result = tables.rows(
        f"select kind || '_' || metric, value from {file} where feature is null "
        f"and metric in ('auc', 'log_loss', 'base_rate') and kind <> '{RESTATED}' order by 1, as_of"
    )
    return {name: round(value, 4) for name, value in result} | {
        "waiting": _waiting(tables, settings, day)
    }


def course(tables: Tables, settings: "QuestionSettings", day: dt.date) -> list[dict[str, Any]]:
    """What is known by ``day`` of each as_of of late: expected, and realised or, last, restated."""
    files = read_files(tables.day_files(settings.store.performance, day).values())
    first = literal(day - dt.timedelta(days=SHOWN_DAYS))
    query = f"""
select as_of, metric, kind = '{EXPECTED}' as is_expected, \
last(value order by {MEASURED_ON}) as value,
  last(low order by {MEASURED_ON}) as low, last(high order by {MEASURED_ON}) as high
from {files} where feature is null and as_of > {first} \
and metric in ('auc', 'log_loss', 'base_rate')
group by all order by 1, 2, 3"""
    return tables.db.execute(query).df().to_dict("records")


def picture(tables: Tables, settings: "QuestionSettings", day: dt.date) -> str | None:
    """Expected and realised performance by as_of, in one picture."""
    return pictures.performance(settings.name, course(tables, settings, day))
