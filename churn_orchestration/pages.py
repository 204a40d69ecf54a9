"""Pages that the UI links to: files of a business, served to this machine beside its UI."""

import os
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from churn_orchestration.business import digest

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 20_000, 10_000  # below those that the system gives away by itself


def folder(state: Path) -> Path:
    """Where a business's pages lie."""
    return state / "pages"


def address(page: Path) -> str:
    """Where a page is served while `churn ui` runs.

    A business has a port of its own, the same each time: the link is kept for ever, the UI's port is not.
    """
    return f"http://{HOST}:{_port(page.parent)}/{page.name}"


def server(state: Path) -> ThreadingHTTPServer:
    """The server of a business's pages, not at work yet. Raises OSError where its port is taken."""
    place = folder(state)
    place.mkdir(parents=True, exist_ok=True)
    return ThreadingHTTPServer((HOST, _port(place)), partial(_Silent, directory=str(place)))


def serve_beside(state: Path) -> None:
    """Serve the pages from a second process, which ends with this one, whatever program this one becomes."""
    try:
        pages = server(state)
    except OSError as error:
        told = f"the pages that it links to are not served ({error}): open them from {folder(state)}\n"
        sys.stderr.write(told)
        return
    parent = os.getpid()
    if os.fork():
        pages.socket.close()
        return
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    with suppress(KeyboardInterrupt):
        while os.getppid() == parent:
            time.sleep(1)
    os._exit(0)


def _port(place: Path) -> int:
    return FIRST_PORT + int(digest(place), 16) % PORTS


class _Silent(SimpleHTTPRequestHandler):
    """Tells the terminal nothing of what was asked for."""

    def log_message(self, *_: object) -> None:
        """Nothing."""
