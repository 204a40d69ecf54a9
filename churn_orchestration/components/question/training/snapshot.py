"""The training snapshot of a cut-off: immutable Parquet with a manifest; loading verifies every
byte.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn import bound, calendar
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.feature import topic_of
from churn_orchestration.churn.features.origin import origins
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.protocol import NO_MODEL, NOT_TRAINED
from churn_orchestration.churn.question import answerable, copies
from churn_orchestration.churn.question.labels import (
    INACTIVITY,
    STATIC,
    Question,
    labelled,
    population,
)
from churn_orchestration.churn.sql import connect, identifier, identifiers
from churn_orchestration.components.days import shown_pictures, table_of, wanted
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.components.features.feature_table import feature_declaration
from churn_orchestration.components.features.proof import require_proved
from churn_orchestration.components.question.processes import process_records
from churn_orchestration.components.question.store import QuestionStore
from churn_orchestration.components.question.training.trigger import trigger_of
from churn_orchestration.components.shown import about, feature_columns, keys, look
from churn_orchestration.components.source.landed_at_once import known_from
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_files import content_hash, damage
from churn_orchestration.storage.door import publish, recomputes
from churn_orchestration.storage.files import literal_parquet, swap_in, write_text
from churn_orchestration.storage.layers import PARQUET, POOL
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.components.question.question import QuestionSettings


def build(
    tables: Tables, business: Business, settings: "QuestionSettings", cutoff: dt.date
) -> dict[str, Any]:
    """Write the snapshot of a cut-off, unless the same one is there; its manifest.

    Raises
    ------
    BusinessError : no as_of has matured by the cut-off, nobody is in the population, days are
        not valid, or rows beyond as_of change a feature
    """
    question, grid = settings.question, as_ofs(tables, business, settings, cutoff)
    [(first_day,)] = tables.rows(_first_day(question, cutoff))
    require_proved(tables, settings.pipeline, settings.gold, grid[-1])
    names = [feature.name for feature in catalogue(question.features)]
    columns = [question.entity, "as_of", "label", "label_known_on", "cutoff", *names]
    folder = settings.store.snapshot_files(tables.state)
    temporary = folder / f"{cutoff}.writing"
    folder.mkdir(parents=True, exist_ok=True)
    days = sorted({*grid, cutoff})
    with features_of(tables, question.features, days, folder / f".{cutoff}") as features:
        stacked = " union all ".join(
            f"(select {identifiers(columns)} from (select *, date '{cutoff}' as cutoff "
            f"from ({labelled(question, features(as_of), as_of, cutoff)})))"
            for as_of in grid
        )
        everything = f"{stacked} order by as_of, {identifier(question.entity)}"
        [(rows,)] = tables.rows(f"copy ({everything}) to {literal(temporary)} ({PARQUET})")
        processes = process_records(tables, question, features, days)
    if not rows:
        temporary.unlink()
        raise BusinessError(
            f"{question.name}: {settings.nobody} any as_of from {grid[0]} to {grid[-1]}"
        )
    content = content_hash(temporary)
    path = folder / f"{cutoff}-{content[:12]}.parquet"
    swap_in(temporary, path)
    rates = tables.rows(
        f"select as_of, count(*), avg(label::int) from {literal(path)} group by 1 order by 1"
    )
    manifest = {
        "file": path.name, "sha256": content, "cutoff": str(cutoff), "rows": rows,
        "columns": columns, "as_ofs": [
            {"as_of": str(day), "rows": count, "churn_rate": rate} for day, count, rate in rates
        ],
        "declaration": digest(question), "code": stages.identity(stages.SNAPSHOTS),
        "processes": processes,
        "more_as_ofs": settings.more_as_ofs(cutoff, first_day, len(grid)),
        "without_value": {
            name: str(day) for name, day in known_from(tables, question.features).items()
            if day > grid[-1]
        },
    }  # fmt: skip
    write_text(folder / f"{cutoff}.json", json.dumps(manifest, indent=1))
    return manifest


def as_ofs(
    tables: Tables, business: Business, settings: "QuestionSettings", cutoff: dt.date
) -> list[dt.date]:
    """The days of which the snapshot of a cut-off is made.

    Raises
    ------
    BusinessError : none has matured by the cut-off, or days before it are not valid
    """
    question = settings.question
    require_valid(tables, business, question, cutoff)
    [(first_day,)] = tables.rows(_first_day(question, cutoff))
    if first_day is None:
        raise BusinessError(
            f"{question.name}: {question.base.table} has no row that is known by {cutoff}: is "
            "there any, and what went to quarantine (`churn status`)?"
        )
    newest = question.horizon.newest_as_of(cutoff)
    most = settings.most_as_ofs or calendar.as_ofs_of(
        _customers(tables, question, newest), question.horizon, settings.every
    )
    grid = settings.as_of_grid(cutoff, first_day, most)
    if not grid:
        raise BusinessError(
            f"{question.name}: no as_of has matured by {cutoff}: outcomes are known of days up to "
            f"{newest}, and an as_of needs {settings.min_history_days} days of data, which begin "
            f"on {first_day}: use a later cut-off, or a shorter horizon"
        )
    return grid


def _customers(tables: Tables, question: Question, as_of: dt.date) -> int:
    people = population(question, f"({features_at(question.bare, as_of)})", as_of)
    [(count,)] = tables.rows(f"select count(*) from ({people})")
    return int(count)


def _first_day(question: Question, cutoff: dt.date) -> str:
    return (
        f"select min(day) as first_day from {question.base.table} "
        f"where known_on <= {literal(cutoff)}"
    )


def require_valid(tables: Tables, business: Business, question: Question, until: dt.date) -> None:
    """Refuse to read over a day that is refused or not there."""
    for table in question.tables:
        if reason := tables.days.why_invalid(table, business.start, max(until, business.start)):
            raise BusinessError(
                f"{question.name}: {reason}; `churn run --to {max(until, business.start)}` first"
            )


def load(folder: Path, cutoff: dt.date) -> tuple["pd.DataFrame", dict[str, Any]]:
    """The rows of a snapshot that are learned from, and its manifest; a file whose bytes changed is
    refused by name.

    Beyond MOST_ROWS they are those of a part of the entities, see ``churn.bound``.
    """
    if not (folder / f"{cutoff}.json").is_file():
        raise BusinessError(
            f"{folder.name}: there is no snapshot of cut-off {cutoff}: materialize it first"
        )
    manifest = json.loads((folder / f"{cutoff}.json").read_text())
    path = folder / manifest["file"]
    wrong = damage(path)
    if wrong or content_hash(path) != manifest["sha256"]:
        raise BusinessError(
            f"snapshots.{folder.name} {cutoff}: "
            f"{wrong or f'{path} is not what its manifest says'}: "
            f"`{recomputes(f'snapshots.{folder.name}', cutoff)}` takes it again"
        )
    entity = identifier(manifest["columns"][0])
    some = bound.some_entities(entity, manifest["rows"], bound.MOST_ROWS)
    with closing(connect()) as db:
        rows = db.sql(f"from {literal_parquet(path)} where {some}").to_arrow_table()
    return rows.to_pandas(), manifest


def distinct(settings: "QuestionSettings", frame: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of a snapshot that train and are graded: copies of an entity under new ids count
    once.
    """
    features = catalogue(settings.question.features)
    # Of who came once, the first day is the last one: they are no witnesses for each other.
    topics = {
        f.name: topic_of(f.source, "recency" if f.family == "tenure" else f.family)
        for f in features
    }
    least = (
        1 if settings.question.kind == STATIC else 2
    )  # of events, one day may make all others equal
    return copies.distinct(frame, topics, least)


