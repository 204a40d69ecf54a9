"""The sensors that act on what monitoring says of the newest day: train anew, or roll back."""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import ledger
from churn_orchestration.automation import SNAPSHOT_LAYERS, TRAIN
from churn_orchestration.business import Business
from churn_orchestration.churn import decisions, signals
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.derived import CALENDAR
from churn_orchestration.churn.labels import STATIC
from churn_orchestration.components.churn_model.drift import HARMFUL, sentence
from churn_orchestration.components.churn_model.first_week import sentence as first_week_words
from churn_orchestration.components.churn_model.promotion import record_of
from churn_orchestration.rollback import ROLL_BACK, UNDO, Undoing
from churn_orchestration.warehouse import DOOR, door

if TYPE_CHECKING:
    import duckdb

    from churn_orchestration.components.churn_model.question import AskedQuestion

METRICS = ("auc", "log_loss", "calibration_error", "base_rate")
TRAINED = (decisions.PROMOTE, decisions.KEEP, decisions.REFUSE)
Answer = tuple[str, dg.RunRequest | None]
"""What is to be done about a champion, in words; and the run, if one is asked for."""
Look = Callable[["AskedQuestion", signals.Champion], Answer]


def sensors(business: Business, questions: Iterable["AskedQuestion"]) -> list[dg.SensorDefinition]:
    """A sensor for each signal and one that rolls back, over all questions of time of a business."""
    watched = [asked for asked in questions if asked.question.kind != STATIC]
    retrain = [
        _once_a_day(
            business,
            watched,
            f"retrain_on_{name}",
            TRAIN,
            f"Once switched on, asks for a training of the newest day: {find.__doc__} Not within "
            f"{signals.COOL_DOWN_DAYS} days of another training, nor where nothing new could be learned. The "
            "gate decides whether what was trained is promoted.",
            partial(_training, business, name, find),
        )
        for name, find in signals.SIGNALS.items()
    ]
    undo = _once_a_day(
        business,
        watched,
        f"{ROLL_BACK}_champion",
        ROLL_BACK,
        "Once switched on, puts what was in force before a champion in force again, where the champion's "
        "first week, once its outcome is known, was worse than without it, chance ruled out.",
        _undoing,
    )
    return [*retrain, undo]


def _once_a_day(
    business: Business, watched: list["AskedQuestion"], name: str, job: str, description: str, look: Look
) -> dg.SensorDefinition:
    """A sensor that looks at each question once a watched day; its cursor: question -> the day looked at."""

    @dg.sensor(name=name, job_name=job, minimum_interval_seconds=300, description=description)
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        requests, told = list[dg.RunRequest](), list[str]()
        for asked in watched:
            known = champion_known(business, asked)
            day = str(known.day) if known else ""
            if known is None:
                told.append(f"{asked.name}: no champion has scored a day that is watched")
            elif seen.get(asked.name, "") >= day:
                told.append(f"{asked.name}: looked at {day} already")
            else:
                seen[asked.name] = day
                reason, request = look(asked, known)
                told.append(f"{asked.name}: {reason}")
                requests += [request] if request else []
        cursor = json.dumps(seen, sort_keys=True)
        return dg.SensorResult(requests, skip_reason=None if requests else "; ".join(told), cursor=cursor)

    return sensor


def _training(
    business: Business,
    name: str,
    find: Callable[[signals.Champion], signals.Signal | None],
    asked: "AskedQuestion",
    known: signals.Champion,
) -> Answer:
    """Whether a signal speaks for a training of the day."""
    signal = find(known)
    if signal is None:
        return f"nothing on {known.day}", None
    if last := _last_training(business, asked, known.day):
        return f"{signal.evidence}; but it was trained on {last}, and cools down", None
    worth = signals.worth(known)
    if worth is None:
        return f"{signal.evidence}; but no outcome is known that it has not learned from", None
    evidence = f"{signal.evidence}; {worth}"
    request = dg.RunRequest(
        run_key=f"{name}:{asked.name}:{known.day}",
        partition_key=str(known.day),
        asset_selection=[dg.AssetKey([layer, asked.name]) for layer in SNAPSHOT_LAYERS],
        tags={decisions.TRIGGER_TAG: signal.trigger, decisions.EVIDENCE_TAG: evidence},
    )
    return evidence, request


