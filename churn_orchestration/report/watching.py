"""What became of the forecasts, and what has drifted: read at the door."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.protocol import EXPECTED, RESTATED
from churn_orchestration.components.question.monitoring.drift import sentences
from churn_orchestration.components.question.monitoring.first_week import sentence as first_week
from churn_orchestration.report.text import command, grid, plain
from churn_orchestration.storage.door import door, refuse_damaged

SHOWN = {
    "auc": "AUC",
    "log_loss": "log loss",
    "base_rate": "churn rate",
    "calibration_error": "calibration error",
}
GROUPED = {
    "contact_rate": "contacted",
    "true_positive_rate": "of the churners",
    "false_positive_rate": "of those who stay",
}
MOST_ALARMS = 5
Query = Callable[[str], list[dict[str, Any]]]


def watch_report(business: Business, question: str | None) -> tuple[dict[str, Any], str]:
    """Of each question, or of one: newest outcomes next to what was expected, first week, alarms
    of the day.

    Raises
    ------
    BusinessError : nothing is watched yet, or there is no such question
    """
    with door(business.state) as db:

        def query(sql: str) -> list[dict[str, Any]]:
            result: list[dict[str, Any]] = db.execute(sql).df().to_dict("records")
            return result

        views = query(
            "select view_name as name from duckdb_views() where schema_name = 'monitoring'"
        )
        tables = {view["name"] for view in views}
        names = sorted(name.removesuffix("_drift") for name in tables if name.endswith("_drift"))
        if not names or question not in (None, *names):
            message = (
                f'no "{question}" is watched, but {", ".join(names)}'
                if names
                else "nothing is watched yet"
            )
            raise BusinessError(
                f"{business.name}: {message}; to watch the days: {command(business, 'run')}"
            )
        shown = [name for name in names if question in (None, name)]
        of_each = ("performance", "first_week", "drift")
        refuse_damaged(db, *(f"monitoring.{name}_{what}" for name in shown for what in of_each))
        facts = {
            name: {
                "performance": _performance(query, name)
                if f"{name}_performance" in tables
                else None,
                "first_week": _first_week(query, name) if f"{name}_first_week" in tables else None,
                "drift": _drift(query, name),
            }
            for name in shown
        }
    parts = [part for name, result in facts.items() for part in _lines(name, result)]
    return {"questions": facts}, plain(*parts)


def _performance(query: Query, question: str) -> dict[str, Any]:
    """The newest as_of whose outcome is known, metric by metric, next to what was expected of
    it.
    """
    table = f"monitoring.{question}_performance"
    rows = query(f"""
with newest as (
  select * from {table} where kind <> '{EXPECTED}' and feature is null
  qualify as_of = max(as_of) over ()),
realised as (from newest qualify row_number() over (
  partition by metric order by measured_on desc) = 1)
select r.as_of, r.model_version, r.metric, r.value, r.low, r.high, r.forecasts,
  e.value as expected, e.low as expected_low, e.high as expected_high
from realised as r
left join (from {table} where kind = '{EXPECTED}') as e using (as_of, metric, model_version)
order by metric""")
    [newest] = query(
        f"select max(measured_on) as day, max(waiting) as waiting, sum(restated) as restated from "
        f"(select measured_on, waiting, (kind = '{RESTATED}')::int as restated from {table} "
        f"qualify measured_on = max(measured_on) over ())"
    )
    return {
        "day": _day(newest["day"]), "waiting": newest["waiting"],
        "as_of": _day(rows[0]["as_of"]) if rows else None,
        "model_version": rows[0]["model_version"] if rows else None,
        "forecasts": rows[0]["forecasts"] if rows else 0,
        "metrics": {row["metric"]: {name: row[name] for name in _NUMBERS} for row in rows},
        "groups": _groups(query, table, rows[0]["as_of"]) if rows else [],
    }  # fmt: skip


def _groups(query: Query, table: str, as_of: dt.date) -> list[dict[str, Any]]:
    """How often each declared group is contacted, as last measured; empty where none is
    declared.
    """
    metrics = ", ".join(f"'{metric}'" for metric in GROUPED)
    rows = query(f"""
