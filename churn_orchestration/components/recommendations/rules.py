"""The recommendations of a day, from what was known at its end: features, horizon, capacity,
campaigns, models.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn import calendar
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import FeatureSet
from churn_orchestration.churn.features.derived import CALENDAR
from churn_orchestration.churn.protocol import EXPECTED, KEEP, PROMOTE, REFUSE
from churn_orchestration.churn.question import answerable
from churn_orchestration.churn.question.labels import INACTIVITY, STATIC
from churn_orchestration.churn.sql import literal
from churn_orchestration.churn.watching import recommended, signals
from churn_orchestration.churn.watching.recommended import Recommendation, names
from churn_orchestration.components.question.day_rows import Columns, read_files
from churn_orchestration.storage import ledger
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

TABLE = "monitoring.recommendations"
HARMFUL = "harmful"
MONTHS = 3
"""So many as_ofs, a month apart, judge a horizon."""
COLUMNS: Columns = {
    "kind": ("text", "drop, add, horizon, capacity, budget, stop or retrain"),
    "subject": ("text", "the table, question, campaign or action that it is about"),
    "advice": ("text", "what to do"),
    "reason": ("text", "the evidence"),
    "measured_by": (
        "text",
        "by what it will show whether it helped: the log loss of a question or the effect of a "
        "campaign",
    ),
    "declared": ("text", "hash of the business's YAML and SQL when the day was computed"),
    MEASURED_ON: ("date", "the day at whose end this was known"),
}
ORDER = "kind, subject"
Horizons = dict[tuple[str, dt.date], "Recommendation | None"]


@dataclass(frozen=True)
class Declared:
    """What there is to recommend about.

    Parameters
    ----------
    features : of each feature table, gold.x, what is declared
    questions : all of them
    campaigns : their names, and whether a log says who was contacted
    weeks : how long a price has to be above its cost, or a table without an event
    """

    features: dict[str, FeatureSet]
    questions: "Sequence[QuestionSettings]"
    campaigns: Mapping[str, bool]
    weeks: int


def of_day(
    tables: Tables, declared: Declared, day: dt.date, horizons: Horizons
) -> list[Recommendation]:
    """The recommendations of a day; ``horizons``: those of the months that were judged already."""
    moving = [each for each in declared.questions if each.question.kind != STATIC]
    result = [*_features(tables, declared, day), *_stale(tables, declared, day)]
    result += _columns(tables, declared)
    for settings in moving:
        result += [*_gain(tables, settings, day), *_retrain(tables, settings, day)]
        result += _of_month(tables, settings, day, horizons)
    for campaign in declared.campaigns:
        result += [
            *_room(tables, campaign, declared.weeks, day),
            *_stop(tables, declared, campaign, day),
        ]
    return result


def lists(campaign: str) -> str:
    """The table of a campaign's lists."""
    return f"actions.{campaign}"


def effects(campaign: str) -> str:
    """The table of what came of a campaign."""
    return f"monitoring.{campaign}_effect"


def _measured_by(declared: Declared, gold: str) -> str:
    """The question by whose log loss a change of features is judged; empty: there is none."""
    those = [each.name for each in declared.questions if each.gold == gold]
    return f"{those[0]}.{recommended.LOG_LOSS}" if those else ""


def _features(tables: Tables, declared: Declared, day: dt.date) -> Iterator[Recommendation]:
    """Features that are null, or the same, for every customer of the day."""
    for gold, features in declared.features.items():
        file = tables.day_file(gold, day)
        if file is None:
            continue
        rows = f"read_parquet({literal(file)})"
        there = {name for name, *_ in tables.rows(f"describe from {rows}")}
        read = [
            f.name for f in catalogue(features) if f.family != CALENDAR and f.name in there
        ]  # fmt: skip
        parts = recommended.saying_nothing(read, rows)
        dull = sorted(row for part in parts for row in tables.rows(part))
        if not dull:
            continue
        empty, same = ([name for name, is_null, _ in dull if is_null == null] for null in (1, 0))
        reasons = [
            f"{len(those)} are {what} for all {dull[0][2]:,} customers: {names(those)}"
            for those, what in ((empty, "null"), (same, "the same"))
            if those
        ]
        yield Recommendation(
            recommended.DROP, gold,
            f"take out what says nothing: {len(dull)} of {len(read)} features",
            "; ".join(reasons), _measured_by(declared, gold),
        )  # fmt: skip


