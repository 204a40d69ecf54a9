"""Campaigns: who is on the list of a day, why others are not, and what came of it."""

import datetime as dt
import hashlib
import json
import os
from collections import Counter, defaultdict

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.business import PACKAGE, Business, BusinessError
from churn_orchestration.churn.campaign.control import is_held_back
from churn_orchestration.cli.door import expected_message
from churn_orchestration.components.campaign.campaign import Campaign
from churn_orchestration.components.campaign.estimates import read_sealed
from churn_orchestration.components.campaign.lists import PRIOR, Effects, store_list
from churn_orchestration.components.tree import component_tree
from churn_orchestration.definitions import definitions_of
from churn_orchestration.report.campaign import actions_report, campaign_report
from churn_orchestration.report.explain import explain
from churn_orchestration.report.ranking import exported
from churn_orchestration.report.watching import watch_report
from churn_orchestration.runs import at_work
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, metadata, why_not_loaded

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
PLAIN = """\
type: churn_orchestration.components.Campaign
attributes:
  name: plain
  churn: churn_10d
  value: 50
  actions:
    - {name: call, channel: phone, owner: ann, cost: 1, effect: {low: 0, high: 0.2}}
"""
LEARNS = "value: 50\n  control: 0.5\n  uplift: true"
STATIC = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_10d
  kind: static
  features: customer_features
  label: {table: silver.orders, condition: amount_usd > 1000}
  value: orders_amount_sum_7d
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

COSTS = {"call": 6, "mail": 0.5}
SPEND = """\
type: churn_orchestration.components.ValueModel
attributes:
  name: spend_10d
  features: customer_features
  activity: orders
  measure: amount
  horizon_days: 10
"""
SEGMENTS = """\
type: churn_orchestration.components.Segments
attributes:
  name: kinds
  features: customer_features
  segments:
    - {name: often, when: orders_count_all > 4}
  rest: {name: seldom}
"""
PEOPLE = """\
-- One row per order: in which region its customer lives. Source: bronze.orders.
select customer_id, if(customer_id < 'c400', 'north', 'south') as region, day, known_on, _partition
from bronze.orders
"""
FAIRNESS = "  fairness: {table: silver.people, groups: [region]}\n"


@pytest.fixture
def selling(shop):
    """Six hundred customers of two months, of whom half leave on the fifth of January."""
    live(shop, lambda _: 0.5)
    return shop


def live(shop, leaves, pace=3, on=65, spends=lambda _: 1):
    """Land what customers do; ``leaves``: the probability to leave, of a customer; ``pace``: how
    seldom they order; ``on``: the day after which who leaves orders no more; ``spends``: how many
    times as much as others a customer spends.
    """
    shop.change("business.yaml", "history_from: 2024-01-01", f"history_from: {FIRST}")
    shop.write("churn_90d/defs.yaml", QUESTION)
    shop.write("actions/defs.yaml", WIN_BACK)
    shop.write("outreach/defs.yaml", OUTREACH)
    shop.write("silver/outreach.sql", SILVER)
    draw = np.random.default_rng(5)
    orders = defaultdict(list)
    for name in (f"c{number:03}" for number in range(CUSTOMERS)):
        usually, day = draw.gamma(2, pace) + pace, float(draw.integers(0, 20))
        usual = draw.gamma(4, 5) + 1
        last = on if draw.random() < leaves(name) else 80
        while day <= last:
            usd = usual * draw.gamma(6, 1 / 6) * spends(name)
            orders[int(day)].append((name, max(0.01, round(usd, 2))))
            day += 1 + draw.exponential(usually)
    for day in range(81):
        on = FIRST + dt.timedelta(days=day)
        lines = "".join(f"o{day}-{who},{who},{on} 10:00,{usd}\n" for who, usd in orders[day])
        shop.land(f"orders_{on}.csv", "order_id,customer_id,ordered_at,amount_usd\n" + lines)
    for day in range(1, 21):
        contacted(shop, day)


def contacted(shop, day, *rows, on=None):
    """The outreach file of a day of January 2024, rows such as ``c001,win_back,call``; ``on``: the
    day of the contacts, if another.
    """
    lines = "".join(f"a{day}-{n},{JAN[on or day]},{row}\n" for n, row in enumerate(rows))
    header = "outreach_id,contacted_on,customer_id,campaign,action\n"
    shop.land(f"outreach_{JAN[day]}.csv", header + lines)


def held_back(name):
    return is_held_back(name, "win_back", "shop", 0.3)


