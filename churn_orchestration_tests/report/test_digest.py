"""What goes to people and comes back: contacts as a file for a CRM, the digest of a week, and what
the platform itself recommends; on one shop of two weeks.
"""

import csv
import datetime as dt
from collections import defaultdict

import numpy as np
import pytest

from churn_orchestration.report.crm import exported_contacts
from churn_orchestration.storage.door import door
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, Shop, set_data

LAYERS = (*UP_TO_FEATURES, "predictions", "monitoring", "segments", "actions")
CUSTOMERS, FIRST = 120, dt.date(2023, 11, 1)
QUESTION = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_5d
  features: customer_features
  activity: orders
  horizon_days: 5
  value: orders_amount_sum_7d
"""
SEGMENTS = """\
type: churn_orchestration.components.Segments
attributes:
  name: kinds
  features: customer_features
  segments:
    - {name: often, when: orders_count_all > 10}
  rest: {name: seldom}
"""
WIN_BACK = """\
type: churn_orchestration.components.Campaign
attributes:
  name: win_back
  churn: churn_5d
  value: 20
  control: 0.3
  outreach: silver.outreach
  actions:
    - name: call
      channel: phone
      owner: team:success
      cost: 0.5
      capacity_per_day: 8
      effect: {low: 0.1, high: 0.5}
      cool_down_days: 30
      deadline_days: 5
"""
OUTREACH = """\
type: churn_orchestration.components.SourceTable
attributes:
  name: outreach
  files: "crm_{day}.csv"
  columns:
    - {name: decision_id, type: id, required: true}
    - {name: campaign, required: true}
    - {name: customer_id, type: id, required: true}
    - {name: action, required: true}
    - {name: done_on, type: date}
  key: [decision_id]
"""
SILVER = r"""-- One row per contact that was made. Source: bronze.outreach.
select decision_id as outreach_id, regexp_replace(customer_id, '^''([=+@-])', '\1') as customer_id,
  campaign, action, done_on as day, known_on, _partition
from bronze.outreach where done_on is not null
"""
COLUMNS = (
    "decision_id,campaign,as_of,customer_id,action,channel,owner,deadline,churn_probability,band,"
    "value,value_low,value_high,expected_gain,segment_kinds,reason_1,reason_2,reason_3,done_on"
)


@pytest.fixture(scope="module")
def selling(tmp_path_factory):
    """A hundred customers of whom half leave on the fifth of January; the contacts of the seventh
    are exported, and those of them that were made are handed back on the eighth.
    """
    place = tmp_path_factory.mktemp("selling")
    with pytest.MonkeyPatch.context() as patch:
        set_data(patch, place / "data")
        shop = Shop(place / "shop", place / "data" / "landing")
        live(shop)
        shop.refresh(5, 7, layers=LAYERS)
        shop.handed_back = handed_back(shop)
        shop.refresh(8, 15, layers=LAYERS)
        yield shop


def live(shop):
    """Land what customers do, one of whom has an id that a spreadsheet would compute."""
    shop.change("business.yaml", "history_from: 2024-01-01", f"history_from: {FIRST}")
    for name, text in {
        "churn_90d/defs.yaml": QUESTION, "segments/defs.yaml": SEGMENTS,
        "actions/defs.yaml": WIN_BACK, "outreach/defs.yaml": OUTREACH,
        "silver/outreach.sql": SILVER,
    }.items():  # fmt: skip
        shop.write(name, text)
    draw = np.random.default_rng(5)
    orders = defaultdict(list)
    for number in range(CUSTOMERS):
        name = f"-c{number:03}" if number % 7 == 0 else f"c{number:03}"
        day, last = float(draw.integers(0, 9)), 65 if draw.random() < 0.5 else 80
        usual = draw.gamma(4, 5) + 1
        while day <= last:
            orders[int(day)].append((name, max(0.01, round(usual * draw.gamma(6, 1 / 6), 2))))
            day += 1 + draw.exponential(3)
    for day in range(81):
        on = FIRST + dt.timedelta(days=day)
        lines = "".join(f"o{day}-{who},{who},{on} 10:00,{usd}\n" for who, usd in orders[day])
        shop.land(f"orders_{on}.csv", "order_id,customer_id,ordered_at,amount_usd\n" + lines)
    for day in range(5, 16):
        shop.land(f"crm_{JAN[day]}.csv", "decision_id,campaign,customer_id,action,done_on\n")


def handed_back(shop):
    """Export the contacts of the seventh, hand them back on the eighth with every second filled in,
    and on the ninth with one more; those that were listed.
    """
    out = shop.landing / f"crm_{JAN[8]}.csv"
    exported_contacts(shop.business, None, JAN[7], out)
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for day, filled_in in ((8, rows[::2]), (9, rows[1:2])):
        for row in filled_in:
            row["done_on"] = str(JAN[day])
        with (shop.landing / f"crm_{JAN[day]}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return rows


def list_of(shop, day):
    with door(shop.business.state) as db:
        frame = db.execute(f"from actions.win_back where as_of = date '{JAN[day]}'").df()
    return frame.set_index("customer_id")


def test_a_contact_is_a_row_with_what_a_person_needs_and_nobody_held_back_is_among_them(selling):
    listed = list_of(selling, 7)
    done = listed[listed["action"].notna()]
    rows = {row["decision_id"]: row for row in selling.handed_back}
    assert ",".join(selling.handed_back[0]) == COLUMNS
    assert set(rows) == set(done["decision_id"])
    assert len(rows) == 8
    for who, row in done.iterrows():
        got = rows[row["decision_id"]]
        assert got["customer_id"] == ("'" + who if who.startswith("-") else who)
        assert (got["owner"], got["deadline"]) == ("team:success", str(JAN[12]))
        assert float(got["churn_probability"]) == pytest.approx(row["churn_probability"], abs=1e-4)
        assert float(got["value"]) == pytest.approx(row["value"], abs=0.01)
        assert got["reason_1"][0] in "↑↓"
        assert got["segment_kinds"] in ("often", "seldom")


def test_what_is_filled_in_comes_back_as_contacts_and_what_is_not_is_none(selling):
    made = {row["decision_id"]: JAN[8] for row in selling.handed_back[::2]}
    made[selling.handed_back[1]["decision_id"]] = JAN[9]
    named = dict(list_of(selling, 7).reset_index()[["decision_id", "customer_id"]].to_numpy())
    back = selling.rows(
        "select outreach_id, customer_id, day, min(known_on) from silver.outreach group by all"
    )
    assert sorted(back) == sorted((each, named[each], day, day) for each, day in made.items())
    assert any(who.startswith("-") for who in (row[1] for row in back))
    for day in (8, 9):
        why = list_of(selling, day)["why"]
        for row in selling.handed_back:
            cooling = why.loc[named[row["decision_id"]]] == "cooling down"
            assert cooling == (made.get(row["decision_id"], JAN[20]) <= JAN[day])
