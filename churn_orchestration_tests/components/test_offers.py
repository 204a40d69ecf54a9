"""Offers of a small shop: lists by day, the method that was chosen, the command, and refusals."""

import datetime as dt
import importlib.util
import random
from collections import defaultdict

import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.components.offers.offers import Offers
from churn_orchestration.components.tree import component_tree
from churn_orchestration.report.offers import recommend_report
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, metadata, why_not_loaded

LAYERS = (*UP_TO_FEATURES, "segments", "offers", "monitoring")
BUSINESS = """\
name: shop
landing: ${CHURN_DATA}/landing
history_from: 2023-10-01
start_date: 2024-01-31
end_date: 2024-02-05
"""
# The name ends as that of one of its tables.
OFFERS = """\
type: churn_orchestration.components.Offers
attributes:
  name: next_due
  features: customer_features
  table: silver.orders
  item: item_id
  horizon_days: 10
  window_days: 90
  unsold_days: 40
  most: 3
  segments: by_recency
  retired: {table: bronze.ends, item: item_id, retired_on: ends_on}
"""
SEGMENTS = """\
type: churn_orchestration.components.Segments
attributes:
  name: by_recency
  features: customer_features
  segments:
    - {name: gone, when: orders_days_since_last > 60}
  rest: {name: here}
"""
ENDS = """\
---
type: churn_orchestration.components.SourceTable
attributes:
  name: ends
  files: "ends_{day}.csv"
  columns:
    - {name: item_id, type: id, required: true}
    - {name: ends_on, type: date}
"""


@pytest.fixture
def selling(shop):
    """Forty customers who each buy two items together every week or so, from October to January;
    `old` bought once; p0 ends on 31 January.
    """
    shop.write("business.yaml", BUSINESS)
    shop.change("raw/defs.yaml", "  event_time", "    - {name: item_id, type: text}\n  event_time")
    (shop.folder / "raw/defs.yaml").write_text((shop.folder / "raw/defs.yaml").read_text() + ENDS)
    shop.change("silver/orders.sql", "day, amount", "day, item_id, amount")
    shop.write("segments/defs.yaml", SEGMENTS)
    shop.write("offers/defs.yaml", OFFERS)
    (shop.folder / "churn_90d/defs.yaml").unlink()
    draw = random.Random(5)
    for n in range(123):
        day = dt.date(2023, 10, 1) + dt.timedelta(days=n)
        rows = [f"x{n},old,{day} 09:00,5,p7"] if n == 4 else []
        for who in range(40):
            if draw.random() < 0.15:
                items = sorted({who % 8, (who + 1) % 8, draw.randrange(8)})
                rows += [f"o{n}-{who}-{item},c{who},{day} 10:00,5,p{item}" for item in items]
        rows += [f"u{n},c1,{day} 11:00,5,"] if n == 122 else []
        header = "order_id,customer_id,ordered_at,amount_usd,item_id\n"
        shop.land(f"orders_{day}.csv", header + "".join(f"{row}\n" for row in rows))
    shop.land("ends_2024-01-31.csv", "item_id,ends_on\np0,2024-01-31\np1,2024-02-01\n")
    return shop