def _undoing(asked: "AskedQuestion", known: signals.Champion) -> Answer:
    """Whether the champion's first week was worse than without it."""
    if known.outdone is None:
        return f"nothing on {known.day}", None
    undo = Undoing(question=asked.name, version=known.version, to=str(known.before), reason=known.outdone)
    request = dg.RunRequest(
        run_key=f"{ROLL_BACK}:{asked.name}:{known.version}:{known.day}",  # where it failed, again tomorrow
        run_config=dg.RunConfig({UNDO: undo}),
        tags={decisions.TRIGGER_TAG: decisions.PERFORMANCE, decisions.EVIDENCE_TAG: known.outdone},
    )
    return known.outdone, request


def _last_training(business: Business, asked: "AskedQuestion", day: dt.date) -> dt.date | None:
    """The day of the last training within the days that a model has to cool down; None: there was none."""
    first = day - dt.timedelta(days=signals.COOL_DOWN_DAYS - 1)
    decided = [
        dt.date.fromisoformat(row["decided_on"])
        for row in ledger.read(business.state)
        if row["subject"] == asked.name and row["decision"] in TRAINED
    ]
    return max((on for on in decided if on >= first), default=None)


def champion_known(business: Business, asked: "AskedQuestion") -> signals.Champion | None:
    """What is known of the champion at the end of the newest watched day; None where none scored it."""
    if not (business.state / DOOR).is_file():
        return None
    with door(business.state) as db:
        tables = {name for (name,) in _rows(db, "select view_name from duckdb_views()")}
        drift, performance, week = (f"{asked.name}_{what}" for what in ("drift", "performance", "first_week"))
        if not {drift, performance, week} <= tables:
            return None
        newest = f"select max(measured_on) from monitoring.{performance}"
        [(day,)] = _rows(db, newest)
        champion = day and ledger.champion(business.state, asked.name, day, asked.question.meaning)
        if not champion:
            return None
        version = champion["model_version"]
        mine = f"from monitoring.{performance} where feature is null and model_version = '{version}'"
        ended = f"select max(as_of) {mine} and kind <> 'expected'"
        [(of,)] = _rows(db, ended)
        of_day = f"measured_on = '{day}' and model_version = '{version}'"
        harmful = f"from monitoring.{drift} where {of_day} and verdict = '{HARMFUL}'"
        alarms = db.execute(f"{harmful} order by abs(effect) desc, feature").df().to_dict("records")
        worse = f"from monitoring.{week} where worse and model_version = '{version}'"
        last = "qualify measured_on = max(measured_on) over ()"
        outdone = db.execute(f"{worse} {last}").df().to_dict("records")
        realised = _metrics(db, f"{mine} and kind <> 'expected' and as_of = '{of}'") if of else {}
        foreseen = _metrics(db, f"{mine} and kind = 'expected' and as_of = '{of}'") if of else {}
        expected = _metrics(db, f"{mine} and kind = 'expected' and as_of = '{day}'")
    record = record_of(business.state, asked.name, version)
    season = {f.name for f in catalogue(asked.question.features) if f.family == CALENDAR}
    return signals.Champion(
        day, version, dt.date.fromisoformat(record["cutoff"]),
        [dt.date.fromisoformat(as_of) for as_of in record["as_ofs"]],
        [name for name in record["features"] if name not in season],
        [f.name for f in catalogue(asked.question.features) if f.name not in season],
        asked.question.horizon.newest_as_of(day),
        record["evaluation"]["report"].get("model", {}), of, realised, foreseen, expected,
        {alarm["feature"]: sentence(alarm) for alarm in alarms},
        outdone[0]["before"] if outdone else None, first_week_words(outdone) if outdone else None,
    )  # fmt: skip


def _metrics(db: "duckdb.DuckDBPyConnection", source: str) -> dict[str, dict[str, float]]:
    """By metric, as it was measured last."""
    return dict(_measured(db, f"select metric, value, low, high {source} order by measured_on"))


def _measured(db: "duckdb.DuckDBPyConnection", query: str) -> Iterator[tuple[str, dict[str, float]]]:
    for metric, value, low, high in _rows(db, query):
        if metric in METRICS and low is not None:
            yield metric, {"value": value, "low": low, "high": high}


def _rows(db: "duckdb.DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    return db.execute(query).fetchall()
