import datetime as dt
from dataclasses import replace

import pytest

from churn_orchestration.churn.protocol import DRIFT, PERFORMANCE, SCHEDULED
from churn_orchestration.churn.watching import signals
from churn_orchestration.churn.watching.signals import SIGNALS, ChampionState, what_is_new
from churn_orchestration_tests.support.champions import AS_OFS, STEADY, interval

LIMIT = ": worse only where the intervals do not meet"


def message(known: ChampionState) -> dict[str, str]:
    """What each signal says of a champion: its trigger."""
    result = {name: find(known) for name, find in SIGNALS.items()}
    return {name: signal.trigger for name, signal in result.items() if signal}


def test_of_a_champion_that_does_as_it_promised_nothing_is_said() -> None:
    assert message(STEADY) == {}
    assert {name: signals.why_quiet(name, STEADY) for name in SIGNALS} == {
        "drift": "no feature is beyond the usual and moves the scores",
        "performance": "auc 0.790 [0.770, 0.810], trained 0.800 [0.780, 0.820]; "
        "log_loss 0.460 [0.440, 0.480], trained 0.450 [0.430, 0.470]" + LIMIT,
        "expectation": "auc 0.800 [0.780, 0.820], trained 0.800 [0.780, 0.820]" + LIMIT,
        "calibration": "calibration error 0.025 [0.015, 0.035], limit 0.040",
        "age": "trained 24 days ago, limit 90",
        "labels": "0.8 months of new outcomes, limit 3.0",
        "schema": "the 2 features are those that it reads",
    }


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"drifted": {"x": "x: PSI 0.3"}}, {"drift": DRIFT}),
        ({"realised": {"auc": interval(0.7)}}, {"performance": PERFORMANCE}),
        ({"realised": {"auc": interval(0.77)}}, {}),
        ({"realised": {"auc": interval(0.95)}}, {}),
        ({"realised": {"log_loss": interval(0.55)}}, {"performance": PERFORMANCE}),
        ({"realised": {"log_loss": interval(0.35)}}, {}),
        ({"expected": {"auc": interval(0.7)}}, {"expectation": PERFORMANCE}),
        ({"realised": {"calibration_error": interval(0.08, 0.02)}}, {"calibration": PERFORMANCE}),
        ({"realised": {"calibration_error": interval(0.045, 0.03)}}, {}),
        ({"realised": {"calibration_error": interval(0.035, 0.001)}}, {}),
        ({"trained_on": dt.date(2024, 7, 22)}, {"age": SCHEDULED}),
        ({"trained_on": dt.date(2024, 7, 23), "cutoff": dt.date(2023, 7, 23)}, {}),
        ({"matured": dt.date(2024, 9, 30)}, {"labels": SCHEDULED}),
        ({"declared": ["a", "b", "c"]}, {"schema": DRIFT}),
        ({"declared": ["a"]}, {"schema": DRIFT}),
    ],
)
def test_each_signal_is_given_by_what_it_looks_for_and_by_nothing_less(
    changed: dict[str, object], wanted: dict[str, str]
) -> None:
    assert message(replace(STEADY, **changed)) == wanted  # type: ignore[arg-type]


def test_the_evidence_names_what_came_and_what_was_promised() -> None:
    result = signals.performance(replace(STEADY, realised={"auc": interval(0.7)}))
    assert result is not None
    assert result.evidence == (
        "auc of 2024-07-22 came to 0.700 [0.680, 0.720], when trained it was 0.800 [0.780, 0.820]"
    )


def test_without_outcomes_nothing_is_said_of_them() -> None:
    assert (
        message(
            replace(STEADY, graded={}, realised_as_of=None, realised={}, foreseen={}, expected={})
        )
        == {}
    )


def test_a_training_without_a_new_outcome_is_worth_nothing_unless_the_features_changed() -> None:
    assert (
        what_is_new(STEADY)
        == "it would learn from outcomes of 24 more days, up to as_of 2024-07-22"
    )
    stale = replace(STEADY, matured=max(AS_OFS))
    assert what_is_new(stale) is None
    assert (
        what_is_new(replace(stale, declared=["a", "c"]))
        == "it would read the features as they are declared now"
    )


def test_each_training_in_vain_doubles_the_days_until_the_next_for_the_same_reason() -> None:
    knowns = [replace(STEADY, in_vain={PERFORMANCE: times}) for times in range(5)]
    waited = [(known.cool_on(PERFORMANCE) - known.trained_on).days for known in knowns]
    assert waited == [14, 28, 56, 90, 90]
    assert {(known.cool_on(DRIFT) - known.trained_on).days for known in knowns} == {14}
