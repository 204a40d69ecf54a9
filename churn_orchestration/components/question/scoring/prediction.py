"""predictions/<question>: the asset, its checks and what the UI shows of a day."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business
from churn_orchestration.churn import bound, protocol
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.sql import identifiers
from churn_orchestration.components.days import (
    Computed,
    accepted_spec,
    daily,
    due,
    record_and_publish,
)
from churn_orchestration.components.question.scoring.issued import (
    scored_again_since,
    set_apart_former,
)
from churn_orchestration.components.question.scoring.scores import score_days
from churn_orchestration.components.question.training.promotion import mirror
from churn_orchestration.components.shown import keys, look
from churn_orchestration.storage import ledger
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

_FACTORS = {
    "risk_factors": ("text[]", "what raises this forecast most, strongest first"),
    "protective_factors": ("text[]", "what lowers this forecast most, strongest first"),
}
SHOWN = 3  # days that were scored again, in words
CHECKS = {
    "somebody_is_scored": "The population of the day is not empty.",
    "as_issued": "What was scored again after a later day is what was issued; where it is not, it "
    "is kept apart, in restated.{name}, and the ledger says so.",
    "alias_is_the_champion": "MLflow's alias names the champion of the ledger; where it does not, "
    "it is put back. What scores goes by the ledger.",
    "no_copies": "No customer is there twice, under another id.",
}


def prediction_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """predictions/<question>, one partition a day."""
    key = dg.AssetKey(["predictions", settings.name])
    upstream = [settings.gold, *settings.question.outcome_tables]
    upstream += [settings.value] if settings.spend else []
    checks = [
        dg.AssetCheckSpec(name, asset=key, description=text.format(name=settings.name))
        for name, text in CHECKS.items()
    ]

    @dg.asset(
        key=key,
        deps=[
            *(dg.AssetKey(table.split(".")) for table in upstream),
            dg.AssetDep(
                dg.AssetKey(["models", settings.name]), partition_mapping=dg.LastPartitionMapping()
            ),
        ],
        description=f"One row per {settings.question.entity} and day: probability, band, reasons "
        f"and forecaster.\n\n{settings.sentence()} The champion of the day scores it; "
        f"before any model: {settings.before_a_model}." + look(business, key),
        check_specs=[accepted_spec(key), *checks],
        code_version=settings.version(stages.PREDICTIONS),
        **daily(business, key, {"parquet", "scikitlearn"}, _columns(settings)),
    )
    def predictions(
        context: dg.AssetExecutionContext, warehouse: Warehouse, tracking: Tracking
    ) -> Iterator[Any]:
        with warehouse.open() as tables:
            if former := set_apart_former(tables, settings):
                context.log.warning(former)
            line = len(ledger.read(tables.state))
            rows, refused = score_days(tables, settings, due(context, tables, key))
            yield _as_issued(scored_again_since(tables, settings, line))
            yield _warning("alias_is_the_champion", mirror(tables, tracking, settings))
            yield _somebody_is_scored(settings, rows)
            newest = max(rows, default=None)
            copied = copied_message(tables, settings, newest) if newest else None
            yield _warning("no_copies", copied)
            about = {day: _day_metadata(tables, settings, day) for day in rows}
            scores = _scores_by_band(tables, settings.name, newest) if newest else None
            by = sorted({str(day["model_version"]) for day in about.values()})
            yield from record_and_publish(
                context,
                tables,
                key,
                Computed(
                    declaration=settings.version(stages.PREDICTIONS),
                    rows=rows,
                    refused=refused,
                    upstream=upstream,
                    metadata=about,
                    pictures={"picture_scores_by_band": scores},
                    note=f"scored by {', '.join(by)}" if by else "",
                ),
            )

    return predictions


def _warning(name: str, message: str | None, **metadata: Any) -> dg.AssetCheckResult:
    """The result of a check that fails where there is something to say."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=not message,
        severity=dg.AssetCheckSeverity.WARN,
        description=message or None,
        metadata=metadata,
    )


def _as_issued(again: list[dict[str, Any]]) -> dg.AssetCheckResult:
    """``again``: the lines of the ledger of what this run scored again."""
    restated = [row for row in again if row["decision"] == protocol.RESTATE]
    lines = [f"{row['cutoff']}: {row['reason']}" for row in restated[:SHOWN]]
    scored_again = {row["cutoff"]: row["decision"] for row in again}
    return _warning("as_issued", "; ".join(lines), scored_again=scored_again)


