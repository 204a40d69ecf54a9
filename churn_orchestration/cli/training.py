"""Commands about models: whether a question can be answered, train, look back, roll back."""

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import click

from churn_orchestration.cli.shared import (
    DAY,
    business_of,
    chosen_question,
    day_of,
    progress,
    with_json,
)


def _ask(what: str) -> None:
    """Ask back before what changes who scores; where nobody can answer, name the option that says
    yes.
    """
    from churn_orchestration.business import BusinessError

    if not sys.stdin.isatty():
        raise BusinessError(f"{what} Nobody is here to answer: add --yes")
    click.confirm(what, abort=True, err=True)


@click.command()
@click.option("--question", help="Default: the only one.")
@with_json
@click.pass_context
def question(context: click.Context, question: str | None) -> tuple[Any, ...]:
    """Say whether a churn question can be answered, and how its label would move with its
    definition.
    """
    from churn_orchestration.report.question import weighed
    from churn_orchestration.runs import at_work

    with at_work(business_of(context)) as work, work.warehouse.open() as tables:
        return weighed(tables, chosen_question(work.questions(), question))


@click.command()
@click.option(
    "--cutoff",
    type=DAY,
    help="What was knowable at the end of this day is learned from; default: the newest day.",
)
@with_json
@click.pass_context
def train(context: click.Context, cutoff: dt.datetime | None) -> tuple[Any, ...]:
    """Take the training snapshot of a cut-off, train every question on it, and decide on
    promotion.
    """
    from churn_orchestration import report
    from churn_orchestration.runs import at_work

    with at_work(business_of(context)) as work:
        day = day_of(cutoff) if cutoff else work.newest_day()
        return report.trained(work.business, work.train(day), day)


@click.command()
@click.option("--question", help="Default: all.")
@with_json
@click.pass_context
def models(context: click.Context, question: str | None) -> tuple[Any, ...]:
    """List every decision on a model from the ledger, whose seal is checked: what scores, why,
    since when.
    """
    from churn_orchestration.report.models import listed

    return listed(business_of(context), question)


@click.command()
@click.argument("version", required=False)
@click.option("--question", help="Default: the only one.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder; default: next to the tables.",
)
@with_json
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

    business = business_of(context)
    settings = chosen_question(questions_of(business), question)
    given = (settings, business.state, version, out or business.state / "cards")
    if settings.fairness:  # who is in which group, the warehouse says
        from churn_orchestration.runs import at_work

        with at_work(business) as work, work.warehouse.open() as tables:
            page, text = write(*given, tables)
    else:
        page, text = write(*given)
    return {"page": str(page), "markdown": str(text)}, f"wrote {page} and {text}"


@click.command()
@click.argument("version", required=False)
@click.option("--question", help="Default: the only one.")
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@click.option("--yes", is_flag=True, help="Do it without a question back.")
@with_json
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

    with at_work(business_of(context)) as work:
        settings, day = chosen_question(work.questions(), question), work.newest_day()
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


@click.command()
@click.option("--as-of", type=DAY, help="Train at this cut-off, score this day.")
@click.option(
    "--since", type=DAY, help="Look back from every month-end since, whose outcome is known."
)
@click.option("--question", help="Default: the only one.")
@with_json
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
    with at_work(business_of(context)) as work:
        settings = chosen_question(work.questions(), question)
        with work.warehouse.open() as tables:
            given = (tables, work.tracking, work.business, settings)
            if as_of:
                facts = look_back.backtest(*given, day_of(day), progress)
                return facts, report.backtested(facts)
            looks = look_back.rolling(*given, day_of(day), progress)
    return {"question": settings.name, "looks": looks}, report.rolled(settings.name, looks)
