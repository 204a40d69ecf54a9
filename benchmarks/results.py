"""Make docs/results.md: look back on real data, and on a company whose best possible forecast is
known.

Run: CHURN_REAL_DATA=/folder/of/the/data python -m benchmarks.results
"""

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from churn_orchestration.business import DEMO, Business
from churn_orchestration.churn.grading.metrics import evaluate, paired_difference
from churn_orchestration.demo import demo_world
from churn_orchestration.simulator import forecasts

ROOT = Path(__file__).parent.parent
SIMULATED = (dt.date(2024, 7, 31), dt.date(2024, 8, 31), dt.date(2024, 9, 30))
LOOKS_BACK = {
    "Online Retail": (
        "examples/online_retail",
        "2011-12-09",
        ["2011-07-09", "2011-08-09", "2011-09-09"],
    ),
    "CDNOW": ("examples/cdnow", "1998-06-30", ["1997-12-31", "1998-02-28", "1998-03-31"]),
}
STATIC = {"Telco": ("examples/telco", "2018-01-01")}
METRICS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier",
    "calibration_error": "calibration error",
    "lift_top_decile": "lift, top decile",
    "recall_top_decile": "recall, top decile",
}
FORECASTERS = ("model", "logistic", "lightgbm", "xgboost", "rules", "recency", "constant")


def churn(*arguments: str) -> dict[str, Any]:
    """Run one command of the command line; what it prints for machines."""
    command = [sys.executable, "-m", "churn_orchestration.cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}\n{done.stdout}")
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def cell(result: dict[str, Any]) -> str:
    """A number with its interval."""
    return f"{result['value']:.3f} [{result['low']:.3f}, {result['high']:.3f}]"


def looked_back(name: str, facts: dict[str, Any]) -> str:
    """One look back as a Markdown section."""
    base = facts["report"]["model"]["base_rate"]
    lines = [
        f"### {name}, as_of {facts['as_of']}",
        "",
        f"{facts['entities']:,} customers, {cell_percent(base)} churned. Trained on "
        f"{len(facts['trained_on'])} as_ofs, "
        f"{facts['trained_on'][0]} to {facts['trained_on'][-1]}; graded on data until "
        f"{facts['graded_on_data_until']}.",
        "",
    ]
    return "\n".join(lines + grades(facts["report"]))


def out_of_fold(name: str, model: dict[str, Any]) -> str:
    """The grade of a static question as a Markdown section."""
    evaluation = model["evaluation"]
    result = evaluation["report"]["model"]
    about = (
        f"{result['entities']:,} customers, {cell_percent(result['base_rate'])} churned. "
        f"Graded {evaluation['caveat']}, by `churn train`."
    )
    return "\n".join([f"## {name}", "", about, "", *grades(evaluation["report"])])


def grades(report: dict[str, Any]) -> list[str]:
    """The metrics of every forecaster as a Markdown table."""
    lines = [
        "| forecaster | " + " | ".join(METRICS.values()) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for forecaster in [f for f in FORECASTERS if f in report]:
        cells = [cell(report[forecaster][m]) if m in report[forecaster] else "-" for m in METRICS]
        lines.append(f"| {forecaster} | " + " | ".join(cells) + " |")
    return lines


def cell_percent(result: dict[str, float]) -> str:
    """A share with its interval."""
    return f"{result['value']:.2%} [{result['low']:.1%}, {result['high']:.1%}]"


def known_truth(customers: int) -> str:
    """The model beside the best possible forecast and the latent oracle, on the same customers and
    days.
    """
    churn("demo", "--customers", str(customers))
    state = Path(os.environ["CHURN_DATA"]) / "demo"
    world = demo_world(Business(DEMO), customers)
    lines = [
        f"### A simulated company of {customers:,} customers",
        "",
        "AUC, log loss. Best possible: P(no order | the history at as_of, the world's page), "
        "exact; see docs/simulator.md. Oracle: knows each customer's own rate, frailty and whether "
        "it has left.",
        "",
        "| as_of | customers | churn rate | model | best possible | oracle | AUC, best - model "
        "| log loss, model - best |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for as_of in SIMULATED:
        churn("backtest", "--as-of", str(as_of))
        with duckdb.connect(str(state / "published.duckdb"), read_only=True) as door:
            scored = door.execute(
                "select customer_id, churn_probability from predictions.churn_90d where as_of = ?",
                [as_of],
            ).df()
        rows = scored.merge(forecasts(world, as_of, 90)).rename(columns={"quiet": "label"})
        columns = ("churn_probability", "best_probability", "oracle_probability")
        graded = [evaluate(rows["label"], rows[column], rows["customer_id"]) for column in columns]
        gaps = [
            paired_difference(rows["label"], rows[a], rows[b], rows["customer_id"], metric)
            for metric, a, b in (
                ("auc", columns[1], columns[0]),
                ("log_loss", columns[0], columns[1]),
            )
        ]
        message = [f"{cell(result['auc'])}, {result['log_loss']['value']:.3f}" for result in graded]  # type: ignore[arg-type,index]
        base = cell_percent(graded[0]["base_rate"])  # type: ignore[arg-type]
        lines.append(
            f"| {as_of} | {len(rows):,} | {base} | {' | '.join(message)} | "
            f"{' | '.join(map(cell, gaps))} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Look back at every day of LOOKS_BACK and write the page."""
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHURN_DATA"] = folder
        for name, (business, last, days) in LOOKS_BACK.items():
            rows = churn("--business", business, "run", "--to", last)["rows"]
            layers = ", ".join(f"{table} {count:,}" for table, count in rows.items())
            parts.append(f"## {name}\n\nRows: {layers}.")
            for as_of in days:
                parts.append(
                    looked_back(name, churn("--business", business, "backtest", "--as-of", as_of))
                )
                print(name, as_of)
        for name, (business, day) in STATIC.items():
            churn("--business", business, "run", "--to", day)
            [model] = churn("--business", business, "train", "--cutoff", day)["models"]
            parts.append(out_of_fold(name, model))
        parts.append("## Known truth\n\n" + known_truth(20_000))
    head = (
        "# Results\n\n"
        "Made by `CHURN_REAL_DATA=/folder make results`; no number here is written by hand. Each "
        "look back is `churn --business FOLDER backtest --as-of DAY`: trained on what was known at "
        "the end of that day, graded on what matured later. Intervals: 95 %, bootstrap clustered "
        "by customer. The settings are those of the examples' YAML; nothing was tuned on the last "
        "as_of of each."
    )
    (ROOT / "docs" / "results.md").write_text("\n\n".join([head, *parts]) + "\n")


if __name__ == "__main__":
    main()
