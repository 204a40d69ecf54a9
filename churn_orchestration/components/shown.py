"""What the UI shows of a table besides its rows: columns, where it lies, SQL to paste,
freshness.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.churn.features.feature import Feature
from churn_orchestration.storage.layers import DOOR

IN_WAREHOUSE = ("raw", "bronze", "silver")  # the door shows all others
ALL_TIME = "as of the day"
PLATFORM = {
    "day": ("date", "calendar day of the event, in the business's time zone"),
    "known_on": (
        "date",
        "the day on which the row reached us: that of the refresh that took its file in",
    ),
    "_partition": ("date", "the partition that landed the row"),
    "_file": ("text", "the landing file it came in, below the landing folder"),
    "_line": ("bigint", "its line in that file"),
}


def about(
    business: Business, key: dg.AssetKey, columns: Iterable[dg.TableColumn]
) -> dict[str, Any]:
    """The metadata of a table's definition."""
    ends = business.settings.end_date
    return {
        "dagster/table_name": ".".join(key.path),
        "dagster/column_schema": dg.TableSchema(list(columns)),
    } | ({"data_end_on": str(ends)} if ends else {})


def look(business: Business, key: dg.AssetKey) -> str:
    """SQL to paste, the end of a description: in the table of metadata a long path hides its
    neighbours.
    """
    layer, table = key.path
    file, when = business.state / DOOR, ""
    if layer in IN_WAREHOUSE:
        file, when = business.state / "warehouse.duckdb", ", while no run is at work"
    sql = (
        f"attach '{file}' as {business.name} (read_only);\nfrom {business.name}.{layer}.{table} "
        "limit 100;"
    )
    return f"\n\nTo look at it{when}:\n```sql\n{sql}\n```"


def freshness(business: Business) -> dg.FreshnessPolicy | None:
    """A day is there by 06:00 of the next; where the data have ended, none: it would be red for
    ever.
    """
    if business.settings.end_date:
        return None
    return dg.FreshnessPolicy.cron("0 6 * * *", dt.timedelta(hours=6), business.settings.timezone)


def platform(*names: str) -> list[dg.TableColumn]:
    """The platform's own columns."""
    return [dg.TableColumn(name, *PLATFORM[name]) for name in names]


def keys(entity: str) -> list[dg.TableColumn]:
    """The columns that name a row of gold, snapshots and predictions."""
    return [
        dg.TableColumn(entity, "text", "whose row it is"),
        dg.TableColumn("as_of", "date", "the last day whose data were seen, inclusive"),
    ]


def feature_columns(features: Iterable[Feature]) -> list[dg.TableColumn]:
    """The features: formula, window, unit, and how null reads."""
    return [
        dg.TableColumn(
            f.name,
            f.type,
            f"{f.formula}, {f.window or ALL_TIME}; {f.unit}; null: {f.null_means}",
        )
        for f in features
    ]


def selected(
    names: Iterable[str],
    comment: str,
    upstream: Mapping[str, dg.TableColumn],
    types: Mapping[str, str] = MappingProxyType({}),
) -> list[dg.TableColumn]:
    """The columns of a select, worded by its comment (``-- amount_usd: US dollars.``), else as
    upstream.

    The type of a computed column is known once the table is made: ``types``.

    >>> columns = selected(["share", "more"], "share: good from 0.5. more: of it; or none", {})
    >>> tuple(column.description for column in columns)
    ('good from 0.5', 'of it')
    """
    described = dict(re.findall(r"(?<![\w.])(\w+): ((?:[^.;]|\.(?=\S))+)", comment))
    known = {name: platform(name)[0] for name in PLATFORM} | dict(upstream)
    computed = dg.TableColumn("", "computed")
    return [
        dg.TableColumn(
            name, types.get(name, result.type).lower(), described.get(name) or result.description
        )
        for name in names
        for result in [known.get(name, computed)]
    ]