def _stale(tables: Tables, declared: Declared, day: dt.date) -> Iterator[Recommendation]:
    """Tables of events that have had none for weeks: their features speak of an ever older past."""
    sources = {
        source.table: (gold, features, source)
        for gold, features in declared.features.items()
        for source in features.sources
    }
    for table, (gold, features, source) in sorted(sources.items()):
        seen = f"day <= {literal(day)} and known_on <= {literal(day)}"
        [(newest,)] = tables.rows(f"select max(day) from {table} where {seen}")
        if newest is None or (day - newest).days < 7 * declared.weeks:
            continue
        read = [each.name for each in catalogue(features) if each.source == source.name]
        yield Recommendation(
            recommended.DROP, table,
            f"mend what fills {table}, or take its features out of {gold}",
            f"its newest event is of {newest}, {(day - newest).days} days before; {len(read)} "
            f"features are made of it: {names(read)}",
            _measured_by(declared, gold),
        )  # fmt: skip


def _columns(tables: Tables, declared: Declared) -> Iterator[Recommendation]:
    """Columns of the tables of features that no feature reads; of an event, its time is read."""
    sets = list(declared.features.values())
    events = {source.table for each in sets for source in each.sources}
    readers = {
        source.table: gold
        for gold, each in declared.features.items()
        for source in each.inputs
        if source.table not in each.marts  # people read what else a mart has
    }
    for table, gold in sorted(readers.items()):
        there = [
            name
            for name, kind in tables.columns(table).items()
            if table not in events or not kind.startswith(("DATE", "TIMESTAMP"))
        ]
        if unread := recommended.unread(there, sets, table):
            yield Recommendation(
                recommended.ADD, table,
                f"let {gold} read {names(unread)}, or take the columns out",
                f"{len(unread)} of {len(there)} columns are read by no feature",
                _measured_by(declared, gold),
            )  # fmt: skip


def _champion(tables: Tables, settings: "QuestionSettings", day: dt.date) -> dict[str, Any] | None:
    """The record of the model in force for a day; None: there is none."""
    row = ledger.champion(tables.state, settings.name, day, settings.question.meaning)
    return row and ModelFiles(tables.state, settings.name, row["model_version"]).record()


def _gain(tables: Tables, settings: "QuestionSettings", day: dt.date) -> Iterator[Recommendation]:
    """Families of features that move no forecast of the model in force."""
    record = _champion(tables, settings, day)
    none = recommended.without_gain(record["influences"]) if record else []
    if record and none:
        yield Recommendation(
            recommended.DROP, settings.name,
            f"take out what {settings.name} does not use",
            f"{len(none)} of {len(record['influences'])} families of features move no forecast of "
            f"{record['model_version']}: {names(none)}",
            f"{settings.name}.{recommended.LOG_LOSS}",
        )  # fmt: skip


def _retrain(
    tables: Tables, settings: "QuestionSettings", day: dt.date
) -> Iterator[Recommendation]:
    """A training, by the signals of the sensors that retrain, where it has something to learn."""
    state = _state(tables, settings, day)
    found = (find(state) for find in signals.SIGNALS.values()) if state else ()
    speaking = [each for each in found if each and state and day >= state.cool_on(each.trigger)]
    worth = signals.what_is_new(state) if state and speaking else None
    if worth:
        yield Recommendation(
            recommended.RETRAIN, settings.name,
            f"train {settings.name} again: `churn train`",
            "; ".join([*(each.evidence for each in speaking), worth]),
            f"{settings.name}.{recommended.LOG_LOSS}",
        )  # fmt: skip


