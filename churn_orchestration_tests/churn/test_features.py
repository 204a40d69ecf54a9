"""The feature engine against a slow oracle written from the catalogue, and its point-in-time
proofs.
"""

import dataclasses
import datetime as dt
import math
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.features.catalogue import catalogue, worded
from churn_orchestration.churn.features.declared import (
    Category,
    EventSource,
    FeatureRatio,
    FeatureSet,
    Flag,
    Measure,
)
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.properties import examples

AS_OF = dt.date(2024, 6, 30)
WINDOWS, TRENDS = (7, 30, 90), (60,)
PAGES = tuple(f"page {number}" for number in range(70))  # more than a mask of 64 bits could hold

DECLARED = FeatureSet(
    "customer_id",
    (
        EventSource(
            "orders", "silver.orders", "customer_id", "order", key=("order_id",),
            measures=(
                Measure("amount", "amount_usd", "usd", 4),
                Measure("items", "items", "", 0, answered=True),
            ),
            categories=(Category("channel", "channel", ("web", "in store"), counts=True),),
            flags=(Flag("refund", "amount_usd < 0", counts=True),
             Flag("big", "items >= 3 and amount_usd is not null")),
        ),
        EventSource(
            "visits", "silver.visits", "visitor", "visit",
            measures=(Measure("minutes", "minutes", "minutes", 1),),
            categories=(
                Category("page", "page", ("page 1",), repeated=True),
                Category("device", "device", repeated=True),
            ),
        ),
    ),
    WINDOWS,
    TRENDS,
    ratios=(
        FeatureRatio("minutes_over_spend", "visits_minutes_sum", "orders_amount_sum"),
        FeatureRatio("quiet", "orders_days_since_last", "visits_gap_days_mean_all"),
        FeatureRatio("visits_per_month_of_orders", "visits_count", "orders_count_30d"),
    ),
)  # fmt: skip


class Order(NamedTuple):
    order_id: str | None
    customer_id: str | None
    day: dt.date
    known_on: dt.date
    amount_usd: Decimal | None = None
    items: int | None = None
    channel: str | None = None

    @property
    def _partition(self) -> dt.date:
        return self.known_on


class Visit(NamedTuple):
    visitor: str
    day: dt.date
    known_on: dt.date
    minutes: Decimal | None = None
    page: str | None = None
    device: str | None = None


def ago(days: int) -> dt.date:
    return AS_OF - dt.timedelta(days=days)


def order(
    name: str, customer: str | None, days_ago: int, known: int | None = None, **more: Any
) -> Order:
    """An order some days before AS_OF, known on its day or ``known`` days before AS_OF."""
    return Order(name, customer, ago(days_ago), ago(days_ago if known is None else known), **more)


# ---------------- the engine, as the warehouse runs it


def store(db: duckdb.DuckDBPyConnection, orders: list[Order], visits: list[Visit]) -> None:
    db.execute("""create schema if not exists silver;
        create or replace table silver.orders (order_id varchar, customer_id varchar, day date,
          known_on date,
          amount_usd decimal(18, 4), items bigint, channel varchar, _partition date);
        create or replace table silver.visits (visitor varchar, day date, known_on date,
          minutes decimal(18, 1), page varchar, device varchar)""")
    for table, rows in (("orders", [(*row, row._partition) for row in orders]), ("visits", visits)):
        if rows:
            holes = ", ".join(["(" + ", ".join("?" * len(rows[0])) + ")"] * len(rows))
            db.execute(
                f"insert into silver.{table} values {holes}",
                [value for row in rows for value in row],
            )


def engine(
    orders: list[Order],
    visits: list[Visit],
    as_of: dt.date = AS_OF,
    declared: FeatureSet = DECLARED,
) -> dict[str, dict[str, Any]]:
    """The feature rows by customer."""
    with duckdb.connect() as db:
        store(db, orders, visits)
        make_parts(db, declared)
        result = db.execute(features_at(declared, as_of))
        names = [column[0] for column in result.description]
        rows = result.fetchall()
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in rows}


def copy(db: duckdb.DuckDBPyConnection, select: str, path: Path) -> None:
    """Write a select as the warehouse does."""
    db.execute(f"copy ({select}) to '{path}' (format parquet, compression zstd)")


def written(
    folder: Path, orders: list[Order], visits: list[Visit], as_of: dt.date = AS_OF, threads: int = 2
) -> bytes:
    """The bytes of the Parquet file of one as_of."""
    path = folder / "features.parquet"
    with duckdb.connect(config={"threads": threads}) as db:
        store(db, orders, visits)
        make_parts(db, DECLARED)
        copy(db, features_at(DECLARED, as_of), path)
    return path.read_bytes()


# ---------------- the oracle: one customer and window at a time


def seen(rows: list[Any], as_of: dt.date) -> list[Any]:
    return [row for row in rows if row.day <= as_of and row.known_on <= as_of]


