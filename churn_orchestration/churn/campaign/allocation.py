"""Which customer gets which action: the most gain under capacities and a budget, and a bound that
no list can beat.

The limits are on how many contacts each action has, so the dual of the linear programme has one
price a limit and none a customer. Small lists are solved exactly. Of large ones the prices are
computed on those customers whose action they decide, and whoever pays at the prices is contacted.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

EXACT = 5_000
"""Pairs of customers with different gains and actions up to which the list is solved exactly."""
NODES = 2_000
"""Branches that are tried for it; beyond them the best list so far, with its gap."""
CORE = 8_000
"""Customers whose action the prices decide: so many are solved together."""
ROUNDS = 8
NEAR = 1e-5
"""The relative gap that is near enough to stop."""
SLACK = 1e-3
"""Limits are widened by so much of a contact for the prices: a price is what one more would earn,
not what the last one did.
"""
ROUNDING = 1e-9
"""Money within this share of a limit keeps it, and gains within it of the largest are equal."""
SEED = 20_111_209


@dataclass(frozen=True)
class Allocation:
    """A list, and what more contacts or money would earn.

    Parameters
    ----------
    choice : of each customer the number of the action; -1: nobody contacts them; n
    gain : of the whole list, net of cost
    bound : no list earns more
    gap : (bound - gain) / bound; 0 where the bound is 0
    capacity_price : what one more contact by each action would earn; k
    group_price : what one more contact within each group's limit would earn; m
    budget_price : what one more unit of money would earn
    reduced : gain at those prices, n x k; -inf where an action is not eligible or does not pay.
        Whoever has one > 0 belongs to the trial, held back or not
    """

    choice: np.ndarray
    gain: float
    bound: float
    gap: float
    capacity_price: np.ndarray
    group_price: np.ndarray
    budget_price: float
    reduced: np.ndarray


@dataclass(frozen=True)
class _Limits:
    """weights (r x k) @ contacts by each action (k) <= most (r).

    ``wider`` : by how much each is widened where prices are computed; r
    """

    weights: np.ndarray
    most: np.ndarray
    wider: np.ndarray

    def left(self, used: np.ndarray) -> np.ndarray:
        """How much of each limit is left, < 0 only where it is exceeded; r."""
        result = self.most - self.weights @ used
        return np.where(np.abs(result) <= ROUNDING * self.most, 0.0, result)

    def room(self, used: np.ndarray) -> np.ndarray:
        """How many more contacts by each action keep all limits, at least 0; inf: any number; k."""
        each = np.full(self.weights.shape, np.inf)
        left = np.broadcast_to(self.left(used)[:, None], each.shape)
        np.divide(left * (1 + ROUNDING), self.weights, out=each, where=self.weights > 0)
        return np.maximum(np.floor(each.min(axis=0, initial=np.inf)), 0)


@dataclass(frozen=True)
class _Kinds:
    """Customers by what can be gained of them: those of one kind have the same gains.

    ``worth`` : v x k, in units of the largest gain, 0 where an action is not eligible
    ``number`` : customers of each kind; v
    """

    worth: np.ndarray
    number: np.ndarray

    def at(self, price: np.ndarray) -> np.ndarray:
        """Their gains where a contact by each action costs so much more (k); v x k, -inf where not
        eligible.
        """
        return np.where(self.worth > 0, self.worth - price, -np.inf)

    def some(self, which: np.ndarray) -> "_Kinds":
        """Those kinds alone."""
        return _Kinds(self.worth[which], self.number[which])

    def bound(self, limits: _Limits, prices: np.ndarray) -> float:
        """What no list can exceed, by any prices >= 0: the dual of the linear programme."""
        best = np.maximum(self.at(prices @ limits.weights).max(axis=1, initial=0.0), 0)
        return float(prices @ limits.most + self.number @ best)


def allocate(
    gain: np.ndarray,
    cost: np.ndarray,
    capacity: np.ndarray,
    budget: float = np.inf,
    groups: np.ndarray | None = None,
    group_limits: np.ndarray | None = None,
    held_back: np.ndarray | None = None,
) -> Allocation:
    """The list with the most gain: at most one action a customer, within all limits.

    Of customers with the same gains the first rows are contacted; else the order of rows decides
    nothing. The same call gives the same result.

    Parameters
    ----------
    gain : n x k, net of cost; NaN or <= 0: this action is not eligible or does not pay
    cost : of one contact by each action, >= 0; k
    capacity : contacts by each action at most, whole numbers >= 0 or inf; k
    budget : money at most, >= 0 or inf
    groups : m x k, 1 where an action counts against the group's limit (an owner, a channel)
    group_limits : contacts of each group at most, whole numbers >= 0 or inf; m
    held_back : bool, n; they are not contacted, use no limit and move no price, but have `reduced`

    Raises
    ------
    ValueError : shapes that do not fit, a negative limit or cost, a gain that is infinite

    >>> gain = np.array([[5.0, 4.0], [5.0, np.nan], [3.0, 1.0]])
    >>> best = allocate(gain, np.zeros(2), np.array([1, np.inf]))
    >>> best.choice.tolist(), best.gain, best.capacity_price.tolist()
    ([1, 0, 1], 10.0, [2.0, 0.0])
    """
    gain, cost = np.asarray(gain, float), np.asarray(cost, float)
    capacity, held_back, groups, group_limits = _defaults(
        gain, capacity, held_back, groups, group_limits
    )
    _check(gain, cost, capacity, budget, groups, group_limits, held_back)
    dearest = _power_of_two(cost.max(initial=0.0))
    weights = np.vstack([np.eye(len(cost)), groups, cost / dearest])
    most = np.concatenate([capacity, group_limits, [budget / dearest]])
    binding = np.isfinite(most) & weights.any(axis=1)
    limits = _Limits(
        weights[binding],
        most[binding],
        SLACK * np.where(weights > 0, weights, np.inf).min(axis=1, initial=1.0)[binding],
    )
    worth = np.where(gain > 0, gain, 0.0)
    scale = _power_of_two(worth.max(initial=0.0))
    rows = np.flatnonzero(~held_back & worth.any(axis=1))
    order, kind, kinds = _by_kind(worth[rows] / scale)
    contacts, prices, bound = _solved(kinds, limits)
    choice = np.full(len(gain), -1)
    choice[rows[order]] = _of_rows(contacts, kind)
    listed = np.flatnonzero(choice >= 0)
    total = float(worth[listed, choice[listed]].sum())
    bound = max(bound * scale, total)
    reduced = np.where(worth > 0, worth - scale * (prices @ limits.weights), -np.inf)
    reduced[np.abs(reduced) <= ROUNDING * scale] = 0.0
    of_all = np.zeros(len(most))
    of_all[binding] = prices * scale
    k = len(cost)
    return Allocation(
        choice, total, bound, (bound - total) / bound if bound else 0.0,
        of_all[:k], of_all[k:-1], float(of_all[-1] / dearest), reduced,
    )  # fmt: skip


def _power_of_two(most: float) -> float:
    """The least power of two above a number >= 0: to divide by it rounds nothing."""
    return float(2.0 ** np.frexp(most)[1])


def _defaults(
    gain: np.ndarray,
    capacity: np.ndarray,
    held_back: np.ndarray | None,
    groups: np.ndarray | None,
    group_limits: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Capacities, who is held back, groups and their limits, as arrays."""
    width = gain.shape[-1] if gain.ndim else 0
    return (
        np.asarray(capacity, float),
        np.zeros(len(gain), bool) if held_back is None else np.asarray(held_back, bool),
        np.empty((0, width)) if groups is None else np.asarray(groups, float),
        np.empty(0) if group_limits is None else np.asarray(group_limits, float),
    )


