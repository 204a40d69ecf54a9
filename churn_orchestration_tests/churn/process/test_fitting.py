"""Fits against published figures and simulated truth, and customers whom no process describes."""

import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.process.fitting import NoFit, Process, fit, fit_each
from churn_orchestration.churn.process.histories import Histories
from churn_orchestration.churn.process.models import MODELS
from churn_orchestration_tests.support.cdnow import sample_histories
from churn_orchestration_tests.support.properties import examples

real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        "CHURN_REAL_DATA" not in os.environ, reason="CHURN_REAL_DATA names no folder of real data"
    ),
]
PUBLISHED = {
    "bg_nbd": ({"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}, -9582.4),
    "pareto_nbd": ({"r": 0.553, "alpha": 10.578, "s": 0.606, "beta": 11.669}, -9595.0),
}
"""Fader, Hardie and Lee 2005, table 2; 39 weeks of 2,357 customers, times in weeks."""


def histories(age: np.ndarray, buy: Callable[[int], np.ndarray]) -> Histories:
    """Customers of these ages, whose days of purchase after the first one are as given."""
    days = [buy(number) for number in range(len(age))]
    x = np.array([len(each) for each in days], float)
    return Histories.of(x, np.array([max([0, *each]) for each in days], float), age)


def shop(customers: int, seed: int = 3, scale: float = 1.0) -> Histories:
    """Customers as MBG/NBD says: r 0.8, alpha 30, a 0.6, b 2.5; times are multiplied by a scale."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(30, 700, customers)
    rate, stops = rng.gamma(0.8, 1 / 30, customers), rng.beta(0.6, 2.5, customers)

    def buy(number: int) -> np.ndarray:
        times = np.sort(rng.uniform(0, age[number], rng.poisson(rate[number] * age[number])))
        return times[: rng.geometric(stops[number]) - 1]

    days = [buy(number) for number in range(customers)]
    x = np.array([len(each) for each in days], float)
    t_x = np.array([each[-1] if len(each) else 0.0 for each in days])
    return Histories.of(x, t_x * scale, age * scale)


@pytest.fixture(scope="module")
def cdnow() -> Histories:
    return sample_histories()


@pytest.mark.parametrize("name", [pytest.param(name, marks=real_data) for name in PUBLISHED])
def test_the_published_figures_of_cdnow_come_out(name: str, cdnow: Histories) -> None:
    parameters, log_likelihood = PUBLISHED[name]
    process = fit_each(cdnow)[name]
    assert isinstance(process, Process)
    for key, value in parameters.items():
        days = 7 if key in ("alpha", "beta") else 1
        assert process.parameters[key] / days == pytest.approx(value, abs=6e-4)
    in_weeks = process.log_likelihood + cdnow.x.sum() * np.log(7)
    assert in_weeks == pytest.approx(log_likelihood, abs=0.05)


def test_the_unit_of_time_does_not_matter() -> None:
    scale = 1e4
    ours, same = shop(300), shop(300, scale=scale)
    others = fit_each(same)
    for name, one in fit_each(ours).items():
        other = others[name]
        assert isinstance(one, Process)
        assert isinstance(other, Process)
        for key in one.parameters:
            factor = scale if key in MODELS[name].times else 1
            assert other.parameters[key] == pytest.approx(one.parameters[key] * factor, rel=1e-3)
        np.testing.assert_allclose(
            one.silence(ours, 90), other.silence(same, 90 * scale), rtol=1e-4
        )


def test_the_truth_is_likeliest_and_recovered() -> None:
    process = fit(shop(8_000))
    assert isinstance(process, Process)
    assert process.model == "mbg_nbd"
    assert process.parameters["r"] == pytest.approx(0.8, abs=0.1)
    assert process.parameters["alpha"] == pytest.approx(30, abs=4)
    share = process.parameters["a"] / (process.parameters["a"] + process.parameters["b"])
    assert share == pytest.approx(0.6 / 3.1, abs=0.025)


def test_two_fits_give_the_same_bytes_and_order_does_not_matter() -> None:
    ours = shop(300)
    backwards = Histories.of(ours.x[::-1], ours.t_x[::-1], ours.age[::-1])
    assert fit(ours) == fit(ours) == fit(backwards)


def test_customers_counted_together_are_fitted_as_one_by_one() -> None:
    ours = shop(300)
    whole = Histories.of(ours.x, np.ceil(ours.t_x), np.ceil(ours.age))
    twice = Histories(whole.x, whole.t_x, whole.age, 2 * whole.n)
    both = Histories.of(*(np.tile(part, 2) for part in (whole.x, whole.t_x, whole.age)))
    assert fit(twice) == fit(both)


def test_a_process_survives_as_a_record() -> None:
    process = fit(shop(300))
    assert isinstance(process, Process)
    record = process.record()
    assert {type(value) for value in record.values()} == {str, float}
    assert Process.of_record(record) == process


def test_a_record_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown process"):
        Process("pareto", {"r": 1.0}, -1.0, 10)
    with pytest.raises(ValueError, match="finite and > 0"):
        Process("bg_nbd", {"r": 1.0, "alpha": 1.0, "a": float("nan"), "b": 1.0}, -1.0, 10)


def at_random(number: int) -> np.ndarray:
    """Purchases at a rate that is Gamma(2, 50) among customers, and that never ends."""
    rng = np.random.default_rng(number)
    return rng.uniform(0, 300, rng.poisson(300 * rng.gamma(2, 1 / 50)))


AGE = np.full(400, 300.0)
SPREAD = np.linspace(1, 299, 400)


@pytest.mark.parametrize(
    ("customers", "reason"),
    [
        (Histories.of(*np.zeros((3, 0))), "too few customers: 0, want at least 20"),
        (histories(AGE[:19], lambda n: np.array([n + 1])), "too few customers: 19"),
        (histories(AGE, lambda _: np.array([])), "too few customers came back: 0 of 400"),
        (histories(AGE, lambda n: np.array([n + 1] if n < 19 else [])), "came back: 19 of 400"),
        (histories(AGE, lambda n: np.arange(1, SPREAD[n])), "100% of the days"),
    ],
)
def test_customers_whom_no_process_describes_are_a_result_with_a_reason(
    customers: Histories, reason: str
) -> None:
    result = fit(customers)
    assert isinstance(result, NoFit)
    assert reason in result.reason


def test_where_nobody_stops_only_the_number_of_purchases_matters() -> None:
    ours = histories(AGE, at_random)
    results = fit_each(ours)
    process = results.pop("nbd")
    assert fit(ours) == process
    for result in results.values():
        assert isinstance(result, NoFit)
        assert "nobody is seen to stop for good" in result.reason
    assert isinstance(process, Process)
    assert process.parameters["r"] == pytest.approx(2, abs=0.4)
    assert process.silence(ours, 50).mean() == pytest.approx((1 + 1) ** -2, abs=0.02)


def test_everyone_stopping_at_once_is_a_fit_that_expects_silence() -> None:
    """Half of the customers buy for a month and stop; half have just begun."""
    rng = np.random.default_rng(5)
    age = np.where(np.arange(400) % 2, 500.0, 40.0)
    ours = histories(age, lambda _: np.sort(rng.uniform(0.1, 30, rng.poisson(5))))
    process = fit(ours)
    assert isinstance(process, Process)
    silence = process.silence(ours, 30)
    assert silence[age == 500].mean() > 0.95
    assert silence[(age == 40) & (ours.t_x > 25)].mean() < 0.7


@st.composite
def any_customers(draw: st.DrawFn) -> Histories:
    """Whatever dates a business may have, sensible or not."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    number = draw(st.integers(20, 120))
    age = np.ceil(rng.gamma(draw(st.floats(0.1, 5)), draw(st.floats(1, 900)), number))
    share = draw(st.floats(0, 1))
    last = np.floor(age * rng.beta(draw(st.floats(0.1, 9)), draw(st.floats(0.1, 9)), number))
    x = np.minimum(rng.poisson(draw(st.floats(0.1, 40)), number), last)
    x = np.where(rng.random(number) < share, x, 0)
    return Histories.of(x, np.where(x > 0, last, 0), age)


@settings(max_examples=examples(15), deadline=None)
@given(any_customers())
def test_any_customers_give_finite_forecasts_or_a_reason(ours: Histories) -> None:
    for process in fit_each(ours).values():
        if isinstance(process, NoFit):
            assert process.reason
            continue
        for days in (1, 90):
            assert np.isfinite(process.silence_log_odds(ours, days)).all()
            assert np.isfinite(process.expected_purchases(ours, days)).all()
