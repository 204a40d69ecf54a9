"""One customer in words."""

import datetime as dt
import math
from collections.abc import Iterator
from typing import Any

from churn_orchestration.churn.bound import MOST_EXPLAINED
from churn_orchestration.churn.protocol import FACTORS
from churn_orchestration.report.history import ordinal, sparkline
from churn_orchestration.report.text import counted, plain

WORTH_TELLING = 0.02  # a smaller largest move is no news; --json has it


def explain_text(facts: dict[str, Any]) -> str:
    """Who it is, its risk now, why, and how it moved."""
    now = facts["now"]
    lines = [
        f"{facts['key']} {facts['entity']}, {facts['question']} on {now['as_of']}"
        + (" (a look back)" if now["backtest"] else ""),
        *_who(facts["customer"], now["as_of"]),
        *(line for of in facts["segments"] for line in _segment(of)),
        *map(_value, facts["values"]),
        *map(_action, facts["campaigns"]),
        "",
        f"risk: {now['churn_probability']:.0%}, {now['band']}{_stake(now, facts)}; {_rank(now)}",
        *_why(now),
        f"  scored by {now['model_version']}" + _known_on(now),
        "",
        *_moved(facts),
    ]
    return plain(*lines)


def _why(now: dict[str, Any]) -> Iterator[str]:
    """The factors for and against, where both are kept; else the reasons."""
    if now.get("risk_factors") is None:
        yield from (f"  {reason}" for reason in _reasons(now))
    else:
        yield from factor_lines(now)


def factor_lines(of: dict[str, Any]) -> Iterator[str]:
    """What raises a forecast, then what lowers it."""
    for name, words in zip(FACTORS, ("for leaving", "against it"), strict=True):
        yield f"  {words}:" + ("" if of[name] else " nothing")
        yield from (f"    {factor}" for factor in of[name])


def _reasons(now: dict[str, Any]) -> list[str]:
    if now["reasons"] is None:
        most = f"{MOST_EXPLAINED:,}"
        return [f"no reasons: of a day they are kept of the {most} with the most at stake"]
    return list(now["reasons"])


def _who(customer: list[dict[str, Any]], day: dt.date) -> Iterator[str]:
    for source in customer:
        if source["first"]:
            ago = int(source["days_since_last"])
            last = f"last {source['last']} ({counted(ago, 'day') + ' ago' if ago else 'that day'})"
            yield (
                f"  {source['source']}: first {source['first']}, {last}; "
                f"known for {_length(day, source)}"
            )
        if source["words"]:
            lead = "    " if source["first"] else f"  {source['source']}: "
            yield lead + "; ".join(source["words"])


def _segment(of: dict[str, Any]) -> Iterator[str]:
    to_do = f": {of['action']}" if of["action"] else ""
    yield f"  {of['set']}: {of['segment']} since {of['since']}{to_do}"
    if of.get("distance") is not None:
        yield f"    {_distance(of)}"
    if of.get("history"):
        sure = "" if of["confidence"] is None else f", confidence {of['confidence']:.0%}"
        yield f"    history: {of['history']}{sure}"


def _distance(of: dict[str, Any]) -> str:
    usual, unusual_from = of["usual_distance"], of["unusual_from"]
    peers = ""
    if usual is not None:
        mark = "unusual" if of["is_unusual"] else "not unusual"
        peers = f" (its peers {usual:.2f}; {mark}, which begins at {unusual_from:.2f})"
    sides = ((side, ", ".join(of[side])) for side in ("rose", "fell"))
    moved = "".join(f"; {side}: {names}" for side, names in sides if names)
    return f"{of['distance']:.2f} from where it was on {of['compared_with']}{peers}{moved}"


def _value(of: dict[str, Any]) -> str:
    ends = ""
    if of["low"] is not None:
        ends = f", {of['low']:,.0f} to {of['high']:,.0f}"
    return (
        f"  {of['model']}: {of['expected_spend']:,.0f} expected{ends} "
        f"({of['expected_purchases']:.1f} purchase days of {of['spend_per_purchase']:,.0f})"
    )


