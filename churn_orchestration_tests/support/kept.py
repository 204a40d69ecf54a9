"""What Dagster computes for each event and each load alike, kept for the process: a third of the
processor time of a refresh in a test.

A command of the product is a process of its own and computes it once; a test process loads hundreds
of businesses and keeps thousands of events.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import dagster as dg
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster.components.core import load_defs

ENGINES = 32
"""Databases whose statements are kept compiled."""


def keep() -> None:
    """Keep it from now on."""
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        vars(module)["create_engine"] = _kept_engines(vars(module)["create_engine"])
    ScriptDirectory.from_config = _kept_scripts(ScriptDirectory.from_config)  # type: ignore[method-assign]
    load_defs.get_library_json_enriched_defs = _kept_schemas(
        load_defs.get_library_json_enriched_defs
    )


def _kept_engines(create: Callable[..., Any]) -> Callable[..., Any]:
    """An engine compiles a statement once; Dagster makes one for each connection, unpooled."""

    @lru_cache(ENGINES)
    def engine(address: str, poolclass: Any, arguments: tuple[tuple[str, Any], ...]) -> Any:
        return create(address, poolclass=poolclass, connect_args=dict(arguments))

    def kept(address: str, *, poolclass: Any, connect_args: dict[str, Any] | None = None) -> Any:
        return engine(address, poolclass, tuple((connect_args or {}).items()))

    return kept


def _kept_scripts(read: Callable[[Config], ScriptDirectory]) -> Any:
    """The migrations of a library's database, read once."""
    scripts: dict[str | None, ScriptDirectory] = {}

    def kept(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in scripts:
            scripts[place] = read(config)
        return scripts[place]

    return kept


def _kept_schemas(enriched: Callable[..., dg.Definitions]) -> Callable[..., dg.Definitions]:
    """The JSON schemas of all types of components, written once."""

    @cache
    def schemas() -> Any:
        return enriched(None).metadata

    def kept(tree: dg.ComponentTree | None) -> dg.Definitions:
        return dg.Definitions(metadata=schemas(), component_tree=tree)

    return kept
