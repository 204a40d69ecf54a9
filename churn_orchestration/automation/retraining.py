"""The sensors that act on the monitoring of the newest day: retrain, or roll back."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration.automation.jobs import SNAPSHOT_LAYERS, TRAIN
from churn_orchestration.automation.rollback import ROLL_BACK, UNDO, Undoing
from churn_orchestration.business import Business
from churn_orchestration.churn import protocol
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.derived import CALENDAR
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.churn.watching import signals
from churn_orchestration.components.question.monitoring.drift import HARMFUL, sentence
from churn_orchestration.components.question.monitoring.first_week import (
    sentence as first_week_words,
)
from churn_orchestration.components.question.training.promotion import record_of
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.layers import DOOR

if TYPE_CHECKING:
    import duckdb

    from churn_orchestration.components.question.question import QuestionSettings

METRICS = ("auc", "log_loss", "calibration_error", "base_rate")
TRAINED = (protocol.PROMOTE, protocol.KEEP, protocol.REFUSE)
Verdict = tuple[str, dg.RunRequest | None]
"""What is to be done about a champion, in words; and the run, if one is requested."""
Look = Callable[["QuestionSettings", signals.ChampionState], Verdict]


def sensors(
    business: Business, questions: Iterable["QuestionSettings"]
) -> list[dg.SensorDefinition]:
    """A sensor for each signal and one that rolls back, over all questions of time of a
    business.
    """
    watched = [settings for settings in questions if settings.question.kind != STATIC]
    retrain = [
        _once_a_day(
            business,
            watched,
            f"retrain_on_{name}",
            TRAIN,
            "Once switched on, requests a training on the newest day when this holds: "
            f"{signals.DESCRIPTIONS[name]} It waits for {signals.COOL_DOWN_DAYS} days after a "
            "training, twice as long after each in vain for the same reason, and for something "
            "new to learn. The gate decides whether what was trained is promoted.",
            partial(retrain_or_skip, name, find),
        )
        for name, find in signals.SIGNALS.items()
    ]
    undo = _once_a_day(
        business,
        watched,
        f"{ROLL_BACK}_champion",
        ROLL_BACK,
        "Once switched on, puts what was in force before a champion in force again, where the "
        "champion's first week, once its outcome is known, was worse than without it, chance ruled "
        "out.",
        roll_back_or_skip,
    )
    return [*retrain, undo]


def _once_a_day(
    business: Business,
    watched: list["QuestionSettings"],
    name: str,
    job: str,
    description: str,
    look: Look,
) -> dg.SensorDefinition:
    """A sensor that looks at each question once a watched day; its cursor: question -> the day
    looked at.
    """

    @dg.sensor(name=name, job_name=job, minimum_interval_seconds=300, description=description)
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        requests, messages = list[dg.RunRequest](), list[str]()
        for settings in watched:
            state = champion_state(business, settings)
            day = str(state.day) if state else ""
            if state is None:
                messages.append(f"{settings.name}: nothing was trained yet, or no day is watched")
            elif seen.get(settings.name, "") >= day:
                messages.append(f"{settings.name}: looked at {day} already")
            else:
                seen[settings.name] = day
                reason, request = look(settings, state)
                messages.append(f"{settings.name}: {reason}")
                requests += [request] if request else []
        cursor = json.dumps(seen, sort_keys=True)
        return dg.SensorResult(
            requests, skip_reason=None if requests else "; ".join(messages), cursor=cursor
        )

    return sensor


def retrain_or_skip(
    name: str,
    find: Callable[[signals.ChampionState], signals.Signal | None],
    settings: "QuestionSettings",
    state: signals.ChampionState,
) -> Verdict:
    """The run that retrains on the day, where a signal speaks for it; else why there is none."""
    signal = find(state)
    if signal is None:
        return f"nothing on {state.day}: {signals.why_quiet(name, state)}", None
    cool_on, in_vain = state.cool_on(signal.trigger), state.in_vain.get(signal.trigger)
    if state.day < cool_on:
        vain = f", {in_vain} in vain for such a reason" if in_vain else ""
        cools = f"it was trained on {state.trained_on}{vain}, and cools down until {cool_on}"
        return f"{signal.evidence}; but {cools}", None
    worth = signals.what_is_new(state)
    if worth is None:
        return (
            f"{signal.evidence}; but no outcome is known that the last training has not learned "
            "from",
            None,
        )
    evidence = f"{signal.evidence}; {worth}"
    request = dg.RunRequest(
        run_key=f"{name}:{settings.name}:{state.day}",
        partition_key=str(state.day),
        asset_selection=[dg.AssetKey([layer, settings.name]) for layer in SNAPSHOT_LAYERS],
        tags={protocol.TRIGGER_TAG: signal.trigger, protocol.EVIDENCE_TAG: evidence},
    )
    return evidence, request


def roll_back_or_skip(settings: "QuestionSettings", state: signals.ChampionState) -> Verdict:
    """The run that rolls back, where the champion's first week was worse than without it; else why
    there is none.
    """
    if state.worse_first_week is None:
        return (
            f"nothing on {state.day}: no first week of {state.version} is known to be worse",
            None,
        )
    undo = Undoing(
        question=settings.name,
        version=state.version,
        to=str(state.previous_version),
        reason=state.worse_first_week,
    )
    request = dg.RunRequest(
        # One a day: where it failed, again tomorrow.
        run_key=f"{ROLL_BACK}:{settings.name}:{state.version}:{state.day}",
        run_config=dg.RunConfig({UNDO: undo}),
        tags={
            protocol.TRIGGER_TAG: protocol.PERFORMANCE,
            protocol.EVIDENCE_TAG: state.worse_first_week,
        },
    )
    return state.worse_first_week, request


def champion_state(
    business: Business, settings: "QuestionSettings"
) -> signals.ChampionState | None:
    """The monitored state of the champion at the end of the newest watched day; None before the
    first training.

    Where no training gave a champion, it is that of the last training, without forecasts.
    """
    trained = [
        row
        for row in ledger.read(business.state)
        if row["subject"] == settings.name
        and row["decision"] in TRAINED
        and row.get("meaning") == settings.question.meaning
    ]
    if not trained or not (business.state / DOOR).is_file():
        return None
    with door(business.state) as db:
        tables = {name for (name,) in _rows(db, "select view_name from duckdb_views()")}
        drift, performance, week = (
            f"{settings.name}_{what}" for what in ("drift", "performance", "first_week")
        )
        if not {drift, performance, week} <= tables:
            return None
        watched = (f"monitoring.{table}" for table in (drift, performance, week))
        refuse_damaged(db, *watched, settings.store.forecasts)
        [(day,)] = _rows(  # of the scores where too few customers are measured
            db,
            f"""select coalesce(
                greatest((select max(measured_on) from monitoring.{performance}),
                         (select max(measured_on) from monitoring.{drift})),
                (select max(as_of) from predictions.{settings.name}))""",
        )
        if day is None:
            return None
        champion = ledger.champion(business.state, settings.name, day, settings.question.meaning)
        version = champion["model_version"] if champion else settings.untrained
        results = _monitoring_results(db, settings, version, day) if champion else {}
    last = record_of(business.state, settings.name, trained[-1]["model_version"])
    record = record_of(business.state, settings.name, version) if champion else last
    season = {f.name for f in catalogue(settings.question.features) if f.family == CALENDAR}
    not_promoted = takewhile(lambda row: row["decision"] != protocol.PROMOTE, reversed(trained))
    return signals.ChampionState(
        day=day, version=version, cutoff=dt.date.fromisoformat(record["cutoff"]),
        trained_on=dt.date.fromisoformat(trained[-1]["decided_on"]),
        as_ofs=[dt.date.fromisoformat(as_of) for as_of in last["as_ofs"]],
        in_vain=Counter(row["trigger"] for row in not_promoted),
        features=[name for name in record["features"] if name not in season],
        declared=[f.name for f in catalogue(settings.question.features) if f.name not in season],
        matured=settings.question.horizon.newest_as_of(day),
        graded=record["evaluation"]["report"].get("model", {}) if champion else {},
        **results,
    )  # fmt: skip


def _monitoring_results(
    db: "duckdb.DuckDBPyConnection", settings: "QuestionSettings", version: str, day: dt.date
) -> dict[str, Any]:
    """The results of monitoring a model at the end of a day, as fields of ``ChampionState``."""
    mine = (
        f"from monitoring.{settings.name}_performance where feature is null "
        f"and model_version = '{version}'"
    )
    [(of,)] = _rows(db, f"select max(as_of) {mine} and kind <> '{protocol.EXPECTED}'")
    of_day = f"measured_on = '{day}' and model_version = '{version}'"
    harmful = f"from monitoring.{settings.name}_drift where {of_day} and verdict = '{HARMFUL}'"
    alarms = db.execute(f"{harmful} order by abs(effect) desc, feature").df().to_dict("records")
    worse = (
        f"from monitoring.{settings.name}_first_week where worse and model_version = '{version}'"
    )
    last = "qualify measured_on = max(measured_on) over ()"
    outdone = db.execute(f"{worse} {last}").df().to_dict("records")
    return {
        "realised_as_of": of,
        "realised": _metrics(db, f"{mine} and kind <> '{protocol.EXPECTED}' and as_of = '{of}'")
        if of
        else {},
        "foreseen": _metrics(db, f"{mine} and kind = '{protocol.EXPECTED}' and as_of = '{of}'")
        if of
        else {},
        "expected": _metrics(db, f"{mine} and kind = '{protocol.EXPECTED}' and as_of = '{day}'"),
        "drifted": {alarm["feature"]: sentence(alarm) for alarm in alarms},
        "follows": {
            a["feature"]: a["follows"] for a in alarms if isinstance(a.get("follows"), str)
        },
        "previous_version": outdone[0]["before"] if outdone else None,
        "worse_first_week": first_week_words(outdone) if outdone else None,
    }


def _metrics(db: "duckdb.DuckDBPyConnection", source: str) -> dict[str, dict[str, float]]:
    """By metric, as it was measured last."""
    return dict(_measured(db, f"select metric, value, low, high {source} order by measured_on"))


def _measured(
    db: "duckdb.DuckDBPyConnection", query: str
) -> Iterator[tuple[str, dict[str, float]]]:
    for metric, value, low, high in _rows(db, query):
        if metric in METRICS and low is not None:
            yield metric, {"value": value, "low": low, "high": high}


def _rows(db: "duckdb.DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    return db.execute(query).fetchall()
