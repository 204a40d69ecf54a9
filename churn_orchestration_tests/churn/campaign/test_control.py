"""Who is held back: the same lot for ever, fair, of its share, apart from that of other campaigns;
how many it takes.
"""

from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, chi2_contingency

from churn_orchestration.churn.campaign.control import (
    UNFAIR,
    balance,
    held_back_sql,
    is_held_back,
    sizing,
)
from churn_orchestration.churn.sql import connect

KEY = "a key of the business"


def lots(
    customers: int, campaign: str = "spring", key: str = KEY, share: float = 0.2
) -> np.ndarray:
    """The lots of customers c0, c1 and so on, by SQL."""
    condition = held_back_sql("'c' || n", campaign, key, share)
    with closing(connect()) as db:
        rows = db.execute(f"select {condition} from range({customers}) as r(n) order by n")
        return np.array([held for (held,) in rows.fetchall()])


@pytest.mark.parametrize("campaign", ["spring", "it's 5\" – frühling", ""])
def test_the_lot_of_sql_is_the_lot_of_python(campaign: str) -> None:
    names = ["", "0", "c17", "o'neil", "Zoë", "客户", 'a"b', " c17", "x" * 500]
    names += [f"c{n}" for n in range(3_000)]
    with closing(connect()) as db:
        db.execute("create table customers (customer_id varchar, place integer)")
        table = pd.DataFrame({"customer_id": names, "place": range(len(names))})
        db.register("given", table)
        db.execute("insert into customers from given")
        condition = held_back_sql("customer_id", campaign, KEY, 0.3)
        rows = db.execute(f"select {condition} from customers order by place").fetchall()
    assert [held for (held,) in rows] == [is_held_back(n, campaign, KEY, 0.3) for n in names]


def test_no_later_release_draws_another_lot() -> None:
    """By openssl's hmac of the campaign and md5sum of it and the id; held back: below 4000..."""
    drawn = "".join(str(int(held)) for held in lots(60, share=0.25))
    assert drawn == "100000000011110000010010000010111010001100100001100000000000"


def test_the_number_of_threads_draws_no_other_lot() -> None:
    condition = held_back_sql("n", "spring", KEY, 0.2)
    sums = []
    for threads in (1, 2):
        with closing(connect()) as db:
            db.execute(f"set threads = {threads}")
            query = f"select sum(n) filter ({condition}) from range(300_000) as r(n)"
            sums += db.execute(query).fetchall()
    assert sums[0] == sums[1]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.95])
def test_the_share_held_back_is_that_of_a_fair_lot(share: float) -> None:
    held = int(lots(40_000, share=share).sum())
    low, high = binom.ppf([0.0005, 0.9995], 40_000, share)
    assert low <= held <= high


def test_the_lots_of_two_campaigns_and_of_two_keys_have_nothing_to_do_with_each_other() -> None:
    spring, again = lots(40_000), lots(40_000)
    assert (spring == again).all()
    for other in (lots(40_000, campaign="spring2"), lots(40_000, key="another key")):
        table = [[int((a & b).sum()) for b in (other, ~other)] for a in (spring, ~spring)]
        assert chi2_contingency(table).pvalue > 0.001


def test_a_larger_share_holds_the_same_customers_back_and_more() -> None:
    few, many = lots(5_000, share=0.1), lots(5_000, share=0.3)
    assert (few <= many).all()


def test_the_key_is_not_in_the_sql_and_nobody_is_drawn_without_an_id() -> None:
    assert KEY not in held_back_sql("id", "spring", KEY, 0.2)
    with closing(connect()) as db:
        condition = held_back_sql("null", "spring", KEY, 0.2)
        assert db.execute(f"select {condition}").fetchall() == [(None,)]


@pytest.mark.parametrize("share", [-0.1, 1.0, np.nan])
def test_no_share_beyond_0_and_1_is_drawn(share: float) -> None:
    with pytest.raises(ValueError, match="share that is held back"):
        held_back_sql("id", "spring", KEY, share)


def customers(rng: np.random.Generator, number: int) -> pd.DataFrame:
    """What is known of customers before the lot: skewed, correlated and incomplete."""
    spend = rng.lognormal(3, 1, number)
    return pd.DataFrame(
        {
            "churn_probability": rng.beta(1, 4, number),
            "spend": np.where(rng.random(number) < 0.1, np.nan, spend),
            "spend_squared": spend**0.5,
            "stratum": rng.choice(["low", "middle", "high"], number),
            "all_alike": np.ones(number),
        }
    )


def arms(table: pd.DataFrame, held: np.ndarray) -> tuple[dict, dict]:
    return dict(table[~held].items()), dict(table[held].items())


def test_of_fair_lots_as_many_are_doubted_as_chance_says() -> None:
    rng, joint, share = np.random.default_rng(1), [], []
    for _ in range(300):
        table = customers(rng, 800)
        result = balance(*arms(table, rng.random(800) < 0.25), 0.25)
        joint.append(result.joint_p)
        share.append(result.share_p)
    assert 0.02 <= np.mean(np.array(joint) < 0.05) <= 0.09
    assert 0.4 <= np.mean(np.array(joint) < 0.5) <= 0.6
    assert np.mean(np.array(share) < 0.05) <= 0.09
    assert np.mean((np.array(joint) < UNFAIR) | (np.array(share) < UNFAIR)) <= 0.02


