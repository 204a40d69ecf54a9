"""Features of many as_ofs in one pass: the kernel merges daily parts, the SQL of one as_of finishes
them.
"""

import datetime as dt
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.catalogue import spans_of
from churn_orchestration.churn.features.changes import changing, day_value, of_changes
from churn_orchestration.churn.features.declared import ALL, EventSource, FeatureSet
from churn_orchestration.churn.features.parts import (
    HIGH,
    LOW,
    MASK,
    SUM,
    VALUES,
    Part,
    ends,
    parts,
    repeats,
)
from churn_orchestration.churn.features.rings import (
    RHYTHM,
    THIRDS,
    attributes_at,
    distinct_at,
    features_at,
    final,
    history_at,
    with_peers,
)
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.features.daily_parts import checkpoints
from churn_orchestration.storage.files import file_literal
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from churn_orchestration.churn.features.history import Days

WORTH_A_PASS = 3
"""As_ofs from which on one pass is quicker than one statement each."""
MOST_ROWS, MOST_CELLS = 1_000_000, 5_000_000
"""Daily parts, and merged numbers, of a range of entities: small ones suit the caches of a
processor.
"""
_SCRATCH = "scratch"
_QUICK = "format parquet, compression snappy, dictionary_size_limit 1"  # read once, then removed
_LIMBS, _LIMB_BITS = 3, 42  # a sum of a million limbs stays below 2^63
_EPOCH = dt.date(1970, 1, 1)
_NONE = {LOW: 2**63 - 1, HIGH: -(2**63)}
_MERGES = {SUM: "sum", LOW: "min", HIGH: "max", MASK: "or"}


