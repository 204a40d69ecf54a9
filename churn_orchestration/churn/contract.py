"""The contract of a source as SQL: from text as it came to typed rows, and the rule each breaks."""

import re
from dataclasses import dataclass

_DECIMAL = re.compile(r"decimal(\((\d+),\s*(\d+)\))?")
TYPES = ("text", "id", "integer", "decimal", "double", "boolean", "date", "timestamp", "timestamptz")


@dataclass(frozen=True)
class Column:
    """One declared column.

    Parameters
    ----------
    name : its name from bronze on
    source : its name in the landing file
    type : one of ``TYPES``; ``decimal(p, s)`` too. ``id`` is text without a trailing ``.0``; ``timestamp`` is
        local time in the business's zone, ``timestamptz`` carries its own offset; both are kept in UTC
    format : how a date or timestamp is written, in strptime's letters; ISO where not given
    required : null is refused
    pii : ``drop`` leaves the column behind in raw, ``hash`` keeps a keyed hash of it
    """

    name: str
    source: str
    type: str = "text"
    format: str | None = None
    required: bool = False
    pii: str | None = None


@dataclass(frozen=True)
class Contract:
    """All that is declared of a source. ``where``: names of rules and conditions over the typed columns."""

    columns: tuple[Column, ...]
    event_time: str | None = None
    key: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    timezone: str = "UTC"

    @property
    def kept(self) -> list[str]:
        """The columns that reach bronze."""
        return [column.name for column in self.columns if column.pii != "drop"]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def typed(column: Column, raw_type: str, timezone: str) -> str:
    """The SQL expression that reads one raw column; null where the text is not of the type.

    >>> typed(Column("customer_id", "CustomerID", "id"), "VARCHAR", "UTC")
    'regexp_replace(nullif(trim("CustomerID"), \\'\\'), \\'^([0-9]+)\\\\\\\\.0+$\\', \\'\\\\\\\\1\\')'
    """
    cell = _cell(column, raw_type)
    moment = (
        f"try_strptime({cell}, {_text(column.format)})" if column.format else f"try_cast({cell} as timestamp)"
    )
    utc = f"timezone('UTC', timezone({_text(timezone)}, {moment}))"
    if decimal := _DECIMAL.fullmatch(column.type):
        precision, scale = decimal[2] or 18, decimal[3] or 4
        return f"try_cast({cell} as decimal({precision}, {scale}))"
    return {
        "text": cell,
        "id": f"regexp_replace({cell}, '^([0-9]+)\\.0+$', '\\1')",
        "integer": f"case when regexp_full_match({cell}, '[+-]?[0-9]+(\\.0+)?') "
        f"then try_cast({cell} as bigint) end",
        "double": f"case when isfinite(try_cast({cell} as double)) then try_cast({cell} as double) end",
        "boolean": f"case when lower({cell}) in ('true', 't', 'yes', 'y', '1') then true "
        f"when lower({cell}) in ('false', 'f', 'no', 'n', '0') then false end",
        "date": f"try_cast({moment} as date)" if column.format else f"try_cast({cell} as date)",
        "timestamp": moment if timezone == "UTC" else utc,
        "timestamptz": f"timezone('UTC', try_cast({cell} as timestamptz))",
    }[column.type]


def _cell(column: Column, raw_type: str) -> str:
    name = _quoted(column.source)
    return f"nullif(trim({name}), '')" if raw_type == "VARCHAR" else f"cast({name} as varchar)"


def day(contract: Contract, event: str | None = None) -> str:
    """The SQL expression of the calendar day of the event, in the business's zone.

    ``event`` is the expression of the typed event time; the typed column where not given. A source without
    an event time has the day on which its rows became known.
    """
    if contract.event_time is None:
        return "known_on"
    kind = next(column.type for column in contract.columns if column.name == contract.event_time)
    moment = event or _quoted(contract.event_time)
    if kind == "date" or contract.timezone == "UTC":
        return f"cast({moment} as date)"
    return f"cast(timezone({_text(contract.timezone)}, timezone('UTC', {moment})) as date)"


def judged(contract: Contract, raw: str, raw_types: dict[str, str], where: str) -> str:
    """Every raw row, typed, with ``_rule``: the first rule that it breaks, or null.

    Parameters
    ----------
    contract : what is declared
    raw : name of the raw table; it has ``_file``, ``_line``, ``_error``, ``known_on`` and ``_partition``
    raw_types : its columns and types
    where : which of its rows, an SQL condition

    Returns
    -------
    SQL: one row per raw row, the typed columns under their names, ``day`` and ``_rule``. Rules, in this
    order: ``malformed``, ``required:column``, ``type:column``, ``future_day`` (the event lies after the day
    on which it became known), ``where:name``, ``conflicting_key``; and ``duplicate`` for the second and later
    copies of a row that is equal in every raw column, where a key is declared.
    """
    zone = contract.timezone
    expressions = {c.name: typed(c, raw_types[c.source], zone) for c in contract.columns}
    cases = ["when _error is not null then 'malformed'"]
    for column in contract.columns:
        cell = _cell(column, raw_types[column.source])
        if column.required:
            cases.append(f"when {cell} is null then {_text('required:' + column.name)}")
        cases.append(
            f"when {cell} is not null and {_quoted(column.name + '_typed')} is null "
            f"then {_text('type:' + column.name)}"
        )
    listed = ",\n    ".join(f"{sql} as {_quoted(name + '_typed')}" for name, sql in expressions.items())
    renamed = ", ".join(f"{_quoted(name + '_typed')} as {_quoted(name)}" for name in expressions)
    landed = [_quoted(name) for name in raw_types if not name.startswith("_") and name != "known_on"]
    copy = "1"
    if contract.key:
        copy = f"row_number() over (partition by known_on, {', '.join(landed)} order by _file, _line)"
    rules = " ".join(
        f"when ({condition}) is not true then {_text('where:' + name)}" for name, condition in contract.where
    )
    with_day = f"""
select *, {day(contract)} as day from (
  select _file, _line, known_on, _partition, _copy, {renamed}, case {" ".join(cases)} end as _broken from (
    select *, {copy} as _copy,
    {listed}
    from {raw} where {where}))"""
    ruled = f"""
select *, coalesce(_broken, case when day > known_on then 'future_day' {rules} end,
  case when _copy > 1 then 'duplicate' end) as _judged from ({with_day})"""
    if not contract.key:
        return f"select * exclude (_broken, _copy, _judged), _judged as _rule from ({ruled})"
    key = ", ".join(map(_quoted, contract.key))
    twins = f"count(*) filter (_judged is null) over (partition by known_on, {key})"
    return f"""
select * exclude (_broken, _copy, _judged),
  coalesce(_judged, case when {twins} > 1 then 'conflicting_key' end) as _rule from ({ruled})"""


def kept(contract: Contract, judged_table: str) -> str:
    """The bronze rows of a judged table in order; PII hashed with the session variable ``pii_key``."""
    columns = []
    for column in contract.columns:
        name = _quoted(column.name)
        if column.pii == "hash":
            inner = f"sha256(getvariable('pii_key') || cast({name} as varchar))"
            columns.append(f"sha256(getvariable('pii_key') || {inner}) as {name}")
        elif column.pii != "drop":
            columns.append(name)
    return (
        f"select {', '.join(columns)}, day, known_on, _partition, _file, _line "
        f"from {judged_table} where _rule is null order by _partition, _file, _line"
    )
