"""Pages that the UI links to: where they lie and at which address they are served."""

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
    return f"http://{HOST}:{port_of(page.parent)}/{page.name}"


def port_of(place: Path) -> int:
    return FIRST_PORT + int(digest(place), 16) % PORTS
