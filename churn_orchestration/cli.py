"""`churn`: a thin door to the jobs and functions of one business. It computes nothing itself."""

import datetime as dt
import errno
import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from churn_orchestration.storage.door import publish
from churn_orchestration.terminal import say, visible

if TYPE_CHECKING:
    from churn_orchestration.business import Business

# Imports are in the commands that need them: Dagster takes seconds, and --help must not wait for
# it.


class Day(click.DateTime):
    """A day, shown as people write it."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """How ``--help`` shows it."""
        return "YYYY-MM-DD"


DAY = Day(formats=["%Y-%m-%d"])


class Door(click.Group):
    """Turns every expected mistake into one line and exit code 1, and Ctrl-C into exit code 130."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; see the class."""
        try:
            return super().main(*args, **(kwargs | {"standalone_mode": False}))
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.ClickException as error:
            if isinstance(error, click.NoSuchOption) and error.option_name == "--business":
                message = "--business comes before the command: churn --business FOLDER run"
                error = click.UsageError(message, error.ctx)
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            say("stopped; the same command goes on from here")
            sys.exit(130)
        except Exception as error:
            if expected := _of_the_machine(error) or _expected(error):
                say(f"churn: {expected}")
                sys.exit(1)
            raise


# SQLite, which holds Dagster's log, says either of the last two of a full disk.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full", "disk I/O error")
_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def _of_the_machine(error: Exception) -> str | None:
    """The message of a full disk, a missing right or a lock, whoever met it; None for anything
    else.
    """
    message, code = str(error).strip(), getattr(error, "errno", None)
    if any(full in message for full in _FULL):
        line = next(line for line in message.splitlines() if any(full in line for full in _FULL))
        return f"the disk is full ({line}); free some space, then give the same command again"
    if "Could not set lock on file" in message:
        holder = re.search(r"\(PID \d+\)", message)
        return (
            f"warehouse.duckdb is open in another program {holder[0] if holder else ''}: wait for "
            "the run of the UI, or close what else reads it (published.duckdb next to it never "
            "blocks)"
        )
    if code in _RIGHTS or any(os.strerror(number) in message for number in _RIGHTS):
        return (
            f"cannot write there: {message}; CHURN_DATA names another folder for all that is made"
        )
    return None


def _expected(error: BaseException) -> str | None:
    """The message of a user's mistake, taken out of what Dagster's loader made of it; None: our
    fault.
    """
    from pydantic import ValidationError

    from churn_orchestration.business import BusinessError
    from churn_orchestration.storage.session import WarehouseError

    if isinstance(error, WarehouseError):
        return str(error)
    loading, chain = False, list[str]()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BusinessError):
            return str(cause)
        if isinstance(cause, ValidationError):
            folder = Path(os.environ["CHURN_BUSINESS"]) if "CHURN_BUSINESS" in os.environ else None
            return "; ".join(dict.fromkeys(_fault_lines(cause.errors(), chain, folder)))
        chain.append(str(cause))
        loading = loading or type(cause).__module__.startswith("dagster.components.")
        deeper = cause.__cause__ or cause.__context__
        if deeper is None and loading:
            return str(cause).split("Traceback (most recent call last)")[0].strip()
        cause = deeper
    return None


def _fault_lines(faults: list[Any], chain: list[str], folder: Path | None) -> list[str]:
    """A line for each fault; of the ways in which a list may be written, the one that was meant."""
    from churn_orchestration.components.faulty_files import shown

    meant = [fault for fault in faults if ".str at " not in ".".join(map(str, fault["loc"]))]
    return [shown(fault, chain, folder) for fault in meant or faults]


