"""Changes of a measure from one day to the next on which an entity has it, however long apart: the
last, and the lowest and highest of a window.

A change belongs to the later of its two days; the earlier one may lie before the window. A day's
value is the sum or the mean of its events, an integer of the last kept decimal, and a change is
their exact difference.
"""

from collections.abc import Iterable, Iterator, Sequence

from churn_orchestration.churn.features.declared import ALL, EventSource, FeatureSet, Measure
from churn_orchestration.churn.features.feature import Feature
from churn_orchestration.churn.sql import literal

LOWEST, HIGHEST = "min", "max"


def changing(source: EventSource) -> list[Measure]:
    """The measures of which changes are declared."""
    return [m for m in source.measures if m.change]


def of_changes(m: Measure) -> str:
    """What columns with changes of a measure are called, before ``_last``, ``_min`` and
    ``_max``.
    """
    return f"{m.name}_change"


def day_value(m: Measure) -> str:
    """SQL: what a day of the daily parts comes to in a measure, in units of its last kept decimal.

    Null where no event of the day has it, and before it is recorded. A mean is rounded to that
    decimal, halves away from zero.
    """
    value, filled = f"{m.name}_sum", f"{m.name}_filled"
    has = f"{filled} > 0"
    if m.available_from:
        has += f" and day >= {literal(m.available_from)}"
    if m.change == "mean":
        half = f"case when {value} < 0 then -{filled} else {filled} end"
        value = f"cast((cast({value} as hugeint) * 2 + {half}) // (2 * {filled}) as bigint)"
    return f"case when {has} then {value} end"


def changes_at(source: EventSource, days: str, windows: Sequence[str], before: str) -> str:
    """SQL: one row per entity of the table ``days``, which has ``_entity`` and ``_age``, with its
    changes.

    ``before``, where there is a checkpoint: a select of ``_entity``, an ``_age`` greater than all
    of theirs, and the last values before those days.
    """
    measures = changing(source)
    columns = []
    for number, m in enumerate(measures):
        name, change = of_changes(m), f"_c{number}"
        for how in (LOWEST, HIGHEST):
            for window in windows:
                inside = "" if window == ALL else f" filter (_age < {window})"
                columns.append(f"{how}({change}){inside} as {name}_{how}_{window}")
        columns.append(
            f"arg_min({change}, _age) filter ({change} is not null) as {name}_last_{ALL}"
        )
    values = ", ".join(
        f"cast({day_value(m)} as hugeint) as _v{number}" for number, m in enumerate(measures)
    )
    rows = f"select _entity, _age, {values} from {days}"
    if before:
        rows += f" union all {before}"
    return f"""
select _entity, {", ".join(columns)}
from (select _entity, _age, {_differences(measures, "_entity", "_age desc")} from ({rows}))
group by _entity"""


def changes_until(source: EventSource, entity: str, days: str) -> str:
    """SQL: what a checkpoint keeps of all ``days``, a select from the daily parts: the last value
    of each entity, its last change, and the lowest and highest.
    """
    measures = changing(source)
    columns = [entity]
    for number, m in enumerate(measures):
        name, value, change = of_changes(m), f"_v{number}", f"_c{number}"
        columns.append(f"arg_max({value}, day) filter ({value} is not null) as {name}_value")
        columns += [f"{how}({change}) as {name}_{how}" for how in (LOWEST, HIGHEST)]
        columns.append(f"arg_max({change}, day) filter ({change} is not null) as {name}_last")
    values = ", ".join(
        f"cast({day_value(m)} as hugeint) as _v{number}" for number, m in enumerate(measures)
    )
    return f"""
select {", ".join(columns)}
from (select *, {_differences(measures, entity, "day")}
  from (select {entity}, day, {values} from ({days})))
group by {entity}"""


def outputs(source: EventSource, windows: Iterable[str], row: str, before: str) -> Iterator[str]:
    """SQL: the changes of a merged row, from those of the days in ``row`` and, where there is a
    checkpoint, ``before`` them.
    """
    for m in changing(source):
        name = of_changes(m)
        for window in windows:
            for how, over in ((LOWEST, "least"), (HIGHEST, "greatest")):
                column = f"{name}_{how}_{window}"
                sql = f"{row}.{column}"
                if before and window == ALL:
                    sql = f"{over}({sql}, {before}.{name}_{how})"
                yield f"{sql} as {column}"
        last = f"{row}.{name}_last_{ALL}"
        yield f"coalesce({last}, {before}.{name}_last) as {name}_last_{ALL}" if before else last


def _differences(measures: Sequence[Measure], entity: str, order: str) -> str:
    return ", ".join(
        f"_v{n} - lag(_v{n} ignore nulls) over (partition by {entity} order by {order}) as _c{n}"
        for n, _ in enumerate(measures)
    )


def changes(declared: FeatureSet, source: EventSource, row: str) -> Iterator[Feature]:
    """The declared changes: the last one, and the lowest and highest of every window."""
    noun = source.noun
    for m in changing(source):
        name, scale = of_changes(m), f"{10**m.decimals}::double"
        unit = f" {m.unit}" if m.unit else ""
        of = f"{m.change} of {m.column} on a day"
        few = f"{m.name} on fewer than two days so far"
        yield Feature(
            f"{source.name}_{name}_last_{ALL}",
            f"cast({row}.{name}_last_{ALL} as double) / {scale}", source.name, "change",
            f"last change of the {of}, from the day before it that has one", m.unit,
            f"{m.name} changed by {{value:+,.2f}}{unit} from the last but one day that has it to "
            "the last",
            few, few, ALL,
        )  # fmt: skip
        for window in (*map(str, declared.windows), ALL):
            suffix, when = (
                (ALL, "so far") if window == ALL else (f"{window}d", f"in the last {window} days")
            )
            none = few if window == ALL else f"no {noun} {when} with {m.name} after an earlier day"
            for how, word in ((LOWEST, "lowest"), (HIGHEST, "highest")):
                yield Feature(
                    f"{source.name}_{name}_{how}_{suffix}",
                    f"cast({row}.{name}_{how}_{window} as double) / {scale}", source.name, "change",
                    f"{word} change of the {of}, from the day before it that has one", m.unit,
                    f"{word} change of {m.name} between days that have it, {when}: "
                    f"{{value:+,.2f}}{unit}",
                    none, none, suffix,
                )  # fmt: skip
