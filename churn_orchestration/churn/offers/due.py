"""When a customer buys an item again: a day by which half of such purchases came, and by which
probability within a horizon.
"""

import datetime as dt
from collections.abc import Sequence

from churn_orchestration.churn.sql import literal

OWN_WEIGHT = 2.0
"""Intervals of others that count as much as one's own: with two of one's own, half of each."""
HABIT = "least(floor(log2(purchases)), 3)::integer"
"""SQL: 1 of two or three purchases of an item, 2 of four to seven, 3 of more: each has a curve."""


def intervals(own: str) -> str:
    """SQL: of each purchase of an item that its entity had bought on a day before, what was usual
    then, and how long the next took.

    ``own`` is a select of entity, item and day, each once. The result has one row per such day:
    ``usual_days``, the mean interval so far, shrunken to that of the item and of the entity;
    ``next_days``, null where no next purchase is known.
    """
    return (
        "with placed as (select entity, item, day, "
        "row_number() over (partition by entity, item order by day) as number, "
        "min(day) over (partition by entity, item) as first_day, "
        "lead(day) over (partition by entity, item order by day) - day as next_days "
        f"from ({own})), "
        "whole as (select item, entity, max(day) - min(day) as days, count(*) - 1 as gaps "
        f"from ({own}) group by all having count(*) > 1), "
        "of_item as (select item, sum(days) / sum(gaps) as days from whole group by item), "
        "of_entity as (select entity, sum(days) / sum(gaps) as days from whole group by entity) "
        "select p.entity as entity, p.item as item, p.day as day, p.number as purchases, "
        "p.next_days as next_days, "
        f"(p.day - p.first_day + {OWN_WEIGHT} * sqrt(i.days * e.days)) "
        f"/ (p.number - 1 + {OWN_WEIGHT}) as usual_days "
        "from placed as p join of_item as i using (item) join of_entity as e using (entity) "
        "where p.number > 1"
    )


def ages(measured: str, as_of: dt.date) -> str:
    """SQL: how many repeat purchases came, or were waited for until ``as_of``, by HABIT and by
    their age in hundredths of the usual interval: habit, age, came, all; ascending.

    ``measured`` is a select of ``intervals`` as known at ``as_of``.
    """
    day = literal(as_of)
    return (
        f"select {HABIT} as habit, "
        f"floor(100 * coalesce(next_days, {day} - day) / usual_days)::bigint as age, "
        f"count(next_days) as came, count(*) as people from ({measured}) group by all "
        "order by habit, age"
    )


def survival(counted: Sequence[tuple[int, int, int]]) -> list[tuple[float, float]]:
    """The share of repeat purchases that had not come, by age in usual intervals: steps, ascending,
    from an age of 0 on. ``counted``: age, came and all, of one habit.

    Source: Kaplan, Meier 1958.

    >>> survival([(50, 1, 1), (100, 0, 1), (150, 1, 2)])
    [(0.0, 1.0), (0.5, 0.75), (1.5, 0.375)]
    """
    result, waiting, share = [(0.0, 1.0)], sum(people for _, _, people in counted), 1.0
    for age, came, people in counted:
        if came:
            share *= 1 - came / waiting
            result.append((age / 100, share))
        waiting -= people
    return result


def due(measured: str, curve: str, as_of: dt.date, horizon_days: int) -> str:
    """SQL: of each item that an entity bought on two days or more, when it is due.

    Parameters
    ----------
    measured : a select of ``intervals`` as known at ``as_of``
    curve : a table of habit and its ``survival``: age and share

    ``due_by``: the first day by which half of such purchases came that had not come at ``as_of``;
    null: fewer ever do. ``repeat_probability``: the share that came within the horizon.
    """
    day = literal(as_of)
    last = (
        f"select *, {HABIT} as habit, greatest({day} - day, 0) / usual_days as now, "
        f"({day} - day + {horizon_days}) / usual_days as later from ({measured}) "
        "where next_days is null"
    )
    return (
        f"with last as ({last}), "
        f"aged as (select l.*, c.share as now_share from last as l asof join {curve} as c "
        "on l.habit = c.habit and l.now >= c.age), "
        f"ahead as (select a.*, c.share as later_share from aged as a asof join {curve} as c "
        "on a.habit = c.habit and a.later >= c.age), "
        # Ascending shares for the join: what is left once half of those now waiting have come.
        f"falling as (select habit, -share as came, age from {curve}) "
        "select a.entity as entity, a.item as item, a.day as last_bought_on, "
        "a.purchases as purchases, round(a.usual_days, 2) as usual_days, "
        "case when f.age is not null then a.day + "
        f"greatest(ceil(f.age * a.usual_days), {day} - a.day + 1)::integer end as due_by, "
        "round(1 - a.later_share / a.now_share, 6) as repeat_probability "
        "from ahead as a asof left join falling as f on a.habit = f.habit "
        "and -a.now_share / 2 <= f.came "
        "where a.now_share > 0"
    )
