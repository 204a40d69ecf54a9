"""Candidates of a question: trained on a snapshot, graded on rows unseen, refitted on all, decided upon."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import ledger, pictures
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn import decisions
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.components.churn_model import snapshot as snapshots
from churn_orchestration.components.days import shown_pictures
from churn_orchestration.components.shown import about, look
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import POOL, Tables, Warehouse, write_text

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.evaluation import Evaluation
    from churn_orchestration.components.churn_model.question import AskedQuestion


def train(
    tables: Tables,
    tracking: Tracking,
    asked: "AskedQuestion",
    cutoff: dt.date,
    decided_on: dt.date,
    trigger: str,
) -> dict[str, Any]:
    """Train on the snapshot of a cut-off, or find the model that the same triple gave before; its record.

    ``decided_on`` is the newest day that has landed: of no earlier day can it become champion. ``trigger``
    says who asked; a ``backtest`` is recorded and never becomes champion.

    Raises
    ------
    BusinessError : the label cannot be learned from; the message says what was found and what is needed
    """
    frame, manifest = snapshots.load(tables.state / "snapshots" / asked.name, cutoff)
    settings = [asked.learner, asked.test_as_ofs, asked.question.horizon]
    version = digest(manifest["sha256"], settings, snapshots.code_hash())
    path = tables.state / "models" / asked.name / f"{version}.json"
    if path.exists():
        record = json.loads(path.read_text())
    else:
        record = _trained(tracking, asked, frame, manifest, version)
        write_text(path, json.dumps(record, indent=1))
    decided = decisions.Decision(record["decision"], record["reason"])
    if trigger == decisions.BACKTEST:
        decided = decisions.Decision(
            decisions.BACKTEST, f"trained to look back; it would have been: {decided.decision}"
        )
    facts = {
        "model_version": version,
        "cutoff": str(cutoff),
        "decided_on": str(decided_on),
        "mlflow_version": record["mlflow_version"],
        "meaning": asked.question.meaning,
    }
    ledger.append(
        tables.state, asked.name, decided.decision, decided.reason, trigger, record["evaluation"], **facts
    )
    newest = ledger.champion(tables.state, asked.name, dt.date.max, asked.question.meaning)
    if newest:
        tracking.crown(asked.name, newest["mlflow_version"])
    publish_models(tables, asked.name)
    return record


def _trained(
    tracking: Tracking, asked: "AskedQuestion", frame: "pd.DataFrame", manifest: dict[str, Any], version: str
) -> dict[str, Any]:
    from churn_orchestration.churn import evaluation as evaluations
    from churn_orchestration.churn import learners
    from churn_orchestration.churn.contributions import influences

    question = asked.question
    columns = evaluations.feature_columns(frame, question)
    try:
        evaluation = evaluations.evaluate(frame, question, asked.learner, asked.test_as_ofs)
        model = learners.fit(asked.learner, frame[columns], frame["label"], frame[question.entity])
    except learners.HopelessLabel as error:
        raise BusinessError(
            f"{asked.name}: refuses to train at cut-off {manifest['cutoff']}: {error}"
        ) from None
    decided = decisions.decide(evaluation)
    number = tracking.find(asked.name, version)
    if number is None:
        tags = {"model_version": version, "cutoff": manifest["cutoff"], "snapshot_sha256": manifest["sha256"]}
        with tracking.run(asked.name, f"{asked.name} {manifest['cutoff']}", tags):
            import mlflow

            mlflow.log_params({"learner": asked.learner, "rows": manifest["rows"], "features": len(columns)})
            if evaluation:
                mlflow.log_metrics(flat_metrics(evaluation))
            number = tracking.register(asked.name, model, frame[columns].head(5).astype(float), version)
    return {
        "model_version": version, "cutoff": manifest["cutoff"], "learner": asked.learner,
        "mlflow_version": number, "snapshot_sha256": manifest["sha256"], "rows": manifest["rows"],
        "as_ofs": [entry["as_of"] for entry in manifest["as_ofs"]], "base_rate": float(frame["label"].mean()),
        "features": columns, "decision": decided.decision, "reason": decided.reason,
        "evaluation": _told(evaluation), "curves": evaluation.curves if evaluation else {},
        "influences": influences(
            model, frame.loc[frame["as_of"] == frame["as_of"].max(), columns], catalogue(question.features)
        ),
    }  # fmt: skip


def newest_day(tables: Tables, asked: "AskedQuestion") -> dt.date:
    """The last day up to which every table that the question reads has landed."""
    newest = [max(tables.stored(table), default=None) for table in asked.question.tables]
    if None in newest:
        raise BusinessError(f"{asked.name}: nothing has been landed yet: `churn run` first")
    return min(day for day in newest if day)


def flat_metrics(evaluation: "Evaluation") -> dict[str, float]:
    """Metrics as MLflow takes them: ``auc``, ``auc_low``, ``auc_high``, and ``rules_auc`` of the others."""
    flat = {}
    for forecaster, report in evaluation.report.items():
        prefix = "" if forecaster == "model" else f"{forecaster}_"
        for metric, found in report.items():
            if isinstance(found, dict):
                flat[f"{prefix}{metric}"] = found["value"]
                flat |= {f"{prefix}{metric}_{end}": found[end] for end in ("low", "high")}
    return flat


def _told(evaluation: "Evaluation | None") -> dict[str, Any]:
    if evaluation is None:
        return {"report": {}, "tests": [], "differences": {}}
    tests = [{"test": str(fold.test), "train": [str(day) for day in fold.train]} for fold in evaluation.folds]
    told = {"report": evaluation.report, "tests": tests, "differences": evaluation.differences}
    return told | ({"caveat": evaluation.caveat} if evaluation.caveat else {})


def model_asset(business: Business, asked: "AskedQuestion") -> dg.AssetsDefinition:
    """models/<question>, one partition a cut-off, and the check that it beats its peers."""
    key = dg.AssetKey(["models", asked.name])

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(["snapshots", asked.name])],
        description="One row per decision on a candidate. Each cut-off has one candidate: "
        f"{asked.grading}.\n\n{asked.sentence()} Served: {asked.learner}.{look(business, key)}\n"
        f"```sh\nmlflow ui --backend-store-uri {Tracking(state=str(business.state)).uri}\n```",
        check_specs=[dg.AssetCheckSpec("promoted", asset=key, description=asked.bar)],
        group_name="models",
        owners=business.settings.owners,
        kinds={"mlflow", "scikitlearn"},
        partitions_def=business.cutoffs,
        metadata=about(business, key, _columns()),
        pool=POOL,
    )
    def model(context: dg.AssetExecutionContext, warehouse: Warehouse, tracking: Tracking) -> Iterator[Any]:
        cutoff = dt.date.fromisoformat(context.partition_key)
        with warehouse.open() as tables:
            decided_on = max(cutoff, newest_day(tables, asked))
            record = train(tables, tracking, asked, cutoff, decided_on, trigger="train")
        report = record["evaluation"]["report"].get("model", {})
        yield dg.MaterializeResult(
            metadata={
                "model_version": record["model_version"],
                "mlflow_model": f"models:/{asked.name}/{record['mlflow_version']}",
                "decision": record["decision"],
                "reason": record["reason"],
                "evaluation": dg.MetadataValue.md(report_table(record)),
                **shown_pictures(
                    {
                        "picture_calibration_and_gain": pictures.quality(record),
                        "picture_what_moves_it": pictures.influences(record["influences"]),
                    }
                ),
                "dagster/partition_row_count": record["rows"],
            }
            | {name: round(found["value"], 4) for name, found in report.items() if isinstance(found, dict)},
            check_results=[
                dg.AssetCheckResult(
                    check_name="promoted",
                    passed=record["decision"] == decisions.PROMOTE,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=record["reason"],
                )
            ],
        )

    return model


def report_table(record: dict[str, Any]) -> str:
    """The evaluation as a Markdown table, one row a forecaster, each number with its interval."""
    names = [name for name in _METRICS if name != "base_rate"]
    caveat = record["evaluation"].get("caveat")
    lines = [f"Graded {caveat}.", ""] if caveat else []
    lines += ["| forecaster | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for forecaster, report in record["evaluation"]["report"].items():
        cells = [
            f"{report[name]['value']:.3f} [{report[name]['low']:.3f}, {report[name]['high']:.3f}]"
            if name in report
            else ""
            for name in names
        ]
        lines.append(f"| {forecaster} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
