"""Which items may be offered to whom, and what is known of each: all from one as_of's history."""

import datetime as dt
from typing import TYPE_CHECKING

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.offers.declared import Offering
from churn_orchestration.churn.sql import literal

if TYPE_CHECKING:
    import duckdb

BOUGHT, ITEMS, OWN, PEOPLE, OFFERED = (
    "_offers_bought", "_offers_items", "_offers_own", "_offers_people", "_offers_offered",
)  # fmt: skip
"""Tables of an as_of: purchases; items; items of an entity; entities; items that may be offered."""
POPULAR, PERSONAL, TOGETHER, FACTORS, RANKER = (
    "popularity", "personal", "together", "factors", "ranker",
)  # fmt: skip
METHODS = {
    POPULAR: "what most customers bought lately",
    PERSONAL: "what the customer bought most often, then what is popular",
    TOGETHER: "what is bought together with what the customer bought, then what is popular",
    FACTORS: "a factorisation of who bought what",
    RANKER: "a ranker of all of these, learned from earlier month-ends",
}
NEAREST, COMMON = 25, 20
"""Candidates of a customer by what goes with theirs or a factorisation; by popularity,
or as many as are offered, if these are more."""
MOST_OWN = 60
"""Items of a customer that are candidates, and by which others are looked up: the newest."""
FEATURES = (
    "own_baskets", "own_share", "own_days_since", "own_due", "entity_baskets",
    "entity_days_since", "entity_due", "item_recent", "item_all", "item_trend", "item_repeats",
    "item_age", "together", "factors",
)  # fmt: skip
"""What a ranker reads of a customer and an item."""


def show_history(db: "duckdb.DuckDBPyConnection", offering: Offering, as_of: dt.date) -> None:
    """Make the tables of what is known at the end of ``as_of``: purchases, items, entities."""
    day = literal(as_of)
    recent = literal(as_of - DAY * offering.recent_days)
    db.execute(f"create or replace temp table {BOUGHT} as {offering.known(as_of)}")
    db.execute(
        f"create or replace temp table {PEOPLE} as select entity, "
        "count(distinct basket) as baskets, count(distinct day) as days, "
        "max(day) as last_day, min(day) as first_day "
        f"from {BOUGHT} group by entity"
    )
    db.execute(
        f"create or replace temp table {OWN} as select entity, item, count(*) as baskets, "
        "count(distinct day) as days, min(day) as first_day, max(day) as last_day "
        f"from {BOUGHT} group by all"
    )
    db.execute(
        f"create or replace temp table {ITEMS} as with "
        f"buyers as (select item, count(*) as buyers, avg((days > 1)::integer) as repeats, "
        f"min(first_day) as first_day, max(last_day) as last_day from {OWN} group by item), "
        f"recent as (select item, count(distinct entity) as recent from {BOUGHT} "
        f"where day > {recent} group by item), "
        f"shop as (select count(*) as people, "
        f"greatest(1, count(*) filter (last_day > {recent})) as recent from {PEOPLE}) "
        "select b.item as item, coalesce(r.recent, 0) / shop.recent as recent, "
        "b.buyers / shop.people as every, b.repeats as repeats, "
        f"{day} - b.first_day as age, b.last_day as last_day "
        "from buyers as b left join recent as r using (item), shop"
    )


def show_offered(db: "duckdb.DuckDBPyConnection", offering: Offering, as_of: dt.date) -> None:
    """Make the table of the items that may be offered on a day: sold lately, and not retired."""
    db.execute(
        f"create or replace temp table {OFFERED} as select item from {ITEMS} "
        f"where last_day > {literal(as_of - DAY * offering.unsold_days)}"
    )
    if offering.retired:
        db.execute(f"delete from {OFFERED} where item in ({offering.retired.items(as_of)})")


def allowed(offering: Offering, as_of: dt.date) -> str:
    """SQL condition on the last day on which a customer bought an item, null if never: whether the
    item may be offered to them again.
    """
    if offering.again_after is None:
        return "last_day is null"
    return f"(last_day is null or last_day <= {literal(as_of - DAY * offering.again_after)})"


