"""What a refused row had where its rule wanted something else, as SQL: its shape, no value."""

from churn_orchestration.churn.rows.contract import PLACES, Column, Contract
from churn_orchestration.churn.rows.shapes import shape_sql

RECORD, CELL = 200, 60  # characters shown; raw keeps them all
_KIND = r"^[A-Za-z ]+( \(if [^)]*\))?(, only [^:]*)?: "
"""Of what is wrong with a malformed record, what comes before the record."""


def detail_sql(contract: Contract) -> str:
    """The SQL expression of ``detail`` over a row of the tables ``raw`` and ``_judged``; null where
    the rule says it all.
    """
    kind = f"regexp_extract(_error, {_text(_KIND)})"
    record = shape_sql(f"substr(_error, length({kind}) + 1)")
    cases = [f"when _error is not null then {_bounded(f'{kind} || {record}', RECORD)}"]
    cases += [
        f"when _rule = {_text('type:' + c.name)} then {_mistyped(c)}"
        for c in contract.columns
        if c.source not in PLACES
    ]
    if contract.event_time:
        late = "_judged.day || ' lies after ' || _judged.known_on || ', the day on which it came'"
        first = f"{contract.earliest_event}, the first day that counts (history_from)"
        early = f"_judged.day || ' lies before {first}'"
        cases += [
            f"when _rule = 'future_day' then {late}",
            f"when _rule = 'before_history' then {early}",
        ]
    return f"case {' '.join(cases)} end"


def _mistyped(column: Column) -> str:
    name = column.source.replace('"', '""')
    cell = f'trim(raw."{name}")'
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
    return f"'\"' || {_bounded(shape_sql(cell), CELL)} || '\" is no ' || {_text(wanted)} || {hint}"


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
