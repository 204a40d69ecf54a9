"""Whether a campaign that works is seen to work: lists of the platform are acted on in a simulated
business, which goes on with those contacts, and what the platform measures is held against what
they did in truth. Writes docs/monday.md.

Run: python -m benchmarks.monday. A business is run up to a Sunday, whose list is acted on from
Monday on: the same world is simulated again with these contacts, its files up to then being the
same to the byte, and the rest of them lands day by day. The truth is that world beside the one in
which contacts do nothing: chance is the same in both, so who stays in the one and leaves in the
other was kept.
"""

import argparse
import datetime as dt
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from benchmarks.results import ROOT
from churn_orchestration.business import PACKAGE, Business
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.runs import at_work
from churn_orchestration.simulator import World, simulate
from churn_orchestration.storage.door import door

BEGAN, HORIZON = dt.date(2024, 1, 1), 30
SUNDAY = dt.date(2024, 9, 1)
LAST = SUNDAY + (HORIZON + 2) * DAY
MADE, WITHIN = 0.9, 2
"""The share of a list that is acted on, and within how many days."""
LANDED = ("raw", "bronze", "quarantine", "silver")
LAYERS = (*LANDED, "gold", "predictions", "segments", "actions", "monitoring")

TEXT = """# A campaign in a business whose truth is known

Made by `make bench-monday ARGS="--customers {customers} --companies {companies} --seed {seed}"`:
the demo's YAML and that of `examples/helpdesk`, with a horizon of {horizon} days, half of the
customers held back by lot, and more room for contacts. {customers:,} customers and {companies:,}
companies sign up over all days of the simulation.

Each business is simulated and run up to Sunday, {sunday}. Its list of that day is acted on from
Monday on: {made} of it, within {within} days. Then the same world goes on with these contacts, and
its files land day by day until {last}, when the outcomes of all who were on it are known. A contact
that works divides the chance to leave on a day by {works}, one
that harms multiplies it by {harms:.0f}.

The truth is the same world in which contacts do nothing, by the same chance: who leaves in it and
not in this one was kept. Nobody of the control lives another life, and the platform's counts of who
left are those of the truth, or the command fails.

{table}

In the trial: treated + control. The true effect is of the treated whose outcome is known, as the
measured one is: by how much smaller the share is that leaves, contacted or not. A shop's customer
counts as gone who orders nothing in {horizon} days; most of those had left before anybody called,
and whom a call keeps often had ordered in these days already. So calls that truly keep customers
may move the shop's outcome by little, and the verdict says that it is not known yet.

## Who acted, and how soon

{owners}
"""

OUTREACH = """\
---
type: churn_orchestration.components.SourceTable
attributes:
  name: outreach
  files: "outreach/outreach_{day}.csv"
  columns:
    - {name: outreach_id, type: id, required: true}
    - {name: company_id, type: id, required: true}
    - {name: contacted_on, type: date, required: true}
    - {name: action, required: true}
  event_time: contacted_on
  key: [outreach_id]
"""
SILVER_OUTREACH = """\
-- One row per contact that was made. Source: bronze.outreach.
select outreach_id, company_id, 'keep_companies' as campaign, action, day, known_on, _partition
from bronze.outreach
"""


@dataclass(frozen=True)
class Kind:
    """A kind of business.

    Parameters
    ----------
    folder, leaves_out, changes : the YAML it begins with, what is not taken of it, and what is
        replaced in which file
    scenario, world : what is simulated, and what differs from the scenario
    landed : of each table that lands, the column with the day of a row; a shop's files have it
    effects : by how much the log of the chance to leave on a day falls of who was contacted
    campaign, entity, actions : as its YAML names them
    """

    folder: Path
    leaves_out: tuple[str, ...]
    changes: tuple[tuple[str, str, str], ...]
    campaign: str
    entity: str
    actions: tuple[str, ...]
    scenario: str
    world: dict[str, Any]
    landed: dict[str, str]
    effects: dict[str, float]


