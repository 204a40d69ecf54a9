"""Daily landing files of a simulated shop, and its truth kept apart from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd

from churn_orchestration.simulator.faults import MALFORMED, Faults, deliver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from churn_orchestration.simulator.company import Simulation

USUAL_FAULTS = Faults()
_ORDER_COLUMNS = ["order_id", "customer_id", "ordered_at", "amount_usd", "channel"]
_CUSTOMER_COLUMNS = ["customer_id", "signed_up_on", "email", "segment"]


def land(
    simulation: Simulation,
    folder: Path,
    *,
    truth_folder: Path,
    faults: Faults = USUAL_FAULTS,
    seed: int = 7,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write the landing files of every day, and the truth somewhere else.

    ``folder/orders/orders_YYYY-MM-DD.csv`` : order_id,customer_id,ordered_at,amount_usd,channel
    ``folder/customers/customers_YYYY-MM-DD.csv`` : customer_id,signed_up_on,email,segment
    ``truth_folder`` : customers, truth and orders (clean, with known_on: the day of the file) as .parquet,
    and parameters.json; written last, so that it is there only if the landing is whole

    Every day has its files, header only if nothing happened; a file appears whole or not at all. A late
    order whose later day would lie beyond the period stays on its own day. The same simulation, faults and
    seed give the same bytes.

    Parameters
    ----------
    seed : of the faults; the shop has its own
    progress : called with (days written, days in all) after each day

    Returns
    -------
    Counts: days, customers, orders, rows (in the orders files), late, duplicate, malformed, malformed_<kind>

    Raises
    ------
    ValueError : truth_folder lies in folder, or folder holds .csv files that this landing does not write
    """
    company = simulation.company
    days = pd.date_range(company.first_day, periods=company.days, unit="us")
    _refuse_to_mix(folder, truth_folder, days)
    rows = deliver(simulation.orders, days[-1], faults, seed)
    signed_up = simulation.customers["signed_up_at"]
    customers = simulation.customers.assign(signed_up_on=signed_up.dt.strftime("%Y-%m-%d"))
    contents = {
        "customers": _csv_by_day(customers[_CUSTOMER_COLUMNS], signed_up.dt.normalize(), days),
        "orders": _csv_by_day(rows[_ORDER_COLUMNS], rows["known_on"], days),
    }
    for number, day in enumerate(days):
        for table, content in contents.items():
            _replace(_path(folder, table, day), content.iloc[number].encode())
        if progress:
            progress(number + 1, len(days))
    orders = simulation.orders.assign(known_on=rows.loc[rows["fault"] == "", "known_on"])
    counts = {"days": len(days), "customers": len(customers), **_counts(orders, rows)}
    for name, table in (("customers", simulation.customers), ("orders", orders), ("truth", simulation.truth)):
        _replace(truth_folder / f"{name}.parquet", table.to_parquet(index=False))
    parameters = {"company": asdict(company), "faults": asdict(faults), "seed": seed, "counts": counts}
    _replace(truth_folder / "parameters.json", json.dumps(parameters, indent=2, default=str).encode())
    return counts


def _counts(orders: pd.DataFrame, rows: pd.DataFrame) -> dict[str, int]:
    """How many rows were landed, and how many of each fault."""
    of_fault = rows["fault"].value_counts().reindex(["duplicate", *MALFORMED], fill_value=0)
    return {
        "orders": len(orders),
        "rows": len(rows),
        "late": int((orders["known_on"] > orders["ordered_at"].dt.normalize()).sum()),
        "duplicate": int(of_fault["duplicate"]),
        "malformed": int(of_fault[list(MALFORMED)].sum()),
        **{f"malformed_{kind}": int(of_fault[kind]) for kind in MALFORMED},
    }


def _csv_by_day(rows: pd.DataFrame, day: pd.Series, days: pd.DatetimeIndex) -> pd.Series:
    """Content of the file of every day, header first; the rows are text without quotes or line breaks."""
    first, *others = (rows[column] for column in rows)
    lines = first.str.cat(others, sep=",") + "\n"
    return ",".join(rows) + "\n" + lines.groupby(day).agg("".join).reindex(days, fill_value="")


def _path(folder: Path, table: str, day: pd.Timestamp) -> Path:
    """Where the file of a day lies."""
    return folder / table / f"{table}_{day:%Y-%m-%d}.csv"


def _replace(path: Path, content: bytes) -> None:
    """Write beside and rename, so that a reader or an interruption never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _refuse_to_mix(folder: Path, truth_folder: Path, days: pd.DatetimeIndex) -> None:
    """Raise if the truth would be landed, or the days of another shop would stay among ours."""
    if truth_folder.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"land: truth_folder {truth_folder} lies in {folder}; the truth must not be landed")
    ours = {_path(folder, table, day) for table in ("customers", "orders") for day in days}
    others = sorted({*folder.glob("customers/*.csv"), *folder.glob("orders/*.csv")} - ours)
    if others:
        raise ValueError(
            f"land: {others[0]} (and {len(others) - 1} more) is of another landing; empty {folder}"
        )
