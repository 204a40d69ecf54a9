"""MLflow of a business: one run a training, one registered model a question, the alias mirrors the ledger."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

    from churn_orchestration.churn.learners import LogOddsBlend

CHAMPION = "champion"
REQUIREMENTS = ["churn-orchestration", "scikit-learn", "lightgbm", "xgboost-cpu", "skops", "pandas"]


class Tracking(dg.ConfigurableResource):
    """The MLflow store that lies in a business's state folder; nothing leaves the machine."""

    state: str

    @property
    def uri(self) -> str:
        """The address of the store, as MLflow takes it."""
        return f"sqlite:///{Path(self.state) / 'mlflow' / 'mlflow.db'}"

    def client(self) -> "MlflowClient":
        """A client of the store; makes the store where there is none."""
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        import mlflow

        for name in ("mlflow", "alembic"):  # both tell at INFO of every table they make
            logging.getLogger(name).setLevel(logging.ERROR)
        folder = Path(self.state) / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return mlflow.MlflowClient()

    @contextmanager
    def run(self, question: str, name: str, tags: dict[str, str]) -> Iterator[str]:
        """One MLflow run of a question's experiment, for as long as the block lasts; its id."""
        client = self.client()
        import mlflow

        if client.get_experiment_by_name(question) is None:
            artifacts = (Path(self.state) / "mlflow" / "artifacts" / question).as_uri()
            client.create_experiment(question, artifact_location=artifacts)
        mlflow.set_experiment(question)
        with mlflow.start_run(run_name=name, tags=tags) as run:
            yield run.info.run_id

    def register(self, question: str, model: "LogOddsBlend", example: "pd.DataFrame", version: str) -> str:
        """Save the model with signature and example, without a pickle; its number in the registry."""
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
        found = self.client().search_model_versions(f"name = '{question}'")
        numbers = [m.version for m in found if m.tags.get("model_version") == version]
        return str(min(numbers, key=int)) if numbers else None

    def load(self, question: str, number: str) -> "LogOddsBlend":
        """A registered model."""
        self.client()
        import mlflow

        model: Any = mlflow.sklearn.load_model(f"models:/{question}/{number}")
        return model

    def crown(self, question: str, number: str | None) -> None:
        """Let the alias ``champion`` say what the ledger says; None: no model is."""
        client = self.client()
        if number is not None:
            client.set_registered_model_alias(question, CHAMPION, number)
        elif client.search_registered_models(f"name = '{question}'"):
            client.delete_registered_model_alias(question, CHAMPION)
