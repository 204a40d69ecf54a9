"""`churn status`: is all well, what is fresh, what was refused and how to mend it, who scores, what
waits.

Read at the door, so that it answers while a run is at work: it shows the last publish.
"""

import datetime as dt
from typing import Any

from churn_orchestration.business import Business
from churn_orchestration.churn.protocol import REFUSE
from churn_orchestration.report import Report
from churn_orchestration.report.declared import declared
from churn_orchestration.report.new_files import waiting_files
from churn_orchestration.report.ranking import questions
from churn_orchestration.report.status_text import status_text
from churn_orchestration.report.text import command
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door
from churn_orchestration.storage.freshness import (
    Missing,
    ancestors,
    causes,
    missing,
    newest_quarantine,
    refusals,
    rows_by_source,
    states,
    waivers,
)
from churn_orchestration.storage.open_changes import Event, open_events
from churn_orchestration.storage.warehouse import Tables, literal


def status_report(business: Business) -> Report:
    """The state of a business, as facts and as text."""
    with door(business.state) as db:
        tables = Tables(db, business.state)
        result = states(tables)
        damaged = tables.days.damaged()
        roots, loose = causes(missing(tables), ancestors(tables))
        refused = refusals(tables)
        waived = _waived(tables)
        quarantine = _quarantine(tables)
        now = declared(business)
        outdated = tables.days.outdated(now.code)
        broken = {(table, day) for table, day, _ in damaged}
        models = {
            name: _model(tables, name, result, now.meanings.get(name), broken)
            for name in _question_names(tables)
        }
        landing = waiting_files(tables, business, result, now.files)
        changed = [_changed(business, event) for event in open_events(tables)]
    newest = max((state["newest"] for state in result.values() if state["newest"]), default=None)
    facts = {
        "business": business.name,
        "fresh": not damaged
        and not outdated
        and not any(state["fault"] for state in result.values()),
        "first": business.start,
        "newest": newest,
        "tables": result,
        "refused": [{"table": name, "day": day, "reason": reason} for name, day, reason in refused],
        "causes": _causes(business, roots, newest),
        "damaged": [
            {"table": table, "day": day, "reason": wrong, "run": command(business, "run")}
            for table, day, wrong in damaged
        ],
        "outdated": [result | {"run": command(business, "run")} for result in outdated],
        "waits_for_a_run": sorted({item.day for item in loose}),
        "waived": waived,
        "quarantine": quarantine,
        "champions": {name: model["champion"] for name, model in models.items()},
        "models": models,
        "landing": landing,
        "changed": changed,
        "missing_files": landing.pop("missing", {}),
    }
    return facts, status_text(business, facts)


def _causes(
    business: Business, roots: dict[Missing, list[Missing]], newest: dt.date | None
) -> list[dict[str, Any]]:
    """Each root cause once, with what mends it and the days that wait for it."""
    return [
        {
            "table": root.table,
            "day": root.day,
            "reason": root.reason,
            "waiting": sorted({item.day for item in waiting}),
            "edit": f"mend the file, or the declaration of {root.table.split('.')[1]}",
            "run": command(business, f"run --to {max(filter(None, [newest, root.day]))}"),
            "waive": command(business, f"waive --table {root.table} --day {root.day} --reason WHY"),
            "accept": command(
                business, f"accept --table {root.table} --day {root.day} --reason WHY"
            )
            if root.is_held
            else None,
        }
        for root, waiting in roots.items()
    ]


def _changed(business: Business, event: Event) -> dict[str, Any]:
    """An open change, with the commands that accept it."""
    accepts = [f"accept --table {table} --day {event.since} --reason WHY" for table in event.tables]
    return {
        "since": event.since,
        "last": event.last,
        "tables": event.tables,
        "held": event.held,
        "accept": [command(business, each) for each in accepts],
    }


def _waived(tables: Tables) -> list[dict[str, Any]]:
    """The waivers in force, with the decision in the ledger."""
    decided = {
        (row["subject"], row.get("cutoff")): row
        for row in ledger.read(tables.state)
        if row["decision"] == "waive"
    }
    return [
        {"table": table, "day": day, "reason": reason}
        | {name: decided.get((table, str(day)), {}).get(name) for name in ("trigger", "sequence")}
        for table, day, reason in waivers(tables)
    ]


def _quarantine(tables: Tables) -> dict[str, dict[str, Any]]:
    """Refused rows of each source: of its newest day and of all days, and the rules that refused
    most.
    """
    result = {}
    for source, (valid, refused, duplicates, _) in sorted(rows_by_source(tables).items()):
        day, rows, raw = newest_quarantine(tables, source) or (None, 0, 0)
        rules: list[tuple[Any, ...]] = []
        if tables.rows(
            "from duckdb_views() where schema_name = 'quarantine' and view_name = ?", [source]
        ):
            rules = tables.rows(
                f"select rule, count(*) from quarantine.{source} group by 1 order by 2 desc, 1"
            )
        result[source] = {
            "newest": {"day": day} | _part(rows, raw),
            "all": _part(refused, valid + refused + duplicates),
            "rules": dict(rules),
        }
    return result


def _part(rows: int, of: int) -> dict[str, Any]:
    return {"rows": rows, "of": of, "share": rows / of if of else None}


def _question_names(tables: Tables) -> list[str]:
    trained = tables.rows("select table_name from duckdb_tables() where schema_name = 'models'")
    return sorted({*questions(tables.db), *(name for (name,) in trained)})


def _model(
    tables: Tables,
    question: str,
    result: dict[str, dict[str, Any]],
    meaning: str | None,
    broken: set[tuple[str, dt.date]],
) -> dict[str, Any]:
    """The champion of a question with its age and grade; without one, the newest candidate and its
    reason.
    """
    scored = result.get(f"predictions.{question}", {}).get("newest")
    by = (
        tables.rows(
            f"select any_value(model_version) from predictions.{question} where as_of = "
            f"{literal(scored)}"
        )
        if scored and (f"predictions.{question}", scored) not in broken
        else []
    )
    row = ledger.champion(tables.state, question, dt.date.max, meaning)
    facts = {
        "champion": row and row["model_version"],
        "last_scored": scored,
        "scored_by": by and by[0][0],
    }
    if row:
        cutoff = dt.date.fromisoformat(row["cutoff"])
        peers = ["model", *row["evidence"].get("differences", {})]
        graded = row["evidence"].get("report", {})
        in_force = ledger.champion(tables.state, question, scored, meaning) if scored else None
        return facts | {
            "cutoff": cutoff,
            "in_force_from": dt.date.fromisoformat(max(row["cutoff"], row["decided_on"])),
            "score_again": scored
            if in_force and in_force["model_version"] != facts["scored_by"]
            else None,
            "age_days": (scored - cutoff).days if scored else None,
            "graded": row["evidence"].get("caveat") or "on later days",
            "grade": {
                peer: {
                    m: graded[peer][m]["value"] for m in ("log_loss", "auc") if m in graded[peer]
                }
                for peer in peers
                if peer in graded
            },
        }
    outdated = ledger.champion(tables.state, question, dt.date.max)
    newest = ledger.newest_refusal(tables.state, question)
    return facts | {
        "outdated": outdated and outdated["model_version"],
        "refused_candidate": newest
        and {
            "cutoff": newest["cutoff"],
            "reason": newest["reason"],
            "model_version": newest["model_version"],
            "trained": newest["decision"] == REFUSE,
        },
    }
