"""The perturbation proof: no row beyond as_of changes a feature of it, tried by changing every such
row.

For some entities, all tables at the bottom are copied into a database of their own, in memory, and
everything up to the features is made there by the same SQL. Then rows beyond as_of (day or known_on
after it) are removed, altered and added, and everything is made again. What differs reads the
future, and is named.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import duckdb

from churn_orchestration.churn.sql import identifier, literal

TIME = ("day", "known_on", "_partition")
_PLACE = ("_file", "_line")
_PROOF = "proof"
RULES = {
    "removed": "it reads rows beyond as_of: a bound on day or known_on is missing",
    "altered": "it reads rows beyond as_of: a bound on day or known_on is missing",
    "added after": "it reads days after as_of: bound the window, day <= as_of",
    "added late": "it reads rows that became known after as_of: add known_on <= as_of",
    "corrected later": "it reads the last version of a row, status or dimension instead of the "
    "one known by as_of: add known_on <= as_of, and choose the last of those",
    "dated ahead": (
        "it reads days after as_of that were known before, such as planned ones: add day <= as_of"
    ),
}
"""What is done to the rows of a table beyond as_of, and what is likely wrong where a feature
changes.
"""


@dataclass(frozen=True)
class Ground:
    """A table at the bottom: with ``day``, ``known_on`` and ``_partition``.

    Parameters
    ----------
    key : its declared key; none: nothing identifies a row
    entity : its column that holds the entity; None where it has none, such as a table of products
    """

    table: str
    key: tuple[str, ...] = ()
    entity: str | None = None


@dataclass(frozen=True)
class Pipeline:
    """The way from the grounds to the features.

    Parameters
    ----------
    build : computes all tables between again, in the database in use
    features : SQL of the feature rows of an as_of; the first column names the entity
    """

    grounds: tuple[Ground, ...]
    build: Callable[[duckdb.DuckDBPyConnection], None]
    features: Callable[[dt.date], str]


@dataclass(frozen=True)
class Leak:
    """A feature that rows beyond as_of change. ``feature`` is ``*`` where an entity comes or
    goes.
    """

    feature: str
    table: str
    rule: str
    entities: int
    example: str

    def __str__(self) -> str:
        message = "whole rows" if self.feature == "*" else self.feature
        return (
            f"{message}: changed by rows of {self.table} beyond as_of ({self.rule}; "
            f"{self.entities} entities, {self.example}). Most likely {RULES[self.rule]}"
        )


@dataclass(frozen=True)
class Proof:
    """The result of a proof.

    ``leaks``; ``moves``: whether anything moved when rows before as_of were altered, the control;
    ``blind``: the tables that then moved no feature; ``unmoved``: the features that nothing moved.
    """

    as_of: dt.date
    entities: int
    rows: int
    moves: bool
    leaks: list[Leak] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    unmoved: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Why it does not hold: the leaks, or that no change of any row was seen."""
        if self.rows and self.entities and not self.moves:
            return [
                "no feature changed when the rows before as_of were altered: the proof sees nothing"
            ]
        return [str(leak) for leak in self.leaks]


def prove(
    db: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    as_of: dt.date,
    most_entities: int = 200,
    most_rows: int = 200_000,
    *,
    by_table: bool = True,
) -> Proof:
    """Try to change the features of ``as_of`` by rows beyond it.

    Parameters
    ----------
    db : the database in use has the grounds; it is in use again afterwards, unchanged
    most_entities : how many are sampled, by the hash of their name, so that the sample is always
        the same
    most_rows : of a ground, about as many rows are copied at most, by the hash of its key
    by_table : whether each table is altered by itself to see which of them move no feature; else
        all at once, which is enough to see that the proof sees anything

    Raises
    ------
    duckdb.Error : the SQL of the pipeline fails
    """
    [(home,)] = db.execute("select current_database()").fetchall()
    db.execute(f"attach ':memory:' as {_PROOF}")
    try:
        trial = _Trial(
            db, replace(pipeline, grounds=tuple(map(_named, pipeline.grounds))), as_of, home
        )
        trial.copy(most_entities, most_rows)
        db.execute(f"use {_PROOF}")
        return trial.run(by_table=by_table)
    finally:
        db.execute(f"use {home}")
        db.execute(f"detach {_PROOF}")


