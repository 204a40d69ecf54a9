"""From raw to bronze and quarantine: every row judged, every day audited, nothing lost."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from churn_orchestration.churn.calendar import ClosedDays
from churn_orchestration.churn.rows import contract as contracts
from churn_orchestration.churn.rows.refusals import refused_sql
from churn_orchestration.churn.rows.shapes import shape_sql
from churn_orchestration.churn.sql import within
from churn_orchestration.components.days import blocked
from churn_orchestration.components.source.doubts import DOUBTS, conflicting_keys, mostly_refused
from churn_orchestration.components.source.landing_changes import changes_of
from churn_orchestration.components.source.pii_key import pii_key
from churn_orchestration.components.source.source_rules import SourceRules
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.open_changes import HELD
from churn_orchestration.storage.warehouse import Tables, literal, quoted

NEVER_CLOSED = ClosedDays.parse(())
_PLATFORM = ("_file", "_line", "_error", "_partition")


@dataclasses.dataclass(kw_only=True)
class Judgement:
    """What became of the raw rows of some days: counts, refused days, and the evidence of each
    check.
    """

    refused: dict[dt.date, Refusal]
    faults: dict[str, dict[dt.date, str]]
    new_columns: list[str]
    rows: dict[dt.date, int] = dataclasses.field(default_factory=dict)
    quarantined: dict[dt.date, int] = dataclasses.field(default_factory=dict)
    duplicates: dict[dt.date, int] = dataclasses.field(default_factory=dict)
    rules: dict[str, int] = dataclasses.field(default_factory=dict)
    doubts: dict[str, str | None] = dataclasses.field(default_factory=lambda: dict.fromkeys(DOUBTS))
    unusual: dict[dt.date, str] = dataclasses.field(default_factory=dict)
    held: dict[dt.date, str] = dataclasses.field(default_factory=dict)

    def metadata(self) -> dict[dt.date, dict[str, Any]]:
        """Per day, for the UI."""
        return {
            day: {
                "quarantined": self.quarantined.get(day, 0),
                "duplicates": self.duplicates.get(day, 0),
            }
            for day in self.rows
        }

    def quarantine_message(self) -> str:
        """How many rows were quarantined, by which rules most."""
        rows = sum(self.quarantined.values())
        if not rows:
            return "no row quarantined"
        rules = ", ".join(
            f"{rule} {count:,}" for rule, count in self.rules.items() if rule != "duplicate"
        )
        return f"{rows:,} rows quarantined ({rules})"

    def checks(self, bronze: dg.AssetKey) -> Iterator[dg.AssetCheckResult]:
        """One result per check that ran."""
        evidence: dict[str, dict[str, Any]] = {
            "conservation": {
                "bronze": sum(self.rows.values()),
                "quarantine": sum(self.quarantined.values()),
                "duplicates": sum(self.duplicates.values()),
                "rules": self.rules,
            },
            "schema": {"new_columns": self.new_columns},
        }
        for name, faults in self.faults.items():
            yield dg.AssetCheckResult(
                asset_key=bronze,
                check_name=name,
                passed=not faults,
                description="; ".join(f"{day}: {fault}" for day, fault in faults.items()) or None,
                metadata=evidence.get(name, {}),
            )
        for name, doubt in self.doubts.items():
            nothing = name == "mostly_valid" and not any(self.rows.values())
            yield dg.AssetCheckResult(
                asset_key=bronze,
                check_name=name,
                passed=doubt is None,
                severity=dg.AssetCheckSeverity.ERROR if nothing else dg.AssetCheckSeverity.WARN,
                description=doubt,
            )
        changed = {**self.unusual, **self.held}
        yield dg.AssetCheckResult(
            asset_key=bronze,
            check_name="as_usual",
            passed=not changed,
            severity=dg.AssetCheckSeverity.ERROR if self.held else dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{day}: {changed[day]}" for day in sorted(changed)) or None,
            metadata={"changed_days": len(changed), "held_days": len(self.held)},
        )


def judge(
    tables: Tables, source: SourceRules, days: list[dt.date], closed: ClosedDays = NEVER_CLOSED
) -> Judgement:
    """Judge the raw rows of ``days``; store bronze and quarantine of the days whose checks pass.

    ``closed``: days on which nothing lands.
    """
    contract = source.contract
    raw, bronze, quarantine = (
        f"{layer}.{source.name}" for layer in ("raw", "bronze", "quarantine")
    )
    refused = blocked(tables, [raw], days)
    schema, new_columns = _schema_faults(
        tables, source, [day for day in days if day not in refused]
    )
    refused |= schema
    good = [day for day in days if day not in refused]
    judgement = Judgement(
        refused=refused, faults={"conservation": {}, "schema": schema}, new_columns=new_columns
    )
    if good:
        landed = [name for name in tables.columns(raw) if name not in ("known_on", *_PLATFORM)]
        earlier = _earlier_keys(tables, source, min(good))
        select = contracts.judged(
            contract, raw, landed, within("_partition", good), source.together, earlier
        )
        tables.db.execute(f"create or replace temp table _judged as {select}")
        with pii_key(tables, contract, bronze), tables.transaction():
            judgement.rows = tables.replace_days(
                bronze, good, contracts.bronze_rows(contract, "_judged")
            )
            judgement.quarantined = tables.replace_days(
                quarantine, good, _refused_rows(contract, raw, tables.columns(raw))
            )
        _audit(tables, source, judgement, good)
        judgement.doubts["unique_key"] = conflicting_keys(tables, contract, "_judged")
        sound = [day for day in good if day not in judgement.refused]
        judgement.unusual, judgement.held = changes_of(
            tables, source, sound, judgement.refused, closed
        )
        judgement.refused |= {day: f"{HELD}{said}" for day, said in judgement.held.items()}
    for layer in (bronze, quarantine):
        if refused and tables.columns(layer):
            tables.replace_days(layer, refused, f"from {layer} limit 0")
    for day in refused:
        tables.drop_day(quarantine, day)
    for day in good:
        if day not in refused:
            tables.put_day(quarantine, day, _masked(contract, quarantine, day))
    judgement.quarantined = {
        day: n for day, n in judgement.quarantined.items() if day not in refused
    }
    judgement.doubts["mostly_valid"] = mostly_refused(
        tables, quarantine, judgement.quarantined, sum(judgement.rows.values())
    )
    for day in refused:
        judgement.rows.pop(day, None)
    return judgement


def _earlier_keys(tables: Tables, source: SourceRules, first: dt.date) -> str | None:
    """SQL of the keys of a history's valid rows before ``first``; None where there is no need.

    A history is one landing, however many days it is split over: a day of it may not take what an
    earlier one brought for corrected.
    """
    bronze, quarantine = f"bronze.{source.name}", f"quarantine.{source.name}"
    at_once = source.together == contracts.AT_ONCE
    if not (at_once and source.contract.key and tables.columns(bronze)):
        return None
    row = "_file, _line, _partition"
    valid = f"(select {row} from {bronze} union all from conflicts)"
    earlier = f"raw.{source.name} semi join {valid} using ({row})"
    keys = contracts.keys_of(source.contract, earlier, f"_partition < {literal(first)}")
    conflicts = f"select {row} from {quarantine} where rule = 'conflicting_key'"
    return f"with conflicts as ({conflicts}) {keys}"


def _refused_rows(contract: contracts.Contract, raw: str, columns: Iterable[str]) -> str:
    """Quarantined rows: the record, the rule, and what was got. A file's own ``rule`` keeps another
    name.
    """
    kept = {_shown(name): name for name in columns if name != "_error"}
    return refused_sql(contract, raw, kept)


def _shown(name: str) -> str:
    return f"{name}_in_file" if name.lower() in ("rule", "detail") else name


def _schema_faults(
    tables: Tables, source: SourceRules, days: list[dt.date]
) -> tuple[dict[dt.date, str], list[str]]:
    """Days whose file lacks a declared column, and columns that nobody declared."""
    declared = source.contract.sources
    headers = tables.manifest.headers(source.name, days)
    present = [
        name
        for name in tables.columns(f"raw.{source.name}")
        if name not in ("known_on", *_PLATFORM)
    ]
    if not headers:
        headers = [(day, source.name, present) for day in days]
    faults: dict[dt.date, str] = {}
    undeclared: dict[str, None] = {}
    for day, file, header in headers:
        undeclared |= dict.fromkeys(name for name in header or [] if name not in declared)
        if header and (absent := [name for name in declared if name not in header]):
            faults[day] = f'{file} has no column "{absent[0]}" (columns: {", ".join(header)})'
            if new := [name for name in header if name not in declared]:
                faults[day] += f'; if it is "{new[0]}" now, declare `from: {new[0]}`'
    return faults, list(undeclared)


def _audit(tables: Tables, source: SourceRules, judgement: Judgement, days: list[dt.date]) -> None:
    """Count every row again and run the expectations; a day that fails is refused."""
    counted = {
        layer: dict(
            tables.rows(
                f"select _partition, count(*) from {layer}.{source.name} "
                f"where {within('_partition', days)} group by 1"
            )
        )
        for layer in ("raw", "bronze", "quarantine")
    }
    judgement.rules = dict(
        tables.rows(
            "select _rule, count(*) from _judged where _rule is not null group by 1 order by 2 "
            "desc, 1"
        )
    )
    judgement.duplicates = dict(
        tables.rows("select _partition, count(*) from _judged where _rule = 'duplicate' group by 1")
    )
    for day in days:
        raw, bronze, quarantine = (
            counted[layer].get(day, 0) for layer in ("raw", "bronze", "quarantine")
        )
        duplicates = judgement.duplicates.get(day, 0)
        if raw != bronze + quarantine + duplicates:
            judgement.faults["conservation"][day] = (
                f"raw {raw} is not bronze {bronze} + quarantine {quarantine} + duplicates "
                f"{duplicates}"
            )
    if source.expectations:
        from churn_orchestration.components.source.expectations import unmet

        judgement.faults["expectations"] = unmet(
            tables, f"bronze.{source.name}", source.expectations, days
        )
    for faults in judgement.faults.values():
        judgement.refused |= faults


def _masked(contract: contracts.Contract, quarantine: str, day: dt.date) -> str:
    """Quarantined rows as the door shows them: declared columns only, personal data hidden.

    Of a row that could not be read, all values are masked to their shape: they may have slid, and a
    mail may be where an amount should.
    """
    personal = {column.source for column in contract.columns if column.pii}
    names = [quoted(_shown(name)) for name in contract.sources]
    columns = []
    for place, (source, name) in enumerate(zip(contract.sources, names, strict=True), 1):
        cell = f"cells[{place}]"
        value = f"case when {cell} is not null then '***' end" if source in personal else cell
        columns.append(f"case when is_unread then shapes[{place}] else {value} end as {name}")
    unread = "rule = 'malformed' or starts_with(rule, 'type:') or starts_with(rule, 'required:')"
    place_of_row = "rule, detail, known_on, _file, _line, _partition"
    # A file may call its columns as it likes, so they travel as a list; and one lambda shapes them,
    # since each regular expression that is written is made at a cost.
    shapes = f"list_transform(cells, lambda cell: {shape_sql('cell')})"
    return f"""
with refused as (
  select [{", ".join(names)}] as cells, {place_of_row} from {quarantine}
  where _partition = {literal(day)}),
judged as (select *, {unread} as is_unread from refused),
shaped as (select *, case when is_unread then {shapes} end as shapes from judged)
select {", ".join(columns)}, {place_of_row} from shaped order by _file, _line"""
