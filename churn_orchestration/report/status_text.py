"""The status of a business in words."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from churn_orchestration.business import Business
from churn_orchestration.churn.protocol import BASE_RATE
from churn_orchestration.report.text import command, counted, grid, plain

SHOWN = 8  # causes, waivers or rules listed one by one, the rest as a number; --json has them all


def status_text(business: Business, facts: dict[str, Any]) -> str:
    """First whether all is well, then what is there, what is to be mended, who scores, and what
    waits.
    """
    parts: list[Any] = [headline(facts), "", _tables(facts["tables"], facts["causes"])]
    for section in (
        _refused(facts["causes"]),
        _damaged(facts["damaged"]),
        _outdated(facts["outdated"]),
        _changed(facts["changed"]),
        _missing(facts["missing_files"]),
        _behind(business, facts),
        _waived(facts["waived"]),
        _quarantine(facts["quarantine"]),
        _models(business, facts["models"], facts["newest"]),
        _landing(facts["landing"]),
    ):
        if lines := list(section):
            parts += ["", *lines]
    return plain(*parts)


def headline(facts: dict[str, Any]) -> str:
    """Whether all is well, in one line."""
    name, roots = facts["business"], facts["causes"]
    if facts["newest"] is None and not roots:
        return f"{name}: no day is there yet"
    waiting = {day for cause in roots for day in cause["waiting"]} - {
        cause["day"] for cause in roots
    }
    parts = []
    if roots:
        parts.append(f"{counted(len({cause['day'] for cause in roots}), 'day')} refused")
    if waiting:
        parts.append(f"{len(waiting)} waiting for {'it' if len(roots) == 1 else 'them'}")
    if facts["damaged"]:
        parts.append(f"{counted(len(facts['damaged']), 'damaged file')}")
    if facts["outdated"]:
        tables = len({each["table"] for each in facts["outdated"]})
        parts.append(f"{counted(tables, 'table')} computed by code that has changed")
    behind = [table for table, state in facts["tables"].items() if state["fault"]]
    if not roots and behind:
        parts.append(f"nothing refused, but {counted(len(behind), 'table')} not up to date")
    upto = _fresh_until(facts)
    parts = parts or [f"all fresh up to {facts['newest']}"]
    for source, result in facts["quarantine"].items():
        if (result["all"]["share"] or 0) > 0.5:
            parts.append(f"most rows of {source} are quarantined")
    if facts["changed"]:
        parts.append(f"{counted(len(facts['changed']), 'change')} in what landed")
    if facts["waived"]:
        parts.append(f"{counted(len(facts['waived']), 'day')} waived")
    if not facts["fresh"] and upto:
        parts.append(f"all fresh up to {upto}")
    if result := sum(map(len, facts["landing"]["new_files"].values())):
        parts.append(f"{counted(result, 'new file')} not taken in")
    return f"{name}: {', '.join(parts)}"


def _fresh_until(facts: dict[str, Any]) -> dt.date | None:
    faults = [state["fault"]["day"] for state in facts["tables"].values() if state["fault"]]
    first = min(faults, default=None)
    days = facts["first"]
    return first - dt.timedelta(days=1) if first and days and first > days else None


def _tables(tables: dict[str, dict[str, Any]], causes: list[dict[str, Any]]) -> Any:
    refused = {(cause["table"], cause["day"]) for cause in causes}
    made = grid("", "table", "newest day", "days", "rows", "")
    made.columns[0].no_wrap = made.columns[1].no_wrap = True
    made.columns[4].justify = "left"
    for name, state in tables.items():
        made.add_row(
            name,
            str(state["newest"] or "-"),
            f"{state['days']:,}",
            f"{state['rows']:,}",
            _why(name, state, refused),
        )
    return made


def _why(name: str, state: dict[str, Any], refused: set[tuple[str, dt.date]]) -> str:
    fault = state["fault"]
    if fault is None:
        return ""
    if (fault["table"], fault["day"]) not in refused:
        return f"waits for a run of {fault['day']}"
    return f"{fault['day']} is refused" if fault["table"] == name else f"waits: {fault['short']}"


def _refused(causes: list[dict[str, Any]]) -> Iterator[str]:
    for cause in causes[:SHOWN]:
        waiting = [day for day in cause["waiting"] if day != cause["day"]]
        message = (
            f"; {_days(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for it"
            if waiting
            else ""
        )
        yield f"refused: {cause['table']} {cause['day']}: {cause['reason']}{message}"
        yield f"  {cause['edit']}, then:"
        yield f"    {cause['run']}"
        yield "  or let the day count as closed, and run:"
        yield f"    {cause['waive']}"
        if cause["accept"]:
            yield "  or say that what changed is right, and run:"
            yield f"    {cause['accept']}"
    if len(causes) > SHOWN:
        yield f"and {len(causes) - SHOWN} more refused (--json lists all)"


def _outdated(outdated: list[dict[str, Any]]) -> Iterator[str]:
    by_span = dict[str, list[str]]()
    for each in outdated:
        days = f"{counted(each['days'], 'day')} from {each['first']} to {each['last']}"
        span = f"{days}: {each['reason']}"
        by_span.setdefault(span, []).append(each["table"])
    for span, tables in by_span.items():
        yield f"outdated: {', '.join(tables)}, {span}"
    if outdated:
        yield "  to compute them again:"
        yield f"    {outdated[0]['run']}"


def _damaged(damaged: list[dict[str, Any]]) -> Iterator[str]:
    for each in damaged[:SHOWN]:
        yield f"damaged: {each['table']} {each['day']}: {each['reason']}"
    if damaged:
        more = f" (and {len(damaged) - SHOWN} more; --json has all)" if len(damaged) > SHOWN else ""
        yield f"  what is damaged is not shown; it is recomputed by{more}:"
        yield f"    {damaged[0]['run']}"


def _changed(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events[-SHOWN:]:
        lasts = f", up to {event['last']}" if event["last"] > event["since"] else ""
        held = f"; {_days(event['held'])} held back" if event["held"] else ""
        yield f"changed: {event['since']}{lasts}{held}:"
        for table, said in event["tables"].items():
            yield f"  {table}: {said}"
    if events:
        yield "  ask where it comes from; mend the files and run again, or say that it is right:"
        for accept in events[-1]["accept"]:
            yield f"    {accept}"
    if len(events) > SHOWN:
        yield f"and {len(events) - SHOWN} earlier changes (--json lists all)"


def _missing(files: dict[str, list[dt.date]]) -> Iterator[str]:
    for source, days in files.items():
        shown = ", ".join(map(str, days[-3:]))
        more = f", and {len(days) - 3} before" if len(days) > 3 else ""
        yield f"no file: {source}: {shown}{more}; nothing of those days counts"


def _days(days: list[dt.date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{len(days)} days ({days[0]} to {days[-1]})"


def _behind(business: Business, facts: dict[str, Any]) -> Iterator[str]:
    roots = {cause["table"] for cause in facts["causes"]}
    behind = [
        s["fault"]
        for s in facts["tables"].values()
        if s["fault"] and s["fault"]["table"] not in roots
    ]
    if behind or facts["waits_for_a_run"]:
        yield "not up to date, and nothing is in the way of it; run:"
        yield f"    {command(business, 'run --to ' + str(facts['newest']))}"


def _waived(waived: list[dict[str, Any]]) -> Iterator[str]:
    for row in waived[:SHOWN]:
        who = (
            f" ({row['trigger']}, decision {row['sequence']} of the ledger)"
            if row["trigger"]
            else ""
        )
        yield f"waived: {row['table']} {row['day']}: {row['reason']}{who}"
    if len(waived) > SHOWN:
        yield f"and {len(waived) - SHOWN} more waived (--json lists all)"


def _quarantine(sources: dict[str, dict[str, Any]]) -> Iterator[str]:
    for source, result in sources.items():
        newest, everything = result["newest"], result["all"]
        if not everything["rows"]:
            yield f"quarantine: {source}: none of {counted(everything['of'], 'row')}"
            continue
        rules = ", ".join(f"{rule} {rows:,}" for rule, rows in list(result["rules"].items())[:3])
        of_newest = f", {_share(newest)} on {newest['day']}" if newest["day"] else ""
        yield f"quarantine: {source}: {_share(everything)} in all{of_newest}; most by {rules}"


def _share(result: dict[str, Any]) -> str:
    share = "" if result["share"] is None else f" ({result['share']:.1%})"
    return f"{result['rows']:,} of {counted(result['of'], 'row')}{share}"


def _models(
    business: Business, models: dict[str, dict[str, Any]], newest: dt.date | None
) -> Iterator[str]:
    for question, model in models.items():
        if model["champion"] is None:
            yield from _no_model(business, question, model, newest)
            continue
        age = f", {counted(days, 'day')} old" if (days := model["age_days"]) and days > 0 else ""
        yield f"model: {question}: {model['champion']}, cut-off {model['cutoff']}{age}"
        yield from _last_scored(business, model)
        if model["grade"]:
            yield f"  {model['graded']}: {_grade(model['grade'])}"


def _last_scored(business: Business, model: dict[str, Any]) -> Iterator[str]:
    by, day, again = model["scored_by"], model["last_scored"], model["score_again"]
    if again:
        yield f"  last scored day: {day}, by {by}; to have this model score it:"
        yield f"    {command(business, f'score --from {again} --to {again}')}"
    elif by:
        later = (
            ""
            if by == model["champion"]
            else f", by {by}; this model scores from {model['in_force_from']} on"
        )
        yield f"  last scored day: {day}{later}"


def _no_model(
    business: Business, question: str, model: dict[str, Any], newest: dt.date | None
) -> Iterator[str]:
    refused = model["refused_candidate"]
    because = "no model is trained yet"
    if refused:
        what = "newest candidate" if refused["trained"] else "newest training"
        because = f"the {what}, cut-off {refused['cutoff']}, was refused: {refused['reason']}"
    if model["outdated"]:
        because = f"the question has changed since model {model['outdated']} was trained"
    by = f"scored by {model['scored_by']}" if model["scored_by"] else "nothing is scored yet"
    if model["scored_by"] == BASE_RATE:
        by += ", all alike: there is no ranking"
    yield f"model: {question}: none in force, {by}; {because}"
    cutoff = model["last_scored"] or newest
    yield f"    {command(business, f'train --cutoff {cutoff}')}"


def _grade(grade: dict[str, dict[str, float]]) -> str:
    words = {"log_loss": "log loss", "auc": "AUC"}
    parts = []
    for metric, word in words.items():
        own, *others = [
            f"{peer} {result[metric]:.3f}"
            for peer, result in grade.items()
            if metric in result and (metric, peer) != ("auc", "constant")  # a constant ranks nobody
        ]
        beside = f" ({', '.join(others)})" if others else ""
        parts.append(f"{word} {own.removeprefix('model ')}{beside}")
    return ", ".join(parts)


def _landing(landing: dict[str, Any]) -> Iterator[str]:
    if fault := landing.get("fault"):
        yield f"landing: {fault}"
        return
    for source, files in landing["new_files"].items():
        more = f" and {len(files) - 3:,} more" if len(files) > 3 else ""
        yield f"not taken in yet: {source}: {', '.join(files[:3])}{more}"
    if landing["run"]:
        yield f"    {landing['run']}"
    if after := landing["after_end_date"]:
        yield f"{counted(after, 'file')} of days after end_date (business.yaml): left out"
