"""Histories as SQL counts them, their checks, and what binning leaves of them."""

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.process.fitting import Process, fit_each
from churn_orchestration.churn.process.histories import Histories, counted_sql, histories_sql
from churn_orchestration_tests.churn.process.test_fitting import shop

AS_OF = dt.date(2024, 1, 31)
DAYS = """(select * from (values
    ('ann', date '2024-01-01'), ('ann', date '2024-01-11'), ('ann', date '2024-01-11'),
    ('ann', date '2024-02-01'), ('bob', date '2024-01-31'), ('eve', date '2024-02-01'),
    ('dan', date '2024-01-31')
) as days("order", day))"""


def test_a_history_is_counted_up_to_as_of() -> None:
    with duckdb.connect() as db:
        rows = db.execute(histories_sql(DAYS, "order", AS_OF) + " order by 1").fetchall()
    assert rows == [("ann", 1, 10, 30), ("bob", 0, 0, 0), ("dan", 0, 0, 0)]


def test_equal_histories_are_counted_together() -> None:
    with duckdb.connect() as db:
        table = db.execute(counted_sql(DAYS, "order", AS_OF)).df()
    ours = Histories.of_table(table)
    assert [part.tolist() for part in (ours.x, ours.t_x, ours.age, ours.n)] == [
        [0, 1], [0, 10], [0, 30], [2, 1]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, 5, 4), "1 histories have t_x < 0, or t_x > T, such as number 1: x = 1, t_x = 5"),
        ((-1, 0, 4), "x < 0"),
        ((1, 0, 4), "x > 0 and t_x = 0"),
        ((0, 3, 4), "x = 0 and t_x > 0"),
        ((0, 0, np.nan), "null or infinite"),
        ((np.inf, 1, 4), "null or infinite"),
    ],
)
def test_a_history_that_cannot_be_is_refused(row: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match="histories have") as refused:
        Histories.of(*np.array([(0, 0, 9), row], float).T)
    assert message in str(refused.value)


def test_columns_of_several_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Histories(np.zeros(2), np.zeros(2), np.zeros(3), np.ones(2))


def test_few_histories_are_grouped_and_none_is_changed() -> None:
    ours = Histories.of(*np.array([(2, 30, 40), (0, 0, 9), (2, 30, 40)], float).T)
    binned = ours.binned()
    assert pd.DataFrame(vars(binned)).values.tolist() == [[0, 0, 9, 1], [2, 30, 40, 2]]


def test_many_are_binned_with_their_means_kept() -> None:
    ours = shop(5_000)
    binned = ours.binned(most=700)
    assert 200 < len(binned) <= 700
    assert binned.customers == 5_000
    for name in ("x", "t_x", "age"):
        mean = (binned.n @ getattr(binned, name)) / binned.customers
        assert mean == pytest.approx(getattr(ours, name).mean())


def test_processes_of_binned_histories_forecast_as_those_of_all() -> None:
    ours = shop(5_000)
    exact = fit_each(ours, exact=True)
    for name, near in fit_each(ours.binned(most=3_000)).items():
        right = exact[name]
        assert isinstance(near, Process)
        assert isinstance(right, Process)
        assert np.abs(near.silence(ours, 90) - right.silence(ours, 90)).max() < 0.001
