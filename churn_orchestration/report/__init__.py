"""What the command line reports: facts for machines, the same in a few lines for people; read from
the door.
"""

import datetime as dt
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from churn_orchestration.business import Business
from churn_orchestration.report.declared import declared
from churn_orchestration.report.new_files import waiting_files
from churn_orchestration.report.text import command, grid, plain
from churn_orchestration.storage.door import door
from churn_orchestration.storage.freshness import rows_by_source, rows_by_table, states
from churn_orchestration.storage.layers import DOOR
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.automation.planning import Refreshed

Report = tuple[Any, ...]
METRICS = {
    "auc": "AUC", "average_precision": "avg. precision", "log_loss": "log loss", "brier": "Brier",
    "calibration_error": "calibration error", "lift_top_decile": "lift, top 10 %",
    "recall_top_decile": "recall, top 10 %",
}  # fmt: skip


def rows_by_layer(business: Business) -> dict[str, int]:
    """Rows of every table of raw to predictions, of valid days."""
    with door(business.state) as db:
        return rows_by_table(Tables(db, business.state))


def layers_text(business: Business) -> str:
    """Rows per table, and where the raw rows of each source went."""
    counted = rows_by_layer(business)
    table = grid("Rows by table", "table", "rows", "")
    with door(business.state) as db:
        went = rows_by_source(Tables(db, business.state))
    for name, rows in counted.items():
        layer, source = name.split(".")
        message = ""
        if layer == "raw" and source in went:
            valid, refused, duplicates, waiting = went[source]
            message = (
                f"= {valid:,} bronze + {refused:,} quarantine + {duplicates:,} exact duplicates"
            )
            message += f" + {waiting:,} of refused days" if waiting else ""
        table.add_row(name, f"{rows:,}", message)
    return plain(table)


def refreshed(business: Business, done: "Refreshed") -> Report:
    """What a refresh did; done only if no day was refused."""
    rows = rows_by_layer(business) if (business.state / DOOR).exists() else {}
    facts = {
        "business": business.name, "from": done.first, "to": done.last, "succeeded": done.succeeded,
        "refused": done.refused, "notes": done.notes, "rows": rows,
    }  # fmt: skip
    span = f"{done.first} to {done.last}"
    lines = [
        f"{business.name}: "
        f"{f'not every day of {span} is valid' if done.refused else f'refreshed {span}'}"
    ]
    lines += [f"note: {table}: {note}" for table, note in done.notes.items()]
    for table, days in done.refused.items():
        for reason in dict.fromkeys(days.values()):
            first, *more = [day for day, why in days.items() if why == reason]
            others = f" and {len(more)} more days" if more else ""
            lines.append(f"refused: {table} {first}{others}: {reason}")
    if done.refused:
        table, day = next((table, min(days)) for table, days in done.refused.items())
        waive = command(business, f"waive --table {table} --day {day} --reason WHY")
        lines.append(
            "Mend the file, or its declaration in the YAML, and run again; or let the day count as "
            "closed: " + waive
        )
    text = "\n".join(lines) + ("\n" + layers_text(business) if rows else "")
    return facts, text, done.succeeded and not done.refused


def up_to_date(business: Business, last: dt.date) -> Report:
    """Nothing was left to do; done only if no file waits for a day that is there to be made
    again.
    """
    rows = rows_by_layer(business)
    with door(business.state) as db:
        tables = Tables(db, business.state)
        landing = waiting_files(tables, business, states(tables), declared(business).files)
    files = [file for those in landing["new_files"].values() for file in those]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    waits = (
        f", but not what is in {', '.join(files[:3])}{more} now; to take that in: {landing['run']}"
    )
    facts = {
        "business": business.name,
        "to": last,
        "succeeded": True,
        "refused": {},
        "notes": {},
        "rows": rows,
        "landing": landing,
    }
    message = f"{business.name}: everything up to {last} is there already{waits if files else ''}"
    return facts, f"{message}\n{layers_text(business)}", not (files and landing["again"])


def trained(business: Business, became: Mapping[str, Mapping[str, Any]], cutoff: dt.date) -> Report:
    """Models of a cut-off, how they did on later days, and what was decided; ``became``: see
    ``Work.train``.

    Done, unless a model is there already and was rolled back: then nothing changed.
    """
    from churn_orchestration.components.question.training.promotion import record_of

    facts, parts = [], []
    for question, now in became.items():
        record = record_of(business.state, question, now["model_version"])
        decided = {name: now[name] for name in ("decision", "reason", "done")}
        facts.append(record | {"question": question} | decided)
        parts.append(model_text(question, record, now["decision"], now["reason"]))
        parts += _without_value(business, question, cutoff)
    done = all(now["done"] for now in became.values())
    return {"business": business.name, "cutoff": cutoff, "models": facts}, "\n".join(parts), done


