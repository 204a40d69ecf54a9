"""One churn question on a small simulated company, on a real warehouse: from snapshots to looks
back.
"""

import datetime as dt
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from churn_orchestration import pictures, report, stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn import bound
from churn_orchestration.churn.calendar import Horizon, days_between
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import Category, EventSource, FeatureSet, Measure
from churn_orchestration.churn.features.perturbation import Ground
from churn_orchestration.churn.grading.contact import choose_and_report_rows
from churn_orchestration.churn.learning.contributions import contributions
from churn_orchestration.churn.learning.reasons import reasons as reasons_of
from churn_orchestration.churn.learning.reasons import topic_sums
from churn_orchestration.churn.learning.what_if import reachable
from churn_orchestration.churn.process import fitting
from churn_orchestration.churn.process.fitting import NoFit, Process
from churn_orchestration.churn.process.gold import gold_histories
from churn_orchestration.churn.question.labels import Question
from churn_orchestration.churn.question.settings import (
    CAPACITY,
    PROFIT,
    RECALL,
    Budget,
    ContactRule,
    Fairness,
    Lever,
    Reasons,
)
from churn_orchestration.components.features import daily_parts
from churn_orchestration.components.features.feature_table import (
    build_days,
    feature_declaration,
    write_catalogue,
)
from churn_orchestration.components.features.proof import pipeline_of
from churn_orchestration.components.question.backtest import backtest, rolling
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.scoring import forecaster, scores
from churn_orchestration.components.question.scoring.forecaster import Forecaster
from churn_orchestration.components.question.scoring.prediction import (
    copied_message,
    prediction_asset,
)
from churn_orchestration.components.question.scoring.scores import catalogue_words, score_days
from churn_orchestration.components.question.training import card, promotion
from churn_orchestration.components.question.training import model as models
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.pictures.canvas import titled
from churn_orchestration.report import model_text, rolled
from churn_orchestration.report.explain import explain
from churn_orchestration.report.sources import sources, sources_text
from churn_orchestration.report.what_if import what_if
from churn_orchestration.simulator import World, furnished
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.door import door, publish
from churn_orchestration.storage.layers import DOOR
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.in_process import IN_PROCESS

pytestmark = IN_PROCESS

FIRST, LAST = dt.date(2023, 1, 1), dt.date(2024, 3, 31)
CUTOFF = dt.date(2024, 1, 31)  # its as_ofs: 2023-10-02, 2023-11-02, 2023-12-02
AS_OFS = ["2023-10-02", "2023-11-02", "2023-12-02"]
SCORED = [dt.date(2023, 12, 2), dt.date(2024, 1, 30), CUTOFF, dt.date(2024, 2, 1)]

ORDERS = EventSource(
    "orders", "silver.orders", "customer_id", "order", ("order_id",),
    (Measure("amount", "amount_usd", "usd"),), (Category("channel", "channel", ("web",)),),
)  # fmt: skip
FEATURES = FeatureSet("customer_id", (ORDERS,), (30, 90), (30,))
PIPELINE = replace(
    pipeline_of(FEATURES, dt.date(2023, 11, 30), (), {}),
    grounds=(Ground("silver.orders", ("order_id",), "customer_id"),),
)
ASKED = QuestionSettings(
    Question("churn_60d", "inactivity", FEATURES, ORDERS, Horizon(60), 90),
    gold="gold.customer_features", most_as_ofs=3, min_history_days=28, learner="logistic",
    test_as_ofs=1, edges=(0.3, 0.5, 0.7), relative_bands=False, value="orders_amount_sum_90d",
    segments=("orders_amount_sum_90d",), pipeline=PIPELINE,
)  # fmt: skip


def asking(**changed: Any) -> QuestionSettings:
    """The question, with something of it changed."""
    of_question = {
        name: changed.pop(name) for name in list(changed) if name in Question.__dataclass_fields__
    }
    return replace(ASKED, question=replace(ASKED.question, **of_question), **changed)


@dataclass(frozen=True)
class Shop:
    """A simulated shop in a folder: silver.orders up to LAST, gold of the days in SCORED."""

    business: Business

    @property
    def state(self) -> Path:
        return self.business.state

    @property
    def tracking(self) -> Tracking:
        return Tracking(state=str(self.state))

    @contextmanager
    def open(self) -> Iterator[Tables]:
        with Warehouse.of(self.state).open() as tables:
            yield tables

    def build(self, settings: QuestionSettings = ASKED, cutoff: dt.date = CUTOFF) -> dict[str, Any]:
        with self.open() as tables:
            return snapshots.build(tables, self.business, settings, cutoff)

    def train(
        self, settings: QuestionSettings = ASKED, cutoff: dt.date = CUTOFF, trigger: str = "manual"
    ) -> dict[str, Any]:
        with self.open() as tables:
            snapshots.build(tables, self.business, settings, cutoff)
            return models.train(tables, self.tracking, settings, cutoff, cutoff, trigger, "a test")

    def roll_back(self, to: str | None = None) -> dict[str, Any]:
        with self.open() as tables:
            return promotion.roll_back(
                tables, self.tracking, ASKED, to, CUTOFF, "it went wrong", asked_by="a test"
            )

    def score(self, *days: dt.date, settings: QuestionSettings = ASKED) -> pd.DataFrame:
        """Score days; the stored rows of the last of them."""
        with self.open() as tables:
            rows, refused = score_days(tables, settings, list(days))
            assert refused == {}
            tables.days.record(settings.store.forecasts, "stored", rows, "test")
            publish(tables)
        return pd.read_parquet(self.scored_file(days[-1]))

    def scored_file(self, day: dt.date) -> Path:
        return self._day_file(f"predictions.{ASKED.name}", day)

    def gold_file(self, day: dt.date) -> Path:
        return self._day_file(ASKED.gold, day)

    def _day_file(self, table: str, day: dt.date) -> Path:
        with self.open() as tables:
            path = tables.day_file(table, day)
        assert path is not None
        return path

    def differing(self, settings: QuestionSettings = ASKED) -> dict[str, int]:
        """The check that training saw what scoring saw."""
        manifest = self.build(settings)
        with self.open() as tables:
            return snapshots.differing_rows(tables, settings.question, settings.gold, manifest)

    def rewrite_gold(self, day: dt.date, select: str) -> None:
        """Tamper with a gold day: ``select`` reads from ``gold``."""
        with self.open() as tables:
            gold = tables.day_file(ASKED.gold, day)
            tables.db.execute(
                f"create temp table tampered as with gold as (from '{gold}') {select}"
            )
            tables.replace_days(ASKED.gold, [day], "from tampered order by customer_id")

    def orders(self, statement: str) -> None:
        with self.open() as tables:
            tables.db.execute(statement)
            _bring_parts(tables, self.business)


def _bring_parts(tables: Tables, business: Business) -> None:
    """The daily parts of the orders as they are now, of every day."""
    [source] = FEATURES.sources
    daily_parts.build(tables, FEATURES, source, business.start, [business.start])
    tables.days.descends(source.days_table, [source.table])
    tables.days.record(
        source.days_table, "stored", dict.fromkeys(days_between(business.start, LAST), 1), "test"
    )


def _found(folder: Path) -> Shop:
    folder.mkdir(parents=True)
    (folder / "business.yaml").write_text(
        f"name: shop\nlanding: landing\nhistory_from: {FIRST}\nstart_date: 2023-11-30\nend_date: "
        f"{LAST}\n"
    )
    shop = Shop(Business(folder))
    world = World.read(
        "calm", customers=1500, first_day=FIRST, days=(LAST - FIRST).days + 1, seed=4
    )
    with furnished(world) as db:
        orders = db.execute(
            "select order_id, customer_id, ordered_at, amount_usd, channel from orders"
        ).df()
    with shop.open() as tables:
        tables.db.register("_orders", orders)
        tables.db.execute("""create table silver.orders as
            select order_id, customer_id, ordered_at::date as day,
              amount_usd::decimal(18, 4) as amount_usd,
              channel, ordered_at::date as known_on, ordered_at::date as _partition from _orders""")
        days = list(days_between(shop.business.start, LAST))
        tables.days.record("silver.orders", "stored", dict.fromkeys(days, 1), "test")
        _bring_parts(tables, shop.business)
        rows = build_days(tables, ASKED.gold, FEATURES, SCORED)
        tables.days.record(ASKED.gold, "stored", rows, feature_declaration(FEATURES))
        write_catalogue(tables, ASKED.gold, FEATURES)
        publish(tables)
    return shop


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A $CHURN_DATA with a shop in it that has been scored by nobody; copied, never changed."""
    with pytest.MonkeyPatch.context() as patch:
        data = tmp_path_factory.mktemp("untrained")
        patch.setenv("CHURN_DATA", str(data))
        shop = _found(data / "folder")
        shop.tracking.client().search_experiments()  # makes the MLflow store once: 5 s
        yield data


@pytest.fixture(scope="module")
def trained(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop with a champion of CUTOFF; for tests that only read, or add what others do not look
    at.
    """
    with pytest.MonkeyPatch.context() as patch:
        shop = _copy(untrained, tmp_path_factory.mktemp("trained") / "data", patch)
        assert shop.train()["decision"] == "promote"
        yield shop


