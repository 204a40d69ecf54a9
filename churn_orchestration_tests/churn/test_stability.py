"""How far refitted models agree about the reasons, counted by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from churn_orchestration.churn.learning.stability import agreement, dependence, withheld_share

RNG = np.random.default_rng(11)
OWN = pd.DataFrame(
    {"steady": RNG.normal(size=400), "chance": RNG.normal(size=400), "still": np.zeros(400)}
)
OTHERS = [
    pd.DataFrame(
        {
            "steady": OWN["steady"] + RNG.normal(scale=0.2, size=400),
            "chance": RNG.normal(size=400),
            "still": np.zeros(400),
        }
    )
    for _ in range(3)
]


def test_agreement_is_what_a_loop_over_rows_and_models_counts() -> None:
    result = agreement(OWN, OTHERS)
    assert set(result) == {"steady", "chance"}, "what moves nothing has no reason to be unstable"
    for topic, of in result.items():
        signs, ranks = [], []
        for other in OTHERS:
            agreeing = total = 0.0
            for one, again in zip(OWN[topic], other[topic], strict=True):
                total += abs(one)
                agreeing += abs(one) * (one * again > 0)
            signs.append(agreeing / total)
            ranks.append(spearmanr(OWN[topic], other[topic]).statistic)
        assert of["sign"] == pytest.approx(np.mean(signs))
        assert of["rank"] == pytest.approx(np.mean(ranks))
    assert result["steady"]["stable"]
    assert not result["chance"]["stable"]


def test_a_topic_with_the_right_directions_and_another_order_is_not_stable() -> None:
    own = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
    turned = pd.DataFrame({"a": [4.0, 3.0, 2.0, 1.0]})
    assert agreement(own, [turned])["a"] == {"sign": 1.0, "rank": -1.0, "stable": False}


def test_what_is_withheld_is_counted_among_the_three_strongest_that_move_something() -> None:
    own = pd.DataFrame([[3, -2, 1, 0.5], [0, 0, 0, 1.0]], columns=list("abcd"))
    assert withheld_share(own, ["b"]) == 1 / 4
    assert withheld_share(own, ["d"]) == 1 / 4, "in the first row it is the fourth"
    assert withheld_share(own, []) == 0


def test_a_partial_dependence_is_the_mean_over_rows_of_which_each_has_the_value() -> None:
    features = pd.DataFrame({"a": RNG.normal(size=30), "b": RNG.poisson(1, 30), "c": 1.0})
    label = features["a"] + features["b"] + RNG.normal(size=30) > 1
    models = [LogisticRegression().fit(features[k::2], label[k::2]) for k in (0, 1)]
    [curve] = dependence(models, features, ["b", "c"])
    assert curve["feature"] == "b", "the other never differs"
    assert set(curve["values"]) <= set(features["b"])
    for place, value in enumerate(curve["values"]):
        means = []
        for model in models:
            each = [model.predict_proba(row.to_frame().T.assign(b=value))[0, 1]
                    for _, row in features.iterrows()]  # fmt: skip
            means.append(np.mean(each))
        got = [curve[name][place] for name in ("mean", "low", "high")]
        assert got == pytest.approx([means[0], min(means), max(means)])
