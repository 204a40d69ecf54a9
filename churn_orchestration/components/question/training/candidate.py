"""A candidate of a question: settings sought, fitted, graded on rows unseen; its record, kept in
MLflow.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration import pictures, stages
from churn_orchestration.business import BusinessError, digest
from churn_orchestration.churn.bound import bound_message
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.grading import gate
from churn_orchestration.churn.question.copies import copies_message
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.churn.question.settings import Economics
from churn_orchestration.components.question.processes import members
from churn_orchestration.components.question.training import card
from churn_orchestration.storage.files import swap_in, write_text
from churn_orchestration.storage.model_store import HELD_OUT, RECORD, ModelFiles
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.grading.evaluation import Evaluation
    from churn_orchestration.churn.learners import LogOddsBlend
    from churn_orchestration.churn.recipe import Recipe
    from churn_orchestration.components.question.question import QuestionSettings
    from churn_orchestration.components.question.training.snapshot import TrainingRows


def search_settings(
    state: Path,
    settings: "QuestionSettings",
    training: "TrainingRows",
    champion: dict[str, Any] | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """The result of a search on a snapshot: the ``learner``, and its ``capacity``, None where the
    fixed settings stay.

    ``champion``: its row in the ledger; its settings, if they were sought, are tried early.

    Raises
    ------
    BusinessError : the budget is less than one trial needs
    """
    if (budget := settings.budget) is None:
        return {"learner": settings.learner, "capacity": None}
    from churn_orchestration.churn.capacity import Capacity, scarce_entities
    from churn_orchestration.churn.grading import evaluation
    from churn_orchestration.churn.learners import LEARNERS
    from churn_orchestration.churn.learning.search import Rows, Setting
    from churn_orchestration.components.question.training import search

    question, frame, manifest = settings.question, training.frame, training.manifest
    label = frame["label"].to_numpy(bool)
    scarce = scarce_entities(label, frame[question.entity].to_numpy())
    if scarce < budget.from_entities:
        small = (
            f"{scarce:,} customers of the rarer outcome; "
            f"a search begins at {budget.from_entities:,}"
        )
        log(f"{settings.name}: no search: {small}")
        return {"learner": settings.learner, "capacity": None, "skipped": small}
    # Without the calendar: the splits of a search need not go round the year.
    names = evaluation.feature_columns(frame[frame["as_of"] == frame["as_of"].max()], question)
    rows = Rows.of(
        frame, question.entity, names, question.horizon, settings.test_as_ofs,
        members(question, manifest.get("processes", {})),
    )  # fmt: skip
    if rows is None:
        none = (
            "no as_of was known before the oldest day that is graded: more `snapshots.as_ofs` are "
            "needed, or fewer `test_as_ofs`"
        )
        log(f"{settings.name}: no search: {none}")
        return {"learner": settings.learner, "capacity": None, "skipped": none}
    inputs = [settings.learner, settings.test_as_ofs, question.horizon, budget, list(LEARNERS)]
    code = stages.identity(stages.MODELS)
    place = settings.store.search_files(state) / digest(manifest["sha256"], inputs, code)
    record = ModelFiles(state, settings.name, champion["model_version"]).shown() if champion else {}
    before = record.get("search", {}).get("capacity")
    warm = Setting(record["learner"], Capacity(*before)) if before else None
    try:
        return search.search(place, rows, settings.learner, budget, warm, log)
    except search.SearchError as error:
        raise BusinessError(
            f"{settings.name}: {error}: a larger `search.memory_gb`, or fewer rows"
        ) from None


def save_held_out(held_out: "pd.DataFrame", path: Path) -> None:
    """Write what was forecast of unseen rows, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".forecasts.writing")
    held_out.to_parquet(temporary, index=False)
    swap_in(temporary, path)


