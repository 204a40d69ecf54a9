"""A model beside the best possible forecast in every scenario of a shop: `python -m
benchmarks.scenarios`.

Each scenario is simulated, taken through the whole graph of `examples/shop`, and looked back on: a
model is trained at the end of AS_OF on what had matured by then, and graded on the horizon after
it.
"""

import argparse
import datetime as dt
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.results import METRICS, cell, churn
from churn_orchestration.churn.grading.metrics import evaluate
from churn_orchestration.simulator import World, forecasts, simulate
from churn_orchestration.storage.door import door

AS_OF, HORIZON = dt.date(2024, 9, 17), 90
SCENARIOS = "calm,newsletter,crisis,price_rise,new_customers,harmless,label_drift,outreach"
SHOWN = ("auc", "log_loss", "calibration_error")
LOAD = "2024-12-16"  # the last day of the initial load of examples/shop


def graded(scenario: str, customers: int, folder: Path) -> dict[str, str]:
    """What model and best possible forecast come to in a scenario, on the same rows."""
    world = World.read(scenario, customers=customers)
    simulate(world, folder / "world")
    os.environ["CHURN_SHOP"], os.environ["CHURN_DATA"] = (
        str(folder / "world/landing"),
        str(folder / "data"),
    )
    churn("--business", "examples/shop", "run", "--to", LOAD)
    churn("--business", "examples/shop", "backtest", "--as-of", str(AS_OF))
    with door(folder / "data" / "shop") as db:
        scored = db.execute(
            "select customer_id, churn_probability from predictions.churn_90d where as_of = "
            f"'{AS_OF}'"
        ).df()
    rows = scored.merge(forecasts(world, AS_OF, HORIZON))
    if len(rows) != len(scored):
        sys.exit(f"{scenario}: {len(scored)} rows were scored, {len(rows)} of them have a bar")
    result = {"rows": f"{len(rows):,}", "base rate": f"{rows['quiet'].mean():.1%}"}
    for who, column in (("model", "churn_probability"), ("best", "best_probability")):
        metrics = evaluate(rows["quiet"], rows[column], rows["customer_id"])
        for metric in SHOWN:
            result[f"{METRICS[metric]}, {who}"] = cell(metrics[metric])  # type: ignore[arg-type]
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenarios", default=SCENARIOS)
    parser.add_argument("--customers", type=int, default=6000)
    given = parser.parse_args()
    table = {}
    for scenario in given.scenarios.split(","):
        with tempfile.TemporaryDirectory() as folder:
            table[scenario] = graded(scenario, given.customers, Path(folder))
        sys.stderr.write(f"  {scenario}: {table[scenario]}\n")
    print(f"As of {AS_OF}, {given.customers:,} customers; the horizon is {HORIZON} days.\n")
    columns = [
        "rows",
        "base rate",
        *(f"{METRICS[metric]}, {who}" for metric in SHOWN for who in ("model", "best")),
    ]
    print(f"| scenario | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for scenario, result in table.items():
        print(f"| {scenario} | {' | '.join(result[column] for column in columns)} |")


if __name__ == "__main__":
    main()
