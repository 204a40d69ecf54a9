"""Small state folders that earlier versions of the package left, on which this version is tried.

``python -m churn_orchestration_tests.support.stored_state NAME FOLDER`` adds
``states/NAME.tar.xz``, made in FOLDER: a shop that has trained twice, scored, graded, refused a
day, waived another and rolled back. NAME is the version of the package. Some files of a state hold
whole paths, so let FOLDER be one that names nobody's machine, and remove it afterwards. A state is
never made again: what counts is that its own version made it.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing, nullcontext
from pathlib import Path

STATES = Path(__file__).parents[1] / "states"
NAME = "corner_shop"
CUSTOMERS, DAYS = 260, 222
INITIAL_LOAD, WAIVED, TRAINED_AGAIN = "2023-07-31", "2023-08-01", "2023-08-09"
REFUSED = "2023-08-10"
"""The last day of the state; its file of orders has lost a column."""

FILES = {
    "business.yaml": f"""\
name: {NAME}
landing: ${{CHURN_DATA}}/{NAME}/landing
history_from: 2023-01-01
start_date: {INITIAL_LOAD}
owners: ["team:data"]
""",
    "raw/defs.yaml": """\
type: churn_orchestration.components.SourceTable
attributes:
  name: orders
  description: One row per order.
  files: "orders/orders_{day}.csv"
  columns:
    - {name: order_id, type: id, required: true}
    - {name: customer_id, type: id, required: true}
    - {name: ordered_at, type: timestamp, required: true}
    - {name: amount_usd, type: decimal, required: true}
  event_time: ordered_at
  key: [order_id]
  where:
    positive_amount: amount_usd > 0
""",
    "silver/defs.yaml": """\
type: churn_orchestration.components.SqlTables
attributes:
  layer: silver
  tables:
    orders: {key: [order_id]}
""",
    "silver/orders.sql": """\
-- One row per order. amount_usd: US dollars. Source: bronze.orders.
select order_id, customer_id, day, amount_usd, known_on, _partition
from bronze.orders
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
      measures:
        - {name: amount, column: amount_usd, unit: usd, decimals: 2}
  windows: [30, 90]
  keep_days: 1
""",
    "churn_7d/defs.yaml": """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_7d
  features: customer_features
  activity: orders
  observation_days: 60
  horizon_days: 7
  snapshots: {as_ofs: 7, every: 14}
  value: orders_amount_sum_90d
""",
}


SCENARIO = """\
about: The calm shop, with the faults that files usually have.
faults: {late: 0.02, duplicate: 0.005, malformed: 0.003}
"""


def make(place: Path) -> Path:
    """A new folder ``place`` with ``business`` and ``data``, as the command line makes them."""
    place.mkdir(parents=True)
    for name, text in FILES.items():
        path = place / "business" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    orders = place / "data" / NAME / "landing" / "orders"
    (place / "usual.yaml").write_text(SCENARIO, encoding="utf-8")
    _churn(place, "simulate", str(place / "usual.yaml"), "--customers", str(CUSTOMERS), "--days",
     str(DAYS),
           "--out", str(place / "simulated"))  # fmt: skip
    shutil.copytree(place / "simulated" / "landing" / "orders", orders)
    for day in (WAIVED, REFUSED):
        _lose_a_column(orders / f"orders_{day}.csv")
    _churn(place, "run", "--to", INITIAL_LOAD)
    _churn(place, "train", "--cutoff", INITIAL_LOAD)
    _churn(place, "run", "--to", WAIVED)
    _churn(
        place, "waive", "--table", "bronze.orders", "--day", WAIVED, "--reason", "the file is lost"
    )
    _churn(place, "run", "--to", TRAINED_AGAIN)
    _churn(place, "train", "--cutoff", TRAINED_AGAIN)
    _churn(place, "rollback", "--yes", "--reason", "a trial")
    _churn(place, "rollback", _champion(place), "--yes", "--reason", "the trial is over")
    _churn(place, "run", "--to", REFUSED)
    return place


def _champion(place: Path) -> str:
    """The model that was promoted first."""
    lines = (place / "data" / NAME / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    return str(next(row["model_version"] for row in rows if row["decision"] == "promote"))


def _lose_a_column(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("amount_usd", "amount", 1), encoding="utf-8")


def _churn(place: Path, *arguments: str) -> None:
    environment = os.environ | {"CHURN_DATA": str(place / "data")}
    command = [
        sys.executable,
        "-m",
        "churn_orchestration.cli",
        "--business",
        str(place / "business"),
    ]
    print("$ churn", *arguments, flush=True)  # noqa: T201
    subprocess.run([*command, *arguments], env=environment, check=arguments[:1] != ("run",))


def pack(place: Path, name: str) -> Path:
    """``states/name.tar.xz`` of what ``make`` made; the same bytes from the same files.

    Without Dagster's own log of runs, which is larger than all the rest, and without the files of
    gold, which are computed again: the archive has at most 400 kB.
    """
    state = place / "data" / NAME
    left_out = (state / name for name in ("dagster", "spill", "gold", "work.pid"))
    for path in (*left_out, *state.glob("*.lock")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as db:
        db.execute("vacuum")
    STATES.mkdir(exist_ok=True)
    packed = STATES / f"{name}.tar.xz"
    with tarfile.open(packed, "w:xz", preset=9) as archive:
        for folder in ("business", "data"):
            for path in sorted((place / folder).rglob("*")):
                entry = archive.gettarinfo(path, str(path.relative_to(place)))
                entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime = 0, 0, "", "", 0
                with path.open("rb") if path.is_file() else nullcontext() as content:
                    archive.addfile(entry, content)
    return packed


def unpack(name: str, place: Path) -> Path:
    """A packed state in ``place``: ``business`` and ``data``; the state folder of the business."""
    with tarfile.open(STATES / f"{name}.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place / "data" / NAME


if __name__ == "__main__":
    print(pack(make(Path(sys.argv[2])), sys.argv[1]))  # noqa: T201
