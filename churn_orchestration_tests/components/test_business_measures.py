"""Business measures on a small warehouse, each beside a slow oracle: late rows, damage, days run
again.
"""

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from churn_orchestration.business import Business
from churn_orchestration.churn.calendar import DAY, Horizon, days_between, month_ends
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    EventSource,
    FeatureSet,
    Measure,
)
from churn_orchestration.churn.question.labels import ALL, Question
from churn_orchestration.components.features.proof import pipeline_of
from churn_orchestration.components.question.measures.at_risk import AtRisk
from churn_orchestration.components.question.measures.churn_rate import ChurnRate
from churn_orchestration.components.question.measures.measure import Measure as BusinessMeasure
from churn_orchestration.components.question.measures.measure import OnDay
from churn_orchestration.components.question.measures.movers import Movers
from churn_orchestration.components.question.measures.retention import Retention
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.daily_parts import make_parts

ORDERS = EventSource(
    "orders",
    "silver.orders",
    "customer_id",
    "order",
    ("order_id",),
    (Measure("amount", "usd", "usd"),),
)
ENDS = EventSource("end", "silver.ends", "customer_id", "cancellation", ("order_id",))
SIGNED_UP = AttributeTable("people", "silver.people", "customer_id")
FEATURES = FeatureSet("customer_id", (ORDERS,), (30,), (), (SIGNED_UP,))
SILENT = Question("q", "inactivity", FEATURES, ORDERS, Horizon(20, gap_days=2, settle_days=3), 60)
EVER = replace(SILENT, observation_days=ALL, horizon=Horizon(35))
CANCELS = Question("q", "event", FEATURES, ORDERS, Horizon(30, gap_days=4), terminal=ENDS)
FIRST, START, LAST = dt.date(2024, 1, 3), dt.date(2024, 6, 14), dt.date(2024, 8, 31)
PEOPLE = [f"c{number:02}" for number in range(40)]
Event = tuple[str, str, dt.date, dt.date]
"""Name, who, day and known_on of one version of an event."""


def happened(seed: int, count: int) -> list[Event]:
    """Events of many months: a fifth of them known late, some moved by a correction that comes
    later.
    """
    rng, events = random.Random(seed), list[Event]()
    for number in range(count):
        who, day = rng.choice(PEOPLE), FIRST + DAY * rng.randrange((LAST - FIRST).days)
        known = day + DAY * rng.choice([0, 0, 0, 0, rng.randrange(1, 40)])
        events.append((f"o{number}", who, day, known))
        if rng.random() < 0.1:
            moved = day + DAY * rng.randrange(-40, 41)
            if moved >= FIRST:
                events.append(
                    (f"o{number}", who, moved, max(moved, known) + DAY * rng.randrange(1, 50))
                )
    return events


ORDERED, ENDED = happened(3, 220), happened(4, 25)


def seen(events: list[Event], known_by: dt.date) -> list[tuple[str, dt.date]]:
    """Who did it on which day, by the last version of each event that is known by a day."""
    last = {}
    for name, who, day, known_on in sorted(events, key=lambda event: event[3]):
        if known_on <= known_by:
            last[name] = (who, day)
    return [(who, day) for who, day in last.values() if day <= known_by]


@pytest.fixture
def business(tmp_path: Path, churn_data: Path) -> Business:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "business.yaml").write_text(
        f"name: shop\nlanding: landing\nhistory_from: {FIRST}\nstart_date: {START}\nend_date: "
        f"{LAST}\n"
    )
    assert churn_data
    return Business(folder)


@pytest.fixture
def tables(business: Business) -> Iterator[Tables]:
    """Orders, cancellations and a table of people, one of whom never ordered, in silver."""
    with Warehouse.of(business.state).open() as tables:
        for table, events in (("orders", ORDERED), ("ends", ENDED)):
            tables.db.execute(
                f"create table silver.{table} (order_id varchar, customer_id varchar, day date, "
                "known_on date, _partition date, usd integer)"
            )
            tables.insert(
                f"silver.{table}", [[*event, max(event[3], START), 1] for event in events]
            )
        tables.db.execute(
            "create table silver.people as select unnest(?) as customer_id, ?::date as day, "
            "day as known_on, ?::date as _partition",
            [[*PEOPLE[:5], "never"], FIRST, START],
        )
        make_parts(tables.db, FEATURES, START)
        yield tables