def last_known(orders: list[Order]) -> list[Order]:
    versions: dict[str | None, Order] = {}
    for row in sorted(orders, key=lambda row: row.known_on):
        versions[row.order_id] = row
    return list(versions.values())


def oracle(
    orders: list[Order], visits: list[Visit], as_of: dt.date = AS_OF
) -> dict[str, dict[str, Any]]:
    orders, visits = last_known(seen(orders, as_of)), seen(visits, as_of)
    customers = {row.customer_id for row in orders} | {row.visitor for row in visits}
    ordered, visited = (
        _history([row.customer_id for row in orders], orders, as_of),
        _history([row.visitor for row in visits], visits, as_of),
    )
    return {
        customer: {"as_of": as_of}
        | dict(
            _order_features([row for row in orders if row.customer_id == customer], as_of, ordered)
        )
        | dict(_visit_features([row for row in visits if row.visitor == customer], as_of, visited))
        | dict(
            _ratios(
                [row for row in orders if row.customer_id == customer],
                [row for row in visits if row.visitor == customer],
                as_of,
            )
        )
        for customer in customers
        if customer is not None
    }


def _history(who: list[str | None], rows: list[Any], as_of: dt.date) -> int:
    """How many days of data anybody's rows make; 0 without one."""
    days = [row.day for customer, row in zip(who, rows, strict=True) if customer is not None]
    return (as_of - min(days)).days + 1 if days else 0


def _order_features(rows: list[Order], as_of: dt.date, history: int) -> Iterator[tuple[str, Any]]:
    yield from _rhythm("orders", rows, as_of)
    for suffix, inside in _windows(rows, as_of):
        yield f"orders_count_{suffix}", len(inside)
        yield f"orders_active_days_{suffix}", len({row.day for row in inside})
        yield from _sizes("orders_amount", suffix, [row.amount_usd for row in inside])
        yield from _sizes("orders_items", suffix, [row.items for row in inside])
        answers = [row.items is not None for row in inside]
        yield f"orders_items_answered_count_{suffix}", sum(answers)
        yield f"orders_items_answered_share_{suffix}", _share(answers)
        channels = [row.channel for row in inside]
        yield f"orders_channel_distinct_{suffix}", len(set(channels) - {None})
        yield (
            f"orders_channel_web_share_{suffix}",
            _share([channel == "web" for channel in channels]),
        )
        yield (
            f"orders_channel_in_store_share_{suffix}",
            _share([channel == "in store" for channel in channels]),
        )
        yield f"orders_channel_web_count_{suffix}", channels.count("web")
        yield f"orders_channel_in_store_count_{suffix}", channels.count("in store")
        refunds = [row.amount_usd is not None and row.amount_usd < 0 for row in inside]
        yield f"orders_refund_count_{suffix}", sum(refunds)
        yield f"orders_refund_share_{suffix}", _share(refunds)
        big = [
            row.items is not None and row.items >= 3 and row.amount_usd is not None
            for row in inside
        ]
        yield f"orders_big_share_{suffix}", _share(big)
    yield from _trends("orders", rows, as_of, history, {"amount": "amount_usd", "items": "items"})


def _visit_features(rows: list[Visit], as_of: dt.date, history: int) -> Iterator[tuple[str, Any]]:
    yield from _rhythm("visits", rows, as_of)
    for suffix, inside in _windows(rows, as_of):
        yield f"visits_count_{suffix}", len(inside)
        yield f"visits_active_days_{suffix}", len({row.day for row in inside})
        yield from _sizes("visits_minutes", suffix, [row.minutes for row in inside])
        pages = [row.page for row in inside]
        yield f"visits_page_distinct_{suffix}", len(set(pages) - {None})
        yield f"visits_page_repeated_share_{suffix}", _repeated(inside, "page")
        yield f"visits_page_page_1_share_{suffix}", _share([page == "page 1" for page in pages])
        yield f"visits_device_distinct_{suffix}", len({row.device for row in inside} - {None})
        yield f"visits_device_repeated_share_{suffix}", _repeated(inside, "device")
    yield from _trends("visits", rows, as_of, history, {"minutes": "minutes"})


def _repeated(rows: list[Visit], column: str) -> float | None:
    days: dict[str, set[dt.date]] = {}
    for row in rows:
        if (value := getattr(row, column)) is not None:
            days.setdefault(value, set()).add(row.day)
    return _share([len(seen) > 1 for seen in days.values()])