def rows_of(shop, day):
    """The list of a day, by customer."""
    with door(shop.business.state) as db:
        query = f"from actions.win_back where as_of = date '{JAN[day]}'"
        return db.execute(query).df().replace({np.nan: None}).set_index("customer_id")


def check(shop, asset, name):
    """Whether a check has passed, and what it says."""
    with at_work(shop.business) as work:
        key = dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name)
        [record] = work.instance.event_log_storage.get_asset_check_execution_history(
            check_key=key, limit=1
        )
    result = record.event.dagster_event.event_specific_data
    return result.passed, result.description


def test_a_list_keeps_its_limits_and_says_of_everybody_else_why_not(selling):
    selling.refresh(5, layers=LAYERS)
    rows = rows_of(selling, 5)
    assert len(rows) == CUSTOMERS
    for name, row in rows.iterrows():
        assert row["arm"] == ("control" if held_back(name) else "treated")
        code = hashlib.sha256(f"win_back|{name}|{JAN[5]}".encode()).hexdigest()[:16]
        assert row["decision_id"] == code
    done = rows[rows["action"].notna()]
    assert done["action"].value_counts().to_dict() == {"mail": 100, "call": 20}
    assert set(done["arm"]) == {"treated"}
    assert done["why"].isna().all()
    calls = done[done["action"] == "call"]
    assert (calls["churn_probability"] > 0.3).all()
    due = {"medium": None, "high": JAN[10], "critical": JAN[7]}
    for _, row in calls.iterrows():
        deadline = row["deadline"]
        assert (deadline and deadline.date()) == due[row["band"]]
    assert rows["effect"].isin([0.3, 0.05]).all()
    gain = rows["churn_probability"] * 50 * rows["effect"]
    assert (abs(rows["expected_gain"] - gain) < 1e-12).all()
    assert rows["gain_low"].lt(rows["expected_gain"]).all()
    rest = rows[(rows["arm"] == "treated") & rows["action"].isna()]
    pays = rest["churn_probability"] * 50 * 0.05 > 0.5
    assert (rest["why"].str.startswith("no room: next in line ") == pays).all()
    assert (rest.loc[~pays, "why"] == "does not pay").all()
    assert (rows.loc[rows["arm"] == "control", "why"] == "held back").all()
    waiting = rest[pays].sort_values("next_in_line")
    assert waiting["next_in_line"].tolist() == list(range(1, len(waiting) + 1))
    assert waiting["churn_probability"].astype(float).is_monotonic_decreasing
    mails = done.loc[done["action"] == "mail", "churn_probability"]
    assert mails.min() >= waiting["churn_probability"].max()
    about = metadata(selling, "actions/win_back", JAN[5])
    assert about["contacts"].value == 120
    assert about["cost"].value == 20 * 6 + 100 * 0.5
    assert about["expected_gain"].value == pytest.approx(done["expected_gain"].sum(), abs=1e-3)
    assert about["one_more_mail"].value > 0


def test_the_trial_is_the_same_for_both_arms_whoever_has_room(selling):
    selling.refresh(5, layers=LAYERS)
    rows = rows_of(selling, 5)
    risk = rows["churn_probability"]
    price = {a: rows.query(f"best_action == '{a}'")["contact_price"].iloc[0] for a in COSTS}
    net = {"call": risk * 50 * 0.3 - COSTS["call"], "mail": risk * 50 * 0.05 - COSTS["mail"]}
    call = (risk > 0.3) & (net["call"] > 0) & (net["call"] >= price["call"] - 1e-9)
    mail = (net["mail"] > 0) & (net["mail"] >= price["mail"] - 1e-9)
    assert (rows["in_trial"] == (call | mail)).all()
    assert rows.loc[rows["action"].notna(), "in_trial"].all()
    shares = rows.groupby("arm")["in_trial"].mean()
    assert 0 < shares["control"] < 1
    assert 0 < shares["treated"] < 1


def test_contacts_that_are_known_by_then_cool_down_count_against_the_cap_and_fill_the_week(selling):
    everybody = [f"c{n:03}" for n in range(CUSTOMERS) if not held_back(f"c{n:03}")]
    called, mailed, late = everybody[:45], everybody[45:50], everybody[50]
    contacted(selling, 3, *(f"{name},win_back,call" for name in called))
    contacted(selling, 4, *(f"{name},spring,mail" for name in mailed * 2))
    contacted(selling, 7, f"{late},win_back,call", on=5)
    selling.refresh(5, 8, layers=LAYERS)
    friday, sunday, monday = (rows_of(selling, day) for day in (5, 7, 8))
    assert (friday["action"] == "call").sum() == 60 - 45  # of the week of 1 January
    assert (sunday["action"] == "call").sum() == 20  # acted on from Monday on
    for rows in (friday, sunday):
        assert not (rows.loc[called, "action"] == "call").any()
    assert (monday.loc[called, "churn_probability"] > 0.3).any()
    assert (monday.loc[mailed, "why"] == "contacted often enough").all()
    assert sunday.loc[late, "action"] != "call"
    said = check(selling, "actions/win_back", "outreach_is_known")
    assert said == (False, "10 contacts of an unknown campaign: spring (10)")


