"""The feature engine measured: `python -m benchmarks.features`, against what the same work costs
otherwise.

Each candidate runs in a process of its own, with two threads, on the same generated events; what
counts are the ratios within one run. `--events 100000000 --only one,landing` measures the larger
size.
"""

import argparse
import datetime as dt
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from churn_orchestration.business import Business
from churn_orchestration.churn.calendar import DAY, months_back
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import (
    Category,
    EventSource,
    FeatureSet,
    Flag,
    Measure,
)
from churn_orchestration.churn.features.parts import versions
from churn_orchestration.churn.features.perturbation import Ground, Pipeline, prove
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.components.features import feature_table
from churn_orchestration.components.features.daily_parts import build, checkpoints, make_checkpoints
from churn_orchestration.components.features.feature_history import write_history
from churn_orchestration.runs import at_work
from churn_orchestration.storage.layers import PARQUET
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal

FIRST, DAYS = dt.date(2023, 1, 1), 730
LAST = FIRST + DAY * (DAYS - 1)
CHANNELS = ("web", "store", "app", "phone", "partner")
ORDERS = EventSource(
    "orders", "silver.orders", "customer_id", "order", (),
    (Measure("amount", "amount_usd", "usd", 4),),
    (Category("channel", "channel", CHANNELS, closed=True, share_windows=(90,)),),
    (Flag("is_return", "is_return"),),
)  # fmt: skip
SHOP = {
    "business.yaml": f"""
name: shop
landing: landing
history_from: {FIRST}
start_date: {FIRST}
end_date: {LAST}
""",
    "raw/defs.yaml": """
type: churn_orchestration.components.SourceTable
attributes:
  name: orders
  files: "orders_{day}.csv"
  columns:
    - {name: customer_id, type: id, required: true}
    - {name: ordered_at, type: timestamp, required: true}
    - {name: amount_usd, type: decimal}
    - {name: channel, type: text}
    - {name: is_return, type: boolean}
  event_time: ordered_at
""",
    "silver/defs.yaml": (
        "type: churn_orchestration.components.SqlTables\nattributes:\n  layer: silver\n"
    ),
    "silver/orders.sql": """-- Orders.
select customer_id, day, known_on, _partition, amount_usd, channel, is_return from bronze.orders
""",
    "gold/defs.yaml": f"""
type: churn_orchestration.components.FeatureTable
attributes:
  name: features
  entity: customer_id
  refresh: {{mode: full}}
  windows: [7, 30, 90, 180, 365]
  trends: [30]
  sources:
    - name: orders
      table: silver.orders
      noun: order
      measures: [{{name: amount, column: amount_usd, unit: usd}}]
      categories:
        - name: channel
          column: channel
          values: [{", ".join(CHANNELS)}]
          closed: true
          share_windows: [90]
      flags: {{is_return: is_return}}
""",
}
"""A business whose feature table is DECLARED."""
DECLARED = FeatureSet("customer_id", (ORDERS,), (7, 30, 90, 180, 365), (30,))
PLAIN = replace(
    DECLARED,
    sources=(replace(ORDERS, name="bought", categories=(Category("product", "amount_usd"),)),),
)
"""The same with a column of 100,000 values, as of products."""
KINDS = replace(
    PLAIN,
    sources=(
        replace(
            PLAIN.sources[0],
            measures=(replace(ORDERS.measures[0], answered=True, change="sum"),),
            categories=(Category("product", "amount_usd", repeated=True),),
        ),
    ),
)
"""And with who answers, changes from one day to the next, and what is bought again."""


# ---------------- the events


