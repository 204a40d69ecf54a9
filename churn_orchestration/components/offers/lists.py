"""The offers of a day: of every customer, the items at the top, with a probability and why."""

import datetime as dt

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.offers.candidates import (
    FACTORS,
    ITEMS,
    OFFERED,
    OWN,
    PEOPLE,
    PERSONAL,
    POPULAR,
    RANKER,
    TOGETHER,
    order,
    show_history,
    show_offered,
)
from churn_orchestration.churn.offers.declared import COLD, PROBABILITY, RANK, SCORE, WHY
from churn_orchestration.churn.offers.due import ages, due, intervals, survival
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.offers.fits import OfferFits
from churn_orchestration.components.question.day_rows import Columns
from churn_orchestration.storage.files import literal_parquet

SLICE = 5_000
"""Customers whose candidates are in memory at once."""
SCORES = {
    POPULAR: "item_recent", PERSONAL: "own_share", TOGETHER: "together", FACTORS: "factors",
    RANKER: RANKER,
}  # fmt: skip
"""What a method's score is."""
COLUMNS: Columns = {
    RANK: ("bigint", "1 is offered first"),
    "item": ("text", "what is offered"),
    SCORE: ("double", "by which the method orders; only comparable within the method"),
    PROBABILITY: (
        "double",
        "probability that the customer buys it within the horizon, 0 to 1; null: a cold customer, "
        "or no outcome of such scores was known at the month-end",
    ),
    WHY: ("text", "bought before, together with another item, by customers alike, or popular"),
    "last_bought_on": ("date", "when the customer last bought it; null: not in the window"),
    COLD: ("boolean", "nothing is known of the customer in the window: the list is the segment's"),
    "method": ("text", "what ordered the list; see monitoring"),
    "fitted_on": ("date", "the month-end at which that was decided"),
    "outcome_known_on": ("date", "the day on which it is known what was bought"),
}
PAIR_COLUMNS: Columns = {
    "item": ("text", "of a basket"),
    "other": ("text", "another one that is in the same baskets"),
    "place": ("bigint", "1 is the one that is most often bought with the item"),
    "baskets": ("bigint", "with both"),
    "item_baskets": ("bigint", "with the item"),
    "other_baskets": ("bigint", "with the other one"),
    "support": ("double", "share of all baskets that have both"),
    "confidence": ("double", "share of the item's baskets that have the other one too"),
    "lift": ("double", "confidence over the share of all baskets that have the other one"),
    "strength": ("text", "by lift and confidence; null: no stronger than chance, or hardly"),
    "counted_on": ("date", "the day at whose end the baskets were known"),
}
DUE_COLUMNS: Columns = {
    "item": ("text", "bought on at least two days of the window"),
    "last_bought_on": ("date", "the last of them"),
    "purchases": ("bigint", "days on which it was bought"),
    "usual_days": (
        "double",
        "between two purchases: the customer's own mean, shrunken to what is usual of the item and "
        "of the customer",
    ),
    "due_by": (
        "date",
        "the first day by which half of such purchases came that were still waited for; null: "
        "fewer than half ever do",
    ),
    "repeat_probability": ("double", "that it is bought again within the horizon, 0 to 1"),
}


def show_list(fits: OfferFits, day: dt.date, customers: str, segments: str | None) -> None:
    """Make the table ``_offers`` of a day: entity as text, and COLUMNS.

    Parameters
    ----------
    customers : a select of the entities that get offers, as text, each once
    segments : a select of entity, as text, and segment; None: all are one
    """
    tables, offering = fits.tables, fits.offering
    db, month_end = tables.db, fits.month_end(day)
    choice, calibration = fits.choice(month_end), fits.calibration(month_end)
    method, pairs = choice.method if choice else PERSONAL, fits.pairs(month_end)
    ranker = fits.ranker(month_end) if calibration or method == RANKER else None
    show_history(db, offering, day)
    show_offered(db, offering, day)
    db.execute(
        "create or replace temp table _offers (entity varchar, rank bigint, item varchar, "
        "score double, buy_probability double, why varchar, last_bought_on date, is_cold boolean)"
    )
    db.execute(
        f"create or replace temp table _customers as select entity, (row_number() over (order by "
        f"entity) - 1) // {SLICE} as slice from ({customers}) semi join {PEOPLE} using (entity)"
    )
    slices = tables.rows("select distinct slice from _customers order by 1")
    for (number,) in slices:
        db.execute(
            "create or replace temp table _slice as select entity from _customers "
            f"where slice = {number}"
        )
        fits.show(day, "_slice", pairs, "_candidates")
        scored = "select *, null::double as ranker, null::double as probability from _candidates"
        if ranker:
            rows = db.execute("from _candidates order by entity, item").df()
            scores = ranker.scores(rows)
            shares = calibration.probabilities(scores) if calibration else None
            db.register("_scored", rows.assign(ranker=scores, probability=shares))
            scored = "select * replace (probability::double as probability) from _scored"
        db.execute(
            f"create or replace temp table _best as select *, row_number() over (partition by "
            f"entity order by {order(method)}) as rank from ({scored}) "
            f"qualify rank <= {offering.most}"
        )
        if ranker:
            db.unregister("_scored")
        db.execute(
            "insert into _offers select entity, rank, item, "
            f"{SCORES[method]}, probability, {_why(literal_parquet(pairs))}, last_bought_on, false "
            "from _best"
        )
    _add_cold(fits, day, customers, segments)


