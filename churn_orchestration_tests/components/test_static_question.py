"""A static question on a tiny business, from landing files to predictions, and what its YAML
refuses.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml

from churn_orchestration import report
from churn_orchestration.business import PACKAGE, BusinessError
from churn_orchestration.churn.features.perturbation import Pipeline
from churn_orchestration.churn.question.settings import Fairness
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.features.proof import pipeline_of
from churn_orchestration.components.question.backtest import backtest
from churn_orchestration.components.question.churn_model import ChurnModel
from churn_orchestration.components.question.training.promotion import record_of, report_table
from churn_orchestration.pictures import pages
from churn_orchestration.report.explain import explain
from churn_orchestration.report.status import status_report
from churn_orchestration.runs import Work, at_work
from churn_orchestration.storage import ledger
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration_tests.support.in_process import IN_PROCESS
from churn_orchestration_tests.support.shop import FEATURES as ORDERS_FEATURES
from churn_orchestration_tests.support.shop import JAN, Shop, metadata

pytestmark = IN_PROCESS

CUSTOMERS = """\
type: churn_orchestration.components.SourceTable
attributes:
  name: customers
  files: "customers_{day}.csv"
  columns:
    - {name: customer_id, type: id, required: true}
    - {name: fee_usd, type: decimal}
    - {name: contract}
    - {name: churned}
  key: [customer_id]
"""
FEATURES = """\
type: churn_orchestration.components.FeatureTable
attributes:
  name: customer_features
  entity: customer_id
  attributes:
    - name: customers
      table: bronze.customers
      measures: [{name: fee, column: fee_usd, unit: usd, decimals: 0}]
      categories: [{name: contract, column: contract, values: [month, year]}]
"""
QUESTION = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: churn
  kind: static
  features: customer_features
  label: {table: bronze.customers, condition: "churned = 'Yes'"}
  learner: logistic
  value: customers_fee
"""
HEADER = "customer_id,fee_usd,contract,churned\n"
WHO = [f"c{number:03}" for number in range(300)]
LEFT = {
    number for number in range(300) if number % 10 in (0, 1, 3, 5, 7)
}  # those with odd numbers leave more
LEFT_BY_6 = LEFT - {0} | {2}
UNKNOWN = 4  # of c004 nobody knows


def customer(number: int) -> str:
    churned = "" if number == UNKNOWN else "Yes" if number in LEFT else "No"
    return f"{WHO[number]},{20 + number % 3},{'month' if number % 2 else 'year'},{churned}\n"


def asking(folder: Path, landing: Path) -> Shop:
    """A shop that lands customers with a yes or a no, and asks a static question of them."""
    shop = Shop(folder, landing)
    for name in ("silver", "churn_90d"):
        shutil.rmtree(folder / name)
    for name, text in (("raw", CUSTOMERS), ("gold", FEATURES), ("churn", QUESTION)):
        shop.write(f"{name}/defs.yaml", text)
    shop.land(f"customers_{JAN[5]}.csv", HEADER + "".join(map(customer, range(300))))
    shop.land(f"customers_{JAN[6]}.csv", HEADER + "c000,20,month,No\nc002,22,year,Yes\n")
    return shop


def scored(shop: Shop, day: int) -> pd.DataFrame:
    with shop.tables() as tables:
        path = tables.day_file("predictions.churn", JAN[day])
    assert path is not None
    return pd.read_parquet(path).set_index("customer_id")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, pd.DataFrame]]:
    """The shop of two days, trained at the second, which was then scored again; how it was scored
    before.
    """
    with pytest.MonkeyPatch.context() as patch:
        data = tmp_path_factory.mktemp("static")
        patch.setenv("CHURN_DATA", str(data))
        shop = asking(data / "folder", data / "landing")
        assert shop.refresh(5, 6).refused == {}
        before = scored(shop, 6)
        with at_work(shop.business) as work:
            work.train(JAN[6])
        shop.refresh(6, layers=("gold", "predictions"))
        yield shop, before


def _record(shop: Shop) -> dict[str, Any]:
    [row] = [row for row in ledger.read(shop.business.state) if row["subject"] == "churn"]
    return record_of(shop.business.state, "churn", row["model_version"])