def _check(
    gain: np.ndarray,
    cost: np.ndarray,
    capacity: np.ndarray,
    budget: float,
    groups: np.ndarray,
    group_limits: np.ndarray,
    held_back: np.ndarray,
) -> None:
    """Refuse arrays that do not fit each other, and numbers without a meaning."""
    n, k = gain.shape
    shapes = {
        "cost": (cost.shape, (k,)),
        "capacity": (capacity.shape, (k,)),
        "held_back": (held_back.shape, (n,)),
        "groups": (groups.shape, (len(groups), k)),
        "group_limits": (group_limits.shape, (len(groups),)),
    }
    for name, (given, wanted) in shapes.items():
        if given != wanted:
            raise ValueError(f"{name} has the shape {given}, needed is {wanted}")
    if np.isinf(gain).any():
        raise ValueError("a gain is infinite")
    if not (np.isfinite(cost) & (cost >= 0)).all():
        raise ValueError(f"costs are finite and >= 0, not {cost}")
    if not np.isin(groups, (0, 1)).all():
        raise ValueError("groups has other entries than 0 and 1")
    for name, most in (("capacity", capacity), ("group_limits", group_limits)):
        whole = np.isinf(most) | (np.floor(most) == most)
        if not ((most >= 0) & whole).all():
            raise ValueError(f"{name} is of whole numbers >= 0 or inf, not {most}")
    if not budget >= 0:
        raise ValueError(f"the budget is >= 0, not {budget}")