def test_lists_are_ranked_graded_explained_and_kept(selling):
    selling.refresh(31, layers=LAYERS)
    day = JAN[31]
    lists = selling.published("from offers.next_due order by customer_id, rank")
    assert len(lists) == 41 * 3
    assert {row[1] for row in lists} == {day}
    assert "p0" not in {row[3] for row in lists}
    assert "p1" in {row[3] for row in lists}

    old = [row for row in lists if row[0] == "old"]
    sold = selling.rows(
        "select item_id from silver.orders where day > date '2024-01-01' and item_id <> 'p0' "
        "group by 1 order by count(distinct customer_id) desc, item_id limit 1"
    )
    assert [(row[2], row[5], row[6], row[8], row[9]) for row in old] == [
        (place, None, "popular", True, "popularity") for place in (1, 2, 3)
    ]
    assert old[0][3] == sold[0][0]
    warm = [row for row in lists if row[0] != "old"]
    assert all(0 < row[5] < 1 for row in warm)
    days = defaultdict(set)
    for who, item, on in selling.rows(
        "select customer_id, item_id, day from silver.orders where day > date '2023-11-02'"
    ):
        days[who, item].add(on)
    for row in warm:
        bought = days[row[0], row[3]]
        assert (row[7] is not None) == bool(bought) == row[6].startswith("bought before")
        if bought:
            assert row[6].startswith(f"bought before: {len(bought)} time")
            assert row[6].endswith(f"last on {max(bought)}")
    assert {(row[10], row[11]) for row in lists} == {(day, dt.date(2024, 2, 10))}

    figures = selling.published(
        "select as_of, method, metric, value, customers, is_used from monitoring.next_due_offers"
    )
    assert {str(row[0]) for row in figures} == {"2023-11-30", "2023-12-31"}
    assert {row[1] for row in figures} == {"popularity", "personal", "together", "ranker"}
    recalls = {row[0]: row[3:5] for row in figures if row[1:3] == ("popularity", "recall")}
    assert recalls[dt.date(2023, 12, 31)] == recall_of_popular(selling, dt.date(2023, 12, 31))
    means = {
        method: sum(row[3] * row[4] for row in figures if row[1:3] == (method, "ndcg"))
        for method in {row[1] for row in figures}
    }
    [used] = {row[1] for row in figures if row[5]}
    assert used == max(means, key=means.get)
    about = metadata(selling, "offers/next_due", day)
    assert about["method"].value == used
    assert about["cold_customers"].value == 1

    pairs = selling.published("select item, other, baskets from offers.next_due_pairs")
    both = selling.rows(
        "with bought as (select distinct customer_id, day, item_id from silver.orders where "
        "day > date '2023-11-02' and item_id is not null) select a.item_id, b.item_id, count(*) "
        "from bought as a join bought as b using (customer_id, day) "
        "where a.item_id <> b.item_id group by all having count(*) >= 5"
    )
    assert sorted(pairs) == sorted(both)
    unnamed = metadata(selling, "offers/next_due_pairs", day)
    assert unnamed["rows_without_item"].value == 1
    due = selling.published("select due_by, repeat_probability from offers.next_due_due")
    assert due
    assert all(by is None or by > day for by, _ in due)
    assert all(0 <= share <= 1 for _, share in due)

    facts, text = recommend_report(selling.business, None, "here", None, 2, 2)
    assert facts["segment"] == "by_recency:here"
    assert [row["rank"] for row in facts["rows"]] == [1, 2, 1, 2]
    best = max(row[5] for row in warm)
    assert facts["rows"][0]["buy_probability"] == best
    assert "orders the lists" in text
    facts, _ = recommend_report(selling.business, "next_due", "by_recency:gone", day, 9, 9)
    assert [row["customer_id"] for row in facts["rows"]] == ["old"] * 3
    for segment, words in (
        ("others:gone", 'no set of segments "others"'),
        ("x' or 1=1 --", 'nobody is in a segment "x\' or 1=1 --"'),
    ):
        with pytest.raises(BusinessError, match="--segment") as refusal:
            recommend_report(selling.business, None, segment, None, 2, 2)
        assert words in str(refusal.value)

    with at_work(selling.business) as work, work.warehouse.open() as tables:
        tree = component_tree(selling.business)
        [block] = tree.get_all_components(of_type=Offers)
        prepare = block.offering(tree, selling.business)[1]
        month_end, other = dt.date(2024, 1, 31), dt.date(2024, 1, 30)
        stored = block._store_pairs(dt.date(2024, 1, 1), prepare, tables, [other, month_end])
        assert stored.rows == {other: 0, month_end: len(pairs)}
        wrong = block.retired.model_copy(update={"retired_on": "item_id"})
        for update, words in (
            ({"quantity": "item_id"}, "quantity: silver.orders.item_id is varchar, no number"),
            ({"retired": wrong}, "retired_on: bronze.ends.item_id is varchar, no date"),
        ):
            other_block = block.model_copy(update=update)
            with pytest.raises(BusinessError, match=words) as refusal:
                other_block.offering(tree, selling.business)[1](tables)
            assert "offers/defs.yaml:3: next_due" in str(refusal.value)
        fits = prepare(tables)
        earlier = fits.ranker
        fits.ranker = lambda on: None if on == day else earlier(on)
        figures = fits._decide(day)["choice"]["figures"]
        assert {figure["method"] for figure in figures} == {"popularity", "personal", "together"}

    files = sorted(selling.business.state.glob("offers/*/*"))
    for fit in selling.business.state.glob("fits/next_due/*"):
        fit.unlink()
    selling.refresh(31, layers=["offers"])
    assert sorted(selling.business.state.glob("offers/*/*")) == files


def recall_of_popular(shop, as_of):
    """Of the three items that most customers bought in 30 days; and the customers who bought."""
    lines = shop.rows(
        "select customer_id, item_id, day from silver.orders where item_id is not null"
    )

    def days_before(day):
        return (as_of - day).days

    seen = [line for line in lines if 0 <= days_before(line[2]) < 90]
    recent = {(who, item) for who, item, day in seen if days_before(day) < 30}
    ever = {(who, item) for who, item, _ in seen}
    popular = sorted(
        {item for _, item in ever},
        key=lambda what: (
            -sum(item == what for _, item in recent),
            -sum(item == what for _, item in ever),
            what,
        ),
    )[:3]
    came = defaultdict(set)
    for who, item, day in lines:
        if -10 <= days_before(day) < 0 and who in {who for who, _ in ever}:
            came[who].add(item)
    shares = [len(items & set(popular)) / len(items) for items in came.values()]
    return pytest.approx((sum(shares) / len(shares), len(shares)))


def test_what_the_block_names_has_to_be_there(selling, monkeypatch):
    spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *others: None if name == "implicit" else spec(name, *others),
    )
    for old, new, words in (
        (
            "item: item_id\n  horizon",
            "item: sku\n  horizon",
            'item: silver.orders has no column "sku"',
        ),
        ("table: silver.orders", "table: silver.lines", "table: there is no silver.lines"),
        ("most: 3", "factors: 8", "factors: the library implicit is not installed: pip install"),
        ("by_recency", "by_colour", "segments: there is no by_colour (by_recency)"),
        ("retired_on: ends_on", "retired_on: over", 'retired_on: bronze.ends has no column "over"'),
    ):
        selling.change("offers/defs.yaml", old, new)
        refused = why_not_loaded(selling)
        assert "offers/defs.yaml:3: next_due" in refused
        assert words in refused
        selling.write("offers/defs.yaml", OFFERS)
