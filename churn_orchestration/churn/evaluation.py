"""Evaluation of a snapshot: models fitted on purged earlier as_ofs, graded on later ones.

A static question has one as_of: it is graded out of fold, by entity, and says that this is not out of time.
Imports the learners, so import this module inside the function that trains.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from churn_orchestration.churn import curves, learners, metrics
from churn_orchestration.churn.answerable import MIN_ENTITIES
from churn_orchestration.churn.calendar import Horizon, purged
from churn_orchestration.churn.decisions import ENTITY_FOLDS, OUT_OF_FOLD, POWER_OF_AUC
from churn_orchestration.churn.labels import STATIC, Question
from churn_orchestration.churn.profit import Economics

KEYS = ("as_of", "label", "label_known_on", "cutoff")
FOLD_SEED = 20_111_209
CONTROL_ROWS, SHUFFLES = 3_000, 8
RANKING = ("auc", "average_precision", "lift_top_decile", "recall_top_decile", "base_rate")


@dataclass(frozen=True)
class Fold:
    """One test as_of with the purged as_ofs that train for it."""

    test: dt.date
    train: tuple[dt.date, ...]


def folds(as_ofs: list[dt.date], horizon: Horizon, most: int) -> list[Fold]:
    """The newest ``most`` test as_ofs that have at least one purged as_of to train on, newest first.

    >>> grid = [dt.date(2024, month, 1) for month in (1, 2, 3, 4, 5)]
    >>> [(fold.test.month, [day.month for day in fold.train]) for fold in folds(grid, Horizon(60), most=2)]
    [(5, [1, 2, 3]), (4, [1, 2])]
    """
    candidates = (Fold(test, tuple(purged(as_ofs, test, horizon))) for test in sorted(as_ofs, reverse=True))
    return [fold for fold in candidates if fold.train][:most]


def entity_folds(entity: pd.Series) -> np.ndarray:
    """The fold of each row, 0 to ENTITY_FOLDS - 1: a seeded hash of its entity's text, so always the same.

    >>> entity_folds(pd.Series(["ann", "bob", "ann", 7])).tolist()
    [4, 2, 4, 4]
    """

    def fold(text: str) -> int:
        digest = hashlib.sha256(f"{FOLD_SEED}:{text}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % ENTITY_FOLDS

    return entity.astype(str).map(fold).to_numpy()


def feature_columns(snapshot: pd.DataFrame, question: Question) -> list[str]:
    """The columns a model may see: all but the entity, as_of, label and their dates."""
    return [name for name in snapshot.columns if name not in (question.entity, *KEYS)]


def scores(
    model: learners.LogOddsBlend, frame: pd.DataFrame, question: Question, base_rate: float
) -> pd.DataFrame:
    """Probabilities of the model, its members, the rules and a constant; the recency as a rank from 0 to 1.

    Without an activity there are no rules and no recency.

    Parameters
    ----------
    model : fitted
    frame : feature rows, one per entity and as_of
    base_rate : churn rate of the rows that trained the model, the constant forecast

    Returns
    -------
    one column per forecaster, the model first, the index of ``frame``
    """
    features = frame[list(model.feature_names_in_)]
    table = {"model": model.predict_proba(features)[:, 1]}
    if len(model.members_) > 1:
        table |= model.member_probabilities(features)
    if question.activity:
        silence = frame[f"{question.activity.name}_days_since_last"]
        gap = frame[f"{question.activity.name}_gap_days_mean_all"]
        table["rules"] = learners.rules_probability(silence, gap, question.horizon.horizon_days).to_numpy()
        table["recency"] = silence.rank(pct=True).fillna(1.0).to_numpy()
    table["constant"] = np.full(len(frame), base_rate)
    return pd.DataFrame(table, index=frame.index)


def graded(frame: pd.DataFrame, forecasts: pd.DataFrame, entity: str) -> dict[str, dict[str, Any]]:
    """Metrics with intervals of every forecaster on the same rows; of a rank, those of its order only."""
    report = {}
    for name in forecasts:
        found = metrics.evaluate(frame["label"], forecasts[name], frame[entity])
        report[str(name)] = {k: v for k, v in found.items() if name != "recency" or k in RANKING}
    return report


@dataclass(frozen=True)
class Evaluation:
    """How the recipe did on later days: pooled report by forecaster, folds, paired differences, curves.

    ``held_out`` has a row per entity and as_of graded: label, and what each forecaster said.
    ``controls``: what a sound training must show beside its grade.
    ``caveat`` says how it was graded where that was not on later days.
    """

    report: dict[str, dict[str, Any]]
    folds: list[Fold]
    differences: dict[str, dict[str, float]]
    curves: dict[str, Any]
    held_out: pd.DataFrame
    caveat: str = ""
    controls: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Versus:
    """A candidate against the champion on the same rows: paired differences, candidate minus champion.

    Parameters
    ----------
    log_loss, profit, auc : value, low, high, 95 % interval clustered by entity; profit in customers' values
    rows : how many; ``how`` says of what, in words
    controls : whether each forecast of known worth would be promoted: oracle, nobody, everybody
    """

    log_loss: dict[str, float]
    profit: dict[str, float]
    auc: dict[str, float]
    rows: int
    how: str
    controls: dict[str, bool]

    @classmethod
    def of(
        cls, label: pd.Series, candidate: ArrayLike, champion: ArrayLike, entity: pd.Series, how: str
    ) -> "Versus":
        """Compare two forecasts of the same rows, and with them three whose worth is known."""
        outcome = np.asarray(label, float)
        known = {"oracle": outcome, "nobody": np.zeros(len(outcome)), "everybody": np.ones(len(outcome))}
        earned = metrics.profit(Economics())

        def difference(forecast: ArrayLike, metric: "str | metrics.Metric") -> dict[str, float]:
            return metrics.paired_difference(label, forecast, champion, entity, metric)

        controls = {
            name: _better(difference(forecast, "log_loss"), difference(forecast, earned))
            for name, forecast in known.items()
        }
        found = difference(candidate, "log_loss"), difference(candidate, earned), difference(candidate, "auc")
        return cls(*found, len(outcome), how, controls)

    @property
    def better(self) -> bool:
        """Whether the candidate is better, chance ruled out."""
        return _better(self.log_loss, self.profit)

    @property
    def power(self) -> float:
        """The probability that the interval of a candidate that is POWER_OF_AUC better would exclude 0."""
        spread = (self.auc["high"] - self.auc["low"]) / (2 * norm.ppf(0.975))
        return float(norm.cdf(POWER_OF_AUC / spread - norm.ppf(0.975))) if spread > 0 else 1.0

    def broken(self) -> str:
        """What is wrong with the comparison itself; empty: nothing."""
        if not self.controls["oracle"]:
            return "a forecast that knows every outcome does not win it"
        won = [name for name in ("nobody", "everybody") if self.controls[name]]
        return f"contacting {won[0]} wins it" if won else ""

    def told(self) -> dict[str, Any]:
        """As evidence for the ledger."""
        return asdict(self) | {"power_of_auc_0.02": self.power}


def _better(log_loss: dict[str, float], profit: dict[str, float]) -> bool:
    """Better in log loss or profit, chance ruled out, and in neither worse, chance ruled out."""
    ahead = log_loss["high"] < 0 or profit["low"] > 0
    return ahead and not log_loss["low"] > 0 and not profit["high"] < 0


def drawn(frame: pd.DataFrame, forecasts: pd.DataFrame, entity: str) -> dict[str, Any]:
    """The curves of the same rows: calibration of the model, gain of the model and of any rules beside it."""
    gains = {
        name: curves.gain(frame["label"], forecasts[name]) for name in ("model", "rules") if name in forecasts
    }
    bins = curves.calibration(frame["label"], forecasts["model"], frame[entity])
    return {"calibration": bins, "gain": gains}


Forecasted = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, learners.LogOddsBlend]
"""Rows with their labels, every forecaster's probabilities of them, and the rows and model they came from."""


