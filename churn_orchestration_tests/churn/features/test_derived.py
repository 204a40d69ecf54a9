"""Dynamics, concentration, ratios, thirds, the calendar, against a slow oracle written from the
catalogue.
"""

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.features.catalogue import catalogue, worded
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    EventSource,
    FeatureSet,
    Flag,
    Measure,
    Ratio,
)
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.properties import examples

AS_OF = dt.date(2024, 6, 30)
DECLARED = FeatureSet(
    "customer_id",
    (
        EventSource(
            "orders", "silver.orders", "customer_id", "order",
            measures=(
                Measure("amount", "amount_usd", "usd", 2, slope=True, change="mean"),
                Measure("discount", "discount_usd", change="sum"),
            ),
            categories=(Category("channel", "channel", ("web", "store"), True, (30,),
             concentration=True, mostly=True),),
            flags=(Flag("weekend", "isodow(day) > 5", (30,)),),
            ratios=(Ratio("discount_rate", "discount", "amount"),),
            thirds=True, recency_ratio=True, active_days_per_month=True,
        ),
    ),
    windows=(30,), trends=(), velocity=(10,), momentum=(30,), calendar=True,
)  # fmt: skip


class Order(NamedTuple):
    customer_id: str
    day: dt.date
    amount_usd: Decimal | None
    discount_usd: Decimal | None
    channel: str | None


def ago(days: int) -> dt.date:
    return AS_OF - dt.timedelta(days=days)


def store(db: duckdb.DuckDBPyConnection, orders: list[Order], known_later: int = 0) -> None:
    db.execute("""create schema if not exists silver;
        create or replace table silver.orders (customer_id varchar, day date, known_on date,
          _partition date,
          amount_usd decimal(18, 2), discount_usd decimal(18, 4), channel varchar)""")
    for who, day, *rest in orders:
        known = day + dt.timedelta(days=known_later)
        db.execute(
            "insert into silver.orders values (?, ?, ?, ?, ?, ?, ?)",
            [who, day, known, known, *rest],
        )


def engine(orders: list[Order], declared: FeatureSet = DECLARED) -> dict[str, dict[str, Any]]:
    with duckdb.connect() as db:
        store(db, orders)
        make_parts(db, declared)
        result = db.execute(features_at(declared, AS_OF))
        names = [column[0] for column in result.description]
        return {row[0]: dict(zip(names[2:], row[2:], strict=True)) for row in result.fetchall()}