@dataclass(frozen=True)
class TrainingRows:
    """What a training learns from.

    Parameters
    ----------
    frame : rows of the snapshot, those of an entity and its copies once
    read : how many rows were read, with all copies
    manifest : of the whole snapshot
    """

    frame: "pd.DataFrame"
    read: int
    manifest: dict[str, Any]

    @classmethod
    def of(cls, settings: "QuestionSettings", folder: Path, cutoff: dt.date) -> "TrainingRows":
        """The rows of the snapshot of a cut-off; see `load`."""
        frame, manifest = load(folder, cutoff)
        return cls(distinct(settings, frame), len(frame), manifest)


@dataclass(frozen=True)
class Leaks:
    """What the features of a snapshot know too much of: what blocks a training, what is a warning,
    in words.

    ``innocent``: of the features that block it, those that likely are no leak, and what they are.
    """

    blocking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    innocent: Mapping[str, str] = field(default_factory=dict)

    def refusal(self, settings: "QuestionSettings", cutoff: dt.date | str) -> str:
        """Why the training is refused, with the likeliest remedy first."""
        knows = "may know" if len(self.innocent) == len(self.blocking) else "knows"
        why = "; ".join(self.blocking)
        message = f"refuses to train at cut-off {cutoff}, for a feature {knows} the outcome: {why}"
        if not self.innocent:
            remedy = f"if it is truly known by as_of, say why in `vouched` of {settings.name}"
            return f"{message}. Take it out of the features; or, {remedy}"
        line = yaml.safe_dump(
            {**settings.vouched, **self.innocent},
            default_flow_style=True,
            sort_keys=False,
            width=10_000,
        )
        return (
            f"{message}. If it is what it looks like, paste `vouched: {line.strip()}` into "
            f"{settings.name}; if it was written afterwards, take it out of the features"
        )


