"""Learners of churn probability: small models on a float table, averaged in log odds.

Heavy imports stand at the top, so import this module inside the function that fits or scores.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from types import MappingProxyType
from typing import Self, TypeAlias

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from scipy.special import expit, logit
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    clone,
)
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from churn_orchestration.churn.capacity import Capacity, HopelessLabel
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.splits import entity_folds

SEED = 20_111_209
RARE = 0.001  # share of the rows beyond either end of the range that a linear model may see
BLEND, STACK = "blend", "stack"
FOREST_EDGE = 1e-6  # a forest may say 0 or 1, whose log odds are infinite

Member: TypeAlias = (
    Pipeline | LGBMClassifier | XGBClassifier | RandomForestClassifier | PurchaseProcess
)

TRUSTED_TYPES = [
    "churn_orchestration.churn.learners.Clipped",
    "churn_orchestration.churn.learners.LogOddsBlend",
    "churn_orchestration.churn.learners.signed_log1p",
    "churn_orchestration.churn.process.member.PurchaseProcess",
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
]
"""Types that skops must trust to save and load any of LEARNERS, without a pickle."""


def signed_log1p(values: pd.DataFrame) -> pd.DataFrame:
    """Compress both tails: sign(x) * log(1 + |x|), NaN stays NaN; any shape, any unit.

    >>> signed_log1p(pd.DataFrame({"x": [-1.0, 0.0, 1.0]}))["x"].round(3).tolist()
    [-0.693, 0.0, 0.693]
    """
    return np.sign(values) * np.log1p(np.abs(values))


class Clipped(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Numbers held within the range of those fitted, but for a thousandth at either end; NaN stays.

    A linear model goes on beyond what it has seen: as a company ages, tenure and counts of all time
    leave the range of its training days, and a forecast runs away with them.

    Attributes
    ----------
    low_, high_ : f floats each; -inf and inf of a column without a number
    """

    def fit(self, features: pd.DataFrame, label: object = None) -> Self:  # noqa: ARG002
        """Learn the ranges of n x f numbers."""
        table = features.astype(float)
        validate_data(self, table, skip_check_array=True)
        self.low_ = table.quantile(RARE).fillna(-np.inf).to_numpy()
        self.high_ = table.quantile(1 - RARE).fillna(np.inf).to_numpy()
        return self

    def transform(self, features: pd.DataFrame) -> pd.DataFrame:
        """The numbers, each at its nearest within the range."""
        held = np.clip(features.to_numpy(float), self.low_, self.high_)  # pandas takes 100 times it
        return pd.DataFrame(held, index=features.index, columns=features.columns)


class Fits:
    """Members that were fitted before, by their parameters and what they learned from.

    A training judges the same members on several days and weighs them on several: most of what it
    fits, it has fitted before.
    """

    def __init__(self) -> None:
        self._members = dict[str, Member]()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._members)} members)"

    def of(self, table: pd.DataFrame, codes: np.ndarray) -> Callable[[Member], Member]:
        """What fits a member to a table and the codes of its labels, once for all."""
        content = hashlib.blake2b(repr(list(table.columns)).encode())
        for column in table.columns:
            content.update(table[column].to_numpy().tobytes())
        content.update(codes.tobytes())

        def fitted(member: Member) -> Member:
            given = sorted(member.get_params().items(), key=lambda pair: pair[0])
            key = f"{type(member).__name__} {given} {content.hexdigest()}"
            if key not in self._members:
                self._members[key] = clone(member).fit(table, codes)
            return self._members[key]

        return fitted


