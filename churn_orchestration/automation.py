"""Jobs, the daily schedule and the sensor on new landing files; the same for every business."""

import datetime as dt
import logging
import sys

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.components.source_table import SourceTable
from churn_orchestration.landing import Files

REFRESH, TRAIN, PROGRESS = "refresh", "train", "progress"
DAILY_LAYERS = ("raw", "bronze", "quarantine", "silver", "gold", "predictions", "monitoring", "measures")
SNAPSHOT_LAYERS = ("snapshots", "models")


def automation(business: Business, sources: list[SourceTable]) -> dg.Definitions:
    """Jobs ``refresh`` and ``train``, schedule ``daily``, sensor ``new_files``."""
    jobs = [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.groups(*layers),
            partitions_def=partitions,
            description=description,
            executor_def=dg.in_process_executor,
        )
        for name, layers, partitions, description in (
            (
                REFRESH,
                DAILY_LAYERS,
                business.days,
                "Land the days asked for and bring every daily table up to them.",
            ),
            (
                TRAIN,
                SNAPSHOT_LAYERS,
                business.cutoffs,
                "Take the snapshot of a cut-off, train on it and decide.",
            ),
        )
    ]
    daily = dg.build_schedule_from_partitioned_job(
        jobs[0],
        name="daily",
        hour_of_day=2,
        description="Once switched on, refreshes the day that has just ended, at 02:00 of the business.",
    )
    return dg.Definitions(
        jobs=jobs,
        schedules=[daily],
        sensors=[new_files(business, sources)],
        loggers={PROGRESS: progress},
    )


def new_files(business: Business, sources: list[SourceTable]) -> dg.SensorDefinition:
    """The sensor that asks once for each day whose landing files came since it last looked."""
    patterns = [Files(source.files) for source in sources if source.files and Files(source.files).is_daily]

    @dg.sensor(
        name="new_files",
        job_name=REFRESH,
        minimum_interval_seconds=60,
        description="Once switched on, asks once for the day of new landing files. A file of a day before "
        "the newest one asked for is late: the next day's refresh takes it in and remembers when it came.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        newest = dt.date.fromisoformat(context.cursor) if context.cursor else dt.date.min
        landed = {
            max(day, business.start) for files in patterns for _, day in files.find(business.landing) if day
        }
        partitions = set(business.days.get_partition_keys())  # a day that is not over yet is none of them
        days = sorted(day.isoformat() for day in landed if day > newest and day.isoformat() in partitions)
        requests = [dg.RunRequest(run_key=f"{REFRESH}:{day}", partition_key=day) for day in days]
        reason = None if requests else f"no file of a new day in {business.landing}"
        return dg.SensorResult(requests, skip_reason=reason, cursor=days[-1] if days else context.cursor)

    return sensor


@dg.logger({}, description="One line a finished step; what the command line shows while a run goes on.")
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
            sys.stderr.write(f"          {meta.get('orig_message', record.getMessage())}\n")
        step = event.step_key if event is not None else None
        if step is None:
            return
        kind, name = event.event_type_value, step.replace("__", "/")
        if kind == "STEP_START":
            self.started[step] = record.created
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED"):
            seconds = record.created - self.started.get(step, record.created)
            mark = {"STEP_SUCCESS": "done", "STEP_FAILURE": "FAILED", "STEP_SKIPPED": "skipped"}[kind]
            sys.stderr.write(f"  {mark:7} {name:32} {seconds:6.1f} s\n")
