"""The pages of a business, served to this machine next to its UI."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from churn_orchestration.pictures import pages
from churn_orchestration.service.guard import guard


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

    place = pages.folder(state)
    place.mkdir(parents=True, exist_ok=True)
    app = Starlette(routes=[Mount("/", StaticFiles(directory=place))], middleware=guard(ui))
    with socket.create_server((pages.HOST, pages.port_of(place))) as listening:
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
