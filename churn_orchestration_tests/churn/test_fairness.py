"""Groups that are contacted alike: rates, comparisons with the highest group, and warnings."""

from functools import cache
from itertools import product
from math import comb

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from churn_orchestration.churn.grading.fairness import (
    COMPARED,
    MOST_GROUPS,
    TooManyGroupsError,
    by_group,
    difference,
    ratio,
    unfair,
)
from churn_orchestration.churn.question.settings import Fairness

COUNTRY = Fairness(("country",))


def people(**groups: tuple[int, int, int, int]) -> pd.DataFrame:
    """Customers by country: churners contacted, churners not, others contacted, others not."""
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    rows = [
        (country, label, contact)
        for country, counts in groups.items()
        for (label, contact), count in zip(kinds, counts, strict=True)
        for _ in range(count)
    ]
    return pd.DataFrame(rows, columns=["country", "label", "contact"])


def test_a_group_that_is_contacted_half_as_often_is_named_with_its_interval() -> None:
    result = by_group(people(at=(100, 100, 100, 700), de=(50, 50, 0, 900)), COUNTRY)
    assert [(g["segment"], g["rows"], g["churned"]) for g in result] == [
        ("at", 1_000, 200), ("de", 1_000, 100),
    ]  # fmt: skip
    at, de = result
    assert at["contact_rate"]["value"] == 0.2
    assert (de["true_positive_rate"]["value"], de["false_positive_rate"]["value"]) == (0.5, 0.0)
    assert not set(COMPARED) & set(at), "the highest group is compared with nobody"
    assert (de["contact_ratio"]["value"], de["contact_ratio"]["against"]) == (0.25, "at")
    [sentence] = unfair(result, COUNTRY)
    assert sentence.startswith("country de is contacted 0.25 [0.18, 0.35]")
    assert sentence.endswith("times as often as at, below 0.8")


def test_of_those_who_churn_a_group_that_is_left_out_is_named_though_all_are_contacted_alike() -> (
    None
):
    result = by_group(people(at=(160, 40, 40, 760), de=(60, 140, 140, 660)), COUNTRY)
    [sentence] = unfair(result, COUNTRY)
    assert sentence.startswith(
        "of those who churn, the share of country de that is contacted differs by -0.50 [-0.5"
    )


def test_what_chance_may_have_made_is_no_warning() -> None:
    half = people(at=(10, 0, 0, 30), de=(5, 5, 0, 30))
    result = by_group(half, Fairness(("country",), smallest=10))
    assert result[1]["contact_ratio"]["value"] == 0.5
    assert unfair(result, COUNTRY) == []


def test_a_small_group_is_shown_and_not_judged() -> None:
    result = by_group(people(at=(100, 100, 100, 700), li=(0, 10, 0, 9)), COUNTRY)
    small = result[1]
    assert (small["segment"], small["rows"]) == ("li", 19)
    assert "contact_rate" not in small
    assert not set(COMPARED) & set(small)
    few_churn = by_group(people(at=(100, 100, 100, 700), de=(0, 19, 0, 500)), COUNTRY)[1]
    assert "true_positive_rate" not in few_churn
    assert few_churn["contact_rate"]["value"] == 0


def test_nobody_is_judged_by_a_day_on_which_nobody_knew_whom_to_contact() -> None:
    rows = people(at=(1, 1, 1, 1))
    assert by_group(rows.assign(contact=None), COUNTRY) == []


def test_customers_without_the_attribute_are_a_group_of_their_own() -> None:
    rows = people(at=(10, 10, 10, 10), de=(10, 10, 10, 10))
    rows.loc[rows["country"] == "de", "country"] = None
    assert [group["segment"] for group in by_group(rows, COUNTRY)] == ["at", "unknown"]


def test_an_attribute_with_a_value_a_customer_makes_no_groups() -> None:
    rows = people(at=(10, 10, 10, 10)).assign(country=lambda t: [f"c{n}" for n in range(len(t))])
    with pytest.raises(TooManyGroupsError, match=f"country has 40 values: at most {MOST_GROUPS}"):
        by_group(rows, COUNTRY)


@pytest.mark.parametrize(
    ("one", "other"), [((5, 50), (20, 60)), ((0, 20), (3, 30)), ((9, 9), (1, 20))]
)
def test_intervals_are_those_of_the_literature(one: tuple, other: tuple) -> None:
    low, high = confint_proportions_2indep(*one, *other, method="newcomb", compare="diff")
    got = difference(one, other, 0.95)
    assert (got["low"], got["high"]) == pytest.approx((low, high))
    rates = people(at=(one[0], one[1] - one[0], 0, 0), de=(other[0], other[1] - other[0], 0, 0))
    at = by_group(rates, Fairness(("country",), smallest=1))[0]["contact_rate"]
    assert (at["low"], at["high"]) == pytest.approx(proportion_confint(*one, method="wilson"))


@cache
def _ratio_of(k: int, m: int, n: int) -> tuple[float, float]:
    got = ratio((k, n), (m, n), 0.95)
    return got["low"], got["high"]


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.2), (0.3, 0.3), (0.05, 0.5)])
def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says(p: float, q: float) -> None:
    """Summed over every outcome of two groups of thirty, by its exact probability."""
    n, covered = 30, 0.0
    for k, m in product(range(n + 1), range(1, n + 1)):
        chance = comb(n, k) * p**k * (1 - p) ** (n - k) * comb(n, m) * q**m * (1 - q) ** (n - m)
        if chance > 1e-6:
            low, high = _ratio_of(k, m, n)
            covered += chance * (low <= p / q <= high)
    assert 0.93 < covered / (1 - (1 - q) ** n) < 0.99


def test_of_eight_groups_that_are_alike_hardly_any_day_warns() -> None:
    """The highest of several is high by chance: without the sharing, one day in five would warn."""
    rng, strict, warned = np.random.default_rng(1), Fairness(("country",), None, "", 1.0, 0.0), 0
    for _ in range(20):
        label, contact = rng.random(800) < 0.3, rng.random(800) < 0.3
        rows = pd.DataFrame(
            {"country": np.repeat(list("abcdefgh"), 100), "label": label, "contact": contact}
        )
        warned += bool(unfair(by_group(rows, strict), strict))
    assert warned <= 2
