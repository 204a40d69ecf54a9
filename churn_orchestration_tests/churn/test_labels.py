import datetime as dt
from dataclasses import replace
from typing import Any

import duckdb
import pytest

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.declared import EventSource, FeatureSet, Measure
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.question.labels import Label, Question, labelled, population
from churn_orchestration_tests.support.daily_parts import make_parts

ORDERS = EventSource(
    "orders", "silver.orders", "customer_id", "order", ("order_id",), (Measure("amount", "amount"),)
)
VISITS = EventSource("visits", "silver.visits", "customer_id", "visit")
ENDS = EventSource("end", "silver.ends", "subscriber", "cancellation", ("end_id",))
FEATURES = FeatureSet("customer_id", (ORDERS, VISITS), (7,), (7,))
SILENT = Question("q", "inactivity", FEATURES, ORDERS, Horizon(10))
CANCELS = Question("q", "event", FEATURES, ORDERS, Horizon(10), terminal=ENDS)
STARTS = EventSource("start", "silver.orders", "customer_id", "start", ("order_id",))
CURRENT = replace(CANCELS, activity=None, start=STARTS)
SAID = Label("silver.ends", "subscriber", "nullif(end_id, 'unknown') = 'gone'")
STATIC = Question("q", "static", FEATURES, None, Horizon(0), label=SAID)


def jan(day: int) -> dt.date:
    """A day of January 2024, or of the months around it."""
    return dt.date(2023, 12, 31) + dt.timedelta(days=day)


def event(
    who: str | None, day: int, known: int | None = None, name: str | None = None
) -> tuple[Any, ...]:
    """An event on a day of January, known on that day unless said otherwise."""
    known = day if known is None else known
    return name or f"{who} {day}", who, jan(day), jan(known), jan(known)


