"""A champion's first week, once its outcome is known, compared with what the model before it would
have forecast.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import stages
from churn_orchestration.business import Business
from churn_orchestration.churn.protocol import MIN_ENTITIES, UNTRAINED
from churn_orchestration.churn.question.labels import population
from churn_orchestration.churn.sql import identifier
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.question.day_rows import described, put_rows, read_files
from churn_orchestration.components.question.monitoring.graded import last_known
from churn_orchestration.components.question.scoring.forecaster import Forecaster, forecast
from churn_orchestration.storage import ledger
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.grading.versus import Versus
    from churn_orchestration.components.question.question import QuestionSettings

DAYS = 7
STANDS = "champion_stands"
COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "model_version": ("text", "the champion"),
        "before": ("text", "what was in force before it"),
        "first_as_of": ("date", "the first day that the champion scored"),
        "last_as_of": ("date", f"the last of its first {DAYS}"),
        "metric": ("text", "log_loss, profit (share of a customer's value) or auc"),
        "difference": ("double", "the model before minus the champion, on the same forecasts"),
        "low": ("double", "lower end of its 95 % interval, clustered by entity"),
        "high": ("double", "its upper end"),
        "forecasts": ("bigint", "how many forecasts were compared"),
        "worse": (
            "boolean",
            "true: the gate would promote the model before it against the champion",
        ),
        MEASURED_ON: ("date", "the day at whose end this was known"),
    }
)


@dataclass(frozen=True)
class FirstWeek:
    """The first days that a model scored, and what was in force before it."""

    version: str
    before: str | None
    as_ofs: list[dt.date]


def ended_on(tables: Tables, settings: "QuestionSettings", day: dt.date) -> FirstWeek | None:
    """The first week whose last outcome became known on ``day``; None: there is none."""
    weeks = (
        _week_until(tables, settings, as_of) for as_of in settings.question.horizon.falls_due(day)
    )
    return next(filter(None, weeks), None)


def _week_until(tables: Tables, settings: "QuestionSettings", last: dt.date) -> FirstWeek | None:
    """The first week whose last day is ``last``; None: it is no such day."""
    files = tables.day_files(settings.store.forecasts, last)
    as_ofs = sorted(files)[-DAYS - 1 :]
    if last not in files or len(as_ofs) < DAYS:
        return None
    scored = read_files(files[as_of] for as_of in as_ofs)
    by = dict(tables.rows(f"select distinct as_of, model_version from {scored} where not backtest"))
    week, version = as_ofs[-DAYS:], by.get(last)
    if version is None or version in UNTRAINED or {by.get(as_of) for as_of in week} != {version}:
        return None
    if len(as_ofs) > DAYS and by.get(as_ofs[0]) == version:
        return None
    row = ledger.before(tables.state, settings.name, settings.question.meaning, version)
    return FirstWeek(version, row["model_version"] if row else None, week)


def compare(
    tables: Tables, settings: "QuestionSettings", week: FirstWeek, day: dt.date
) -> "Versus | str":
    """The model before against the champion, on its first week's forecasts; or why they cannot
    be compared.
    """
    import pandas as pd

    from churn_orchestration.churn.grading.versus import Versus

    entity = settings.question.entity
    parts = []
    for as_of in week.as_ofs:
        rows = _rows(tables, settings, as_of, day)
        if rows is None:
            return f"the features of {as_of} are not kept"
        former = Forecaster.named(tables, settings, week.before, as_of)
        read = former.model.feature_names_in_ if former.model is not None else ()
        if gone := sorted(set(read) - set(rows.columns)):
            return f"{former.version} reads features that are gone: {', '.join(gone[:3])}"
        parts.append(
            rows[[entity, "label", "churn_probability"]].assign(
                before=forecast(settings, rows, former)
            )
        )
    compared = pd.concat(parts)
    churned = int(compared["label"].sum())
    if min(churned, len(compared) - churned) < MIN_ENTITIES:
        return f"{churned} of its {len(compared)} forecasts churned: too few to compare"
    result = Versus.of(
        compared["label"], compared["before"], compared["churn_probability"], compared[entity],
        f"the first {DAYS} days that it scored", settings.economics,
    )  # fmt: skip
    return result.broken() or result


def _rows(
    tables: Tables, settings: "QuestionSettings", as_of: dt.date, day: dt.date
) -> "pd.DataFrame | None":
    """Forecast, outcome as known by ``day`` and features of each entity; None: the features are not
    kept.
    """
    file, entity = tables.day_file(settings.gold, as_of), identifier(settings.question.entity)
    if file is None:
        return None
    message = (
        f"select {entity}, label, churn_probability "
        f"from ({last_known(tables, settings, as_of, day)})"
    )
    described = population(settings.question, f"(from {literal(file)})", as_of)
    return tables.db.execute(
        f"from ({described}) join ({message}) using ({entity}) where label is not null order by "
        f"{entity}"
    ).df()


def measure(
    tables: Tables, settings: "QuestionSettings", day: dt.date
) -> tuple[list[dict[str, Any]], str | None]:
    """Store the comparison of the first week known on ``day``, if any; its rows, and what they
    say.
    """
    week = ended_on(tables, settings, day)
    result = compare(tables, settings, week, day) if week else None
    rows = list[dict[str, Any]]()
    if week and result and not isinstance(result, str):
        of = {
            "model_version": week.version, "before": week.before or settings.untrained,
            "first_as_of": week.as_ofs[0], "last_as_of": week.as_ofs[-1], "forecasts": result.rows,
            "worse": result.better, MEASURED_ON: day,
        }  # fmt: skip
        for metric in ("log_loss", "profit", "auc"):
            change_of = getattr(result, metric)
            rows.append(
                of
                | {
                    "metric": metric,
                    "difference": change_of["value"],
                    "low": change_of["low"],
                    "high": change_of["high"],
                }
            )
    put_rows(tables, settings.store.first_week, day, rows, COLUMNS, "metric")
    if week and isinstance(result, str):
        return rows, f"{week.version} cannot be compared with what was before it: {result}"
    return rows, sentence(rows) if rows else None


def sentence(rows: list[dict[str, Any]]) -> str:
    """What the rows of one first week say."""
    by = {row["metric"]: row for row in rows}
    log_loss = by["log_loss"]
    verdict = "is better than" if log_loss["worse"] else "is not surely better than"
    differences = ", ".join(
        f"{metric.replace('_', ' ')} {by[metric]['difference']:+.4f} "
        f"[{by[metric]['low']:+.4f}, {by[metric]['high']:+.4f}]"
        for metric in ("log_loss", "profit")
    )
    return (
        f"{log_loss['before']} {verdict} champion {log_loss['model_version']} on the forecasts of "
        f"{log_loss['first_as_of']:%Y-%m-%d} to {log_loss['last_as_of']:%Y-%m-%d}: {differences} "
        "of a customer's value"
    )


def first_week_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """monitoring/<question>_first_week, one partition a day, and the check that the champion
    is no worse than the one before it.
    """
    return DayTable(
        business=business,
        about=settings.sentence(),
        like=settings.gold,
        table=settings.store.first_week,
        says="One row per metric on the day on which the outcome of a champion's first "
        f"{DAYS} days is known, none on others: what was in force before it, held up to it on the "
        "same forecasts. It is looked at once a champion, by the rule of the gate: where the model "
        "before it would be promoted, it is worse.",
        columns=described(COLUMNS),
        version=settings.version(stages.FIRST_WEEK),
        upstream=[settings.store.grades],
        store=partial(_store, settings),
        checks={STANDS: "The champion's first week was not worse than without it."},
        kinds=frozenset({"parquet", "scikitlearn"}),
    ).asset()


def _store(settings: "QuestionSettings", tables: Tables, days: list[dt.date]) -> Stored:
    result = {day: measure(tables, settings, day) for day in days}
    sentences = {day: words for day, (_, words) in result.items() if words}
    stands = dg.AssetCheckResult(
        check_name=STANDS,
        passed=not any(row["worse"] for rows, _ in result.values() for row in rows),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(sentences.values()) or None,
    )
    return Stored(
        rows={day: len(rows) for day, (rows, _) in result.items()},
        metadata={day: {"first_week": words} for day, words in sentences.items()},
        checks=[stands],
    )
