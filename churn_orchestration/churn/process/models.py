"""Likelihoods of purchase processes and what follows from them, exact and in log space.

All: customers buy at random at a rate that is Gamma(r, alpha) among them, until they stop for
good. They stop after a purchase, by a chance that is Beta(a, b) among them: BG/NBD (Fader, Hardie
and Lee 2005) after a repeat purchase, MBG/NBD (Batislam, Denizel and Filiztekin 2007) after the
first one too. Or they stop at any time, at a rate that is Gamma(s, beta): Pareto/NBD (Schmittlein,
Morrison and Colombo 1987). Or never: NBD (Ehrenberg 1959). Times are in any one unit; alpha and
beta are in the same.

With S the likelihood of a history whose customer has not stopped, and D of one who has, both up to
a common factor, L is proportional to S + D, and the log odds of being alive are ln S - ln D.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.linalg import eigh_tridiagonal
from scipy.special import expit, exprel, gammaln, psi

from churn_orchestration.churn.process.histories import Histories

NODES = 64
LEGENDRE = tuple(zip(*leggauss(NODES), strict=True))
"""Of a Gauss-Legendre rule; so an integral is right to 1e-13 of itself, see the ADR."""
LEAST = -45.0
"""An integrand is left out from where its logarithm falls below this."""
BETA_NODES = 32
"""Of a Gauss-Jacobi rule for a mean over a Beta distribution."""


class Likelihood(NamedTuple):
    """ln L of each history (n), and its derivatives by the log of each parameter, one row each."""

    value: np.ndarray
    gradient: np.ndarray


class Model(Protocol):
    """A purchase process up to its parameters, which are floats > 0."""

    @property
    def name(self) -> str:
        """Its key in MODELS."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Their names, in order."""

    @property
    def times(self) -> tuple[str, ...]:
        """Those that are in the unit of time."""

    @property
    def starts(self) -> tuple[tuple[float, ...], ...]:
        """Where fits begin, in units of the mean age: r, alpha as a multiple of r over the mean
        rate, and any others.
        """

    def likelihood(self, parameters: np.ndarray, histories: Histories) -> Likelihood:
        """Of each history by itself, whatever its n."""

    def alive_log_odds(self, parameters: np.ndarray, histories: Histories) -> np.ndarray:
        """Log odds that the customer has not stopped by as_of; infinite where they cannot have."""

    def silence_log_odds(
        self, parameters: np.ndarray, histories: Histories, length: float, gap: float = 0.0
    ) -> np.ndarray:
        """Log odds of no purchase in the time ``length`` > 0 that begins ``gap`` >= 0 after as_of;
        finite.
        """

    def expected(self, parameters: np.ndarray, histories: Histories, length: float) -> np.ndarray:
        """Mean number of purchases in the time ``length`` after as_of."""


@dataclass(frozen=True)
class NegativeBinomial:
    """NBD: nobody stops for good, so that only the number of purchases matters and not when."""

    name: str = "nbd"
    parameters: tuple[str, ...] = ("r", "alpha")
    times: tuple[str, ...] = ("alpha",)
    starts: tuple[tuple[float, ...], ...] = ((1.0, 0.5),)

    def likelihood(self, parameters: np.ndarray, histories: Histories) -> Likelihood:
        r, alpha = parameters
        x, age = histories.x, histories.age
        bought, grown = r + x, np.log1p(age / alpha)
        value = gammaln(bought) - gammaln(r) - x * np.log(alpha) - bought * grown
        by_r, by_alpha = r * (psi(bought) - psi(r) - grown), -x + bought * age / (alpha + age)
        return Likelihood(value, np.stack([by_r, by_alpha]))

    def alive_log_odds(self, parameters: np.ndarray, histories: Histories) -> np.ndarray:  # noqa: ARG002
        return np.full(len(histories), np.inf)

    def silence_log_odds(
        self,
        parameters: np.ndarray,
        histories: Histories,
        length: float,
        gap: float = 0.0,  # noqa: ARG002
    ) -> np.ndarray:
        r, alpha = parameters
        silent = -(r + histories.x) * np.log1p(length / (alpha + histories.age))
        return silent - np.log(-np.expm1(silent))

    def expected(self, parameters: np.ndarray, histories: Histories, length: float) -> np.ndarray:
        r, alpha = parameters
        return (r + histories.x) / (alpha + histories.age) * length


