"""Offers next to slow oracles: pairs, candidates, grades, the choice, and when an item is due."""

import datetime as dt
import importlib.util
import math
import random
from collections import Counter, defaultdict
from itertools import combinations

import duckdb
import pandas as pd
import pytest

from churn_orchestration.churn.calendar import DAY, Horizon
from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.churn.offers import factors, pairs
from churn_orchestration.churn.offers.candidates import (
    FEATURES,
    OFFERED,
    PEOPLE,
    show_candidates,
    show_history,
    show_offered,
)
from churn_orchestration.churn.offers.declared import Offering, Retired
from churn_orchestration.churn.offers.due import ages, due, intervals, survival
from churn_orchestration.churn.offers.grading import choose, graded, ranked
from churn_orchestration.churn.offers.pairs import count_pairs

DAY_0 = dt.date(2024, 1, 1)
AS_OF = DAY_0 + DAY * 59


def offering(**other):
    """Purchases of a shop: all they say is a day, who, what and in which order."""
    said = {
        "name": "next", "entity": "who", "source": EventSource("next", "lines", "who", "purchase"),
        "item": "what", "basket": "order", "quantity": None, "window_days": 60, "recent_days": 20,
        "horizon": Horizon(10), "most": 3, "again_after": 0, "unsold_days": 60, "retired": None,
        "min_baskets": 2, "most_items": 6, "factors": None,
    }  # fmt: skip
    return Offering(**said | other)


@pytest.fixture(scope="module")
def lines():
    """Some hundred orders: who, order, what, quantity, day, known on; drawn once."""
    draw = random.Random(7)
    result = []
    for order in range(400):
        who, day = f"c{draw.randrange(30)}", DAY_0 + DAY * draw.randrange(70)
        for _ in range(draw.choice([1, 2, 3, 4, 9])):
            what = f"p{min(draw.randrange(20), draw.randrange(20))}"
            known = day + DAY * draw.choice([0, 0, 0, 5])
            result.append((who, f"o{order}", what, draw.choice([1, 1, 2, 0]), day, known))
    return result


@pytest.fixture
def db(lines):
    with duckdb.connect() as connection:
        connection.execute(
            'create table lines (who varchar, "order" varchar, what varchar, quantity integer, '
            "day date, known_on date)"
        )
        connection.execute("alter table lines add column _partition date")
        columns = [list(column) for column in zip(*lines, strict=True)]
        connection.execute(
            "insert into lines select *, null from "
            "(select unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), unnest($6))",
            columns,
        )
        yield connection


def known(lines, as_of=AS_OF, window=60):
    """The purchases that count on a day: who, order, what, day; each once."""
    return {
        (who, order, what, day)
        for who, order, what, _, day, known_on in lines
        if known_on <= as_of and as_of - DAY * (window - 1) <= day <= as_of
    }


def test_pairs_are_counted_as_an_oracle_counts_them_in_one_pass_or_in_many(db, lines, monkeypatch):
    baskets = defaultdict(set)
    for _, order, what, _ in known(lines):
        baskets[order].add(what)
    small = {order: items for order, items in baskets.items() if len(items) <= 6}
    assert len(small) < len(baskets)
    alone, both = Counter(), Counter()
    for items in small.values():
        alone.update(items)
        both.update(combinations(sorted(items), 2))
    expected = {}
    for (a, b), count in both.items():
        for item, other in ((a, b), (b, a)):
            if count >= 4:
                confidence = count / alone[item]
                lift = confidence / (alone[other] / len(small))
                expected[item, other] = (count, count / len(small), confidence, lift)
    db.execute(f"create table bought as {offering().known(AS_OF)}")
    for per_pass in (10**9, 40):
        monkeypatch.setattr(pairs, "PER_PASS", per_pass)
        count_pairs(db, "bought", "counted", 4, 6, 100)
        rows = db.execute(
            "select item, other, baskets, support, confidence, lift from counted"
        ).fetchall()
        assert {(item, other): tuple(of) for item, other, *of in rows} == {
            pair: pytest.approx(of) for pair, of in expected.items()
        }
    count_pairs(db, "bought", "counted", 4, 6, 2)
    kept = Counter(item for (item,) in db.execute("select item from counted").fetchall())
    assert set(kept.values()) <= {1, 2}
    assert set(kept) == {item for item, _ in expected}


def shown(db, of, as_of=AS_OF):
    """The candidates of everybody on a day, as records."""
    show_history(db, of, as_of)
    show_offered(db, of, as_of)
    count_pairs(db, "_offers_bought", "counted", of.min_baskets, of.most_items, 100)
    db.execute(f"create or replace temp table everybody as select entity from {PEOPLE}")
    show_candidates(db, of, as_of, "everybody", "counted", None, "candidates")
    return db.execute("from candidates order by entity, item").df().to_dict("records")


