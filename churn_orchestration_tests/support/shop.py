"""A small shop in a temporary folder: its YAML and SQL, its landing files, its days refreshed for
real.
"""

import atexit
import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import dagster as dg
import pytest

from churn_orchestration.automation.jobs import DAILY_LAYERS
from churn_orchestration.automation.planning import Refreshed
from churn_orchestration.business import PACKAGE, Business
from churn_orchestration.churn.rows.contract import Contract
from churn_orchestration.components.source.judging import Judgement, judge
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.tree import component_tree
from churn_orchestration.definitions import definitions_of
from churn_orchestration.landing.source_landing import Landed
from churn_orchestration.runs import at_work
from churn_orchestration.storage.door import door
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables

JAN = [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(-1, 31)]  # JAN[5] is 2024-01-05
UP_TO_FEATURES = ("raw", "bronze", "quarantine", "silver", "gold")
ORDERS_HEADER = "order_id,customer_id,ordered_at,amount_usd\n"

BUSINESS = """\
name: shop
landing: ${CHURN_DATA}/landing
history_from: 2024-01-01
start_date: 2024-01-05
end_date: 2024-01-20
"""

ORDERS = """\
type: churn_orchestration.components.SourceTable
attributes:
  name: orders
  files: "orders_{day}.csv"
  columns:
    - {name: order_id, type: id, required: true}
    - {name: customer_id, type: id, required: true}
    - {name: ordered_at, type: timestamp, required: true}
    - {name: amount_usd, type: decimal, required: true}
  event_time: ordered_at
  key: [order_id]
  where:
    positive_amount: amount_usd > 0
"""

SILVER_ORDERS = """\
-- One row per order. amount_usd: US dollars. Source: bronze.orders.
select order_id, customer_id, day, amount_usd, known_on, _partition
from bronze.orders
"""

FEATURES = """\
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
        - {name: amount, column: amount_usd, unit: usd}
  windows: [3, 7]
  trends: [3]
"""

QUESTION = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn_90d
  features: customer_features
  activity: orders
  horizon_days: 90
  value: orders_amount_sum_7d
"""

FILES = {
    "business.yaml": BUSINESS,
    "raw/defs.yaml": ORDERS,
    "silver/defs.yaml": (
        "type: churn_orchestration.components.SqlTables\nattributes:\n  layer: silver\n"
    ),
    "silver/orders.sql": SILVER_ORDERS,
    "gold/defs.yaml": FEATURES,
    "churn_90d/defs.yaml": QUESTION,
}


@cache
def empty_home() -> Path:
    """A Dagster home without a run, made once in a process: its databases take seconds to make."""
    place = Path(tempfile.mkdtemp(prefix="churn-home-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    shutil.copyfile(PACKAGE / "dagster.yaml", place / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(place)) as instance:
        instance.get_runs(limit=1)
    return place


def set_data(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let $CHURN_DATA be a folder; what the package sets in the environment is undone
    afterwards.
    """
    patch.setenv("CHURN_DATA", str(folder))
    patch.setenv("DAGSTER_HOME", str(folder))
    patch.setenv("CHURN_BUSINESS", "")  # set first: only then is what the command sets undone
    patch.delenv("CHURN_BUSINESS")