def _ratios(orders: list[Order], visits: list[Visit], as_of: dt.date) -> Iterator[tuple[str, Any]]:
    month = len(dict(_windows(orders, as_of))["30d"])
    for (suffix, ordered), (_, visited) in zip(
        _windows(orders, as_of), _windows(visits, as_of), strict=True
    ):
        spent = sum(Fraction(row.amount_usd or 0) for row in ordered)
        minutes = sum(Fraction(row.minutes or 0) for row in visited)
        yield f"minutes_over_spend_{suffix}", float(minutes / spent) if spent else None
        yield f"visits_per_month_of_orders_{suffix}", len(visited) / month if month else None
    last, gap = (
        dict(_rhythm("x", rows, as_of))[f"x_{name}"]
        for rows, name in ((orders, "days_since_last"), (visits, "gap_days_mean_all"))
    )
    yield "quiet", None if last is None or gap is None else last / gap


def _windows(rows: list[Any], as_of: dt.date) -> Iterator[tuple[str, list[Any]]]:
    for window in WINDOWS:
        first = as_of - dt.timedelta(days=window - 1)
        yield f"{window}d", [row for row in rows if first <= row.day <= as_of]
    yield "all", rows


def _rhythm(source: str, rows: list[Any], as_of: dt.date) -> Iterator[tuple[str, Any]]:
    days = sorted({row.day for row in rows})
    gaps = [(later - earlier).days for earlier, later in zip(days, days[1:], strict=False)]
    since = (as_of - days[-1]).days if days else None
    yield f"{source}_days_since_last", since
    yield f"{source}_days_since_first", (as_of - days[0]).days if days else None
    yield f"{source}_gap_days_mean_all", float(Fraction(sum(gaps), len(gaps))) if gaps else None
    yield f"{source}_gap_days_std_all", _deviation(gaps)
    yield (
        f"{source}_gap_ratio_all",
        float(Fraction(since) * len(gaps) / sum(gaps)) if gaps else None,
    )  # type: ignore[arg-type]


def _sizes(name: str, suffix: str, values: list[Any]) -> Iterator[tuple[str, Any]]:
    exact = [Fraction(value) for value in values if value is not None]
    yield f"{name}_sum_{suffix}", float(sum(exact))
    yield f"{name}_mean_{suffix}", float(sum(exact) / len(exact)) if exact else None
    yield f"{name}_max_{suffix}", float(max(exact)) if exact else None
    yield f"{name}_min_{suffix}", float(min(exact)) if exact else None
    yield f"{name}_std_{suffix}", _deviation(exact)


