"""Whether models that are fitted again without some customers give the same reasons."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.base import ClassifierMixin

from churn_orchestration.churn.features.feature import topic_of
from churn_orchestration.churn.learners import LogOddsBlend
from churn_orchestration.churn.learning.contributions import MOST_ROWS, contributions
from churn_orchestration.churn.learning.reasons import topic_sums
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.recipe import Recipe
from churn_orchestration.churn.splits import entity_folds

LEAST_SIGN, LEAST_RANK = 0.8, 0.5
"""Of the weighted signs and the rank correlation; what agrees less says little of the customer. By
chance they are 0.5 and 0.
"""
SHOWN = 3  # reasons of a forecast
CURVES, POINTS, CURVE_ROWS = 3, 10, 200
"""Features, values of each and rows of a partial dependence."""


def stability(
    fitted: LogOddsBlend,
    recipe: Callable[[], Recipe],
    rows: pd.DataFrame,
    entity: str,
    words: pd.DataFrame,
    refits: int,
) -> dict[str, object]:
    """How the reasons of a model agree with those of models that have not seen a fifth of the
    customers, one after the other.

    Parameters
    ----------
    recipe : makes what fits, afresh each time
    rows : what the model was fitted to
    words : the feature catalogue, indexed by feature

    Returns
    -------
    ``refits``; ``topics``, see `agreement`; ``withheld``, the share of the reasons that would be
    shown on the newest as_of, of topics that are not stable; ``dependence``, see there, of the
    features that move its forecasts most, one of a topic

    Raises
    ------
    HopelessLabel : the rest of the customers cannot be learned from
    """
    columns, fold = list(fitted.feature_names_in_), entity_folds(rows[entity])
    newest = rows[rows["as_of"] == rows["as_of"].max()]
    newest = newest.iloc[:: -(-len(newest) // MOST_ROWS)]
    features = newest[columns].astype(float)
    models = [recipe().fit(rows[fold != left_out], columns, entity) for left_out in range(refits)]
    moved = [contributions(model, features)[0] for model in (fitted, *models)]
    own, *others = (topic_sums(each, newest, words) for each in moved)
    topics = agreement(own, others)
    unstable = [topic for topic, of in topics.items() if not of["stable"]]
    most = moved[0].abs().mean().sort_values(ascending=False, kind="stable").index
    free = pd.Series([name for name in most if name not in _histories(fitted)])
    topics_of = [topic_of(*words.loc[name, ["source", "family"]]) for name in free]
    strongest = free[~pd.Series(topics_of).duplicated()].tolist()[:CURVES]
    some = features.iloc[:: -(-len(features) // CURVE_ROWS)]
    return {
        "refits": refits,
        "topics": topics,
        "withheld": withheld_share(own, unstable),
        "dependence": dependence([fitted, *models], some, strongest),
    }


def dependence(
    models: Sequence[ClassifierMixin], features: pd.DataFrame, names: Sequence[str]
) -> list[dict[str, object]]:
    """The mean forecast if all rows had one value of a feature, and all else as it is.

    Source: Friedman 2001, Greedy function approximation, section 8.2.

    Parameters
    ----------
    models : the first gives the mean; the lowest and highest of all are its range
    features : what they read

    Returns
    -------
    of each name ``feature``, ``values``, POINTS at most, from the fifth percentile to the
    ninety-fifth, and ``mean``, ``low`` and ``high``; of one with less than two values nothing
    """
    curves: list[dict[str, object]] = []
    for name in names:
        known = features[name].dropna().to_numpy(float)
        places = np.linspace(0.05, 0.95, POINTS)
        values = np.unique(np.quantile(known, places, method="nearest")) if len(known) else known
        if len(values) < 2:
            continue
        rows = pd.concat([features.assign(**{name: value}) for value in values], ignore_index=True)
        chances = np.array([model.predict_proba(rows)[:, 1] for model in models])
        means = chances.reshape(len(models), len(values), -1).mean(axis=2)
        ends = {"mean": means[0], "low": means.min(axis=0), "high": means.max(axis=0)}
        curves.append(
            {"feature": name, "values": values.tolist()}
            | {end: each.tolist() for end, each in ends.items()}
        )
    return curves


def agreement(
    own: pd.DataFrame, others: Sequence[pd.DataFrame]
) -> dict[str, dict[str, float | bool]]:
    """Of each topic how far other models agree with one, over the same rows; those that move
    nothing are left out.

    Parameters
    ----------
    own, others : rows x topics, what each topic adds to the log odds

    Returns
    -------
    by topic ``sign``, the share of the same direction, each row weighted by how far the topic moves
    it; ``rank``, Spearman's correlation over the rows; both are means over the others, 0 to 1 and
    -1 to 1. ``stable``: neither is below what is least
    """
    result: dict[str, dict[str, float | bool]] = {}
    for topic in own.columns:
        moved = own[topic].to_numpy()
        weight = np.abs(moved)
        if not weight.any():
            continue
        signs = [
            float(weight @ (np.sign(other[topic].to_numpy()) == np.sign(moved)) / weight.sum())
            for other in others
        ]
        ranks = [_spearman(moved, other[topic].to_numpy()) for other in others]
        sign, rank = float(np.mean(signs)), float(np.mean(ranks))
        stable = sign >= LEAST_SIGN and rank >= LEAST_RANK
        result[topic] = {"sign": sign, "rank": rank, "stable": stable}
    return result


def withheld_share(own: pd.DataFrame, unstable: Sequence[str]) -> float:
    """The share of the reasons that would be shown, SHOWN a row, which are of unstable topics."""
    sums = own.to_numpy()
    ranked = np.argsort(-np.abs(sums), axis=1, kind="stable")[:, :SHOWN]
    shown = np.take_along_axis(sums, ranked, axis=1) != 0
    of_unstable = np.isin(own.columns.to_numpy(str)[ranked], list(unstable)) & shown
    return float(of_unstable.sum() / max(shown.sum(), 1))


def _histories(model: LogOddsBlend) -> set[str]:
    """What a purchase process reads of a history: changed alone, it would be of nobody."""
    processes = (m for m in model.members_.values() if isinstance(m, PurchaseProcess))
    return {name for process in processes for name in process.columns}


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; where both are constant there is no rank to disagree about."""
    first, second = rankdata(one), rankdata(other)
    if first.std() == 0 or second.std() == 0:
        return float(first.std() == second.std())
    return float(np.corrcoef(first, second)[0, 1])
