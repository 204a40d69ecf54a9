"""What late rows do to a number: `python -m benchmarks.two_clocks`.

A simulated company whose orders become known up to 30 days late, landed day by day. First: the
features of a training snapshot, made in one pass at the end, against those that were made on each
day, row by row. Then the AUC that a join by event time alone reports, against what its model gets
in use, where late rows are unknown.
"""

import datetime as dt
import sys
import tempfile
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from churn_orchestration.churn.calendar import DAY, Horizon, months_back
from churn_orchestration.churn.features.declared import EventSource, FeatureSet, Measure
from churn_orchestration.churn.features.parts import versions
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.question.labels import INACTIVITY, Question, labelled
from churn_orchestration.churn.recipe import fit
from churn_orchestration.components.features.daily_parts import build
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.simulator import World, furnished
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal

FIRST, DAYS, START = dt.date(2023, 1, 1), 600, dt.date(2024, 3, 1)
LAST = FIRST + DAY * (DAYS - 1)
ORDERS = EventSource(
    "orders",
    "silver.orders",
    "customer_id",
    "order",
    ("order_id",),
    (Measure("amount", "amount_usd"),),
)
FEATURES = FeatureSet("customer_id", (ORDERS,))
QUESTION = Question("churn", INACTIVITY, FEATURES, ORDERS, Horizon(30, settle_days=30), 90)


def land(tables: Tables, share: float) -> None:
    """All orders, of which a share became known 1 to 30 days late; as ``all_orders``."""
    with furnished(World.read("calm", customers=3000, first_day=FIRST, days=DAYS)) as db:
        orders = db.execute("select order_id, customer_id, ordered_at, amount_usd from orders").df()
    tables.db.register("_orders", orders)
    tables.db.execute(f"""create or replace table all_orders as
        select order_id, customer_id, day, greatest(known_on, date '{FIRST}') as known_on,
          greatest(known_on, date '{START}') as _partition, amount_usd
        from (select order_id, customer_id, ordered_at::date as day,
          amount_usd::decimal(18, 4) as amount_usd,
            ordered_at::date + (case when hash(order_id) % 1000 < {1000 * share}
              then 1 + hash(order_id, 1) % 30 else 0 end)::int as known_on from _orders)""")
    tables.db.unregister("_orders")


def replay(tables: Tables, folder: Path) -> tuple[int, int, int]:
    """Days scored as they land, rows, and how many of those the snapshot has otherwise."""
    scored = [START + DAY * n for n in range(0, (LAST - START).days - 60, 15)]
    tables.db.execute("create or replace table silver.orders as from all_orders limit 0")
    for day in (START + DAY * n for n in range((LAST - START).days + 1)):
        tables.db.execute(
            f"insert into silver.orders from all_orders where _partition = {literal(day)}"
        )
        build(tables, FEATURES, ORDERS, START, [day])
        if day in scored:
            tables.db.execute(
                f"create or replace table gold.d{day:%Y%m%d} as {features_at(FEATURES, day)}"
            )
    rows = differing = 0
    with features_of(tables, FEATURES, scored, folder / "history") as features:
        for day in scored:
            then, now = f"(from gold.d{day:%Y%m%d})", features(day)
            rows += tables.rows(f"select count(*) from {then}")[0][0]
            both = (
                f"(from {now} except all from {then}) union all (from {then} except all from {now})"
            )
            differing += tables.rows(f"select count(*) from ({both})")[0][0]
    return len(scored), rows, differing


def frames(tables: Tables, as_ofs: list[dt.date], features: FeatureSet) -> pd.DataFrame:
    """Features of each as_of with the outcome as known at the end."""
    return pd.concat(
        tables.db.execute(labelled(QUESTION, f"({features_at(features, as_of)})", as_of, LAST)).df()
        for as_of in as_ofs
    )


def main() -> None:
    """Print both comparisons, for several shares of late rows."""
    print(
        "| late rows | days replayed | rows | that differ | AUC by event time alone | in use | "
        "honest |"
    )
    print("|---|---|---|---|---|---|---|")
    for share in (0.0, 0.05, 0.25):
        with tempfile.TemporaryDirectory() as folder, Warehouse.of(Path(folder)).open() as tables:
            land(tables, share)
            days, rows, differing = replay(tables, Path(folder))
            sys.stderr.write(f"  {share:.0%} late: {days} days replayed\n")
            test = QUESTION.horizon.newest_as_of(LAST)
            train = [months_back(test, n) for n in (3, 4, 5)]
            known, seen = (frames(tables, as_ofs, FEATURES) for as_ofs in (train, [test]))
            early = EventSource(
                "early", "(select * replace (day as known_on) from all_orders)", "customer_id",
                "order", ("order_id",), ORDERS.measures,
            )  # fmt: skip
            tables.db.execute(f"create or replace table silver.kept as from {ORDERS.days_table}")
            made = versions(early, "customer_id", FIRST)
            tables.db.execute(f"create or replace table {ORDERS.days_table} as {made}")
            all_known, all_seen = (frames(tables, as_ofs, FEATURES) for as_ofs in (train, [test]))
            columns = [name for name in known if name.startswith("orders_")]
            honest = fit(
                "logistic", known[columns].astype(float), known["label"], known["customer_id"]
            )
            fooled = fit(
                "logistic",
                all_known[columns].astype(float),
                all_known["label"],
                all_known["customer_id"],
            )
            auc = [
                roc_auc_score(
                    frame["label"], model.predict_proba(frame[columns].astype(float))[:, 1]
                )
                for model, frame in ((fooled, all_seen), (fooled, seen), (honest, seen))
            ]
        message = " | ".join(f"{value:.3f}" for value in auc)
        print(f"| {share:.0%} | {days} | {rows:,} | {differing} | {message} |")


if __name__ == "__main__":
    main()