KINDS = {
    "shop": Kind(
        PACKAGE / "defs",
        ("marts", "values"),
        (
            ("churn_90d/defs.yaml", "name: churn_90d", "name: churn_30d"),
            ("churn_90d/defs.yaml", "horizon_days: 90", f"horizon_days: {HORIZON}"),
            ("churn_90d/defs.yaml", "observation_days: 180", "observation_days: 60"),
            ("segments/defs.yaml", "question: churn_90d", "question: churn_30d"),
            ("actions/defs.yaml", "churn: churn_90d", "churn: churn_30d"),
            ("actions/defs.yaml", "value: spend_90d", "value: 90"),
            ("actions/defs.yaml", "control: 0.2", "control: 0.5"),
            ("actions/defs.yaml", "  budget: 150\n", ""),
            ("actions/defs.yaml", "capacity_per_day: 12", "capacity_per_day: 300"),
            ("actions/defs.yaml", "      capacity_per_week: 50\n", ""),
        ),
        "win_back",
        "customer_id",
        ("call", "voucher"),
        "calm",
        {
            "activity": {"per_day": 0.2, "shape": 1.5, "one_time": 0.05},
            "leaving": {"per_day": 0.015, "shape": 1, "may_return": 0},
        },
        {"orders": "", "customers": "", "outreach": ""},
        {"works": 4.0, "does nothing": 0.0, "harms": -3.0},
    ),
    "help desk": Kind(
        ROOT / "examples" / "helpdesk",
        ("marts",),
        (
            ("cancels_90d/defs.yaml", "_30d,", "_90d,"),
            ("cancels_90d/defs.yaml", "_60d,", "_180d,"),
            ("cancels_90d/defs.yaml", "name: cancels_90d", "name: cancels_30d"),
            ("cancels_90d/defs.yaml", "horizon_days: 90", f"horizon_days: {HORIZON}"),
            ("segments/defs.yaml", "question: cancels_90d", "question: cancels_30d"),
            ("gold/defs.yaml", "windows: [30, 60, 90, 180]", "windows: [90, 180]"),
            ("gold/defs.yaml", "trends: [30, 60]", "trends: [90]"),
            ("actions/defs.yaml", "churn: cancels_90d", "churn: cancels_30d"),
            (
                "actions/defs.yaml",
                "  control: 0.2",
                "  control: 0.5\n  outreach: silver.outreach\n  contacts: {most: 1, days: 30}",
            ),
            ("actions/defs.yaml", "value: 900 ", "value: 2000 "),
            ("actions/defs.yaml", "capacity_per_day: 8", "capacity_per_day: 300"),
            ("actions/defs.yaml", "capacity_per_day: 40", "capacity_per_day: 600"),
        ),
        "keep_companies",
        "company_id",
        ("account_call", "training"),
        "helpdesk",
        {
            "activity": {"per_day": 0.08, "shape": 1.0, "one_time": 0},
            "leaving": {"per_day": 0.004, "shape": 4, "dissatisfaction": 1.0,
                        "settling_days": 720, "may_return": 0},
        },
        {
            "companies": "created_at", "customers": "created_at", "agents": "created_at",
            "tickets": "created_at", "ticket_interactions": "interaction_timestamp",
            "invoices": "invoiced_on", "cancellations": "cancelled_on", "outreach": "contacted_on",
        },
        {"works": 1.5, "does nothing": 0.0, "harms": -3.0},
    ),
}  # fmt: skip
EFFECTS = ("works", "does nothing", "harms")


