"""What commands share: days, ``--json``, the business and the question that are meant."""

import datetime as dt
import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from churn_orchestration.terminal import say, visible

if TYPE_CHECKING:
    from churn_orchestration.business import Business


class Day(click.DateTime):
    """A day, shown as people write it."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """How ``--help`` shows it."""
        return "YYYY-MM-DD"


DAY = Day(formats=["%Y-%m-%d"])


def with_json(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that returns a table for machines and a text for people; ``--json`` chooses."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
    @wraps(command)
    def message(*args: Any, as_json: bool, **kwargs: Any) -> None:
        facts, text, *done = command(*args, **kwargs)
        click.echo(json.dumps(facts, default=str) if as_json else visible(text))
        if done and not done[0]:
            sys.exit(1)

    return message


def business_of(context: click.Context) -> "Business":
    """The business that ``--business`` names, its state brought up to this version."""
    from churn_orchestration.business import Business
    from churn_orchestration.storage.door import is_current

    business = Business(context.obj)
    business.refuse_namesake()
    if not is_current(business.state):
        from churn_orchestration.storage.resources import bring_up_to_date

        bring_up_to_date(business)
    return business


def day_of(moment: dt.datetime) -> dt.date:
    """The day that an option of type DAY names."""
    return moment.date()


def progress(line: str) -> None:
    """Say how far a command is."""
    say(f"  {line}")


def chosen_question(questions: dict[str, Any], name: str | None) -> Any:
    """The question of a name; without one, the only one. Raises BusinessError for another name."""
    if name is None and len(questions) == 1:
        return next(iter(questions.values()))
    if name not in questions:
        from churn_orchestration.business import BusinessError

        raise BusinessError(
            f"--question: one of {', '.join(questions)}" + (f', not "{name}"' if name else "")
        )
    return questions[name]