def generate(tables: Tables, events: int, entities: int, seed: int = 1) -> None:
    """Events of two years: heavy-tailed activity, late starts, leavers, 2 % of them up to 30 days
    late.
    """
    tables.db.execute(f"""create or replace temp table people as
      select i, 'C' || lpad(i::varchar, 7, '0') as customer_id, start,
        greatest(1, round(weight / sum(weight) over () * {events}))::bigint as events,
        case when hash(i, {seed}, 3) % 10 < 4 then ({DAYS} - start) / 2
          else {DAYS} - start end as life
      from (select i, pow((hash(i, {seed}, 1) % 1000003 + 1) / 1000004, -0.6) as weight,
        hash(i, {seed}, 2) % {DAYS * 8 // 10} as start from range({entities}) as t(i))""")
    tables.db.execute("""create or replace table silver.orders (customer_id varchar, day date,
      known_on date,
      _partition date, amount_usd decimal(18, 4), channel varchar, is_return boolean)""")
    step = max(1, entities * 10_000_000 // max(events, 1))
    for low in range(0, entities, step):  # in ranges of people, for bounded memory
        tables.db.execute(f"""insert into silver.orders
          select customer_id, day, least(day + late, date '{LAST}'),
            least(day + late, date '{LAST}'), amount,
            {list(CHANNELS)}[(1 + hash(i, j, 6) % 5)::int], hash(i, j, 7) % 20 = 0
          from (select *, date '{FIRST}' + (start + hash(i, j, {seed}) % life)::int as day,
              (case when hash(i, j, 4) % 50 = 0 then 1 + hash(i, j, 8) % 30
                else 0 end)::int as late,
              (hash(i, j, 5) % 100000 / 100)::decimal(18, 4) as amount
            from people, range(events) as t(j) where i >= {low} and i < {low + step})
          order by least(day + late, date '{LAST}'), i, j""")
        log(f"generated the events of {min(low + step, entities):,} of {entities:,} entities")


# ---------------- candidates: each is prepared, then timed


def limit(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    read = (
        "max(customer_id), max(day), max(known_on), sum(amount_usd), max(channel), max(is_return)"
    )
    return lambda: tables.rows(f"select count(*), {read} from silver.orders")


def ours(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    checkpoints(tables, DECLARED, LAST)
    return lambda: tables.put_day(
        "gold.ours", LAST, features_at(DECLARED, LAST, checkpoints(tables, DECLARED, LAST))
    )


def naive(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return lambda: tables.put_day("gold.naive", LAST, naive_sql(LAST))


def naive_sql(as_of: dt.date) -> str:
    """Events joined to the entities, one filtered aggregate a feature."""
    age, columns = f"(date '{as_of}' - day)", []
    for window in (*DECLARED.windows, None):
        kept = f"filter ({age} < {window})" if window else ""
        name = f"{window}d" if window else "all"
        columns += [
            f"count(*) {kept} as orders_count_{name}",
            f"count(distinct day) {kept} as orders_active_days_{name}",
            f"coalesce(sum(amount_usd::double) {kept}, 0) as orders_amount_sum_{name}",
            *(
                f"{how}(amount_usd::double) {kept} as orders_amount_{word}_{name}"
                for word, how in (
                    ("mean", "avg"),
                    ("max", "max"),
                    ("min", "min"),
                    ("std", "stddev_samp"),
                )
            ),
            f"count(distinct channel) {kept} as orders_channel_distinct_{name}",
            f"avg(is_return::int) {kept} as orders_is_return_share_{name}",
        ]
    columns += [
        f"avg((channel = '{value}')::int) filter ({age} < 90) as orders_channel_{value}_share_90d"
        for value in CHANNELS
    ]
    columns += [f"min({age}) as orders_days_since_last", f"max({age}) as orders_days_since_first"]
    now, before = f"count(*) filter ({age} < 30)", f"count(*) filter ({age} between 30 and 59)"
    columns.append(f"({now} - {before}) / nullif({now} + {before}, 0) as orders_count_trend_30d")
    seen = f"day <= date '{as_of}' and known_on <= date '{as_of}'"
    return f"""
with entities as (select distinct customer_id from silver.orders where {seen}),
rows as (select e.customer_id, o.* exclude (customer_id) from entities as e
  join silver.orders as o on e.customer_id = o.customer_id and {seen}),
gaps as (select customer_id, avg(gap) as orders_gap_days_mean_all,
  stddev_samp(gap) as orders_gap_days_std_all
  from (select customer_id, day - lag(day) over (partition by customer_id order by day) as gap
    from (select distinct customer_id, day from rows)) group by 1)
select * from (select customer_id, date '{as_of}' as as_of, {", ".join(columns)} from rows
  group by 1)
join gaps using (customer_id) order by customer_id"""


def polars(tables: Tables, given: argparse.Namespace) -> Callable[[], object]:
    try:
        import polars as pl
    except ImportError:
        sys.exit("the candidate polars needs `pip install polars` (or the extra `bench`)")
    events = _events_file(tables)

    def run() -> None:
        rows = (
            pl.scan_parquet(events)
            .filter((pl.col("day") <= LAST) & (pl.col("known_on") <= LAST))
            .with_columns(
                age=(pl.lit(LAST) - pl.col("day")).dt.total_days(),
                amount=pl.col("amount_usd").cast(pl.Float64),
            )
        )
        result = []
        for window in (*DECLARED.windows, None):
            kept, name = pl.col("age") < (window or 10**6), f"{window}d" if window else "all"
            amount = pl.col("amount").filter(kept)
            result += [
                kept.sum().alias(f"orders_count_{name}"),
                pl.col("day").filter(kept).n_unique().alias(f"orders_active_days_{name}"),
                amount.sum().alias(f"orders_amount_sum_{name}"),
                amount.mean().alias(f"orders_amount_mean_{name}"),
                amount.max().alias(f"orders_amount_max_{name}"),
                amount.min().alias(f"orders_amount_min_{name}"),
                amount.std().alias(f"orders_amount_std_{name}"),
                pl.col("channel").filter(kept).n_unique().alias(f"orders_channel_distinct_{name}"),
                pl.col("is_return").filter(kept).mean().alias(f"orders_is_return_share_{name}"),
            ]
        recent = pl.col("channel").filter(pl.col("age") < 90)
        result += [
            (recent == value).mean().alias(f"orders_channel_{value}_share_90d")
            for value in CHANNELS
        ]
        result += [
            pl.col("age").min().alias("orders_days_since_last"),
            pl.col("age").max().alias("orders_days_since_first"),
            pl.col("age").unique().sort().diff().std().alias("orders_gap_days_std_all"),
        ]
        made = (
            rows.group_by("customer_id").agg(result).sort("customer_id").collect(engine="streaming")
        )
        made.write_parquet(Path(given.folder) / "polars.parquet", compression="zstd")

    return run


def pandas(tables: Tables, given: argparse.Namespace) -> Callable[[], object]:
    import pandas as pd

    events = _events_file(tables)

    def run() -> None:
        frame = pd.read_parquet(events)
        frame = frame[(frame["day"] <= LAST) & (frame["known_on"] <= LAST)]
        frame["age"] = (pd.Timestamp(LAST) - pd.to_datetime(frame["day"])).dt.days
        frame["amount"] = frame["amount_usd"].astype("float64")
        frame["customer_id"] = frame["customer_id"].astype("category")
        made = []
        for window in (*DECLARED.windows, 10**6):
            kept = frame[frame["age"] < window].groupby("customer_id", observed=True)
            made.append(
                kept.agg(
                    count=("age", "size"), active_days=("age", "nunique"), total=("amount", "sum"),
                    mean=("amount", "mean"), highest=("amount", "max"), lowest=("amount", "min"),
                    spread=("amount", "std"), channels=("channel", "nunique"),
                    returns=("is_return", "mean"),
                ).add_suffix(f"_{window}")
            )  # fmt: skip
        recent = frame[frame["age"] < 90]
        made.append(pd.crosstab(recent["customer_id"], recent["channel"], normalize="index"))
        days = frame[["customer_id", "age"]].drop_duplicates().sort_values(["customer_id", "age"])
        gaps = (
            days.groupby("customer_id", observed=True)["age"]
            .diff()
            .groupby(days["customer_id"], observed=True)
        )
        made += [gaps.mean().rename("gap_mean"), gaps.std().rename("gap_std")]
        pd.concat(made, axis=1).sort_index().to_parquet(Path(given.folder) / "pandas.parquet")

    return run


def _events_file(tables: Tables) -> Path:
    path = tables.state / "events.parquet"
    if not path.exists():
        tables.db.execute(f"copy silver.orders to {literal(path)} (format parquet)")
    return path


def months(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return lambda: write_history(tables, DECLARED, AS_OFS["months"], tables.state / "months")


def days(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return lambda: write_history(tables, DECLARED, AS_OFS["days"], tables.state / "days")


AS_OFS = {
    "months": [months_back(LAST, n) for n in range(24)],
    "days": [LAST - DAY * n for n in range(90)],
}


def naive_months(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    def run() -> None:
        for as_of in AS_OFS["months"]:
            tables.put_day("gold.naive_months", as_of, naive_sql(as_of))

    return run


def write_months(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return _written(tables, "months")


def write_days(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return _written(tables, "days")


def _written(tables: Tables, history: str) -> Callable[[], object]:
    """Writing the finished history alone, as the warehouse stores its tables."""
    files, path = tables.state / history / "*.parquet", tables.state / f"{history}.parquet"
    tables.db.execute(
        f"create or replace table meta.finished as from read_parquet({literal(files)})"
    )
    copy = f"copy meta.finished to {literal(path)} ({PARQUET})"
    return lambda: tables.db.execute(copy).fetchall()


def one_of(declared: FeatureSet, tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    if not tables.columns(PLAIN.sources[0].days_table):
        build(tables, PLAIN, PLAIN.sources[0], FIRST, [FIRST])
    checkpoints(tables, declared, LAST)
    return lambda: tables.put_day(
        "gold.kinds", LAST, features_at(declared, LAST, checkpoints(tables, declared, LAST))
    )


def months_of(declared: FeatureSet, tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return lambda: write_history(tables, declared, AS_OFS["months"], tables.state / "kinds")


def landing(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return lambda: build(tables, DECLARED, ORDERS, FIRST, [LAST])


def proof(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    def make(db: Any) -> None:
        db.execute(
            f"create or replace table {ORDERS.days_table} as "
            f"{versions(ORDERS, 'customer_id', FIRST)}"
        )

    pipeline = Pipeline(
        (Ground("silver.orders", (), "customer_id"),),
        make,
        lambda as_of: features_at(DECLARED, as_of),
    )

    def run() -> None:
        result = prove(tables.db, pipeline, LAST - DAY * 30)
        assert not result.faults, result.faults

    return run


def step(given: argparse.Namespace) -> dict[str, float]:
    """Median seconds of the asset's step through Dagster, of the same SQL bare, and of the step's
    proof.
    """
    folder = Path(given.folder)
    for name, text in SHOP.items():
        path = folder / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    os.environ["CHURN_DATA"] = str(folder / "data")
    business = Business(folder / "shop")
    business.state.parent.mkdir(exist_ok=True)
    if not business.state.is_symlink():
        business.state.symlink_to(folder, target_is_directory=True)
    bare, steps, proofs = list[float](), list[float](), list[float]()
    with Warehouse.of(folder).open() as tables:
        if not tables.columns("bronze.orders"):
            tables.db.execute(
                "create table bronze.orders as from silver.orders"
            )  # where the proof begins
        tables.days.record(
            ORDERS.days_table, "stored", {FIRST + DAY * n: 1 for n in range(DAYS)}, "benchmark"
        )
        for _ in range(3):
            bare.append(_seconds(ours(tables, given)))

    def timed(*given: Any) -> Any:
        begun = time.perf_counter()
        result = prove_table(*given)
        proofs.append(time.perf_counter() - begun)
        return result

    prove_table, feature_table.proved = feature_table.proved, timed
    with at_work(business) as work:
        for _ in range(3):
            done = work.refresh(LAST, LAST, layers=("gold",))
            assert done.succeeded and not done.refused, done
            [run] = work.instance.get_run_records(limit=1)
            [stats] = work.instance.get_run_step_stats(run.dagster_run.run_id)
            assert stats.start_time and stats.end_time
            steps.append(stats.end_time - stats.start_time - proofs[-1])
    result = {"seconds": steps, "bare": bare, "proof": proofs}
    return {name: statistics.median(seconds) for name, seconds in result.items()}


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def parts(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return lambda: build(tables, DECLARED, ORDERS, FIRST, [FIRST])


def checkpoint(tables: Tables, _: argparse.Namespace) -> Callable[[], object]:
    return lambda: make_checkpoints(tables, DECLARED, ORDERS, LAST)


CANDIDATES: dict[str, tuple[Callable[..., Callable[[], object]], str, int]] = {
    # candidate: memory that DuckDB may use, runs of which the median counts
    "parts": (parts, "4GB", 1),
    "checkpoint": (checkpoint, "4GB", 1),
    "limit": (limit, "1GB", 5),
    "ours": (ours, "900MB", 5),
    "naive": (naive, "6GB", 1),
    "polars": (polars, "1GB", 1),
    "pandas": (pandas, "1GB", 1),
    "months": (months, "900MB", 1),
    "naive_months": (naive_months, "6GB", 1),
    "write_months": (write_months, "4GB", 1),
    "days": (days, "900MB", 1),
    "write_days": (write_days, "4GB", 1),
    "plain_one": (partial(one_of, PLAIN), "4GB", 3),
    "kinds_one": (partial(one_of, KINDS), "4GB", 3),
    "plain_months": (partial(months_of, PLAIN), "4GB", 1),
    "kinds_months": (partial(months_of, KINDS), "4GB", 1),
    "landing": (landing, "2GB", 1),
    "proof": (proof, "1GB", 1),
}


# ---------------- one process a candidate


def measure(name: str, given: argparse.Namespace) -> dict[str, float]:
    """Seconds and peak memory in GB of a candidate, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.features",
        "--candidate",
        name,
        "--folder",
        str(given.folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(
            f"{name}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}"
        )
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    log(f"{name}: {result['seconds']:.2f} s, {result['memory']:.2f} GB")
    return result


def candidate(given: argparse.Namespace) -> None:
    """Run one candidate and print what it took."""
    if given.candidate == "step":
        print(json.dumps(step(given) | {"memory": _peak()}))
        return
    prepare, memory, repeat = CANDIDATES[given.candidate]
    with Warehouse.of(Path(given.folder), memory).open() as tables:
        work = prepare(tables, given)
        took = [_seconds(work) for _ in range(repeat)]
    print(json.dumps({"seconds": statistics.median(took), "memory": _peak()}))


def _peak() -> float:
    """The most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def same_values(folder: Path) -> int:
    """How many features of ours and naive were compared, all entities; a difference ends the
    benchmark.
    """
    with Warehouse.of(folder).open() as tables:
        mine, other = (literal(tables.day_file(f"gold.{name}", LAST)) for name in ("ours", "naive"))
        there = {name for name, *_ in tables.rows(f"describe from read_parquet({other})")}
        names = [f.name for f in catalogue(DECLARED) if f.name in there]
        counts = ", ".join(
            f"count(*) filter (a.{n} is distinct from b.{n} and not coalesce("
            f"abs(a.{n} - b.{n}) <= 1e-7 * greatest(1, abs(a.{n})), false))"
            for n in names
        )
        [[rows, *wrong]] = tables.rows(
            f"select count(*), {counts} from read_parquet({mine}) as a full join "
            f"read_parquet({other}) as b using (customer_id)"
        )
    if bad := [name for name, count in zip(names, wrong, strict=True) if count]:
        sys.exit(f"ours and naive differ in {', '.join(bad)}")
    log(f"ours and naive are equal: {rows:,} entities, {len(names)} features")
    return len(names)


def log(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"  {text}\n")


def report(given: argparse.Namespace) -> None:
    """Generate, measure, and print the table of ratios."""
    folder, sections, lines = Path(given.folder), given.only.split(","), []
    if not (folder / "warehouse.duckdb").exists():
        with Warehouse.of(folder, "4GB").open() as tables:
            generate(tables, given.events, given.entities)
        measure("parts", given)
        measure("checkpoint", given)

    def line(what: str, ratio: float, bound: str, holds: bool, detail: str) -> None:
        lines.append(f"| {what} | {ratio:.2f} | {bound} | {'yes' if holds else 'NO'} | {detail} |")

    if "one" in sections:
        scan, mine = measure("limit", given), measure("ours", given)
        most, memory = (8.0, 1.0) if given.events <= 10_000_000 else (1.5, 2.5)
        ratio = mine["seconds"] / scan["seconds"]
        message = f"{mine['seconds']:.2f} s, {scan['seconds']:.2f} s"
        line("one as_of / scan limit", ratio, f"at most {most}", ratio <= most, message)
        line(
            "one as_of, peak memory, GB",
            mine["memory"],
            f"below {memory}",
            mine["memory"] < memory,
            "",
        )
        for peer in given.peers.split(","):
            other = measure(peer, given)
            least = {"naive": 5 if given.events <= 10_000_000 else 20, "polars": 5, "pandas": 7}[
                peer
            ]
            ratio = other["seconds"] / mine["seconds"]
            message = f"{other['seconds']:.1f} s, {other['memory']:.1f} GB"
            line(f"{peer} / one as_of", ratio, f"at least {least}", ratio >= least, message)
        if "naive" in given.peers:
            same_values(folder)
    if "step" in sections:
        result = measure("step", given)
        ratio = result["seconds"] / result["bare"]
        message = (
            f"{result['seconds']:.2f} s, {result['bare']:.2f} s; the proof {result['proof']:.2f} s"
        )
        line("the asset's step / bare SQL", ratio, "at most 1.3", ratio <= 1.3, message)
    for history, most in (("months", 1.5), ("days", 1.2)):
        if history in sections:
            mine, alone = measure(history, given), measure(f"write_{history}", given)
            ratio = mine["seconds"] / alone["seconds"]
            message = f"{mine['seconds']:.1f} s, {alone['seconds']:.1f} s"
            what = f"{len(AS_OFS[history])} {history} / writing alone"
            line(what, ratio, f"at most {most}", ratio <= most, message)
            if history == "months" and "naive" in given.peers:
                other = measure("naive_months", given)
                ratio = other["seconds"] / mine["seconds"]
                message = f"{other['seconds']:.1f} s, {other['memory']:.1f} GB"
                line("naive / 24 months", ratio, "at least 10", ratio >= 10, message)
            line(
                f"{history}, peak memory, GB", mine["memory"], "below 1.5", mine["memory"] < 1.5, ""
            )
    for history in ("one", "months") if "kinds" in sections else ():
        without, mine = (measure(f"{name}_{history}", given) for name in ("plain", "kinds"))
        ratio = mine["seconds"] / without["seconds"]
        message = f"{mine['seconds']:.2f} s, {without['seconds']:.2f} s"
        what = "one as_of" if history == "one" else f"{len(AS_OFS['months'])} months"
        line(f"{what}, more kinds / without", ratio, "at most 2", ratio <= 2, message)
    if "landing" in sections:
        took = measure("landing", given)["seconds"]
        line("landing one day, s", took, "below 10", took < 10, "")
    if "proof" in sections:
        took = measure("proof", given)["seconds"]
        line("perturbation proof, s", took, "seconds", took < 10, "200 entities")
    print(
        f"\n{given.events:,} events, {given.entities:,} entities, {len(catalogue(DECLARED))} "
        "features\n"
    )
    print("| measure | found | bound | holds | took |\n|---|---|---|---|---|\n" + "\n".join(lines))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--entities", type=int, default=200_000)
    parser.add_argument(
        "--folder", help="where the generated data lie, kept; a temporary folder if not given"
    )
    parser.add_argument("--only", default="one,step,months,days,kinds,landing,proof")
    parser.add_argument(
        "--peers", default="naive,pandas", help="of naive, polars (to be installed), pandas"
    )
    parser.add_argument("--candidate", choices=[*CANDIDATES, "step"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.candidate:
        candidate(given)
        return
    folder = Path(given.folder or tempfile.mkdtemp(prefix="features-"))
    given.folder = folder
    try:
        report(given)
    finally:
        if not parser.parse_args().folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