class LogOddsBlend(ClassifierMixin, BaseEstimator):
    """Weighted mean, in log odds, of classifiers fitted on the same rows.

    Parameters
    ----------
    members : (name, unfitted binary classifier) pairs, at least one
    weights : one weight > 0 a member, made to sum to 1; None weighs all members alike
    slope, intercept : the mean is stretched by the one and shifted by the other, in log odds

    Attributes
    ----------
    members_ : the fitted members by name; weights_ : their shares, summing to 1
    classes_ : the two classes; the probability meant throughout is that of the second
    folds_ : of a static question, by fold of entities, a model that has not seen them; else empty
    feature_names_in_ : columns of the training table; any other set or order is a ValueError
    """

    folds_: Mapping[str, "LogOddsBlend"] = MappingProxyType({})

    def __init__(
        self,
        members: Sequence[tuple[str, Member]],
        weights: Sequence[float] | None = None,
        slope: float = 1.0,
        intercept: float = 0.0,
    ) -> None:
        self.members = members
        self.weights = weights
        self.slope = slope
        self.intercept = intercept

    def fit(self, features: pd.DataFrame, label: pd.Series, fits: Fits | None = None) -> Self:
        """Fit every member on all rows (n x f numbers, NaN = never or undefined; n labels of two
        classes), or take it from ``fits``, which then knows it.
        """
        table = checked_table(self, features, reset=True)
        self.classes_, codes = np.unique(np.asarray(label), return_inverse=True)
        if len(self.classes_) != 2:
            raise HopelessLabel(
                f"a label needs two classes, got {len(self.classes_)}: {self.classes_.tolist()}"
            )
        weights = (
            np.ones(len(self.members)) if self.weights is None else np.asarray(self.weights, float)
        )
        if len(weights) != len(self.members) or not (weights > 0).all():
            raise ValueError(
                f"want {len(self.members)} weights > 0, one a member, got {self.weights}"
            )
        self.weights_ = weights / weights.sum()
        # One thread a member, and BLAS within it too: a second costs bit-equality, and time where
        # it is busy.
        fit = (fits or Fits()).of(table, codes)
        with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as threads:
            fitted = threads.map(lambda named: fit(named[1]), self.members)
            self.members_ = {
                name: member for (name, _), member in zip(self.members, fitted, strict=True)
            }
        return self

    def decision_function(self, features: pd.DataFrame) -> np.ndarray:
        """Log odds of the second class, n floats; to the bit, each depends on its own row alone."""
        odds = self.member_log_odds(features)
        mean = (self.weights_[:, None] * odds).sum(axis=0)  # BLAS would round by the number of rows
        return self.slope * mean + self.intercept

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        """Probabilities of the first and the second class, n x 2."""
        log_odds = self.decision_function(features)
        return np.column_stack([expit(-log_odds), expit(log_odds)])

    def member_log_odds(self, features: pd.DataFrame) -> np.ndarray:
        """Each member's own log odds of the second class, members x n."""
        check_is_fitted(self)
        table = checked_table(self, features, reset=False)
        return np.stack([log_odds(member, table) for member in self.members_.values()])

    def member_probabilities(self, features: pd.DataFrame) -> dict[str, np.ndarray]:
        """Each member's own probability of the second class, n floats by member name."""
        return dict(zip(self.members_, expit(self.member_log_odds(features)), strict=True))

    def for_entities(self, entity: pd.Series) -> Iterator[tuple[np.ndarray, "LogOddsBlend"]]:
        """The models that forecast entities, each with its rows as n bools: of each row one that
        has not learned the entity's own outcome, where there are such.
        """
        if not self.folds_:
            yield np.ones(len(entity), bool), self
            return
        fold = entity_folds(entity).astype(str)
        for number in np.unique(fold):
            yield fold == number, self.folds_.get(number, self)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """The likelier class of each row, n values of ``classes_``."""
        return self.classes_[(self.decision_function(features) > 0).astype(int)]