def leaks(
    folder: Path, settings: "QuestionSettings", frame: "pd.DataFrame", manifest: dict[str, Any]
) -> Leaks:
    """What is wrong with training on a snapshot: each feature that knows too much, with evidence
    and cause.

    Sought once: what came of it is kept with the snapshot. Features of ``vouched`` are not judged.
    """
    looked = digest(
        manifest["sha256"],
        stages.identity(stages.MODELS),
        sorted(settings.vouched),
        settings.landed,
    )
    path = folder / f"{manifest['cutoff']}.leaks"
    if path.exists() and (before := json.loads(path.read_text())).pop("looked") == looked:
        return Leaks(**before)
    from churn_orchestration.churn.question import leakage

    question = settings.question
    result = leakage.find(
        frame,
        question.entity,
        [feature.name for feature in catalogue(question.features)],
        question.horizon,
        origins(question.features, settings.landed),
        settings.vouched,
    )
    message = Leaks(
        tuple(str(leak) for leak in result if leak.blocking),
        tuple(str(leak) for leak in result if not leak.blocking),
        {leak.feature: leak.innocent for leak in result if leak.blocking and leak.innocent},
    )
    write_text(path, json.dumps({"looked": looked, **asdict(message)}, indent=1))
    return message


def hopeless(settings: "QuestionSettings", frame: "pd.DataFrame") -> list[str]:
    """Why nothing can be learned from a snapshot; empty: something may be."""
    names = [feature.name for feature in catalogue(settings.question.features)]
    return answerable.hopeless(frame, settings.question.entity, names, settings.test_as_ofs)


def refuse(
    folder: Path, settings: "QuestionSettings", frame: "pd.DataFrame", manifest: dict[str, Any]
) -> list[str]:
    """Refuse to train where nothing can be learned, or a feature knows the outcome; warnings if it
    may be.

    Raises
    ------
    BusinessError : names each reason, or each feature with evidence and cause
    """
    if reasons := hopeless(settings, frame):
        raise BusinessError(f"{settings.name}: {_hopeless(manifest['cutoff'], reasons)}")
    result = leaks(folder, settings, frame, manifest)
    if result.blocking:
        raise BusinessError(f"{settings.name}: {result.refusal(settings, manifest['cutoff'])}")
    return list(result.warnings)


def _hopeless(cutoff: dt.date | str, reasons: list[str]) -> str:
    message = f"refuses to train at cut-off {cutoff}: {'; '.join(reasons)}"
    return f"{message}. `churn question` shows how the label moves with its definition"