def train_and_save(
    tables: Tables,
    files: ModelFiles,
    tracking: Tracking,
    settings: "QuestionSettings",
    rows: "TrainingRows",
    search: dict[str, Any],
    warnings: list[str],
) -> None:
    """Write the files of a new model: what scores, what it forecast of rows unseen, and, last, its
    record.

    ``warnings``: what its features may know too much of.
    """
    model, evaluation = _fitted(settings, rows, search)
    frame = rows.frame
    unseen = (
        with_value(tables, settings, evaluation, frame)
        if evaluation
        else frame[[settings.question.entity, "as_of", "label"]].head(0)
    )
    given: dict[str, Any] = {
        "model_version": files.version, "search": search, "warnings": warnings,
    }  # fmt: skip
    given["mlflow_version"] = tracking.find(settings.name, files.version)
    record = _record(settings, rows, given, model, evaluation, unseen) | _stability(
        settings, rows, search, model
    )
    if record["mlflow_version"] is None:
        record["mlflow_version"] = _logged(
            files, tracking, settings, rows, record, model, evaluation
        )
    files.save(model)
    save_held_out(unseen, files.path(HELD_OUT))
    write_text(files.path(RECORD), json.dumps(record, indent=1))


def _fitted(
    settings: "QuestionSettings", rows: "TrainingRows", search: Mapping[str, Any]
) -> "tuple[LogOddsBlend, Evaluation | None]":
    """The model of all rows, and how its recipe did on rows unseen; None: there are none."""
    from churn_orchestration.churn.capacity import HopelessLabel
    from churn_orchestration.churn.grading import evaluation as evaluations

    question, frame, recipe = settings.question, rows.frame, _recipe(settings, rows, search)
    try:
        evaluation = evaluations.evaluate(frame, question, recipe, settings.test_as_ofs)
        columns = evaluations.feature_columns(frame, question)
        model = recipe.fit(frame, columns, question.entity)
    except HopelessLabel as error:
        raise BusinessError(
            f"{settings.name}: refuses to train at cut-off {rows.manifest['cutoff']}: {error}"
        ) from None
    model.folds_ = dict(evaluation.models) if evaluation else {}
    return model, evaluation


def _recipe(
    settings: "QuestionSettings", rows: "TrainingRows", search: Mapping[str, Any]
) -> "Recipe":
    """How the model of a snapshot is made."""
    from churn_orchestration.churn.capacity import Capacity
    from churn_orchestration.churn.recipe import Recipe

    capacity = search["capacity"] and Capacity(*search["capacity"])
    processes = members(settings.question, rows.manifest.get("processes", {}))
    return Recipe(search["learner"], capacity, processes)


def _stability(
    settings: "QuestionSettings",
    rows: "TrainingRows",
    search: Mapping[str, Any],
    model: "LogOddsBlend",
) -> dict[str, Any]:
    """How far refitted models give the same reasons; nothing where no refit is declared."""
    if not settings.reasons.refits:
        return {}
    import pandas as pd

    from churn_orchestration.churn.capacity import HopelessLabel
    from churn_orchestration.churn.learning.stability import stability

    words = pd.DataFrame(
        [asdict(feature) for feature in catalogue(settings.question.features)]
    ).set_index("name")
    try:
        result = stability(
            model, partial(_recipe, settings, rows, search), rows.frame, settings.question.entity,
            words, settings.reasons.refits,
        )  # fmt: skip
    except HopelessLabel as error:
        raise BusinessError(
            f"{settings.name}: without a fifth of the customers no model can be fitted: {error}; "
            "take `refits` out of `reasons`"
        ) from None
    return {"stability": result}


def _record(
    settings: "QuestionSettings",
    rows: "TrainingRows",
    given: dict[str, Any],
    model: "LogOddsBlend",
    evaluation: "Evaluation | None",
    unseen: "pd.DataFrame",
) -> dict[str, Any]:
    """What is kept of a training: what it learned from, how it was graded, what was decided.

    ``given``: model_version, mlflow_version, search and warnings; ``unseen``: see ``with_value``.
    The order of the keys stays as it is: a model that is made again has the same file.
    """
    from churn_orchestration.churn.learning.contributions import influences

    question, frame, manifest = settings.question, rows.frame, rows.manifest
    more, too_good = manifest.get("more_as_ofs", 0), _too_good(settings, evaluation, frame)
    decision = gate.decide(evaluation, settings.floors, settings.ceilings, more, too_good)
    columns = list(model.feature_names_in_)
    record = {
        "model_version": given["model_version"], "cutoff": manifest["cutoff"],
        "learner": given["search"]["learner"], "mlflow_version": given["mlflow_version"],
        "snapshot_sha256": manifest["sha256"], "rows": len(frame),
        "as_ofs": [entry["as_of"] for entry in manifest["as_ofs"]],
        "base_rate": _base_rate(rows), "features": columns, "search": given["search"],
        "bound": bound_message(rows.read, manifest["rows"], question.entity),
        "copies": copies_message(rows.read - len(frame), rows.read, question.entity),
        "decision": decision.decision, "reason": decision.reason, "warnings": given["warnings"],
        "weights": dict(zip(model.members_, model.weights_.tolist(), strict=True)),
        "process": manifest.get("processes", {}).get(manifest["cutoff"], {}), "profit": {},
        "evaluation": _summary(evaluation),
        "curves": evaluation.curves if evaluation else {}, "influences": influences(
            model, frame.loc[frame["as_of"] == frame["as_of"].max(), columns],
            catalogue(question.features)
        ),
    }  # fmt: skip
    return record | (_acted_on(settings, evaluation, frame, unseen) if evaluation else {})


