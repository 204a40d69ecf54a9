from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, rankdata

from churn_orchestration.simulator import Company, Simulation, forecast_table, oracle_table, simulate

AS_OF = date(2024, 9, 30)
END = pd.Timestamp("2024-10-01")
HORIZON = pd.Timedelta(days=90)


@pytest.fixture(scope="module")
def shop() -> Simulation:
    return simulate(Company(customers=20_000, seed=11))


def test_the_same_seed_gives_the_same_shop_and_another_seed_another() -> None:
    first, again = simulate(Company(customers=200)), simulate(Company(customers=200))
    for table in ("customers", "orders", "truth"):
        pd.testing.assert_frame_equal(getattr(first, table), getattr(again, table))
    assert not first.orders.equals(simulate(Company(customers=200, seed=8)).orders)


def test_the_global_random_state_changes_nothing() -> None:
    np.random.seed(1)
    before = simulate(Company(customers=50)).orders
    np.random.seed(2)
    assert before.equals(simulate(Company(customers=50)).orders)


def test_the_tables_have_their_columns_keys_and_order(shop: Simulation) -> None:
    assert list(shop.customers) == ["customer_id", "signed_up_at", "email", "segment"]
    assert list(shop.orders) == ["order_id", "customer_id", "ordered_at", "amount_usd", "channel"]
    assert list(shop.truth) == ["customer_id", "rate_per_day", "dropout_per_day", "left_at"]
    assert shop.customers["customer_id"].is_monotonic_increasing
    assert shop.customers["customer_id"].is_unique
    assert shop.customers["customer_id"].equals(shop.truth["customer_id"])
    assert shop.orders["order_id"].is_monotonic_increasing
    assert shop.orders["order_id"].is_unique
    assert shop.orders["ordered_at"].is_monotonic_increasing


def test_the_first_order_is_the_sign_up_and_none_comes_after_leaving_or_after_the_period(
    shop: Simulation,
) -> None:
    first = shop.orders.groupby("customer_id")["ordered_at"].min()
    last = shop.orders.groupby("customer_id")["ordered_at"].max()
    truth = shop.truth.set_index("customer_id")
    assert first.eq(shop.customers.set_index("customer_id")["signed_up_at"]).all()
    assert last.le(truth["left_at"]).all()
    assert last.max() < pd.Timestamp(shop.company.last_day) + pd.Timedelta(days=1)
    assert first.min() >= pd.Timestamp(shop.company.first_day)


def visible_life_days(shop: Simulation) -> pd.Series:
    """Days between sign-up and leaving or the end of the period."""
    end = pd.Timestamp(shop.company.last_day) + pd.Timedelta(days=1)
    lived = shop.truth["left_at"].clip(upper=end) - shop.customers["signed_up_at"]
    return lived.dt.total_seconds() / 86_400


def test_repeat_orders_are_poisson_given_rate_and_life(shop: Simulation) -> None:
    """Mean and variance of 20,000 standardised counts within 4.5 sigma."""
    expected = shop.truth["rate_per_day"] * visible_life_days(shop)
    counts = shop.orders.groupby("customer_id").size().to_numpy() - 1
    assert abs(counts.sum() - expected.sum()) < 4.5 * np.sqrt(expected.sum())
    often = (expected > 5).to_numpy()
    squares = (counts - expected)[often] ** 2 / expected[often]
    assert abs(squares.mean() - 1) < 4.5 * squares.std() / np.sqrt(often.sum())


def test_the_share_of_one_time_buyers_is_that_of_the_parameters(shop: Simulation) -> None:
    """P(x = 0) = mean of exp(-rate * life), within 4.5 sigma."""
    silent = np.exp(-shop.truth["rate_per_day"] * visible_life_days(shop))
    one_time = shop.orders.groupby("customer_id").size().eq(1)
    error = np.sqrt(np.sum(silent * (1 - silent))) / len(silent)
    assert abs(one_time.mean() - silent.mean()) < 4.5 * error


def test_order_times_are_uniform_over_the_life(shop: Simulation) -> None:
    orders = shop.orders.merge(shop.customers, on="customer_id", validate="many_to_one")
    since_days = (orders["ordered_at"] - orders["signed_up_at"]).dt.total_seconds() / 86_400
    life_days = orders["customer_id"].map(
        pd.Series(visible_life_days(shop).to_numpy(), shop.truth["customer_id"])
    )
    later = (since_days > 0) & (life_days > 1)
    assert kstest((since_days / life_days)[later].iloc[::20], "uniform").pvalue > 1e-4


