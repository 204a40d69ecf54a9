"""The examples on real data: counts that are known, and the accuracy that is promised."""

import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from churn_orchestration.business import PACKAGE
from churn_orchestration_tests.test_cli import churn

EXAMPLES = PACKAGE.parent / "examples"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        "CHURN_REAL_DATA" not in os.environ, reason="CHURN_REAL_DATA names no folder of real data"
    ),
]


def look_back(name: str, last: str, as_of: str) -> tuple[dict[str, int], dict[str, Any]]:
    """Rows by table after a run, and the graded look back."""
    import json

    business = ["--business", str(EXAMPLES / name)]
    rows = json.loads(churn(*business, "run", "--to", last, "--json").stdout)["rows"]
    return rows, json.loads(churn(*business, "backtest", "--as-of", as_of, "--json").stdout)


def test_online_retail_adds_up_and_ranks_customers_as_well_as_its_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_DATA", str(tmp_path))
    rows, graded = look_back("online_retail", "2011-12-09", "2011-09-09")
    assert (rows["raw.lines"], rows["bronze.lines"], rows["quarantine.lines"]) == (541_909, 397_884, 144_025)
    assert graded["entities"] == 2_787
    assert graded["base_rate"] == pytest.approx(0.3825, abs=0.0005)
    model = graded["report"]["model"]
    assert model["auc"]["value"] >= 0.740
    assert model["log_loss"]["value"] <= 0.585
    with duckdb.connect(str(tmp_path / "online_retail" / "published.duckdb"), read_only=True) as door:
        [(customers,)] = door.execute(
            "select count(*) from gold.customer_features where as_of = date '2011-12-09'"
        ).fetchall()
        [(scored, marked)] = door.execute(
            "select count(*), count(*) filter (backtest) from predictions.churn_90d "
            "where as_of = date '2011-09-09'"
        ).fetchall()
    assert customers == 4_338
    assert (scored, marked) == (2_787, 2_787)


def test_cdnow_adds_up_and_ranks_customers_as_well_as_its_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_DATA", str(tmp_path))
    rows, graded = look_back("cdnow", "1998-06-30", "1998-03-31")
    assert (rows["raw.purchases"], rows["bronze.purchases"]) == (69_659, 69_659)
    assert graded["entities"] == 23_570
    assert graded["base_rate"] == pytest.approx(0.860, abs=0.0005)
    model = graded["report"]["model"]
    assert model["auc"]["value"] >= 0.836
    assert model["log_loss"]["value"] <= 0.305
