"""Checkpoints of daily parts, as the schema ``meta`` of the warehouse has them: each a table, and
the line that says of what it is.
"""

import datetime as dt
from dataclasses import dataclass

from churn_orchestration.storage.session import Session


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """What the days of ``days_table`` up to ``through`` come to, as known by ``known_by``.

    ``kind``: which of a source's checkpoints; ``relation``: the table that has it;
    ``declaration``: what it depends on, a ``stages.Version`` as text.
    """

    days_table: str
    kind: str
    relation: str
    through: dt.date
    known_by: dt.date
    declaration: str


def keep(session: Session, checkpoint: StoredCheckpoint, rows: str) -> None:
    """Store a checkpoint; ``rows``: the select of its table."""
    session.db.execute(f"create or replace table {checkpoint.relation} as {rows}")
    session.db.execute(
        "insert into meta.checkpoints values (?, ?, ?, ?, ?, ?)",
        [
            checkpoint.days_table,
            checkpoint.kind,
            checkpoint.relation,
            checkpoint.through,
            checkpoint.known_by,
            checkpoint.declaration,
        ],
    )


def forget(session: Session, days_table: str, since: dt.date) -> None:
    """Drop the checkpoints of a table of days that are known by ``since`` or later."""
    session.db.execute(
        "delete from meta.checkpoints where days_table = ? and known_by >= ?", [days_table, since]
    )


def kept(session: Session, days_table: str, declaration: str) -> list[StoredCheckpoint]:
    """The checkpoints of a table of days that depend on ``declaration``."""
    rows = session.rows(
        "select kind, relation, through, known_by from meta.checkpoints "
        "where days_table = ? and declaration = ?",
        [days_table, declaration],
    )
    return [
        StoredCheckpoint(
            days_table=days_table,
            kind=kind,
            relation=relation,
            through=through,
            known_by=known_by,
            declaration=declaration,
        )
        for kind, relation, through, known_by in rows
    ]
