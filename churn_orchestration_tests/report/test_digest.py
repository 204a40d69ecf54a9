"""What goes to people and comes back: contacts as a file for a CRM, the digest of a week, and what
the platform itself recommends; on one shop of four days, of which two are the end of a week.
"""

import csv
import datetime as dt
import json
import re
import shlex
from collections import defaultdict
from dataclasses import replace

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.watching.recommended import APPLY, SKIP
from churn_orchestration.components.campaign.effects import COLUMNS as EFFECT
from churn_orchestration.components.question.day_rows import put_rows
from churn_orchestration.components.question.monitoring.drift import COLUMNS as DRIFT
from churn_orchestration.components.recommendations.rules import Declared, Horizons, of_day
from churn_orchestration.definitions import definitions_of
from churn_orchestration.report.crm import exported_contacts
from churn_orchestration.report.digest import Week, digest_report
from churn_orchestration.report.recommendations import (
    change_seen,
    decide,
    measured,
    place_decided,
)
from churn_orchestration.runs import at_work
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door, publish
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.in_process import commanded
from churn_orchestration_tests.support.shop import (
    JAN,
    UP_TO_FEATURES,
    Shop,
    set_data,
    why_not_loaded,
)

LAYERS = (*UP_TO_FEATURES, "predictions", "monitoring", "segments", "actions")
CUSTOMERS, FIRST = 150, dt.date(2023, 12, 1)
START, LAST = 13, 16  # Saturday and Tuesday of January
BY_HAND = "by hand"
QUESTION = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_2d
  features: customer_features
  activity: orders
  horizon_days: 2
  observation_days: 8
  value: orders_amount_sum_7d
  bands: {edges: [0.3, 0.35, 0.5]}
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
  churn: churn_2d
  value: 20
  control: 0.5
  outreach: silver.outreach
  actions:
    - name: call
      channel: phone
      owner: team:success
      cost: 0.5
      capacity_per_day: 30
      effect: {low: 0.1, high: 0.5}
      cool_down_days: 30
      deadline_days: 5
    - name: mail
      channel: email
      owner: team:marketing
      cost: 0.01
      minutes: 1
      effect: {low: 0.02, high: 0.06}
  owners:
    - {name: "team:marketing", hours_per_day: 0.5}
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
RECOMMENDATIONS = """\
type: churn_orchestration.components.Recommendations
attributes:
  weeks: 1
"""
COLUMNS = (
    "decision_id,campaign,as_of,customer_id,action,channel,owner,deadline,churn_probability,band,"
    "value,value_low,value_high,expected_gain,segment_kinds,reason_1,reason_2,reason_3,done_on"
)


@pytest.fixture(scope="module")
def selling(tmp_path_factory):
    """Customers of whom half leave on the eleventh of January; the contacts of the thirteenth are
    exported, and those of them that were made are handed back on the two days after.
    """
    place = tmp_path_factory.mktemp("selling")
    with pytest.MonkeyPatch.context() as patch:
        set_data(patch, place / "data")
        shop = Shop(place / "shop", place / "data" / "landing")
        live(shop)
        # Nothing that is monitored is known on the first day.
        shop.refresh(START, layers=[each for each in LAYERS if each != "monitoring"])
        shop.handed_back = handed_back(shop)
        shop.refresh(START + 1, LAST, layers=LAYERS)
        yield shop


