"""Likelihoods and forecasts of purchase processes against slow oracles and simulated customers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad, quad
from scipy.special import expit, loggamma

from churn_orchestration.churn.process.histories import Histories
from churn_orchestration.churn.process.models import (
    BG_NBD,
    MBG_NBD,
    MODELS,
    PARETO_NBD,
    Model,
    beta_rule,
    integrated,
)
from churn_orchestration_tests.support.properties import examples

EVERY = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
TYPICAL = {
    "nbd": (0.6, 25.0),
    "bg_nbd": (0.6, 25.0, 0.7, 3.0),
    "mbg_nbd": (0.5, 43.0, 0.9, 1.6),
    "pareto_nbd": (0.55, 74.0, 0.6, 82.0),
}
HISTORIES = [(0, 0, 90), (0, 0, 0), (1, 20, 20), (2, 30, 270), (7, 100, 120), (40, 80, 300)]


def of(rows: list[tuple[float, float, float]]) -> Histories:
    x, t_x, age = np.array(rows, float).T
    return Histories.of(x, t_x, age)


def likelihood_by_integration(
    name: str, parameters: tuple[float, ...], x: float, t_x: float, age: float
) -> float:
    """L from its definition: the mean, over customers, of what one with their rate and their way of
    stopping does.
    """
    r, alpha, *others = parameters

    def rate_density(rate: float) -> float:
        log = r * math.log(alpha) + (r - 1) * math.log(rate) - alpha * rate - math.lgamma(r)
        return math.exp(log)

    def bg(rate: float, p: float) -> float:
        bought = rate**x * (1 - p) ** x * math.exp(-rate * age)
        return bought + (p * (1 - p) ** (x - 1) * rate**x * math.exp(-rate * t_x) if x else 0)

    def mbg(rate: float, p: float) -> float:
        bought = rate**x * (1 - p) ** (x + 1) * math.exp(-rate * age)
        return bought + p * (1 - p) ** x * rate**x * math.exp(-rate * t_x)

    def pareto(rate: float, death: float) -> float:
        both = rate + death
        early, late = math.exp(-both * t_x), math.exp(-both * age)
        return rate**x * (late + death / both * (early - late))

    if name == "nbd":

        def of_rate(log_rate: float) -> float:
            rate = math.exp(log_rate)
            return rate_density(rate) * rate * rate**x * math.exp(-rate * age)

        return float(quad(of_rate, -40, 2, epsabs=0, epsrel=1e-9)[0])
    c, d = others
    if name == "pareto_nbd":

        def death_density(death: float) -> float:
            log = c * math.log(d) + (c - 1) * math.log(death) - d * death - math.lgamma(c)
            return math.exp(log)

        def integrand(log_rate: float, log_death: float) -> float:
            rate, death = math.exp(log_rate), math.exp(log_death)
            mass = rate_density(rate) * death_density(death) * rate * death
            return mass * pareto(rate, death)

        return float(dblquad(integrand, -40, 2, -22, 2, epsabs=0, epsrel=1e-7)[0])
    individual = bg if name == "bg_nbd" else mbg
    scale = math.lgamma(c + d) - math.lgamma(c) - math.lgamma(d)

    def of_p(p: float, log_rate: float) -> float:
        rate = math.exp(log_rate)
        mass = rate_density(rate) * rate * math.exp(scale) * p ** (c - 1) * (1 - p) ** (d - 1)
        return mass * individual(rate, p)

    return float(dblquad(of_p, -22, 2, 1e-12, 1, epsabs=0, epsrel=1e-7)[0])


TAME = {  # densities without a pole, which the oracle integrates
    "nbd": (1.2, 25.0),
    "bg_nbd": (1.2, 25.0, 1.5, 3.0),
    "mbg_nbd": (1.2, 25.0, 1.5, 3.0),
    "pareto_nbd": (1.2, 25.0, 1.3, 80.0),
}


@EVERY
@pytest.mark.parametrize("history", [(0, 0, 60), (1, 20, 60), (4, 50, 60)])
def test_the_likelihood_is_the_mean_over_customers_of_its_definition(
    model: Model, history: tuple[float, float, float]
) -> None:
    parameters = TAME[model.name]
    value = model.likelihood(np.array(parameters), of([history])).value[0]
    assert math.exp(value) == pytest.approx(
        likelihood_by_integration(model.name, parameters, *history), rel=1e-5
    )


@EVERY
def test_silence_is_the_likelihood_of_a_longer_history_over_that_of_the_history(
    model: Model,
) -> None:
    parameters = np.array(TYPICAL[model.name])
    now, later = of(HISTORIES), of([(x, t_x, age + 90) for x, t_x, age in HISTORIES])
    logs = [model.likelihood(parameters, histories).value for histories in (later, now)]
    np.testing.assert_allclose(
        expit(model.silence_log_odds(parameters, now, 90)), np.exp(logs[0] - logs[1]), rtol=1e-10
    )


def purchases(
    name: str, parameters: tuple[float, ...], number: int, end: float
) -> list[np.ndarray]:
    """Times of purchase of simulated customers, the first at 0, up to ``end``."""
    rng = np.random.default_rng(7)
    r, alpha, *others = parameters
    rate = rng.gamma(r, 1 / alpha, number)
    if name == "nbd":
        return [np.sort(rng.uniform(0, end, rng.poisson(each * end))) for each in rate]
    c, d = others
    lives = rng.gamma(c, 1 / d, number) if name == "pareto_nbd" else rng.beta(c, d, number)
    result = []
    for each, life in zip(rate, lives, strict=True):
        most = rng.exponential(1 / life) if name == "pareto_nbd" else end
        last = rng.geometric(life) if name != "pareto_nbd" else 10**9
        if name == "mbg_nbd":
            last -= 1  # the first purchase may have been the last
        count = rng.poisson(each * end)
        times = np.sort(rng.uniform(0, end, count))
        result.append(times[:last][times[:last] <= most])
    return result


@EVERY
@pytest.mark.parametrize("gap", [0, 30])
def test_forecasts_agree_with_what_simulated_customers_do(model: Model, gap: int) -> None:
    parameters, age, horizon = TYPICAL[model.name], 200, 60
    times = purchases(model.name, parameters, 40_000, age + gap + horizon)
    histories = of([(k := int((t <= age).sum()), t[k - 1] if k else 0, age) for t in times])
    silent = np.array([not ((t > age + gap) & (t <= age + gap + horizon)).any() for t in times])
    forecast = expit(model.silence_log_odds(np.array(parameters), histories, horizon, gap))
    bought = np.array([((t > age) & (t <= age + horizon)).sum() for t in times])
    expected = model.expected(np.array(parameters), histories, horizon)
    groups = np.digitize(forecast, np.quantile(forecast, [0.1, 0.3, 0.5]))
    for group in np.unique(groups):
        among = groups == group
        error = math.sqrt((forecast * (1 - forecast))[among].sum()) / among.sum()
        assert silent[among].mean() == pytest.approx(forecast[among].mean(), abs=4 * error)
        spread = bought[among].std() / math.sqrt(among.sum())
        assert bought[among].mean() == pytest.approx(expected[among].mean(), abs=4 * spread)


@EVERY
def test_a_gap_is_no_purchase_of_its_own(model: Model) -> None:
    """A gap of no length changes nothing, and behind a longer one purchases are rarer."""
    parameters, histories = np.array(TYPICAL[model.name]), of(HISTORIES)
    none, little, much = (
        model.silence_log_odds(parameters, histories, 30, gap) for gap in (0, 1e-9, 100)
    )
    np.testing.assert_allclose(none, little, rtol=1e-9)
    assert (much > none).all() or (model.name == "nbd" and (much == none).all())


def test_bg_nbd_holds_a_customer_of_one_purchase_for_alive() -> None:
    parameters, one = np.array(TYPICAL["bg_nbd"]), of([(0, 0, 90)])
    assert BG_NBD.alive_log_odds(parameters, one)[0] == math.inf
    assert MBG_NBD.alive_log_odds(parameters, one)[0] < math.inf


LOGS = st.floats(-7, 7)
WHOLE = st.integers(0, 3_000)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Histories, float]:
    """Parameters from 0.001 to 1000, times from hours to years, up to purchases of ten a day."""
    parameters = np.exp([draw(LOGS) for _ in range(4)])
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        t_x = draw(st.one_of(st.just(0), st.integers(1, 4_000)))
        rows.append((draw(st.integers(1, 10 * t_x)) if t_x else 0, t_x, t_x + draw(WHOLE)))
    return parameters, of(rows), draw(st.floats(0.01, 2_000))


@EVERY
@settings(max_examples=examples(60), deadline=None)
@given(case=cases(), more=st.floats(1.0, 3.0), gap=st.one_of(st.just(0.0), st.floats(0.1, 400)))
def test_forecasts_are_finite_and_silence_is_rarer_the_longer(
    model: Model, case: tuple[np.ndarray, Histories, float], more: float, gap: float
) -> None:
    parameters, histories, length = case
    parameters = parameters[: len(model.parameters)]
    odds = model.silence_log_odds(parameters, histories, length, gap)
    longer = model.silence_log_odds(parameters, histories, length * more, gap)
    assert np.isfinite(odds).all()
    assert (longer <= odds + 1e-9 * (1 + np.abs(odds))).all()
    alive = expit(model.alive_log_odds(parameters, histories))
    assert ((alive >= 0) & (alive <= 1)).all()
    assert (expit(odds) >= (1 - alive) * (1 - 1e-9)).all()
    expected = model.expected(parameters, histories, length)
    assert np.isfinite(expected).all()
    assert (expected >= 0).all()


@EVERY
@settings(max_examples=examples(60), deadline=None)
@given(case=cases())
def test_the_gradient_is_the_slope_of_the_likelihood(
    model: Model, case: tuple[np.ndarray, Histories, float]
) -> None:
    parameters, histories, _ = case
    parameters = parameters[: len(model.parameters)]
    value, gradient = model.likelihood(parameters, histories)
    assert np.isfinite(value).all()
    step = 1e-4
    for number, _ in enumerate(parameters):
        sides = [
            model.likelihood(
                parameters * np.exp(by * np.eye(len(parameters))[number]), histories
            ).value
            for by in (-2 * step, -step, step, 2 * step)
        ]
        slope = (sides[0] - 8 * sides[1] + 8 * sides[2] - sides[3]) / (12 * step)
        rounding = 1e-11 * (1 + np.abs(value)) / step * 10
        np.testing.assert_array_less(
            np.abs(slope - gradient[number]), 1e-5 * (1 + np.abs(slope)) + rounding
        )


@settings(max_examples=examples(100), deadline=None)
@given(a=LOGS, b=LOGS, p=st.floats(-6, 8), q=st.floats(0, 6), length=st.floats(-5, 8))
def test_the_integral_agrees_with_an_adaptive_one(
    a: float, b: float, p: float, q: float, length: float
) -> None:
    a, b, p, q, length = map(math.exp, (a, b, p, q, length))
    least = min(a, b)
    end = math.log1p(length / least)

    def integrand(z: float) -> float:
        u = least * math.expm1(z)
        return least * math.exp(z - p * math.log1p(u / a) - q * math.log1p(u / b))

    pieces = [0, *(end * 2.0**-k for k in range(24, -1, -1))]
    oracle = sum(
        quad(integrand, begin, until, epsabs=0, epsrel=1e-11)[0]
        for begin, until in zip(pieces, pieces[1:], strict=False)
        if integrand(begin) + integrand(until) > 1e-200
    )
    fast = integrated(*(np.array([value]) for value in (a, b, p)), q, np.array([length]))[0]
    assert fast == pytest.approx(oracle, rel=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.01, 0.02), (0.7, 3), (5, 900), (1e4, 1e4)])
def test_the_rule_of_a_beta_distribution_gives_its_moments(a: float, b: float) -> None:
    weights, nodes = beta_rule(a, b)
    for power in (0, 1, 2, 5):
        moment = math.exp(
            np.real(loggamma(a + power) - loggamma(a) + loggamma(a + b) - loggamma(a + b + power))
        )
        assert weights @ nodes**power == pytest.approx(moment, rel=1e-8)


def test_pareto_nbd_expects_what_its_hazard_adds_up_to() -> None:
    """Purchases expected in a short time are the chance of one."""
    parameters, histories = np.array(TYPICAL["pareto_nbd"]), of(HISTORIES)
    short = 1e-3
    np.testing.assert_allclose(
        PARETO_NBD.expected(parameters, histories, short),
        expit(-PARETO_NBD.silence_log_odds(parameters, histories, short)),
        rtol=1e-3,
    )