def _json(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that returns a table for machines and a text for people; ``--json`` chooses."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
    @wraps(command)
    def message(*args: Any, as_json: bool, **kwargs: Any) -> None:
        facts, text, *done = command(*args, **kwargs)
        click.echo(json.dumps(facts, default=str) if as_json else visible(text))
        if done and not done[0]:
            sys.exit(1)

    return message


@click.group(
    cls=Door, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--business",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help=(
        "Folder of the business, such as examples/online_retail. Default: $CHURN_BUSINESS, "
        "else the demo."
    ),
)
@click.version_option(package_name="churn-orchestration")
@click.pass_context
def main(context: click.Context, business: Path | None) -> None:
    """Churn prediction as a lineage graph: land files, build features, train, score, look back.

    \b
    The usual way:
      churn demo                           a simulated company, from files to ranked customers
      churn --business FOLDER run          land what has come and refresh every table
      churn --business FOLDER train        train on what had matured by the newest day
      churn --business FOLDER score        score that day by the model
      churn --business FOLDER export --out customers.csv
      churn --business FOLDER status       what is there, what failed and what to do

    \b

    A business is a folder of YAML and SQL. All it makes lies in $CHURN_DATA/<its name> (default:
    data/).
    """
    from churn_orchestration.business import DEMO

    warnings.filterwarnings("ignore", module="dagster")
    os.umask(0o077)  # what a business holds is its owner's, whichever process of ours writes it
    folder = business or (Path(named) if (named := os.environ.get("CHURN_BUSINESS")) else DEMO)
    os.environ["CHURN_BUSINESS"] = str(folder.resolve())
    context.obj = folder


def _business(context: click.Context) -> "Business":
    from churn_orchestration.business import Business
    from churn_orchestration.storage.door import is_current

    business = Business(context.obj)
    business.refuse_namesake()
    if not is_current(business.state):
        from churn_orchestration.storage.resources import bring_up_to_date

        bring_up_to_date(business)
    return business


def _day(moment: dt.datetime) -> dt.date:
    return moment.date()


@main.command()
@click.option("--customers", default=5000, show_default=True, help="Size of the simulated company.")
@_json
@click.pass_context
def demo(context: click.Context, customers: int) -> tuple[Any, ...]:
    """Make a small company and take it from landing files to ranked customers."""
    from churn_orchestration.demo import run_demo

    return run_demo(_business(context), customers)


@main.command()
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
@_json
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
            world.refuse_beyond(_day(day), horizon_days)
        counts = simulated(world, out, processes, _progress)
        for day in bars:
            path = write_bars(world, out, _day(day), horizon_days, processes)
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


@main.command()
@click.option(
    "--from", "first", type=DAY, help="First day; default: the first day that is not there yet."
)
@click.option(
    "--to", "last", type=DAY, help="Last day; default: end_date, else the day of the newest file."
)
@click.option("--full", is_flag=True, help="Recompute the features of days that are there, too.")
@_json
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

    with at_work(_business(context)) as work:
        end = work.last_day(_day(last) if last else None)
        if first or full:
            begin = _day(first) if first else work.business.start
            return report.refreshed(work.business, work.refresh(begin, end, full=full))
        plan = work.plan(end)
        if plan.first is None:
            return report.up_to_date(work.business, end)
        for line in plan.lines():
            say(f"  to do: {line}")
        return report.refreshed(work.business, work.refresh(plan.first, end, plan=plan))


@main.command()
@click.option(
    "--cutoff",
    type=DAY,
    help="What was knowable at the end of this day is learned from; default: the newest day.",
)
@_json
@click.pass_context
def train(context: click.Context, cutoff: dt.datetime | None) -> tuple[Any, ...]:
    """Take the training snapshot of a cut-off, train every question on it, and decide on
    promotion.
    """
    from churn_orchestration import report
    from churn_orchestration.runs import at_work

    with at_work(_business(context)) as work:
        day = _day(cutoff) if cutoff else work.newest_day()
        return report.trained(work.business, work.train(day), day)


