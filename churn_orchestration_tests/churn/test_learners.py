from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from churn_orchestration.churn.capacity import Capacity, HopelessLabel
from churn_orchestration.churn.learners import (
    LEARNERS,
    TRUSTED_TYPES,
    LogOddsBlend,
)
from churn_orchestration.churn.learning.contributions import contributions
from churn_orchestration.churn.recipe import fit
from churn_orchestration.churn.rules import rules_probability

Snapshots = tuple[pd.DataFrame, pd.Series, pd.Series]


@pytest.fixture(scope="module")
def snapshots() -> Snapshots:
    """300 customers at two as_ofs: silence raises churn, a third have no gap yet, one feature is
    all null.
    """
    rng = np.random.default_rng(1)
    silent = rng.integers(0, 120, 600).astype(float)
    gap = np.where(rng.random(600) < 0.3, np.nan, rng.gamma(2.0, 15.0, 600))
    features = pd.DataFrame(
        {
            "days_since_last": silent,
            "gap_mean": gap,
            "noise": rng.normal(size=600),
            "refunds": np.nan,
        }
    )
    label = pd.Series(rng.random(600) < expit((silent - 60) / 20 + np.isnan(gap)))
    return features, label, pd.Series(np.tile(np.arange(300), 2))


@pytest.fixture(scope="module", params=sorted(LEARNERS))
def model(request: pytest.FixtureRequest, snapshots: Snapshots) -> LogOddsBlend:
    return fit(request.param, *snapshots)


def test_every_learner_ranks_the_silent_above_the_active(
    model: LogOddsBlend, snapshots: Snapshots
) -> None:
    two = snapshots[0].iloc[:2].assign(days_since_last=[115.0, 3.0])
    silent, active = model.predict_proba(two)[:, 1]
    assert active < 0.4
    assert silent > 0.6


def test_contributions_and_baseline_add_up_to_the_log_odds(
    model: LogOddsBlend, snapshots: Snapshots
) -> None:
    parts, baseline = contributions(model, snapshots[0])
    expected = logit(model.predict_proba(snapshots[0])[:, 1])
    np.testing.assert_allclose(baseline + parts.sum(axis=1), expected, atol=1e-6, rtol=0)


def test_the_baseline_is_one_number_and_a_feature_never_seen_moves_nothing(
    model: LogOddsBlend, snapshots: Snapshots
) -> None:
    parts, baseline = contributions(model, snapshots[0])
    assert np.ptp(baseline) < 1e-5
    assert (parts["refunds"] == 0).all()
    assert parts["days_since_last"].abs().mean() > 3 * parts["noise"].abs().mean()


def test_a_linear_contribution_includes_that_the_value_is_missing(
    snapshots: Snapshots,
) -> None:
    features, label, entity = snapshots
    model = fit("logistic", features, label, entity)
    row = features.iloc[[0]].assign(gap_mean=features["gap_mean"].median())
    missing = row.assign(gap_mean=np.nan)
    gained = (contributions(model, missing)[0] - contributions(model, row)[0]).iloc[0]
    expected = (model.decision_function(missing) - model.decision_function(row))[0]
    assert gained["gap_mean"] == pytest.approx(expected)
    assert expected > 0.1


def test_two_fits_give_the_same_bytes(model: LogOddsBlend, snapshots: Snapshots) -> None:
    again = clone(model).fit(snapshots[0], snapshots[1])
    assert (
        again.predict_proba(snapshots[0]).tobytes() == model.predict_proba(snapshots[0]).tobytes()
    )


def test_a_row_scored_alone_gets_the_same_bytes_as_among_others(
    model: LogOddsBlend, snapshots: Snapshots
) -> None:
    alone = [model.predict_proba(snapshots[0].iloc[[row]])[0, 1] for row in range(20)]
    assert alone == model.predict_proba(snapshots[0])[:20, 1].tolist()


def test_a_label_may_be_a_nullable_boolean_without_nulls(snapshots: Snapshots) -> None:
    features, label, entity = snapshots
    nullable = fit("logistic", features, label.astype("boolean"), entity)
    plain = fit("logistic", features, label, entity)
    assert nullable.predict_proba(features).tolist() == plain.predict_proba(features).tolist()


