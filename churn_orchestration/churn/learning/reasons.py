"""Why a customer is at risk: the few topics that moved a row's log odds of churn the most, in
words.
"""

import re
from collections.abc import Callable, Collection
from functools import cached_property

import numpy as np
import pandas as pd

from churn_orchestration.churn.features.catalogue import LOWERS, RAISES, worded
from churn_orchestration.churn.features.declared import ALL
from churn_orchestration.churn.features.feature import ACTIVITY, topic_of

SENSE = {"recency": 1, "frequency": -1, "trend": -1, "velocity": -1, "momentum": -1, "value": -1}
"""Whether a high value raises the risk (1) or lowers it (-1) by common sense; of others it may do
either.
"""
LONG = 1.5  # usual gaps; a silence that is longer is worth the word "none"
_SHOWS_VALUE = re.compile(r"\{(value|many|much|ago)")
AGAINST = " (alone it would speak the other way; the rest of the picture outweighs it)"


def reasons(
    contributions: pd.DataFrame,
    features: pd.DataFrame,
    catalogue: pd.DataFrame,
    top: int = 3,
    among: pd.DataFrame | None = None,
    withheld: Collection[str] = (),
) -> list[list[str]]:
    """Name for each row the ``top`` topics with the largest absolute sum of contributions.

    Features of one topic say nearly the same thing, and a model splits their effect among them at
    will; only the sum is stable, and only its sign is shown. What is null or 0 because nothing
    happened in its window is silence, and counts as activity whatever it measures, so "no order" is
    not shown three times. The words of a topic are those of its member that pushes most in the
    sum's direction and does so by common sense: compared with the median row, few orders raise the
    risk, say. Where none does, the words say so.

    Parameters
    ----------
    contributions : n x f, additive, log odds of churn
    features : n x f or wider, same row order; the values that the words show, NaN = never or
        undefined
    catalogue : one row a feature, indexed by its name; source, family and window ("30d", "all" or
        ""); phrase, a format string of one ``value`` ("last order {value:.0f} days ago");
        null_phrase, shown for NaN ("no order yet"); zero_phrase, shown for 0 where it is there and
        not empty
    top : number of topics, > 0
    among : the rows whose median row each is compared with, as wide; None: ``features``
    withheld : topics that are not named, such as "orders/money"

    Returns
    -------
    n lists of at most ``top`` texts, strongest first, each led by "↑ " (raises the risk) or "↓ "
    (lowers it); a topic that moves nothing is not named

    Raises
    ------
    ValueError : a feature has no catalogue row, no values or no phrase that is needed; row counts
        differ

    >>> words = {"source": "fee", "family": "fee", "window": "", "phrase": "pays {value:.0f}"}
    >>> words = pd.DataFrame(words | {"null_phrase": "pays nothing"}, index=["fee"])
    >>> reasons(pd.DataFrame({"fee": [0.4, -0.1]}), pd.DataFrame({"fee": [50.0, None]}), words)
    [['↑ pays 50'], ['↓ pays nothing']]
    """
    table = _Table(contributions, features, catalogue, features if among is None else among)
    sums = table.shown(withheld)
    ranked = np.argsort(-np.abs(sums), axis=1, kind="stable")[:, :top]
    moved = np.take_along_axis(sums, ranked, axis=1)
    return [
        [(RAISES if by > 0 else LOWERS) + words for by, words in zip(*row, strict=True) if by]
        for row in zip(moved.tolist(), table.say(ranked, moved != 0).tolist(), strict=True)
    ]


def factors(
    contributions: pd.DataFrame,
    features: pd.DataFrame,
    catalogue: pd.DataFrame,
    top: int = 3,
    among: pd.DataFrame | None = None,
    withheld: Collection[str] = (),
) -> tuple[list[list[str]], list[list[str]]]:
    """Name for each row the ``top`` topics that raise its risk most, and those that lower it most.

    Parameters, words and what is raised as of ``reasons``, but without an arrow.

    >>> words = {"family": ["fee", "visits"], "window": "", "phrase": ["pays {value:.0f}", "came"]}
    >>> words = pd.DataFrame(words | {"source": "a", "null_phrase": "-"}, index=["fee", "visits"])
    >>> moved = pd.DataFrame({"fee": [0.4], "visits": [-0.1]})
    >>> factors(moved, pd.DataFrame({"fee": [50.0], "visits": [1.0]}), words)
    ([['pays 50']], [['came']])
    """
    table = _Table(contributions, features, catalogue, features if among is None else among)

    def named(sums: np.ndarray) -> list[list[str]]:
        ranked = np.argsort(-sums, axis=1, kind="stable")[:, :top]
        raised = np.take_along_axis(sums, ranked, axis=1) > 0
        return [[words for words in row if words] for row in table.say(ranked, raised).tolist()]

    sums = table.shown(withheld)
    return named(sums), named(-sums)


