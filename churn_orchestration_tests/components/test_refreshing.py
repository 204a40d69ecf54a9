"""Which days a feature table makes anew, which it lets be, and which it drops."""

import datetime as dt

import dagster as dg
import pytest

from churn_orchestration.automation.planning import Plan
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.shop import JAN, Shop, metadata

GOLD = "gold.customer_features"
FULL = "  refresh: {mode: full}\n  windows:"


def made(shop: Shop, table: str = GOLD) -> dict[dt.date, int]:
    """When each stored day of a table was made, as a number that grows."""
    return dict(
        shop.rows(
            f"select day, made from meta.days where table_name = '{table}' and status = 'stored'"
        )
    )


def made_anew(before: dict[dt.date, int], after: dict[dt.date, int]) -> list[int]:
    return [day.day for day in sorted(after) if after[day] != before.get(day)]


def files(shop: Shop) -> dict[dt.date, str]:
    return dict(shop.rows(f"select day, file from meta.files where table_name = '{GOLD}'"))


@pytest.fixture
def ran(features_shop: Shop) -> Shop:
    """Seven days of one order each have been refreshed; the initial load is the first of them."""
    features_shop.change("raw/defs.yaml", "  key: [order_id]\n", "")
    features_shop.change("gold/defs.yaml", "      key: [order_id]\n", "")
    features_shop.land_quiet_days(1, 11)
    assert features_shop.refresh(5, 11).succeeded
    return features_shop


def test_unchanged_days_are_not_made_again(ran: Shop) -> None:
    before = made(ran), made(ran, "silver.orders_days")
    assert ran.refresh(5, 11).succeeded
    assert (made(ran), made(ran, "silver.orders_days")) == before
    shown = metadata(ran, "gold/customer_features", JAN[11])
    assert shown["dagster/partition_row_count"].value == 1
    assert ran.first_stale(11) is None


def test_a_correction_of_an_earlier_day_makes_no_earlier_as_of_anew(features_shop: Shop) -> None:
    features_shop.land_quiet_days(1, 11)
    assert features_shop.refresh(5, 11).succeeded
    before, was = made(features_shop), files(features_shop)
    features_shop.land_orders(8, f"o8,ann,{JAN[8]} 10:00,80.50")
    features_shop.land_quiet_days(12, 12)
    assert features_shop.refresh(
        12
    ).succeeded  # a keyed source takes the changed file in on its next day
    assert features_shop.refresh(5, 12).succeeded
    assert made_anew(before, made(features_shop)) == [12]
    assert {day: file for day, file in files(features_shop).items() if day in was} == was


def test_an_earlier_day_landed_anew_makes_its_as_of_and_later_ones_anew_and_no_others(
    ran: Shop,
) -> None:
    before = made(ran)
    other_rows(ran, 8)
    assert ran.first_stale(11) == JAN[8]
    assert ran.refresh(5, 11).succeeded
    assert made_anew(before, made(ran)) == [8, 9, 10, 11]
    assert ran.first_stale(11) is None


def test_days_before_the_look_back_stay_as_they_were_used(ran: Shop) -> None:
    ran.change("gold/defs.yaml", "  windows:", "  refresh: {look_back_days: 2}\n  windows:")
    assert ran.refresh(11).succeeded  # from here on the table is kept so
    before, was = made(ran), files(ran)
    other_rows(ran, 8)
    assert ran.first_stale(11) == JAN[10]
    assert ran.refresh(5, 11).succeeded
    assert made_anew(before, made(ran)) == [10, 11]
    assert files(ran)[JAN[9]] == was[JAN[9]]
    assert files(ran)[JAN[10]] != was[JAN[10]]
    assert ran.first_stale(11) is None
    with ran.tables() as tables:
        assert tables.days.why_invalid(GOLD, JAN[5], JAN[11]) is None


def test_a_full_refresh_makes_every_day_and_gives_the_same_bytes(ran: Shop) -> None:
    before, was = made(ran), files(ran)
    ran.change("gold/defs.yaml", "  windows:", FULL)
    assert ran.refresh(5, 11).succeeded
    assert made_anew(before, made(ran)) == [5, 6, 7, 8, 9, 10, 11]
    assert files(ran) == was


def test_a_file_that_is_gone_is_made_again(ran: Shop) -> None:
    was = files(ran)
    (ran.business.state / was[JAN[9]]).unlink()
    assert ran.first_stale(11) == JAN[9]
    assert ran.refresh(5, 11).succeeded
    assert (ran.business.state / was[JAN[9]]).is_file()
    assert files(ran) == was


