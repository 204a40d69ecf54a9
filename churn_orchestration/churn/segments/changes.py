"""How far customers moved between two days along the axes, as SQL: what a row is, and what is usual
among peers.

Positions of both days are in the units of one fit of the axes, so that a distance is of the
customer and not of the clusters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from churn_orchestration.churn.segments.axes import Axis
from churn_orchestration.churn.sql import identifier, literal

NEW, STABLE, SHIFTING, CHANGED = "new", "stable", "shifting", "changed"
LEVELS = (CHANGED, SHIFTING, STABLE, NEW)
"""The furthest first; new: was no customer on the earlier day."""
HISTORIES = {"rich": 10, "some": 5, "thin": 0}
"""How much history a customer has, by the fewest events in it."""
COLD, HALF = "cold", 0.5
"""A history of which less than half counts, whatever is in it."""
ALL = ""
"""Peers that are all customers."""


@dataclass(frozen=True)
class Usual:
    """How far the members of an archetype moved before a month-end.

    Parameters
    ----------
    customers : those who were measured, n
    distance : their median, in spreads; None without any
    unusual_from : what at most the stated share of further members exceeds; None where so few
        cannot say
    """

    customers: int
    distance: float | None
    unusual_from: float | None


@dataclass(frozen=True)
class Reference:
    """What is usual at a month-end.

    Parameters
    ----------
    of_peers : by archetype, and of ALL
    prior_days : after so many days half of what is said of a customer's rate comes from its own
        history; None: rates do not differ
    """

    of_peers: Mapping[str, Usual]
    prior_days: float | None

    def record(self) -> dict[str, Any]:
        """What a file keeps of it, read again by `of_record`."""
        usual = {peers: vars(each) for peers, each in self.of_peers.items()}
        return {"of_peers": usual, "prior_days": self.prior_days}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """The reference of a `record`."""
        usual = {peers: Usual(**each) for peers, each in record["of_peers"].items()}
        return cls(usual, record["prior_days"])


@dataclass(frozen=True)
class Changes:
    """What is declared of changes: the axes as fitted, the edges, and what counts as history.

    Parameters
    ----------
    entity : the column that names a customer
    axes : m of them; those on which nothing varies say nothing
    shifting, changed : the smallest distances that are called so, in spreads
    false_alarms : share of customers who may be marked where nothing is unusual
    events, days : features: how many events a customer has, and days since the first
    """

    entity: str
    axes: Sequence[Axis]
    shifting: float
    changed: float
    false_alarms: float
    events: str
    days: str

    def distances(self, now: str, then: str) -> str:
        """SQL: one row per customer of ``now``: how far it is from where it was.

        Columns: the entity, ``was_there``, ``distance`` and each ``<axis>_distance``, in spreads,
        null for who was not there; ``rose``, ``fell``: features; ``peers``: the archetype it had;
        ``events``, ``days``. A distance along an axis is the root mean square over its features,
        and that of all the same over the axes.

        ``now``, ``then``: SQL of the feature rows of two days.
        """
        key = identifier(self.entity)
        placed = [f"n.{key}", f"t.{key} is not null as was_there"]
        placed += [f"n.{identifier(self.events)}::bigint as events"]
        placed += [f"greatest(n.{identifier(self.days)}, 0)::bigint as days"]
        for a, axis in enumerate(self.axes):
            placed += [f"{_scaled(axis, f, 'n')} as n{a}_{f}" for f in range(len(axis.features))]
            placed += [f"{_scaled(axis, f, 't')} as t{a}_{f}" for f in range(len(axis.features))]
        names = [f"{axis.name}_distance" for axis in self.axes]
        apart = [
            f"if(was_there, {_root_mean_square(axis, a)}, null) as {identifier(name)}"
            for a, (axis, name) in enumerate(zip(self.axes, names, strict=True))
        ]
        varying = [name for axis, name in zip(self.axes, names, strict=True) if axis.features]
        squares = " + ".join(f"{identifier(name)} ** 2" for name in varying) or "0"
        whole = f"if(was_there, sqrt(({squares}) / {max(1, len(varying))}), null)"
        columns = [key, "was_there", f"{whole} as distance", *map(identifier, names)]
        columns += ["rose", "fell", "peers", "events", "days"]
        return (
            f"select {', '.join(columns)} from (select *, {', '.join(apart)}, "
            f"{self._moved('>=', '')} as rose, {self._moved('<=', '-')} as fell, "
            f"if(was_there, {self._archetype()}, null) as peers from (select {', '.join(placed)} "
            f"from ({now}) as n left join ({then}) as t using ({key})))"
        )

    def _moved(self, beyond: str, sign: str) -> str:
        """SQL: the features that moved by at least the edge, each once."""
        each = {
            name: f"case when was_there and n{a}_{f} - t{a}_{f} {beyond} {sign}{self.shifting!r} "
            f"then {literal(name)} end"
            for a, axis in enumerate(self.axes)
            for f, name in enumerate(axis.features)
        }
        listed = ", ".join(each.values())
        return f"list_filter([{listed}]::varchar[], lambda name: name is not null)"

    def _archetype(self) -> str:
        """SQL: the cluster to which the customer belonged most, along each axis that has
        several.
        """
        nearest = []
        for a, axis in enumerate(self.axes):
            if len(axis.clusters) > 1:
                squares = [
                    " + ".join(f"(t{a}_{f} - {_number(x)}) ** 2" for f, x in enumerate(centre))
                    for centre in axis.centres
                ]
                clusters = ", ".join(literal(f"{name} {axis.name}") for name in axis.clusters)
                far = f"[{', '.join(squares)}]"
                nearest.append(f"[{clusters}][list_position({far}, list_min({far}))]")
        return " || ' / ' || ".join(nearest) or "'all'"

    def reference(self, distances: str) -> str:
        """SQL: per archetype and for ALL, ``customers``, the median distance, and from where on one
        is unusual; from rows of `distances`.

        ``unusual_from`` is the k-th largest of n, k the whole part of the share x (n + 1): one
        more customer of the same kind exceeds it with a probability of at most the share, whatever
        the distribution. Source: Vovk, Gammerman, Shafer 2005, conformal prediction.
        """
        rows = f"select peers, distance from ({distances}) where was_there"
        both = f"select * from ({rows}) union all select {literal(ALL)}, distance from ({rows})"
        placed = (
            "select *, row_number() over (partition by peers order by distance desc) as place, "
            f"count(*) over (partition by peers) as n from ({both})"
        )
        kth = f"floor({self.false_alarms!r} * (n + 1))"
        return (
            "select peers, count(*) as customers, "
            "max(distance) filter (place = (n + 1) // 2) as distance, "
            f"max(distance) filter (place = {kth}) as unusual_from "
            f"from ({placed}) group by peers order by peers"
        )

    def day(self, distances: str, reference: Reference) -> str:
        """SQL: the rows of a day, from those of `distances`, beside what is usual."""
        usual = ", ".join(
            f"({literal(peers)}, {_number(each.distance)}, {_number(each.unusual_from)})"
            for peers, each in reference.of_peers.items()
            if each.unusual_from is not None
        )
        usual = usual or "(null, null, null)"
        key, prior = identifier(self.entity), reference.prior_days
        levels = (
            f"case when not was_there then {literal(NEW)} "
            f"when distance >= {self.changed!r} then {literal(CHANGED)} "
            f"when distance >= {self.shifting!r} then {literal(SHIFTING)} "
            f"else {literal(STABLE)} end"
        )
        history = f"when confidence < {HALF} then {literal(COLD)} " + " ".join(
            f"when coalesce(events, 0) >= {fewest} then {literal(name)}"
            for name, fewest in HISTORIES.items()
        )
        own = f"days / (days + {prior!r}::double)" if prior is not None else "null"
        axes = ", ".join(identifier(f"{axis.name}_distance") for axis in self.axes)
        return (
            f"with usual as (select * from (values {usual}) as u(peers, usual, unusual_from)) "
            f"select {key}, {levels} as segment, distance, {axes}, rose, fell, d.peers, "
            "coalesce(p.usual, a.usual)::double as usual_distance, "
            "coalesce(p.unusual_from, a.unusual_from)::double as unusual_from, "
            "distance > coalesce(p.unusual_from, a.unusual_from) as is_unusual, "
            f"({own})::double as confidence, case {history} end as history "
            f"from ({distances}) as d left join usual as p on p.peers = d.peers "
            f"left join usual as a on a.peers = {literal(ALL)} and was_there order by {key}"
        )


def rate_sums(events: str, days: str, rows: str) -> str:
    """SQL: the sums that `prior_days` reads, as whole numbers; of x events after the first within t
    days since it.
    """
    each = (
        f"select greatest({identifier(events)} - 1, 0)::hugeint as x, "
        f"greatest({identifier(days)}, 0)::hugeint as t from ({rows})"
    )
    return f"select sum(x), sum(t), sum(x * x), sum(x * t), sum(t * t) from ({each})"


def prior_days(x: int | None, t: int, xx: int, xt: int, tt: int) -> float | None:
    """How many days of history weigh as much as the mean of all customers; None: rates do not
    differ.

    Events come at rates that differ by customer as a gamma distribution does (Ehrenberg 1959);
    what a customer's own t days say of its rate then weighs t / (t + prior), prior the mean over
    the variance of the rates (Buhlmann 1967), which are from moments.

    >>> three = [(x, 10, x * x, 10 * x, 100) for x in (0, 10, 20)]
    >>> round(prior_days(*map(sum, zip(*three))), 4)
    1.7647
    """
    if not x or not t:
        return None
    mean = x / t
    variance = (xx - 2 * mean * xt + mean * mean * tt - mean * t) / tt
    return mean / variance if variance > 0 else None


def _root_mean_square(axis: Axis, a: int) -> str:
    """SQL: how far a customer moved along an axis."""
    squares = " + ".join(f"(n{a}_{f} - t{a}_{f}) ** 2" for f in range(len(axis.features)))
    return f"sqrt(({squares}) / {len(axis.features)})" if squares else "0.0::double"


def _scaled(axis: Axis, f: int, rows: str) -> str:
    """SQL: a feature, cut, in spreads from the median, as `Axis.scaled` has it."""
    low, high, middle, scale = (
        _number(part[f]) for part in (axis.low, axis.high, axis.middle, axis.scale)
    )
    value = f"nullif({rows}.{identifier(axis.features[f])}::double, 'nan'::double)"
    return f"(least(greatest(coalesce({value}, {middle}), {low}), {high}) - {middle}) / {scale}"


def _number(value: float | None) -> str:
    return "null" if value is None else f"{float(value)!r}::double"