def test_what_is_known_of_a_candidate_is_what_an_oracle_reads_from_the_purchases(db, lines):
    rows = shown(db, offering())
    seen = known(lines)
    together = {
        (item, other): count / math.sqrt(one * two)
        for item, other, count, one, two in db.execute(
            "select item, other, baskets, item_baskets, other_baskets from counted"
        ).fetchall()
    }
    assert len(rows) > 200
    for row in rows:
        who, item = row["entity"], row["item"]
        own = [(order, what, day) for of, order, what, day in seen if of == who]
        mine = {(order, day) for order, what, day in own if what == item}
        recent = {(of, what) for of, _, what, day in seen if day > AS_OF - DAY * 20}
        assert row["own_baskets"] == len(mine)
        assert row["entity_baskets"] == len({order for order, _, _ in own})
        assert row["entity_days_since"] == (AS_OF - max(day for *_, day in own)).days
        if mine:
            assert row["own_days_since"] == (AS_OF - max(day for _, day in mine)).days
        buyers = {of for of, what in recent if what == item}
        assert row["item_recent"] == pytest.approx(len(buyers) / len({of for of, _ in recent}))
        near = sum(together.get((what, item), 0) for what in {what for _, what, _ in own})
        assert row["together"] == pytest.approx(near, abs=1e-6)
    assert set(FEATURES) < set(rows[0])


def test_rows_of_later_days_and_rows_known_later_change_no_candidate(db):
    before = shown(db, offering())
    db.execute(f"delete from lines where day > date '{AS_OF}' or known_on > date '{AS_OF}'")
    after = shown(db, offering())
    assert str(before) == str(after)
    db.execute(f"update lines set known_on = date '{AS_OF + DAY}' where what = 'p0'")
    assert str(shown(db, offering())) != str(after)


def test_what_was_bought_before_is_offered_as_the_rule_of_repurchase_says(db, lines):
    last = {}
    for who, _, what, day in known(lines):
        last[who, what] = max(day, last.get((who, what), day))
    kept = {(row["entity"], row["item"]) for row in shown(db, offering())}
    assert kept & set(last) == set(last)
    new = {(row["entity"], row["item"]) for row in shown(db, offering(again_after=None))}
    assert new
    assert not new & set(last)
    later = {(row["entity"], row["item"]) for row in shown(db, offering(again_after=30))}
    assert later & set(last) == {pair for pair, day in last.items() if day <= AS_OF - DAY * 30}
    assert AS_OF - DAY * 30 in last.values()


def test_an_item_is_not_offered_once_it_is_retired_or_nobody_buys_it(db, lines):
    db.execute("create table ends (what varchar, ends_on date, known_on date, _partition date)")
    db.execute(
        f"insert into ends values ('p0', '{AS_OF}', '{DAY_0}', null), "
        f"('p1', '{AS_OF + DAY}', '{DAY_0}', null), ('p2', '{DAY_0}', '{AS_OF + DAY}', null), "
        f"('p3', '{DAY_0}', '{DAY_0}', null), ('p3', null, '{DAY_0 + DAY}', null)"
    )
    of = offering(retired=Retired("ends", "what", "ends_on"), unsold_days=7)
    items = {row["item"] for row in shown(db, of)}
    sold = {what for *_, what, day in known(lines) if day > AS_OF - DAY * 7}
    assert {(item,) for item in sold - {"p0"}} == set(
        db.execute(f"select item from {OFFERED}").fetchall()
    )
    assert items <= sold - {"p0"}
    assert {"p1", "p2", "p3"} <= items


def test_an_item_that_retires_within_a_day_is_retired_on_that_day(db):
    db.execute(
        f"create table ends as select 'p0' as what, timestamp '{AS_OF} 17:30' as ends_on, "
        f"date '{DAY_0}' as known_on, null::date as _partition"
    )
    of = offering(retired=Retired("ends", "what", "ends_on"))
    assert "p0" not in {row["item"] for row in shown(db, of)}


def test_an_item_of_an_order_is_bought_once_though_its_rows_have_several_days(db):
    db.execute("delete from lines where \"order\" <> 'o1'")
    db.execute(f"update lines set day = '{DAY_0}', known_on = '{DAY_0}'")
    db.execute(
        "insert into lines select * replace (day + 1 as day, known_on + 1 as known_on) from lines"
    )
    bought = db.execute(f"select basket, day, item from ({offering().known(AS_OF)})").fetchall()
    assert len(bought) == len({item for *_, item in bought}) > 0
    assert {(basket, day) for basket, day, _ in bought} == {("o1", DAY_0)}