def _logged(
    files: ModelFiles,
    tracking: Tracking,
    settings: "QuestionSettings",
    rows: "TrainingRows",
    record: dict[str, Any],
    model: "LogOddsBlend",
    evaluation: "Evaluation | None",
) -> str:
    """Log a training as a run of MLflow and register its model; its number in the registry."""
    import mlflow

    manifest, version = rows.manifest, files.version
    tags = {
        "model_version": version,
        "cutoff": manifest["cutoff"],
        "snapshot_sha256": manifest["sha256"],
    }
    with tracking.run(settings.name, f"{settings.name} {manifest['cutoff']}", tags) as run_id:
        mlflow.log_params(_parameters(settings, record))
        snapshot = files.state / "snapshots" / settings.name / manifest["file"]
        tracking.log_dataset(f"snapshots.{settings.name}", snapshot, manifest["sha256"])
        for name, svg in _pictures(settings, record).items():
            mlflow.log_text(svg, f"{name}.svg")
        if evaluation:
            mlflow.log_metrics(flat_metrics(evaluation))
            for name, report in evaluation.report.items():
                if name != "model":
                    tracking.log_child(run_id, name, _values(report))
            mlflow.log_metric("empc", record["profit"]["model"]["expected_maximum"])
        mlflow.log_dict(record["search"], "search.json")
        for row in record["search"].get("leaderboard", []):
            values = {name: row[name] for name in ("log_loss", "seconds")}
            tracking.log_child(run_id, f"search: {row['learner']}", values)
        message = card.markdown(settings, record)
        mlflow.log_text(message, "model_card.md")
        mlflow.log_text(card.page(message), "model_card.html")
        example = rows.frame[record["features"]].head(5).astype(float)
        return tracking.register(settings.name, model, example, version)


def _base_rate(rows: "TrainingRows") -> float:
    """The churn rate of the rows that were learned from; of all, where the bound left some out."""
    manifest = rows.manifest
    if rows.read == manifest["rows"]:
        return float(rows.frame["label"].mean())
    churned = sum(entry["rows"] * entry["churn_rate"] for entry in manifest["as_ofs"])
    return float(churned / manifest["rows"])


def _parameters(settings: "QuestionSettings", record: dict[str, Any]) -> dict[str, Any]:
    """What a training was given, and what a search chose of it."""
    horizon = settings.question.horizon
    usual = "in folds" if settings.question.kind == STATIC else "fixed"
    return {
        "learner": record["learner"], "rows": record["rows"], "features": len(record["features"]),
        "cutoff": record["cutoff"], "as_ofs": ", ".join(record["as_ofs"]),
        "test_as_ofs": settings.test_as_ofs, f"horizon_{horizon.unit}": horizon.length,
        "gap_days": horizon.gap_days, "capacity": record["search"]["capacity"] or usual,
    }  # fmt: skip


def _pictures(settings: "QuestionSettings", record: dict[str, Any]) -> dict[str, str]:
    """The pictures of a model as SVG, by name."""
    drawn = {
        "calibration_and_gain": pictures.quality(record),
        "lift_and_profit": pictures.worth(record),
        "learning_and_segments": pictures.learning(record, settings.titles),
        "what_moves_it": pictures.influences(record["influences"], settings.titles),
    }
    return {name: pictures.svg(markdown) for name, markdown in drawn.items() if markdown}


