"""The Dagster UI of a business: a code server, a daemon and a guarded webserver, as processes of
this one.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dagster as dg
import yaml

from churn_orchestration.business import Business, BusinessError, data_folder
from churn_orchestration.pictures import pages
from churn_orchestration.runs import LOCATION, dagster_home
from churn_orchestration.service import page_server
from churn_orchestration.terminal import say

SOCKET = "code"
PATIENCE = 30  # seconds for a process to end


def serve(business: Business, port: int) -> None:
    """Serve the UI to this machine, with the pages that it links to; Ctrl-C ends all of it."""
    _refuse_taken(port)
    home = dagster_home(business)
    os.environ |= {"CHURN_BUSINESS": str(business.folder), "CHURN_DATA": str(data_folder())}
    with dg.DagsterInstance.from_config(str(home)):
        pass  # makes the tables of a new home once: two processes at the same time would collide
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            stack.enter_context(page_server.served(business.state, business.settings.ui))
        except OSError as error:
            place = pages.folder(business.state)
            say(f"the pages that it links to are not served ({error}): open them from {place}")
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="churn-")))
        stack.enter_context(suppress(KeyboardInterrupt))
        code_server, *others = _commands(place, port)
        children = [stack.enter_context(_child(code_server, place))]
        while not _listens(place / SOCKET) and children[0].poll() is None:
            time.sleep(0.1)
        children += [stack.enter_context(_child(command, place)) for command in others]
        say(f"{business.name}: http://{pages.HOST}:{port}/asset-groups (Ctrl-C stops it)")
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        raise BusinessError("a process of the UI ended by itself: the lines above say why")


def serve_mlflow(business: Business, port: int) -> None:
    """Become MLflow's UI on the business's store, for this machine and for pages of its own
    only.
    """
    from churn_orchestration.storage.tracking import Tracking

    tracking = Tracking(state=str(business.state))
    if not tracking.database.is_file():
        raise BusinessError(f"{business.name}: nothing was trained yet: `churn train` first")
    _refuse_taken(port, "mlflow")
    own = f"{pages.HOST}:{port},localhost:{port}"
    command = [
        str(Path(sys.executable).parent / "mlflow"), "ui", "--backend-store-uri", tracking.uri,
        "--host", pages.HOST, "--port", str(port), "--allowed-hosts", own, "--workers", "1",
    ]  # fmt: skip
    sys.stderr.write(f"{business.name}: http://{pages.HOST}:{port} (Ctrl-C stops it)\n")
    # Without its queues of jobs, seven processes that nothing here would use.
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    os.execv(command[0], command)


def _refuse_taken(port: int, command: str = "ui") -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((pages.HOST, port))
        except OSError:
            raise BusinessError(
                f"port {port} is taken; choose another: churn {command} --port {port + 1}"
            ) from None


def _commands(place: Path, port: int) -> list[list[str]]:
    """The code server, on a socket that is this user's alone, and the two that ask it."""
    workspace, tools = place / "workspace.yaml", Path(sys.executable).parent
    location = {"grpc_server": {"socket": str(place / SOCKET), "location_name": LOCATION}}
    workspace.write_text(yaml.safe_dump({"load_from": [location]}), encoding="utf-8")
    code = ["--socket", str(place / SOCKET), "--location-name", LOCATION, "--log-level", "warning"]
    web = ["churn_orchestration.service.webserver", "--host", pages.HOST, "--port", str(port)]
    return [
        [
            str(tools / "dagster"),
            "code-server",
            "start",
            "-m",
            "churn_orchestration.definitions",
            *code,
        ],
        [str(tools / "dagster-daemon"), "run", "-w", str(workspace)],
        [sys.executable, "-m", *web, "-w", str(workspace)],
    ]


@contextmanager
def _child(command: list[str], place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    child = subprocess.Popen(command, cwd=place)  # Dagster imports from its working directory, too
    try:
        yield child
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C must not leave it behind
            signal.signal(number, signal.SIG_IGN)
        child.terminate()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