def live(shop):
    """Land what customers do, one of whom has an id that a spreadsheet would compute."""
    shop.change("business.yaml", "history_from: 2024-01-01", f"history_from: {FIRST}")
    shop.change("business.yaml", "start_date: 2024-01-05", f"start_date: {JAN[START]}")
    shop.change("silver/orders.sql", "amount_usd, known_on", "amount_usd, 1 as one, known_on")
    amount = "        - {name: amount, column: amount_usd, unit: usd}\n"
    same = "        - {name: pieces, column: one, unit: piece}\n"
    shop.change("gold/defs.yaml", amount, amount + same)
    for name, text in {
        "churn_90d/defs.yaml": QUESTION, "segments/defs.yaml": SEGMENTS,
        "actions/defs.yaml": WIN_BACK, "outreach/defs.yaml": OUTREACH,
        "silver/outreach.sql": SILVER, "recommendations/defs.yaml": RECOMMENDATIONS,
    }.items():  # fmt: skip
        shop.write(name, text)
    draw = np.random.default_rng(5)
    orders = defaultdict(list)
    for number in range(CUSTOMERS):
        name = f"-c{number:03}" if number % 7 == 0 else f"c{number:03}"
        day, last = float(draw.integers(0, 9)), 41 if draw.random() < 0.5 else 60
        usual, pace = draw.gamma(4, 5) + 1, draw.gamma(2, 0.7)
        while day <= last:
            orders[int(day)].append((name, max(0.01, round(usual * draw.gamma(6, 1 / 6), 2))))
            day += 1 + draw.exponential(pace)
    for day in range(47):
        on = FIRST + dt.timedelta(days=day)
        lines = "".join(f"o{day}-{who},{who},{on} 10:00,{usd}\n" for who, usd in orders[day])
        broken = f"b{day},c001,{on} 10:00,-1\n" * (on == JAN[LAST])
        shop.land(
            f"orders_{on}.csv", f"order_id,customer_id,ordered_at,amount_usd\n{lines}{broken}"
        )
    for day in range(START, LAST):  # that of the last day does not come
        shop.land(f"crm_{JAN[day]}.csv", "decision_id,campaign,customer_id,action,done_on\n")