def evaluate(snapshot: pd.DataFrame, question: Question, learner: str, most: int) -> Evaluation | None:
    """Grade the learner on rows that it has not seen; None where there is no fold to grade it on.

    Raises
    ------
    HopelessLabel : a static question, and too few entities of one class in a fold's training rows
    """
    if question.kind == STATIC:
        return _pooled(question, [], _out_of_fold(snapshot, question, learner), learner, OUT_OF_FOLD)
    used, found = _out_of_time(snapshot, question, learner, most)
    return _pooled(question, used, found, learner) if used else None


def _controls(forecasted: Forecasted, question: Question, learner: str) -> dict[str, Any]:
    """What a sound training must show beside its grade, on one fold."""
    test, _, train, model = forecasted
    columns = feature_columns(train, question)
    auc = {
        when: metrics.measure(rows["label"], model.predict_proba(rows[columns])[:, 1])["auc"]
        for when, rows in (("trained", train), ("later", test))
    }
    company = depends_on_company(lambda rows: model.predict_proba(rows)[:, 1], test[columns])
    shuffled = shuffled_control(train, test, question, learner)
    found = {"shuffled_auc": shuffled, "company": company}
    return found | {f"auc_{when}": value for when, value in auc.items()}


def _out_of_fold(snapshot: pd.DataFrame, question: Question, learner: str) -> list[Forecasted]:
    """Every row by a model that has not seen its entity."""
    fold = entity_folds(snapshot[question.entity])
    return [
        _forecasted(snapshot[fold != number], snapshot[fold == number], question, learner)
        for number in np.unique(fold)
    ]


def _out_of_time(
    snapshot: pd.DataFrame, question: Question, learner: str, most: int
) -> tuple[list[Fold], list[Forecasted]]:
    """Every fold's later as_of by a model of the as_ofs that were known by then."""
    snapshot = snapshot.assign(as_of=pd.to_datetime(snapshot["as_of"]).dt.date)
    used, found = [], []
    for fold in folds(sorted(snapshot["as_of"].unique()), question.horizon, most):
        train = snapshot[snapshot["as_of"].isin(fold.train)]
        test = snapshot[snapshot["as_of"] == fold.test]
        if test["label"].nunique() < 2:
            continue
        try:
            found.append(_forecasted(train, test, question, learner))
        except learners.HopelessLabel:
            continue  # too few in an early fold; the refit on all as_ofs is what may refuse
        used.append(fold)
    return used, found


