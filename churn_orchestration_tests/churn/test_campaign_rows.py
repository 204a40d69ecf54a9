"""What a campaign sees of customers and contacts on a day, beside a slow oracle in Python."""

import datetime as dt
import random
from collections import Counter
from contextlib import closing

import pytest

from churn_orchestration.churn.campaign.control import is_held_back
from churn_orchestration.churn.campaign.declared import Action, Campaign, Cap, Effect
from churn_orchestration.churn.campaign.rows import (
    HELD,
    OF_LATE,
    contacts,
    customers,
    is_cooling,
    is_open,
    taken_this_week,
)
from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.churn.sql import connect

LOG = EventSource("outreach", "silver.outreach", "who", "contact", ("id",))
PEOPLE = [f"c{n}" for n in range(30)]
FIRST = dt.date(2024, 1, 1)  # a Monday
BELIEF = Effect(0.1, 0.2, 0.3)
ACTIONS = (
    Action("call", "phone", "ann", 5, "band = 'high'", BELIEF, 3, 9, cool_down_days=6),
    Action("mail", "email", "bob", 1, "churn_probability > 0.3 or kind = 'big'", BELIEF),
)
PLAN = Campaign(
    "win_back", "customer_id", "q", "spend", ("kind",), 0.3, "shop", None, False, Cap(2, 5), LOG,
    ACTIONS,
)  # fmt: skip


@pytest.fixture
def warehouse():
    """Forecasts, values and segments of thirty customers, and a log of late and corrected rows."""
    draw = random.Random(3)
    with closing(connect()) as db:
        db.execute("create schema silver")
        db.execute("create table silver.outreach (id int, who varchar, campaign varchar, "
                   "action varchar, day date, known_on date, _partition date)")  # fmt: skip
        log = []
        for number in range(400):
            day = FIRST + dt.timedelta(days=draw.randrange(20))
            known = day + dt.timedelta(days=draw.choice([0, 0, 0, 1, 4]))
            for again in range(1 + (draw.random() < 0.2)):  # a correction comes later
                known += dt.timedelta(days=3 * again)
                who, campaign = draw.choice(PEOPLE), draw.choice(["win_back", "spring"])
                log.append(
                    (number, who, campaign, draw.choice(["call", "mail"]), day, known, known)
                )
        db.executemany("insert into silver.outreach values (?, ?, ?, ?, ?, ?, ?)", log)
        db.execute("create table forecast (customer_id varchar, as_of date, churn_probability "
                   "double, band varchar, recent_value double, days_since_last bigint, contact "
                   "boolean, confidence varchar, backtest boolean)")  # fmt: skip
        db.execute("create table worth (customer_id varchar, expected_spend double, "
                   "expected_purchases double, tier varchar, spend_per_purchase double, "
                   "low double, high double)")  # fmt: skip
        db.execute("create table kinds (customer_id varchar, segment varchar)")
        facts = {}
        for who in PEOPLE:
            risk, spend, each = draw.random(), 100 * draw.random(), 60 * draw.random()
            kind = draw.choice(["big", "small", None])
            facts[who] = risk, spend, each, kind
            band = "high" if risk > 0.5 else "low"
            db.execute("insert into forecast values (?, ?, ?, ?, 1, 1, true, 'normal', ?)",
                       [who, FIRST, risk, band, who == "c7"])  # fmt: skip
            if who != "c8":
                db.execute("insert into worth values (?, ?, 1, 'x', ?, 10, 90)", [who, spend, each])
            db.execute("insert into kinds values (?, ?)", [who, kind])
        yield db, log, facts


def known(log, as_of):
    """The last version of each contact that was known, if its day has come."""
    last = {}
    for row in sorted(log, key=lambda row: row[5]):
        if row[5] <= as_of:
            last[row[0]] = row
    return [row for row in last.values() if row[4] <= as_of]


@pytest.mark.parametrize("after", [3, 6, 7, 13, 19])
def test_customers_contacts_and_the_week_are_as_they_were_known_at_the_end_of_the_day(
    warehouse, after
):
    db, log, facts = warehouse
    as_of = FIRST + dt.timedelta(days=after)
    rows = db.execute(customers(PLAN, "forecast", "worth", {"kind": "kinds"}, as_of))
    names = [name for name, *_ in rows.description]
    got = {row[0]: dict(zip(names, row, strict=True)) for row in rows.fetchall()}
    assert list(got) == sorted(set(PEOPLE) - {"c7"})  # a look back is no forecast
    seen = known(log, as_of)
    for who, row in got.items():
        risk, spend, each, kind = facts[who]
        mine = [r for r in seen if r[1] == who]
        of_late = [r for r in mine if r[4] > as_of + dt.timedelta(days=1 - 5)]  # of the next day
        called = [r for r in mine if r[2:4] == ("win_back", "call")]
        cooling = any(as_of < r[4] + dt.timedelta(days=6) for r in called)
        assert row[HELD] == is_held_back(who, "win_back", "shop", 0.3)
        assert row[OF_LATE] == len(of_late)
        assert (row[is_cooling(0)], row[is_cooling(1)]) == (cooling, False)
        assert row[is_open(0)] == (risk > 0.5)
        assert row[is_open(1)] == (risk > 0.3 or kind == "big")
        worth = None if who == "c8" else max(spend, each)
        assert row["value"] == worth
        if worth is not None:
            assert (row["value_low"], row["value_high"]) == (min(10, worth), max(90, worth))
    monday = (as_of + dt.timedelta(days=1)) - dt.timedelta(days=(as_of.weekday() + 1) % 7)
    week = Counter(r[3] for r in seen if r[2] == "win_back" and r[4] >= monday)
    assert dict(db.execute(taken_this_week(PLAN, as_of)).fetchall()) == dict(week)
    assert db.execute(contacts(PLAN, as_of)).fetchall() != [] or after < 1