def _by_kind(worth: np.ndarray) -> tuple[np.ndarray, np.ndarray, _Kinds]:
    """The rows by kind and, within, in their order; the kind of each of them; the kinds."""
    order = np.lexsort(worth.T[::-1])
    ordered = worth[order]
    first = np.ones(len(order), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    kind = np.cumsum(first) - 1
    return order, kind, _Kinds(ordered[first], np.bincount(kind).astype(float))


def _of_rows(contacts: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """The action of each row, given by kind: the first of a kind are contacted, the rest are
    not.
    """
    starts = np.searchsorted(kind, np.arange(len(contacts)))
    place = np.arange(len(kind)) - starts[kind]
    action = (place[:, None] >= contacts.cumsum(axis=1)[kind]).sum(axis=1)
    return np.where(action == contacts.shape[1], -1, action)


def _solved(kinds: _Kinds, limits: _Limits) -> tuple[np.ndarray, np.ndarray, float]:
    """Contacts of each kind by each action (v x k), the prices of the limits (r), and the bound."""
    if not len(kinds.worth):
        return np.zeros(kinds.worth.shape), np.zeros(len(limits.most)), 0.0
    few = (kinds.worth > 0).sum() <= EXACT
    contacts, prices, bound = _by_prices(kinds, limits)
    if few and (contacts * kinds.worth).sum() < bound * (1 - ROUNDING):
        exact, proved = _exactly(kinds, limits)
        exact = _within(exact, kinds, limits, prices)
        if (exact * kinds.worth).sum() > (contacts * kinds.worth).sum():
            contacts = exact
        bound = min(bound, proved)
    return contacts, prices, bound


def _exactly(kinds: _Kinds, limits: _Limits) -> tuple[np.ndarray, float]:
    """The best contacts in whole numbers, and what none can exceed, by HiGHS's branch and bound."""
    kind, action = np.nonzero(kinds.worth > 0)
    matrix, most = _constraints(kinds, limits, kind, action)
    result = milp(
        -kinds.worth[kind, action],
        constraints=LinearConstraint(matrix, ub=most),
        bounds=Bounds(0, kinds.number[kind]),
        integrality=np.ones(len(kind)),
        options={"mip_rel_gap": 0, "node_limit": NODES},
    )
    contacts = np.zeros(kinds.worth.shape)
    if result.x is not None:
        contacts[kind, action] = np.round(result.x)
    proved = result.mip_dual_bound
    return contacts, np.inf if proved is None else -float(proved)


def _constraints(
    kinds: _Kinds, limits: _Limits, kind: np.ndarray, action: np.ndarray
) -> tuple[csr_array, np.ndarray]:
    """That no customer is contacted twice and all limits hold, of pairs of a kind and an action."""
    pairs = np.arange(len(kind))
    once = csr_array((np.ones(len(kind)), (kind, pairs)), (len(kinds.number), len(kind)))
    matrix = vstack([once, csr_array(limits.weights[:, action])], format="csr")
    return matrix, np.concatenate([kinds.number, limits.most])


def _relaxed(kinds: _Kinds, limits: _Limits) -> tuple[np.ndarray, np.ndarray]:
    """Contacts that may be fractions, and the prices of the limits."""
    kind, action = np.nonzero(kinds.worth > 0)
    wide = _Limits(limits.weights, limits.most + limits.wider, limits.wider)
    matrix, most = _constraints(kinds, wide, kind, action)
    result = linprog(
        -kinds.worth[kind, action], A_ub=matrix, b_ub=most, bounds=(0, None), method="highs-ds"
    )
    if result.status != 0:
        raise RuntimeError(f"HiGHS did not solve the linear programme: {result.message}")
    contacts = np.zeros(kinds.worth.shape)
    contacts[kind, action] = result.x
    prices = np.maximum(-result.ineqlin.marginals[len(kinds.number) :], 0)
    return contacts, prices


def _by_prices(kinds: _Kinds, limits: _Limits) -> tuple[np.ndarray, np.ndarray, float]:
    """The same as `_solved`, by the linear programme: near the best, or the best itself.

    Of many kinds the programme is solved for a sample, then in rounds for those alone whose action
    may change near the prices so far; the others keep theirs.
    """
    core, bound = CORE, np.inf
    if len(kinds.worth) <= core:
        contacts, prices = _relaxed(kinds, limits)
        contacts = _within(np.floor(contacts + 1e-6), kinds, limits, prices)
        return contacts, prices, kinds.bound(limits, prices)
    prices = _of_sample(kinds, limits)
    best, best_prices = np.zeros(kinds.worth.shape), prices
    for _ in range(ROUNDS):
        contacts, prices = _round(kinds, limits, prices, core)
        value = kinds.bound(limits, prices)
        if value < bound:
            bound, best_prices = value, prices
        if (contacts * kinds.worth).sum() > (best * kinds.worth).sum():
            best = contacts
        if (best * kinds.worth).sum() >= bound * (1 - NEAR):
            break
        core *= 2
    return best, best_prices, bound


def _of_sample(kinds: _Kinds, limits: _Limits) -> np.ndarray:
    """The prices where limits and kinds are a sample's."""
    which = np.random.default_rng(SEED).choice(len(kinds.number), CORE, replace=False)
    some = kinds.some(np.sort(which))
    share = some.number.sum() / kinds.number.sum()
    _, prices = _relaxed(some, _Limits(limits.weights, limits.most * share, limits.wider))
    return prices


def _round(
    kinds: _Kinds, limits: _Limits, prices: np.ndarray, core: int
) -> tuple[np.ndarray, np.ndarray]:
    """Contacts and prices from those prices on, where the action of all but ``core`` kinds is
    kept.

    As the others are kept up to a distance alone, the prices move no further than that: below it
    there is more demand for each action, and above it the kept contacts are given up.
    """
    price = prices @ limits.weights
    reduced = kinds.at(price)
    two = np.partition(np.column_stack([np.zeros(len(reduced)), reduced]), -2, axis=1)[:, -2:]
    margin = two[:, 1] - two[:, 0]
    near = np.zeros(len(margin), bool)
    near[np.argsort(margin, kind="stable")[:core]] = True
    reach = margin[near].max()
    action = np.where(reduced.max(axis=1) > 0, reduced.argmax(axis=1), -1)
    kept = np.flatnonzero(~near & (action >= 0))
    contacts = np.zeros(kinds.worth.shape)
    contacts[kept, action[kept]] = kinds.number[kept]
    some = kinds.some(near)
    ends = _Kinds(
        np.vstack([np.diag(price + reach), np.diag(np.maximum(price - reach, 0))]),
        np.concatenate([contacts.sum(axis=0), np.full(len(price), kinds.number.sum())]),
    )
    both = _Kinds(np.vstack([some.worth, ends.worth]), np.concatenate([some.number, ends.number]))
    solved, prices = _relaxed(both, limits)
    contacts[near] = np.floor(solved[: len(some.worth)] + 1e-6)
    return _within(contacts, kinds, limits, prices), prices


def _within(contacts: np.ndarray, kinds: _Kinds, limits: _Limits, prices: np.ndarray) -> np.ndarray:
    """Contacts that keep all limits: the least gains at the prices are left out, then what room is
    left is filled with the largest.
    """
    reduced = kinds.at(prices @ limits.weights)
    contacts = contacts.copy()
    for weight, most in zip(limits.weights, limits.most, strict=True):
        _leave_out(contacts, reduced, weight, most)
    while _filled(contacts, kinds, reduced, limits):
        pass
    return contacts


def _leave_out(contacts: np.ndarray, reduced: np.ndarray, weight: np.ndarray, most: float) -> None:
    """Leave contacts out until one limit holds, least gain per unit of it first."""
    excess = weight @ contacts.sum(axis=0) - most
    if excess <= ROUNDING * most:
        return
    kind, action = np.nonzero((contacts > 0) & (weight > 0))
    order = np.argsort(reduced[kind, action] / weight[action], kind="stable")
    kind, action = kind[order], action[order]
    used = contacts[kind, action] * weight[action]
    before = used.cumsum() - used
    fewer = np.ceil((excess - before) / weight[action] - ROUNDING)
    contacts[kind, action] -= np.clip(fewer, 0, contacts[kind, action])


def _filled(contacts: np.ndarray, kinds: _Kinds, reduced: np.ndarray, limits: _Limits) -> bool:
    """Contact more customers by the actions that have room; False: nobody is left for any."""
    room = limits.room(contacts.sum(axis=0))
    free = kinds.number - contacts.sum(axis=1)
    rows = np.flatnonzero(free > 0)
    gains = np.where(room > 0, reduced[rows], -np.inf)
    action, more = gains.argmax(axis=1), False
    for each in np.unique(action[gains.max(axis=1) > -np.inf]):
        mine = rows[(action == each) & (gains[:, each] > -np.inf)]
        mine = mine[np.argsort(-reduced[mine, each], kind="stable")]
        before = free[mine].cumsum() - free[mine]
        place = limits.room(contacts.sum(axis=0))[each]
        added = np.clip(place - before, 0, free[mine])
        contacts[mine, each] += added
        more |= bool(added.any())
    return more
