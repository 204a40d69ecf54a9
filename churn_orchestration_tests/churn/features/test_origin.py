"""Which columns the features of a table read, whatever family and window they are of."""

from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    Cohort,
    EventSource,
    FeatureRatio,
    FeatureSet,
    Flag,
    Measure,
    Ratio,
    UserTable,
)
from churn_orchestration.churn.features.origin import origins

ORDERS = EventSource(
    "orders", "silver.orders", "customer_id", "order",
    measures=(Measure("fee", "exit_fee"), Measure("fee_net", "net_fee", slope=True)),
    categories=(Category("channel", "channel", ("web",), concentration=True),),
    flags=(Flag("late", "delay_days > 3"),),
    ratios=(Ratio("fee_share", "fee", "fee_net"),),
)  # fmt: skip
PLANS = AttributeTable(
    "plan", "bronze.plans", "customer_id", measures=(Measure("price", "price_usd"),),
    categories=(Category("kind", "kind", ("gold",)),), flags=(Flag("paid", "paid_on is not null"),),
)  # fmt: skip
SELECT = """select customer_id, sum(exit_fee) as fees, count(*) as many from silver.orders
where day <= $as_of and known_on <= $as_of group by 1"""
OWN = UserTable(
    "own", "customer_id", SELECT, (("fees", ""), ("many", "")), ("silver.orders",), "own.sql"
)
FOUND = origins(
    FeatureSet(
        "customer_id", (ORDERS,), (30,), (30,), (PLANS,), own=(OWN,),
        cohort=Cohort("orders", ("orders_fee_sum_all", "orders_count_all")),
        ratios=(
            FeatureRatio("many_recent", "orders_count_30d", "orders_count_all"),
            FeatureRatio("price_of_fees", "plan_price", "orders_fee_sum"),
        ),
    ),
    ["silver.orders"],
)  # fmt: skip


def columns(feature: str) -> list[str]:
    return sorted(FOUND[feature].columns)


def test_every_feature_of_a_measure_reads_its_column() -> None:
    for name in ("fee_sum_30d", "fee_std_all", "fee_sum_trend_30d", "fee_sum_all_vs_cohort"):
        assert columns(f"orders_{name}") == ["silver.orders.exit_fee"]
    for name in ("fee_net_max_30d", "fee_net_slope_all"):
        assert columns(f"orders_{name}") == ["silver.orders.net_fee"]
    assert columns("orders_fee_share_all") == ["silver.orders.exit_fee", "silver.orders.net_fee"]


def test_categories_flags_and_attributes_read_the_columns_that_they_name() -> None:
    assert columns("orders_channel_hhi_30d") == ["silver.orders.channel"]
    assert columns("orders_late_share_all") == ["silver.orders.delay_days"]
    assert columns("plan_price") == ["bronze.plans.price_usd"]
    assert columns("plan_kind_is_gold") == ["bronze.plans.kind"]
    assert columns("plan_paid") == ["bronze.plans.paid_on"]


def test_a_select_of_ones_own_reads_the_columns_that_it_names() -> None:
    assert columns("own_fees") == ["silver.orders.exit_fee"]
    assert columns("own_many") == []


def test_a_ratio_reads_the_columns_of_both_sides_and_is_proved_where_both_are() -> None:
    assert columns("price_of_fees_30d") == ["bronze.plans.price_usd", "silver.orders.exit_fee"]
    assert FOUND["many_recent"].landed
    visits = EventSource("visits", "silver.visits", "customer_id", "visit")
    per_visit = FeatureRatio("orders_per_visit", "orders_count", "visits_count")
    both = FeatureSet("customer_id", (ORDERS, visits), (30,), (), ratios=(per_visit,))
    landed = {
        tables: origins(both, tables)["orders_per_visit_30d"].landed
        for tables in (("silver.orders",), ("silver.visits",), ("silver.orders", "silver.visits"))
    }
    assert list(landed.values()) == [False, False, True]


def test_only_what_counts_and_dates_landed_events_is_proved_by_landing() -> None:
    landed = {name for name, origin in FOUND.items() if origin.landed}
    assert {"orders_days_since_last", "orders_count_all", "orders_count_all_vs_cohort"} <= landed
    assert not any("fee" in name or "plan" in name or "own" in name for name in landed)
