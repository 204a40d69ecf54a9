"""Scenarios through the whole graph: from landing files to a model that is promoted or refused."""

import datetime as dt
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from churn_orchestration.business import DEMO, PACKAGE
from churn_orchestration.churn.grading.metrics import evaluate
from churn_orchestration.simulator import World, forecasts, furnished, simulate
from churn_orchestration.storage.door import door
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration_tests.support.in_process import IN_PROCESS, commanded
from churn_orchestration_tests.support.shop import without

pytestmark = [pytest.mark.usefixtures("churn_data"), *IN_PROCESS]
AS_OF = "2024-09-17"
EXAMPLES = PACKAGE.parent / "examples"


class Business:
    """A scenario in files, and on it the YAML and SQL of the demo, or of an example."""

    def __init__(self, folder: Path, world: World, pattern: Path = DEMO) -> None:
        self.folder, self.world = folder, world
        for name, text in without(pattern, "actions", "offers", "segments", "values"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # Nobody forecasts spend here, so a customer is worth what they spent; no model is
            # fitted again only to see whether its reasons hold.
            text = text.replace("value: spend_90d", "value: orders_amount_sum_365d")
            (folder / name).write_text(text.replace(", refits: 2", ""))
        start = world.last_day if world.cancels else "2024-12-16"
        (folder / "business.yaml").write_text(
            f"name: shop\nlanding: landing\nhistory_from: {world.first_day}\n"
            f"start_date: {start}\nend_date: {world.last_day}\n"
        )
        simulate(world, folder, processes=1)

    def churn(self, *arguments: str, expect: int = 1) -> Result:
        return commanded("--business", str(self.folder), *arguments, expect=expect)

    def facts(self, *arguments: str) -> dict[str, Any]:
        message = self.churn(*arguments, "--json", expect=0).stdout
        result: dict[str, Any] = json.loads(message.strip().splitlines()[-1])
        return result


def shop(tmp_path: Path, scenario: str, customers: int, pattern: Path = DEMO) -> Business:
    made = Business(tmp_path / "shop", World.read(scenario, customers=customers), pattern)
    assert made.facts("run", "--to", "2024-12-16")["rows"]["silver.orders"] > customers
    return made


@pytest.mark.thorough  # test_examples shows the refusal, of real tickets and random orders
def test_where_there_is_no_signal_no_model_is_promoted_and_none_is_better_than_chance(
    tmp_path: Path,
) -> None:
    made = shop(tmp_path, "no_signal", 1500)
    [model] = made.facts("train", "--cutoff", "2024-12-16")["models"]
    assert model["decision"] == "refuse"
    report = made.facts("backtest", "--as-of", AS_OF)["report"]
    for forecaster in ("model", "rules"):
        auc = report[forecaster]["auc"]
        assert auc["low"] <= 0.5 <= auc["high"], (forecaster, auc)


@pytest.mark.thorough  # test_source_table and test_bad_input show both in small
def test_behind_bad_files_all_rows_add_up_and_the_renamed_days_are_refused_by_name(
    tmp_path: Path,
) -> None:
    made = shop(tmp_path, "messy_landing", 800)
    done = made.churn("run", "--to", "2024-12-26", "--json")
    refused = json.loads(done.stdout.strip().splitlines()[-1])["refused"]["bronze.orders"]
    assert sorted(refused) == ["2024-12-24", "2024-12-25", "2024-12-26"]
    assert 'orders_2024-12-24.csv has no column "channel"' in refused["2024-12-24"]
    with door(tmp_path / "data" / "shop") as db:
        counts = (
            "select sum(rows) filter (table_name = 'raw.orders' and day < '2024-12-24'), "
            "sum(rows) filter (table_name = 'bronze.orders' and status = 'stored'), "
            "sum(rows) filter (table_name = 'quarantine.orders' and day < '2024-12-24') from "
            "meta.days"
        )
        [(raw, bronze, quarantine)] = db.execute(counts).fetchall()
    [(twice, spoilt)] = faults(made.world)
    assert raw == bronze + quarantine + twice
    assert quarantine == spoilt


def faults(world: World) -> list[tuple[int, int]]:
    """How many rows of the files before the rename are there twice, and how many no contract
    takes.
    """
    with furnished(world) as db:
        return db.execute(
            "select count(*) filter (fault = 'duplicate'), count(*) filter (fault not in ('', "
            "'duplicate')) from landed_orders where file_day < '2024-12-24'"
        ).fetchall()


@pytest.mark.thorough  # a hopeless label is refused in test_churn_model, in fewer seconds
def test_where_churn_is_too_rare_nothing_is_trained_and_it_is_said_why(
    tmp_path: Path,
) -> None:
    made = shop(tmp_path, "rare_churn", 400)
    done = made.churn("train", "--cutoff", "2024-12-16")
    assert "refuses to train at cut-off 2024-12-16" in done.stderr
    assert "at least 20" in done.stderr


def test_in_the_calm_shop_the_model_comes_within_two_hundredths_of_the_best_possible_forecast(
    tmp_path: Path,
) -> None:
    made = shop(tmp_path, "calm", 3000, EXAMPLES / "shop")
    made.facts("backtest", "--as-of", AS_OF)
    with door(tmp_path / "data" / "shop") as db:
        query = (
            "select customer_id, churn_probability from predictions.churn_90d "
            f"where as_of = '{AS_OF}'"
        )
        scored = db.execute(query).df()
    rows = scored.merge(forecasts(made.world, dt.date.fromisoformat(AS_OF), 90, processes=1))
    assert len(rows) == len(scored) > 1000
    model, best, oracle = (
        evaluate(rows["quiet"], rows[column], rows["customer_id"])["auc"]["value"]  # type: ignore[index]
        for column in ("churn_probability", "best_probability", "oracle_probability")
    )
    message = f"AUC: model {model:.3f}, best possible {best:.3f}, oracle {oracle:.3f}"
    assert best - 0.02 <= model <= best + 0.01 < oracle, message
    sys.stderr.write(f"\n{message}, {len(rows):,} customers\n")


def desk(tmp_path: Path, scenario: str) -> Business:
    return Business(tmp_path / "shop", World.read(scenario, customers=1500), EXAMPLES / "helpdesk")


def looked_back(made: Business, data: Path) -> tuple[float, float]:
    """AUC of the model and of the best possible forecast, of the same companies."""
    assert made.facts("run")["rows"]["silver.tickets"] > 6_000
    made.facts("backtest", "--as-of", "2025-10-20")
    with door(data / "shop") as db:
        scored = db.execute(
            "select company_id, churn_probability from predictions.cancels_90d where as_of = "
            "'2025-10-20'"
        ).df()
    rows = scored.merge(forecasts(made.world, dt.date(2025, 10, 20), 90, processes=1))
    assert len(rows) == len(scored) > 600
    model, best = (
        evaluate(rows["cancels"], rows[column], rows["company_id"])["auc"]["value"]  # type: ignore[index]
        for column in ("churn_probability", "best_probability")
    )
    sys.stderr.write(
        f"\nAUC: model {model:.3f}, best possible {best:.3f}, {len(rows):,} companies\n"
    )
    return model, best


def test_at_the_help_desk_the_model_is_near_the_best_possible_forecast_and_nothing_personal_passes(
    tmp_path: Path,
) -> None:
    made = desk(tmp_path, "helpdesk")
    model, best = looked_back(made, tmp_path / "data")
    assert best - 0.05 <= model <= best + 0.01
    with Warehouse.of(tmp_path / "data" / "shop").open() as tables:
        result = tables.rows(
            "select table_schema, table_name, column_name from information_schema.columns "
            "where table_schema not in ('raw', 'quarantine', 'meta')"
        )
    assert ("bronze", "users", "role") in result
    personal = {"company_name", "tax_id", "customer_name", "email", "ssn", "birth_date", "phone"}
    personal |= {"agent_name", "author_name", "subject", "description", "message"}
    assert [named for named in result if named[2] in personal] == []


@pytest.mark.thorough  # test_leakage and test_churn_model name such a feature in small
def test_a_tag_that_was_put_on_afterwards_is_named_and_nothing_is_trained_on_it(
    tmp_path: Path,
) -> None:
    made = desk(tmp_path, "leaky_tag")
    for name, old, new in (
        ("silver/tickets.sql", "channel, known_on", "channel, tags, known_on"),
        (
            "gold/defs.yaml",
            "flags: {urgent:",
            "flags: {tagged: \"tags like '%CHURN_RISK%'\", urgent:",
        ),
    ):
        path = made.folder / name
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
    assert made.facts("run")["rows"]["silver.tickets"] > 6_000
    for command in (("backtest", "--as-of", "2025-10-20"), ("train", "--cutoff", "2025-12-31")):
        done = made.churn(*command)
        assert re.search(
            r"a feature knows the outcome: tickets_tagged\w* .*: most likely", done.stderr
        )
        sys.stderr.write(f"\n{done.stderr[-600:]}\n")