def test_the_joint_test_is_that_of_drawing_the_lot_again() -> None:
    rng = np.random.default_rng(2)
    table = customers(rng, 400)[["churn_probability", "spend_squared"]]
    held = rng.random(400) < 0.3
    held[table["churn_probability"].nlargest(25).index] = True  # somewhat unfair
    values = table.to_numpy()

    def distance(lot: np.ndarray) -> float:
        apart = values[~lot].mean(axis=0) - values[lot].mean(axis=0)
        return float(apart @ np.linalg.solve(np.cov(values.T), apart))

    drawn = np.mean([distance(rng.permutation(held)) >= distance(held) for _ in range(2_000)])
    assert balance(*arms(table, held), 0.3).joint_p == pytest.approx(drawn, abs=0.015)
    assert drawn < 0.2


def test_a_control_of_better_customers_is_unfair_and_shows_in_what() -> None:
    rng = np.random.default_rng(3)
    table = customers(rng, 5_000)
    chance = np.where(table["churn_probability"] < 0.1, 0.3, 0.2)
    result = balance(*arms(table, rng.random(5_000) < chance), float(chance.mean()))
    assert not result.fair
    assert result.joint_p < UNFAIR < result.share_p
    worst = max(result.differences, key=lambda each: abs(each.standardised))
    assert worst.name == "churn_probability"
    assert worst.high > worst.low > 0
    assert worst.treated > worst.control


def test_a_lost_part_of_the_control_is_unfair() -> None:
    rng = np.random.default_rng(4)
    result = balance(*arms(customers(rng, 5_000), rng.random(5_000) < 0.17), 0.2)
    assert not result.fair
    assert result.share_p < UNFAIR


def test_each_value_of_a_text_and_what_is_missing_is_compared_by_its_share() -> None:
    treated = {"stratum": ["a", "a", "b", None], "spend": [1.0, np.nan, 3.0, 2.0]}
    control = {"stratum": ["b", "b"], "spend": [4.0, 6.0]}
    result = balance(treated, control, 0.5)
    means = {each.name: (each.treated, each.control) for each in result.differences}
    assert means == {
        "stratum = a": (0.5, 0),
        "stratum = b": (0.25, 1),
        "stratum is missing": (0.25, 0),
        "spend": (pytest.approx((1 + 3 + 2 + 3.2) / 4), 5),
        "spend is missing": (0.25, 0),
    }
    assert (result.treated, result.control) == (4, 2)


def test_of_many_texts_the_rare_ones_are_compared_together() -> None:
    towns = [f"town {n:02}" for n in range(50) for _ in range(50 - n)]
    result = balance({"town": towns}, {"town": towns[::7]}, 0.125)
    names = [each.name for each in result.differences]
    assert names == [*(f"town = town {n:02}" for n in range(20)), "town is another"]
    assert sum(each.treated for each in result.differences) == pytest.approx(1)
    assert result.joint_p > 0.5


def test_arms_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="columns differ"):
        balance({"a": [1.0]}, {"b": [1.0]}, 0.5)
    with pytest.raises(ValueError, match="an arm is empty: 1 treated, 0 control"):
        balance({"a": [1.0]}, {"a": []}, 0.5)


@pytest.mark.parametrize(("base", "effect", "share"), [(0.2, 0.04, 0.2), (0.08, 0.03, 0.5)])
def test_so_many_customers_know_an_effect_as_often_as_asked(
    base: float, effect: float, share: float
) -> None:
    need = sizing(base, effect, share, per_week=100, power=0.8).one_look
    rng, control = np.random.default_rng(5), round(need.customers * share)
    treated = need.customers - control
    left = rng.binomial(control, base, 20_000) / control
    left_treated = rng.binomial(treated, base - effect, 20_000) / treated
    error = np.sqrt(left * (1 - left) / control + left_treated * (1 - left_treated) / treated)
    assert np.mean(left - left_treated > 1.96 * error) == pytest.approx(0.8, abs=0.02)
    assert need.weeks == -(-need.customers // 100)


def test_what_a_forecast_explains_needs_no_customers() -> None:
    plain = sizing(0.2, 0.03, 0.2, 500)
    helped = sizing(0.2, 0.03, 0.2, 500, explained=0.25)
    assert helped.one_look.customers == pytest.approx(0.75 * plain.one_look.customers, abs=1)
    assert plain.every_look.customers > 1.5 * plain.one_look.customers
    assert (plain.reason, helped.reason) == (None, None)


def test_what_two_years_do_not_know_has_its_reason() -> None:
    result = sizing(0.1, 0.02, 0.1, 250)
    assert result.one_look.weeks is not None
    assert result.every_look.weeks is None
    assert result.reason is not None
    assert "take fewer arms" in result.reason
    assert f"look once only, after {result.one_look.weeks} weeks" in result.reason
    never = sizing(0.1, 0.001, 0.5, 0)
    assert (never.one_look.weeks, never.every_look.weeks) == (None, None)
    assert never.reason is not None
    assert "once" not in never.reason


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"base_rate": 0.0}, "base_rate is within 0 and 1"),
        ({"effect": 0.3}, "at most the base rate 0.2"),
        ({"effect": 0.0}, "the effect is > 0"),
        ({"explained": 1.0}, "explained is >= 0"),
    ],
)
def test_a_size_without_a_meaning_is_refused(changed: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sizing(**{"base_rate": 0.2, "effect": 0.05, "share": 0.2, "per_week": 100.0} | changed)
