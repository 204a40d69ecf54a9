"""A scenario made real: its landing files in one folder, its truth in another."""

import datetime as dt
import multiprocessing
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from churn_orchestration.churn.sql import connect
from churn_orchestration.simulator import helpdesk, retail
from churn_orchestration.simulator.forecast import (
    best_forecasts,
    expected_worth,
    latent_oracle,
    leaving_forecasts,
    outcomes,
    outreach_effects,
)
from churn_orchestration.simulator.lives import BLOCK, CAUSES, Lives, blocks, draw
from churn_orchestration.simulator.world import ScenarioError, World

WORLD = "world.json"
EFFECT_DAYS = 90
"""The horizon of the true effect of outreach."""
BUSINESSES = {"retail": retail, "helpdesk": helpdesk}
_MACROS = """
create macro uniform(a, b, what) as (hash(a, b, what) % 1048573 + 0.5) / 1048573;
create macro normal(a, b, what) as
  sqrt(-2 * ln(uniform(a, b, what || ' 1'))) * cos(2 * pi() * uniform(a, b, what || ' 2'));
create macro one_of(names, u) as names[1 + floor(u * len(names))::int];
"""


def simulate(
    world: World, out: Path, processes: int = 2, log: Callable[[str], None] = lambda _: None
) -> dict[str, int]:
    """Write ``out/landing`` (a shop: a file a table and day; a help desk: a file a table) and
    ``out/truth``.

    The truth, which must never be landed: ``people.parquet`` (who, segment, the hidden rate and
    frailty, when they last left, why, and came back), ``events.parquet`` (as they happened, and
    whether they went badly) and ``world.json``, which is there once all is; of outreach,
    ``outreach.parquet``: what each contact did, or would have done to a control, to the probability
    of no order in EFFECT_DAYS; of a world that follows lists it is not there. One that was stopped
    is recomputed.

    Returns
    -------
    rows by table

    Raises
    ------
    ScenarioError : the folder holds another simulation
    """
    truth = out / "truth"
    note, wanted = truth / WORLD, world.model_dump_json(indent=1)
    if note.exists():
        if note.read_text(encoding="utf-8") != wanted:
            raise ScenarioError(f"{out} holds another simulation ({note}): remove it first")
        log(f"{out} is there already")
        return _counted(world, out)
    begun = truth / f"{WORLD}.begun"
    stopped = begun.exists() and begun.read_text(encoding="utf-8") == wanted
    if not stopped and any((out / "landing").rglob("*.csv")):
        raise ScenarioError(f"{out / 'landing'} holds files of another simulation: remove it first")
    truth.mkdir(parents=True, exist_ok=True)
    begun.write_text(wanted, encoding="utf-8")

    def progress(done: int, of: int) -> None:
        log(f"wrote the files of {done} of {of} tables")

    with furnished(world, processes, log, out) as db:
        counts = dict(BUSINESSES[world.business].land(db, world, out / "landing", progress))
        _write_truth(db, world, truth)
    begun.replace(note)
    return counts


@contextmanager
def furnished(
    world: World,
    processes: int = 1,
    log: Callable[[str], None] = lambda _: None,
    scratch_in: Path | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """While the block lasts: a database with the tables of the business, see ``retail`` and
    ``helpdesk``.

    They are made of ``people`` (number, signed_up, segment, and the truth about them), ``happened``
    (number, day, second, bad), ``mailed`` (number, day, opened, clicked), ``touched`` (number, day,
    campaign, treated, true_effect) and ``campaigns`` (campaign, action).
    """
    with (
        tempfile.TemporaryDirectory(prefix=".simulating-", dir=scratch_in) as scratch,
        connect() as db,
    ):
        db.execute("set TimeZone = 'UTC'; set threads = 2; set memory_limit = '2500MB'")
        db.execute(f"set temp_directory = '{scratch}/spill'")
        write, every = partial(_write_block, world, Path(scratch)), range(blocks(world))
        for done, _ in enumerate(_each(write, every, processes), 1):
            log(
                f"lived the lives of {min(done * BLOCK, world.customers):,} of {world.customers:,} "
                "customers"
            )
        for name in ("people", "happened", "mailed", "touched"):
            db.execute(f"create view {name} as from read_parquet('{scratch}/{name}-*.parquet')")
        db.execute(_MACROS)
        db.execute("create table campaigns (campaign integer, action varchar)")
        for number, campaign in enumerate(world.outreach):
            db.execute("insert into campaigns values (?, ?)", [number, campaign.action])
        BUSINESSES[world.business].furnish(db, world)
        yield db


def _each(work: Callable[[int], Any], blocks: Sequence[int], processes: int) -> Iterator[Any]:
    """What the work gives for every block, in their order."""
    if processes == 1 or len(blocks) == 1:
        yield from map(work, blocks)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, blocks)


def forecasts(world: World, as_of: dt.date, horizon_days: int, processes: int = 2) -> pd.DataFrame:
    """The bars of a world: what the best forecast and the latent oracle say on a day, and what
    came.

    Returns
    -------
    Of a shop: customer_id, best_probability, oracle_probability, quiet (no order in the horizon);
    one row a customer who has signed up by ``as_of``, by customer_id. Of a help desk: company_id,
    the same two, cancels (in the horizon); one row a company that has signed and not cancelled by
    then
    """
    work = partial(_forecasts, world, as_of, horizon_days)
    table = pd.concat(_each(work, range(blocks(world)), processes), ignore_index=True)
    table.insert(0, BUSINESSES[world.business].ENTITY, _ids(world, table.pop("customer")))
    return table


