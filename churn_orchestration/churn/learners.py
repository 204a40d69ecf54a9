"""Learners of churn probability: small models on a float table, averaged in log odds.

Heavy imports stand at the top, so import this module inside the function that fits or scores.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from types import MappingProxyType
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from scipy.optimize import minimize
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

from churn_orchestration.churn.early_stopping import MOST_TREES, Boosted, best_by_fold
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.protocol import MIN_ENTITIES, PROCESS
from churn_orchestration.churn.splits import FOLD_SEED, entity_folds

SEED = 20_111_209
WEIGHED_DAYS, WEIGHED_ROWS = 3, 100_000
"""The members of a blend are weighed on so many days, and on so many rows of each."""
NEAR = 0.3
"""Log loss that a blend must gain to move its weights by 1 from the usual ones, squared."""
NEAR_ROWS = 10
"""The same where rows of the same day weigh, as a log likelihood: divided by their number."""
FOLDED_ROWS = 20_000  # the capacity is chosen in folds of so many rows
FOLDED_LEAVES, FOLDED_LEAF_ROWS, FOLDED_RATE = (4, 8, 16, 31), 20, 0.05
RARE = 0.001  # share of the rows beyond either end of the range that a linear model may see
LEAST_WEIGHT = 0.02  # a member of less says nothing that anybody would miss
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


class Capacity(NamedTuple):
    """How much the members may learn; the defaults are the settings that a search has to beat.

    Parameters
    ----------
    trees, leaf_rows, leaves : number of trees, fewest training rows in a leaf, most leaves of a
        tree
    rate, columns, l2 : of the boosted trees: learning rate, share of the features a tree sees,
        penalty
    c : of the logistic member: inverse of its penalty
    row_weight : of XGBoost, whose leaves want a weight, not a number of rows: the weight of one
    """

    trees: int
    leaf_rows: int
    leaves: int = 4
    rate: float = 0.03
    columns: float = 0.6
    l2: float = 5.0
    c: float = 0.01
    row_weight: float = 0.2  # a row weighs p(1 - p), 0.25 at most, and 0.07 where 8 % leave

    @classmethod
    def of(cls, rows: int, scarce_entities: int) -> Self:
        """Grow with the evidence: rows, and distinct entities of the rarer class.

        >>> [Capacity.of(rows, scarce)[:2] for rows, scarce in ((12_000, 2_000), (300, 60))]
        [(300, 200), (100, 100)]
        """
        # 300 trees with leaves of 30 rows, fitted to 100 customers, were 0.05 log loss worse than
        # this.
        return cls(int(np.clip(scarce_entities // 5, 100, 300)), min(200, rows // 3))


class HopelessLabel(ValueError):  # noqa: N818 - the name says what is wrong
    """The label cannot be learned from: one class only, or too few entities of one class."""


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
        return features.clip(self.low_, self.high_, axis=1)


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

    def fit(self, features: pd.DataFrame, label: pd.Series) -> Self:
        """Fit every member on all rows (n x f numbers, NaN = never or undefined; n labels of two
        classes).
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
        with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as threads:
            fitted = threads.map(lambda named: clone(named[1]).fit(table, codes), self.members)
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

