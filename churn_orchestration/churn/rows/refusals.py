"""What a refused row had where its rule wanted something else, as SQL: its shape, no value."""

from churn_orchestration.churn.rows.contract import PLACES, Column, Contract
from churn_orchestration.churn.rows.shapes import shape_sql

RECORD, CELL = 200, 60  # characters shown; raw keeps them all
_KIND = r"^[A-Za-z ]+( \(if [^)]*\))?(, only [^:]*)?: "
"""Of what is wrong with a malformed record, what comes before the record."""


def detailed(contract: Contract, kept: str, rows: str) -> str:
    """SQL of refused rows with their ``detail``; it is null where the rule says it all.

    The shape is written once, of the one cell that a row is refused for: to make a regular
    expression costs DuckDB far more than to match a few rows by it.

    Parameters
    ----------
    kept : the columns of the result, of the tables ``raw`` and ``_judged``; ``_error`` and
        ``_rule`` are among them
    rows : the rest of the select that joins both, from its ``from`` on
    """
    kind = f"regexp_extract(_error, {_text(_KIND)})"
    columns = [column for column in contract.columns if column.source not in PLACES]
    cells = [f"when _rule = {_text('type:' + c.name)} then {_cell(c)}" for c in columns]
    cell = f"case when _error is not null then substr(_error, length({kind}) + 1) {_lines(cells)}"
    cases = [f"when _error is not null then {_bounded(f'{kind} || _shape', RECORD)}"]
    cases += [f"when _rule = {_text('type:' + c.name)} then {_mistyped(c)}" for c in columns]
    own = [f"{cell} end as _cell"]
    if contract.event_time:
        own += ["_judged.day as _on", "_judged.known_on as _came"]
        late = "_on || ' lies after ' || _came || ', the day on which it came'"
        first = f"{contract.earliest_event}, the first day that counts (history_from)"
        cases += [
            f"when _rule = 'future_day' then {late}",
            f"when _rule = 'before_history' then _on || ' lies before {first}'",
        ]
    names = ", ".join(column.rpartition(" as ")[2] for column in own)
    return f"""
select * exclude ({names}, _shape), case {_lines(cases)} end as detail
from (select *, {shape_sql("_cell")} as _shape from (select {kept}, {", ".join(own)} {rows}))"""


def _lines(cases: list[str]) -> str:
    return "\n".join(cases)


def _cell(column: Column) -> str:
    name = column.source.replace('"', '""')
    return f'trim(raw."{name}")'


def _mistyped(column: Column) -> str:
    cell = "_cell"
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
    return f"'\"' || {_bounded('_shape', CELL)} || '\" is no ' || {_text(wanted)} || {hint}"


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
