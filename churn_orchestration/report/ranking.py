"""The list of a day: who comes first, shown in the terminal or written to a file for people or
machines.
"""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.protocol import BASE_RATE, PROCESS, UNTRAINED
from churn_orchestration.report import campaign, segments, value
from churn_orchestration.report.sheets import refuse_other_names, write_rows
from churn_orchestration.report.text import command, plain
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door, refuse_damaged, refuse_no_probabilities
from churn_orchestration.storage.freshness import shown_upstream
from churn_orchestration.storage.warehouse import Tables, literal, quoted

if TYPE_CHECKING:
    import duckdb

Report = tuple[Any, ...]

AT_STAKE, RECENT = "churn_probability * recent_value", "recent value"
_FIRST = (
    "churn_probability",
    "band",
    "at_stake",
    "recent_value",
    "days_since_last",
    "contact",
    "reasons",
)


def questions(db: "duckdb.DuckDBPyConnection") -> list[str]:
    """The questions that have predictions at the door."""
    result = db.execute(
        "select view_name from duckdb_views() where schema_name = 'predictions' order by 1"
    ).fetchall()
    return [name for (name,) in result]


def question_named(db: "duckdb.DuckDBPyConnection", name: str | None) -> str:
    """The question called ``name``; None: the only one. Raises BusinessError where that is not
    clear.

    Its predictions can be read: raises WarehouseError where a file of them is gone or damaged.
    """
    there = questions(db)
    if not there:
        raise BusinessError("no predictions yet: `churn run --to DAY` first")
    if name is None and len(there) == 1:
        [name] = there
    if name not in there:
        got = f'there is no question "{name}"' if name else f"there are {len(there)} questions"
        raise BusinessError(f"{got}; wanted: --question, one of {', '.join(there)}")
    refuse_damaged(db, f"predictions.{name}")
    return name


def ranked(db: "duckdb.DuckDBPyConnection", question: str, day: dt.date) -> str:
    """SQL at the door: the forecasts of a day with ``at_stake`` and ``rank``, the most at stake
    first.

    ``at_stake``: probability of churn x recent value. Those without a value come last, the riskiest
    first.
    """
    of_day = f"(from predictions.{question} where as_of = {literal(day)})"
    refuse_no_probabilities(db, f"predictions.{question}", of_day)
    entity = quoted(db.execute(f"describe predictions.{question}").fetchall()[0][0])
    order = f"{AT_STAKE} desc nulls last, churn_probability desc, {entity}"
    return (
        f"select row_number() over (order by {order}) as rank, *, {AT_STAKE} as at_stake "
        f"from predictions.{question} where as_of = {literal(day)} order by rank"
    )


def worth(tables: Tables, question: str) -> str:
    """What ``recent_value`` of a question's forecasts is, in words."""
    [model, *_] = shown_upstream(tables, f"predictions.{question}", "values") or [""]
    return f"expected spend ({model.partition('.')[2]})" if model else RECENT


def scored(
    db: "duckdb.DuckDBPyConnection", business: Business, question: str | None, day: dt.date | None
) -> tuple[str, dt.date]:
    """The question and day that are meant (None: the only one, the last). Raises BusinessError: no
    such.
    """
    name = question_named(db, question)
    days = [
        d
        for (d,) in db.execute(
            f"select distinct as_of from predictions.{name} order by 1"
        ).fetchall()
    ]
    day = day or max(days, default=None)
    if day is None:
        raise BusinessError(f"{name}: nobody is scored yet: {command(business, 'run')}")
    if day not in days:
        raise BusinessError(
            f"{name}: {day} was not scored; scored: "
            f"{', '.join(map(str, days[-5:])) or 'nothing yet'}"
        )
    return name, day


def listed(business: Business, day: dt.date | None, question: str | None, most: int) -> Report:
    """The first of the list of a day (None: the last scored one)."""
    with door(business.state) as db:
        name, day = scored(db, business, question, day)
        words = worth(Tables(db, business.state), name)
    customers = top_customers(business, day, most, name)
    return {"question": name, "day": day, "customers": customers}, top_text(customers, day, words)


