"""Who cancels next month: subscriptions, asked at month-ends, from files to graded forecasts."""

import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from churn_orchestration.churn.calendar import DAY, days_between
from churn_orchestration_tests.support.in_process import IN_PROCESS, commanded
from churn_orchestration_tests.support.shop import Shop

pytestmark = IN_PROCESS

FIRST, START, LAST = dt.date(2023, 1, 1), dt.date(2024, 3, 31), dt.date(2024, 5, 2)
MEMBERS = 900
A_DAY = {"month": 0.006, "year": 0.0006}
"""How likely a member of a plan cancels on a day."""

FILES = {
    "business.yaml": f"""\
name: gym
landing: ${{CHURN_DATA}}/landing
history_from: {FIRST}
start_date: {START}
end_date: {LAST}
""",
    "raw/defs.yaml": """\
type: churn_orchestration.components.SourceTable
attributes:
  name: starts
  files: "starts_{day}.csv"
  columns:
    - {name: member, type: id, required: true}
    - {name: began_on, type: date, required: true}
    - {name: plan, required: true}
    - {name: fee, type: decimal, required: true}
  event_time: began_on
  key: [member]
---
type: churn_orchestration.components.SourceTable
attributes:
  name: cancellations
  files: "cancellations_{day}.csv"
  columns:
    - {name: member, type: id, required: true}
    - {name: cancelled_on, type: date, required: true}
  event_time: cancelled_on
  key: [member]
""",
    "gold/defs.yaml": """\
type: churn_orchestration.components.FeatureTable
attributes:
  name: member_features
  entity: member
  windows: [30, 365]
  sources:
    - name: starts
      table: bronze.starts
      noun: start
      key: [member]
      measures: [{name: fee, column: fee, unit: usd}]
      categories: [{name: plan, column: plan, values: [month, year]}]
""",
    "next_month/defs.yaml": """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: next_month
  kind: event
  features: member_features
  start: {table: bronze.starts, key: [member]}
  end: {table: bronze.cancellations, key: [member]}
  horizon_months: 1
  snapshots: {every: month_end}
  learner: logistic
  value: starts_fee_sum_all
""",
}


@dataclass(frozen=True)
class Member:
    name: str
    plan: str
    began: dt.date
    left: dt.date


class Gym(Shop):
    """The business, and what really happened to its members."""

    def __init__(self, folder: Path, landing: Path) -> None:
        self.folder, self.landing, self.members = folder, landing, list[Member]()
        for name, text in FILES.items():
            self.write(name, text)
        rng = np.random.default_rng(31)
        for number in range(MEMBERS):
            plan = ("month", "year")[number % 2]
            began = FIRST + DAY * int(rng.integers(0, (LAST - FIRST).days))
            self.members.append(
                Member(f"m{number}", plan, began, began + DAY * int(rng.geometric(A_DAY[plan])))
            )
        for day in days_between(FIRST, LAST):
            began = [
                f"{m.name},{day},{m.plan},{30 if m.plan == 'month' else 240}\n"
                for m in self.members
                if m.began == day
            ]
            left = [f"{m.name},{day}\n" for m in self.members if m.left == day]
            self.land(f"starts_{day}.csv", "member,began_on,plan,fee\n" + "".join(began))
            self.land(f"cancellations_{day}.csv", "member,cancelled_on\n" + "".join(left))

    def churn(self, *arguments: str) -> dict[str, Any]:
        done = commanded("--business", str(self.folder), *arguments, "--json")
        facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return facts

    def cancels(self, as_of: dt.date, last: dt.date) -> dict[str, bool]:
        """Of those who are members at the end of a day: who cancels by another."""
        return {m.name: m.left <= last for m in self.members if m.began <= as_of < m.left}


@pytest.fixture
def gym(tmp_path: Path, churn_data: Path) -> Gym:
    return Gym(tmp_path / "gym", churn_data / "landing")


def test_who_cancels_next_month_is_asked_at_month_ends_and_graded_when_that_month_is_over(
    gym: Gym,
) -> None:
    gym.churn("run", "--to", str(START))
    settings = gym.churn("question")
    assert settings["asks"].startswith(
        "Churn: any cancellation in the next month, among those with a start"
    )
    months = {  # of few members, a year of them
        dt.date(2023, 3, 31): dt.date(2023, 4, 30), dt.date(2023, 4, 30): dt.date(2023, 5, 31),
        dt.date(2023, 5, 31): dt.date(2023, 6, 30), dt.date(2023, 6, 30): dt.date(2023, 7, 31),
        dt.date(2023, 7, 31): dt.date(2023, 8, 31), dt.date(2023, 8, 31): dt.date(2023, 9, 30),
        dt.date(2023, 9, 30): dt.date(2023, 10, 31), dt.date(2023, 10, 31): dt.date(2023, 11, 30),
        dt.date(2023, 11, 30): dt.date(2023, 12, 31), dt.date(2023, 12, 31): dt.date(2024, 1, 31),
        dt.date(2024, 1, 31): dt.date(2024, 2, 29), dt.date(2024, 2, 29): START,
    }  # fmt: skip
    shares = {
        str(row["as_of"])[:10]: (row["entities"], row["churned"]) for row in settings["as_ofs"]
    }
    for as_of, last in months.items():
        outcomes = gym.cancels(as_of, last)
        assert shares[str(as_of)] == (len(outcomes), sum(outcomes.values()))

    [model] = gym.churn("train", "--cutoff", str(START))["models"]
    assert model["decision"] == "promote"
    snapshot = gym.published(
        "select as_of, member, label, label_known_on from snapshots.next_month"
    )
    assert {as_of: known_on for as_of, _, _, known_on in snapshot} == months
    for as_of, last in months.items():
        assert {who: label for day, who, label, _ in snapshot if day == as_of} == gym.cancels(
            as_of, last
        )

    gym.churn("run", "--to", str(LAST))
    due = gym.published(
        "select measured_on, as_of, count(*) from monitoring.next_month_graded "
        "group by all order by 1, 2"
    )
    assert [(str(day)[5:], str(as_of)[5:]) for day, as_of, _ in due] == [
        ("04-30", "03-31"), ("05-01", "04-01"), ("05-02", "04-02"),
    ]  # fmt: skip
    graded = gym.published(
        "select member, label, label_known_on from monitoring.next_month_graded "
        "where as_of = '2024-03-31'"
    )
    assert {who: label for who, label, _ in graded} == gym.cancels(START, dt.date(2024, 4, 30))
    assert {known_on for _, _, known_on in graded} == {dt.date(2024, 4, 30)}
    [(forecaster,)] = gym.published(
        "select distinct model_version from predictions.next_month where as_of = '2024-04-30'"
    )
    assert forecaster == model["model_version"]
    realised = gym.published(
        "select as_of, value from monitoring.next_month_performance "
        "where kind = 'realised' and metric = 'base_rate' and feature is null order by as_of"
    )
    counts = Counter(gym.cancels(START, dt.date(2024, 4, 30)).values())
    assert realised[0] == (START, pytest.approx(counts[True] / counts.total()))