def _state(
    tables: Tables, settings: "QuestionSettings", day: dt.date
) -> signals.ChampionState | None:
    """The monitored state of the model in force at the end of a day; None: there is none."""
    record = _champion(tables, settings, day)
    trained = [
        row
        for row in ledger.read(tables.state)
        if row["subject"] == settings.name
        and row["decision"] in (PROMOTE, KEEP, REFUSE)
        and row.get("meaning") == settings.question.meaning
        and row["decided_on"] <= str(day)
    ]
    if record is None or not trained:
        return None
    version, last = record["model_version"], trained[-1]
    newest = ModelFiles(tables.state, settings.name, last["model_version"]).record()
    season = {f.name for f in catalogue(settings.question.features) if f.family == CALENDAR}
    in_vain = takewhile(lambda row: row["decision"] != PROMOTE, reversed(trained))
    return signals.ChampionState(
        day=day, version=version, cutoff=dt.date.fromisoformat(record["cutoff"]),
        trained_on=dt.date.fromisoformat(last["decided_on"]),
        as_ofs=[dt.date.fromisoformat(each) for each in newest["as_ofs"]],
        in_vain=Counter(row["trigger"] for row in in_vain),
        features=[name for name in record["features"] if name not in season],
        declared=[f.name for f in catalogue(settings.question.features) if f.name not in season],
        matured=settings.question.horizon.newest_as_of(day),
        graded=record["evaluation"]["report"].get("model", {}),
        drifted=_drifted(tables, settings, version, day),
        **_measured(tables, settings, version, day),
    )  # fmt: skip


def _measured(
    tables: Tables, settings: "QuestionSettings", version: str, day: dt.date
) -> dict[str, Any]:
    """What monitoring measured of a model by the end of a day, as fields of ``ChampionState``."""
    files = tables.day_files(settings.store.performance, day)
    if not files:
        return {}
    rows = tables.records(
        f"select as_of, kind, metric, value, low, high from {read_files(files.values())} where "
        f"feature is null and low is not null and model_version = {literal(version)} "
        f"order by {MEASURED_ON}"
    )
    known = [row["as_of"] for row in rows if row["kind"] != EXPECTED]
    newest = max(known, default=None)

    def of(as_of: dt.date | None, is_expected: bool) -> dict[str, dict[str, float]]:
        return {
            row["metric"]: {end: row[end] for end in ("value", "low", "high")}
            for row in rows
            if row["as_of"] == as_of and (row["kind"] == EXPECTED) == is_expected
        }

    return {
        "realised_as_of": newest, "realised": of(newest, False), "foreseen": of(newest, True),
        "expected": of(day, True),
    }  # fmt: skip


def _drifted(
    tables: Tables, settings: "QuestionSettings", version: str, day: dt.date
) -> dict[str, str]:
    file = tables.day_file(settings.store.drift, day)
    if file is None:
        return {}
    rows = tables.rows(
        f"select feature, measure, value, usual_up_to from read_parquet({literal(file)}) where "
        f"verdict = {literal(HARMFUL)} and model_version = {literal(version)} "
        "order by abs(effect) desc, feature"
    )
    return {
        feature: f"{feature}: {measure} {value:.2f}, usual up to {usual:.2f}"
        for feature, measure, value, usual in rows
    }


def _of_month(
    tables: Tables, settings: "QuestionSettings", day: dt.date, horizons: Horizons
) -> list[Recommendation]:
    """What the last whole month says of a question's horizon; judged once a month."""
    question = settings.question
    if question.kind != INACTIVITY or settings.every != calendar.MONTH:
        return []
    last = day.replace(day=1) - calendar.DAY
    if (settings.name, last) not in horizons:
        horizons[settings.name, last] = _horizon(tables, settings, last)
    judged = horizons[settings.name, last]
    return [judged] if judged else []


def _horizon(tables: Tables, settings: "QuestionSettings", last: dt.date) -> Recommendation | None:
    """A longer horizon, where many of those called churned come back; as `churn question`."""
    question, own = settings.question, settings.question.horizon
    base = question.base.table
    [(first,)] = tables.rows(f"select min(day) from {base} where known_on <= {literal(last)}")
    if first is None:
        return None
    newest = last - answerable.COME_BACK_DAYS * calendar.DAY
    as_ofs = calendar.as_of_grid(
        newest, own, first, settings.min_history_days, MONTHS, settings.every
    )
    if not as_ofs:
        return None
    outcomes = answerable.Outcomes(question, tuple(as_ofs), last, "outcomes")
    tables.db.execute(f"create or replace temp table outcomes as {outcomes.sql()}")
    lengths = sorted({*answerable.HORIZONS[own.unit], own.length})
    tried = [replace(own, **{f"horizon_{own.unit}": length}) for length in lengths]
    found = tables.db.execute(outcomes.by_horizon(question.observation_days, tried)).df()
    tables.db.execute("drop table outcomes")
    [back] = found.loc[found[f"horizon_{own.unit}"] == own.length, "came_back"]
    longer = answerable.recommended(found, own.unit)
    if back != back or back <= answerable.FEW_COME_BACK or longer is None or longer <= own.length:
        return None
    words = replace(own, **{f"horizon_{own.unit}": longer}).words
    return Recommendation(
        recommended.HORIZON, settings.name,
        f"ask of {words} instead of {own.words}: `churn question` has the table",
        f"by {last}, {back:.0%} of those called churned came back within "
        f"{answerable.COME_BACK_DAYS} days more; {words} is the shortest after which few do",
        f"{settings.name}.{recommended.LOG_LOSS}",
    )  # fmt: skip


