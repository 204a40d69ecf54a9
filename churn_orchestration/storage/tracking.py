"""MLflow of a business: one run a training, one registered model a question, the alias mirrors the
ledger.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from filelock import FileLock

from churn_orchestration.business import BusinessError
from churn_orchestration.terminal import say

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

    from churn_orchestration.churn.learners import LogOddsBlend

CHAMPION = "champion"
_ALIASED = """
select t.value from registered_model_aliases as a
join model_version_tags as t \
on t.name = a.name and t.version = a.version and t.key = 'model_version'
where a.name = ? and a.alias = ?"""
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's tables that hold whole addresses of files."""
REQUIREMENTS = ["churn-orchestration", "scikit-learn", "lightgbm", "xgboost-cpu", "skops", "pandas"]


@cache
def _newest_revision() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())


class Tracking(dg.ConfigurableResource):
    """The MLflow store that lies in a business's state folder; nothing leaves the machine."""

    state: str

    @property
    def database(self) -> Path:
        """The file of the store."""
        return Path(self.state) / "mlflow" / "mlflow.db"

    @property
    def uri(self) -> str:
        """The address of the store, as MLflow takes it."""
        return f"sqlite:///{self.database}"

    def _artifacts(self, question: str) -> Path:
        return self.database.parent / "artifacts" / question

    def client(self) -> "MlflowClient":
        """A client of the store; makes the store where there is none."""
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        import mlflow

        for name in ("mlflow", "alembic"):  # both tell at INFO of every table they make
            logging.getLogger(name).setLevel(logging.ERROR)
        self.database.parent.mkdir(parents=True, exist_ok=True)
        if self.database.is_file():
            self._relocate()
            self._upgrade()
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return mlflow.MlflowClient()

    def _relocate(self) -> None:
        """Let the store name its files where they are: it holds absolute addresses."""
        with closing(sqlite3.connect(self.database)) as db, db:
            there = {
                name
                for (name,) in db.execute("select name from sqlite_master where type = 'table'")
            }
            if not {table for table, _ in _ADDRESSES} <= there:
                return
            kept = db.execute("select name, artifact_location from experiments").fetchall()
            for name, address in kept:
                now = self._artifacts(name).as_uri()
                if not address.endswith(f"/mlflow/artifacts/{name}") or address == now:
                    continue
                for table, column in _ADDRESSES:
                    db.execute(
                        f"update {table} set {column} = ? || substr({column}, ?) "
                        f"where {column} = ? or {column} like ? || '/%'",
                        (now, len(address) + 1, address, address),
                    )

    def _upgrade(self) -> None:
        """Bring older tables to those of the installed MLflow, in a copy that replaces the store.

        MLflow itself refuses older tables, or changes them in place, where a crash would be seen.
        """
        if self._revision() in (None, _newest_revision()):
            return
        import sqlalchemy
        from alembic.util import CommandError
        from mlflow.store.db.utils import _upgrade_db

        temporary = self.database.with_suffix(".migrating")
        with FileLock(self.database.with_suffix(".lock")):
            if self._revision() == _newest_revision():  # by another process, meanwhile
                return
            temporary.unlink(missing_ok=True)
            with (
                closing(sqlite3.connect(self.database)) as old,
                closing(sqlite3.connect(temporary)) as copy,
            ):
                old.backup(copy)
            engine = sqlalchemy.create_engine(f"sqlite:///{temporary}")
            try:
                _upgrade_db(engine)
            except CommandError as error:
                raise BusinessError(
                    f"{self.database} was written by a newer MLflow than is installed ({error}): "
                    "update the package (`pip install --upgrade churn-orchestration`); the store "
                    "stays as it is"
                ) from None
            finally:
                engine.dispose()
            temporary.replace(self.database)
        say(f"  upgraded {self.database} to the tables of the installed MLflow")

    def _revision(self) -> str | None:
        """Of which step of MLflow's migrations the tables are; None: they do not say."""
        with closing(sqlite3.connect(self.database)) as db:
            try:
                rows = db.execute("select version_num from alembic_version").fetchall()
            except sqlite3.OperationalError:  # a store that is just being made
                return None
        return str(rows[0][0]) if rows else None

    @contextmanager
    def run(self, question: str, name: str, tags: dict[str, str]) -> Iterator[str]:
        """One MLflow run of a question's experiment, for as long as the block lasts; its id."""
        client = self.client()
        import mlflow

        experiment = client.get_experiment_by_name(question)
        artifacts = self._artifacts(question).as_uri()
        known = (
            experiment.experiment_id
            if experiment
            else client.create_experiment(question, artifacts)
        )
        # Made here and named: what MLFLOW_RUN_ID or MLFLOW_EXPERIMENT_ID name is none of ours.
        made = client.create_run(known, tags=tags, run_name=name)
        with mlflow.start_run(made.info.run_id):
            yield made.info.run_id

    def log_dataset(self, name: str, file: Path, sha256: str) -> None:
        """Name what the run that is at work learns from; not a row of it is copied."""
        import mlflow
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]

        source = LocalArtifactDatasetSource(str(file))
        data = MetaDataset(source, name=name, digest=sha256[:12])  # type: ignore[abstract]
        mlflow.log_input(data, context="training")

    def log_child(self, run_id: str, name: str, metrics: dict[str, float]) -> None:
        """A run of one forecaster below another run, graded on the same rows."""
        client = self.client()
        parent = client.get_run(run_id).info
        child = client.create_run(
            parent.experiment_id, tags={"mlflow.parentRunId": run_id}, run_name=name
        )
        for metric, value in metrics.items():
            client.log_metric(child.info.run_id, metric, value)
        client.set_terminated(child.info.run_id)

    def register(
        self, question: str, model: "LogOddsBlend", example: "pd.DataFrame", version: str
    ) -> str:
        """Save the model with signature and example, without a pickle; its number in the
        registry.
        """
        import mlflow
        from mlflow.models import infer_signature

        from churn_orchestration.churn.learners import TRUSTED_TYPES

        info = mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="skops",
            skops_trusted_types=TRUSTED_TYPES,
            signature=infer_signature(example, model.predict_proba(example)),
            input_example=example,
            pip_requirements=REQUIREMENTS,
            pyfunc_predict_fn="predict_proba",
        )
        client = self.client()
        if not client.search_registered_models(f"name = '{question}'"):
            client.create_registered_model(question)
        tags = {"model_version": version}
        made = client.create_model_version(
            question, info.model_uri, info.run_id, tags, model_id=info.model_id
        )
        return str(made.version)

    def find(self, question: str, version: str) -> str | None:
        """The registered number of a ``model_version``, where it was registered before."""
        result = self.client().search_model_versions(f"name = '{question}'")
        numbers = [m.version for m in result if m.tags.get("model_version") == version]
        return str(min(numbers, key=int)) if numbers else None

    def model_file(self, question: str, number: str | None, version: str) -> Path | None:
        """The file of a registered model; None where MLflow has none, or another model under its
        number.
        """
        if number is None or not self.database.is_file() or self.find(question, version) != number:
            return None
        source = self.client().get_model_version(question, number).source or ""
        # Not where MLflow says that it is: the folder of the state may have moved.
        path = (
            self._artifacts(question)
            / "models"
            / source.removeprefix("models:/")
            / "artifacts"
            / "model.skops"
        )
        return path if path.is_file() else None

    def aliased(self, question: str) -> str | None:
        """The ``model_version`` that the alias ``champion`` names; without MLflow: it imports
        slowly.
        """
        if not self.database.is_file():
            return None
        with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as db:
            result = db.execute(_ALIASED, (question, CHAMPION)).fetchall()
        return result[0][0] if result else None

    def crown(self, question: str, version: str | None) -> bool:
        """Let the alias ``champion`` name the registered model of a version; whether there is one.

        None: no model is champion.
        """
        client = self.client()
        number = self.find(question, version) if version else None
        if number is not None:
            client.set_registered_model_alias(question, CHAMPION, number)
        elif client.search_registered_models(f"name = '{question}'"):
            client.delete_registered_model_alias(question, CHAMPION)
        return number is not None
