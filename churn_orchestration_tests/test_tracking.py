"""MLflow's store of a business: what an earlier MLflow left, and a folder that has moved."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base

from churn_orchestration.business import BusinessError
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration_tests.support.in_process import IN_PROCESS

pytestmark = IN_PROCESS


def revision(tracking: Tracking) -> str:
    with closing(sqlite3.connect(tracking.database)) as db:
        return db.execute("select version_num from alembic_version").fetchall()[0][0]


def store_before_the_newest(state: Path) -> tuple[Tracking, Config]:
    """A store whose tables lack the last step that the installed MLflow knows."""
    tracking = Tracking(state=str(state))
    tracking.database.parent.mkdir(parents=True)
    engine = sqlalchemy.create_engine(tracking.uri)
    Base.metadata.create_all(engine)
    config = _get_alembic_config(tracking.uri)
    script = ScriptDirectory.from_config(config)
    command.upgrade(config, script.get_revision(script.get_current_head()).down_revision)
    engine.dispose()
    return tracking, config


def test_a_store_of_an_earlier_mlflow_is_upgraded_and_keeps_its_experiments(tmp_path, capsys):
    tracking, config = store_before_the_newest(tmp_path)
    with closing(sqlite3.connect(tracking.database)) as db, db:
        db.execute(
            "insert into experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "values (7, 'q', 'file:///elsewhere/mlflow/artifacts/q', 'active')"
        )
    client = tracking.client()
    assert revision(tracking) == ScriptDirectory.from_config(config).get_current_head()
    experiment = client.get_experiment_by_name("q")
    assert experiment.experiment_id == "7"
    assert experiment.artifact_location == (tmp_path / "mlflow" / "artifacts" / "q").as_uri()
    assert "to the tables of the installed MLflow" in capsys.readouterr().err
    assert not tracking.database.with_suffix(".migrating").exists()


def test_a_store_of_a_newer_mlflow_is_refused_and_stays_as_it_is(tmp_path):
    tracking, _ = store_before_the_newest(tmp_path)
    with closing(sqlite3.connect(tracking.database)) as db, db:
        db.execute("update alembic_version set version_num = 'ffffffffffff'")
    with pytest.raises(BusinessError, match=r"newer MLflow than is installed.*update the package"):
        tracking.client()
    assert revision(tracking) == "ffffffffffff"
