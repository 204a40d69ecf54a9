"""Forecasts of spend beside their peers, on every month-end whose outcome is known: writes
docs/value.md.

Run: CHURN_REAL_DATA=/folder/of/the/data python -m benchmarks.value

What scores on a day is decided by what was known at its end, as the block does it; what came is
known from later days.
"""

import argparse
import datetime as dt
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.results import ROOT, churn
from churn_orchestration.business import Business
from churn_orchestration.churn.calendar import month_ends
from churn_orchestration.churn.value.metrics import coverage, measure
from churn_orchestration.churn.value.question import (
    COVERAGE,
    FORECASTER,
    FORECASTERS,
    METRICS,
    PROCESS,
    SERVED,
    SPEND,
)
from churn_orchestration.components.tree import component_tree
from churn_orchestration.components.value.spend import Forecasts
from churn_orchestration.components.value.value_model import ValueModel
from churn_orchestration.runs import at_work
from churn_orchestration.simulator import World, simulate

QUESTIONS = {
    "Online Retail, spend in 90 days": ("examples/online_retail", "2011-12-09", "2011-04-30"),
    "CDNOW, spend in 90 days": ("examples/cdnow", "1998-06-30", "1997-06-30"),
}
"""Of each: the business, the last day that lands, the first month-end that is graded."""
SCENARIOS = {
    "calm": ("calm", 0.0), "outreach": ("outreach", 0.0), "new_customers": ("new_customers", 0.0),
    "no_signal": ("no_signal", 0.0), "rare_churn": ("rare_churn", 0.0), "outage": ("outage", 0.0),
    "calm, with its season": ("calm", 0.2),
}  # fmt: skip
"""Of a shop, those after which customers spend as they did before, and the yearly wave of each;
that of `newsletter` has the orders of `calm`.
"""
CUSTOMERS, FIRST_GRADED, LAST_DAY = 2_000, "2024-06-30", "2024-12-30"
HELD = (0.77, 0.83)
"""Coverage of an 80 % interval that is as declared."""
SHOP = {
    "business.yaml": (
        f"name: spending\nlanding: ${{CHURN_SHOP}}\nhistory_from: 2023-01-01\n"
        f"start_date: {LAST_DAY}\nend_date: {LAST_DAY}\n"
    ),
    "raw/defs.yaml": """\
type: churn_orchestration.components.SourceTable
attributes:
  name: orders
  files: "orders/orders_{day}.csv"
  columns:
    - {name: order_id, type: id, required: true}
    - {name: customer_id, type: id, required: true}
    - {name: ordered_at, type: timestamp, required: true}
    - {name: amount_usd, type: decimal, required: true}
  event_time: ordered_at
  key: [order_id]
""",
    "silver/defs.yaml": """\
type: churn_orchestration.components.SqlTables
attributes: {layer: silver, tables: {orders: {key: [order_id]}}}
""",
    "silver/orders.sql": """\
-- One row per order. amount_usd: US dollars. Source: bronze.orders.
select order_id, customer_id, day, amount_usd, known_on, _partition from bronze.orders
""",
    "gold/defs.yaml": """\
type: churn_orchestration.components.FeatureTable
attributes:
  name: customer_features
  entity: customer_id
  sources:
    - name: orders
      table: silver.orders
      noun: order
      key: [order_id]
      measures: [{name: amount, column: amount_usd, unit: usd, decimals: 2}]
  windows: [30, 90, 365]
""",
    "values/defs.yaml": """\
type: churn_orchestration.components.ValueModel
attributes:
  {name: spend_90d, features: customer_features, activity: orders, measure: amount,
   horizon_days: 90, observation_days: 180}
""",
}
"""A business of orders alone."""
SIMULATED = "Intervals in simulated shops"
OF_WIDE = "coverage_of_wide"
"""The share of outcomes within intervals that are more than nothing."""
INTERVALS = (
    f"## {SIMULATED}\n\n"
    f"Shops of {CUSTOMERS:,} customers, in scenarios after which they spend as they did before; "
    f"month-ends from {FIRST_GRADED} on. Coverage is of all 80 % intervals, and next to it of "
    "those that are more than nothing: where four of five of a group spend nothing, theirs is "
    "[0, 0] and holds more. As declared is 77 to 83 % of the latter, on the mean.\n\n"
    "Intervals are taken from how the forecasts of an earlier month-end came out, so they hold "
    "where customers go on as they did then. The last shop has the yearly wave of 20 %, with its "
    "peak on 1 December, that simulated shops usually have and the others here have not: what is "
    "measured on spring and summer is too narrow for autumn. Intervals do not read what came in "
    "the same season of the year before; below 75 % the check `intervals_hold` warns.\n\n"
    "| scenario | month-ends | coverage | least | most | of intervals above nothing | least | "
    "most | as declared |\n" + "|" + "---|" * 9
)
PAGE = ROOT / "docs" / "value.md"
HEAD = (
    "# Forecasts of spend and their peers\n\n"
    "Made by `CHURN_REAL_DATA=/folder make bench-value`; no number here is written by hand. Every "
    "month-end whose outcome is known is forecast by what was known at its end: everybody who ever "
    "bought, in the currency of the data. `served` is what scores there, the process or a blend, "
    "as the gate decided on earlier days; coverage is of its 80 % intervals."
)