@dataclass(frozen=True)
class BetaGeometric:
    """BG/NBD, or MBG/NBD if ``stops_at_first``: a customer may stop after the first purchase."""

    name: str
    stops_at_first: bool
    parameters: tuple[str, ...] = ("r", "alpha", "a", "b")
    times: tuple[str, ...] = ("alpha",)
    starts: tuple[tuple[float, ...], ...] = (
        (0.5, 1.0, 0.8, 2.5),
        (1.0, 2.0, 0.1, 1.0),
        (3.0, 1.0, 2.0, 20.0),
    )

    def _survived(self, x: np.ndarray) -> np.ndarray:
        """After how many purchases the customer might have stopped but went on, if alive."""
        return x + 1 if self.stops_at_first else x

    def _log_dead(self, parameters: np.ndarray, histories: Histories) -> np.ndarray:
        r, alpha, a, b = parameters
        m = self._survived(histories.x)
        stopped = np.log(a) - np.log(np.where(m > 0, b + m - 1, 1))
        return np.where(
            m > 0, stopped - (r + histories.x) * np.log1p(histories.t_x / alpha), -np.inf
        )

    def likelihood(self, parameters: np.ndarray, histories: Histories) -> Likelihood:
        r, alpha, a, b = parameters
        x, t_x, age = histories.x, histories.t_x, histories.age
        m = self._survived(x)
        bought = r + x
        log_alive = -bought * np.log1p(age / alpha)
        log_dead = self._log_dead(parameters, histories)
        total = np.logaddexp(log_alive, log_dead)
        alive, dead = np.exp(log_alive - total), np.exp(log_dead - total)
        value = (
            gammaln(bought) - gammaln(r) - x * np.log(alpha) + total
            + (gammaln(b + m) - gammaln(b)) - (gammaln(a + b + m) - gammaln(a + b))
        )  # fmt: skip
        both = psi(a + b) - psi(a + b + m)
        last = np.where(m > 0, b + m - 1, 1)
        gradient = np.stack(
            [
                r * (psi(bought) - psi(r) - alive * np.log1p(age / alpha))
                - r * dead * np.log1p(t_x / alpha),
                -x + bought * (alive * age / (alpha + age) + dead * t_x / (alpha + t_x)),
                a * both + dead,
                b * (both + psi(b + m) - psi(b) - dead / last),
            ]
        )
        return Likelihood(value, gradient)

    def alive_log_odds(self, parameters: np.ndarray, histories: Histories) -> np.ndarray:
        r, alpha, *_ = parameters
        log_alive = -(r + histories.x) * np.log1p(histories.age / alpha)
        return log_alive - self._log_dead(parameters, histories)

    def silence_log_odds(
        self, parameters: np.ndarray, histories: Histories, length: float, gap: float = 0.0
    ) -> np.ndarray:
        r, alpha, *_ = parameters
        dead = -self.alive_log_odds(parameters, histories)
        bought, rate = r + histories.x, alpha + histories.age
        silent = -bought * np.log1p(length / rate)
        if gap == 0:
            return np.logaddexp(dead, silent) - np.log(-np.expm1(silent))
        # Alive at as_of, a customer stops in the gap if one of its purchases is the last.
        log_silent, log_buys = np.full(len(dead), -np.inf), np.full(len(dead), -np.inf)
        for weight, p in self._dropout(parameters, histories.x):
            goes_on = -bought * np.log1p(p * gap / rate)
            then_silent = -bought * np.log1p(length / (rate + p * gap))
            with np.errstate(divide="ignore"):  # a chance may round to none
                log_weight, stops = np.log(weight), np.log(-np.expm1(goes_on))
            log_silent = np.logaddexp(log_silent, log_weight + stops)
            log_silent = np.logaddexp(log_silent, log_weight + goes_on + then_silent)
            buys = log_weight + goes_on + np.log(-np.expm1(then_silent))
            log_buys = np.logaddexp(log_buys, buys)
        return np.logaddexp(dead, log_silent) - log_buys

    def expected(self, parameters: np.ndarray, histories: Histories, length: float) -> np.ndarray:
        r, alpha, *_ = parameters
        bought, rate = r + histories.x, alpha + histories.age
        result = np.zeros(len(histories))
        for weight, p in self._dropout(parameters, histories.x):
            chance = np.maximum(p, 1e-12)
            result += weight * -np.expm1(-bought * np.log1p(chance * length / rate)) / chance
        return expit(self.alive_log_odds(parameters, histories)) * result

    def _dropout(
        self, parameters: np.ndarray, x: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Weights and nodes, each n, of a mean over the chance to stop of those who are alive."""
        a, b = parameters[2:]
        values, which = np.unique(self._survived(x), return_inverse=True)
        rules = [beta_rule(a, b + m) for m in values]
        for node in range(BETA_NODES):
            weights, nodes = (np.array([rule[part][node] for rule in rules]) for part in (0, 1))
            yield weights[which], nodes[which]


@dataclass(frozen=True)
class ParetoNBD:
    """Pareto/NBD. Its integral over the time of stopping is a quadrature that is always positive,
    where the usual difference of two hypergeometric functions may cancel to nothing.
    """

    name: str = "pareto_nbd"
    parameters: tuple[str, ...] = ("r", "alpha", "s", "beta")
    times: tuple[str, ...] = ("alpha", "beta")
    starts: tuple[tuple[float, ...], ...] = (
        (0.5, 1.0, 0.5, 0.5),
        (1.0, 2.0, 0.2, 1.0),
        (3.0, 1.0, 2.0, 4.0),
    )

    def likelihood(self, parameters: np.ndarray, histories: Histories) -> Likelihood:
        r, alpha, s, beta = parameters
        x, t_x, age = histories.x, histories.t_x, histories.age
        bought = r + x
        zero = np.zeros(len(x))
        total, log_a, log_b, part_a, part_b = zero, zero, zero, zero, zero
        for mass, u, by_a, by_b in integral(alpha + t_x, beta + t_x, bought, s + 1, age - t_x):
            since = t_x + u
            total = total + mass
            log_a, log_b = log_a + mass * by_a, log_b + mass * by_b
            part_a = part_a + mass * since / (alpha + since)
            part_b = part_b + mass * since / (beta + since)
        log_alive = -bought * np.log1p(age / alpha) - s * np.log1p(age / beta)
        log_dead = self._log_dead(parameters, histories, total)
        both = np.logaddexp(log_alive, log_dead)
        alive, dead = np.exp(log_alive - both), np.exp(log_dead - both)
        mean = dead / np.where(total > 0, total, 1)
        value = gammaln(bought) - gammaln(r) - x * np.log(alpha) + both
        gradient = np.stack(
            [
                r * (psi(bought) - psi(r) - alive * np.log1p(age / alpha))
                - r * (dead * np.log1p(t_x / alpha) + mean * log_a),
                -x + bought * (alive * age / (alpha + age) + mean * part_a),
                dead
                - s * (alive * np.log1p(age / beta) + dead * np.log1p(t_x / beta) + mean * log_b),
                s * alive * age / (beta + age) - dead + (s + 1) * mean * part_b,
            ]
        )
        return Likelihood(value, gradient)

    def _log_dead(
        self, parameters: np.ndarray, histories: Histories, total: np.ndarray
    ) -> np.ndarray:
        r, alpha, s, beta = parameters
        begin = -(r + histories.x) * np.log1p(histories.t_x / alpha) - (s + 1) * np.log1p(
            histories.t_x / beta
        )
        with np.errstate(divide="ignore"):  # nobody has stopped who bought on as_of itself
            return np.log(s / beta) + begin + np.log(total)

    def alive_log_odds(self, parameters: np.ndarray, histories: Histories) -> np.ndarray:
        r, alpha, s, beta = parameters
        x, t_x, age = histories.x, histories.t_x, histories.age
        total = integrated(alpha + t_x, beta + t_x, r + x, s + 1, age - t_x)
        log_alive = -(r + x) * np.log1p(age / alpha) - s * np.log1p(age / beta)
        return log_alive - self._log_dead(parameters, histories, total)

    def silence_log_odds(
        self, parameters: np.ndarray, histories: Histories, length: float, gap: float = 0.0
    ) -> np.ndarray:
        r, alpha, s, beta = parameters
        dead = -self.alive_log_odds(parameters, histories)
        bought, rate, begin = r + histories.x, alpha + histories.age, beta + histories.age
        goes_on, after = -s * np.log1p(gap / begin), begin + gap
        lengths = np.full(len(histories), float(length))
        # Alive at the end of the gap: a first purchase within the length; or none to its end; or a
        # stop before one. The first and the sum of the others add up to 1, and neither is got by
        # subtraction.
        buys = np.log(bought / rate * integrated(rate, after, bought + 1, s, lengths))
        stops = np.log(s / after * integrated(rate, after, bought, s + 1, lengths))
        to_the_end = -bought * np.log1p(length / rate) - s * np.log1p(length / after)
        silent = goes_on + np.logaddexp(to_the_end, stops)
        if gap > 0:
            silent = np.logaddexp(silent, np.log(-np.expm1(goes_on)))
        return np.logaddexp(dead, silent) - goes_on - buys

    def expected(self, parameters: np.ndarray, histories: Histories, length: float) -> np.ndarray:
        r, alpha, s, beta = parameters
        begin = beta + histories.age
        grown = np.log1p(length / begin)
        while_alive = (r + histories.x) / (alpha + histories.age)
        alive = expit(self.alive_log_odds(parameters, histories))
        return alive * while_alive * begin * grown * exprel((1 - s) * grown)


NBD = NegativeBinomial()
BG_NBD = BetaGeometric("bg_nbd", stops_at_first=False)
MBG_NBD = BetaGeometric("mbg_nbd", stops_at_first=True)
PARETO_NBD = ParetoNBD()
MODELS: dict[str, Model] = {model.name: model for model in (NBD, BG_NBD, MBG_NBD, PARETO_NBD)}


def integral(
    a: np.ndarray, b: np.ndarray, p: np.ndarray, q: float, length: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The integral of (1 + u/a)^-p (1 + u/b)^-q over u in 0..length, node by node.

    Of each node, n floats each: the mass it adds; u; ln(1 + u/a); ln(1 + u/b).

    In z = ln(1 + u / min(a, b)) the integrand is log-concave and bends on the scale of 1, whatever
    the parameters; it is cut off where it has fallen to exp(LEAST) of its beginning.
    """
    least = np.minimum(a, b)
    a_is_least = a <= b
    end = np.log1p(length / least)

    def logs(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        u = least * np.expm1(z)
        other = np.log1p(u / np.where(a_is_least, b, a))
        return u, np.where(a_is_least, z, other), np.where(a_is_least, other, z)

    # From the right, Newton's steps on a concave function never pass the root.
    for _ in range(8):
        u, by_a, by_b = logs(end)
        excess = LEAST - (end - p * by_a - q * by_b)
        slope = 1 - (p / (a + u) + q / (b + u)) * (least + u)
        step = np.where((excess > 0) & (slope < 0), excess / np.where(slope < 0, slope, -1), 0)
        end = np.maximum(end + step, 0)
    for at, weight in LEGENDRE:
        z = end * ((at + 1) / 2)
        u, by_a, by_b = logs(z)
        yield weight / 2 * end * least * np.exp(z - p * by_a - q * by_b), u, by_a, by_b


def integrated(
    a: np.ndarray, b: np.ndarray, p: np.ndarray, q: float, length: np.ndarray
) -> np.ndarray:
    """The sum of `integral`; of each row by itself, to the bit."""
    total = np.zeros(len(a))
    for mass, *_ in integral(a, b, p, q, length):
        total = total + mass
    return total


def beta_rule(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights, which sum to 1, and nodes of the mean of a function over a Beta(a, b) distribution.

    Exact for polynomials up to the degree 2 BETA_NODES - 1. Source: Golub and Welsch 1969.

    >>> weights, nodes = beta_rule(2, 3)
    >>> round(float(weights @ nodes), 12), round(float(weights @ nodes**2), 12)
    (0.4, 0.2)
    """
    k = np.arange(1, BETA_NODES)
    first, second, both = b - 1, a - 1, a + b - 2
    diagonal = np.empty(BETA_NODES)
    diagonal[0] = (a - b) / (a + b)
    diagonal[1:] = (a - b) * both / ((2 * k + both) * (2 * k + both + 2))
    beside = np.empty(BETA_NODES - 1)
    beside[0] = 4 * a * b / ((a + b) ** 2 * (a + b + 1))
    k = k[1:]
    beside[1:] = 4 * k * (k + first) * (k + second) * (k + both)
    beside[1:] /= (2 * k + both) ** 2 * (2 * k + both + 1) * (2 * k + both - 1)
    at, vectors = eigh_tridiagonal(diagonal, np.sqrt(beside))
    return vectors[0] ** 2, np.clip((at + 1) / 2, 0, 1)
