"""Predictions of a day: probability, band and reasons by the champion; before it, by a process,
the rules or a rate.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business
from churn_orchestration.churn import bound, protocol
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.grading import gate
from churn_orchestration.churn.protocol import BASE_RATE, PROCESS, RULES, UNTRAINED
from churn_orchestration.churn.question.labels import INACTIVITY, population
from churn_orchestration.churn.question.settings import CAPACITY, PROFIT
from churn_orchestration.churn.sql import identifier, identifiers
from churn_orchestration.churn.watching.measures import churned_at
from churn_orchestration.components.days import (
    Computed,
    accepted_spec,
    daily,
    due,
    record_and_publish,
)
from churn_orchestration.components.question.processes import process_of_day
from churn_orchestration.components.question.scoring.issued import (
    issue,
    scored_again_since,
    set_apart_former,
)
from churn_orchestration.components.question.training.promotion import mirror
from churn_orchestration.components.shown import keys, look
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from churn_orchestration.churn.learners import LogOddsBlend
    from churn_orchestration.churn.process.gold import DayProcess
    from churn_orchestration.components.question.question import QuestionSettings

NORMAL, LOW = "normal", "low"
AT_ONCE = 100_000  # rows that are forecast: members hold several times as much of them
SHOWN = 3  # days that were scored again, in words


@dataclass(frozen=True)
class Forecaster:
    """What scores a day: a model and its record; without a model a purchase process, the rules, or
    the known churn rate.

    ``contact_threshold``: the probability from which on a customer is contacted; None: the capacity
    decides, or nobody knows, see ``contact``.
    """

    version: str
    model: "LogOddsBlend | None" = None
    process: "DayProcess | None" = None
    base_rate: float | None = None
    contact_threshold: float | None = None

    @property
    def confidence(self) -> str:
        """How far to trust its probabilities: they were graded on rows unseen, or never."""
        return LOW if self.version in UNTRAINED else NORMAL

    @classmethod
    def in_force(cls, tables: Tables, settings: "QuestionSettings", as_of: dt.date) -> "Forecaster":
        """The champion by the ledger as of the day; before any, what does without a model."""
        champion = ledger.champion(tables.state, settings.name, as_of, settings.question.meaning)
        version = champion["model_version"] if champion else None
        return cls.named(tables, settings, version, as_of)

    @classmethod
    def named(
        cls,
        tables: Tables,
        settings: "QuestionSettings",
        version: str | None,
        as_of: dt.date,
    ) -> "Forecaster":
        """A model version; None: what does without a model on the day."""
        if version is None:
            threshold = settings.economics.cut if settings.contact.by == PROFIT else None
            return replace(_untrained(tables, settings, as_of), contact_threshold=threshold)
        files = ModelFiles(tables.state, settings.name, version)
        return cls.of(tables, settings, files.record(), files.model())

    @classmethod
    def of(
        cls,
        tables: Tables,
        settings: "QuestionSettings",
        record: dict[str, Any],
        model: "LogOddsBlend",
    ) -> "Forecaster":
        """A trained model; its held-out forecasts decide whom to contact."""
        version = record["model_version"]
        return cls(
            version,
            model,
            base_rate=record["base_rate"],
            contact_threshold=_contact_threshold(tables, settings, version),
        )


def _contact_threshold(tables: Tables, settings: "QuestionSettings", version: str) -> float | None:
    """The probability from which on a customer is contacted, chosen on its held-out
    forecasts.
    """
    from churn_orchestration.churn.grading import contact

    held_out = ModelFiles(tables.state, settings.name, version).held_out()
    if settings.contact.by in (PROFIT, CAPACITY):
        return contact.threshold(settings.contact, held_out, settings.economics)
    if held_out.empty:
        return None
    return contact.threshold(
        settings.contact,
        contact.choose_and_report_rows(held_out, settings.question.entity)[0],
        settings.economics,
    )


def _contacted(
    settings: "QuestionSettings", frame: "pd.DataFrame", probability: "np.ndarray", by: Forecaster
) -> "np.ndarray | None":
    """Who is contacted; None where no model was graded to say from which probability on."""
    import pandas as pd

    from churn_orchestration.churn.grading import contact

    if by.contact_threshold is None and settings.contact.by != CAPACITY:
        return None
    scored = pd.DataFrame(
        {"model": probability, "recent_value": frame[settings.value].to_numpy(float)}
    )
    return contact.contacted(settings.contact, scored, by.contact_threshold, settings.economics)


def _untrained(tables: Tables, settings: "QuestionSettings", as_of: dt.date) -> Forecaster:
    """What scores a day without a model: a purchase process, the rules, or the known churn rate."""
    question = settings.question
    report = ledger.newest_report(tables.state, settings.name, as_of, question.meaning)
    usual = PROCESS if question.kind == INACTIVITY else BASE_RATE
    by = gate.better_untrained(report, usual)
    if by == PROCESS and (file := tables.day_file(settings.gold, as_of)):
        if process := process_of_day(tables, question, f"(from {literal(file)})"):
            return Forecaster(PROCESS, process=process)
        by = gate.better_untrained(report, RULES, without=PROCESS)
    if by == BASE_RATE:
        rate = _known_rate(tables, settings, as_of)
        if rate is not None or not question.activity:
            return Forecaster(BASE_RATE, base_rate=rate)
    return Forecaster(RULES)


def _known_rate(tables: Tables, settings: "QuestionSettings", as_of: dt.date) -> float | None:
    """The churn rate of the newest day whose outcome is known at the end of ``as_of``; None: of
    none yet.
    """
    if label := settings.question.label:
        return tables.rows(label.rate_at(as_of))[0][0]
    newest = settings.question.horizon.newest_as_of(as_of)
    [(customers, churned)] = tables.rows(churned_at(settings.question, newest, as_of))
    # Half a customer more of each kind: of a few who all stayed, nobody can say that none ever
    # leaves.
    return (churned + 0.5) / (customers + 1) if customers else None


def score(
    settings: "QuestionSettings", frame: "pd.DataFrame", words: "pd.DataFrame", by: Forecaster
) -> "pd.DataFrame":
    """Probability, band and reasons of each feature row, in its order.

    Parameters
    ----------
    frame : the population's feature rows of one as_of
    words : the feature catalogue, indexed by feature
    by : what scores them
    """
    from churn_orchestration.churn.learning.bands import band

    if frame.empty:
        columns = ["churn_probability", "band", "reasons", "model_version", "label_known_on"]
        columns += ["days_since_last", "recent_value", "contact", "confidence"]
        return frame[[settings.question.entity, "as_of"]].reindex(
            columns=[settings.question.entity, "as_of", *columns]
        )
    probability = forecast(settings, frame, by)
    horizon = settings.question.horizon
    known_on = {day: horizon.label_known_on(day.date()) for day in frame["as_of"].unique()}
    base_rate = (by.base_rate or float(probability.mean())) if settings.relative_bands else None
    return frame[[settings.question.entity, "as_of"]].assign(
        churn_probability=probability,
        band=band(probability, settings.edges, base_rate),
        reasons=_reasons(settings, frame, words, by, probability),
        model_version=by.version,
        label_known_on=frame["as_of"].map(known_on),
        days_since_last=frame[settings.silence] if settings.silence else None,
        recent_value=frame[settings.value],
        contact=_contacted(settings, frame, probability, by),
        confidence=by.confidence,
    )


def forecast(settings: "QuestionSettings", frame: "pd.DataFrame", by: Forecaster) -> "np.ndarray":
    """Probabilities of feature rows, in their order: of the model, of the rules, or the known churn
    rate.
    """
    import numpy as np

    from churn_orchestration.churn.rules import rules_forecast

    if by.model is not None:
        parts, names = list[np.ndarray](), list(by.model.feature_names_in_)
        for start in range(0, len(frame), AT_ONCE):
            part = frame.iloc[start : start + AT_ONCE]
            features, probability = part[names].astype(float), np.empty(len(part))
            for rows, model in by.model.for_entities(part[settings.question.entity]):
                probability[rows] = model.predict_proba(features[rows])[:, 1]
            parts.append(probability)
        return np.concatenate(parts)
    if by.process is not None:
        from scipy.special import expit

        return expit(by.process.log_odds(frame))
    if by.version == BASE_RATE:
        return np.full(len(frame), by.base_rate, float)
    return rules_forecast(settings.question, frame).to_numpy()


def _reasons(
    settings: "QuestionSettings",
    frame: "pd.DataFrame",
    words: "pd.DataFrame",
    by: Forecaster,
    probability: "np.ndarray",
) -> "np.ndarray":
    """What speaks for each forecast; beyond MOST_EXPLAINED rows, for those with the most at stake,
    and None for the others.
    """
    import numpy as np

    at_stake = np.nan_to_num(probability * frame[settings.value].to_numpy(float), nan=-np.inf)
    places = np.sort(np.lexsort((-probability, -at_stake))[: bound.MOST_EXPLAINED])
    result = np.full(len(frame), None, object)
    for place, why in zip(
        places, _why(settings, frame, frame.iloc[places], words, by), strict=True
    ):
        result[place] = why
    return result


def _why(
    settings: "QuestionSettings",
    everybody: "pd.DataFrame",
    frame: "pd.DataFrame",
    words: "pd.DataFrame",
    by: Forecaster,
) -> list[list[str]]:
    """What speaks for the forecasts of ``frame``, some of everybody, in words; a known churn rate
    has no reasons.
    """
    import pandas as pd
    from scipy.special import logit

    from churn_orchestration.churn.learning.reasons import reasons

    if by.model is not None:
        from churn_orchestration.churn.learning.contributions import (
            of_entities,
        )  # imports every learner

        features = frame[list(by.model.feature_names_in_)].astype(float)
        moved = of_entities(by.model, features, frame[settings.question.entity])
        return reasons(moved, frame, words, among=everybody)
    if by.process is not None:
        return reasons(by.process.contributions(frame), frame, words, among=everybody)
    if by.version == BASE_RATE:
        return [[]] * len(frame)
    odds, usual = (logit(forecast(settings, rows, by)) for rows in (frame, everybody))
    # Both features of the rules are of one topic, the silence.
    moved = pd.DataFrame({settings.silence: odds - usual.mean()})
    return reasons(moved, frame, words, among=everybody)


def score_days(
    tables: Tables, settings: "QuestionSettings", days: list[dt.date]
) -> tuple[dict[dt.date, int], dict[dt.date, Refusal]]:
    """Store the predictions of each day whose features are valid; rows by day, and the refused
    days.
    """
    faults = tables.days.faults(settings.gold, min(days), max(days)) if days else {}
    refused: dict[dt.date, Refusal] = {
        day: reason
        for day in days
        if (reason := faults.get(day) or _unanswerable(tables, settings, day))
    }
    valid = [day for day in days if day not in refused]
    words = catalogue_words(tables, settings) if valid else None  # made with the first gold day
    rows = {}
    for day in valid:
        frame = tables.db.execute(
            population(
                settings.question, f"(from {literal(tables.day_file(settings.gold, day))})", day
            )
            + f" order by {identifier(settings.question.entity)}"
        ).df()
        scored = score(settings, frame, words, Forecaster.in_force(tables, settings, day))
        rows[day] = write(tables, settings, day, scored, backtest=False)
    return rows, refused


def _unanswerable(tables: Tables, settings: "QuestionSettings", day: dt.date) -> Refusal | None:
    """Why a day may not be scored though its features are valid: who left does not, or no label is
    known.
    """
    for table in settings.question.outcome_tables:
        if fault := tables.days.fault(table, tables.days.first_day(table) or day, day):
            return fault
    if (label := settings.question.label) and _known_rate(tables, settings, day) is None:
        return f"{label.table} says of nobody whether {label.condition}"
    return None


def write(
    tables: Tables,
    settings: "QuestionSettings",
    day: dt.date,
    scored: "pd.DataFrame",
    *,
    backtest: bool,
) -> int:
    """Store the predictions of one day, one row per entity in its order; an empty day keeps the
    types.
    """
    entity, base = identifier(settings.question.entity), settings.question.base
    kind = tables.columns(base.table)[base.entity]
    tables.db.register("_scored", scored)
    select = f"""
