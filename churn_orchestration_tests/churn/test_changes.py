"""What changed on a day, of small profiles worked out by hand."""

import datetime as dt
from collections.abc import Mapping

import numpy as np
import pytest

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.watching.change import ROWS, Change
from churn_orchestration.churn.watching.changes import changes
from churn_orchestration.churn.watching.profile import LOGS, NUMBERS, Column, Profile

FIRST = dt.date(2024, 1, 1)  # a Monday
DAYS = 70
LAST = FIRST + (DAYS - 1) * DAY
USUAL = np.full(DAYS, 100.0)


def last(value: float, usual: np.ndarray = USUAL) -> np.ndarray:
    """The same on all days but the last."""
    return np.append(usual[:-1], value)


def a_column(values: Mapping[str, np.ndarray] | None = None, **counts: np.ndarray) -> Column:
    """A column of 100 rows a day, each of which has a value that landed before."""
    usual = dict.fromkeys(NUMBERS, np.zeros(DAYS)) | {"rows": USUAL, "again": USUAL}
    return Column({**usual, **counts}, np.array(list((values or {}).values())).reshape(-1, DAYS))


def sizes(typical: np.ndarray, spread: float = 0.8) -> Column:
    """A number whose logarithms lie around those of the typical sizes."""
    logs = np.log(typical) * LOGS
    return a_column(sized=USUAL, log=USUAL * logs, square=USUAL * (logs**2 + (spread * LOGS) ** 2))


def result(profile: Profile, day: dt.date = LAST, **given: object) -> dict[str, Change]:
    return {change.column: change for change in changes(profile, day, **given)}  # type: ignore[arg-type]


def of_column(column: Column) -> Change | None:
    return result(Profile(FIRST, USUAL, {"amount": column})).get("amount")


def test_days_that_are_alike_have_no_change() -> None:
    categories = {"web": USUAL * 0.6, "app": USUAL * 0.4}
    profile = Profile(
        FIRST, USUAL, {"amount": sizes(USUAL), "channel": a_column(categories)}, (a_column(),)
    )
    assert result(profile) == {}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (0, "0 rows where about 100 are usual (x 0)"),
        (50, "50 rows where about 100 are usual (x 0.5)"),
        (200, "200 rows where about 100 are usual (x 2)"),
        (75, None),
        (140, None),
    ],
)
def test_half_of_the_rows_lost_or_none_at_all_is_said_and_a_quiet_day_is_not(
    rows: float, says: str | None
) -> None:
    change = result(Profile(FIRST, last(rows), {})).get(ROWS)
    assert (change.says if change else None) == says


def test_a_sunday_is_compared_with_sundays() -> None:
    weekday = (np.arange(DAYS) + FIRST.weekday()) % 7
    rows = np.where(weekday == 6, 10.0, 100.0)
    assert LAST.weekday() == 6
    assert result(Profile(FIRST, rows, {})) == {}
    assert result(Profile(FIRST, last(100, rows), {}))[ROWS].factor == pytest.approx(10, rel=0.01)


def test_a_shop_of_few_rows_is_silent_on_one_empty_day_and_not_on_the_second() -> None:
    rows = np.full(DAYS, 10.0)
    rows[-2:] = 0
    profile = Profile(FIRST, rows, {})
    assert result(profile, LAST - DAY) == {}
    assert result(profile)[ROWS].since == LAST - DAY


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (100.0, "x 100, typically 10,000 where 100 is usual: another unit?"),
        (0.01, "x 0.01, typically 1 where 100 is usual: another unit?"),
        (1.6, "x 1.6, typically 160 where 100 is usual"),
        (0.92, None),
    ],
)
def test_a_change_of_unit_is_said_on_its_day(factor: float, says: str | None) -> None:
    change = of_column(sizes(last(100 * factor)))
    assert (change.says if change else None) == says


def test_a_small_factor_is_said_where_sizes_hardly_differ_or_the_pence_are_others() -> None:
    by_level = of_column(sizes(last(92.0), spread=0.1))
    assert by_level is not None
    assert by_level.factor == pytest.approx(0.92)
    by_pence = of_column(a_column(again=last(5, USUAL * 0.6)))
    assert by_pence is not None
    assert by_pence.says.startswith(
        "5% of the rows have a value of the four weeks before, usually 60%"
    )


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (
            a_column(
                {"web": last(0, USUAL * 0.5), "app": USUAL * 0.5, "online": last(50, USUAL * 0)}
            ),
            "no row has a value of usually 50%, and 50% have a value that no row had before: "
            "renamed?",
        ),
        (a_column({"web": last(90, USUAL * 0.5)}), "a value has 90% of the rows, usually 50%"),
        (a_column(empty=last(40, USUAL * 0)), "empty in 40% of the rows, usually in 0%"),
        (a_column(negative=last(30, USUAL * 0.02)), "below 0 in 30% of the rows, usually in 2%"),
        (
            a_column(most=USUAL, again=last(97)),
            "had one value in all of 2,800 rows, and now another in 3",
        ),
        (
            a_column(most=last(100, USUAL * 0.4)),
            "has one value in all of 100 rows, usually in 40% of a day",
        ),
    ],
)
def test_what_changed_in_a_column_is_said_without_a_value_of_it(column: Column, says: str) -> None:
    change = of_column(column)
    assert change is not None
    assert (change.says, change.since) == (says, LAST)


def test_a_load_that_comes_twice_is_a_change_of_the_rows() -> None:
    twice = (a_column(rows=last(200), again=last(100, USUAL * 0)),)
    change = result(Profile(FIRST, last(200), {}, twice))[ROWS]
    assert (
        change.says
        == "50% of the rows landed before, usually 0%: 200 rows where about 100 are usual (x 2)"
    )


def test_a_change_lasts_until_it_is_accepted_and_then_the_new_level_is_usual() -> None:
    began = FIRST + 40 * DAY
    typical = np.where(np.arange(DAYS) >= 40, 10_000.0, 100.0)
    profile = Profile(FIRST, USUAL, {"amount": sizes(typical)})
    since = {began + n * DAY for n in range(29)}
    assert result(profile, unusual={"amount": since})["amount"].factor == pytest.approx(100)
    assert result(profile, accepted={"amount": began}) == {}
    back = Profile(FIRST, USUAL, {"amount": sizes(last(100.0, typical))})
    assert result(back, accepted={"amount": began}) == {}
    other = Profile(FIRST, USUAL, {"amount": sizes(last(1_000_000.0, typical))})
    assert result(other, accepted={"amount": began})["amount"].factor == pytest.approx(100)


def test_nothing_is_usual_in_the_first_three_weeks_and_absent_days_say_nothing() -> None:
    begins = np.where(np.arange(DAYS) < DAYS - 20, 0.0, 100.0)
    assert result(Profile(FIRST, last(0, begins), {})) == {}
    closed = last(0, np.where(np.arange(DAYS) % 7 == 3, 0.0, 100.0))
    absent = {FIRST + n * DAY for n in range(DAYS) if n % 7 == 3}
    assert result(Profile(FIRST, closed, {}), absent=absent)[ROWS].factor == 0
    assert result(Profile(FIRST, closed, {}), absent={*absent, LAST}) == {}


def test_rows_that_come_in_bursts_are_let_be() -> None:
    bursts = np.where(np.arange(DAYS) % 10 == 9, 1000.0, 20.0)
    assert result(Profile(FIRST, bursts, {})) == {}
