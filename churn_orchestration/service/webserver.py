"""Dagster's webserver behind our guard: `python -m` this module is `dagster-webserver`, guarded."""

from dagster_webserver import app
from dagster_webserver.cli import main
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware

from churn_orchestration.business import Business
from churn_orchestration.service.guard import guard


class GuardedWebserver(DagsterWebserver):
    """Dagster's webserver, which the pages of others cannot operate."""

    def build_middleware(self) -> list[Middleware]:
        """Dagster's, behind ours."""
        return [*guard(Business.current().settings.ui), *super().build_middleware()]


if __name__ == "__main__":
    if (
        app.DagsterWebserver is not DagsterWebserver
    ):  # a name that nothing reads would guard nothing
        raise ImportError(
            "dagster_webserver.app makes its server otherwise in this release: guard that"
        )
    app.DagsterWebserver = GuardedWebserver  # type: ignore[misc]
    main()
