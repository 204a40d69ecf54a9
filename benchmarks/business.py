"""A whole business of many customers, through the command line: what each of its steps costs.

    python -m benchmarks.business --customers 1000000 --events 10000000

Orders of two years with a true signal are made as Parquet, a file a day. Then the initial load, a
day more, a training, and two more days, which the new model scores. Each command is a process of
its own, which is watched from outside: seconds, processor seconds and peak memory, of the whole and
of each Dagster step. What a step stores is written again from its file by DuckDB, in a process of
its own: that is the limit which its processor time is a multiple of.
"""

import argparse
import datetime as dt
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import duckdb

from churn_orchestration.business import Business
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.runs import dagster_home

FIRST, DAYS = dt.date(2023, 1, 1), 730
LAST = FIRST + DAY * (DAYS - 1)
TICK, PAGE = os.sysconf("SC_CLK_TCK"), resource.getpagesize()
MADE = {
    "business.yaml": f"""
name: million
landing: ../landing
history_from: {FIRST}
start_date: {LAST - DAY}
memory_limit: 2GB
""",
    "raw/defs.yaml": """
type: churn_orchestration.components.SourceTable
attributes:
  name: orders
  files: "orders/{day}.parquet"
  columns:
    - {name: customer_id, type: id, required: true}
    - {name: ordered_at, type: timestamp, required: true}
    - {name: amount_usd, type: decimal, required: true}
    - {name: channel, required: true}
    - {name: is_return, type: boolean, required: true}
  event_time: ordered_at
---
type: churn_orchestration.components.SourceTable
attributes:
  name: customers
  files: "customers/{day}.parquet"
  columns:
    - {name: customer_id, type: id, required: true}
    - {name: signed_up_on, type: date, required: true}
    - {name: plan, required: true}
    - {name: country, required: true}
  event_time: signed_up_on
  key: [customer_id]
""",
    "silver/defs.yaml": (
        "type: churn_orchestration.components.SqlTables\nattributes:\n  layer: silver\n"
    ),
    "silver/orders.sql": """-- One row per order.
select customer_id, day, known_on, _partition, amount_usd, channel, is_return from bronze.orders
""",
    "gold/defs.yaml": """
type: churn_orchestration.components.FeatureTable
attributes:
  name: features
  entity: customer_id
  windows: [30, 90, 180, 365]
  trends: [30]
  sources:
    - name: orders
      table: silver.orders
      noun: order
      measures: [{name: amount, column: amount_usd, unit: usd}]
      categories:
        - {name: channel, column: channel, values: [web, app, store], share_windows: [90]}
      flags: {is_return: is_return}
  attributes:
    - name: customer
      table: bronze.customers
      categories:
        - {name: plan, column: plan, values: [basic, plus, pro]}
        - {name: country, column: country, values: [de, fr, it, us]}
""",
    "churn_60d/defs.yaml": """
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_60d
  kind: inactivity
  features: features
  activity: orders
  observation_days: all
  horizon_days: 60
  value: orders_amount_sum_365d
""",
}
COMMANDS = {
    "initial load": ("run", "--to", str(LAST - DAY)),
    "a day more": ("run", "--to", str(LAST)),
    "training": ("train", "--cutoff", str(LAST)),
    "first day of the model": ("run", "--to", str(LAST + DAY)),
    "second day of the model": ("run", "--to", str(LAST + 2 * DAY)),
}


def generate(folder: Path, customers: int, events: int) -> None:
    """Orders and sign-ups as Parquet, a file a day.

    Who joins orders at a rate of their own and leaves for good after a while, sooner on the basic
    plan, and sooner still after returns.
    """
    db = duckdb.connect()

    def uniform(*of: object) -> str:
        return f"((hash({', '.join(map(str, of))}) % 1000003 + 1) / 1000004)"

    db.execute(f"""
create table people as
with drawn as (
  select i, 'C' || lpad((i * 7919 % {customers})::varchar, 8, '0') as customer_id,
    ['basic', 'plus', 'pro'][(1 + hash(i, 1) % 3)::int] as plan,
    ['de', 'fr', 'it', 'us'][(1 + hash(i, 2) % 4)::int] as country,
    (hash(i, 3) % {DAYS - 30})::int as start, hash(i, 4) % 3 = 0 as often_returns,
    pow({uniform("i", 5)}, -0.5) as rate
  from range({customers}) as t(i)),
lived as (
  select *, greatest(1, least({DAYS + 2} - start, ceil(-ln({uniform("i", 6)})
    * case plan when 'basic' then 200 when 'plus' then 400 else 800 end
    * if(often_returns, 0.6, 1.2))))::int as life from drawn)
select *, greatest(1, round(rate * life / sum(rate * life) over () * {events}))::int as orders
from lived""")
    for name, select in {
        "customers": f"""
select customer_id, date '{FIRST}' + start as signed_up_on, plan, country,
  date '{FIRST}' + start as _day from people""",
        "orders": f"""
select customer_id, _day + interval (hash(i, j, 9) % 86400) second as ordered_at,
  round(5 + 40 * -ln({uniform("i", "j", 10)}), 2)::decimal(18, 2) as amount_usd,
  ['web', 'app', 'store'][(1 + hash(i, j, 11) % 3)::int] as channel,
  hash(i, j, 12) % if(often_returns, 5, 25) = 0 as is_return, _day
from (select *, date '{FIRST}' + (start + if(j = 0, 0, hash(i, j, 8) % life))::int as _day
  from people, range(orders) as u(j))""",
    }.items():
        (folder / name).mkdir(parents=True)
        db.execute(f"create or replace table made as {select} order by _day, customer_id")
        for (day,) in db.execute("select distinct _day from made order by 1").fetchall():
            path = folder / name / f"{day}.parquet"
            rows = f"select * exclude (_day) from made where _day = date '{day}'"
            db.execute(f"copy ({rows}) to '{path}' (format parquet)")


