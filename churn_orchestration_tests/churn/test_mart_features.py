"""Attributes that are a mart: its rows at any as_of, of what was known then; beside Python."""

import datetime as dt
import random

import duckdb
import pytest

from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    FeatureSet,
    Mart,
    Measure,
)
from churn_orchestration.churn.features.rings import attributes_at
from churn_orchestration.churn.features.source_rows import source_rows

SPENT = """\
-- One row per customer. spent: so far.
select customer_id, sum(amount) as spent, max(word) as word -- so far
from silver.orders where day > $as_of - 10 group by customer_id -- the end"""
FIRST = dt.date(2024, 1, 1)


def day(number):
    return FIRST + dt.timedelta(days=number)


def orders():
    """Versions of orders: id, customer, amount, word, day, known_on, _partition. The days before
    20 landed at once on it.
    """
    draw, rows = random.Random(7), []
    for number in range(120):
        on, customer = draw.randrange(40), draw.choice("abcd")
        for known in sorted({on, on + draw.choice([0, 0, 2, 15])}):
            landed = max(known, 20)
            moved = on + (known > on) * draw.randrange(3)
            row = (number, customer, draw.randrange(100), draw.choice("xyz"))
            rows.append((*row, *map(day, (moved, known, landed))))
    return rows


def by_hand(rows, as_of, late):
    """What is known of each customer at ``as_of``."""
    last = {}
    for row in sorted(rows, key=lambda row: (row[5], row[6])):
        if row[5] <= as_of and (not late or row[6] <= as_of):
            last[row[0]] = row
    spent, words = {}, {}
    for _, customer, amount, word, on, _, _ in last.values():
        if as_of - dt.timedelta(days=10) < on <= as_of:
            spent[customer] = spent.get(customer, 0) + amount
            words[customer] = max(words.get(customer, ""), word)
    return [(who, 100 * spent[who], int(words[who] == "z")) for who in sorted(spent)]


def attributes(late=(), select=SPENT):
    mart = Mart(select, "spent.sql", (("silver.orders", ("id",)),), late)
    return AttributeTable(
        "recent", "marts.spent", "customer_id", measures=(Measure("spent", "spent", decimals=2),),
        categories=(Category("word", "word", ("z",)),), mart=mart,
    )  # fmt: skip


@pytest.fixture(scope="module")
def db():
    with duckdb.connect() as db:
        db.execute(
            "create schema silver; create table silver.orders (id int, customer_id varchar, "
            "amount int, word varchar, day date, known_on date, _partition date)"
        )
        db.executemany("insert into silver.orders values (?, ?, ?, ?, ?, ?, ?)", orders())
        yield db


@pytest.mark.parametrize("late", [False, True])
def test_an_attribute_is_what_the_mart_says_of_what_was_known_at_as_of(db, late):
    table = attributes(("silver.orders",) if late else ())
    for number in range(0, 45, 3):
        rows = db.execute(f"from ({attributes_at(table, day(number))}) order by 1").fetchall()
        assert rows == by_hand(orders(), day(number), late)
        # Before the landing, a table that says nothing before it has no row.
        assert bool(rows) is not (late and number < 20)


def test_two_rows_of_a_customer_are_an_error_and_no_choice(db):
    table = attributes(select="select customer_id, amount as spent, word from silver.orders")
    with pytest.raises(duckdb.Error, match="marts.spent has several rows of one customer_id at"):
        db.execute(attributes_at(table, day(30))).fetchall()


def test_the_source_of_a_feature_of_a_mart_is_its_row_of_the_day(db):
    declared = FeatureSet("customer_id", (), attributes=(attributes(),))
    about = {"feature": "recent_spent", "source": "recent", "family": "recent_spent", "window": ""}
    for number in (12, 30, 44):
        counted = source_rows(declared, about, day(number))
        assert (counted.table, counted.first) == ("marts.spent", None)
        for who, cents, _ in by_hand(orders(), day(number), late=False):
            [row] = db.execute(f"select spent from ({counted.sql})", [who]).fetchall()
            assert row == (cents / 100,)