def asking(question: Question) -> QuestionSettings:
    segments = ("plan", "spend")
    return QuestionSettings(
        question, "gold.f", 3, 28, "logistic", 1, (0.3, 0.5, 0.7), False, "spend", segments,
        pipeline=pipeline_of(question.features, dt.date(2024, 1, 1), (), {}),
    )  # fmt: skip


def made(measure: BusinessMeasure, tables: Tables, day: dt.date) -> list[dict[str, Any]]:
    """The rows of a day, stored and read again."""
    on = OnDay(tables, day)
    measure.store(on)
    return tables.records(f"from {on.file(measure.table)}")


def put(tables: Tables, table: str, day: dt.date, rows: str) -> None:
    """Store a day of a table as if an asset had."""
    count = tables.put_day(table, day, rows)
    tables.days.record(table, "stored", {day: count}, "test")


# ---------------- churn rate


def outcome(question: Question, as_of: dt.date, known_by: dt.date) -> tuple[int, int]:
    """Of how many a question was asked at as_of, and how many churned; from the events alone."""
    first, last = question.horizon.outcome(as_of)
    orders, after = seen(ORDERED, as_of), seen(ORDERED, known_by)
    if question.kind == "inactivity":
        window = 10_000 if question.observation_days == ALL else int(question.observation_days)
        settings = {who for who, day in orders if (as_of - day).days < window}
        return len(settings), len(settings - {who for who, day in after if first <= day <= last})
    ended = seen(ENDED, known_by)
    settings = {who for who, _ in orders} | {*PEOPLE[:5], "never"}
    settings -= {who for who, _ in seen(ENDED, as_of)} | {who for who, day in ended if day < first}
    return len(settings), len(settings & {who for who, day in ended if first <= day <= last})


@pytest.mark.parametrize("question", [SILENT, EVER, CANCELS], ids=["window", "ever", "event"])
def test_rates_of_month_ends_before_the_first_forecast_are_told_once_their_outcome_is_known(
    tables: Tables, business: Business, question: Question
) -> None:
    measure, result = (
        ChurnRate(business, asking(question)),
        dict[dt.date, tuple[dt.date, int, int]](),
    )
    begun = min(day for _, day in seen(ORDERED, START))
    wanted = {}
    for as_of in month_ends(begun + DAY * 27, START - DAY):
        known = max(question.horizon.label_known_on(as_of), START)
        wanted[as_of] = (known, *outcome(question, as_of, known))
    days = {known + DAY * more for known, *_ in wanted.values() for more in (0, 1)}
    assert len(days) > 2
    for day in sorted(days):
        put(tables, "monitoring.q_performance", day, _performance([]))
        for row in made(measure, tables, day):
            assert row["kind"] == "before"
            assert row["low"] <= row["churn_rate"] <= row["high"]
            counted = round(row["churn_rate"] * row["customers"])
            result[row["as_of"]] = (row["measured_on"], row["customers"], counted)
    assert result == wanted


def _performance(rows: list[tuple[Any, ...]]) -> str:
    """SQL: rows of as_of, kind, feature, metric, value, low, high."""
    listed = ", ".join(
        f"({', '.join('null' if x is None else repr(x) for x in row)})" for row in rows
    )
    none = "select null, null, null, null, null, null, null limit 0"
    return (
        "select as_of::date as as_of, kind::varchar as kind, feature::varchar as feature, "
        "metric::varchar as metric, value::double as value, low::double as low, high::double as "
        "high, 'v1' as model_version, 30::bigint as forecasts from "
        f"({f'values {listed}' if rows else none}) as t(as_of, kind, feature, metric, value, low, "
        "high) order by as_of, kind, metric"
    )