def _deviation(values: list[Any]) -> float | None:
    if len(values) < 2:
        return None
    mean = Fraction(sum(values)) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _share(hits: list[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _trends(
    source: str, rows: list[Any], as_of: dt.date, history: int, measures: dict[str, str]
) -> Iterator[tuple[str, Any]]:
    for trend in TRENDS:
        if history < 2 * trend:
            yield from dict.fromkeys(
                f"{source}_{words}_trend_{trend}d"
                for words in ("count", *(f"{m}_sum" for m in measures))
            ).items()
            continue
        middle, first = as_of - dt.timedelta(days=trend), as_of - dt.timedelta(days=2 * trend)
        now = [row for row in rows if middle < row.day]
        before = [row for row in rows if first < row.day <= middle]
        both = len(now) + len(before)
        yield f"{source}_count_trend_{trend}d", (len(now) - len(before)) / both if both else None
        for measure, column in measures.items():
            a, b = (
                sum(Fraction(getattr(row, column) or 0) for row in part) for part in (now, before)
            )
            size = abs(a) + abs(b)
            yield f"{source}_{measure}_sum_trend_{trend}d", float((a - b) / size) if size else None


def assert_same(result: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> None:
    assert list(result) == sorted(wanted)
    for customer, row in wanted.items():
        assert set(result[customer]) == set(row)
        for name, value in row.items():
            got = result[customer][name]
            if isinstance(value, float) and got is not None:
                assert isinstance(got, float), name
                assert math.isclose(got, value, rel_tol=1e-12, abs_tol=0), (
                    customer,
                    name,
                    got,
                    value,
                )
            else:
                assert got == value, (customer, name, got, value)
                assert type(got) is type(value), (customer, name)


# ---------------- random businesses

_EDGES = [0, 1, 6, 7, 8, 13, 14, 29, 30, 59, 60, 89, 90, 91, 119, 120, 121, 400]
_AGES = st.one_of(st.sampled_from(_EDGES), st.integers(-20, 450))  # below 0: after AS_OF
_LATENESS = st.sampled_from([0, 0, 0, 1, 5, 40, 200])
_NAMES = st.sampled_from(
    ["ann", "bob", "cem", "d'or", "é", "", *(f"c{number}" for number in range(6))]
)
_AMOUNTS = st.one_of(
    st.none(),
    st.sampled_from([Decimal(0), Decimal("0.0001")]),
    st.decimals(-50_000, 50_000, places=4),
)


@st.composite
def _order_lists(draw: st.DrawFn) -> list[Order]:
    """Orders with corrections: of one order_id, each version is known on another day."""
    result = {}
    for _ in range(draw(st.integers(0, 60))):
        day = ago(draw(_AGES))
        row = Order(
            draw(st.sampled_from([f"o{number}" for number in range(45)])),
            draw(_NAMES),
            day,
            day + dt.timedelta(days=draw(_LATENESS)),
            draw(_AMOUNTS),
            draw(st.one_of(st.none(), st.integers(-3, 5))),
            draw(st.sampled_from(["web", "in store", "app", "", None])),
        )
        result[row.order_id, row.known_on] = row
    return list(result.values())


@st.composite
def _visit_lists(draw: st.DrawFn) -> list[Visit]:
    result = []
    for _ in range(draw(st.integers(0, 60))):
        day = ago(draw(_AGES))
        known_on = day + dt.timedelta(days=draw(_LATENESS))
        minutes = draw(st.one_of(st.none(), st.decimals(-9, 999, places=1)))
        page, device = draw(st.sampled_from([*PAGES, None])), draw(st.sampled_from(["phone", None]))
        row = Visit(draw(_NAMES), day, known_on, minutes, page, device)
        result += [row] * draw(
            st.sampled_from([1, 1, 2])
        )  # nothing identifies a visit: equal rows both count
    return result


settings.register_profile(
    "features",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # Shrinking takes minutes at 0.15 s of SQL planning an example; the message names customer and
    # feature.
    phases=[Phase.explicit, Phase.generate],
)
_SLOW = settings.get_profile("features")


# Each example holds up to twelve customers, so twelve examples are some hundred histories.
@settings(_SLOW, max_examples=examples(12))
@given(_order_lists(), _visit_lists())
def test_every_feature_equals_the_slow_oracle(orders: list[Order], visits: list[Visit]) -> None:
    assert_same(engine(orders, visits), oracle(orders, visits))


def test_the_oracle_knows_every_feature_of_the_catalogue_and_no_other() -> None:
    names = list(engine([order("1", "ann", 3)], [])["ann"])
    assert names == ["as_of", *(feature.name for feature in catalogue(DECLARED))]
    assert set(names) == set(oracle([order("1", "ann", 3)], [])["ann"])


def test_seventy_categories_are_seventy() -> None:
    visits = [
        Visit("ann", ago(number % 90), ago(number % 90), page=page)
        for number, page in enumerate(PAGES)
    ]
    result = engine([], visits)["ann"]
    assert (result["visits_page_distinct_7d"], result["visits_page_distinct_all"]) == (7, 70)
    assert result["visits_page_page_1_share_all"] == 1 / 70


@settings(_SLOW, max_examples=examples(5))
@given(_order_lists(), _visit_lists(), _order_lists(), _visit_lists())
def test_rows_beyond_as_of_change_no_feature(
    orders: list[Order], visits: list[Visit], more_orders: list[Order], more_visits: list[Visit]
) -> None:
    beyond_orders = [row for row in more_orders if row not in seen([row], AS_OF)]
    beyond_visits = [row for row in more_visits if row not in seen([row], AS_OF)]
    assert engine([*orders, *beyond_orders], [*visits, *beyond_visits]) == engine(
        seen(orders, AS_OF), seen(visits, AS_OF)
    )


# ---------------- by hand


def test_a_customer_silent_for_30_days_keeps_the_90_day_history() -> None:
    result = engine([order("1", "ann", 30, amount_usd=Decimal("12.50")), order("2", "bob", 0)], [])[
        "ann"
    ]
    assert (result["orders_count_30d"], result["orders_count_90d"]) == (0, 1)
    assert (result["orders_amount_sum_30d"], result["orders_amount_sum_90d"]) == (0.0, 12.5)
    assert (result["orders_amount_mean_30d"], result["orders_amount_mean_90d"]) == (None, 12.5)
    assert result["orders_days_since_last"] == 30


def test_a_customer_silent_for_longer_than_any_window_is_still_there() -> None:
    result = engine([order("1", "ann", 900)], [])["ann"]
    assert (
        result["orders_count_90d"],
        result["orders_count_all"],
        result["orders_days_since_last"],
    ) == (
        0,
        1,
        900,
    )


def test_never_is_null_and_today_is_0_days() -> None:
    result = engine([order("1", "ann", 0)], [])["ann"]
    assert (result["orders_days_since_last"], result["visits_days_since_last"]) == (0, None)
    assert (result["orders_count_7d"], result["visits_count_7d"]) == (1, 0)
    assert (result["visits_minutes_sum_all"], result["visits_minutes_mean_all"]) == (0.0, None)


def test_a_window_of_w_days_holds_as_of_and_the_w_minus_1_days_before() -> None:
    result = engine(
        [order(str(days), f"{days} days ago", days) for days in (6, 7, 29, 30, 89, 90)], []
    )
    inside = {
        who: [row[f"orders_count_{window}d"] for window in (7, 30, 90)]
        for who, row in result.items()
    }
    assert inside == {
        "6 days ago": [1, 1, 1],
        "7 days ago": [0, 1, 1],
        "29 days ago": [0, 1, 1],
        "30 days ago": [0, 0, 1],
        "89 days ago": [0, 0, 1],
        "90 days ago": [0, 0, 0],
    }


def test_two_events_of_one_day_are_two_events_one_active_day_and_no_gap() -> None:
    result = engine([order("1", "ann", 5), order("2", "ann", 5)], [])["ann"]
    assert (result["orders_count_7d"], result["orders_active_days_7d"]) == (2, 1)
    assert (result["orders_gap_days_mean_all"], result["orders_gap_ratio_all"]) == (None, None)


def test_gaps_are_days_between_active_days() -> None:
    result = engine([order(str(days), "ann", days) for days in (50, 40, 20)], [])[
        "ann"
    ]  # gaps 10 and 20
    assert result["orders_gap_days_mean_all"] == 15.0
    assert result["orders_gap_days_std_all"] == math.sqrt(50)
    assert result["orders_gap_ratio_all"] == 20 / 15


def test_a_late_row_counts_from_the_day_on_which_it_became_known() -> None:
    late = [order("1", "ann", 10, known=3), order("2", "ann", 20)]
    assert engine(late, [], ago(4))["ann"]["orders_count_30d"] == 1
    assert engine(late, [], ago(3))["ann"]["orders_count_30d"] == 2
    assert engine(late, [], ago(3))["ann"]["orders_days_since_last"] == 7


def test_an_entity_that_appears_late_is_absent_before_and_has_no_history() -> None:
    orders = [order("1", "ann", 10, known=3)]
    assert engine(orders, [], ago(4)) == {}
    assert list(engine(orders, [], ago(3))) == ["ann"]


def test_of_a_corrected_row_the_version_known_last_by_as_of_counts() -> None:
    versions = [
        order("1", "ann", 20, amount_usd=Decimal(10)),
        order("1", "ann", 20, known=5, amount_usd=Decimal(7)),
        order("1", "bob", 21, known=2, amount_usd=Decimal(8)),
    ]
    assert engine(versions, [], ago(6))["ann"]["orders_amount_sum_all"] == 10.0
    assert engine(versions, [], ago(5))["ann"]["orders_amount_sum_all"] == 7.0
    assert list(engine(versions, [], ago(2))) == ["bob"]
    assert engine(versions, [], ago(2))["bob"]["orders_days_since_last"] == 19


def test_a_correction_that_takes_an_order_from_its_customer_leaves_it_to_nobody() -> None:
    versions = [order("1", "ann", 20), order("1", None, 20, known=5), order("2", "ann", 30)]
    assert engine(versions, [])["ann"]["orders_count_all"] == 1


def test_values_and_flags_are_counted_in_the_windows_of_their_shares() -> None:
    channel = Category("channel", "channel", ("web", "in store"), share_windows=(30,), counts=True)
    refund = Flag("refund", "amount_usd < 0", (30,), counts=True)
    source = dataclasses.replace(
        DECLARED.sources[0], categories=(channel,), flags=(refund, DECLARED.sources[0].flags[1])
    )
    declared = dataclasses.replace(DECLARED, sources=(source,))
    orders = [
        order("1", "ann", 0, channel="web", amount_usd=Decimal(-5)),
        order("2", "ann", 29, channel="web"),
        order("3", "ann", 30, channel="web", amount_usd=Decimal(-5)),
        order("4", "bob", 300),
    ]
    result = engine(orders, [], declared=declared)
    counted = {
        name: [result["ann"][name], result["bob"][name]]
        for name in result["ann"]
        if name.startswith(("orders_channel_", "orders_refund_", "orders_big_"))
        and "_count_" in name
    }
    assert counted == {
        "orders_channel_web_count_30d": [2, 0],
        "orders_channel_in_store_count_30d": [0, 0],
        "orders_refund_count_30d": [1, 0],
    }


def test_a_ratio_of_features_is_null_where_its_bottom_is_0_or_a_side_is_null() -> None:
    orders = [
        order("1", "ann", 3, amount_usd=Decimal(8)),
        order("2", "ann", 20, amount_usd=Decimal(-8)),
    ]
    visits = [Visit("ann", ago(5), ago(5), Decimal(2)), Visit("bob", ago(5), ago(5), Decimal(2))]
    result = engine(orders, visits)
    named = ("minutes_over_spend_7d", "minutes_over_spend_30d", "quiet")
    assert [result["ann"][name] for name in named] == [0.25, None, None]  # 8 - 8 usd; no gap
    assert [result["bob"][name] for name in named] == [None, None, None]


def test_the_catalogue_says_what_a_ratio_divides_and_when_it_is_null() -> None:
    features = {feature.name: feature for feature in catalogue(DECLARED)}
    spend, quiet = features["minutes_over_spend_90d"], features["quiet"]
    assert (spend.formula, spend.unit, spend.window, spend.source, spend.null_means) == (
        "visits_minutes_sum_90d / orders_amount_sum_90d", "ratio", "90d", "visits / orders",
        "orders_amount_sum_90d is 0",
    )  # fmt: skip
    assert (quiet.window, quiet.null_means) == (
        "",
        "visits_gap_days_mean_all is 0, or orders_days_since_last is null, "
        "or visits_gap_days_mean_all is null",
    )
    assert worded(0.25, spend.phrase, spend.null_phrase) == (
        "minutes over spend of 0.25 in the last 90 days"
    )


def test_the_catalogue_says_what_is_counted() -> None:
    features = {feature.name: feature for feature in catalogue(DECLARED)}
    web = features["orders_channel_web_count_30d"]
    assert (web.formula, web.unit, web.window, web.null_means, web.type) == (
        "number of rows with channel = web", "count", "30d", "never null", "bigint",
    )  # fmt: skip
    assert worded(3, web.phrase, web.null_phrase, web.zero_phrase) == (
        "3 orders in the last 30 days: channel web"
    )
    refund = features["orders_refund_count_all"]
    assert (refund.formula, refund.window) == ("number of rows with amount_usd < 0", "all")
    assert worded(0, refund.phrase, refund.null_phrase, refund.zero_phrase) == (
        "no order so far: refund"
    )


def test_who_was_not_asked_has_no_share_and_who_never_answered_has_a_share_of_0() -> None:
    orders = [
        order("1", "ann", 3, items=0),  # a 0 is an answer
        order("2", "ann", 4),
        order("3", "ann", 40, items=5),
        order("4", "bob", 3),
    ]
    result = engine([*orders, order("3", "ann", 40, known=2)], [Visit("cem", AS_OF, AS_OF)])
    answers = ("orders_items_answered_count_30d", "orders_items_answered_share_30d")
    answers += ("orders_items_answered_count_all", "orders_items_answered_share_all")
    assert {who: [row[name] for name in answers] for who, row in result.items()} == {
        "ann": [1, 1 / 2, 1, 1 / 3],  # the answer of order 3 was taken back
        "bob": [0, 0.0, 0, 0.0],
        "cem": [0, None, 0, None],
    }
    said = {f.name: f for f in catalogue(DECLARED)}["orders_items_answered_share_30d"]
    assert said.title == "… of orders in the last 30 days with items"
    assert said.null_means == "no order in the last 30 days"


def test_a_value_is_repeated_where_it_is_on_two_days_of_the_window() -> None:
    def visit(days: int, page: str | None, known: int | None = None) -> Visit:
        return Visit("ann", ago(days), ago(days if known is None else known), page=page)

    def repeated(*visits: Visit) -> list[float | None]:
        row = engine([order("1", "ann", 3)], list(visits))["ann"]
        return [row[f"visits_page_repeated_share_{suffix}"] for suffix in ("7d", "30d", "all")]

    assert repeated() == repeated(visit(3, None), visit(4, None)) == [None] * 3
    assert repeated(visit(3, "a"), visit(3, "a")) == [0, 0, 0]  # twice on one day
    assert repeated(visit(3, "a"), visit(8, "a"), visit(9, "b")) == [0, 1 / 2, 1 / 2]
    assert repeated(visit(3, "a"), visit(31, "a"), visit(40, "b"), visit(90, "b")) == [0, 0, 1]
    assert repeated(visit(3, "a"), visit(8, "a", known=-1)) == [0, 0, 0]  # known too late
    said = {f.name: f for f in catalogue(DECLARED)}["visits_page_repeated_share_30d"]
    assert worded(0.5, said.phrase, said.null_phrase, said.zero_phrase) == (
        "page: 50% of the different ones in the last 30 days on two days or more"
    )
    assert (said.null_means, said.type) == ("no page in the last 30 days", "double")


def test_negative_amounts_are_summed_and_trended_by_their_size() -> None:
    result = engine(
        [
            order("1", "ann", 3, amount_usd=Decimal("-5")),
            order("2", "ann", 60, amount_usd=Decimal("15")),
            order("3", "bob", 119),  # the data cover both windows
        ],
        [],
    )["ann"]  # fmt: skip
    assert (result["orders_amount_sum_90d"], result["orders_amount_min_90d"]) == (10.0, -5.0)
    assert result["orders_amount_sum_trend_60d"] == -1.0  # (-5 - 15) / (5 + 15)
    assert result["orders_refund_share_90d"] == 0.5


def test_nobody_at_all_gives_no_row_and_the_same_columns(tmp_path: Path) -> None:
    written(tmp_path, [], [])
    assert _schema(tmp_path) == _wanted_schema()


def test_the_parquet_schema_holds_bigint_counts_and_double_shares_and_nothing_wider(
    tmp_path: Path,
) -> None:
    written(tmp_path, [order("1", "ann", 3, amount_usd=Decimal(1), items=2, channel="web")], [])
    assert _schema(tmp_path) == _wanted_schema()


def _schema(folder: Path) -> dict[str, str]:
    result = duckdb.sql(f"describe from '{folder / 'features.parquet'}'").fetchall()
    return {name: kind for name, kind, *_ in result}


def _wanted_schema() -> dict[str, str]:
    whole = ("_count_7d", "_count_30d", "_count_90d", "_count_all", "_since_last", "_since_first")
    kinds = {"customer_id": "VARCHAR", "as_of": "DATE"}
    for feature in catalogue(DECLARED):
        counted = (
            feature.name.endswith(whole)
            or "_active_days_" in feature.name
            or "_distinct_" in feature.name
        )
        kinds[feature.name] = "BIGINT" if counted else "DOUBLE"
    return kinds


def test_the_catalogue_says_never_null_exactly_of_what_is_never_null() -> None:
    silent = engine([order("1", "ann", 300)], [])[
        "ann"
    ]  # one old order without amounts, and no visit
    never_null = {
        feature.name for feature in catalogue(DECLARED) if feature.null_means == "never null"
    }
    windowed = {name for name in silent if name.startswith("visits_")}
    assert {name for name in windowed if silent[name] is not None} == never_null & windowed


# ---------------- bytes


def _business(seed: int = 5) -> tuple[list[Order], list[Visit]]:
    rng = random.Random(seed)
    orders, visits = {}, []
    for _ in range(400):
        day = ago(rng.randint(-30, 400))
        known_on = day + dt.timedelta(days=rng.choice([0, 0, 0, 2, 30]))
        name = f"o{rng.randint(1, 300)}"
        amount = Decimal(rng.randint(-(10**6), 10**7)) / 10**4
        channel = rng.choice(["web", "in store", "app", None])
        orders[name, known_on] = Order(
            name, f"c{rng.randint(1, 60)}", day, known_on, amount, rng.randint(1, 5), channel
        )
        page = rng.choice(PAGES)
        visits.append(
            Visit(f"c{rng.randint(20, 90)}", day, known_on, Decimal(rng.randint(0, 900)) / 10, page)
        )
    return list(orders.values()), visits


def test_the_order_of_insertion_and_the_threads_change_no_byte(tmp_path: Path) -> None:
    orders, visits = _business()
    first = written(tmp_path, orders, visits, threads=1)
    for seed, threads in ((1, 1), (2, 2), (3, 4)):
        random.Random(seed).shuffle(orders)
        random.Random(seed).shuffle(visits)
        assert written(tmp_path, orders, visits, threads=threads) == first


def test_sums_of_a_hundred_thousand_amounts_do_not_depend_on_order_or_threads(
    tmp_path: Path,
) -> None:
    bytes_of = set()
    for threads, order_by in ((1, "n"), (2, "hash(n)"), (4, "-n")):
        with duckdb.connect(config={"threads": threads}) as db:
            db.execute(f"""create schema silver; create table silver.o as
                select 'c' || (n % 50) as c, date '2024-06-30' - (n % 200)::int as day,
                  day as known_on,
                  (hash(n) % 1000003) / 7.0 as amount
                    from range(100000) as t(n) order by {order_by}""")
            source = EventSource(
                "o", "silver.o", "c", "order", measures=(Measure("amount", "amount"),)
            )
            path = tmp_path / "many.parquet"
            make_parts(db, FeatureSet("c", (source,)))
            copy(db, features_at(FeatureSet("c", (source,)), AS_OF), path)
            bytes_of.add(path.read_bytes())
    assert len(bytes_of) == 1


def test_two_versions_of_one_landing_give_the_same_row_in_either_order() -> None:
    versions = [order("1", "ann", 9, known=3, amount_usd=Decimal(amount)) for amount in (1, 2)]
    assert engine(versions, []) == engine(versions[::-1], [])


def test_altering_removing_and_adding_rows_beyond_as_of_changes_no_byte(tmp_path: Path) -> None:
    orders, visits = _business()
    first = written(tmp_path, orders, visits)

    def is_seen(row: Any) -> bool:
        return bool(seen([row], AS_OF))

    kept_orders, kept_visits = list(filter(is_seen, orders)), list(filter(is_seen, visits))
    assert 0 < len(kept_orders) < len(orders)
    assert written(tmp_path, kept_orders, kept_visits) == first
    other = [
        row
        if is_seen(row)
        else row._replace(amount_usd=Decimal("77"), customer_id="c1", channel="web", items=9)
        for row in orders
    ]
    assert (
        written(tmp_path, other, [r if is_seen(r) else r._replace(page=None) for r in visits])
        == first
    )
    late_correction = [
        row._replace(known_on=AS_OF + dt.timedelta(days=1), amount_usd=None) for row in kept_orders
    ]
    future = [Visit("new", AS_OF + dt.timedelta(days=1), AS_OF)]
    assert written(tmp_path, [*orders, *late_correction], [*visits, *future]) == first


def test_removing_adding_or_altering_a_row_before_as_of_is_seen(tmp_path: Path) -> None:
    ann, bob = (
        order("1", "ann", 12, amount_usd=Decimal(4)),
        order("2", "bob", 40, amount_usd=Decimal(5)),
    )
    changed = [
        [bob],
        [ann, bob, order("new", "ann", 2)],
        [ann._replace(amount_usd=Decimal("4.0001")), bob],
        [ann._replace(day=ago(13)), bob],
        [ann._replace(known_on=AS_OF + dt.timedelta(days=1)), bob],
    ]
    first = written(tmp_path, [ann, bob], [])
    assert [written(tmp_path, rows, []) == first for rows in changed] == [False] * 5


# ---------------- names and types that a user may choose


def _one(column: str, **source: Any) -> dict[str, Any]:
    """The features of one order of a table with an ``x``, three days before AS_OF."""
    with duckdb.connect() as db:
        db.execute(f"""create schema silver; create table silver.o as
            select 'ann' as c, date '2024-06-27' as day, date '2024-06-27' as known_on, {column}""")
        declared = FeatureSet(
            "c", (EventSource("o", "silver.o", "c", "order", **source),), (7,), (7,)
        )
        make_parts(db, declared)
        result = db.execute(features_at(declared, AS_OF))
        return dict(
            zip([name for name, *_ in result.description], result.fetchone() or (), strict=True)
        )


@pytest.mark.parametrize(
    "kind",
    [
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "hugeint",
        "float",
        "double",
        "decimal(9, 0)",
        "decimal(38, 4)",
    ],
)
def test_a_measure_may_be_of_any_numeric_type(kind: str) -> None:
    largest = {"tinyint": 100, "smallint": 30_000}.get(kind, 400_000)
    result = _one(f"{largest}::{kind} as x", measures=(Measure("size", "x"),))
    assert (result["o_size_sum_7d"], result["o_size_max_all"]) == (largest, largest)


@pytest.mark.parametrize(
    "name", ["gap", "n", "active", "age", "youngest", "oldest", "gaps", "entity", "ring"]
)
def test_a_measure_may_have_any_name(name: str) -> None:
    result = _one("5.0 as x", measures=(Measure(name, "x"),))
    assert (result[f"o_{name}_sum_7d"], result[f"o_{name}_mean_all"]) == (5.0, 5.0)


@pytest.mark.parametrize("name", ["days", "visible", "rings", "windows", "merged", "n", "active"])
def test_a_category_may_have_any_name(name: str) -> None:
    result = _one("'web' as x", categories=(Category(name, "x", ("web",)),))
    assert (result[f"o_{name}_distinct_7d"], result[f"o_{name}_web_share_7d"]) == (1, 1.0)


@pytest.mark.parametrize("column", ["n", "age", "entity", "active", "gap", "x_sum", "ring"])
def test_a_column_of_the_table_may_be_called_as_the_engine_calls_its_own(column: str) -> None:
    result = _one(
        f"5.0 as {column}",
        measures=(Measure("x", column),),
        flags=(Flag("large", f"{column} > 4"),),
    )
    assert (result["o_x_sum_7d"], result["o_large_share_7d"], result["o_count_7d"]) == (5.0, 1.0, 1)


def test_a_count_is_a_bigint_whatever_the_category_is_called() -> None:
    optin = Category("double_optin", "x", ("yes",))
    source = EventSource("o", "silver.o", "c", "order", categories=(optin,))
    types = {feature.name: feature.type for feature in catalogue(FeatureSet("c", (source,), (7,)))}
    assert types["o_double_optin_distinct_7d"] == types["o_count_7d"] == "bigint"
    assert types["o_double_optin_yes_share_7d"] == "double"


def test_a_category_value_with_a_quote_is_a_value() -> None:
    assert (
        _one("'d''or' as x", categories=(Category("brand", "x", ("d'or",)),))[
            "o_brand_d_or_share_7d"
        ]
        == 1.0
    )


def test_what_is_said_of_a_null_is_true_of_every_null() -> None:
    words = {feature.name: feature for feature in catalogue(DECLARED)}
    assert words["orders_gap_days_mean_all"].null_phrase == "fewer than two days with orders so far"
    assert (
        words["orders_gap_days_std_all"].null_phrase == "fewer than three days with orders so far"
    )
    window = WINDOWS[0]
    spread = words[f"orders_amount_std_{window}d"].null_phrase
    assert spread == f"fewer than two orders with amount in the last {window} days"
    assert (
        words[f"orders_amount_mean_{window}d"].null_phrase
        == f"no orders with amount in the last {window} days"
    )
    assert all(f.null_phrase for f in words.values() if f.null_means != "never null")
