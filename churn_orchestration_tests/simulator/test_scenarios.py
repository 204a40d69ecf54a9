"""Scenarios through the whole graph: from landing files to a model that is promoted or refused."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from churn_orchestration.business import DEMO
from churn_orchestration.churn.metrics import evaluate
from churn_orchestration.simulator import World, forecasts, furnished, simulate
from churn_orchestration.warehouse import door

AS_OF = "2024-09-17"


class Business:
    """A scenario in files, and the demo's YAML on it."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        for path in [*DEMO.rglob("*.yaml"), *DEMO.rglob("*.sql")]:
            copy = folder / path.relative_to(DEMO)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
        (folder / "business.yaml").write_text(
            f"name: shop\nlanding: landing\nhistory_from: {world.first_day}\n"
            f"start_date: 2024-12-16\nend_date: {world.last_day}\n"
        )
        simulate(world, folder, processes=1)

    def churn(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "churn_orchestration.cli", "--business", str(self.folder)]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)

    def facts(self, *arguments: str) -> dict[str, Any]:
        done = self.churn(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str, customers: int) -> Business:
    monkeypatch.setenv("CHURN_DATA", str(tmp_path / "data"))
    made = Business(tmp_path / "shop", World.read(scenario, customers=customers))
    assert made.facts("run", "--to", "2024-12-16")["rows"]["silver.orders"] > customers
    return made


def test_where_there_is_no_signal_no_model_is_promoted_and_none_is_better_than_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(tmp_path, monkeypatch, "no_signal", 1500)
    [model] = made.facts("train", "--cutoff", "2024-12-16")["models"]
    assert model["decision"] == "refuse"
    report = made.facts("backtest", "--as-of", AS_OF)["report"]
    for forecaster in ("model", "rules"):
        auc = report[forecaster]["auc"]
        assert auc["low"] <= 0.5 <= auc["high"], (forecaster, auc)


def test_behind_bad_files_all_rows_add_up_and_the_renamed_days_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(tmp_path, monkeypatch, "messy_landing", 800)
    done = made.churn("run", "--to", "2024-12-26", "--json")
    assert done.returncode != 0
    refused = json.loads(done.stdout.strip().splitlines()[-1])["refused"]["bronze.orders"]
    assert sorted(refused) == ["2024-12-24", "2024-12-25", "2024-12-26"]
    assert 'orders_2024-12-24.csv has no column "channel"' in refused["2024-12-24"]
    with door(tmp_path / "data" / "shop") as db:
        counts = (
            "select sum(rows) filter (table_name = 'raw.orders' and day < '2024-12-24'), "
            "sum(rows) filter (table_name = 'bronze.orders' and status = 'stored'), "
            "sum(rows) filter (table_name = 'quarantine.orders' and day < '2024-12-24') from meta.days"
        )
        [(raw, bronze, quarantine)] = db.execute(counts).fetchall()
    [(twice, spoilt)] = faults(made.world)
    assert raw == bronze + quarantine + twice
    assert quarantine == spoilt


def faults(world: World) -> list[tuple[int, int]]:
    """How many rows of the files before the rename are there twice, and how many no contract takes."""
    with furnished(world) as db:
        return db.execute(
            "select count(*) filter (fault = 'duplicate'), count(*) filter (fault not in ('', 'duplicate')) "
            "from landed_orders where file_day < '2024-12-24'"
        ).fetchall()


def test_where_churn_is_too_rare_nothing_is_trained_and_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(tmp_path, monkeypatch, "rare_churn", 400)
    done = made.churn("train", "--cutoff", "2024-12-16")
    assert done.returncode != 0
    assert "refuses to train at cut-off 2024-12-16" in done.stderr
    assert "at least 20" in done.stderr


def test_in_the_calm_shop_the_model_comes_within_two_hundredths_of_the_best_possible_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(tmp_path, monkeypatch, "calm", 6000)
    made.facts("backtest", "--as-of", AS_OF)
    with door(tmp_path / "data" / "shop") as db:
        query = f"select customer_id, churn_probability from predictions.churn_90d where as_of = '{AS_OF}'"
        scored = db.execute(query).df()
    rows = scored.merge(forecasts(made.world, dt.date.fromisoformat(AS_OF), 90, processes=1))
    assert len(rows) == len(scored) > 2000
    model, best, oracle = (
        evaluate(rows["quiet"], rows[column], rows["customer_id"])["auc"]["value"]  # type: ignore[index]
        for column in ("churn_probability", "best_probability", "oracle_probability")
    )
    told = f"AUC: model {model:.3f}, best possible {best:.3f}, oracle {oracle:.3f}"
    assert best - 0.02 <= model <= best + 0.01 < oracle, told
    sys.stderr.write(f"\n{told}, {len(rows):,} customers\n")
