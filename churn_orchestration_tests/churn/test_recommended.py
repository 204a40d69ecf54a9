"""What speaks for a change, beside a slow count of the same."""

import datetime as dt
from itertools import groupby

import duckdb
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    EventSource,
    FeatureSet,
    Flag,
    Mart,
    Measure,
    UserTable,
)
from churn_orchestration.churn.watching.recommended import (
    always_full,
    episodes,
    saying_nothing,
    unread,
)

DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(28)]
DRAW = np.random.default_rng(3)


def test_a_feature_says_nothing_that_is_null_or_the_same_for_everybody() -> None:
    rows = pd.DataFrame(
        {
            "varies": [1.0, 2.0, None], "empty": [None, None, None], "same": [7, 7, 7],
            "here_and_there": [7.0, None, 7.0], 'word "x"': ["a", "a", "a"],
        }
    )  # fmt: skip
    more = {f"f{n}": [n, n, n + n % 2] for n in range(60)}
    rows = rows.assign(**more)
    with duckdb.connect() as db:
        db.register("rows", rows)
        found = {
            row for sql in saying_nothing(list(rows), "rows") for row in db.execute(sql).fetchall()
        }
    constant = {(f"f{n}", False, 3) for n in range(0, 60, 2)}
    assert found == {("empty", True, 3), ("same", False, 3), ('word "x"', False, 3)} | constant


def test_of_one_customer_every_feature_is_the_same_and_nothing_is_said() -> None:
    with duckdb.connect() as db:
        db.register("rows", pd.DataFrame({"a": [1]}))
        assert db.execute(next(saying_nothing(["a"], "rows"))).fetchall() == []


def test_a_column_is_read_by_a_measure_a_category_a_flag_a_key_or_a_select_of_ones_own() -> None:
    orders = EventSource(
        "orders", "silver.orders", "customer_id", "order", ("order_id",),
        measures=(Measure("amount", "Amount_usd"),), categories=(Category("channel", "channel"),),
        flags=(Flag("big", "basket > 3"),),
    )  # fmt: skip
    select = "select customer_id, count(tax) as taxed from silver.orders group by 1"
    own = UserTable(
        "own", "customer_id", select, (("taxed", "taxed"),), ("silver.orders",), "f.sql"
    )
    columns = ["order_id", "customer_id", "day", "known_on", "_partition", "amount_usd", "channel",
               "basket", "tax", "note"]  # fmt: skip
    plain = FeatureSet("customer_id", (orders,))
    assert unread(columns, [plain], "silver.orders") == ["tax", "note"]
    with_own = FeatureSet("customer_id", (orders,), own=(own,))
    assert unread(columns, [plain, with_own], "silver.orders") == ["note"]
    assert unread(["note", "day"], [plain], "silver.other") == ["note"]
    spent = "select customer_id, sum(tax) as taxed from silver.orders group by 1"
    mart = Mart(spent, "spent.sql", (("silver.orders", ("order_id",)),))
    with_mart = FeatureSet(
        "customer_id",
        (orders,),
        attributes=(AttributeTable("m", "marts.m", "customer_id", mart=mart),),
    )
    assert unread(columns, [with_mart], "silver.orders") == ["note"]


@pytest.mark.parametrize("seed", range(6))
def test_room_is_short_where_one_more_earned_more_than_its_cost_on_every_list(seed: int) -> None:
    draw = np.random.default_rng(seed)
    first = draw.integers(0, 12)
    rows = [
        (DAYS[day], action, price, cost)
        for action, cost in (("call", 2.0), ("mail", 1.0), (None, 0.0))
        for day in range(first, 28)
        for price in [float(draw.choice([1.5, 2.5, 3.0], p=[0.05, 0.45, 0.5]))]
        for _ in range(3)
        if not (action == "mail" and day == 20)
    ]
    lists = pd.DataFrame(rows, columns=["as_of", "best_action", "contact_price", "cost"])
    wanted = []
    for action in ("call", "mail"):
        window = {day: (p, c) for day, a, p, c in rows if a == action and day >= DAYS[14]}
        reaches = DAYS[14] in window
        if reaches and all(price > cost for price, cost in window.values()):
            prices = [price for price, _ in window.values()]
            wanted.append(
                (action, pytest.approx(np.mean(prices)), window[DAYS[14]][1], len(prices))
            )
    with duckdb.connect() as db:
        db.register("lists", lists)
        sql = always_full("lists", "best_action", "contact_price", "cost", DAYS[27], 2)
        assert db.execute(sql).fetchall() == wanted


def test_a_history_that_does_not_reach_back_is_no_reason_for_more_room() -> None:
    rows = [(day, "call", 5.0, 1.0) for day in DAYS[8:]]
    lists = pd.DataFrame(rows, columns=["as_of", "best_action", "contact_price", "cost"])
    with duckdb.connect() as db:
        db.register("lists", lists)
        for weeks, found in ((2, 1), (3, 0)):
            sql = always_full("lists", "best_action", "contact_price", "cost", DAYS[27], weeks)
            assert len(db.execute(sql).fetchall()) == found


def test_a_recommendation_is_an_unbroken_row_of_stored_days() -> None:
    stored = [day for n, day in enumerate(DAYS) if n != 9]  # a day that was never stored
    made = {
        (kind, subject): [day for day in stored if DRAW.random() < 0.7]
        for kind, subject in (("drop", "a"), ("drop", "b"), ("stop", "a"))
    }
    rows = pd.DataFrame(
        [
            {"kind": kind, "subject": subject, "advice": f"do {day}", "reason": f"for {day}",
             "measured_by": "q.log_loss", "declared": f"h{day}", "measured_on": day}
            for (kind, subject), days in made.items()
            for day in days
        ]
    )  # fmt: skip
    with duckdb.connect() as db:
        db.register("rows", rows.sample(frac=1, random_state=1))
        db.register("stored", pd.DataFrame({"day": stored}))
        found = db.execute(episodes("rows", "stored", DAYS[20])).df().to_dict("records")
    wanted = []
    until = [day for day in stored if day <= DAYS[20]]
    for (kind, subject), days in made.items():
        runs = groupby(enumerate(until), key=lambda each, days=days: each[1] in days)
        for holds, run in ((holds, [day for _, day in run]) for holds, run in runs):
            if holds:
                wanted.append((run[0], kind, subject, run[-1], run[-1] == until[-1]))
    wanted.sort()
    assert [
        (row["since"].date(), row["kind"], row["subject"], row["last"].date(), row["holds"])
        for row in found
    ] == wanted
    for row in found:
        assert row["reason"] == f"for {row['last'].date()}"
        assert row["declared"] == f"h{row['since'].date()}"