def differing_rows(
    tables: Tables, question: Question, gold: str, manifest: dict[str, Any]
) -> dict[str, int]:
    """By as_of that was scored too: how many rows are in the snapshot or the scored ones, not in
    both.
    """
    path = QuestionStore(question.name).snapshot_files(tables.state) / manifest["file"]
    names = identifiers(
        [question.entity, "as_of", *(feature.name for feature in catalogue(question.features))]
    )
    days = [dt.date.fromisoformat(entry["as_of"]) for entry in manifest["as_ofs"]]
    declaration, read = feature_declaration(question.features), question.features.tables
    stale = tables.days.stale(gold, declaration, read, days, whatever_its_age=True)
    differing = {}
    for day in days:
        file = tables.day_file(gold, day)
        if file and day not in stale and tables.days.why_invalid(gold, day, day) is None:
            trained = f"select {names} from {literal(path)} where as_of = {literal(day)}"
            rows = f"(from {literal(file)})"
            if (
                question.kind != STATIC
            ):  # there, those who have churned are trained on, and not scored
                rows = f"({population(question, rows, day)})"
            scored = f"select {names} from {rows}"
            if (
                question.kind != INACTIVITY
            ):  # nor need all who are scored be trained on: see `labelled`
                scored += f" semi join ({trained}) using ({identifier(question.entity)})"
            [(count,)] = tables.rows(
                f"select count(*) from ((({trained}) except all ({scored})) "
                f"union all (({scored}) except all ({trained})))"
            )
            differing[str(day)] = count
    return differing


def no_leak(settings: "QuestionSettings", cutoff: dt.date, result: Leaks) -> dg.AssetCheckResult:
    """The check of a snapshot, for the UI: an error blocks the training, a warning does not."""
    message = result.refusal(settings, cutoff) if result.blocking else "; ".join(result.warnings)
    return dg.AssetCheckResult(
        check_name="no_leak",
        passed=not message,
        severity=dg.AssetCheckSeverity.ERROR if result.blocking else dg.AssetCheckSeverity.WARN,
        description=message or None,
        metadata={
            "leaks": list(result.blocking),
            "warnings": list(result.warnings),
            "vouched": dict(settings.vouched),
        },
    )


def _columns(question: Question) -> list[dg.TableColumn]:
    entity, as_of = keys(question.entity)
    outcome = [
        dg.TableColumn("label", "boolean", "true: churned"),
        dg.TableColumn(
            "label_known_on", "date", "the day at whose end the outcome of as_of is known"
        ),
        dg.TableColumn("cutoff", "date", "the day at whose end all of this was knowable"),
    ]
    return [entity, as_of, *outcome, *feature_columns(catalogue(question.features))]


def refuse_several(
    context: dg.AssetExecutionContext, key: dg.AssetKey, checks: Iterable[str]
) -> Iterator[dg.AssetCheckResult]:
    """What a run for several cut-offs gives: nothing but the reason, in each check.

    "Materialize all" would train once a day of history. It does not fail either: Dagster would show
    each of those days as failed until somebody trains on it.
    """
    first, *_, last = wanted(context)
    message = (
        f"nothing was done: a run trains at one cut-off, and this one is for all from {first} to "
        f"{last}. Open the job `train` and materialize one day, the newest that has landed; or "
        "`churn train`"
    )
    context.log.warning(f"{table_of(key)}: {message}")
    for check in checks:
        yield dg.AssetCheckResult(
            passed=False, asset_key=key, check_name=check, severity=dg.AssetCheckSeverity.WARN,
            description=message,
        )  # fmt: skip


def _refused(
    tables: Tables,
    settings: "QuestionSettings",
    cutoff: dt.date,
    reason: str,
    tags: Mapping[str, str],
) -> None:
    """Keep in the ledger that a training ended before there was a candidate, and why."""
    trigger, asked_by = trigger_of(tags)
    ledger.append(
        tables.state, settings.name, NOT_TRAINED, reason, trigger, {"reason": reason},
        model_version=NO_MODEL, cutoff=str(cutoff), decided_on=str(cutoff), asked_by=asked_by,
        meaning=settings.question.meaning,
    )  # fmt: skip


