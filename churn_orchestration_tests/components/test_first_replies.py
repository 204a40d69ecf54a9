"""The table of first replies of docs/how-to/feature.md: times from one source to another, by both
clocks, against a slow oracle.
"""

import datetime as dt
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn_orchestration.business import PACKAGE
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.features.perturbation import Ground, Pipeline, prove
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.components.features.feature_specs import EventSourceSpec
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.properties import examples
from churn_orchestration_tests.support.shop import JAN, Shop

PAGE = (PACKAGE.parent / "docs" / "how-to" / "feature.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## From one source to another")[2].partition("\n## ")[0]
[SELECT] = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)
[SOURCES] = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
AS_OFS = JAN[6:19:3]
TABLES = """
create schema if not exists bronze; create schema if not exists silver;
create table bronze.tickets (ticket_id varchar, customer_id varchar, opened_at timestamp, day date,
  known_on date, _partition date);
create table bronze.replies (reply_id varchar, ticket_id varchar, replied_at timestamp, day date,
  known_on date, _partition date);
"""


def replies() -> EventSource:
    """The source that the page declares."""
    [source] = yaml.safe_load(SOURCES)["sources"]
    return EventSourceSpec.model_validate(source).declared("customer_id", "UTC")


DECLARED = FeatureSet("customer_id", (replies(),), (5,), ())


class Ticket(NamedTuple):
    ticket_id: str
    customer_id: str | None
    opened_at: dt.datetime
    known_on: dt.date


class Reply(NamedTuple):
    reply_id: str
    ticket_id: str
    replied_at: dt.datetime
    known_on: dt.date


def store(db: duckdb.DuckDBPyConnection, tickets: list[Ticket], replied: list[Reply]) -> None:
    """All that landed, and silver made of it; up to JAN[5] it landed at once."""
    for table, rows in (("tickets", tickets), ("replies", replied)):
        db.execute(f"delete from bronze.{table}")
        for *cells, at, known in rows:
            place = [at.date(), known, max(known, JAN[5])]
            db.execute(
                f"insert into bronze.{table} values (?, ?, ?, ?, ?, ?)", [*cells, at, *place]
            )
    db.execute(f"create or replace table silver.first_replies as {SELECT}")


def at(day: int, hour: int) -> dt.datetime:
    """An hour of a day of January."""
    return dt.datetime.combine(JAN[day], dt.time(hour))


