"""What being in the treated arm does to each customer, learned from the outcomes of both arms, and
whether that ranks customers better than chance.

Three learners of small trees (S, T and X; Kuenzel, Sekhon, Bickel and Yu 2019) are averaged, so
none is chosen for its luck. They are judged on customers whose outcome they have not seen, by folds
of entities. Rows are customers of a trial, whose share of control is what the lot was drawn with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import lightgbm as lgb
import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

LEARNED, ABSTAINS, TOO_FEW = "learned", "abstains", "too_few"
S, T, X, BLEND, BELIEF = "s", "t", "x", "blend", "belief"
LEARNERS = (S, T, X)
FEWEST, FEWEST_EACH = 200, 40
"""Customers of each arm from which on anything is learned; of them, those with either outcome."""
LEVEL = 0.05
BATCH = 100_000
"""Customers that are forecast at once."""
TREES = 60
PARAMETERS: dict[str, Any] = {
    "num_leaves": 4, "learning_rate": 0.05, "lambda_l2": 5.0, "feature_fraction": 0.6,
    "deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": 20_111_209,
    "verbosity": -1,
}  # fmt: skip
FEWEST_OF_LEAF, MOST_OF_LEAF, LEAVES_OF_ARM = 20, 200, 20
"""Rows of a leaf: that share of those learned from, between these."""


@dataclass(frozen=True)
class Trial:
    """Customers of a trial whose outcome is known, one row each.

    Parameters
    ----------
    features : known before the lot; n x p, NaN is not known
    treated : bool, the arm by the lot; n
    outcome : 1 is good, 0 is not; n
    fold : that of the entity, whole numbers; n
    believed : the effect on each as believed before, in any unit: only its order counts; n
    share : of the customers that the lot holds back, above 0 and below 1
    """

    features: np.ndarray
    treated: np.ndarray
    outcome: np.ndarray
    fold: np.ndarray
    believed: np.ndarray
    share: float

    def some(self, which: np.ndarray) -> "Trial":
        """Those rows alone, by a mask."""
        return Trial(
            self.features[which], self.treated[which], self.outcome[which], self.fold[which],
            self.believed[which], self.share,
        )  # fmt: skip

    @property
    def is_enough(self) -> bool:
        """Whether anything is learned from it."""
        return _is_enough(self.treated, self.outcome)


def _is_enough(treated: np.ndarray, outcome: np.ndarray) -> bool:
    arms = [outcome[treated], outcome[~treated]]
    fewest = min(min(arm.sum(), len(arm) - arm.sum()) for arm in arms)
    return bool(min(map(len, arms)) >= FEWEST and fewest >= FEWEST_EACH)


def looks(treated: np.ndarray, outcome: np.ndarray, known_on: np.ndarray) -> int:
    """How many month-ends, up to that of the last day, had enough to learn from and an outcome that
    the one before had not; n of each, ``known_on`` as datetime64.
    """
    months = known_on.astype("datetime64[M]")
    return sum(
        _is_enough(treated[until], outcome[until])
        for until in (months <= month for month in np.unique(months))
    )


def level_of(look: int, level: float = LEVEL) -> float:
    """The level of one look, by its number from 1, such that all looks together have ``level``,
    however many there will be.

    Source: Bonferroni, by shares of 6 / (pi look)^2, whose sum is 1 (Euler 1735).

    >>> [round(level_of(look), 4) for look in (1, 2, 6)]
    [0.0304, 0.0076, 0.0008]
    """
    return float(6 * level / (np.pi * look) ** 2)


@dataclass(frozen=True)
class Learners:
    """The three learners, by their trees; see `fit_learners`.

    ``boosters``: both, of features and arm together; treated and control, of the outcome in each
    arm; gained and missed, of the effect on the treated and on the control.
    """

    boosters: Mapping[str, lgb.Booster]
    share: float

    def effects(self, features: np.ndarray) -> np.ndarray:
        """The effect on each customer by each of LEARNERS, > 0 is good; n x 3."""
        return np.concatenate([self._effects(part) for part in _parts(features)])

    def outcomes(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The outcome expected of each customer if treated, and if held back; n each."""
        return self._predicted("treated", features), self._predicted("control", features)

    def _predicted(self, name: str, features: np.ndarray) -> np.ndarray:
        return np.asarray(self.boosters[name].predict(features, num_threads=1))

    def _effects(self, features: np.ndarray) -> np.ndarray:
        with_arm = np.column_stack([features, np.ones(len(features), features.dtype)])
        offered = self._predicted("both", with_arm)
        with_arm[:, -1] = 0
        treated, control = self.outcomes(features)
        gained, missed = (self._predicted(name, features) for name in ("gained", "missed"))
        x = (1 - self.share) * missed + self.share * gained
        return np.column_stack([offered - self._predicted("both", with_arm), treated - control, x])

    def texts(self) -> dict[str, str]:
        """Each booster as LightGBM's text, by name."""
        return {name: booster.model_to_string() for name, booster in self.boosters.items()}

    @classmethod
    def of_texts(cls, texts: Mapping[str, str], share: float) -> Self:
        """The learners of `texts`."""
        return cls({name: lgb.Booster(model_str=text) for name, text in texts.items()}, share)


