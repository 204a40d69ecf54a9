"""Candidates of a question: trained on a snapshot, graded on rows unseen, refitted on all, decided
upon.
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn import protocol
from churn_orchestration.churn.grading import gate
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.components.days import shown_pictures, wanted
from churn_orchestration.components.question.training import candidate, card
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.components.question.training.promotion import (
    columns,
    record_decision,
    report_table,
)
from churn_orchestration.components.question.training.trigger import trigger_of
from churn_orchestration.components.shown import about, look
from churn_orchestration.pictures import pages
from churn_orchestration.storage import ledger
from churn_orchestration.storage.layers import POOL
from churn_orchestration.storage.model_store import HELD_OUT, REMADE, ModelFiles
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.grading.versus import Versus
    from churn_orchestration.components.question.question import QuestionSettings


LOG = logging.getLogger(__name__)


def train(
    tables: Tables,
    tracking: Tracking,
    settings: "QuestionSettings",
    cutoff: dt.date,
    decided_on: dt.date,
    trigger: str,
    asked_by: str,
    log: Callable[[str], None] = LOG.info,
) -> dict[str, Any]:
    """Train on the snapshot of a cut-off, or take the model that the same triple gave before; its
    record.

    ``decision`` and ``reason`` of it are what was decided now; ``done`` is false where the model is
    there already and was rolled back, so that only a person may put it in force again.

    ``decided_on`` is the newest day that has landed: of no earlier day can it become champion.
    ``trigger`` says why, ``asked_by`` who requested it; a ``backtest`` is recorded and never
    becomes champion. ``log`` is given the progress of a search, line by line.

    Raises
    ------
    BusinessError : the label cannot be learned from; the message says what is there and what is
        needed
    """
    folder = settings.store.snapshot_files(tables.state)
    rows = snapshots.TrainingRows.of(settings, folder, cutoff)
    frame, manifest = rows.frame, rows.manifest
    warnings = snapshots.refuse(folder, settings, frame, manifest)
    champion = ledger.champion(tables.state, settings.name, decided_on, settings.question.meaning)
    search = candidate.search_settings(tables.state, settings, rows, champion, log)
    inputs = [
        search["learner"],
        settings.test_as_ofs,
        settings.question.horizon,
        search["capacity"],
    ]
    inputs += [dict(settings.floors), dict(settings.ceilings), settings.vouched_model, warnings]
    inputs += [manifest.get("processes", {})]
    inputs += [settings.spend.version] if settings.spend else []
    inputs += [f"refits {refits}"] if (refits := settings.reasons.refits) else []
    version = digest(manifest["sha256"], inputs, stages.identity(stages.MODELS))
    files = ModelFiles(tables.state, settings.name, version)
    if not files.are_there():
        candidate.train_and_save(tables, files, tracking, settings, rows, search, warnings)
        if files.ledger_hashes() not in ({}, files.file_hashes()):
            files.identify(REMADE)
    record = files.shown()
    decision, evidence = (
        gate.Decision(record["decision"], record["reason"]),
        record["evaluation"],
    )
    done = True
    if trigger == protocol.BACKTEST:
        message = f"trained to look back; it would have been: {decision.decision}"
        decision = gate.Decision(protocol.BACKTEST, message)
    elif champion and champion["model_version"] == version:
        since = f"it scores from {max(champion['cutoff'], champion['decided_on'])} on"
        message = (
            f"it is champion already, by decision {champion['sequence']}: {since}, nothing changed"
        )
        return record | {"decision": protocol.KEEP, "reason": message, "done": True}
    elif undone := ledger.rolled_back_from(
        tables.state, settings.name, settings.question.meaning, version
    ):
        scores = champion["model_version"] if champion else None
        decision, done = gate.rolled_back(undone, scores), False
    elif (
        champion and decision.decision == protocol.PROMOTE and champion["cutoff"] > record["cutoff"]
    ):
        decision = gate.outlived(champion["model_version"], champion["cutoff"])
    elif champion and decision.decision == protocol.PROMOTE:
        against = compare_with_champion(tables.state, settings, frame, record, champion)
        decision = gate.between(against, champion["model_version"])
        evidence = evidence | {"against_champion": against and against.evidence()}
    elif (
        champion is None
        and trigger == protocol.MANUAL
        and not _has_decisions(tables.state, settings)
    ):
        trigger = protocol.INITIAL
    record_decision(
        tables, tracking, settings, decision, record, evidence,
        decided_on=str(decided_on), trigger=trigger, asked_by=asked_by,
        parent=champion and champion["model_version"],
    )  # fmt: skip
    return record | {"decision": decision.decision, "reason": decision.reason, "done": done}


def _has_decisions(state: Path, settings: "QuestionSettings") -> bool:
    rows = (row for row in ledger.read(state) if row["subject"] == settings.name)
    return any(row["decision"] != protocol.NOT_TRAINED for row in rows)


def compare_with_champion(
    state: Path,
    settings: "QuestionSettings",
    frame: "pd.DataFrame",
    record: dict[str, Any],
    champion: dict[str, Any],
) -> "Versus | None":
    """The candidate against the champion, on the same rows, none of which either had seen the
    outcome of.

    Days from the champion's cut-off on are scored by the champion itself. Where no outcome of such
    a day is known yet, what both recipes forecast of the days on which both were graded is
    compared; None where there is no such day either.
    """
    import pandas as pd

    from churn_orchestration.churn.grading.versus import Versus

    question = settings.question
    keys, former = (
        [question.entity, "as_of"],
        ModelFiles(state, settings.name, champion["model_version"]),
    )
    held = pd.read_parquet(ModelFiles(state, settings.name, record["model_version"]).path(HELD_OUT))
    model = former.model()
    later = held[held["as_of"] >= pd.Timestamp(champion["cutoff"])]
    both_outcomes = later["label"].nunique() == 2
    if (
        question.kind != STATIC
        and both_outcomes
        and set(model.feature_names_in_) <= set(frame.columns)
    ):
        rows = later.merge(
            frame.assign(as_of=pd.to_datetime(frame["as_of"])), on=keys, suffixes=("", "_")
        )
        scored = model.predict_proba(rows[list(model.feature_names_in_)])[:, 1]
        days = sorted({str(day.date()) for day in rows["as_of"]})
        how = f"the champion itself on days after its cut-off ({', '.join(days)})"
        return Versus.of(
            rows["label"], rows["model"], scored, rows[question.entity], how, settings.economics
        )
    if not former.path(HELD_OUT).is_file():
        return None
    both = held.merge(former.held_out(), on=keys, suffixes=("", "_champion"))
    if both["label"].nunique() < 2:
        return None
    how = "the champion's recipe on the days on which both were graded"
    return Versus.of(
        both["label"],
        both["model"],
        both["model_champion"],
        both[question.entity],
        how,
        settings.economics,
    )


def newest_day(tables: Tables, settings: "QuestionSettings") -> dt.date:
    """The last day up to which every table that the question reads has landed."""
    newest = [max(tables.days.stored(table), default=None) for table in settings.question.tables]
    if None in newest:
        raise BusinessError(f"{settings.name}: nothing has been landed yet: `churn run` first")
    return min(day for day in newest if day)


def model_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """models/<question>, one partition a cut-off, and the check that it beats its peers."""
    key = dg.AssetKey(["models", settings.name])

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(["snapshots", settings.name])],
        description="One row per decision on a candidate. Each cut-off has one candidate: "
        f"{settings.grading}.\n\n{settings.sentence()} Served: "
        f"{settings.learner}.{look(business, key)}\n`churn mlflow` shows its runs.",
        check_specs=[dg.AssetCheckSpec("promoted", asset=key, description=settings.bar)],
        group_name="models",
        owners=business.settings.owners,
        kinds={"mlflow", "scikitlearn"},
        partitions_def=business.cutoffs,
        metadata=about(business, key, columns()),
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        pool=POOL,
    )
    def model(
        context: dg.AssetExecutionContext, warehouse: Warehouse, tracking: Tracking
    ) -> Iterator[Any]:
        cutoff, *others = wanted(context)
        if others:
            yield from snapshots.refuse_several(context, key, ["promoted"])
            return
        with warehouse.open() as tables:
            decided_on = max(cutoff, newest_day(tables, settings))
            record = train(
                tables,
                tracking,
                settings,
                cutoff,
                decided_on,
                *trigger_of(context.run.tags),
                context.log.info,
            )
            [(decisions,)] = tables.rows(
                f"select count(*) from models.{settings.name} where cutoff = ?", [cutoff]
            )
            champion = ledger.champion(
                tables.state, settings.name, decided_on, settings.question.meaning
            )
            folder = pages.folder(business.state)
            page, _ = card.write(settings, business.state, record["model_version"], folder, tables)
        bounded = f" ({record['bound']})" if record.get("bound") else ""
        context.log.info(
            f"models.{settings.name} {record['model_version']}: {record['rows']:,} rows{bounded}; "
            f"{record['decision']}: {record['reason']}"
        )
        promoted = dg.AssetCheckResult(
            check_name="promoted",
            passed=champion is not None and champion["model_version"] == record["model_version"],
            severity=dg.AssetCheckSeverity.WARN,
            description=record["reason"],
        )
        yield dg.MaterializeResult(
            metadata=_metadata(settings, record, page, decisions), check_results=[promoted]
        )

    return model


def _metadata(
    settings: "QuestionSettings", record: dict[str, Any], page: Path, decisions: int
) -> dict[str, Any]:
    """What the UI shows of a training: the decision, the grade, its pictures and the model card."""
    report = record["evaluation"]["report"].get("model", {})
    drawn = {
        "picture_calibration_and_gain": pictures.quality(record),
        "picture_lift_and_profit": pictures.worth(record),
        "picture_learning_and_segments": pictures.learning(record, settings.titles),
        "picture_what_moves_it": pictures.influences(record["influences"], settings.titles),
    }
    measured = {
        name: round(result["value"], 4)
        for name, result in report.items()
        if isinstance(result, dict)
    }
    return {
        "model_version": record["model_version"],
        "mlflow_model": f"models:/{settings.name}/{record['mlflow_version']}",
        "decision": record["decision"],
        "reason": record["reason"],
        "done": record["done"],
        "evaluation": dg.MetadataValue.md(report_table(record)),
        "segments": dg.MetadataValue.md(card.segments_table(settings, record)),
        "model_card": dg.MetadataValue.url(pages.address(page)),
        "model_card_file": dg.MetadataValue.path(page),
        **shown_pictures(drawn),
        "dagster/partition_row_count": decisions,
        "rows_learned_from": record["rows"],
        **measured,
    }
