"""The examples on real data: counts that are known, and the accuracy that is promised."""

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from churn_orchestration.business import PACKAGE
from churn_orchestration_tests.support.in_process import IN_PROCESS, commanded

EXAMPLES = PACKAGE.parent / "examples"
pytestmark = [
    *IN_PROCESS,
    pytest.mark.usefixtures("churn_data"),
    pytest.mark.real_data,
    pytest.mark.skipif(
        "CHURN_REAL_DATA" not in os.environ, reason="CHURN_REAL_DATA names no folder of real data"
    ),
]


def look_back(name: str, last: str, as_of: str) -> tuple[dict[str, int], dict[str, Any]]:
    """Rows by table after a run, and the graded look back."""
    business = ["--business", str(EXAMPLES / name)]
    rows = json.loads(commanded(*business, "run", "--to", last, "--json").stdout)["rows"]
    return rows, json.loads(commanded(*business, "backtest", "--as-of", as_of, "--json").stdout)


def test_online_retail_adds_up_and_ranks_customers_as_well_as_its_peers(churn_data: Path) -> None:
    rows, graded = look_back("online_retail", "2011-12-09", "2011-09-09")
    assert (rows["raw.lines"], rows["bronze.lines"], rows["quarantine.lines"]) == (
        541_909,
        397_884,
        144_025,
    )
    assert graded["entities"] == 2_787
    assert graded["base_rate"] == pytest.approx(0.3825, abs=0.0005)
    model = graded["report"]["model"]
    assert model["auc"]["value"] >= 0.740
    assert model["log_loss"]["value"] <= 0.585
    with duckdb.connect(
        str(churn_data / "online_retail" / "published.duckdb"), read_only=True
    ) as door:
        [(customers,)] = door.execute(
            "select count(*) from gold.customer_features where as_of = date '2011-12-09'"
        ).fetchall()
        [(scored, marked)] = door.execute(
            "select count(*), count(*) filter (backtest) from predictions.churn_90d "
            "where as_of = date '2011-09-09'"
        ).fetchall()
    assert customers == 4_338
    assert (scored, marked) == (2_787, 2_787)


def test_of_cdnow_a_tenth_of_the_customers_are_ranked_as_well_as_by_its_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(os.environ["CHURN_REAL_DATA"]) / "cdnow/cdnow_master.csv"
    head, *lines = whole.read_text().splitlines()
    tenth = [line for line in lines if int(line.partition(",")[0]) % 10 == 0]
    (tmp_path / "cdnow").mkdir()
    (tmp_path / "cdnow/cdnow_master.csv").write_text("\n".join([head, *tenth, ""]))
    monkeypatch.setenv("CHURN_REAL_DATA", str(tmp_path))
    rows, graded = look_back("cdnow", "1998-06-30", "1998-03-31")
    assert rows["raw.purchases"] == rows["bronze.purchases"] == len(tenth)
    assert graded["entities"] == 2_357
    report = graded["report"]
    assert report["model"]["auc"]["value"] >= report["recency"]["auc"]["value"] + 0.005
    assert report["model"]["log_loss"]["value"] <= report["rules"]["log_loss"]["value"] - 0.01
    assert report["model"]["auc"]["value"] >= 0.81


@pytest.mark.thorough  # a tenth of the customers shows the same
def test_cdnow_adds_up_and_ranks_customers_as_well_as_its_peers() -> None:
    rows, graded = look_back("cdnow", "1998-06-30", "1998-03-31")
    assert (rows["raw.purchases"], rows["bronze.purchases"]) == (69_659, 69_659)
    assert graded["entities"] == 23_570
    assert graded["base_rate"] == pytest.approx(0.860, abs=0.0005)
    model = graded["report"]["model"]
    assert model["auc"]["value"] >= 0.836
    assert model["log_loss"]["value"] <= 0.305


def test_superstore_adds_up_and_what_it_cannot_say_is_not_promoted() -> None:
    business = ["--business", str(EXAMPLES / "superstore")]
    rows = json.loads(commanded(*business, "run", "--json").stdout)["rows"]
    assert rows["raw.lines"] == 9_994 == rows["bronze.lines"] + rows["quarantine.lines"]
    assert rows["gold.customer_features"] == 793
    [model] = json.loads(commanded(*business, "train", "--json").stdout)["models"]
    assert len(model["as_ofs"]) == 12, "of few customers, more of the past"
    assert model["decision"] == "refuse", "its orders are drawn at random"


def test_telco_adds_up_and_is_graded_out_of_fold_near_the_best_known(churn_data: Path) -> None:
    business, day = ["--business", str(EXAMPLES / "telco")], "2018-01-01"
    rows = json.loads(commanded(*business, "run", "--to", day, "--json").stdout)["rows"]
    assert rows["raw.customers"] == 7_043 == rows["bronze.customers"] + rows["quarantine.customers"]
    assert (rows["gold.customer_features"], rows["predictions.churn"]) == (7_043, 5_174)
    [model] = json.loads(commanded(*business, "train", "--cutoff", day, "--json").stdout)["models"]
    result = model["evaluation"]["report"]["model"]
    assert (model["decision"], result["entities"]) == ("promote", 7_043)
    assert result["base_rate"]["value"] == pytest.approx(0.2654, abs=0.0001)
    assert result["auc"]["value"] >= 0.845
    assert result["log_loss"]["value"] <= 0.416
    assert model["evaluation"]["caveat"].startswith("out of fold, not out of time")
    with duckdb.connect(str(churn_data / "telco" / "published.duckdb"), read_only=True) as door:
        [(blank,)] = door.execute(
            "select count(*) from gold.customer_features where customers_total_charges is null"
        ).fetchall()
    assert blank == 11


def test_returns_ask_of_those_without_one_and_find_more_than_a_constant_would() -> None:
    rows, graded = look_back("returns", "2011-12-09", "2011-09-09")
    assert rows["raw.lines"] == 541_909 == rows["bronze.lines"] + rows["quarantine.lines"]
    assert (rows["silver.purchases"], rows["silver.returns"]) == (397_884, 8_905)
    assert graded["entities"] == 2_201
    assert graded["base_rate"] == pytest.approx(0.0931, abs=0.001)
    assert graded["report"]["model"]["auc"]["value"] >= 0.65


def test_of_the_public_tickets_it_is_said_that_they_tell_nothing() -> None:
    business = ["--business", str(EXAMPLES / "support_tickets")]
    rows = json.loads(commanded(*business, "run", "--json").stdout)["rows"]
    assert (rows["raw.companies"], rows["bronze.users"], rows["bronze.tickets"]) == (100, 300, 500)
    [model] = json.loads(commanded(*business, "train", "--json").stdout)["models"]
    assert model["decision"] == "refuse"
    assert "is not below that of the constant" in model["reason"]