def _somebody_is_scored(
    settings: "QuestionSettings", rows: Mapping[dt.date, int]
) -> dg.AssetCheckResult:
    empty = [str(day) for day, count in rows.items() if not count]
    why = (
        "no data in the observation window of" if settings.silence else "nobody is left to score on"
    )
    return _warning("somebody_is_scored", f"{why} {', '.join(empty)}" if empty else None)


def _columns(settings: "QuestionSettings") -> list[dg.TableColumn]:
    noun = (
        settings.question.activity.noun
        if settings.question.activity
        else "event: none is in the population"
    )
    described = {
        "churn_probability": ("double", f"probability of churn, 0 to 1. {settings.sentence()}"),
        "band": ("text", "low, medium, high or critical, by probability"),
        "reasons": (
            "text[]",
            "what moves this forecast most, strongest first; ↑ raises the risk, ↓ lowers it; "
            f"null: beyond the {bound.MOST_EXPLAINED:,} with the most at stake",
        ),
        **(_FACTORS if settings.reasons.factors else {}),
        "model_version": (
            "text",
            f"the model that scored the row; before any, {settings.before_a_model}",
        ),
        "label_known_on": ("date", "the day on which it is known whether the forecast came true"),
        "days_since_last": ("bigint", f"days since the last {noun}; null: never"),
        "recent_value": ("double", settings.worth),
        "contact": (
            "boolean",
            f"contact {settings.contact.sentence()}; null: not known before there is a model",
        ),
        "confidence": (
            "text",
            "normal: graded on rows unseen; low: no model was",
        ),
        "backtest": (
            "boolean",
            "true: scored in hindsight by a look back; false: a forecast of that day",
        ),
    }
    return [
        *keys(settings.question.entity),
        *(dg.TableColumn(name, *words) for name, words in described.items()),
    ]


def copied_message(tables: Tables, settings: "QuestionSettings", day: dt.date) -> str:
    """What a person reads of customers whom a day has twice, under other ids; nothing where it has
    none.
    """
    from churn_orchestration.churn.question.copies import FEW, copies_message
    from churn_orchestration.components.question.training.snapshot import distinct

    file = literal(tables.day_file(settings.gold, day))
    names = identifiers(feature.name for feature in catalogue(settings.question.features))
    [(rows, contents)] = tables.rows(f"select count(*), count(distinct hash({names})) from {file}")
    if rows - contents < FEW * rows:
        return ""
    frame = tables.db.execute(f"from {file}").df().assign(label=False)
    return copies_message(
        len(frame) - len(distinct(settings, frame)), len(frame), settings.question.entity
    )


def _day_metadata(tables: Tables, settings: "QuestionSettings", day: dt.date) -> dict[str, Any]:
    """The numbers of a day that are worth a plot; a day on which nobody was scored has no mean."""
    [(mean, high, critical)] = tables.rows(
        "select avg(churn_probability), count(*) filter (band = 'high'), count(*) filter (band = "
        f"'critical') from {literal(tables.day_file(settings.store.forecasts, day))}"
    )
    shape = {} if mean is None else {"mean_churn_probability": round(mean, 4)}
    counted = {"high_count": high, "critical_count": critical}
    return _version(tables, settings, day) | shape | counted


def _scores_by_band(tables: Tables, question: str, day: dt.date) -> str | None:
    file = literal(tables.day_file(f"predictions.{question}", day))
    [(mean,)] = tables.rows(f"select avg(churn_probability) from {file}")
    place = (
        f"least(floor(churn_probability * {pictures.SCORE_BINS}), {pictures.SCORE_BINS - 1})::int"
    )
    counts = tables.rows(f"select {place}, count(*) from {file} group by 1 order by 1")
    bands = tables.rows(
        f"select band, count(*), min(churn_probability), max(churn_probability) from {file} group "
        "by 1 order by 3"
    )
    spans = {band: (customers, low, high) for band, customers, low, high in bands}
    return pictures.scores_by_band(question, day, mean, dict(counts), spans)


def _version(tables: Tables, settings: "QuestionSettings", day: dt.date) -> dict[str, Any]:
    champion = ledger.champion(tables.state, settings.name, day, settings.question.meaning)
    if champion is None:
        file = literal(tables.day_file(settings.store.forecasts, day))
        [(by,)] = tables.rows(f"select any_value(model_version) from {file}")
        return {"model_version": by}
    return {"model_version": champion["model_version"], "model_cutoff": champion["cutoff"]}