def refuse_overlap(train: pd.DataFrame, test: pd.DataFrame, question: Question) -> None:
    """Refuse to grade on rows that the training rows tell of. Raises OverlapError that says how.

    Of a static question those of the same entity; else those whose outcome was not known yet at the as_of
    that is graded, such as a random split leaves.
    """
    if question.kind == STATIC:
        if shared := len(np.intersect1d(train[question.entity].unique(), test[question.entity].unique())):
            raise OverlapError(f"{shared} entities are both trained and graded on: split by entity")
        return
    first = pd.to_datetime(test["as_of"]).min()
    early = pd.to_datetime(train["label_known_on"]) > first
    if early.any():
        raise OverlapError(
            f"{early.sum()} of {len(train)} training rows have an outcome that was not known on "
            f"{first.date()}, the first day that is graded: split by as_of, leave out what had not matured"
        )


class OverlapError(ValueError):
    """Training rows tell of the rows that a model is graded on."""


def shuffled_control(
    train: pd.DataFrame, test: pd.DataFrame, question: Question, learner: str
) -> dict[str, float]:
    """AUC of the same recipe where the labels it learns from are shuffled: 0.5 lies within, or it leaks.

    Labels change places among entities, all of an entity's as_ofs together. One shuffle says little: where
    few features are strong, chance makes it rank well or badly. So the mean of SHUFFLES is judged, by an
    interval of 99.9 % (Student): one sound training in a thousand is called broken.
    """
    columns, rng = feature_columns(train, question), np.random.default_rng(FOLD_SEED)
    train, test = _thinned(train), _thinned(test)
    codes, aucs = pd.factorize(train[question.entity])[0], list[float]()
    for attempt in count():
        if len(aucs) == SHUFFLES:
            break
        if attempt == 100 * SHUFFLES:
            raise learners.HopelessLabel("too few entities of one outcome to shuffle the labels of")
        order = np.argsort(rng.random(codes.max() + 1)[codes], kind="stable")
        label = np.empty(len(train), bool)
        label[np.argsort(codes, kind="stable")] = train["label"].to_numpy(bool)[order]
        if pd.unique(codes[label]).size < MIN_ENTITIES or pd.unique(codes[~label]).size < MIN_ENTITIES:
            continue  # by chance too few have one of the outcomes: shuffle again
        model = learners.fit(learner, train[columns], label, train[question.entity])
        aucs.append(metrics.measure(test["label"], model.predict_proba(test[columns])[:, 1])["auc"])
    spread = np.std(aucs, ddof=1) / SHUFFLES**0.5
    mean, reach = float(np.mean(aucs)), float(t.ppf(0.9995, SHUFFLES - 1) * spread)
    return {"value": mean, "low": mean - reach, "high": mean + reach}


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """About CONTROL_ROWS of the rows, evenly; all where that would leave few of one outcome."""
    some = rows.iloc[:: -(-len(rows) // CONTROL_ROWS)]
    return some if some["label"].value_counts().min() >= 5 * MIN_ENTITIES else rows


def depends_on_company(forecast: Callable[[pd.DataFrame], np.ndarray], frame: pd.DataFrame) -> float:
    """By how much a row's forecast moves with the rows beside it; 0 of a model that is only applied.

    An encoder or scaler that is fitted again on what is scored gives the same customer another risk in
    another company.
    """
    some = frame.iloc[: max(1, len(frame) // 3)]
    return float(np.abs(forecast(some) - forecast(frame)[: len(some)]).max())


def _forecasted(train: pd.DataFrame, test: pd.DataFrame, question: Question, learner: str) -> Forecasted:
    refuse_overlap(train, test, question)
    columns = feature_columns(train, question)
    model = learners.fit(learner, train[columns], train["label"], train[question.entity])
    return test, scores(model, test, question, float(train["label"].mean())), train, model


def _pooled(
    question: Question, used: list[Fold], found: list[Forecasted], learner: str, caveat: str = ""
) -> Evaluation:
    test = pd.concat([rows for rows, *_ in found])
    forecast = pd.concat([forecasts for _, forecasts, *_ in found])
    differences = {
        peer: metrics.paired_difference(
            test["label"], forecast["model"], forecast[peer], test[question.entity], "log_loss"
        )
        for peer in ("rules", "constant")
        if peer in forecast
    }
    entity = question.entity
    report, curved = graded(test, forecast, entity), drawn(test, forecast, entity)
    held_out = pd.concat([test[[entity, "as_of", "label"]], forecast], axis=1).reset_index(drop=True)
    held_out["as_of"] = pd.to_datetime(held_out["as_of"])
    controls = _controls(found[0], question, learner)  # the newest day
    return Evaluation(report, used, differences, curved, held_out, caveat, controls)
