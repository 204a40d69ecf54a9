"""The list of a campaign: the best of all lists on few customers, near it on many, always within
its limits.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from churn_orchestration.churn.campaign import allocation
from churn_orchestration.churn.campaign.allocation import Allocation, allocate

INSTANCES = 300


class Instance(NamedTuple):
    """What `allocate` is given."""

    gain: np.ndarray
    cost: np.ndarray
    capacity: np.ndarray
    budget: float
    groups: np.ndarray
    group_limits: np.ndarray

    def keeps(self, contacts: np.ndarray) -> bool:
        """Whether contacts by each action (k) are within all limits."""
        return bool(
            (contacts <= self.capacity).all()
            and (self.groups @ contacts <= self.group_limits).all()
            and self.cost @ contacts <= self.budget * (1 + 1e-9)
        )


def instance(rng: np.random.Generator, customers: int, actions: int = 3) -> Instance:
    """A random shop: some pairs not eligible, some that do not pay, ties in every other one."""
    gain = rng.lognormal(2, 1, (customers, actions)) - 4
    if rng.random() < 0.5:
        gain = np.round(gain / 3)
    gain[rng.random(gain.shape) < 0.15] = np.nan
    capacity = np.floor(rng.uniform(0, 0.6, actions) * customers)
    capacity[rng.random(actions) < 0.2] = np.inf
    cost = np.round(rng.uniform(0, 10, actions), 2)
    budget = round(rng.uniform(0, 4) * customers, 2) if rng.random() < 0.7 else np.inf
    groups = (rng.random((2, actions)) < 0.6).astype(float)
    return Instance(
        gain, cost, capacity, budget, groups, np.floor(rng.uniform(0.1, 0.8, 2) * customers)
    )


def in_minutes(given: Instance, rng: np.random.Generator) -> Instance:
    """The same shop, whose groups are owners: their limits are of minutes, not of contacts."""
    minutes = np.round(rng.uniform(5, 40, given.groups.shape))
    limits = np.round(given.group_limits * rng.uniform(10, 30, 2), 1)
    return given._replace(groups=given.groups * minutes, group_limits=limits)


def best_of_all(given: Instance) -> float:
    """The most that any list gains: of every number of contacts by each action, the best list."""
    n, k = given.gain.shape
    best = np.full((n + 1,) * k, -np.inf)
    best[(0,) * k] = 0.0
    for gains in given.gain:
        more = best.copy()
        for action, gain in enumerate(gains):
            if gain > 0:
                one_more = np.roll(best, 1, axis=action)
                one_more[(slice(None),) * action + (0,)] = -np.inf
                more = np.maximum(more, one_more + gain)
        best = more
    kept = [c for c in itertools.product(range(n + 1), repeat=k) if given.keeps(np.array(c))]
    return float(max(best[c] for c in kept))


def every_list(given: Instance) -> float:
    """The same, list by list."""
    n, k = given.gain.shape
    result = 0.0
    for choice in itertools.product(range(-1, k), repeat=n):
        pairs = [(row, action) for row, action in enumerate(choice) if action >= 0]
        gains = [given.gain[pair] for pair in pairs]
        contacts = np.bincount([a for _, a in pairs], minlength=k)
        if all(gain > 0 for gain in gains) and given.keeps(contacts):
            result = max(result, float(sum(gains)))
    return result


def instances(customers: int, number: int, seed: int = 7) -> Iterator[Instance]:
    rng = np.random.default_rng(seed)
    return (instance(rng, customers) for _ in range(number))


def assert_sound(given: Instance, result: Allocation) -> None:
    """Within the limits, of eligible pairs that pay; gain and gap are what counting says."""
    rows = np.flatnonzero(result.choice >= 0)
    gains = given.gain[rows, result.choice[rows]]
    assert (gains > 0).all()
    assert given.keeps(np.bincount(result.choice[rows], minlength=len(given.cost)))
    assert result.gain == pytest.approx(gains.sum())
    assert result.bound >= result.gain
    assert result.gap == pytest.approx((result.bound - result.gain) / (result.bound or 1))


def test_the_best_by_numbers_of_contacts_is_the_best_of_every_list() -> None:
    for given in instances(5, 12):
        assert best_of_all(given) == pytest.approx(every_list(given))


def test_of_few_customers_no_list_is_better_and_the_gap_is_nothing() -> None:
    rng = np.random.default_rng(23)
    for number, shop in enumerate(instances(12, INSTANCES)):
        given = in_minutes(shop, rng) if number % 3 == 0 else shop
        result = allocate(*given)
        assert_sound(given, result)
        assert result.gain == pytest.approx(best_of_all(given), abs=1e-9)
        assert result.gap <= 1e-9


def test_by_prices_the_list_keeps_its_limits_and_its_bound_is_true(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaps = []
    for given in instances(400, 60):
        exact = allocate(*given)
        assert_sound(given, exact)
        assert exact.gap <= 1e-9
        with monkeypatch.context() as few:
            few.setattr(allocation, "EXACT", 0)
            together = allocate(*given)
            few.setattr(allocation, "CORE", 60)
            near = allocate(*given)
        assert_sound(given, near)
        assert near.bound >= exact.gain * (1 - 1e-12)
        assert near.gain <= exact.gain * (1 + 1e-12)
        assert near.bound == pytest.approx(together.bound, rel=2e-3), "the prices of all at once"
        gaps.append(near.gap)
    assert np.mean(gaps) < 0.005


def test_of_many_customers_the_gap_is_below_a_hundredth() -> None:
    rng = np.random.default_rng(5)
    for _ in range(2):
        given = instance(rng, 10_000, 4)
        result = allocate(*given)
        assert_sound(given, result)
        assert result.gap < 0.01


@pytest.fixture
def small_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of a thousand customers are solved as those of many are."""
    monkeypatch.setattr(allocation, "CORE", 200)