def checked_table(model: LogOddsBlend, features: pd.DataFrame, *, reset: bool) -> pd.DataFrame:
    """The features as float64: names as fitted (or remembered, on reset), no value infinite."""
    if not isinstance(features, pd.DataFrame):
        raise TypeError(
            f"want a DataFrame whose columns are the features, got {type(features).__name__}"
        )
    validate_data(model, features, skip_check_array=True, reset=reset)
    table = features.astype(float)
    infinite = np.isinf(table.to_numpy()).any(axis=0)
    if infinite.any():
        raise ValueError(
            f"infinite values in {table.columns[infinite].tolist()}; NaN means undefined"
        )
    return table


def log_odds(member: Member, table: pd.DataFrame) -> np.ndarray:
    """Log odds as the member computes them, before any rounding to a probability."""
    match member:
        case LGBMClassifier():
            return np.asarray(member.predict_proba(table, raw_score=True))
        case XGBClassifier():
            return member.predict(table, output_margin=True).astype(float)
        case Pipeline():
            return linear_terms(member, table).sum(axis=1) + member[-1].intercept_[0]
        case PurchaseProcess():
            return member.decision_function(table)
    return logit(np.clip(member.predict_proba(table)[:, 1], FOREST_EDGE, 1 - FOREST_EDGE))


def _logistic(capacity: Capacity) -> Pipeline:
    return make_pipeline(
        FunctionTransformer(signed_log1p, feature_names_out="one-to-one"),
        Clipped(),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=capacity.c, max_iter=1000),
    )


def _lightgbm(capacity: Capacity) -> LGBMClassifier:
    return LGBMClassifier(
        n_estimators=capacity.trees,
        learning_rate=capacity.rate,
        num_leaves=capacity.leaves,
        min_child_samples=capacity.leaf_rows,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=capacity.columns,
        reg_lambda=capacity.l2,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        random_state=SEED,
        verbose=-1,
    )


def _xgboost(capacity: Capacity) -> XGBClassifier:
    return XGBClassifier(
        n_estimators=capacity.trees,
        learning_rate=capacity.rate,
        max_depth=math.ceil(math.log2(capacity.leaves)),
        min_child_weight=capacity.leaf_rows * capacity.row_weight,
        subsample=0.8,
        colsample_bytree=capacity.columns,
        reg_lambda=capacity.l2,
        tree_method="hist",
        n_jobs=1,
        random_state=SEED,
    )


def _random_forest(capacity: Capacity) -> RandomForestClassifier:
    return RandomForestClassifier(
        capacity.trees,
        min_samples_leaf=max(5, capacity.leaf_rows // 4),
        max_features=capacity.columns / 2,
        n_jobs=1,
        random_state=SEED,
    )


def _alone(name: str, build: Callable[[Capacity], Member]) -> Callable[[Capacity], LogOddsBlend]:
    return lambda capacity: LogOddsBlend([(name, build(capacity))])


def _blend(capacity: Capacity) -> LogOddsBlend:
    # Half linear, half trees: like equal weights on nine test days (to 0.0003 log loss), and 0.001
    # to 0.003 better with 100 to 300 customers, where the two tree members overfit alike.
    trees = [("lightgbm", _lightgbm(capacity)), ("xgboost", _xgboost(capacity))]
    return LogOddsBlend([("logistic", _logistic(capacity)), *trees], weights=(2, 1, 1))


LEARNERS: Mapping[str, Callable[[Capacity], LogOddsBlend]] = MappingProxyType(
    {
        BLEND: _blend,
        STACK: _blend,
        "logistic": _alone("logistic", _logistic),
        "lightgbm": _alone("lightgbm", _lightgbm),
        "xgboost": _alone("xgboost", _xgboost),
        "random_forest": _alone("random_forest", _random_forest),
    }
)
"""Learner name -> builder of the unfitted model; a single learner is a blend of one.

A stack has the members of the blend; `recipe.fit` finds its weights.
"""


def linear_terms(member: Pipeline, table: pd.DataFrame) -> np.ndarray:
    """Coefficient x (transformed value - training mean), for the features and then their
    indicators.
    """
    return np.ascontiguousarray(member[:-1].transform(table) * member[-1].coef_[0])
