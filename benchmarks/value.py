"""Forecasts of spend beside their peers, on every month-end whose outcome is known: writes
docs/value.md.

Run: CHURN_REAL_DATA=/folder/of/the/data python -m benchmarks.value

What scores on a day is decided by what was known at its end, as the block does it; what came is
known from later days.
"""

import argparse
import datetime as dt
import os
import tempfile

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

QUESTIONS = {
    "Online Retail, spend in 90 days": ("examples/online_retail", "2011-12-09", "2011-04-30"),
    "CDNOW, spend in 90 days": ("examples/cdnow", "1998-06-30", "1997-06-30"),
}
"""Of each: the business, the last day that lands, the first month-end that is graded."""
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
                        ends = spread.interval(frame[SPEND].to_numpy())
                        result[COVERAGE] = coverage(outcome, *ends)
                rows.append(result)
    return pd.DataFrame(rows).reindex(
        columns=["as_of", "customers", "forecaster", "scores", *METRICS, COVERAGE]
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


def _cells(row: pd.Series, metrics: list[str]) -> str:
    return " | ".join(
        "-" if pd.isna(row[m]) else f"{row[m]:,.{1 if m == 'rmse' else 3}f}" for m in metrics
    )


def main() -> None:
    """Compare on every question and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="part of a question's name; the page is not written then")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHURN_DATA"] = folder
        parts = [section(name) for name in QUESTIONS if (given.only or "") in name]
    print("\n\n".join(parts))
    if given.only is None:
        PAGE.write_text("\n\n".join([HEAD, *parts]) + "\n")


if __name__ == "__main__":
    main()
