"""Pages that the UI links to: files of a business, served to this machine beside its UI."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from churn_orchestration.business import digest

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 20_000, 10_000  # below those that the system gives away by itself


def folder(state: Path) -> Path:
    """Where a business's pages lie."""
    return state / "pages"


def address(page: Path) -> str:
    """Where a page is served while `churn ui` runs.

    A business has a port of its own, the same each time: the link is kept for ever, the UI's port
    is not.
    """
    return f"http://{HOST}:{_port(page.parent)}/{page.name}"


@contextmanager
def served(state: Path, ui: str) -> Iterator[None]:
    """Serve the pages of a business, by name alone, to the end of the block.

    Raises
    ------
    OSError : their port is taken
    """
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    from churn_orchestration.service.guard import guard

    place = folder(state)
    place.mkdir(parents=True, exist_ok=True)
    app = Starlette(routes=[Mount("/", StaticFiles(directory=place))], middleware=guard(ui))
    with socket.create_server((HOST, _port(place))) as listening:
        quiet = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(quiet)
        serving = threading.Thread(target=server.run, args=([listening],), daemon=True)
        serving.start()
        try:
            yield
        finally:
            server.should_exit = True
            serving.join()


def _port(place: Path) -> int:
    return FIRST_PORT + int(digest(place), 16) % PORTS
