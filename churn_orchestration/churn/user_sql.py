"""What users' SQL may say: it must parse, and it must not read the clock or chance."""

import re

import sqlglot
from sqlglot import exp

_CLOCK = (exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.CurrentDatetime, exp.Rand, exp.Uuid)
_CLOCK_NAME = re.compile(
    r"(now|today|get_current.*|current_.*|.*local_?time.*|transaction_.*|random|setseed|nextval|currval|.*uuid.*)"
)


def parsed(condition: str, place: str) -> exp.Expr:
    """An SQL expression as a tree. Raises ValueError where it does not parse, or reads the clock or chance.

    >>> parsed("day < current_date", "orders: rule recent")
    Traceback (most recent call last):
    ValueError: orders: rule recent: current_date would give another answer tomorrow; days come from the data
    """
    try:
        tree = sqlglot.parse_one(condition, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise ValueError(f"{place}: not valid SQL: {condition} ({str(error).splitlines()[0]})") from None
    refuse_clock(tree, place)
    return tree


def refuse_clock(tree: exp.Expr, place: str) -> None:
    """Raise ValueError where the SQL calls a function of the clock or of chance."""
    for node in tree.find_all(exp.Func, exp.TableSample):
        name = node.name if isinstance(node, exp.Anonymous) else getattr(node, "sql_name", lambda: "sample")()
        lone_age = name.lower() == "age" and len(node.args.get("expressions") or []) < 2
        if isinstance(node, (*_CLOCK, exp.TableSample)) or _CLOCK_NAME.fullmatch(name.lower()) or lone_age:
            told = node.sql(dialect="duckdb").lower()
            raise ValueError(f"{place}: {told} would give another answer tomorrow; days come from the data")


def columns_of(tree: exp.Expr) -> list[str]:
    """The columns that an expression names."""
    return [column.name for column in tree.find_all(exp.Column)]