def test_a_contact_is_not_known_before_it_lands(selling):
    rows = [f"c{n:03},win_back,call" for n in range(CUSTOMERS) if not held_back(f"c{n:03}")]
    contacted(selling, 7, *rows[:60], on=5)
    selling.refresh(5, 7, layers=LAYERS)
    calls = [(rows_of(selling, day)["action"] == "call").sum() for day in (5, 6, 7)]
    assert calls == [20, 20, 20]
    for day, cooling in ((6, False), (7, True)):
        of_day = rows_of(selling, day).loc[[row[:4] for row in rows[:60]]]
        assert ((of_day["action"] == "call").any()) != cooling


def test_what_was_issued_stays_and_the_newest_list_follows_its_declaration(selling):
    selling.layers = LAYERS
    selling.refresh(5, 6)
    files = {
        path.name[:10]: path.name
        for path in selling.business.state.glob("actions/win_back/*.parquet")
    }
    selling.change("actions/defs.yaml", "capacity_per_day: 20", "capacity_per_day: 5")
    assert selling.first_stale(6) == JAN[5]
    selling.refresh(5, 6, layers=["actions", "monitoring"])
    assert (rows_of(selling, 5)["action"] == "call").sum() == 20
    assert (rows_of(selling, 6)["action"] == "call").sum() == 5
    again = selling.published(
        "select as_of, decided_on, count(*) filter (action = 'call') from restated.win_back_lists "
        "group by all"
    )
    assert [(str(day), str(on), calls) for day, on, calls in again] == [
        (str(JAN[5]), str(JAN[6]), 5)
    ]
    [line] = [row for row in ledger.read(selling.business.state)
              if row["subject"] == "actions.win_back"]  # fmt: skip
    assert (line["decision"], line["cutoff"]) == ("restate", str(JAN[5]))
    assert "rows differ: what was issued stays" in line["reason"]
    now = selling.published(
        "select unnest(files) from meta.shown where table_name = 'actions.win_back'"
    )
    assert any(file.endswith(files[str(JAN[5])]) for (file,) in now)
    assert selling.first_stale(6) is None


