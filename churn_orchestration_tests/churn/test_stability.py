"""How far refitted models agree about the reasons, counted by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from churn_orchestration.churn.learning.stability import agreement, withheld_share

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
