"""A champion that should never have been one: it learned the opposite of what came."""

import datetime as dt
import json
import shutil

from churn_orchestration.churn.grading.gate import Decision
from churn_orchestration.churn.recipe import fit
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.training import snapshot
from churn_orchestration.components.question.training.promotion import record_decision, record_of
from churn_orchestration.storage import ledger
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables

UPSIDE_DOWN = "upside_down"


def force_upside_down(
    tables: Tables, tracking: Tracking, settings: QuestionSettings, cutoff: dt.date, day: dt.date
) -> str:
    """Promote, on ``day``, a model that learned a snapshot the wrong way round; its version."""
    version, folder = UPSIDE_DOWN, settings.store.model_files(tables.state)
    champion = ledger.champion(tables.state, settings.name, day)
    assert champion
    frame, _ = snapshot.load(settings.store.snapshot_files(tables.state), cutoff)
    before = champion["model_version"]
    record = record_of(tables.state, settings.name, before) | {"model_version": version}
    columns, entity = frame[record["features"]], frame[settings.question.entity]
    model = fit("logistic", columns, ~frame["label"].astype(bool), entity)
    record["mlflow_version"] = tracking.find(settings.name, version)
    if record["mlflow_version"] is None:
        with tracking.run(settings.name, version, {}):
            example = columns.head(5).astype(float)
            record["mlflow_version"] = tracking.register(settings.name, model, example, version)
    ModelFiles(tables.state, settings.name, version).save(model)
    (folder / f"{version}.json").write_text(json.dumps(record))
    shutil.copyfile(folder / f"{before}.parquet", folder / f"{version}.parquet")
    record_decision(
        tables, tracking, settings, Decision("promote", "forced"), record, {},
        decided_on=str(day), trigger="manual", asked_by="force", parent=before,
    )  # fmt: skip
    return version