def test_as_many_popular_items_are_candidates_as_are_offered(db):
    db.execute(
        "insert into lines select 'c' || range, 'x', 'q' || range, 1, "
        f"date '{AS_OF}', date '{AS_OF}', null from range(40)"
    )
    rows = Counter(row["entity"] for row in shown(db, offering(most=45)))
    assert min(rows.values()) >= 45


def test_rows_that_are_no_purchase_do_not_count(db, lines):
    bought = {
        (who, order, what, day)
        for who, order, what, quantity, day, known_on in lines
        if quantity > 0 and known_on <= AS_OF and day <= AS_OF
    }
    rows = db.execute(
        f"from ({offering(quantity='quantity').known(AS_OF)}) order by all"
    ).fetchall()
    assert {(who, order, what, day) for who, what, order, day in rows} == bought
    rows = db.execute(f"from ({offering(window_days=30).known(AS_OF)})").fetchall()
    assert {(who, order, what, day) for who, what, order, day in rows} == known(lines, window=30)
    days = db.execute(
        f"select distinct basket from ({offering(basket=None).known(AS_OF)})"
    ).fetchall()
    assert {basket for (basket,) in days} == {f"{who} {day}" for who, _, _, day in known(lines)}


def test_grades_are_those_of_an_oracle(db):
    rows = shown(db, offering())
    draw = random.Random(3)
    came = {(f"c{draw.randrange(30)}", f"p{draw.randrange(20)}") for _ in range(80)}
    db.execute("create table came (entity varchar, item varchar)")
    db.executemany("insert into came values (?, ?)", sorted(came))
    lists = db.execute(f"from ({ranked('candidates', 'personal', 3)})").fetchall()
    by_who = defaultdict(dict)
    for who, item, rank in lists:
        by_who[who][rank] = item
    expected = {}
    for who in {who for who, _ in came}:
        bought = {item for of, item in came if of == who}
        hits = [rank for rank, item in by_who[who].items() if item in bought]
        best = sum(1 / math.log2(rank + 1) for rank in range(1, min(3, len(bought)) + 1))
        gain = sum(1 / math.log2(rank + 1) for rank in hits)
        expected[who] = (len(hits) / len(bought), gain / best)
    result = db.execute(graded(ranked("candidates", "personal", 3), "from came", 3)).fetchall()
    assert {who: grades for who, *grades in result} == {
        who: pytest.approx(grades) for who, grades in expected.items()
    }
    first = {row["entity"]: row for row in rows}
    mine = {who: max(r["own_baskets"] for r in rows if r["entity"] == who) for who in first}
    for who, items in by_who.items():
        [top] = [r for r in rows if (r["entity"], r["item"]) == (who, items[1])]
        assert top["own_baskets"] == mine[who]


def test_the_method_that_was_best_is_used_and_its_lead_is_by_customer():
    days = ("2024-01-31", "2024-02-29")
    personal = {(day, f"c{n}"): (0.1, 0.2) for day in days for n in range(50)}
    better = {key: (0.1, 0.3 + 0.1 * (key[1] == "c1")) for key in personal}
    popular = dict.fromkeys(personal, (0.9, 0.1))
    grades = {"popularity": popular, "personal": personal, "ranker": better}
    choice = choose(grades)
    lead, low, high = choice.lead
    assert choice.method == "ranker"
    assert lead == pytest.approx(0.102)
    # One customer of fifty is 0.1 above the others: its spread over 50 customers, not 100 rows.
    spread = math.sqrt(50) * math.sqrt(49 / 50) * 0.1 / math.sqrt(50) * 1.96 / 50
    assert high - lead == pytest.approx(lead - low) == pytest.approx(spread, rel=1e-6)
    recalls = [f["value"] for f in choice.figures if f["metric"] == "recall"]
    assert recalls == pytest.approx([0.9, 0.9, 0.1, 0.1, 0.1, 0.1])
    same = choose({"popularity": popular, "personal": personal, "ranker": personal})
    assert (same.method, same.lead) == ("personal", None)


