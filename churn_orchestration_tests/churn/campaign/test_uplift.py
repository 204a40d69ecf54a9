"""Uplift: areas as counted customer by customer, learners that never saw whom they judge, and
nothing from chance.
"""

from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pytest
from scipy.stats import norm

from churn_orchestration.churn.campaign.uplift import (
    ABSTAINS,
    BELIEF,
    BLEND,
    LEARNED,
    TOO_FEW,
    Judged,
    Learners,
    Trial,
    contributions,
    fit_learners,
    judged,
    learn,
    led,
    level_of,
    looks,
    qini,
    scaled,
)


def drawn(customers: int, kept: float, share: float = 0.4, seed: int = 1) -> Trial:
    """Customers of whom those with a large second feature stay, if treated, more often by a share
    of those who would leave. ``believed`` is what is true of them.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(customers, 3)).astype(np.float32)
    features[rng.random((customers, 3)) < 0.05] = np.nan
    risk = np.where(np.nan_to_num(features[:, 0]) > 0, 0.7, 0.4)
    effect = risk * kept * (np.nan_to_num(features[:, 1]) > 0.5)
    treated = rng.random(customers) >= share
    stays = rng.random(customers) >= risk - effect * treated
    fold = rng.integers(0, 5, customers)
    return Trial(features, treated, stays.astype(float), fold, effect, share)


@pytest.fixture(scope="module")
def trial() -> Trial:
    """Two thousand customers, on some of whom treating works."""
    return drawn(2_000, 0.7)


@pytest.fixture(scope="module")
def by(trial: Trial) -> Judged:
    """What learners of earlier folds say of them."""
    return judged(trial)


def area(effect: np.ndarray, score: np.ndarray) -> float:
    """The area under what is had, of one customer on the mean, by treating one after the other in
    the order of distinct effects; customer by customer, by trapezoids.
    """
    had, total = 0.0, 0.0
    for customer in sorted(range(len(effect)), key=lambda each: -effect[each]):
        more = score[customer] / len(score)
        total += (had + had + more) / 2 / len(score)
        had += more
    return total


def test_areas_are_those_under_a_curve_that_is_walked_customer_by_customer() -> None:
    rng = np.random.default_rng(2)
    effect, score, one = rng.random(300), rng.normal(0.2, 1, 300), np.zeros(300, int)
    result = qini(effect, score, one)
    assert result.auuc == pytest.approx(area(effect, score))
    assert result.value == pytest.approx(area(effect, score) - score.mean() / 2)
    assert result.value == pytest.approx(contributions(effect, score, one).mean())
    fold = np.arange(300) // 100
    each = [area(effect[fold == f], score[fold == f]) for f in range(3)]
    assert qini(effect, score, fold).auuc == pytest.approx(np.mean(each))


def test_equal_effects_share_their_places_whatever_the_order_of_the_rows() -> None:
    effect, score, one = np.repeat([2.0, 1.0], 50), np.tile([1.0, 0.0], 50), np.zeros(100, int)
    score[:10] = 1.0
    either = [area(effect + tie, score) for tie in (1e-9 * np.arange(100), -1e-9 * np.arange(100))]
    assert qini(effect, score, one).auuc == pytest.approx(np.mean(either))
    assert qini(np.zeros(100), score, one).value == pytest.approx(0)


def test_the_interval_is_as_wide_as_drawing_other_customers_makes_it() -> None:
    rng = np.random.default_rng(3)
    effect, fold = rng.random(400), rng.integers(0, 4, 400)
    score = effect + rng.standard_t(5, 400)
    result, each = qini(effect, score, fold), contributions(effect, score, fold)
    others = [each[rng.integers(0, 400, 400)].mean() for _ in range(2_000)]
    low, high = np.quantile(others, (0.025, 0.975))
    assert result.high - result.low == pytest.approx(high - low, rel=0.1)
    assert result.value == pytest.approx((result.low + result.high) / 2)
    narrow = qini(effect, score, fold, level=0.5)
    wider = norm.ppf(0.975) / norm.ppf(0.75)
    assert (result.high - result.low) / (narrow.high - narrow.low) == pytest.approx(wider)


def test_a_lead_is_the_difference_of_two_areas_on_the_same_customers(trial, by) -> None:
    ours, theirs, fold = by.effects.mean(axis=1), trial.believed[by.rows], trial.fold[by.rows]
    value, low, high = led(ours, theirs, by.score, fold)
    both = [qini(each, by.score, fold).value for each in (ours, theirs)]
    assert value == pytest.approx(both[0] - both[1])
    assert low < value < high
    assert led(ours, ours, by.score, fold) == (0, 0, 0)


def test_nobody_is_judged_by_learners_that_saw_their_fold_or_a_later_one(trial, by) -> None:
    assert (by.rows == (trial.fold > 0)).all()
    fold = trial.fold[by.rows]
    flipped = np.where(trial.fold >= 3, 1 - trial.outcome, trial.outcome)
    then = judged(replace(trial, outcome=flipped))
    assert (then.effects[fold <= 3] == by.effects[fold <= 3]).all()
    assert (then.effects[fold == 4] != by.effects[fold == 4]).any()
    there = trial.fold == 3
    learners = fit_learners(trial.some(trial.fold < 3))
    assert (learners.effects(trial.features[there]) == by.effects[fold == 3]).all()
    treated, control = learners.outcomes(trial.features[there])
    for place, row in list(enumerate(np.flatnonzero(there)))[:50]:
        gain = treated[place] - control[place]
        if trial.treated[row]:
            gain += (trial.outcome[row] - treated[place]) / (1 - trial.share)
        else:
            gain -= (trial.outcome[row] - control[place]) / trial.share
        assert by.score[fold == 3][place] == pytest.approx(gain)


def test_the_mean_score_is_the_effect_whatever_was_expected(trial, by) -> None:
    seen, score = trial.some(by.rows), by.score
    means = [seen.outcome[arm].mean() for arm in (seen.treated, ~seen.treated)]
    assert score.mean() == pytest.approx(means[0] - means[1], abs=0.02)
    assert score.mean() == pytest.approx(seen.believed.mean(), abs=4 * score.std() / 1_600**0.5)


def test_learners_differ_as_defined_and_are_the_same_from_their_texts(trial) -> None:
    learners = fit_learners(trial)
    texts = learners.texts()
    again = Learners.of_texts(texts, trial.share).effects(trial.features)
    assert (again == learners.effects(trial.features)).all()
    by = {name: lgb.Booster(model_str=text).predict for name, text in texts.items()}
    for row, effects in list(zip(trial.features, again, strict=True))[:20]:
        one = row[None].astype(float)
        offered, not_offered = (by["both"](np.column_stack([one, [arm]]))[0] for arm in (1.0, 0.0))
        treated, control, gained, missed = (
            by[name](one)[0] for name in ("treated", "control", "gained", "missed")
        )
        # The larger arm, 60 % treated, expects better, so what the control missed counts more.
        x = 0.6 * missed + 0.4 * gained
        assert effects.tolist() == pytest.approx([offered - not_offered, treated - control, x])


def test_the_scale_is_the_line_of_scores_by_estimates_within_folds() -> None:
    rng = np.random.default_rng(4)
    effect, fold = rng.normal(0.1, 0.1, 3_000), rng.integers(0, 5, 3_000)
    score = 0.3 * effect + rng.normal(0, 0.5, 3_000)
    away = effect - np.array([effect[fold == each].mean() for each in fold])
    slope, level = np.polyfit(away, score, 1)
    result = scaled(effect, score, fold)
    assert (result.slope, result.level) == pytest.approx((slope, level))
    assert result.slope_error == pytest.approx(0.5 / away.std() / 3_000**0.5, rel=0.05)
    mean, low, high = result.effect(np.array([result.centre, 0.5]))
    assert mean == pytest.approx([level, level + slope * (0.5 - effect.mean())])
    assert high[1] - low[1] > high[0] - low[0] == pytest.approx(2 * 1.96 * result.level_error, 1e-3)
    steep = 3 * effect + rng.normal(0, 0.5, 3_000)
    sure = scaled(effect, steep, fold)
    assert sure.slope == pytest.approx(np.polyfit(away, steep, 1)[0] - sure.slope_error)
    vague = scaled(effect, 1.1 * effect + rng.normal(0, 2, 3_000), fold)
    assert vague.slope <= 1 < vague.slope + 3 * vague.slope_error
    assert scaled(effect, -effect, fold).slope == 0
    assert scaled(np.zeros(3_000), score, fold).slope == 0


def test_effects_that_differ_are_learned_and_near_what_is_true(trial) -> None:
    result = learn(trial)
    assert result.verdict == LEARNED
    assert (result.treated, result.control) == (trial.treated.sum(), (~trial.treated).sum())
    fresh = drawn(3_000, 0.7, seed=9)
    mean, low, high = result.effects(fresh.features)
    assert np.corrcoef(mean, fresh.believed)[0, 1] > 0.7
    works = fresh.believed > 0
    assert mean[works].mean() == pytest.approx(fresh.believed[works].mean(), abs=0.12)
    assert mean[~works].mean() == pytest.approx(0, abs=0.08)
    assert (low <= mean).all()
    assert (mean <= high).all()


def test_where_belief_orders_better_beyond_chance_it_stays(trial) -> None:
    noise = np.random.default_rng(5).normal(0, 1.5, trial.features.shape)
    blurred = replace(trial, features=(trial.features + noise).astype(np.float32))
    result = learn(blurred)
    assert result.qini[BLEND].low > 0
    assert result.qini[BELIEF].value > result.qini[BLEND].value
    assert result.lead[-1] < 0
    assert (result.verdict, result.learners) == (ABSTAINS, None)


def test_without_an_effect_it_abstains_and_of_few_it_says_so() -> None:
    none = [learn(drawn(1_000, 0.0, seed=seed)).verdict for seed in range(3)]
    assert none == [ABSTAINS] * 3
    few = learn(drawn(450, 0.7))  # 180 are held back
    assert (few.verdict, few.scale, few.qini) == (TOO_FEW, None, {})
    trial = drawn(2_000, 0.7)
    stays = np.where(trial.treated, 1.0, trial.outcome)  # nobody treated leaves: nothing to learn
    assert learn(replace(trial, outcome=stays)).verdict == TOO_FEW


def test_month_ends_with_enough_outcomes_and_a_new_one_are_counted() -> None:
    trial = drawn(1_500, 0.0)
    months = np.array(["2024-01-20", "2024-02-03", "2024-02-29", "2024-05-01"], "datetime64[D]")
    known_on = months[np.random.default_rng(3).choice(4, 1_500, p=[0.1, 0.4, 0.3, 0.2])]
    assert not trial.some(known_on <= months[0]).is_enough
    assert trial.some(known_on <= months[2]).is_enough
    for number, last in enumerate(months):  # nothing is new in March and April
        until = known_on <= last
        looked = looks(trial.treated[until], trial.outcome[until], known_on[until])
        assert looked == [0, 1, 1, 2][number]


def test_each_look_has_its_share_of_the_level_and_the_order_by_belief_all_of_it(trial) -> None:
    assert sum(map(level_of, range(1, 10_000))) == pytest.approx(0.05, rel=1e-3)
    first, late = learn(trial), learn(trial, 10**9)
    wide, wider = (each.qini[BLEND].high - each.qini[BLEND].low for each in (first, late))
    share = 0.05 * 6 / np.pi**2
    assert wider / wide == pytest.approx(norm.ppf(share / 2e18) / norm.ppf(share / 2))
    assert (first.verdict, late.verdict) == (LEARNED, ABSTAINS)
    assert first.lead == late.lead


def test_what_is_no_trial_is_refused(trial) -> None:
    for wrong, words in (
        ({"outcome": trial.outcome + 1}, "outcome has other values than 0 and 1"),
        ({"share": 1.0}, "within 0 and 1, not 1.0"),
        ({"fold": trial.fold[:-1]}, "fold has 1999 rows, outcome 2000"),
    ):
        with pytest.raises(ValueError, match=words):
            learn(replace(trial, **wrong))