@pytest.mark.parametrize(
    ("treated", "control", "verdict"),
    [(0.1, 0.7, "works"), (0.7, 0.1, "harms"), (0.4, 0.4, "not_known_yet")],
)
def test_an_effect_is_known_once_outcomes_matured_by_the_arm_of_the_lot(
    shop, treated, control, verdict
):
    live(shop, lambda name: control if held_back(name) else treated, pace=1)
    shop.change("churn_90d/defs.yaml", "horizon_days: 10", "horizon_days: 5")
    mail = "      cost: 0.5\n      capacity_per_day: 100\n"
    some = "      cost: 0.01\n      when: days_since_last > 2\n"
    shop.change("actions/defs.yaml", mail, some)
    shop.write("segments/defs.yaml", SEGMENTS.replace("> 4", "> 20"))
    shop.change("actions/defs.yaml", "value: 50", "value: 50\n  segments: [kinds]")
    if verdict == "works":
        shop.write("silver/people.sql", PEOPLE)
        shop.write("churn_90d/defs.yaml", QUESTION.replace(": 10\n", ": 5\n") + FAIRNESS)
    wrongly, *late = [f"c{n:03}" for n in range(CUSTOMERS) if held_back(f"c{n:03}")][:12]
    contacted(shop, 8, f"{wrongly},win_back,mail")
    contacted(shop, 11, *(f"{name},win_back,mail" for name in late))
    shop.refresh(5, 11, layers=(*LAYERS, "segments"))
    assert shop.published("select count(*) from monitoring.win_back_effect where treated > 0 and "
                          f"measured_on < '{JAN[10]}'") == [(0,)]  # fmt: skip
    first = rows_of(shop, 5).query("in_trial")
    names = set(first.index)
    assert 100 < len(names) < CUSTOMERS - 100
    bought = {
        name
        for (name,) in shop.rows(
            "select distinct customer_id from silver.orders where day between "
            f"'{JAN[6]}' and '{JAN[10]}'"
        )
    }
    left = {arm: [n not in bought for n in names if held_back(n) == (arm == "control")]
            for arm in ("treated", "control")}  # fmt: skip
    [row] = shop.published(
        "select treated, control, treated_mean, control_mean, verdict, effect, low, high, "
        f"contaminated from monitoring.win_back_effect where measured_on = '{JAN[10]}' "
        "and segments is null"
    )
    kinds = dict(shop.published("select customer_id, segment from segments.kinds "
                                f"where as_of = '{JAN[5]}'"))  # fmt: skip
    of_kinds = Counter((kinds[name], held_back(name)) for name in names)
    parts = shop.published(
        f"select segment, treated, control from monitoring.win_back_effect where measured_on = "
        f"'{JAN[10]}' and segments = 'kinds' order by 1"
    )
    assert parts == [(s, of_kinds[s, False], of_kinds[s, True]) for s in ("often", "seldom")]
    assert row[:2] == (len(left["treated"]), len(left["control"]))
    assert row[2] == pytest.approx(np.mean(left["treated"]))
    assert row[3] == pytest.approx(np.mean(left["control"]))
    assert row[4] == verdict
    assert row[5] == pytest.approx(row[3] - row[2], abs=0.1)
    assert row[6] < row[5] < row[7]
    assert row[8] == (wrongly in names)
    entered = dict(shop.published("select customer_id, min(as_of) from actions.win_back "
                                  "where in_trial group by 1"))  # fmt: skip
    during = [n for n in late if n in entered and JAN[6] <= entered[n] < JAN[11]]
    assert any(entered.get(n) == JAN[5] for n in late), "one whose outcome was known before it"
    assert shop.published(
        "select contaminated from monitoring.win_back_effect where measured_on = "
        f"'{JAN[11]}' and segments is null"
    ) == [(len(during) + (wrongly in names),)]
    passed, why = check(shop, "monitoring/win_back_effect", "does_no_harm")
    assert passed == (verdict != "harms")
    assert passed or why.startswith("more of the treated leave, by 0.")
    assert check(shop, "actions/win_back", "control_is_left_alone") == (
        False, f"12 of the control were contacted: {wrongly} on {JAN[8]}, {late[0]} on {JAN[11]}, "
        f"{late[1]} on {JAN[11]} and 9 more",
    )  # fmt: skip
    if verdict == "works":
        assert_regions_are_compared(shop, bought)
    facts, text = campaign_report(shop.business, None)
    assert facts["campaigns"]["win_back"]["balance"]["fair"]
    graded = np.array(shop.published(
        "select label::int, churn_probability from monitoring.churn_10d_graded"
    ))  # fmt: skip
    explained = facts["campaigns"]["win_back"]["sizing"]["explained"]
    assert explained == pytest.approx(np.corrcoef(graded.T)[0, 1] ** 2)
    assert f"forecasts explain {explained:.0%} of how outcomes differ" in text
    assert verdict.split("_")[0] in text  # a cell of several words may be on two lines