@dataclass
class Watched:
    """What a command used, twenty times a second: when, processor seconds so far, memory, bytes."""

    samples: list[tuple[float, float, int]] = field(default_factory=list)

    def within(self, first: float, last: float) -> tuple[float, float, float]:
        """Seconds, processor seconds and peak gigabytes between two times."""
        before = [s for s in self.samples if s[0] <= first][-1:] or self.samples[:1]
        inside = [*before, *(s for s in self.samples if first < s[0] <= last + 0.05)]
        used = inside[-1][1] - inside[0][1]
        return last - first, used, max(memory for *_, memory in inside) / 1e9


def usage(session: int) -> tuple[float, int]:
    """Processor seconds and bytes of memory of all processes of a session, and of those that
    ended.
    """
    ticks, pages = 0, 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                of = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue  # it has ended
            if int(of[3]) == session:
                ticks += sum(map(int, of[11:15]))
                pages += int(of[21])
    return ticks / TICK, pages * PAGE


@contextmanager
def watching(process: "subprocess.Popen[bytes]") -> Iterator[Watched]:
    """Watch a process and all that it starts while the block lasts."""
    watched, ended = Watched(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            seconds, memory = usage(process.pid)
            if memory:  # it has not ended
                watched.samples.append((time.time(), seconds, memory))

    thread = threading.Thread(target=watch)
    thread.start()
    yield watched
    ended.set()
    thread.join()


def run(folder: Path, arguments: tuple[str, ...]) -> Watched:
    """One command on the business in a folder, in a session of its own."""
    command = [sys.executable, "-m", "churn_orchestration.cli", "--business", str(folder)]
    log = folder.parent / "log.txt"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=output, start_new_session=True
        ) as process,
        watching(process) as watched,
    ):
        process.wait()
    if process.returncode:
        sys.exit(
            f"{' '.join(arguments)} ended with {process.returncode}: {log.read_text()[-3000:]}"
        )
    return watched


def steps(business: Business, since: float) -> Iterator[tuple[str, float, float]]:
    """The Dagster steps that began after a time: name, begin and end."""
    with dg.DagsterInstance.from_config(str(dagster_home(business))) as instance:
        for each in instance.get_runs():
            for step in instance.get_run_step_stats(each.run_id):
                if step.start_time and step.end_time and step.start_time >= since:
                    yield step.step_key.replace("__", "/"), step.start_time, step.end_time


def limit(state: Path, step: str, since: float) -> float | None:
    """Processor seconds of writing a step's newest file once more; None: it wrote none since."""
    files = [p for p in (state / step).glob("*.parquet") if p.stat().st_mtime >= since]
    if not files:
        return None
    newest = max(files, key=lambda path: path.stat().st_mtime)
    script = (
        "import duckdb, sys, resource as r\n"
        "duckdb.execute('set enable_progress_bar = false')\n"
        "before = r.getrusage(r.RUSAGE_SELF)\n"
        "duckdb.execute(f\"copy (from '{sys.argv[1]}') to '{sys.argv[2]}' (format parquet)\")\n"
        "after = r.getrusage(r.RUSAGE_SELF)\n"
        "print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)"
    )
    with tempfile.NamedTemporaryFile(suffix=".parquet") as again:
        command = [sys.executable, "-c", script, str(newest), again.name]
        return float(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> None:
    """Make the business, run each command, print what it and its steps took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--events", type=int, help="default: ten a customer")
    parser.add_argument("--least", type=float, default=1.0, help="processor s of a step shown")
    parser.add_argument("--keep", type=Path, help="a folder to keep all of it in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, home = given.keep or Path(name), (given.keep or Path(name)) / "business"
        for path, text in MADE.items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(text)
        os.environ["CHURN_DATA"] = str(folder / "data")
        if not (folder / "landing").exists():
            generate(folder / "landing", given.customers, given.events or 10 * given.customers)
        business = Business(home)
        title = f"{given.customers:,} customers"
        print(f"{title:40}{'s':>8}{'cpu s':>8}{'GB':>7}{'x limit':>9}", flush=True)
        for command, arguments in COMMANDS.items():
            began = time.time()
            watched = run(home, arguments)
            took = watched.within(began, watched.samples[-1][0])
            print(f"{command:40}{took[0]:8.1f}{took[1]:8.1f}{took[2]:7.2f}", flush=True)
            for step, first, last in sorted(steps(business, began), key=lambda step: step[1]):
                seconds, used, peak = watched.within(first, last)
                if used >= given.least:
                    least = limit(business.state, step, began)
                    ratio = f"{used / least:9.1f}" if least else ""
                    print(f"  {step:38}{seconds:8.1f}{used:8.1f}{peak:7.2f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
