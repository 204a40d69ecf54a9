"""What was decided on a question's models: kept in the ledger, mirrored in MLflow, shown at the
door.
"""

import datetime as dt
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration.business import BusinessError
from churn_orchestration.churn import protocol
from churn_orchestration.churn.grading import gate
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

LOG = logging.getLogger(__name__)


def record_of(state: Path, question: str, version: str) -> dict[str, Any]:
    """The record of a model version."""
    return ModelFiles(state, question, version).record()


def mirror(tables: Tables, tracking: Tracking, settings: "QuestionSettings") -> str | None:
    """Let MLflow's alias name the champion of the ledger again; what was wrong with it, if
    anything.
    """
    champion = ledger.champion(tables.state, settings.name, dt.date.max, settings.question.meaning)
    version: str | None = champion["model_version"] if champion else None
    named = tracking.aliased(settings.name)
    if named == version:
        return None
    there = tracking.crown(settings.name, version)
    if named is None and not there:
        return None
    message = (
        f"MLflow's alias champion of {settings.name} named {named or 'no model'}, "
        "and the ledger says"
    )
    if version is None:
        return f"{message} that no model is champion: it was taken away"
    put = (
        "was put back"
        if there
        else "was taken away, for MLflow has lost that model; scoring has it"
    )
    return f"{message} {version}: it {put}"


def record_decision(
    tables: Tables,
    tracking: Tracking,
    settings: "QuestionSettings",
    decision: gate.Decision,
    record: dict[str, Any],
    evidence: dict[str, Any],
    **facts: Any,
) -> dict[str, Any]:
    """Write a decision on a model into the ledger and let MLflow and the door say the same; its
    row.
    """
    if message := mirror(tables, tracking, settings):
        LOG.warning(message)
    files = ModelFiles(tables.state, settings.name, record["model_version"])
    facts |= {
        "model_version": record["model_version"], "cutoff": record["cutoff"],
        "mlflow_version": record["mlflow_version"], "meaning": settings.question.meaning,
        "files_sha256": files.ledger_hashes() or files.file_hashes(),
    }  # fmt: skip
    row = ledger.append(
        tables.state,
        settings.name,
        decision.decision,
        decision.reason,
        facts.pop("trigger"),
        evidence,
        **facts,
    )
    mirror(tables, tracking, settings)
    publish_models(tables, settings.name)
    return row


def roll_back(
    tables: Tables,
    tracking: Tracking,
    settings: "QuestionSettings",
    to: str | None,
    decided_on: dt.date,
    reason: str,
    asked_by: str,
    trigger: str = protocol.MANUAL,
) -> dict[str, Any]:
    """Put any model that was champion once in force from ``decided_on`` on, or the rules; the
    ledger's row.

    ``to`` is a version, or the beginning of one, or what scores without a model; None: what was in
    force before the champion ever was.

    Raises
    ------
    BusinessError : it is ``to`` that scores already, ``to`` was never champion of this question, or
        nothing is champion and no ``to`` is given
    """
    meaning = settings.question.meaning
    champion = ledger.champion(tables.state, settings.name, dt.date.max, meaning)
    scores = champion["model_version"] if champion else settings.untrained
    decided_before = [row for row in ledger.read(tables.state) if row["subject"] == settings.name]
    were = [
        row["model_version"]
        for row in decided_before
        if row["decision"] == protocol.PROMOTE and row.get("meaning") == meaning
    ]
    if to is None and champion is None:
        which = f"; VERSION may be {' or '.join(dict.fromkeys(were))}" if were else ""
        raise BusinessError(
            f"{settings.name}: no model is champion, {scores} score: nothing to roll back{which}"
        )
    if to is None:
        assert champion is not None
        before = ledger.before(tables.state, settings.name, meaning, champion["model_version"])
        to = before["model_version"] if before else settings.untrained
    elif to not in protocol.UNTRAINED:
        result = sorted({version for version in were if version.startswith(to)})
        if len(result) != 1:
            raise BusinessError(
                f'{settings.name}: "{to}" is {"more than one" if result else "no"} model that was '
                "champion; "
                f"wanted: one of {', '.join(dict.fromkeys(were))}, or {settings.untrained}"
            )
        [to] = result
    if to == scores or (champion is None and to in protocol.UNTRAINED):
        raise BusinessError(
            f"{settings.name}: {to} {'is champion' if champion else 'score'} already"
        )
    record = {"model_version": to, "cutoff": str(decided_on), "mlflow_version": None}
    if to not in protocol.UNTRAINED:
        record = record_of(tables.state, settings.name, to)
    return record_decision(
        tables, tracking, settings, gate.Decision(protocol.ROLL_BACK, reason), record,
        {"from": scores, "from_sequence": (champion or decided_before[-1])["sequence"]},
        decided_on=str(decided_on), trigger=trigger, asked_by=asked_by, parent=scores,
    )  # fmt: skip