def test_a_list_uses_what_was_learned_of_the_effects_once_it_is_known_at_a_month_end(shop):
    def is_rich(name):
        return int(name[1:]) % 2 == 0

    def is_control(name):
        return is_held_back(name, "plain", "shop", 0.5)

    live(
        shop, lambda name: 0.1 if is_rich(name) and not is_control(name) else 0.7, pace=1, on=54,
        spends=lambda name: 100 if is_rich(name) else 1,
    )  # fmt: skip
    shop.change("churn_90d/defs.yaml", "horizon_days: 10", "horizon_days: 4")
    shop.change("business.yaml", "start_date: 2024-01-05", "start_date: 2023-12-26")
    for name in ("outreach/defs.yaml", "silver/outreach.sql"):
        (shop.folder / name).unlink()
    shop.write("actions/defs.yaml", PLAIN.replace("value: 50", LEARNS))
    with at_work(shop.business) as work:
        work.refresh(dt.date(2023, 12, 26), dt.date(2023, 12, 31), LAYERS)
    with door(shop.business.state) as db:
        [learned] = db.execute("from monitoring.plain_uplift").df().to_dict("records")
    version, as_of = learned["version"], dt.date(2023, 12, 26)
    assert (learned["verdict"], learned["look"]) == ("learned", 1)
    assert str(learned["cutoff"].date()) == str(learned["measured_on"].date()) == str(JAN[0])
    bought = {
        name
        for (name,) in shop.rows(
            "select distinct customer_id from silver.orders "
            f"where day between '{dt.date(2023, 12, 27)}' and '{dt.date(2023, 12, 30)}'"
        )
    }
    first = f"select customer_id from actions.plain where in_trial and as_of = '{as_of}'"
    names = [name for (name,) in shop.published(first)]
    left = {arm: [n not in bought for n in names if is_control(n) == arm] for arm in (False, True)}
    assert (learned["treated"], learned["control"]) == (len(left[False]), len(left[True]))
    effect = np.mean(left[True]) - np.mean(left[False])
    assert learned["effect"] == pytest.approx(effect, abs=0.05)
    assert learned["qini_low"] > 0
    with door(shop.business.state) as db:
        rows = db.execute("from actions.plain where best_action is not null").df()
    rows["rich"], rows["last"] = rows["customer_id"].map(is_rich), rows["as_of"] == str(JAN[0])
    before, after = rows[~rows["last"]], rows[rows["last"]]
    assert set(before["effect_from"]) == {"prior"}
    assert set(before["effect"]) == {0.1}
    assert set(after["effect_from"]) == {version}
    kept = (after["effect"] * after["churn_probability"]).groupby(after["rich"]).mean()
    assert kept[True] > 2 * abs(kept[False])
    gain = after["churn_probability"] * after["effect"] * 50
    assert after["expected_gain"].to_numpy() == pytest.approx(gain.to_numpy())
    said = campaign_report(shop.business, "plain")[1]
    assert "call: lists use the effect that was learned of each customer: Qini +0." in said
    [record] = shop.business.state.glob(f"fits/plain_uplift/*-{version}/record.json")
    assert hashlib.sha256(record.read_bytes()).hexdigest() == learned["record_sha256"]
    [said] = json.loads(record.read_text())["actions"].values()
    for name, sealed in said["files"].items():
        text = read_sealed(record.parent / name, sealed)
        assert text.startswith("tree\n")  # LightGBM's text
        (record.parent / name).write_text(text.replace("leaf_value=", "leaf_value=1"))
        with pytest.raises(BusinessError, match=f"{name}: is gone or not as it was written: remo"):
            read_sealed(record.parent / name, sealed)


def test_the_effect_of_one_action_is_learned_and_that_of_another_stays_as_declared():
    believed = Effects(
        {"call": PRIOR, "mail": PRIOR}, np.array([[0.3, 0.05]]), np.array([[0.1, 0.02]]),
        np.array([[0.5, 0.08]]),
    )  # fmt: skip
    assert believed.but({}) is believed
    learned = np.array([[0.2, -0.1, 0.4], [0.1, -0.3, 0.2], [0.3, 0.1, 0.6]])
    both = believed.but({"call": ("v1", learned)})
    assert both.mean.tolist() == [[0.2, 0.05], [-0.1, 0.05], [0.4, 0.05]]
    assert both.low.tolist() == [[0.1, 0.02], [-0.3, 0.02], [0.2, 0.02]]
    assert both.high.tolist() == [[0.3, 0.08], [0.1, 0.08], [0.6, 0.08]]
    assert both.source_of(np.array(["mail", "call", None])) == [PRIOR, "v1", None]


def assert_regions_are_compared(shop, bought):
    """Of the forecasts of the fifth: who of each region was to be contacted, and who left."""
    counts = defaultdict(lambda: defaultdict(list))
    for name, contact in shop.published(
        f"select customer_id, contact from predictions.churn_10d where as_of = '{JAN[5]}'"
    ):
        of_region = counts["north" if name < "c400" else "south"]
        of_region["contact_rate"].append(contact)
        kind = "false_positive_rate" if name in bought else "true_positive_rate"
        of_region[kind].append(contact)
    stored = shop.published(
        "select segment, metric, value, low, high, forecasts from "
        f"monitoring.churn_10d_performance where as_of = '{JAN[5]}' and feature = 'region'"
    )
    assert {row[0] for row in stored} == {"north", "south"}
    rates = {(segment, metric): value for segment, metric, value, *_ in stored}
    for segment, of_region in counts.items():
        for metric, contacts in of_region.items():
            assert rates.pop((segment, metric)) == pytest.approx(np.mean(contacts))
    north, south = (np.mean(counts[each]["contact_rate"]) for each in ("north", "south"))
    [(value, low, high)] = [row[2:5] for row in stored if row[1] == "contact_ratio"]
    assert value == pytest.approx(min(north, south) / max(north, south))
    assert low < value < high
    assert {metric for _, metric in rates} == {"contact_ratio", "opportunity_difference"}
    assert check(shop, "monitoring/churn_10d_performance", "groups_fare_alike")[0] == (high >= 0.8)
    facts, text = watch_report(shop.business, None)
    of_each = {g["segment"]: g for g in facts["questions"]["churn_10d"]["performance"]["groups"]}
    newest = shop.published(
        "select segment, value from monitoring.churn_10d_performance where metric = 'contact_rate' "
        f"and as_of = '{JAN[6]}'"
    )
    assert {segment: group["contact_rate"]["value"] for segment, group in of_each.items()} == dict(
        newest
    )
    assert f"region south {len(counts['south']['contact_rate'])} " in " ".join(text.split())


