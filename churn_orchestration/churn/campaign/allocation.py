"""Which customer gets which action: the most gain under capacities and a budget, and a bound that
no list can beat.

The limits are on how many contacts each action has, so the dual of the linear programme has one
price a limit and none a customer. Small lists are solved exactly. Of large ones the prices are
computed on those customers whose action they decide, and whoever pays at the prices is contacted.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint, linprog, milp
from scipy.sparse import block_array, csr_array, eye_array, vstack

EXACT = 3_000
"""Pairs of a customer and an action that the prices leave undecided: up to so many are solved
exactly.
"""
NODES = 1_000
"""Branches that are tried for it; beyond them the best list so far, with its gap."""
CORE = 3_000
"""Customers whose action the prices decide by little: so many are solved together, with a sample of
as many others.
"""
ROUNDS = 10
NEAR = 1e-6
"""The relative gap at which the prices are good enough."""
SLACK = 1e-3
"""Limits are widened by so much of a contact for the prices: a price is what one more would earn,
not what the last one did.
"""
ROUNDING = 1e-9
"""Money within this share of a limit keeps it, and gains within it of the largest are equal."""
WHOLE = 1e-6
"""A number of contacts that HiGHS computes is short of a whole one by so much at most."""
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
    group_price : what one more unit of each group's limit would earn; m
    budget_price : what one more unit of money would earn
    reduced : gain at those prices, n x k; -inf where an action is not eligible or does not pay.
        See `of_trial`
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
    groups : m x k, what a contact by each action takes of the group's limit (the minutes of an
        owner, or 1 of a channel), >= 0
    group_limits : of each group, >= 0 or inf; m
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


def of_trial(
    pays: np.ndarray, gain: np.ndarray, price: np.ndarray, choice: np.ndarray
) -> np.ndarray:
    """Who belongs to the trial, held back or not; bool, n.

    Those who are worth the prices. At the margin the gain is the price, and some are contacted. The
    last of a budget may go to somebody who is worth less: then all who are worth as much do.

    Parameters
    ----------
    pays : whether each action is open to each customer and pays, whatever contacts went before;
        n x k
    gain : net of cost; n x k
    price : of one contact by each action, of capacities and money; k
    choice : the number of the action of each customer who is contacted, else -1; n

    >>> gain, price = np.array([[5.0], [3.0], [2.0], [1.0], [0.5]]), np.array([3.0])
    >>> of_trial(gain > 0, gain, price, np.array([0, -1, -1, -1, -1])).tolist()
    [True, True, False, False, False]
    >>> of_trial(gain > 0, gain, price, np.array([0, -1, -1, 0, -1])).tolist()
    [True, True, True, True, False]
    """
    rounding = ROUNDING * np.where(pays, gain, 0.0).max(initial=0.0)
    done, worth = choice[:, None] == np.arange(gain.shape[1]), gain - price
    least = np.where(done, worth, np.inf).min(axis=0, initial=0.0)
    result: np.ndarray = (pays & (worth >= least - rounding)).any(axis=1)
    return result


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
    if gain.ndim != 2:
        raise ValueError(f"gain has a row a customer and a column an action, not {gain.shape}")
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
    if np.isposinf(gain).any():
        raise ValueError("a gain is infinite")
    if not (np.isfinite(cost) & (cost >= 0)).all():
        raise ValueError(f"costs are finite and >= 0, not {cost}")
    if not (np.isfinite(groups) & (groups >= 0)).all():
        raise ValueError("what a contact takes of a group's limit is finite and >= 0")
    if not (group_limits >= 0).all():
        raise ValueError(f"group_limits are >= 0 or inf, not {group_limits}")
    whole = np.isinf(capacity) | (np.floor(capacity) == capacity)
    if not ((capacity >= 0) & whole).all():
        raise ValueError(f"capacity is of whole numbers >= 0 or inf, not {capacity}")
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
    contacts, prices, bound = _by_prices(kinds, limits)
    gain = float((contacts * kinds.worth).sum())
    if gain >= bound * (1 - ROUNDING):
        return contacts, prices, bound
    near, open_pairs, fixed = _undecided(kinds, limits, prices, bound - gain)
    if open_pairs.sum() > EXACT:
        return contacts, prices, bound
    some = _Kinds(np.where(open_pairs, kinds.worth, 0)[near], kinds.number[near])
    least = float((fixed * kinds.worth).sum())
    left = np.maximum(limits.left(fixed.sum(axis=0)), 0)
    fixed[near], most = _exactly(some, _Limits(limits.weights, left, limits.wider))
    exact = _within(fixed, kinds, limits, prices)
    if (exact * kinds.worth).sum() > gain:
        contacts = exact
    return contacts, prices, min(bound, least + most)


def _undecided(
    kinds: _Kinds, limits: _Limits, prices: np.ndarray, gap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a list may do that is better than one short of the bound by ``gap``.

    A customer who gets less than the best at the prices costs the bound the difference, so what
    costs more than the gap is not in a better list.

    Returns
    -------
    the kinds for which more than one thing is possible (bool, v), their possible actions (bool,
    v x k), and the contacts of the other kinds (v x k)
    """
    reduced = kinds.at(prices @ limits.weights)
    least = np.maximum(reduced.max(axis=1), 0) - gap * (1 + ROUNDING) - ROUNDING
    possible = reduced >= least[:, None]
    near = possible.sum(axis=1) + (least <= 0) > 1
    fixed = np.where(possible & ~near[:, None], kinds.number[:, None], 0.0)
    return near, possible & near[:, None], fixed


