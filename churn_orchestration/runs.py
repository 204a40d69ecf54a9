"""One process at work on a business: its lock, its Dagster home, and the jobs it runs in
process.
"""

import atexit
import datetime as dt
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
from filelock import FileLock, Timeout

from churn_orchestration.automation.jobs import (
    DAILY_LAYERS,
    PROGRESS,
    REFRESH,
    REFRESH_FULLY,
    SNAPSHOT_LAYERS,
    TRAIN,
)
from churn_orchestration.automation.planning import Plan, Refreshed
from churn_orchestration.business import FOLDER_NOTE, PACKAGE, SETTINGS, Business, BusinessError
from churn_orchestration.churn.calendar import DAY, days_between
from churn_orchestration.churn.protocol import CLI_TAG
from churn_orchestration.components.days import ACCEPTED, REFUSED, STALE_TAG, range_tags, table_of
from churn_orchestration.components.features.proof import POINT_IN_TIME
from churn_orchestration.components.question.churn_model import questions_in
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.training.model import newest_day
from churn_orchestration.components.question.training.snapshot import as_ofs
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.tree import component_tree
from churn_orchestration.definitions import definitions_of
from churn_orchestration.landing.event_days import LONG_SILENCE
from churn_orchestration.landing.files import Files
from churn_orchestration.report.declared import save
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.files import write_text
from churn_orchestration.storage.layers import POOL
from churn_orchestration.storage.resources import Warehouse, warehouse_of
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.terminal import say

LOCATION = "churn_orchestration"  # as workspace.yaml calls it


def dagster_home(business: Business) -> Path:
    """The Dagster home of a business, made where it is missing; exported as DAGSTER_HOME."""
    home = business.state / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if business.state.stat().st_uid == os.getuid():
        business.state.chmod(0o700)  # an older release left it open to everybody
    shutil.copyfile(PACKAGE / "dagster.yaml", home / "dagster.yaml")
    home = _without_pattern(home)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@cache
