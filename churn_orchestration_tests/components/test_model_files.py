"""What scores is the model of the ledger, whatever lies in its place, and no file's code is run."""

import datetime as dt
import gc
import json
import pickle
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io

from churn_orchestration.business import BusinessError
from churn_orchestration.churn import learners
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.grading.gate import Decision
from churn_orchestration.churn.question.labels import Horizon, Question
from churn_orchestration.churn.recipe import fit
from churn_orchestration.components.features.proof import pipeline_of
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.training import promotion
from churn_orchestration.components.question.training.candidate import save_held_out
from churn_orchestration.storage import ledger
from churn_orchestration.storage.model_store import FIRST_USE, MODEL, RECORD, ModelFiles, _loaded
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration_tests.support.in_process import IN_PROCESS

pytestmark = IN_PROCESS

ORDERS = EventSource("orders", "silver.orders", "customer_id", "order", ("order_id",))
FEATURES = FeatureSet("customer_id", (ORDERS,), (7,), (7,))
ASKED = QuestionSettings(
    Question("q", "inactivity", FEATURES, ORDERS, Horizon(5)), "gold.f", 3, 28, "logistic", 1,
    (0.3, 0.5, 0.7), False, "orders_days_since_last",
    pipeline=pipeline_of(FEATURES, dt.date(2023, 11, 30), (), {}),
)  # fmt: skip
CUTOFF = dt.date(2024, 1, 31)
ROWS = pd.DataFrame({"silence": np.linspace(0, 1, 100)})


def fitted(churned: np.ndarray) -> learners.LogOddsBlend:
    return fit("logistic", ROWS, pd.Series(churned), pd.Series(range(100)))


SILENT = fitted(np.arange(100) >= 50)
LOUD = fitted(np.arange(100) < 50)


class Registry:
    """A state folder in which models are registered and promoted without a training."""

    def __init__(self, state: Path) -> None:
        self.state, self.tracking = state, Tracking(state=str(state))

    def files(self, version: str = "a") -> ModelFiles:
        return ModelFiles(self.state, "q", version)

    def promote(self, version: str, model: learners.LogOddsBlend, cutoff: dt.date = CUTOFF) -> None:
        files = self.files(version)
        files.save(model)
        with self.tracking.run("q", version, {"model_version": version}):
            number = self.tracking.register("q", model, ROWS.head(3), version)
        record = {"model_version": version, "cutoff": str(cutoff), "mlflow_version": number}
        save_held_out(pd.DataFrame({"customer_id": ["x"], "label": [True]}), files.path(".parquet"))
        files.path(RECORD).write_text(json.dumps(record))
        with self.open() as tables:
            promotion.record_decision(
                tables, self.tracking, ASKED, Decision("promote", "by a test"), record, {},
                decided_on=str(cutoff), trigger="manual", asked_by="a test", parent=None,
            )  # fmt: skip

    def open(self) -> Any:
        return Warehouse.of(self.state).open()

    def probability(self, version: str = "a") -> float:
        """Of churn, for the most silent."""
        return float(self.files(version).model().predict_proba(ROWS.tail(1))[0, 1])

    def mlflow_folder(self, version: str = "a") -> Path:
        number = self.tracking.find("q", version)
        result = self.tracking.model_file("q", number, version)
        assert result is not None
        return result.parent

    def before_there_were_hashes(self) -> None:
        """As an earlier version of the package left it: models in MLflow alone, no hash in the
        ledger.
        """
        rows = ledger.read(self.state)
        (self.state / ledger.FILE).unlink()
        for row in rows:
            facts = {
                n: row[n]
                for n in ("model_version", "cutoff", "decided_on", "mlflow_version", "meaning")
            }
            ledger.append(self.state, "q", row["decision"], "as before", "manual", {}, **facts)
            self.files(row["model_version"]).path(MODEL).unlink()


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """With a champion that says that the silent churn; copied, never changed."""
    registry = Registry(tmp_path_factory.mktemp("promoted") / "state")
    registry.promote("a", SILENT)
    return registry


@pytest.fixture
def registry(promoted: Registry, tmp_path: Path) -> Registry:
    shutil.copytree(promoted.state, tmp_path / "state")
    return Registry(tmp_path / "state")


def test_the_ledger_names_the_files_of_a_champion_and_they_are_read(promoted: Registry) -> None:
    [row] = ledger.read(promoted.state)
    assert row["files_sha256"] == promoted.files().file_hashes()
    assert set(row["files_sha256"]) == {".skops", ".json", ".parquet"}
    assert promoted.probability() > 0.5


def test_a_model_with_other_coefficients_in_the_place_of_the_champion_is_refused_by_name(
    registry: Registry,
) -> None:
    registry.files().path(MODEL).write_bytes(skops.io.dumps(LOUD))
    with pytest.raises(
        BusinessError, match=r"a\.skops is not what was registered as a .*in the ledger"
    ) as message:
        registry.probability()
    assert f"churn train --cutoff {CUTOFF}" in str(message.value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("open('bomb', 'w').close()",))