@pytest.fixture
def shop(untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop of one's own, untrained."""
    return _copy(untrained, tmp_path / "data", monkeypatch)


@pytest.fixture
def trained_shop(trained: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The trained shop; the ledger, models and predictions are put back afterwards."""
    monkeypatch.setenv("CHURN_DATA", str(trained.state.parent))
    kept = trained.state.parent / "kept"
    names = ("predictions", "gold", "snapshots", "models", ledger.FILE, "warehouse.duckdb", DOOR)
    for name in names:
        _copy_path(trained.state / name, kept / name)
    yield trained
    for name in names:
        _remove(trained.state / name)
        _copy_path(kept / name, trained.state / name)
    _remove(kept)


def _copy(data: Path, to: Path, patch: pytest.MonkeyPatch) -> Shop:
    shutil.copytree(data, to)
    patch.setenv("CHURN_DATA", str(to))
    return Shop(Business(to / "folder"))


def _copy_path(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, to)
    elif path.exists():
        shutil.copyfile(path, to)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---------------- snapshots


def test_a_snapshot_has_the_as_ofs_of_its_cut_off_and_says_what_it_holds(shop: Shop) -> None:
    manifest = shop.build()
    frame, again = snapshots.load(shop.state / "snapshots" / ASKED.name, CUTOFF)
    assert again == manifest
    assert [entry["as_of"] for entry in manifest["as_ofs"]] == AS_OFS
    assert [entry["rows"] for entry in manifest["as_ofs"]] == frame.groupby("as_of").size().tolist()
    assert manifest["rows"] == len(frame)
    assert manifest["columns"] == list(frame.columns)
    assert not frame.duplicated(["customer_id", "as_of"]).any()
    assert set(frame["cutoff"].astype(str)) == {str(CUTOFF)}
    assert frame["label_known_on"].max() == CUTOFF
    content = (shop.state / "snapshots" / ASKED.name / manifest["file"]).read_bytes()
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_labels_of_a_snapshot_are_what_pandas_finds_in_the_orders(shop: Shop) -> None:
    shop.build()
    frame, _ = snapshots.load(shop.state / "snapshots" / ASKED.name, CUTOFF)
    with shop.open() as tables:
        orders = tables.db.execute("select customer_id, day from silver.orders").df()
    for day, rows in frame.groupby("as_of"):
        as_of = pd.Timestamp(day)
        seen = orders[(orders["day"] <= as_of) & (orders["day"] > as_of - pd.Timedelta(days=90))]
        after = orders[(orders["day"] > as_of) & (orders["day"] <= as_of + pd.Timedelta(days=60))]
        assert set(rows["customer_id"]) == set(seen["customer_id"])
        assert set(rows.loc[~rows["label"], "customer_id"]) == set(seen["customer_id"]) & set(
            after["customer_id"]
        )


def test_a_snapshot_built_again_is_the_same_to_the_byte(shop: Shop) -> None:
    first = shop.build()
    content = (shop.state / "snapshots" / ASKED.name / first["file"]).read_bytes()
    shop.orders(
        "create or replace table silver.orders as from silver.orders order by hash(order_id)"
    )
    assert shop.build() == first
    assert (shop.state / "snapshots" / ASKED.name / first["file"]).read_bytes() == content


def test_what_became_known_after_the_cut_off_changes_no_byte_of_a_snapshot(shop: Shop) -> None:
    first = shop.build()
    shop.orders(f"delete from silver.orders where known_on > date '{CUTOFF}'")
    shop.orders(f"""insert into silver.orders select order_id, 'C000001', day, 1, 'web',
        date '{CUTOFF}' + 1,
        date '{CUTOFF}' + 1 from silver.orders""")
    assert shop.build()["sha256"] == first["sha256"]
    shop.orders(
        "update silver.orders set amount_usd = amount_usd + 1 where day = date '2023-11-15'"
    )
    assert shop.build()["sha256"] != first["sha256"]


def test_a_changed_byte_is_refused_by_name_and_mended_by_building_again(shop: Shop) -> None:
    manifest = shop.build()
    path = shop.state / "snapshots" / ASKED.name / manifest["file"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BusinessError, match=f"{manifest['file']} is damaged"):
        snapshots.load(path.parent, CUTOFF)
    with shop.open() as tables, pytest.raises(BusinessError, match=manifest["file"]):
        models.train(tables, shop.tracking, ASKED, CUTOFF, CUTOFF, "manual", "a test")
    assert shop.build() == manifest
    assert len(snapshots.load(path.parent, CUTOFF)[0]) == manifest["rows"]


def test_a_snapshot_that_is_not_there_is_a_clear_message(shop: Shop) -> None:
    with shop.open() as tables, pytest.raises(BusinessError, match=str(CUTOFF)):
        models.train(tables, shop.tracking, ASKED, CUTOFF, CUTOFF, "manual", "a test")


def test_a_snapshot_of_another_declaration_leaves_the_first_file_as_it_is(shop: Shop) -> None:
    first = shop.build()
    path = shop.state / "snapshots" / ASKED.name / first["file"]
    content = path.read_bytes()
    second = shop.build(asking(horizon=Horizon(45)))
    assert second["file"] != first["file"]
    assert path.read_bytes() == content


def test_a_snapshot_equals_gold_where_both_exist(shop: Shop) -> None:
    assert shop.differing() == {"2023-12-02": 0}


TAMPERED = {
    "a value": "select * replace (orders_count_90d + 1 as orders_count_90d) from gold",
    "a last bit": (
        "select * replace (orders_gap_ratio_all * (1 + 2.3e-16) as orders_gap_ratio_all) from gold"
    ),
    "a null": (
        "select * replace (coalesce(orders_amount_std_all, 0) as orders_amount_std_all) from gold"
    ),
    "a row too few": "from gold where orders_count_90d <> (select max(orders_count_90d) from gold)",
    "a row too many": "from gold union all select * replace ('X' as customer_id) from gold",
    "a row twice": "from gold union all from gold",
}


@pytest.mark.parametrize("what", TAMPERED)
def test_the_check_fails_when_gold_is_tampered_with(shop: Shop, what: str) -> None:
    shop.rewrite_gold(dt.date(2023, 12, 2), TAMPERED[what])
    assert shop.differing()["2023-12-02"] > 0


def test_gold_of_an_older_declaration_is_not_compared(shop: Shop) -> None:
    wider = replace(FEATURES, windows=(30, 60, 90))
    assert shop.differing(asking(features=wider)) == {}


def test_the_asset_check_blocks_when_gold_is_tampered_with(shop: Shop) -> None:
    def check() -> dg.AssetCheckEvaluation:
        result = dg.materialize(
            [snapshots.snapshot_asset(shop.business, ASKED)],
            partition_key=str(CUTOFF),
            resources={"warehouse": Warehouse.of(shop.state)},
            raise_on_error=False,
        )
        result = {check.check_name: check for check in result.get_asset_check_evaluations()}
        assert result["no_leak"].passed
        return result["same_as_scored"]

    assert (check().passed, check().blocking) == (True, True)
    shop.rewrite_gold(
        dt.date(2023, 12, 2), "select * replace (1::bigint as orders_count_90d) from gold"
    )
    tampered = check()
    assert not tampered.passed
    assert tampered.metadata["as_ofs_compared"].value == 1


def test_a_cut_off_without_a_matured_as_of_says_which_data_it_wants(shop: Shop) -> None:
    with pytest.raises(BusinessError, match="matured by 2023-02-20: .* 2022-12-22, .* 2023-01-01"):
        shop.build(cutoff=dt.date(2023, 2, 20))


def test_nobody_in_the_observation_window_is_a_clear_message_and_leaves_no_file(shop: Shop) -> None:
    shop.orders("delete from silver.orders where day > date '2023-06-30'")
    with pytest.raises(BusinessError, match=r"nobody was active .* window \(90 days\).*2023-10-02"):
        shop.build()
    assert list((shop.state / "snapshots" / ASKED.name).iterdir()) == []


def test_no_data_at_all_is_a_clear_message(shop: Shop) -> None:
    shop.orders("delete from silver.orders")
    with pytest.raises(BusinessError, match=ASKED.name):
        shop.build()


def test_a_snapshot_does_not_read_over_a_refused_day(shop: Shop) -> None:
    with shop.open() as tables:
        tables.days.record(
            "silver.orders", "refused", {dt.date(2024, 1, 10): 0}, "test", "half a file"
        )
    with pytest.raises(BusinessError, match=r"silver.orders 2024-01-10 is refused \(half a file\)"):
        shop.build()


# ---------------- models


def test_training_the_same_triple_again_finds_the_model_and_fits_nothing(
    trained_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn_orchestration.churn import recipe

    before, registered = (trained_shop.state / ledger.FILE).read_bytes(), _registered(trained_shop)
    [record] = (trained_shop.state / "models" / ASKED.name).glob("*.json")
    written = record.read_bytes()
    monkeypatch.delattr(recipe, "fit")  # whoever fits, fails
    assert trained_shop.train()["model_version"] == record.stem
    assert record.read_bytes() == written
    assert (trained_shop.state / ledger.FILE).read_bytes() == before
    assert _registered(trained_shop) == registered


def test_a_lost_record_is_made_again_with_the_same_version_and_registered_number(
    trained_shop: Shop,
) -> None:
    [path] = (trained_shop.state / "models" / ASKED.name).glob("*.json")
    written, registered = path.read_bytes(), _registered(trained_shop)
    path.unlink()
    trained_shop.train()
    assert path.read_bytes() == written
    assert _registered(trained_shop) == registered


def test_another_learner_is_another_version_and_what_was_trained_stays(trained_shop: Shop) -> None:
    first = trained_shop.train()["model_version"]
    other = trained_shop.train(replace(ASKED, learner="lightgbm"))["model_version"]
    assert other != first
    names = {path.stem for path in (trained_shop.state / "models" / ASKED.name).glob("*.json")}
    assert names == {first, other}


def test_a_model_is_tested_later_than_all_it_was_trained_on(trained: Shop) -> None:
    record = promotion.record_of(trained.state, ASKED.name, _champion(trained)["model_version"])
    assert record["evaluation"]["tests"] == [{"test": "2023-12-02", "train": ["2023-10-02"]}]
    assert record["as_ofs"] == AS_OFS  # and then refitted on all that had matured


def test_the_model_is_kept_without_a_pickle_and_with_signature_and_example(trained: Shop) -> None:
    files = [path for path in (trained.state / "mlflow").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".joblib")]
    assert any(path.suffix == ".skops" for path in files)
    described = [path.read_text() for path in files if path.name == "MLmodel"]
    assert described
    assert all("signature:" in text and "saved_input_example_info" in text for text in described)


def test_a_run_in_mlflow_names_its_snapshot_its_forecasters_and_its_pictures(
    trained: Shop,
) -> None:
    client = trained.tracking.client()
    experiment = client.get_experiment_by_name("churn_60d")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    version = _champion(trained)["model_version"]
    [run] = [each for each in runs if each.data.tags.get("model_version") == version]
    [data] = [given.dataset for given in run.inputs.dataset_inputs]
    assert (data.name, data.digest) == (
        "snapshots.churn_60d",
        run.data.tags["snapshot_sha256"][:12],
    )
    assert run.data.params["cutoff"] == str(CUTOFF)
    assert (run.data.params["horizon_days"], run.data.params["test_as_ofs"]) == ("60", "1")
    parents = {each.info.run_id: each.data.tags.get("mlflow.parentRunId") for each in runs}
    below = {
        each.info.run_name: each.data
        for each in runs
        if parents[each.info.run_id] == run.info.run_id
    }
    assert {"rules", "constant"} <= below.keys()
    assert below["rules"].metrics["log_loss"] == run.data.metrics["rules_log_loss"]
    pictures = [
        file.path for file in client.list_artifacts(run.info.run_id) if file.path.endswith(".svg")
    ]
    assert "calibration_and_gain.svg" in pictures


def test_the_alias_champion_mirrors_the_ledger(trained_shop: Shop) -> None:
    decided = []
    for settings in (
        replace(ASKED, learner="logistic", most_as_ofs=1),
        replace(ASKED, learner="logistic"),
    ):
        record = trained_shop.train(settings)
        aliased = trained_shop.tracking.client().get_model_version_by_alias(ASKED.name, "champion")
        assert aliased.tags["model_version"] == _champion(trained_shop)["model_version"]
        decided.append(
            (record["decision"], aliased.tags["model_version"] == record["model_version"])
        )
    assert decided == [("refuse", False), ("keep", True)]  # the second is the champion once more


def test_a_hopeless_label_is_refused_with_what_was_found_and_what_is_needed(shop: Shop) -> None:
    shop.orders("delete from silver.orders where day > date '2023-12-02'")
    shop.orders(
        "delete from silver.orders where day between date '2023-10-03' and date '2023-12-02' "
        "and customer_id > 'C000040'"
    )
    with pytest.raises(
        BusinessError, match=f"refuses to train at cut-off {CUTOFF}: .*at least 20 .* found"
    ):
        shop.train()
    assert ledger.read(shop.state) == []


def test_too_little_history_to_test_on_trains_and_does_not_promote(shop: Shop) -> None:
    record = shop.train(replace(ASKED, most_as_ofs=1))
    assert record["decision"] == "refuse"
    assert (
        "`snapshots: {as_ofs: 11}` reach further back, which the history allows" in record["reason"]
    )
    with shop.open() as tables:
        assert ledger.champion(tables.state, ASKED.name, LAST) is None


def test_the_ledger_says_what_was_decided_and_the_door_shows_it(trained: Shop) -> None:
    row = _champion(trained)
    assert (row["decision"], row["trigger"], row["cutoff"]) == ("promote", "initial", str(CUTOFF))
    with door(trained.state) as db:
        result = db.execute(
            f"select model_version, decision, auc from models.{ASKED.name}"
        ).fetchall()
    record = promotion.record_of(trained.state, ASKED.name, row["model_version"])
    auc = record["evaluation"]["report"]["model"]["auc"]
    assert result == [(row["model_version"], "promote", auc["value"])]
    assert auc["low"] <= auc["value"] <= auc["high"]


def _registered(shop: Shop) -> set[str]:
    result = shop.tracking.client().search_model_versions(f"name = '{ASKED.name}'")
    return {f"{model.version} {model.tags['model_version']}" for model in result}


def test_a_rolling_look_back_says_of_each_month_end_what_a_look_back_from_it_says(
    trained_shop: Shop,
) -> None:
    settings = replace(
        ASKED, min_history_days=300
    )  # an as_of from 2023-10-28 on, known by 2023-12-27
    with trained_shop.open() as tables:
        given = (tables, trained_shop.tracking, trained_shop.business, settings)
        looks = rolling(*given, dt.date(2023, 10, 15))
        alone = backtest(*given, dt.date(2024, 1, 31))
        with pytest.raises(
            BusinessError, match="no month ends from 2024-02-10 on whose outcome is known"
        ):
            rolling(*given, dt.date(2024, 2, 10))
    ends = ["2023-10-31", "2023-11-30", "2023-12-31", "2024-01-31"]
    assert [look["as_of"] for look in looks] == ends
    assert looks[-1] | {"stored": None} == alone | {"stored": None}
    early = [look for look in looks if "refused" in look]
    assert [look["as_of"] for look in early] == ends[:2]
    assert all(f"no as_of has matured by {look['as_of']}" in look["refused"] for look in early)
    graded = [look for look in looks if "refused" not in look]
    message = rolled(ASKED.name, looks)
    mean = sum(look["report"]["model"]["log_loss"]["value"] for look in graded) / len(graded)
    assert f"{mean:.4f}" in message
    assert all(look["refused"][:40] in message for look in early)


LONG = replace(ASKED, most_as_ofs=8, budget=Budget(120, 4, 2))


def test_a_search_is_told_in_the_record_and_the_card_and_is_not_repeated(shop: Shop) -> None:
    record = shop.train(LONG)
    result = record["search"]
    assert (result["trials"], result["ended_by"]) == (2, "trials")
    [graded] = record["evaluation"]["tests"]
    searched = max(day for test, train in result["splits"] for day in (test, *train))
    known_on = Horizon(60).label_known_on(dt.date.fromisoformat(searched))
    assert known_on <= dt.date.fromisoformat(graded["test"])
    assert [row["learner"] for row in result["leaderboard"]].count("blend") == 1
    assert record["learner"] == result["learner"]
    message = card.markdown(LONG, record)
    assert "2 settings were tried" in message
    assert all(f"| {row['learner']} |" in message for row in result["leaderboard"])
    (shop.state / "models" / ASKED.name / f"{record['model_version']}.json").unlink()
    again = shop.train(LONG)
    assert (again["search"], again["model_version"]) == (result, record["model_version"])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            replace(LONG, budget=Budget(120, 4, 3, from_entities=10**6)),
            "a search begins at 1,000,000",
        ),
        (
            replace(ASKED, budget=Budget(120, 4, 3)),
            "no as_of was known before the oldest day that is graded",
        ),
    ],
)
def test_a_search_that_cannot_pay_is_left_out_and_that_is_told(
    shop: Shop, settings: QuestionSettings, why: str
) -> None:
    record = shop.train(settings)
    assert why in record["search"]["skipped"]
    assert f"Fixed settings: no search, for {record['search']['skipped']}" in card.markdown(
        settings, record
    )


def test_a_budget_that_holds_no_trial_is_refused_with_the_remedy(shop: Shop) -> None:
    with pytest.raises(BusinessError, match=r"the budget is 0\.1 GB: a larger `search\.memory_gb`"):
        shop.train(replace(LONG, budget=Budget(120, 0.1, 3)))


def test_the_card_says_what_the_record_says_and_its_page_stands_alone(
    trained_shop: Shop, tmp_path: Path
) -> None:
    champion = _champion(trained_shop)["model_version"]
    page, text = card.write(ASKED, trained_shop.state, champion[:10], tmp_path)
    record = json.loads(
        (trained_shop.state / "models" / ASKED.name / f"{champion}.json").read_text()
    )
    auc = record["evaluation"]["report"]["model"]["auc"]
    assert f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]" in text.read_text()
    named = [
        titled(ASKED.titles, part["feature"], part["segment"], 99) for part in record["segments"]
    ]
    places = [text.read_text().index(f"| {name} |") for name in named]
    assert len(places) == 4
    assert places == sorted(places)
    html = page.read_text()
    assert html.count('<img src="data:image/svg+xml;base64,') == 4
    assert "<table>" in html
    assert "http" not in html
    assert "![" not in html
    assert card.write(ASKED, trained_shop.state, None, tmp_path) == (page, text)
    few = replace(ASKED, contact=ContactRule(CAPACITY, most=7))
    assert (
        "the 7 of a day with the most at stake"
        in card.write(few, trained_shop.state, None, tmp_path)[1].read_text()
    )
    with pytest.raises(BusinessError, match='"zz" begins 0 model versions'):
        card.write(ASKED, trained_shop.state, "zz", tmp_path)


def test_the_card_compares_groups_by_the_rule_of_contact_on_the_day_it_was_not_chosen_on(
    trained_shop: Shop, tmp_path: Path
) -> None:
    champion = _champion(trained_shop)
    asked = replace(ASKED, fairness=Fairness(("orders_channel_web_share_all",)))
    with trained_shop.open() as tables:
        text = card.write(asked, trained_shop.state, None, tmp_path, tables)[1].read_text()
        wrong = replace(ASKED, fairness=Fairness(("colour",), "silver.orders", "customer_id"))
        with pytest.raises(BusinessError, match='silver.orders has no column "colour" .columns: '):
            card.write(wrong, trained_shop.state, None, tmp_path, tables)
        numbered = "select 1 as customer_id, 'at' as country, day, known_on, _partition"
        tables.db.execute(f"create table silver.numbered as {numbered} from silver.orders limit 1")
        for table, why in (("numbered", "table that casts it"), ("none", "`churn run` makes it")):
            wrong = replace(
                ASKED, fairness=Fairness(("country",), f"silver.{table}", "customer_id")
            )
            with pytest.raises(BusinessError, match=f"silver.{table}.* {why}"):
                card.write(wrong, trained_shop.state, None, tmp_path, tables)
        tables.db.execute("drop table silver.numbered")
    section = text[text.index("## Who fares otherwise") : text.index("## Where it is weak")]
    lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| orders_")]
    held = ModelFiles(trained_shop.state, ASKED.name, champion["model_version"]).held_out()
    newest = choose_and_report_rows(held, "customer_id")[1]
    counts = [int(line[1].replace(",", "")) for line in lines]
    assert len(lines) > 1
    assert sum(counts) == len(newest)
    contacted = sum(
        count * float(line[3].split()[0]) for count, line in zip(counts, lines, strict=True)
    )
    assert contacted == pytest.approx(ceil(0.1 * len(newest)), abs=1)


def test_every_held_out_row_is_in_one_day_and_one_segment_of_each_feature(
    trained_shop: Shop,
) -> None:
    settings = replace(
        ASKED, segments=("orders_amount_sum_90d", "orders_days_since_last"), learner="lightgbm"
    )
    record = trained_shop.train(settings)
    rows = record["evaluation"]["report"]["model"]["rows"]
    assert sum(day["rows"] for day in record["by_day"]) == rows
    for feature in settings.segments:
        assert (
            sum(part["rows"] for part in record["segments"] if part["feature"] == feature) == rows
        )


def test_a_model_says_whom_to_contact_and_the_rules_say_less_surely(trained_shop: Shop) -> None:
    by_model = trained_shop.score(dt.date(2024, 2, 1))
    assert set(by_model["confidence"]) == {"normal"}
    assert 0 < by_model["contact"].sum() <= ceil(len(by_model) / 10)
    paying = trained_shop.score(
        dt.date(2024, 2, 1), settings=replace(ASKED, contact=ContactRule(PROFIT))
    )
    assert (paying["contact"] == (paying["churn_probability"] >= ASKED.economics.cut)).all()
    few = trained_shop.score(
        dt.date(2024, 2, 1), settings=replace(ASKED, contact=ContactRule(CAPACITY, most=7))
    )
    assert few["contact"].sum() == 7
    paid = few[few["churn_probability"] >= ASKED.economics.cut]
    at_stake = paid["churn_probability"] * paid["recent_value"]
    assert at_stake[paid["contact"]].min() >= at_stake[~paid["contact"]].max()
    trained_shop.roll_back()
    by_rules = trained_shop.score(dt.date(2024, 2, 1))
    assert set(by_rules["model_version"]) == {"rules"}
    assert set(by_rules["confidence"]) == {"low"}
    assert by_rules["contact"].notna().all()


def test_where_no_model_was_graded_nobody_can_tell_from_which_probability_on_a_recall_is_reached(
    shop: Shop,
) -> None:
    scored = shop.score(CUTOFF, settings=replace(ASKED, contact=ContactRule(RECALL, 0.6)))
    assert scored["contact"].isna().all()


def test_a_candidate_below_a_floor_is_refused_by_name(shop: Shop) -> None:
    record = shop.train(replace(ASKED, floors={"auc": 0.99}, ceilings={"log_loss": 0.01}))
    assert record["decision"] == "refuse"
    assert "is below its floor 0.99" in record["reason"]
    assert "is above its ceiling 0.01" in record["reason"]
    assert shop.train()["decision"] == "promote", "the floor that was taken away still holds"


def test_an_event_is_scored_by_the_share_that_left_in_the_newest_horizon_that_is_over(
    shop: Shop,
) -> None:
    with shop.open() as tables:
        there = "select distinct customer_id from silver.orders where day <= date '2023-12-02'"
        tables.db.execute(
            "create table silver.ends as select customer_id, date '2023-12-20' as day, day as "
            f"known_on, day as _partition from (select *, date '2023-12-20' as day from ({there} "
            "order by 1 limit 50))"
        )
        tables.days.record(
            "silver.ends",
            "stored",
            dict.fromkeys(days_between(dt.date(2023, 11, 30), LAST), 1),
            "made",
        )
        [(people,)] = tables.rows(f"select count(*) from ({there})")
    ends = EventSource("end", "silver.ends", "customer_id", "cancellation")
    scored = shop.score(
        CUTOFF, settings=asking(kind="event", terminal=ends, observation_days="all")
    )
    assert set(scored["model_version"]) == {"base_rate"}
    assert set(scored["churn_probability"]) == {50.5 / (people + 1)}
    assert set(scored["reasons"].map(len)) == {0}
    assert scored["contact"].mean() < 0.2


def test_where_a_training_graded_the_rules_worse_than_a_constant_the_churn_rate_scores_from_then_on(
    shop: Shop,
) -> None:
    graded = {"rules": {"log_loss": {"value": 0.88}}, "constant": {"log_loss": {"value": 0.63}}}
    facts = {"model_version": "v", "cutoff": str(CUTOFF), "decided_on": str(CUTOFF)}
    facts["meaning"] = ASKED.question.meaning
    ledger.append(
        shop.state, ASKED.name, "refuse", "no better", "manual", {"report": graded}, **facts
    )
    before = shop.score(CUTOFF - dt.timedelta(days=1))
    assert set(before["model_version"]) == {"process"}
    [entry] = [entry for entry in shop.build()["as_ofs"] if entry["as_of"] == "2023-12-02"]
    rate = (entry["churn_rate"] * entry["rows"] + 0.5) / (entry["rows"] + 1)
    scored = shop.score(CUTOFF)
    assert set(scored["model_version"]) == {"base_rate"}
    assert scored["churn_probability"].tolist() == pytest.approx([rate] * len(scored))


def _champion(shop: Shop, day: dt.date = LAST) -> dict[str, Any]:
    result = ledger.champion(shop.state, ASKED.name, day)
    assert result is not None
    return result


def test_a_roll_back_puts_the_rules_in_force_where_no_model_was_before(trained_shop: Shop) -> None:
    version = _champion(trained_shop)["model_version"]
    row = trained_shop.roll_back()
    assert (row["decision"], row["model_version"], row["parent"]) == ("roll back", "rules", version)
    assert ledger.champion(trained_shop.state, ASKED.name, LAST) is None
    assert set(trained_shop.score(CUTOFF)["model_version"]) == {"rules"}
    assert "champion" not in trained_shop.tracking.client().get_registered_model(ASKED.name).aliases
    with door(trained_shop.state) as db:
        message = db.execute(
            f"select decision, model_version, reason from models.{ASKED.name}"
        ).fetchall()
    assert message[1:] == [("roll back", "rules", "it went wrong")]
    with pytest.raises(
        BusinessError, match=f"no model is champion, .* nothing .* VERSION may be {version}"
    ):
        trained_shop.roll_back()


def test_a_model_that_was_rolled_back_is_put_in_force_by_name_and_never_by_training_it_once_more(
    trained_shop: Shop,
) -> None:
    version = _champion(trained_shop)["model_version"]
    trained_shop.roll_back()
    again = trained_shop.train()
    assert (again["model_version"], again["decision"]) == (version, "refuse")
    assert f"was rolled back on {CUTOFF} (it went wrong)" in again["reason"]
    assert "nothing changed, no model is champion; `churn rollback" in again["reason"]
    assert ledger.champion(trained_shop.state, ASKED.name, LAST) is None
    facts, text, done = report.trained(trained_shop.business, {ASKED.name: again}, CUTOFF)
    assert (facts["models"][0]["decision"], done) == ("refuse", False)
    assert "was rolled back on" in " ".join(text.split())
    for _ in range(2):
        assert trained_shop.roll_back(version[:6])["parent"] == "rules"
        assert _champion(trained_shop)["model_version"] == version
        assert trained_shop.roll_back("rules")["parent"] == version
        assert ledger.champion(trained_shop.state, ASKED.name, LAST) is None
    with pytest.raises(BusinessError, match="rules score already"):
        trained_shop.roll_back("rules")


def test_a_candidate_of_an_earlier_cut_off_than_the_champions_changes_nothing_and_says_so(
    trained_shop: Shop,
) -> None:
    first = _champion(trained_shop)
    facts = {"meaning": ASKED.question.meaning, "mlflow_version": first["mlflow_version"]}
    facts |= {"model_version": "newer", "cutoff": str(LAST), "decided_on": str(LAST)}
    ledger.append(trained_shop.state, ASKED.name, "promote", "better", "manual", {}, **facts)
    with trained_shop.open() as tables:
        again = models.train(tables, trained_shop.tracking, ASKED, CUTOFF, LAST, "manual", "a test")
    assert (again["model_version"], again["decision"]) == (first["model_version"], "keep")
    assert again["reason"] == f"champion newer stays: it has learned from more, up to {LAST}"
    assert _champion(trained_shop)["model_version"] == "newer"


def test_a_roll_back_names_a_model_that_was_champion_by_the_beginning_of_its_version(
    trained_shop: Shop,
) -> None:
    first = _champion(trained_shop)["model_version"]
    other = trained_shop.train(replace(ASKED, learner="lightgbm"))
    _decide(trained_shop, other, cutoff=str(CUTOFF))
    assert _champion(trained_shop)["model_version"] == other["model_version"]
    with pytest.raises(BusinessError, match=f'"nonesuch" is no model .* wanted: one of {first}'):
        trained_shop.roll_back("nonesuch")
    assert trained_shop.roll_back(first[:6])["model_version"] == first
    assert set(trained_shop.score(CUTOFF)["model_version"]) == {first}
    with pytest.raises(BusinessError, match="is champion already"):
        trained_shop.roll_back(first)
    aliased = trained_shop.tracking.client().get_model_version_by_alias(ASKED.name, "champion")
    assert aliased.tags["model_version"] == first


def test_a_candidate_that_is_no_better_is_kept_out_and_the_champion_stays(
    trained_shop: Shop,
) -> None:
    first = _champion(trained_shop)["model_version"]
    other = trained_shop.train(replace(ASKED, learner="xgboost"))
    assert (other["decision"], _champion(trained_shop)["model_version"]) == ("keep", first)
    assert f"champion {first} stays: chance is not ruled out" in other["reason"]
    assert "AUC would be seen with probability" in other["reason"]
    row = ledger.read(trained_shop.state)[-1]
    assert (row["decision"], row["parent"], row["trigger"]) == ("keep", first, "manual")
    assert row["evidence"]["against_champion"]["controls"] == {
        "oracle": True, "nobody": False, "everybody": False,
    }  # fmt: skip


def test_customers_who_are_there_twice_under_other_ids_train_and_are_graded_once(
    shop: Shop,
) -> None:
    once = shop.build()["rows"]
    twins = "select * replace ('x' || order_id as order_id, 'x' || customer_id as customer_id)"
    shop.orders(f"insert into silver.orders {twins} from silver.orders")
    with shop.open() as tables:
        assert copied_message(tables, ASKED, CUTOFF) == ""
        build_days(tables, ASKED.gold, FEATURES, [CUTOFF])
        assert "rows equal another in every column but customer_id" in copied_message(
            tables, ASKED, CUTOFF
        )
    record = shop.train()
    assert (
        once <= record["rows"] < 1.4 * once
    )  # of others, no two topics have a value of theirs alone
    message = (
        f"{2 * once - record['rows']:,} of {2 * once:,} rows equal another "
        "in every column but customer_id"
    )
    assert message in record["copies"]
    assert message in " ".join(card.markdown(ASKED, record).split())


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little")


def test_beyond_the_bound_a_training_reads_a_part_of_the_customers_and_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, folder = shop.build(), shop.state / "snapshots" / ASKED.name
    everybody, _ = snapshots.load(folder, CUTOFF)
    assert shop.train()["bound"] == ""
    monkeypatch.setattr(bound, "MOST_ROWS", manifest["rows"] // 2)
    monkeypatch.setattr(bound, "MOST_HISTORIES", manifest["rows"] // 6)
    some, again = snapshots.load(folder, CUTOFF)
    assert again == manifest
    assert set(some["customer_id"]) == {
        name
        for name in set(everybody["customer_id"])
        if _hashed(f"part:{name}") % 1_000_000 < 500_000
    }
    whole = everybody[everybody["customer_id"].isin(some["customer_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, whole)
    record = shop.train(replace(ASKED, learner="xgboost"))
    assert record["rows"] == len(some) < 0.6 * manifest["rows"]
    assert record["base_rate"] == pytest.approx(everybody["label"].mean())
    rows = f"learned from and graded on {len(some):,} of {manifest['rows']:,} rows"
    assert rows in record["bound"]
    assert rows in " ".join(card.markdown(ASKED, record).split())
    assert rows in " ".join(model_text(ASKED.name, record, "refuse", "a test").split())


def test_a_feature_that_knows_the_outcome_stops_the_training_and_the_look_back(shop: Shop) -> None:
    manifest = shop.build()
    path = shop.state / "snapshots" / ASKED.name / manifest["file"]
    frame = pd.read_parquet(path)
    frame["orders_amount_sum_30d"] = frame["label"] * 100.0
    frame.to_parquet(path)
    manifest["sha256"] = content_hash(path)
    manifest["file"] = path.rename(path.parent / f"{CUTOFF}-{manifest['sha256'][:12]}.parquet").name
    (path.parent / f"{CUTOFF}.json").write_text(json.dumps(manifest))
    message = (
        "refuses to train at cut-off .* orders_amount_sum_30d alone "
        "ranks the outcome with AUC 1.000"
    )
    with shop.open() as tables, pytest.raises(BusinessError, match=message):
        models.train(tables, shop.tracking, ASKED, CUTOFF, CUTOFF, "manual", "a test")
    assert ledger.read(shop.state) == []
    vouched = replace(ASKED, vouched={"orders_amount_sum_30d": "the bank tells us on the day"})
    with shop.open() as tables:
        models.train(tables, shop.tracking, vouched, CUTOFF, CUTOFF, "manual", "a test")


def test_weak_signs_of_a_leak_warn_and_block_nothing() -> None:
    result = snapshots.Leaks(
        warnings=("orders_count_all from 1 to 2 has 0 of 70 customers that churn",)
    )
    check = snapshots.no_leak(ASKED, CUTOFF, result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == result.warnings[0]
    assert snapshots.no_leak(ASKED, CUTOFF, snapshots.Leaks()).passed


def test_a_minimum_term_is_refused_with_the_line_to_paste_before_anything_else() -> None:
    result = snapshots.Leaks(
        ("plan_months_left from 1 to 9 ...",), (), {"plan_months_left": "a minimum term"}
    )
    vouched = replace(ASKED, vouched={"orders_count_30d": "counted at the till"})
    check = snapshots.no_leak(vouched, CUTOFF, result)
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert check.description is not None
    line = "`vouched: {orders_count_30d: counted at the till, plan_months_left: a minimum term}`"
    assert "a feature may know the outcome" in check.description
    assert check.description.index(line) < check.description.index("take it out")


def test_a_training_tells_its_warnings_in_the_terminal_and_on_the_card(trained_shop: Shop) -> None:
    record = promotion.record_of(
        trained_shop.state, ASKED.name, _champion(trained_shop)["model_version"]
    )
    record |= {"warnings": ["orders_count_all from 1 to 2: a minimum term?"]}
    message = model_text(ASKED.name, record, "promote", "it is better")
    assert "warning: orders_count_all from 1 to 2: a minimum term?" in message
    assert "- Warning: orders_count_all from 1 to 2: a minimum term?." in card.markdown(
        ASKED, record
    )


# ---------------- what if


@pytest.fixture
def riskier(trained_shop: Shop) -> tuple[Shop, QuestionSettings, pd.DataFrame, int]:
    """A day scored by a model, with what gold says of everybody; the first of the highest risk."""
    levers = [
        Lever(f"orders_{name}", up=True) for name in ("amount_sum_30d", "channel_distinct_all")
    ]
    asked = asking(actionable=tuple(levers))
    gold = pd.read_parquet(trained_shop.gold_file(SCORED[-1]))
    people = trained_shop.score(SCORED[-1]).merge(gold, on="customer_id")
    place = int(people["churn_probability"].where(people["orders_amount_sum_30d"].notna()).idxmax())
    return trained_shop, asked, people, place


def test_the_look_alike_is_the_nearest_of_all_in_a_lower_band(
    riskier: tuple[Shop, QuestionSettings, pd.DataFrame, int],
) -> None:
    shop, asked, people, place = riskier
    row = people.iloc[place]
    names = _model(shop).feature_names_in_
    usual = people[names].astype(float).quantile([0.25, 0.75]).diff().iloc[1]
    usual = usual.where(usual > 0, people[names].astype(float).std(ddof=0)).replace(0, 1).fillna(1)
    bands = ["low", "medium", "high", "critical"]
    lower = people[people["band"].isin(bands[: bands.index(row["band"])])]
    apart = ((lower[names].astype(float) - row[names].astype(float)).abs() / usual).clip(upper=3)
    both = lower[names].isna() & row[names].isna()
    distance = apart.fillna(1).where(~both, 0).mean(axis=1)
    facts, text = what_if(shop.business, asked, row["customer_id"], SCORED[-1])
    other = facts["look_alike"]
    assert other["entity"] == lower.loc[distance.idxmin(), "customer_id"]
    assert other["distance"] == pytest.approx(distance.min())
    assert other["differs"]
    assert f"most alike in a lower band: {other['entity']}, " in text
    assert "It is no promise" in " ".join(text.split())


def test_the_least_change_is_scored_by_the_model_that_serves_and_nothing_nearer_crosses(
    riskier: tuple[Shop, QuestionSettings, pd.DataFrame, int],
) -> None:
    shop, asked, people, place = riskier
    row, model = people.iloc[place], _model(shop)
    facts, text = what_if(shop.business, asked, row["customer_id"], SCORED[-1])
    change = facts["change"]
    frame, _ = snapshots.load(shop.state / "snapshots" / ASKED.name, CUTOFF)

    def chance(**moves: float) -> float:
        one = people.iloc[[place]].assign(**moves)[list(model.feature_names_in_)].astype(float)
        return float(model.predict_proba(one)[0, 1])

    said = change["least"] or change["lowest"]
    moves = {name: move["to"] for name, move in said["moves"].items()}
    assert chance(**moves) == pytest.approx(said["churn_probability"], abs=1e-12)
    assert (change["least"] is None) == (said["churn_probability"] >= facts["below"])
    for name, to in moves.items():
        assert to in set(frame[name].astype(float)), "never seen in training"
        assert to > row[name], "declared up"
        assert f"{said['churn_probability']:.1%} with" in text
    if len(moves) == 1:
        [(name, to)] = moves.items()
        tried = reachable(Lever(name, up=True), row[name], frame[name].to_numpy(float))
        nearer = [value for value in tried if value < to]
        assert change["least"] is None or all(chance(**{name: v}) >= facts["below"] for v in nearer)


def test_what_speaks_for_and_against_is_kept_where_declared_and_the_reasons_stay(
    riskier: tuple[Shop, QuestionSettings, pd.DataFrame, int],
) -> None:
    shop, asked, before, place = riskier
    assert "protective_factors" not in before
    who, both = before["customer_id"].iloc[place], replace(asked, reasons=Reasons(factors=True))
    assert ASKED.scoring == asked.scoring != both.scoring
    (shop.state / shop.scored_file(SCORED[-1])).unlink()
    scored = shop.score(SCORED[-1], settings=both)
    assert scored["reasons"].map(list).tolist() == before["reasons"].map(list).tolist()
    for reasons, risk, protective in zip(
        scored["reasons"], scored["risk_factors"], scored["protective_factors"], strict=True
    ):
        assert {r[2:] for r in reasons if r.startswith("↑")} <= set(risk)
        assert {r[2:] for r in reasons if r.startswith("↓")} <= set(protective)
        assert max(len(risk), len(protective)) <= 3
    row = scored.set_index("customer_id").loc[who]
    facts, text = what_if(shop.business, both, who, SCORED[-1])
    assert facts["risk_factors"] == list(row["risk_factors"])
    assert facts["protective_factors"] == list(row["protective_factors"])
    explained = explain(shop.business, who, SCORED[-1])[1]
    for lines in (text, explained):
        assert lines.index("for leaving:") < lines.index("against it:")


def test_a_what_if_is_refused_where_it_would_be_of_another_forecast(
    riskier: tuple[Shop, QuestionSettings, pd.DataFrame, int],
) -> None:
    shop, asked, people, place = riskier
    who = people["customer_id"].iloc[place]
    with pytest.raises(
        BusinessError, match="or with other bands, than there are now: .churn score"
    ):
        what_if(shop.business, replace(asked, edges=(0.1, 0.2, 0.3)), who, SCORED[-1])
    name = "orders_amount_sum_30d"
    for gold in (
        f"select * from gold where customer_id <> '{who}'",
        f"select * replace ({name} + 9 as {name}) from gold",
        f"select * exclude ({name}) from gold",
    ):
        shop.rewrite_gold(SCORED[-1], gold)
        with shop.open() as tables:
            publish(tables)
        with pytest.raises(BusinessError, match="was scored on other features"):
            what_if(shop.business, asked, who, SCORED[-1])
    shop.roll_back()
    shop.score(SCORED[-1])
    other = people["customer_id"].iloc[place - 1]
    with pytest.raises(BusinessError, match="was scored by rules, before any model"):
        what_if(shop.business, asked, other, SCORED[-1])


def _model(shop: Shop) -> Any:
    return ModelFiles(shop.state, ASKED.name, _champion(shop)["model_version"]).model()


def test_reasons_about_which_refitted_models_disagree_are_withheld(
    trained_shop: Shop, tmp_path: Path
) -> None:
    before = _champion(trained_shop)["model_version"]
    refitted = replace(ASKED, reasons=Reasons(refits=2))
    record = trained_shop.train(refitted)
    assert record["model_version"] != before
    stability = record["stability"]
    assert stability["refits"] == 2
    model = ModelFiles(trained_shop.state, ASKED.name, record["model_version"]).model()
    frame, _ = snapshots.load(trained_shop.state / "snapshots" / ASKED.name, CUTOFF)
    newest = frame[frame["as_of"] == frame["as_of"].max()]
    newest = newest.iloc[:: -(-len(newest) // 500)].assign(as_of=pd.Timestamp(AS_OFS[-1]))
    features = newest[list(model.feature_names_in_)].astype(float)
    with trained_shop.open() as tables:
        words = catalogue_words(tables, ASKED)
        by = Forecaster.named(tables, refitted, record["model_version"], CUTOFF)
    sums = topic_sums(contributions(model, features)[0], newest, words)
    assert set(stability["topics"]) == {topic for topic in sums if sums[topic].any()}
    [most, *_] = sums.abs().mean().sort_values(ascending=False).index
    forced = replace(by, unstable=(most,))
    shown = [scores.score(refitted, newest, words, each) for each in (by, forced)]
    assert shown[0]["churn_probability"].tolist() == shown[1]["churn_probability"].tolist()
    assert shown[0]["reasons"].tolist() != shown[1]["reasons"].tolist()
    without = reasons_of(contributions(model, features)[0], newest, words, withheld=(most,))
    assert shown[1]["reasons"].tolist() == without
    text = card.write(refitted, trained_shop.state, record["model_version"], tmp_path)[1]
    assert "2 models, each fitted without another fifth" in text.read_text()


# ---------------- where the numbers come from

COUNTED = {
    "orders_days_since_last": "date_diff('day', max(day), {as_of})",
    "orders_days_since_first": "date_diff('day', min(day), {as_of})",
    "orders_gap_days_mean_all": "(max(day) - min(day)) / nullif(count(distinct day) - 1, 0)",
    "orders_gap_ratio_all": "date_diff('day', max(day), {as_of}) / "
    "nullif((max(day) - min(day)) / (count(distinct day) - 1), 0)",
    "orders_count_": "count(*)",
    "orders_active_days_": "count(distinct day)",
    "orders_amount_sum_": "coalesce(sum(amount_usd), 0)",
    "orders_amount_mean_": "avg(amount_usd)",
    "orders_channel_web_share_": "avg((channel = 'web')::int)",
    "orders_count_trend_30d": "(2 * count(*) filter (day > {as_of} - 30) - count(*)) / count(*)",
}
"""What features are, by the rows that ``churn explain --source`` says they were counted from."""


def test_each_number_in_a_reason_is_what_its_source_rows_come_to(trained_shop: Shop) -> None:
    people, checked = trained_shop.score(SCORED[-1]), Counter[str]()
    as_of = f"date '{SCORED[-1]}'"
    with trained_shop.open() as tables:
        for who, reasons in people[["customer_id", "reasons"]].head(25).itertuples(index=False):
            for each in sources(tables, ASKED, who, SCORED[-1], list(reasons)):
                name = max(
                    (n for n in COUNTED if each["feature"].startswith(n)), key=len, default=None
                )
                assert each["table"] == "silver.orders"
                if name is None:
                    continue
                of_each, days = COUNTED[name].format(as_of=as_of), each["first"]
                since = f"and day >= date '{days}'" if days else ""
                [(rows, value)] = tables.rows(
                    f"select count(*), ({of_each})::double from silver.orders "
                    f"where customer_id = ? and day <= {as_of} {since}", [who],
                )  # fmt: skip
                assert (rows, each["value"]) == (each["rows"], pytest.approx(value)), each
                assert len(tables.rows(each["sql"], [who])) == rows
                checked[name] += 1
        gone = sources(tables, ASKED, "nobody", SCORED[-1], ["↑ no order yet"])
    assert gone == []
    assert "that the features of that day still have" in sources_text(gone, SCORED[-1])
    assert sum(checked.values()) > 30, checked
    assert len(checked) >= 4, checked


# ---------------- predictions


def test_before_any_model_a_process_scores_that_is_fitted_to_the_dates_of_the_day(
    shop: Shop,
) -> None:
    scored = shop.score(CUTOFF)
    assert set(scored["model_version"]) == {"process"}
    assert set(scored["confidence"]) == {"low"}
    gold = pd.read_parquet(shop.gold_file(CUTOFF))
    process = fitting.fit(gold_histories(gold[gold["orders_days_since_first"].notna()], "orders"))
    assert isinstance(process, Process)
    covered = gold.set_index("customer_id").loc[scored["customer_id"]]
    expected = process.silence(gold_histories(covered, "orders"), 60)
    assert scored["churn_probability"].to_numpy() == pytest.approx(expected, abs=1e-12)
    assert scored["reasons"].map(len).between(1, 3).all()
    assert shop.score(CUTOFF).equals(scored)


def test_where_no_process_fits_the_rules_score_and_say_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "fit", lambda _: NoFit("they come every day"))
    scored = shop.score(CUTOFF)
    gold = (
        pd.read_parquet(shop.gold_file(CUTOFF)).set_index("customer_id").loc[scored["customer_id"]]
    )
    assert set(scored["model_version"]) == {"rules"}
    expected = gold["orders_days_since_last"] + gold["orders_gap_days_mean_all"].fillna(60)
    assert scored["churn_probability"].to_numpy() == pytest.approx(
        (expected / (expected + 60)).to_numpy()
    )
    assert set(scored["reasons"].map(len)) == {1}  # both features of the rules are of one topic


def test_the_population_of_a_day_is_scored_once_each_in_order(trained_shop: Shop) -> None:
    scored = trained_shop.score(CUTOFF)
    gold = pd.read_parquet(trained_shop.gold_file(CUTOFF))
    active = gold.loc[gold["orders_days_since_last"] < 90, "customer_id"]
    assert scored["customer_id"].tolist() == sorted(active)
    assert len(active) < len(gold)
    assert set(scored["label_known_on"].astype(str)) == {str(CUTOFF + dt.timedelta(days=60))}
    assert set(scored["as_of"].astype(str)) == {str(CUTOFF)}


def test_beyond_the_bound_those_with_the_most_at_stake_have_reasons(
    trained_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = trained_shop.score(CUTOFF)
    assert everybody["reasons"].notna().all()
    monkeypatch.setattr(bound, "MOST_EXPLAINED", 20)
    monkeypatch.setattr(forecaster, "AT_ONCE", 100)
    trained_shop.scored_file(CUTOFF).unlink()
    some = trained_shop.score(CUTOFF)
    at_stake = everybody["churn_probability"] * everybody["recent_value"]
    explained = some["reasons"].notna()
    assert set(some.index[explained]) == set(at_stake.nlargest(20).index)
    why = some["reasons"][explained].map(list).tolist()
    assert why == everybody["reasons"][explained].map(list).tolist()
    assert some.drop(columns="reasons").equals(everybody.drop(columns="reasons"))


def test_training_and_scoring_give_the_same_row_the_same_probability(trained_shop: Shop) -> None:
    day = dt.date(2023, 12, 2)
    record = promotion.record_of(
        trained_shop.state, ASKED.name, _champion(trained_shop)["model_version"]
    )
    frame, _ = snapshots.load(trained_shop.state / "snapshots" / ASKED.name, CUTOFF)
    rows = frame[frame["as_of"] == day]
    model = ModelFiles(trained_shop.state, ASKED.name, record["model_version"]).model()
    trained_on = pd.Series(model.predict_proba(rows[record["features"]])[:, 1], rows["customer_id"])
    _decide(trained_shop, record, cutoff="2023-12-01")
    scored = trained_shop.score(day).set_index("customer_id")["churn_probability"]
    assert scored.to_dict() == trained_on.to_dict()


def test_the_champion_of_a_day_has_a_cut_off_not_after_it(trained_shop: Shop) -> None:
    version = _champion(trained_shop)["model_version"]
    trained_shop.score(*SCORED)
    by_day = [
        set(pd.read_parquet(trained_shop.scored_file(day))["model_version"]) for day in SCORED
    ]
    assert by_day == [{"process"}, {"process"}, {version}, {version}]


def test_a_day_scored_again_gives_the_same_bytes(trained_shop: Shop) -> None:
    trained_shop.score(CUTOFF)
    first = trained_shop.scored_file(CUTOFF).read_bytes()
    trained_shop.score(dt.date(2024, 1, 30), CUTOFF)
    assert trained_shop.scored_file(CUTOFF).read_bytes() == first


def test_a_promotion_with_a_later_cut_off_changes_no_byte_of_an_earlier_day(
    trained_shop: Shop,
) -> None:
    trained_shop.score(CUTOFF)
    first = trained_shop.scored_file(CUTOFF).read_bytes()
    other = trained_shop.train(replace(ASKED, learner="lightgbm"), cutoff=dt.date(2024, 2, 1))
    _decide(trained_shop, other, cutoff="2024-02-01")
    assert set(trained_shop.score(dt.date(2024, 2, 1))["model_version"]) == {other["model_version"]}
    trained_shop.score(CUTOFF)
    assert trained_shop.scored_file(CUTOFF).read_bytes() == first


def test_a_model_trained_after_a_day_was_scored_does_not_pass_for_the_forecast_of_that_day(
    trained_shop: Shop,
) -> None:
    record = promotion.record_of(
        trained_shop.state, ASKED.name, _champion(trained_shop)["model_version"]
    )
    (trained_shop.state / ledger.FILE).unlink()
    forecast = trained_shop.score(CUTOFF, dt.date(2024, 2, 1), CUTOFF)
    _decide(
        trained_shop, record, cutoff=str(CUTOFF), decided_on="2024-12-31"
    )  # when later days had landed
    rescored = trained_shop.score(CUTOFF)
    assert (
        _champion(trained_shop, dt.date(2024, 12, 31))["model_version"] == record["model_version"]
    )
    assert rescored.equals(forecast)


def test_every_prediction_has_up_to_three_reasons_in_words(trained_shop: Shop) -> None:
    scored = trained_shop.score(CUTOFF)
    assert set(scored["reasons"].map(len)) == {3}
    words = [text for row in scored["reasons"] for text in row]
    assert all(text.startswith(("↑ ", "↓ ")) for text in words)
    assert not [text for text in words if "nan" in text or "{" in text or "orders_" in text]


def test_bands_are_of_the_probability_or_of_multiples_of_the_base_rate(trained_shop: Shop) -> None:
    record = promotion.record_of(
        trained_shop.state, ASKED.name, _champion(trained_shop)["model_version"]
    )
    plain = trained_shop.score(CUTOFF)
    relative = trained_shop.score(
        CUTOFF, settings=replace(ASKED, edges=(0.5, 1.0, 1.5), relative_bands=True)
    )
    for scored, scale in ((plain, 1.0), (relative, record["base_rate"])):
        edges = (0.3, 0.5, 0.7) if scale == 1.0 else (0.5, 1.0, 1.5)
        above = sum((scored["churn_probability"] >= edge * scale).astype(int) for edge in edges)
        assert scored["band"].tolist() == [("low", "medium", "high", "critical")[n] for n in above]
    assert plain["band"].tolist() != relative["band"].tolist()


@pytest.mark.parametrize("by", ["the rules", "a champion"])
def test_a_day_on_which_nobody_was_active_is_stored_empty(trained_shop: Shop, by: str) -> None:
    if by == "the rules":
        (trained_shop.state / ledger.FILE).unlink()
    columns = trained_shop.score(CUTOFF).columns.tolist()
    trained_shop.rewrite_gold(CUTOFF, "from gold where orders_days_since_last >= 90")
    for settings in (ASKED, replace(ASKED, relative_bands=True, edges=(1, 2, 3))):
        empty = trained_shop.score(CUTOFF, settings=settings)
        assert (len(empty), empty.columns.tolist()) == (0, columns)


def test_an_empty_day_does_not_keep_the_next_one_from_being_scored(shop: Shop) -> None:
    shop.rewrite_gold(dt.date(2024, 1, 30), "from gold where orders_days_since_last >= 90")
    assert shop.score(dt.date(2024, 1, 30)).empty
    assert not shop.score(CUTOFF).empty


def test_a_customer_with_one_order_and_nothing_else_known_is_scored(trained_shop: Shop) -> None:
    scored = trained_shop.score(CUTOFF)
    gold = (
        pd.read_parquet(trained_shop.gold_file(CUTOFF))
        .set_index("customer_id")
        .loc[scored["customer_id"]]
    )
    once = gold["orders_gap_days_mean_all"].isna().to_numpy()
    assert once.any()
    assert scored.loc[once, "churn_probability"].between(0, 1, inclusive="neither").all()


def test_the_door_shows_predictions_under_their_stable_names(trained_shop: Shop) -> None:
    trained_shop.score(CUTOFF)
    with door(trained_shop.state) as db:
        names = [name for name, *_ in db.execute(f"describe predictions.{ASKED.name}").fetchall()]
        leading = [name for name, *_ in db.execute(f"describe snapshots.{ASKED.name}").fetchall()][
            :5
        ]
    assert names[:7] == [
        "customer_id", "as_of", "churn_probability", "band", "reasons", "model_version",
        "label_known_on",
    ]  # fmt: skip
    assert leading == ["customer_id", "as_of", "label", "label_known_on", "cutoff"]


def test_a_day_whose_features_do_not_stand_is_refused_and_what_was_issued_stays(
    trained_shop: Shop,
) -> None:
    trained_shop.score(CUTOFF)
    with trained_shop.open() as tables:
        tables.days.record(ASKED.gold, "refused", {CUTOFF: 0}, "test", "half a file")
        rows, refused = score_days(tables, ASKED, [CUTOFF])
        path = tables.day_file(f"predictions.{ASKED.name}", CUTOFF)
    assert (rows, list(refused)) == ({}, [CUTOFF])
    assert "half a file" in str(refused[CUTOFF])
    assert path
    assert path.exists()


ENDS = EventSource("end", "silver.ends", "customer_id", "cancellation")


def test_a_day_is_not_scored_over_a_refused_day_of_the_cancellations(shop: Shop) -> None:
    shop.orders(
        "create table silver.ends (customer_id varchar, day date, known_on date, _partition date)"
    )
    with shop.open() as tables:
        tables.days.record("silver.ends", "refused", {CUTOFF: 0}, "test", "half a file")
        rows, refused = score_days(tables, asking(kind="event", terminal=ENDS), [CUTOFF])
    assert (rows, list(refused)) == ({}, [CUTOFF])


def test_predictions_come_after_the_cancellations_that_they_read(shop: Shop) -> None:
    asset = prediction_asset(shop.business, asking(kind="event", terminal=ENDS))
    assert dg.AssetKey(["silver", "ends"]) in asset.asset_deps[asset.key]


# ---------------- looks back


def _look_back(shop: Shop, as_of: dt.date = CUTOFF) -> dict[str, Any]:
    with shop.open() as tables:
        return backtest(tables, shop.tracking, shop.business, ASKED, as_of)


def test_a_model_answers_only_the_question_that_it_was_trained_on(trained_shop: Shop) -> None:
    with trained_shop.open() as tables:
        settings, changed = (
            Forecaster.in_force(tables, question, LAST).version
            for question in (ASKED, asking(horizon=Horizon(45)))
        )
    assert settings not in ("rules", "")
    assert changed == "rules"


def test_a_look_back_is_marked_and_never_becomes_champion(trained_shop: Shop) -> None:
    as_of = dt.date(2024, 1, 15)
    facts = _look_back(trained_shop, as_of)
    stored = pd.read_parquet(trained_shop.scored_file(as_of))
    assert stored["backtest"].all()
    assert set(stored["model_version"]) == {facts["model_version"]}
    assert max(facts["trained_on"]) == "2023-11-16"
    assert [row["decision"] for row in ledger.read(trained_shop.state)] == ["promote", "backtest"]
    assert ledger.champion(trained_shop.state, ASKED.name, as_of) is None


def test_a_look_back_never_overwrites_a_forecast_and_a_forecast_replaces_a_look_back(
    trained_shop: Shop,
) -> None:
    assert _look_back(trained_shop)["stored"] is True
    assert not trained_shop.score(CUTOFF)["backtest"].any()
    forecast = trained_shop.scored_file(CUTOFF).read_bytes()
    assert _look_back(trained_shop)["stored"] is False
    assert trained_shop.scored_file(CUTOFF).read_bytes() == forecast


def test_a_look_back_grades_what_the_training_at_that_day_would_have_scored(
    trained_shop: Shop,
) -> None:
    facts = _look_back(trained_shop)
    assert facts["model_version"] == _champion(trained_shop)["model_version"]
    looked_back = pd.read_parquet(trained_shop.scored_file(CUTOFF))["churn_probability"]
    assert looked_back.equals(trained_shop.score(CUTOFF)["churn_probability"])
    assert facts["entities"] == len(looked_back)
    assert facts["graded_on_data_until"] == str(LAST)


def test_a_look_back_to_a_day_whose_outcome_is_not_known_names_the_latest_that_is(
    trained_shop: Shop,
) -> None:
    with pytest.raises(
        BusinessError, match="is known on 2024-04-01, .* 2024-03-31: .* is 2024-01-31"
    ):
        _look_back(trained_shop, dt.date(2024, 2, 1))


def test_a_training_after_a_look_back_at_the_same_cut_off_can_become_champion(shop: Shop) -> None:
    version = _look_back(shop)["model_version"]
    assert ledger.champion(shop.state, ASKED.name, LAST) is None
    assert shop.train()["model_version"] == version
    assert _champion(shop)["model_version"] == version


def _decide(shop: Shop, record: dict[str, Any], cutoff: str, decided_on: str | None = None) -> None:
    """Promote a model by hand, as if trained at another cut-off."""
    facts = {name: record[name] for name in ("model_version", "mlflow_version")}
    facts |= {"cutoff": cutoff, "decided_on": decided_on or cutoff}
    ledger.append(
        shop.state,
        ASKED.name,
        "promote",
        "by hand",
        "a test",
        {},
        **facts,
        meaning=ASKED.question.meaning,
    )


def test_the_manifest_is_json_that_names_declaration_and_code(trained: Shop) -> None:
    manifest = json.loads((trained.state / "snapshots" / ASKED.name / f"{CUTOFF}.json").read_text())
    assert manifest["declaration"] == digest(ASKED.question)
    assert manifest["code"] == stages.identity(stages.SNAPSHOTS)


# ---------------- what the UI shows


def test_a_picture_of_a_model_can_be_made_again_from_its_record(trained: Shop) -> None:
    record = promotion.record_of(trained.state, ASKED.name, _champion(trained)["model_version"])
    assert (
        sum(result["rows"] for result in record["curves"]["calibration"])
        == (record["evaluation"]["report"]["model"]["rows"])
    )
    assert record["curves"]["gain"]["model"][-1] == 1
    assert (pictures.quality(record) or "").startswith("![Calibration and gain on ")


def test_the_influences_are_those_of_families_strongest_first(trained: Shop) -> None:
    record = promotion.record_of(trained.state, ASKED.name, _champion(trained)["model_version"])
    sizes = [entry["mean_abs_log_odds"] for entry in record["influences"]]
    assert sizes == sorted(sizes, reverse=True)
    family = {feature.name: feature.family for feature in catalogue(FEATURES)}
    assert all(family[entry["feature"]] == entry["family"] for entry in record["influences"])
    assert {entry["family"] for entry in record["influences"]} == set(family.values())


def test_the_columns_told_of_snapshots_and_models_are_those_of_the_door(trained: Shop) -> None:
    for table, message in (
        ("snapshots", snapshots._columns(ASKED.question)),
        ("models", promotion.columns()),
    ):
        with door(trained.state) as db:
            result = db.execute(f"describe {table}.{ASKED.name}").fetchall()
        expected = [(name, kind.lower()) for name, kind, *_ in result]
        assert [
            (column.name, column.type.replace("text", "varchar")) for column in message
        ] == expected