def top_customers(
    business: Business, day: dt.date, most: int = 10, question: str | None = None
) -> list[dict[str, Any]]:
    """The customers with the most at stake on a day, the entity's column first."""
    with door(business.state) as db:
        select = ranked(db, question_named(db, question), day)
        result = db.execute(f"from ({select}) order by rank limit {most}")
        names = [column[0] for column in result.description]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return [{names[1]: row[names[1]]} | row for row in rows]


def top_text(customers: list[dict[str, Any]], day: dt.date, words: str = RECENT) -> str:
    """The first customers of the list, each with its reasons; ``words``: what they are worth."""
    table = Table(
        title=f"Most at stake on {day}: probability of churn x {words}",
        title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    for name, justify in (
        ("rank", "right"), ("customer", "left"), ("at stake", "right"), ("churn", "right"),
        ("band", "left"), ("last active", "right"), (words.partition(" (")[0], "right"),
        ("why", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in customers:
        entity, days = next(iter(row)), row["days_since_last"]
        table.add_row(
            str(row["rank"]), str(row[entity]), _value(row["at_stake"]),
            f"{row['churn_probability']:.0%}", row["band"],
            "never" if days is None else f"{days} days ago", _value(row["recent_value"]),
            "\n".join(row["reasons"] or []),
        )  # fmt: skip
    return plain(table)


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def exported(business: Business, day: dt.date | None, out: Path, question: str | None) -> Report:
    """Write the list of a day (None: the last scored one) to a file, the most at stake first.

    ``.csv`` and ``.xlsx`` are for people: rounded numbers, reasons as one text, what a person acts
    on first; the CSV begins with a byte-order mark, without which spreadsheets read UTF-8 wrongly,
    and a text that a spreadsheet would compute begins with an apostrophe. ``.parquet`` is for
    machines: every column as it is stored.
    """
    refuse_other_names(out)
    with door(business.state) as db:
        name, day = scored(db, business, question, day)
        tables, table = Tables(db, business.state), f"predictions.{name}"
        key = db.execute(f"describe {table}").fetchall()[0][0]
        ranking = segments.joined(tables, table, key, ranked(db, name, day), day)
        ranking = value.joined(tables, table, key, ranking, day)
        ranking = campaign.joined(tables, table, key, ranking, day)
        ranking = f"select rank, * exclude (rank) from ({ranking}) order by rank"
        of_people = ranking if out.suffix == ".parquet" else _for_people(db, ranking)
        rows = write_rows(db, of_people, out)
        by = db.execute(
            f"select any_value(model_version) from predictions.{name} where as_of = ?", [day]
        )
        [(scored_by,)] = by.fetchall()
    facts = {"question": name, "day": day, "rows": rows, "out": str(out), "scored_by": scored_by}
    message = f"{rows:,} customers of {day} in {out}, the most at stake first"
    return facts, message + unranked_message(business, name, scored_by)


def unranked_message(business: Business, question: str, scored_by: str | None) -> str:
    """What to know of a list that no model has made; nothing where one has."""
    if scored_by not in UNTRAINED:
        return ""
    refusal = ledger.newest_refusal(business.state, question)
    because = "no model is trained yet"
    if refusal:
        because = (
            f"the newest training, cut-off {refusal['cutoff']}, was refused: {refusal['reason']}"
        )
    how = "scored by rules of silence alone"
    if scored_by == PROCESS:
        how = "scored by a purchase process, which reads the dates alone"
    if scored_by == BASE_RATE:
        how = (
            "not ranked by risk: all have the same churn probability, "
            "what one is worth alone decides"
        )
    return f"; {how}, for no model is in force; {because}"


def _for_people(db: "duckdb.DuckDBPyConnection", select: str) -> str:
    """SQL: the list as a person reads it."""
    described = db.execute(f"describe {select}").fetchall()
    _, entity, *rest = [name for name, *_ in described]
    others = [name for name in rest if name not in (*_FIRST, "backtest")]
    columns = ["rank", entity, *_FIRST, *others]
    listed = [name for name, kind, *_ in described if kind == "VARCHAR[]"]
    texts = ", ".join(f"array_to_string({quoted(name)}, '; ') as {quoted(name)}" for name in listed)
    return f"""
select {", ".join(map(quoted, columns))} from (select * replace (
  round(churn_probability, 4) as churn_probability, round(recent_value, 2) as recent_value,
  round(at_stake, 2) as at_stake, {texts})
    from ({select})) order by rank"""