def _without_value(business: Business, question: str, cutoff: dt.date) -> list[str]:
    """Which features have no value on any as_of of a snapshot, since they became known later."""
    from churn_orchestration.components.source.landed_at_once import known_late_message

    manifest = json.loads((business.state / "snapshots" / question / f"{cutoff}.json").read_text())
    since = {
        name: dt.date.fromisoformat(day) for name, day in manifest.get("without_value", {}).items()
    }
    return [f"  {known_late_message(since)}"] if since else []


def model_text(question: str, record: dict[str, Any], decision: str, reason: str) -> str:
    """A model's metrics on later days next to the baselines, with the decision."""
    evaluation = record["evaluation"]
    parts = [
        f"{question}: model {record['model_version']} at cut-off {record['cutoff']}: {decision} "
        f"({reason})",
        *(f"warning: {warning}" for warning in record.get("warnings", [])),
    ]
    parts += [f"{record[note]}." for note in ("bound", "copies") if record.get(note)]
    if not evaluation["report"]:
        return plain(*parts)
    days = ", ".join(fold["test"] for fold in evaluation["tests"])
    how = evaluation.get("caveat") or f"on later days that have matured since: {days}"
    return plain(*parts, metrics_table(f"Graded {how}", evaluation["report"]))


def metrics_table(title: str, graded: dict[str, Any]) -> Table:
    """Metrics of every forecaster, one column each, with 95 % intervals for the model.

    A second interval would break the lines of a terminal; `churn card` has them all.
    """
    base, model = graded["model"]["base_rate"], graded["model"]
    shown = {"recency": "recency rank"}
    table = grid(
        f"{title}\n{model['rows']:,} rows of {model['entities']:,} customers, base rate "
        f"{base['value']:.1%} [{base['low']:.1%}, {base['high']:.1%}]; 95 % intervals, clustered "
        "by customer",
        "",
        *(shown.get(name, name) for name in graded),
    )
    for metric, words in METRICS.items():
        cells = []
        for name, result in graded.items():
            number = result.get(metric)
            text = f"{number['value']:.3f}" if number else "-"
            if number and name == "model":
                text += f" [{number['low']:.3f}, {number['high']:.3f}]"
            cells.append(text)
        table.add_row(words, *cells)
    return table


def backtested(facts: dict[str, Any]) -> str:
    """A look back in words."""
    title = (
        f"{facts['question']}: trained at the end of {facts['as_of']} on as_ofs "
        f"{facts['trained_on'][0]} to {facts['trained_on'][-1]}, graded on data until "
        f"{facts['graded_on_data_until']}"
    )
    kept = "" if facts["stored"] else "\nThat day has a forecast already; it was left as it is."
    return plain(metrics_table(title, facts["report"])) + kept


def rolled(question: str, looks: list[dict[str, Any]]) -> str:
    """Looks back from many days in words: a line each, and the mean of those that could be
    graded.
    """
    headings = (
        "as_of",
        "customers",
        "churned",
        "AUC",
        "log loss",
        "rules",
        "constant",
        "model - rules",
    )
    table = grid(f"{question}: looked back from {len(looks)} month-ends", *headings)
    lines, refused = [], []
    for look in looks:
        if "refused" in look:
            refused.append(f"{look['as_of']}: {look['refused']}")
            continue
        report = look["report"]
        losses = [
            report[who]["log_loss"]["value"] if who in report else None
            for who in ("model", "rules", "constant")
        ]
        lines.append([report["model"]["auc"]["value"], *losses])
        auc = report["model"]["auc"]
        message = f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"
        counted = (look["as_of"], f"{look['entities']:,}", f"{look['base_rate']:.1%}")
        table.add_row(*counted, message, *_losses(losses))
    if lines:
        auc, *losses = (
            None if None in column else sum(column) / len(column)
            for column in zip(*lines, strict=True)
        )
        table.add_row("mean", "", "", f"{auc:.3f}", *_losses(losses))
    return plain(table, *refused)


def _losses(losses: list[float | None]) -> list[str]:
    """Log loss of model, rules and constant, and the lead of the model over the rules."""
    model, rules = losses[:2]
    lead = "-" if model is None or rules is None else f"{model - rules:+.4f}"
    return ["-" if loss is None else f"{loss:.4f}" for loss in losses] + [lead]
