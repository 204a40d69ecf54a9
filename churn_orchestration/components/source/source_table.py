"""A source: landing files or a query -> raw/x as it came, bronze/x by contract, quarantine/x for
the rest.
"""

import codecs
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field, field_validator, model_validator

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, digest
from churn_orchestration.churn.rows import contract as contracts
from churn_orchestration.churn.rows.user_sql import columns_of, parsed
from churn_orchestration.components.days import (
    STALE_TAG,
    Computed,
    accepted_spec,
    attach_pictures,
    daily,
    due,
    record_and_publish,
    report_day,
    require_initial_load,
    shown_in,
    table_of,
    wanted,
)
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.shown import PLATFORM, look, platform
from churn_orchestration.components.source.doubts import DOUBTS
from churn_orchestration.components.source.judging import Judgement, judge
from churn_orchestration.components.source.source_rules import SourceRules
from churn_orchestration.components.source.source_specs import ColumnSpec, QuerySpec
from churn_orchestration.landing.arrivals import as_taken_in
from churn_orchestration.landing.files import Files
from churn_orchestration.landing.land import land
from churn_orchestration.landing.queries import land_query
from churn_orchestration.landing.source_landing import FileLanding, Landed, SourceLanding
from churn_orchestration.storage.layers import POOL
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal

_ENCODINGS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "iso8859-1": "latin-1"}


def _require_columns(place: str, used: list[str], declared: list[str]) -> None:
    known = {name.lower() for name in declared} | {"day", "known_on"}
    if unknown := [name for name in used if name.lower() not in known]:
        raise ValueError(f'{place}: no column "{unknown[0]}" ({", ".join(declared)})')


