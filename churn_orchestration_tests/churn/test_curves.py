"""The curves by hand, and against the metrics that are computed another way."""

import numpy as np
import pytest

from churn_orchestration.churn.grading.curves import calibration, gain, rate_interval
from churn_orchestration.churn.grading.metrics import measure

LABEL = [True, True, False, True, False, False, False, False]
PROBABILITY = [0.9, 0.8, 0.8, 0.6, 0.4, 0.2, 0.2, 0.1]


def scored(rows: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels and forecasts in steps of a hundredth, so that many are equal."""
    rng = np.random.default_rng(5)
    probability = rng.beta(1, 3, rows).round(2)
    return rng.random(rows) < probability, probability


def test_the_bins_hold_every_row_once_and_equal_forecasts_together() -> None:
    result = calibration(LABEL, PROBABILITY, list("abcdefgh"))
    message = [(b["mean_probability"], b["rows"], b["churned"]) for b in result]
    assert message == [(0.1, 1, 0), (0.2, 2, 0), (0.4, 1, 0), (0.6, 1, 1), (0.8, 2, 1), (0.9, 1, 1)]


def test_a_bins_interval_holds_its_churn_rate() -> None:
    for result in calibration(*scored(), np.arange(4_000)):
        assert (
            0
            <= result["low"]
            <= result["churn_rate"]
            == result["churned"] / result["rows"]
            <= result["high"]
            <= 1
        )


def test_the_gaps_of_the_bins_are_the_calibration_error() -> None:
    label, probability = scored()
    bins = calibration(label, probability, np.arange(4_000))
    gaps = sum(abs(b["churned"] - b["rows"] * b["mean_probability"]) for b in bins)
    assert sum(b["rows"] for b in bins) == 4_000
    assert gaps / 4_000 == pytest.approx(measure(label, probability)["calibration_error"])


def test_rows_of_one_entity_are_no_more_evidence_than_one() -> None:
    once = calibration([True, False], [0.5, 0.5], ["a", "b"])[0]
    copied = calibration([True, False] * 50, [0.5] * 100, ["a", "b"] * 50)[0]
    assert copied["rows"] == 100
    assert (copied["low"], copied["high"]) == (once["low"], once["high"])


def test_where_nothing_happened_the_interval_begins_at_nought_and_still_has_a_width() -> None:
    low, high = rate_interval([0, 20], [20, 20])
    assert low.tolist() == [0, pytest.approx(1 - high[0])]
    assert high[1] == 1
    assert 0.1 < high[0] < 0.13  # the rule of three says 0.15, one-sided


def test_the_gain_begins_at_nought_and_ends_at_one() -> None:
    result = gain(LABEL, PROBABILITY)
    assert (result[0], result[-1], len(result)) == (0, 1, 21)
    assert result[10] == 1  # the riskier half holds all three
    assert result[5] == pytest.approx(1.5 / 3)  # of the two equal forecasts at the border, one half


def test_the_gain_of_a_tenth_is_the_recall_of_the_top_decile() -> None:
    label, probability = scored()
    assert gain(label, probability)[2] == pytest.approx(
        measure(label, probability)["recall_top_decile"]
    )
