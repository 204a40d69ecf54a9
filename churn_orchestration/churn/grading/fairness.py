"""Whether groups of customers are contacted, and found before they leave, alike; beyond chance."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from churn_orchestration.churn.grading.segments import cut
from churn_orchestration.churn.question.settings import Fairness

CHANCE = 0.05  # shared among all comparisons of a day
MOST_GROUPS = 30  # of one attribute; beyond, a day has too few customers of each
RATES = ("contact_rate", "true_positive_rate", "false_positive_rate")
CONTACT_RATIO, OPPORTUNITY = "contact_ratio", "opportunity_difference"
COMPARED = {CONTACT_RATIO: "contact_rate", OPPORTUNITY: "true_positive_rate"}
"""What is compared with the group in which it is highest, and the rate that it is made of."""
Counts = tuple[int, int]
"""How many, of how many."""


class TooManyGroupsError(ValueError):
    """An attribute with so many values that it makes no groups."""


def by_group(rows: pd.DataFrame, fairness: Fairness) -> list[dict[str, Any]]:
    """Each group of each attribute: how many of it are contacted; of its churners; of who stays.

    Parameters
    ----------
    rows : one row per customer of one as_of: ``label``, ``contact`` and the attributes; without a
        ``contact``, for nobody knew then whom to contact, a row is left out

    Returns
    -------
    feature, segment, rows, churned, and RATES with 95 % intervals (Wilson 1927), each where
    ``fairness.smallest`` customers or more say it. Of the groups that are not the highest,
    CONTACT_RATIO (Donner and Zou 2012) and OPPORTUNITY (Newcombe 1998), ``against`` the highest;
    their intervals share CHANCE among all pairs of groups

    Raises
    ------
    TooManyGroupsError : more than MOST_GROUPS of one attribute
    """
    known = rows[rows["contact"].notna()]
    counted = [_counted(name, group, part) for name, group, part in cut(known, fairness.groups)]
    counted.sort(key=lambda group: (fairness.groups.index(group["feature"]), group["segment"]))
    judged = {
        (name, rate): [
            group
            for group in counted
            if group["feature"] == name and group[rate][1] >= fairness.smallest
        ]
        for name in fairness.groups
        for rate in COMPARED.values()
    }
    for name in fairness.groups:
        if (groups := sum(group["feature"] == name for group in counted)) > MOST_GROUPS:
            raise TooManyGroupsError(
                f"{name} has {groups:,} values: at most {MOST_GROUPS} are compared"
            )
    pairs = sum(len(groups) * (len(groups) - 1) // 2 for groups in judged.values())
    level = 1 - CHANCE / max(pairs, 1)
    return [_measured(group, judged, level, fairness.smallest) for group in counted]


def unfair(result: Sequence[Mapping[str, Any]], fairness: Fairness) -> list[str]:
    """The groups that fare worse beyond chance, in words: by the ratio or difference that is
    declared.
    """
    sentences = []
    for group in result:
        name = f"{group['feature']} {group['segment']}"
        contact, found = group.get(CONTACT_RATIO), group.get(OPPORTUNITY)
        if contact and contact["high"] < fairness.least_ratio:
            sentences.append(
                f"{name} is contacted {_worded(contact)} times as often as {contact['against']}, "
                f"below {fairness.least_ratio:g}"
            )
        if found and found["high"] < -fairness.most_difference:
            sentences.append(
                f"of those who churn, the share of {name} that is contacted differs by "
                f"{_worded(found)} from {found['against']}, below -{fairness.most_difference:g}"
            )
    return sentences


def ratio(one: Counts, other: Counts, level: float) -> dict[str, float]:
    """The ratio of two independent rates, the second above 0, with its interval at ``level``.

    Source: Donner and Zou 2012, Closed-form confidence intervals for functions of the normal mean
    and standard deviation, section 2, from Wilson's interval of each rate.

    >>> {end: round(x, 2) for end, x in ratio((10, 100), (20, 100), 0.95).items()}
    {'value': 0.5, 'low': 0.25, 'high': 1.0}
    """
    first, second = _rate(one, level), _rate(other, level)
    product = first["value"] * second["value"]
    down = first["low"] * (2 * first["value"] - first["low"])
    up = first["high"] * (2 * first["value"] - first["high"])
    under = second["low"] * (2 * second["value"] - second["low"])
    over = second["high"] * (2 * second["value"] - second["high"])
    # Of the low end the same fraction as in the source, whose denominator may come to 0.
    low = down / (product + sqrt(product**2 - down * over)) if one[0] else 0.0
    high = (product + sqrt(product**2 - up * under)) / under
    return {"value": first["value"] / second["value"], "low": low, "high": high}


def difference(one: Counts, other: Counts, level: float) -> dict[str, float]:
    """The difference of two independent rates, with its interval at ``level``.

    Source: Newcombe 1998, Interval estimation for the difference between independent proportions,
    method 10.

    >>> {end: round(x, 3) for end, x in difference((56, 70), (48, 80), 0.95).items()}
    {'value': 0.2, 'low': 0.052, 'high': 0.334}
    """
    first, second = _rate(one, level), _rate(other, level)
    value = first["value"] - second["value"]
    below = sqrt((first["value"] - first["low"]) ** 2 + (second["high"] - second["value"]) ** 2)
    above = sqrt((first["high"] - first["value"]) ** 2 + (second["value"] - second["low"]) ** 2)
    return {"value": value, "low": value - below, "high": value + above}


def _counted(name: str, group: str, part: pd.DataFrame) -> dict[str, Any]:
    """The counts of a group, of which its rates are made."""
    contact, label = part["contact"].to_numpy(bool), part["label"].to_numpy(bool)
    return {
        "feature": name,
        "segment": group,
        "rows": len(part),
        "churned": int(label.sum()),
        "contact_rate": (int(contact.sum()), len(part)),
        "true_positive_rate": (int((contact & label).sum()), int(label.sum())),
        "false_positive_rate": (int((contact & ~label).sum()), int((~label).sum())),
    }


def _measured(
    group: Mapping[str, Any],
    judged: Mapping[tuple[str, str], list[dict[str, Any]]],
    level: float,
    smallest: int,
) -> dict[str, Any]:
    """The rates of a group, and how they compare with the highest of its attribute."""
    result = {key: group[key] for key in ("feature", "segment", "rows", "churned")}
    result |= {rate: _rate(group[rate], 0.95) for rate in RATES if group[rate][1] >= smallest}
    for name, rate in COMPARED.items():
        others = judged[group["feature"], rate]
        if rate not in result or len(others) < 2:
            continue
        top = max(others, key=lambda other: other[rate][0] / other[rate][1])
        if top["segment"] == group["segment"] or not top[rate][0]:
            continue
        compare = ratio if name == CONTACT_RATIO else difference
        result[name] = compare(group[rate], top[rate], level) | {"against": top["segment"]}
    return result


def _rate(counts: Counts, level: float) -> dict[str, float]:
    count, of = counts
    ends = binomtest(count, of).proportion_ci(level, method="wilson")
    return {"value": count / of, "low": float(ends.low), "high": float(ends.high)}


def _worded(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"
