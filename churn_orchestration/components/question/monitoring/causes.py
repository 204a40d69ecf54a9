"""Which alarms of drift follow from an open change in what landed: one cause, many features."""

import datetime as dt
from typing import TYPE_CHECKING

from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    EventSource,
    Measure,
)
from churn_orchestration.churn.watching.drift import RECENT
from churn_orchestration.components.question.monitoring.reference import SCORE
from churn_orchestration.storage.freshness import ancestors
from churn_orchestration.storage.open_changes import Event, open_events
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings


def causes(tables: Tables, settings: "QuestionSettings", day: dt.date) -> dict[str, str]:
    """By feature, the change that it follows from, such as ``bronze.orders 2024-07-01``; others are
    left out.

    A feature of a measure or a category follows from a change of that column, one of counts and of
    time from one of the rows; where a column has no namesake in bronze, any change of its source
    may be the cause.
    """
    events = [e for e in open_events(tables, day) if (day - e.last).days <= RECENT[1]]
    if not events:
        return {}
    above = _sources(tables)
    declared = settings.question.features
    sources: list[EventSource | AttributeTable] = [*declared.sources, *declared.attributes]
    reads = {source.name: (source.table, _columns(source)) for source in sources}
    result = {}
    for feature in catalogue(declared):
        table, columns = reads.get(feature.source, (settings.gold, {}))
        mine = {column for name, column in columns.items() if f"_{name}_" in f"{feature.name}_"}
        for event in events:
            of = [changed for changed in event.tables if changed in above.get(table, {table})]
            if cause := next((t for t in of if _follows(tables, t, event, mine)), None):
                result[feature.name] = f"{cause} {event.since}"
    if of_gold := [(t, e) for e in events for t in e.tables if t in above.get(settings.gold, ())]:
        result[SCORE] = f"{of_gold[-1][0]} {of_gold[-1][1].since}"
    return result


def _columns(source: EventSource | AttributeTable) -> dict[str, str]:
    """The columns of a source by the names that its features have of them."""
    named: list[Measure | Category] = [*source.measures, *source.categories]
    return {each.name: each.column for each in named}


def _follows(tables: Tables, table: str, event: Event, columns: set[str]) -> bool:
    changed = event.columns[table]
    if not columns:
        return "rows" in changed
    there = {name.lower() for name in tables.columns(table)}
    return any(column.lower() in changed or column.lower() not in there for column in columns)


def _sources(tables: Tables) -> dict[str, set[str]]:
    """Each table's bronze ancestors."""
    by_table = {
        table: {name for name in above if name.startswith("bronze.")}
        for table, above in ancestors(tables).items()
    }
    return {table: bronze for table, bronze in by_table.items() if bronze}
