"""The effect of a campaign: what counting says, intervals that hold at every look, and nothing from
too few.
"""

from collections.abc import Callable

import numpy as np
import pytest

from churn_orchestration.churn.campaign.effect import (
    HARMS,
    NOT_KNOWN_YET,
    WORKS,
    Looks,
    Outcomes,
    looks,
    measured,
    measured_by_segment,
    reach,
)

DAYS = 60


def leaving(rng: np.random.Generator, customers: int, share: float, effect: float) -> Outcomes:
    """Customers who leave by a forecast that is right for the control; the treated less by so much
    on the mean.
    """
    treated, forecast = rng.random(customers) >= share, rng.beta(0.8, 3.2, customers)
    left = rng.random(customers) < forecast - effect * forecast / 0.2 * treated
    return Outcomes(np.sort(rng.integers(0, DAYS, customers)), treated, left * 1.0, forecast)


def spending(rng: np.random.Generator, customers: int, share: float, effect: float) -> Outcomes:
    """Spend as skewed as a shop's: a few customers spend a hundred times the mean."""
    forecast = rng.lognormal(3, 1, customers)
    spent = np.where(rng.random(customers) < 0.4, forecast * rng.gamma(2, 0.5, customers), 0)
    treated = rng.random(customers) >= share
    day = np.sort(rng.integers(0, DAYS, customers))
    return Outcomes(day, treated, spent + effect * treated, forecast)