def graded(folder: str, landed: str, first: str) -> pd.DataFrame:
    """A row per month-end and forecaster of a business, with every metric."""
    churn("--business", folder, "run", "--to", landed)
    business, rows = Business(ROOT / folder), []
    tree = component_tree(business)
    [model] = tree.get_all_components(of_type=ValueModel)
    with at_work(business) as work, work.warehouse.open() as tables:
        question, fitted = model.forecasting(tree, business)
        fits = fitted(tables)
        forecasts = Forecasts(question, fits)
        known_by = dt.date.fromisoformat(landed)
        for as_of in month_ends(
            dt.date.fromisoformat(first), question.horizon.newest_as_of(known_by)
        ):
            frame = forecasts.came_out(as_of, known_by, fits.decision(as_of))
            outcome = frame["spent"].to_numpy()
            peers = {SERVED: SPEND} | {name: name for name in FORECASTERS if name in frame}
            about = {"as_of": str(as_of), "customers": len(frame)}
            for name, column in peers.items():
                result = about | {"forecaster": name} | measure(outcome, frame[column].to_numpy())
                if name == SERVED:
                    result["scores"] = frame[FORECASTER].iloc[0]
                    if spread := forecasts.spread(as_of):
                        low, high = spread.interval(frame[SPEND].to_numpy())
                        result[COVERAGE] = coverage(outcome, low, high)
                        wide = high > 0
                        result[OF_WIDE] = coverage(outcome[wide], low[wide], high[wide])
                rows.append(result)
    return pd.DataFrame(rows).reindex(
        columns=["as_of", "customers", "forecaster", "scores", *METRICS, COVERAGE, OF_WIDE]
    )


def section(name: str) -> str:
    """A question as Markdown: the mean of every forecaster over the month-ends, and the days."""
    table = graded(*QUESTIONS[name])
    metrics = [*METRICS, COVERAGE]
    everyone = table.groupby("as_of")["forecaster"].transform("nunique")
    of_all = table[everyone == everyone.max()]  # learners need outcomes that were known
    lines = [
        f"## {name}", "",
        f"Mean over {of_all['as_of'].min()} to {of_all['as_of'].max()}, "
        f"{of_all['as_of'].nunique()} month-ends.", "",
        f"| | {' | '.join(metric.replace('_', ' ') for metric in metrics)} |",
        "|" + "---|" * (len(metrics) + 1),
    ]  # fmt: skip
    mean = of_all.groupby("forecaster", sort=False)[metrics].mean()
    lines += [f"| {who} | {_cells(row, metrics)} |" for who, row in mean.iterrows()]
    lines += [
        "", "By month-end, what scored and the process alone:", "",
        f"| as_of | customers | scores | {' | '.join(metrics).replace('_', ' ')} | "
        "rmse of the process | spearman | top decile capture |",
        "|" + "---|" * (len(metrics) + 6),
    ]  # fmt: skip
    for as_of, rows in table.groupby("as_of"):
        by = rows.set_index("forecaster")
        process = _cells(by.loc[PROCESS], ["rmse", "spearman", "top_decile_capture"])
        lines.append(
            f"| {as_of} | {by['customers'].iloc[0]:,} | {by['scores'].iloc[0]} | "
            f"{_cells(by.loc[SERVED], metrics)} | {process} |"
        )
    return "\n".join(lines)


def simulated(scenario: str, yearly: float, folder: Path) -> pd.DataFrame:
    """What `graded` gives, of a scenario with a yearly wave."""
    world = World.read(scenario, customers=CUSTOMERS, season={"yearly": yearly})
    simulate(world, folder / "world")
    os.environ["CHURN_SHOP"] = str(folder / "world/landing")
    os.environ["CHURN_DATA"] = str(folder / "data")
    for name, text in SHOP.items():
        path = folder / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    table = graded(str(folder / "shop"), LAST_DAY, FIRST_GRADED)
    return table[table["forecaster"] == SERVED]


def scenarios() -> str:
    """The coverage of intervals in each simulated shop as Markdown."""
    rows = []
    for name, (scenario, yearly) in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as folder:
            table = simulated(scenario, yearly, Path(folder))
        held, wide = table[COVERAGE].dropna(), table[OF_WIDE].dropna()
        shares = [f"{v:.1%}" for c in (held, wide) for v in (c.mean(), c.min(), c.max())]
        verdict = "yes" if HELD[0] <= wide.mean() <= HELD[1] else "no"
        rows.append(f"| {name} | {len(held)} | {' | '.join(shares)} | {verdict} |")
        sys.stderr.write(f"{rows[-1]}\n")
    return "\n".join([INTERVALS, *rows])


def _cells(row: pd.Series, metrics: list[str]) -> str:
    return " | ".join(
        "-" if pd.isna(row[m]) else f"{row[m]:,.{1 if m == 'rmse' else 3}f}" for m in metrics
    )


def written(parts: list[str]) -> str:
    """The page with these sections in place of those of the same title, the others as they are."""
    there = PAGE.read_text().split("\n\n## ")[1:] if PAGE.is_file() else []
    sections = {_title(f"## {text}"): f"## {text}".rstrip("\n") for text in there}
    sections |= {_title(text): text for text in parts}
    order = [*QUESTIONS, SIMULATED]
    return "\n\n".join([HEAD, *(sections[name] for name in order if name in sections)]) + "\n"


def _title(section: str) -> str:
    return section.partition("\n")[0].removeprefix("## ")


def main() -> None:
    """Compare on every question and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default="", help=f"part of a title ({'; '.join([*QUESTIONS, SIMULATED])})"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHURN_DATA"] = folder
        parts = [section(name) for name in QUESTIONS if given.only in name]
    if given.only in SIMULATED:
        parts.append(scenarios())
    print("\n\n".join(parts))
    PAGE.write_text(written(parts))


if __name__ == "__main__":
    main()
