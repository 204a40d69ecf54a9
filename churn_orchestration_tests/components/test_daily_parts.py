"""Daily parts as days land, late, corrected and anew, against all of them made at once; and
checkpoints.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.features.declared import (
    Category,
    EventSource,
    FeatureSet,
    Flag,
    Measure,
)
from churn_orchestration.churn.features.parts import versions
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.components.features.daily_parts import build, checkpoints, make_checkpoints
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.properties import examples
from churn_orchestration_tests.support.shop import JAN

START = JAN[5]
MEASURES = (Measure("amount", "amount_usd", "usd", 2),)
CATEGORIES = (
    Category("channel", "channel", ("web", "store"), closed=True),
    Category("item", "item", ("a",), share_windows=(7,)),
)
FLAGS = (Flag("late", "known_on > day"),)
KEYED = EventSource(
    "orders", "silver.orders", "customer_id", "order", ("order_id",), MEASURES, CATEGORIES, FLAGS
)
UNKEYED = EventSource(
    "orders", "silver.orders", "customer_id", "order", (), MEASURES, CATEGORIES, FLAGS
)
QUICK = settings(
    max_examples=examples(10, among=2),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Row(NamedTuple):
    order_id: str
    customer_id: str | None
    day: dt.date
    known_on: dt.date
    partition: dt.date
    amount_usd: Decimal | None = Decimal(1)
    channel: str | None = "web"
    item: str | None = "a"


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with Warehouse.of(tmp_path).open() as opened:
        opened.db.execute(
            "create table silver.orders (order_id varchar, customer_id varchar, day date, known_on "
            "date, _partition date, amount_usd decimal(18, 2), channel varchar, item varchar)"
        )
        yield opened


def store(tables: Tables, rows: list[Row]) -> None:
    tables.db.execute("delete from silver.orders")
    if rows:
        tables.insert("silver.orders", [list(row) for row in rows])


def declared(source: EventSource) -> FeatureSet:
    return FeatureSet("customer_id", (source,), (3, 7), (3,))


def stored(tables: Tables) -> list[tuple]:
    return tables.rows("from silver.orders_days order by customer_id, day, known_on")


def made_at_once(tables: Tables, source: EventSource) -> list[tuple]:
    return tables.rows(versions(source, "customer_id", START))


def land(tables: Tables, source: EventSource, *days: dt.date) -> dict[dt.date, int]:
    return build(tables, declared(source), source, START, list(days))


@st.composite
def _rows(draw: st.DrawFn) -> list[Row]:
    """Orders of January; those of the initial load were known on days of their own."""
    result = []
    for _ in range(draw(st.integers(0, 25))):
        day = draw(st.integers(0, 12))
        known = day + draw(st.sampled_from([0, 0, 0, 1, 2, 9]))
        result.append(
            Row(
                draw(st.sampled_from([f"o{n}" for n in range(9)])),
                draw(st.sampled_from(["ann", "bob", "cem", None])),
                JAN[day],
                JAN[known],
                max(JAN[known], START),
                draw(st.sampled_from([Decimal("-1.50"), Decimal(2), None])),
                draw(st.sampled_from(["web", "store", "app", None])),
                draw(st.sampled_from(["a", "b", None])),
            )
        )
    return result


# ---------------- landing by day equals making all at once


@pytest.mark.hypothesis
@pytest.mark.parametrize("source", [KEYED, UNKEYED], ids=["with a key", "without"])
def test_days_that_land_one_by_one_give_what_all_give_at_once(
    tables: Tables, source: EventSource
) -> None:
    @QUICK
    @given(_rows())
    def check(rows: list[Row]) -> None:
        for last in range(5, 22):
            store(tables, [row for row in rows if row.partition <= JAN[last]])
            land(tables, source, JAN[last])
        assert stored(tables) == made_at_once(tables, source)

    check()


@pytest.mark.hypothesis
@pytest.mark.parametrize("source", [KEYED, UNKEYED], ids=["with a key", "without"])
def test_a_day_that_lands_anew_with_other_rows_gives_what_all_give_at_once(
    tables: Tables, source: EventSource
) -> None:
    @QUICK
    @given(_rows(), _rows(), st.integers(5, 21), st.booleans())
    def check(rows: list[Row], others: list[Row], day: int, with_later: bool) -> None:
        store(tables, rows)
        land(tables, source, *JAN[5:22])
        anew = [row for row in rows if row.partition != JAN[day]]
        anew += [row for row in others if row.partition == JAN[day]]
        store(tables, anew)
        land(tables, source, *(JAN[day:22] if with_later else [JAN[day]]))
        assert stored(tables) == made_at_once(tables, source)

    check()


def test_only_what_a_landing_touches_is_written_again(tables: Tables) -> None:
    store(tables, [Row("1", "ann", JAN[3], JAN[3], START), Row("2", "bob", JAN[3], JAN[3], START)])
    land(tables, UNKEYED, START)
    tables.db.execute(
        "update silver.orders_days set events = 77 where customer_id = 'bob'"
    )  # a mark
    tables.insert("silver.orders", [list(Row("3", "ann", JAN[3], JAN[6], JAN[6]))])
    assert land(tables, UNKEYED, JAN[6]) == {JAN[6]: 1}
    assert tables.rows(
        "select customer_id, known_on, superseded_on, events from silver.orders_days order by 1, 2"
    ) == [
        ("ann", JAN[3], JAN[6], 1),
        ("ann", JAN[6], dt.date(9999, 12, 31), 2),
        ("bob", JAN[3], dt.date(9999, 12, 31), 77),
    ]


@pytest.mark.hypothesis
@pytest.mark.parametrize("source", [KEYED, UNKEYED], ids=["with a key", "without"])
def test_what_was_scored_on_a_day_is_what_a_snapshot_sees_of_it_when_more_has_landed(
    tables: Tables, source: EventSource, tmp_path: Path
) -> None:
    days = JAN[5:22]

    @QUICK
    @given(_rows())
    def check(rows: list[Row]) -> None:
        scored = {}
        for day in days:
            store(tables, [row for row in rows if row.partition <= day])
            land(tables, source, day)
            scored[day] = tables.rows(features_at(declared(source), day))
        with features_of(tables, declared(source), days, tmp_path / "history") as features:
            for day in days:
                assert tables.rows(f"from {features(day)} order by customer_id") == scored[day], day

    check()


# ---------------- by hand


def history(tables: Tables, *rows: Row, source: EventSource = KEYED) -> list[tuple]:
    store(tables, list(rows))
    land(tables, source, START)
    return [
        (who, day.day, known.day, until.day if until.year == 2024 else None, events, amount)
        for who, day, known, until, events, amount in tables.rows(
            "select customer_id, day, known_on, superseded_on, events, amount_sum "
            "from silver.orders_days order by 1, 2, 3"
        )
    ]


def test_a_late_row_makes_a_later_version_that_is_complete(tables: Tables) -> None:
    first, late = Row("1", "ann", JAN[2], JAN[2], START), Row("2", "ann", JAN[2], JAN[4], START)
    assert history(tables, first, late) == [("ann", 2, 2, 4, 1, 100), ("ann", 2, 4, None, 2, 200)]


def test_a_corrected_amount_takes_the_place_of_the_first(tables: Tables) -> None:
    first, mended = (
        Row("1", "ann", JAN[2], JAN[2], START),
        Row("1", "ann", JAN[2], JAN[4], START, Decimal("0.50")),
    )
    assert history(tables, first, mended) == [("ann", 2, 2, 4, 1, 100), ("ann", 2, 4, None, 1, 50)]


def test_an_order_that_moves_to_another_customer_and_day_leaves_a_version_of_no_event(
    tables: Tables,
) -> None:
    first, moved = Row("1", "ann", JAN[2], JAN[2], START), Row("1", "bob", JAN[1], JAN[4], START)
    assert history(tables, first, moved) == [
        ("ann", 2, 2, 4, 1, 100),
        ("ann", 2, 4, None, 0, 0),
        ("bob", 1, 4, None, 1, 100),
    ]


def test_without_a_key_the_same_row_twice_is_two_events(tables: Tables) -> None:
    row = Row("1", "ann", JAN[2], JAN[2], START)
    assert history(tables, row, row, source=UNKEYED) == [("ann", 2, 2, None, 2, 200)]


# ---------------- checkpoints


@pytest.mark.hypothesis
@pytest.mark.parametrize("source", [KEYED, UNKEYED], ids=["with a key", "without"])
def test_a_checkpoint_changes_no_byte(tables: Tables, source: EventSource) -> None:
    source = replace(
        source,
        measures=(
            replace(MEASURES[0], change="mean", available_from=JAN[3]),
            Measure("spent", "amount_usd", "usd", 2, slope=True, change="sum"),
        ),
        categories=(
            replace(CATEGORIES[0], counts=True, mostly=True),
            replace(CATEGORIES[1], counts=True, repeated=True),
        ),
        flags=(replace(FLAGS[0], counts=True),),
        recency_ratio=True,
        active_days_per_month=True,
    )
    features = declared(source)

    @QUICK
    @given(_rows(), st.integers(8, 20), st.integers(0, 8))
    def check(rows: list[Row], made_at: int, later: int) -> None:
        store(tables, rows)
        land(tables, source, START)
        as_of = JAN[made_at + later]
        made = {
            source.name: make_checkpoints(tables, features, source, JAN[made_at], settled_days=3)
        }
        written = []
        for kept in (None, made):
            tables.put_day("gold.features", as_of, features_at(features, as_of, kept))
            written.append(tables.day_file("gold.features", as_of).read_bytes())
        assert written[0] == written[1]

    check()


def test_a_checkpoint_that_does_not_keep_what_is_declared_now_is_not_read(tables: Tables) -> None:
    store(tables, [Row("1", "ann", JAN[1], JAN[1], START), Row("2", "ann", JAN[4], JAN[4], START)])
    land(tables, KEYED, START)
    make_checkpoints(tables, declared(KEYED), KEYED, JAN[15])
    assert set(checkpoints(tables, declared(KEYED), JAN[15])) == {"orders"}
    more = [replace(KEYED, measures=(replace(MEASURES[0], slope=True),))]
    more += [replace(KEYED, measures=(replace(MEASURES[0], change="sum"),))]
    more += [replace(KEYED, categories=(CATEGORIES[0], replace(CATEGORIES[1], repeated=True)))]
    assert [checkpoints(tables, declared(source), JAN[15]) for source in more] == [{}] * 3


def test_a_checkpoint_serves_a_month_and_is_forgotten_when_a_day_that_it_saw_lands_anew(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("churn_orchestration.components.features.daily_parts.WORTH_A_CHECKPOINT", 1)
    features = declared(KEYED)
    store(tables, [Row("1", "ann", JAN[1], JAN[1], START), Row("2", "bob", JAN[6], JAN[6], JAN[6])])
    land(tables, KEYED, START, JAN[6])

    def known_by(as_of: dt.date) -> dt.date | None:
        result = checkpoints(tables, features, as_of)
        return result["orders"].merged.known_by if result else None

    assert known_by(JAN[7]) is None  # no day is older than every window
    assert known_by(JAN[15]) == JAN[15]
    assert known_by(JAN[20]) == JAN[15]
    assert known_by(JAN[14]) is None
    assert known_by(JAN[15] + dt.timedelta(days=40)) == JAN[15] + dt.timedelta(days=40)
    land(tables, KEYED, JAN[6])
    assert known_by(JAN[16]) == JAN[16]
