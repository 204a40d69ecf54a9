"""Jobs, the daily schedule and the sensor on new landing files; the same for every business."""

import datetime as dt
import logging
from pathlib import Path

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.components.days import FULL_TAG, range_tags
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.landing.files import Files
from churn_orchestration.storage.door import door
from churn_orchestration.storage.freshness import missing
from churn_orchestration.storage.layers import DOOR
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration.terminal import say

REFRESH, REFRESH_FULLY, TRAIN, PROGRESS = "refresh", "refresh_fully", "train", "progress"
DAILY_LAYERS = (
    "raw",
    "bronze",
    "quarantine",
    "silver",
    "gold",
    "predictions",
    "monitoring",
    "measures",
    "values",
    "segments",
    "offers",
    "actions",
    "marts",
)
SNAPSHOT_LAYERS = ("snapshots", "models")


def automation(business: Business, sources: list[SourceTable]) -> dg.Definitions:
    """Jobs ``refresh``, ``refresh_fully`` and ``train``, schedule ``daily``, sensor
    ``new_files``.
    """
    jobs = [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.groups(*layers),
            description=description,
            executor_def=dg.in_process_executor,
            tags=tags,
        )
        for name, layers, tags, description in (
            (
                REFRESH,
                DAILY_LAYERS,
                {},
                "Land the requested days and bring every daily table up to them. Incremental: "
                "features of days that are there, and under which nothing has changed, stay as "
                "they are.",
            ),
            (
                REFRESH_FULLY,
                DAILY_LAYERS,
                {FULL_TAG: "true"},
                "The same, and full: every table of the requested days is recomputed, whatever is "
                "there.",
            ),
            (
                TRAIN,
                SNAPSHOT_LAYERS,
                {},
                "Take the snapshot of a cut-off, train on it and decide. A run is for one cut-off, "
                "usually the newest day that has landed; one for several does nothing, and says "
                "so.",
            ),
        )
    ]
    return dg.Definitions(
        jobs=jobs,
        schedules=[daily(business)],
        sensors=[new_files(business, sources)],
        loggers={PROGRESS: progress},
    )


def daily(business: Business) -> dg.ScheduleDefinition:
    """The schedule that brings the tables up to the day that has just ended, in one run."""
    look_back = business.settings.look_back_days

    @dg.schedule(
        name="daily",
        job_name=REFRESH,
        cron_schedule="0 2 * * *",
        execution_timezone=business.settings.timezone,
        description="Once switched on, refreshes the day that has just ended, at 02:00 of the "
        "business; with it, in order, the days before it that nobody refreshed, and "
        f"those of the last {look_back} that were refused. A file that came late is "
        "taken in by the first of them, and known from then on.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with dg.partition_loading_context(effective_dt=context.scheduled_execution_time):
            ended = business.days.get_last_partition_key()
        if ended is None:
            return dg.SkipReason(f"{business.start}, the first day, has not ended")
        first = (
            first_lacking(business.state, dt.date.fromisoformat(ended), look_back) or business.start
        )
        if str(first) > ended:
            return dg.SkipReason(f"{ended} is there")
        key = f"daily:{ended}"
        if str(first) == ended:
            return dg.RunRequest(key, partition_key=ended)
        return dg.RunRequest(key, tags=range_tags(first, dt.date.fromisoformat(ended)))

    return schedule


def first_lacking(state: Path, last: dt.date, look_back_days: int) -> dt.date | None:
    """The first day that is to be refreshed up to ``last``; the day after the newest one, where all
    is there.

    A day refused or missing longer ago than ``look_back_days`` before ``last`` waits for a person.
    None: nothing has been refreshed yet.
    """
    newest = newest_day_taken_in(state)
    if newest is None:
        return None
    with door(state) as db:
        lacking = [item.day for item in missing(Tables(db, state))]
    since = last - DAY * (look_back_days - 1)
    first: dt.date = min([day for day in lacking if day >= since], default=newest + DAY)
    return first


def newest_day_taken_in(state: Path) -> dt.date | None:
    """The newest day that was refreshed, whatever became of it; None: none was."""
    if not (state / DOOR).is_file():
        return None
    with door(state) as db:
        return Tables(db, state).days.newest()


def new_files(business: Business, sources: list[SourceTable]) -> dg.SensorDefinition:
    """The sensor that requests a run once for each day after the newest one taken in, once its
    landing files come.
    """
    patterns = [
        Files(source.files) for source in sources if source.files and Files(source.files).is_daily
    ]

    @dg.sensor(
        name="new_files",
        job_name=REFRESH,
        minimum_interval_seconds=60,
        description="Once switched on, requests one run for each day of landing files after the "
        "newest day that was loaded or requested. A file of a day before it is late: "
        "the next day's refresh takes it in and remembers when it came.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        asked_for = dt.date.fromisoformat(context.cursor) if context.cursor else dt.date.min
        newest = max(asked_for, newest_day_taken_in(business.state) or dt.date.min)
        landed = {
            max(day, business.start)
            for files in patterns
            for _, day in files.find(business.landing)
            if day
        }
        partitions = set(
            business.days.get_partition_keys()
        )  # a day that is not over yet is none of them
        days = sorted(
            day.isoformat() for day in landed if day > newest and day.isoformat() in partitions
        )
        requests = [dg.RunRequest(run_key=f"{REFRESH}:{day}", partition_key=day) for day in days]
        after = (
            "" if newest == dt.date.min else f" after {newest}, the newest one loaded or requested"
        )
        reason = None if requests else f"{business.landing} has no file of a day{after}"
        return dg.SensorResult(
            requests, skip_reason=reason, cursor=days[-1] if days else context.cursor
        )

    return sensor


@dg.logger(
    {}, description="One line a finished step; what the command line shows while a run goes on."
)
def progress(_: dg.InitLoggerContext) -> logging.Logger:
    """Logger of step events, for people."""
    logger = logging.Logger("progress", logging.DEBUG)
    logger.addHandler(_ProgressHandler())
    return logger


class _ProgressHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.started: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        meta = record.__dict__.get("dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None and record.levelno == logging.INFO:
            say(f"          {meta.get('orig_message', record.getMessage())}")
        step = event.step_key if event is not None else None
        if step is None:
            return
        kind, name = event.event_type_value, step.replace("__", "/")
        if kind == "STEP_START":
            self.started[step] = record.created
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED"):
            seconds = record.created - self.started.get(step, record.created)
            mark = {"STEP_SUCCESS": "done", "STEP_FAILURE": "FAILED", "STEP_SKIPPED": "skipped"}[
                kind
            ]
            say(f"  {mark:7} {name:32} {seconds:6.1f} s")
