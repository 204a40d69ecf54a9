"""A forecast that was issued stays; what is scored again is kept apart; grades are restated, never
lost.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.question.labels import Horizon, Question
from churn_orchestration.components.features.proof import pipeline_of
from churn_orchestration.components.question.monitoring.graded import grade, last_known, ungraded
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.scoring.issued import issue, set_apart_former
from churn_orchestration.storage import ledger
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.files import flip_a_bit
from churn_orchestration_tests.support.in_process import IN_PROCESS
from churn_orchestration_tests.support.shop import JAN, Shop

pytestmark = IN_PROCESS

ORDERS = EventSource("orders", "silver.orders", "customer_id", "order", ("order_id",))
FEATURES = FeatureSet("customer_id", (ORDERS,), (7,), (7,))
ASKED = QuestionSettings(
    Question("q", "inactivity", FEATURES, ORDERS, Horizon(3)), "gold.f", 3, 28, "logistic", 1,
    (0.3, 0.5, 0.7), False, "v",
    pipeline=pipeline_of(FEATURES, dt.date(2023, 11, 30), (), {}),
)  # fmt: skip
ONE, TWO, THREE = (dt.date(2024, 1, day) for day in (1, 2, 3))


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with Warehouse.of(tmp_path / "shop").open() as opened:
        yield opened


def score(
    tables: Tables, day: dt.date, ann: float, bob: float = 0.5, backtest: bool = False
) -> int:
    """Store the forecasts of a day for two customers, as the asset does."""
    known = ASKED.question.horizon.label_known_on(day)
    select = (
        f"select customer_id, date '{day}' as as_of, chance::double as churn_probability, 'low' as "
        "band, ['a reason'] as reasons, 'v1' as model_version, true as contact, 1.0 as "
        f"recent_value, date '{known}' as label_known_on, {backtest} as backtest "
        f"from (values ('ann', {ann}), ('bob', {bob})) as t(customer_id, chance) order by 1"
    )
    return issue(tables, ASKED, day, select, backtest=backtest)


def chances(tables: Tables, table: str, day: dt.date) -> list[tuple[Any, ...]]:
    """Customer and forecast, with what ``restated`` says of it."""
    more = ", status, sequence" if table.startswith("restated") else ""
    order = "sequence, 1" if more else "1"
    file = literal(tables.day_file(table, day))
    return tables.rows(f"select customer_id, churn_probability{more} from {file} order by {order}")


def lines(tables: Tables) -> list[tuple[str, str, str]]:
    return [(row["subject"], row["decision"], row["cutoff"]) for row in ledger.read(tables.state)]


def test_what_is_scored_again_after_a_later_day_is_kept_apart_and_what_was_issued_stays(
    tables: Tables,
) -> None:
    assert [score(tables, day, 0.25) for day in (ONE, TWO)] == [2, 2]
    issued = tables.day_file("predictions.q", ONE)
    for _ in range(2):  # the second time it says nothing new
        score(tables, ONE, 0.75)
        assert tables.day_file("predictions.q", ONE) == issued
        assert chances(tables, "restated.q", ONE) == [
            ("ann", 0.75, "restated", 1), ("bob", 0.5, "restated", 1),
        ]  # fmt: skip
        assert lines(tables) == [("predictions.q", "restate", str(ONE))]
    [row] = ledger.read(tables.state)
    assert row["reason"] == (
        "scored again after 2024-01-02 was issued, and 1 rows differ: what was issued stays"
    )  # fmt: skip
    score(tables, ONE, 0.875)
    assert [(who, p) for who, p, *_ in chances(tables, "restated.q", ONE)] == [
        ("ann", 0.75), ("bob", 0.5), ("ann", 0.875), ("bob", 0.5),
    ]  # fmt: skip


def test_scoring_the_same_again_is_no_restatement(tables: Tables) -> None:
    for day in (ONE, TWO, ONE):
        score(tables, day, 0.25)
    assert tables.day_file("restated.q", ONE) is None
    assert lines(tables) == []


def test_on_its_own_day_a_forecast_gives_way_to_another_and_is_kept(tables: Tables) -> None:
    score(tables, ONE, 0.25)
    score(tables, ONE, 0.75)  # by the model that was trained on that day
    assert chances(tables, "predictions.q", ONE) == [("ann", 0.75), ("bob", 0.5)]
    assert chances(tables, "restated.q", ONE) == [
        ("ann", 0.25, "superseded", 1),
        ("bob", 0.5, "superseded", 1),
    ]
    assert lines(tables) == [("predictions.q", "supersede", str(ONE))]


def test_a_look_back_never_replaces_a_forecast_and_gives_way_to_one(tables: Tables) -> None:
    score(tables, ONE, 0.25)
    score(tables, ONE, 0.75, backtest=True)
    assert chances(tables, "predictions.q", ONE) == [("ann", 0.25), ("bob", 0.5)]
    score(tables, TWO, 0.75, backtest=True)
    score(tables, TWO, 0.125)
    assert chances(tables, "predictions.q", TWO) == [("ann", 0.125), ("bob", 0.5)]
    assert lines(tables) == []


def test_a_damaged_forecast_is_as_issued_again_where_scoring_gives_the_same(tables: Tables) -> None:
    for day in (ONE, TWO):
        score(tables, day, 0.25)
    issued = tables.day_file("predictions.q", ONE)
    assert issued
    flip_a_bit(issued)
    score(tables, ONE, 0.25)
    assert tables.day_file("predictions.q", ONE) == issued
    assert lines(tables) == []
    flip_a_bit(issued)
    score(tables, ONE, 0.75)
    assert "what was issued cannot be read" in ledger.read(tables.state)[-1]["reason"]


def test_another_meaning_of_the_question_sets_its_forecasts_apart(tables: Tables) -> None:
    assert set_apart_former(tables, ASKED) is None
    score(tables, ONE, 0.25)
    assert set_apart_former(tables, ASKED) is None
    other = replace(ASKED, question=replace(ASKED.question, horizon=Horizon(9)))
    message = set_apart_former(tables, other)
    assert message
    [(now,)] = tables.rows("select table_name from meta.files")
    assert message == f"q means another thing now: what it forecast before is kept in {now}"
    assert tables.day_file("predictions.q", ONE) is None
    assert ledger.read(tables.state)[-1]["decision"] == "rename"
    score(tables, ONE, 0.75)
    assert chances(tables, "predictions.q", ONE) == [("ann", 0.75), ("bob", 0.5)]


def test_a_grade_that_a_day_landed_again_changes_is_restated_and_the_first_one_stays(
    tables: Tables,
) -> None:
    tables.db.execute(
        "create table silver.orders (order_id varchar, customer_id varchar, day date, known_on "
        "date, _partition date)"
    )
    make_parts(tables.db, FEATURES)
    score(tables, ONE, 0.25)
    graded_on = ONE + DAY * 3

    def graded() -> list[tuple[Any, ...]]:
        grade(tables, ASKED, graded_on)
        assert ungraded(tables, ASKED, graded_on) == 0
        file = literal(tables.day_file(ASKED.store.grades, graded_on))
        return tables.rows(
            f"select label, was, restated, regraded from {file} where customer_id = 'ann'"
        )

    def truth() -> list[tuple[Any, ...]]:
        return tables.rows(
            f"select label from ({last_known(tables, ASKED, ONE, graded_on)}) where customer_id = "
            "'ann'"
        )

    first = (True, None, False, 0)
    assert graded() == [first]
    tables.insert(
        "silver.orders", [["o1", "ann", TWO, TWO, TWO]]
    )  # the day landed again, with an order
    make_parts(tables.db, FEATURES)
    assert graded() == graded() == [first, (False, True, True, 1)]
    assert truth() == [(False,)]
    tables.db.execute("delete from silver.orders")
    make_parts(tables.db, FEATURES)
    assert graded() == [first, (False, True, True, 1), (True, False, True, 2)]
    assert truth() == [(True,)]


def test_a_refused_day_takes_its_features_and_not_the_forecast_that_was_issued(
    tables: Tables,
) -> None:
    score(tables, ONE, 0.25)
    tables.put_day("gold.f", ONE, f"select 'ann' as customer_id, date '{ONE}' as as_of")
    tables.days.descends("gold.f", ["silver.orders"])
    tables.days.descends("predictions.q", ["gold.f"])
    tables.days.record("predictions.q", "stored", {ONE: 2}, "declared")
    tables.withdraw("silver.orders", ONE)
    assert tables.day_file("gold.f", ONE) is None
    assert tables.day_file("predictions.q", ONE)
    assert tables.days.stored("predictions.q") == set()


def test_a_past_day_landed_again_rewrites_no_forecast_and_says_so(shop: Shop) -> None:
    shop.change("raw/defs.yaml", "  key: [order_id]\n", "")
    shop.change("gold/defs.yaml", "      key: [order_id]\n", "")
    shop.land_quiet_days(1, 9)
    assert shop.refresh(5, 9).succeeded
    issued = shop.rows(
        "select day, file from meta.files where table_name = 'predictions.churn_90d' order by 1"
    )
    shop.land_orders(7, f"o7,ann,{JAN[7]} 10:00,7.50", f"p7,bob,{JAN[7]} 10:00,7.50")
    assert shop.refresh(7).succeeded
    done = shop.refresh(7, 9)
    assert (
        "2024-01-08: scored again after 2024-01-09 was issued"
        in done.notes["predictions.churn_90d"]
    )
    now = shop.rows(
        "select day, file from meta.files where table_name = 'predictions.churn_90d' order by 1"
    )
    assert now[:-1] == issued[:-1], "a forecast of a day that is over was rewritten"
    message = [(row["decision"], row["cutoff"]) for row in ledger.read(shop.business.state)]
    days = [str(JAN[day]) for day in (7, 8, 9)]
    assert message == [("restate", days[0]), ("restate", days[1]), ("supersede", days[2])]
    assert shop.published(
        "select as_of::varchar, status, count(*) from restated.churn_90d group by all order by 1"
    ) == [(days[0], "restated", 2), (days[1], "restated", 2), (days[2], "superseded", 1)]
    assert shop.published(
        "select distinct as_of, customer_id from predictions.churn_90d where customer_id = 'bob'"
    ) == [(JAN[9], "bob")]