@pytest.mark.usefixtures("small_core")
@pytest.mark.parametrize("customers", [12, 1_500])
def test_another_order_of_customers_is_the_same_list_in_that_order(customers: int) -> None:
    rng = np.random.default_rng(11)
    for _ in range(3):
        given = instance(rng, customers)
        given = given._replace(gain=given.gain + rng.uniform(0, 1e-3, given.gain.shape))  # no ties
        order = rng.permutation(customers)
        result, again = allocate(*given), allocate(*given._replace(gain=given.gain[order]))
        assert (again.choice == result.choice[order]).all()
        assert (again.reduced == result.reduced[order]).all()
        assert (result.choice >= 0).any()


@pytest.mark.usefixtures("small_core")
def test_the_same_call_gives_the_same_bytes() -> None:
    given = instance(np.random.default_rng(2), 1_500)
    result, again = allocate(*given), allocate(*given)
    for name in ("choice", "reduced", "capacity_price", "group_price"):
        assert getattr(result, name).tobytes() == getattr(again, name).tobytes()
    assert (result.gain, result.bound, result.budget_price) == (
        again.gain,
        again.bound,
        again.budget_price,
    )


def test_of_customers_with_the_same_gains_the_first_are_contacted() -> None:
    gain = np.tile([[3.0, 2.0], [9.0, 1.0], [np.nan, 2.0]], (4, 1))
    result = allocate(gain, np.zeros(2), np.array([5, 3]))
    assert result.choice.tolist() == [0, 0, 1, -1, 0, 1, -1, 0, 1, -1, 0, -1]
    assert result.gain == 3 + 4 * 9 + 3 * 2


def test_a_price_is_what_one_more_contact_earns() -> None:
    rng = np.random.default_rng(17)
    for _ in range(40):
        gain, capacity = rng.lognormal(2, 1, (30, 3)), rng.integers(1, 9, 3).astype(float)
        result = allocate(gain, np.zeros(3), capacity)
        for action in range(3):
            more = allocate(gain, np.zeros(3), capacity + np.eye(3)[action])
            earned = more.gain - result.gain
            assert result.capacity_price[action] == pytest.approx(earned, abs=1e-6)


def test_a_group_and_the_budget_have_their_prices() -> None:
    gain = np.array([[8.0, 1.0], [6.0, 5.0], [4.0, 3.0]])
    free, no_end = np.zeros(2), np.full(2, np.inf)
    owner = allocate(gain, free, no_end, groups=np.ones((1, 2)), group_limits=np.array([2]))
    assert (owner.choice.tolist(), owner.group_price.tolist()) == ([0, 0, -1], [4.0])
    money = allocate(gain, np.array([2.0, 1.0]), no_end, budget=4.0)
    assert money.choice.tolist() == [0, 1, 1]
    assert money.budget_price == pytest.approx(1.0), "one more unit moves the second from 5 to 6"


