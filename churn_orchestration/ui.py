"""The Dagster UI of a business: the right home, the right business, a free port."""

import os
import socket
import sys
from pathlib import Path

from churn_orchestration import pages
from churn_orchestration.business import PACKAGE, Business, BusinessError, data_folder
from churn_orchestration.runs import dagster_home


def serve(business: Business, port: int) -> None:
    """Become the UI and its daemon, for this machine only; Ctrl-C ends both."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise BusinessError(f"port {port} is taken; choose another: churn ui --port {port + 1}") from None
    dagster_home(business)
    os.environ |= {"CHURN_BUSINESS": str(business.folder), "CHURN_DATA": str(data_folder())}
    checkout = PACKAGE.parent
    tools = Path(sys.executable).parent
    address = ["--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "dagster", "dev", "-m", "churn_orchestration.definitions", *address]
    if (checkout / "pyproject.toml").is_file():
        command = [str(tools / "dg"), "dev", "--use-active-venv", *address]
        os.chdir(checkout)
    sys.stderr.write(f"{business.name}: http://127.0.0.1:{port}/asset-groups (Ctrl-C stops it)\n")
    os.environ["VIRTUAL_ENV"] = str(tools.parent)
    pages.serve_beside(business.state)
    os.execv(command[0], command)