def oracle(rows: list[Order], history: int) -> Iterator[tuple[str, Any]]:
    """The features of one customer that ``derived`` makes; ``history``: the days of anybody's
    data.
    """
    ages = [(AS_OF - row.day).days for row in rows]
    oldest = max(ages)
    summed = {"count": [Fraction(1)] * len(rows)}
    for name in ("amount", "discount"):
        summed[f"{name}_sum"] = [Fraction(getattr(row, f"{name}_usd") or 0) for row in rows]
    for words, weights in summed.items():
        aged = list(zip(weights, ages, strict=True))
        n = [sum(w for w, age in aged if 10 * k <= age < 10 * (k + 1)) for k in range(3)]
        yield f"orders_{words}_velocity_10d", float((n[0] - n[1]) / 10) if history >= 20 else None
        change = float((n[0] - 2 * n[1] + n[2]) / 10)
        yield f"orders_{words}_acceleration_10d", change if history >= 30 else None
        now, life = sum(w for w, age in aged if age < 30), sum(weights)
        yield (
            f"orders_{words}_momentum_30d",
            float(Fraction(now, 30) / (life / (oldest + 1))) if life and history >= 30 else None,
        )
    days = sorted({row.day for row in rows})
    gaps = [(b - a).days for a, b in zip(days, days[1:], strict=False)]
    yield (
        "orders_regularity_all",
        _deviation(gaps) / (sum(gaps) / len(gaps)) if len(gaps) > 1 else None,
    )
    means = [
        _mean([row.amount_usd for row in rows if row.day == day]) for day in (days[0], days[-1])
    ]
    known = gaps and None not in means
    yield "orders_amount_slope_all", float((means[1] - means[0]) / sum(gaps)) if known else None
    yield from _changes("amount", rows, lambda values: _rounded(_mean(values)))
    yield from _changes("discount", rows, lambda values: sum(map(Fraction, values)))
    inside = [row for row, age in zip(rows, ages, strict=True) if age < 30]
    counts = [sum(row.channel == value for row in inside) for value in ("web", "store")]
    shares = [Fraction(count, sum(counts)) for count in counts if sum(counts)]
    yield (
        "orders_channel_top_share_30d",
        float(Fraction(max(counts), len(inside))) if shares else None,
    )
    yield (
        "orders_channel_hhi_30d",
        float(sum(share * share for share in shares)) if shares else None,
    )
    yield (
        "orders_channel_entropy_30d",
        -sum(s * math.log(s) for s in shares if s) if shares else None,
    )
    first = "web" if counts[0] >= counts[1] else "store"
    for value in ("web", "store"):
        yield (
            f"orders_channel_is_mostly_{value}_30d",
            int(value == first) if shares else None,
        )
    apart = len(inside) - sum(counts)
    yield (
        "orders_channel_undeclared_share_30d",
        float(Fraction(apart, len(inside))) if inside else None,
    )
    for suffix, chosen in (("30d", inside), ("all", rows)):
        top = sum((Fraction(row.discount_usd or 0) for row in chosen), Fraction(0))
        bottom = sum((Fraction(row.amount_usd or 0) for row in chosen), Fraction(0))
        yield f"orders_discount_rate_{suffix}", float(top / bottom) if bottom else None
    for third, words in enumerate(("first", "middle", "last")):
        hits = [((oldest - age) * 3) // (oldest + 1) == third for age in ages]
        yield f"orders_{words}_third_share_all", sum(hits) / len(hits)
    yield "orders_recency_ratio_all", min(ages) / oldest if oldest else None
    yield "orders_active_days_per_month_all", float(Fraction(30 * len(days), oldest + 1))
    yield from {"calendar_month": 6, "calendar_weekday": 7, "calendar_day_of_year": 182}.items()
    yield "calendar_winter", math.cos(2 * math.pi * 182 / 365.25)
    yield "calendar_spring", math.sin(2 * math.pi * 182 / 365.25)


def _changes(
    name: str, rows: list[Order], of_a_day: Callable[[list[Decimal]], Fraction]
) -> Iterator[tuple[str, Any]]:
    by_day: dict[dt.date, list[Decimal]] = {}
    for row in rows:
        if (value := getattr(row, f"{name}_usd")) is not None:
            by_day.setdefault(row.day, []).append(value)
    values = [(day, of_a_day(by_day[day])) for day in sorted(by_day)]
    made = [(day, b - a) for (_, a), (day, b) in zip(values, values[1:], strict=False)]
    yield f"orders_{name}_change_last_all", float(made[-1][1]) if made else None
    for suffix, first in (("30d", ago(29)), ("all", dt.date.min)):
        inside = [change for day, change in made if day >= first]
        for how, extreme in (("min", min), ("max", max)):
            yield f"orders_{name}_change_{how}_{suffix}", float(extreme(inside)) if inside else None


def _rounded(value: Fraction | None) -> Fraction:
    """To two decimals, halves away from zero."""
    assert value is not None
    cents = math.floor(abs(value) * 100 + Fraction(1, 2))
    return Fraction(cents if value >= 0 else -cents, 100)


def _mean(values: list[Decimal | None]) -> Fraction | None:
    filled = [Fraction(value) for value in values if value is not None]
    return sum(filled, Fraction(0)) / len(filled) if filled else None


def _deviation(values: list[int]) -> float:
    mean = Fraction(sum(values), len(values))
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


_MONEY = st.one_of(st.none(), st.decimals(-500, 500, places=2))
_ORDERS = st.lists(
    st.builds(
        Order,
        st.sampled_from(["ann", "bob", "cem"]),
        st.one_of(st.sampled_from([0, 9, 10, 19, 20, 29, 30]), st.integers(0, 90)).map(ago),
        _MONEY,
        _MONEY,
        st.sampled_from(["web", "store", "app", None]),
    ),
    max_size=25,
)


@settings(max_examples=examples(40), deadline=None, derandomize=True)
@given(_ORDERS)
def test_every_derived_feature_equals_the_slow_oracle(orders: list[Order]) -> None:
    result = engine(orders)
    history = max(((AS_OF - row.day).days + 1 for row in orders), default=0)
    assert set(result) == {row.customer_id for row in orders}
    for who, features in result.items():
        for name, wanted in oracle([row for row in orders if row.customer_id == who], history):
            got = features[name]
            assert (got is None) == (wanted is None), (who, name, got, wanted)
            # Squared shares and logarithms are rounded term by term, so their sums differ in the
            # last bits.
            assert got is None or math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-12), (
                who,
                name,
                got,
                wanted,
            )


