"""The ledger of decisions: append-only, one JSON line each, sealed with the hash of the line
before.

What is champion is what it says. ADR 14 says what the seal finds and what it cannot find.
"""

import datetime as dt
import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.protocol import (
    KEEP,
    NOT_TRAINED,
    PROMOTE,
    REFUSE,
    ROLL_BACK,
    UNTRAINED,
)

FILE = "ledger.jsonl"
FORMAT = 1
"""The version of a line's form. Lines of before there were versions do not say it: they have form
1.
"""
BEGINNING = "0" * 64
"""What the first line names as the hash of the line before it."""


def read(state: Path) -> list[dict[str, Any]]:
    """Every decision, oldest first. A last line without its end is that of a writer that was
    killed.

    Raises
    ------
    BusinessError : a line is not as it was written, or one was taken out or put in; the message
        names it. Or a newer version of the package wrote it
    """
    path = state / FILE
    if not path.exists():
        return []
    stat = path.stat()
    return list(_read(path, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=4)
def _read(path: Path, _size: int, _mtime_ns: int) -> tuple[dict[str, Any], ...]:
    """The decisions of a file of that size and time, read and checked once a process."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows, before = list[dict[str, Any]](), BEGINNING
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break
        row = _row(line)
        if row.get("format", 1) > FORMAT:
            raise BusinessError(
                f"{path}: line {number} is of a newer version of this package: update the package "
                "(`pip install --upgrade churn-orchestration`)"
            )
        if (
            row.get("hash") != _seal(row)
            or row.get("previous") != before
            or row.get("sequence") != number
        ):
            what = "was changed after it was written"
            if row.get("hash") == _seal(row):
                what = "does not follow the line before it: one was taken out, put in or moved"
            raise BusinessError(
                f"{path}: line {number} ({row.get('decision', '?')} of {row.get('subject', '?')}, "
                f"cut-off {row.get('cutoff', '?')}) {what}; put the file back as it was, from a "
                "copy"
            )
        rows.append(row)
        before = row["hash"]
    return tuple(rows)


def _row(line: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return row


def _seal(row: dict[str, Any]) -> str:
    """SHA-256 of all of a row but its own hash; the hash of the row before is part of it."""
    return _sha256({name: value for name, value in row.items() if name != "hash"})


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def append(
    state: Path,
    subject: str,
    decision: str,
    reason: str,
    trigger: str,
    evidence: dict[str, Any],
    **facts: Any,
) -> dict[str, Any]:
    """Add one decision, unless it is the last one on its subject and cut-off already; the row as it
    stands.

    Parameters
    ----------
    subject : the question or table it is about
    trigger : who or what requested it
    evidence : what it rests on; its SHA-256 is kept with it
    facts : what else there is to know, such as ``model_version``, ``cutoff`` and ``decided_on``,
        the newest day that had landed
    """
    state.mkdir(parents=True, exist_ok=True)
    with FileLock(state / f"{FILE}.lock"):
        rows = read(state)
        row = {
            "sequence": len(rows) + 1, "subject": subject, "decision": decision, "reason": reason,
            "trigger": trigger, **facts, "evidence": evidence, "evidence_sha256": _sha256(evidence),
            "format": FORMAT, "previous": rows[-1]["hash"] if rows else BEGINNING,
        }  # fmt: skip
        row |= {"hash": _seal(row)}
        same = ("decision", "model_version", "meaning", "files_sha256", "evidence_sha256")
        before = [
            r for r in rows if r["subject"] == subject and r.get("cutoff") == row.get("cutoff")
        ]
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


def champion(
    state: Path, question: str, as_of: dt.date, meaning: str | None = None
) -> dict[str, Any] | None:
    """The promotion or roll back in force for ``as_of``; None: the rules. ``meaning``: of models of
    it only.

    Of the promotions with a cut-off not after it, decided when no later day had landed, that of the
    latest cut-off, the last of it; a roll back annuls all before it. What is decided later changes
    no earlier day's scores.
    """
    reigns = _reigns(state, question, as_of, meaning)
    return reigns[-1] if reigns else None


def _reigns(
    state: Path, question: str, as_of: dt.date, meaning: str | None
) -> list[dict[str, Any] | None]:
    """What was in force for ``as_of``, one entry a change, oldest first; None: the rules."""
    result: list[dict[str, Any] | None] = []
    for row in read(state):
        is_about_question = row["subject"] == question and meaning in (None, row.get("meaning"))
        if not is_about_question or max(row["cutoff"], row["decided_on"]) > as_of.isoformat():
            continue
        in_force = result[-1] if result else None
        if row["decision"] == ROLL_BACK:
            result.append(None if row["model_version"] in UNTRAINED else row)
        elif row["decision"] == PROMOTE and (
            in_force is None or row["cutoff"] >= in_force["cutoff"]
        ):
            result.append(row)
    return result


def newest_report(state: Path, question: str, as_of: dt.date, meaning: str) -> dict[str, Any]:
    """How the forecasters did in the newest training decided upon by ``as_of``; empty: none was
    graded.
    """
    graded = [
        row
        for row in read(state)
        if row["subject"] == question
        and row["decision"] in (PROMOTE, KEEP, REFUSE)
        and row.get("meaning") == meaning
        and max(row["cutoff"], row["decided_on"]) <= as_of.isoformat()
        and row["evidence"].get("report")
    ]
    report: dict[str, Any] = graded[-1]["evidence"]["report"] if graded else {}
    return report


def newest_refusal(state: Path, question: str) -> dict[str, Any] | None:
    """The newest candidate, or training before there was one, that was refused; None: none was."""
    refused = [
        r
        for r in read(state)
        if r["subject"] == question and r["decision"] in (REFUSE, NOT_TRAINED)
    ]
    return max(refused, key=lambda row: (row["cutoff"], row["sequence"]), default=None)


def rolled_back_from(
    state: Path, question: str, meaning: str, version: str
) -> dict[str, Any] | None:
    """The roll back that ended what a model version was in force for, unless it was put in force
    since.
    """
    last = None
    for row in read(state):
        if row["subject"] != question or row.get("meaning") != meaning:
            continue
        if row["decision"] == ROLL_BACK and row.get("parent") == version:
            last = row
        elif row["decision"] in (PROMOTE, ROLL_BACK) and row["model_version"] == version:
            last = None
    return last


def before(state: Path, question: str, meaning: str, version: str) -> dict[str, Any] | None:
    """What was in force before a model version was champion for the first time; None: the rules."""
    reigns = _reigns(state, question, dt.date.max, meaning)
    first = next(
        (place for place, row in enumerate(reigns) if row and row["model_version"] == version), 0
    )
    return reigns[first - 1] if first else None