def test_an_item_is_due_when_half_of_such_purchases_had_come():
    """Everybody buys every 10 days, but for those who stop: a day is due by what others did."""
    rows = [
        (f"c{n}", "p", DAY_0 + DAY * 10 * time + DAY * ((n + time) % 3))
        for n in range(200)
        for time in range(2 + n % 4)
    ]
    as_of = DAY_0 + DAY * 33
    past = [row for row in rows if row[2] <= as_of]
    with duckdb.connect() as db:
        columns = [list(column) for column in zip(*past, strict=True)]
        db.execute(
            "create table own as select unnest($1) as entity, "
            "unnest($2) as item, unnest($3) as day",
            columns,
        )
        db.execute(f"create table measured as {intervals('from own')}")
        measured = db.execute("from measured").df()
        counted = db.execute(ages("from measured", as_of)).fetchall()
        db.execute("create table curve (habit integer, age double, share double)")
        for habit in {row[0] for row in counted}:
            steps = survival([row[1:] for row in counted if row[0] == habit])
            db.executemany("insert into curve values (?, ?, ?)", [(habit, *s) for s in steps])
        result = db.execute(due("from measured", "curve", as_of, 10)).df()
        curve = db.execute("from curve where habit = 1 order by age").fetchall()
    waiting = measured[measured["next_days"].isna()]
    assert len(result) == len(waiting) == 200
    assert (result["due_by"].dropna().dt.date > as_of).all()
    for row in result[result["purchases"] < 4].to_dict("records"):
        age = (as_of - row["last_bought_on"].date()).days / row["usual_days"]
        now = [share for _, at, share in curve if at <= age + 1e-4][-1]
        ahead = [at for _, at, share in curve if share <= now / 2]
        later = [share for _, at, share in curve if at <= age + 10 / row["usual_days"] + 1e-4][-1]
        assert row["repeat_probability"] == pytest.approx(1 - later / now, abs=0.02)
        if ahead:
            days = max(math.ceil(ahead[0] * row["usual_days"] - 0.02), 1)
            expected = max(row["last_bought_on"].date() + DAY * days, as_of + DAY)
            assert abs((row["due_by"].date() - expected).days) <= 1
        else:
            assert row["due_by"] != row["due_by"]  # null


def test_what_everybody_buys_on_the_seventh_day_is_due_on_the_seventh_day():
    """7 days are 1.0145 usual intervals: a curve of whole hundredths must not make 8 of them."""
    with duckdb.connect() as db:
        db.execute(
            "create table measured as select 'c' || n as entity, 'p' as item, 2 as purchases, "
            f"date '{AS_OF}' - if(n = 0, 4, 20) as day, if(n = 0, null, 7) as next_days, "
            "6.9 as usual_days from range(20) as t(n)"
        )
        counted = db.execute(ages("from measured", AS_OF)).fetchall()
        db.execute("create table curve (habit integer, age double, share double)")
        for age, share in survival([row[1:] for row in counted]):
            db.execute("insert into curve values (1, ?, ?)", [age, share])
        result = db.execute(
            "select due_by, repeat_probability from "
            f"({due('from measured', 'curve', AS_OF, 3)}) where entity = 'c0'"
        ).fetchall()
    assert result == [(AS_OF + DAY * 3, 1.0)]


def test_the_curve_of_repeat_purchases_is_that_of_kaplan_and_meier():
    draw = random.Random(1)
    rows = [(draw.randrange(1, 40), draw.random() < 0.6) for _ in range(300)]
    counted = sorted(
        (age, sum(c for a, c in rows if a == age), sum(a == age for a, _ in rows))
        for age in {age for age, _ in rows}
    )
    result = survival(counted)
    for age, share in result:
        slow = 1.0
        for at in sorted({a for a, came in rows if came and a / 100 <= age}):
            slow *= 1 - sum(a == at and c for a, c in rows) / sum(a >= at for a, _ in rows)
        assert share == pytest.approx(slow)


@pytest.mark.skipif(
    importlib.util.find_spec("implicit") is None, reason="the extra `offers` is not installed"
)
def test_a_factorisation_knows_the_taste_of_a_customer_whatever_the_order_of_the_ids(monkeypatch):
    """Two tastes of ten items each; everybody lacks one item of the own taste."""
    own = pd.DataFrame(
        [
            (f"c{who:02}", f"p{10 * (who % 2) + item:02}", 1 + (item == who % 7))
            for who in range(40)
            for item in range(10)
            if item != who // 2 % 10
        ],
        columns=["entity", "item", "baskets"],
    )
    items = own["item"].drop_duplicates().sort_values()
    everybody = own["entity"].drop_duplicates()
    scores = factors.factorise(own, 2).scores(everybody, items, 10)
    assert len(scores) == 40 * 10
    for who in range(40):
        of = scores[scores["entity"] == f"c{who:02}"]
        assert {int(item[1:]) // 10 for item in of["item"]} == {who % 2}
    monkeypatch.setattr(factors, "PER_PASS", 60)  # three customers
    again = factors.factorise(own, 2).scores(everybody[::-1], items, 10)
    key = ["entity", "item"]
    assert (
        scores.sort_values(key)
        .reset_index(drop=True)
        .equals(again.sort_values(key).reset_index(drop=True))
    )
