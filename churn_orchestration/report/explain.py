"""`churn explain`: who a customer is, its risk now and why, and how it moved; read at the door."""

import datetime as dt
from typing import Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.protocol import FACTORS
from churn_orchestration.report import Report, campaign, segments, value
from churn_orchestration.report.customer import (
    catalogue,
    changed_features,
    feature_row,
    feature_text,
    introduced,
)
from churn_orchestration.report.explain_text import explain_text
from churn_orchestration.report.history import Row, band_since, forecaster_changes, largest_move
from churn_orchestration.report.ranking import question_named, ranked, worth
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.freshness import shown_upstream
from churn_orchestration.storage.warehouse import Tables, quoted

_NOW = (
    "as_of", "churn_probability", "band", "reasons", "model_version", "label_known_on",
    "days_since_last", "recent_value", "backtest",
)  # fmt: skip


def explain(
    business: Business, entity: str, day: dt.date | None, question: str | None = None
) -> Report:
    """One customer's risk: who it is, now, why, and over the scored days; as facts and as text."""
    with door(business.state) as db:
        tables = Tables(db, business.state)
        question = question_named(db, question)
        gold, table = _gold(tables, question), f"predictions.{question}"
        refuse_damaged(db, *[gold] if gold else [])
        key, rows = rows_of(tables, question, entity)
        entity_id = rows[0][key]
        now = asked_row(tables, question, entity, rows, day)
        words = catalogue(tables, gold) if gold else {}
        history = [row for row in rows if row["backtest"] == now["backtest"]]
        until = [row for row in history if row["as_of"] <= now["as_of"]]
        facts = {
            "entity": str(entity_id),
            "key": key,
            "question": question,
            "now": {name: now[name] for name in _NOW}
            | _factors(tables, question, key, entity_id, now)
            | _place(tables, question, key, entity_id, now["as_of"]),
            "customer": _customer(tables, gold, key, entity_id, now["as_of"], words),
            "band_since": band_since(until)["as_of"],
            "forecaster_changes": [_pair(*pair) for pair in forecaster_changes(history)],
            "largest_move": _largest_move(tables, gold, key, entity_id, history, words),
            "scored_days": _scored_days(tables, question, history),
            "unit": _unit(words),
            "worth": worth(tables, question),
            "values": value.of_entity(tables, table, key, entity_id, now["as_of"]),
            "campaigns": campaign.of_entity(tables, table, key, entity_id, now["as_of"]),
            "segments": segments.of_entity(tables, table, key, entity_id, now["as_of"]),
            "history": [{name: row[name] for name in _NOW} for row in rows],
        }
    return facts, explain_text(facts)


def rows_of(tables: Tables, question: str, entity: str) -> tuple[str, list[dict[str, Any]]]:
    """The column that names who is scored, and the forecasts of one, oldest first.

    Raises
    ------
    BusinessError : there is none, and why
    """
    key, kind = _key(tables, question)
    result = tables.rows(
        f"select {', '.join((quoted(key), *_NOW))} from predictions.{question} "
        f"where {quoted(key)} = try_cast(? as {kind}) order by as_of",
        [entity],
    )
    if not result:
        gold = _gold(tables, question)
        raise BusinessError(_not_scored_ever(tables, question, gold, key, kind, entity))
    return key, [dict(zip((key, *_NOW), row, strict=True)) for row in result]


def _key(tables: Tables, question: str) -> tuple[str, str]:
    """The column of the entity and its type."""
    return next((name, kind) for name, kind, *_ in tables.rows(f"describe predictions.{question}"))


def _gold(tables: Tables, question: str) -> str | None:
    """The feature table that a question reads; None where the door has none."""
    return next(iter(shown_upstream(tables, f"predictions.{question}", "gold")), None)


def asked_row(
    tables: Tables, question: str, entity: str, rows: list[dict[str, Any]], day: dt.date | None
) -> dict[str, Any]:
    """The prediction of the requested day; else the last forecast, else the last look back."""
    if day is None:
        return next((row for row in reversed(rows) if not row["backtest"]), rows[-1])
    if here := [row for row in rows if row["as_of"] == day]:
        return here[0]
    scored = [
        d for (d,) in tables.rows(f"select distinct as_of from predictions.{question} order by 1")
    ]
    if day in scored:
        raise BusinessError(
            f"{question}: {entity} was not in the population of {day}; it was scored from "
            f"{rows[0]['as_of']} to {rows[-1]['as_of']}"
        )
    fault = tables.days.fault(f"predictions.{question}", day, day)
    because = f" ({fault})" if fault and fault.kind != "missing" else ""
    near = sorted(scored, key=lambda other: (abs(other - day), other))[0]
    raise BusinessError(
        f"{question}: {day} was not scored{because}; the nearest scored day is {near} "
        f"(scored: {scored[0]} to {scored[-1]})"
    )


