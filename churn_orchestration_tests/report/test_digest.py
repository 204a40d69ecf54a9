"""What goes to people and comes back: contacts as a file for a CRM, the digest of a week, and what
the platform itself recommends; on one shop of two weeks.
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
from churn_orchestration.components.recommendations.rules import Declared, Horizons, of_day
from churn_orchestration.definitions import definitions_of
from churn_orchestration.report.crm import exported_contacts
from churn_orchestration.report.digest import digest_report
from churn_orchestration.report.recommendations import change_seen, decide, measured
from churn_orchestration.runs import at_work
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door
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
CUSTOMERS, FIRST = 200, dt.date(2023, 11, 1)
QUESTION = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_5d
  features: customer_features
  activity: orders
  horizon_days: 5
  value: orders_amount_sum_7d
  bands: {edges: [0.2, 0.4, 0.6]}
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
      effect: {low: 0.02, high: 0.06}
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
    """A hundred customers of whom half leave on the fifth of January; the contacts of the seventh
    are exported, and those of them that were made are handed back on the eighth.
    """
    place = tmp_path_factory.mktemp("selling")
    with pytest.MonkeyPatch.context() as patch:
        set_data(patch, place / "data")
        shop = Shop(place / "shop", place / "data" / "landing")
        live(shop)
        shop.refresh(7, layers=LAYERS)
        shop.handed_back = handed_back(shop)
        shop.refresh(8, 14, layers=LAYERS)
        yield shop


def live(shop):
    """Land what customers do, one of whom has an id that a spreadsheet would compute."""
    shop.change("business.yaml", "history_from: 2024-01-01", f"history_from: {FIRST}")
    shop.change("business.yaml", "start_date: 2024-01-05", f"start_date: {JAN[7]}")
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
        day, last = float(draw.integers(0, 9)), 65 if draw.random() < 0.5 else 80
        usual, pace = draw.gamma(4, 5) + 1, draw.gamma(2, 1.5) + 1
        while day <= last:
            orders[int(day)].append((name, max(0.01, round(usual * draw.gamma(6, 1 / 6), 2))))
            day += 1 + draw.exponential(pace)
    for day in range(81):
        on = FIRST + dt.timedelta(days=day)
        lines = "".join(f"o{day}-{who},{who},{on} 10:00,{usd}\n" for who, usd in orders[day])
        shop.land(f"orders_{on}.csv", "order_id,customer_id,ordered_at,amount_usd\n" + lines)
    for day in (7, 8, 9, 10, 11, 13, 14):  # that of the twelfth does not come
        shop.land(f"crm_{JAN[day]}.csv", "decision_id,campaign,customer_id,action,done_on\n")


def handed_back(shop):
    """Export the contacts of the seventh, hand them back on the eighth with every second filled in,
    and on the ninth with one more; those that were listed.
    """
    out = shop.landing / f"crm_{JAN[8]}.csv"
    exported_contacts(shop.business, None, JAN[7], out)
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    calls = [row for row in rows if row["action"] == "call"]
    for day, filled_in in ((8, calls[::2]), (9, calls[1:2])):
        for row in filled_in:
            row["done_on"] = str(JAN[day])
        with (shop.landing / f"crm_{JAN[day]}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return rows


def table(shop, name, day):
    """A published day of customers, by customer."""
    with door(shop.business.state) as db:
        frame = db.execute(f"from {name} where as_of = date '{JAN[day]}'").df()
    return frame.set_index("customer_id")


def list_of(shop, day):
    return table(shop, "actions.win_back", day)


def test_a_contact_is_a_row_with_what_a_person_needs_and_nobody_held_back_is_among_them(selling):
    listed = list_of(selling, 7)
    done = listed[listed["action"].notna()]
    rows = {row["decision_id"]: row for row in selling.handed_back}
    assert ",".join(selling.handed_back[0]) == COLUMNS
    assert set(rows) == set("d" + done["decision_id"])
    assert len(rows) > 60
    reasons = table(selling, "predictions.churn_5d", 7)["reasons"]
    due = {"call": ("team:success", str(JAN[12])), "mail": ("team:marketing", "")}
    for who, row in done.iterrows():
        got = rows["d" + row["decision_id"]]
        assert got["customer_id"] == ("'" + who if who.startswith("-") else who)
        assert (got["owner"], got["deadline"]) == due[row["action"]]
        assert float(got["churn_probability"]) == pytest.approx(row["churn_probability"], abs=1e-4)
        assert float(got["value"]) == pytest.approx(row["value"], abs=0.01)
        said = [got[f"reason_{n}"] for n in (1, 2, 3)]
        assert said == ([*reasons[who], "", "", ""])[:3]
        assert got["segment_kinds"] in ("often", "seldom")


def test_what_is_filled_in_comes_back_as_contacts_and_what_is_not_is_none(selling):
    calls = [row["decision_id"] for row in selling.handed_back if row["action"] == "call"]
    made = dict.fromkeys(calls[::2], JAN[8]) | {calls[1]: JAN[9]}
    listed = list_of(selling, 7)
    named = dict(zip("d" + listed["decision_id"], listed.index, strict=True))
    back = selling.rows(
        "select outreach_id, customer_id, day, min(known_on) from silver.outreach group by all"
    )
    assert sorted(back) == sorted((each, named[each], day, day) for each, day in made.items())
    assert any(who.startswith("-") for who in (row[1] for row in back))
    for day in (8, 9):
        called = list_of(selling, day)["action"] == "call"
        again = {each for each in calls if called.loc[named[each]]}
        assert again
        assert not again & {each for each, on in made.items() if on <= JAN[day]}


def printed_by(line):
    """What a command line prints, run in this process."""
    return commanded(*shlex.split(line)[1:]).output


def churn(shop, *arguments):
    return commanded("--business", str(shop.folder), *arguments).output


def test_every_number_of_a_digest_is_printed_by_the_command_it_names_with_its_rows(selling):
    facts, text = digest_report(selling.business, None, None)
    assert (facts["monday"], facts["until"]) == (JAN[8], JAN[14])
    bold = re.findall(r"- .*?\*\*(.+?)\*\*.*\n  `(.+?)`", text)
    assert len(bold) == len(facts["numbers"]) >= 8
    for fact, (number, line) in zip(facts["numbers"], bold, strict=True):
        assert line == fact["command"]
        assert printed_by(line).startswith(f"{fact['name']}: {number}, of ")
        printed = json.loads(printed_by(line + " --json"))
        assert printed["number"] == pytest.approx(fact["number"])
        rows, what = printed["rows"], fact["name"].split(".")[-1]
        again = {
            "at_stake": lambda rows: [sum(row["at_stake"] or 0 for row in rows)],
            "mail": lambda rows: [sum(row["one_more"] for row in rows) / len(rows)],
            "leaves": lambda rows: (
                [row["treated"] * row["low"] for row in rows]
                + [row["treated"] * row["high"] for row in rows]
            ),
            "call": lambda rows: [sum(row["one_more"] for row in rows) / len(rows)],
        }.get(what, lambda rows: [len(rows)])
        assert fact["number"] == pytest.approx(again(rows))


def test_the_numbers_of_a_week_are_those_of_its_forecasts_and_add_up(selling):
    facts, text = digest_report(selling.business, JAN[10], None)
    number = {each["name"]: each["number"] for each in facts["numbers"]}
    now, then = (table(selling, "predictions.churn_5d", day) for day in (14, 7))
    risky = {n for n, row in now.iterrows() if row["band"] in ("high", "critical")}
    before = {n for n, row in then.iterrows() if row["band"] in ("high", "critical")}
    assert number["churn_5d.at_risk"] == [len(risky)]
    assert number["churn_5d.came"] == [len(risky - before)]
    assert number["churn_5d.left"] == [len(before - risky)]
    assert len(before) + len(risky - before) - len(before - risky) == len(risky) > 0
    moved = [n for n in now.index if n in then.index and now.loc[n, "band"] != then.loc[n, "band"]]
    assert number["churn_5d.moved"] == [len(moved)]
    at_stake = (now["churn_probability"] * now["recent_value"]).sum()
    assert number["churn_5d.at_stake"] == pytest.approx([at_stake])
    lists = [list_of(selling, day) for day in range(8, 15)]
    prices = [rows.loc[rows["best_action"] == "call", "contact_price"].iloc[0] for rows in lists]
    assert number["win_back.call"] == pytest.approx([np.mean(prices)])
    kept = number["win_back.leaves"]
    assert kept[0] < 0 < kept[1]
    assert f"**{kept[0]:+,.1f} to {kept[1]:+,.1f}**. Whether it does anything is not known" in text
    assert number["late"] == [1]
    earlier = digest_report(selling.business, JAN[3], None)[0]["numbers"]
    assert "churn_5d.came" not in {each["name"] for each in earlier}


def test_what_is_no_week_or_no_number_is_refused_in_words(selling):
    with pytest.raises(BusinessError, match="no day of the week from 2024-01-22 on is scored; th"):
        digest_report(selling.business, JAN[23], None)
    with pytest.raises(BusinessError, match='no number "praise" in that week; there are churn_5d.'):
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

    undecided = digest_report(selling.business, None, None)[0]["numbers"]
    assert [each["number"] for each in undecided if each["name"] == "recommended"] == [[2]]
    room = recommended()["win_back.call"]
    assert (room["kind"], room["since"], room["status"]) == ("capacity", str(JAN[13]), "open")
    with pytest.raises(BusinessError, match="--skip: wanted: --reason"):
        decide(selling.business, room["number"], SKIP, None)
    with pytest.raises(BusinessError, match="no change is seen since 2024-01-13; make it first"):
        decide(selling.business, room["number"], APPLY, None)
    with pytest.raises(BusinessError, match="there is no recommendation 99; there are 1"):
        decide(selling.business, 99, APPLY, None)
    more = ("actions/defs.yaml", "capacity_per_day: 30", "capacity_per_day: 31")
    selling.change(*more)
    said = churn(selling, "recommendations", "--apply", str(room["number"]))
    selling.change(more[0], *more[:0:-1])
    assert said == (
        f"recommendation {room['number']}, make room for more of call: applied, decision 1 of the "
        "ledger\n"
    )
    with pytest.raises(BusinessError, match="was applied on 2024-01-14"):
        decide(selling.business, room["number"], SKIP, "no staff")
    after = recommended()["win_back.call"]
    assert (after["status"], after["decided_on"]) == ("applied", str(JAN[14]))
    [effect] = selling.published(
        "select effect from monitoring.win_back_effect where segments is null and measured_on = "
        f"'{JAN[14]}'"
    )
    assert after["before"]["value"] == effect[0]
    assert after["after"] is None
    [line] = ledger.read(selling.business.state)
    assert line["evidence"]["declared_before"] != line["evidence"]["declared"]
    decided = digest_report(selling.business, None, None)[0]["numbers"]
    assert [each["number"] for each in decided if each["name"] == "recommended"] == [[1]]


def test_harm_and_lack_of_money_are_recommended_against_where_they_are_known(selling):
    declared = Declared({}, [], ["other"], 1)
    effect = {"outcome": "leaves", "effect": -0.1, "low": -0.2, "high": -0.02}
    lists = {"action": ("text", ""), "best_action": ("text", ""), "cost": ("double", "")}
    lists |= {f"{what}_price": ("double", "") for what in ("contact", "money")}
    lists |= {"as_of": ("date", "")}
    with selling.tables() as tables:
        for day in JAN[8:15]:
            row = {"best_action": "call", "cost": 2, "contact_price": 1.5, "money_price": 1.25}
            put_rows(tables, "actions.other", day, [row | {"as_of": day}], lists, "as_of")
        for day, verdict in ((JAN[13], "not_known_yet"), (JAN[14], "harms")):
            row = effect | {"verdict": verdict, "measured_on": day}
            put_rows(tables, "monitoring.other_effect", day, [row], EFFECT, "outcome")
        made = {day: of_day(tables, declared, day, Horizons()) for day in (JAN[13], JAN[14])}
    assert made[JAN[13]] == []
    money, stop = made[JAN[14]]
    assert (money.kind, money.subject, money.measured_by) == ("budget", "other", "other.leaves")
    assert money.reason == (
        "on each of the 7 lists of the last 7 days one more unit of money would have earned more "
        "than itself; 1.25 on average"
    )
    assert (stop.kind, stop.subject) == ("stop", "other")
    assert stop.reason.startswith("its effect is known to be below 0: leaves -0.1 (-0.2 to -0.02)")


def test_features_that_say_nothing_and_columns_that_nobody_reads_are_named(selling):
    with at_work(selling.business) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        features = settings.question.features
        without = replace(features, sources=(replace(features.sources[0], measures=()),))
        declared = Declared({settings.gold: features}, [settings], [], 1)
        made = {each.kind: each for each in of_day(tables, declared, JAN[14], Horizons())}
        declared = Declared({settings.gold: without}, [settings], [], 1)
        fewer = {each.kind: each for each in of_day(tables, declared, JAN[14], Horizons())}
    gold = table(selling, settings.gold, 14)
    names = [each.name for each in catalogue(features)]
    dull = [name for name in names if gold[name].nunique(dropna=False) < 2]
    assert "orders_pieces_mean_all" in dull
    assert made["drop"].advice.endswith(f": {len(dull)} of {len(names)} features")
    assert "add" not in made
    assert fewer["add"].advice == (
        "let gold.customer_features read amount_usd, one, or take the columns out"
    )


def test_a_second_block_of_recommendations_is_refused(shop):
    shop.write("recommendations/defs.yaml", f"{RECOMMENDATIONS}---\n{RECOMMENDATIONS}")
    said = why_not_loaded(shop)
    assert "recommendations/defs.yaml: there are two Recommendations blocks; one is" in said


def test_what_came_of_it_is_the_newest_log_loss_that_was_known_of_later_forecasts(selling):
    with door(selling.business.state) as db:
        rows = db.execute("from monitoring.churn_5d_performance").df()
        rows = rows[(rows["metric"] == "log_loss") & (rows["kind"] != "expected")]
        rows = rows[rows["feature"].isna()].sort_values(["as_of", "measured_on"])
        tables = Tables(db, selling.business.state)
        for after, until in ((None, JAN[13]), (JAN[7], JAN[14]), (JAN[8], JAN[14])):
            known = rows[rows["measured_on"] <= pd.Timestamp(until)]
            newest = known[known["as_of"] > pd.Timestamp(after)] if after else known
            found = measured(tables, "churn_5d.log_loss", after, until)
            assert found["value"] == newest["value"].iloc[-1]
            assert found["of"] == str(newest["as_of"].iloc[-1].date())
        assert measured(tables, "churn_5d.log_loss", JAN[14]) is None
        assert measured(tables, "nothing.leaves") is None


def test_a_training_is_seen_in_the_ledger_if_it_came_since(shop):
    ledger.append(
        shop.business.state, "q", "keep", "because", "manual", {}, model_version="v1",
        cutoff="2024-01-08", decided_on="2024-01-09",
    )  # fmt: skip
    row = {"kind": "retrain", "subject": "q", "declared": "x"}
    for since, seen in ((JAN[9], "trained, decision 1 of the ledger"), (JAN[10], None)):
        assert change_seen(shop.business, row | {"since": since}) == seen