def test_contacts_of_nothing_that_is_declared_are_named(selling):
    contacted(selling, 5, "c001,win_back,visit", "nobody,win_back,mail", "c002,win_back,mail")
    selling.refresh(5, layers=LAYERS)
    assert check(selling, "actions/win_back", "outreach_is_known") == (
        False,
        "1 contacts of an unknown action: visit (1); 1 contacts of an unknown customer_id: "
        "nobody (1)",
    )


def test_money_a_value_model_segments_and_caution_decide_too(selling):
    for dear, cheap in (("cost: 6", "cost: 0.8"), ("cost: 0.5", "cost: 0.1")):
        selling.change("actions/defs.yaml", dear, cheap)
    selling.write("values/defs.yaml", SPEND)
    selling.write("segments/defs.yaml", SEGMENTS)
    selling.change("actions/defs.yaml", "value: 50", "value: spend_10d\n  segments: [kinds]\n"
                   "  budget: 10\n  cautious: true\n"
                   "  owners: [{name: 'team:success', hours_per_day: 0.5}]")  # fmt: skip
    selling.change("actions/defs.yaml", "capacity_per_day: 20", "minutes: 10")
    selling.change("actions/defs.yaml", "      capacity_per_week: 60\n", "")
    selling.change("actions/defs.yaml", "when: churn_probability > 0.3",
                   "when: kinds = 'often' and expected_spend > 0")  # fmt: skip
    selling.refresh(5, layers=(*LAYERS, "values", "segments"))
    rows = rows_of(selling, 5)
    done = rows[rows["action"].notna()]
    assert 0 < done["cost"].sum() <= 10
    assert done["money_price"].iloc[0] > 0
    kinds = dict(selling.published("select customer_id, segment from segments.kinds"))
    calls = done[done["action"] == "call"]
    assert {kinds[name] for name in calls.index} <= {"often"}
    assert len(calls) == 3, "half an hour holds three calls of ten minutes"
    assert done["in_trial"].all()
    [hour] = set(rows.loc[rows["best_action"] == "call", "hour_price"])
    assert hour > 0
    assert rows.loc[rows["best_action"] == "mail", "hour_price"].isna().all()
    assert metadata(selling, "actions/win_back", JAN[5])["one_more_hour_of_team:success"].value > 0
    assert (
        f"one more hour of team:success would earn {hour:,.2f}"
        in actions_report(selling.business, None, None, 3, None)[1]
    )
    low = {"call": 0.1, "mail": 0.02}
    for _, row in done.iterrows():
        assert row["churn_probability"] * row["value"] * low[row["action"]] > row["cost"]
    worth = dict(
        selling.published(
            "select customer_id, greatest(expected_spend, spend_per_purchase) from "
            '"values".spend_10d'
        )
    )
    assert all(row["value"] == worth[name] for name, row in rows.iterrows())
    assert "too uncertain to pay" in set(rows["why"])
    assert "spend" in {
        outcome
        for (outcome,) in selling.published("select outcome from monitoring.win_back_effect")
    }


