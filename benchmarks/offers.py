"""Lists of items beside simpler ones on Online Retail, and pairs of 300,000 products: writes
docs/offers.md.

Run: CHURN_REAL_DATA=/folder/of/the/data python -m benchmarks.offers [--only PART]

What orders the list of a day is decided by what was known at its end, as the block does it; what
came is known from later days.
"""

import argparse
import datetime as dt
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.results import ROOT
from churn_orchestration.business import Business
from churn_orchestration.churn.offers.candidates import (
    FACTORS,
    PEOPLE,
    PERSONAL,
    RANKER,
    show_history,
    show_offered,
)
from churn_orchestration.churn.offers.pairs import count_pairs
from churn_orchestration.churn.sql import connect, literal
from churn_orchestration.components.offers.fits import OfferFits
from churn_orchestration.components.offers.lists import show_due
from churn_orchestration.components.offers.offers import Offers
from churn_orchestration.components.tree import component_tree
from churn_orchestration.runs import at_work

PAGE = ROOT / "docs" / "offers.md"
LAST = "2011-12-09"
BLOCK = """\
type: churn_orchestration.components.Offers
attributes:
  name: {name}
  features: customer_features
  table: silver.purchases
  item: stock_code
  basket: invoice_id
  repurchase: {repurchase}
  factors: 64
"""
CASES = {
    "keep": [dt.date(2011, 10, 9), dt.date(2011, 11, 9)],
    "leave_out": [dt.date(2011, 11, 9)],
}
"""The days whose lists are graded, by what is done with what a customer bought before."""
SERVED = "served"
PAIRS = "## Pairs at size"
PRODUCTS, BASKETS = 300_000, 2_000_000
HEAD = (
    "# Offers and simpler lists\n\n"
    "Made by `CHURN_REAL_DATA=/folder make bench-offers` (needs `.[offers]`); no number here is "
    "written by hand. Recall and NDCG are of the first five items, against all that a customer "
    "bought in the 30 days after, mean over the customers who bought. `served` is what orders the "
    "lists on the day: the method that was best on the two newest month-ends whose outcome was "
    "known. `factors` is `implicit`'s ALS alone, `personal` what the customer bought most often, "
    "filled up with what is popular."
)


def lists(name: str, days: list[dt.date]) -> str:
    """The lists of Online Retail as Markdown: each method on each day, and the probabilities."""
    rows, offered = [], []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "online_retail"
        shutil.copytree(ROOT / "examples" / "online_retail", place)
        for other in ("segments", "values", "marts", "churn_90d"):
            shutil.rmtree(place / other)
        (place / "offers").mkdir()
        block = BLOCK.format(name=f"next_{name}", repurchase=name)
        (place / "offers" / "defs.yaml").write_text(block)
        settings = (place / "business.yaml").read_text()
        settings = settings.replace("start_date: 2011-11-30", f"start_date: {LAST}")
        (place / "business.yaml").write_text(settings)
        os.environ["CHURN_DATA"] = str(Path(folder) / "data")
        business = Business(place)
        tree = component_tree(business)
        [component] = tree.get_all_components(of_type=Offers)
        with at_work(business) as work:
            last = dt.date.fromisoformat(LAST)
            work.refresh(last, last, ("raw", "bronze", "quarantine", "silver"))
            with work.warehouse.open() as tables:
                _, prepare = component.offering(tree, business)
                fits = prepare(tables)
                for day in days:
                    graded, probabilities = of_day(fits, day, last)
                    rows += graded
                    offered.append(probabilities)
                due_days = came_due(fits, [*days], last) if name == "keep" else ""
    return "\n\n".join([shown(name, pd.DataFrame(rows)), calibration(pd.concat(offered)), due_days])


def of_day(
    fits: OfferFits, day: dt.date, known_by: dt.date
) -> tuple[list[dict[str, object]], pd.DataFrame]:
    """Recall and NDCG of each method on a day; of the served lists, probability and whether it
    came.
    """
    db, month_end = fits.tables.db, fits.month_end(day)
    choice, calibration, ranker = (
        fits.choice(month_end), fits.calibration(month_end), fits.ranker(month_end),
    )  # fmt: skip
    assert choice is not None
    assert calibration is not None
    assert ranker is not None
    pairs = fits.pairs(month_end)
    show_history(db, fits.offering, day)
    show_offered(db, fits.offering, day)
    db.execute(f"create or replace temp table _everybody as select entity from {PEOPLE}")
    fits.show(day, "_everybody", pairs, "_bench")
    frame = db.execute("from _bench order by entity, item").df()
    scores = ranker.scores(frame)
    frame = frame.assign(**{RANKER: scores, "probability": calibration.probabilities(scores)})
    result = []
    for method in fits.methods:
        grades = np.array(list(fits.grade(frame, method, day, known_by).values()))
        about = {"as_of": str(day), "customers": len(grades), "method": method}
        numbers = dict(zip(("recall", "ndcg"), grades.mean(axis=0), strict=True))
        result.append(about | numbers)
        if method == choice.method:
            result.append(about | numbers | {"method": SERVED, "by": method})
    db.register("_scored", frame)
    first = (
        "select entity, item, probability from _scored qualify row_number() over (partition by "
        f"entity order by ranker desc, item) <= {fits.offering.most}"
    )
    came = fits.came(day, known_by)
    probabilities = db.execute(
        f"select probability, c.item is not null as came from ({first}) left join ({came}) as c "
        "using (entity, item) order by entity, item"
    ).df()
    db.unregister("_scored")
    return result, probabilities


