"""A model that is better than any honest one of its kind: why a person must look, and what answers.

Imports the learners' libraries, so import this module inside the function that trains.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from numpy.typing import ArrayLike
from scipy.special import entr
from scipy.stats import rankdata
from sklearn.tree import DecisionTreeClassifier

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.question.halves import auc, halves, numbers
from churn_orchestration.churn.question.labels import EVENT, INACTIVITY, STATIC

SEED = 20_111_209

# Between what clean snapshots and planted pairs reach, by kind: `python -m benchmarks.gates`.
MOST_AUC: Mapping[str, float] = {INACTIVITY: 0.95, EVENT: 0.95, STATIC: 0.95}
LEAST_LOSS = 0.5
CLOSE = 0.02  # of AUC, to what all features reach together
CANDIDATES, FEW, SCANNED = 12, 8, 200
PAIR_ROWS, SCANNED_ROWS = 5_000, 1_000


def excess(report: Mapping[str, Any], probability: ArrayLike, kind: str) -> str:
    """Why a grade is too good to be honest, in words; empty: it is not.

    Either the whole interval of the AUC lies above MOST_AUC of the kind; or that of the log loss
    lies below LEAST_LOSS of what the forecasts would cost if every probability were right.

    Parameters
    ----------
    report : the metrics of the model on rows unseen, with intervals
    probability : what it forecast of them
    """
    result, loss = report["auc"], report["log_loss"]
    if result["low"] > MOST_AUC[kind]:
        words = f"AUC {result['value']:.4f} [{result['low']:.4f}, {result['high']:.4f}]"
        return (
            f"too good to be true: {words}, "
            f"and no honest model of kind {kind} is sure of {MOST_AUC[kind]}"
        )
    cost = expected_log_loss(probability)
    if loss["high"] < LEAST_LOSS * cost:
        words = f"log loss {loss['value']:.4f} [{loss['low']:.4f}, {loss['high']:.4f}]"
        return (
            f"too good to be true: {words}, "
            f"where right probabilities such as its own cost {cost:.4f}"
        )
    return ""


def expected_log_loss(probability: ArrayLike) -> float:
    """The log loss to be expected of probabilities that are right: their mean entropy, in nats.

    >>> round(expected_log_loss([0.5, 1.0]), 4)
    0.3466
    """
    sure = np.asarray(probability, float)
    return float((entr(sure) + entr(1 - sure)).mean())


def answering(
    snapshot: pd.DataFrame, entity: str, features: list[str], horizon: Horizon, reached: float
) -> str:
    """The fewest features that rank nearly as well as the model does, in words: one, a pair, or
    some.

    A pair is tried as it is, as its difference, and as what is left of one when the other is taken
    from it.

    Parameters
    ----------
    reached : the AUC of the model on rows unseen
    """
    earlier, later = halves(snapshot, entity, horizon)
    label, outcome = earlier["label"].to_numpy(bool), later["label"].to_numpy(bool)
    before, after = numbers(earlier, later, features)
    gain = _model(before, label).feature_importances_
    first = list(before.columns[np.argsort(-gain, kind="stable")])
    thin, thinner = (
        slice(None, None, -(-len(after) // most)) for most in (PAIR_ROWS, SCANNED_ROWS)
    )
    few = slice(None, None, -(-len(before) // PAIR_ROWS))

    def alone_or_paired(names: tuple[str, ...]) -> float:
        tree = DecisionTreeClassifier(max_leaf_nodes=16, min_samples_leaf=5, random_state=SEED)
        tree.fit(_combined(before, before, names)[few], label[few])
        return auc(outcome[thin], tree.predict_proba(_combined(before, after, names)[thin])[:, 1])

    candidates = list(dict.fromkeys([*first[:CANDIDATES], *_linear(before, label)]))
    pairs = [
        *combinations(candidates, 2),
        *_differing(after[first[:SCANNED]][thinner], outcome[thinner]),
    ]
    alone = {
        name: alone_or_paired((name,)) for name in dict.fromkeys(sum(pairs, tuple(candidates)))
    }
    best = max(alone, key=lambda name: alone[name])
    if alone[best] >= reached - CLOSE:
        return f"{best} alone reaches {alone[best]:.4f}"
    paired = {pair: alone_or_paired(pair) for pair in pairs}
    one, two = max(paired, key=lambda pair: paired[pair])
    if paired[one, two] >= reached - CLOSE:
        return (
            f"{one} and {two} answer together: AUC {paired[one, two]:.4f}, alone {alone[one]:.4f} "
            f"and {alone[two]:.4f}; most likely one of them is made of the other and the outcome"
        )

    def together(names: list[str]) -> float:
        said = _model(before[names], label).predict_proba(after[names].to_numpy(float))
        return auc(outcome, np.asarray(said)[:, 1])

    kept, enough = first[:FEW], together(first[:FEW]) - CLOSE
    for name in reversed(first[:FEW]):
        rest = [other for other in kept if other != name]
        if rest and together(rest) >= enough:
            kept = rest
    return f"the fewest that answer together are {', '.join(kept)}: AUC {together(kept):.4f}"


def _combined(before: pd.DataFrame, rows: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """One feature; or two, their difference, and what is left of the second by its line on the
    first.
    """
    if len(names) == 1:
        return rows[list(names)].to_numpy(float)
    x, y = (before[name].to_numpy(float) for name in names)
    known = ~(np.isnan(x) | np.isnan(y))
    spread = np.cov(x[known], y[known]) if known.sum() > 1 else np.zeros((2, 2))
    slope = spread[0, 1] / (spread[0, 0] or 1.0)
    a, b = (rows[name].to_numpy(float) for name in names)
    return np.column_stack([a, b, b - a, b - slope * a])


def _model(before: pd.DataFrame, label: np.ndarray) -> LGBMClassifier:
    model = LGBMClassifier(
        n_estimators=200, learning_rate=0.1, num_leaves=15,
        min_child_samples=min(20, len(label) // 5), importance_type="gain", deterministic=True,
        force_row_wise=True, n_jobs=1, random_state=SEED, verbose=-1,
    )  # fmt: skip
    return model.fit(before.to_numpy(float), label)


def _differing(rows: pd.DataFrame, outcome: np.ndarray) -> list[tuple[str, str]]:
    """The pairs whose difference, or the size of it, ranks the outcome best; all pairs are
    tried.
    """
    values, hits = rows.fillna(rows.median()).fillna(0.0).to_numpy(float), outcome.sum()
    ranked = dict[tuple[str, str], float]()
    for number, name in enumerate(rows.columns[:-1]):
        difference = values[:, number + 1 :] - values[:, [number]]
        for result in (difference, np.abs(difference)):
            wins = rankdata(result, axis=0)[outcome].sum(axis=0) - hits * (hits + 1) / 2
            area = np.abs(wins / (hits * (len(outcome) - hits)) - 0.5)
            for other, excess in zip(rows.columns[number + 1 :], area, strict=True):
                ranked[name, other] = max(float(excess), ranked.get((name, other), 0.0))
    return sorted(ranked, key=lambda pair: -ranked[pair])[:CANDIDATES]


def _linear(before: pd.DataFrame, label: np.ndarray) -> list[str]:
    """The features that weigh most in a straight line through the label, each in its own spread."""
    varied = before.loc[:, before.nunique() > 1]
    spread = ((varied - varied.mean()) / varied.std()).fillna(0.0)
    x = spread.to_numpy(float)
    weight = np.linalg.solve(x.T @ x + 1e-3 * np.eye(x.shape[1]), x.T @ (label - label.mean()))
    return list(pd.Series(np.abs(weight), index=varied.columns).nlargest(CANDIDATES).index)