def ask(
    sql: str,
    orders: list[tuple[Any, ...]],
    ends: tuple[Any, ...] = (),
    visits: tuple[Any, ...] = (),
) -> list[dict[str, Any]]:
    with duckdb.connect() as db:
        db.execute("create schema silver")
        for table, who, rows in (
            ("orders", "customer_id", orders), ("ends", "subscriber", ends),
            ("visits", "customer_id", visits)
        ):  # fmt: skip
            key = "end_id" if table == "ends" else "order_id"
            db.execute(
                f"create table silver.{table} ({key} varchar, {who} varchar, day date, known_on "
                "date, _partition date, amount decimal(18, 4) default 1)"
            )
            for row in rows:
                db.execute(
                    f"insert into silver.{table} by position values (?, ?, ?, ?, ?, 1)", list(row)
                )
        make_parts(db, FEATURES)
        result = db.execute(sql)
        names = [name for name, *_ in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def labels(
    question: Question,
    orders: list[tuple[Any, ...]],
    as_of: int = 20,
    known_by: int = 60,
    **more: Any,
) -> dict[str, bool]:
    """Who churned, by the question, as known at the end of a day."""
    features = f"({features_at(question.features, jan(as_of))})"
    rows = ask(labelled(question, features, jan(as_of), jan(known_by)), orders, **more)
    assert [row["customer_id"] for row in rows] == sorted(row["customer_id"] for row in rows)
    return {row["customer_id"]: row["label"] for row in rows}


def asked_of(
    question: Question, orders: list[tuple[Any, ...]], as_of: int = 20, **more: Any
) -> set[str]:
    """Whom the question is asked of."""
    features = f"({features_at(question.features, jan(as_of))})"
    return {
        row["customer_id"]
        for row in ask(population(question, features, jan(as_of)), orders, **more)
    }


def test_silence_in_the_outcome_window_is_churn_and_an_order_in_it_is_not() -> None:
    assert labels(SILENT, [event("ann", 5), event("bob", 5), event("bob", 25)]) == {
        "ann": True,
        "bob": False,
    }


@pytest.mark.parametrize(("day", "churned"), [(20, True), (21, False), (30, False), (31, True)])
def test_the_outcome_window_is_the_ten_days_after_as_of(day: int, churned: bool) -> None:
    assert labels(SILENT, [event("ann", 5), event("ann", day)]) == {"ann": churned}


@pytest.mark.parametrize(("horizon_days", "churned"), [(9, True), (10, False)])
def test_the_horizon_decides_who_churned(horizon_days: int, churned: bool) -> None:
    question = replace(SILENT, horizon=Horizon(horizon_days))
    assert labels(question, [event("ann", 5), event("ann", 30)]) == {"ann": churned}


@pytest.mark.parametrize(
    ("day", "churned"), [(21, True), (23, True), (24, False), (33, False), (34, True)]
)
def test_what_happens_in_the_gap_saves_nobody(day: int, churned: bool) -> None:
    question = replace(SILENT, horizon=Horizon(10, gap_days=3))
    assert labels(question, [event("ann", 5), event("ann", day)]) == {"ann": churned}


def test_only_events_of_the_activity_save() -> None:
    assert labels(SILENT, [event("ann", 5)], visits=(event("ann", 25),)) == {"ann": True}


@pytest.mark.parametrize(("known", "churned"), [(40, False), (41, True)])
def test_an_order_known_after_the_cut_off_does_not_count(known: int, churned: bool) -> None:
    orders = [event("ann", 5), event("ann", 25, known=known)]
    assert labels(SILENT, orders, known_by=40) == {"ann": churned}


def test_a_later_cut_off_may_know_better() -> None:
    orders = [event("ann", 5), event("ann", 30, known=33)]
    assert labels(SILENT, orders, known_by=30) == {"ann": True}
    assert labels(SILENT, orders, known_by=33) == {"ann": False}


def test_a_correction_known_by_the_cut_off_moves_the_event_that_counts() -> None:
    orders = [event("ann", 5), event("ann", 25, name="o"), event("ann", 35, known=36, name="o")]
    assert labels(SILENT, orders, known_by=35) == {"ann": False}
    assert labels(SILENT, orders, known_by=36) == {"ann": True}


def test_a_correction_known_after_as_of_changes_the_label_and_not_the_features() -> None:
    orders = [event("ann", 15, name="o"), event("ann", 25, known=26, name="o")]
    features = f"({features_at(SILENT.features, jan(20))})"
    [row] = ask(labelled(SILENT, features, jan(20), jan(60)), orders)
    assert (row["orders_days_since_last"], row["orders_count_all"], row["label"]) == (5, 1, False)


@pytest.mark.parametrize(("horizon", "known_on"), [(Horizon(10), 30), (Horizon(10, 2, 3), 35)])
def test_a_label_that_is_not_known_yet_is_refused_and_on_its_day_given(
    horizon: Horizon, known_on: int
) -> None:
    question = replace(SILENT, horizon=horizon)
    with pytest.raises(
        ValueError, match=f"the outcome of 2024-01-20 is known on {jan(known_on)}, after"
    ):
        labelled(question, "f", jan(20), jan(known_on - 1))
    assert labels(question, [event("ann", 5)], known_by=known_on) == {"ann": True}


def test_settling_waits_for_the_late_order_and_says_when_the_label_is_known() -> None:
    question = replace(SILENT, horizon=Horizon(10, settle_days=5))
    features = f"({features_at(FEATURES, jan(20))})"
    [row] = ask(
        labelled(question, features, jan(20), jan(35)),
        [event("ann", 5), event("ann", 30, known=35)],
    )
    assert (row["label"], row["label_known_on"], row["as_of"]) == (False, jan(35), jan(20))


@pytest.mark.parametrize(("day", "is_asked"), [(20, True), (14, True), (13, False)])
def test_the_observation_window_of_seven_days_holds_as_of_and_six_days_before(
    day: int, is_asked: bool
) -> None:
    question = replace(SILENT, observation_days=7)
    assert asked_of(question, [event("ann", day)]) == ({"ann"} if is_asked else set())


def test_all_asks_of_everybody_ever_active_however_long_ago() -> None:
    assert asked_of(SILENT, [event("ann", -900), event("bob", 20)]) == {"ann", "bob"}


def test_somebody_without_any_event_of_the_activity_is_not_asked_of() -> None:
    assert asked_of(SILENT, [event("ann", 5)], visits=(event("bob", 6),)) == {"ann"}


def test_an_order_not_known_at_as_of_makes_nobody_active() -> None:
    question = replace(SILENT, observation_days=7)
    assert asked_of(question, [event("ann", 18, known=21)]) == set()


def test_a_cancellation_in_the_outcome_window_is_churn() -> None:
    orders = [event("ann", 5), event("bob", 5)]
    assert labels(CANCELS, orders, ends=(event("ann", 21),)) == {"ann": True, "bob": False}


@pytest.mark.parametrize(("day", "churned"), [(21, True), (30, True), (31, False)])
def test_a_cancellation_counts_within_the_horizon(day: int, churned: bool) -> None:
    assert labels(CANCELS, [event("ann", 5)], ends=(event("ann", day),)) == {"ann": churned}


def test_who_has_cancelled_by_as_of_is_not_asked_of_and_who_has_been_silent_is() -> None:
    orders = [event("ann", -800), event("bob", 5), event("cem", 5)]
    assert asked_of(CANCELS, orders, ends=(event("bob", 20), event("cem", 21))) == {"ann", "cem"}


def test_who_started_by_any_source_is_asked_of_whether_active_or_not() -> None:
    assert asked_of(CANCELS, [event("ann", 5)], visits=(event("bob", 6),)) == {"ann", "bob"}


def test_a_cancellation_known_after_the_cut_off_is_no_label_yet() -> None:
    ends = (event("ann", 25, known=41),)
    assert labels(CANCELS, [event("ann", 5)], known_by=40, ends=ends) == {"ann": False}
    assert labels(CANCELS, [event("ann", 5)], known_by=41, ends=ends) == {"ann": True}


def test_who_had_left_before_a_late_cancellation_came_in_is_not_labelled_as_having_stayed() -> None:
    result = labels(CANCELS, [event("ann", 5), event("bob", 5)], ends=(event("ann", 19, known=22),))
    assert result in ({"bob": False}, {"ann": True, "bob": False})


def test_who_left_in_the_gap_is_not_labelled_as_having_stayed() -> None:
    question = replace(CANCELS, horizon=Horizon(10, gap_days=3))
    result = labels(question, [event("ann", 5), event("bob", 5)], ends=(event("ann", 22),))
    assert result in ({"bob": False}, {"ann": True, "bob": False})


@pytest.mark.parametrize("question", [SILENT, CANCELS])
def test_neither_horizon_nor_gap_nor_cut_off_changes_a_feature(question: Question) -> None:
    orders = [
        event("ann", 5),
        event("ann", 19),
        event("bob", 12),
        event("bob", 27),
        event("bob", 18, known=33),
    ]
    seen = set()
    for horizon, known_by in (
        (Horizon(10), 60),
        (Horizon(25), 60),
        (Horizon(5, 9, 2), 60),
        (Horizon(10), 30),
    ):
        features = f"({features_at(question.features, jan(20))})"
        rows = ask(
            labelled(replace(question, horizon=horizon), features, jan(20), jan(known_by)), orders
        )
        seen.add(str([{k: v for k, v in row.items() if not k.startswith("label")} for row in rows]))
    assert len(seen) == 1


def test_the_label_is_beside_the_features_and_the_columns_lead_with_who_when_and_what() -> None:
    [row] = ask(
        labelled(SILENT, f"({features_at(FEATURES, jan(20))})", jan(20), jan(60)), [event("ann", 5)]
    )
    assert list(row)[:4] == ["customer_id", "as_of", "label", "label_known_on"]
    assert list(row)[4] == "orders_days_since_last"


FOUR = [event("ann", 5), event("bob", 5), event("cem", 5), event("dan", 5)]
SAID_OF_THREE = (
    event("ann", 5, name="gone"), event("bob", 5, name="stays"), event("cem", 5, name="unknown")
)  # fmt: skip


def test_a_static_label_trains_on_all_of_whom_it_is_known() -> None:
    assert labels(STATIC, FOUR, known_by=20, ends=SAID_OF_THREE) == {"ann": True, "bob": False}


def test_a_static_question_is_asked_of_all_who_are_not_known_to_have_churned() -> None:
    assert asked_of(STATIC, FOUR, ends=SAID_OF_THREE) == {"bob", "cem", "dan"}


def test_a_static_label_is_the_one_known_last_on_the_day_itself() -> None:
    ends = (*SAID_OF_THREE, event("bob", 6, known=21, name="gone"), event("ann", 22, name="stays"))
    result = [labels(STATIC, FOUR, as_of=day, known_by=day, ends=ends) for day in (20, 21, 22)]
    assert result == [
        {"ann": True, "bob": False},
        {"ann": True, "bob": True},
        {"ann": False, "bob": True},
    ]


def test_a_static_label_is_known_on_its_day() -> None:
    features = f"({features_at(FEATURES, jan(20))})"
    [ann, _] = ask(labelled(STATIC, features, jan(20), jan(20)), FOUR, ends=SAID_OF_THREE)
    assert (ann["as_of"], ann["label_known_on"]) == (jan(20), jan(20))


def test_the_known_churn_rate_is_that_of_those_whose_label_is_known() -> None:
    assert ask(SAID.rate_at(jan(20)), FOUR, ends=SAID_OF_THREE) == [{"rate": 0.5}]
    assert ask(SAID.rate_at(jan(4)), FOUR, ends=SAID_OF_THREE) == [{"rate": None}]


def test_with_a_start_only_those_are_asked_about_who_began_and_have_not_ended_since() -> None:
    starts = [event("ann", 5), event("bob", 5), event("cem", 5), event("cem", 15), event("dot", 9)]
    ends = (event("bob", 8), event("cem", 8), event("dot", 9), event("eve", 3))
    visits = tuple(event(who, 1) for who in ("eve", "fay"))
    assert asked_of(CURRENT, starts, ends=ends, visits=visits) == {"ann", "cem"}
    assert asked_of(CANCELS, starts, ends=ends, visits=visits) == {"ann", "fay"}


def test_who_comes_back_is_asked_about_again_and_can_leave_again() -> None:
    starts = [event("ann", 5), event("bob", 5), event("bob", 12), event("cem", 5), event("cem", 22)]
    ends = (event("bob", 8), event("bob", 25), event("cem", 8))
    assert labels(CURRENT, starts, ends=ends) == {"ann": False, "bob": True}
    assert labels(CURRENT, starts, as_of=22, ends=ends) == {"ann": False, "bob": True, "cem": False}


def test_in_the_gap_who_ends_and_does_not_come_back_can_neither_leave_nor_stay() -> None:
    gap = replace(CURRENT, horizon=Horizon(10, gap_days=3))
    starts = [event("ann", 5), event("bob", 5), event("cem", 5), event("cem", 23)]
    ends = (event("bob", 21), event("cem", 22), event("cem", 30))
    assert labels(gap, starts, ends=ends) == {"ann": False, "cem": True}


def test_what_begins_a_relation_is_part_of_the_meaning_and_of_the_tables_of_a_question() -> None:
    assert CURRENT.meaning != replace(CURRENT, start=None).meaning
    assert CURRENT.outcome_tables == ["silver.orders", "silver.ends"]
