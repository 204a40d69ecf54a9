"""Features of many as_ofs in one pass: the kernel merges daily parts, the SQL of one as_of finishes them."""

import datetime as dt
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.catalogue import spans_of
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.features.parts import HIGH, LOW, MASK, SUM, VALUES, Part, ends, parts
from churn_orchestration.churn.features.rings import (
    RHYTHM,
    THIRDS,
    attributes_at,
    distinct_at,
    features_at,
    final,
    with_peers,
)
from churn_orchestration.churn.features.seen import date
from churn_orchestration.components.daily_parts import checkpoints
from churn_orchestration.warehouse import Tables, literal

if TYPE_CHECKING:
    import numpy as np

    from churn_orchestration.churn.features.history import Days

WORTH_A_PASS = 3
"""As_ofs from which on one pass is quicker than one statement each."""
MOST_ROWS, MOST_CELLS = 4_000_000, 30_000_000
"""Daily parts, and merged numbers, that are held at a time."""
_LIMBS, _LIMB_BITS = 3, 42  # a sum of a million limbs stays below 2^63
_EPOCH = "date '1970-01-01'"
_NONE = {LOW: 2**63 - 1, HIGH: -(2**63)}
_MERGES = {SUM: "sum", LOW: "min", HIGH: "max", MASK: "or"}


@contextmanager
def features_of(
    tables: Tables, declared: FeatureSet, as_ofs: Sequence[dt.date], folder: Path
) -> Iterator[Callable[[dt.date], str]]:
    """While the block lasts: from an as_of to the SQL, in brackets, of its feature rows.

    ``folder`` holds them meanwhile where one pass over all as_ofs is quicker than one statement each.
    """
    files: list[Path] = []
    try:
        if len(as_ofs) >= WORTH_A_PASS:
            files = write_history(tables, declared, as_ofs, folder)
        listed = ", ".join(map(literal, files))

        def features(as_of: dt.date) -> str:
            if not files:
                return f"({features_at(declared, as_of, checkpoints(tables, declared, as_of))})"
            alone = f"select * from read_parquet([{listed}]) where as_of = {date(as_of)}"
            return f"({with_peers(declared, alone, as_of)})"

        yield features
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_history(
    tables: Tables, declared: FeatureSet, as_ofs: Sequence[dt.date], folder: Path
) -> list[Path]:
    """Write the feature rows of many as_ofs to ``folder`` as Parquet, a file for each range of entities.

    They lack the features among peers, which are made of whole as_ofs. Each row is what ``features_at`` gives
    for its as_of, to the bit: the kernel merges the same integers, and the same SQL divides them. Memory is
    bounded by the range of entities that is at work.

    Returns
    -------
    the files, by range; each in the order of as_of and entity. Without an entity there is none
    """
    folder.mkdir(parents=True, exist_ok=True)
    one_pass = _Pass(tables, declared, sorted(as_ofs))
    files = []
    for number, span in enumerate(one_pass.ranges()):
        files.append(folder / f"{number:05}.parquet")
        tables.db.execute(f"create or replace temp table _range as {one_pass.features(span)}")
        tables.db.execute(f"copy _range to {literal(files[-1])} (format parquet, compression zstd)")
    one_pass.close()
    return files


@dataclass(frozen=True)
class _Span:
    """A range of entities, by number and by name, both ends included."""

    first: int
    last: int
    least: Any
    most: Any

    @property
    def chosen(self) -> str:
        """SQL condition on the number of an entity."""
        return f"_group between {self.first} and {self.last}"