def test_rates_and_lifetimes_follow_the_population(shop: Simulation) -> None:
    """Kolmogorov-Smirnov on 20,000 customers, p above 1e-4: gamma rates, Pareto lifetimes."""
    company = shop.company
    lived = (shop.truth["left_at"] - shop.customers["signed_up_at"]).dt.total_seconds() / 86_400
    assert kstest(shop.truth["rate_per_day"], "gamma", (company.r, 0, 1 / company.alpha)).pvalue > 1e-4
    assert kstest(shop.truth["dropout_per_day"], "gamma", (company.s, 0, 1 / company.beta)).pvalue > 1e-4
    known = lived < 10_000
    pareto = 1 - (company.beta / (company.beta + lived[known])) ** company.s
    longest = 1 - (company.beta / (company.beta + 10_000)) ** company.s
    assert kstest(pareto / longest, "uniform").pvalue > 1e-4
    assert abs(known.mean() - longest) < 4.5 * np.sqrt(longest * (1 - longest) / len(known))


def test_amounts_are_positive_cents_and_say_nothing_about_the_rate(shop: Simulation) -> None:
    """Spearman correlation of mean amount and rate over 20,000 customers within 4.5 / sqrt(n)."""
    amounts = shop.orders["amount_usd"]
    assert amounts.min() > 0
    assert amounts.equals(amounts.round(2))
    mean_usd = shop.orders.groupby("customer_id")["amount_usd"].mean().to_numpy()
    ranks = np.corrcoef(rankdata(mean_usd), rankdata(shop.truth["rate_per_day"]))
    assert abs(ranks[0, 1]) < 4.5 / np.sqrt(len(mean_usd))


def test_the_default_shop_is_realistic() -> None:
    shop = simulate(Company())
    counts = shop.orders.groupby("customer_id").size()
    assert 40_000 < len(shop.orders) < 60_000
    assert 0.2 < counts.eq(1).mean() < 0.4
    assert 10 < counts[counts > 1].mean() < 15
    assert 180 < (shop.truth["left_at"] - shop.customers["signed_up_at"]).median().days < 400
    seen = forecast_table(shop.orders, AS_OF, 90, shop.company, observation_days=180)
    assert 0.3 < churned(shop, seen["customer_id"]).mean() < 0.5


def churned(shop: Simulation, customer_id: pd.Series) -> pd.Series:
    """No order in the 90 days after AS_OF."""
    ordered_at = shop.orders["ordered_at"]
    later = shop.orders.loc[(ordered_at >= END) & (ordered_at < END + HORIZON), "customer_id"]
    return ~customer_id.isin(later)


def auc(label: pd.Series, score: pd.Series) -> float:
    """Probability that a churner has the higher score, ties one half."""
    ranks, positives = rankdata(score), label.sum()
    above = ranks[label].sum() - positives * (positives + 1) / 2
    return above / (positives * (len(label) - positives))


def test_the_oracle_beats_the_best_forecast_and_that_beats_recency(shop: Simulation) -> None:
    """10,000 customers: an AUC is good to 0.004, so a lead of 0.03 is far beyond chance."""
    best = forecast_table(shop.orders, AS_OF, 90, shop.company, observation_days=180)
    oracle = oracle_table(shop.orders, shop.truth, AS_OF, 90, observation_days=180)
    assert best["customer_id"].equals(oracle["customer_id"])
    label = churned(shop, best["customer_id"])
    past = shop.orders[shop.orders["ordered_at"] < END]
    recency = (END - past.groupby("customer_id")["ordered_at"].max()).loc[best["customer_id"]]
    of_best, of_oracle = auc(label, best["best_probability"]), auc(label, oracle["oracle_probability"])
    assert of_oracle > of_best + 0.03
    assert of_best > auc(label, recency) + 0.03


def test_forecast_and_oracle_are_calibrated_in_every_tenth(shop: Simulation) -> None:
    """Observed churn within 4.5 sigma of the forecast in each tenth of the customers."""
    tables = (
        forecast_table(shop.orders, AS_OF, 90, shop.company),
        oracle_table(shop.orders, shop.truth, AS_OF, 90),
    )
    for table in tables:
        label, forecast = churned(shop, table["customer_id"]), table.iloc[:, 1]
        for tenth in np.array_split(np.argsort(forecast.to_numpy(), kind="stable"), 10):
            p = forecast.to_numpy()[tenth]
            error = np.sqrt(np.sum(p * (1 - p)))
            assert abs(label.to_numpy()[tenth].sum() - p.sum()) < 4.5 * error + 1e-6


@pytest.mark.parametrize("wrong", [{"customers": 0}, {"days": -1}, {"r": 0.0}, {"beta": float("nan")}])
def test_a_shop_that_cannot_exist_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"Company: {next(iter(wrong))} is"):
        replace(Company(), **wrong)
