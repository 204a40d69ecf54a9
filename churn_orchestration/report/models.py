"""The decisions on models, from the ledger: what scores, what came before it, and why."""

import datetime as dt
from typing import Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.components.tree import questions_of
from churn_orchestration.report.text import command, grid, plain
from churn_orchestration.storage import ledger

SHOWN = ("auc", "log_loss")


def listed(business: Business, question: str | None) -> tuple[dict[str, Any], str]:
    """Every decision on the models of a question, or of all, oldest first, with the champion of
    each.
    """
    settings = questions_of(business)
    if question is not None and question not in settings:
        raise BusinessError(
            f'there is no question "{question}"; wanted: one of {", ".join(settings)}'
        )
    names = [question] if question else list(settings)
    rows = [row for row in ledger.read(business.state) if row["subject"] in names]
    facts: dict[str, Any] = {"business": business.name, "decisions": rows, "champions": {}}
    parts: list[Any] = []
    for name in names:
        champion = ledger.champion(
            business.state, name, dt.date.max, settings[name].question.meaning
        )
        facts["champions"][name] = champion and champion["model_version"]
        decided = [row for row in rows if row["subject"] == name]
        if not decided:
            train = command(business, "train")
            parts.append(
                f"{name}: no decision yet, {settings[name].untrained} score; `{train}` makes a "
                "model"
            )
            continue
        headings = (
            "#",
            "decided on",
            "cut-off",
            "decision",
            "model",
            "AUC",
            "log loss",
            "why trained",
            "by",
        )
        table = grid(f"{name}: {_by(champion, settings[name].untrained)}", *headings)
        for row in decided:
            table.add_row(*_cells(row, champion))
        newest = decided[-1]
        parts += [table, f"{newest['sequence']}: {newest['reason']}"]
    return facts, plain(*parts)


def _by(champion: dict[str, Any] | None, untrained: str) -> str:
    if champion is None:
        return f"{untrained} score, no model is champion"
    since = max(champion["cutoff"], champion["decided_on"])
    return f"{champion['model_version']} scores from {since} on (decision {champion['sequence']})"


def _cells(row: dict[str, Any], champion: dict[str, Any] | None) -> list[str]:
    report = row["evidence"].get("report", {}).get("model", {})
    metrics = [f"{report[name]['value']:.3f}" if name in report else "-" for name in SHOWN]
    mark = " *" if champion and row["sequence"] == champion["sequence"] else ""
    return [
        str(row["sequence"]), row["decided_on"], row["cutoff"], row["decision"] + mark,
        row["model_version"], *metrics, row["trigger"], row.get("asked_by", "-"),
    ]  # fmt: skip