class _Pass:
    """One pass over the daily parts: numbered entities, and those that looked other on an earlier as_of.

    Of source n: ``_other<n>`` has the (entity, as_of) of which the parts that stand at the last as_of are not
    those that were visible; ``_v<n>_<i>`` the counts of distinct values, ``_attributes<n>`` the attributes.
    """

    def __init__(self, tables: Tables, declared: FeatureSet, as_ofs: list[dt.date]) -> None:
        self.tables, self.declared, self.as_ofs = tables, declared, as_ofs
        self.made: list[str] = []
        listed = ", ".join(f"({date(as_of)})" for as_of in as_ofs)
        self._make("_as_ofs", f"select * from (values {listed}) as t(as_of)")
        for number, table in enumerate(declared.attributes):
            self._make(f"_attributes{number}", self._of_each(partial(attributes_at, table)))
        for number, own in enumerate(declared.own):
            self._make(f"_own{number}", self._of_each(own.at))
        self._make("_entities", self._entities())
        for number, source in enumerate(declared.sources):
            self._make(f"_other{number}", self._other(source))
            for place, part in enumerate(_listed(source)):
                windows = spans_of(declared, source)[part.name]
                self._make(
                    f"_v{number}_{place}",
                    self._of_each(partial(distinct_at, declared, source, part, windows)),
                )
        self.columns = [self._columns(source) for source in declared.sources]

    def _make(self, name: str, select: str) -> None:
        self.tables.db.execute(f"create or replace temp table {name} as {select}")
        self.made.append(name)

    def close(self) -> None:
        """Drop what was made."""
        for name in (*self.made, "_range"):
            self.tables.db.execute(f"drop table if exists {name}")
        for number in range(len(self.declared.sources)):
            self.tables.db.execute(f"drop view if exists _merged{number}")

    def _of_each(self, select: Callable[[dt.date], str]) -> str:
        rows = (f"select {date(as_of)} as as_of, * from ({select(as_of)})" for as_of in self.as_ofs)
        return " union all ".join(rows)

    @property
    def _known(self) -> str:
        """SQL condition: the daily parts known at the last as_of."""
        return f"day <= {date(self.as_ofs[-1])} and known_on <= {date(self.as_ofs[-1])}"

    @property
    def _standing(self) -> str:
        """SQL condition: those of them that stand."""
        return f"{self._known} and superseded_on > {date(self.as_ofs[-1])}"

    def _entities(self) -> str:
        found = [
            f"select {self.declared.entity} as _entity, count(*) as _rows from {source.days_table} "
            f"where {self._known} group by 1"
            for source in self.declared.sources
        ]
        found += [
            f"select _entity, count(*) from _attributes{number} group by 1"
            for number in range(len(self.declared.attributes))
        ]
        return (
            "select row_number() over (order by _entity) - 1 as _group, _entity, _rows from "
            f"(select _entity, sum(_rows) as _rows from ({' union all '.join(found)}) group by 1) order by 1"
        )

    def _other(self, source: EventSource) -> str:
        """A row that stands and became known after an as_of, and after its day, was not visible then."""
        return f"""
select distinct _group, as_of from {source.days_table} as d
join _entities as e on e._entity = d.{self.declared.entity}
join _as_ofs as a on d.day <= a.as_of and a.as_of < d.known_on
where {self._standing} and known_on > day order by 1, 2"""

    def _columns(self, source: EventSource) -> list["_Column"]:
        self._require_64_bits(source)
        spans = spans_of(self.declared, source)
        wide = {part.name: self._is_wide(source, part) for part in parts(source) if part.type == "HUGEINT"}
        return [
            _Column(part, spans[part.name], _LIMBS if wide.get(part.name) else 1)
            for part in parts(source)
            if part.merge != VALUES
        ]

    def _require_64_bits(self, source: EventSource) -> None:
        """The kernel's sums would wrap around where the SQL of one as_of fails."""
        for part in parts(source):
            if part.merge == SUM and part.type == "BIGINT":
                totals = f"sum(cast(abs({part.name}) as hugeint)) as total from {source.days_table}"
                totals = f"select {self.declared.entity} as entity, {totals} group by 1"
                for entity, total in self.tables.rows(f"from ({totals}) where total >= {2**63} limit 1"):
                    raise BusinessError(
                        f"{source.days_table}.{part.name}: {entity} comes to {total} in all, beyond 64 bits: "
                        "keep fewer `decimals`, or leave such rows out by a rule"
                    )

    def _is_wide(self, source: EventSource, part: Part) -> bool:
        """Whether the sum of a part over all days of an entity may not fit 64 bits."""
        most = "(select coalesce(max(_rows), 0)::hugeint from _entities)"
        largest = f"select coalesce(max({part.name}), 0) * {most} from {source.days_table}"
        return bool(self.tables.rows(largest)[0][0] >= 2**63)

    def ranges(self) -> Iterator[_Span]:
        """The entities cut into ranges of bounded size."""
        widths = [sum(len(column.windows) for column in columns) for columns in self.columns]
        cells = len(self.as_ofs) * max(widths, default=1)
        share = f"sum(_rows / {MOST_ROWS}.0 + {cells} / {MOST_CELLS}.0) over (order by _group)"
        ends = "min(_group), max(_group), min(_entity), max(_entity)"
        found = f"select floor({share}) as _range, * from _entities"
        for ends_found in self.tables.rows(f"select {ends} from ({found}) group by _range order by 1"):
            yield _Span(*ends_found)

    def features(self, span: _Span) -> str:
        """SQL: the feature rows of a range of entities, in the order of as_of and entity."""
        made = [
            f"_s{number} as ({self._merged(number, source, span)})"
            for number, source in enumerate(self.declared.sources)
        ]
        near = f"_entity between {literal(span.least)} and {literal(span.most)}"
        made += [
            f"_a{number} as (from _attributes{number} where {near})"
            for number in range(len(self.declared.attributes))
        ]
        made += [
            f"_u{number} as (from _own{number} where {near})" for number in range(len(self.declared.own))
        ]
        finished = final(self.declared, "as_of", "_entity, as_of")
        return f"with {', '.join(made)} {finished} order by as_of, _entity"

    def _merged(self, number: int, source: EventSource, span: _Span) -> str:
        """SQL: the merged rows of a source, as ``rings`` makes them for one as_of."""
        import numpy as np
        import pyarrow as pa

        from churn_orchestration.churn.features.history import merged

        columns, active = self.columns[number], spans_of(self.declared, source)["_active"]
        wanted = {name: (_MERGES[c.part.merge], c.windows) for c in columns for name in c.names}
        wanted["_active"] = ("sum", active)
        standing, other, visible = self._days(number, source, span)
        as_ofs = self._numbers(f"select as_of - {_EPOCH} as as_of from _as_ofs order by 1")["as_of"]
        group = np.tile(np.arange(standing.groups), len(as_ofs))
        as_of = np.repeat(as_ofs, standing.groups)
        split = "events" if source.thirds else None
        found = merged(standing, group, as_of, wanted, ends(source), split)
        places = np.searchsorted(as_ofs, other["as_of"]) * standing.groups + other["_group"]
        then = merged(visible, np.arange(visible.groups), other["as_of"], wanted, ends(source), split)
        for name, values in then.items():
            found[name][places] = values
        named = self.tables.rows(f"select _entity from _entities where {span.chosen} order by _group")
        entities = pa.array([name for (name,) in named])
        frame = {
            "_entity": pa.DictionaryArray.from_arrays(pa.array(group.astype("int32")), entities),
            "as_of": pa.array(as_of.astype("int32"), pa.date32()),
        }
        self.tables.db.register(f"_merged{number}", pa.table(frame | found))
        outputs = ["_entity", "as_of", *RHYTHM, *ends(source), *(THIRDS if source.thirds else ())]
        outputs += [f"_active_{window}" for window in active]
        outputs += [output for column in columns for output in column.outputs]
        joined = ""
        for place, part in enumerate(_listed(source)):
            outputs += [f"{part.name}_{w}" for w in spans_of(self.declared, source)[part.name]]
            joined += f" left join _v{number}_{place} using (_entity, as_of)"
        return f"select {', '.join(outputs)} from _merged{number}{joined} where events_all > 0"

    def _days(
        self, number: int, source: EventSource, span: _Span
    ) -> "tuple[Days, dict[str, np.ndarray], Days]":
        """The daily parts of a range: as they stand at the last as_of; where an entity looked other than that
        on an as_of, which these are, and the parts that were visible then, numbered in that order.
        """
        from churn_orchestration.churn.features.history import Days

        inputs = ", ".join(column for c in self.columns[number] for column in c.inputs)
        read = f"cast(day - {_EPOCH} as bigint) as _day, {inputs}"
        name = f"d.{self.declared.entity}"
        near = f"{name} between {literal(span.least)} and {literal(span.most)}"
        same = f"join {source.days_table} as d on {name} = e._entity and {near} and events > 0"
        now = self._numbers(
            f"select _group - {span.first} as _group, {read} from _entities as e {same} "
            f"where {self._standing} order by _group, _day"
        )
        cases = f"select *, row_number() over (order by _group, as_of) - 1 as _case from _other{number}"
        cases += f" where {span.chosen}"
        other = self._numbers(
            f"select _group - {span.first} as _group, as_of - {_EPOCH} as as_of from ({cases}) order by _case"
        )
        then = self._numbers(
            f"select _case, {read} from ({cases}) as o join _entities as e using (_group) {same} "
            "and day <= as_of and known_on <= as_of and superseded_on > as_of order by _case, _day"
        )
        return (
            Days(now.pop("_group"), now.pop("_day"), now, span.last - span.first + 1),
            other,
            Days(then.pop("_case"), then.pop("_day"), then, len(other["_group"])),
        )

    def _numbers(self, query: str) -> "dict[str, np.ndarray]":
        """The columns of a query as 64-bit integers; none of them may be null."""
        import numpy as np

        found = self.tables.db.execute(query).fetchnumpy()
        return {name: np.asarray(values, dtype="int64") for name, values in found.items()}