@dataclass(frozen=True)
class Trial:
    """A business in a folder: up to the Sunday, and from there on once an effect."""

    folder: Path
    kind: Kind
    customers: int
    seed: int

    def begin(self) -> None:
        """Run the business up to the Sunday, and write its list for the world to act on."""
        self._declare()
        rows = pd.DataFrame(columns=["day", "action", self.kind.entity])
        rows.to_csv(self.folder / "lists.csv", index=False)
        world, landing = self.folder / "begins", self.folder / "landing"
        simulate(self._world(0.0), world, processes=1)
        self._land(world, landing, SUNDAY)
        self._set(self.folder)
        with at_work(self.business) as work:
            refused = work.refresh(SUNDAY, SUNDAY, LAYERS).refused
        if refused:
            sys.exit(f"{refused}")
        with door(self.business.state) as db:
            listed = db.execute(
                f"select as_of::date as day, action, {self.kind.entity} "
                f"from actions.{self.kind.campaign} where action is not null order by all"
            ).df()
        listed.to_csv(self.folder / "lists.csv", index=False)
        simulate(self._world(0.0), self.folder / "without", processes=1)

    def go_on(self, effect: str) -> dict[str, Any]:
        """Let the world act on the list, go on until outcomes are known, and compare."""
        place = self.folder / effect.replace(" ", "_")
        shutil.copytree(self.folder / "data", place / "data")
        shutil.copytree(self.folder / "landing", place / "landing")
        simulate(self._world(self.kind.effects[effect]), place / "world", processes=1)
        self._land(place / "world", place / "landing", LAST)
        self._set(place)
        with at_work(self.business) as work:
            refused = work.refresh(SUNDAY + DAY, LAST, LANDED).refused
            refused |= work.refresh(LAST, LAST, LAYERS).refused
        if refused:
            sys.exit(f"{refused}")
        return self._facts(place)

    def _set(self, place: Path) -> None:
        os.environ["CHURN_DATA"] = str(place / "data")
        os.environ["CHURN_MONDAY"] = str(place / "landing")

    @property
    def business(self) -> Business:
        """The business."""
        return Business(self.folder / "business")

    def _declare(self) -> None:
        made = self.folder / "business"
        without = shutil.ignore_patterns(*self.kind.leaves_out, "__pycache__")
        shutil.copytree(self.kind.folder, made, ignore=without)
        (made / "business.yaml").write_text(
            f"name: monday\nlanding: ${{CHURN_MONDAY}}\nhistory_from: {BEGAN}\n"
            f"start_date: {SUNDAY}\nend_date: {LAST}\ntimezone: UTC\n"
        )
        for name, old, new in self.kind.changes:
            path = made / name
            text = path.read_text(encoding="utf-8")
            if old not in text:
                sys.exit(f"{path}: no {old}")
            path.write_text(text.replace(old, new), encoding="utf-8")
        if self.kind.scenario == "helpdesk":
            for path in (made / "raw" / "defs.yaml", made / "contracts" / "defs.yaml"):
                text = path.read_text(encoding="utf-8")
                for table in self.kind.landed:
                    text = text.replace(f"{table}_en.csv\n", f'"{table}/{table}_{{day}}.csv"\n')
                path.write_text(text, encoding="utf-8")
            with (made / "raw" / "defs.yaml").open("a", encoding="utf-8") as file:
                file.write(OUTREACH)
            (made / "silver" / "outreach.sql").write_text(SILVER_OUTREACH, encoding="utf-8")

    def _world(self, effect: float) -> World:
        days = (LAST - BEGAN).days + 1
        about = World.read(self.kind.scenario)
        outreach = [
            {
                "action": action, "first": SUNDAY, "last": LAST, "made": MADE,
                "within_days": WITHIN, "listed": self.folder / "lists.csv",
                "effect": dict.fromkeys(about.segments, effect),
            }
            for action in self.kind.actions
        ]  # fmt: skip
        return World.read(
            self.kind.scenario, first_day=BEGAN, days=days, customers=self.customers,
            seed=self.seed, outreach=outreach, **self.kind.world,
        )  # fmt: skip

    def _land(self, world: Path, landing: Path, last: dt.date) -> None:
        """The files of a world up to a day; those that landed before are to be the same."""
        for name, content in self._files(world / "landing", last).items():
            path = landing / name
            if path.exists() and path.read_text(encoding="utf-8") != content:
                sys.exit(f"{path}: the world is another one in days that had landed")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    def _files(self, landing: Path, last: dt.date) -> dict[str, str]:
        """The landing files up to a day, by their names; a help desk's exports are cut by day."""
        result = dict[str, str]()
        days = [str(day.date()) for day in pd.date_range(BEGAN, last)]
        for table, column in self.kind.landed.items():
            if not column:
                for day in days:
                    name = f"{table}/{table}_{day}.csv"
                    result[name] = (landing / name).read_text(encoding="utf-8")
                continue
            rows = pd.read_csv(landing / f"{table}_en.csv", dtype=str, keep_default_na=False)
            rows = rows.drop(columns="status", errors="ignore")  # as it is on the last day of all
            on = rows[column].str[:10]
            parts = dict(iter(rows.groupby(on.where(on >= days[0], days[0]))))
            for day in days:
                part = parts.get(day, rows[:0])
                result[f"{table}/{table}_{day}.csv"] = part.to_csv(index=False)
        return result

    def _facts(self, place: Path) -> dict[str, Any]:
        """What the platform measures, and what is true of the same customers."""
        kind = self.kind
        with door(self.business.state) as db:
            effects = db.execute(
                f"from monitoring.{kind.campaign}_effect where outcome = 'leaves' "
                "and segments is null order by measured_on"
            ).df()
            trial = db.execute(
                f"select {kind.entity}, as_of, arm from actions.{kind.campaign} where in_trial "
                f"qualify row_number() over (partition by {kind.entity} order by as_of) = 1"
            ).df()
            listed = db.execute(
                f"select {kind.entity}, owner, action, as_of, deadline from "
                f"actions.{kind.campaign} where action is not null and as_of = date '{SUNDAY}'"
            ).df()
        for name, folder in (("real", place / "world"), ("without", self.folder / "without")):
            trial[name] = self._left(folder, trial)
        known = trial[trial["as_of"] + pd.Timedelta(days=HORIZON) <= pd.Timestamp(LAST)]
        treated = known[known["arm"] == "treated"]
        saved = treated["without"].astype(int) - treated["real"].astype(int)
        control = known[known["arm"] == "control"]
        if (control["without"] != control["real"]).any():
            sys.exit("a customer of the control was moved: the truth is not what it is taken for")
        [now] = effects.tail(1).to_dict("records")
        if (now["treated"], now["control"]) != (len(treated), len(control)):
            sys.exit(f"{now} is not of {len(treated)} treated and {len(control)} control")
        for arm, rows in (("treated", treated), ("control", control)):
            if abs(now[f"{arm}_mean"] - rows["real"].mean()) > 1e-9:
                sys.exit(f"of the {arm} {now[f'{arm}_mean']} leave, in truth {rows['real'].mean()}")
        return {
            "treated": len(treated), "control": len(control), "contacted": now["contacted"],
            "saved": int(saved.sum()), "true_effect": float(saved.mean()),
            "treated_mean": now["treated_mean"], "control_mean": now["control_mean"],
            "effect": now["effect"], "low": now["low"], "high": now["high"],
            "verdict": now["verdict"],
            "more": None if pd.isna(now["more_outcomes"]) else int(now["more_outcomes"]),
            "owners": self._owners(place, listed),
        }  # fmt: skip

    def _left(self, truth: Path, trial: pd.DataFrame) -> pd.Series:
        """Who left in the horizon after the first day in the trial, as the question has it, by a
        folder of a simulation.
        """
        key, until = self.kind.entity, f"as_of + interval {HORIZON + 1} day"
        with duckdb.connect() as db:
            db.register("trial", trial.assign(place=range(len(trial))))
            if self.kind.scenario == "helpdesk":
                there = (
                    f"exists (from '{truth}/truth/people.parquet' as p where p.{key} = t.{key} "
                    f"and left_on > as_of and left_on < {until})"
                )
            else:
                there = (
                    f"not exists (from '{truth}/truth/events.parquet' as e where e.{key} = t.{key} "
                    f"and ordered_at >= as_of + interval 1 day and ordered_at < {until})"
                )
            left = db.execute(f"select {there} as left from trial as t order by place").df()
        return left["left"].set_axis(trial.index)

    def _owners(self, place: Path, listed: pd.DataFrame) -> list[dict[str, Any]]:
        """Of each owner: rows listed in the weeks that were acted on, contacts made, how soon, and
        how many of them by the deadline.
        """
        with duckdb.connect() as db:
            db.register("listed", listed)
            return (
                db.execute(
                    "select owner, (select count(*) from listed where listed.owner = l.owner) as "
                    "listed, count(*) as contacts, avg(c.day - l.as_of::date) as days, "
                    "avg((c.day <= l.deadline::date)::int) as in_time from "
                    f"(select {self.kind.entity} as who, contacted_on::date as day, action from "
                    f"read_csv('{place}/landing/outreach/*.csv', all_varchar = true)) as c "
                    f"asof join listed as l on l.{self.kind.entity} = c.who "
                    "and l.action = c.action and l.as_of::date < c.day "
                    "group by owner order by owner"
                )
                .df()
                .to_dict("records")
            )