def _exactly(kinds: _Kinds, limits: _Limits) -> tuple[np.ndarray, float]:
    """The best contacts in whole numbers, and what none can exceed, by HiGHS's branch and bound.

    How many contacts each action has is all that has to be whole: who gets them is then a problem
    of transportation, whose corners are whole. So there are k numbers to branch on.
    """
    kind, action = np.nonzero(kinds.worth > 0)
    once, pairs, k = _once(kinds, kind), len(kind), kinds.worth.shape[1]
    counted = csr_array((np.ones(pairs), (action, np.arange(pairs))), (k, pairs))
    matrix = block_array(
        [[once, None], [counted, -eye_array(k)], [None, csr_array(limits.weights)]], format="csr"
    )
    least = np.repeat([-np.inf, 0, -np.inf], [len(kinds.number), k, len(limits.most)])
    result = milp(
        np.concatenate([-kinds.worth[kind, action], np.zeros(k)]),
        constraints=LinearConstraint(
            matrix, least, np.concatenate([kinds.number, np.zeros(k), limits.most])
        ),
        integrality=np.repeat([0, 1], [pairs, k]),
        # Presolving, HiGHS writes to the screen, whatever it is set to.
        options={"mip_rel_gap": 0, "node_limit": NODES, "presolve": False},
    )
    contacts = np.zeros(kinds.worth.shape)
    if result.x is not None:
        contacts[kind, action] = np.floor(result.x[:pairs] + WHOLE)
    proved = result.mip_dual_bound
    return contacts, np.inf if proved is None else -float(proved)


def _once(kinds: _Kinds, kind: np.ndarray) -> csr_array:
    """Rows of a programme: how often each kind is contacted, from the kinds of its pairs."""
    pairs = len(kind)
    return csr_array((np.ones(pairs), (kind, np.arange(pairs))), (len(kinds.number), pairs))