@dataclass(frozen=True)
class _Column:
    """A part on its way through the kernel, which knows 64-bit integers; a wider one goes in ``limbs``."""

    part: Part
    windows: Sequence[str]
    limbs: int

    @property
    def names(self) -> list[str]:
        """What the kernel calls it."""
        if self.limbs == 1:
            return [self.part.name]
        return [f"{self.part.name}__{limb}" for limb in range(self.limbs)]

    @property
    def inputs(self) -> list[str]:
        """SQL: from the table of daily parts."""
        name = self.part.name
        if self.part.merge in _NONE:
            return [f"coalesce({name}, {_NONE[self.part.merge]}) as {name}"]
        if self.limbs == 1:
            return [f"cast({name} as bigint) as {name}"]
        return [
            f"cast(({name} >> {limb * _LIMB_BITS}) & {2**_LIMB_BITS - 1} as bigint) as {called}"
            for limb, called in enumerate(self.names)
        ]

    @property
    def outputs(self) -> list[str]:
        """SQL: the columns of a merged row, as ``rings`` has them."""
        return [f"{self._output(window)} as {self.part.name}_{window}" for window in self.windows]

    def _output(self, window: str) -> str:
        name = f"{self.part.name}_{window}"
        if self.part.merge in _NONE:
            return f"nullif({name}, {_NONE[self.part.merge]})"
        if self.limbs == 1:
            return f"cast({name} as {self.part.type})"
        return " + ".join(
            f"(cast({called}_{window} as hugeint) << {limb * _LIMB_BITS})"
            for limb, called in enumerate(self.names)
        )


def _listed(source: EventSource) -> list[Part]:
    return [part for part in parts(source) if part.merge == VALUES]