select feature, segment, metric, value, low, high, forecasts from {table}
where as_of = date '{_day(as_of)}' and metric in ({metrics})
qualify row_number() over (partition by feature, segment, metric order by measured_on desc) = 1
order by feature, segment, metric""")
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        names = {"feature": row["feature"], "segment": row["segment"], "rows": row["forecasts"]}
        of_group = groups.setdefault((row["feature"], row["segment"]), names)
        of_group[row["metric"]] = {name: row[name] for name in ("value", "low", "high")}
    return list(groups.values())


def _first_week(query: Query, question: str) -> dict[str, Any] | None:
    """What the newest comparison of a champion's first week says; None: there was none yet."""
    rows = query(
        f"from monitoring.{question}_first_week qualify measured_on = max(measured_on) over ()"
    )
    if not rows:
        return None
    first = rows[0]
    return {
        "day": _day(first["measured_on"]),
        "worse": bool(first["worse"]),
        "says": first_week(rows),
    }


_NUMBERS = ("value", "low", "high", "expected", "expected_low", "expected_high")


def _drift(query: Query, question: str) -> dict[str, Any]:
    """The alarms of the newest day, the one that moves the scores most first."""
    rows = query(
        f"from monitoring.{question}_drift qualify measured_on = max(measured_on) over () "
        "order by alarm desc, abs(effect) desc, feature"
    )
    alarms = [row for row in rows if row["alarm"]]
    wanted = ("feature", "measure", "value", "usual_up_to", "effect", "verdict")
    for row in alarms:  # of a day before there was this column, there is none
        row["follows"] = row.get("follows") if isinstance(row.get("follows"), str) else None
    return {
        "day": _day(rows[0]["measured_on"]) if rows else None,
        "features": len(rows),
        "alarms": [{name: row[name] for name in (*wanted, "follows")} for row in alarms],
    }


def _day(value: Any) -> dt.date | None:
    return None if value is None or value != value else value.date()  # NaT is no day


def _lines(question: str, result: Mapping[str, Any]) -> list[Any]:
    performance, drift = result["performance"], result["drift"]
    parts: list[Any] = []
    if performance and performance["as_of"]:
        lines = grid(
            f"{question}: {performance['forecasts']:,} forecasts of {performance['as_of']}, by "
            f"{performance['model_version']}",
            "", "as it came", "95 %", "expected", "95 %",
        )  # fmt: skip
        for metric, words in SHOWN.items():
            if metric in performance["metrics"]:
                lines.add_row(words, *_cells(performance["metrics"][metric]))
        parts.append(lines)
    elif performance:
        parts.append(f"{question}: no outcome is known yet")
    if performance and performance["groups"]:
        lines = grid("contacted, by group", "", "customers", *GROUPED.values())
        for group in performance["groups"]:
            cells = [_rate(group.get(metric)) for metric in GROUPED]
            name = f"{group['feature']} {group['segment']}"
            lines.add_row(name, f"{group['rows']:,}", *cells)
        parts.append(lines)
    if performance and performance["waiting"]:
        waiting = f"{performance['waiting']:,} forecasts up to {performance['day']}"
        parts.append(f"{waiting} wait for their outcome")
    if week := result["first_week"]:
        parts.append(f"first week, on {week['day']}: {week['says']}")
    if not drift["features"]:
        return [
            *parts,
            "drift: nothing to compare with: no model scored the newest day, or no replay",
        ]
    alarms = drift["alarms"]
    message = (
        f"{len(alarms) or 'no'} alarm{'s' * (len(alarms) != 1)} among {drift['features']} features"
    )
    parts.append(f"drift on {drift['day']}: {message}")
    by_verdict = {
        each["verdict"]: [a for a in alarms if a["verdict"] == each["verdict"]] for each in alarms
    }
    said = [
        f"  {verdict}: {words}" for verdict, of in by_verdict.items() for words in sentences(of)
    ]
    return parts + said[:MOST_ALARMS]


def _rate(result: Mapping[str, float] | None) -> str:
    """A rate with its interval; of a group that is too small, none."""
    if result is None:
        return "too few"
    return f"{result['value']:.1%} ({result['low']:.1%} to {result['high']:.1%})"


def _cells(metric: Mapping[str, float]) -> list[str]:
    def number(name: str) -> str:
        return (
            "-" if metric[name] is None or metric[name] != metric[name] else f"{metric[name]:.3f}"
        )

    def interval(prefix: str) -> str:
        low, high = number(f"{prefix}low"), number(f"{prefix}high")
        return "-" if low == "-" else f"{low} to {high}"

    return [number("value"), interval(""), number("expected"), interval("expected_")]