@contextmanager
def features_of(
    tables: Tables,
    declared: FeatureSet,
    as_ofs: Sequence[dt.date],
    folder: Path,
    some: Callable[[str], str] = lambda _: "true",
) -> Iterator[Callable[[dt.date], str]]:
    """While the block lasts: from an as_of to the SQL, in brackets, of its feature rows.

    ``folder`` holds them meanwhile where one pass over all as_ofs is quicker than one statement
    each. ``some``: from an entity, as SQL, to the condition that it is wanted.
    """
    files: list[Path] = []
    try:
        if len(as_ofs) >= WORTH_A_PASS:
            files = write_history(tables, declared, as_ofs, folder, some)
        listed = ", ".join(map(file_literal, files))

        def features(as_of: dt.date) -> str:
            if not files:
                everybody = features_at(declared, as_of, checkpoints(tables, declared, as_of))
                return f"(from ({everybody}) where {some(identifier(declared.entity))})"
            alone = f"select * from read_parquet([{listed}]) where as_of = {literal(as_of)}"
            return f"({with_peers(declared, alone, as_of)})"

        yield features
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_history(
    tables: Tables,
    declared: FeatureSet,
    as_ofs: Sequence[dt.date],
    folder: Path,
    some: Callable[[str], str] = lambda _: "true",
) -> list[Path]:
    """Write the feature rows of many as_ofs to ``folder`` as Parquet, a file for each range of
    entities.

    They lack the features among peers, which are made of whole as_ofs. Each row is what
    ``features_at`` gives for its as_of, to the bit: the kernel merges the same integers, and the
    same SQL divides them. Memory is bounded by the ranges of entities that are at work.

    Returns
    -------
    the files, by range, in no order that may be relied upon. Without an entity there is none
    """
    folder.mkdir(parents=True, exist_ok=True)
    one_pass = _Pass(tables, declared, sorted(as_ofs), some)
    with one_pass.ready() as at_once, ThreadPoolExecutor(at_once) as threads:
        files = {
            span: folder / f"{number:05}.parquet" for number, span in enumerate(one_pass.ranges())
        }
        writing = [threads.submit(one_pass.write, span, path) for span, path in files.items()]
        try:
            for done in writing:
                done.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return list(files.values())


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
    """One pass over the daily parts: numbered entities, and those that looked other on an earlier
    as_of.

    Of source n: ``_other<n>`` has the (entity, as_of) of which the parts that are current at the
    last as_of are not those that were visible, and since when it looked so, for one view of an
    entity serves all as_ofs until its next late row; ``_v<n>_<i>`` the counts of distinct values,
    ``_attributes<n>`` the attributes.
    """

    def __init__(
        self,
        tables: Tables,
        declared: FeatureSet,
        as_ofs: list[dt.date],
        some: Callable[[str], str],
    ) -> None:
        self.tables, self.declared, self.as_ofs = tables, declared, as_ofs
        self.wanted = some("_entity")

    @contextmanager
    def ready(self) -> Iterator[int]:
        """Make what all ranges read, in a database of its own that every connection sees; then drop
        it.

        While the block lasts, a statement has one thread, and as many ranges are to be at work as
        it had before: NumPy has but one, and DuckDB's would wait for each other.
        """
        [(threads,)] = self.tables.rows("select current_setting('threads')")
        self.tables.db.execute(f"attach ':memory:' as {_SCRATCH}")
        try:
            self._prepare()
            self.tables.db.execute("set threads = 1")
            yield int(threads)
        finally:
            self.tables.db.execute(f"set threads = {threads}")
            self.tables.db.execute(f"detach {_SCRATCH}")

    def _prepare(self) -> None:
        listed = ", ".join(f"({literal(as_of)})" for as_of in self.as_ofs)
        self._make("_as_ofs", f"select * from (values {listed}) as t(as_of)")
        for number, table in enumerate(self.declared.attributes):
            self._make(f"_attributes{number}", self._of_each(partial(attributes_at, table)))
        for number, own in enumerate(self.declared.own):
            self._make(f"_own{number}", self._of_each(own.at))
        self._make("_entities", self._entities())
        for number, source in enumerate(self.declared.sources):
            self._make(f"_other{number}", self._other(source))
            self._make(
                f"_h{number}", " union all ".join(history_at(source, day) for day in self.as_ofs)
            )
            for place, part in enumerate(_listed(source)):
                windows = spans_of(self.declared, source)[part.name]
                self._make(
                    f"_v{number}_{place}",
                    self._of_each(partial(distinct_at, self.declared, source, part, windows)),
                )
        self.wide = [self._beyond_64_bits(source) for source in self.declared.sources]

    def _make(self, name: str, select: str) -> None:
        self.tables.db.execute(f"create table {_SCRATCH}.{name} as {select}")

    def _of_each(self, select: Callable[[dt.date], str]) -> str:
        rows = (
            f"select {literal(as_of)} as as_of, * from ({select(as_of)}) where {self.wanted}"
            for as_of in self.as_ofs
        )
        return " union all ".join(rows)

    @property
    def _known(self) -> str:
        """SQL condition: the daily parts known at the last as_of."""
        return f"day <= {literal(self.as_ofs[-1])} and known_on <= {literal(self.as_ofs[-1])}"

    def _entities(self) -> str:
        result = [
            f"select {identifier(self.declared.entity)} as _entity, count(*) as _rows "
            f"from {source.days_table} where {self._known} group by 1"
            for source in self.declared.sources
        ]
        result += [
            f"select _entity, count(*) as _rows from {_SCRATCH}._attributes{number} group by 1"
            for number in range(len(self.declared.attributes))
        ]
        return (
            "select row_number() over (order by _entity) - 1 as _group, _entity, _rows from "
            f"(select _entity, sum(_rows) as _rows from ({' union all '.join(result)}) "
            f"where {self.wanted} group by 1) order by 1"
        )

    def _other(self, source: EventSource) -> str:
        """A row that is current and became known after an as_of, and after its day, was not visible
        then.
        """
        return f"""
with late as (
  select _group, day, known_on, superseded_on from {source.days_table} as d
  join {_SCRATCH}._entities as e on e._entity = d.{identifier(self.declared.entity)}
  where {self._known} and known_on > day),
other as (
  select distinct _group, as_of \
from late join {_SCRATCH}._as_ofs on day <= as_of and as_of < known_on
  where superseded_on > {literal(self.as_ofs[-1])})
select o._group, as_of, known_on as _since from other as o
asof left join (select distinct _group, known_on from late) as l
  on o._group = l._group and o.as_of >= l.known_on order by 1, 2"""

    def _beyond_64_bits(self, source: EventSource) -> dict[str, list[int]]:
        """By part of 128 bits: the entities, ascending, of which its sum over all days does not fit
        64 bits.

        A part of 64 bits is refused then: the kernel would wrap around where the SQL of one as_of
        fails.
        """
        summed = [part for part in parts(source) if part.merge == SUM]
        most = ", ".join(f"coalesce(max(abs(cast({part.name} as double))), 0)" for part in summed)
        rows = f"(select coalesce(max(_rows), 0) from {_SCRATCH}._entities)"
        [(rows, *largest)] = self.tables.rows(f"select {rows}, {most} from {source.days_table}")
        wide = {}
        for part, value in zip(summed, largest, strict=True):
            if float(value) * float(rows) < 2**62:
                continue  # a bound, with room for its rounding
            result = self.tables.rows(f"""
select _group, _entity, total from {_SCRATCH}._entities join (
  select {identifier(self.declared.entity)} as _entity, \
sum(abs(cast({part.name} as hugeint))) as total
  from {source.days_table} group by 1 having total >= {2**63}) using (_entity) order by 1""")
            if result and part.type != "HUGEINT":
                [_, entity, total] = result[0]
                raise BusinessError(
                    f"{source.days_table}.{part.name}: {entity} comes to {total} in all, beyond 64 "
                    "bits: keep fewer `decimals`, or leave such rows out by a rule"
                )
            wide[part.name] = [group for group, *_ in result]
        return wide

    def _columns(self, number: int, span: "_Span") -> list["_Column"]:
        """What the kernel merges of a source: in limbs where an entity of the range needs them."""
        source = self.declared.sources[number]
        spans = spans_of(self.declared, source)

        def limbs(part: Part) -> int:
            wide = self.wide[number].get(part.name, [])
            return _LIMBS if bisect_left(wide, span.first) < bisect_right(wide, span.last) else 1

        return [
            _Column(part, spans[part.name], limbs(part))
            for part in parts(source)
            if part.merge != VALUES
        ]

    def ranges(self) -> Iterator[_Span]:
        """The entities cut into ranges of bounded size."""
        widths = [
            sum(map(len, spans_of(self.declared, source).values()))
            for source in self.declared.sources
        ]
        cells = len(self.as_ofs) * max(widths, default=1)
        share = f"sum(_rows / {MOST_ROWS}.0 + {cells} / {MOST_CELLS}.0) over (order by _group)"
        ends = "min(_group), max(_group), min(_entity), max(_entity)"
        result = f"select floor({share}) as _range, * from {_SCRATCH}._entities"
        for ends_found in self.tables.rows(
            f"select {ends} from ({result}) group by _range order by 1"
        ):
            yield _Span(*ends_found)

    def write(self, span: _Span, path: Path) -> None:
        """Write the feature rows of a range of entities; on a connection of its own, as a thread
        needs.
        """
        with self.tables.second_connection() as tables:
            made = []
            for number in range(len(self.declared.sources)):
                columns = self._columns(number, span)
                tables.db.register(f"_merged{number}", self._merged(tables, number, columns, span))
                made.append(f"_s{number} as ({self._finished(number, columns)})")
            near = f"_entity between {literal(span.least)} and {literal(span.most)}"
            made += [
                f"_a{number} as (from {_SCRATCH}._attributes{number} where {near})"
                for number in range(len(self.declared.attributes))
            ]
            made += [
                f"_h{number} as (from {_SCRATCH}._h{number})"
                for number in range(len(self.declared.sources))
            ]
            made += [
                f"_u{number} as (from {_SCRATCH}._own{number} where {near})"
                for number in range(len(self.declared.own))
            ]
            select = f"with {', '.join(made)} {final(self.declared, 'as_of', '_entity, as_of')}"
            tables.db.execute(f"copy ({select}) to {literal(path)} ({_QUICK})")

    def _finished(self, number: int, columns: "list[_Column]") -> str:
        source = self.declared.sources[number]
        spans = spans_of(self.declared, source)
        outputs = ["_entity", "as_of", *RHYTHM, *ends(source), *(THIRDS if source.thirds else ())]
        outputs += [f"_active_{window}" for window in spans["_active"]]
        outputs += [output for column in columns for output in column.outputs]
        outputs += _changes_of(source, spans)
        joined = ""
        for place, part in enumerate(_listed(source)):
            counted = [part.name, *filter(None, [repeats(source).get(part.name)])]
            outputs += [f"{each}_{window}" for each in counted for window in spans[part.name]]
            joined += f" left join {_SCRATCH}._v{number}_{place} using (_entity, as_of)"
        return f"select {', '.join(outputs)} from _merged{number}{joined} where events_all > 0"

    def _merged(
        self, tables: Tables, number: int, columns: "list[_Column]", span: _Span
    ) -> "pa.Table":
        import numpy as np
        import pyarrow as pa

        from churn_orchestration.churn.features.history import merged

        source = self.declared.sources[number]
        wanted = {name: (_MERGES[c.part.merge], c.windows) for c in columns for name in c.names}
        spans = spans_of(self.declared, source)
        wanted["_active"] = ("sum", spans["_active"])
        days, other = self._views(tables, number, columns, span)
        entities = span.last - span.first + 1
        begun = np.full(days.groups, np.iinfo(np.int64).max)
        begun[days.group[::-1]] = days.day[
            ::-1
        ]  # of several the last that is set counts: the first
        as_ofs = np.array([_number(as_of) for as_of in self.as_ofs])
        group, as_of = np.tile(np.arange(entities), len(as_ofs)), np.repeat(as_ofs, entities)
        view = group.copy()
        view[np.searchsorted(as_ofs, other["as_of"]) * entities + other["_group"]] = (
            entities + other["_view"]
        )
        settings = as_of >= begun[view]
        group, as_of, view = group[settings], as_of[settings], view[settings]
        named = tables.rows(
            f"select _entity from {_SCRATCH}._entities where {span.chosen} order by _group"
        )
        frame = {
            "_entity": pa.DictionaryArray.from_arrays(
                group.astype("int32"), [entity for (entity,) in named]
            ),
            "as_of": pa.array(as_of.astype("int32"), pa.date32()),
        }
        split = "events" if source.thirds else None
        changes = {name: spans[name] for name in map(of_changes, changing(source))}
        return pa.table(frame | merged(days, view, as_of, wanted, ends(source), split, changes))

    def _views(
        self, tables: Tables, number: int, columns: "list[_Column]", span: _Span
    ) -> "tuple[Days, dict[str, np.ndarray]]":
        """The daily parts of a range of entities as they were to be seen, and by whom other than at
        the end.

        Returns
        -------
        groups of daily parts: of n entities the first n as they are at the last as_of, then each
        other view of one of them; and ``_group``, ``as_of`` and ``_view``, a value a request that
        saw such a one
        """
        import numpy as np

        from churn_orchestration.churn.features.history import Days

        source, entities = self.declared.sources[number], span.last - span.first + 1
        since = "dense_rank() over (order by _group, _since) - 1 as _view"
        other = _numbers(
            tables,
            f"select _group - {span.first} as _group, as_of - {literal(_EPOCH)} as as_of, {since} "
            f"from {_SCRATCH}._other{number} where {span.chosen} order by _view, as_of",
        )
        read = [
            f"{name} - {literal(_EPOCH)} as {name}" for name in ("day", "known_on", "superseded_on")
        ]
        read += [column for c in columns for column in c.inputs]
        read += [
            f"coalesce({day_value(m)}, {_NONE[LOW]}) as {of_changes(m)}" for m in changing(source)
        ]
        name = f"d.{identifier(self.declared.entity)}"
        rows = _numbers(
            tables,
            f"select _group - {span.first} as _group, {', '.join(read)} from {_SCRATCH}._entities "
            f"as e join {source.days_table} as d on {name} = e._entity "
            f"and {name} between {literal(span.least)} and {literal(span.most)} "
            f"where events > 0 and {self._known} order by _group, d.day, d.known_on",
        )
        group, day, known, superseded = map(
            rows.pop, ("_group", "day", "known_on", "superseded_on")
        )
        stands = np.flatnonzero(superseded > _number(self.as_ofs[-1]))

        last = np.flatnonzero(
            np.diff(other["_view"], append=-1)
        )  # of each view, of which rows come and go
        owner, by = (
            other["_group"][last],
            other["as_of"][last],
        )  # on no requested day in between
        first = np.searchsorted(group, owner)
        length = np.searchsorted(group, owner, "right") - first
        view = np.repeat(np.arange(len(owner)), length)
        row = np.arange(len(view)) + (first - np.cumsum(length) + length)[view]
        seen = (day[row] <= by[view]) & (known[row] <= by[view]) & (superseded[row] > by[view])
        row = np.concatenate([stands, row[seen]])
        groups = np.concatenate([group[stands], entities + view[seen]])
        parts_seen = {name: values[row] for name, values in rows.items()}
        return Days(groups, day[row], parts_seen, entities + len(owner)), other