@main.command()
@click.option("--from", "first", type=DAY, help="First day to score; default: the last.")
@click.option("--to", "last", type=DAY, help="Last day to score; default: the newest day.")
@_json
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

    with at_work(_business(context)) as work:
        end = _day(last) if last else work.newest_day()
        done = work.refresh(_day(first) if first else end, end, layers=PARQUET_LAYERS)
        return report.refreshed(work.business, done)


@main.command()
@click.option("--question", help="Default: the only one.")
@_json
@click.pass_context
def question(context: click.Context, question: str | None) -> tuple[Any, ...]:
    """Say whether a churn question can be answered, and how its label would move with its
    definition.
    """
    from churn_orchestration.report.question import weighed
    from churn_orchestration.runs import at_work

    with at_work(_business(context)) as work, work.warehouse.open() as tables:
        return weighed(tables, _chosen_question(work.questions(), question))


@main.command()
@click.option("--question", help="Default: all.")
@_json
@click.pass_context
def models(context: click.Context, question: str | None) -> tuple[Any, ...]:
    """List every decision on a model from the ledger, whose seal is checked: what scores, why,
    since when.
    """
    from churn_orchestration.report.models import listed

    return listed(_business(context), question)


@main.command()
@click.option("--try", "trial", is_flag=True, help="Send a trial to everybody that `alerts` names.")
@_json
@click.pass_context
def alerts(context: click.Context, trial: bool) -> tuple[Any, ...]:
    """List what the sensor `alerts` has sent; or try whether it arrives."""
    from churn_orchestration.automation.alerts import FILE, read, try_out

    business = _business(context)
    if trial:
        targets = try_out(business)
        return {"sent_to": targets}, "\n".join(f"sent to {target}" for target in targets)
    result = read(business.state / FILE)
    lines = [f"{row['title']}\n  {row['told']}\n  sent to {row['target']}" for row in result]
    return {"alerts": result}, "\n".join(lines) or "no alert was sent yet"


@main.command()
@click.argument("version", required=False)
@click.option("--question", help="Default: the only one.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder; default: next to the tables.",
)
@_json
@click.pass_context
def card(
    context: click.Context, version: str | None, question: str | None, out: Path | None
) -> tuple[Any, ...]:
    """Write the model card, as a page and as Markdown: what a model is for, how good it is, and
    where not.

    VERSION is one of `churn models`, or its beginning; default: the champion.
    """
    from churn_orchestration.components.question.training.card import write
    from churn_orchestration.components.tree import questions_of

    business = _business(context)
    settings = _chosen_question(questions_of(business), question)
    page, text = write(settings, business.state, version, out or business.state / "cards")
    return {"page": str(page), "markdown": str(text)}, f"wrote {page} and {text}"


@main.command()
@click.argument("version", required=False)
@click.option("--question", help="Default: the only one.")
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@click.option("--yes", is_flag=True, help="Do it without a question back.")
@_json
@click.pass_context
def rollback(
    context: click.Context, version: str | None, question: str | None, reason: str, yes: bool
) -> tuple[Any, ...]:
    """Put a model that was champion before in force again, from the newest day on.

    VERSION is one of `churn models`, its beginning, or `rules`; default: what scored before the
    champion.
    """
    from churn_orchestration.components.question.training.promotion import roll_back
    from churn_orchestration.report.text import command
    from churn_orchestration.runs import at_work

    with at_work(_business(context)) as work:
        settings, day = _chosen_question(work.questions(), question), work.newest_day()
        if not yes:
            _ask(
                f"{settings.name}: {version or 'what scored before the champion'} scores from "
                f"{day} on?"
            )
        with work.warehouse.open() as tables:
            row = roll_back(tables, work.tracking, settings, version, day, reason, "churn rollback")
    again = command(work.business, "score")
    message = (
        f"{settings.name}: {row['model_version']} scores from {day} on. "
        f"`{again}` scores {day} again by it."
    )
    return row, message