def _action(of: dict[str, Any]) -> str:
    if of["action"] is None:
        return f"  {of['campaign']}: no contact, {of['why']}"
    by = f" by {of['deadline']}" if of["deadline"] else ""
    return f"  {of['campaign']}: {of['action']}, {of['owner']}{by}"


def _length(day: dt.date, source: dict[str, Any]) -> str:
    return counted((day - source["first"]).days, "day")


def _rank(now: dict[str, Any]) -> str:
    top = math.ceil(100 * now["rank"] / now["population"])
    place = f", top {top}%" if top <= 50 else ""
    return f"{ordinal(now['rank'])} of {now['population']:,} in the list{place}"


def _stake(now: dict[str, Any], facts: dict[str, Any]) -> str:
    if now["at_stake"] is None:
        return ""
    unit, worth = facts["unit"] and f" {facts['unit']}", facts["worth"]
    article = "an" if worth[0] in "aeiou" else "a"
    return (
        f"; at stake {now['at_stake']:,.0f}{unit} of {article} {worth} of "
        f"{now['recent_value']:,.0f}{unit}"
    )


def _known_on(now: dict[str, Any]) -> str:
    known_on = now["label_known_on"]
    ahead = (
        known_on and known_on > now["as_of"]
    )  # else the question is static: nothing is waited for
    return f"; the outcome is known on {known_on}" if ahead else ""


def _moved(facts: dict[str, Any]) -> Iterator[str]:
    kind = facts["now"]["backtest"]
    rows = [row for row in facts["history"] if row["backtest"] == kind]
    scored = facts["scored_days"]
    if len(rows) == 1:
        yield f"scored on this day only ({facts['now']['band']})"
    else:
        of = "" if scored["customer"] == scored["question"] else f" of {scored['question']:,}"
        what = "looks back" if kind else "scored days"
        yield f"how it moved, {scored['customer']:,}{of} {what}:"
        line = sparkline([row["churn_probability"] for row in rows])
        yield f"  {rows[0]['as_of']}  {line}  {rows[-1]['as_of']}"
        lowest, highest = (pick(rows, key=lambda r: r["churn_probability"]) for pick in (min, max))
        yield (
            f"  first {_percent(rows[0])}, last {_percent(rows[-1])}, lowest {_percent(lowest)} on "
            f"{lowest['as_of']}, highest {_percent(highest)} on {highest['as_of']}"
        )
        yield (
            f"  {facts['now']['band']} since "
            f"{facts['band_since']}{_since_what(facts, rows[0]['as_of'])}"
        )
    if left := scored["left_on"]:
        yield f"  no longer in the population on {left}"
    for change in facts["forecaster_changes"][-3:]:
        old, new = change["model_versions"]
        step = _step(change) or "no move"
        yield f"  {change['to']}: {step} as {new} took over from {old}, another forecaster"
    if (move := facts["largest_move"]) and _points(move) >= WORTH_TELLING:
        yield f"  largest move by one forecaster: {_step(move)} from {move['from']} to {move['to']}"
        yield from (f"    {change}" for change in move["changes"])
    others = [row for row in facts["history"] if row["backtest"] != kind]
    if others:
        message = ", ".join(f"{row['as_of']} {_percent(row)}" for row in others[-5:])
        yield f"  {'forecasts' if kind else 'looks back'}: {message}"


def _percent(row: dict[str, Any]) -> str:
    return f"{row['churn_probability']:.0%}"


def _step(pair: dict[str, Any]) -> str:
    """From one percentage to another; nothing where they read the same."""
    before, after = (f"{probability:.0%}" for probability in pair["churn_probability"])
    return f"{before} -> {after}" if before != after else ""


def _points(pair: dict[str, Any]) -> float:
    before, after = pair["churn_probability"]
    return float(abs(after - before))


def _since_what(facts: dict[str, Any], first: dt.date) -> str:
    if facts["band_since"] == first:
        return ", its first scored day"
    changed = {change["to"] for change in facts["forecaster_changes"]}
    return ", when the forecaster changed" if facts["band_since"] in changed else ""