def snapshot_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """snapshots/<question>, one partition a cut-off, and the check that training saw what scoring
    saw.
    """
    question = settings.question
    key = dg.AssetKey(["snapshots", question.name])
    window = dg.TimeWindowPartitionMapping(
        start_offset=-max(question.features.rings), allow_nonexistent_upstream_partitions=True
    )
    upstream = question.tables

    @dg.asset(
        key=key,
        deps=[
            dg.AssetDep(dg.AssetKey(table.split(".")), partition_mapping=window)
            for table in upstream
        ],
        description=f"One row per {question.entity} and as_of with the outcome after it, as "
        "knowable at the end of the cut-off day.\n\n"
        f"{settings.sentence()}{look(business, key)}",
        check_specs=[
            dg.AssetCheckSpec("same_as_scored", asset=key, blocking=True),
            dg.AssetCheckSpec(
                "no_leak",
                asset=key,
                blocking=True,
                description="No feature knows the outcome by itself.",
            ),
            dg.AssetCheckSpec(
                "answerable", asset=key, blocking=True, description="There is enough to learn from."
            ),
            dg.AssetCheckSpec(
                "no_copies", asset=key, description="No row is another's copy under another id."
            ),
        ],
        group_name="snapshots",
        owners=business.settings.owners,
        kinds={"parquet"},
        partitions_def=business.cutoffs,
        metadata=about(business, key, _columns(question)),
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        pool=POOL,
    )
    def snapshot(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
        cutoff, *others = wanted(context)
        if others:
            yield from refuse_several(
                context, key, ("same_as_scored", "no_leak", "answerable", "no_copies")
            )
            return
        with warehouse.open() as tables:
            try:
                manifest = build(tables, business, settings, cutoff)
            except BusinessError as error:
                _refused(tables, settings, cutoff, str(error), context.run.tags)
                raise
            differing = differing_rows(tables, question, settings.gold, manifest)
            folder = settings.store.snapshot_files(tables.state)
            everybody, _ = load(folder, cutoff)
            frame, read = distinct(settings, everybody), len(everybody)
            del everybody
            reasons = hopeless(settings, frame)
            result = Leaks() if reasons else leaks(folder, settings, frame, manifest)
            if message := reasons or [
                f"a feature knows the outcome: {leak}" for leak in result.blocking
            ]:
                _refused(tables, settings, cutoff, "; ".join(message), context.run.tags)
            publish(tables)
        copied = copies.copies_message(read - len(frame), read, question.entity)
        newest = manifest["as_ofs"][-1]
        context.log.info(
            f"{table_of(key)} {cutoff}: {manifest['rows']:,} rows of {len(manifest['as_ofs'])} "
            "as_ofs"
        )
        rows = {
            "dagster/partition_row_count": manifest["rows"],
            "population": newest["rows"],
            "churn_rate": round(newest["churn_rate"], 4),
        } | shown_pictures(
            {"picture_churn_by_as_of": pictures.churn_by_as_of(question.name, manifest["as_ofs"])}
        )
        yield dg.MaterializeResult(
            metadata=rows | {name: manifest[name] for name in ("sha256", "file", "as_ofs")},
            check_results=[
                dg.AssetCheckResult(
                    check_name="same_as_scored",
                    passed=not any(differing.values()),
                    metadata={"as_ofs_compared": len(differing), "differing_rows": differing},
                ),
                no_leak(settings, cutoff, result),
                dg.AssetCheckResult(
                    check_name="answerable",
                    passed=not reasons,
                    description=_hopeless(cutoff, reasons) if reasons else None,
                ),
                dg.AssetCheckResult(
                    check_name="no_copies",
                    passed=not copied,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=copied or None,
                ),
            ],
        )

    return snapshot
