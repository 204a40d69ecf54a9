"""Commands that show what is there: in the terminal, as a file, as a page."""

import datetime as dt
from pathlib import Path
from typing import Any

import click

from churn_orchestration.cli.shared import DAY, business_of, chosen_question, day_of, with_json


@click.command()
@click.option(
    "--check", is_flag=True, help="Exit with 1 where a day is refused and nobody has waived it."
)
@with_json
@click.pass_context
def status(context: click.Context, check: bool) -> tuple[Any, ...]:
    """Say whether all is well, what was refused and how to mend it, which model scores and what
    waits.
    """
    from churn_orchestration.report.status import status_report

    facts, text = status_report(business_of(context))
    return facts, text, not (check and facts["causes"])


@click.command()
@click.option("--rows", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--day", type=DAY, help="Default: the last scored day.")
@click.option("--question", help="Default: the only one.")
@with_json
@click.pass_context
def top(
    context: click.Context, rows: int, day: dt.datetime | None, question: str | None
) -> tuple[Any, ...]:
    """Print the first of the list of a day, with reasons: those with the most at stake."""
    from churn_orchestration.report.ranking import listed

    return listed(business_of(context), day_of(day) if day else None, question, rows)


@click.command()
@click.argument("entity")
@click.option("--day", type=DAY, help="Default: the last scored day.")
@click.option("--question", help="Default: the only one.")
@click.option(
    "--source", is_flag=True, help="Show which rows of which table each number was counted from."
)
@with_json
@click.pass_context
def explain(
    context: click.Context, entity: str, day: dt.datetime | None, question: str | None, source: bool
) -> tuple[Any, ...]:
    """Show who a customer is, its risk, why, and how it moved."""
    from churn_orchestration.report.explain import explain

    business = business_of(context)
    facts, text = explain(business, entity, day_of(day) if day else None, question)
    if not source:
        return facts, text
    from churn_orchestration.report.sources import sources, sources_text
    from churn_orchestration.runs import at_work

    with at_work(business) as work, work.warehouse.open() as tables:
        settings = chosen_question(work.questions(), facts["question"])
        as_of = facts["now"]["as_of"]
        of_each = sources(tables, settings, facts["entity"], as_of, facts["now"]["reasons"] or [])
    return facts | {"sources": of_each}, f"{text}\n\n{sources_text(of_each, as_of)}"


@click.command(name="what-if")
@click.argument("entity")
@click.option("--day", type=DAY, help="Default: the last scored day.")
@click.option("--question", help="Default: the only one.")
@with_json
@click.pass_context
def what_if(
    context: click.Context, entity: str, day: dt.datetime | None, question: str | None
) -> tuple[Any, ...]:
    """Show who is alike and at a lower risk, and the least change that leads there."""
    from churn_orchestration.components.tree import questions_of
    from churn_orchestration.report.what_if import what_if

    business = business_of(context)
    settings = chosen_question(questions_of(business), question)
    return what_if(business, settings, entity, day_of(day) if day else None)


@click.command()
@click.option("--day", type=DAY, help="Default: the last scored day.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help=".csv, .xlsx or .parquet",
)
@click.option("--question", help="Default: the only one.")
@click.option(
    "--shape",
    type=click.Choice(["list", "crm"]),
    default="list",
    show_default=True,
    help="list: everybody with a forecast. crm: the contacts of a campaign, to be handed back.",
)
@click.option("--campaign", help="Of --shape crm. Default: the only one.")
@with_json
@click.pass_context
def export(
    context: click.Context,
    day: dt.datetime | None,
    out: Path,
    question: str | None,
    shape: str,
    campaign: str | None,
) -> tuple[Any, ...]:
    """Write the list of a day to a file, the most at stake first."""
    from churn_orchestration.report.crm import exported_contacts
    from churn_orchestration.report.ranking import exported

    business, of = business_of(context), day_of(day) if day else None
    if shape == "crm":
        if question:
            raise click.UsageError("--question: a campaign has its question; wanted: --campaign")
        return exported_contacts(business, campaign, of, out)
    if campaign:
        raise click.UsageError("--campaign is of --shape crm")
    return exported(business, of, out, question)


@click.command()
@click.option("--question", help="Default: all.")
@with_json
@click.pass_context
def watch(context: click.Context, question: str | None) -> tuple[Any, ...]:
    """Compare the outcomes with what was expected, and show what has drifted."""
    from churn_orchestration.report.watching import watch_report

    return watch_report(business_of(context), question)


@click.command()
@click.option("--day", type=DAY, help="Default: the newest day.")
@click.option("--question", help="Default: the only one.")
@with_json
@click.pass_context
def drift(context: click.Context, day: dt.datetime | None, question: str | None) -> tuple[Any, ...]:
    """Draw the drift of a day: Evidently's page of the features that are furthest off."""
    from churn_orchestration.components.question.monitoring.drift import page
    from churn_orchestration.runs import at_work

    with at_work(business_of(context)) as work:
        settings, of = (
            chosen_question(work.questions(), question),
            day_of(day) if day else work.newest_day(),
        )
        with work.warehouse.open() as tables:
            path = page(tables, settings, of)
    return {"page": str(path)}, f"wrote {path}"


@click.command()
@click.option("--try", "trial", is_flag=True, help="Send a trial to everybody that `alerts` names.")
@with_json
@click.pass_context
def alerts(context: click.Context, trial: bool) -> tuple[Any, ...]:
    """List what the sensor `alerts` has sent; or try whether it arrives."""
    from churn_orchestration.automation.alerts import FILE, read, try_out

    business = business_of(context)
    if trial:
        targets = try_out(business)
        return {"sent_to": targets}, "\n".join(f"sent to {target}" for target in targets)
    result = read(business.state / FILE)
    lines = [f"{row['title']}\n  {row['told']}\n  sent to {row['target']}" for row in result]
    return {"alerts": result}, "\n".join(lines) or "no alert was sent yet"


@click.command()
@click.option("--set", "name", help="Default: all sets.")
@click.option("--day", type=DAY, help="Default: the newest day.")
@click.option("--since", type=DAY, help="Who moved since this day. Default: the day before.")
@with_json
@click.pass_context
def segments(
    context: click.Context, name: str | None, day: dt.datetime | None, since: dt.datetime | None
) -> tuple[Any, ...]:
    """Show how many customers are in each segment, what is at stake, and who moved."""
    from churn_orchestration.report.segments import segments_report

    days = (day_of(each) if each else None for each in (day, since))
    return segments_report(business_of(context), name, *days)


@click.command()
@click.option("--model", "name", help="Default: all value models.")
@click.option("--day", type=DAY, help="Default: the newest day.")
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="The largest.")
@with_json
@click.pass_context
def value(
    context: click.Context, name: str | None, day: dt.datetime | None, rows: int
) -> tuple[Any, ...]:
    """Show what customers will spend, who will spend most, and how such forecasts came out."""
    from churn_orchestration.report.value import value_report

    return value_report(business_of(context), name, day_of(day) if day else None, rows)


