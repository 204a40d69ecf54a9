"""Fixtures for every test, and the order in which two processes share the modules."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from churn_orchestration_tests.support.kept import keep
from churn_orchestration_tests.support.listener import Listener
from churn_orchestration_tests.support.shop import UP_TO_FEATURES, Shop, set_data

MEMORY, ROOM = Path("/dev/shm"), 6e9
"""Temporary folders are kept here if so many bytes are free: Dagster waits for a disk at each
event.
"""
APART = ("test_examples.py", "test_scenarios.py", "test_search.py")
"""Modules whose tests take long and share nothing: begun early, each wherever a process is free."""
LONG = ("test_watching.py", "test_source_table.py", "test_refreshing.py", "test_forecast.py")
"""Modules that take minutes in one process: begun first, or the other would wait for them at the
end.
"""


RUNNING = (
    *APART, *LONG,
    "test_alerts.py", "components/test_axes.py", "test_bad_input.py", "components/test_campaign.py",
    "test_churn_model.py",
    "test_cli.py", "test_daemon.py", "test_dagster_ui.py", "test_daily_parts.py", "test_digest.py",
    "test_definitions.py", "test_explain.py", "test_feature_history.py", "test_first_replies.py",
    "test_first_week.py", "test_issued.py", "test_landing_changes.py", "test_leakage.py",
    "test_marts.py", "test_months_ahead.py", "test_names.py", "components/test_offers.py",
    "test_own_features.py",
    "test_pages.py", "test_perturbation.py", "test_ranking.py", "test_relbench.py",
    "test_retail.py", "test_retraining.py", "test_segment_rules.py", "test_sql_tables.py",
    "test_sql_tests.py", "test_value_model.py", "test_static_question.py", "test_status.py",
    "test_stored_states.py", "test_stumbles.py",
)  # fmt: skip
"""Modules that run jobs, train models or simulate companies: `make quick` leaves them out."""


def _is_of(nodeid: str, modules: tuple[str, ...]) -> bool:
    return nodeid.partition("::")[0].endswith(modules)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and begin with what takes long."""
    for item in items:
        if _is_of(item.nodeid, RUNNING):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: (not _is_of(item.nodeid, LONG), not _is_of(item.nodeid, APART)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Keep a module in one process, whose tests share what they set up; those apart may go
    anywhere.
    """

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if _is_of(nodeid, APART) else str(super()._split_scope(nodeid))

    return ByModule(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders in memory; warnings of libraries that we cannot mend, as all others are
    errors.
    """
    keep()
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


@pytest.fixture
def listener() -> Iterator[Listener]:
    started = Listener()
    yield started
    started.close()


@pytest.fixture
def churn_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $CHURN_DATA; what the package sets in the environment is undone afterwards."""
    folder = tmp_path / "data"
    set_data(monkeypatch, folder)
    return folder


@pytest.fixture
def shop(tmp_path: Path, churn_data: Path) -> Shop:
    """A small business of its own; no file has landed yet."""
    return Shop(tmp_path / "shop", churn_data / "landing")


@pytest.fixture
def features_shop(shop: Shop) -> Shop:
    """The same, for tests of its tables up to the features: what lies after them takes most of the
    time.
    """
    shop.layers = UP_TO_FEATURES
    return shop
