"""Many as_ofs in one pass give, row by row and bit by bit, what one statement each gives."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    Cohort,
    Date,
    EventSource,
    FeatureRatio,
    FeatureSet,
    Flag,
    Measure,
    Ratio,
    Rfm,
    UserTable,
)
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.components.features import feature_history
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.properties import examples
from churn_orchestration_tests.support.shop import JAN

ORDERS = EventSource(
    "orders", "silver.orders", "customer_id", "order", ("order_id",),
    (Measure("amount", "amount_usd", "usd", 2, slope=True, change="mean"),
     Measure("huge", "huge", "", 0, available_from=JAN[10], answered=True,
             change="sum")),
    (Category("channel", "channel", ("web", "store"), True, concentration=True, counts=True,
              mostly=True),
     Category("item", "item", repeated=True)),
    (Flag("late", "known_on > day", (7,), counts=True),),
    (Ratio("huge_per_usd", "huge", "amount"),),
    thirds=True, recency_ratio=True, active_days_per_month=True,
)  # fmt: skip
VISITS = EventSource(
    "visits", "silver.orders", "visitor", "visit", measures=(Measure("amount", "amount_usd"),)
)
PLANS = AttributeTable(
    "plans",
    "silver.plans",
    "customer_id",
    measures=(Measure("price", "price", retired_on=JAN[20]),),
)
ONE = FeatureSet(
    "customer_id", (ORDERS,), (3, 7), (3,), velocity=(2,), momentum=(7,), calendar=True
)
OWN = UserTable(
    "mine", "customer_id",
    "select customer_id, count(*) as n from silver.orders where day <= $as_of "
    "and known_on <= $as_of and customer_id is not null group by 1",
    (("n", ""),), ("silver.orders",), "mine.sql",
)  # fmt: skip
ALL_KINDS = FeatureSet(
    "customer_id", (ORDERS, VISITS), (3, 7), (3,), (PLANS,), calendar=True, own=(OWN,),
    cohort=Cohort("orders", ("orders_count_7d", "orders_amount_mean_all", "huge_over_visits_7d"),
                  ("ratio", "difference", "z")),
    rfm=Rfm("visits", "amount", 7),
    ratios=(
        FeatureRatio("huge_over_visits", "orders_huge_sum", "visits_amount_sum"),
        FeatureRatio("visits_per_price", "visits_count_7d", "plans_price"),
    ),
)  # fmt: skip
AS_OFS = [JAN[6], JAN[9], JAN[10], JAN[16], JAN[21]]


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with Warehouse.of(tmp_path).open() as opened:
        opened.db.execute(
            "create table silver.orders (order_id varchar, customer_id varchar, visitor varchar, "
            "day date, known_on date, _partition date, amount_usd decimal(18, 2), huge bigint, "
            "channel varchar, item varchar); create table silver.plans "
            "(customer_id varchar, day date, known_on date, _partition date, price bigint);"
            f"insert into silver.plans select 'c' || n, date '{JAN[8]}', date '{JAN[8]}', date "
            f"'{JAN[8]}', n from range(4) as t(n)"
        )
        yield opened


@st.composite
def _orders(draw: st.DrawFn) -> list[list[object]]:
    result: list[list[object]] = []
    for _ in range(draw(st.integers(0, 40))):
        day = draw(st.integers(0, 20))
        known = JAN[day + draw(st.sampled_from([0, 0, 0, 1, 4, 9]))]
        who = [draw(st.sampled_from(["c1", "c2", "c3", "", "é", None])) for _ in range(2)]
        result.append(
            [
                draw(st.sampled_from([f"o{n}" for n in range(20)])), *who, JAN[day], known, known,
                draw(st.sampled_from([Decimal("-1.50"), Decimal("0.01"), Decimal(99), None])),
                draw(st.sampled_from([0, -3, 2**53 + 2, -(2**53) - 2, None])),
                draw(st.sampled_from(["web", "store", "app", None])),
                draw(st.sampled_from(["a", "b", None])),
            ]
        )  # fmt: skip
    return result


@pytest.mark.hypothesis
@pytest.mark.parametrize("most_rows", [4_000_000, 3], ids=["at once", "by range"])
@pytest.mark.parametrize(
    "declared",
    [pytest.param(ONE, marks=pytest.mark.thorough), ALL_KINDS],
    ids=["one source", "two sources and attributes"],
)
def test_one_pass_gives_bit_by_bit_what_each_as_of_gives_alone(
    tables: Tables,
    declared: FeatureSet,
    most_rows: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feature_history, "MOST_ROWS", most_rows)

    @settings(
        max_examples=examples(12, among=4),
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(_orders())
    def check(orders: list[list[object]]) -> None:
        tables.db.execute("delete from silver.orders")
        if orders:
            tables.insert("silver.orders", orders)
        make_parts(tables.db, declared, dt.date(2024, 1, 1))
        with features_of(tables, declared, AS_OFS, tmp_path / "history") as features:
            for as_of in AS_OFS:
                together = tables.db.sql(
                    f"from {features(as_of)} order by customer_id"
                ).to_arrow_table()
                alone = tables.db.sql(features_at(declared, as_of)).to_arrow_table()
                assert together.schema == alone.schema
                assert together.equals(alone), as_of

    check()


@pytest.mark.parametrize("as_ofs", [AS_OFS, AS_OFS[-1:]], ids=["one pass", "one as_of"])
def test_of_some_entities_the_features_are_what_they_are_of_all(
    tables: Tables, tmp_path: Path, as_ofs: list[dt.date]
) -> None:
    declared = replace(ALL_KINDS, cohort=None, rfm=None)  # these compare with whoever is there
    orders = [
        [
            f"o{n}",
            f"c{n % 4}",
            f"c{n % 3}",
            JAN[n],
            JAN[n + n % 2],
            JAN[n],
            Decimal(n),
            n,
            "web",
            "a",
        ]
        for n in range(16)
    ]
    tables.insert("silver.orders", orders)
    make_parts(tables.db, declared, dt.date(2024, 1, 1))

    def rows(some: Callable[[str], str], where: str) -> list[list[tuple[object, ...]]]:
        with features_of(tables, declared, as_ofs, tmp_path / "history", some) as features:
            return [
                tables.rows(f"from {features(as_of)} {where} order by customer_id")
                for as_of in as_ofs
            ]

    chosen = "in ('c1', 'c3')"
    some = rows(lambda entity: f"{entity} {chosen}", "")
    assert some == rows(lambda _: "true", f"where customer_id {chosen}")
    assert len(some[-1]) == 2


def test_the_pass_leaves_nothing_behind(tables: Tables, tmp_path: Path) -> None:
    make_parts(tables.db, ALL_KINDS)
    with features_of(tables, ALL_KINDS, AS_OFS, tmp_path / "history") as features:
        assert tables.rows(f"select count(*) from {features(JAN[9])}") == [
            (4,)
        ]  # those with a plan
    assert not (tmp_path / "history").exists()
    assert tables.rows("select table_name from duckdb_tables() where temporary") == []


def test_attributes_alone_have_a_history_too_and_a_date_is_counted_from_at_each_as_of(
    tables: Tables, tmp_path: Path
) -> None:
    alone = FeatureSet(
        "customer_id", (), attributes=(replace(PLANS, dates=(Date("begun", "day"),)),)
    )
    with features_of(tables, alone, AS_OFS, tmp_path / "history") as features:
        since = [
            tables.rows(f"select distinct plans_days_since_begun from {features(as_of)}")
            for as_of in AS_OFS
        ]
    assert since == [[], [(1,)], [(2,)], [(8,)], [(13,)]]