@dg.scaffold_with(
    example(
        files="orders/orders_{day}.csv",
        columns=[
            {"name": "customer_id", "type": "id", "required": True},
            {"name": "ordered_at", "type": "timestamp", "required": True},
            {"name": "amount_usd", "type": "decimal", "required": True},
        ],
        event_time="ordered_at",
    )
)
class SourceTable(dg.Component, dg.Model, dg.Resolvable):
    """Lands one source and judges every row by its declared contract."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="the table's name in raw, bronze and quarantine"
    )
    description: str = Field("", description="grain and meaning of a row, shown in the UI")
    files: str | None = Field(
        None, description='glob below the landing folder, e.g. "orders/{day}.csv.gz"'
    )
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description='of CSV files; a tab is "\\t"'
    )
    encoding: str = Field("utf-8", description="of CSV files: utf-8, utf-16 or latin-1")
    sheet: str | None = Field(
        None, description="of Excel workbooks; not needed if there is but one"
    )
    query: QuerySpec | None = Field(None, description="read from a database instead of files")
    columns: list[ColumnSpec] = Field(
        min_length=1, description="the contract; other columns stay behind in raw"
    )
    event_time: str | None = Field(
        None,
        description="the date or timestamp column that says when it happened; where there is "
        "none, a row has the day on which it became known",
    )
    key: list[str] = Field(
        [], description="columns that identify a row; without it nothing is deduplicated"
    )
    where: dict[str, str] = Field(
        {}, description="rules a row must meet, name: SQL condition over the columns"
    )
    missing_file: Literal["warn", "fail"] = Field(
        "warn", description="what a day without its file means"
    )
    expectations: list[dict[str, Any]] = Field(
        [], description="Great Expectations: type and its arguments"
    )
    watch: dict[str, Literal["block", "ignore"]] = Field(
        {},
        description="of a column, or of `rows`: `block` holds a day on which it changed, `ignore` "
        "does not watch it; what is not named is watched, and a change is a warning",
    )

    @field_validator("files")
    @classmethod
    def _in_landing(cls, files: str | None) -> str | None:
        if files and (Path(files).is_absolute() or ".." in Path(files).parts):
            raise ValueError(
                f'"{files}" leads out of the landing folder: name files below it; `landing` in '
                "business.yaml "
                "says where it is"
            )
        return files

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            return _ENCODINGS[codecs.lookup(encoding).name]
        except LookupError:
            raise ValueError(
                f'encoding "{encoding}" is not read: utf-8, utf-16 or latin-1; save the file as '
                "UTF-8"
            ) from None

    @model_validator(mode="after")
    def _consistent(self) -> "SourceTable":
        names = [column.name for column in self.columns]
        if (self.files is None) == (self.query is None):
            raise ValueError(f"{self.name}: give either files or query")
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{self.name}: column {', '.join(sorted(twice))} is declared twice")
        for what, used in (
            ("event_time", [self.event_time] if self.event_time else []),
            ("key", self.key),
        ):
            if unknown := [name for name in used if name not in names]:
                raise ValueError(
                    f'{self.name}: {what} names "{unknown[0]}", which is no column '
                    f"({', '.join(names)})"
                )
        for column in self.columns:
            if column.name == self.event_time and column.type not in (
                "date",
                "timestamp",
                "timestamptz",
            ):
                raise ValueError(
                    f"{self.name}: event_time {column.name} is {column.type}; a date or timestamp "
                    "is needed"
                )
        if "day" in names and self.event_time != "day":
            raise ValueError(
                f'{self.name}: "day" is the day of the event: make it event_time, or name it '
                "otherwise"
            )
        for name, condition in self.where.items():
            _require_columns(
                f"{self.name}: rule {name}",
                columns_of(parsed(condition, f"{self.name}: rule {name}")),
                names,
            )
        kept = [column.name for column in self.columns if column.pii != "drop"]
        _require_columns(
            f"{self.name}: watch", [name for name in self.watch if name != "rows"], kept
        )
        for expectation in self.expectations:
            if "type" not in expectation:
                raise ValueError(f"{self.name}: an expectation without `type`: {expectation}")
            used = [expectation["column"]] if "column" in expectation else []
            _require_columns(f"{self.name}: {expectation['type']}", used, kept)
        return self

    @property
    def is_dated_back(self) -> bool:
        """Whether rows of one landing have days of their own: those of a history file, or of a
        query.
        """
        return self.event_time is not None and not (self.files and Files(self.files).is_daily)

    def contract(self, timezone: str, earliest_event: dt.date | None = None) -> contracts.Contract:
        """The declared contract in the words of ``churn.contract``."""
        columns = tuple(
            contracts.Column(
                c.name,
                c.source or c.name,
                c.type,
                c.format,
                c.required or c.name in self.key,
                c.pii,
                c.decimal,
            )
            for c in self.columns
        )
        where = tuple(self.where.items())
        return contracts.Contract(
            columns, self.event_time, tuple(self.key), where, timezone, earliest_event
        )

    def rules(self, contract: contracts.Contract) -> SourceRules:
        """What its rows are judged by. Each answer of a query is a landing, and each day of files;
        a history is one, however many days it is split over.
        """
        together = contracts.BY_FILE if Files(self.files or "").is_daily else contracts.AT_ONCE
        return SourceRules(
            name=self.name,
            contract=contract,
            together=contracts.BY_QUERY if self.query else together,
            expectations=self.expectations,
            watch=self.watch,
        )

    def _column_description(self, column: ColumnSpec) -> str:
        """A column's description; where there is none, what else is declared of it."""
        key = "identifies a row" if len(self.key) == 1 else "part of the key"
        words = column.description or (key if column.name in self.key else "")
        fate = {
            "drop": "personal: stays behind in raw",
            "hash": "personal: a keyed hash from bronze on",
        }
        return "; ".join(filter(None, [words, fate.get(column.pii or "", "")]))

    def raw_columns(self) -> list[dg.TableColumn]:
        """The declared columns as they land; a file may bring more."""
        named = {c.source or c.name: self._column_description(c) for c in self.columns}
        landed = [
            dg.TableColumn(c, "text", message)
            for c, message in named.items()
            if c not in contracts.PLACES
        ]
        error = dg.TableColumn(
            "_error", "text", "what is wrong with a malformed line; null of a sound one"
        )
        return [*landed, *platform("_line"), error, *platform("_file", "_partition", "known_on")]

    def bronze_columns(self) -> list[dg.TableColumn]:
        """The declared columns, typed."""
        kept = [
            dg.TableColumn(
                c.name,
                "text" if c.pii == "hash" else _STORED_AS.get(c.type, c.type),
                self._column_description(c) or ("UTC" if c.type.startswith("timestamp") else ""),
                dg.TableColumnConstraints(nullable=not (c.required or c.name in self.key)),
            )
            for c in self.columns
            if c.pii != "drop" and c.name != "day"
        ]
        return [*kept, *platform("day", "known_on", "_partition", "_file", "_line")]

    def quarantine_columns(self) -> list[dg.TableColumn]:
        """Those of raw, with the rule; personal data are hidden."""
        landed = [
            column for column in self.raw_columns() if column.name not in (*PLATFORM, "_error")
        ]
        broken = [
            dg.TableColumn(
                "rule", "text", "the first rule that the record breaks, e.g. required:customer_id"
            ),
            dg.TableColumn("detail", "text", "what was got, where the rule alone does not say it"),
        ]
        return [*landed, *broken, *platform("known_on", "_file", "_line", "_partition")]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets raw/x and bronze/x with quarantine/x, and their checks."""
        business = Business.holding(context.path)
        return dg.Definitions(assets=[self._raw(business), self._bronze(business)])

    def _key(self, layer: str) -> dg.AssetKey:
        return dg.AssetKey([layer, self.name])

    @property
    def _meaning(self) -> str:
        return self.description or f"The source {self.name}."

    def _contract(self, business: Business) -> contracts.Contract:
        return self.contract(business.settings.timezone, business.earliest_event)

    def _declaration(self, business: Business) -> str:
        declared = [getattr(self, name) for name in _DECLARED] + (
            [self.sheet] if self.sheet else []
        )
        return digest(*declared, self._contract(business), business.start)

    def _raw(self, business: Business) -> dg.AssetsDefinition:
        """The asset of what lands."""
        key = self._key("raw")
        landed_by = stages.version(self._declaration(business), stages.RAW)

        @dg.asset(
            key=key,
            description="One row per landed record, as it came, with its file and line.\n\n"
            f"{self._meaning}{look(business, key)}",
            check_specs=[dg.AssetCheckSpec("files_complete", asset=key), accepted_spec(key)],
            code_version=landed_by,
            **daily(business, key, {"file" if self.files else "sql", "duckdb"}, self.raw_columns()),
        )
        def raw_asset(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
            with warehouse.open(business.landing_place) as tables:
                days = self._due(context, tables, key)
                require_initial_load(tables, f"raw.{self.name}", business, days)
                kept = self._days_not_landed_again(context, tables, business, landed_by, days)
                landed = self._land(tables, business, [day for day in days if day not in kept])
                drawn = self._rows_by_day(tables, "raw", days, landed.refused, business)
                yield from record_and_publish(
                    context,
                    tables,
                    key,
                    Computed(
                        declaration=landed_by,
                        rows=landed.rows | kept,
                        refused=landed.refused,
                        pictures={"picture_rows_by_day": drawn},
                        checks=[self._files_complete(key, landed, business)],
                        note=self._files_read(tables, days, kept),
                    ),
                )

        return raw_asset

    def _bronze(self, business: Business) -> dg.AssetsDefinition:
        """The assets of the rows that meet the contract, and of those that do not."""
        bronze, quarantine = self._key("bronze"), self._key("quarantine")
        judged_by = stages.version(digest(self._declaration(business), _JUDGED), stages.BRONZE)
        valid = f"One row per valid record, typed, under its declared names.\n\n{self._meaning}"
        refused = (
            f"One row per refused record of {self.name}, as it came, with the rule that refused it."
        )

        @dg.multi_asset(
            name=f"bronze_{self.name}",
            specs=[
                dg.AssetSpec(
                    key,
                    deps=[self._key("raw")],
                    description=description + look(business, key),
                    code_version=judged_by,
                    **shown_in(business, key, {"duckdb"}, columns),
                )
                for key, description, columns in (
                    (bronze, valid, self.bronze_columns()),
                    (quarantine, refused, self.quarantine_columns()),
                )
            ],
            check_specs=[
                accepted_spec(bronze),
                *(
                    dg.AssetCheckSpec(name, asset=bronze, description=text)
                    for name, text in _CHECKS.items()
                    if self.expectations or name != "expectations"
                ),
            ],
            backfill_policy=dg.BackfillPolicy.single_run(),
            pool=POOL,
        )
        def bronze_asset(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
            with warehouse.open() as tables:
                days = self._due(context, tables, bronze, quarantine)
                rules = self.rules(self._contract(business))
                judgement = judge(tables, rules, days, business.closed)
                self._report_quarantine(context, tables, business, judgement, judged_by)
                drawn = self._rows_by_day(tables, "bronze", days, judgement.refused, business)
                yield from record_and_publish(
                    context,
                    tables,
                    bronze,
                    Computed(
                        declaration=judged_by,
                        rows=judgement.rows,
                        refused=judgement.refused,
                        upstream=[f"raw.{self.name}"],
                        metadata=judgement.metadata(),
                        pictures={"picture_rows_by_day": drawn},
                        checks=judgement.checks(bronze),
                        note=judgement.quarantine_message(),
                    ),
                )
                yield dg.MaterializeResult(asset_key=quarantine)

        return bronze_asset

    def _report_quarantine(
        self,
        context: dg.AssetExecutionContext,
        tables: Tables,
        business: Business,
        judgement: Judgement,
        judged_by: str,
    ) -> None:
        """Record and show what went to quarantine; of a refused day nothing does: its rows wait in
        raw.
        """
        key, rows = self._key("quarantine"), judgement.quarantined
        empty = dict.fromkeys(judgement.refused, 0)
        tables.days.record(table_of(key), "stored", empty | rows, judged_by)
        for day, count in rows.items():
            report_day(context, key, day, count, {})
        if rows:
            drawn = self._quarantined_by_rule(tables, business.earliest_event)
            attach_pictures(context, key, max(rows), {"picture_quarantined_by_rule": drawn})

    def _due(
        self, context: dg.AssetExecutionContext, tables: Tables, *keys: dg.AssetKey
    ) -> list[dt.date]:
        """The days that a run lands, or judges; one that bronze refused is landed again: it may be
        mended.
        """
        refused = tables.days.refused(f"bronze.{self.name}", dt.date.max)
        days = {day for key in keys for day in due(context, tables, key)}
        return (
            sorted(days | {day for day in wanted(context) if day in refused})
            or wanted(context)[-1:]
        )

    def _days_not_landed_again(
        self,
        context: dg.AssetExecutionContext,
        tables: Tables,
        business: Business,
        landed_by: str,
        days: list[dt.date],
    ) -> dict[dt.date, int]:
        """Rows of the days that stay as they landed, although other code read them, by day.

        A database gives what it holds now, and a file may be gone: whether to take that in as if it
        had come on those days is for a person to decide, with `churn run --from DAY`.
        """
        if STALE_TAG not in context.run.tags:
            return {}
        rows = tables.days.computed_by_other_code(f"raw.{self.name}", landed_by)
        refused = tables.days.refused(f"bronze.{self.name}", dt.date.max)
        again = as_taken_in(tables, business, self.name, days) if self.files else set()
        return {
            day: rows[day]
            for day in days
            if day in rows and day not in again and day not in refused
        }

    def _files_read(self, tables: Tables, days: list[dt.date], kept: Mapping[dt.date, int]) -> str:
        files = tables.manifest.files_of(self.name, days)
        parts = [f"{files:,} file{'' if files == 1 else 's'} read"] if self.files else []
        if kept:
            parts.append(
                f"{len(kept)} days stay as they landed: what they were read from has changed since"
            )
        return "; ".join(parts)

    def _land(self, tables: Tables, business: Business, days: list[dt.date]) -> Landed:
        if not days:
            return Landed(rows={})
        contract = self._contract(business)
        if self.query:
            landing = SourceLanding(
                tables=tables, business=business, name=self.name, contract=contract, days=days
            )
            return land_query(landing, self.query.url_variable, self.query.sql)
        landed = land(
            FileLanding(
                tables=tables,
                business=business,
                name=self.name,
                contract=contract,
                days=days,
                files=Files(self.files or "", self.delimiter, self.encoding, self.sheet),
            )
        )
        if self.missing_file == "fail":
            for day in landed.missing:
                landed.refused.setdefault(
                    max(day, business.start), f"no file for {day} ({self.files})"
                )
        return landed

    def _rows_by_day(
        self,
        tables: Tables,
        layer: str,
        days: list[dt.date],
        refused: Iterable[dt.date],
        business: Business,
    ) -> str | None:
        """``refused``: of the ``days`` of this run; what is on record of them is of an earlier
        one.
        """
        table = f"{layer}.{self.name}"
        result = tables.columns(table)
        rows = (
            tables.rows(
                f"select {_shown_day(business.earliest_event)}, count(*) from {table} group by 1"
            )
            if result
            else []
        )
        now = {day for day in refused if not tables.days.is_waived(table, day)}
        before = set(tables.days.refused(table, dt.date.max)) - set(days)
        return pictures.rows_by_day(table, dict(rows), sorted(before | now))

    def _quarantined_by_rule(self, tables: Tables, earliest: dt.date) -> str | None:
        rows = (
            f"select {_shown_day(earliest)} as day, rule, count(*) from quarantine.{self.name} "
            "group by all order by all"
        )
        return pictures.quarantined_by_rule(self.name, tables.rows(rows))

    def _files_complete(
        self, key: dg.AssetKey, landed: Landed, business: Business
    ) -> dg.AssetCheckResult:
        faults = []
        if landed.missing:
            more = f" and {len(landed.missing) - 10} more" if len(landed.missing) > 10 else ""
            faults.append(f"no file for {', '.join(map(str, landed.missing[:10]))}{more}")
        if landed.strays:
            faults.append(f"no day can be read in the name of {', '.join(landed.strays[:5])}")
        if landed.beyond:
            faults.append(landed.beyond)
        faults += landed.repeated[:5]
        failing = landed.missing and self.missing_file == "fail"
        return dg.AssetCheckResult(
            asset_key=key,
            check_name="files_complete",
            passed=not faults,
            severity=dg.AssetCheckSeverity.ERROR if failing else dg.AssetCheckSeverity.WARN,
            description="; ".join(faults) or None,
            metadata={"missing_days": len(landed.missing), "landing": str(business.landing)},
        )


def _shown_day(earliest: dt.date) -> str:
    """The day of a row in a picture; that of its partition where its own means none, such as
    0000-01-01.
    """
    return f"case when known_on >= {literal(earliest)} then known_on else _partition end"


_JUDGED = 2
"""Part of each declaration of bronze, since stored days have it; what judges rows is a stage of its
own.
"""
_STORED_AS = {
    "id": "text",
    "integer": "bigint",
    "decimal": "decimal(18,4)",
    "timestamptz": "timestamp",
}
_DECLARED = ("files", "delimiter", "encoding", "query", "expectations", "missing_file")
_CHECKS = {
    "conservation": (
        "raw = bronze + quarantine + exact duplicates of a declared key, for every day."
    ),
    "schema": "Every declared column came; new columns are named.",
    "expectations": "The declared Great Expectations hold.",
    **DOUBTS,
    "as_usual": "Rows and columns are as they were in the eight weeks before.",
}