def _relaxed(kinds: _Kinds, limits: _Limits) -> tuple[np.ndarray, np.ndarray]:
    """Contacts that may be fractions, and the prices of the limits."""
    kind, action = np.nonzero(kinds.worth > 0)
    matrix = vstack([_once(kinds, kind), csr_array(limits.weights[:, action])], format="csr")
    result = linprog(
        -kinds.worth[kind, action],
        A_ub=matrix,
        b_ub=np.concatenate([kinds.number, limits.most + limits.wider]),
        method="highs-ds",
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
    the prices so far decide by little, with a sample of the others.
    """
    if len(kinds.worth) <= 2 * CORE:
        contacts, prices = _relaxed(kinds, limits)
        contacts = _within(np.floor(contacts + WHOLE), kinds, limits, prices)
        return contacts, prices, kinds.bound(limits, prices)
    best_prices = _of_sample(kinds, limits)
    best, bound, core = np.zeros(kinds.worth.shape), np.inf, CORE
    for _ in range(ROUNDS):
        contacts, prices, in_parts = _round(kinds, limits, best_prices, core)
        value = kinds.bound(limits, prices)
        if abs(value - bound) <= ROUNDING * value:
            break  # from the best prices the programme comes back to them
        if value < bound:
            bound, best_prices = value, prices
        else:
            core *= 2
        if (contacts * kinds.worth).sum() > (best * kinds.worth).sum():
            best = contacts
        if max(in_parts, (best * kinds.worth).sum()) >= bound * (1 - NEAR):
            break
    return best, best_prices, bound


def _of_sample(kinds: _Kinds, limits: _Limits) -> np.ndarray:
    """The prices where limits and kinds are a sample's."""
    which = np.random.default_rng(SEED).choice(len(kinds.number), CORE, replace=False)
    some = kinds.some(np.sort(which))
    share = some.number.sum() / kinds.number.sum()
    _, prices = _relaxed(some, _Limits(limits.weights, limits.most * share, limits.wider))
    return prices


def _round(
    kinds: _Kinds, limits: _Limits, prices: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Contacts and prices by the programme of so many kinds, those nearest to another action at the
    prices so far, and of as many of the others that each count for several.

    By how much these are off at the prices so far, the limits are moved. So the nearer the prices
    are, the less is off; and where none of the others takes another action, nothing is.

    Returns
    -------
    contacts (v x k), prices (r), and the gain where contacts of the core may be fractions; -inf
    where they exceed a limit
    """
    reduced = kinds.at(prices @ limits.weights)
    two = np.partition(np.column_stack([np.zeros(len(reduced)), reduced]), -2, axis=1)[:, -2:]
    order = np.argsort(two[:, 1] - two[:, 0], kind="stable")
    core, others = order[:size], order[size:]
    every = max(1, -(-len(others) // size))
    sample = others[every // 2 :: every]
    kept = _best(kinds, reduced)
    kept[core] = 0
    each = kinds.number[others].sum() / max(kinds.number[sample].sum(), 1)
    of_sample = kinds.number[sample] * each
    by_sample = of_sample @ (kept[sample] > 0)
    off = limits.weights @ (kept.sum(axis=0) - by_sample)
    some = _Kinds(
        kinds.worth[np.concatenate([core, sample])],
        np.concatenate([kinds.number[core], of_sample]),
    )
    moved = _Limits(limits.weights, np.maximum(limits.most - off, 0), limits.wider)
    solved, prices = _relaxed(some, moved)
    kept[core] = solved[: len(core)]
    least = -limits.wider - WHOLE * (1 + limits.most)
    holds = (limits.left(kept.sum(axis=0)) >= least).all()
    gain = float((kept * kinds.worth).sum()) if holds else -np.inf
    contacts = kept if holds else _best(kinds, kinds.at(prices @ limits.weights))
    contacts[core] = np.floor(solved[: len(core)] + WHOLE)
    return _within(contacts, kinds, limits, prices), prices, gain


def _best(kinds: _Kinds, reduced: np.ndarray) -> np.ndarray:
    """Contacts of each kind by the action with the largest gain at the prices, if it is > 0."""
    result = np.zeros(reduced.shape)
    paying = np.flatnonzero(reduced.max(axis=1) > 0)
    result[paying, reduced[paying].argmax(axis=1)] = kinds.number[paying]
    return result


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
