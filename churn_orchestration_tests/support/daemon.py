"""Dagster's real daemon on a business, under a clock that the test sets and that it alone sees."""

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import libfaketime

from churn_orchestration.business import PACKAGE

ROOT = PACKAGE.parent
LOCATION = 'repositoryLocationName: "churn_orchestration", repositoryName: "__repository__"'
PATIENCE = 600  # seconds: on a busy machine a run takes minutes


class Daemon:
    """The daemon of a business's Dagster home."""

    def __init__(self, folder: Path, data: Path, home: Path) -> None:
        self.home, self.clock, self.log = home, data / "clock", data / "daemon.log"
        self.environment = os.environ | libfaketime.get_reload_information()[1]
        self.environment |= {
            "CHURN_BUSINESS": str(folder), "CHURN_DATA": str(data), "DAGSTER_HOME": str(home),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
        }  # fmt: skip

    def set(self, day: dt.date, hour: int, minute: int = 0) -> None:
        """Let it be a time of a day, UTC, and go on from there."""
        at = dt.datetime.combine(day, dt.time(hour, minute, 1), dt.UTC)
        away = (at - dt.datetime.now(dt.UTC)).total_seconds()
        beside = self.clock.with_suffix(".writing")
        beside.write_text(f"{away:+.0f}")
        beside.replace(self.clock)

    def command(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]]

    def switch_on(self, *, schedule: str | None = None, sensors: tuple[str, ...] = ()) -> None:
        """What a person does in the UI, by the request that the UI sends."""
        wanted = [
            f'{name}: startSensor(sensorSelector: {{{LOCATION}, sensorName: "{name}"}}) '
            f"{{__typename}}"
            for name in sensors
        ]
        if schedule:
            selector = f'{{{LOCATION}, scheduleName: "{schedule}"}}'
            wanted.append(f"{schedule}: startSchedule(scheduleSelector: {selector}) {{__typename}}")
        command = self.command("dagster-graphql", "-w", str(ROOT / "workspace.yaml"), "-t")
        done = subprocess.run(
            [*command, f"mutation {{ {' '.join(wanted)} }}"],
            env=self.environment, cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stdout, done.stdout

    def switch_all_off(self) -> None:
        """Forget what was switched on, and what was seen."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            for state in instance.all_instigator_state():
                instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)

    def wait(self, what: Callable[[], Any]) -> Any:
        """What is waited for, once it is there."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if result := what():
                return result
            time.sleep(0.5)
        raise AssertionError(
            f"the daemon did not do it in {PATIENCE} s: {self.log.read_text()[-3000:]}"
        )

    def runs(self, job: str) -> list[dg.DagsterRun]:
        """The runs of a job that the daemon started, the newest first."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            result = instance.get_runs(dg.RunsFilter(job_name=job))
        return [run for run in result if "churn/cli" not in run.tags]

    def finished(self, job: str, day: dt.date) -> dg.DagsterRun | None:
        """The run of a job for a day, once it has ended."""
        mine = [run for run in self.runs(job) if run.tags.get("dagster/partition") == str(day)]
        return next((run for run in mine if run.is_finished), None)

    def ticks(self, sensor: str) -> Sequence[Any]:
        """What a sensor did whenever it looked, the newest first."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            states = instance.all_instigator_state()
            [state] = [state for state in states if state.instigator_name == sensor]
            return instance.get_ticks(state.instigator_origin_id, state.selector_id)

    def said(self, sensor: str, day: dt.date) -> str | None:
        """Why a sensor that looked at a day did nothing; None: it has not looked at it yet."""
        reasons = (tick.skip_reason or "" for tick in self.ticks(sensor))
        return next(
            (message for message in reasons if str(day) in message and "already" not in message),
            None,
        )

    def looked(self, sensor: str, day: dt.date, hour: int, minute: int) -> bool:
        """Whether a sensor has looked, to the end, since a time of a day."""
        since = dt.datetime.combine(day, dt.time(hour, minute), dt.UTC).timestamp()
        return any(
            tick.timestamp >= since and tick.is_completed and not tick.is_failure
            for tick in self.ticks(sensor)
        )


@contextmanager
def at_work(daemon: Daemon, day: dt.date, hour: int, minute: int = 0) -> Iterator[Daemon]:
    """The daemon, started at a time of a day, to the end of the block.

    One that starts looks at all at once; one whose clock is set while it sleeps may do so for
    minutes more.
    """
    daemon.set(day, hour, minute)
    command = daemon.command("dagster-daemon", "run", "-w", str(ROOT / "workspace.yaml"))
    with daemon.log.open("w") as log:
        process = subprocess.Popen(
            command,
            env=daemon.environment,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield daemon
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