def test_the_oracle_knows_every_derived_feature_and_the_catalogue_says_what_may_be_null() -> None:
    ann = Order("ann", ago(50), None, None, None)
    features, wanted = engine([ann])["ann"], dict(oracle([ann], 51))
    families = {"velocity", "momentum", "slope", "change", "lifecycle", "calendar", "ratio"}
    derived = {f.name for f in catalogue(DECLARED) if f.family in families}
    derived |= {
        f"orders_channel_{words}_30d"
        for words in (
            "top_share",
            "hhi",
            "entropy",
            "undeclared_share",
            "is_mostly_web",
            "is_mostly_store",
        )
    }
    by_itself = ("regularity", "recency_ratio", "active_days_per_month")
    assert set(wanted) == derived | {f"orders_{name}_all" for name in by_itself}
    never = {f.name for f in catalogue(DECLARED) if f.null_means == "never null"}
    assert all(features[name] is not None for name in never)
    assert features["orders_amount_slope_all"] is None


def test_values_that_are_not_declared_are_no_value_of_their_own() -> None:
    result = engine(
        [Order("ann", ago(n), None, None, c) for n, c in enumerate(["web", "app", "fair", "phone"])]
    )
    assert {name: result["ann"][f"orders_channel_{name}_30d"] for name in
            ("top_share", "hhi", "entropy", "undeclared_share")} == {
        "top_share": 0.25, "hhi": 1, "entropy": 0, "undeclared_share": 0.75,
    }  # fmt: skip
    only = engine([Order("ann", ago(0), None, None, "app")])["ann"]
    assert only["orders_channel_top_share_30d"] is only["orders_channel_entropy_30d"] is None


def test_of_values_as_frequent_the_first_declared_is_the_most_frequent() -> None:
    def mostly(*channels: str | None) -> list[int | None]:
        features = engine([Order("ann", ago(3), None, None, channel) for channel in channels])
        return [features["ann"][f"orders_channel_is_mostly_{v}_30d"] for v in ("web", "store")]

    assert mostly("web", "store", "store", "app", "app", "app") == [0, 1]
    assert mostly("store", "web") == [1, 0]
    assert mostly("app", None) == [None, None]
    said = {f.name: f for f in catalogue(DECLARED)}["orders_channel_is_mostly_store_30d"]
    assert (said.type, said.unit, said.window) == ("bigint", "0 or 1", "30d")
    assert said.null_means == "no order with a declared channel in the last 30 days"


def test_the_only_declared_value_is_the_most_frequent_wherever_there_is_one() -> None:
    web = Category("channel", "channel", ("web",), mostly=True)
    source = dataclasses.replace(DECLARED.sources[0], categories=(web,))
    declared = dataclasses.replace(DECLARED, sources=(source,))
    orders = [Order("ann", ago(3), None, None, "web"), Order("bob", ago(3), None, None, "app")]
    result = engine(orders, declared)
    assert [row["orders_channel_is_mostly_web_all"] for row in result.values()] == [1, None]


def test_a_change_against_a_window_before_the_data_is_null_for_everybody() -> None:
    declared = dataclasses.replace(
        DECLARED, trends=(10,), windows=(10,), velocity=(10,), momentum=(30,)
    )
    shares = ("orders_count_trend_10d", "orders_amount_sum_trend_10d", "orders_count_velocity_10d")
    ann, others = (
        Order("ann", ago(3), Decimal(5), None, "web"),
        ("acceleration_10d", "momentum_30d"),
    )
    for begun, trend, accelerated in ((18, None, None), (19, 1, None), (28, 1, None), (29, 1, 0.1)):
        bob = Order("bob", ago(begun), Decimal(5), None, "web")
        result = engine([ann, bob], declared)["ann"]
        assert [result[name] for name in shares[:2]] == [trend] * 2, begun
        assert result[shares[2]] == (None if trend is None else 0.1), begun
        assert result[f"orders_count_{others[0]}"] == accelerated, begun
        assert (result[f"orders_count_{others[1]}"] is None) == (begun < 29), begun


def test_what_happens_at_a_steady_rate_has_no_velocity_and_a_momentum_of_one() -> None:
    result = engine([Order("ann", ago(days), Decimal(5), None, "web") for days in range(60)])["ann"]
    assert (result["orders_count_velocity_10d"], result["orders_count_acceleration_10d"]) == (0, 0)
    assert (result["orders_count_momentum_30d"], result["orders_amount_slope_all"]) == (1, 0)
    assert result["orders_regularity_all"] == 0
    assert result["orders_middle_third_share_all"] == 1 / 3


def changed(orders: list[Order], name: str = "amount") -> list[float | None]:
    """Of ann the last change of a measure, the lowest and the highest of 30 days and of all."""
    features = engine(orders)["ann"]
    words = ("last_all", "min_30d", "max_30d", "min_all", "max_all")
    return [features[f"orders_{name}_change_{each}"] for each in words]


