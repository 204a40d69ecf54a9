import datetime as dt
from collections.abc import Callable

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.watching import drift
from churn_orchestration.churn.watching.drift import (
    Bins,
    counted,
    drifted,
    jensen_shannon,
    psi,
    replay_days,
    usual,
)

CUTOFF = dt.date(2024, 6, 28)
BINS = Bins("x", tuple(np.linspace(-3, 3, 11)), few=False)
Shift = Callable[[dt.date], float]


def spread(values: np.ndarray, bins: Bins = BINS) -> np.ndarray:
    """Counts by bin, as SQL gives them."""
    frame = pd.DataFrame({bins.feature: values, "as_of": CUTOFF})
    with duckdb.connect() as db:
        db.register("rows_of_day", frame)
        rows = db.execute(counted([bins], "rows_of_day")).df()
    counts = np.zeros(bins.number)
    counts[rows["bin"].to_numpy()] = rows["rows"].to_numpy()
    return counts


def normal(day: dt.date, shift: Shift, rows: int = 1500) -> np.ndarray:
    """A day's counts: normal, its mean as the day says."""
    return spread(np.random.default_rng(day.toordinal()).normal(shift(day), 1, rows))


def alarms(shift: Shift, days: int, rows: int = 1500) -> list[int]:
    """The days after the cut-off on which a feature is alarmed whose mean moves so."""
    as_ofs = [CUTOFF - DAY * ago for ago in (240, 210, 180, 150, 120, 90)]
    replays = {day: normal(day, shift, rows) for day in replay_days(as_ofs[0], CUTOFF)}
    known = usual(BINS, {day: normal(day, shift, rows) for day in as_ofs}, replays)
    assert known is not None
    before, result = dict[dt.date, float](), list[int]()
    for number in range(1, days + 1):
        day = CUTOFF + DAY * number
        judged = drifted(BINS, normal(day, shift, rows), day, known, before)
        before[day] = judged.value
        result += [number] if judged.alarmed else []
    return result


def test_a_feature_that_stands_still_is_not_alarmed() -> None:
    assert alarms(lambda _: 0.0, 60) == []


def test_a_feature_that_goes_on_at_its_pace_is_not_alarmed() -> None:
    assert alarms(lambda day: (day - CUTOFF).days / 300, 60) == []


def test_a_feature_that_jumps_is_alarmed_on_the_day_and_until_the_month_has_turned() -> None:
    result = alarms(lambda day: 0.4 * (day >= CUTOFF + DAY * 10), 60)
    assert result[0] == 10
    assert result[-1] <= 10 + drift.RECENT[0]
    assert result == list(range(result[0], result[-1] + 1))


def test_of_a_hundred_features_that_stand_still_one_is_alarmed_on_few_days() -> None:
    as_ofs = [CUTOFF - DAY * ago for ago in (240, 210, 180, 150, 120, 90)]
    rng, result, days = (
        np.random.default_rng(2),
        set[dt.date](),
        [CUTOFF + DAY * n for n in range(1, 201)],
    )
    for _ in range(100):
        draw = {
            day: rng.multinomial(1500, [0, *[0.1] * 10, 0, 0.0])
            for day in {*as_ofs, *replay_days(as_ofs[0], CUTOFF), *days}
        }
        bins = Bins("x", tuple(range(10)), few=False)
        replays = {day: draw[day] for day in replay_days(as_ofs[0], CUTOFF)}
        known = usual(bins, {day: draw[day] for day in as_ofs}, replays)
        assert known is not None
        before = dict[dt.date, float]()
        for day in days:
            judged = drifted(bins, draw[day], day, known, before)
            before[day] = judged.value
            result |= {day} if judged.alarmed else set()
    assert len(result) <= 16  # of 200 days: 8 %


@given(st.lists(st.integers(0, 500), min_size=2, max_size=12), st.integers(0, 2**32 - 1))
def test_the_distances_are_those_of_the_books(one: list[int], seed: int) -> None:
    other = np.random.default_rng(seed).integers(0, 500, len(one))
    p, q = ((np.array(counts) + 0.5) / (np.sum(counts) + len(one) / 2) for counts in (one, other))
    assert psi(np.array(one), other) == pytest.approx(sum((p - q) * np.log(p / q)), abs=1e-12)
    assert jensen_shannon(np.array(one), other) == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (-4.0, 0),
        (-3.0, 1),
        (-2.7, 2),
        (-2.4, 2),
        (2.9, 11),
        (3.0, 11),
        (3.1, 12),
        (np.nan, 13),
        (None, 13),
    ],
)
def test_each_value_has_its_bin_below_up_to_a_cut_above_or_missing(
    value: float | None, place: int
) -> None:
    bins = Bins("x", (-3.0, *np.round(np.linspace(-2.4, 2.4, 9), 1), 3.0), few=False)
    counts = spread(np.array([value], float), bins)
    assert (counts[place], counts.sum()) == (1, 1)


def test_what_lies_beyond_the_training_snapshot_and_what_is_missing_is_counted() -> None:
    inside = np.random.default_rng(1).uniform(-3, 3, 900)
    days = {CUTOFF - DAY * n: spread(np.append(inside, [np.nan] * 100)) for n in (0, 8, 16)}
    known = usual(BINS, days, days)
    assert known is not None
    today = np.concatenate(
        [inside[:500], np.full(300, 9.0), np.full(100, -9.0), np.full(100, np.nan)]
    )
    judged = drifted(BINS, spread(today), CUTOFF + DAY, known, {})
    assert (judged.beyond, judged.missing, judged.missing_before) == (0.4, 0.1, 0.1)
    assert judged.alarmed


def test_values_that_were_never_trained_on_are_counted_where_they_are_few() -> None:
    bins = Bins("x", (0.0, 1.0, 5.0), few=True)
    frame = pd.DataFrame({"x": [0, 1, 5, 2, 3, 9, None], "as_of": CUTOFF})
    with duckdb.connect() as db:
        db.register("rows_of_day", frame)
        rows = db.execute(counted([bins], "rows_of_day")).df()
    assert rows["new"].sum() == 2  # 9 lies beyond, which is counted by itself
    assert rows["rows"].sum() == 7


def test_nothing_is_judged_without_replays_or_where_the_model_saw_one_value() -> None:
    day = {CUTOFF: spread(np.zeros(10))}
    assert usual(BINS, day, day) is None
    assert (
        usual(Bins("x", (1.0,), few=True), day, day | {CUTOFF - DAY: spread(np.zeros(10))}) is None
    )


def test_replays_go_back_from_the_cut_off_over_every_weekday_and_no_further_than_the_snapshot() -> (
    None
):
    days = replay_days(CUTOFF - DAY * 240, CUTOFF)
    assert (days[0], days[-1], len(days)) == (CUTOFF - DAY * 240, CUTOFF, 31)
    assert {day.weekday() for day in days} == set(range(7))
    assert replay_days(CUTOFF, CUTOFF) == [CUTOFF]