def show_candidates(
    db: "duckdb.DuckDBPyConnection",
    offering: Offering,
    as_of: dt.date,
    entities: str,
    pairs: str,
    factors: str | None,
    result: str,
) -> None:
    """Make the table ``result``: one row per entity and item that may be offered to it, with
    FEATURES.

    Parameters
    ----------
    entities : a table of entities, as text, who have bought in the window
    pairs : a table of ``count_pairs``
    factors : a table of entity, item and score; None: nothing is factorised

    The tables of ``show_history`` and ``show_offered`` are those of ``as_of``.
    """
    may, common = allowed(offering, as_of), max(COMMON, offering.most)
    db.execute(
        f"create or replace temp table _mine as select o.* from {OWN} as o "
        f"semi join {entities} using (entity) qualify row_number() over "
        f"(partition by entity order by last_day desc, baskets desc, item) <= {MOST_OWN}"
    )
    db.execute(
        "create or replace temp table _near as select entity, item, score from ("
        "select m.entity as entity, p.other as item, "
        # Whole numbers: the order in which floating numbers are summed differs from run to run.
        "sum((1e9 * p.baskets / sqrt(p.item_baskets::double * p.other_baskets))::bigint)::double "
        "/ 1e9 as score "
        f"from _mine as m join {pairs} as p on p.item = m.item group by all) "
    )
    sources = [
        f"select entity, item from _mine semi join {OFFERED} using (item) where {may}",
        _first("_near", may, NEAREST),
        f"select entity, item from (select entity, item from {entities}, (select item from {ITEMS} "
        f"semi join {OFFERED} using (item) order by recent desc, item limit {common})) "
        f"left join {OWN} using (entity, item) where {may}",
    ]
    sources += [_first(factors, may, NEAREST)] if factors else []
    day, factor = literal(as_of), "coalesce(f.score, 0)" if factors else "0::double"
    join = f"left join {factors} as f using (entity, item)" if factors else ""
    db.execute(
        f"create or replace temp table {result} as with chosen as ({' union '.join(sources)}) "
        "select entity, item, coalesce(o.baskets, 0)::double as own_baskets, "
        "coalesce(o.baskets, 0) / p.baskets as own_share, "
        f"({day} - o.last_day)::double as own_days_since, "
        f"({day} - o.last_day) * (o.days - 1) / nullif(o.last_day - o.first_day, 0) as own_due, "
        "p.baskets::double as entity_baskets, "
        f"({day} - p.last_day)::double as entity_days_since, "
        f"({day} - p.last_day) * (p.days - 1) / nullif(p.last_day - p.first_day, 0) as entity_due, "
        "i.recent as item_recent, i.every as item_all, "
        "i.recent / i.every as item_trend, i.repeats as item_repeats, "
        "i.age::double as item_age, coalesce(n.score, 0) as together, "
        f"{factor} as factors, o.last_day as last_bought_on "
        f"from chosen join {PEOPLE} as p using (entity) join {ITEMS} as i using (item) "
        f"left join {OWN} as o using (entity, item) left join _near as n using (entity, item) "
        f"{join}"
    )
    for table in ("_mine", "_near"):
        db.execute(f"drop table {table}")


def _first(scored: str, may: str, most: int) -> str:
    """SQL: of each entity, the items with the highest scores of those that may be offered."""
    return (
        f"select entity, item from (select entity, item, score from {scored} "
        f"semi join {OFFERED} using (item) left join {OWN} using (entity, item) where {may} "
        f"qualify row_number() over (partition by entity order by score desc, item) <= {most})"
    )


def order(method: str) -> str:
    """SQL: by what a method orders the candidates of an entity, the best first; ties by the item,
    so that the order of storage never decides.
    """
    popular = "item_recent desc, item_all desc, item"
    by = {
        POPULAR: popular,
        PERSONAL: f"own_baskets desc, own_days_since nulls last, {popular}",
        TOGETHER: f"together desc, {popular}",
        FACTORS: f"factors desc, {popular}",
        RANKER: f"ranker desc, {popular}",
    }
    return by[method]
