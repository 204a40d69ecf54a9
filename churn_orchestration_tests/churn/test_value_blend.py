"""What is learned about spend, how it is weighed, and when it scores."""

import numpy as np
import pandas as pd
import pytest
import skops.io

from churn_orchestration.churn.value.blend import Decision, decide
from churn_orchestration.churn.value.members import TYPES, Members, fit_members
from churn_orchestration.churn.value.question import PER_PURCHASE, PURCHASES, SPEND

CUSTOMERS, DAYS = 1_500, ("2024-01-31", "2024-02-29")


def known(draw, blind=False):
    """Forecasts of two days and what came: the regression sees what the process does not, or, where
    it is ``blind``, sees nothing at all.
    """
    rate, seen = draw.gamma(2, 1, (2, CUSTOMERS)), draw.gamma(2, 0.5, CUSTOMERS)
    mean = rate * seen
    spent = np.where(
        draw.random((2, CUSTOMERS)) < 0.5, 0, 2 * mean * draw.gamma(2, 0.5, mean.shape)
    )
    process, learned = rate, draw.gamma(2, 1, mean.shape) if blind else mean
    frames = [
        pd.DataFrame(
            {
                "process": process[day], "tweedie": learned[day], "spent": spent[day],
                "id": [f"c{n}" for n in range(CUSTOMERS)], "as_of": name,
            }
        )
        for day, name in enumerate(DAYS)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def decided(rows):
    forecasts = rows[["process", "tweedie"]]
    return decide(forecasts, rows["spent"].to_numpy(), rows["id"], rows["as_of"], "process")


def test_what_forecasts_better_beyond_chance_scores_with_the_weights_of_least_squares():
    rows = known(np.random.default_rng(1))
    decision = decided(rows)
    assert decision.blend
    assert decision.leads["rmse"][1] > 0
    assert decision.leads["spearman"][1] > 0
    assert list(decision.days) == list(DAYS)
    assert decision.weights["process"] < 0.2
    assert decision.weights["tweedie"] == pytest.approx(1, abs=0.15)
    error = np.sqrt(np.mean((decision.of(rows) - rows["spent"]) ** 2))
    for other in ([1, 0], [0, 1], [0.5, 0.5], [0.2, 0.9]):  # none does better on these days
        weighed = rows[["process", "tweedie"]].to_numpy() @ other
        assert error <= np.sqrt(np.mean((weighed - rows["spent"]) ** 2)) * 1.002
    assert Decision.of_record(decision.record()) == decision


def test_what_knows_nothing_more_scores_in_at_most_a_few_of_many_worlds():
    taken = []
    for seed in range(20):
        rows = known(np.random.default_rng(seed), blind=True)
        # The process is right about the total here, so that only chance can lead.
        rows["process"] *= rows["spent"].sum() / rows["process"].sum()
        taken.append(decided(rows).blend)
    assert sum(taken) <= 3  # chance is 5 % of being better in any of the four


def test_a_season_of_the_days_is_no_merit_of_the_blend():
    rows = known(np.random.default_rng(2), blind=True)
    rows["process"] *= rows["spent"].sum() / rows["process"].sum()
    season = np.where(rows["as_of"] == DAYS[0], 1.6, 0.7)
    assert not decided(rows.assign(spent=rows["spent"] * season)).blend
    one = rows[rows["as_of"] == DAYS[0]].reset_index(drop=True)
    alone = decided(one.assign(spent=one["spent"] * 1.6))
    assert alone.leads["total_ratio"][1] > 0
    assert not alone.blend


def test_where_nobody_spends_or_hardly_anybody_nothing_is_decided():
    rows = known(np.random.default_rng(4))
    assert not decided(rows.assign(spent=0.0)).blend
    few = np.where(rows.index < 3, rows["spent"] + 1, 0.0)
    assert not decided(rows.assign(spent=few)).blend


def test_a_forecast_that_was_too_low_on_all_days_is_raised():
    rows = known(np.random.default_rng(3), blind=True)
    low = decided(rows.assign(process=rows["process"] / 2))
    assert low.weights["process"] == pytest.approx(2 * decided(rows).weights["process"], rel=0.01)
    assert low.leads["total_ratio"][1] > 0
    assert low.blend == (low.leads["rmse"][1] > 0)  # a better total alone is no reason


def learned_from(draw, rows=4_000):
    """Features, of which one alone says what is spent; a process that expects the same of all."""
    features = pd.DataFrame(draw.gamma(2, 2, (rows, 4)), columns=list("abcd"))
    process = pd.DataFrame(1.0, features.index, [PURCHASES, PER_PURCHASE, SPEND])
    mean = 3 * features["a"].to_numpy()
    spent = np.where(draw.random(rows) < 0.4, 0.0, mean / 0.6 * draw.gamma(3, 1 / 3, rows))
    return features, process, spent, mean


def test_both_learn_the_mean_and_neither_runs_away_beyond_what_it_saw():
    features, process, spent, mean = learned_from(np.random.default_rng(5))
    features.loc[::7, "d"] = np.nan
    members = fit_members(features, process, spent, list("abcd"))
    for name, forecast in members.forecast(features, process).items():
        assert forecast.mean() == pytest.approx(mean.mean(), rel=0.1), name  # weights do the rest
        assert np.corrcoef(forecast, mean)[0, 1] > 0.95, name
    largest = members.forecast(features, process).max()
    far = members.forecast(features.assign(a=1e9, b=-1e9), process)
    assert np.isfinite(far.to_numpy()).all()
    assert (far.max() < 3 * largest).all()


def test_members_read_again_forecast_the_same_to_the_bit_in_any_order():
    features, process, spent, _ = learned_from(np.random.default_rng(6), 1_500)
    members = fit_members(features, process, spent, list("abcd"))
    again = Members.of_record(skops.io.loads(skops.io.dumps(members.record()), trusted=TYPES))
    forecast = members.forecast(features, process)
    pd.testing.assert_frame_equal(again.forecast(features, process), forecast, check_exact=True)
    few = features[::-3]
    pd.testing.assert_frame_equal(
        again.forecast(few, process.loc[few.index]), forecast.loc[few.index], check_exact=True
    )


def test_of_nobody_there_is_a_forecast_without_rows():
    features, process, spent, _ = learned_from(np.random.default_rng(8), 600)
    members = fit_members(features, process, spent, list("abcd"))
    assert members.forecast(features[:0], process[:0]).shape == (0, 2)


def test_nothing_is_learned_where_hardly_anybody_spent_or_everybody_did():
    features, process, spent, _ = learned_from(np.random.default_rng(7), 500)
    assert (
        fit_members(features, process, np.where(np.arange(500) < 99, 1.0, 0.0), list("ab")) is None
    )
    assert fit_members(features, process, spent + 1, list("ab")) is None