def test_the_blend_is_the_weighted_mean_of_log_odds() -> None:
    table, label = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]}), pd.Series([0, 1, 0, 1])
    weak, strong = LogisticRegression(C=0.1), LogisticRegression(C=10.0)
    blend = LogOddsBlend([("weak", weak), ("strong", strong)], weights=[3, 1]).fit(table, label)
    odds = [logit(member.fit(table, label).predict_proba(table)[:, 1]) for member in (weak, strong)]
    np.testing.assert_allclose(
        blend.predict_proba(table)[:, 1], expit(0.75 * odds[0] + 0.25 * odds[1])
    )
    assert blend.predict(table).tolist() == [0, 0, 1, 1]


def test_a_blend_without_weights_weighs_all_members_alike() -> None:
    members = [("a", LogisticRegression()), ("b", LogisticRegression())]
    assert LogOddsBlend(members).fit(pd.DataFrame({"x": [0.0, 1.0]}), [0, 1]).weights_.tolist() == [
        0.5,
        0.5,
    ]


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0]])
def test_weights_that_fit_no_members_are_refused(weights: list[float]) -> None:
    members = [("a", LogisticRegression()), ("b", LogisticRegression())]
    with pytest.raises(ValueError, match="want 2 weights > 0"):
        LogOddsBlend(members, weights).fit(pd.DataFrame({"x": [0.0, 1.0]}), [0, 1])


def test_a_clone_is_unfitted_and_has_the_same_parameters() -> None:
    blend = LEARNERS["blend"](Capacity(100, 50))
    copy = clone(blend)
    assert copy.get_params()["weights"] == (2, 1, 1)
    assert [name for name, _ in copy.members] == ["logistic", "lightgbm", "xgboost"]
    assert copy.members[1][1].get_params()["min_child_samples"] == 50
    assert not hasattr(copy, "members_")


@pytest.mark.parametrize(
    "columns", [["gap_mean", "days_since_last"], ["days_since_last"], ["a", "b"]]
)
def test_other_columns_than_the_fitted_ones_are_refused(columns: list[str]) -> None:
    table = pd.DataFrame({"days_since_last": [1.0, 2.0], "gap_mean": [3.0, 1.0]})
    blend = LogOddsBlend([("one", LogisticRegression())]).fit(table, [0, 1])
    with pytest.raises(ValueError, match="feature names should match"):
        blend.predict_proba(pd.DataFrame(1.0, index=[0], columns=columns))


def test_an_infinite_value_is_refused_by_name() -> None:
    table = pd.DataFrame({"days_since_last": [1.0, 2.0], "ratio": [3.0, np.inf]})
    with pytest.raises(ValueError, match=r"infinite values in \['ratio'\]"):
        LogOddsBlend([("one", LogisticRegression())]).fit(table, [0, 1])


def test_too_few_customers_that_churned_make_a_label_hopeless() -> None:
    entity, label = np.arange(100), np.arange(100) < 19
    with pytest.raises(HopelessLabel, match=r"at least 20 .* found 19 and 81 in 100 rows"):
        fit("logistic", pd.DataFrame({"x": entity}), pd.Series(label), pd.Series(entity))


def test_the_same_customer_churning_at_many_as_ofs_counts_once() -> None:
    label, entity = pd.Series([True] * 50 + [False] * 50), pd.Series([0] * 50 + list(range(50)))
    with pytest.raises(HopelessLabel, match="found 1 and 50"):
        fit("logistic", pd.DataFrame({"x": range(100)}), label, entity)


