from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.grading.metrics import (
    METRICS,
    evaluate,
    expected,
    measure,
    paired_difference,
)


def _tied(seed: int, rows: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities in tenths (many ties, 0 and 1 among them), whole weights with zeros."""
    rng = np.random.default_rng(seed)
    probability = rng.integers(0, 11, rows) / 10
    return rng.random(rows) < probability, probability, rng.integers(0, 4, rows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("auc", roc_auc_score),
        ("average_precision", average_precision_score),
        ("log_loss", log_loss),
        ("brier", brier_score_loss),
    ],
)
def test_weighted_metrics_with_ties_equal_scikit_learn(
    name: str, oracle: Callable[..., float], seed: int
) -> None:
    label, probability, weight = _tied(seed)
    assert measure(label, probability, weight)[name] == pytest.approx(
        oracle(label, probability, sample_weight=weight), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_weight_means_as_many_equal_rows(seed: int) -> None:
    label, probability, weight = _tied(seed)
    repeated = measure(np.repeat(label, weight), np.repeat(probability, weight))
    assert measure(label, probability, weight) == pytest.approx(repeated, abs=1e-12)


def test_calibration_error_is_the_mean_gap_of_ten_equal_bins() -> None:
    probability = np.repeat(np.arange(10) / 10 + 0.05, 10)
    label = np.tile(np.arange(10) < 5, 10)
    assert measure(label, probability)["calibration_error"] == pytest.approx(0.25)


def test_the_top_decile_of_twenty_rows_is_two_rows() -> None:
    label, probability = [1, 0, 1, 1, 1] + [0] * 15, np.arange(20, 0, -1) / 20
    result = measure(label, probability)
    assert (result["recall_top_decile"], result["lift_top_decile"]) == pytest.approx((0.25, 2.5))


def test_when_all_scores_tie_the_top_decile_holds_a_tenth_of_the_events() -> None:
    result = measure([1, 0, 0, 0, 1], [0.5] * 5)
    assert (result["recall_top_decile"], result["lift_top_decile"], result["auc"]) == pytest.approx(
        (0.1, 1, 0.5)
    )


def test_every_metric_lies_in_its_interval_and_counts_are_given() -> None:
    label, probability, _ = _tied(0)
    report = evaluate(label, probability, np.arange(200) // 2)
    assert (report["rows"], report["entities"]) == (200, 100)
    assert report["base_rate"]["value"] == label.mean()
    for name in METRICS.keys() - {"calibration_error"}:
        assert report[name]["low"] < report[name]["value"] < report[name]["high"]


def test_the_interval_has_the_width_that_theory_gives() -> None:
    label = np.arange(400) < 100
    interval = evaluate(label, np.linspace(0, 1, 400), np.arange(400), resamples=2000)["base_rate"]
    assert interval["high"] - interval["low"] == pytest.approx(
        2 * 1.96 * np.sqrt(0.25 * 0.75 / 400), rel=0.1
    )


def test_rows_of_one_entity_are_no_further_evidence() -> None:
    label, probability, _ = _tied(0)
    once = evaluate(label, probability, np.arange(200))["auc"]
    thrice = evaluate(np.tile(label, 3), np.tile(probability, 3), np.tile(np.arange(200), 3))["auc"]
    assert thrice == pytest.approx(once)


def test_a_seed_fixes_the_interval_and_another_moves_it() -> None:
    label, probability, _ = _tied(0)
    first, second, other = (
        evaluate(label, probability, np.arange(200), seed=seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert first["auc"]["low"] != other["auc"]["low"]


def test_samples_of_one_class_are_drawn_again() -> None:
    report = evaluate([1, 0], [0.9, 0.1], ["a", "b"], resamples=20)
    assert report["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(500)
    label, b = rng.random(500) < a, np.clip(a + rng.normal(0, 0.05, 500), 0, 1)
    paired = paired_difference(label, a, b, np.arange(500), "brier")
    alone = evaluate(label, a, np.arange(500))["brier"]
    assert paired["value"] == pytest.approx(measure(label, a)["brier"] - measure(label, b)["brier"])
    assert paired["low"] < paired["value"] < paired["high"]
    assert paired["high"] - paired["low"] < 0.5 * (alone["high"] - alone["low"])


def test_a_model_differs_from_itself_by_exactly_nothing() -> None:
    label, probability, _ = _tied(0)
    nothing = paired_difference(label, probability, probability, np.arange(200), "log_loss")
    assert nothing == {"value": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize(
    ("label", "probability", "message"),
    [
        ([0, 1], [0.5, np.nan], "NaN or outside 0..1"),
        ([0, 1], [0.5, 1.5], "NaN or outside 0..1"),
        ([1, 1], [0.5, 0.5], "want both classes, got 1 in 2 rows"),
        ([0, 1, 1], [0.5, 0.5], r"equal lengths, got \[3, 2, 2\]"),
        ([0, None], [0.5, 0.5], "without nulls"),
    ],
)
def test_what_cannot_be_graded_is_refused(label: list, probability: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(label, probability, ["a", "b"])


def test_a_null_entity_is_refused() -> None:
    with pytest.raises(ValueError, match="entity id is null"):
        evaluate([0, 1], [0.1, 0.9], ["a", None])


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown metric 'f1'; want one of auc"):
        paired_difference([0, 1], [0.1, 0.9], [0.1, 0.9], pd.Series(["a", "b"]), "f1")


@pytest.mark.parametrize("metric", ["auc", "average_precision", "log_loss", "brier", "base_rate"])
def test_what_is_expected_of_right_probabilities_comes_and_within_its_interval(metric: str) -> None:
    rng = np.random.default_rng(5)
    probability = rng.beta(1, 2, 2000)
    said = expected(probability)[metric]
    came = [measure(rng.random(2000) < probability, probability)[metric] for _ in range(300)]
    assert said["value"] == pytest.approx(np.mean(came), abs=4 * np.std(came) / 300**0.5 + 1e-3)
    assert 0.90 < np.mean([said["low"] <= value <= said["high"] for value in came]) < 0.99


def test_where_the_world_changed_what_comes_lies_outside_what_was_expected() -> None:
    rng = np.random.default_rng(6)
    probability = rng.beta(1, 2, 2000)
    came = measure(rng.random(2000) < probability**2, probability)
    said = expected(probability)
    assert came["base_rate"] < said["base_rate"]["low"]
    assert came["calibration_error"] > said["calibration_error"]["high"]


def test_nothing_is_expected_where_less_than_one_churner_is() -> None:
    with pytest.raises(ValueError, match=r"0\.5 of 50 are expected to churn"):
        expected(np.full(50, 0.01))


def _many(rows: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities that are right, and entities of two rows each."""
    rng = np.random.default_rng(7)
    probability = rng.beta(2, 5, rows)
    return rng.random(rows) < probability, probability, np.arange(rows) // 2


def test_of_many_rows_a_part_is_resampled_and_the_interval_is_that_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label, probability, entity = _many()
    worse = np.clip(probability + np.where(entity % 3 == 0, 0.1, -0.05), 0.01, 0.99)

    def measured() -> list[dict[str, dict[str, float]]]:
        graded = evaluate(label, probability, entity)
        paired = paired_difference(label, probability, worse, entity, "log_loss")
        of_graded = {name: result for name, result in graded.items() if isinstance(result, dict)}
        return [of_graded, {"log_loss": paired}, expected(probability)]

    whole = measured()
    monkeypatch.setattr(metrics, "MOST_RESAMPLED", 5_000)
    monkeypatch.setattr(metrics, "LEAST_RARE", 500)
    part = measured()
    assert part != whole
    for of_all, of_part in zip(whole[:2], part[:2], strict=True):
        assert {name: result["value"] for name, result in of_all.items()} == {
            name: result["value"] for name, result in of_part.items()
        }
    for of_all, of_part in zip(whole, part, strict=True):
        for name, result in of_all.items():
            width = result["high"] - result["low"]
            assert of_part[name]["high"] - of_part[name]["low"] == pytest.approx(width, rel=0.3)
            assert of_part[name]["low"] == pytest.approx(result["low"], abs=0.35 * width)


def test_the_part_that_is_resampled_holds_the_rarer_outcome_where_it_is_rare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, probability, entity = _many()
    rare = entity % 100 == 0
    whole = evaluate(rare, probability, entity)
    monkeypatch.setattr(metrics, "MOST_RESAMPLED", 5_000)
    assert evaluate(rare, probability, entity) == whole
