"""How lists of items came out: recall and NDCG of the first k, and which method is used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from churn_orchestration.churn.offers.candidates import PERSONAL, POPULAR, order

RECALL, NDCG = "recall", "ndcg"
METRICS = {
    RECALL: "share of the items that a customer bought which were on the list, mean over customers",
    NDCG: "gain of the list, an item at place r counting 1 / log2(r + 1), over the best possible "
    "one, mean over customers",
}
BASELINES = (POPULAR, PERSONAL)


def graded(ranked: str, came: str, most: int) -> str:
    """SQL: one row per entity that bought, with ``recall`` and ``ndcg`` of the first ``most``
    items.

    Parameters
    ----------
    ranked : a select of entity, item and rank, 1 the first
    came : a select of entity and item, what was bought, each once
    """
    gains = [1 / math.log2(place + 1) for place in range(1, most + 1)]
    best = ", ".join(repr(sum(gains[:length])) for length in range(1, most + 1))
    gain = ", ".join(map(repr, gains))
    return (
        f"with bought as ({came}), wanted as (select entity, count(*) as items from bought "
        f"group by entity), hit as (select entity, count(*) as hits, "
        f"sum(list_extract([{gain}], rank) order by rank) as gain from ({ranked}) "
        f"join bought using (entity, item) where rank <= {most} group by entity) "
        "select w.entity as entity, coalesce(h.hits, 0) / w.items as recall, "
        f"coalesce(h.gain, 0) / list_extract([{best}], least(w.items, {most})) as ndcg "
        "from wanted as w left join hit as h using (entity)"
    )


def ranked(candidates: str, method: str, most: int) -> str:
    """SQL: the first ``most`` items of each entity by a method, of a table of candidates."""
    return (
        "select entity, item, row_number() over (partition by entity order by "
        f"{order(method)}) as rank from {candidates} qualify rank <= {most}"
    )


@dataclass(frozen=True)
class Choice:
    """Which method is used from a month-end on, and how each did on the month-ends before it.

    ``lead``: the difference in NDCG to the best of BASELINES over the same customers, with its 95 %
    interval; None: the method is that baseline.
    """

    method: str
    figures: tuple[Mapping[str, Any], ...]
    lead: tuple[float, float, float] | None

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"method": self.method, "figures": list(self.figures), "lead": self.lead}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Choice":
        """The inverse of ``record``."""
        lead = record["lead"]
        return cls(record["method"], tuple(record["figures"]), tuple(lead) if lead else None)


def choose(grades: Mapping[str, Mapping[tuple[str, str], tuple[float, float]]]) -> Choice:
    """Choose the method with the highest mean NDCG; of two equal ones, the first.

    Parameters
    ----------
    grades : by method, the simplest first, recall and NDCG by as_of and entity; the same ones
        for every method

    >>> one = {("2024-01-31", "ann"): (0.5, 0.4), ("2024-01-31", "bob"): (0.0, 0.0)}
    >>> two = {("2024-01-31", "ann"): (0.5, 0.8), ("2024-01-31", "bob"): (0.5, 0.2)}
    >>> choose({"personal": one, "ranker": two}).method
    'ranker'
    """
    means = {method: _mean([ndcg for _, ndcg in of.values()]) for method, of in grades.items()}
    method = max(means, key=lambda name: means[name])
    baseline = max((name for name in BASELINES if name in means), key=lambda name: means[name])
    figures = []
    for name, of in grades.items():
        for as_of in sorted({day for day, _ in of}):
            values = [grade for (day, _), grade in of.items() if day == as_of]
            for place, metric in enumerate(METRICS):
                figures.append(
                    {
                        "as_of": as_of, "method": name, "metric": metric,
                        "value": _mean([value[place] for value in values]),
                        "customers": len(values),
                    }
                )  # fmt: skip
    if method == baseline:
        return Choice(method, tuple(figures), None)
    return Choice(method, tuple(figures), _lead(grades[method], grades[baseline]))


def _lead(
    of: Mapping[tuple[str, str], tuple[float, float]],
    over: Mapping[tuple[str, str], tuple[float, float]],
) -> tuple[float, float, float]:
    """The mean difference in NDCG with its 95 % interval; a customer on two days counts once, by
    the sum of both.
    """
    sums = dict[str, float]()
    for (day, entity), (_, ndcg) in of.items():
        sums[entity] = sums.get(entity, 0.0) + ndcg - over[day, entity][1]
    mean, people = sum(sums.values()) / len(of), len(sums)
    spread = math.sqrt(sum((each - mean * len(of) / people) ** 2 for each in sums.values()))
    margin = 1.96 * spread / len(of)
    return mean, mean - margin, mean + margin


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