def _named(ground: Ground) -> Ground:
    """The same with its columns as identifiers of SQL, as all that is written about it names
    them.
    """
    entity = identifier(ground.entity) if ground.entity else None
    return Ground(ground.table, tuple(map(identifier, ground.key)), entity)


class _Trial:
    def __init__(
        self, db: duckdb.DuckDBPyConnection, pipeline: Pipeline, as_of: dt.date, home: str
    ) -> None:
        self.db, self.pipeline, self.as_of, self.home = db, pipeline, as_of, home
        self.columns: dict[str, dict[str, str]] = {}
        self.entity, self.features = "", list[str]()

    def rows(self, query: str) -> list[tuple]:
        return self.db.execute(query).fetchall()

    @property
    def beyond(self) -> str:
        return f"(day > {literal(self.as_of)} or known_on > {literal(self.as_of)})"

    def copy(self, most_entities: int, most_rows: int) -> None:
        """The sampled rows of every ground, kept as they are as ``proof.kept.g<n>``."""
        for schema in ("raw", "bronze", "silver", "gold", "meta", "kept"):
            self.db.execute(f"create schema if not exists {_PROOF}.{schema}")
        result = " union ".join(
            f"select {g.entity} as entity from {self.home}.{g.table} where {g.entity} is not null"
            for g in self.pipeline.grounds
            if g.entity
        )
        chosen = f"{_PROOF}.kept.entities"
        self.db.execute(
            f"create table {chosen} as select entity from "
            f"({result or 'select null as entity limit 0'}) order by hash(entity::varchar), entity "
            f"limit {most_entities}"
        )
        for number, ground in enumerate(self.pipeline.grounds):
            source = f"{self.home}.{ground.table}"
            rows = f"select t.* from {source} as t"
            if ground.entity:
                rows += f" semi join {chosen} as c on t.{ground.entity} = c.entity"
            rows = self.thinned(rows, ground, most_rows)
            self.db.execute(f"create table {_PROOF}.kept.g{number} as {rows} order by all")
            described = self.rows(
                f"select column_name, column_type from (describe {_PROOF}.kept.g{number})"
            )
            self.columns[ground.table] = {identifier(name): kind for name, kind in described}

    def thinned(self, rows: str, ground: Ground, most: int) -> str:
        """SQL: about ``most`` of the rows, always the same; those of a key stay together."""
        [(there,)] = self.rows(f"select count(*) from ({rows})")
        if there <= most:
            return rows
        columns = ground.key or tuple(
            identifier(name) for (name,) in self.rows(f"select column_name from (describe {rows})")
        )
        return f"from ({rows}) where hash({', '.join(columns)}) % {-(-there // most)} = 0"

    def reset(self) -> None:
        for number, ground in enumerate(self.pipeline.grounds):
            self.db.execute(f"create or replace table {ground.table} as from kept.g{number}")

    def make(self, name: str) -> None:
        """Everything up to the features, which are kept as a table."""
        self.pipeline.build(self.db)
        self.db.execute(
            f"create or replace table kept.{name} as {self.pipeline.features(self.as_of)}"
        )

    def run(self, *, by_table: bool) -> Proof:
        self.reset()
        self.make("base")
        self.entity, *self.features = [
            identifier(name)
            for (name,) in self.rows("select column_name from (describe kept.base)")
        ]
        leaks: list[Leak] = []
        for rules in (("removed",), tuple(rule for rule in RULES if rule != "removed")):
            self.reset()
            for ground in self.pipeline.grounds:
                for rule in rules:
                    self.apply(ground, rule)
            self.make("changed")
            if self.differing():
                leaks += self.attributed(rules)
        grounds = [[ground] for ground in self.pipeline.grounds]
        blind, moved = self.control(grounds if by_table else [list(self.pipeline.grounds)])
        [(entities,)] = self.rows("select count(*) from kept.entities")
        counted = (
            f"select count(*) from kept.g{number}" for number in range(len(self.pipeline.grounds))
        )
        rows = sum(self.rows(count)[0][0] for count in counted)
        unmoved = [] if "*" in moved else [name for name in self.features if name not in moved]
        return Proof(self.as_of, entities, rows, bool(moved), leaks, blind, unmoved)

    def attributed(self, rules: tuple[str, ...]) -> Iterator[Leak]:
        """Which table and which rule change which feature, one at a time."""
        for ground in self.pipeline.grounds:
            for rule in rules:
                self.reset()
                self.apply(ground, rule)
                self.make("changed")
                for feature, entities in self.differing().items():
                    yield Leak(feature, ground.table, rule, entities, self.example(feature))

    def control(self, groups: list[list[Ground]]) -> tuple[list[str], set[str]]:
        """Whether rows before as_of are seen at all, by tables that are altered together: those
        that move no feature, and the features moved.
        """
        blind, moved = [], set()
        for grounds in groups:
            self.reset()
            for ground in grounds:
                self.alter(ground, f"not {self.beyond}")
            self.make("changed")
            result = set(self.differing())
            moved |= result
            if not result:
                some = f"where not {self.beyond} limit 1"
                blind += [g.table for g in grounds if self.rows(f"select 1 from {g.table} {some}")]
        return blind, moved

    # ---------------- comparing

    def differing(self) -> dict[str, int]:
        """The features that differ from the base, with the number of entities; ``*``: entities come
        or go.
        """
        both = f"kept.base as a full join kept.changed as b on a.{self.entity} = b.{self.entity}"
        gone = f"a.{self.entity} is null or b.{self.entity} is null"
        counts = [f"count(*) filter ({gone})"]
        counts += [
            f"count(*) filter (not ({gone}) and a.{f} is distinct from b.{f})"
            for f in self.features
        ]
        [result] = self.rows(f"select {', '.join(counts)} from {both}")
        return {name: n for name, n in zip(("*", *self.features), result, strict=True) if n}

    def example(self, feature: str) -> str:
        """What became of a feature of one entity, which is not named: messages hold no row."""
        a, b = f"a.{self.entity}", f"b.{self.entity}"
        if feature == "*":
            [(was,)] = self.rows(
                f"select {a} is not null from kept.base as a "
                f"full join kept.changed as b on {a} = {b} where {a} is null or {b} is null "
                f"order by coalesce({a}, {b}) limit 1"
            )
            return f"e.g. one {'vanishes' if was else 'appears'}"
        [(was, now)] = self.rows(
            f"select a.{feature}::varchar, b.{feature}::varchar from kept.base as a "
            f"join kept.changed as b on {a} = {b} where a.{feature} is distinct from b.{feature} "
            f"order by {a} limit 1"
        )
        return f"e.g. {was} became {now}"

    # ---------------- changing

    def apply(self, ground: Ground, rule: str) -> None:
        """Change the rows of a ground beyond as_of by a rule, or add such rows."""
        until, later = literal(self.as_of), f"{literal(self.as_of)} + 1 + (hash(rowid) % 20)::int"
        if rule == "removed":
            self.db.execute(f"delete from {ground.table} where {self.beyond}")
        elif rule == "altered":
            self.alter(ground, self.beyond)
        elif rule == "added after":
            self.add(ground, {"day": later, "known_on": later, "_partition": later}, new_key=True)
        elif rule == "added late":
            recent = f"{until} - (hash(rowid) % 30)::int"
            self.add(ground, {"day": recent, "known_on": later, "_partition": later}, new_key=True)
        elif rule == "corrected later":
            self.add(ground, {"day": "day", "known_on": later, "_partition": later}, new_key=False)
        else:
            self.add(ground, {"day": later, "known_on": until, "_partition": until}, new_key=True)

    def alter(self, ground: Ground, where: str) -> None:
        """Give other values to all that is neither key nor time; an entity's rows go to another."""
        columns = [
            name if name in (*TIME, *_PLACE, *ground.key) else f"{self.other(name, kind)} as {name}"
            for name, kind in self.columns[ground.table].items()
        ]
        self.db.execute(
            f"create or replace table kept.altered as select {', '.join(columns)} from "
            f"{ground.table} where {where}"
        )
        self.db.execute(f"delete from {ground.table} where {where}")
        self.db.execute(f"insert into {ground.table} by name from kept.altered")

    def add(self, ground: Ground, times: dict[str, str], *, new_key: bool) -> None:
        """Copy the rows that may be seen, with other times: as new rows, with their values and with
        other ones, some of a new entity; or, with the old key, as corrections.
        """
        # With their values too: a select that reads only some values would not see the others.
        marks = ("~", "+") if new_key else ("",)
        added = " union all by name ".join(
            f"({self.copied(ground, times, mark)})" for mark in marks
        )
        self.db.execute(f"insert into {ground.table} by name {added}")

    def copied(self, ground: Ground, times: dict[str, str], mark: str) -> str:
        """SQL: the rows that may be seen, with other times; ``mark`` makes new keys, ~ keeps
        values.
        """
        columns = []
        for name, kind in self.columns[ground.table].items():
            if name in times:
                columns.append(f"cast({times[name]} as {kind}) as {name}")
            elif name in _PLACE or (name in ground.key and not mark):
                columns.append(name)
            elif kind.startswith(("DATE", "TIMESTAMP")):  # of a key too: it moves with the row
                columns.append(
                    f"cast({name} + (({times['day']}) - day) * interval 1 day as {kind}) as {name}"
                )
            elif name in ground.key and (name != ground.entity or len(ground.key) == 1):
                columns.append(f"{_fresh(name, kind, mark)} as {name}")
            elif name == ground.entity:
                new = (
                    f"case when hash(rowid) % 7 = 0 then {_fresh(name, kind, mark)} else {name} end"
                )
                columns.append(f"{new if mark else self.other(name, kind)} as {name}")
            else:
                columns.append(name if mark == "~" else f"{self.other(name, kind)} as {name}")
        return f"select {', '.join(columns)} from {ground.table} where not {self.beyond}"

    def other(self, name: str, kind: str) -> str:
        """SQL: another value of a column: one that some other row has, or one that none has."""
        if kind == "VARCHAR":
            seen = f"lead({name}, 3) over (order by hash(rowid))"
            return (
                f"case when hash(rowid) % 3 > 0 then coalesce({seen}, 'other') "
                f"else concat('~', {name}) end"
            )
        if kind == "BOOLEAN":
            return f"not coalesce({name}, false)"
        if kind.startswith(("DATE", "TIMESTAMP")):
            return f"cast({name} + interval 400 day as {kind})"
        if (
            kind.endswith("INT")
            or kind == "INTEGER"
            or kind.startswith(("DECIMAL", "DOUBLE", "FLOAT"))
        ):
            smaller, larger = (
                f"try_cast({sql} as {kind})" for sql in (f"-3 * {name} - 7", f"5 * {name} + 11")
            )
            return f"coalesce(case when hash(rowid) % 2 = 0 then {smaller} else {larger} end, 7)"
        return name


def _fresh(name: str, kind: str, mark: str) -> str:
    """SQL: a value that no row has; another for each mark."""
    if kind == "VARCHAR":
        return f"concat('{mark}', {name})"
    if kind == "BOOLEAN":
        return name  # two values make no new key
    return f"cast({'-1' if mark == '~' else '-1000000000'} - {name} as {kind})"