def _ids(world: World, customers: pd.Series) -> list[str]:
    return [BUSINESSES[world.business].ID % (number + 1) for number in customers]


def write_bars(
    world: World, out: Path, as_of: dt.date, horizon_days: int, processes: int = 2
) -> Path:
    """Write the ``forecasts`` of a simulation to its truth, ``bars_<as_of>_<horizon>d.parquet``.

    Raises
    ------
    ScenarioError : the day or the horizon lies beyond the simulation
    """
    world.refuse_beyond(as_of, horizon_days)
    path = out / "truth" / f"bars_{as_of}_{horizon_days}d.parquet"
    bars = forecasts(world, as_of, horizon_days, processes)
    if not world.cancels:
        bars = bars.merge(expected_spend(world, as_of, horizon_days, processes))
    bars.to_parquet(path, index=False)
    return path


def expected_spend(
    world: World, as_of: dt.date, horizon_days: int, processes: int = 2
) -> pd.DataFrame:
    """What the customers of a shop will spend in the horizon, by who knows all of them but not
    chance.

    Returns
    -------
    customer_id, expected_spend_usd, spend_error_usd (its standard error); the amounts of all orders
    of the horizon; one row a customer who has signed up by ``as_of``, by customer_id
    """
    work = partial(_expected_spend, world, as_of, horizon_days)
    table = pd.concat(_each(work, range(blocks(world)), processes), ignore_index=True)
    named = {"expected": "expected_spend_usd", "error": "spend_error_usd"}
    table.insert(0, retail.ENTITY, _ids(world, table.pop("customer")))
    return table.rename(columns=named)


def _expected_spend(world: World, as_of: dt.date, horizon_days: int, block: int) -> pd.DataFrame:
    lives, last = draw(world, block), world.ordinal(as_of)
    with connect() as db:
        db.execute(_MACROS)
        customers = range(lives.first, lives.first + lives.customers)
        worth = retail.mean_amounts(db, world, customers, range(last + 1, last + 1 + horizon_days))
    return expected_worth(world, lives, as_of, horizon_days, worth)


def _forecasts(world: World, as_of: dt.date, horizon_days: int, block: int) -> pd.DataFrame:
    lives = draw(world, block)
    if world.cancels:
        return leaving_forecasts(world, lives, as_of, horizon_days)
    best = best_forecasts(world, lives, as_of, horizon_days)
    oracle = latent_oracle(world, lives, as_of, horizon_days)
    return best.merge(oracle, on="customer").merge(
        outcomes(world, lives, as_of, horizon_days), on="customer"
    )


def _write_block(world: World, scratch: Path, block: int) -> None:
    lives = draw(world, block)
    _people(world, lives).to_parquet(scratch / f"people-{block:05}.parquet", index=False)
    happened = pd.DataFrame(
        {
            "number": lives.first + lives.customer,
            "day": lives.day.astype("int32"),
            "second": lives.second.astype("int32"),
            "bad": lives.bad,
        }
    )
    happened.to_parquet(scratch / f"happened-{block:05}.parquet", index=False)
    mailed = pd.DataFrame(lives.mails, columns=["number", "day", "opened", "clicked"])
    mailed = mailed.assign(number=mailed["number"] + lives.first)
    mailed.to_parquet(scratch / f"mailed-{block:05}.parquet", index=False)
    touched = outreach_effects(world, lives, EFFECT_DAYS).rename(columns={"customer": "number"})
    touched.to_parquet(scratch / f"touched-{block:05}.parquet", index=False)


def _people(world: World, lives: Lives) -> pd.DataFrame:
    last = (
        pd.DataFrame(lives.absences, columns=["place", "left", "back", "cause"])
        .groupby("place")
        .last()
    )
    people = pd.DataFrame(
        {
            "number": range(lives.first, lives.first + lives.customers),
            "signed_up": lives.signed_up.astype("int32"),
            "segment": pd.Series(list(world.segments)).take(lives.segment).to_numpy(),
            "rate_per_day": world.rates[0][lives.rate],
            "frailty_per_day": world.frailties[0][lives.frailty],
        }
    ).join(last)
    people["cause"] = people["cause"].map(dict(enumerate(CAUSES)))
    return people.astype({"left": "Int32", "back": "Int32", "cause": "string"})


def _write_truth(db: duckdb.DuckDBPyConnection, world: World, truth: Path) -> None:
    first, business = f"date '{world.first_day}'", BUSINESSES[world.business]
    people = (
        f"select e.{business.ENTITY}, p.segment, rate_per_day, frailty_per_day, {first} + p.left "
        f"as left_on, p.cause, case when p.back >= 0 then {first} + p.back end as back_on "
        f"from people as p join ({business.TRUE_ENTITIES}) as e using (number) order by 1"
    )
    selects = {"people": people, "events": business.TRUE_EVENTS}
    if world.outreach and not world.follows_lists:
        selects["outreach"] = "select * exclude (day) from outreach order by 1"
    for name, select in selects.items():
        db.execute(
            f"copy ({select}) to '{truth / name}.parquet' (format parquet, compression zstd)"
        )


def _counted(world: World, out: Path) -> dict[str, int]:
    result = dict.fromkeys(BUSINESSES[world.business].tables(world), 0)
    for path in (out / "landing").rglob("*.csv"):
        result[re.sub("_(en|[0-9-]{10})$", "", path.stem)] += path.read_bytes().count(b"\n") - 1
    return result