def _without_pattern(home: Path) -> Path:
    """Another way to a folder whose path is a pattern to Dagster, which looks for dagster.yaml by
    glob.
    """
    if glob.escape(str(home)) == str(home):
        return home
    place = Path(tempfile.mkdtemp(prefix="churn-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "dagster").symlink_to(home)
    return place / "dagster"


@contextmanager
def at_work(business: Business) -> Iterator["Work"]:
    """Exclusive work on a business from this process; a second one learns who is at it."""
    home = dagster_home(business)
    write_text(business.state / FOLDER_NOTE, str(business.folder))
    lock = FileLock(business.state / "work.lock")
    note = business.state / "work.pid"
    try:
        lock.acquire(blocking=False)
    except Timeout:
        who = note.read_text() if note.exists() else "another process"
        raise BusinessError(
            f"{business.name}: {who} is at work on {business.state}; wait for it, or stop it first"
        ) from None
    try:
        note.write_text(f"process {os.getpid()}")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            _be_the_location(instance)
            free_dead_slots(instance)
            yield Work(business, instance)
    finally:
        lock.release()


def _be_the_location(instance: dg.DagsterInstance) -> None:
    """Let the runs of this process belong to the code location, as the UI's own do: it lists no
    others.

    Dagster's way to execute in process takes no origin, and ``origin`` is one as Dagster stores it.
    """
    create: Any = instance.create_run_for_job

    def of_the_location(job_def: dg.JobDefinition, **given: Any) -> Any:
        location = {"__class__": "RegisteredRepositoryLocationOrigin", "location_name": LOCATION}
        repository = {
            "__class__": "ExternalRepositoryOrigin",
            "repository_location_origin": location,
            "repository_name": "__repository__",
        }
        origin = {
            "__class__": "ExternalPipelineOrigin",
            "external_repository_origin": repository,
            "pipeline_name": job_def.name,
        }
        return create(job_def, remote_job_origin=dg.deserialize_value(json.dumps(origin)), **given)

    instance.create_run_for_job = of_the_location  # type: ignore[method-assign, assignment]


def free_dead_slots(instance: dg.DagsterInstance) -> None:
    """Give back what a killed process still holds; called under the lock, so no run of ours is
    alive.
    """
    storage = instance.event_log_storage
    unfinished = [
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.NOT_STARTED,
    ]
    for run in instance.get_runs(dg.RunsFilter(tags={CLI_TAG: "true"}, statuses=unfinished)):
        instance.report_run_failed(run, "its process ended before it did")
        storage.free_concurrency_slots_for_run(run.run_id)
    if POOL in storage.get_concurrency_keys():
        info = storage.get_concurrency_info(POOL)
        for run_id in {slot.run_id for slot in info.claimed_slots} | {
            step.run_id for step in info.pending_steps
        }:
            holder = instance.get_run_by_id(run_id)
            if holder is None or holder.is_finished:
                storage.free_concurrency_slots_for_run(run_id)


class Work:
    """The verbs of the command line, on one business."""

    def __init__(self, business: Business, instance: dg.DagsterInstance) -> None:
        self.business, self.instance = business, instance

    @cached_property
    def definitions(self) -> dg.Definitions:
        """All that Dagster loads of the business; what it declares is kept for those who do not
        load it.
        """
        definitions = definitions_of(self.business, self.tree)
        save(self.business, self.tree)
        return definitions

    @cached_property
    def tree(self) -> dg.ComponentTree:
        """The business's components, loaded once."""
        return component_tree(self.business)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The business's warehouse."""
        return warehouse_of(self.business)

    @cached_property
    def tracking(self) -> Tracking:
        """The business's MLflow store."""
        return Tracking(state=str(self.business.state))

    def last_day(self, settings: dt.date | None) -> dt.date:
        """The day up to which to refresh: ``settings``, else end_date, else the newest file's day
        that is over.

        Raises
        ------
        BusinessError : no day of the business, one beyond all that has landed, or one that is not
            over; a silence before the newest file that nobody asked to run over
        """
        files = self._landed_by_day()
        landed, end = max(files or {}, default=None), self.business.settings.end_date
        name, settings_file = self.business.name, self.business.folder / SETTINGS
        if files and not (settings or end):
            self._refuse_silence(files)
        day = settings or end or self._newest_over(files or {})
        if day is None:
            raise BusinessError(
                f"{name}: give --to, or end_date in {settings_file}: a source whose file names "
                f"have no {{day}} does not say which day is its last"
            )
        self.require_day(day, self.business.start)
        if landed and any(
            later not in self.business.closed for later in days_between(landed + DAY, day)
        ):
            raise BusinessError(
                f"{name}: no file in {self.business.landing} is of a day after {landed}: use --to "
                f"{landed}, or name the days on which nothing lands in `closed` of {settings_file}"
            )
        over = self._last_over()
        if over is None or day > over:
            remedy = (
                f"use --to {over}"
                if over
                else f"start_date in {settings_file} is {self.business.start}"
            )
            raise BusinessError(
                f"{name}: {day} is not over yet ({self.business.settings.timezone}): {remedy}"
            )
        return day

    def _landed_by_day(self) -> dict[dt.date, str] | None:
        """A landing file of each day; None where a source has no days in its file names."""
        sources = self.tree.get_all_components(of_type=SourceTable)
        result = [Files(source.files or "") for source in sources]
        if not all(files.is_daily for files in result):
            return None
        return {
            day: path.name
            for files in result
            for path, day in files.find(self.business.landing)
            if day
        }

    def _refuse_silence(self, files: dict[dt.date, str]) -> None:
        """One wrong year in a file's name must not make years of empty days, on which all would
        churn.
        """
        start, closed = self.business.start, self.business.closed
        for before, day in pairwise(sorted({start, *(day for day in files if day > start)})):
            silent = sum(between not in closed for between in days_between(before + DAY, day - DAY))
            if silent > LONG_SILENCE:
                raise BusinessError(
                    f"{self.business.name}: no file is of the {silent} days before {files[day]}: "
                    f"mend its name, or use --to {before}; if nothing came on those days, use --to "
                    f"{day}, or name them in `closed` of {self.business.folder / SETTINGS}"
                )

    def _last_over(self) -> dt.date | None:
        """The newest of Dagster's partitions: a day that is not over is none, and no UI could show
        it.
        """
        key = self.business.days.get_last_partition_key()
        return dt.date.fromisoformat(key) if key else None

    def _newest_over(self, files: dict[dt.date, str]) -> dt.date | None:
        """The newest day with a file that is over; the newest of all where none is."""
        over = self._last_over()
        if waiting := [day for day in files if over and day > over]:
            say(f"  left for later: {files[min(waiting)]}, whose day is not over yet")
        return max(set(files) - set(waiting), default=max(files, default=None))

    def newest_day(self) -> dt.date:
        """The last day on which every table that a question reads has landed."""
        with self.warehouse.open() as tables:
            return min(newest_day(tables, settings) for settings in self.questions().values())

    def plan(self, last: dt.date, layers: Sequence[str] = DAILY_LAYERS) -> Plan:
        """What is to be computed for all tables of the layers to be up to date on all days up to
        ``last``.
        """
        with self.warehouse.open() as tables:
            days = list(days_between(self.business.start, last))
            return Plan.of(self.definitions.resolve_asset_graph(), tables, days, layers)

    def refresh(
        self,
        first: dt.date,
        last: dt.date,
        layers: Sequence[str] = DAILY_LAYERS,
        *,
        full: bool = False,
        plan: Plan | None = None,
    ) -> Refreshed:
        """Run the job ``refresh``, or ``refresh_fully``, over days from ``first`` to ``last``, in
        one run.

        With a ``plan``, its tables alone, and of each the stale days alone.
        """
        if first > last:
            raise BusinessError(f"the first requested day, {first}, lies after the last, {last}")
        self.require_day(first, self.business.start)
        self.require_day(last, self.business.start)
        selection = [key for key, group in self._groups() if group in layers]
        tags = {}
        if plan is not None:
            selection, tags = [key for key in selection if key in plan.keys], {STALE_TAG: "true"}
        result = self._execute(REFRESH_FULLY if full else REFRESH, first, last, selection, tags)
        refused: dict[str, dict[str, str]] = {}
        notes: dict[str, str] = {}
        failed = False
        for evaluation in result.get_asset_check_evaluations():
            table = table_of(evaluation.asset_key)
            if evaluation.passed:
                continue
            if evaluation.check_name == ACCEPTED:
                days: Any = evaluation.metadata[REFUSED].value
                refused[table] = dict(days)
            elif (
                evaluation.check_name != POINT_IN_TIME
            ):  # what that finds is the reason of a refusal
                message = evaluation.description or evaluation.check_name
                if evaluation.severity == dg.AssetCheckSeverity.ERROR:
                    failed = True
                    message = f"check {evaluation.check_name} failed: {message}"
                notes[table] = f"{notes[table]}; {message}" if table in notes else message
        return Refreshed(first, last, refused, result.success and not failed, notes)

    def train(self, cutoff: dt.date) -> dict[str, dict[str, Any]]:
        """Run the job ``train`` for a cut-off; by question, what became of its candidate.

        Raises
        ------
        BusinessError : there is no snapshot, or the run failed
        """
        self.require_day(cutoff, self.business.history_from)
        with (
            self.warehouse.open() as tables
        ):  # a cut-off whose run fails is shown as failed for ever
            for settings in self.questions().values():
                as_ofs(tables, self.business, settings, cutoff)
        selection = [key for key, group in self._groups() if group in SNAPSHOT_LAYERS]
        result = self._execute(TRAIN, cutoff, cutoff, selection)
        if not result.success:
            raise BusinessError(_failure(result))
        made = [event.materialization for event in result.get_asset_materialization_events()]
        return {
            fact.asset_key.path[-1]: {name: value.value for name, value in fact.metadata.items()}
            for fact in made
            if fact.asset_key.path[0] == "models"
        }

    def questions(self) -> dict[str, QuestionSettings]:
        """The churn questions of the business by name. Raises BusinessError: it has none."""
        settings = questions_in(self.tree, self.business)
        if not settings:
            raise BusinessError(
                f"{self.business.name} has no question: declare a ChurnModel (see examples/)"
            )
        return settings

    def _groups(self) -> list[tuple[dg.AssetKey, str | None]]:
        graph = self.definitions.resolve_asset_graph()
        return [(key, graph.get(key).group_name) for key in graph.toposorted_asset_keys]

    def _execute(
        self,
        job: str,
        first: dt.date,
        last: dt.date,
        selection: list[dg.AssetKey],
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> dg.ExecuteInProcessResult:
        # A daemon that runs meanwhile takes up no run of this process: whoever gave the command
        # does.
        tags = range_tags(first, last) | {CLI_TAG: "true", "dagster/max_retries": "0"} | dict(more)
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=tags,
            asset_selection=selection,
            raise_on_error=False,
            run_config={"loggers": {PROGRESS: {"config": {}}}},
        )
        if any(_interrupted(event) for event in _failed_steps(result)):
            raise KeyboardInterrupt
        if job != TRAIN:  # whichever step was the last one: the door shows what is there now
            with self.warehouse.open() as tables:
                publish(tables)
        if not result.success and not (job != TRAIN and _only_refusals(result)):
            raise BusinessError(_failure(result))
        return result

    def require_day(self, day: dt.date, first: dt.date) -> None:
        """Refuse a day before ``first`` or after the business's end."""
        end = self.business.settings.end_date
        if day < first or (end and day > end):
            span = f"{first} to {end}" if end else f"{first} on"
            raise BusinessError(
                f"{self.business.name}: {day} is none of its days ({span}); start_date, end_date "
                f"and, for cut-offs, history_from in {self.business.folder / SETTINGS} say which "
                "they are"
            )


def _failed_steps(result: dg.ExecuteInProcessResult) -> list[dg.DagsterEvent]:
    return [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]


def _interrupted(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name in (
        "DagsterExecutionInterruptedError",
        "KeyboardInterrupt",
    )


def _only_refusals(result: dg.ExecuteInProcessResult) -> bool:
    """Whether every failed step failed because all its days were refused: a fault in the data."""
    failed = _failed_steps(result)
    faults = [event.step_failure_data.user_failure_data for event in failed]
    return bool(failed) and all(data is not None and REFUSED in data.metadata for data in faults)


def _message(event: dg.DagsterEvent) -> str:
    """What went wrong in a step, without the names of Python's classes where the mistake is a
    user's.
    """
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    message = error.message.strip() if error else "unknown error"
    for expected in ("BusinessError: ", "WarehouseError: "):
        message = message.split(expected, 1)[-1]
    return message


def _by_check(event: dg.DagsterEvent) -> bool:
    """Whether a step failed for nothing but a blocking check, which has its own words."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def _failure(result: dg.ExecuteInProcessResult) -> str:
    failures = [
        f"{(event.step_key or '').replace('__', '/')}: {_message(event)}"
        for event in _failed_steps(result)
        if not _by_check(event)
    ]
    failures += [
        f"{evaluation.asset_key.to_user_string()}: "
        f"{evaluation.description or evaluation.check_name}"
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.blocking
        and not evaluation.passed
        and evaluation.severity == dg.AssetCheckSeverity.ERROR
    ]
    return "\n".join(failures) or f"the run {result.run_id} failed; see it in the UI"