def topic_sums(
    contributions: pd.DataFrame, features: pd.DataFrame, catalogue: pd.DataFrame
) -> pd.DataFrame:
    """What each topic adds to each row's log odds; n x topics, by name. Parameters as of
    ``reasons``.
    """
    table = _Table(contributions, features, catalogue, features)
    return pd.DataFrame(table.sums, columns=list(table.names))


class _Table:
    """Feature values with their words and topics; arrays are n x f in the order of the
    contributions.
    """

    def __init__(
        self,
        contributions: pd.DataFrame,
        features: pd.DataFrame,
        catalogue: pd.DataFrame,
        among: pd.DataFrame,
    ) -> None:
        _refuse_misfits(contributions, features, catalogue)
        self.push = contributions.to_numpy(float)
        zero_phrases = (
            catalogue["zero_phrase"] if "zero_phrase" in catalogue else [""] * len(catalogue)
        )
        phrases = zip(catalogue["phrase"], catalogue["null_phrase"], zero_phrases, strict=True)
        self.phrases = dict(zip(catalogue.index, phrases, strict=True))
        self.values = {
            name: features[name].to_numpy(float) for name in catalogue.index if name in features
        }
        self.above = {
            name: _above_median(values, among[name].to_numpy(float))
            for name, values in self.values.items()
        }
        words, self.features = catalogue.loc[contributions.columns], list(contributions.columns)
        sources, families = words["source"].astype(str), words["family"].astype(str)
        topics = pd.Index([topic_of(*about) for about in zip(sources, families, strict=True)])
        silences = pd.Index(sources + "/" + ACTIVITY)
        self.names = topics.union(silences, sort=False).unique()
        self.topics, self.silences = (
            self.names.get_indexer(topics),
            self.names.get_indexer(silences),
        )
        self.members = [np.flatnonzero(self.topics == topic) for topic in range(len(self.names))]
        self.idle = np.column_stack(
            [self._idle(*about) for about in zip(sources, words["window"], strict=True)]
        )
        self.sense = np.column_stack(
            [self.above[name] * SENSE.get(family, 0) for name, family in families.items()]
        )
        """What a value does by common sense: 1 raises the risk, -1 lowers it, 0 may do either."""
        self.is_condition = np.array(
            [not _SHOWS_VALUE.search(str(phrase)) for phrase in words["phrase"]]
        )

    @cached_property
    def sums(self) -> np.ndarray:
        """n x topics: what each topic adds to the log odds."""
        of_topic, of_silence = (
            at[:, None] == np.arange(len(self.names)) for at in (self.topics, self.silences)
        )
        return (
            np.where(self.idle, 0.0, self.push) @ of_topic
            + np.where(self.idle, self.push, 0.0) @ of_silence
        )

    def shown(self, withheld: Collection[str]) -> np.ndarray:
        """The sums, but 0 of the topics that are withheld."""
        return np.where(np.isin(self.names.to_numpy(str), list(withheld)), 0.0, self.sums)

    def _idle(self, source: str, window: str | None) -> np.ndarray:
        """Where a feature is what it is because nothing happened in its window."""
        silence = self.values.get(f"{source}_days_since_last")
        if silence is None or not window:
            return np.zeros(len(self.push), bool)
        days = np.inf if window == ALL else int(window.removesuffix("d"))
        return np.isnan(silence) | (silence >= days)

    def say(self, topics: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """The words of topics, rows x some of them; empty where one is not ``shown``."""
        result = np.full(topics.shape, "", object)
        for topic in np.unique(topics[shown]):
            rows, places = np.nonzero(shown & (topics == topic))
            result[rows, places] = self._of_topic(int(topic), rows)
        return result

    def _of_topic(self, topic: int, rows: np.ndarray) -> np.ndarray:
        """The words of a topic in some rows, each of which it moves."""
        source, _, name = self.names[topic].partition("/")
        direction = np.sign(self.sums[rows, topic])
        is_pattern = name == ACTIVITY and f"{source}_days_since_last" in self.values
        result, is_said = np.full(len(rows), "", object), np.zeros(len(rows), bool)
        if is_pattern:
            result, is_said = self._pattern(source, rows, direction)
        others = np.flatnonzero(~is_said)
        # In place of a pattern speaks only what common sense is sure of.
        feature, is_against = self._speaking(
            topic, rows[others], direction[others], least=1 if is_pattern else 0
        )
        for member in np.unique(feature[~is_against] if is_pattern else feature):
            speaks = (feature == member) & ~(is_against & is_pattern)
            result[others[speaks]] = self._worded(self.features[member], rows[others[speaks]])
        result[others[is_against]] += AGAINST
        return result

    def _speaking(
        self, topic: int, rows: np.ndarray, direction: np.ndarray, least: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows the member of a topic whose words it has, and whether it speaks against the
        direction; a condition that holds goes before all others.
        """
        members = self.members[topic]
        if not len(members):
            return np.zeros(len(rows), int), np.ones(len(rows), bool)
        cells, toward = np.ix_(rows, members), direction[:, None]
        awake, push = ~self.idle[cells], self.push[cells] * toward
        values = np.column_stack([self.values[self.features[m]][rows] for m in members])
        held = awake & self.is_condition[members] & (values == 1)
        sensible = awake & (push > 0) & (self.sense[cells] * toward >= least)
        strongest = [np.where(some, push, -np.inf).argmax(axis=1) for some in (sensible, awake)]
        is_held, is_sensible = held.any(axis=1), sensible.any(axis=1)
        place = np.select([is_held, is_sensible], [held.argmax(axis=1), strongest[0]], strongest[1])
        return members[place], ~(is_held | is_sensible)

    def _pattern(
        self, source: str, rows: np.ndarray, direction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How often the events of a source come and how long ago the last was; is that sensible?"""
        last, usual, ratio = (
            f"{source}_{end}" for end in ("days_since_last", "gap_days_mean_all", "gap_ratio_all")
        )
        silence, lately = self.values[last][rows], self._worded(last, rows)
        leaning = np.column_stack(
            [self.above[name][rows] * direction for name in (last, usual, ratio)
             if name in self.above]
        )  # fmt: skip
        is_sensible = (leaning > 0).any(axis=1) | ~leaning.any(axis=1)
        is_sensible = np.where(np.isnan(silence), direction > 0, is_sensible)
        if usual not in self.values:
            gap, often = np.full(len(rows), np.nan), np.full(len(rows), "", object)
        else:
            gap, often = self.values[usual][rows], self._worded(usual, rows)
        is_long = silence > LONG * gap
        lately[is_long] = _of_distinct(
            silence[is_long], lambda value: worded(value, "none for {value:.0f} days", "")
        )
        once = ~np.isnan(silence) & np.isnan(gap)
        again = ~np.isnan(silence) & ~np.isnan(gap)
        lately[once] += ", and on no other day"
        lately[again] = often[again] + ", " + lately[again]
        return lately, is_sensible

    def _worded(self, feature: str, rows: np.ndarray) -> np.ndarray:
        """The values of a feature in some rows, in words."""
        phrase, null_phrase, zero_phrase = self.phrases[feature]
        return _of_distinct(
            self.values[feature][rows],
            lambda value: worded(value, phrase, null_phrase, zero_phrase or ""),
        )


def _of_distinct(values: np.ndarray, text: Callable[[float], str]) -> np.ndarray:
    """The text of each value, made once of each distinct one; 0 and -0 are two."""
    distinct, place = np.unique(values.view(np.int64), return_inverse=True)
    said = np.empty(len(distinct), object)
    said[:] = [text(value) for value in distinct.view(float).tolist()]
    return said[place]


def _above_median(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """1 where a value is above the median row's, -1 below, 0 at it or null."""
    known = among[~np.isnan(among)]
    return (
        np.nan_to_num(np.sign(values - np.median(known))) if len(known) else np.zeros(len(values))
    )


def _refuse_misfits(
    contributions: pd.DataFrame, features: pd.DataFrame, catalogue: pd.DataFrame
) -> None:
    names = contributions.columns
    if unknown := sorted(set(names) - set(catalogue.index)):
        raise ValueError(f"features without a catalogue row: {unknown}")
    if absent := sorted(set(names) - set(features.columns)):
        raise ValueError(f"features without values: {absent}")
    if len(contributions) != len(features):
        raise ValueError(
            f"{len(contributions)} rows of contributions, but {len(features)} of features"
        )
    wording, null = catalogue.loc[names], np.isnan(features[names].to_numpy(float))
    for column, needed in (("phrase", ~null), ("null_phrase", null)):
        if unworded := names[needed.any(axis=0) & wording[column].isna().to_numpy()].tolist():
            raise ValueError(f"catalogue has no {column} for {unworded}")