@main.command()
@click.option("--as-of", type=DAY, help="Train at this cut-off, score this day.")
@click.option(
    "--since", type=DAY, help="Look back from every month-end since, whose outcome is known."
)
@click.option("--question", help="Default: the only one.")
@_json
@click.pass_context
def backtest(
    context: click.Context,
    as_of: dt.datetime | None,
    since: dt.datetime | None,
    question: str | None,
) -> tuple[Any, ...]:
    """Look back: train at a day, score that day, grade on the data that matured since.

    Wanted: --as-of, one day; or --since, all month-ends from a day on.
    """
    from churn_orchestration import report
    from churn_orchestration.components.question import backtest as look_back
    from churn_orchestration.runs import at_work

    day = as_of or since
    if day is None or (as_of and since):
        raise click.UsageError("wanted: either --as-of DAY or --since DAY")
    with at_work(_business(context)) as work:
        settings = _chosen_question(work.questions(), question)
        with work.warehouse.open() as tables:
            given = (tables, work.tracking, work.business, settings)
            if as_of:
                facts = look_back.backtest(*given, _day(day), _progress)
                return facts, report.backtested(facts)
            looks = look_back.rolling(*given, _day(day), _progress)
    return {"question": settings.name, "looks": looks}, report.rolled(settings.name, looks)


def _ask(what: str) -> None:
    """Ask back before what changes who scores; where nobody can answer, name the option that says
    yes.
    """
    from churn_orchestration.business import BusinessError

    if not sys.stdin.isatty():
        raise BusinessError(f"{what} Nobody is here to answer: add --yes")
    click.confirm(what, abort=True, err=True)


def _progress(line: str) -> None:
    say(f"  {line}")


def _chosen_question(questions: dict[str, Any], name: str | None) -> Any:
    if name is None and len(questions) == 1:
        return next(iter(questions.values()))
    if name not in questions:
        from churn_orchestration.business import BusinessError

        raise BusinessError(
            f"--question: one of {', '.join(questions)}" + (f', not "{name}"' if name else "")
        )
    return questions[name]


@main.command()
@click.argument("entity")
@click.option("--day", type=DAY, help="Default: the last scored day.")
@click.option("--question", help="Default: the only one.")
@_json
@click.pass_context
def explain(
    context: click.Context, entity: str, day: dt.datetime | None, question: str | None
) -> tuple[Any, ...]:
    """Show who a customer is, its risk, why, and how it moved."""
    from churn_orchestration.report.explain import explain

    return explain(_business(context), entity, _day(day) if day else None, question)


@main.command()
@click.option(
    "--check", is_flag=True, help="Exit with 1 where a day is refused and nobody has waived it."
)
@_json
@click.pass_context
def status(context: click.Context, check: bool) -> tuple[Any, ...]:
    """Say whether all is well, what was refused and how to mend it, which model scores and what
    waits.
    """
    from churn_orchestration.report.status import status_report

    facts, text = status_report(_business(context))
    return facts, text, not (check and facts["causes"])


@main.command()
@click.option("--question", help="Default: all.")
@_json
@click.pass_context
def watch(context: click.Context, question: str | None) -> tuple[Any, ...]:
    """Compare the outcomes with what was expected, and show what has drifted."""
    from churn_orchestration.report.watching import watch_report

    return watch_report(_business(context), question)


@main.command()
@click.option("--day", type=DAY, help="Default: the newest day.")
@click.option("--question", help="Default: the only one.")
@_json
@click.pass_context
def drift(context: click.Context, day: dt.datetime | None, question: str | None) -> tuple[Any, ...]:
    """Draw the drift of a day: Evidently's page of the features that are furthest off."""
    from churn_orchestration.components.question.monitoring.drift import page
    from churn_orchestration.runs import at_work

    with at_work(_business(context)) as work:
        settings, of = (
            _chosen_question(work.questions(), question),
            _day(day) if day else work.newest_day(),
        )
        with work.warehouse.open() as tables:
            path = page(tables, settings, of)
    return {"page": str(path)}, f"wrote {path}"


