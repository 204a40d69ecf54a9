"""The list of a day, as a file for people and for machines."""

import csv
import datetime as dt
from pathlib import Path

import duckdb
import pytest
from openpyxl import load_workbook

from churn_orchestration.business import Business
from churn_orchestration.report.ranking import exported, top_customers
from churn_orchestration.storage.layers import DOOR
from churn_orchestration_tests.support.shop import Shop

DAY = dt.date(2024, 1, 5)
FORECASTS = """
create schema predictions; create view predictions.churn_90d as
select customer_id, as_of::date as as_of, churn_probability::double as churn_probability, band,
  [reason] as reasons, 'rules' as model_version, recent_value::double as recent_value,
  days_since_last::bigint as days_since_last, null::boolean as contact, false as backtest
from (values
  ('ann', '2024-01-05', 0.9, 'critical', '↑ none for 80 days', 10, 80),
  ('bob', '2024-01-05', 0.123456, 'low', '↓ an order every 3 days', 1000.005, 2),
  ('cem', '2024-01-05', 0.5, 'high', '↑ Zoë asked', null, null),
  ('dot', '2024-01-05', 0.6, 'high', '↑ quiet', 15, 40),
  ('eve', '2024-01-04', 1.0, 'critical', '↑ gone', 9999, 99))
  as t (customer_id, as_of, churn_probability, band, reason, recent_value, days_since_last)"""
# What is at stake: bob 0.123456 x 1000.005 = 123.4566, ann 9.0, dot 9.0 (less likely), cem unknown.
ORDER = ["bob", "ann", "dot", "cem"]


@pytest.fixture
def listed(shop: Shop) -> Business:
    """A business at whose door four customers are scored on the last day."""
    state = shop.business.state
    state.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(state / DOOR)) as db:
        db.execute(FORECASTS)
    return shop.business


def test_the_list_begins_with_what_is_most_at_stake_in_the_terminal_and_in_every_file(
    listed: Business, tmp_path: Path
) -> None:
    assert [row["customer_id"] for row in top_customers(listed, DAY, most=2)] == ORDER[:2]
    for name in ("c.csv", "c.xlsx", "c.parquet"):
        assert exported(listed, None, tmp_path / name, None)[0]["rows"] == 4
    with (tmp_path / "c.csv").open(encoding="utf-8-sig") as file:
        assert [row["customer_id"] for row in csv.DictReader(file)] == ORDER
    sheet = load_workbook(tmp_path / "c.xlsx").active
    assert [[cell.value for cell in row[:2]] for row in sheet.iter_rows(min_row=2)] == [
        [rank, who] for rank, who in enumerate(ORDER, 1)
    ]
    stored = duckdb.sql(
        f"select rank, customer_id, churn_probability from '{tmp_path}/c.parquet'"
    ).fetchall()
    assert stored[0] == (1, "bob", 0.123456)


def test_a_file_for_people_has_a_byte_order_mark_rounded_numbers_and_what_they_act_on_first(
    listed: Business, tmp_path: Path
) -> None:
    exported(listed, DAY, tmp_path / "c.csv", None)
    header, bob, *_, cem = (tmp_path / "c.csv").read_bytes().decode("utf-8").splitlines()
    assert header == (
        "\ufeffrank,customer_id,churn_probability,band,at_stake,recent_value,days_since_last,contact,reasons,"
        "as_of,model_version"
    )
    assert bob == "1,bob,0.1235,low,123.46,1000.01,2,,↓ an order every 3 days,2024-01-05,rules"
    assert cem == "4,cem,0.5,high,,,,,↑ Zoë asked,2024-01-05,rules"


def test_no_spreadsheet_computes_an_id_and_no_terminal_obeys_one(
    listed: Business, tmp_path: Path
) -> None:
    given = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "a;=1", "e\x1b[2J\x00"]
    wanted = [
        "'=HYPERLINK(1)",
        "'+1",
        "'-1",
        "'@SUM(1)",
        r"\t=1",
        r"\r=1",
        "a;'=1",
        r"e\x1b[2J\x00",
    ]
    with duckdb.connect(str(listed.state / DOOR)) as db:
        db.execute("create table ids as select unnest(?) as customer_id", [given])
        db.execute(
            "create or replace view predictions.churn_90d as select customer_id, date '2024-01-05' "
            "as as_of, 0.5 as churn_probability, 'low' as band, ['none'] as reasons, 'rules' as "
            "model_version, -1.0 as recent_value, 1 as days_since_last, null::boolean as contact, "
            "false as backtest from ids"
        )
    for name in ("c.csv", "c.xlsx", "c.parquet"):
        exported(listed, DAY, tmp_path / name, None)
    with (tmp_path / "c.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["customer_id"] for row in rows) == sorted(wanted)
    assert {(row["churn_probability"], row["recent_value"]) for row in rows} == {("0.5", "-1.0")}
    cells = [row[1] for row in load_workbook(tmp_path / "c.xlsx").active.iter_rows(min_row=2)]
    assert sorted(cell.value for cell in cells) == sorted(wanted)
    assert {cell.data_type for cell in cells} == {"s"}
    stored = duckdb.sql(f"select customer_id from '{tmp_path}/c.parquet'").fetchall()
    assert sorted(stored) == sorted((who,) for who in given)
