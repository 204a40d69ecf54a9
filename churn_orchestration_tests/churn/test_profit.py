import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from churn_orchestration.churn.grading.profit import curve, expected_maximum
from churn_orchestration.churn.question.settings import Economics


def by_integration(label: np.ndarray, score: np.ndarray, e: Economics) -> float:
    """EMPC from its definition: for each share kept try every cut, then integrate numerically."""
    cuts = [score >= cut for cut in (*np.unique(score), np.inf)]
    result = np.array(
        [[(reached & label).sum(), (reached & ~label).sum()] for reached in cuts]
    ) / len(label)

    def best(kept: float) -> float:
        churner = kept * (1 - e.offer_cost) - e.contact_cost
        other = e.offer_cost + e.contact_cost
        return float((result @ [churner, -other]).max() * beta.pdf(kept, e.accepts, e.declines))

    return float(quad(best, 0, 1, limit=400)[0])


@pytest.mark.parametrize(
    "economics", [Economics(), Economics(0.2, 0.05, 2, 8), Economics(0.0, 0.01, 1, 1)]
)
@pytest.mark.parametrize("seed", range(4))
def test_the_expected_maximum_is_what_integrating_its_definition_gives(
    economics: Economics, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 12, 60) / 12  # ties
    label = rng.random(60) < score
    result, share = expected_maximum(label, score, economics)
    assert result == pytest.approx(by_integration(label, score, economics), abs=1e-6)
    assert 0 <= share <= 1


def test_a_forecast_that_knows_nothing_earns_no_more_than_contacting_all_or_nobody() -> None:
    label = np.array([True] * 2 + [False] * 8)
    everybody = Economics().earned(2, 8) / 10
    assert expected_maximum(label, np.full(10, 0.2), Economics())[0] >= max(everybody, 0)
    assert curve(label, np.full(10, 0.2), Economics())[-1] == pytest.approx(everybody)


def test_one_class_has_no_best_cut() -> None:
    with pytest.raises(ValueError, match="both classes"):
        expected_maximum([True, True], [0.1, 0.2], Economics())


def test_where_an_offer_never_pays_nobody_is_contacted() -> None:
    costly = Economics(offer_cost=0.9, contact_cost=0.5)
    assert costly.cut > 1
    assert expected_maximum([True, False], [0.9, 0.1], costly) == pytest.approx((0, 0), abs=1e-6)
