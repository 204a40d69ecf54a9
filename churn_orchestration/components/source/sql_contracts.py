"""What the YAML next to it declares of a .sql table, checked by day before the day is valid."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field, field_validator, model_validator

from churn_orchestration.churn.sql import within
from churn_orchestration.storage.layers import day_column
from churn_orchestration.storage.warehouse import Tables, quoted

DECLARED = "declared"


class SqlTestSpec(dg.Model, dg.Resolvable):
    """A few rows of what a select reads, and the rows that it makes of them."""

    name: str = Field(description="what is tested, as a sentence")
    as_of: str | None = Field(None, description="the day of a mart, which its SQL calls $as_of")
    given: dict[str, list[dict[str, Any]]] = Field(
        description="layer.table: its rows, each column: value. What is not named of a row is "
        "null, its known_on the day, its _partition the known_on; a table not named is empty"
    )
    expect: list[dict[str, Any]] = Field(
        description="the rows, in any order, by the columns that are compared; []: none"
    )

    @field_validator("as_of")
    @classmethod
    def _is_day(cls, as_of: str | None) -> str | None:
        if as_of is not None:
            dt.date.fromisoformat(as_of)
        return as_of

    @property
    def day(self) -> dt.date | None:
        """The day of a mart."""
        return dt.date.fromisoformat(self.as_of) if self.as_of else None


class SqlTableSpec(dg.Model, dg.Resolvable):
    """The contract of a .sql table; a day that breaks it is refused."""

    key: list[str] | None = Field(
        None,
        description=(
            "columns that identify a row, among those that became known at once; []: nothing does"
        ),
    )
    required: list[str] = Field(
        [], description="columns that are never null; those of the key need not be named"
    )
    relationships: dict[str, str] = Field(
        {},
        description="column: layer.table.column that has each of its values, null aside, in a row "
        "that landed on the same day or before, e.g. customer_id: "
        "bronze.customers.customer_id",
    )
    expectations: list[dict[str, Any]] = Field(
        [], description="Great Expectations: type and its arguments"
    )
    # No part of what a day depends on, which is this as text: a test changes no row.
    tests: list[SqlTestSpec] = Field(
        [], repr=False, description="rows that the select is given, and those that it has to make"
    )

    cohorts: list[str] = Field(
        [],
        repr=False,
        description="of a mart whose key is a cohort and the number of periods since it began: "
        "columns that are drawn by them, a picture each, e.g. [retention, revenue_usd]",
    )

    @model_validator(mode="after")
    def _cohorts_by_key(self) -> "SqlTableSpec":
        if self.cohorts and len(self.key or []) != 2:
            raise ValueError(
                "cohorts: pictures are drawn by a key of two columns, the cohort and the number of "
                "periods since it began, such as `key: [cohort, month]`"
            )
        return self

    @field_validator("relationships")
    @classmethod
    def _with_column(cls, relationships: dict[str, str]) -> dict[str, str]:
        for column, target in relationships.items():
            if target.count(".") != 2 or target.partition(".")[0] not in ("bronze", "silver"):
                raise ValueError(
                    f'{column}: "{target}": wanted layer.table.column, such as '
                    "bronze.customers.customer_id"
                )
        return relationships

    @property
    def columns(self) -> list[str]:
        """The columns that it names."""
        expected = [str(each["column"]) for each in self.expectations if "column" in each]
        named = [*(self.key or []), *self.required, *self.relationships, *expected, *self.cohorts]
        return list(dict.fromkeys(named))

    @property
    def related(self) -> list[str]:
        """The tables, ``layer.table``, that it names."""
        return sorted({target.rpartition(".")[0] for target in self.relationships.values()})


def faults(
    tables: Tables, table: str, spec: SqlTableSpec, days: Iterable[dt.date]
) -> dict[dt.date, str]:
    """The days of a table that break its contract, with what is broken; counts alone, no value of a
    row.
    """
    stored, result = list(days), dict[dt.date, list[str]]()

    def note(by_day: Mapping[dt.date, object], message: str) -> None:
        for day, count in by_day.items():
            result.setdefault(day, []).append(message.format(count))

    if spec.key:
        named = ", ".join(spec.key)
        remedy = "does a join multiply them? Group them, or name in `key` what distinguishes them"
        note(
            repeated(tables, table, spec.key, stored),
            f"{{}} rows share their key ({named}) with another: {remedy}",
        )
    for column in dict.fromkeys([*(spec.key or []), *spec.required]):
        note(
            _count(tables, table, stored, f"{quoted(column)} is null"),
            f"{{}} rows have no {column}",
        )
    for column, target in spec.relationships.items():
        note(
            _strangers(tables, table, column, target, stored),
            f"{{}} rows have a {column} that {target} has not",
        )
    if spec.expectations:
        from churn_orchestration.components.source.expectations import unmet

        note(unmet(tables, table, spec.expectations, stored), "{}")
    return {day: "; ".join(messages) for day, messages in sorted(result.items())}


def repeated(
    tables: Tables, table: str, key: Iterable[str], days: Iterable[dt.date]
) -> dict[dt.date, int]:
    """By day: how many rows share a key with another that became known with them; days without are
    not there.

    A correction comes again under its key, in a later landing or known on a later day.
    """
    of_day = day_column(table)
    at_once = [name for name in (of_day, "known_on") if name in tables.columns(table)]
    by = ", ".join(map(quoted, dict.fromkeys([*at_once, *key])))
    groups = (
        f"select {of_day} as of_day, count(*) as n from {table} where {within(of_day, days)} "
        f"group by {by}"
    )
    return dict(
        tables.rows(
            f"select of_day, sum(n)::bigint from ({groups}) where n > 1 group by 1 order by 1"
        )
    )


def unkeyed_message(
    tables: Tables, table: str, place: str, keys: Mapping[str, Sequence[str]], days: list[dt.date]
) -> str:
    """That a table declares no key, and what it may be: of ``keys``, those of tables that it
    reads.
    """
    there = tables.columns(table)
    carried = {name: key for name, key in keys.items() if key and set(key) <= set(there)}
    shared = {
        name: sum(repeated(tables, table, key, days).values()) for name, key in carried.items()
    }
    name = table.partition(".")[2]
    if unique := [carried[each] for each, rows in shared.items() if not rows]:
        return (
            f"no key is declared, so rows that a join multiplies are not seen: in {place}, "
            f"`tables: {{{name}: {{key: [{', '.join(unique[0])}]}}}}`"
        )
    faults = [
        f"{rows:,} rows share {', '.join(carried[each])}, the key of {each}, with another"
        for each, rows in shared.items()
    ]
    faults += ["no key is declared, so rows that a join multiplies are not seen"]
    declare = (
        f"in {place}, `tables: {{{name}: {{key: [what distinguishes rows]}}}}`, "
        "or [] if nothing does"
    )
    return f"{'; '.join(faults)}: {declare}"


def declared_spec(key: dg.AssetKey, place: str) -> dg.AssetCheckSpec:
    """The check of the contract of a .sql table."""
    return dg.AssetCheckSpec(
        DECLARED,
        asset=key,
        description=f"What {place} declares of the table holds on every day: key, required "
        "columns, relationships, expectations. A warning where no key is declared.",
    )


def declared_result(
    key: dg.AssetKey, broken: Mapping[dt.date, str], unkeyed: str | None
) -> dg.AssetCheckResult:
    """The days that break the contract; else a warning, ``unkeyed``, that no key is declared."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=DECLARED,
        passed=not broken and unkeyed is None,
        severity=dg.AssetCheckSeverity.ERROR if broken else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{day}: {fault}" for day, fault in broken.items()) or unkeyed,
    )


def _count(tables: Tables, table: str, days: list[dt.date], condition: str) -> dict[dt.date, int]:
    of_day = day_column(table)
    rows = f"select {of_day}, count(*) from {table} where {within(of_day, days)} and {condition}"
    return dict(tables.rows(f"{rows} group by 1 order by 1"))


def _strangers(
    tables: Tables, table: str, column: str, target: str, days: list[dt.date]
) -> dict[dt.date, int]:
    """By day: how many rows have a value that the target has in no row of that landing day or
    before it.
    """
    other, _, its = target.rpartition(".")
    of_day = day_column(table)
    has = f"select {quoted(its)} as value, min(_partition) as since from {other} group by 1"
    return dict(
        tables.rows(
            f"select t.{of_day}, count(*) from {table} as t anti join ({has}) as h "
            f"on t.{quoted(column)} = h.value and h.since <= t.{of_day} "
            f"where {within(f't.{of_day}', days)} and t.{quoted(column)} is not null group by 1 "
            "order by 1"
        )
    )