def shown(name: str, table: pd.DataFrame) -> str:
    """Every method on every day as Markdown."""
    words = "offered again" if name == "keep" else "never offered again"
    lines = [
        f"## Online Retail, what was bought before is {words}", "",
        "| as_of | customers who bought | list | recall@5 | NDCG@5 |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in table.to_dict("records"):
        by = f"{SERVED} ({row['by']})" if row["method"] == SERVED else str(row["method"])
        lines.append(
            f"| {row['as_of']} | {row['customers']:,} | {by} | {row['recall']:.4f} | "
            f"{row['ndcg']:.4f} |"
        )
    for as_of, rows in table.groupby("as_of"):
        by_method = rows.set_index("method")[["recall", "ndcg"]]
        served = by_method.loc[SERVED]
        above = [peer for peer in (PERSONAL, FACTORS) if bool((served > by_method.loc[peer]).all())]
        lines += ["", f"{as_of}: served is above {' and '.join(above) or 'neither'} in both."]
    return "\n".join(lines)


def calibration(offered: pd.DataFrame) -> str:
    """Probabilities of the ranker's first five beside the share that was bought, by fifth."""
    fifth = offered["probability"].rank(method="first", pct=True).mul(5).clip(upper=4.999)
    lines = [
        "Probabilities of the ranker's first five of everybody, on all days above, beside the "
        "share that was bought:", "",
        "| fifth of the offers | mean probability | bought |", "|---|---|---|",
    ]  # fmt: skip
    for place, rows in offered.groupby(fifth.astype(int)):
        mean = rows.mean()
        lines.append(f"| {place + 1} | {mean['probability']:.3f} | {mean['came']:.3f} |")
    mean = offered.mean()
    lines.append(f"| all | {mean['probability']:.3f} | {mean['came']:.3f} |")
    return "\n".join(lines)


def came_due(fits: OfferFits, days: list[dt.date], known_by: dt.date) -> str:
    """How many items came by the day by which they were due, and within the horizon."""
    lines = [
        "## When an item is due", "",
        "Of the items that a customer had bought on two days or more: the mean probability of "
        "another purchase within 30 days beside the share that came, and of those due within the "
        "30 days, the share that came by then (half, if the days are right).", "",
        "| as_of | items | probability | bought | due within 30 days | of these, by then |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    offering = fits.offering
    for day in days:
        show_due(fits, day)
        first, last = offering.horizon.outcome(day)
        came = (
            f"select entity, item, min(day) as came_on from "
            f"({offering.lines(first, last, known_by)}) group by all"
        )
        [(items, expected, bought, falling, by_then)] = fits.tables.rows(
            "select count(*), avg(repeat_probability), avg((came_on is not null)::integer), "
            f"count(*) filter (due_by <= {literal(last)}), "
            f"avg(coalesce(came_on <= due_by, false)::integer) filter (due_by <= {literal(last)}) "
            f"from _due left join ({came}) using (entity, item)"
        )
        lines.append(
            f"| {day} | {items:,} | {expected:.3f} | {bought:.3f} | {falling:,} | {by_then:.3f} |"
        )
    return "\n".join(lines)


def large() -> str:
    """Pairs of many products, counted on two threads and 2 GB."""
    with tempfile.TemporaryDirectory() as folder, connect() as db:
        db.execute(
            f"set memory_limit = '2GB'; set threads = 2; set temp_directory = {literal(folder)}"
        )
        # A few products are in many baskets, most in a handful; a basket has 1 to 13 of them.
        db.execute(
            "create table bought as select distinct basket::varchar as basket, 'p' || "
            f"({PRODUCTS} * pow((hash(basket * 31 + line * 7919) % 1000000007) / 1000000007, 2.5))"
            "::integer as item from (select basket, unnest(range(1 + (12 * pow((hash(basket) % "
            f"1000003) / 1000003, 1.5))::integer)) as line from range({BASKETS}) as t(basket))"
        )
        [(lines, products)] = db.execute(
            "select count(*), count(distinct item) from bought"
        ).fetchall()
        began, used = time.perf_counter(), time.process_time()
        count_pairs(db, "bought", "pairs", 5, 100, 50)
        wall, processor = time.perf_counter() - began, time.process_time() - used
        [(pairs,)] = db.execute("select count(*) from pairs").fetchall()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"{PAIRS}\n\n"
        f"{products:,} products in {BASKETS:,} baskets ({lines:,} lines, made by a hash), pairs in "
        f"at least 5 baskets, two threads, `memory_limit` 2 GB: {wall:.0f} s of the clock and "
        f"{processor:.0f} s of processor, at most {memory:.1f} GB of the process, {pairs // 2:,} "
        f"pairs. {os.getloadavg()[0]:.0f} processes wanted the {os.cpu_count()} cores then, this "
        "one among them."
    )


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="pairs: of the page that part; keep, leave_out: no page")
    only = parser.parse_args().only
    parts = [large()] if only in (None, "pairs") else []  # first: memory is of the whole process
    made = [lists(name, days) for name, days in CASES.items() if only in (None, name)]
    print("\n\n".join([*made, *parts]))
    if only == "pairs":
        before, _, _ = PAGE.read_text().partition(PAIRS)
        PAGE.write_text(before + parts[0] + "\n")
    if only is None:
        PAGE.write_text("\n\n".join([HEAD, *(part.strip() for part in (*made, *parts))]) + "\n")


if __name__ == "__main__":
    main()
