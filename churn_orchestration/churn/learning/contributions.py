"""What each feature adds to a forecast's log odds, exactly, for every learner."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from scipy.special import logit
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from xgboost import DMatrix, XGBClassifier

from churn_orchestration.churn.features.feature import Feature
from churn_orchestration.churn.learners import (
    LogOddsBlend,
    Member,
    checked_table,
    linear_terms,
    log_odds,
)
from churn_orchestration.churn.process.gold import shapley_values
from churn_orchestration.churn.process.member import PurchaseProcess

MOST_ROWS = (
    500  # evenly spread; the mean over them says as much as over all, in a fraction of the time
)


def contributions(model: LogOddsBlend, features: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """What each feature adds to each row's log odds of churn, and the log odds it is added to.

    baseline + row sum = log odds of ``predict_proba`` to 1e-6. Linear member: coefficient x
    (transformed value - training mean), the missing indicator folded into its feature. LightGBM,
    XGBoost: TreeSHAP (Lundberg et al. 2020). Forest: steps along the decision path (Saabas 2014),
    which add up in probability, stretched by each row's one positive factor from probability to log
    odds. Purchase process: Shapley values of the numbers it reads, against their usual values.

    Returns
    -------
    n x f DataFrame, columns and index of ``features``; Series of n, its index
    """
    table = checked_table(model, features, reset=False)
    parts = np.stack([_member_contributions(member, table) for member in model.members_.values()])
    total = model.slope * np.tensordot(model.weights_, parts, axes=1)
    total[:, -1] += model.intercept
    baseline = pd.Series(total[:, -1], table.index, name="baseline")
    return pd.DataFrame(total[:, :-1], table.index, table.columns), baseline


def of_entities(model: LogOddsBlend, features: pd.DataFrame, entity: pd.Series) -> pd.DataFrame:
    """What each feature adds to each row's log odds in the model that forecasts its entity; n x f.

    ``features`` and ``entity`` are matched by position, and have an index without repetition.
    """
    parts = [contributions(each, features[rows])[0] for rows, each in model.for_entities(entity)]
    return pd.concat(parts).loc[features.index] if parts else features.iloc[:0].astype(float)


def influences(
    model: LogOddsBlend, features: pd.DataFrame, catalogue: Sequence[Feature]
) -> list[dict[str, object]]:
    """How far each family of features moves a forecast, strongest first: the mean absolute sum, log
    odds.

    Only the sum of a family is stable, see ``reasons``. ``feature`` is the member that moves most
    by itself.
    """
    moved = contributions(model, features.iloc[:: -(-len(features) // MOST_ROWS)])[0]
    family = {feature.name: feature.family for feature in catalogue}
    families = moved.columns.map(lambda name: family.get(name, name))
    sums = moved.T.groupby(families).sum().T.abs().mean()
    alone = moved.abs().mean()
    result = [
        {
            "family": name,
            "feature": alone[families == name].idxmax(),
            "mean_abs_log_odds": float(size),
        }
        for name, size in sums.items()
    ]
    return sorted(result, key=lambda entry: -entry["mean_abs_log_odds"])


def _member_contributions(member: Member, table: pd.DataFrame) -> np.ndarray:
    """n x (f + 1); the last column is the baseline."""
    match member:
        case LGBMClassifier():
            return np.asarray(member.predict_proba(table, pred_contrib=True))
        case XGBClassifier():
            parts = (
                member.get_booster()
                .predict(DMatrix(table, nthread=1), pred_contribs=True)
                .astype(float)
            )
            parts[:, -1] += log_odds(member, table) - parts.sum(
                axis=1
            )  # float32 rounding, below 1e-5
            return parts
        case Pipeline():
            return _linear_contributions(member, table)
        case RandomForestClassifier():
            return _forest_contributions(member, table)
        case PurchaseProcess():
            return _process_contributions(member, table)
    raise ValueError(f"no exact contributions are known for a {type(member).__name__}")


def _linear_contributions(member: Pipeline, table: pd.DataFrame) -> np.ndarray:
    terms, width = linear_terms(member, table), table.shape[1]
    parts = np.column_stack([terms[:, :width], np.full(len(table), member[-1].intercept_[0])])
    parts[:, member.named_steps["simpleimputer"].indicator_.features_] += terms[:, width:]
    return parts


def _process_contributions(member: PurchaseProcess, table: pd.DataFrame) -> np.ndarray:
    parts, usual = shapley_values(
        member.decision_function, table[list(member.columns)], np.asarray(member.usual_)
    )
    placed = parts.reindex(columns=table.columns, fill_value=0.0).to_numpy()
    return np.column_stack([placed, usual])


def _forest_contributions(member: RandomForestClassifier, table: pd.DataFrame) -> np.ndarray:
    values, rows = table.to_numpy(np.float32), np.arange(len(table))
    steps, trees = np.zeros(table.shape), [estimator.tree_ for estimator in member.estimators_]
    for tree in trees:
        share, node = tree.value[:, 0, 1], np.zeros(len(table), int)
        while (at := rows[tree.children_left[node] >= 0]).size:
            parent, feature = node[at], tree.feature[node[at]]
            value = values[at, feature]
            left = np.where(
                np.isnan(value), tree.missing_go_to_left[parent], value <= tree.threshold[parent]
            )
            node[at] = np.where(left, tree.children_left[parent], tree.children_right[parent])
            steps[at, feature] += share[node[at]] - share[parent]
    steps /= len(trees)
    base, rise = np.mean([tree.value[0, 0, 1] for tree in trees]), steps.sum(axis=1, keepdims=True)
    slope = np.full_like(
        rise, 1 / (base * (1 - base))
    )  # the limit of the stretch where nothing rises
    gained = log_odds(member, table)[:, None] - logit(base)
    stretch = np.divide(gained, rise, out=slope, where=np.abs(rise) > 1e-9)
    return np.column_stack([steps * stretch, np.full(len(table), logit(base))])