def test_days_beyond_those_kept_are_dropped_and_told_and_can_be_had_again(ran: Shop) -> None:
    was = files(ran)
    ran.change("gold/defs.yaml", "  windows:", "  keep_days: 3\n  windows:")
    ran.land_quiet_days(12, 12)
    assert ran.refresh(12).succeeded
    assert sorted(files(ran)) == [JAN[10], JAN[11], JAN[12]]
    assert ran.first_stale(12) is None
    with ran.tables() as tables:
        assert tables.days.why_invalid(GOLD, JAN[9], JAN[9]) == (
            f"{GOLD} 2024-01-09 is no longer there (only 3 days are kept)"
        )
    ran.change("gold/defs.yaml", "  keep_days: 3\n", "")
    assert ran.refresh(5, 12).succeeded
    assert {day: file for day, file in files(ran).items() if day in was} == was


def other_rows(shop: Shop, day: int) -> None:
    """The file of a day has changed, and the source, which has no key, has taken it in anew."""
    shop.land_orders(day, f"o{day},ann,{JAN[day]} 10:00,80.50")
    assert shop.refresh(day, layers=("raw", "bronze", "quarantine", "silver")).succeeded


def planned(shop: Shop, last: int) -> Plan:
    with at_work(shop.business) as work:
        return work.plan(JAN[last])


def run(shop: Shop, last: int) -> None:
    """As `churn run` does it."""
    with at_work(shop.business) as work:
        plan = work.plan(JAN[last])
        assert plan.first
        assert work.refresh(plan.first, JAN[last], plan=plan).succeeded


def test_a_run_computes_the_days_whose_ground_or_declaration_changed_and_no_others(
    shop: Shop,
) -> None:
    shop.land_quiet_days(1, 7)
    run(shop, 6)
    tables = ("raw.orders", "bronze.orders", "silver.orders", GOLD, "predictions.churn_90d")
    before = {table: made(shop, table) for table in tables}
    shop.change(
        "churn_90d/defs.yaml", "  value:", "  vouched: {orders_days_since_last: a reason}\n  value:"
    )
    assert planned(shop, 6).first is None, "how a model is trained changes no day"
    shop.change("churn_90d/defs.yaml", "  value:", "  bands: {edges: [0.1, 0.2, 0.3]}\n  value:")
    stale = planned(shop, 7).stale
    assert stale["raw.orders"] == stale["bronze.orders"] == {JAN[7]: "is not there yet"}
    assert stale["predictions.churn_90d"] == {
        JAN[5]: "its declaration changed", JAN[6]: "its declaration changed",
        JAN[7]: "is not there yet",
    }  # fmt: skip
    run(shop, 7)
    anew = {table: made_anew(before[table], made(shop, table)) for table in tables}
    assert anew == dict.fromkeys(tables, [7]) | {"predictions.churn_90d": [5, 6, 7]}
    assert planned(shop, 7).first is None


def test_a_day_that_was_refused_is_landed_again_and_the_good_days_are_not(
    features_shop: Shop,
) -> None:
    features_shop.land_quiet_days(1, 7)
    features_shop.land_orders(6)
    features_shop.land("orders_2024-01-06.csv", "order_id,amount_usd\no6,6.50\n")
    assert not features_shop.refresh(5, 7).refused.get("raw.orders")
    before = made(features_shop, "raw.orders")
    features_shop.land_quiet_days(6, 6)
    with at_work(features_shop.business) as work:
        plan = work.plan(JAN[7], features_shop.layers)
        assert plan.stale["raw.orders"] == {JAN[6]: "its file was refused, and may be mended"}
        assert work.refresh(JAN[6], JAN[7], features_shop.layers, plan=plan).succeeded
    assert made_anew(before, made(features_shop, "raw.orders")) == [6]
    assert features_shop.first_stale(7) is None


def test_a_plan_says_which_days_of_which_table_and_why() -> None:
    none, changed = "is not there yet", "its declaration changed"
    plan = Plan(
        {
            "raw.o": {JAN[7]: none},
            "bronze.o": {JAN[7]: none},
            "gold.f": {JAN[5]: changed, JAN[6]: changed},
        },
        frozenset({dg.AssetKey(["gold", "f"]), dg.AssetKey(["predictions", "q"])}),
    )
    assert plan.lines() == [
        "raw.o, bronze.o: 2024-01-07: is not there yet",
        "gold.f: 2 days, 2024-01-05 to 2024-01-06: its declaration changed",
        "and what changes by that of predictions.q",
    ]
    assert plan.first == JAN[5]
