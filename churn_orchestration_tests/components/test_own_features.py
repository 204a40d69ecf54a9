"""Declared features and users' own SQL through Dagster: stored, or refused by the point-in-time
proof.
"""

import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.cli import main
from churn_orchestration.components.question.backtest import backtest
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.in_process import commanded
from churn_orchestration_tests.support.shop import JAN, Shop

OWN = """\
-- Refunds and the like. large_7d: orders above 7 of the last 7 days.
select customer_id, count(*) as large_7d, bool_or(amount_usd > 9) as ever_large
from silver.orders
where amount_usd > 7 and day between $as_of - 6 and $as_of and known_on <= $as_of
group by customer_id
"""
DECLARED = """\
      thirds: true
      recency_ratio: true
      active_days_per_month: true
      flag_counts: [weekend]
      cadence: {time: ordered_at, windows: [7]}
      ratios: [{name: size, top: amount, bottom: amount}]
  velocity: [2]
  momentum: [7]
  calendar: true
  ratios:
    - {name: spend_per_day, top: orders_amount_sum, bottom: orders_active_days}
    - {name: week_over_all, top: orders_count_7d, bottom: orders_count_all}
  cohort: {source: orders, features: [orders_count_7d], kinds: [ratio, difference, z]}
  rfm: {source: orders, measure: amount, window: 7}
  sql: [mine.sql]
  windows:"""


@pytest.fixture
def own(features_shop: Shop) -> Shop:
    """A shop with every kind of declaration and a select of its own; seven days have files."""
    features_shop.change("silver/orders.sql", "day, amount_usd", "day, ordered_at, amount_usd")
    features_shop.change("gold/defs.yaml", "  windows:", DECLARED)
    features_shop.change("gold/defs.yaml", "unit: usd}", "answered: true, change: sum, unit: usd}")
    features_shop.write("gold/mine.sql", OWN)
    features_shop.land_quiet_days(1, 12)
    return features_shop


def test_features_of_ones_own_stand_beside_the_declared_ones(own: Shop) -> None:
    done = own.refresh(5, 12)
    assert (done.refused, done.succeeded) == ({}, True)
    [row] = own.published(
        "select mine_large_7d, mine_ever_large, orders_night_share_7d, orders_morning_share_7d, "
        "orders_weekend_share_7d, orders_size_7d, orders_count_velocity_2d, "
        "orders_count_momentum_7d, orders_count_7d_vs_cohort, calendar_weekday from "
        f"gold.customer_features where as_of = '{JAN[12]}'"
    )
    assert row == (6, 1, 0, 1, 2 / 7, 1, 0, 1, 1, 5)
    [row] = own.published(
        "select orders_weekend_count_7d, orders_recency_ratio_all, "
        "orders_active_days_per_month_all, spend_per_day_7d, orders_amount_sum_7d / 7, "
        f"week_over_all from gold.customer_features where as_of = '{JAN[12]}'"
    )
    assert row[:3] == (2, 0, 30)
    assert row[3] == row[4]
    assert row[5] == 7 / 12
    assert own.published(
        "select orders_amount_answered_count_7d, orders_amount_answered_share_7d, "
        "orders_amount_change_last_all, orders_amount_change_min_7d, orders_amount_change_max_all "
        f"from gold.customer_features where as_of = '{JAN[12]}'"
    ) == [(7, 1, 1, 1, 1)]
    assert own.published(
        "select feature, available_from from gold.customer_features_catalogue where feature in "
        "('spend_per_day_3d', 'spend_per_day_all', 'week_over_all') order by feature"
    ) == [("spend_per_day_3d", JAN[3]), ("spend_per_day_all", JAN[1]), ("week_over_all", JAN[7])]
    [(meaning, since)] = own.published(
        "select formula, available_from from gold.customer_features_catalogue where feature = "
        "'mine_large_7d'"
    )
    assert (meaning, since) == ("orders above 7 of the last 7 days", None)
    assert own.published(
        "select available_from from gold.customer_features_catalogue where feature = "
        "'orders_count_7d'"
    ) == [(JAN[7],)]


