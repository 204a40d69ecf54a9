"""What a person should look at after rows were judged: signs that a declaration is wrong, not the
rows.
"""

import datetime as dt
from collections.abc import Iterable, Mapping

from churn_orchestration.churn.rows.contract import Contract
from churn_orchestration.churn.sql import within
from churn_orchestration.storage.warehouse import Tables, quoted

DOUBTS = {
    "mostly_valid": "Most rows meet the contract; if not, a declaration may be wrong.",
    "unique_key": "No two rows of a landing have the same key; if they do, the key may be wrong.",
}
"""The checks of what may be wrong, none of which refuses a day."""
_AMOUNTS = ("decimal", "double")  # equal by chance, and no part of a key


def mostly_refused(
    tables: Tables, quarantine: str, refused_by_day: Mapping[dt.date, int], valid: int
) -> str | None:
    """Where most rows were quarantined: by which rule, with an example."""
    refused = sum(refused_by_day.values())
    if refused <= valid:
        return None
    [(rule, rows, file, line, detail)] = tables.rows(
        "select rule, count(*), arg_min(_file, (_file, _line)), arg_min(_line, (_file, _line)), "
        f"arg_min(detail, (_file, _line)) from {quarantine} "
        f"where {within('_partition', refused_by_day)} group by 1 order by 2 desc, 1 limit 1"
    )
    return (
        f"{refused:,} of {refused + valid:,} rows are quarantined, {rows:,} of them by {rule}, "
        f"e.g. {file}:{line}{f' {detail}' if detail else ''}"
    )


def conflicting_keys(tables: Tables, contract: Contract, judged: str) -> str | None:
    """Where rows of one landing share their key: how many, and the columns that would distinguish
    them.
    """
    if not contract.key:
        return None
    conflicts = f"from {judged} where _rule = 'conflicting_key'"
    [(rows, file, line)] = tables.rows(
        "select count(*), arg_min(_file, (_file, _line)), arg_min(_line, (_file, _line)) "
        f"{conflicts}"
    )
    if not rows:
        return None
    named = ", ".join(contract.key)
    others = [c.name for c in contract.columns if not c.type.startswith(_AMOUNTS)]
    wider = widened(tables, contract.key, others, conflicts)
    remedy = (
        f"unique would be `key: [{', '.join(wider)}]`"
        if wider
        else "no declared columns distinguish them, and without `key` every row counts"
    )
    return (
        f"{rows:,} rows are quarantined by conflicting_key, e.g. {file}:{line}: is {named} really "
        f"the key? Another row of their landing has it too; {remedy}"
    )


def widened(
    tables: Tables, key: Iterable[str], others: Iterable[str], conflicts: str
) -> list[str] | None:
    """A key, widened column by column by the one that splits the rows most, until no two rows share
    it.

    ``conflicts``: SQL of the rows, from ``from`` on. None where all ``others`` together do not do
    it.
    """
    chosen = list(key)
    left = [name for name in others if name not in chosen]
    while left:
        counts = []
        for name in left:  # what may be null is no part of a key
            together = ", ".join(map(quoted, [*chosen, name]))
            counts.append(f"if(count({quoted(name)}) = count(*), count(distinct ({together})), 0)")
        [(rows, *distinct)] = tables.rows(f"select count(*), {', '.join(counts)} {conflicts}")
        most = max(distinct)
        chosen.append(left.pop(distinct.index(most)))
        if most == rows:
            return chosen
    return None