def fit_learners(trial: Trial) -> Learners:
    """Fit all three to a trial."""
    of, outcome, arm = trial.features, trial.outcome, trial.treated
    with_arm = np.column_stack([of, arm.astype(of.dtype)])
    treated = _fitted(of[arm], outcome[arm], "binary")
    control = _fitted(of[~arm], outcome[~arm], "binary")
    gained = outcome[arm] - np.asarray(control.predict(of[arm], num_threads=1))
    missed = np.asarray(treated.predict(of[~arm], num_threads=1)) - outcome[~arm]
    boosters = {
        "both": _fitted(with_arm, outcome, "binary"), "treated": treated, "control": control,
        "gained": _fitted(of[arm], gained, "regression"),
        "missed": _fitted(of[~arm], missed, "regression"),
    }  # fmt: skip
    return Learners(boosters, trial.share)


def _fitted(features: np.ndarray, outcome: np.ndarray, objective: str) -> lgb.Booster:
    leaf = min(max(len(outcome) // LEAVES_OF_ARM, FEWEST_OF_LEAF), MOST_OF_LEAF)
    parameters = PARAMETERS | {"objective": objective, "min_data_in_leaf": leaf}
    rows = lgb.Dataset(features, outcome, params=parameters)
    return lgb.train(parameters, rows, num_boost_round=TREES)


def _parts(features: np.ndarray) -> list[np.ndarray]:
    return np.array_split(features, max(1, -(-len(features) // BATCH)))


@dataclass(frozen=True)
class Judged:
    """Customers as learners say of them that were fitted to folds before theirs; j of n.

    Parameters
    ----------
    rows : which customers those are: all but those of the first fold; bool, n
    effects : by each of LEARNERS; j x 3
    score : whose mean over any customers is the effect on them; j
    """

    rows: np.ndarray
    effects: np.ndarray
    score: np.ndarray


def judged(trial: Trial) -> Judged:
    """Let learners say the effect on customers whose outcome they have not seen, fold by fold.

    Each fold's learners are fitted to the folds before it, and to no later one. Were each fitted to
    all the others, two customers who are alike would both have raised the other's place, and areas
    of nothing would spread wider than their interval says. Source: Wager 2024, sequential
    validation of treatment heterogeneity.

    The score takes from the outcome what was expected in the arm, and divides by the share of the
    arm (augmented inverse propensity weighting, Robins, Rotnitzky and Zhao 1994), so it is right
    whatever is expected, and varies less where that is good.
    """
    effects, score = np.empty((len(trial.outcome), len(LEARNERS))), np.empty(len(trial.outcome))
    first, *others = np.unique(trial.fold)
    for fold in others:
        within, rows = trial.fold == fold, trial.some(trial.fold == fold)
        learners = fit_learners(trial.some(trial.fold < fold))
        effects[within] = learners.effects(rows.features)
        treated, control = learners.outcomes(rows.features)
        missing = rows.outcome - np.where(rows.treated, treated, control)
        weight = np.where(rows.treated, 1 / (1 - trial.share), -1 / trial.share)
        score[within] = treated - control + weight * missing
    said = trial.fold != first
    return Judged(said, effects[said], score[said])


@dataclass(frozen=True)
class Qini:
    """How well an estimate ranks customers by the effect on them.

    Parameters
    ----------
    auuc : area under the curve of the effect that is had by treating the first share of the
        customers, of one customer on the mean; a random order has half the effect on all
    value : how much more than that it is: Qini; 0 is a random order
    low, high : interval of ``value``
    auuc_low, auuc_high : interval of ``auuc``
    """

    auuc: float
    auuc_low: float
    auuc_high: float
    value: float
    low: float
    high: float


def qini(effect: np.ndarray, score: np.ndarray, fold: np.ndarray, level: float = LEVEL) -> Qini:
    """Areas of an estimate, each fold ranked by itself; n of each.

    Both areas are means over customers of the score times the place in the order, 1 first to 0
    last. So the interval is that of a mean, the order being fixed by other customers' outcomes.
    Source: Yadlowsky, Fleming, Shah, Brunskill and Wager 2021, section 3, whose weight of Qini this
    is. Ranking each fold by itself keeps what differs between the folds' learners out of the order.

    Parameters
    ----------
    effect : as estimated without the customer's outcome
    score : see `judged`
    fold : of the learner that made the estimate
    """
    width = -ndtri(level / 2) / np.sqrt(len(score))
    before = _places(effect, fold)
    area, more = before * score, contributions(effect, score, fold)
    spread, spread_more = width * area.std(ddof=1), width * more.std(ddof=1)
    auuc, value = float(area.mean()), float(more.mean())
    return Qini(auuc, auuc - spread, auuc + spread, value, value - spread_more, value + spread_more)


def contributions(effect: np.ndarray, score: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """What each customer contributes to Qini, which is the mean of it; n."""
    return (_places(effect, fold) - 0.5) * (score - score.mean())


def led(
    effect: np.ndarray, other: np.ndarray, score: np.ndarray, fold: np.ndarray, level: float = LEVEL
) -> tuple[float, float, float]:
    """By how much Qini of one estimate is larger than that of another on the same customers, and
    the interval of it.
    """
    more = contributions(effect, score, fold) - contributions(other, score, fold)
    value, error = float(more.mean()), float(more.std(ddof=1) / np.sqrt(len(more)))
    width = float(-ndtri(level / 2)) * error
    return value, value - width, value + width


def _places(effect: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The place of each in the order of its fold, from 1, the largest effect, to 0; n. Equal ones
    share theirs.
    """
    result = np.empty(len(effect))
    for number in np.unique(fold):
        within = fold == number
        result[within] = (rankdata(effect[within]) - 0.5) / within.sum()
    return result


@dataclass(frozen=True)
class Scale:
    """From an estimate, which ranks, to an effect: ``level`` + ``slope`` x (estimate - ``centre``).

    ``level_error``, ``slope_error``: standard errors.
    """

    level: float
    slope: float
    centre: float
    level_error: float
    slope_error: float

    def effect(self, estimate: np.ndarray, level: float = LEVEL) -> np.ndarray:
        """Effect, and the interval of its mean over customers of that estimate; 3 x n."""
        away = estimate - self.centre
        mean = self.level + self.slope * away
        error = np.hypot(self.level_error, self.slope_error * away)
        return np.stack([mean, mean + ndtri(level / 2) * error, mean - ndtri(level / 2) * error])


def scaled(effect: np.ndarray, score: np.ndarray, fold: np.ndarray) -> Scale:
    """The line of the scores by the estimates, each from the mean of its fold.

    Trees exaggerate differences of effects, or understate them; on those who were not learned from
    the line says by how much. It is steeper than 1 only as far as a standard error leaves of that,
    and never falls. Source: the best linear predictor of Chernozhukov, Demirer, Duflo
    and Fernandez-Val 2018, section 3.
    """
    away = effect.astype(float).copy()
    for number in np.unique(fold):
        away[fold == number] -= away[fold == number].mean()
    level, squares = float(score.mean()), float(away @ away)
    slope = float(away @ score) / squares if squares else 0.0
    left = score - level - slope * away
    slope_error = float(np.sqrt(((away * left) ** 2).sum())) / squares if squares else 0.0
    error = float(score.std(ddof=1) / np.sqrt(len(score)))
    slope = max(0.0, min(slope, max(1.0, slope - slope_error)))
    return Scale(level, slope, float(effect.mean()), error, slope_error)


@dataclass(frozen=True)
class Uplift:
    """What was learned of a trial.

    Parameters
    ----------
    verdict : LEARNED; ABSTAINS, as the interval of Qini includes a random order, or as the order by
        belief is better beyond chance; or TOO_FEW
    treated, control : customers whose outcome is known
    qini : of each of LEARNERS, of their mean, BLEND, and of the order by belief; empty: too few
    lead : by how much Qini of BLEND is larger than that of the order by belief, and its interval;
        empty: too few
    scale : of the mean; None: too few
    learners : fitted to all of them; None: not learned
    """

    verdict: str
    treated: int
    control: int
    qini: Mapping[str, Qini]
    lead: tuple[float, ...]
    scale: Scale | None
    learners: Learners | None

    def effects(self, features: np.ndarray) -> np.ndarray:
        """The effect on each customer and the ends of its interval; 3 x n. Of what is LEARNED."""
        assert self.learners is not None
        assert self.scale is not None
        return self.scale.effect(self.learners.effects(features).mean(axis=1))


def learn(trial: Trial, look: int = 1, level: float = LEVEL) -> Uplift:
    """Learn the effects of a trial, judge them, and abstain where they could be chance.

    Parameters
    ----------
    look : its number, see `looks`; where nothing differs customers are learned at any of them with
        a chance of ``level`` at most
    level : of Qini at all looks; that belief orders better is judged by each look alone, so that
        it is not left for too little

    Raises
    ------
    ValueError : arrays that do not fit, an outcome other than 0 and 1, a share not within 0 and 1
    """
    _check(trial)
    treated, control = int(trial.treated.sum()), int((~trial.treated).sum())
    if not trial.is_enough:
        return Uplift(TOO_FEW, treated, control, {}, (), None, None)
    by = judged(trial)
    blend, score, seen = by.effects.mean(axis=1), by.score, trial.some(by.rows)
    each = {**dict(zip(LEARNERS, by.effects.T, strict=True)), BLEND: blend, BELIEF: seen.believed}
    at = level_of(look, level)
    areas = {name: qini(effect, score, seen.fold, at) for name, effect in each.items()}
    lead = led(blend, seen.believed, score, seen.fold)
    scale = scaled(blend, score, seen.fold)
    if areas[BLEND].low <= 0 or lead[-1] < 0:
        return Uplift(ABSTAINS, treated, control, areas, lead, scale, None)
    learners = fit_learners(trial)
    # The learners that serve have seen all: their own mean is that of the customers learned from.
    scale = replace(scale, centre=float(learners.effects(trial.features).mean()))
    return Uplift(LEARNED, treated, control, areas, lead, scale, learners)


def _check(trial: Trial) -> None:
    n = len(trial.outcome)
    for name in ("features", "treated", "fold", "believed"):
        if len(getattr(trial, name)) != n:
            raise ValueError(f"{name} has {len(getattr(trial, name))} rows, outcome {n}")
    if not np.isin(trial.outcome, (0, 1)).all():
        raise ValueError("outcome has other values than 0 and 1")
    if not 0 < trial.share < 1:
        raise ValueError(f"the share that is held back is within 0 and 1, not {trial.share}")
