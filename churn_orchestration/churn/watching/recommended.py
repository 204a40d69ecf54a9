"""What speaks for a change of what is declared, from what was known at the end of a day; as SQL and
on small tables.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.declared import AttributeTable, FeatureSet
from churn_orchestration.churn.features.origin import named_in
from churn_orchestration.churn.features.seen import read_from
from churn_orchestration.churn.rows.user_sql import columns_of, parsed
from churn_orchestration.churn.sql import identifier, literal

DROP, ADD, HORIZON, CAPACITY, BUDGET, STOP, RETRAIN = (
    "drop", "add", "horizon", "capacity", "budget", "stop", "retrain",
)  # fmt: skip
APPLY, SKIP = "apply", "skip"
"""What a person decides on one, as the ledger has it."""
LOG_LOSS, LEAVES = "log_loss", "leaves"
OURS = {"day", "known_on", "_partition", "_file", "_line"}
NAMED = 5
"""So many names are said one by one."""
AT_ONCE = 50
"""Columns of one statement; more at once cost memory."""


@dataclass(frozen=True)
class Recommendation:
    """One change that a day speaks for.

    Parameters
    ----------
    kind : one of DROP ... RETRAIN
    subject : the table, question, campaign or action that it is about
    advice, reason : what to do, and the evidence, in words
    measured_by : by what it will show whether it helped: a question's log loss or a campaign's
        effect, as ``name.measure``
    """

    kind: str
    subject: str
    advice: str
    reason: str
    measured_by: str


def names(those: Sequence[str]) -> str:
    """Names in a sentence.

    >>> names(["a", "b"]), names(["a", "b", "c", "d", "e", "f", "g"])
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    more = f" and {len(those) - NAMED} more" if len(those) > NAMED else ""
    return ", ".join(those[:NAMED]) + more


def saying_nothing(features: Sequence[str], rows: str) -> Iterator[str]:
    """SQL, of some features each: the names of those that are null, or the same, for everybody.

    ``rows``: SQL to select the customers of a day from, of whom there are at least two.
    """
    for first in range(0, len(features), AT_ONCE):
        parts = [
            f"select {literal(name)} as feature, count({identifier(name)}) = 0 as is_null, "
            f"count(*) as customers from {rows} having count(*) > 1 and "
            f"count(distinct {identifier(name)}) < 2 "
            f"and count({identifier(name)}) in (0, count(*))"
            for name in features[first : first + AT_ONCE]
        ]
        yield " union all ".join(parts)


def without_gain(influences: Sequence[Mapping[str, Any]]) -> list[str]:
    """The families of features that move no forecast of a model.

    >>> without_gain([{"family": "size", "mean_abs_log_odds": 0.2},
    ...               {"family": "channel", "mean_abs_log_odds": 0.0}])
    ['channel']
    """
    return [str(each["family"]) for each in influences if not each["mean_abs_log_odds"]]


def unread(columns: Collection[str], declared: Sequence[FeatureSet], table: str) -> list[str]:
    """The columns of a table that no feature reads, but for keys, entities and the platform's own.

    >>> from churn_orchestration.churn.features.declared import EventSource
    >>> orders = EventSource("orders", "silver.orders", "customer_id", "order", ("order_id",))
    >>> features = FeatureSet("customer_id", (orders,))
    >>> unread(["order_id", "customer_id", "day", "channel"], [features], "silver.orders")
    ['channel']
    """
    read = set(OURS)
    for features in declared:
        for source in features.inputs:
            mart = source.mart if isinstance(source, AttributeTable) else None
            if mart and table in source.reads:
                read |= {name.lower() for name in named_in(mart)}
            if source.table != table:
                continue
            read.add(source.entity.lower())
            read |= {name.lower() for name in getattr(source, "key", ())}
            read |= {n.lower() for sql in read_from(source) for n in columns_of(parsed(sql, table))}
        for own in features.own:
            if table in own.reads:
                tree = sqlglot.parse_one(own.select, read="duckdb")
                read |= {column.name.lower() for column in tree.find_all(sqlglot.exp.Column)}
    return [name for name in columns if name.lower() not in read]


def always_full(lists: str, by: str, price: str, more_than: str, day: dt.date, weeks: int) -> str:
    """SQL: of what has a price, the mean of what one more would have earned, where on every list of
    the last ``weeks`` weeks that was more than it costs.

    Nothing of that whose lists of these weeks do not reach back to the first day of them.

    Parameters
    ----------
    lists : SQL to select the lists from
    by : SQL, what has a price: the column of the action, or a literal
    price, more_than : of a list's rows, by ``by``: what one more earns after its cost, and the cost
    """
    first = literal(day - DAY * (7 * weeks - 1))
    return (
        "select what, avg(price) as earned, any_value(cost) as cost, count(*) as lists from "
        f"(select as_of, {by} as what, any_value({price}) as price, any_value({more_than}) as cost "
        f"from {lists} where best_action is not null and as_of between {first} and {literal(day)} "
        "group by all) group by 1 having min(as_of) <= "
        f"{first} and bool_and(price > cost) order by 1"
    )


def most_a_contact(effect: Mapping[str, Any], value: float | None, logged: bool) -> float | None:
    """What one contact earned at most, by the high end of a campaign's effect; None: not known.

    The effect is on a customer of the treated arm, contacted or not; those whom nobody contacted
    are taken to have earned nothing. All that wait count as treated, so it is rather too much.

    Parameters
    ----------
    effect : high, treated, waiting, contacted of one outcome
    value : what a unit of it is worth; None: not known
    logged : whether a log says who was contacted; if not, each is counted once

    >>> effect = {"high": 0.02, "treated": 300, "waiting": 100, "contacted": 200}
    >>> most_a_contact(effect, 20, True), most_a_contact(effect, 20, False)
    (0.8, 0.4)
    >>> most_a_contact(effect | {"contacted": 0}, 20, True)
    """
    if value is None or (logged and not effect["contacted"]):
        return None
    each = (effect["treated"] + effect["waiting"]) / effect["contacted"] if logged else 1.0
    return float(effect["high"] * value * each)


def episodes(table: str, days: str, until: dt.date) -> str:
    """SQL: each recommendation once for every unbroken row of stored days on which it was made.

    Parameters
    ----------
    table : SQL to select the recommendations by ``measured_on`` from
    days : SQL to select the stored days, ``day``, from; those without a recommendation too
    until : the last day that is looked at

    Returns
    -------
    kind, subject, since, last, advice, reason (of the last day), measured_by, declared (of the
    first day), holds: on the newest stored day; the oldest first
    """
    return f"""
with stored as (
  select day, row_number() over (order by day) as place
  from (select distinct day from {days} where day <= {literal(until)})),
made as (
  select r.*, place, place - row_number() over (partition by kind, subject order by place) as island
  from {table} as r join stored on day = measured_on)
select kind, subject,
  min(measured_on) as since, max(measured_on) as last, arg_max(advice, measured_on) as advice,
  arg_max(reason, measured_on) as reason, arg_max(measured_by, measured_on) as measured_by,
  arg_min(declared, measured_on) as declared,
  max(place) = (select max(place) from stored) as holds
from made group by kind, subject, island order by since, kind, subject"""