A stack has the members of the blend; `fit` finds its weights.
"""


@dataclass(frozen=True)
class Recipe:
    """How the models of a question are made.

    Parameters
    ----------
    learner : a key of LEARNERS
    capacity : how much the members may learn, as a search has found; None: by the size of the
        evidence
    processes : purchase processes, each by the day up to whose end the histories are that it is
        fitted to; a blend has the newest one as a member
    """

    learner: str
    capacity: Capacity | None = None
    processes: Mapping[pd.Timestamp, PurchaseProcess] = field(default_factory=dict)

    def fit(
        self, rows: pd.DataFrame, columns: list[str], entity: str, on: pd.Timestamp | None = None
    ) -> LogOddsBlend:
        """Fit to rows of a snapshot; the members of a blend are weighed on its newest as_ofs.

        Parameters
        ----------
        rows : ``columns``, ``entity``, label, as_of and label_known_on of one or more as_ofs
        columns : the features, NaN = never or undefined
        on : the day of the forecast, if it lies before the newest process

        Raises
        ------
        HopelessLabel, ValueError : see `fit`
        """
        splits, capacity, near = self._splits(rows, entity), self.capacity, NEAR
        if _is_static(rows):
            near = NEAR_ROWS / len(rows)
            if capacity is None:
                capacity = _by_folds(self.learner, rows[columns], rows["label"], splits)
        return fit(
            self.learner, rows[columns], rows["label"], rows[entity], capacity,
            process=self.process(on), splits=splits, near=near,
        )  # fmt: skip

    def _splits(self, rows: pd.DataFrame, entity: str) -> list["Split"]:
        """The newest as_ofs, each with the rows whose outcome was known by then; of a static
        question, folds of entities.
        """
        days = pd.to_datetime(rows["as_of"]).to_numpy()
        known_on = pd.to_datetime(rows["label_known_on"]).to_numpy()
        if _is_static(rows):
            # Other folds than those that grade: of a fold's other rows, all five are filled.
            fold = entity_folds(rows[entity], FOLD_SEED + 1)
            return [Split(fold != number, fold == number) for number in np.unique(fold)]
        by_day = (
            Split((known_on <= day) & (days < day), days == day, self.process(day))
            for day in sorted(set(days), reverse=True)
        )
        return [split for split in by_day if split.train.any()][:WEIGHED_DAYS]

    def process(self, on: pd.Timestamp | None = None) -> PurchaseProcess | None:
        """The newest process whose histories end by a day; None: there is none."""
        days = [day for day in self.processes if on is None or day <= on]
        return self.processes[max(days)] if days else None


def _is_static(rows: pd.DataFrame) -> bool:
    """Whether the rows are of one day, and their outcomes of that day too."""
    days, known_on = pd.to_datetime(rows["as_of"]), pd.to_datetime(rows["label_known_on"])
    return bool((known_on == days).all()) and days.nunique() == 1


class Split(NamedTuple):
    """Rows that train and later rows that weigh, as n bools each; the process of the later day."""

    train: np.ndarray
    test: np.ndarray
    process: PurchaseProcess | None = None


def fit(
    name: str,
    features: pd.DataFrame,
    label: pd.Series,
    entity: pd.Series,
    capacity: Capacity | None = None,
    *,
    process: PurchaseProcess | None = None,
    splits: Sequence[Split] = (),
    near: float = NEAR,
) -> LogOddsBlend:
    """Fit the learner ``name`` to snapshots stacked row by row; two fits give the same bytes.

    Parameters
    ----------
    name : a key of LEARNERS
    features : n x f numbers; columns are feature names, NaN = never or undefined
    label : n bools or 0/1, True = churned; matched to the rows by position
    entity : n ids; one entity may have a row at several as_ofs
    capacity : how much the members may learn; None: by the size of the evidence
    process : a member of a blend that has learned from dates alone, and from no label
    splits : of a blend, on which its members are weighed; without any, they have the usual weights
    near : how close to the usual ones the weights stay, as NEAR

    Raises
    ------
    HopelessLabel : fewer than MIN_ENTITIES distinct entities that ever churned, or that ever stayed
    ValueError : unknown learner, lengths differ, or a label is null or not 0/1
    """
    if name not in LEARNERS:
        raise ValueError(f"unknown learner {name!r}; want one of {', '.join(LEARNERS)}")
    if not len(features) == len(label) == len(entity):
        raise ValueError(
            f"lengths differ: {len(features)} rows, {len(label)} labels, {len(entity)} entities"
        )
    churned = pd.Series(np.asarray(label))
    if not churned.isin([0, 1]).all():
        raise ValueError(
            "labels want 0/1 or bools without nulls, got "
            f"{churned[~churned.isin([0, 1])].iloc[0]!r}"
        )
    outcome, ids = churned.to_numpy(bool), np.asarray(entity)
    by_size = Capacity.of(len(features), scarce_entities(outcome, ids))
    model = LEARNERS[name](capacity or by_size)
    if name == STACK:
        model = _stacked(model, features, outcome, ids)
    elif name == BLEND:
        model = _weighed(_joined(model, process), features, outcome, ids, splits, near)
    return model.fit(features, outcome)


def _by_folds(
    name: str, features: pd.DataFrame, label: pd.Series, splits: Sequence[Split]
) -> Capacity | None:
    """The capacity that forecasts best the entities that it has not seen; None: by the size of the
    evidence, as the learner boosts no trees, or no split has both outcomes on either side.

    A table with one row a customer often holds what four leaves of 200 rows cannot say; how much,
    no rule of its size can tell.
    """
    churned = np.asarray(label, bool)
    rows = np.arange(len(churned)) % -(-len(churned) // FOLDED_ROWS) == 0
    masks = [(split.train & rows, split.test & rows) for split in splits]
    masks = [pair for pair in masks if all(len(set(churned[side])) == 2 for side in pair)]
    rate = churned.mean()
    row_weight, leaf_rows = 0.8 * rate * (1 - rate), min(FOLDED_LEAF_ROWS, len(churned) // 3)
    grid = [
        Capacity(MOST_TREES, leaf_rows, leaves, FOLDED_RATE, row_weight=row_weight)
        for leaves in FOLDED_LEAVES
    ]
    members = [_boosted(name, capacity) for capacity in grid]
    boosted = [member for member in members if member is not None]
    if not masks or not boosted:
        return None
    number, trees = best_by_fold(boosted, features, churned, masks)
    return grid[number]._replace(trees=trees)


def _boosted(name: str, capacity: Capacity) -> Boosted | None:
    """The first member of a learner that boosts trees; None: none does."""
    members = (member for _, member in LEARNERS[name](capacity).members)
    return next((member for member in members if isinstance(member, Boosted)), None)


def _joined(model: LogOddsBlend, process: PurchaseProcess | None) -> LogOddsBlend:
    """The blend with a process as a member, which has a fifth of the vote."""
    if process is None:
        return model
    assert model.weights is not None
    members = [*model.members, (PROCESS, process)]
    return LogOddsBlend(members, weights=(*model.weights, sum(model.weights) / 4))


def _weighed(
    model: LogOddsBlend,
    features: pd.DataFrame,
    churned: np.ndarray,
    ids: np.ndarray,
    splits: Sequence[Split],
    near: float,
) -> LogOddsBlend:
    """The model with the weights that forecast the later rows of the splits best, near its own.

    Between two seasons a base rate moves by more than good members differ, so that the weights that
    were best on a few days are a matter of luck: hence ``near``. A member that forecast worse than
    the churn rate of the rows it learned from is left out.
    """
    odds, outcomes, constants = [], [], []
    for split in splits:
        seen = _some_entities(split.train, ids)
        try:
            scarce_entities(churned[seen], ids[seen])
        except HopelessLabel:
            continue
        later = _some_entities(split.test, ids)
        members = [
            (name, split.process if name == PROCESS else member) for name, member in model.members
        ]
        if any(member is None for _, member in members):
            continue
        earlier = LogOddsBlend(members).fit(features[seen], churned[seen])
        odds.append(earlier.member_log_odds(features[later]))
        outcomes.append(churned[later])
        constants.append(np.full(later.sum(), logit(churned[seen].mean())))
    if not odds:
        return model
    forecast, outcome = np.concatenate(odds, axis=1), np.concatenate(outcomes)
    bar = _log_loss(np.concatenate(constants), outcome)
    good = np.array([_log_loss(member, outcome) < bar for member in forecast])
    assert model.weights is not None
    usual = np.asarray(model.weights, float)
    if not good.any():
        return model  # no member has learned anything that held: the gate decides
    usual, forecast = usual[good] / usual[good].sum(), forecast[good]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, away = weights @ forecast, weights - usual
        gradient = forecast @ (expit(total) - outcome) / len(outcome) + 2 * near * away
        return _log_loss(total, outcome) + near * float(away @ away), gradient

    result = minimize(
        loss, usual, jac=True, bounds=[(0, 1)] * len(usual), method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 200},  # gains of 1e-5 are worth a step
        constraints={
            "type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(len(w))
        },
    )  # fmt: skip
    weights, used = result.x, result.x > LEAST_WEIGHT
    chosen = [member for member, well in zip(model.members, good, strict=True) if well]
    members = [member for member, counts in zip(chosen, used, strict=True) if counts]
    return LogOddsBlend(members, weights=weights[used].tolist())


def _log_loss(log_odds: np.ndarray, outcome: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(outcome, -log_odds, log_odds)).mean())


def _some_entities(rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The rows, or where they are more than WEIGHED_ROWS, those of a part of their entities."""
    if (parts := -(-rows.sum() // WEIGHED_ROWS)) == 1:
        return rows
    codes = pd.factorize(ids)[0]
    return rows & (codes % parts == 0)


def _stacked(
    model: LogOddsBlend, features: pd.DataFrame, churned: np.ndarray, ids: np.ndarray
) -> LogOddsBlend:
    """The model with the weights >= 0, slope and intercept that fit its members' out-of-fold log
    odds best.

    Folds are of entities: a member has never seen the customer whose outcome weighs it.
    """
    fold = entity_folds(pd.Series(ids))
    odds = np.empty((len(model.members), len(features)))
    for number in np.unique(fold):
        seen, unseen = features[fold != number], features[fold == number]
        odds[:, fold == number] = (
            clone(model).fit(seen, churned[fold != number]).member_log_odds(unseen)
        )

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        total = parameters[:-1] @ odds + parameters[-1]
        error = expit(total) - churned
        gradient = np.append(odds @ error, error.sum())
        return _log_loss(total, churned), gradient / len(churned)

    begin = np.append(np.full(len(odds), 1 / len(odds)), 0.0)
    bounds = [(0, None)] * len(odds) + [(None, None)]
    result = minimize(loss, begin, jac=True, bounds=bounds, method="L-BFGS-B").x
    weights, used = result[:-1], result[:-1] > 0
    if not used.any():  # nothing is known of the outcome: every member counts for nothing
        return model.set_params(slope=0.0, intercept=float(result[-1]))
    members = [member for member, counts in zip(model.members, used, strict=True) if counts]
    return LogOddsBlend(members, weights[used].tolist(), float(weights.sum()), float(result[-1]))


def scarce_entities(churned: np.ndarray, entity: np.ndarray) -> int:
    """Distinct entities of the rarer outcome. Raises HopelessLabel below MIN_ENTITIES."""
    gone, stayed = pd.unique(entity[churned]).size, pd.unique(entity[~churned]).size
    if min(gone, stayed) < MIN_ENTITIES:
        raise HopelessLabel(
            f"want at least {MIN_ENTITIES} entities that churned and {MIN_ENTITIES} that stayed, "
            f"found {gone} and {stayed} in {len(churned)} rows"
        )
    return min(gone, stayed)


def linear_terms(member: Pipeline, table: pd.DataFrame) -> np.ndarray:
    """Coefficient x (transformed value - training mean), for the features and then their
    indicators.
    """
    return np.ascontiguousarray(member[:-1].transform(table) * member[-1].coef_[0])