def handed_back(shop):
    """Export the contacts of the first day, hand them back on the next with every second call
    filled in, and on the day after with one more; those that were listed.
    """
    out = shop.landing / f"crm_{JAN[START + 1]}.csv"
    exported_contacts(shop.business, None, JAN[START], out)
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    calls = [row for row in rows if row["action"] == "call"]
    with door(shop.business.state) as db:  # somebody calls a customer of the control all the same
        [(held_back,)] = db.execute(
            "select min(customer_id) from actions.win_back where in_trial and arm = 'control'"
        ).fetchall()
    rows.append(calls[0] | {"decision_id": BY_HAND, "customer_id": held_back})
    for day, filled_in in ((14, [*calls[::2], rows[-1]]), (15, calls[1:2])):
        for row in filled_in:
            row["done_on"] = str(JAN[day])
        with (shop.landing / f"crm_{JAN[day]}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return rows[:-1]


def table(shop, name, day):
    """A published day of customers, by customer."""
    with door(shop.business.state) as db:
        frame = db.execute(f"from {name} where as_of = date '{JAN[day]}'").df()
    return frame.set_index("customer_id")


def list_of(shop, day):
    return table(shop, "actions.win_back", day)


def test_a_contact_is_a_row_with_what_a_person_needs_and_nobody_held_back_is_among_them(selling):
    listed = list_of(selling, START)
    done = listed[listed["action"].notna()]
    rows = {row["decision_id"]: row for row in selling.handed_back}
    assert ",".join(selling.handed_back[0]) == COLUMNS
    assert set(rows) == set("d" + done["decision_id"])
    assert len(rows) > 40
    reasons = table(selling, "predictions.churn_2d", START)["reasons"]
    due = {"call": ("team:success", str(JAN[18])), "mail": ("team:marketing", "")}
    for who, row in done.iterrows():
        got = rows["d" + row["decision_id"]]
        assert got["customer_id"] == ("'" + who if who.startswith("-") else who)
        assert (got["owner"], got["deadline"]) == due[row["action"]]
        assert float(got["churn_probability"]) == pytest.approx(row["churn_probability"], abs=1e-4)
        assert float(got["value"]) == pytest.approx(row["value"], abs=0.01)
        said = [got[f"reason_{n}"] for n in (1, 2, 3)]
        assert said == ([*reasons[who], "", "", ""])[:3]
        assert got["segment_kinds"] in ("often", "seldom")
    net = (done["expected_gain"] - done["cost"]).to_dict()
    order = [row["customer_id"].removeprefix("'") for row in selling.handed_back]
    first = {name: (due[row["action"]][1] or "9", -net[name]) for name, row in done.iterrows()}
    assert order == sorted(order, key=lambda name: (*first[name], name))


def test_what_is_filled_in_comes_back_as_contacts_and_what_is_not_is_none(selling):
    calls = [row["decision_id"] for row in selling.handed_back if row["action"] == "call"]
    made = dict.fromkeys(calls[::2], JAN[14]) | {calls[1]: JAN[15]}
    listed = list_of(selling, START)
    named = dict(zip("d" + listed["decision_id"], listed.index, strict=True))
    back = selling.rows(
        "select outreach_id, customer_id, day, min(known_on) from silver.outreach "
        f"where outreach_id <> '{BY_HAND}' group by all"
    )
    assert sorted(back) == sorted((each, named[each], day, day) for each, day in made.items())
    assert any(who.startswith("-") for who in (row[1] for row in back))
    for day in (14, 15):
        called = list_of(selling, day)["action"] == "call"
        again = {each for each in calls if called.get(named[each], False)}
        assert again
        assert not again & {each for each, on in made.items() if on <= JAN[day]}


def printed_by(line):
    """What a command line prints, run in this process."""
    return commanded(*shlex.split(line)[1:]).output


def churn(shop, *arguments):
    return commanded("--business", str(shop.folder), *arguments).output


def test_every_number_of_a_digest_is_printed_by_the_command_it_names_with_its_rows(selling):
    facts, text = digest_report(selling.business, JAN[LAST], None)
    assert (facts["monday"], facts["until"]) == (JAN[15], JAN[LAST])
    assert f"{JAN[15]} to {JAN[LAST]}, which is not over" in text
    bold = re.findall(r"- .*?\*\*(.+?)\*\*.*\n  `(.+?)`", text)
    assert len(bold) == len(facts["numbers"]) >= 8
    for fact, (number, line) in zip(facts["numbers"], bold, strict=True):
        assert line == fact["command"]
        if fact is facts["numbers"][0]:
            assert printed_by(line).startswith(f"{fact['name']}: {number}, of ")
        printed = json.loads(printed_by(line + " --json"))
        assert printed["number"] == pytest.approx(fact["number"])
        rows, what = printed["rows"], re.split("[.:]", fact["name"])[-1]
        again = {
            "at_stake": lambda rows: [sum(row["at_stake"] or 0 for row in rows)],
            "mail": lambda rows: [sum(row["one_more"] for row in rows) / len(rows)],
            "leaves": lambda rows: (
                [row["treated"] * row["low"] for row in rows]
                + [row["treated"] * row["high"] for row in rows]
            ),
            "quarantined": lambda rows: [sum(row["rows"] for row in rows)],
            "contaminated": lambda rows: [max(row["contaminated"] for row in rows)],
            "call": lambda rows: [sum(row["one_more"] for row in rows) / len(rows)],
            "marketing": lambda rows: [sum(row["one_more"] for row in rows) / len(rows)],
        }.get(what, lambda rows: [len(rows)])
        assert fact["number"] == pytest.approx(again(rows))


def test_the_numbers_of_a_week_are_those_of_its_forecasts_and_add_up(selling):
    facts, text = digest_report(selling.business, JAN[15], None)
    number = {each["name"]: each["number"] for each in facts["numbers"]}
    now, then = (table(selling, "predictions.churn_2d", day) for day in (LAST, 14))
    risky = {n for n, row in now.iterrows() if row["band"] in ("high", "critical")}
    before = {n for n, row in then.iterrows() if row["band"] in ("high", "critical")}
    assert number["churn_2d.at_risk"] == [len(risky)]
    assert number["churn_2d.came"] == [len(risky - before)]
    assert number["churn_2d.left"] == [len((before - risky) & set(now.index))]
    assert number["churn_2d.gone"] == [len(before - set(now.index))]
    came, left, gone = (number[f"churn_2d.{name}"][0] for name in ("came", "left", "gone"))
    assert len(before) + came - left - gone == len(risky)
    assert min(came, left, gone) > 0
    moved = [n for n in now.index if n in then.index and now.loc[n, "band"] != then.loc[n, "band"]]
    assert number["churn_2d.moved"] == [len(moved)]
    at_stake = (now["churn_probability"] * now["recent_value"]).sum()
    assert number["churn_2d.at_stake"] == pytest.approx([at_stake])
    lists = [list_of(selling, day) for day in (15, LAST)]
    prices = [rows.loc[rows["best_action"] == "call", "contact_price"].iloc[0] for rows in lists]
    assert number["win_back.call"] == pytest.approx([np.mean(prices)])
    kept = number["win_back.leaves"]
    assert kept[0] < 0 < kept[1]
    assert f"**{kept[0]:+,.1f} to {kept[1]:+,.1f}** (95 % interval). Whether it does" in text
    assert number["late"] == [1]
    assert f"not come, as of {JAN[LAST]}: **1**" in text
    effect = f"monitoring.win_back_effect where measured_on = '{JAN[LAST]}'"
    assert selling.published(f"select max(contaminated) from {effect}") == [(1,)]
    assert number["win_back.contaminated"] == number["quarantined"] == [1]
    owned = [rows.loc[rows["owner"] == "team:marketing", "hour_price"].iloc[0] for rows in lists]
    assert number["win_back.hours.team:marketing"] == pytest.approx([np.mean(owned)])


def test_a_week_is_over_where_a_later_day_is_scored_and_its_numbers_are_of_its_days(selling):
    facts, text = digest_report(selling.business, None, None)
    assert (facts["monday"], facts["until"]) == (JAN[8], JAN[14])
    number = {each["name"]: each["number"] for each in facts["numbers"]}
    assert not {"churn_2d.came", "late"} & set(number)
    assert "# shop: the week from 2024-01-08 to 2024-01-14\n" in text
    days = [JAN[12], JAN[13], JAN[15]]  # the Sunday is refused
    week = Week.of(selling.business, days, None)
    assert (week.monday, week.until, week.is_over) == (JAN[8], JAN[14], True)
    week = Week.of(selling.business, days[:2], None)
    assert (week.until, week.is_over) == (JAN[13], False)


def test_a_feature_that_drifted_and_a_refused_day_are_counted_once(selling):
    with selling.tables() as tables:
        for day, features in ((JAN[14], ["a"]), (JAN[15], ["b"]), (JAN[16], ["b", "c", "d"])):
            rows = [
                dict.fromkeys(DRIFT)
                | {"feature": name, "verdict": "harmless" if name == "d" else "harmful"}
                | {"effect": 0.1, "measured_on": day}
                for name in features
            ]
            put_rows(tables, "monitoring.churn_2d_drift", day, rows, DRIFT, "feature")
        tables.db.execute(
            "insert into meta.days (table_name, day, status, rows) values "
            f"('bronze.x', '{JAN[10]}', 'refused', 0), ('silver.x', '{JAN[10]}', 'refused', 0)"
        )
        publish(tables)
        tables.db.execute("delete from meta.days where table_name in ('bronze.x', 'silver.x')")
    facts, _ = digest_report(selling.business, JAN[13], "refused")
    assert (facts["number"], len(facts["rows"])) == ([1], 2)
    assert (
        digest_report(selling.business, JAN[LAST], None)[1].count("refused, as of 2024-01-16") == 1
    )
    facts, _ = digest_report(selling.business, JAN[LAST], "churn_2d.drifted")
    assert [(row["feature"], row["days"]) for row in facts["rows"]] == [("b", 2), ("c", 1)]
    assert facts["number"] == [2]


def test_what_is_no_week_or_no_number_is_refused_in_words(selling):
    with pytest.raises(BusinessError, match="no day of the week from 2024-01-22 on is scored; th"):
        digest_report(selling.business, JAN[23], None)
    with pytest.raises(BusinessError, match='no number "praise" in that week; there are churn_2d.'):
        digest_report(selling.business, None, "praise")


def test_a_week_that_is_over_is_sent_once_to_those_that_are_alerted(selling, listener):
    settings = (selling.folder / "business.yaml").read_text()
    selling.write("business.yaml", settings + f"alerts: ['json://{listener.address}']\n")
    said, cursor = [], None
    definitions = definitions_of(selling.business)
    for _ in range(2):
        with (
            at_work(selling.business) as work,
            dg.build_sensor_context(work.instance, cursor, definitions=definitions) as context,
        ):
            tick = definitions.resolve_sensor_def("weekly_digest").evaluate_tick(context)
        said, cursor = [*said, tick.skip_message], tick.cursor
    selling.write("business.yaml", settings)
    assert said == ["sent: the week up to 2024-01-14", "the week up to 2024-01-14 was sent"]
    [(_, post)] = listener.posts
    assert post["title"] == "[shop] the week up to 2024-01-14"
    assert "customers at risk" in post["message"]
    assert not re.search(r"c\d\d\d", post["message"])


def test_what_is_recommended_is_decided_in_the_ledger_where_the_change_is_seen(selling):
    def recommended():
        facts = json.loads(churn(selling, "recommendations", "--json"))["recommendations"]
        return {row["subject"]: row for row in facts}

    def undecided():
        facts, _ = digest_report(selling.business, JAN[LAST], None)
        return [each["number"] for each in facts["numbers"] if each["name"] == "recommended"]

    assert undecided() == [[1]]
    drop = recommended()["gold.customer_features"]
    assert (drop["kind"], drop["since"], drop["status"]) == ("drop", str(JAN[14]), "open")
    with pytest.raises(BusinessError, match="--skip: wanted: --reason"):
        decide(selling.business, drop["id"], SKIP, None)
    with pytest.raises(BusinessError, match="no change is seen since 2024-01-14; make it first"):
        decide(selling.business, drop["id"], APPLY, None)
    with pytest.raises(BusinessError, match=f"is no recommendation 1; open: {drop['id']}"):
        decide(selling.business, "1", APPLY, None)
    more = ("actions/defs.yaml", "capacity_per_day: 30", "capacity_per_day: 31")
    selling.change(*more)
    said = churn(selling, "recommendations", "--apply", drop["id"])
    selling.change(more[0], *more[:0:-1])
    assert said == (
        f"recommendation {drop['id']}, {drop['advice']}: applied, decision 1 of the ledger\n"
    )
    with pytest.raises(BusinessError, match="was applied on 2024-01-16"):
        decide(selling.business, drop["id"], SKIP, "no staff")
    after = recommended()["gold.customer_features"]
    assert (after["status"], after["decided_on"]) == ("applied", str(JAN[LAST]))
    with door(selling.business.state) as db:
        known = measured(Tables(db, selling.business.state), "churn_2d.log_loss")
    assert after["before"] == known
    assert after["after"] is None
    [line] = ledger.read(selling.business.state)
    assert line["evidence"]["declared_before"] != line["evidence"]["declared"]
    assert undecided() == []


@pytest.mark.parametrize(
    ("holds", "decided_of"),
    [
        ([(9, 16)], 0),  # as it was when it was decided on the fourteenth, since the ninth
        ([(11, 16)], 0),  # computed again, it begins later
        ([(2, 5), (7, 16)], 1),  # or earlier
        ([(9, 10), (12, 14)], 0),  # or has a gap
        ([(2, 5), (15, 16)], None),  # it is made again, later
    ],
)
def test_a_decision_stays_with_its_recommendation_where_days_are_computed_again(holds, decided_of):
    rows = [
        {"kind": "drop", "subject": "a", "since": JAN[first], "last": JAN[last]}
        for first, last in holds
    ]
    about = {"kind": "drop", "subject": "a", "since": str(JAN[9])}
    line = {"evidence": about, "decided_on": str(JAN[14])}
    assert place_decided(rows, line) == decided_of
    other = line | {"evidence": about | {"subject": "b"}}
    assert place_decided(rows, other) is None


ROOM = {"best_action": "call", "action": "call", "in_trial": True, "value": 20.0}
LISTS = {
    "action": ("text", ""), "best_action": ("text", ""), "cost": ("double", ""),
    "value": ("double", ""), "in_trial": ("boolean", ""), "as_of": ("date", ""),
} | {f"{what}_price": ("double", "") for what in ("contact", "money")}  # fmt: skip


def acted_on(tables, name, **prices):
    """Lists of the second week of January, each of one contact."""
    for day in JAN[8:15]:
        row = dict.fromkeys(LISTS) | ROOM | prices | {"as_of": day}
        put_rows(tables, f"actions.{name}", day, [row], LISTS, "as_of")


def measured_on(tables, name, day, **row):
    row = dict.fromkeys(EFFECT) | {"outcome": "leaves", "measured_on": day} | row
    put_rows(tables, f"monitoring.{name}_effect", day, [row], EFFECT, "outcome")


def advised(tables, name, day, logged=True):
    declared = Declared({}, [], {name: logged}, 1)
    return of_day(tables, declared, day, Horizons())


def test_harm_and_lack_of_room_and_money_are_recommended_against_where_they_are_known(selling):
    effect = {"effect": -0.1, "low": -0.2, "high": -0.02, "treated": 90, "waiting": 10}
    with selling.tables() as tables:
        acted_on(tables, "other", cost=1.0, contact_price=1.5, money_price=1.25)
        for day, verdict in ((JAN[13], "not_known_yet"), (JAN[14], "harms")):
            measured_on(tables, "other", day, verdict=verdict, contacted=0, **effect)
        assert advised(tables, "other", JAN[13]) == []  # the lists do not reach back far enough
        room, money, stop = advised(tables, "other", JAN[14])
    assert (room.kind, room.subject) == ("capacity", "other.call")
    assert "one more would have earned more than the 1 it costs, after its cost; 1.5" in room.reason
    assert (money.kind, money.subject, money.measured_by) == ("budget", "other", "other.leaves")
    assert money.reason == (
        "on each of the 7 lists of the last 7 days one more unit of money would have earned more "
        "than itself; 1.25 on average"
    )
    assert (stop.kind, stop.subject) == ("stop", "other")
    assert stop.reason.startswith("its effect is known to be below 0: leaves -0.1 (-0.2 to -0.02)")


@pytest.mark.parametrize(
    ("high", "contacted", "logged", "stops"),
    [
        (0.009, 100, True, True),  # 0.009 x 20 = 0.18 for each of 200, 0.36 a contact, which costs
        (0.011, 100, True, False),  # 0.40; and 0.44
        (0.019, 0, False, True),  # 0.38, where each of the treated counts as contacted
        (0.021, 0, False, False),
        (0.009, 0, True, False),  # nobody was contacted: no word about what a contact earns
        (None, 100, True, False),
    ],
)
def test_a_campaign_whose_contacts_cost_more_than_they_can_earn_is_to_be_stopped(
    selling, high, contacted, logged, stops
):
    rows = {"treated": 150, "waiting": 50, "contacted": contacted, "verdict": "works"}
    with selling.tables() as tables:
        acted_on(tables, "weak", cost=0.4)
        measured_on(tables, "weak", JAN[14], effect=0.005, low=0.001, high=high, **rows)
        made = advised(tables, "weak", JAN[14], logged)
    assert [each.kind for each in made] == ["stop"] * stops
    if stops:
        most = high * 20 * (200 / contacted if logged else 1)
        assert made[0].reason.startswith("a contact costs 0.4 and is known to earn less, by the")
        assert made[0].reason.endswith(f": leaves at most {most:.3g}")


def test_features_that_say_nothing_and_columns_that_nobody_reads_are_named(selling):
    with at_work(selling.business) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        features = settings.question.features
        without = replace(features, sources=(replace(features.sources[0], measures=()),))
        declared = Declared({settings.gold: features}, [settings], {}, 1)
        made = {each.kind: each for each in of_day(tables, declared, JAN[LAST], Horizons())}
        declared = Declared({settings.gold: without}, [settings], {}, 1)
        fewer = {each.kind: each for each in of_day(tables, declared, JAN[LAST], Horizons())}
    gold = table(selling, settings.gold, LAST)
    names = [each.name for each in catalogue(features)]
    dull = [name for name in names if gold[name].nunique(dropna=False) < 2]
    assert "orders_pieces_mean_all" in dull
    assert made["drop"].advice.endswith(f": {len(dull)} of {len(names)} features")
    assert "add" not in made
    assert fewer["add"].advice == (
        "let gold.customer_features read amount_usd, one, or take the columns out"
    )


def test_events_that_ceased_to_come_are_named_with_what_is_made_of_them(selling):
    with at_work(selling.business) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        features = settings.question.features
        declared = Declared({settings.gold: features}, [], {}, 1)
        last = tables.rows("select max(day) from silver.orders")[0][0]
        made = {
            days: [r for r in of_day(tables, declared, last + dt.timedelta(days=days), Horizons())
                   if r.subject == "silver.orders"]
            for days in (6, 7)
        }  # fmt: skip
    assert made[6] == []
    [stale] = made[7]
    assert (stale.kind, stale.advice) == (
        "drop",
        "mend what fills silver.orders, or take its features out of gold.customer_features",
    )
    assert stale.reason.startswith(
        f"its newest event is of {last}, 7 days before; {len(catalogue(features))} features"
    )


def test_a_second_block_of_recommendations_is_refused(shop):
    shop.write("recommendations/defs.yaml", f"{RECOMMENDATIONS}---\n{RECOMMENDATIONS}")
    said = why_not_loaded(shop)
    assert "recommendations/defs.yaml: there are two Recommendations blocks; one is" in said


def test_what_came_of_it_is_the_newest_log_loss_that_was_known_of_later_forecasts(selling):
    with door(selling.business.state) as db:
        rows = db.execute("from monitoring.churn_2d_performance").df()
        rows = rows[(rows["metric"] == "log_loss") & (rows["kind"] != "expected")]
        rows = rows[rows["feature"].isna()].sort_values(["as_of", "measured_on"])
        tables = Tables(db, selling.business.state)
        for after, until in ((None, JAN[15]), (None, JAN[LAST]), (JAN[13], JAN[LAST])):
            known = rows[rows["measured_on"] <= pd.Timestamp(until)]
            newest = known[known["as_of"] > pd.Timestamp(after)] if after else known
            found = measured(tables, "churn_2d.log_loss", after, until)
            assert found["value"] == newest["value"].iloc[-1]
            assert found["of"] == str(newest["as_of"].iloc[-1].date())
        assert measured(tables, "churn_2d.log_loss", JAN[14]) is None
        assert measured(tables, "nothing.leaves") is None
        [(effect,)] = tables.rows(
            "select effect from monitoring.win_back_effect where segments is null and "
            f"measured_on = '{JAN[LAST]}'"
        )
        assert measured(tables, "win_back.leaves")["value"] == effect


def test_a_training_is_seen_in_the_ledger_if_it_came_since(shop):
    ledger.append(
        shop.business.state, "q", "keep", "because", "manual", {}, model_version="v1",
        cutoff="2024-01-08", decided_on="2024-01-09",
    )  # fmt: skip
    row = {"kind": "retrain", "subject": "q", "declared": "x"}
    for since, seen in ((JAN[9], "trained, decision 1 of the ledger"), (JAN[10], None)):
        assert change_seen(shop.business, row | {"since": since}) == seen