def oracle(tickets: list[Ticket], replied: list[Reply], as_of: dt.date) -> dict[str, list[Any]]:
    """By customer: how many first replies, and their mean wait, of five days and of all."""

    def last(rows: list[Any]) -> list[Any]:
        versions = {row[0]: row for row in sorted(rows, key=lambda row: row.known_on)
                    if row.known_on <= as_of}  # fmt: skip
        return list(versions.values())

    waits: dict[str, list[tuple[dt.date, Fraction]]] = {}
    for ticket in last(tickets):
        later = [r.replied_at for r in last(replied) if r.ticket_id == ticket.ticket_id]
        later = [when for when in later if when >= ticket.opened_at]
        if later:
            wait = Fraction((min(later) - ticket.opened_at) // dt.timedelta(minutes=1), 60)
            waits.setdefault(ticket.customer_id, []).append((min(later).date(), wait))
    result = {}
    for who, seen in waits.items():
        result[who] = []
        for first in (as_of - dt.timedelta(days=4), dt.date.min):
            inside = [wait for day, wait in seen if day >= first]
            mean = float(sum(inside) / len(inside)) if inside else None
            result[who] += [len(inside), mean]
    return result


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with Warehouse.of(tmp_path).open() as opened:
        opened.db.execute(TABLES)
        yield opened


WANTED = [
    f"first_replies_{name}" for name in ("count_5d", "wait_mean_5d", "count_all", "wait_mean_all")
]
_LATE = st.sampled_from([0, 0, 0, 1, 3, 8])


@st.composite
def _landed(draw: st.DrawFn) -> tuple[list[Ticket], list[Reply]]:
    """Tickets and replies, some late, some corrected; a reply stays with its ticket."""
    tickets: dict[Any, Ticket] = {}
    replied: dict[Any, Reply] = {}
    for _ in range(draw(st.integers(1, 10))):
        number, day, late = draw(st.integers(1, 5)), draw(st.integers(1, 15)), draw(_LATE)
        who = draw(st.sampled_from(["ann", "bob"]))
        row = Ticket(f"t{number}", who, at(day, draw(st.integers(0, 23))), JAN[day + late])
        tickets[row.ticket_id, row.known_on] = row
    for _ in range(draw(st.integers(0, 25))):
        number, day, late = draw(st.integers(1, 12)), draw(st.integers(1, 17)), draw(_LATE)
        when = at(day, draw(st.integers(0, 23)))
        reply = Reply(f"r{number}", f"t{number % 6}", when, JAN[day + late])
        replied[reply.reply_id, reply.known_on] = reply
    return list(tickets.values()), list(replied.values())


@pytest.mark.hypothesis
def test_waits_are_those_of_the_slow_oracle_on_every_as_of(tables: Tables, tmp_path: Path) -> None:
    columns = ", ".join(WANTED)

    @settings(
        max_examples=examples(20),
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(_landed())
    def check(landed: tuple[list[Ticket], list[Reply]]) -> None:
        store(tables.db, *landed)
        make_parts(tables.db, DECLARED, dt.date(2024, 1, 1))
        with features_of(tables, DECLARED, AS_OFS, tmp_path / "history") as features:
            for as_of in AS_OFS:
                for select in (features(as_of), f"({features_at(DECLARED, as_of)})"):
                    rows = tables.rows(f"select customer_id, {columns} from {select}")
                    result = {who: values for who, *values in rows if values[2]}
                    wanted = oracle(*landed, as_of)
                    assert result.keys() == wanted.keys(), as_of
                    for who, values in wanted.items():
                        assert result[who] == pytest.approx(values, abs=0.005), (as_of, who)

    check()


def test_a_wait_is_known_once_both_are_and_changes_when_an_earlier_reply_arrives_late(
    tables: Tables,
) -> None:
    tickets = [Ticket("t1", "ann", at(1, 8), JAN[3])]  # landed after its reply
    replied = [Reply("r1", "t1", at(2, 10), JAN[2]), Reply("r2", "t1", at(1, 20), JAN[9])]
    replied += [Reply("r1", "t1", at(2, 12), JAN[7]), Reply("r3", "t1", at(4, 1), JAN[4])]
    store(tables.db, tickets, replied)
    make_parts(tables.db, DECLARED, dt.date(2024, 1, 1))
    seen = {
        day: tables.rows(
            f"select first_replies_wait_mean_all, first_replies_days_since_last from "
            f"({features_at(DECLARED, JAN[day])})"
        )
        for day in (2, 3, 6, 7, 8, 9)
    }
    assert seen == {2: [], 3: [(26.0, 1)], 6: [(26.0, 4)], 7: [(28.0, 5)], 8: [(28.0, 6)],
                    9: [(12.0, 8)]}  # fmt: skip


def test_one_row_of_a_landing_counts_whole_where_it_has_a_ticket_twice(tables: Tables) -> None:
    tickets = [Ticket("t1", "ann", at(1, 8), JAN[1]), Ticket("t1", "bob", at(1, 9), JAN[1])]
    replied = [Reply("r1", "t1", at(2, 8), JAN[2]), Reply("r1", "t1", at(2, 10), JAN[2])]
    replied += [Reply("r2", "t1", at(3, 8), JAN[3])]
    for landed in (tickets, tickets[::-1]):
        store(tables.db, landed, replied)
        rows = tables.rows(
            "select customer_id, day, wait_hours, known_on from silver.first_replies order by all"
        )
        assert sorted(rows, key=lambda row: row[3]) == [
            ("bob", None, None, JAN[1]), ("bob", JAN[2], 25, JAN[2]), ("bob", JAN[2], 25, JAN[3])
        ]  # fmt: skip


def test_a_ticket_that_is_corrected_to_nobodys_is_nobodys(tables: Tables) -> None:
    tickets = [Ticket("t1", "ann", at(1, 8), JAN[1]), Ticket("t1", None, at(1, 8), JAN[3])]
    store(tables.db, tickets, [Reply("r1", "t1", at(2, 8), JAN[2])])
    owners = tables.rows("select customer_id from silver.first_replies order by known_on")
    assert owners == [("ann",), ("ann",), (None,)]


def test_a_day_of_the_table_is_the_same_whatever_has_landed_since(tables: Tables) -> None:
    tickets = [Ticket(f"t{n}", "ann", at(n, 8), JAN[n]) for n in range(1, 9)]
    replied = [Reply(f"r{n}", f"t{1 + n % 8}", at(9 + n % 5, n), JAN[9 + n % 7]) for n in range(20)]
    store(tables.db, tickets, [row for row in replied if row.known_on <= JAN[11]])
    day = f"from silver.first_replies where _partition = date '{JAN[11]}' order by all"
    then = tables.rows(day)
    store(tables.db, tickets, replied)
    assert then == tables.rows(day) != []


def test_the_table_lets_no_future_into_the_features() -> None:
    with duckdb.connect() as db:
        db.execute(TABLES)
        tickets = [
            Ticket(f"t{n}", f"c{n % 9}", at(1 + n % 18, n % 24), JAN[1 + n % 18 + n % 3])
            for n in range(80)
        ]
        replied = [
            Reply(f"r{n}", f"t{n % 80}", at(1 + n % 24, n % 24), JAN[1 + n % 24 + n % 4])
            for n in range(200)
        ]
        store(db, tickets, replied)

        def build(trial: duckdb.DuckDBPyConnection) -> None:
            trial.execute(f"create or replace table silver.first_replies as {SELECT}")
            make_parts(trial, DECLARED)

        grounds = (
            Ground("bronze.tickets", ("ticket_id",), "customer_id"),
            Ground("bronze.replies", ("reply_id",)),
        )
        proof = prove(db, Pipeline(grounds, build, lambda day: features_at(DECLARED, day)), JAN[15])
    assert (proof.faults, proof.blind, proof.unmoved) == ([], [], [])


RAW = """\
---
type: churn_orchestration.components.SourceTable
attributes:
  name: {name}
  files: "{name}_{{day}}.csv"
  columns:
    - {{name: {key}, type: id, required: true}}
    - {{name: {other}, type: id, required: true}}
    - {{name: {time}, type: timestamp, required: true}}
  event_time: {time}
  key: [{key}]
"""
TESTED = """\
  tables:
    first_replies:
      key: [ticket_id]
      tests:
        - name: the first of two replies counts, from the day on which it is known
          given:
            bronze.tickets:
              - {ticket_id: t1, customer_id: ann, opened_at: 2024-01-02 08:00, day: 2024-01-02}
            bronze.replies:
              - {reply_id: r1, ticket_id: t1, replied_at: 2024-01-03 08:00, day: 2024-01-03}
              - {reply_id: r2, ticket_id: t1, replied_at: 2024-01-02 10:30, day: 2024-01-02,
                 known_on: 2024-01-06}
          expect:
            - {ticket_id: t1, day: null, wait_hours: null, known_on: 2024-01-02}
            - {ticket_id: t1, day: 2024-01-03, wait_hours: 24, known_on: 2024-01-03}
            - {ticket_id: t1, day: 2024-01-02, wait_hours: 2.5, known_on: 2024-01-06}
"""


def test_a_business_with_the_table_runs_day_by_day(features_shop: Shop) -> None:
    shop = features_shop
    tickets = RAW.format(name="tickets", key="ticket_id", other="customer_id", time="opened_at")
    replied = RAW.format(name="replies", key="reply_id", other="ticket_id", time="replied_at")
    orders = (shop.folder / "raw/defs.yaml").read_text(encoding="utf-8")
    shop.write("raw/defs.yaml", orders + tickets + replied)
    shop.write("silver/first_replies.sql", SELECT)
    silver = (shop.folder / "silver/defs.yaml").read_text(encoding="utf-8")
    shop.write("silver/defs.yaml", silver + TESTED)
    declared = SOURCES.partition("\n")[2].replace("\n", "\n  ").rstrip(" ")
    shop.change("gold/defs.yaml", "  windows:", f"  {declared}  windows:")
    shop.land_quiet_days(1, 8)
    for day in range(1, 9):
        rows = {1: f"t1,ann,{JAN[1]} 08:00\n"}.get(day, "")
        shop.land(f"tickets_{JAN[day]}.csv", f"ticket_id,customer_id,opened_at\n{rows}")
        rows = {5: f"r1,t1,{JAN[5]} 08:00\n", 7: f"r0,t1,{JAN[2]} 08:00\n"}.get(day, "")
        shop.land(f"replies_{JAN[day]}.csv", f"reply_id,ticket_id,replied_at\n{rows}")
    done = shop.refresh(5, 8)
    assert (done.refused, done.succeeded) == ({}, True)
    assert shop.published(
        "select as_of, first_replies_wait_mean_7d from gold.customer_features "
        f"where as_of >= date '{JAN[5]}' order by as_of"
    ) == [(JAN[5], 96), (JAN[6], 96), (JAN[7], 24), (JAN[8], 24)]
