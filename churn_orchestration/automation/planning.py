"""What a run is to compute, and why, before it starts."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from churn_orchestration.components.days import table_of
from churn_orchestration.storage.warehouse import Tables


@dataclass(frozen=True)
class Plan:
    """What a run is to compute: of each stale table the days, and why; then all that is made of
    them.

    ``keys``: the stale tables and those made of them, which are computed on the days that turn
    stale by that.
    """

    stale: dict[str, dict[dt.date, str]]
    keys: frozenset[dg.AssetKey]

    @classmethod
    def of(
        cls, graph: Any, tables: Tables, days: Sequence[dt.date], layers: Sequence[str]
    ) -> "Plan":
        """The plan for all tables of the layers to be up to date on those days."""
        stale, keys = dict[str, dict[dt.date, str]](), set[dg.AssetKey]()
        for key in graph.toposorted_asset_keys:  # parents first
            node, table = graph.get(key), table_of(key)
            if node.group_name not in layers:
                continue
            upstream = [table_of(parent) for parent in node.parent_keys]
            result = tables.days.why_stale(table, node.code_version or "", upstream, days)
            if (
                node.group_name == "raw"
            ):  # what bronze refuses waits there for a file that is mended
                refused = tables.days.refused(table.replace("raw.", "bronze."), max(days))
                result = dict.fromkeys(refused, "its file was refused, and may be mended") | result
            if result:
                stale[table] = result
            if result or keys & node.parent_keys:
                keys |= node.execution_set_asset_keys
        return cls(stale, frozenset(keys))

    @property
    def first(self) -> dt.date | None:
        """The first day that is to be computed; None: everything is there."""
        return min((day for days in self.stale.values() for day in days), default=None)

    def lines(self) -> list[str]:
        """Which days of which table, and why; tables with the same days for the same reason
        together.
        """
        by_reason = dict[str, list[str]]()
        for table, days in self.stale.items():
            for why in dict.fromkeys(days.values()):
                those = sorted(day for day, reason in days.items() if reason == why)
                span = (
                    str(those[0])
                    if len(those) == 1
                    else f"{len(those)} days, {those[0]} to {those[-1]}"
                )
                by_reason.setdefault(f"{span}: {why}", []).append(table)
        lines = [f"{', '.join(tables)}: {what}" for what, tables in by_reason.items()]
        made_of = sorted({table_of(key) for key in self.keys} - set(self.stale))
        return lines + ([f"and what changes by that of {', '.join(made_of)}"] if made_of else [])


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did: the requested days, the refused ones by table with the reason, what was
    noted.
    """

    first: dt.date
    last: dt.date
    refused: dict[str, dict[str, str]]
    succeeded: bool
    notes: dict[str, str]