class Shop:
    """A business to try things on. Its initial load is 2024-01-05, its first day of data
    2024-01-01.

    ``layers``: what is refreshed of it.
    """

    layers: Sequence[str] = DAILY_LAYERS

    def __init__(self, folder: Path, landing: Path) -> None:
        self.folder, self.landing = folder, landing
        for name, text in FILES.items():
            self.write(name, text)
        landing.mkdir(parents=True)
        if data := os.environ.get("CHURN_DATA"):
            home = Path(data) / "shop" / "dagster"
            if not home.exists():
                shutil.copytree(empty_home(), home)

    def write(self, name: str, text: str) -> Path:
        """A file of the business's folder, such as silver/orders.sql."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def change(self, name: str, old: str, new: str) -> Path:
        """Replace a text in a file of the business's folder."""
        text = (self.folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}"
        return self.write(name, text.replace(old, new))

    def land(self, name: str, content: str | bytes) -> Path:
        """A landing file."""
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def land_orders(self, day: int, *rows: str) -> Path:
        """The orders file of a day of January 2024; rows such as ``o1,ann,2024-01-05
        10:00,9.50``.
        """
        return self.land(
            f"orders_{JAN[day]}.csv", ORDERS_HEADER + "".join(f"{row}\n" for row in rows)
        )

    def land_quiet_days(self, first: int, last: int) -> None:
        """One valid order of customer ann on each day from ``first`` to ``last`` of January
        2024.
        """
        for day in range(first, last + 1):
            self.land_orders(day, f"o{day},ann,{JAN[day]} 10:00,{day}.50")

    @property
    def business(self) -> Business:
        """The business as its files stand now."""
        return Business(self.folder)

    def source(self, name: str = "orders") -> tuple[SourceTable, Contract]:
        """A declared source and its contract, loaded from its YAML."""
        business = self.business
        result = component_tree(business).get_all_components(of_type=SourceTable)
        source = next(s for s in result if s.name == name)
        return source, source.contract(business.settings.timezone, business.earliest_event)

    @contextmanager
    def tables(self) -> Iterator[Tables]:
        """The open warehouse."""
        with Warehouse.of(self.business.state).open(self.landing) as tables:
            yield tables

    def rows(self, query: str) -> list[tuple]:
        """What a query finds in the warehouse."""
        with self.tables() as tables:
            return tables.rows(query)

    def published(self, query: str) -> list[tuple]:
        """What a query finds at the read-only door."""
        with door(self.business.state) as db:
            return db.execute(query).fetchall()

    def take_in(self, *days: int, name: str = "orders") -> tuple[Landed, Judgement]:
        """Land and judge days of January 2024 without Dagster, recorded as the assets record
        them.
        """
        return self.take_in_days([JAN[day] for day in days], name)

    def take_in_days(self, wanted: list[dt.date], name: str = "orders") -> tuple[Landed, Judgement]:
        """The same for any days."""
        source, contract = self.source(name)
        with self.tables() as tables:
            landed = source._land(tables, self.business, wanted)
            _record(tables, f"raw.{name}", landed.rows, landed.refused)
            judgement = judge(tables, source.rules(contract), wanted)
            _record(tables, f"bronze.{name}", judgement.rows, judgement.refused)
        return landed, judgement

    def refresh(
        self, first: int, last: int | None = None, layers: Sequence[str] | None = None
    ) -> Refreshed:
        """Run the real job over days of January 2024, in process."""
        with at_work(self.business) as work:
            return work.refresh(
                JAN[first], JAN[first if last is None else last], layers or self.layers
            )

    def first_stale(self, last: int) -> dt.date | None:
        """The first day of January 2024 that would be recomputed."""
        with at_work(self.business) as work:
            return work.plan(JAN[last], self.layers).first


def without_campaign(pattern: Path) -> Iterator[tuple[Path, str]]:
    """The YAML and SQL of a business, each with its place in it, but for its campaign and the log
    of what was done, of which most scenarios have no file, and for its offers, which take time.
    """
    for path in sorted([*pattern.rglob("*.yaml"), *pattern.rglob("*.sql")]):
        if path.parent.name not in ("actions", "offers") and path.stem != "outreach":
            blocks = path.read_text(encoding="utf-8").split("---\n")
            text = "---\n".join(block for block in blocks if "name: outreach\n" not in block)
            yield (
                path.relative_to(pattern),
                text.replace("    outreach: {key: [outreach_id]}\n", ""),
            )


def why_not_loaded(shop: Shop) -> str:
    """Why the files of a shop are refused when they are loaded; Dagster wraps what a component
    raises.
    """
    with pytest.raises(Exception, match=".") as refusal:
        definitions_of(shop.business)
    return str(refusal.value.__cause__ or refusal.value)


def metadata(shop: Shop, asset: str, day: dt.date) -> dict[str, dg.MetadataValue]:
    """What the UI shows with the latest materialization of a day; empty where there is none."""
    with at_work(shop.business) as work:
        events = work.instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=dg.AssetKey(asset.split("/")), asset_partitions=[day.isoformat()]
            ),
            limit=1,
        )
    return dict(events.records[0].asset_materialization.metadata) if events.records else {}


def _record(
    tables: Tables, table: str, rows: dict[dt.date, int], refused: dict[dt.date, str]
) -> None:
    tables.days.record(
        table, "stored", {day: n for day, n in rows.items() if day not in refused}, "test"
    )
    for day, reason in refused.items():
        tables.days.record(table, "refused", {day: 0}, "test", reason)