def test_what_is_known_and_expected_is_that_of_the_performance_and_no_interval_is_made_up(
    tables: Tables, business: Business
) -> None:
    day, message = LAST, [
        ("2024-08-31", "expected", None, "base_rate", 0.4, 0.35, 0.45),
        ("2024-08-31", "expected", None, "auc", 0.7, 0.6, 0.8),
        ("2024-08-06", "realised", None, "base_rate", 0.03, None, None),
        ("2024-08-06", "realised", "plan", "base_rate", 0.9, None, None),
        ("2024-08-01", "restated", None, "base_rate", 0.5, 0.4, 0.6),
    ]  # fmt: skip
    put(tables, "monitoring.q_performance", day, _performance(message))
    measure = ChurnRate(business, asking(SILENT))
    rows = made(measure, tables, day)
    shown = [
        (str(r["as_of"]), r["kind"], r["churn_rate"], r["low"], r["high"], r["customers"])
        for r in rows
    ]
    assert shown == [
        ("2024-08-01", "restated", 0.5, 0.4, 0.6, 30),
        ("2024-08-06", "realised", 0.03, None, None, 30),
        ("2024-08-31", "expected", 0.4, 0.35, 0.45, 30),
    ]
    on = OnDay(tables, day)
    assert measure.day_metadata(on) == {"churn_rate": 0.03, "expected_churn_rate": 0.4}
    assert "3.0 % churned of 2024-08-06, 40.0 % expected of 2024-08-31" in (
        measure.picture(on) or ""
    )


# ---------------- at risk


def scored(
    tables: Tables, day: dt.date, seed: int, people: list[str], **of: str
) -> list[dict[str, Any]]:
    """Store forecasts and features of a day; the rows, as plain data."""
    rng = random.Random(seed)
    rows = [
        {
            "customer_id": who, "churn_probability": round(rng.random(), 2),
            "band": rng.choice(["low", "medium", "high", "critical"]),
            "recent_value": rng.choice([None, 10.0, 25.5, 100.25]), "contact": rng.random() < 0.5,
            "plan": rng.choice(["a", "b", None]), "spend": rng.uniform(0, 90),
        }
        for who in people
    ]  # fmt: skip
    asks = {"model_version": "'rules'", "backtest": "false", "contact": "contact"} | of
    import pandas as pd

    tables.db.register("_rows", pd.DataFrame(rows))
    put(
        tables, "predictions.q", day,
        f"select customer_id, date '{day}' as as_of, churn_probability, band, recent_value, "
        f"['↑ ' || customer_id] as reasons, {asks['contact']} as contact, {asks['model_version']} "
        f"as model_version, {asks['backtest']} as backtest from _rows order by 1",
    )  # fmt: skip
    put(
        tables,
        "gold.f",
        day,
        f"select customer_id, date '{day}' as as_of, plan, spend from _rows order by 1",
    )
    tables.db.unregister("_rows")
    return rows


def summed(rows: list[dict[str, Any]]) -> dict[str, float]:
    worth = [(row["churn_probability"], row["recent_value"] or 0) for row in rows]
    return {
        "customers": len(rows),
        "expected_churners": sum(chance for chance, _ in worth),
        "value": sum(value for _, value in worth),
        "value_at_risk": sum(chance * value for chance, value in worth),
        "to_contact": sum(row["contact"] for row in rows),
    }


