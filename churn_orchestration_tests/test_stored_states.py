"""The state folders of earlier versions: upgraded, they score and grade on, and lose nothing."""

import datetime as dt
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from churn_orchestration.business import Business
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.door import door
from churn_orchestration.storage.migrations import MIGRATIONS
from churn_orchestration.storage.model_store import MODEL, ModelFiles
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration_tests.support.in_process import IN_PROCESS, commanded
from churn_orchestration_tests.support.stored_state import REFUSED, STATES, unpack

pytestmark = IN_PROCESS
QUESTION = "churn_7d"
KEPT = ("predictions", "restated", f"monitoring/{QUESTION}_graded", "snapshots", "models")
"""Folders of what was said once: not a byte of it may change."""
NEXT_DAY = dt.date.fromisoformat(REFUSED)
GRADED_NEXT = NEXT_DAY - dt.timedelta(days=7)
_REGISTERED = """
select v.name, v.version, v.run_id, v.current_stage, t.key, t.value, m.key, m.value
from model_versions as v join model_version_tags as t on t.name = v.name and t.version = v.version
join metrics as m on m.run_uuid = v.run_id order by 1, 2, 5, 7"""


@dataclass(frozen=True)
class Kept:
    """What a state holds that outlives every version: hashes by file, the ledger, what is
    registered.
    """

    files: dict[str, str]
    ledger: bytes
    registered: list[tuple]

    @classmethod
    def of(cls, state: Path) -> "Kept":
        files = [path for kept in KEPT for path in (state / kept).rglob("*") if path.is_file()]
        files += (state / "mlflow" / "artifacts").rglob("*.skops")
        with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as db:
            registered = db.execute(_REGISTERED).fetchall()
        return cls(
            {str(path.relative_to(state)): content_hash(path) for path in sorted(files)},
            (state / ledger.FILE).read_bytes(),
            registered,
        )


@dataclass(frozen=True)
class Upgraded:
    """A state after this version's commands: what it held before, and what they printed."""

    business: Business
    before: Kept
    status: str
    run: str

    @property
    def state(self) -> Path:
        return self.business.state


@pytest.fixture(scope="module", params=sorted(path.name for path in STATES.glob("*.tar.xz")))
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Upgraded:
    """A stored state, unpacked elsewhere, whose refused day is mended and run by this version."""
    place = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHURN_DATA", str(place / "data"))
        patch.setenv("CHURN_BUSINESS", str(place / "business"))
        patch.setenv("DAGSTER_HOME", str(place))
        state = unpack(request.param.removesuffix(".tar.xz"), place)
        before = Kept.of(state)
        status = commanded("status")
        file = state / "landing" / "orders" / f"orders_{REFUSED}.csv"
        file.write_text(file.read_text().replace("amount", "amount_usd", 1))
        run = commanded("run", "--to", REFUSED)
        yield Upgraded(Business(place / "business"), before, status.output, run.output)
    shutil.rmtree(place)


def test_the_first_command_upgrades_the_state_and_says_so(upgraded):
    assert f"to version {len(MIGRATIONS)}" in upgraded.status or "upgrading" not in upgraded.status
    with door(upgraded.state) as db:
        [(newest,)] = db.execute("select max(version) from meta.migrations").fetchall()
    assert newest == len(MIGRATIONS)


def test_the_schema_is_that_of_a_new_state(upgraded, tmp_path):
    columns = (
        "select table_name, column_name, data_type from duckdb_columns() where schema_name = "
        "'meta' and database_name = current_database() order by table_name, column_index"
    )
    with Warehouse.of(tmp_path).open() as new, Warehouse.of(upgraded.state).open() as old:
        assert old.rows(columns) == new.rows(columns)


def test_forecasts_grades_snapshots_and_models_are_the_same_to_the_byte(upgraded):
    assert len(upgraded.before.files) > 30
    now = Kept.of(upgraded.state)
    assert {name: now.files.get(name) for name in upgraded.before.files} == upgraded.before.files
    assert now.registered == upgraded.before.registered != []


def test_the_ledger_goes_on_where_it_ended_and_its_seal_holds(upgraded):
    assert (upgraded.state / ledger.FILE).read_bytes().startswith(upgraded.before.ledger)
    decisions = [row["decision"] for row in ledger.read(upgraded.state)]
    assert decisions[:5] == ["refuse", "waive", "promote", "roll back", "roll back"]


def test_what_was_issued_is_shown_as_it_was_and_one_more_day_is_scored_by_the_registered_model(
    upgraded,
):
    rows = ledger.read(upgraded.state)
    champion = next(row["model_version"] for row in rows if row["decision"] == "promote")
    with door(upgraded.state) as db:
        scored = db.execute(
            f"select as_of, model_version, count(*) from predictions.{QUESTION} group by all order "
            "by all"
        ).fetchall()
        shown = db.execute(
            "select files from meta.shown where table_name = ?", [f"predictions.{QUESTION}"]
        )
        files = {str(Path(file).relative_to(upgraded.state)) for file in shown.fetchall()[0][0]}
    issued = {name for name in upgraded.before.files if name.startswith("predictions/")}
    assert issued < files
    assert scored[-1][:2] == (NEXT_DAY, champion)
    assert scored[-1][2] > 100


def test_a_forecast_of_before_the_upgrade_is_graded_when_its_outcome_is_known(upgraded):
    with door(upgraded.state) as db:
        graded = db.execute(
            f"select measured_on, count(*) from monitoring.{QUESTION}_graded where as_of = ? group "
            "by 1",
            [GRADED_NEXT],
        ).fetchall()
        forecasts = db.execute(
            f"select count(*) from predictions.{QUESTION} where as_of = ?", [GRADED_NEXT]
        ).fetchall()
    assert graded == [(NEXT_DAY, forecasts[0][0])]


def test_every_saved_model_loads_and_its_files_in_mlflow_are_in_the_folder_that_moved(upgraded):
    versions = sorted((upgraded.state / "models" / QUESTION).glob(f"*{MODEL}"))
    assert len(versions) == 2
    tracking = Tracking(state=str(upgraded.state))
    for path in versions:
        assert ModelFiles(upgraded.state, QUESTION, path.stem).model() is not None
        number = tracking.find(QUESTION, path.stem)
        copy = tracking.model_file(QUESTION, number, path.stem).relative_to(upgraded.state)
        assert str(copy) in upgraded.before.files
    for model in tracking.client().search_model_versions(f"name = '{QUESTION}'"):
        run = tracking.client().get_run(model.run_id).info
        assert run.artifact_uri.startswith((upgraded.state / "mlflow").as_uri())
        assert tracking.client().list_artifacts(model.run_id) != []