@click.command()
@click.option("--campaign", "name", help="Default: all campaigns.")
@click.option("--day", type=DAY, help="Default: the newest day.")
@click.option(
    "--top", "rows", type=click.IntRange(0), default=20, show_default=True, help="How many."
)
@click.option("--owner", help="Whose contacts are shown. Default: everybody's.")
@with_json
@click.pass_context
def actions(
    context: click.Context, name: str | None, day: dt.datetime | None, rows: int, owner: str | None
) -> tuple[Any, ...]:
    """Print the list to act on: who, what, by whom and when, what is at stake, and why."""
    from churn_orchestration.report.campaign import actions_report

    business = business_of(context)
    return actions_report(business, name, day_of(day) if day else None, rows, owner)


@click.command()
@click.option("--name", help="Default: all campaigns.")
@with_json
@click.pass_context
def campaign(context: click.Context, name: str | None) -> tuple[Any, ...]:
    """Show what a campaign has done so far, if its lots are fair, and when it will be known."""
    from churn_orchestration.report.campaign import campaign_report

    return campaign_report(business_of(context), name)


@click.command()
@click.option("--segment", help="`name`, or `set:name`. Default: all customers.")
@click.option("--customers", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--products", type=click.IntRange(1), default=5, show_default=True, help="Of each customer."
)
@click.option("--day", type=DAY, help="Default: the newest day.")
@click.option("--offers", "name", help="Default: the only block of offers.")
@with_json
@click.pass_context
def recommend(
    context: click.Context,
    segment: str | None,
    customers: int,
    products: int,
    day: dt.datetime | None,
    name: str | None,
) -> tuple[Any, ...]:
    """Print what to offer to whom, with the probability that it is bought, and why."""
    from churn_orchestration.report.offers import recommend_report

    of = day_of(day) if day else None
    return recommend_report(business_of(context), name, segment, of, customers, products)


@click.command()
@click.option("--week", type=DAY, help="A day of it. Default: the newest week that is over.")
@click.option("--rows", help="The name of a number: print the rows that it is made of.")
@with_json
@click.pass_context
def digest(context: click.Context, week: dt.datetime | None, rows: str | None) -> tuple[Any, ...]:
    """Write what a week brought, as Markdown; each number with the command that prints its rows."""
    from churn_orchestration.report.digest import digest_report

    return digest_report(business_of(context), day_of(week) if week else None, rows)


@click.command()
@click.option("--apply", "applied", metavar="ID", help="Record that this one was done.")
@click.option("--skip", "skipped", metavar="ID", help="Record that this one will not be done.")
@click.option("--reason", help="Why; kept in the ledger. Wanted by --skip.")
@with_json
@click.pass_context
def recommendations(
    context: click.Context, applied: str | None, skipped: str | None, reason: str | None
) -> tuple[Any, ...]:
    """List what the platform itself would change, or record what you decided. It edits no file."""
    from churn_orchestration.churn.watching.recommended import APPLY, SKIP
    from churn_orchestration.report.recommendations import decide, recommendations_report

    business = business_of(context)
    if applied is not None and skipped is not None:
        raise click.UsageError("wanted: one of --apply and --skip")
    if applied is not None:
        return decide(business, applied, APPLY, reason)
    if skipped is not None:
        return decide(business, skipped, SKIP, reason)
    return recommendations_report(business)


@click.command()
@with_json
@click.pass_context
def test(context: click.Context) -> tuple[Any, ...]:
    """Run the tests of the .sql tables; exit with 1 where one fails. It needs no data."""
    from churn_orchestration.report.sql_tests import sql_tests

    return sql_tests(business_of(context))


@click.command()
@click.option("--port", default=3000, show_default=True)
@click.pass_context
def ui(context: click.Context, port: int) -> None:
    """Open the Dagster UI on the business; Ctrl-C stops it."""
    from churn_orchestration.ui import serve

    serve(business_of(context), port)


@click.command()
@click.option("--port", default=5000, show_default=True)
@click.pass_context
def mlflow(context: click.Context, port: int) -> None:
    """Open MLflow's UI on the trainings of the business, for this machine only; Ctrl-C stops it."""
    from churn_orchestration.ui import serve_mlflow

    serve_mlflow(business_of(context), port)