def test_what_is_at_stake_is_summed_by_all_by_band_and_by_segment(
    tables: Tables, business: Business
) -> None:
    day = START + DAY
    rows, measure = scored(tables, day, 1, PEOPLE), AtRisk(business, asking(SILENT))
    by_spend = sorted(rows, key=lambda row: row["spend"])
    wanted = {(None, None, None): rows}
    for row in rows:
        wanted.setdefault((None, None, row["band"]), []).append(row)
        wanted.setdefault(("plan", row["plan"] or "unknown", None), []).append(row)
    result = {}
    for row in made(measure, tables, day):
        of = (row["feature"], row["segment"], row["band"])
        assert row["measured_on"] == day
        result[of] = {name: row[name] for name in summed([])}
    quarters = {
        segment: sums for (feature, segment, _), sums in result.items() if feature == "spend"
    }
    for of, part in wanted.items():
        assert result[of] == pytest.approx(summed(part)), of
    assert set(result) - set(wanted) == {("spend", segment, None) for segment in quarters}
    top = next(sums for segment, sums in quarters.items() if segment.startswith("above"))
    assert top == pytest.approx(summed(by_spend[-10:]))
    on = OnDay(tables, day)
    assert measure.amiss(on) == []
    assert measure.day_metadata(on) == {
        name: round(value, 2) for name, value in summed(rows).items()
    }
    assert f"q {day}: " in (measure.picture(on) or "")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("select * replace (if(band = 'high', value_at_risk + 1, value_at_risk) as value_at_risk) "
         "from t",
         ["value_at_risk by band"]),
        ("from t where segment is distinct from 'a'",
         ["customers by plan", "expected_churners by plan", "value by plan",
          "value_at_risk by plan", "to_contact by plan"]),
        ("select * replace (customers + (feature is null and band is null)::int as customers) "
         "from t",
         ["customers by all"]),
    ],
)  # fmt: skip
def test_the_check_fails_where_a_row_was_damaged_and_names_the_sum(
    tables: Tables, business: Business, damage: str, message: list[str]
) -> None:
    day, measure = START, AtRisk(business, asking(SILENT))
    scored(tables, day, 2, PEOPLE)
    made(measure, tables, day)
    on = OnDay(tables, day)
    assert measure.checked([on]).passed
    tables.put_day(measure.table, day, f"with t as (from {on.file(measure.table)}) {damage}")
    result = measure.checked([on])
    assert not result.passed
    amiss: Any = result.metadata["amiss"].value
    assert [fault.split(" comes to ")[0] for fault in amiss] == [
        f"{day}: {name}" for name in message
    ]


def test_a_look_back_is_nobody_at_risk_and_before_a_model_nobody_can_tell_whom_to_contact(
    tables: Tables, business: Business
) -> None:
    measure = AtRisk(business, asking(SILENT))
    scored(tables, START, 2, PEOPLE, backtest="true")
    [nobody] = made(measure, tables, START)
    assert (nobody["customers"], nobody["value_at_risk"]) == (0, 0)
    scored(tables, START + DAY, 2, PEOPLE, contact="null::boolean")
    assert {row["to_contact"] for row in made(measure, tables, START + DAY)} == {None}
    on = OnDay(tables, START + DAY)
    assert measure.amiss(on) == []
    assert measure.picture(replace(on, day=START)) is None


# ---------------- retention


def active_by_cohort(
    events: list[tuple[str, dt.date]], months: list[dt.date]
) -> set[tuple[Any, ...]]:
    """Cohort, month, customers and active, by counting people one by one."""
    began = {}
    for who, day in sorted(events, key=lambda event: event[1]):
        began.setdefault(who, day.replace(day=1))
    sizes, active = Counter(began.values()), {(who, day.replace(day=1)) for who, day in events}
    return {
        (
            cohort,
            month,
            size,
            sum((who, month) in active for who, first in began.items() if first == cohort),
        )
        for month in months
        for cohort, size in sizes.items()
        if cohort <= month
    }


def message(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(row["cohort"], row["month"], row["customers"], row["active"]) for row in rows}


def test_each_month_is_measured_on_its_last_day_as_known_then_and_all_before_on_the_first(
    tables: Tables, business: Business
) -> None:
    measure = Retention(business, asking(SILENT))
    for day in days_between(START, LAST):
        rows = made(measure, tables, day)
        assert {row["measured_on"] for row in rows} <= {day}
        ends = month_ends(FIRST, START) if day == START else month_ends(day, day)
        months = [end.replace(day=1) for end in ends]
        assert message(rows) == active_by_cohort(seen(ORDERED, day), months), day
        assert len(rows) == len(message(rows))
    on = OnDay(tables, LAST)
    assert set(measure.day_metadata(on)) == {"active_customers", "new_customers"}
    assert measure.day_metadata(replace(on, day=LAST - DAY)) == {}
    assert "active a month later" in (measure.picture(on) or "")


def test_a_late_row_changes_no_month_that_is_measured_and_the_next_one_knows_it(
    tables: Tables, business: Business
) -> None:
    measure, june, july = (
        Retention(business, asking(SILENT)),
        dt.date(2024, 6, 30),
        dt.date(2024, 7, 31),
    )
    made(measure, tables, june)
    before = content_hash(_file(tables, measure, june))
    late = ("late", "nobody before", dt.date(2024, 6, 20), dt.date(2024, 7, 9))
    tables.insert("silver.orders", [[*late, late[3], 1]])
    make_parts(tables.db, FEATURES, START)
    made(measure, tables, june)
    assert content_hash(_file(tables, measure, june)) == before
    assert message(made(measure, tables, july)) == active_by_cohort(
        seen([*ORDERED, late], july), [july.replace(day=1)]
    )


