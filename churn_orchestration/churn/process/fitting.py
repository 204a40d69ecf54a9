"""Purchase processes fitted by maximum likelihood to histories in days, or why none fits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from churn_orchestration.churn.process.histories import Histories
from churn_orchestration.churn.process.models import MODELS, NBD, Likelihood, Model
from churn_orchestration.churn.protocol import MIN_ENTITIES

BLOCK = 8_192
"""Rows at a time, so that a quadrature stays in the processor's cache."""
LOWEST, HIGHEST = 1e-4, 1e4
"""Between these lies every parameter, where the mean age is 1; alpha and beta in a wider range."""
FIRST_CELLS = 4_000
"""The starts are compared on so many cells at most; the best goes on with all."""
MOST_STEPS = 500
ROUGH, PRECISE = {"ftol": 1e-9, "gtol": 1e-5}, {"ftol": 1e-15, "gtol": 1e-8}
"""When the search ends from a start among few cells, and from the best of them among all."""
FLAT = 1e-5
"""A fit has arrived where the mean log likelihood of a customer changes by no more than this as the
log of a parameter changes by 1.
"""
DAILY = 0.5
"""A population that buys on more than this share of its days, first to last, buys by habit."""


@dataclass(frozen=True)
class NoFit:
    """No process describes these customers; ``reason`` is a sentence for people."""

    reason: str

    def record(self) -> dict[str, str]:
        """What a file keeps of it."""
        return {"reason": self.reason}


@dataclass(frozen=True)
class Process:
    """A fitted purchase process. Times are in days, in and out.

    Parameters
    ----------
    model : a key of MODELS
    parameters : by name; alpha and beta in days
    log_likelihood : of all customers, of histories in days
    customers : how many it is fitted to
    """

    model: str
    parameters: Mapping[str, float]
    log_likelihood: float
    customers: float

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"unknown process {self.model!r}; want one of {', '.join(MODELS)}")
        names, got = set(MODELS[self.model].parameters), dict(self.parameters)
        if set(got) != names or not all(np.isfinite(v) and v > 0 for v in got.values()):
            raise ValueError(f"{self.model} wants {sorted(names)}, finite and > 0, got {got}")

    @property
    def aic(self) -> float:
        """Akaike's criterion, lower is better; of the same customers only."""
        return 2 * len(self.parameters) - 2 * self.log_likelihood

    def silence_log_odds(
        self, histories: Histories, days: float, gap_days: float = 0
    ) -> np.ndarray:
        """Log odds of no purchase in the ``days`` that begin after ``gap_days``; n finite floats.

        The probability is L(x, t_x, T + days) / L(x, t_x, T) where there is no gap.
        """
        if not (days > 0 and gap_days >= 0):
            raise ValueError(f"want days > 0 and gap_days >= 0, got {days} and {gap_days}")
        return self._each(
            histories, lambda m, p, block: m.silence_log_odds(p, block, days, gap_days)
        )

    def silence(self, histories: Histories, days: float, gap_days: float = 0) -> np.ndarray:
        """Probability of no purchase in the ``days`` that begin after ``gap_days``; n floats."""
        return expit(self.silence_log_odds(histories, days, gap_days))

    def p_alive(self, histories: Histories) -> np.ndarray:
        """Probability that a customer has not stopped for good by as_of; n floats.

        No score of churn: by BG/NBD a customer of one purchase is always alive.
        """
        return self._each(histories, lambda m, p, block: expit(m.alive_log_odds(p, block)))

    def expected_purchases(self, histories: Histories, days: float) -> np.ndarray:
        """Mean number of purchase days in the ``days`` after as_of; n floats."""
        if not days > 0:
            raise ValueError(f"want days > 0, got {days}")
        return self._each(histories, lambda m, p, block: m.expected(p, block, days))

    def _each(
        self,
        histories: Histories,
        function: Callable[[Model, np.ndarray, Histories], np.ndarray],
    ) -> np.ndarray:
        model = MODELS[self.model]
        values = np.array([self.parameters[name] for name in model.parameters])
        distinct, which = histories.distinct()
        blocks = distinct.blocks(BLOCK)
        return np.concatenate([function(model, values, block) for block in blocks])[which]

    def record(self) -> dict[str, str | float]:
        """What a file keeps of it: plain text and floats, read again by `of_record`."""
        numbers = {"log_likelihood": self.log_likelihood, "customers": self.customers}
        return {"model": self.model, **self.parameters, **numbers}

    @classmethod
    def of_record(cls, record: Mapping[str, str | float]) -> Self:
        """The process of a `record`."""
        numbers = {name: float(value) for name, value in record.items() if name != "model"}
        log_likelihood, customers = numbers.pop("log_likelihood"), numbers.pop("customers")
        return cls(str(record["model"]), numbers, log_likelihood, customers)


