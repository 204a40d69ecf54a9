"""Forecasts of spend on made customers of whom the truth is known."""

import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.process.columns import spend_columns
from churn_orchestration.churn.process.fitting import NoFit, Process
from churn_orchestration.churn.process.gold import gold_histories
from churn_orchestration.churn.process.spend import (
    GammaGamma,
    discounted_purchases,
    fit_spend,
)
from churn_orchestration.churn.value.forecast import fit_forecast
from churn_orchestration.churn.value.metrics import coverage
from churn_orchestration.churn.value.spread import Spread

TRUE = GammaGamma(6.0, 4.0, 15.0, 0, 1)


def made_customers(customers: int, seed: int, days: int = 365, horizon: int = 90):
    """Features at the end of ``days`` and the spend of the ``horizon`` after it, by a known world:
    rates and drop-outs are gamma over customers, spend on a purchase day is gamma-gamma.
    """
    draw = np.random.default_rng(seed)
    rate = draw.gamma(1.2, 1 / 30, customers)
    stays = draw.exponential(1 / draw.gamma(1.5, 1 / 300, customers))
    scale = draw.gamma(TRUE.q, 1 / TRUE.gamma, customers)
    rows, outcome = [], []
    for each, (pace, life, nu) in enumerate(zip(rate, stays, scale, strict=True)):
        born = draw.integers(0, days - 30)
        gaps = draw.exponential(1 / pace, 400).cumsum()
        when = np.unique(np.concatenate([[0], np.ceil(gaps[gaps < life])])) + born
        spent = draw.gamma(TRUE.p, 1 / nu, len(when))
        seen, later = when < days, (when >= days) & (when < days + horizon)
        rows.append(
            (each, seen.sum(), days - 1 - when[seen].max(), days - 1 - born, spent[seen].sum())
        )
        outcome.append(spent[later].sum())
    return pd.DataFrame(rows, columns=["id", *spend_columns("orders", "amount")]), np.array(outcome)


@pytest.fixture(scope="module")
def world():
    return made_customers(4_000, 1)


def test_the_parameters_of_made_spend_come_out_and_the_likelihood_has_its_top_there():
    draw = np.random.default_rng(3)
    days = draw.integers(1, 20, 20_000)
    nu = draw.gamma(TRUE.q, 1 / TRUE.gamma, len(days))
    mean = draw.gamma(TRUE.p * days, 1 / nu) / days
    fitted = fit_spend(days, mean)
    assert (fitted.p, fitted.q, fitted.gamma) == pytest.approx((6, 4, 15), rel=0.1)
    assert fitted.mean == pytest.approx(TRUE.mean, rel=0.01)
    assert fit_spend(days, 100 * mean).gamma == pytest.approx(100 * fitted.gamma, rel=1e-4)
    assert GammaGamma.of_record(fitted.record()) == fitted


def test_who_has_bought_much_is_expected_to_go_on_so_and_who_has_not_like_all():
    expected = TRUE.expected(np.array([0, 1, 1000]), np.array([np.nan, 90.0, 90.0]))
    assert expected[0] == pytest.approx(TRUE.mean)
    assert TRUE.mean < expected[1] < expected[2]
    assert expected[2] == pytest.approx(90, rel=0.01)
    assert TRUE.expected(np.array([3]), np.array([-5.0]))[0] == pytest.approx(TRUE.mean)


@pytest.mark.parametrize(
    ("days", "mean", "reason"),
    [
        (np.ones(5), np.ones(5), "too few customers have spent: 5"),
        (np.ones(500), np.full(500, 7.0), "all customers spend the same"),
        (np.ones(500), np.zeros(500), "too few customers have spent: 0"),
    ],
)
def test_spend_that_no_model_describes_is_a_result_with_a_reason(days, mean, reason):
    result = fit_spend(days, mean)
    assert isinstance(result, NoFit)
    assert result.reason.startswith(reason)


def test_the_forecast_of_a_made_world_is_right_in_total_and_better_than_the_last_period(world):
    features, outcome = world
    forecast = fit_forecast(features, "orders", "amount", 90).of(features)
    expected = forecast["expected_spend"].to_numpy()
    assert np.isfinite(forecast.to_numpy()).all()
    assert expected.sum() / outcome.sum() == pytest.approx(1, abs=0.08)
    alike = np.mean((outcome - outcome.mean()) ** 2)
    assert np.mean((outcome - expected) ** 2) < 0.7 * alike


def test_a_gap_takes_what_is_spent_in_it_away(world):
    features, _ = world
    both, first, later = (
        fit_forecast(features, "orders", "amount", *when).of(features)["expected_spend"]
        for when in ((90, 0), (30, 0), (60, 30))
    )
    pd.testing.assert_series_equal(first + later, both)


def test_eighty_percent_intervals_hold_eighty_percent_of_other_customers(world):
    features, outcome = world
    forecast = fit_forecast(features, "orders", "amount", 90).of(features)["expected_spend"]
    half = features["id"].to_numpy() % 2 == 0
    spread = Spread.of(forecast[half].to_numpy(), outcome[half], 0.8)
    low, high = spread.interval(forecast[~half].to_numpy())
    assert (low <= high).all()
    spends = forecast[~half] > forecast.median()  # of the others more than the share spends nothing
    assert coverage(outcome[~half][spends], low[spends], high[spends]) == pytest.approx(
        0.8, abs=0.03
    )


def test_forecasts_of_nothing_have_finite_intervals():
    forecast = np.concatenate([np.zeros(60), np.linspace(1, 100, 940)])
    outcome = np.where(np.arange(1000) % 3 == 0, 0.0, forecast)
    spread = Spread.of(forecast, outcome, 0.8)
    low, high = spread.interval(forecast)
    assert np.isfinite([low, high]).all()
    assert (low <= high).all()


def test_the_purchases_of_a_whole_future_are_more_than_those_of_ten_years_discounted_as_one(world):
    features, _ = world
    forecast = fit_forecast(features, "orders", "amount", 90)
    histories = gold_histories(features.head(200), "orders")
    worth = discounted_purchases(forecast.process, histories, 0.1)
    undiscounted = forecast.process.expected_purchases(histories, 3_650)
    years = np.array([
        forecast.process.expected_purchases(histories, 365.25 * year) for year in range(1, 61)
    ])  # fmt: skip
    by_year = np.diff(years, axis=0, prepend=0)
    middle = np.array([1.1 ** -(year + 0.5) for year in range(60)])
    assert np.isfinite(worth).all()
    assert worth == pytest.approx((by_year * middle[:, None]).sum(axis=0), rel=0.02, abs=1e-3)
    assert (worth < undiscounted * 2).all()
    with pytest.raises(ValueError, match="discount above 0"):
        discounted_purchases(forecast.process, histories, 0)


def test_a_process_that_does_not_fit_says_so():
    features = pd.DataFrame(
        [(1, 3, 1, 30, 9.0)] * 5, columns=["id", *spend_columns("orders", "amount")]
    )
    result = fit_forecast(features, "orders", "amount", 90)
    assert isinstance(result, NoFit)
    assert not isinstance(result, Process)