@main.command()
@click.option("--rows", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--day", type=DAY, help="Default: the last scored day.")
@click.option("--question", help="Default: the only one.")
@_json
@click.pass_context
def top(
    context: click.Context, rows: int, day: dt.datetime | None, question: str | None
) -> tuple[Any, ...]:
    """Print the first of the list of a day, with reasons: those with the most at stake."""
    from churn_orchestration.report.ranking import listed

    return listed(_business(context), _day(day) if day else None, question, rows)


@main.command()
@click.option("--day", type=DAY, help="Default: the last scored day.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help=".csv, .xlsx or .parquet",
)
@click.option("--question", help="Default: the only one.")
@_json
@click.pass_context
def export(
    context: click.Context, day: dt.datetime | None, out: Path, question: str | None
) -> tuple[Any, ...]:
    """Write the list of a day to a file, the most at stake first."""
    from churn_orchestration.report.ranking import exported

    return exported(_business(context), _day(day) if day else None, out, question)


@main.command()
@click.option("--table", required=True, help="The refused table, such as bronze.orders.")
@click.option("--day", type=DAY, required=True)
@click.option(
    "--reason", required=True, help="Why the day may count as closed; kept in the ledger."
)
@_json
@click.pass_context
def waive(context: click.Context, table: str, day: dt.datetime, reason: str) -> tuple[Any, ...]:
    """Let a refused day count as closed, by a recorded decision."""
    from churn_orchestration.runs import at_work
    from churn_orchestration.storage import ledger

    with at_work(_business(context)) as work:
        evidence = {"table": table, "day": str(_day(day))}
        with work.warehouse.open() as tables:
            with tables.transaction():
                tables.days.waive(table, _day(day), reason)
                row = ledger.append(
                    work.business.state,
                    table,
                    "waive",
                    reason,
                    "churn waive",
                    evidence,
                    cutoff=str(_day(day)),
                )
            publish(tables)
    return (
        row,
        f"{table} {_day(day)} counts as closed: {reason}. `churn run` now builds what waited for "
        "it.",
    )


@main.command()
@click.option("--table", required=True, help="The table that changed, such as bronze.orders.")
@click.option("--day", type=DAY, required=True, help="What changed in it up to this day.")
@click.option("--reason", required=True, help="Why what changed is right; kept in the ledger.")
@_json
@click.pass_context
def accept(context: click.Context, table: str, day: dt.datetime, reason: str) -> tuple[Any, ...]:
    """Say that what has changed in a table is right, by a recorded decision."""
    from churn_orchestration.runs import at_work
    from churn_orchestration.storage import ledger
    from churn_orchestration.storage.open_changes import accept

    with at_work(_business(context)) as work:
        evidence = {"table": table, "day": str(_day(day))}
        with work.warehouse.open() as tables:
            with tables.transaction():
                evidence["changed"] = accept(tables, table, _day(day), reason)
                state, cutoff = work.business.state, str(_day(day))
                row = ledger.append(
                    state, table, "accept", reason, "churn accept", evidence, cutoff=cutoff
                )
            publish(tables)
    return (
        row,
        f"accepted: {table}: {evidence['changed']}. `churn run` takes days in that were held for "
        "it.",
    )


@main.command()
@click.option("--port", default=3000, show_default=True)
@click.pass_context
def ui(context: click.Context, port: int) -> None:
    """Open the Dagster UI on the business; Ctrl-C stops it."""
    from churn_orchestration.ui import serve

    serve(_business(context), port)


@main.command()
@click.option("--port", default=5000, show_default=True)
@click.pass_context
def mlflow(context: click.Context, port: int) -> None:
    """Open MLflow's UI on the trainings of the business, for this machine only; Ctrl-C stops it."""
    from churn_orchestration.ui import serve_mlflow

    serve_mlflow(_business(context), port)


if __name__ == "__main__":
    main()