def _place(tables: Tables, question: str, key: str, entity: object, day: dt.date) -> dict[str, Any]:
    """The place of a customer in the list of a day, the length of the list, and what is at
    stake.
    """
    [place] = tables.rows(
        f"select rank, population, at_stake from (select *, count(*) over () as population "
        f"from ({ranked(tables.db, question, day)})) where {quoted(key)} = ?",
        [entity],
    )
    return dict(zip(("rank", "population", "at_stake"), place, strict=True))


def _factors(
    tables: Tables, question: str, key: str, entity: object, now: dict[str, Any]
) -> dict[str, Any]:
    """What raises the forecast and what lowers it, each by itself, where that is kept."""
    columns = {name for name, *_ in tables.rows(f"describe predictions.{question}")}
    if not columns.issuperset(FACTORS):
        return {}
    [row] = tables.rows(
        f"select {', '.join(FACTORS)} from predictions.{question} where as_of = ? and backtest = ? "
        f"and {quoted(key)} = ?",
        [now["as_of"], now["backtest"], entity],
    )
    return dict(zip(FACTORS, row, strict=True))


def _customer(
    tables: Tables, gold: str | None, key: str, entity: object, day: dt.date, words: dict[str, Any]
) -> list[dict[str, Any]]:
    row = feature_row(tables, gold, key, entity, day) if gold else {}
    return introduced(words, row, day) if row else []


def _pair(before: Row, after: Row) -> dict[str, Any]:
    return {
        "from": before["as_of"],
        "to": after["as_of"],
        "model_versions": [before["model_version"], after["model_version"]],
        "churn_probability": [before["churn_probability"], after["churn_probability"]],
    }


def _largest_move(
    tables: Tables,
    gold: str | None,
    key: str,
    entity: object,
    history: list[Any],
    words: dict[str, Any],
) -> dict[str, Any] | None:
    """The largest move by one forecaster, and what changed in the customer with it."""
    pair = largest_move(history)
    if pair is None:
        return None
    before, after = (
        feature_row(tables, gold, key, entity, row["as_of"]) if gold else {} for row in pair
    )
    reasons = [*(pair[1]["reasons"] or []), *(pair[0]["reasons"] or [])]
    return _pair(*pair) | {"changes": changed_features(words, before, after, reasons)}


def _scored_days(tables: Tables, question: str, history: list[dict[str, Any]]) -> dict[str, Any]:
    """On how many of the days scored since its first one it was, and the first on which it was no
    more.
    """
    first, last = history[0]["as_of"], history[-1]["as_of"]
    [(days, left_on)] = tables.rows(
        "select count(distinct as_of) filter (as_of between ? and ?), min(as_of) filter (as_of > "
        f"?) from predictions.{question} where backtest = ?",
        [first, last, last, history[0]["backtest"]],
    )
    return {"customer": len(history), "question": days, "left_on": left_on}


def _unit(words: dict[str, Any]) -> str:
    """The unit of the values, where they have but one."""
    units = {about["unit"] for about in words.values() if about["family"] == "value"}
    return units.pop() if len(units) == 1 else ""


def _not_scored_ever(
    tables: Tables, question: str, gold: str | None, key: str, kind: str, entity: str
) -> str:
    """Why there is no prediction: known but outside the population, or an id that nobody has."""
    if gold is None:
        return f"{question}: no prediction of {key} {entity}"
    known = tables.rows(
        f"select {quoted(key)}, max(as_of) from {gold} where {quoted(key)} = try_cast(? as {kind}) "
        "group by 1",
        [entity],
    )
    if known:
        [(entity_id, day)] = known
        words, row = catalogue(tables, gold), feature_row(tables, gold, key, entity_id, day)
        last = [
            feature_text(about, row[name])
            for name, about in words.items()
            if name.endswith("_days_since_last")
        ]
        seen = f" (on {day}: {', '.join(last)})" if last else ""
        return (
            f"{question}: {key} {entity_id} is known{seen}, but was in the population of no scored "
            f"day; whom {question} asks about, its YAML says (kind, observation_days, end)"
        )
    nearest = _NEAREST.format(key=quoted(key), gold=gold)
    near = [name for (name,) in tables.rows(nearest, [entity, entity])]
    if near:
        return f"{question}: no {key} {entity}; did you mean {', '.join(near)}?"
    return f"{question}: no {key} {entity} in {gold}, nor one that begins so"


# Ids differ by a leading zero, by the .0 of a spreadsheet, by case and blanks; or one was cut
# short.
_NEAREST = """
with ids as (select distinct {key}::varchar as id from {gold}),
plain as (select id, ltrim(regexp_replace(lower(trim(id)), '[.]0+$', ''), '0') as form from ids),
asked as (select ltrim(regexp_replace(lower(trim(?)), '[.]0+$', ''), '0') as form,
  lower(trim(?)) as begin)
select id from plain, asked
where plain.form = asked.form or (asked.begin <> '' and starts_with(lower(id), asked.begin))
order by plain.form <> asked.form, id limit 5"""
