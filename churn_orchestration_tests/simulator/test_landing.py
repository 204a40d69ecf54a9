from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from churn_orchestration.simulator import Company, Faults, Simulation, forecast_table, land, simulate

ORDERS_HEADER = "order_id,customer_id,ordered_at,amount_usd,channel"
MANY_FAULTS = Faults(late_share=0.1, max_late_days=5, duplicate_share=0.05, malformed_share=0.04)
NO_FAULTS = Faults(late_share=0, duplicate_share=0, malformed_share=0)


@pytest.fixture(scope="module")
def shop() -> Simulation:
    return simulate(Company(customers=300, days=200))


@pytest.fixture(scope="module")
def landed(shop: Simulation, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("landed")
    counts = land(shop, folder / "landing", truth_folder=folder / "truth", faults=MANY_FAULTS)
    return folder, counts


def rows_of(folder: Path) -> pd.DataFrame:
    """Every line of the orders files as fields, and the day of its file."""
    found = [
        {"day": path.stem.removeprefix("orders_"), "fields": line.split(",")}
        for path in sorted((folder / "landing" / "orders").iterdir())
        for line in path.read_text().splitlines()[1:]
    ]
    rows = pd.DataFrame(found)
    return rows.assign(order_id=rows["fields"].str[0])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    shop: Simulation, landed: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    for name, seed in (("again", 7), ("other", 8)):
        folder = tmp_path / name
        land(shop, folder / "landing", truth_folder=folder / "truth", faults=MANY_FAULTS, seed=seed)
    assert bytes_of(tmp_path / "again") == bytes_of(landed[0])
    assert bytes_of(tmp_path / "other" / "landing") != bytes_of(landed[0] / "landing")


def test_every_day_has_its_files_with_a_header_even_if_nothing_happened(tmp_path: Path) -> None:
    land(simulate(Company(customers=1, days=40)), tmp_path / "landing", truth_folder=tmp_path / "truth")
    names = {path.name for path in (tmp_path / "landing").rglob("*.csv")}
    days = pd.date_range("2023-01-01", periods=40).strftime("%Y-%m-%d")
    assert names == {f"{table}_{day}.csv" for table in ("orders", "customers") for day in days}
    contents = [path.read_text() for path in (tmp_path / "landing" / "orders").iterdir()]
    assert all(content.startswith(ORDERS_HEADER + "\n") for content in contents)
    assert ORDERS_HEADER + "\n" in contents


def test_rows_in_the_files_are_orders_plus_duplicates_plus_malformed(
    shop: Simulation, landed: tuple[Path, dict[str, int]]
) -> None:
    folder, counts = landed
    rows = rows_of(folder)
    orders = len(shop.orders)
    assert counts["orders"] == orders
    assert counts["duplicate"] == round(0.05 * orders)
    assert counts["malformed"] == round(0.04 * orders)
    assert counts["rows"] == len(rows) == orders + counts["duplicate"] + counts["malformed"]
    assert rows["order_id"].str.startswith("M").sum() == counts["malformed"]


def test_without_faults_every_order_is_landed_once_on_its_own_day(shop: Simulation, tmp_path: Path) -> None:
    counts = land(shop, tmp_path / "landing", truth_folder=tmp_path / "truth", faults=NO_FAULTS)
    rows = rows_of(tmp_path)
    wanted = shop.orders
    assert counts["late"] == counts["duplicate"] == counts["malformed"] == 0
    assert rows["order_id"].tolist() == wanted["order_id"].tolist()
    assert rows["day"].tolist() == wanted["ordered_at"].dt.strftime("%Y-%m-%d").tolist()
    assert rows["fields"].str[2].tolist() == wanted["ordered_at"].astype(str).tolist()
    assert rows["fields"].str[3].astype(float).tolist() == wanted["amount_usd"].tolist()


def test_late_rows_come_only_later_and_never_after_the_last_day(landed: tuple[Path, dict[str, int]]) -> None:
    folder, counts = landed
    rows = rows_of(folder)
    orders = rows[rows["order_id"].str.startswith("O")].drop_duplicates("order_id")
    own_day = pd.to_datetime(orders["fields"].str[2]).dt.normalize()
    delay_days = (pd.to_datetime(orders["day"]) - own_day).dt.days
    assert sorted(delay_days.unique()) == [0, 1, 2, 3, 4, 5]
    assert (delay_days > 0).sum() == counts["late"]


def test_a_row_too_late_for_the_period_stays_on_its_own_day(tmp_path: Path) -> None:
    """Of the first of two days a fifth is one day late; the rest would be later than the second day."""
    shop = simulate(Company(customers=2000, days=2))
    faults = Faults(late_share=1, max_late_days=5)
    counts = land(shop, tmp_path / "landing", truth_folder=tmp_path / "truth", faults=faults)
    first_day = (shop.orders["ordered_at"] < "2023-01-02").sum()
    assert 0.15 * first_day < counts["late"] < 0.25 * first_day


def test_a_duplicate_is_the_same_row_in_the_same_file(landed: tuple[Path, dict[str, int]]) -> None:
    folder, counts = landed
    rows = rows_of(folder).assign(line=lambda rows: rows["fields"].str.join(","))
    assert rows.duplicated("order_id").sum() == counts["duplicate"]
    assert rows.duplicated(["order_id", "line", "day"]).sum() == counts["duplicate"]


def test_malformed_rows_come_in_every_kind_beside_the_true_order(
    shop: Simulation, landed: tuple[Path, dict[str, int]]
) -> None:
    folder, counts = landed
    rows = rows_of(folder)
    spoilt = rows.loc[rows["order_id"].str.startswith("M"), "fields"]
    found = {
        "unparsable_date": (spoilt.str[2] == "2024-13-45 00:00:00").sum(),
        "empty_customer_id": (spoilt.str[1] == "").sum(),
        "text_amount": (spoilt.str[3] == "abc").sum(),
        "surplus_field": (spoilt.str.len() == 6).sum(),
        "nan_amount": (spoilt.str[3] == "NaN").sum(),
        "future_date": (spoilt.str[2] == "2099-01-01 00:00:00").sum(),
    }
    assert found == {kind: counts[f"malformed_{kind}"] for kind in found}
    assert sum(found.values()) == counts["malformed"]
    assert max(found.values()) - min(found.values()) <= 1
    assert set(shop.orders["order_id"]) == set(rows["order_id"]) - set(rows.loc[spoilt.index, "order_id"])


def test_customers_land_on_the_day_they_sign_up(
    shop: Simulation, landed: tuple[Path, dict[str, int]]
) -> None:
    files = sorted((landed[0] / "landing" / "customers").iterdir())
    tables = {path.stem.removeprefix("customers_"): pd.read_csv(path) for path in files}
    assert all((table["signed_up_on"] == day).all() for day, table in tables.items())
    ids = [one for table in tables.values() for one in table["customer_id"]]
    assert ids == shop.customers["customer_id"].tolist()
    assert list(tables["2023-01-01"]) == ["customer_id", "signed_up_on", "email", "segment"]


def test_the_truth_is_written_apart_and_says_when_each_order_was_known(
    shop: Simulation, landed: tuple[Path, dict[str, int]]
) -> None:
    folder, counts = landed
    orders = pd.read_parquet(folder / "truth" / "orders.parquet")
    file_of = rows_of(folder).drop_duplicates("order_id").set_index("order_id")["day"]
    assert orders["known_on"].dt.strftime("%Y-%m-%d").tolist() == file_of.loc[orders["order_id"]].tolist()
    parameters = json.loads((folder / "truth" / "parameters.json").read_text())
    assert parameters["counts"] == counts
    assert parameters["company"]["alpha"] == shop.company.alpha
    assert pd.read_parquet(folder / "truth" / "truth.parquet")["customer_id"].is_unique
    early = date(2023, 1, 31)
    hidden = (orders["ordered_at"] < "2023-02-01") & (orders["known_on"] > pd.Timestamp(early))
    assert hidden.any()
    seen = forecast_table(orders, early, 90, shop.company)
    assert seen.equals(forecast_table(orders[~hidden], early, 90, shop.company))


def test_the_truth_is_never_written_into_the_landing_folder(shop: Simulation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the truth must not be landed"):
        land(shop, tmp_path, truth_folder=tmp_path / "orders" / "truth")
    assert not any(tmp_path.iterdir())


def test_the_days_of_another_shop_are_not_mixed_with_ours(shop: Simulation, tmp_path: Path) -> None:
    land(shop, tmp_path / "landing", truth_folder=tmp_path / "truth")
    shorter = simulate(Company(customers=300, days=199))
    with pytest.raises(ValueError, match=r"customers_2023-07-19\.csv \(and 1 more\) is of another landing"):
        land(shorter, tmp_path / "landing", truth_folder=tmp_path / "truth")


def test_an_interrupted_landing_leaves_whole_files_only(
    shop: Simulation, landed: tuple[Path, dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def write_half_of_the_tenth_day(path: Path, content: bytes) -> int:
        if "orders_2023-01-10" in path.name:
            write_bytes(path, content[: len(content) // 2])
            raise KeyboardInterrupt
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_half_of_the_tenth_day)
    with pytest.raises(KeyboardInterrupt):
        land(shop, tmp_path / "landing", truth_folder=tmp_path / "truth", faults=MANY_FAULTS)
    written = sorted(tmp_path.rglob("*.csv"))
    assert len(written) == 19
    assert all(path.read_bytes() == (landed[0] / path.relative_to(tmp_path)).read_bytes() for path in written)


def test_progress_counts_the_days(shop: Simulation, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    land(
        shop, tmp_path / "landing", truth_folder=tmp_path / "truth", progress=lambda *step: seen.append(step)
    )
    assert seen == [(number, 200) for number in range(1, 201)]