def with_value(
    tables: Tables,
    settings: "QuestionSettings",
    evaluation: "Evaluation",
    frame: "pd.DataFrame",
) -> "pd.DataFrame":
    """The rows held out, each with what its customer was worth at its as_of."""
    import pandas as pd

    keys = [settings.question.entity, "as_of"]
    held_out = pd.to_datetime(frame["as_of"]).isin(evaluation.held_out["as_of"])
    frame = settings.valued(tables, frame[held_out])
    values = frame[keys].assign(
        as_of=pd.to_datetime(frame["as_of"]), recent_value=frame[settings.value]
    )
    return evaluation.held_out.merge(values, on=keys, how="left", validate="one_to_one")


def _too_good(
    settings: "QuestionSettings", evaluation: "Evaluation | None", frame: "pd.DataFrame"
) -> str:
    """Why a person must look before the model scores; empty: nobody need, or somebody did."""
    if evaluation is None or settings.vouched_model:
        return ""
    from churn_orchestration.churn.question import too_good

    question = settings.question
    excess = too_good.excess(
        evaluation.report["model"], evaluation.held_out["model"], question.kind
    )
    if not excess:
        return ""
    names = [feature.name for feature in catalogue(question.features)]
    reached = evaluation.report["model"]["auc"]["value"]
    answer = too_good.answering(frame, question.entity, names, question.horizon, reached)
    remedy = (
        "take out what knows the outcome; or, if all is right, "
        f"say why in `vouched_model` of {settings.name}"
    )
    return f"{excess}: {answer}; {remedy}"


def _acted_on(
    settings: "QuestionSettings",
    evaluation: "Evaluation",
    frame: "pd.DataFrame",
    held_out: "pd.DataFrame",
) -> dict[str, Any]:
    """What acting on the held-out forecasts would have done: profit, the rule of contact; and by
    segment.
    """
    import pandas as pd

    from churn_orchestration.churn.grading import contact
    from churn_orchestration.churn.grading.segments import by_segment

    entity = settings.question.entity
    described = frame[[entity, "as_of", *settings.segments]].assign(
        as_of=pd.to_datetime(frame["as_of"])
    )
    by_day = by_segment(
        held_out.assign(as_of=held_out["as_of"].dt.date.astype(str)), entity, ["as_of"]
    )
    return {
        "profit": profits(evaluation, settings.economics),
        "contact": contact.contact_summary(settings.contact, held_out, entity, settings.economics),
        "by_day": sorted(by_day, key=lambda day: day["segment"]),
        "segments": by_segment(
            held_out.merge(described, on=[entity, "as_of"]), entity, settings.segments
        ),
    }


def profits(evaluation: "Evaluation", economics: Economics) -> dict[str, dict[str, Any]]:
    """What acting on each forecaster would have earned on rows unseen; see
    ``churn.grading.profit``.
    """
    from churn_orchestration.churn.grading import profit

    held_out, result = evaluation.held_out, {}
    for name in evaluation.report:
        if name not in ("recency", "constant"):
            best, contacted = profit.expected_maximum(held_out["label"], held_out[name], economics)
            curve = profit.curve(held_out["label"], held_out[name], economics)
            result[name] = {"expected_maximum": best, "contacted": contacted, "curve": curve}
    return result


def _values(report: dict[str, Any]) -> dict[str, float]:
    return {
        metric: result["value"] for metric, result in report.items() if isinstance(result, dict)
    }


def flat_metrics(evaluation: "Evaluation") -> dict[str, float]:
    """Metrics as MLflow takes them: ``auc``, ``auc_low``, ``auc_high``, and ``rules_auc`` of the
    others.
    """
    flat = {}
    for forecaster, report in evaluation.report.items():
        prefix = "" if forecaster == "model" else f"{forecaster}_"
        for metric, result in report.items():
            if isinstance(result, dict):
                flat[f"{prefix}{metric}"] = result["value"]
                flat |= {f"{prefix}{metric}_{end}": result[end] for end in ("low", "high")}
    return flat


def _summary(evaluation: "Evaluation | None") -> dict[str, Any]:
    if evaluation is None:
        return {"report": {}, "tests": [], "differences": {}}
    tests = [
        {"test": str(fold.test), "train": [str(day) for day in fold.train]}
        for fold in evaluation.folds
    ]
    summary = {
        "report": evaluation.report, "tests": tests, "differences": evaluation.differences,
        "controls": dict(evaluation.controls), "learning": list(evaluation.learning),
    }  # fmt: skip
    return summary | ({"caveat": evaluation.caveat} if evaluation.caveat else {})
