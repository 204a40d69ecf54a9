"""Where the numbers of a customer's reasons come from: table, days and rows, counted again."""

import datetime as dt
from typing import Any

from churn_orchestration.churn.features.catalogue import LOWERS, RAISES
from churn_orchestration.churn.features.source_rows import source_rows
from churn_orchestration.churn.learning.reasons import AGAINST
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.report.customer import Words, catalogue, feature_row, feature_text
from churn_orchestration.report.text import counted, plain
from churn_orchestration.storage.warehouse import Tables


def sources(
    tables: Tables, settings: QuestionSettings, entity: object, day: dt.date, reasons: list[str]
) -> list[dict[str, Any]]:
    """Of each number in the reasons of a forecast: feature, value, formula, and the rows that were
    counted; nothing of a reason whose words are not those of the features any more.

    ``tables``: the open warehouse. ``sql`` gives the rows themselves, for ``?`` the customer; it,
    ``table`` and ``rows`` are null of a feature that is no count of a source's rows.
    """
    values = feature_row(tables, settings.gold, settings.question.entity, entity, day)
    words = catalogue(tables, settings.gold)
    of_each = []
    for reason in reasons:
        for name in _named(words, values, reason):
            rows = source_rows(settings.question.features, words[name], day)
            count = rows and len(tables.db.execute(rows.sql, [entity]).fetchall())
            of_each.append(
                {
                    "reason": reason, "feature": name, "value": values[name],
                    "formula": words[name]["formula"], "table": rows and rows.table,
                    "first": rows and rows.first, "last": day, "rows": count,
                    "sql": rows and rows.sql,
                }
            )  # fmt: skip
    return of_each


def sources_text(of_each: list[dict[str, Any]], day: dt.date) -> str:
    """The same in lines, one reason after the other."""
    lines, said = [f"where the numbers come from, as known at the end of {day}:"], None
    for each in of_each:
        if each["reason"] != said:
            said = each["reason"]
            lines.append(f"  {said}")
        value = "null" if each["value"] is None else f"{each['value']:,.6g}"
        origin = "no rows of one source"
        if each["table"]:
            days = (
                f"{each['first']} to {each['last']}" if each["first"] else f"up to {each['last']}"
            )
            origin = f"{counted(each['rows'], 'row')} of {each['table']}, {days}"
        lines.append(f"    {each['feature']} = {value}: {each['formula']}; {origin}")
    if len(lines) == 1:
        lines.append("  no reason names a number that the features of that day still have")
    return plain(*lines)


def _named(words: Words, values: dict[str, Any], reason: str) -> list[str]:
    """The features whose words a reason is made of."""
    text = reason.removeprefix(RAISES).removeprefix(LOWERS).removesuffix(AGAINST)
    spoken = {name: feature_text(about, values[name]) for name, about in words.items()
              if name in values}  # fmt: skip
    if same := [name for name, said in spoken.items() if said == text]:
        return same[:1]
    for source in dict.fromkeys(about["source"] for about in words.values()):
        usual, last = f"{source}_gap_days_mean_all", f"{source}_days_since_last"
        if usual in spoken and text.startswith(f"{spoken[usual]}, "):
            return [usual, last]
        if last in spoken and text.startswith(f"{spoken[last]}, and on no other day"):
            return [last]
    return []