@pytest.mark.parametrize("where", ["in place of the model", "in MLflow"])
def test_a_pickle_is_never_read(
    registry: Registry, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Bomb())
    if where == "in place of the model":
        registry.files().path(MODEL).write_bytes(content)
        with pytest.raises(BusinessError, match="is not what was registered"):
            registry.probability()
    else:
        folder = registry.mlflow_folder()
        (folder / "model.pkl").write_bytes(content)
        described = (folder / "MLmodel").read_text()
        described = described.replace("model.skops", "model.pkl").replace(
            "serialization_format: skops", "serialization_format: pickle"
        )
        (folder / "MLmodel").write_text(described)
        assert registry.probability() > 0.5
    assert not (tmp_path / "bomb").exists()


def test_code_that_lies_with_a_model_of_an_earlier_state_is_not_run(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = registry.mlflow_folder()
    registry.before_there_were_hashes()
    (folder / "code").mkdir()
    (folder / "code" / "bomb.py").write_text("open('bomb', 'w').close()")
    described = (folder / "MLmodel").read_text().replace("code: null", "code: code")
    described = described.replace(
        "    skops_trusted_types:\n", "    skops_trusted_types:\n    - bomb.Bomb\n"
    )
    assert "code: code" in described
    assert "bomb.Bomb" in described
    (folder / "MLmodel").write_text(described)
    assert registry.probability() > 0.5
    assert not (tmp_path / "bomb").exists()


def test_a_type_that_is_not_ours_is_not_made(registry: Registry) -> None:
    folder = registry.mlflow_folder()
    registry.before_there_were_hashes()
    skops.io.dump(Decision("promote", "me"), folder / "model.skops")
    with pytest.raises(Exception, match=r"churn_orchestration\.churn\.grading\.gate\.Decision"):
        registry.probability()


def test_without_the_folder_of_mlflow_the_champion_scores_and_no_other_model_passes_for_it(
    registry: Registry,
) -> None:
    shutil.rmtree(registry.state / "mlflow")
    registry.promote(
        "b", LOUD, CUTOFF - dt.timedelta(days=31)
    )  # its number in MLflow is 1, as was a's
    assert registry.tracking.find("q", "b") == "1"
    assert (registry.probability("a") > 0.5, registry.probability("b") < 0.5) == (True, True)
    assert registry.tracking.aliased("q") is None, "the alias names a model that is not champion"


def test_of_an_earlier_state_another_model_under_the_champions_number_is_refused(
    registry: Registry,
) -> None:
    registry.before_there_were_hashes()
    shutil.rmtree(registry.state / "mlflow")
    with registry.tracking.run("q", "b", {}):
        assert registry.tracking.register("q", LOUD, ROWS.head(3), "b") == "1"
    with pytest.raises(
        BusinessError, match=r"a\.skops is gone, and MLflow has no a under its number 1 of q"
    ):
        registry.probability()


def test_a_record_that_was_changed_by_hand_is_refused_by_name(registry: Registry) -> None:
    path = registry.files().path(RECORD)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mlflow_version": "2"}))
    with pytest.raises(BusinessError, match=r"a\.json is not what was registered as a"):
        registry.files().record()


def test_a_model_of_an_earlier_state_is_identified_on_first_use_and_the_ledger_says_so(
    registry: Registry,
) -> None:
    registry.before_there_were_hashes()
    assert registry.probability() > 0.5
    row = ledger.read(registry.state)[-1]
    assert (row["decision"], row["model_version"], row["reason"]) == ("identify", "a", FIRST_USE)
    assert row["files_sha256"] == registry.files().file_hashes()
    champion = ledger.champion(registry.state, "q", CUTOFF, ASKED.question.meaning)
    assert champion
    assert (champion["decision"], champion["model_version"]) == ("promote", "a")
    registry.files().path(MODEL).write_bytes(skops.io.dumps(LOUD))
    with pytest.raises(BusinessError, match="is not what was registered"):
        registry.probability()


def test_an_alias_that_was_moved_by_hand_is_named_and_put_back(registry: Registry) -> None:
    registry.promote("b", LOUD, CUTOFF - dt.timedelta(days=31))
    assert registry.tracking.aliased("q") == "a"
    registry.tracking.crown("q", "b")
    with registry.open() as tables:
        message = promotion.mirror(tables, registry.tracking, ASKED)
        assert message == (
            "MLflow's alias champion of q named b, and the ledger says a: it was put back"
        )  # fmt: skip
        assert promotion.mirror(tables, registry.tracking, ASKED) is None
    assert registry.tracking.aliased("q") == "a"


@pytest.mark.parametrize(
    ("name", "value"),
    [("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false"), ("MLFLOW_RUN_ID", "f" * 32)],
)
def test_what_the_environment_says_to_mlflow_stops_neither_training_nor_scoring(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    registry.promote("b", LOUD)
    assert registry.probability("b") < 0.5


def test_of_all_models_that_a_process_loads_few_stay_in_memory(tmp_path: Path) -> None:
    registry, models = Registry(tmp_path), list[weakref.ref]()
    for number in range(8):
        registry.files(f"v{number}").save(fitted(np.arange(100) >= 20 + number))
        content = registry.files(f"v{number}").path(MODEL).read_bytes()
        models.append(weakref.ref(_loaded(content)))
    gc.collect()
    assert sum(model() is not None for model in models) <= 4
    assert models[-1]() is not None, "the champion's is read again every day"
