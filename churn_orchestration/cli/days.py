"""Commands that compute days and decide on them: land, refresh, score, waive, accept."""

import datetime as dt
from pathlib import Path
from typing import Any

import click

from churn_orchestration.cli.shared import DAY, business_of, day_of, progress, with_json
from churn_orchestration.storage.door import publish
from churn_orchestration.terminal import say


@click.command()
@click.option("--customers", default=5000, show_default=True, help="Size of the simulated company.")
@with_json
@click.pass_context
def demo(context: click.Context, customers: int) -> tuple[Any, ...]:
    """Make a small company and take it from landing files to ranked customers."""
    from churn_orchestration.demo import run_demo

    return run_demo(business_of(context), customers)


@click.command()
@click.argument("scenario", default="calm")
@click.option("--customers", type=int, help="How many; default: as the scenario says (5000).")
@click.option("--days", type=int, help="How long; default: as the scenario says (730).")
@click.option("--seed", type=int, help="Another seed is another business of the same kind.")
@click.option(
    "--processes", default=2, show_default=True, help="The files are the same, however many."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write to.",
)
@click.option(
    "--bars",
    type=DAY,
    multiple=True,
    help="Write OUT/truth/bars_DAY_Nd.parquet too: how well DAY can be forecast.",
)
@click.option("--horizon-days", default=90, show_default=True, help="N, of the bars.")
@click.option(
    "--page", is_flag=True, help="Write OUT/look.html too: pictures of it, and rows of its files."
)
@with_json
def simulate(
    scenario: str,
    processes: int,
    out: Path,
    bars: tuple[dt.datetime, ...],
    horizon_days: int,
    page: bool,
    **given: int | None,
) -> tuple[Any, ...]:
    """Write the landing files of a simulated business to OUT/landing, and its truth to OUT/truth.

    SCENARIO is one of those that come with the package, which docs/simulator.md lists, or a YAML
    file of your own.
    """
    from churn_orchestration.business import BusinessError
    from churn_orchestration.simulator import ScenarioError, World, write_bars
    from churn_orchestration.simulator import simulate as simulated

    try:
        world = World.read(
            scenario, **{name: value for name, value in given.items() if value is not None}
        )
        for day in bars:
            world.refuse_beyond(day_of(day), horizon_days)
        counts = simulated(world, out, processes, progress)
        for day in bars:
            path = write_bars(world, out, day_of(day), horizon_days, processes)
            say(f"  wrote {path}")
    except ScenarioError as error:
        raise BusinessError(str(error)) from None
    message = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    look = ""
    if page:
        from churn_orchestration.simulator.page import write_page

        look = f"\nLook at it: {write_page(world, out)}"
    return (
        {"rows": counts, "scenario": scenario, "about": world.about},
        f"{world.about}\n\n{out / 'landing'}: {message}; {world.first_day} to {world.last_day}. "
        f"The truth is in {out / 'truth'}{look}",
    )


@click.command()
@click.option(
    "--from", "first", type=DAY, help="First day; default: the first day that is not there yet."
)
@click.option(
    "--to", "last", type=DAY, help="Last day; default: end_date, else the day of the newest file."
)
@click.option("--full", is_flag=True, help="Recompute the features of days that are there, too.")
@with_json
@click.pass_context
def run(
    context: click.Context, first: dt.datetime | None, last: dt.datetime | None, full: bool
) -> tuple[Any, ...]:
    """Land files and refresh every daily table, the initial load included.

    Incremental: of each table, the days that are missing, or whose ground or declaration changed;
    it says which and why before it starts. With --from, every table of those days; with --full, all
    days, or those from --from on, whatever is there.
    """
    from churn_orchestration import report
    from churn_orchestration.runs import at_work

    with at_work(business_of(context)) as work:
        end = work.last_day(day_of(last) if last else None)
        if first or full:
            begin = day_of(first) if first else work.business.start
            return report.refreshed(work.business, work.refresh(begin, end, full=full))
        plan = work.plan(end)
        if plan.first is None:
            return report.up_to_date(work.business, end)
        for line in plan.lines():
            say(f"  to do: {line}")
        return report.refreshed(work.business, work.refresh(plan.first, end, plan=plan))


@click.command()
@click.option("--from", "first", type=DAY, help="First day to score; default: the last.")
@click.option("--to", "last", type=DAY, help="Last day to score; default: the newest day.")
@with_json
@click.pass_context
def score(
    context: click.Context, first: dt.datetime | None, last: dt.datetime | None
) -> tuple[Any, ...]:
    """Score days again by the model in force on each.

    What was issued for a day before the last stays; what differs from it is kept in
    restated.<question>.
    """
    from churn_orchestration import report
    from churn_orchestration.runs import at_work
    from churn_orchestration.storage.layers import PARQUET_LAYERS

    with at_work(business_of(context)) as work:
        end = day_of(last) if last else work.newest_day()
        done = work.refresh(day_of(first) if first else end, end, layers=PARQUET_LAYERS)
        return report.refreshed(work.business, done)


@click.command()
@click.option("--table", required=True, help="The refused table, such as bronze.orders.")
@click.option("--day", type=DAY, required=True)
@click.option(
    "--reason", required=True, help="Why the day may count as closed; kept in the ledger."
)
@with_json
@click.pass_context
def waive(context: click.Context, table: str, day: dt.datetime, reason: str) -> tuple[Any, ...]:
    """Let a refused day count as closed, by a recorded decision."""
    from churn_orchestration.runs import at_work
    from churn_orchestration.storage import ledger

    with at_work(business_of(context)) as work:
        evidence = {"table": table, "day": str(day_of(day))}
        with work.warehouse.open() as tables:
            with tables.transaction():
                tables.days.waive(table, day_of(day), reason)
                row = ledger.append(
                    work.business.state,
                    table,
                    "waive",
                    reason,
                    "churn waive",
                    evidence,
                    cutoff=str(day_of(day)),
                )
            publish(tables)
    return (
        row,
        f"{table} {day_of(day)} counts as closed: {reason}. `churn run` now builds what waited for "
        "it.",
    )


@click.command()
@click.option("--table", required=True, help="The table that changed, such as bronze.orders.")
@click.option("--day", type=DAY, required=True, help="What changed in it up to this day.")
@click.option("--reason", required=True, help="Why what changed is right; kept in the ledger.")
@with_json
@click.pass_context
def accept(context: click.Context, table: str, day: dt.datetime, reason: str) -> tuple[Any, ...]:
    """Say that what has changed in a table is right, by a recorded decision."""
    from churn_orchestration.runs import at_work
    from churn_orchestration.storage import ledger
    from churn_orchestration.storage.open_changes import accept

    with at_work(business_of(context)) as work:
        evidence = {"table": table, "day": str(day_of(day))}
        with work.warehouse.open() as tables:
            with tables.transaction():
                evidence["changed"] = accept(tables, table, day_of(day), reason)
                state, cutoff = work.business.state, str(day_of(day))
                row = ledger.append(
                    state, table, "accept", reason, "churn accept", evidence, cutoff=cutoff
                )
            publish(tables)
    return (
        row,
        f"accepted: {table}: {evidence['changed']}. `churn run` takes days in that were held for "
        "it.",
    )
