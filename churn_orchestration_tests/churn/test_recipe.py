"""How a blend is made: weighed on later days, with a purchase process of its day as a member."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from churn_orchestration.churn.learners import TRUSTED_TYPES
from churn_orchestration.churn.learning.contributions import contributions
from churn_orchestration.churn.process.fitting import Process
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.protocol import PROCESS
from churn_orchestration.churn.recipe import Recipe, fit

DAYS = pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"])
COLUMNS = ["orders_active_days_all", "orders_days_since_last", "orders_days_since_first", "noise"]
TRUTH = {"r": 1.5, "alpha": 40.0, "a": 0.5, "b": 2.0}
WRONG = {"r": 30.0, "alpha": 1.0, "a": 0.001, "b": 900.0}  # everybody comes every day, for ever


def process(parameters: dict[str, float]) -> PurchaseProcess:
    record = Process("bg_nbd", parameters, -1.0, 300.0).record()
    return PurchaseProcess(30, source="orders", record=record)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """300 customers at four as_ofs; who is silent for 30 days is drawn as TRUTH says."""
    rng = np.random.default_rng(2)
    parts = []
    for day in DAYS:
        age = rng.integers(30, 400, 300)
        active = 1 + rng.poisson(age / 60)
        last = np.where(active > 1, (rng.random(300) * age * 0.7).astype(int), age)
        table = pd.DataFrame(
            {
                "customer_id": [f"c{number}" for number in range(300)],
                "as_of": day,
                "label_known_on": day + pd.Timedelta(days=30),
                **dict(zip(COLUMNS, (active, last, age, rng.normal(size=300)), strict=True)),
            }
        )
        chance = process(TRUTH).fit(table).predict_proba(table)[:, 1]
        parts.append(table.assign(label=rng.random(300) < chance))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    return {
        "right": Recipe("blend", processes=dict.fromkeys(DAYS, process(TRUTH))),
        "wrong": Recipe("blend", processes=dict.fromkeys(DAYS, process(WRONG))),
        "none": Recipe("blend"),
    }


def test_a_member_that_forecasts_later_days_well_gains_weight_and_one_worse_than_a_constant_is_out(
    rows: pd.DataFrame, recipes: dict[str, Recipe]
) -> None:
    weights = {}
    for name, recipe in recipes.items():
        model = recipe.fit(rows, COLUMNS, "customer_id")
        weights[name] = dict(zip(model.members_, model.weights_, strict=True))
        assert sum(weights[name].values()) == pytest.approx(1)
    assert weights["right"][PROCESS] > 1 / 5
    assert PROCESS not in weights["wrong"]
    assert weights["wrong"] == weights["none"]


def test_without_later_days_the_members_have_the_usual_weights(
    rows: pd.DataFrame, recipes: dict[str, Recipe]
) -> None:
    first = rows[rows["as_of"] == DAYS[0]]
    model = recipes["right"].fit(first, COLUMNS, "customer_id")
    assert list(model.members_) == ["logistic", "lightgbm", "xgboost", PROCESS]
    gone = first["label"].sum()
    vote = 100 / (100 + min(gone, len(first) - gone))
    usual = [(1 - vote) / 2, (1 - vote) / 4, (1 - vote) / 4, vote]
    assert model.weights_.tolist() == pytest.approx(usual)


def test_the_outcome_of_a_day_weighs_members_that_were_fitted_to_what_was_known_by_then(
    rows: pd.DataFrame, recipes: dict[str, Recipe]
) -> None:
    """Rows that were not known by the end of any other day change the fit, and not the weights."""
    newest = rows["as_of"] == DAYS[-1]
    late = rows.assign(label_known_on=rows["label_known_on"].where(~newest, pd.Timestamp.max))
    both = [recipes["right"].fit(table, COLUMNS, "customer_id") for table in (rows, late)]
    assert both[0].weights_.tolist() == both[1].weights_.tolist()


def test_the_fewer_the_others_learn_from_the_more_the_process_votes(rows: pd.DataFrame) -> None:
    votes = {}
    for customers in (60, 150, 300):
        few = rows[rows["customer_id"].isin([f"c{number}" for number in range(customers)])]
        gone = few["label"].to_numpy(bool)
        scarce = min(few["customer_id"][gone].nunique(), few["customer_id"][~gone].nunique())
        model = fit("blend", few[COLUMNS], few["label"], few["customer_id"], process=process(TRUTH))
        assert model.weights is not None
        votes[customers] = model.weights[-1] / sum(model.weights)
        assert votes[customers] == pytest.approx(max(0.2, 100 / (100 + scarce)))
    assert votes[60] > votes[150] > votes[300]
    many = pd.concat([rows.assign(customer_id=rows["customer_id"] + f"-{n}") for n in range(4)])
    model = fit("blend", many[COLUMNS], many["label"], many["customer_id"], process=process(TRUTH))
    assert model.weights is not None
    assert model.weights[-1] / sum(model.weights) == pytest.approx(0.2)


def test_a_day_is_forecast_by_the_newest_process_of_its_time() -> None:
    early, late = process(TRUTH), process(WRONG)
    recipe = Recipe("blend", processes={DAYS[0]: early, DAYS[2]: late})
    assert recipe.process() is late
    assert recipe.process(DAYS[2]) is late
    assert recipe.process(DAYS[1]) is early
    assert recipe.process(DAYS[0] - pd.Timedelta(days=1)) is None


def test_a_process_explains_itself_by_the_history_and_the_reasons_add_up(
    rows: pd.DataFrame, recipes: dict[str, Recipe]
) -> None:
    model = recipes["right"].fit(rows, COLUMNS, "customer_id")
    table = rows[COLUMNS]
    parts, baseline = contributions(model, table)
    expected = logit(model.predict_proba(table)[:, 1])
    np.testing.assert_allclose(baseline + parts.sum(axis=1), expected, atol=1e-6, rtol=0)
    longer = table.iloc[[0]].assign(orders_active_days_all=9, orders_days_since_first=300)
    recent, silent = (
        contributions(model, longer.assign(orders_days_since_last=days))[0].iloc[0]
        for days in (2, 200)
    )
    assert silent["orders_days_since_last"] > 0 > recent["orders_days_since_last"]


def test_a_blend_with_a_process_is_saved_without_a_pickle(
    rows: pd.DataFrame, recipes: dict[str, Recipe]
) -> None:
    import skops.io

    model = recipes["right"].fit(rows, COLUMNS, "customer_id")
    back = skops.io.loads(skops.io.dumps(model), trusted=TRUSTED_TYPES)
    before = model.predict_proba(rows[COLUMNS])
    assert before.tobytes() == back.predict_proba(rows[COLUMNS]).tobytes()
    alone = model.predict_proba(rows[COLUMNS].iloc[[5]])
    assert alone.tobytes() == before[5:6].tobytes()


def test_a_linear_model_goes_no_further_than_what_it_has_seen() -> None:
    rng = np.random.default_rng(4)
    tenure = rng.uniform(0, 100, 400)
    label = pd.Series(rng.random(400) < expit((tenure - 50) / 20))
    features = pd.DataFrame({"tenure": tenure, "missing": np.nan})
    model = fit("logistic", features, label, pd.Series(np.arange(400)))
    end = features.assign(tenure=100.0).iloc[[0]]
    at_the_end = model.decision_function(end)[0]
    for value in (150.0, 1_000.0, 1e6):
        assert model.decision_function(end.assign(tenure=value))[0] == at_the_end
    assert model.decision_function(end.assign(tenure=50.0))[0] < at_the_end


def test_what_was_fitted_before_is_not_fitted_again_and_forecasts_the_same_bytes(
    rows: pd.DataFrame,
) -> None:
    """The newest day's weights need members of the earlier rows; so does its grade."""
    earlier = rows[rows["label_known_on"] <= DAYS[-1]]
    recipe = Recipe("blend")
    recipe.fit(rows, COLUMNS, "customer_id")
    known = repr(recipe.fits)
    again = recipe.fit(earlier, COLUMNS, "customer_id")
    assert repr(recipe.fits) == known
    alone = Recipe("blend").fit(earlier, COLUMNS, "customer_id")
    assert again.weights_.tobytes() == alone.weights_.tobytes()
    forecasts = (model.decision_function(rows[COLUMNS]) for model in (again, alone))
    assert len({forecast.tobytes() for forecast in forecasts}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"noise": lambda table: table["noise"] + 1e-9},
        {"label": lambda table: ~table["label"]},
    ],
)
def test_other_rows_or_other_outcomes_are_learned_from_again(
    rows: pd.DataFrame, other: dict
) -> None:
    recipe = Recipe("logistic")
    recipe.fit(rows, COLUMNS, "customer_id")
    before = repr(recipe.fits)
    recipe.fit(rows.assign(**other), COLUMNS, "customer_id")
    assert repr(recipe.fits) != before
