"""The resources of a business, bound once; its warehouse, as Dagster opens it."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource

from churn_orchestration.business import Business
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, fault_message
from churn_orchestration.storage.door import is_current, publish
from churn_orchestration.storage.layers import WAREHOUSE
from churn_orchestration.storage.session import WarehouseError
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables, opened
from churn_orchestration.terminal import say


class Warehouse(DuckDBResource):
    """The DuckDB file of a business and the folders beside it. Always closes what it opens."""

    state: str

    @classmethod
    def of(cls, state: Path, memory_limit: str = "4GB", threads: int = 2) -> "Warehouse":
        """The warehouse that lies in the folder ``state``."""
        config = {
            "memory_limit": memory_limit,
            "threads": threads,
            "temp_directory": str(state / "spill"),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        return cls(database=str(state / WAREHOUSE), state=str(state), connection_config=config)

    @contextmanager
    def open(self, landing: Path | None = None) -> Iterator[Tables]:
        """The tables, for reading and writing, until the block ends; nobody else can open them
        meanwhile.

        Whatever SQL runs on them reaches no file but those of the state and, where given, of
        ``landing``.
        """
        Path(self.state).mkdir(parents=True, exist_ok=True)
        with self._held(), self.get_connection() as connection, closing(connection):
            try:
                yield opened(connection, Path(self.state), landing)
            except (
                DATA_FAULTS
            ) as error:  # it quotes the value, and Dagster's log keeps what is raised
                raise WarehouseError(
                    f"a value does not fit what is made of it: {fault_message(error)}"
                ) from None

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The file, opened here for all connections of the block; who has it is told, where another
        has.

        The resource's own opening then waits for up to 100 s: let no one wonder why.
        """
        try:
            config = {
                "custom_user_agent": "dagster"
            } | self.connection_config  # the resource adds that too
            first = duckdb.connect(self.database, config=config)
        except duckdb.IOException as error:
            holder = re.search(r"PID \d+", str(error))
            say(f"  waiting for {self.database}, which {holder[0] if holder else 'another'} holds")
            yield
        else:
            with closing(first):
                yield


def bring_up_to_date(business: Business) -> None:
    """Upgrade and publish a state that an earlier version left, or that was moved to this folder.

    Raises
    ------
    BusinessError : the state is of a newer version than the package
    """
    if (business.state / WAREHOUSE).is_file() and not is_current(business.state):
        with warehouse_of(business).open() as tables:
            publish(tables)


def warehouse_of(business: Business) -> Warehouse:
    """The warehouse in the business's state folder, with the business's limits."""
    settings = business.settings
    return Warehouse.of(business.state, settings.memory_limit, settings.threads)


def resources(business: Business) -> dict[str, object]:
    """The warehouse and the MLflow store in the business's state folder."""
    return {
        "warehouse": warehouse_of(business),
        "tracking": Tracking(state=str(business.state)),
    }