def _file(tables: Tables, measure: BusinessMeasure, day: dt.date) -> Path:
    path = tables.day_file(measure.table, day)
    assert path is not None
    return path


# ---------------- movers


def test_those_whose_risk_rose_most_within_a_week_are_told_by_falling_rise(
    tables: Tables, business: Business
) -> None:
    people = [f"p{number:03}" for number in range(260)]
    day, week_before = START + DAY * 20, START + DAY * 13
    then = {row["customer_id"]: row for row in scored(tables, week_before, 5, people[:250])}
    now = {
        row["customer_id"]: row
        for row in scored(tables, day, 6, people[5:], model_version="'rules'")
    }
    wanted = []
    for who in set(then) & set(now):
        rise = now[who]["churn_probability"] - then[who]["churn_probability"]
        if rise > 0:
            wanted.append((-rise, who))
    wanted = sorted(wanted)[:100]
    measure = Movers(business, asking(SILENT))
    rows = made(measure, tables, day)
    assert [(-row["rise"], row["customer_id"]) for row in rows] == wanted
    assert len(rows) == 100
    for row in rows:
        who = row["customer_id"]
        assert (row["churn_probability"], row["churn_probability_before"]) == (
            now[who]["churn_probability"], then[who]["churn_probability"],
        )  # fmt: skip
        assert (row["band"], row["band_before"]) == (now[who]["band"], then[who]["band"])
        assert row["recent_value"] == now[who]["recent_value"]
        assert row["reasons"] == [f"↑ {who}"], "without a model, the reasons of the day"
        assert (row["as_of"], row["measured_on"], row["forecaster_changed"]) == (day, day, False)
    on = OnDay(tables, day)
    assert measure.day_metadata(on) == {"movers": 100, "largest_rise": round(-wanted[0][0], 4)}
    assert f"{wanted[0][1]} rose most" in (measure.picture(on) or "")
    scored(tables, day, 6, people[5:], model_version="'base_rate'")
    assert made(measure, tables, day) == [], "a churn rate rises for all alike"


def test_without_forecasts_of_the_day_a_week_before_there_is_no_mover(
    tables: Tables, business: Business
) -> None:
    measure, day = Movers(business, asking(SILENT)), START + DAY * 7
    scored(tables, day, 6, PEOPLE)
    assert made(measure, tables, day) == []
    scored(tables, START, 5, PEOPLE, backtest="true")
    assert made(measure, tables, day) == []
    scored(tables, START, 5, PEOPLE, model_version="'another'")
    assert {row["forecaster_changed"] for row in made(measure, tables, day)} == {True}
    tables.days.record("predictions.q", "refused", {START: 0}, "test", "its files are bad")
    assert made(measure, tables, day) == []
    assert measure.picture(OnDay(tables, day)) is None


# ---------------- all


def test_a_day_measured_again_gives_the_same_bytes_whatever_came_since_and_however_it_is_stored(
    tables: Tables, business: Business
) -> None:
    week, day = DAY * 7, dt.date(2024, 6, 30)
    for each in (day - week, day, day + week):
        scored(tables, each, each.day, PEOPLE)
        put(tables, "monitoring.q_performance", each, _performance([]))
    settings = asking(replace(SILENT, horizon=Horizon((day - dt.date(2024, 5, 31)).days)))
    measures = [kind(business, settings) for kind in (AtRisk, Movers, Retention, ChurnRate)]
    before = {}
    for measure in measures:
        assert made(measure, tables, day)
        before[measure.name] = content_hash(_file(tables, measure, day))
    tables.db.execute(
        "create table other as from silver.orders_days order by hash(customer_id, day)"
    )
    tables.db.execute("create or replace table silver.orders_days as from other")
    for measure in measures:
        made(measure, tables, day + week)
        made(measure, tables, day)
        assert content_hash(_file(tables, measure, day)) == before[measure.name], measure.name
