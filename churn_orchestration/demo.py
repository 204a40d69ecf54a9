"""The demo: a simulated company from landing files to ranked customers, in one process."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from churn_orchestration import report
from churn_orchestration.business import DEMO, Business, BusinessError
from churn_orchestration.report.ranking import top_customers, top_text
from churn_orchestration.report.text import command
from churn_orchestration.runs import Work, at_work
from churn_orchestration.storage.layers import DOOR
from churn_orchestration.terminal import say

if TYPE_CHECKING:
    from churn_orchestration.simulator import World

OUTREACH = dt.timedelta(days=28)
"""How long before the initial load the log of contacts begins."""


def run_demo(business: Business, customers: int) -> report.Report:
    """Simulate, land, refresh the initial load, train on it, refresh the days after it, and
    report.
    """
    if business.folder != DEMO.resolve():
        raise BusinessError("the demo is a business of its own: call it without --business")
    with at_work(business) as work:
        say(f"1/4  landing files of a simulated company of {customers:,} customers")
        _land(business, customers)
        start, last = business.start, business.settings.end_date or business.start
        say(f"2/4  the initial load: everything that landed up to {start}")
        _refresh(work, start)
        say(f"3/4  training on what had matured by {start}")
        trained = work.train(start)
        say(f"4/4  the days after it, scored day by day until {last}")
        _refresh(work, last)
    facts, models, *_ = report.trained(business, trained, start)
    top = top_customers(business, last)
    sections = [report.layers_text(business), models, top_text(top, last), _next(business, top)]
    everything = {"rows": report.rows_by_layer(business), "top": top} | facts
    return everything, "\n\n".join(sections)


def _land(business: Business, customers: int) -> None:
    from churn_orchestration.simulator import ScenarioError, simulate

    try:
        simulate(
            demo_world(business, customers), business.state, log=lambda line: say(f"     {line}")
        )
    except ScenarioError as error:
        raise BusinessError(str(error)) from None


def demo_world(business: Business, customers: int) -> "World":
    """The calm shop, with the faults that files usually have, and an outreach log of the weeks
    before the initial load. Nobody is moved by a contact: an effect would be known in months.
    """
    from churn_orchestration.simulator import Faults, World

    days = ((business.settings.end_date or business.start) - business.history_from).days + 1
    usual = Faults(late=0.02, duplicate=0.005, malformed=0.003)
    first, last = business.start - OUTREACH, business.settings.end_date or business.start
    contacts = [
        {
            "action": action, "first": first, "last": last, "per_day": share, "effect": {},
            "control": 0.2, "lots": (business.name, "win_back"),
        }
        for action, share in (("call", 0.002), ("voucher", 0.004))
    ]  # fmt: skip
    return World.read(
        "calm", customers=customers, days=days, first_day=business.history_from, faults=usual,
        outreach=contacts,
    )  # fmt: skip


def _refresh(work: Work, last: dt.date) -> None:
    plan = work.plan(last)
    if plan.first is None:
        say("     is there already")
        return
    done = work.refresh(plan.first, last, plan=plan)
    if done.refused:
        raise BusinessError(f"the demo's own files were refused: {done.refused}")


def _next(business: Business, top: list[dict[str, Any]]) -> str:
    someone = next(iter(top[0].values())) if top else "ID"
    look = {
        command(business, f"explain {someone}"): "who this customer is, why, and since when",
        command(business, "export --out customers.csv"): "everybody, ranked",
        command(business, "status"): "what is fresh, what failed and what to do",
        "make ui": "the lineage, partitions and checks in the Dagster UI",
        str(business.state / DOOR): "every table, read-only, for SQL",
    }
    wide = max(map(len, look)) + 2
    return "\n".join(
        ["Where to look next:", *(f"  {what:{wide}}{why}" for what, why in look.items())]
    )