def tried(name: str, sizes: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """The facts of a kind of business, by effect."""
    result = []
    with tempfile.TemporaryDirectory(prefix="monday-") as folder:
        trial = Trial(Path(folder), KINDS[name], sizes[name], seed)
        trial.begin()
        for effect in EFFECTS:
            result.append({"business": name, "actions": effect} | trial.go_on(effect))
            sys.stderr.write(f"{result[-1]}\n")
    used = resource.getrusage(resource.RUSAGE_SELF)
    sys.stderr.write(f"{name}: {used.ru_utime + used.ru_stime:.0f} s of processor\n")
    return result


def page(facts: list[dict[str, Any]], given: argparse.Namespace) -> str:
    """docs/monday.md."""
    heads = [
        "business", "its actions", "in the trial", "contacted, of the treated",
        "kept in truth", "true effect", "measured effect", "95 % at every look",
        "holds the true one", "verdict", "more outcomes until known",
    ]  # fmt: skip
    rows = [
        [
            each["business"], each["actions"], f"{each['treated']:,} + {each['control']:,}",
            f"{each['contacted']:,}", f"{each['saved']:+,}", f"{each['true_effect']:+.1%}",
            _share(each["effect"]), _interval(each),
            _holds(each),
            each["verdict"].replace("_", " "),
            f"{each['more']:,}" if each["more"] else "-",
        ]
        for each in facts
    ]  # fmt: skip
    owners = [
        [
            each["business"], owner["owner"], f"{owner['listed']:,}", f"{owner['contacts']:,}",
            f"{owner['days']:.1f}",
            "no deadline" if pd.isna(owner["in_time"]) else f"{owner['in_time']:.0%}",
        ]
        for each in facts
        if each["actions"] == "works"
        for owner in each["owners"]
    ]  # fmt: skip
    return TEXT.format(
        customers=given.customers, companies=given.companies, seed=given.seed, sunday=SUNDAY,
        horizon=HORIZON, last=LAST, made=f"{MADE:.0%}", within=WITHIN,
        works=" and ".join(
            f"{np.exp(kind.effects['works']):.1f} at the {name}" for name, kind in KINDS.items()
        ),
        harms=np.exp(-KINDS["shop"].effects["harms"]),
        table=_table(heads, rows),
        owners=_table(
            ["business", "owner", "on the list", "contacts", "days after the list, mean",
             "by the deadline"],
            owners,
        ),
    )  # fmt: skip


def _share(value: float | None) -> str:
    return "too few" if pd.isna(value) else f"{value:+.1%}"


def _interval(facts: dict[str, Any]) -> str:
    if pd.isna(facts["effect"]):
        return "-"
    return f"{facts['low']:+.1%} to {facts['high']:+.1%}"


def _holds(facts: dict[str, Any]) -> str:
    """Whether the interval holds the true effect."""
    if pd.isna(facts["effect"]):
        return "-"
    return "yes" if facts["low"] <= facts["true_effect"] <= facts["high"] else "no"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=6000, help="of a shop, in all its days")
    parser.add_argument("--companies", type=int, default=2000, help="of a help desk, the same")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", help="shop or help desk; the page is not written")
    given = parser.parse_args()
    sizes = {"shop": given.customers, "help desk": given.companies}
    one = partial(tried, sizes=sizes, seed=given.seed)
    if given.only:
        one(given.only)
        return
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        facts = [each for of_kind in pool.map(one, KINDS) for each in of_kind]
    (ROOT / "docs" / "monday.md").write_text(page(facts, given), encoding="utf-8")


if __name__ == "__main__":
    main()
