"""Campaigns: who is on the list of a day, why others are not, and what came of it."""

import datetime as dt

import numpy as np
import pytest

from churn_orchestration.churn.campaign.control import is_held_back
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, metadata

LAYERS = (*UP_TO_FEATURES, "predictions", "monitoring", "actions")
CUSTOMERS, FIRST = 600, dt.date(2023, 11, 1)
WIN_BACK = """\
type: churn_orchestration.components.Campaign
attributes:
  name: win_back
  churn: churn_10d
  value: 50
  control: 0.3
  contacts: {most: 2, days: 30}
  outreach: silver.outreach
  actions:
    - name: call
      channel: phone
      owner: team:success
      cost: 6
      capacity_per_day: 20
      capacity_per_week: 60
      when: churn_probability > 0.3
      effect: {low: 0.1, high: 0.5}
      cool_down_days: 5
      deadline_days: {high: 5, critical: 2}
    - name: mail
      channel: email
      owner: team:marketing
      cost: 0.5
      capacity_per_day: 100
      effect: {low: 0.02, high: 0.08}
"""
OUTREACH = """\
type: churn_orchestration.components.SourceTable
attributes:
  name: outreach
  files: "outreach_{day}.csv"
  columns:
    - {name: outreach_id, type: id, required: true}
    - {name: customer_id, type: id, required: true}
    - {name: contacted_on, type: date, required: true}
    - {name: campaign}
    - {name: action}
  event_time: contacted_on
  key: [outreach_id]
"""
SILVER = """\
-- One row per contact. Source: bronze.outreach.
select outreach_id, customer_id, campaign, action, day, known_on, _partition
from bronze.outreach
"""
QUESTION = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_10d
  features: customer_features
  activity: orders
  horizon_days: 10
  value: orders_amount_sum_7d
"""


@pytest.fixture
def selling(shop):
    """Six hundred customers of two months, of whom many leave on the fifth of January."""
    shop.change("business.yaml", "history_from: 2024-01-01", f"history_from: {FIRST}")
    shop.write("churn_90d/defs.yaml", QUESTION)
    shop.write("actions/defs.yaml", WIN_BACK)
    shop.write("outreach/defs.yaml", OUTREACH)
    shop.write("silver/outreach.sql", SILVER)
    draw = np.random.default_rng(5)
    rows = {}
    for customer in range(CUSTOMERS):
        name = f"c{customer:03}"
        pace, day = draw.gamma(2, 3) + 2, draw.integers(0, 20)
        held = is_held_back(name, "win_back", "shop", 0.3)
        left = 65 if draw.random() < (0.7 if held else 0.35) else 200
        while day < min(left, 81):
            rows.setdefault(int(day), []).append(name)
            day += 1 + draw.exponential(pace)
    for day in range(81):
        on = FIRST + dt.timedelta(days=day)
        lines = "".join(f"o{day}-{who},{who},{on} 10:00,20\n" for who in rows.get(day, []))
        shop.land(f"orders_{on}.csv", "order_id,customer_id,ordered_at,amount_usd\n" + lines)
    for day in range(1, 21):
        contacts(shop, day)
    return shop


def contacts(shop, day, *rows):
    """The outreach file of a day of January 2024, such as ``c001,call``."""
    lines = "".join(f"a{day}-{n},{JAN[day]},{row}\n" for n, row in enumerate(rows))
    header = "outreach_id,contacted_on,customer_id,campaign,action\n"
    shop.land(f"outreach_{JAN[day]}.csv", header + lines)


def test_a(selling):
    selling.refresh(5, 6, layers=LAYERS)
    for row in selling.published(
        "select arm, in_trial, action, regexp_replace(why, '[0-9]+', ''), count(*), sum(expected_gain), min(next_in_line), any_value(deadline) from actions.win_back where as_of = date '2024-01-05' group by 1,2,3,4 order by all"
    ):
        print(row)
    print(selling.published("select * from actions.win_back limit 3"))
    print(metadata(selling, "actions/win_back", JAN[6]))
    from churn_orchestration.report.campaign import actions_report, campaign_report

    print(actions_report(selling.business, None, None, 5, None)[1])
    selling.refresh(7, 16, layers=LAYERS)
    print(campaign_report(selling.business, None)[1])
    for row in selling.published(
        "from monitoring.win_back_effect where measured_on in ('2024-01-15','2024-01-16')"
    ):
        print(row)
    print(metadata(selling, "monitoring/win_back_effect", JAN[16]))
