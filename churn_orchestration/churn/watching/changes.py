"""What changed in what lands: a day compared with the eight weeks before it. Counts in, changes in
words out.

A day is judged alone, and together with up to six days before it: a large change shows on its day,
a small one once enough rows have come. A change is large, and not by chance: chance as it is of
counts, and as much more as days differed before. Days that had changed are not what is usual, until
a person accepts them. ADR 28 has the limits, and how often they are wrong.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import betainc, gammainc, gammaincc, ndtr

from churn_orchestration.churn.watching.change import ROWS, Change
from churn_orchestration.churn.watching.profile import AGAIN_DAYS, FEW, LOGS, Column, Profile

SPANS = (1, 2, 4, 7)
HISTORY_DAYS = 56
LOOK_BACK_DAYS = HISTORY_DAYS + SPANS[-1] - 1
"""Days before a day that a profile has to hold."""
LEAST_AGE, LEAST_DAYS = 21, 8
"""Nothing is usual before so many days, so many of them with rows."""
LEAST_ROWS, LEAST_BEFORE = 5, 100
"""Rows of which a column is judged: now, and before."""
CHANCE, CHANCE_OF_ROWS = 1e-6, 1e-5
"""More is chance; a day has many columns and one number of rows."""
FEWER, MORE = 0.7, 1.5  # of the usual number of rows
SHARE = 0.05
LEVEL = float(np.log(1.05))
CONSTANT_ROWS = 200
RECENT_DAYS = 14  # from which the level of the rows is taken, for it grows and has seasons


@dataclass(frozen=True)
class Span:
    """Places of the days that are judged together, and of those that say what is usual."""

    now: np.ndarray
    before: np.ndarray


Verdict = tuple[float | None, str] | None
"""The factor and the words of a change; None where nothing changed."""


def changes(
    profile: Profile,
    day: dt.date,
    absent: Collection[dt.date] = (),
    unusual: Mapping[str, Collection[dt.date]] | None = None,
    accepted: Mapping[str, dt.date] | None = None,
) -> list[Change]:
    """What changed on a day, each column once.

    Parameters
    ----------
    profile : of the day and LOOK_BACK_DAYS before it
    absent : days that say nothing: nothing may land on them, or their rows are held back
    unusual : by column, earlier days on which it had changed
    accepted : by column, the first day of a change that a person accepted: what was usual before it
        is usual still, and so is what has been since
    """

    def of(column: str, judge: Callable[[Span], Verdict]) -> Iterator[Change]:
        left_out = {*absent, *(unusual or {}).get(column, ())}
        since = (accepted or {}).get(column)
        two_ways = (
            since and (day - since).days <= LOOK_BACK_DAYS
        )  # days of both together are like neither
        for days in SPANS[:1] if two_ways else SPANS:
            spans = _spans(profile, day, days, left_out, since)
            verdicts = [(span, judge(span)) for span in spans]
            if verdicts and all(verdict for _, verdict in verdicts):
                span, verdict = verdicts[-1]
                yield Change(column, day, profile.day(int(span.now[0])), *verdict)  # type: ignore[misc]
                return

    if day in absent:
        return []
    result = list(of(ROWS, lambda span: _rows(profile, span)))
    for name, column in profile.columns.items():
        result += of(name, lambda span, column=column: _column(column, span))  # type: ignore[misc]
    return result


def _spans(
    profile: Profile,
    day: dt.date,
    days: int,
    left_out: Collection[dt.date],
    accepted: dt.date | None,
) -> Iterator[Span]:
    """The days up to a day, with those before an accepted change, and with those since it."""
    at = profile.place(day)
    end, oldest = at - days + 1, max(at - LOOK_BACK_DAYS, 0)  # whatever else the profile holds
    landed = oldest + np.flatnonzero(profile.rows[oldest : at + 1])
    out = {profile.place(each) for each in left_out} - {at}
    now = np.array([n for n in range(end, at + 1) if n not in out])
    first = max(int(landed[0]) if len(landed) else at, end - HISTORY_DAYS)
    cuts = sorted(
        {first, min(max(profile.place(accepted), first), end) if accepted else first, end}
    )
    for begins, ends in pairwise(cuts):
        before = [n for n in range(begins, ends) if n not in out]
        with_rows = sum(profile.rows[n] > 0 for n in before)
        if ends - begins >= LEAST_AGE and with_rows >= LEAST_DAYS:
            yield Span(now, np.array(before))


def _rows(profile: Profile, span: Span) -> Verdict:
    """Rows that repeat earlier ones; more or fewer than on such weekdays."""
    expected, spread = _expected_rows(profile, span)
    got = float(profile.rows[span.now].sum())
    times = got / expected if expected else None
    said = f"{got:,.0f} rows where about {expected:,.0f} are usual"
    said += "" if times is None else f" (x {_figure(times)})"
    for repeated in profile.repeated:
        if share := _share(repeated.counts["again"], repeated.counts["rows"], span, AGAIN_DAYS):
            before, now = share
            if now > before:
                return times, f"{now:.0%} of the rows landed before, usually {before:.0%}: {said}"
    large = not FEWER * expected < got < MORE * expected
    return (
        (times, said) if large and _chance_of_rows(got, expected, spread) < CHANCE_OF_ROWS else None
    )


def _expected_rows(profile: Profile, span: Span) -> tuple[float, float]:
    """How many rows are usual on such weekdays, and how much more than chance they differ, as a
    variance.
    """
    rows = profile.rows[span.before].astype(float)
    weekday, weekdays_now = (
        (places + profile.first.weekday()) % 7 for places in (span.before, span.now)
    )
    days = np.array([(weekday == n).sum() for n in range(7)])
    means = np.where(days, np.bincount(weekday, rows, 7) / np.maximum(days, 1), rows.mean())
    fitted = means[weekday]
    recent = fitted[-RECENT_DAYS:].sum()
    level = rows[-RECENT_DAYS:].sum() / recent if recent else 1.0
    off = float(((rows - fitted) ** 2 / np.maximum(fitted, 0.5)).sum()) / max(len(rows) - 7, 1)
    few_weeks = 1 + 1 / float(np.maximum(days[weekdays_now], 1).mean())
    return float(level * means[weekdays_now].sum()), max(1.0, off) * few_weeks


def _chance_of_rows(got: float, expected: float, spread: float) -> float:
    """The probability of so few, or so many, of a Poisson count with a larger variance."""
    n, e = got / spread, max(expected, 0.5) / spread
    return float(gammaincc(n + 1, e) if got < expected else gammainc(max(n, 1e-9), e))


def _column(column: Column, span: Span) -> Verdict:
    """The change of a column that says most of what changed in it."""
    for judge in (_constant, _level, _categories, _shares, _new_values):
        if verdict := judge(column, span):
            return verdict
    return None


def _valued(column: Column) -> np.ndarray:
    return np.asarray(column.counts["rows"] - column.counts["empty"])


def _constant(column: Column, span: Span) -> Verdict:
    """One value only, and now another; many values, and now one only."""
    valued, most, again = _valued(column), column.counts["most"], column.counts["again"]
    before, now = _last(span, AGAIN_DAYS), span.now
    rows, others = valued[before].sum(), (valued[now] - again[now]).sum()
    if rows >= CONSTANT_ROWS and rows == most[before].sum() == again[before].sum() and others:
        return None, f"had one value in all of {rows:,.0f} rows, and now another in {others:,.0f}"
    share, rows_now = most[before].sum() / max(rows, 1), valued[now].sum()
    same = len(now) == 1 and rows_now == most[now].sum()
    if same and rows_now >= LEAST_ROWS and share < 1 - SHARE and share**rows_now < CHANCE:
        return (
            None,
            f"has one value in all of {rows_now:,.0f} rows, usually in {share:.0%} of a day",
        )
    return None


def _level(column: Column, span: Span) -> Verdict:
    """Sizes that are larger or smaller by a factor: a unit, a currency, a price."""
    size, error = _log_factor(column, span)
    if abs(size) < LEVEL or 2 * ndtr(-abs(size) / error) >= CHANCE:
        return None
    times, power = float(np.exp(size)), round(size / np.log(10))
    unit = bool(power) and abs(size - power * np.log(10)) < 0.2
    times = 10.0**power if unit else times
    now, before = (_typical(column, places) for places in (span.now, span.before))
    hint = ": another unit?" if unit else ""
    return (
        times,
        f"x {_figure(times)}, typically {_figure(now)} where {_figure(before)} is usual{hint}",
    )


def _log_factor(column: Column, span: Span) -> tuple[float, float]:
    """The logarithm of the factor between usual sizes and those of now, and its standard error."""
    sized, logs, squares = (
        column.counts[name].astype(float) for name in ("sized", "log", "square")
    )
    days = span.before[sized[span.before] > 0]
    rows, rows_before = sized[span.now].sum(), sized[days].sum()
    if rows < LEAST_ROWS or rows_before < LEAST_BEFORE or len(days) < LEAST_DAYS:
        return 0.0, 1.0
    mean, mean_now = logs[days].sum() / rows_before, logs[span.now].sum() / rows
    within = max(squares[days].sum() / rows_before - mean**2, 0.0)
    within_now = max(squares[span.now].sum() / rows - mean_now**2, within)
    apart = float((sized[days] * (logs[days] / sized[days] - mean) ** 2).sum()) / rows_before
    of_days = max(
        apart - within * len(days) / rows_before, 0.0
    )  # beyond what chance makes of their rows
    variance = (
        within_now / rows + within / rows_before + of_days * (1 / len(span.now) + 1 / len(days))
    )
    return float(mean_now - mean) / LOGS, max(float(np.sqrt(variance)) / LOGS, 1e-6)


def _typical(column: Column, places: np.ndarray) -> float:
    """The geometric mean of sizes."""
    return float(
        np.exp(column.counts["log"][places].sum() / column.counts["sized"][places].sum() / LOGS)
    )


def _categories(column: Column, span: Span) -> Verdict:
    """Few values, of which one is new, is gone, or has another share."""
    here = column.values[:, np.concatenate([span.before, span.now])].any(axis=1)
    if here.sum() > FEW:
        return None
    shares = (_share(rows, _valued(column), span) for rows in column.values[here])
    moved = [share for share in shares if share]
    gone = [before for before, now in moved if now == 0]
    new = [now for before, now in moved if before == 0]
    if not moved:
        return None
    if not gone and not new:
        before, now = max(moved, key=lambda share: abs(share[1] - share[0]))
        return None, f"a value has {now:.0%} of the rows, usually {before:.0%}"
    says = []
    if gone:
        says.append(f"no row has {_values(gone)} of usually {sum(gone):.0%}")
    if new:
        says.append(f"{sum(new):.0%} have {_values(new)} that no row had before")
    factor, sizes = _sizes(column, span)
    renamed = ": renamed?" if gone and new and not sizes else ""
    return factor, ", and ".join(says) + sizes + renamed


def _values(shares: list[float]) -> str:
    return "a value" if len(shares) == 1 else f"{len(shares)} values"


def _shares(column: Column, span: Span) -> Verdict:
    """Rows without a value, with 0, or below it."""
    for name, words in (("empty", "empty"), ("zero", "0"), ("negative", "below 0")):
        if share := _share(column.counts[name], column.counts["rows"], span):
            return None, f"{words} in {share[1]:.0%} of the rows, usually in {share[0]:.0%}"
    return None


def _new_values(column: Column, span: Span) -> Verdict:
    """Values that did not land before, where most usually did: the pence of another currency, other
    codes.
    """
    share = _share(column.counts["again"], _valued(column), span, AGAIN_DAYS)
    if share is None or share[1] > share[0]:
        return None
    factor, sizes = _sizes(column, span)
    says = (
        f"{share[1]:.0%} of the rows have a value of the four weeks before, usually {share[0]:.0%}"
    )
    return factor, f"{says}{sizes or ': other codes?'}"


def _sizes(column: Column, span: Span) -> tuple[float | None, str]:
    """The factor between sizes of other values, where it is none by chance, and it in
    words.
    """
    size, error = _log_factor(column, span)
    if not size:
        return None, ""
    low, times, high = (float(np.exp(size + way * 1.96 * error)) for way in (-1, 0, 1))
    factor = times if abs(size) > max(LEVEL, 2 * error) else None
    return (
        factor,
        f" (x {_figure(times)}, {_figure(low)} to {_figure(high)}): a currency, a price list?",
    )


def _share(
    part: np.ndarray, whole: np.ndarray, span: Span, days: int = HISTORY_DAYS
) -> tuple[float, float] | None:
    """The usual share of rows and that of now, where they differ by more than chance; else None."""
    before = _last(span, days)
    k, n = float(part[span.now].sum()), float(whole[span.now].sum())
    k_before, n_before = float(part[before].sum()), float(whole[before].sum())
    if n < LEAST_ROWS or n_before < LEAST_BEFORE:
        return None
    usual, share = (k_before + 0.5) / (n_before + 1), k / n
    if abs(share - k_before / n_before) < SHARE:
        return None
    some = before[whole[before] > 0]
    off = (part[some] - whole[some] * usual) ** 2 / (whole[some] * usual * (1 - usual))
    spread = max(1.0, float(off.mean())) * (1 + n / n_before)
    k, n = k / spread, n / spread
    chance = betainc(k, n - k + 1, usual) if share > usual else betainc(n - k, k + 1, 1 - usual)
    return (k_before / n_before, share) if chance < CHANCE else None


def _last(span: Span, days: int) -> np.ndarray:
    """The last days before a span."""
    return span.before[span.before >= span.now[0] - days]


def _figure(number: float) -> str:
    """A number in three figures.

    >>> _figure(2340.4), _figure(0.9213)
    ('2,340', '0.921')
    """
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