def literal(control: list[float], treated: list[float], days: int = 1) -> Outcomes:
    """Each outcome thirty times, by turns on so many days."""
    outcome = np.tile([*control, *treated], 30)
    arm = np.tile([False] * len(control) + [True] * len(treated), 30)
    return Outcomes(np.arange(len(outcome)) * days // len(outcome), arm, outcome)


def test_of_arms_in_their_shares_the_estimate_is_the_difference_of_means() -> None:
    less = measured(literal([1, 0, 1, 1], [0, 1, 0, 0]), 0.5, less_is_better=True)
    assert (less.estimate, less.treated, less.control) == (pytest.approx(0.5), 120, 120)
    more = measured(literal([4, 0], [9, 3, 0, 12, 0, 6]), 0.25, less_is_better=False)
    assert (more.estimate, more.treated, more.control) == (pytest.approx(3.0), 180, 60)
    assert more.once_low < 3.0 < more.once_high


@pytest.mark.parametrize(("kind", "is_alike"), [(leaving, False), (spending, True)])
def test_estimate_and_error_are_those_of_a_regression_row_by_row(
    kind: Callable[..., Outcomes], is_alike: bool
) -> None:
    given, larger = kind(np.random.default_rng(1), 1_500, 0.3, 0.1), []
    at = looks(given, 0.3, less_is_better=True)
    for day in (20, 35, DAYS - 1):
        known = given.some(given.matured <= day)
        assert known.forecast is not None
        weight = np.where(known.treated, -1 / 0.7, 1 / 0.3)
        chance = np.column_stack([weight, weight * known.forecast])
        by = np.linalg.lstsq(chance, weight * known.outcome, rcond=None)[0]
        rest = weight * known.outcome - chance @ by
        assert at.estimate[day] == pytest.approx(rest.mean())
        alike = (known.outcome - by[0] - by[1] * known.forecast).var() * (1 / 0.3 + 1 / 0.7)
        larger.append(alike > rest.var())
        spread = max(rest.var(), alike) / (len(rest) - 3)
        assert at.error[day] == pytest.approx(np.sqrt(spread))
    assert any(larger) == is_alike, "the spread is that of both arms as if they were alike"


@pytest.mark.parametrize("effect", [3.0, -3.0])
def test_intervals_reach_as_far_as_error_and_skewness_say(effect: float) -> None:
    given = spending(np.random.default_rng(2), 4_000, 0.2, effect)
    plain = Outcomes(given.matured, given.treated, given.outcome)
    at = looks(plain, 0.2, less_is_better=False, planned=3_000)
    weight = np.where(given.treated, 1 / 0.8, -1 / 0.2)
    rest = weight * (given.outcome - (weight**2 @ given.outcome) / (weight**2).sum())
    alike = given.outcome - (weight**2 @ given.outcome) / (weight**2).sum()
    thirds = [((x - x.mean()) ** 3).mean() for x in (rest, alike)]
    third = max(thirds[0], thirds[1] * (1 / 0.8**2 - 1 / 0.2**2), key=abs)
    error, estimate = at.error[-1], at.estimate[-1]
    skewness = third / (error * np.sqrt(4_000 - 2)) ** 3 / np.sqrt(4_000)
    assert skewness < -0.05, "a control of few who spend much"
    for far, low, high, widened in (
        (1.959964, at.once_low[-1], at.once_high[-1], False),
        (reach(np.array(4_000), 0.05, 3_000), at.low[-1], at.high[-1], True),
    ):
        shift = -skewness * (2 * far**2 + 1) / 6
        assert low == pytest.approx(estimate - error * (far + shift))
        assert high == pytest.approx(estimate + error * (far - (0 if widened else shift)))


def test_a_forecast_makes_the_interval_narrower() -> None:
    given = leaving(np.random.default_rng(2), 4_000, 0.2, 0.0)
    with_it = measured(given, 0.2, less_is_better=True)
    without = measured(
        Outcomes(given.matured, given.treated, given.outcome), 0.2, less_is_better=True
    )
    assert with_it.high - with_it.low < 0.93 * (without.high - without.low)


def all_of(at: Looks) -> list[bytes]:
    return [values.tobytes() for values in vars(at).values()]


def test_the_order_of_rows_decides_not_even_a_bit() -> None:
    rng = np.random.default_rng(3)
    given = spending(rng, 3_000, 0.2, 1.0)
    mixed = given.some(rng.permutation(3_000))
    assert all_of(looks(given, 0.2, less_is_better=False)) == all_of(
        looks(mixed, 0.2, less_is_better=False)
    )


def test_later_days_change_no_earlier_look() -> None:
    given = spending(np.random.default_rng(4), 3_000, 0.2, 1.0)
    at = looks(given, 0.2, less_is_better=False)
    before = looks(given.some(given.matured <= 40), 0.2, less_is_better=False)
    assert len(before.day) == 41
    for name, values in vars(before).items():
        assert values.tobytes() == getattr(at, name)[:41].tobytes(), name


def test_other_units_of_money_are_the_same_effect_in_those_units() -> None:
    given = spending(np.random.default_rng(5), 3_000, 0.2, 1.0)
    cents = Outcomes(given.matured, given.treated, given.outcome * 100, given.forecast)
    usd, by_cents = (measured(each, 0.2, less_is_better=False) for each in (given, cents))
    assert usd.estimate is not None
    assert by_cents.estimate == pytest.approx(usd.estimate * 100)
    assert (by_cents.low, by_cents.once_high) == pytest.approx((usd.low * 100, usd.once_high * 100))


def test_a_single_look_covers_the_effect_as_often_as_it_says() -> None:
    rng, covered, effect = np.random.default_rng(6), 0, 0.04
    for _ in range(300):
        result = measured(leaving(rng, 1_500, 0.2, effect), 0.2, less_is_better=True)
        covered += result.once_low <= effect <= result.once_high
    assert 0.92 <= covered / 300 <= 0.98


def test_looked_at_daily_a_campaign_without_effect_seldom_works_or_harms() -> None:
    rng, known, once = np.random.default_rng(7), 0, 0
    for _ in range(200):
        at = looks(leaving(rng, 2_000, 0.2, 0.0), 0.2, less_is_better=True)
        known += bool(((at.low > 0) | (at.high < 0)).any())
        once += bool(((at.once_low > 0) | (at.once_high < 0)).any())
    assert known / 200 <= 0.05
    assert once / 200 > 0.15, "intervals of a single look do not hold when looked at daily"


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_spend_that_a_small_control_has_not_seen_is_no_effect(share: float) -> None:
    rng, works = np.random.default_rng(8), 0
    for _ in range(150):
        at = looks(spending(rng, 3_000, share, 0.0), share, less_is_better=False)
        works += bool((at.low > 0).any())
    assert works / 150 <= 0.05


def test_what_works_and_what_harms_is_known_in_time() -> None:
    rng = np.random.default_rng(9)
    works = measured(leaving(rng, 8_000, 0.3, 0.08), 0.3, less_is_better=True)
    harms = measured(leaving(rng, 8_000, 0.3, -0.08), 0.3, less_is_better=True)
    none = measured(leaving(rng, 8_000, 0.3, 0.0), 0.3, less_is_better=True)
    assert (works.verdict, works.more, harms.verdict) == (WORKS, 0, HARMS)
    assert works.low > 0 > harms.high
    assert none.verdict == NOT_KNOWN_YET


def test_a_harmful_campaign_is_stopped_long_before_its_end() -> None:
    rng, stopped = np.random.default_rng(10), []
    for _ in range(60):
        at = looks(leaving(rng, 4_000, 0.3, -0.08), 0.3, less_is_better=True, planned=2_000)
        stopped.append((at.high < 0).argmax() if (at.high < 0).any() else DAYS)
    assert np.mean(stopped) < 0.6 * DAYS


def test_of_few_outcomes_nothing_is_said() -> None:
    nothing = Outcomes(np.empty(0), np.empty(0, bool), np.empty(0))
    few = literal([1.0], [0.0, 1.0])
    rare = Outcomes(np.zeros(4_000), np.arange(4_000) % 2 == 0, (np.arange(4_000) < 12) * 1.0)
    one = Outcomes(np.zeros(400), np.arange(400) % 2 == 0, np.r_[9e9, np.ones(399)])
    for given in (nothing, few, rare, one):
        result = measured(given, 0.5, less_is_better=True)
        assert (result.estimate, result.verdict, result.more) == (None, NOT_KNOWN_YET, None)
        assert (result.low, result.high) == (-np.inf, np.inf)
        assert (result.once_low, result.once_high) == (-np.inf, np.inf)
    assert (result.treated, result.control) == (200, 200)


def test_so_many_more_outcomes_are_needed_as_then_are_enough() -> None:
    given = literal([1, 1, 1, 0, 0], [1, 0, 0, 1, 0, 1, 0])
    now = measured(given, 5 / 12, less_is_better=True)
    assert now.verdict == NOT_KNOWN_YET
    assert now.more is not None
    times = 1 + now.more / len(given.outcome)
    for scale, verdict in ((0.95, NOT_KNOWN_YET), (1.05, WORKS)):
        rows = np.arange(round(len(given.outcome) * times * scale)) % 12
        assert measured(given.some(rows), 5 / 12, less_is_better=True).verdict == verdict
    same = measured(literal([1, 0], [1, 0]), 0.5, less_is_better=True)
    assert same.more is None, "no number of outcomes makes an estimate of nothing known"


def test_of_segments_each_is_held_to_its_share_of_the_level() -> None:
    rng = np.random.default_rng(11)
    given = leaving(rng, 3_000, 0.3, 0.05)
    segment = rng.choice(["new", "old", "vip"], 3_000)
    result = measured_by_segment(segment, given, 0.3, less_is_better=True, level=0.06)
    assert list(result) == ["new", "old", "vip"]
    alone = measured(given.some(segment == "old"), 0.3, less_is_better=True, level=0.02)
    assert result["old"] == alone
    assert sum(each.control for each in result.values()) == (~given.treated).sum()
    seen = segment != "vip"  # of whom no outcome is known yet
    early = measured_by_segment(
        segment[seen], given.some(seen), 0.3, less_is_better=True, level=0.06, declared=3
    )
    assert early == {"new": result["new"], "old": alone}


def test_the_interval_of_every_look_is_narrowest_where_it_was_planned() -> None:
    n = np.array([500, 1_000, 2_000, 4_000])
    by_plan = [reach(n, 0.05, planned) for planned in n]
    assert [int(np.argmin(column)) for column in np.array(by_plan).T] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changed", "share", "words"),
    [
        ({"outcome": np.array([1.0, np.nan])}, 0.5, "1 values of outcome are not finite"),
        ({"forecast": np.array([np.inf, 1.0])}, 0.5, "1 values of forecast are not finite"),
        ({"treated": np.array([True])}, 0.5, "treated has 1 rows, outcome 2"),
        ({}, 1.0, "share that is held back"),
    ],
)
def test_what_is_not_known_is_refused(
    changed: dict[str, np.ndarray], share: float, words: str
) -> None:
    given = {"matured": np.zeros(2), "treated": np.array([True, False]), "outcome": np.ones(2)}
    with pytest.raises(ValueError, match=words):
        looks(Outcomes(**given | changed), share, less_is_better=True)
