import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import churn_orchestration
from churn_orchestration.churn.calendar import (
    ClosedDays,
    Horizon,
    as_of_grid,
    back_from,
    days_between,
    months_back,
    months_later,
    purged,
)
from churn_orchestration.churn.declared_text import declared_text
from churn_orchestration.churn.features.declared import FeatureSet
from churn_orchestration.churn.question.labels import Question

DAY = dt.timedelta(days=1)
DAYS = st.dates(dt.date(1990, 1, 1), dt.date(2090, 1, 1))


def test_the_outcome_starts_the_day_after_as_of_and_has_the_length_of_the_horizon() -> None:
    assert Horizon(1).outcome(dt.date(2024, 2, 28)) == (dt.date(2024, 2, 29), dt.date(2024, 2, 29))
    assert Horizon(30).outcome(dt.date(2024, 12, 31)) == (dt.date(2025, 1, 1), dt.date(2025, 1, 30))


def test_a_gap_moves_the_outcome_and_keeps_its_length() -> None:
    assert Horizon(7, gap_days=3).outcome(dt.date(2024, 1, 31)) == (
        dt.date(2024, 2, 4),
        dt.date(2024, 2, 10),
    )


def test_settling_delays_the_label_and_not_the_outcome() -> None:
    plain, settled = Horizon(7, gap_days=3), Horizon(7, gap_days=3, settle_days=5)
    assert settled.outcome(dt.date(2024, 1, 31)) == plain.outcome(dt.date(2024, 1, 31))
    assert plain.label_known_on(dt.date(2024, 1, 31)) == dt.date(2024, 2, 10)
    assert settled.label_known_on(dt.date(2024, 1, 31)) == dt.date(2024, 2, 15)


