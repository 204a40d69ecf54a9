"""What a refused row had where its rule wanted something else, as SQL: its shape, no value."""

from collections.abc import Mapping

from churn_orchestration.churn.rows.contract import PLACES, Column, Contract
from churn_orchestration.churn.rows.shapes import shape_sql
from churn_orchestration.churn.sql import quoted

RECORD, CELL = 200, 60  # characters shown; raw keeps them all
_KIND = r"^[A-Za-z ]+( \(if [^)]*\))?(, only [^:]*)?: "
"""Of what is wrong with a malformed record, what comes before the record."""


def refused_sql(contract: Contract, raw: str, kept: Mapping[str, str]) -> str:
    """SQL of the refused rows of ``_judged`` in order: the record, ``rule``, and ``detail``, which
    is null where the rule says it all.

    A record travels as one struct, so that a file may call its columns as it likes. The shape is
    written once, of the one cell that a row is refused for: to make a regular expression costs
    DuckDB far more than to match a few rows by it.

    Parameters
    ----------
    raw : the table of the records
    kept : its columns that the result has, each by the name that it has there
    """
    kind = f"regexp_extract(raw._error, {_text(_KIND)})"
    columns = [column for column in contract.columns if column.source not in PLACES]
    cells = [f"when _judged._rule = {_text('type:' + c.name)} then {_cell(c)}" for c in columns]
    malformed = f"when raw._error is not null then substr(raw._error, length({kind}) + 1)"
    fields = ", ".join(f"{quoted(name)} := raw.{quoted(of)}" for name, of in kept.items())
    own = [f"struct_pack({fields}) as record, _judged._rule as rule, raw._error as error"]
    own += [f"case {_lines([malformed, *cells])} end as cell"]
    begin = f"regexp_extract(error, {_text(_KIND)})"
    cases = [f"when error is not null then {_bounded(f'{begin} || shape', RECORD)}"]
    cases += [f"when rule = {_text('type:' + c.name)} then {_mistyped(c)}" for c in columns]
    if contract.event_time:
        own += ["_judged.day as event_day", "_judged.known_on as came_on"]
        late = "event_day || ' lies after ' || came_on || ', the day on which it came'"
        first = f"{contract.earliest_event}, the first day that counts (history_from)"
        cases += [
            f"when rule = 'future_day' then {late}",
            f"when rule = 'before_history' then event_day || ' lies before {first}'",
        ]
    return f"""
with refused as (
  select {", ".join(own)}
  from {raw} as raw join _judged using (_file, _line, _partition)
  where _judged._rule is not null and _judged._rule <> 'duplicate'),
shaped as (select *, {shape_sql("cell")} as shape from refused)
select record.*, rule, case {_lines(cases)} end as detail
from shaped order by record._partition, record._file, record._line"""


def _lines(cases: list[str]) -> str:
    return "\n".join(cases)


def _cell(column: Column) -> str:
    return f"trim(raw.{quoted(column.source)})"


def _mistyped(column: Column) -> str:
    cell = "cell"
    wanted = column.type + (f" written {column.format}" if column.format else "")
    hints = []
    if column.type.startswith("decimal"):
        number = cell
        if column.decimal == ",":
            number = f"case when not contains({cell}, '.') then replace({cell}, ',', '.') end"
        fine = "': it has more decimals: declare `type: decimal(18, 8)` or `type: double`'"
        hints.append(f"when abs(try_cast({number} as double)) < 1e9 then {fine}")
    if column.type.startswith(("decimal", "double")) and column.decimal == ".":
        comma = f"regexp_full_match({cell}, '[+-]?[0-9]+,[0-9]{{1,2}}')"
        hints.append(f"when {comma} then ': declare `decimal: \",\"` in its column'")
    if column.type in ("date", "timestamp", "timestamptz"):
        for digits, epoch in ((10, "epoch_s"), (13, "epoch_ms"), (16, "epoch_us")):
            if column.format != epoch:
                number = f"regexp_full_match({cell}, '[0-9]{{{digits}}}(\\.[0-9]*)?')"
                hints.append(f"when {number} then ': declare `format: {epoch}` in its column'")
    if column.type in ("date", "timestamp") and not column.format:
        hints.append(
            f"when regexp_full_match({cell}, '[0-9./ :]+') then ': declare its `format` in its "
            "column'"
        )
    hint = f"case {' '.join(hints)} else '' end" if hints else "''"
    return f"'\"' || {_bounded('shape', CELL)} || '\" is no ' || {_text(wanted)} || {hint}"


def _bounded(text: str, most: int) -> str:
    """A text as people see it: its beginning, with its length where that is not all; no NUL
    bytes.
    """
    rest = (
        f"case when length({text}) > {most} then '… (' || length({text}) "
        "|| ' characters)' else '' end"
    )
    return f"replace(left({text}, {most}) || {rest}, chr(0), '\\0')"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
