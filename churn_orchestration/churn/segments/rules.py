"""Segments by rules: of each row the first rule that holds names its segment, else the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from churn_orchestration.churn.sql import identifier, literal

SEGMENT, ACTION, PRIORITY = "segment", "action", "priority"
FORECAST = {
    "churn_probability": "double", "band": "varchar", "recent_value": "double",
    "days_since_last": "bigint", "contact": "boolean", "confidence": "varchar",
}  # fmt: skip
"""What a rule may read of a forecast, each with its type."""
VALUE = {"expected_spend": "double", "expected_purchases": "double", "tier": "varchar"}
"""What a rule may read of a value model, each with its type."""
NOBODY = "nobody"
"""In place of the forecasts or values of a day that has none: a day that somebody waived."""


@dataclass(frozen=True)
class Rule:
    """A segment: who is in it, and what to do about them.

    Parameters
    ----------
    when : SQL over a row; where it is null it does not hold
    action : in words; empty: none
    priority : 1 is the first to act on; None: none
    """

    name: str
    when: str = ""
    action: str = ""
    priority: int | None = None


@dataclass(frozen=True)
class RuleSet:
    """Rules in their order, the segment of whom none holds, and columns that they are made of.

    ``columns``: name -> SQL over a row and the columns before it.
    """

    rules: tuple[Rule, ...]
    rest: Rule
    columns: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """The segments in their order, the rest last."""
        return [*(rule.name for rule in self.rules), self.rest.name]

    def assigned(self, rows: str, named: Sequence[str]) -> str:
        """SQL: each row's ``named`` columns, its segment, priority, action, and the own columns.

        >>> rules = (Rule("big", "value > 9", "call", 1),)
        >>> rules = RuleSet(rules, Rule("small"), {"value": "2 * x"})
        >>> print(rules.assigned("t", ["id"]))
        select id, case when (value > 9) then 'big' else 'small' end::varchar as segment,
        case when (value > 9) then 1 else null end::integer as priority,
        case when (value > 9) then 'call' else null end::varchar as action, value
        from (select *, (2 * x) as value from t)
        """
        every = (*self.rules, self.rest)
        chosen = ",\n".join(
            f"{self._first(column)}::{kind} as {name}"
            for name, kind, column in (
                (SEGMENT, "varchar", [literal(rule.name) for rule in every]),
                (PRIORITY, "integer", [str(rule.priority or "null") for rule in every]),
                (ACTION, "varchar", [literal(rule.action or None) for rule in every]),
            )
        )
        own = "".join(f", {identifier(name)}" for name in self.columns)
        names = ", ".join(map(identifier, named))
        return f"select {names}, {chosen}{own}\nfrom ({self._with_columns(rows)})"

    def _first(self, values: Sequence[str]) -> str:
        *held, rest = values
        cases = " ".join(
            f"when ({rule.when}) then {value}" for rule, value in zip(self.rules, held, strict=True)
        )
        return f"case {cases} else {rest} end"

    def _with_columns(self, rows: str) -> str:
        made = "".join(f", ({sql}) as {identifier(name)}" for name, sql in self.columns.items())
        return f"select *{made} from {rows}"

    def counted(self, rows: str) -> str:
        """SQL, a row per rule and segment: of those for whom the rule holds, how many are in the
        segment.
        """
        held = ", ".join(
            f"{{'rule': {literal(rule.name)}, 'holds': ({rule.when})}}" for rule in self.rules
        )
        cases = self._first([literal(name) for name in self.names])
        return (
            "select held.rule as rule, segment, count(*) as customers from "
            f"(select unnest([{held}]) as held, {cases} as segment "
            f"from ({self._with_columns(rows)})) where held.holds group by all"
        )


def described(features: str, forecast: str | None, value: str | None, entity: str) -> str:
    """SQL: the features of a day, with the forecast and the value of each customer, null for whom
    there is none.

    Parameters
    ----------
    features, forecast, value : SQL to select from, or NOBODY; None: not read. Of looks back no
        forecast is taken
    """
    key = identifier(entity)
    result = f"from {features}"
    for rows, columns, taken in (
        (forecast, FORECAST, " where not backtest"),
        (value, VALUE, ""),
    ):
        if rows == NOBODY:
            nulls = ", ".join(f"null::{kind} as {name}" for name, kind in columns.items())
            result += f" cross join (select {nulls})"
        elif rows is not None:
            result += (
                f" left join (select {', '.join((key, *columns))} from {rows}{taken}) using ({key})"
            )
    return result


def in_nobody(
    names: Sequence[str], sizes: Mapping[str, int], met: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """The segments that nobody is in, each with the reason, in words.

    Parameters
    ----------
    sizes : of the segments, customers
    met : by segment: of those for whom its rule holds, how many are in which segment

    >>> in_nobody(["at_risk", "lost", "new"], {"at_risk": 9}, {"lost": {"at_risk": 4}, "new": {}})
    ['lost: its rule holds for 4 customers, who are all in a segment before it (4 in at_risk)',
    'new: its rule holds for nobody']
    """
    result = []
    for name in names:
        if sizes.get(name):
            continue
        if holds := met.get(name, {}):
            before = ", ".join(f"{count:,} in {other}" for other, count in holds.items())
            result.append(
                f"{name}: its rule holds for {sum(holds.values()):,} customers, who are all in a "
                f"segment before it ({before})"
            )
        else:
            result.append(f"{name}: its rule holds for nobody")
    return result