def publish_models(tables: Tables, question: str) -> None:
    """The table models.<question> of the door: one row per decision, with the model's metrics."""
    rows = []
    for row in ledger.read(tables.state):
        if row["subject"] != question:
            continue
        record = ModelFiles(tables.state, question, row["model_version"]).shown()
        report = record.get("evaluation", {}).get("report", {}).get("model", {})
        metrics = {
            name: result["value"] for name, result in report.items() if isinstance(result, dict)
        }
        rows.append(
            {name: row.get(name) for name in _LEDGER}
            | {name: record.get(name) for name in ("learner", "mlflow_version")}
            | {name: metrics.get(name) for name in _METRICS}
        )
    import pandas as pd

    tables.db.register("_models", pd.DataFrame(rows))
    measured = ", ".join(f"{name}::double as {name}" for name in _METRICS)
    tables.db.execute(
        f"create or replace table models.{question} as select model_version, cutoff::date as "
        "cutoff, learner::varchar as learner, decision, reason, trigger, asked_by::varchar as "
        "asked_by, parent::varchar as parent, "
        f"decided_on::date as decided_on, mlflow_version::varchar as mlflow_version, {measured}, "
        "sequence from _models order by sequence"
    )
    tables.db.unregister("_models")
    publish(tables)


# Held out are later days; of a static question, which has none, folds of entities.
METRIC_WORDS = {
    "auc": "area under the ROC curve on held-out rows, 0.5 is chance",
    "average_precision": (
        "area under precision over recall on held-out rows; chance is the base rate"
    ),
    "log_loss": "mean negative log likelihood on held-out rows, nats, lower is better",
    "brier": "mean squared error of the probability on held-out rows, lower is better",
    "calibration_error": (
        "mean gap between forecast and churn rate in ten bins of held-out rows, 0 to 1"
    ),
    "lift_top_decile": "churn rate of the riskiest tenth over that of all, on held-out rows",
    "recall_top_decile": "share of the churners among the riskiest tenth, on held-out rows",
    "base_rate": "churn rate of the held-out rows, 0 to 1",
}
_METRICS = tuple(METRIC_WORDS)
_LEDGER = (
    "sequence", "model_version", "cutoff", "decision", "reason", "trigger", "asked_by", "parent",
    "decided_on",
)  # fmt: skip


def columns() -> list[dg.TableColumn]:
    """The columns of models.<question>, as the UI shows them."""
    described = {
        "model_version": (
            "text",
            "hash of snapshot, settings and code: the same triple, the same version",
        ),
        "cutoff": ("date", "what was knowable at the end of this day trained it"),
        "learner": ("text", "what is served"),
        "decision": (
            "text",
            "promote, keep (the champion stays), refuse, not trained, roll back, backtest or "
            "identify",
        ),
        "reason": ("text", "why, with paired differences and their 95 % intervals"),
        "trigger": ("text", "initial, manual, scheduled, drift, performance or backtest"),
        "asked_by": ("text", "who or what requested it"),
        "parent": ("text", "the champion when it was decided"),
        "decided_on": ("date", "the newest day that had landed when it was decided"),
        "mlflow_version": ("text", "its number in the MLflow registry"),
    }
    measured = [dg.TableColumn(name, "double", METRIC_WORDS[name]) for name in _METRICS]
    number = dg.TableColumn("sequence", "bigint", "its place in the ledger")
    return [*(dg.TableColumn(name, *words) for name, words in described.items()), *measured, number]


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
    if earned := record.get("profit"):
        message = (
            f"{name} {result['expected_maximum']:.4f} (contacting {result['contacted']:.0%})"
            for name, result in earned.items()
        )
        lines += [
            "",
            "Expected maximum profit (EMPC) per customer, of a customer's value: "
            f"{', '.join(message)}.",
        ]
    return "\n".join(lines)
