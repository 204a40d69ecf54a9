"""The contract of a source as SQL: from text as it came to typed rows, and the rule each breaks."""

import datetime as dt
import re
from dataclasses import dataclass

_DECIMAL = re.compile(r"decimal(\((\d+),\s*(\d+)\))?")
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Formats of times as numbers, with the microseconds of a unit."""
NOISE = 1e-15
"""How far, relatively, a number may be off its decimal: software writes 19.990000000000002 for
19.99.
"""
BY_FILE, BY_QUERY, AT_ONCE = "by file", "by query", "at once"
_SAME_LANDING = {
    BY_FILE: "partition by known_on, {}",
    BY_QUERY: "partition by _partition, {}",
    AT_ONCE: "partition by {} order by _partition",
}
TYPES = (
    "text",
    "id",
    "integer",
    "decimal",
    "double",
    "boolean",
    "date",
    "timestamp",
    "timestamptz",
)


PLACES = ("_file", "_line")
"""Where a record lies, which a column may take its values from."""


@dataclass(frozen=True)
class Column:
    """One declared column.

    Parameters
    ----------
    name : its name from bronze on
    source : its name in the landing file; or ``_line`` or ``_file``, of the record in it: an id of
        rows that have none, as long as the file does not change
    type : one of ``TYPES``; ``decimal(p, s)`` too, 18 digits and 4 decimals where not given, never
        rounded: a number with more decimals is refused. ``id`` is text without a trailing ``.0``;
        ``timestamp`` is local time in the business's zone unless it brings an offset,
        ``timestamptz`` must bring one; both are kept in UTC. A local time that the clock skipped is
        moved on by the hour it skipped; one that it showed twice is the later one, of standard
        time. So does PostgreSQL's ``AT TIME ZONE``
    format : how a date or timestamp is written, in strptime's letters or as one of ``EPOCHS``,
        numbers since 1970 in UTC; ISO where not given
    decimal : the decimal sign of its numbers; with a comma, a text with a point is refused
    required : null is refused
    pii : ``drop`` leaves the column behind in raw, ``hash`` keeps a keyed hash of it
    """

    name: str
    source: str
    type: str = "text"
    format: str | None = None
    required: bool = False
    pii: str | None = None
    decimal: str = "."


@dataclass(frozen=True)
class Contract:
    """All that is declared of a source. ``where``: names of rules and conditions over the typed
    columns; ``earliest_event``: the first day that counts; an event before it is refused.
    """

    columns: tuple[Column, ...]
    event_time: str | None = None
    key: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    timezone: str = "UTC"
    earliest_event: dt.date | None = None

    @property
    def sources(self) -> list[str]:
        """The columns that a file must have."""
        return list(
            dict.fromkeys(column.source for column in self.columns if column.source not in PLACES)
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


# A time of day that says how far it is from UTC: 10:00Z, 10:00+02, 10:00 +0200, 10:00+02:00.
_OFFSET = "'.*:[0-9.]+\\s*([zZ]|[+-][0-9]{2}(:?[0-9]{2})?)'"


def typed(column: Column, timezone: str) -> str:
    """The SQL expression that reads one raw column; null where the text is not of the type.

    >>> print(typed(Column("visits", "Visits", "id"), "UTC"))
    regexp_replace(nullif(trim("Visits"), ''), '^([0-9]+)\\.0+$', '\\1')
    """
    cell = _cell(column)
    number = cell
    if column.decimal == ",":  # 1.500 may be a thousand and a half or one and a half: refused
        number = f"case when not contains({cell}, '.') then replace({cell}, ',', '.') end"
    if decimal := _DECIMAL.fullmatch(column.type):
        exact = f"try_cast({number} as decimal({decimal[2] or 18}, {decimal[3] or 4}))"
        near = f"try_cast({number} as double)"
        return f"case when abs({near} - {exact}) <= {NOISE} * abs({near}) then {exact} end"
    if column.type in ("date", "timestamp", "timestamptz"):
        moment = _moment(column, cell, timezone)
        return f"case when isfinite({moment}) then {moment} end"
    return {
        "text": cell,
        "id": f"regexp_replace({cell}, '^([0-9]+)\\.0+$', '\\1')",
        "integer": f"case when regexp_full_match({cell}, '[+-]?[0-9]+(\\.0+)?') "
        f"then try_cast({cell} as bigint) end",
        "double": (
            f"case when isfinite(try_cast({number} as double)) then "
            f"try_cast({number} as double) end"
        ),
        "boolean": f"case when lower({cell}) in ('true', 't', 'yes', 'y', '1') then true "
        f"when lower({cell}) in ('false', 'f', 'no', 'n', '0') then false end",
    }[column.type]


def _moment(column: Column, cell: str, timezone: str) -> str:
    """A date, or a timestamp in UTC: local time of the zone, unless the text brings an offset of
    its own.
    """
    if column.format in EPOCHS:
        instant = _since_1970(cell, EPOCHS[column.format])
        if column.type == "date":
            return f"cast(timezone({_text(timezone)}, timezone('UTC', {instant})) as date)"
        return instant
    parsed = f"try_strptime({cell}, {_text(column.format)})" if column.format else None
    if column.type == "date":
        return f"cast({parsed} as date)" if parsed else f"try_cast({cell} as date)"
    if parsed and "%z" in (column.format or ""):
        return f"timezone('UTC', cast({parsed} as timestamptz))"
    has_offset = f"regexp_full_match({cell}, {_OFFSET})"
    instant = f"timezone('UTC', try_cast({cell} as timestamptz))"
    if column.type == "timestamptz":
        return (
            f"timezone('UTC', {parsed})" if parsed else f"case when {has_offset} then {instant} end"
        )
    local = parsed or f"try_cast({cell} as timestamp)"
    if timezone != "UTC":
        local = f"timezone('UTC', timezone({_text(timezone)}, {local}))"
    return local if parsed else f"case when {has_offset} then {instant} else {local} end"


def _since_1970(cell: str, unit: int) -> str:
    """A number of units, each of so many microseconds; null where it lies thousands of years
    ahead.
    """
    moment = f"round(try_cast({cell} as double) * {unit})"
    return f"make_timestamp(case when abs({moment}) < 2e17 then cast({moment} as bigint) end)"


def _cell(column: Column) -> str:
    cell = _quoted(column.source)
    return f"cast({cell} as varchar)" if column.source in PLACES else f"nullif(trim({cell}), '')"


def day(contract: Contract, event: str | None = None) -> str:
    """The SQL expression of the calendar day of the event, in the business's zone.

    ``event`` is the expression of the typed event time; the typed column where not given. A source
    without an event time has the day on which its rows became known.
    """
    if contract.event_time is None:
        return "known_on"
    kind = next(column.type for column in contract.columns if column.name == contract.event_time)
    moment = event or _quoted(contract.event_time)
    if kind == "date" or contract.timezone == "UTC":
        return f"cast({moment} as date)"
    return f"cast(timezone({_text(contract.timezone)}, timezone('UTC', {moment})) as date)"


def judged(
    contract: Contract,
    raw: str,
    landed: list[str],
    where: str,
    landing: str = BY_FILE,
    earlier: str | None = None,
) -> str:
    """Every raw row, typed, with ``_rule``: the first rule that it breaks, or null.

    Parameters
    ----------
    contract : what is declared
    raw : name of the raw table; it has ``_file``, ``_line``, ``_error``, ``known_on`` and
        ``_partition``
    landed : its other columns, all text
    where : which of its rows, an SQL condition
    landing : which rows landed together, so that a key that two of them have is a conflict and no
        correction: ``BY_FILE``, ``BY_QUERY`` or ``AT_ONCE``, of which a row meets those of its own
        day and before
    earlier : SQL of the keys that other rows of the same landing have; ``keys_of`` makes it

    Returns
    -------
    SQL: one row per raw row, the typed columns under their names, ``day`` and ``_rule``. Rules, in
    this order: ``malformed``, ``required:column``, ``type:column``, ``future_day`` (the event lies
    after the day on which it became known), ``before_history`` (it lies before ``earliest_event``),
    ``where:name``, ``conflicting_key``; and ``duplicate`` for the second and later
    copies of a row that is equal in every raw column, where a key is declared.
    """
    cells, cases, names = [], ["when _error is not null then 'malformed'"], []
    for number, column in enumerate(contract.columns):
        cells.append(
            f"{_cell(column)} as _cell_{number}, {typed(column, contract.timezone)} as "
            f"_typed_{number}"
        )
        names.append(f"_typed_{number} as {_quoted(column.name)}")
        if column.required:
            cases.append(f"when _cell_{number} is null then {_text('required:' + column.name)}")
        broken = f"_cell_{number} is not null and _typed_{number} is null"
        cases.append(f"when {broken} then {_text('type:' + column.name)}")
    places = {column.source for column in contract.columns} & {*PLACES}
    everything = ", ".join(map(_quoted, [*landed, *sorted(places)]))
    copy = (
        f"row_number() over (partition by known_on, {everything} order by _file, _line)"
        if contract.key
        else "1"
    )
    early = ""
    if contract.event_time and contract.earliest_event:
        early = f"when day < date '{contract.earliest_event}' then 'before_history'"
    rules = " ".join(
        f"when ({condition}) is not true then {_text('where:' + name)}"
        for name, condition in contract.where
    )
    key = ", ".join(map(_quoted, contract.key))
    own_day = " exclude (day)" if any(column.name == "day" for column in contract.columns) else ""
    in_conflict = (
        f"count(*) filter (_judged is null) over ({_SAME_LANDING[landing].format(key)}) > 1"
        if key
        else "false"
    )
    if key and earlier:
        in_conflict += f" or ({key}) in ({earlier})"
    return f"""
