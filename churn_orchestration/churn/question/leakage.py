"""Signs that a feature knows the outcome: probes on the rows that are about to train a model.

The perturbation proof finds features that read later rows. What it cannot see is a value that was
written into an earlier row afterwards, or a label that is made of a feature; these leave other
traces, sought here. Imports the learners' libraries, so import this module inside the function that
trains.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from scipy.stats import poisson, rankdata
from sklearn.tree import DecisionTreeClassifier

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.origin import Origin
from churn_orchestration.churn.question.halves import auc, halves, numbers

SEED = 20_111_209
LEAVES, LEAF_SHARE = 6, 0.02

# Between what clean and what planted features reach: `python -m benchmarks.gates`.
ANSWER_AUC = 0.95
STRONG_AUC, GAIN = 0.88, 0.04
SURE_SHARE, SURE_CHANCE, WEAK_CHANCE = 0.1, 1e-6, 1e-4
TWIN = 0.95
PAIR = 0.8
SUSPECT_AUC, SUSPECT_SHARE, MOST_SUSPECTS = 0.80, 0.34, 12
RECENCY, TERM = "recency", "a minimum term"
_SPAN = re.compile("tenure|span|lifetime|duration")
_LANDED = "it only counts and dates events that had landed by then, so nobody wrote it afterwards"


@dataclass(frozen=True)
class Leak:
    """A feature that knows too much: the evidence, and what most likely made it so.

    ``blocking``: nothing is trained on it; else the evidence is weak, and it is a warning.
    ``innocent``: what it is where it is no leak, if anything likely is.
    """

    feature: str
    evidence: str
    cause: str
    blocking: bool = True
    innocent: str = ""

    def __str__(self) -> str:
        return f"{self.feature} {self.evidence}: {self.cause}"


def find(
    snapshot: pd.DataFrame,
    entity: str,
    features: list[str],
    horizon: Horizon,
    origins: Mapping[str, Origin],
    vouched: Collection[str] = (),
) -> list[Leak]:
    """Leaks among the features of a snapshot, the strongest first; each feature alone, on later
    rows.

    Every feature alone is a small tree, fitted on purged earlier as_ofs and judged on the newest
    (one as_of only: fitted on some entities and judged on others). Three signs, each against what
    all *other* features say of the same rows, for much is known of a good customer and no leak.
    Others share neither the family nor a column with it: what is written into a column shows in
    every feature that reads it.

    * it ranks nearly without fault: AUC of ANSWER_AUC or more
    * it says what nothing else says: with it the AUC rises by GAIN, and alone it has STRONG_AUC
    * it is sure where nothing else is: in a leaf, less than SURE_SHARE of the exceptions that the
      others expect, beyond chance; a warning where chance is not below SURE_CHANCE

    And of all pairs the one that answers together, though neither does alone.

    An ordered quantity at one end of whose range nobody churns, and that says little elsewhere, may
    be a minimum term. It is a warning, as any sure leaf is, of a feature that only counts and dates
    events whose landing proves that they had arrived by as_of: nobody wrote them afterwards.

    Parameters
    ----------
    snapshot : n rows with the columns ``entity``, as_of, label and the features, of any type
    origins : where each feature comes from; one that is named nowhere is a family of its own
    vouched : of the features, those that may know much: none of them is judged, and all others may
        know it
    """
    earlier, later = halves(snapshot, entity, horizon)
    if earlier["label"].nunique() < 2 or later["label"].nunique() < 2:
        return []
    return _Probe(earlier, later, features, origins, vouched).leaks()


@dataclass(frozen=True)
class _Alone:
    """One feature alone on the later rows: its AUC, its leaf of each row, and what the leaf
    forecasts.
    """

    auc: float
    leaf: np.ndarray
    forecast: np.ndarray


@dataclass(frozen=True)
class _Range:
    """A range of a feature with few exceptions, in words; the chance of as few by what the others
    know.
    """

    words: str
    rows: int
    chance: float

    @property
    def is_sure(self) -> bool:
        return self.chance < WEAK_CHANCE

    @property
    def is_certain(self) -> bool:
        return self.chance < SURE_CHANCE


class _Probe:
    def __init__(
        self,
        earlier: pd.DataFrame,
        later: pd.DataFrame,
        features: list[str],
        origins: Mapping[str, Origin],
        vouched: Collection[str],
    ) -> None:
        self.label, self.outcome = earlier["label"].to_numpy(bool), later["label"].to_numpy(bool)
        self.ordered = {name for name in features if _is_ordered(later[name])}
        self.earlier, self.later = numbers(earlier, later, features)
        self.features = [name for name in self.earlier if name in features]
        self.vouched = set(vouched)
        self.origins = {name: origins.get(name, Origin(name)) for name in self.earlier}

    def leaks(self) -> list[Leak]:
        result = [leak for name in self._suspects() if (leak := self._judged(name))]
        result.sort(key=lambda leak: (not leak.blocking, -self.alone[leak.feature].auc))
        named: dict[Collection[str], Leak] = {}  # one is enough to name a column
        for leak in result:
            named.setdefault(self.origins[leak.feature].columns or leak.feature, leak)
        return [*named.values(), *self._answer_together({leak.feature for leak in result})]

    def _answer_together(self, named: Collection[str]) -> list[Leak]:
        """The pair that answers best together and not alone, if any does: as one that is the other
        xor label.

        All pairs are tried at once: how far the product of their ranks goes with the outcome, as a
        correlation. What two honest features say together stays far below PAIR.
        """
        names = [name for name in self.alone if name not in named]
        if len(names) < 2:
            return []
        ranks = self.later[names].rank()
        z = ((ranks - ranks.mean()) / ranks.std().clip(lower=1e-9)).fillna(0.0).to_numpy(float)
        y, rows = (self.outcome - self.outcome.mean()) / self.outcome.std(), len(z)
        spread = np.sqrt(np.maximum((z**2).T @ z**2 / rows - (z.T @ z / rows) ** 2, 1e-9))
        going = np.triu(np.abs((z * y[:, None]).T @ z) / rows / spread, 1)
        one, two = (names[place] for place in np.unravel_index(going.argmax(), going.shape))
        if going.max() < PAIR:
            return []
        alone = f"alone AUC {self.alone[one].auc:.3f} and {self.alone[two].auc:.3f}"
        evidence = f"answer together (r = {going.max():.3f}; {alone})"
        return [
            Leak(
                f"{one} and {two}", evidence, "most likely one is made of the other and the outcome"
            )
        ]

    @cached_property
    def alone(self) -> dict[str, _Alone]:
        judged = (
            name for name in self.earlier if name.partition(" modulo ")[0] not in self.vouched
        )
        return {
            name: self._tree(name)
            for name in judged
            if self.earlier[name].nunique(dropna=False) > 1
        }

    def _tree(self, name: str) -> _Alone:
        least = max(5, int(LEAF_SHARE * len(self.earlier)))
        tree = DecisionTreeClassifier(
            max_leaf_nodes=LEAVES, min_samples_leaf=least, random_state=SEED
        )
        tree.fit(self.earlier[[name]], self.label)
        forecast = tree.predict_proba(self.later[[name]])[:, 1]
        return _Alone(auc(self.outcome, forecast), tree.apply(self.later[[name]]), forecast)

    def _suspects(self) -> list[str]:
        """Features that rank well, or have a leaf with few exceptions: the only ones worth a closer
        look.
        """
        base = self.outcome.mean()

        def fewest(alone: _Alone) -> Iterator[tuple[float, float]]:
            """Of every leaf, the share of exceptions of those that the churn rate expects, and its
            chance.
            """
            for leaf in np.unique(alone.leaf):
                hit = self.outcome[alone.leaf == leaf]
                if len(hit) >= LEAF_SHARE * len(self.outcome):
                    for exceptions, expected in ((~hit).sum(), 1 - base), (hit.sum(), base):
                        least = expected * len(hit)
                        yield exceptions / least, float(poisson.logcdf(exceptions, least))

        def first(worth: Mapping[str, Any]) -> list[str]:
            best: dict[
                Collection[str], str
            ] = {}  # one speaks for all that read its columns, or its family
            for name in sorted(worth, key=lambda name: worth[name]):
                best.setdefault(self.origins[name].columns or self.origins[name].family, name)
            return list(best.values())[:MOST_SUSPECTS]

        leaves = {name: list(fewest(alone)) for name, alone in self.alone.items()}
        sure = {
            name: min(result)
            for name, result in leaves.items()
            if result and min(result)[0] < SUSPECT_SHARE
        }
        unlikely = {name: min(chance for _, chance in leaves[name]) for name in sure}
        rank = {name: -alone.auc for name, alone in self.alone.items() if alone.auc >= SUSPECT_AUC}
        return list(dict.fromkeys([*first(rank), *first(sure), *first(unlikely)]))

    def _judged(self, name: str) -> Leak | None:
        alone, kept, landed = self.alone[name].auc, self._others(name), self.origins[name].landed
        others = self._forecast(kept)
        gain = 0.0
        if STRONG_AUC <= alone < ANSWER_AUC:
            gain = auc(self.outcome, self._forecast([*kept, name])) - auc(self.outcome, others)
        sure = self._sure_leaf(name, others)
        if alone < ANSWER_AUC and gain < GAIN and not sure:
            return None
        if (landed or gain < GAIN) and (free := self._free_end(name, others)):
            why = f"; {_LANDED}" if landed else ", or it was written when the outcome was known"
            cause = f"nobody there can or does leave ({TERM}?){why}"
            return Leak(name, free.words, cause, free.is_certain and not landed, TERM)
        if alone >= ANSWER_AUC:
            evidence = f"alone ranks the outcome with AUC {alone:.3f} on rows unseen"
            return Leak(name, evidence, f"most likely {self._disguise(name) or _answer(name)}")
        if gain >= GAIN:
            evidence = f"(AUC {alone:.3f} alone) adds {gain:.3f} to the AUC of all other features"
            after = "it was written, or written over, after the outcome"
            return Leak(name, evidence, f"most likely {self._disguise(name) or after}")
        assert sure is not None
        if landed:
            return Leak(
                name, sure.words, f"a habit or a rule of the business; {_LANDED}", blocking=False
            )
        mark = "a mark that was set when the outcome was known"
        return Leak(
            name, sure.words, f"most likely {self._disguise(name) or mark}", sure.is_certain
        )

    def _sure_leaf(self, name: str, others: np.ndarray) -> _Range | None:
        """The leaf with hardly an exception where the others expect some, the least likely by
        chance.
        """
        leaf, result = self.alone[name].leaf, list[_Range]()
        for at in (leaf == one for one in np.unique(leaf)):
            churned = self.outcome[at].sum(), others[at].sum()
            stayed = at.sum() - churned[0], (1 - others[at]).sum()
            result += [
                self._range(name, at, *stayed, "stay"),
                self._range(name, at, *churned, "churn"),
            ]
        return min((one for one in result if one.is_sure), key=lambda one: one.chance, default=None)

    def _free_end(self, name: str, others: np.ndarray) -> _Range | None:
        """The end of an ordered quantity's range where nobody churns, the widest; None: there is
        none.

        Nor is there one where the rest is as sure: a minimum term says who cannot leave, not who
        does.
        """
        result, alone = list[_Range](), self.alone[name]
        values = self.later[name].to_numpy(float)
        for leaf in np.unique(alone.leaf) if name in self.ordered else ():
            inside = values[(alone.leaf == leaf) & ~np.isnan(values)]
            for end in (values <= inside.max(), values >= inside.min()) if len(inside) else ():
                rest = ~end
                stay, leave = (~self.outcome[rest]).sum(), self.outcome[rest].sum()
                is_open = leave and stay > SURE_SHARE * (1 - others[rest]).sum()
                if is_open and auc(self.outcome[rest], alone.forecast[rest]) < STRONG_AUC:
                    result.append(
                        self._range(name, end, self.outcome[end].sum(), others[end].sum(), "churn")
                    )
        return max((one for one in result if one.is_sure), key=lambda one: one.rows, default=None)

    def _range(
        self, name: str, at: np.ndarray, exceptions: int, expected: float, what: str
    ) -> _Range:
        low, high = self.later.loc[at, name].min(), self.later.loc[at, name].max()
        words = (
            f"from {low:.6g} to {high:.6g} has {exceptions} of {at.sum()} customers that {what}, "
            f"where all other features together expect {expected:.0f}"
        )
        few = exceptions < SURE_SHARE * expected
        return _Range(
            words, int(at.sum()), float(poisson.cdf(exceptions, expected)) if few else 1.0
        )

    def _disguise(self, name: str) -> str:
        """What it is, where it is silence under whatever name, in words; empty: nothing says so."""
        made = "if the label is made of that silence, ask of a later outcome"
        if self.origins[name].family == RECENCY:
            return "the label is made of it, the silence up to as_of: ask of a later outcome"
        values = self.later[name]
        for other in self.features:
            if self.origins[other].family == RECENCY:
                both = values.notna() & self.later[other].notna()
                if (
                    both.sum() <= values.notna().sum() / 2
                ):  # of the few that have both, nothing follows
                    continue
                if _agree(rankdata(values[both]), self.later.loc[both, other].to_numpy()) >= TWIN:
                    return f"recency in disguise, for it ranks as {other} does: {made}"
        if _SPAN.search(name):
            return (
                "recency in disguise: a span that ends with the last event, of customers who began "
                f"together, is the time since then less the silence; {made}"
            )
        return ""

    def _others(self, name: str) -> list[str]:
        """The features of other families and columns that do not rank as it does, and all vouched
        ones.
        """
        mine, rank = self.origins[name], rankdata(self.alone[name].forecast)

        def is_other(other: str) -> bool:
            theirs = self.origins[other]
            if theirs.family == mine.family or theirs.columns & mine.columns or other == name:
                return False
            return not (other in self.alone and _agree(rank, self.alone[other].forecast) >= TWIN)

        return [other for other in self.features if other in self.vouched or is_other(other)]

    def _forecast(self, kept: list[str]) -> np.ndarray:
        """What a small model of some features forecasts of the later rows."""
        if not kept:
            return np.full(len(self.outcome), self.label.mean())
        model = LGBMClassifier(
            n_estimators=100, learning_rate=0.08, num_leaves=6, colsample_bytree=0.6,
            min_child_samples=min(50, len(self.label) // 5), deterministic=True,
            force_row_wise=True, n_jobs=1, random_state=SEED, verbose=-1,
        )  # fmt: skip
        model.fit(self.earlier[kept].to_numpy(float), self.label)
        return np.asarray(model.predict_proba(self.later[kept].to_numpy(float)))[:, 1]


def _is_ordered(values: pd.Series) -> bool:
    """Whether it is a quantity with a range: a number of more than two values."""
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return is_number and values.nunique() > 2


def _answer(name: str) -> str:
    return (
        f"the label is made of it, or it of the label: take {name} out, or ask of a later outcome"
    )


def _agree(rank: np.ndarray, forecast: np.ndarray) -> float:
    if np.ptp(forecast) == 0 or np.ptp(rank) == 0:
        return 0.0
    return float(abs(np.corrcoef(rank, rankdata(forecast))[0, 1]))
