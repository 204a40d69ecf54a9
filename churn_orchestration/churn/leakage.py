"""Signs that a feature knows the outcome: probes on the rows that are about to train a model.

The perturbation proof finds features that read later rows. What it cannot see is a value that was written
into an earlier row afterwards, or a label that is made of a feature; these leave other traces, sought here.
Imports the learners' libraries, so import this module inside the function that trains.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from scipy.stats import poisson, rankdata
from sklearn.tree import DecisionTreeClassifier

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.splits import entity_folds, folds

SEED = 20_111_209
MOST_ROWS = 20_000  # an AUC of 0.95 is known to 0.003 on them
LEAVES, LEAF_SHARE = 6, 0.02

# Between what clean and what planted features reach: `python -m benchmarks.gates`.
ANSWER_AUC = 0.95
STRONG_AUC, GAIN = 0.88, 0.04
SURE_SHARE, SURE_CHANCE = 0.1, 1e-6
TWIN = 0.95
SUSPECT_AUC, SUSPECT_SHARE, MOST_SUSPECTS = 0.80, 0.34, 12
RESIDUES = (2, 3, 5, 7, 10)


@dataclass(frozen=True)
class Leak:
    """A feature that knows too much: the evidence, and what most likely made it so."""

    feature: str
    evidence: str
    cause: str

    def __str__(self) -> str:
        return f"{self.feature} {self.evidence}: most likely {self.cause}"


def find(
    snapshot: pd.DataFrame, entity: str, features: list[str], horizon: Horizon, families: Mapping[str, str]
) -> list[Leak]:
    """Leaks among the features of a snapshot, the strongest first; each feature alone, on later rows.

    Every feature alone is a small tree, fitted on purged earlier as_ofs and judged on the newest (one as_of
    only: fitted on some entities and judged on others). Three signs, each against what all *other* families
    of features say of the same rows, for much is known of a good customer and no leak:

    * it ranks nearly without fault: AUC of ANSWER_AUC or more
    * it says what nothing else says: with it the AUC rises by GAIN, and alone it has STRONG_AUC
    * it is sure where nothing else is: in a leaf, less than SURE_SHARE of the exceptions that the others
      expect, beyond chance

    Parameters
    ----------
    snapshot : n rows with the columns ``entity``, as_of, label and the features, of any type
    families : the family of each feature; one that is named nowhere is a family of its own
    """
    rows = snapshot.assign(as_of=pd.to_datetime(snapshot["as_of"]).dt.date)
    parts = folds(sorted(rows["as_of"].unique()), horizon, most=1)
    later_day = (
        bool(parts) and parts[0].test not in parts[0].train
    )  # of a static question the day itself trains
    if later_day and rows.loc[rows["as_of"] == parts[0].test, "label"].nunique() == 2:
        earlier, later = rows[rows["as_of"].isin(parts[0].train)], rows[rows["as_of"] == parts[0].test]
    else:
        held_out = entity_folds(rows[entity]) < 2
        earlier, later = rows[~held_out], rows[held_out]
    earlier, later = (_bounded(part, entity) for part in (earlier, later))
    if earlier["label"].nunique() < 2 or later["label"].nunique() < 2:
        return []
    return _Probe(earlier, later, features, families).leaks()


def _bounded(rows: pd.DataFrame, entity: str) -> pd.DataFrame:
    """At most MOST_ROWS of the rows, whole entities by hash."""
    if len(rows) <= MOST_ROWS:
        return rows
    chosen = pd.util.hash_array(rows[entity].astype(str).to_numpy(object)) % 10_000
    return rows[chosen < 10_000 * MOST_ROWS / len(rows)]


@dataclass(frozen=True)
class _Alone:
    """One feature alone on the later rows: its AUC, its leaf of each row, and what the leaf forecasts."""

    auc: float
    leaf: np.ndarray
    forecast: np.ndarray


class _Probe:
    def __init__(
        self,
        earlier: pd.DataFrame,
        later: pd.DataFrame,
        features: list[str],
        families: Mapping[str, str],
    ) -> None:
        self.label, self.outcome = earlier["label"].to_numpy(bool), later["label"].to_numpy(bool)
        both = pd.concat([earlier, later], ignore_index=True)
        columns = dict(_columns(both, features, self.label))
        table, at = pd.DataFrame(columns), len(earlier)
        self.features = [name for name in table if name in features]
        self.earlier, self.later, self.families = table.iloc[:at], table.iloc[at:], families

    def leaks(self) -> list[Leak]:
        found = {}
        for name in self._suspects():
            if leak := self._judged(name):
                found[name] = leak
        return [found[name] for name in sorted(found, key=lambda name: -self.alone[name].auc)]

    @cached_property
    def alone(self) -> dict[str, _Alone]:
        return {
            name: self._tree(name) for name in self.earlier if self.earlier[name].nunique(dropna=False) > 1
        }

    def _tree(self, name: str) -> _Alone:
        least = max(5, int(LEAF_SHARE * len(self.earlier)))
        tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=least, random_state=SEED)
        tree.fit(self.earlier[[name]], self.label)
        forecast = tree.predict_proba(self.later[[name]])[:, 1]
        return _Alone(_auc(self.outcome, forecast), tree.apply(self.later[[name]]), forecast)

    def _suspects(self) -> list[str]:
        """Features that rank well, or have a leaf with few exceptions: the only ones worth a closer look."""
        base = self.outcome.mean()

        def sure(alone: _Alone) -> float:
            shares = [
                min((~hit).sum() / ((1 - base) * len(hit)), hit.sum() / (base * len(hit)))
                for leaf in np.unique(alone.leaf)
                if len(hit := self.outcome[alone.leaf == leaf]) >= LEAF_SHARE * len(self.outcome)
            ]
            return min(shares, default=1.0)

        worth = {name: (alone.auc, -sure(alone)) for name, alone in self.alone.items()}
        suspects = [n for n, (auc, rest) in worth.items() if auc >= SUSPECT_AUC or -rest < SUSPECT_SHARE]
        best: dict[str, str] = {}  # one of a family speaks for it
        for name in sorted(suspects, key=lambda name: worth[name], reverse=True):
            best.setdefault(self.families.get(name, name), name)
        by_rank = sorted(best.values(), key=lambda name: -worth[name][0])[:MOST_SUSPECTS]
        by_sureness = sorted(best.values(), key=lambda name: -worth[name][1])[:MOST_SUSPECTS]
        return list(dict.fromkeys([*by_rank, *by_sureness]))

    def _judged(self, name: str) -> Leak | None:
        alone = self.alone[name]
        if alone.auc >= ANSWER_AUC:
            return Leak(
                name, f"alone ranks the outcome with AUC {alone.auc:.3f} on rows unseen", _answer(name)
            )
        kept = self._others(name)
        others = self._forecast(kept)
        if alone.auc >= STRONG_AUC:
            gain = _auc(self.outcome, self._forecast([*kept, name])) - _auc(self.outcome, others)
            if gain >= GAIN:
                told = f"(AUC {alone.auc:.3f} alone) adds {gain:.3f} to the AUC of all other features"
                return Leak(name, told, "it was written, or written over, after the outcome")
        for leaf in np.unique(alone.leaf):
            at = alone.leaf == leaf
            hits, rows = self.outcome[at].sum(), at.sum()
            for exceptions, expected, what in (
                (rows - hits, (1 - others[at]).sum(), "stay"),
                (hits, others[at].sum(), "churn"),
            ):
                few = exceptions < SURE_SHARE * expected
                if few and poisson.cdf(exceptions, expected) < SURE_CHANCE:
                    low, high = self.later.loc[at, name].min(), self.later.loc[at, name].max()
                    told = (
                        f"from {low:.6g} to {high:.6g} has {exceptions} of {rows} customers that {what}, "
                        f"where all other features together expect {expected:.0f}"
                    )
                    return Leak(name, told, "a mark that was set when the outcome was known")
        return None

    def _others(self, name: str) -> list[str]:
        """The features of all other families, without those that rank as the feature does."""
        family, rank = self.families.get(name, name), rankdata(self.alone[name].forecast)
        return [
            other
            for other in self.features
            if self.families.get(other, other) != family
            and other != name
            and not (other in self.alone and _agree(rank, self.alone[other].forecast) >= TWIN)
        ]

    def _forecast(self, kept: list[str]) -> np.ndarray:
        """What a small model of some features forecasts of the later rows."""
        if not kept:
            return np.full(len(self.outcome), self.label.mean())
        model = LGBMClassifier(
            n_estimators=100, learning_rate=0.08, num_leaves=6, colsample_bytree=0.6,
            min_child_samples=min(50, len(self.label) // 5), deterministic=True, force_row_wise=True,
            n_jobs=1, random_state=SEED, verbose=-1,
        )  # fmt: skip
        model.fit(self.earlier[kept].to_numpy(float), self.label)
        return np.asarray(model.predict_proba(self.later[kept].to_numpy(float)))[:, 1]


def _answer(name: str) -> str:
    return f"the label is made of it, or it of the label: take {name} out, or ask of a later outcome"


def _agree(rank: np.ndarray, forecast: np.ndarray) -> float:
    if np.ptp(forecast) == 0 or np.ptp(rank) == 0:
        return 0.0
    return float(abs(np.corrcoef(rank, rankdata(forecast))[0, 1]))


def _auc(outcome: np.ndarray, forecast: np.ndarray) -> float:
    """Area under the ROC curve, ties at one half. Source: Mann, Whitney 1947."""
    hits, others = outcome.sum(), (~outcome).sum()
    return float((rankdata(forecast)[outcome].sum() - hits * (hits + 1) / 2) / (hits * others))


def _columns(both: pd.DataFrame, features: list[str], label: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Every feature as numbers, and of an id the residues, in which an outcome may hide."""
    for name in features:
        values = both[name]
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            numbers = values.astype("Float64").to_numpy(float, na_value=np.nan)
            yield name, numbers
            if _is_id(numbers):
                yield from _residues(name, numbers)
        elif pd.api.types.is_datetime64_any_dtype(values):
            yield name, values.astype("int64").where(values.notna()).to_numpy(float)
        else:
            yield name, _by_rate(values, label)


def _by_rate(values: pd.Series, label: np.ndarray) -> np.ndarray:
    """Each category as its churn rate among the earlier rows, null a category too; unseen: NaN."""
    keys = values.astype("string").fillna("null")
    rates = pd.Series(label, dtype=float).groupby(keys.iloc[: len(label)].to_numpy()).mean()
    return keys.map(rates).to_numpy(float)


def _is_id(numbers: np.ndarray) -> bool:
    known = numbers[~np.isnan(numbers)]
    return bool(len(known)) and bool((known % 1 == 0).all()) and len(np.unique(known)) > len(known) / 2


def _residues(name: str, numbers: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for modulus in RESIDUES:
        if not np.isnan(numbers).all():
            yield f"{name} modulo {modulus}", numbers % modulus