def test_a_change_is_from_the_last_day_that_has_the_measure_and_belongs_to_the_later_day() -> None:
    def order(days: int, amount: int | None) -> Order:
        return Order("ann", ago(days), None if amount is None else Decimal(amount), None, None)

    none, bob = [None] * 5, Order("bob", ago(40), Decimal(7), None, None)
    assert changed([bob, order(50, 10)]) == none
    assert changed([bob, order(50, 10), order(50, 30)]) == none  # two orders of one day
    assert changed([order(50, 10), order(40, None)]) == none
    old = [order(60, 10), order(50, 40), order(45, None), order(40, 15)]
    assert changed(old) == [-25, None, None, -25, 30]
    # The day before the window is the earlier one of the first change in it.
    assert changed([*old, order(29, 16)]) == [1, 1, 1, -25, 30]
    assert changed([*old, order(29, 16), order(3, 17)]) == [1, 1, 1, -25, 30]
    assert changed([*old, order(29, 5), order(3, 17), order(3, 18)]) == [12.5, -10, 12.5, -25, 30]


def test_a_day_is_the_sum_of_its_events_or_their_mean_to_the_last_decimal() -> None:
    orders = [Order("ann", ago(9), Decimal(0), Decimal(0), None)]
    orders += [Order("ann", ago(3), Decimal(n), Decimal(n), None) for n in (-1, -1, 0)]
    assert changed(orders)[0] == -0.67
    assert changed(orders, "discount")[0] == -2
    halves = [Order("ann", ago(3), Decimal(n) / 100, None, None) for n in (-1, 0)]
    assert changed([*orders[:1], *halves])[0] == -0.01


def test_what_is_said_of_changes() -> None:
    said = {f.name: f for f in catalogue(DECLARED)}
    last, lowest = said["orders_amount_change_last_all"], said["orders_amount_change_min_30d"]
    assert worded(-2.5, last.phrase, last.null_phrase) == (
        "amount changed by -2.50 usd from the last but one day that has it to the last"
    )
    assert worded(-2.5, lowest.phrase, lowest.null_phrase) == (
        "lowest change of amount between days that have it, in the last 30 days: -2.50 usd"
    )
    assert lowest.null_means == "no order in the last 30 days with amount after an earlier day"
    assert (last.null_means, last.type) == ("amount on fewer than two days so far", "double")


def test_the_silent_part_of_a_life_is_null_where_the_life_begins_today() -> None:
    def order(who: str, days: int) -> Order:
        return Order(who, ago(days), None, None, None)

    orders = [order("ann", 0), order("bob", 9), order("cem", 59), order("cem", 59), order("cem", 0)]
    features = engine([*orders, order("dot", 40), order("dot", 10)])
    life = ("orders_recency_ratio_all", "orders_active_days_per_month_all")
    assert {who: [row[name] for name in life] for who, row in features.items()} == {
        "ann": [None, 30.0],  # on one day of one
        "bob": [1.0, 3.0],  # on one of ten
        "cem": [0.0, 1.0],  # on two of sixty
        "dot": [0.25, 60 / 41],
    }


def test_of_an_entity_without_an_event_its_life_is_null() -> None:
    visits = EventSource(
        "visits", "silver.orders", "channel", "visit", recency_ratio=True,
        active_days_per_month=True,
    )  # fmt: skip
    declared = dataclasses.replace(DECLARED, sources=(*DECLARED.sources, visits))
    ann = engine([Order("ann", ago(50), None, None, "web")], declared)["ann"]
    assert ann["visits_recency_ratio_all"] is ann["visits_active_days_per_month_all"] is None
    said = {f.name: f for f in catalogue(declared)}
    assert said["visits_active_days_per_month_all"].null_means == "no visit yet"
    assert said["visits_recency_ratio_all"].null_means == "no visit yet, or the first is on as_of"


def test_of_a_history_of_states_the_latest_day_counts_else_the_latest_landing() -> None:
    def plan_of_ann(by_day: bool) -> dict[str, Any]:
        plans = AttributeTable(
            "plans",
            "silver.plans",
            "customer_id",
            flags=(Flag("paid", "plan = 'paid'"),),
            by_day=by_day,
        )
        declared = FeatureSet("customer_id", (), attributes=(plans,))
        with duckdb.connect() as db:
            db.execute("""create schema silver; create table silver.plans as from (values
                ('ann', 'paid', date '2024-06-20', date '2024-06-20', date '2024-06-20'),
                ('ann', 'free', date '2024-06-01', date '2024-06-25', date '2024-06-25'))
                as t(customer_id, plan, day, known_on, _partition)""")
            return db.execute(features_at(declared, AS_OF)).df().iloc[0].to_dict()

    assert plan_of_ann(by_day=True)["plans_paid"] == 1
    assert plan_of_ann(by_day=False)["plans_paid"] == 0