def test_a_column_has_features_where_all_of_their_days_are_recorded(own: Shop) -> None:
    own.change("gold/defs.yaml", "unit: usd}", "unit: usd, available_from: 2024-01-05}")
    assert own.refresh(5, 12).succeeded
    nulls = own.published(
        "select as_of, orders_amount_sum_3d is null, spend_per_day_3d is null, "
        "orders_amount_sum_all is null, orders_count_3d is null from gold.customer_features "
        f"where as_of in (date '{JAN[6]}', date '{JAN[7]}') order by as_of"
    )
    assert nulls == [(JAN[6], True, True, True, False), (JAN[7], False, False, True, False)]
    assert own.published(
        "select feature, available_from from gold.customer_features_catalogue where feature in "
        "('orders_amount_sum_3d', 'spend_per_day_3d', 'orders_count_3d') order by feature"
    ) == [
        ("orders_amount_sum_3d", JAN[7]), ("orders_count_3d", JAN[3]), ("spend_per_day_3d", JAN[7])
    ]  # fmt: skip


def test_a_day_alone_and_days_together_give_the_same_file(own: Shop) -> None:
    own.refresh(5, 12)
    files = "select file from meta.files where table_name = 'gold.customer_features' order by day"
    together = own.rows(files)
    own.change("gold/defs.yaml", "  velocity:", "  refresh: {mode: full}\n  velocity:")
    for day in range(5, 13):
        own.refresh(day, layers=("gold",))
    assert own.rows(files) == together


def test_a_select_that_reads_beyond_as_of_stores_nothing_and_is_named(own: Shop) -> None:
    own.change(
        "gold/mine.sql",
        " and day between $as_of - 6 and $as_of and known_on <= $as_of",
        " and day > $as_of - 7",
    )
    done = own.refresh(5, 12)
    reason = done.refused["gold.customer_features"][str(JAN[12])]
    assert "mine_large_7d: changed by rows of bronze.orders beyond as_of" in reason
    assert own.rows(
        "select count(*) from meta.files where table_name = 'gold.customer_features'"
    ) == [(0,)]


def test_what_the_proof_refuses_is_neither_trained_on_nor_looked_back_to(
    features_shop: Shop,
) -> None:
    features_shop.change(
        "silver/orders.sql",
        "day, amount_usd,",
        "day, count(*) over (partition by customer_id) as amount_usd,",
    )
    features_shop.change(
        "churn_90d/defs.yaml",
        "horizon_days: 90",
        "horizon_days: 5\n  snapshots: {min_history_days: 3}",
    )
    features_shop.land_quiet_days(1, 20)
    done = features_shop.refresh(5, 20)
    reason = "orders_amount_sum_3d: changed by rows of bronze.orders beyond as_of"
    assert all(
        reason in done.refused["gold.customer_features"][str(JAN[day])] for day in range(5, 21)
    )
    with at_work(features_shop.business) as work, work.warehouse.open() as tables:
        settings = work.questions()["churn_90d"]
        with pytest.raises(
            BusinessError, match=rf"gold.customer_features as of {JAN[15]} .* {reason}"
        ):
            snapshots.build(tables, work.business, settings, JAN[20])
        with pytest.raises(
            BusinessError, match=rf"gold.customer_features as of {JAN[5]} .* {reason}"
        ):
            backtest(tables, work.tracking, work.business, settings, JAN[10])
    message = commanded(
        "--business", str(features_shop.folder), "train", "--cutoff", str(JAN[20]), expect=1
    )
    assert reason in message.output


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "count(*) as large_7d",
            "'x' as large_7d",
            'mine.sql: "large_7d" is varchar; a feature is a number',
        ),
        (
            "group by customer_id",
            "group by customer_id, day",
            "mine.sql: 6 rows of one customer_id at",
        ),
        ("amount_usd > 7", "amonut_usd > 7", "mine.sql: Binder Error"),
        (
            "bool_or(amount_usd > 9)",
            "max(day < current_date)",
            "mine.sql: current_date would give another answer",
        ),
        (
            "select customer_id,",
            "select customer_id as who,",
            "mine.sql: wanted customer_id and the features by name",
        ),
    ],
)
def test_a_select_that_is_no_feature_is_told_by_file(
    own: Shop, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    own.change("gold/mine.sql", old, new)
    assert message in failing_run(own, capsys)


def test_shares_over_no_window_of_the_table_are_refused(
    own: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    own.change("gold/defs.yaml", "windows: [7]}", "windows: [45]}")
    message = failing_run(own, capsys)
    assert (
        "shares of weekend are declared over 45 days, which is none of the windows (3, 7)"
        in message
    )


def failing_run(shop: Shop, capsys: pytest.CaptureFixture[str]) -> str:
    """What `churn run` tells of a business that it cannot run to the end."""
    with pytest.raises(SystemExit):
        main.main(args=["--business", str(shop.folder), "run", "--to", str(JAN[12])])
    message = "".join(capsys.readouterr())
    assert "Traceback" not in message
    return message
