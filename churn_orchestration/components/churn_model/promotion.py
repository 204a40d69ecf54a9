"""What was decided on a question's models: kept in the ledger, mirrored in MLflow, shown at the door."""

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import ledger
from churn_orchestration.business import BusinessError
from churn_orchestration.churn import decisions
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.components.churn_model.question import AskedQuestion


def publish_models(tables: Tables, question: str) -> None:
    """The table models.<question> of the door: one row per decision, with the model's metrics."""
    decided = [
        row for row in ledger.read(tables.state) if row["subject"] == question and row.get("model_version")
    ]
    folder = tables.state / "models" / question
    rows = []
    for row in decided:
        record = json.loads((folder / f"{row['model_version']}.json").read_text())
        report = record["evaluation"]["report"].get("model", {})
        metrics = {name: found["value"] for name, found in report.items() if isinstance(found, dict)}
        rows.append(
            {
                name: row[name]
                for name in ("sequence", "model_version", "cutoff", "decision", "reason", "trigger")
            }
            | {"learner": record["learner"], "mlflow_version": record["mlflow_version"]}
            | {name: metrics.get(name) for name in _METRICS}
        )
    import pandas as pd

    tables.db.register("_models", pd.DataFrame(rows))
    measured = ", ".join(f"{name}::double as {name}" for name in _METRICS)
    tables.db.execute(
        f"create or replace table models.{question} as select model_version, cutoff::date as cutoff, "
        f"learner, decision, reason, trigger, mlflow_version, {measured}, sequence "
        "from _models order by sequence"
    )
    tables.db.unregister("_models")
    tables.publish()


# Held out are later days; of a static question, which has none, folds of entities.
METRIC_WORDS = {
    "auc": "area under the ROC curve on held-out rows, 0.5 is chance",
    "average_precision": "area under precision over recall on held-out rows; chance is the base rate",
    "log_loss": "mean negative log likelihood on held-out rows, nats, lower is better",
    "brier": "mean squared error of the probability on held-out rows, lower is better",
    "calibration_error": "mean gap between forecast and churn rate in ten bins of held-out rows, 0 to 1",
    "lift_top_decile": "churn rate of the riskiest tenth over that of all, on held-out rows",
    "recall_top_decile": "share of the churners among the riskiest tenth, on held-out rows",
    "base_rate": "churn rate of the held-out rows, 0 to 1",
}
_METRICS = tuple(METRIC_WORDS)


def _columns() -> list[dg.TableColumn]:
    told = {
        "model_version": ("text", "hash of snapshot, settings and code: the same triple, the same version"),
        "cutoff": ("date", "what was knowable at the end of this day trained it"),
        "learner": ("text", "what is served"),
        "decision": ("text", "promote, refuse or backtest"),
        "reason": ("text", "why, with the paired difference in log loss and its 95 % interval"),
        "trigger": ("text", "who or what asked for the decision"),
        "mlflow_version": ("text", "its number in the MLflow registry"),
    }
    measured = [dg.TableColumn(name, "double", METRIC_WORDS[name]) for name in _METRICS]
    number = dg.TableColumn("sequence", "bigint", "its place in the ledger")
    return [*(dg.TableColumn(name, *words) for name, words in told.items()), *measured, number]


def record_of(state: Path, question: str, version: str) -> dict[str, Any]:
    """The record of a model version."""
    record: dict[str, Any] = json.loads((state / "models" / question / f"{version}.json").read_text())
    return record