def _why(pairs: str) -> str:
    """SQL: why an item of ``_best`` is offered."""
    companion = (
        f"select p.item from {OWN} as o join {pairs} as p on p.item = o.item "
        "where o.entity = _best.entity and p.other = _best.item "
        "order by p.baskets / sqrt(p.item_baskets::double * p.other_baskets) desc, p.item limit 1"
    )
    times = "own_baskets::bigint || case when own_baskets = 1 then ' time' else ' times' end"
    return (
        f"case when own_baskets > 0 then 'bought before: ' || {times} || ', last on ' || "
        f"last_bought_on::date when together > 0 then 'bought together with ' || ({companion}) "
        "when factors > 0 then 'bought by customers who buy alike' else 'popular' end"
    )


def _add_cold(fits: OfferFits, day: dt.date, customers: str, segments: str | None) -> None:
    """Give those of whom nothing is known what is popular in their segment, then in the shop."""
    offering, db = fits.offering, fits.tables.db
    recent = literal(day - DAY * offering.recent_days)
    of = segments or "select null::varchar as entity, null::varchar as segment where false"
    db.execute(
        f"create or replace temp table _cold as select c.entity as entity, s.segment as segment "
        f"from ({customers}) as c anti join {PEOPLE} using (entity) left join ({of}) as s "
        "using (entity)"
    )
    db.execute(
        "create or replace temp table _popular as with of_segment as ("
        "select s.segment as segment, o.item as item, count(distinct o.entity) as people "
        f"from {OWN} as o join ({of}) as s using (entity) semi join {OFFERED} using (item) "
        f"where o.last_day > {recent} group by all), "
        "whole as (select w.*, coalesce(o.people, 0) as people from ("
        "select segment, item, recent, every from (select distinct segment from _cold), "
        f"(select * from {ITEMS} semi join {OFFERED} using (item))) as w "
        "left join of_segment as o using (segment, item)) "
        "select *, row_number() over (partition by segment order by people desc, recent desc, "
        f"every desc, item) as rank from whole qualify rank <= {offering.most}"
    )
    db.execute(
        "insert into _offers select c.entity, p.rank, p.item, p.recent, null, "
        "case when p.people > 0 then 'popular in ' || p.segment else 'popular' end, null, true "
        "from _cold as c join _popular as p on p.segment is not distinct from c.segment"
    )


def list_select(fits: OfferFits, day: dt.date, entity: str, kind: str) -> str:
    """SQL: the rows of the table of a day, after ``show_list``; ``kind``: the entity's type."""
    month_end = fits.month_end(day)
    choice, named = fits.choice(month_end), identifier(entity)
    method = literal(choice.method if choice else PERSONAL)
    return (
        f"select cast(entity as {kind}) as {named}, {literal(day)} as as_of, rank, item, score, "
        f"buy_probability, why, last_bought_on, is_cold, "
        f"case when is_cold then '{POPULAR}' else {method} end as method, "
        f"{literal(month_end)} as fitted_on, "
        f"{literal(fits.offering.horizon.label_known_on(day))} as outcome_known_on "
        f"from _offers order by {named}, rank"
    )


def show_due(fits: OfferFits, day: dt.date) -> None:
    """Make the table ``_due`` of a day: entity as text, and DUE_COLUMNS."""
    offering, db = fits.offering, fits.tables.db
    first = day - DAY * (offering.window_days - 1)
    db.execute(
        "create or replace temp table _measured as "
        + intervals(
            "select distinct entity, item, day from "
            f"({offering.lines(first, day, day)}) where item is not null"
        )
    )
    counted = db.execute(ages("from _measured", day)).fetchall()
    db.execute("create or replace temp table _curve (habit integer, age double, share double)")
    for habit in sorted({row[0] for row in counted}):
        steps = survival([row[1:] for row in counted if row[0] == habit])
        fits.tables.insert("_curve", [[habit, age, share] for age, share in steps])
    horizon = offering.horizon.days(day)
    db.execute(
        f"create or replace temp table _due as {due('from _measured', '_curve', day, horizon)}"
    )