def test_a_label_of_one_class_is_hopeless() -> None:
    with pytest.raises(HopelessLabel, match="found 0 and 100"):
        fit(
            "logistic", pd.DataFrame({"x": range(100)}), pd.Series([0] * 100), pd.Series(range(100))
        )


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("prophet", [0, 1], "unknown learner 'prophet'"),
        ("logistic", [0], "lengths differ"),
        ("logistic", [0, None], "without nulls"),
    ],
)
def test_a_mistaken_call_says_what_was_wanted(
    name: str, label: list[int | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(name, pd.DataFrame({"x": [0.0, 1.0]}), pd.Series(label), pd.Series([1, 2]))


def test_rules_outlast_the_horizon_by_recency_and_gap() -> None:
    p = rules_probability(pd.Series([10.0, 170.0]), pd.Series([20.0, 10.0]), horizon_days=90)
    assert p.tolist() == [30 / 120, 180 / 270]


def test_rules_read_never_as_one_horizon() -> None:
    p = rules_probability(pd.Series([45.0, None]), pd.Series([None, None]), horizon_days=90)
    assert p.tolist() == [135 / 225, 180 / 270]


@pytest.mark.parametrize(
    ("silent", "gap", "horizon"), [(-1.0, 1.0, 90), (1.0, -1.0, 90), (1.0, 1.0, 0)]
)
def test_rules_refuse_impossible_days(silent: float, gap: float, horizon: int) -> None:
    with pytest.raises(ValueError, match=r"negative days|more than 0 days"):
        rules_probability(pd.Series([silent]), pd.Series([gap]), horizon)


@pytest.mark.filterwarnings(
    "ignore:.*Any type hint is inferred as AnyType"
)  # MLflow warns of itself on import
@pytest.mark.parametrize("name", ["blend", "random_forest"])
def test_a_model_comes_back_from_mlflow_with_the_same_bytes_and_no_pickle(
    name: str, snapshots: Snapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is first imported
    import mlflow.sklearn

    model = fit(name, *snapshots)
    mlflow.sklearn.save_model(
        model,
        tmp_path / name,
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        pip_requirements=["scikit-learn"],
    )
    loaded = mlflow.sklearn.load_model((tmp_path / name).as_uri())
    assert (
        loaded.predict_proba(snapshots[0]).tobytes() == model.predict_proba(snapshots[0]).tobytes()
    )
    assert not list(tmp_path.rglob("*.pkl"))


def test_a_stack_trusts_less_what_its_members_know_by_heart_than_if_rows_were_customers() -> None:
    """Each customer has one outcome at all its as_ofs, and a number that tells it from others but
    no more.
    """
    rng = np.random.default_rng(7)
    customers, as_ofs = 400, 6
    entity = pd.Series(np.tile(np.arange(customers), as_ofs))
    table = pd.DataFrame({"fingerprint": rng.normal(size=customers)[entity]})
    label = pd.Series((rng.random(customers) < 0.4)[entity])
    honest = fit("stack", table, label, entity)
    fooled = fit("stack", table, label, pd.Series(range(len(label))))
    assert honest.slope < 0.7 * fooled.slope
    assert np.ptp(honest.predict_proba(table)[:, 1]) < 0.7 * np.ptp(
        fooled.predict_proba(table)[:, 1]
    )


def test_a_stack_is_never_worse_out_of_fold_than_the_blend_and_its_weights_are_not_negative() -> (
    None
):
    rng = np.random.default_rng(8)
    rows = 3_000
    table = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows)})
    odds = 3 * (table["x"].abs() - 0.8)  # no linear member can know it
    label, entity = pd.Series(rng.random(rows) < expit(odds)), pd.Series(np.arange(rows))
    stack = fit("stack", table, label, entity)
    weights = dict(zip(stack.members_, stack.weights_, strict=True))
    assert all(weight > 0 for weight in weights.values())
    assert weights.get("logistic", 0) < 0.5
    fresh = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows)})
    truth = rng.random(rows) < expit(3 * (fresh["x"].abs() - 0.8))
    loss = {}
    for name, model in (("stack", stack), ("blend", fit("blend", table, label, entity))):
        said = model.predict_proba(fresh)[:, 1]
        loss[name] = -np.log(np.where(truth, said, 1 - said)).mean()
    assert loss["stack"] < loss["blend"]


def test_where_nothing_is_known_a_stack_says_the_rate() -> None:
    rng = np.random.default_rng(9)
    table = pd.DataFrame({"x": rng.normal(size=2_000)})
    label = pd.Series(rng.random(2_000) < 0.3)
    said = fit("stack", table, label, pd.Series(range(2_000))).predict_proba(table)[:, 1]
    assert said.mean() == pytest.approx(label.mean(), abs=0.01)
    assert np.ptp(said) < 0.1