def test_whoever_is_above_the_prices_is_contacted_and_the_next_one_is_not() -> None:
    gain = np.random.default_rng(4).lognormal(2, 1, (200, 2))
    result = allocate(gain, np.zeros(2), np.array([20, 30]))
    assert ((result.reduced.max(axis=1) > 0) == (result.choice >= 0)).all()
    assert (result.reduced.argmax(axis=1) == result.choice)[result.choice >= 0].all()
    assert (result.reduced.max(axis=1) == 0).any(), "the price is the gain of the next customer"


def test_who_is_held_back_takes_no_place_and_is_judged_by_the_same_prices() -> None:
    rng = np.random.default_rng(8)
    given = instance(rng, 3_000)
    held = rng.random(3_000) < 0.2
    result = allocate(*given, held_back=held)
    alone = allocate(*given._replace(gain=given.gain[~held]))
    assert (result.choice[held] == -1).all()
    assert (result.choice[~held] == alone.choice).all()
    assert (result.capacity_price == alone.capacity_price).all()
    price = result.capacity_price + result.group_price @ given.groups
    price += result.budget_price * given.cost
    eligible = given.gain > 0
    expected = np.where(eligible, given.gain - price, -np.inf)
    assert result.reduced[eligible] == pytest.approx(expected[eligible], abs=1e-6)
    assert (result.reduced[~eligible] == -np.inf).all()
    share = (result.reduced.max(axis=1) > 0)[held].mean()
    assert share == pytest.approx((result.reduced.max(axis=1) > 0)[~held].mean(), abs=0.06)


def test_nobody_where_nothing_pays_and_everybody_where_nothing_limits() -> None:
    none = allocate(np.full((3, 2), -1.0), np.ones(2), np.ones(2))
    assert (none.choice.tolist(), none.gain, none.bound, none.gap) == ([-1, -1, -1], 0, 0, 0)
    empty = allocate(np.empty((0, 2)), np.ones(2), np.ones(2), 3.0)
    assert (empty.choice.shape, empty.gain, empty.reduced.shape) == ((0,), 0, (0, 2))
    gain = np.array([[1.0, 2.0], [np.nan, -1.0], [3.0, 3.0]])
    free = allocate(gain, np.array([0.0, 7.0]), np.full(2, np.inf))
    assert (free.choice.tolist(), free.gain, free.gap) == ([1, -1, 0], 5.0, 0.0)


def test_three_contacts_at_ten_cents_are_within_thirty_cents() -> None:
    result = allocate(np.ones((5, 1)), np.array([0.1]), np.array([np.inf]), budget=0.3)
    assert result.choice.tolist() == [0, 0, 0, -1, -1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"gain": np.array([[np.inf, 1.0]])}, "infinite"),
        ({"gain": np.array([1.0, 2.0])}, "a row a customer"),
        ({"cost": np.array([1.0])}, "cost has the shape"),
        ({"cost": np.array([-1.0, 1.0])}, "costs are finite and >= 0"),
        ({"capacity": np.array([1.5, 1.0])}, "capacity is of whole numbers"),
        ({"capacity": np.array([np.nan, 1.0])}, "capacity is of whole numbers"),
        ({"budget": np.nan}, "budget is >= 0"),
        ({"groups": np.array([[-0.5, 1.0]]), "group_limits": np.ones(1)}, "a group's limit is fin"),
        ({"groups": np.ones((1, 2)), "group_limits": np.ones(2)}, "group_limits has the shape"),
        ({"groups": np.ones((1, 2)), "group_limits": -np.ones(1)}, "group_limits are >= 0"),
        ({"held_back": np.zeros(3, bool)}, "held_back has the shape"),
    ],
)
def test_what_has_no_meaning_is_refused(changed: dict[str, object], words: str) -> None:
    given = {"gain": np.ones((1, 2)), "cost": np.ones(2), "capacity": np.ones(2)}
    with pytest.raises(ValueError, match=words):
        allocate(**given | changed)