with typed as (
  select _file, _line, _error, known_on, _partition, {copy} as _copy, {", ".join(cells)}
  from {raw} where {where}),
named as (
  select _file, _line, known_on, _partition, _copy, \
case {" ".join(cases)} end as _broken, {", ".join(names)}
  from typed),
dated as (select *{own_day}, {day(contract)} as day from named),
ruled as (
  select *, coalesce(_broken, case when day > known_on then 'future_day' {early} {rules} end,
    case when _copy > 1 then 'duplicate' end) as _judged
  from dated)
select * exclude (_broken, _copy, _judged),
  coalesce(_judged, case when {in_conflict} then 'conflicting_key' end) as _rule
from ruled"""


def keys_of(contract: Contract, raw: str, where: str) -> str:
    """The SQL of the keys of raw rows, typed as ``judged`` types them."""
    declared = {column.name: column for column in contract.columns}
    keys = ", ".join(f"{typed(declared[name], contract.timezone)}" for name in contract.key)
    return f"select {keys} from {raw} where {where}"


def bronze_rows(contract: Contract, judged_table: str) -> str:
    """The bronze rows of a judged table in order; PII hashed with the session variable
    ``pii_key``.
    """
    columns = []
    for column in contract.columns:
        name = _quoted(column.name)
        if column.pii == "hash":
            inner = f"sha256(getvariable('pii_key') || cast({name} as varchar))"
            columns.append(f"sha256(getvariable('pii_key') || {inner}) as {name}")
        elif column.pii != "drop" and column.name != "day":
            columns.append(name)
    return (
        f"select {', '.join(columns)}, day, known_on, _partition, _file, _line "
        f"from {judged_table} where _rule is null order by _partition, _file, _line"
    )