def fit(histories: Histories, *, exact: bool = False) -> Process | NoFit:
    """The best of those that fit by Akaike's criterion, see `fit_each`; or why none does."""
    results = fit_each(histories, exact=exact)
    fitted = [result for result in results.values() if isinstance(result, Process)]
    if fitted:
        return min(fitted, key=lambda process: process.aic)
    reasons = dict.fromkeys(r.reason for r in results.values() if isinstance(r, NoFit))
    return NoFit("; ".join(reasons))


def fit_each(histories: Histories, *, exact: bool = False) -> dict[str, Process | NoFit]:
    """Each process by maximum likelihood, the best of several starts, always the same.

    Parameters
    ----------
    histories : of all who ever bought, in days: those who were active of late alone are a chosen
        few, and look livelier than they are
    exact : every distinct history by itself, however many; else at most MOST_CELLS, binned

    Returns
    -------
    By name of MODELS, a Process; or NoFit: too few customers or repeat purchases, purchases on
    almost every day, nobody seen to stop by a process in which they do, or a search that does not
    end
    """
    distinct = histories.grouped()
    if reason := _misfit(distinct):
        return dict.fromkeys(MODELS, NoFit(reason))
    unit = float((distinct.n * distinct.age).sum() / distinct.customers)
    cells = (distinct if exact else distinct.binned()).in_units_of(unit)
    few = distinct.binned(FIRST_CELLS).in_units_of(unit)
    with threadpool_limits(1):  # of four parameters: a second thread only waits for the first
        results = {name: _fitted(model, few, cells, unit) for name, model in MODELS.items()}
    if isinstance(never := results[NBD.name], Process):
        for name, result in results.items():
            if name != NBD.name and isinstance(result, Process) and result.aic >= never.aic:
                results[name] = NoFit(f"{name}: nobody is seen to stop for good")
    return results


def _misfit(histories: Histories) -> str | None:
    """Why no process can be fitted to these histories, seen before trying."""
    again = histories.n[histories.x > 0].sum()
    if histories.customers < MIN_ENTITIES:
        return f"too few customers: {histories.customers:.0f}, want at least {MIN_ENTITIES}"
    if again < MIN_ENTITIES:
        return (
            f"too few customers came back: {again:.0f} of {histories.customers:.0f}, "
            f"want at least {MIN_ENTITIES}"
        )
    share = (histories.n * histories.x).sum() / (histories.n * histories.t_x).sum()
    if share > DAILY:
        return (
            f"they come on {share:.0%} of the days between their first and last one: a habit, not "
            "purchases at random times"
        )
    return None


def _starts(model: Model, cells: Histories) -> list[np.ndarray]:
    """The logs of parameters to begin with, in units of the mean age."""
    mean = (cells.n @ cells.x) / (cells.n @ cells.age)
    return [np.log([r, times_r * r / mean * 2, *others]) for r, times_r, *others in model.starts]


def _fitted(model: Model, few: Histories, cells: Histories, unit: float) -> Process | NoFit:
    """The best of all starts among a few cells, and from there on among all."""
    wide = np.array([1e3 if name in model.times else 1.0 for name in model.parameters])
    bounds = Bounds(np.log(LOWEST / wide), np.log(HIGHEST * wide))
    tries = [_minimum(model.likelihood, few, start, bounds, ROUGH) for start in _starts(model, few)]
    first = min(tries, key=lambda result: result.fun)
    best = _minimum(model.likelihood, cells, first.x, bounds, PRECISE)
    if not _has_arrived(best, bounds):
        return NoFit(f"{model.name}: the search for its parameters does not end")
    in_units = -best.fun * cells.customers
    logs = best.x + np.log([unit if name in model.times else 1.0 for name in model.parameters])
    # The density of x times of purchase, in days rather than in units of the mean age.
    log_likelihood = float(in_units - (cells.n * cells.x).sum() * np.log(unit))
    parameters = dict(zip(model.parameters, np.exp(logs).tolist(), strict=True))
    return Process(model.name, parameters, log_likelihood, cells.customers)


def _minimum(
    likelihood: Callable[[np.ndarray, Histories], Likelihood],
    cells: Histories,
    start: np.ndarray,
    bounds: Bounds,
    precision: Mapping[str, float],
) -> OptimizeResult:
    """Where, in logs of the parameters, the mean log likelihood of a customer is highest."""
    blocks = cells.blocks(BLOCK)

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(len(logs))
        for block in blocks:
            value, gradient = likelihood(np.exp(logs), block)
            total -= (block.n * value).sum()  # BLAS would round by where the memory lies
            slope -= (block.n * gradient).sum(axis=1)
        return total / cells.customers, slope / cells.customers

    return minimize(
        loss, np.clip(start, bounds.lb, bounds.ub), jac=True, bounds=bounds, method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "maxcor": 20, **precision},
    )  # fmt: skip


def _has_arrived(result: OptimizeResult, bounds: Bounds) -> bool:
    """Whether no step within the bounds lowers the loss any more; the flag of the optimiser also
    says so where rounding stopped it early.
    """
    within = np.clip(result.x - result.jac, bounds.lb, bounds.ub)
    return bool(np.isfinite(result.fun) and np.abs(within - result.x).max() <= FLAT)
