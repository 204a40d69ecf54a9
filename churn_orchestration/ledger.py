"""The ledger of decisions: append-only, one JSON line each. What is champion is what it says."""

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from churn_orchestration.churn.decisions import PROMOTE

FILE = "ledger.jsonl"


def read(state: Path) -> list[dict[str, Any]]:
    """Every decision, oldest first."""
    path = state / FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(
    state: Path,
    subject: str,
    decision: str,
    reason: str,
    trigger: str,
    evidence: dict[str, Any],
    **facts: Any,
) -> dict[str, Any]:
    """Add one decision, unless the very same one was taken already; the row as it stands.

    Parameters
    ----------
    subject : the question or table it is about
    trigger : who or what asked for it
    evidence : what it rests on; its SHA-256 is kept beside it
    facts : what else identifies it, such as ``model_version`` and ``cutoff``
    """
    state.mkdir(parents=True, exist_ok=True)
    with FileLock(state / f"{FILE}.lock"):
        rows = read(state)
        text = json.dumps(evidence, sort_keys=True)
        row = {
            "sequence": len(rows) + 1, "subject": subject, "decision": decision, "reason": reason,
            "trigger": trigger, **facts, "evidence": evidence,
            "evidence_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }  # fmt: skip
        same = ("subject", "decision", "model_version", "cutoff", "evidence_sha256")
        for before in rows:
            if all(before.get(name) == row.get(name) for name in same):
                return before
        with (state / FILE).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
            handle.flush()
    return row


def champion(state: Path, question: str, as_of: dt.date) -> dict[str, Any] | None:
    """The promotion in force for ``as_of``: the last one with a cut-off not after it. None: the rules."""
    promoted = [
        row
        for row in read(state)
        if row["subject"] == question and row["decision"] == PROMOTE and row["cutoff"] <= as_of.isoformat()
    ]
    return max(promoted, key=lambda row: (row["cutoff"], row["sequence"]), default=None)
