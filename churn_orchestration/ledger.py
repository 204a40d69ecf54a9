"""The ledger of decisions: append-only, one JSON line each. What is champion is what it says."""

import datetime as dt
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from churn_orchestration.churn.decisions import PROMOTE

FILE = "ledger.jsonl"


def read(state: Path) -> list[dict[str, Any]]:
    """Every decision, oldest first. A last line without its end is that of a writer that was killed."""
    path = state / FILE
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def append(
    state: Path,
    subject: str,
    decision: str,
    reason: str,
    trigger: str,
    evidence: dict[str, Any],
    **facts: Any,
) -> dict[str, Any]:
    """Add one decision, unless it is the last one on its subject and cut-off already; the row as it stands.

    Parameters
    ----------
    subject : the question or table it is about
    trigger : who or what asked for it
    evidence : what it rests on; its SHA-256 is kept beside it
    facts : what else there is to know, such as ``model_version``, ``cutoff`` and ``decided_on``, the newest
        day that had landed
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
        same = ("decision", "model_version", "meaning", "evidence_sha256")
        before = [r for r in rows if r["subject"] == subject and r.get("cutoff") == row.get("cutoff")]
        if before and all(before[-1].get(name) == row.get(name) for name in same):
            return before[-1]
        path = state / FILE
        whole = path.read_bytes() if path.exists() else b""
        with path.open("r+b" if path.exists() else "wb") as handle:
            handle.truncate(whole.rfind(b"\n") + 1)
            handle.seek(0, os.SEEK_END)
            handle.write(json.dumps(row).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
    return row


def champion(state: Path, question: str, as_of: dt.date, meaning: str | None = None) -> dict[str, Any] | None:
    """The promotion in force for ``as_of``; None: the rules. ``meaning``: of models trained on it only.

    Of the promotions with a cut-off not after it, decided when no later day had landed, the last: so what is
    decided later changes no earlier day's scores.
    """
    promoted = [
        row
        for row in read(state)
        if row["subject"] == question
        and row["decision"] == PROMOTE
        and meaning in (None, row.get("meaning"))
        and max(row["cutoff"], row["decided_on"]) <= as_of.isoformat()
    ]
    return max(promoted, key=lambda row: (row["cutoff"], row["sequence"]), default=None)
