"""A model that is too good for its kind: the bounds, and the features that answer together."""

import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.question import too_good
from churn_orchestration.churn.question.labels import INACTIVITY

ROWS = 1_200
RNG = np.random.default_rng(7)
NOISE = {f"noise_{number}": RNG.normal(size=ROWS) for number in range(8)}
LABEL = RNG.random(ROWS) < 0.4
COIN = RNG.random(ROWS) < 0.5
COUNT, SIZE = RNG.poisson(6, ROWS), RNG.normal(size=ROWS)


def answering(**features: np.ndarray) -> str:
    frame = pd.DataFrame(NOISE | features | {"label": LABEL, "as_of": pd.Timestamp("2024-01-31")})
    frame["customer_id"] = [f"c{number}" for number in range(ROWS)]
    return too_good.answering(frame, "customer_id", [*NOISE, *features], Horizon(0), 1.0)


@pytest.mark.parametrize(
    "pair",
    [
        {"a": COIN, "b": COIN ^ LABEL},
        {"a": COUNT, "b": COUNT + LABEL},
        {"a": SIZE * 10, "b": SIZE * 30 + 2 * LABEL},
        {"a": RNG.normal(size=ROWS), "b": np.zeros(ROWS)},
    ],
    ids=["a xor label", "a + label", "3 a + 2 x label", "none"],
)
def test_the_pair_that_answers_together_is_named_and_no_other(pair: dict[str, np.ndarray]) -> None:
    message = answering(**pair)
    is_pair = "and b answer together" in message or "and a answer together" in message
    assert is_pair == pair["b"].any()


def test_one_feature_that_answers_alone_is_named_alone() -> None:
    assert answering(a=LABEL * 2.0, b=COUNT).startswith("a alone reaches 1.0000")


def metric(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def test_an_auc_is_too_good_where_its_whole_interval_is() -> None:
    loss = metric(0.5, 0.4, 0.6)
    sure, unsure = metric(0.99, 0.96, 1.0), metric(0.99, 0.94, 1.0)
    assert "AUC 0.9900 [0.9600, 1.0000]" in too_good.excess(
        {"auc": sure, "log_loss": loss}, [0.5], INACTIVITY
    )
    assert too_good.excess({"auc": unsure, "log_loss": loss}, [0.5], INACTIVITY) == ""


def test_a_log_loss_is_too_good_where_its_own_probabilities_cost_twice_as_much() -> None:
    auc = metric(0.9, 0.88, 0.92)  # a probability of one half costs ln 2 = 0.6931
    below, above = metric(0.30, 0.28, 0.34), metric(0.30, 0.28, 0.35)
    message = too_good.excess({"auc": auc, "log_loss": below}, [0.5, 0.5], INACTIVITY)
    assert (
        "log loss 0.3000 [0.2800, 0.3400], where right probabilities such as its own cost 0.6931"
        in message
    )
    assert too_good.excess({"auc": auc, "log_loss": above}, [0.5, 0.5], INACTIVITY) == ""