def test_the_commands_show_the_list_and_export_and_explain_carry_the_action(selling, tmp_path):
    selling.refresh(5, 6, layers=LAYERS)
    facts, text = actions_report(selling.business, None, None, 3, "team:success")
    of = facts["campaigns"]["win_back"]
    assert [row["action"] for row in of["list"]] == ["call"] * 3
    assert all(row["reasons"] for row in of["list"])
    assert of["next_in_line"][0]["next_in_line"] == 1
    assert "win_back, to act on from 2024-01-07: 120 contacts" in text
    assert "nobody contacts the others: " in text
    with pytest.raises(BusinessError, match="nothing was ever for ann, but for team:mark"):
        actions_report(selling.business, None, None, 3, "ann")
    with pytest.raises(BusinessError, match='no campaign "other", but win_back'):
        actions_report(selling.business, "other", None, 3, None)
    with pytest.raises(BusinessError, match="no 2024-01-09; there are 2024-01-05 to 2024-01-06"):
        actions_report(selling.business, None, JAN[9], 3, None)
    who = of["list"][0]["customer_id"]
    assert "  win_back: call, team:success by " in explain(selling.business, who, None)[1]
    held = next(f"c{n:03}" for n in range(CUSTOMERS) if held_back(f"c{n:03}"))
    assert "  win_back: no contact, held back" in explain(selling.business, held, None)[1]
    exported(selling.business, None, tmp_path / "list.csv", None)
    header = (tmp_path / "list.csv").read_text("utf-8-sig").splitlines()[0]
    assert header.endswith(",action_win_back,why_win_back")
    facts, text = campaign_report(selling.business, "win_back")
    need = facts["campaigns"]["win_back"]["sizing"]
    assert need["every_look_customers"] > need["one_look_customers"] > 0
    assert "with a look on any day that takes " in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cost: 6", "cost: -6", "defs.yaml:13: actions.0.cost: Input should be greater"),
        ("capacity_per_day: 20", "capacity_per_day: 0", "yaml:14: actions.0.capacity_per_day: In"),
        ("capacity_per_week: 60", "capacity_per_week: 6",
         "call: capacity_per_week 6 is below capacity_per_day 20: no day could be full"),
        ("control: 0.3", "control: 1", "defs.yaml:6: control: Input should be less than 1"),
        ("churn: churn_10d", "churn: churn_9d", "yaml:3: win_back: churn: there is no churn_9d"),
        ("value: 50", "value: spend", "defs.yaml:3: win_back: value: there is no spend (none at"),
        ("value: 50", "value: -5", "defs.yaml:5: value: -5: wanted an amount above 0, or the name"),
        ("value: 50", "value: 50\n  segments: [kinds]", "segments: there is no kinds (none"),
        ("outreach: silver.outreach", "outreach: silver.calls",
         "defs.yaml:3: win_back: outreach: there is no silver.calls (bronze."),
        ("outreach: silver.outreach", "outreach: silver.orders",
         'outreach: silver.orders has no column "campaign" (order_id, customer_id, day'),
        ("  outreach: silver.outreach\n", "",
         "win_back: contacts counts contacts that were made, and no list says that it was act"),
        ("when: churn_probability > 0.3", "when: churn_probability >",
         "win_back: call: when: not valid SQL"),
        ("when: churn_probability > 0.3", "when: churn_probabilty > 0.3",
         'defs.yaml:10: win_back: call: when: no column "churn_probabilty"; did you mean churn'),
        ("when: churn_probability > 0.3", "when: tier = 'large'",
         'no column "tier"; to read what is expected to be spent, name its `value` model'),
        ("high: 0.5", "high: 1.5", "defs.yaml:17: actions.0.effect.high: Input should be"),
        ("low: 0.1", "low: 0.7", "effect: low 0.7 is above high 0.5"),
        ("high: 0.5", "high: 0.5, mean: 0.6", "effect: mean 0.6 is not within low 0.1 and"),
        ("critical: 2", "urgent: 2", "there is no band urgent (low, medium, high, critical)"),
        ("name: mail", "name: call", "win_back: two actions are called call"),
        ("value: 50", "value: 50\n  owners: [{name: 'team:success', hours_per_day: 6}]",
         "defs.yaml:11: win_back: call: team:success has hours_per_day: give the `minutes` that"),
        ("value: 50", "value: 50\n  owners: [{name: ann, hours_per_day: 6}]",
         "defs.yaml:6: win_back: ann: owns no action: those are of team:marketing, team:success"),
        ("cost: 6", "cost: 6\n      minutes: 10",
         "defs.yaml:10: win_back: call: minutes are counted by nobody: give team:success `hours"),
    ],
)  # fmt: skip
def test_a_campaign_that_cannot_be_is_refused_by_file_and_line(shop, old, new, message):
    shop.write("churn_90d/defs.yaml", QUESTION)
    shop.write("outreach/defs.yaml", OUTREACH)
    shop.write("silver/outreach.sql", SILVER)
    shop.write("actions/defs.yaml", WIN_BACK)
    shop.change("actions/defs.yaml", old, new)
    with pytest.raises(Exception, match=".") as refusal:
        definitions_of(shop.business)
    os.environ["CHURN_BUSINESS"] = str(shop.folder)
    assert message in str(expected_message(refusal.value))