@pytest.mark.parametrize(
    ("nonsense", "message"),
    [
        (lambda: Horizon(30, gap_days=-61), "gap_days is -61"),
        (lambda: Horizon(-1), "horizon_days is -1"),
        (lambda: Horizon(30, settle_days=-1), "settle_days is -1"),
        (lambda: Horizon(horizon_months=-1), "horizon_months is -1"),
        (lambda: Horizon(30, horizon_months=1), "horizon_days is 30 and horizon_months is 1"),
        (lambda: months_back(dt.date(2024, 1, 31), -1), "-1 months back"),
        (
            lambda: as_of_grid(dt.date(2024, 6, 30), Horizon(30), dt.date(2024, 1, 1), 28, 0),
            "0 as_ofs",
        ),
        (
            lambda: as_of_grid(dt.date(2024, 6, 30), Horizon(30), dt.date(2024, 1, 1), 0, 6),
            "0 days of data",
        ),
        (lambda: back_from(dt.date(2024, 6, 30), 0), "an as_of every 0 days"),
        (lambda: FeatureSet("id", (), windows=(0,)), "a window of 0 days"),
        (
            lambda: Question("q", "inactivity", FeatureSet("id", ()), None, Horizon(0)),
            "horizon_days is 0",
        ),
        (
            lambda: Question("q", "inactivity", FeatureSet("id", ()), None, Horizon(1), 0),
            "observation_days",
        ),
    ],
)
def test_an_interval_that_reaches_back_or_holds_no_day_is_refused(
    nonsense: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        nonsense()


@given(DAYS, st.integers(1, 400), st.integers(0, 60), st.integers(0, 60))
def test_without_settling_a_label_is_known_on_the_last_day_of_its_outcome(
    as_of: dt.date, horizon_days: int, gap_days: int, settle_days: int
) -> None:
    horizon = Horizon(horizon_days, gap_days, settle_days)
    first, last = horizon.outcome(as_of)
    assert as_of < first <= last
    assert horizon.label_known_on(as_of) == last + DAY * settle_days
    assert horizon.newest_as_of(horizon.label_known_on(as_of)) == as_of


@pytest.mark.parametrize(
    ("as_of", "months", "first", "last"),
    [
        ("2023-01-31", 1, "2023-02-01", "2023-02-28"),
        ("2024-01-31", 1, "2024-02-01", "2024-02-29"),
        ("2023-02-28", 1, "2023-03-01", "2023-03-31"),
        ("2024-02-28", 1, "2024-02-29", "2024-03-28"),
        ("2024-02-29", 12, "2024-03-01", "2025-02-28"),
        ("2023-11-30", 3, "2023-12-01", "2024-02-29"),
        ("2023-12-31", 6, "2024-01-01", "2024-06-30"),
        ("2023-01-30", 1, "2023-01-31", "2023-02-28"),
        ("2023-05-15", 1, "2023-05-16", "2023-06-15"),
        ("2023-12-01", 2, "2023-12-02", "2024-02-01"),
    ],
)
def test_a_horizon_in_months_is_whole_months_after_a_month_end_and_keeps_the_day_after_another(
    as_of: str, months: int, first: str, last: str
) -> None:
    outcome = Horizon(horizon_months=months).outcome(dt.date.fromisoformat(as_of))
    assert outcome == (dt.date.fromisoformat(first), dt.date.fromisoformat(last))


def test_a_gap_to_a_month_end_is_followed_by_whole_months_and_settling_delays_the_label() -> None:
    horizon = Horizon(gap_days=3, settle_days=5, horizon_months=1)
    assert horizon.outcome(dt.date(2023, 1, 28)) == (dt.date(2023, 2, 1), dt.date(2023, 2, 28))
    assert horizon.label_known_on(dt.date(2023, 1, 28)) == dt.date(2023, 3, 5)
    assert horizon.newest_as_of(dt.date(2023, 3, 5)) == dt.date(2023, 1, 28)
    assert horizon.falls_due(dt.date(2023, 3, 5)) == [
        dt.date(2023, 1, 25), dt.date(2023, 1, 26), dt.date(2023, 1, 27), dt.date(2023, 1, 28),
    ]  # fmt: skip


def walked(day: dt.date, months: int) -> dt.date:
    """So many months on, day by day: to the last day of that month, and back to the day of the
    month.
    """
    at, passed = day, 0
    while passed < months or (at + DAY).month == at.month:
        passed += (at + DAY).month != at.month
        at += DAY
    while (day + DAY).day != 1 and at.day > day.day:
        at -= DAY
    return at


MONTHS = st.builds(
    Horizon,
    gap_days=st.integers(0, 40),
    settle_days=st.integers(0, 40),
    horizon_months=st.integers(1, 14),
)


@given(DAYS, st.integers(0, 14), st.integers(0, 40))
def test_the_end_of_an_outcome_in_months_is_the_one_that_is_walked_to(
    as_of: dt.date, months: int, gap_days: int
) -> None:
    assert months_later(as_of, months) == walked(as_of, months)
    if months:
        first, last = Horizon(gap_days=gap_days, horizon_months=months).outcome(as_of)
        assert first == as_of + DAY * (gap_days + 1)
        assert last == walked(as_of + DAY * gap_days, months)


@given(
    DAYS, MONTHS | st.builds(Horizon, st.integers(1, 400), st.integers(0, 40), st.integers(0, 40))
)
def test_the_newest_as_of_is_the_last_one_whose_label_is_known_as_one_sees_day_by_day(
    cutoff: dt.date, horizon: Horizon
) -> None:
    far = cutoff - DAY * 600
    known = [day for day in days_between(far, cutoff) if horizon.label_known_on(day) <= cutoff]
    assert horizon.newest_as_of(cutoff) == known[-1]
    assert known == list(days_between(far, known[-1])), "an earlier as_of never matures later"
    assert horizon.falls_due(cutoff) == [
        day for day in known if horizon.label_known_on(day) == cutoff
    ]
    fewest, most = horizon.wait
    assert fewest <= horizon.days(cutoff) + horizon.gap_days + horizon.settle_days <= most


def test_every_day_falls_due_once_and_a_late_day_of_a_month_together_with_others() -> None:
    due = [(day, Horizon(horizon_months=1).falls_due(day)) for day in
           days_between(dt.date(2023, 1, 1), dt.date(2023, 12, 31))]  # fmt: skip
    assert [as_of for _, as_ofs in due for as_of in as_ofs] == list(
        days_between(dt.date(2022, 12, 1), dt.date(2023, 11, 30))
    )
    assert {str(day)[5:]: len(as_ofs) for day, as_ofs in due if len(as_ofs) != 1} == {
        "02-28": 4, "03-28": 0, "03-29": 0, "03-30": 0, "04-30": 2, "05-30": 0, "06-30": 2,
        "07-30": 0, "09-30": 2, "10-30": 0, "11-30": 2, "12-30": 0,
    }  # fmt: skip


def test_after_month_ends_each_month_is_trained_on_for_the_next_and_none_overlaps() -> None:
    horizon = Horizon(horizon_months=1)
    grid = as_of_grid(dt.date(2024, 5, 20), horizon, dt.date(2023, 1, 1), 28, 4, "month_end")
    assert [str(day) for day in grid] == ["2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31"]
    assert purged(grid, dt.date(2024, 3, 31), horizon) == grid[:3], (
        "February is over on 29 February"
    )
    assert purged(grid, dt.date(2024, 3, 30), horizon) == grid[:2]


def test_a_horizon_in_days_is_written_as_before_there_were_months() -> None:
    assert declared_text(Horizon(30, 1, 2)) == "Horizon(horizon_days=30, gap_days=1, settle_days=2)"
    assert declared_text(Horizon(horizon_months=2)) == (
        "Horizon(horizon_days=0, gap_days=0, settle_days=0, horizon_months=2)"
    )


@pytest.mark.parametrize(
    ("day", "months", "wanted"),
    [
        (dt.date(2024, 1, 31), 0, dt.date(2024, 1, 31)),
        (dt.date(2024, 1, 31), 1, dt.date(2023, 12, 31)),
        (dt.date(2023, 3, 31), 1, dt.date(2023, 2, 28)),
        (dt.date(2024, 2, 29), 12, dt.date(2023, 2, 28)),
        (dt.date(2024, 12, 1), 24, dt.date(2022, 12, 1)),
        (dt.date(2024, 1, 15), 13, dt.date(2022, 12, 15)),
    ],
)
def test_months_back_keeps_the_day_of_the_month_where_there_is_one(
    day: dt.date, months: int, wanted: dt.date
) -> None:
    assert months_back(day, months) == wanted


def test_the_grid_goes_back_from_the_newest_and_does_not_drift_over_short_months() -> None:
    grid = as_of_grid(dt.date(2024, 6, 29), Horizon(90), dt.date(2020, 1, 1), 28, most=4)
    assert grid == [
        dt.date(2023, 12, 31),
        dt.date(2024, 1, 31),
        dt.date(2024, 2, 29),
        dt.date(2024, 3, 31),
    ]


@pytest.mark.parametrize(
    ("every", "grid"),
    [
        (7, [dt.date(2024, 3, 17), dt.date(2024, 3, 24), dt.date(2024, 3, 31)]),
        ("month_end", [dt.date(2024, 1, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 31)]),
    ],
)
def test_as_ofs_may_follow_each_other_by_days_or_lie_on_month_ends(
    every: Any, grid: list[dt.date]
) -> None:
    result = as_of_grid(dt.date(2024, 6, 29), Horizon(90), dt.date(2020, 1, 1), 28, 3, every)
    assert result == grid


def test_the_newest_month_end_of_a_grid_has_matured() -> None:
    early = as_of_grid(dt.date(2024, 6, 28), Horizon(90), dt.date(2020, 1, 1), 28, 1, "month_end")
    assert early == [dt.date(2024, 2, 29)], "2024-03-31 has matured on 2024-06-29"


@pytest.mark.parametrize(
    ("first_day", "count"), [(dt.date(2024, 3, 4), 1), (dt.date(2024, 3, 5), 0)]
)
def test_an_as_of_needs_28_days_of_data_its_own_included(first_day: dt.date, count: int) -> None:
    grid = as_of_grid(dt.date(2024, 6, 29), Horizon(90), first_day, 28, most=6)
    assert grid == [dt.date(2024, 3, 31)][:count]


def test_the_newest_as_of_of_the_grid_is_known_on_the_cut_off_and_not_a_day_later() -> None:
    horizon = Horizon(30, gap_days=2, settle_days=3)
    [newest] = as_of_grid(dt.date(2024, 6, 30), horizon, dt.date(2024, 1, 1), 28, most=1)
    assert newest == dt.date(2024, 5, 26)
    assert horizon.label_known_on(newest) == dt.date(2024, 6, 30)


@given(DAYS, st.integers(1, 200), st.integers(0, 20), st.integers(0, 20), st.integers(1, 30))
def test_every_as_of_of_a_grid_has_matured_and_none_comes_twice(
    cutoff: dt.date, horizon_days: int, gap_days: int, settle_days: int, most: int
) -> None:
    horizon = Horizon(horizon_days, gap_days, settle_days)
    grid = as_of_grid(cutoff, horizon, dt.date(1900, 1, 1), 28, most)
    assert len(set(grid)) == len(grid) == most
    assert grid == sorted(grid)
    assert all(horizon.label_known_on(as_of) <= cutoff for as_of in grid)


def test_an_as_of_trains_for_a_test_day_on_which_its_label_is_just_known() -> None:
    horizon = Horizon(30, gap_days=1, settle_days=2)  # known after 33 days
    train = [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]
    assert purged(train, dt.date(2024, 2, 2), horizon) == []
    assert purged(train, dt.date(2024, 2, 3), horizon) == [dt.date(2024, 1, 1)]
    assert purged(train, dt.date(2024, 2, 4), horizon) == train


def test_days_between_includes_both_ends_and_is_empty_backwards() -> None:
    assert list(days_between(dt.date(2024, 2, 28), dt.date(2024, 3, 1))) == [
        dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(2024, 3, 1),
    ]  # fmt: skip
    assert list(days_between(dt.date(2024, 3, 1), dt.date(2024, 2, 29))) == []


def test_closed_days_are_weekdays_single_days_and_ranges_with_both_ends() -> None:
    closed = ClosedDays.parse(["Sunday", dt.date(2024, 5, 1), "2024-12-24..2024-12-26"])
    assert dt.date(2024, 5, 5) in closed  # a Sunday
    assert dt.date(2024, 5, 6) not in closed
    assert [dt.date(2024, 12, day) in closed for day in (23, 24, 26, 27)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "word", ["caturday", "2024-13-01", "2024-01-05..", "2024-01-05..2024-01-04", "..2024-01-04"]
)
def test_a_closed_day_that_does_not_read_is_refused_by_name(word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        ClosedDays.parse([word])


def test_nothing_in_the_package_reads_the_wall_clock() -> None:
    words = (
        r"\bnow\(",
        r"\btoday\(",
        "utcnow",
        r"\btime\.time\(",
        "current_(date|time)",
        "localtime",
    )
    clock = re.compile("|".join(words), re.IGNORECASE)
    package = Path(churn_orchestration.__file__).parent
    paths = [path for ending in ("py", "sql", "yaml") for path in package.rglob(f"*.{ending}")]
    assert len(paths) > 30
    guard = package / "churn" / "rows" / "user_sql.py"  # it names the clock in order to refuse it
    lines = [
        (path, line) for path in paths if path != guard for line in path.read_text().splitlines()
    ]
    assert [f"{path}: {line}" for path, line in lines if clock.search(line)] == []
