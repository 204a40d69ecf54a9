"""Items bought together: support, confidence and lift of every pair, counted in SQL."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

STRENGTHS = {"very_strong": (3, 0.5), "strong": (2, 0.3), "moderate": (1.5, 0.2), "weak": (1.2, 0)}
"""Of a pair: the least lift and confidence; below all, it has none."""
PER_PASS = 20_000_000
"""Pairs of items in baskets that are grouped at once; a pass of more would need memory that grows
with the baskets.
"""


def strength() -> str:
    """SQL: the name of a pair's strength."""
    cases = " ".join(
        f"when lift >= {lift} and confidence >= {confidence} then '{name}'"
        for name, (lift, confidence) in STRENGTHS.items()
    )
    return f"case {cases} end"


def count_pairs(
    db: "duckdb.DuckDBPyConnection",
    bought: str,
    result: str,
    min_baskets: int,
    most_items: int,
    per_item: int,
) -> None:
    """Make the table ``result`` of the pairs of a table of purchases.

    Parameters
    ----------
    bought : a table of (basket, item), each once
    min_baskets : in which a pair has to be
    most_items : a basket with more is left out of everything that is counted
    per_item : of each item, the pairs that are kept: those bought most often with it

    The result has one row per item and other item: ``baskets`` with both, ``item_baskets``,
    ``other_baskets``; ``support``, the share of all baskets that has both; ``confidence``, of those
    with the item; ``lift``, confidence over the share of all baskets that has the other one; and
    ``place`` among the pairs of the item.

    Source: Agrawal, Imielinski, Swami 1993 (support, confidence); Brin et al. 1997 (lift). An item
    that is in too few baskets is in no pair that counts (Agrawal, Srikant 1994).
    """
    db.execute(
        f"create or replace temp table _small as select basket, row_number() over () as code "
        f"from {bought} group by basket having count(*) <= {most_items}"
    )
    db.execute(
        "create or replace temp table _often as select item, count(*) as baskets, "
        "(row_number() over (order by count(*), item))::integer as code "
        f"from {bought} join _small using (basket) group by item "
        f"having count(*) >= {min_baskets}"
    )
    db.execute(
        "create or replace temp table _coded as select _small.code::integer as basket, "
        f"_often.code as item from {bought} join _small using (basket) join _often using (item) "
        "order by basket"
    )
    # A pair is in the pass of its rarer item: common ones meet most items, and would fill a pass.
    db.execute("create or replace temp table _both (a integer, b integer, baskets integer)")
    for first, last in _passes(db):
        db.execute(
            "insert into _both select a.item, b.item, count(*)::integer "
            "from _coded as a join _coded as b on a.basket = b.basket and a.item < b.item "
            f"where a.item between {first} and {last} group by all "
            f"having count(*) >= {min_baskets}"
        )
    db.execute(
        f"create or replace temp table {result} as "
        "with counted as (select a, b, baskets from _both union all "
        "select b, a, baskets from _both), "
        "every as (select count(*) as baskets from _small) "
        "select o.item as item, p.item as other, c.baskets::bigint as baskets, "
        "o.baskets as item_baskets, p.baskets as other_baskets, "
        "c.baskets / every.baskets as support, c.baskets / o.baskets as confidence, "
        "c.baskets::double * every.baskets / (o.baskets::double * p.baskets) as lift, "
        "row_number() over (partition by c.a order by c.baskets desc, p.baskets, p.item) as place "
        "from counted as c join _often as o on o.code = c.a join _often as p on p.code = c.b, "
        f"every qualify place <= {per_item} order by item, place"
    )
    for table in ("_small", "_often", "_coded", "_both"):
        db.execute(f"drop table {table}")


def _passes(db: "duckdb.DuckDBPyConnection") -> list[tuple[int, int]]:
    """Ranges of the rarer item, each with about PER_PASS pairs in baskets."""
    return db.execute(
        "with placed as (select item, count(*) over (partition by basket order by item rows "
        "between 1 following and unbounded following) as pairs from _coded), "
        "each_item as (select item, sum(pairs) as pairs from placed group by item), "
        "summed as (select item, sum(pairs) over (order by item) as pairs from each_item) "
        f"select min(item), max(item) from summed group by pairs // {PER_PASS} order by 1"
    ).fetchall()