def _room(tables: Tables, campaign: str, weeks: int, day: dt.date) -> Iterator[Recommendation]:
    """More room, where one more contact or unit of money earned more than it costs for weeks."""
    rows, measured_by = _lists(tables, campaign, weeks, day), f"{campaign}.{recommended.LEAVES}"
    if rows is None:
        return

    def always(by: str, price: str, cost: str) -> list[tuple[Any, ...]]:
        return tables.rows(recommended.always_full(rows, by, price, cost, day, weeks))

    for action, earned, cost, days in always("best_action", "contact_price", "cost"):
        yield Recommendation(
            recommended.CAPACITY, f"{campaign}.{action}",
            f"make room for more of {action}",
            f"on each of the {days} lists of the last {7 * weeks} days one more would have earned "
            f"more than the {cost:g} it costs, after its cost; {earned:.2f} on average",
            measured_by,
        )  # fmt: skip
    for _, earned, _, days in always("'money'", "money_price", "1"):
        yield Recommendation(
            recommended.BUDGET, campaign,
            f"give {campaign} more money",
            f"on each of the {days} lists of the last {7 * weeks} days one more unit of money "
            f"would have earned more than itself; {earned:.2f} on average",
            measured_by,
        )  # fmt: skip


def _lists(tables: Tables, campaign: str, weeks: int, day: dt.date) -> str | None:
    """SQL to select the lists of the last weeks from; None: there are none."""
    since = day - calendar.DAY * (7 * weeks - 1)
    files = [f for of, f in tables.day_files(lists(campaign), day).items() if of >= since]
    return read_files(files) if files else None


def _stop(
    tables: Tables, declared: Declared, campaign: str, day: dt.date
) -> Iterator[Recommendation]:
    """An end, where a campaign is known to do harm, or to earn less than its contacts cost."""
    file = tables.day_file(effects(campaign), day)
    if file is None:
        return
    rows = tables.records(
        f"from read_parquet({literal(file)}) where segments is null order by outcome"
    )
    harm = [row for row in rows if row["verdict"] == "harms"]
    reason = _too_weak(tables, declared, campaign, rows, day)
    if harm:
        said = (
            f"{row['outcome']} {row['effect']:+.3g} ({row['low']:+.3g} to {row['high']:+.3g})"
            for row in harm
        )
        reason = f"its effect is known to be below 0: {'; '.join(said)}, 95 % at every look"
    if reason:
        yield Recommendation(
            recommended.STOP, campaign,
            f"stop {campaign}, or change what it does", reason,
            f"{campaign}.{(harm or rows)[0]['outcome']}",
        )  # fmt: skip


def _too_weak(
    tables: Tables, declared: Declared, campaign: str, rows: Sequence[dict[str, Any]], day: dt.date
) -> str | None:
    """Why a campaign does not pay, by the high end of each of its outcomes; None: it may."""
    recent = _lists(tables, campaign, declared.weeks, day)
    if recent is None or not rows or any(row["high"] is None for row in rows):
        return None
    [(value, cost)] = tables.rows(
        f"select avg(value) filter (in_trial), avg(cost) filter (action is not null) from {recent}"
    )
    most = [
        recommended.most_a_contact(
            row,
            value if row["outcome"] == recommended.LEAVES else 1.0,
            declared.campaigns[campaign],
        )
        for row in rows
    ]
    if cost is None or any(each is None or each >= cost for each in most):
        return None
    said = (f"{row['outcome']} at most {each:.3g}" for row, each in zip(rows, most, strict=True))
    return (
        f"a contact costs {cost:.3g} and is known to earn less, by the high end of the 95 % "
        f"interval at every look: {'; '.join(said)}"
    )
