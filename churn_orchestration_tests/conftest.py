"""A small shop in a temporary folder: its YAML and SQL, its landing files, its days refreshed for real."""

import datetime as dt
import json
import os
import shutil
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from xdist.scheduler import LoadScopeScheduling

from churn_orchestration.automation import DAILY_LAYERS
from churn_orchestration.business import Business
from churn_orchestration.churn.contract import Contract
from churn_orchestration.cli import main
from churn_orchestration.components.judging import Judgement, judge
from churn_orchestration.components.source_table import SourceTable
from churn_orchestration.definitions import component_tree
from churn_orchestration.landing import Landed
from churn_orchestration.resources import Warehouse
from churn_orchestration.runs import Refreshed, at_work
from churn_orchestration.warehouse import Tables, door

MEMORY, ROOM = Path("/dev/shm"), 6e9
"""Temporary folders are kept here if so many bytes are free: Dagster waits for a disk at each event."""
APART = ("test_examples.py", "test_scenarios.py", "test_search.py")
"""Modules whose tests take long and share nothing: begun early, each wherever a process is free."""
LONG = ("test_watching.py", "test_refreshing.py", "test_source_table.py", "test_forecast.py")
"""Modules that take minutes in one process: begun first, or the other would wait for them at the end."""


def _is_of(nodeid: str, modules: tuple[str, ...]) -> bool:
    return nodeid.partition("::")[0].endswith(modules)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: (not _is_of(item.nodeid, LONG), not _is_of(item.nodeid, APART)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Keep a module in one process, whose tests share what they set up; those apart may go anywhere."""

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if _is_of(nodeid, APART) else str(super()._split_scope(nodeid))

    return ByModule(config, log)


JAN = [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(-1, 31)]  # JAN[5] is 2024-01-05
IN_PROCESS = [
    # MLflow 3 uses a loader strategy that SQLAlchemy 2.1 deprecates.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    # MLflow says so of its own functions, when imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
"""Marks of tests that run the command line, or train, in their own process."""
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
    "silver/defs.yaml": "type: churn_orchestration.components.SqlTables\nattributes:\n  layer: silver\n",
    "silver/orders.sql": SILVER_ORDERS,
    "gold/defs.yaml": FEATURES,
    "churn_90d/defs.yaml": QUESTION,
}


def examples(few: int, among: int = 1) -> int:
    """How many cases hypothesis tries: ``few``, or as many as CHURN_EXAMPLES says (`make thorough`).

    ``among``: the variants of a test that share those many cases.
    """
    return max(few, int(os.environ.get("CHURN_EXAMPLES", "0")) // among)


class Shop:
    """A business to try things on. Its initial load is 2024-01-05, its first day of data 2024-01-01.

    ``layers``: what is refreshed of it.
    """

    layers: Sequence[str] = DAILY_LAYERS

    def __init__(self, folder: Path, landing: Path) -> None:
        self.folder, self.landing = folder, landing
        for name, text in FILES.items():
            self.write(name, text)
        landing.mkdir(parents=True)

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
        """The orders file of a day of January 2024; rows such as ``o1,ann,2024-01-05 10:00,9.50``."""
        return self.land(f"orders_{JAN[day]}.csv", ORDERS_HEADER + "".join(f"{row}\n" for row in rows))

    def land_quiet_days(self, first: int, last: int) -> None:
        """One valid order of customer ann on each day from ``first`` to ``last`` of January 2024."""
        for day in range(first, last + 1):
            self.land_orders(day, f"o{day},ann,{JAN[day]} 10:00,{day}.50")

    @property
    def business(self) -> Business:
        """The business as its files stand now."""
        return Business(self.folder)

    def source(self, name: str = "orders") -> tuple[SourceTable, Contract]:
        """A declared source and its contract, loaded from its YAML."""
        business = self.business
        found = component_tree(business).get_all_components(of_type=SourceTable)
        source = next(s for s in found if s.name == name)
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
        """Land and judge days of January 2024 without Dagster, recorded as the assets record them."""
        return self.take_in_days([JAN[day] for day in days], name)

    def take_in_days(self, wanted: list[dt.date], name: str = "orders") -> tuple[Landed, Judgement]:
        """The same for any days."""
        source, contract = self.source(name)
        with self.tables() as tables:
            landed = source._land(tables, self.business, contract, wanted)
            _record(tables, f"raw.{name}", landed.rows, landed.refused)
            judgement = judge(tables, source, contract, wanted)
            _record(tables, f"bronze.{name}", judgement.rows, judgement.refused)
        return landed, judgement

    def refresh(self, first: int, last: int | None = None, layers: Sequence[str] | None = None) -> Refreshed:
        """Run the real job over days of January 2024, in process."""
        with at_work(self.business) as work:
            return work.refresh(JAN[first], JAN[first if last is None else last], layers or self.layers)

    def first_stale(self, last: int) -> dt.date | None:
        """The first day of January 2024 that would be made anew."""
        with at_work(self.business) as work:
            return work.plan(JAN[last], self.layers).first


def commanded(*arguments: str, expect: int = 0) -> Result:
    """What a command of the command line told, run in this process: libraries take seconds to import."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == expect, done.output + "".join(traceback.format_exception(done.exception))
    return done


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


def _record(tables: Tables, table: str, rows: dict[dt.date, int], refused: dict[dt.date, str]) -> None:
    tables.record(table, "stored", {day: n for day, n in rows.items() if day not in refused}, "test")
    for day, reason in refused.items():
        tables.record(table, "refused", {day: 0}, "test", reason)


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders in memory; warnings of libraries that we cannot mend, as all others are errors."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    # Dagster 1.13 reads YAML through pydantic's old names.
    config.addinivalue_line("filterwarnings", "ignore::pydantic.warnings.PydanticDeprecatedSince20")
    # Windowed partition mappings are beta in Dagster, and used on purpose.
    config.addinivalue_line("filterwarnings", "ignore::dagster_shared.utils.warnings.BetaWarning")
    # Apprise imports a module that Python 3.13 gave up.
    config.addinivalue_line("filterwarnings", "ignore:'imghdr' is deprecated:DeprecationWarning")
    # Great Expectations' grammar library imports names that Python 3.11 gave up.
    config.addinivalue_line("filterwarnings", "ignore:module 'sre_:DeprecationWarning")


class Listener:
    """An HTTP server on this machine that keeps what is posted to it; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.posts, self.status = list[tuple[str, Any]](), 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if listener.status == 200:
                    listener.posts.append((self.path, json.loads(body)))
                self.send_response(listener.status)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Say nothing in the terminal."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def titles(self) -> list[str]:
        return [post["title"] for _, post in self.posts]

    def about(self, question: str) -> list[str]:
        """The titles that are about a question, without the name of the business."""
        titles = [title.split("] ", 1)[1] for title in self.titles]
        return [title for title in titles if title.startswith(question)]


@pytest.fixture
def listener() -> Iterator[Listener]:
    started = Listener()
    yield started
    started.close()


@pytest.fixture
def churn_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $CHURN_DATA; what the package sets in the environment is undone afterwards."""
    folder = tmp_path / "data"
    monkeypatch.setenv("CHURN_DATA", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("CHURN_BUSINESS", "")  # set first: only then is what the command sets undone
    monkeypatch.delenv("CHURN_BUSINESS")
    return folder


@pytest.fixture
def shop(tmp_path: Path, churn_data: Path) -> Shop:
    """A small business of its own; no file has landed yet."""
    return Shop(tmp_path / "shop", churn_data / "landing")


@pytest.fixture
def features_shop(shop: Shop) -> Shop:
    """The same, for tests of its tables up to the features: what lies after them takes most of the time."""
    shop.layers = UP_TO_FEATURES
    return shop
