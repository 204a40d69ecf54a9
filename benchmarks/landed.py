"""How rarely a change in what lands is a false alarm, and how soon a fault is reported: writes
docs/landed.md.

Run: python -m benchmarks.landed. Each seed is another simulated shop. Its tables go to bronze as
its files would, without the files, and its days are judged by the function of the assets: those of
all tables over a calm year; then the orders of two weeks with each fault.
"""

import datetime as dt
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb

from benchmarks.results import ROOT
from benchmarks.shops import arguments
from churn_orchestration.business import Business
from churn_orchestration.churn.calendar import DAY, ClosedDays, days_between
from churn_orchestration.components.source.landing_changes import changes_of
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.tree import component_tree
from churn_orchestration.simulator import World
from churn_orchestration.simulator.produce import furnished
from churn_orchestration.simulator.retail import landed_orders
from churn_orchestration.storage.open_changes import Event, open_events
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables

CALM, FIRST, LAST = "calm", dt.date(2024, 1, 1), dt.date(2024, 12, 31)
FAULT, DAYS = dt.date(2024, 7, 1), 14
FAULTS = "unit_change,currency,renamed_category,duplicated_load,outage,half_lost,empty_files"
STORED_AS = {"id": "text", "integer": "bigint", "decimal": "decimal(18, 4)"}


@dataclass(frozen=True)
class Found:
    """What was reported of a shop: its scenario, customers and orders a day; the events; seconds a
    day.
    """

    scenario: str
    customers: int
    orders: float
    events: list[Event]
    seconds: float

    def after(self) -> int | None:
        """Days from the fault to the first that is reported; None: never."""
        return min(((event.since_shown - FAULT).days for event in self.events), default=None)


def tried(seed: int, customers: int, scenarios: list[str]) -> Iterator[Found]:
    """One shop: its calm year, and each of its faults."""
    shop = Business(ROOT / "examples" / "shop")
    sources = component_tree(shop).get_all_components(of_type=SourceTable)
    days = (LAST - World.read(CALM).first_day).days + 1
    with (
        tempfile.TemporaryDirectory() as name,
        furnished(
            World.read(CALM, customers=customers, seed=seed, days=days), scratch_in=Path(name)
        ) as db,
        Warehouse.of(Path(name) / "state").open() as tables,
    ):
        for source in sources:
            _land(db, tables, source, f"landed_{source.name}", name)
        [(orders,)] = db.execute(
            "select count(*) / 91 from orders "
            f"where day between date '{FAULT}' - 91 and date '{FAULT}' - 1"
        ).fetchall()
        for scenario in scenarios:
            calm = scenario == CALM
            period = list(
                days_between(FIRST, LAST) if calm else days_between(FAULT, FAULT + (DAYS - 1) * DAY)
            )
            judged = sources if calm else [source for source in sources if source.name == "orders"]
            if not calm:
                world = World.read(scenario, customers=customers, seed=seed, days=days)
                _land(db, tables, judged[0], f"({landed_orders(world)})", name)
            tables.db.execute("delete from meta.changes")
            began = time.perf_counter()
            for source in judged:
                rules = source.rules(source.contract("UTC", shop.earliest_event))
                changes_of(tables, rules, period, (), ClosedDays.parse(()))
            seconds = (time.perf_counter() - began) / len(period)
            result = Found(scenario, customers, orders, open_events(tables), seconds)
            said = {str(event.since): event.says() for event in result.events}
            sys.stderr.write(f"  {scenario} {customers} {seed}: {said}, {seconds:.2f} s a day\n")
            yield result


def _land(
    db: duckdb.DuckDBPyConnection, tables: Tables, source: SourceTable, rows: str, folder: str
) -> None:
    """The bronze table of a source, each row landed on the day of its file."""
    kept = [column for column in source.columns if column.pii != "drop"]
    typed = [f"cast({c.name} as {STORED_AS.get(c.type, c.type)}) as {c.name}" for c in kept]
    path = f"{folder}/state/{source.name}.parquet"
    landed = "file_day as known_on, file_day as _partition"
    db.execute(f"copy (select {', '.join([*typed, landed])} from {rows}) to '{path}'")
    tables.db.execute(f"create or replace table bronze.{source.name} as from '{path}'")


def calm_table(result: list[Found]) -> str:
    """What was reported of calm years, by size."""
    heads = [
        "customers", "orders a day", "shops, a year each", "days with a new change", "a month",
        "of these at Christmas", "seconds a day, all tables",
    ]  # fmt: skip
    rows = []
    for customers in dict.fromkeys(each.customers for each in result):
        of = [each for each in result if each.customers == customers]
        days = [event.since for each in of for event in each.events]
        christmas = sum(day.month == 12 and day.day in (25, 26) for day in days)
        orders, seconds = median(each.orders for each in of), median(each.seconds for each in of)
        a_month = f"{len(days) / len(of) / 12:.2f}"
        rows.append(
            [
                f"{customers:,}",
                f"{orders:.0f}",
                len(of),
                len(days),
                a_month,
                christmas,
                f"{seconds:.2f}",
            ]
        )
    return _table(heads, rows)


def fault_table(result: list[Found]) -> str:
    """How soon each fault was reported, by size."""
    heads = ["fault", "orders a day", "reported on its day", "within 14 days", "after days", "e.g."]
    rows = []
    for scenario, customers in dict.fromkeys((each.scenario, each.customers) for each in result):
        of = [each for each in result if (each.scenario, each.customers) == (scenario, customers)]
        after = [days for each in of if (days := each.after()) is not None]
        words = next((each.events[0].says() for each in of if each.events), "-")
        on_day, within = (f"{number} of {len(of)}" for number in (after.count(0), len(after)))
        span = f"{min(after)} to {max(after)}" if after else "-"
        orders = f"{median(each.orders for each in of):.0f}"
        rows.append([f"`{scenario}`", orders, on_day, within, span, words])
    return _table(heads, rows)


def _table(heads: list[str], rows: list[list[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def main() -> None:
    """The command line."""
    parser = arguments(__doc__, f"{CALM},{FAULTS}", seeds=4, customers=0)
    parser.add_argument("--sizes", default="5000,1500", help="customers of the shops")
    given = parser.parse_args()
    result = [
        each
        for customers in map(int, given.sizes.split(","))
        for seed in range(1, given.seeds + 1)
        for each in tried(seed, customers, given.scenarios.split(","))
    ]
    text = f"""# Changes in what lands: how rarely they are false alarms, \
and how soon a fault is reported

Made by `make bench-landed ARGS="--seeds {given.seeds} --sizes {given.sizes}"`.
[ADR 28](adr/0028-changes-in-what-lands.md) has the limits.

## Calm shops

All eight tables of `examples/shop`, {FIRST} to {LAST}, on a machine that had other work besides. A
simulated shop is nearly shut at Christmas: that is true, and `closed` has such days if
nobody wants to know.

{calm_table([each for each in result if each.scenario == CALM])}

## Faults

The orders of the same shops from {FAULT} on, when the fault begins ([the scenarios](simulator.md)).

{fault_table([each for each in result if each.scenario != CALM])}
"""
    (ROOT / "docs" / "landed.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