select {entity}::{kind} as {entity}, as_of::date as as_of, \
churn_probability::double as churn_probability,
  band::varchar as band, reasons::varchar[] as reasons, model_version::varchar as model_version,
  label_known_on::date as label_known_on, days_since_last::bigint as days_since_last,
  recent_value::double as recent_value, contact::boolean as contact, \
confidence::varchar as confidence,
  {backtest} as backtest
from _scored order by {entity}"""
    rows = issue(tables, settings, day, select, backtest=backtest)
    tables.db.unregister("_scored")
    return rows


def catalogue_words(tables: Tables, settings: "QuestionSettings") -> "pd.DataFrame":
    """The catalogue of the question's features, indexed by feature."""
    return tables.db.execute(f"from {settings.gold}_catalogue").df().set_index("feature")


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
        "model_version": (
            "text",
            f"the model that scored the row; before any, {settings.before_a_model}",
        ),
        "label_known_on": ("date", "the day on which it is known whether the forecast came true"),
        "days_since_last": ("bigint", f"days since the last {noun}; null: never"),
        "recent_value": ("double", f"what the entity was worth of late: {settings.value}"),
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


def prediction_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """predictions/<question>, one partition a day."""
    key = dg.AssetKey(["predictions", settings.name])

    upstream = [settings.gold, *settings.question.outcome_tables]

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
        check_specs=[
            accepted_spec(key),
            dg.AssetCheckSpec(
                "somebody_is_scored",
                asset=key,
                description="The population of the day is not empty.",
            ),
            dg.AssetCheckSpec(
                "as_issued",
                asset=key,
                description="What was scored again after a later day is what was issued; where "
                f"it is not, it is kept apart, in restated.{settings.name}, "
                "and the ledger says so.",
            ),
            dg.AssetCheckSpec(
                "alias_is_the_champion",
                asset=key,
                description="MLflow's alias names the champion of the ledger; where it does not, "
                "it is put back. What scores goes by the ledger.",
            ),
            dg.AssetCheckSpec(
                "no_copies", asset=key, description="No customer is there twice, under another id."
            ),
        ],
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
            again = scored_again_since(tables, settings, line)
            restated = [row for row in again if row["decision"] == protocol.RESTATE]
            lines = [f"{row['cutoff']}: {row['reason']}" for row in restated[:SHOWN]]
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name="as_issued",
                passed=not restated,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(lines) or None,
                metadata={"scored_again": {row["cutoff"]: row["decision"] for row in again}},
            )
            moved = mirror(tables, tracking, settings)
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name="alias_is_the_champion",
                passed=moved is None,
                severity=dg.AssetCheckSeverity.WARN,
                description=moved,
            )
            empty = [str(day) for day, count in rows.items() if not count]
            why = (
                "no data in the observation window of"
                if settings.silence
                else "nobody is left to score on"
            )
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name="somebody_is_scored",
                passed=not empty,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{why} {', '.join(empty)}" if empty else None,
            )
            copied = copied_message(tables, settings, max(rows)) if rows else ""
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name="no_copies",
                passed=not copied,
                severity=dg.AssetCheckSeverity.WARN,
                description=copied or None,
            )
            about = {
                day: _version(tables, settings, day) | _shape(tables, settings.name, day)
                for day in rows
            }
            drawn = (
                {"picture_scores_by_band": _scores_by_band(tables, settings.name, max(rows))}
                if rows
                else {}
            )
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
                    pictures=drawn,
                    note=f"scored by {', '.join(by)}" if by else "",
                ),
            )

    return predictions


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


def _shape(tables: Tables, question: str, day: dt.date) -> dict[str, Any]:
    """The numbers of a day that are worth a plot; a day on which nobody was scored has no mean."""
    [(mean, high, critical)] = tables.rows(
        "select avg(churn_probability), count(*) filter (band = 'high'), count(*) filter (band = "
        f"'critical') from {literal(tables.day_file(f'predictions.{question}', day))}"
    )
    counted = {"high_count": high, "critical_count": critical}
    return counted if mean is None else {"mean_churn_probability": round(mean, 4)} | counted


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
