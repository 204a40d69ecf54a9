"""The nearest look-alike and the least change, by search and by hand."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.learning.what_if import (
    APART,
    UNKNOWN_APART,
    least_change,
    nearest,
    reachable,
    spreads,
)
from churn_orchestration.churn.question.settings import Lever


def some_people(customers: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "orders": rng.poisson(2, customers).astype(float),
            "money": rng.gamma(2, 50, customers),
            "calls": np.where(rng.random(customers) < 0.3, np.nan, rng.poisson(1, customers)),
            "same": 1.0,
            "never": np.nan,
        }
    )


def distance_by_hand(one: pd.Series, other: pd.Series, spread: np.ndarray) -> float:
    total = 0.0
    for name, usual in zip(one.index, spread, strict=True):
        a, b = one[name], other[name]
        if np.isnan(a) and np.isnan(b):
            continue
        total += UNKNOWN_APART if np.isnan(a) or np.isnan(b) else min(abs(a - b) / usual, APART)
    return total / len(one)


def test_the_look_alike_is_the_one_that_a_comparison_with_everybody_gives() -> None:
    people = some_people()
    spread, among = spreads(people), people["orders"].to_numpy() > 2
    for row in range(20):
        by_hand = {
            place: distance_by_hand(people.iloc[row], people.iloc[place], spread)
            for place in np.flatnonzero(among)
        }
        best = min(by_hand, key=by_hand.__getitem__)
        assert nearest(people, row, among, spread) == (best, pytest.approx(by_hand[best]))


def test_of_two_that_are_equally_near_the_first_is_chosen_and_of_none_nobody() -> None:
    people = pd.DataFrame({"orders": [5.0, 4.0, 6.0, 9.0]})
    assert nearest(people, 0, np.array([False, True, True, True]), np.ones(1)) == (1, 1.0)
    assert nearest(people, 0, np.zeros(4, bool), np.ones(1)) is None


def test_a_unit_of_measurement_does_not_decide_who_is_alike() -> None:
    people = some_people()[["orders", "money"]]
    cents = people.assign(money=people["money"] * 100)
    among = np.arange(len(people)) > 0
    in_cents = nearest(cents, 0, among, spreads(cents))
    assert nearest(people, 0, among, spreads(people)) == pytest.approx(in_cents)


def test_one_long_tail_does_not_decide_who_is_alike() -> None:
    people = pd.DataFrame({"money": [0.0, 900.0, 4.0], "orders": [0.0, 0.0, 2.0]})
    among = np.array([False, True, True])
    assert nearest(people, 0, among, np.ones(2)) == (1, APART / 2)


LEVERS = [Lever("calls", up=False), Lever("orders", up=True), Lever("money", up=True, most=300)]
SEEN = {
    "calls": np.array([0.0, 1, 2, 3, 4]),
    "orders": np.array([0.0, 1, 2, 3, 5, 8]),
    "money": np.array([0.0, 100, 200, 300, 400]),
}
NOW = {"calls": 3.0, "orders": 1.0, "money": 100.0}
SPREAD = {"calls": 2.0, "orders": 2.0, "money": 200.0}


def chance(rows: pd.DataFrame) -> np.ndarray:
    """Calls raise it, orders lower it, and of money a little more is worse than none."""
    money = np.where(rows["money"].between(150, 250), 0.5, -rows["money"] / 400)
    return 1 / (1 + np.exp(-(0.4 * rows["calls"] - 0.5 * rows["orders"] + money + 0.5)))


def change_by_hand(below: float) -> tuple[dict[str, float], float] | None:
    """The least change by a loop over all values that may be reached, one feature before two."""
    allowed = {"calls": [2.0, 1.0, 0.0], "orders": [2.0, 3.0, 5.0, 8.0], "money": [200.0, 300.0]}
    for count in (1, 2):
        crossing = []
        for names in combinations(allowed, count):
            for values in product(*(allowed[name] for name in names)):
                moves = dict(zip(names, values, strict=True))
                if chance(pd.DataFrame([NOW | moves]))[0] < below:
                    size = sum(abs(v - NOW[n]) / SPREAD[n] for n, v in moves.items())
                    crossing.append((size, moves))
        if crossing:
            size, moves = min(crossing, key=lambda each: each[0])
            return moves, size
    return None


@pytest.mark.parametrize("below", [0.75, 0.6, 0.5, 0.3, 0.2, 0.1, 0.03, 0.001])
def test_the_least_change_is_the_one_that_a_loop_over_all_changes_gives(below: float) -> None:
    change, lowest = least_change(NOW, LEVERS, SEEN, SPREAD, chance, below)
    by_hand = change_by_hand(below)
    assert (change is None) == (by_hand is None)
    assert lowest is not None
    if change and by_hand:
        assert ({name: to for name, (_, to) in change.moves.items()}, change.size) == (
            by_hand[0], pytest.approx(by_hand[1]),
        )  # fmt: skip
        assert all(before == NOW[name] for name, (before, _) in change.moves.items())
        assert change.probability < below
        assert lowest.probability <= change.probability


def test_nothing_is_proposed_beyond_what_was_seen_or_is_allowed() -> None:
    def others_as_they_are(rows: pd.DataFrame) -> np.ndarray:
        return chance(rows.assign(calls=NOW["calls"], orders=NOW["orders"]))

    change, lowest = least_change(NOW, [LEVERS[2]], SEEN, SPREAD, others_as_they_are, 0.4)
    assert change is None
    assert lowest is not None
    assert lowest.moves == {"money": (100.0, 300.0)}, "400 was seen, and is not allowed"
    assert len(reachable(Lever("orders", up=True), 8, SEEN["orders"])) == 0
    assert reachable(Lever("orders", up=True, most=20, step=2), 5, SEEN["orders"]).tolist() == [7]
    assert reachable(Lever("orders", up=True, step=2), 9, SEEN["orders"]).tolist() == []
    assert reachable(Lever("orders", up=False, most=4, step=1), 7, SEEN["orders"]).tolist() == [
        4, 3, 2, 1, 0,
    ]  # fmt: skip


def test_a_step_reaches_the_bound_that_it_divides_and_a_small_one_takes_no_memory() -> None:
    tenths = reachable(Lever("share", up=True, step=0.1), 0, np.array([0, 0.3]))
    assert tenths.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert tenths.max() <= 0.3
    cents = reachable(Lever("money", up=False, step=0.01), 1e13, np.array([0, 1e13]))
    assert (len(cents), cents[0], cents[-1]) == (20, 1e13 - 0.01, 0)


def test_an_unknown_value_is_not_moved() -> None:
    now = NOW | {"calls": np.nan}
    assert least_change(now, [LEVERS[0]], SEEN, SPREAD, chance, 0.4) == (None, None)


def test_of_many_values_the_nearest_and_the_furthest_are_tried() -> None:
    values = reachable(Lever("money", up=True), 0, np.arange(1, 1_000))
    assert (len(values), values[0], values[-1]) == (20, 1, 999)