def test_the_card_of_a_training_is_a_page_that_the_ui_links_to(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    shop, _ = trained
    about = metadata(shop, "models/churn", JAN[6])
    page = Path(str(about["model_card_file"].value))
    assert page.parent == pages.folder(shop.business.state)
    assert about["model_card"].value == pages.address(page)
    assert "Model card: churn" in page.read_text()


def test_what_needs_no_outcome_ahead_and_no_activity_is_measured(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    shop, _ = trained
    views = "select view_name from duckdb_views() where schema_name = 'measures' order by 1"
    assert shop.published(views) == [("churn_at_risk",), ("churn_movers",)]
    whole = "where feature is null and band is null order by measured_on"
    customers = shop.published(f"select customers from measures.churn_at_risk {whole}")
    assert customers == [(len(scored(shop, day)),) for day in (5, 6)]


def test_before_a_model_all_who_may_leave_are_scored_by_the_known_churn_rate(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    _, before = trained
    assert before.index.tolist() == [
        who for number, who in enumerate(WHO) if number not in LEFT_BY_6
    ]
    assert set(before["churn_probability"]) == {150 / 299}
    assert set(before["model_version"]) == {"base_rate"}
    assert set(before["reasons"].map(len)) == {0}


def test_a_promoted_model_scores_the_same_customers_with_reasons_in_words(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    shop, before = trained
    now = scored(shop, 6)
    assert now.index.tolist() == before.index.tolist()
    assert set(now["model_version"]) == {_record(shop)["model_version"]}
    assert "↑ contract: month" in now.loc["c000", "reasons"]  # as known since the 6th
    assert now["days_since_last"].isna().all()
    assert set(now["recent_value"]) == {20, 21, 22}


def test_who_was_trained_on_is_scored_as_when_held_out_by_a_model_that_has_not_seen_them(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    shop, _ = trained
    files = ModelFiles(shop.business.state, "churn", _record(shop)["model_version"])
    held_out = files.held_out().set_index("customer_id")["model"]
    now = scored(shop, 6)["churn_probability"]
    both = now.index.intersection(held_out.index)
    assert len(both) == len(now) - 1  # of c004 nobody knows
    assert now[both].tolist() == held_out[both].tolist()
    model = files.model()
    with shop.tables() as tables:
        features = pd.read_parquet(tables.day_file("gold.customer_features", JAN[6]))
    table = features.set_index("customer_id").loc[both, list(model.feature_names_in_)]
    assert not np.isclose(model.predict_proba(table)[:, 1], now[both]).all()


def test_the_snapshot_has_all_of_whom_the_label_is_known_and_features_as_scored(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    shop, _ = trained
    result = shop.published(
        "select count(*), count(*) filter (label), min(as_of) from snapshots.churn"
    )
    assert result == [(299, 150, JAN[6])]
    [manifest] = (shop.business.state / "snapshots" / "churn").glob("*.json")
    assert [entry["as_of"] for entry in json.loads(manifest.read_text())["as_ofs"]] == [str(JAN[6])]


def test_the_grade_is_told_as_not_out_of_time_wherever_it_is_told(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    shop, _ = trained
    record = _record(shop)
    assert record["decision"] == "promote"
    assert "not out of time" in record["evaluation"]["caveat"]
    assert "not out of time" in record["reason"]
    message = report.trained(shop.business, {"churn": record | {"done": True}}, JAN[6])[1]
    assert "Graded out of fold, not out of time" in message
    assert "later days" not in message
    assert report_table(record).startswith("Graded out of fold, not out of time")
    with at_work(shop.business) as work:
        node = work.definitions.resolve_asset_graph().get(dg.AssetKey(["models", "churn"]))
        spec = _check(work)
    assert "not out of time" in (node.description or "")
    assert "not out of time" in (spec.description or "")


def _check(work: Work) -> dg.AssetCheckSpec:
    key = dg.AssetCheckKey(dg.AssetKey(["models", "churn"]), "promoted")
    return work.definitions.resolve_asset_graph().get_check_spec(key)


def test_a_customer_is_explained_without_days_that_mean_nothing(
    trained: tuple[Shop, pd.DataFrame],
) -> None:
    shop, _ = trained
    message = explain(shop.business, "c000", JAN[6])[1]
    assert "contract: month" in message
    assert "last active" not in message
    assert "the outcome is known" not in message


def test_there_is_nothing_to_look_back_to(trained: tuple[Shop, pd.DataFrame]) -> None:
    shop, _ = trained
    with (
        at_work(shop.business) as work,
        work.warehouse.open() as tables,
        pytest.raises(BusinessError, match="churn: a static question has no later outcome"),
    ):
        backtest(tables, work.tracking, shop.business, work.questions()["churn"], JAN[5])


def test_who_is_known_to_have_left_is_scored_until_that_day_and_no_longer(
    tmp_path: Path, churn_data: Path
) -> None:
    shop = asking(tmp_path / "shop", churn_data / "landing")
    shop.refresh(5, 6)
    result = [
        ("c002" in scored(shop, day).index, "c000" in scored(shop, day).index) for day in (5, 6)
    ]
    assert result == [(True, False), (False, True)]
    message = " ".join(status_report(shop.business)[1].split())
    assert (
        "churn: none in force, scored by base_rate, all alike: there is no ranking; no model is"
        in message
    )


def test_a_day_on_which_no_label_is_known_is_refused_by_name(
    tmp_path: Path, churn_data: Path
) -> None:
    shop = asking(tmp_path / "shop", churn_data / "landing")
    shop.land(f"customers_{JAN[5]}.csv", HEADER + "c000,20,month,\n")
    refused = shop.refresh(5).refused
    assert refused == {
        "predictions.churn": {
            str(JAN[5]): "bronze.customers says of nobody whether churned = 'Yes'"
        }
    }
    message = status_report(shop.business)[1]
    assert "refused: predictions.churn 2024-01-05: bronze.customers says of nobody" in " ".join(
        message.split()
    )
    nobody = (
        "nobody in gold.customer_features has a label .bronze.customers: churned = 'Yes'. "
        "at any as_of"
    )
    with at_work(shop.business) as work, pytest.raises(BusinessError, match=nobody):
        work.train(JAN[5])


# ---------------- what the YAML refuses


def described(given: dict[str, Any]) -> tuple[FeatureTable, Pipeline]:
    """A feature table with the way to its features."""
    table = FeatureTable(**given)
    return table, pipeline_of(table.declared(), JAN[5], (), {})


def question(**changed: Any) -> ChurnModel:
    given: dict[str, Any] = yaml.safe_load(QUESTION)["attributes"]
    return ChurnModel(
        **{name: value for name, value in (given | changed).items() if value is not None}
    )


@pytest.mark.parametrize(
    "given",
    [
        {"activity": "orders"}, {"horizon_days": 90}, {"horizon_months": 1}, {"gap_days": 0},
        {"settle_days": 1}, {"observation_days": 180}, {"snapshots": {"as_ofs": 2}},
        {"test_as_ofs": 2}, {"search": {"minutes": 1}},
    ],
)  # fmt: skip
def test_what_looks_ahead_or_back_has_no_meaning_with_a_static_question(
    given: dict[str, Any],
) -> None:
    with pytest.raises(
        ValueError, match=f"churn: `{next(iter(given))}` has no meaning with kind: static"
    ):
        question(**given)


@pytest.mark.parametrize("kind", ["inactivity", "event"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activity": None}, "needs `activity`"),
        ({"horizon_days": None}, "needs `horizon_days` or `horizon_months`, one of both"),
        ({"horizon_months": 3}, "needs `horizon_days` or `horizon_months`, one of both"),
    ],
)
def test_the_other_kinds_need_an_activity_and_one_horizon(
    kind: str, changed: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"activity": "orders", "horizon_days": 90} | changed
    end = {"table": "silver.ends"} if kind == "event" else None
    with pytest.raises(ValueError, match=f"churn: kind: {kind} {message}"):
        question(kind=kind, label=None, end=end, **given)


def test_a_label_goes_with_a_static_question_and_a_static_question_with_a_label() -> None:
    with pytest.raises(ValueError, match="`label` goes with kind: static, and only with it"):
        question(label=None)
    with pytest.raises(ValueError, match="`label` goes with kind: static, and only with it"):
        question(kind="inactivity", activity="orders", horizon_days=90)


def test_a_label_that_reads_the_clock_is_refused() -> None:
    with pytest.raises(ValueError, match="churn: label: .* would give another answer tomorrow"):
        question(label={"table": "bronze.customers", "condition": "left_on < current_date"})


def test_a_feature_that_reads_what_the_label_is_made_of_is_refused_by_name() -> None:
    given = yaml.safe_load(FEATURES)["attributes"]
    for words in (
        {"flags": {"gone": "Churned <> 'No'"}},
        {"categories": [{"name": "gone", "column": "churned", "values": ["Yes"]}]},
        {"measures": [{"name": "gone", "column": "length(churned)"}]},
    ):
        given["attributes"] = [{"name": "customers", "table": "bronze.customers"} | words]
        with pytest.raises(
            BusinessError, match=r'customers: gone reads "churned" of bronze.customers, .* answer'
        ):
            question(value="customers_gone").settings(*described(given), "churn/defs.yaml", "UTC")


def test_a_column_of_that_name_in_another_table_is_no_answer() -> None:
    given = yaml.safe_load(FEATURES)["attributes"]
    given["attributes"][0] |= {
        "table": "bronze.survey",
        "flags": {"gone_before": "churned = 'Yes'"},
    }
    assert question().settings(*described(given), "churn/defs.yaml", "UTC").untrained == "base_rate"


def test_two_loads_of_one_declaration_score_alike_so_that_no_day_is_made_twice() -> None:
    given = yaml.safe_load(FEATURES)["attributes"]
    first, again = (
        question().settings(*described(given), "churn/defs.yaml", "UTC") for _ in range(2)
    )
    assert first.scoring == again.scoring
    assert first.scoring != replace(first, value="customers_contract_month").scoring


def test_a_feature_table_reads_events_or_attributes_and_attributes_say_something() -> None:
    given = yaml.safe_load(FEATURES)["attributes"]
    with pytest.raises(ValueError, match="give `sources` .events., `attributes`, or both"):
        FeatureTable(**given | {"attributes": []})
    with pytest.raises(ValueError, match="give measures, categories, flags or dates"):
        FeatureTable(**given | {"attributes": [{"name": "customers", "table": "bronze.customers"}]})
    mute = {
        "name": "customers",
        "table": "bronze.customers",
        "categories": [{"name": "c", "column": "c"}],
    }
    with pytest.raises(ValueError, match="category c: give its `values`"):
        FeatureTable(**given | {"attributes": [mute]})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"contact": {"by": "recall"}}, "contact: by: recall needs `floor`"),
        (
            {"contact": {"by": "capacity", "floor": 0.5, "most": 9}},
            "by: capacity has no use for `floor`",
        ),
        ({"contact": {"by": "profit", "most": 9}}, "by: profit has no use for `most`"),
        ({"floors": {"acu": 0.7}}, 'churn: floors: "acu" is no metric; there are auc, '),
        ({"ceilings": {"loss": 0.7}}, 'churn: ceilings: "loss" is no metric; there are auc, '),
    ],
)
def test_a_rule_or_a_bound_that_means_nothing_is_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        question(**given)


def test_economics_are_read_as_shares_of_a_customers_value() -> None:
    from churn_orchestration.churn.question.settings import Economics

    assert question().economics.economics() == Economics()
    settings = question(
        economics={"kept": 0.5, "kept_seen": 8, "offer_cost": 0.2}
    ).economics.economics()
    assert (settings.accepts, settings.declines, settings.kept, settings.offer_cost) == (
        4,
        4,
        0.5,
        0.2,
    )


def test_the_settings_that_the_docs_show_are_understood() -> None:
    text = (PACKAGE.parent / "docs" / "how-to" / "question.md").read_text()
    [block] = [
        part for part in text.split("```yaml\n")[1:] if "search:" in part.partition("```")[0]
    ]
    settings = question(kind="inactivity", label=None, activity="orders", horizon_days=90,
                     **yaml.safe_load(block.partition("```")[0]))  # fmt: skip
    assert settings.search
    assert settings.search.budget().seconds == 60


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fairness": {"groups": []}}, "at least 1 item"),
        ({"fairness": {"groups": ["plan", "plan"]}}, "each of them once"),
        ({"fairness": {"groups": ["plan"], "entity": "id"}}, "`entity` goes with `table`"),
        (
            {"actionable": [{"feature": "a", "direction": "up", "least": 3, "most": 1}]},
            "actionable: a: `least` 3.0 is above `most` 1.0",
        ),
        (
            {"actionable": [{"feature": "a", "direction": way} for way in ("up", "down")]},
            "actionable: a: each feature once",
        ),
        ({"reasons": {"refits": 6}}, "less than or equal to 5"),
    ],
)
def test_groups_levers_and_refits_that_make_no_sense_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        question(**changed)


def test_groups_and_levers_are_features_by_name_and_nobody_moves_the_past() -> None:
    given = yaml.safe_load(FEATURES)["attributes"]
    none, lever = f"is no feature of {given['name']}", {"direction": "down"}
    for changed, message in (
        ({"fairness": {"groups": ["colour"]}}, f'fairness "colour" {none}'),
        (
            {"actionable": [lever | {"feature": "mood"}]},
            f'actionable "mood" {none}',
        ),
    ):
        with pytest.raises(BusinessError, match=message):
            question(**changed).settings(*described(given), "churn/defs.yaml", "UTC")
    of_table = {"groups": ["colour"], "table": "bronze.customers"}
    settings = question(fairness=of_table).settings(*described(given), "churn/defs.yaml", "UTC")
    assert settings.fairness == Fairness(("colour",), "bronze.customers", given["entity"])
    given = yaml.safe_load(ORDERS_FEATURES)["attributes"]
    silent = question(
        kind="inactivity", label=None, activity="orders", horizon_days=90,
        value="orders_amount_sum_7d", actionable=[lever | {"feature": "orders_days_since_last"}],
    )  # fmt: skip
    with pytest.raises(BusinessError, match="actionable orders_days_since_last: .* take it out"):
        silent.settings(*described(given), "churn/defs.yaml", "UTC")
