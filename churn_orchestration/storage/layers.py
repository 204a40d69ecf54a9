"""The layers of a business, and the names of its files."""

POOL = "warehouse"


MEASURED_LAYERS = ("monitoring", "measures")


PARQUET_LAYERS = (
    "gold",
    "predictions",
    "restated",
    *MEASURED_LAYERS,
    "values",
    "segments",
    "offers",
    "actions",
    "marts",
)


LAYERS = ("raw", "bronze", "quarantine", "silver", "models", *PARQUET_LAYERS)


MEASURED_ON = "measured_on"
"""The day of a row of MEASURED_LAYERS: what it says is as knowable at its end. Its as_of is no
later.
"""


def day_column(table: str) -> str:
    """The column by which the days of a table, ``layer.table``, are kept."""
    layer = table.partition(".")[0]
    if layer in MEASURED_LAYERS:
        return MEASURED_ON
    return "as_of" if layer in PARQUET_LAYERS else "_partition"


WAREHOUSE, DOOR = "warehouse.duckdb", "published.duckdb"


SHOWN = "meta.shown"
"""The table of the door that says of which files each of its views is made."""


PARQUET = "format parquet, compression zstd, dictionary_size_limit 1"
"""How files are written: without dictionaries, a quarter quicker and, with zstd, no larger."""