def _number(day: dt.date) -> int:
    return day.toordinal() - _EPOCH.toordinal()


def _numbers(tables: Tables, query: str) -> "dict[str, np.ndarray]":
    """The columns of a query as 64-bit integers; none of them may be null."""
    result = tables.db.sql(query).to_arrow_table()
    return {
        name: result.column(name).to_numpy().astype("int64", copy=False)
        for name in result.column_names
    }


@dataclass(frozen=True)
class _Column:
    """A part on its way through the kernel, which knows 64-bit integers; a wider one goes in
    ``limbs``.
    """

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


def _changes_of(source: EventSource, spans: Mapping[str, Sequence[str]]) -> list[str]:
    """SQL: the changes of a merged row, as ``rings`` has them."""
    wanted = [
        (f"{name}_{how}_{window}", _NONE[how])
        for name in map(of_changes, changing(source))
        for how in (LOW, HIGH)
        for window in spans[name]
    ]
    wanted += [(f"{of_changes(m)}_last_{ALL}", _NONE[LOW]) for m in changing(source)]
    # As wide as there: DuckDB rounds a division of another width otherwise beyond 2^53.
    return [f"cast(nullif({name}, {none}) as hugeint) as {name}" for name, none in wanted]


def _listed(source: EventSource) -> list[Part]:
    return [part for part in parts(source) if part.merge == VALUES]