def test_a_static_question_is_refused_for_nobody_is_left_to_be_kept(shop):
    shop.write("actions/defs.yaml", PLAIN)
    shop.write("churn_90d/defs.yaml", STATIC)
    said = why_not_loaded(shop)
    assert "defs.yaml:3: plain: churn: churn_10d is static: nobody is left to leave" in said


def test_a_second_campaign_of_a_name_is_refused_with_the_first(shop):
    shop.write("actions/defs.yaml", WIN_BACK + "---\n" + WIN_BACK)
    said = why_not_loaded(shop)
    assert "defs.yaml:29: a second Campaign called win_back; the first is in " in said


def test_before_it_begins_a_campaign_has_nobody_on_a_list_nor_in_the_trial(selling):
    selling.change("actions/defs.yaml", "value: 50", f"value: 50\n  begins: {JAN[6]}")
    selling.refresh(5, 6, layers=LAYERS)
    before, after = rows_of(selling, 5), rows_of(selling, 6)
    assert not before["in_trial"].any()
    assert set(before["why"]) == {"the campaign has not begun"}
    assert before["action"].isna().all()
    assert after["in_trial"].any()
    assert after["action"].notna().any()


def test_what_cannot_be_measured_is_refused(selling):
    selling.change("actions/defs.yaml", "value: 50", "value: 50\n  begins: soon")
    assert "begins: soon is no day such as 2024-05-01" in why_not_loaded(selling)
    selling.change("actions/defs.yaml", "begins: soon", "segments: [treated]")
    selling.write("segments/defs.yaml", SEGMENTS.replace("name: kinds", "name: treated"))
    assert "treated is a column of the effect's table" in why_not_loaded(selling)
    selling.change("actions/defs.yaml", "segments: [treated]", "uplift: true")
    selling.change("gold/defs.yaml", "  windows:", "  keep_days: 3\n  windows:")
    said = "win_back: uplift learns from the features of the day on which a customer entered, and "
    assert said + "customer_features drops those of old days" in why_not_loaded(selling)


def test_the_help_desk_s_managers_call_whom_it_served_badly_within_their_room(
    tmp_path, churn_data, monkeypatch
):
    assert churn_data
    monkeypatch.setenv("CHURN_HELPDESK", "/nowhere")
    desk, day = Business(PACKAGE.parent / "examples" / "helpdesk"), JAN[5]
    tree = component_tree(desk)
    [campaign] = tree.get_all_components(of_type=Campaign)
    plan = campaign.plan(desk, tree, "company_id")
    kinds = ["angry_and_leaving", "breached", "heavy_users", "silent", "served_well"]
    bands = ["critical", "high", "medium", "low"]
    with Warehouse.of(tmp_path).open() as tables:
        rows = "from (select printf('COMP%05d', n) as company_id, n from range(1, 401) as t(n))"
        of_day = f"select company_id, date '{day}' as as_of"
        tables.put_day(
            "predictions.cancels_90d", day,
            f"{of_day}, (1 + n % 97) / 200 as churn_probability, {bands}[1 + n % 4] as band, "
            "0::double as recent_value, 1::bigint as days_since_last, true as contact, "
            f"'' as confidence, false as backtest {rows} order by 1",
        )  # fmt: skip
        tables.put_day(
            "segments.service", day, f"{of_day}, {kinds}[1 + n % 5] as segment {rows} order by 1"
        )
        assert store_list(tables, plan, day) == 400
        listed = tables.db.execute(
            f"from {tables.day_file(plan.table, day).as_posix()!r} "
            f"join {tables.day_file('segments.service', day).as_posix()!r} using (company_id)"
        ).df()
    done = listed[listed["action"].notna()]
    assert done["action"].value_counts().to_dict() == {"training": 40, "account_call": 8}
    assert set(done["arm"]) == {"treated"}
    calls, trained = (done[done["action"] == each] for each in ("account_call", "training"))
    assert set(calls["owner"]) == {"account managers"}
    assert set(calls["segment"]) <= {"angry_and_leaving", "breached"}
    assert set(trained["owner"]) == {"customer success"}
    assert "silent" not in set(trained["segment"])
    days = {"critical": 1, "high": 2, "medium": 5}
    for _, row in calls.iterrows():
        within = days.get(row["band"])
        due = None if within is None else day + dt.timedelta(days=within)
        assert (None if row["deadline"] is pd.NaT else row["deadline"].date()) == due
    assert (trained["deadline"].dt.date == JAN[19]).all()
    silent = listed[(listed["segment"] == "silent") & (listed["arm"] == "treated")]
    assert set(silent["why"]) == {"no action is open to them"}
