"""A purchase process as a classifier: labels unread, rows by themselves, saved without a pickle."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone

from churn_orchestration.churn.process.fitting import fit
from churn_orchestration.churn.process.member import TRUSTED_TYPES, PurchaseProcess
from churn_orchestration_tests.churn.process.test_fitting import shop


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    ours = shop(600)
    rows = {"x": ours.x, "t_x": np.ceil(ours.t_x), "T": np.ceil(ours.age), "noise": np.nan}
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def member(table: pd.DataFrame) -> PurchaseProcess:
    return PurchaseProcess(90).fit(table)


def test_it_forecasts_as_the_process_and_ignores_labels(
    member: PurchaseProcess, table: pd.DataFrame
) -> None:
    labels = np.arange(600) % 2
    again = clone(member).fit(table, labels)
    np.testing.assert_array_equal(again.predict_proba(table), member.predict_proba(table))
    np.testing.assert_allclose(member.predict_proba(table).sum(axis=1), 1)
    assert member.process().model in member.record_.values()


def test_each_row_depends_on_itself_alone_to_the_bit(
    member: PurchaseProcess, table: pd.DataFrame
) -> None:
    together = member.decision_function(table)
    alone = [member.decision_function(table.iloc[[row]])[0] for row in range(0, 600, 7)]
    assert together[::7].tolist() == alone
    assert together[100:107].tolist() == member.decision_function(table[100:107]).tolist()


@pytest.mark.parametrize("gap", [0, 14])
@pytest.mark.parametrize("name", ["bg_nbd", "mbg_nbd", "pareto_nbd"])
def test_so_it_does_by_every_process(name: str, gap: int, table: pd.DataFrame) -> None:
    values = {"r": 0.6, "alpha": 30.0}
    values |= {"s": 0.6, "beta": 80.0} if name == "pareto_nbd" else {"a": 0.8, "b": 2.5}
    record = {"model": name, "log_likelihood": -1.0, "customers": 600.0, **values}
    member = PurchaseProcess(90, gap, record=record).fit(table)
    alone = [member.decision_function(table.iloc[[row]])[0] for row in range(0, 600, 31)]
    assert member.decision_function(table)[::31].tolist() == alone


def test_features_of_gold_give_the_same_histories(
    member: PurchaseProcess, table: pd.DataFrame
) -> None:
    gold = pd.DataFrame(
        {
            "orders_days_since_last": table["T"] - table["t_x"],
            "orders_days_since_first": table["T"],
            "orders_active_days_all": table["x"] + 1,
        }
    )
    by_gold = PurchaseProcess(90, source="orders").fit(gold)
    assert by_gold.decision_function(gold).tolist() == member.decision_function(table).tolist()


def test_it_is_saved_and_loaded_without_a_pickle(
    member: PurchaseProcess, table: pd.DataFrame
) -> None:
    content = skops.io.dumps(member)
    assert skops.io.get_untrusted_types(data=content) == TRUSTED_TYPES
    loaded = skops.io.loads(content, trusted=TRUSTED_TYPES)
    assert loaded.decision_function(table).tolist() == member.decision_function(table).tolist()


def test_that_no_process_fits_is_kept_and_not_made_a_forecast(table: pd.DataFrame) -> None:
    member = PurchaseProcess(90).fit(table.head(10))
    assert "too few customers: 10" in member.reason_
    with pytest.raises(ValueError, match="no purchase process fits: too few customers"):
        member.predict_proba(table)


def test_a_row_without_a_purchase_is_refused(member: PurchaseProcess, table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="1 of 600 rows have no first purchase yet"):
        member.predict_proba(table.assign(x=[np.nan, *table["x"][1:]]))
    with pytest.raises(ValueError, match=r"missing: \['T'\]"):
        member.predict_proba(table.drop(columns="T"))


def test_a_process_counted_elsewhere_is_taken_over(table: pd.DataFrame) -> None:
    process = fit(shop(900, seed=4))
    member = PurchaseProcess(90, record=process.record()).fit(table.head(1))
    assert member.process() == process
