"""What the arithmetic of campaigns keeps: intervals of effects, the list next to simpler lists, and
what a list costs. Writes docs/campaigns.md.

Run: python -m benchmarks.campaigns. Campaigns and shops are simulated, each with a seed of its own.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.results import ROOT
from churn_orchestration.churn.campaign.allocation import allocate
from churn_orchestration.churn.campaign.control import sizing
from churn_orchestration.churn.campaign.effect import Outcomes, looks

SEED, DAYS, LEVEL = 20_111_209, 180, 0.05
BASE, EFFECT = 0.2, 0.04


@dataclass(frozen=True)
class Trial:
    """A kind of campaign that is simulated.

    Parameters
    ----------
    outcome : leaving or spend
    share : of customers who are held back
    base : share of the control that leaves; of spend, that spends nothing
    customers : whose outcomes mature over DAYS
    effect : fewer who leave, or spend more
    forecast : whether one is known before the lot
    """

    outcome: str
    share: float
    base: float
    customers: int
    effect: float
    forecast: bool = True

    def drawn(self, rng: np.random.Generator, effect: float) -> Outcomes:
        """One campaign with an effect."""
        n = self.customers
        treated, day = rng.random(n) >= self.share, np.sort(rng.integers(0, DAYS, n))
        if self.outcome == "leaving":
            forecast = rng.beta(4 * self.base, 4 * (1 - self.base), n)
            chance = forecast - effect * forecast / self.base * treated
            outcome = (rng.random(n) < chance).astype(float)
        else:
            forecast = rng.lognormal(3, 1, n)
            spends = rng.random(n) >= self.base
            outcome = np.where(spends, forecast * rng.gamma(2, 0.5, n), 0) + effect * treated
        return Outcomes(day, treated, outcome, forecast if self.forecast else None)

    def looks(self, rng: np.random.Generator, effect: float, planned: int = 2_000) -> np.ndarray:
        """Of a campaign by day: low, high, once low, once high and outcomes known; 5 x d."""
        given = self.drawn(rng, effect)
        at = looks(
            given,
            self.share,
            less_is_better=self.outcome == "leaving",
            level=LEVEL,
            planned=planned,
        )
        return np.stack([at.low, at.high, at.once_low, at.once_high, at.treated + at.control])


TRIALS = [
    Trial("leaving", 0.5, 0.2, 6_000, 0.04),
    Trial("leaving", 0.2, 0.2, 6_000, 0.04),
    Trial("leaving", 0.2, 0.2, 6_000, 0.04, forecast=False),
    Trial("leaving", 0.1, 0.2, 6_000, 0.04),
    Trial("leaving", 0.1, 0.05, 6_000, 0.015),
    Trial("spend", 0.5, 0.6, 6_000, 1.0),
    Trial("spend", 0.2, 0.6, 6_000, 1.0),
    Trial("spend", 0.1, 0.6, 6_000, 1.0),
]


def intervals(campaigns: int) -> str:
    """How often intervals hold, and how often a campaign without effect is called effective."""
    heads = [
        "outcome", "held back", "control leaves or spends nothing", "forecast",
        "95 % interval of one look covers the effect", "nothing is said at the end",
        "no effect, daily looks: called effective", "called harmful",
        "the same by the interval of one look: called effective",
    ]  # fmt: skip
    rows = []
    for place, trial in enumerate(TRIALS):
        rng = np.random.default_rng([SEED, place])
        last = np.array([trial.looks(rng, trial.effect)[:, -1] for _ in range(campaigns)])
        said = np.isfinite(last[:, 2])
        covered = (last[said, 2] <= trial.effect) & (trial.effect <= last[said, 3])
        none = [trial.looks(rng, 0.0) for _ in range(campaigns)]
        shares = (
            np.mean([(low > 0).any() for low, *_ in none]),
            np.mean([(high < 0).any() for _, high, *_ in none]),
            np.mean([(once > 0).any() for _, _, once, *_ in none]),
        )
        rows.append(
            [
                trial.outcome, f"{trial.share:.0%}", f"{trial.base:.0%}",
                "yes" if trial.forecast else "no", f"{covered.mean():.1%}",
                f"{1 - said.mean():.1%}",
                *(f"{share:.1%}" for share in shares),
            ]
        )  # fmt: skip
        sys.stderr.write(f"  {rows[-1]}\n")
    return _table(heads, rows)


def stops(campaigns: int) -> str:
    """When campaigns are known, in outcomes, next to a single look at the end of what it takes."""
    heads = [
        "fewer who leave", "held back", "outcomes, one look", "outcomes, every look",
        "known by then", "known by the time of one look",
        "mean outcomes until known, at most those of one look",
        "at most those of every look", "wrong",
    ]  # fmt: skip
    rows = []
    for place, (share, times) in enumerate(
        (share, times) for share in (0.5, 0.2) for times in (1, -1, -1.5, -2)
    ):
        size = sizing(BASE, EFFECT, share, per_week=1_000)
        once, always = size.one_look.customers, size.every_look.customers
        trial = Trial("leaving", share, BASE, always, EFFECT, forecast=False)
        rng = np.random.default_rng([SEED, 1, place])
        known, wrong = [], 0
        for _ in range(campaigns):
            low, high, _, _, number = trial.looks(rng, times * EFFECT, planned=always)
            right, other = (low > 0, high < 0) if times > 0 else (high < 0, low > 0)
            known.append(number[right.argmax()] if right.any() else np.inf)
            wrong += bool(other.any())
        when = np.array(known)
        rows.append(
            [
                f"{times * EFFECT:.0%}", f"{share:.0%}", f"{once:,}", f"{always:,}",
                f"{np.isfinite(when).mean():.1%}", f"{(when <= once).mean():.1%}",
                f"{np.minimum(when, once).mean():,.0f}", f"{np.minimum(when, always).mean():,.0f}",
                f"{wrong / campaigns:.1%}",
            ]
        )  # fmt: skip
        sys.stderr.write(f"  {rows[-1]}\n")
    return _table(heads, rows)


@dataclass(frozen=True)
class Shop:
    """Customers of a shop (n), k actions, what is forecast and what is true.

    ``risk``, ``value``: forecasts; ``estimated``: shares of those who would leave that an action
    keeps, n x k; ``worth``: what each action would truly earn, net of cost, n x k.
    """

    risk: np.ndarray
    value: np.ndarray
    estimated: np.ndarray
    worth: np.ndarray
    cost: np.ndarray
    capacity: np.ndarray
    budget: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, n: int, k: int) -> "Shop":
        """Forecasts are off, effects differ by segment and customer, and estimates of them are of
        segments and off by a half of what segments differ by.
        """
        risk, value = rng.beta(1, 4, n), rng.lognormal(rng.uniform(3, 5), 1, n)
        segment, of_segment = rng.integers(0, 6, n), rng.beta(1.5, 6, (6, k))
        estimated = np.clip(of_segment + rng.normal(0, of_segment.std() / 2, (6, k)), 0, 1)
        effect = np.clip(of_segment[segment] * rng.lognormal(-0.125, 0.5, (n, k)), 0, 1)
        cost = np.round(rng.lognormal(1, 1, k), 2)
        true_risk = 1 / (1 + (1 - risk) / risk * np.exp(rng.normal(0, 0.5, n)))
        true_value = value * rng.lognormal(-0.08, 0.4, n)
        worth = (true_risk * true_value)[:, None] * effect - cost
        return cls(
            risk, value, estimated[segment], worth, cost, np.floor(rng.uniform(0.01, 0.1, k) * n),
            float(rng.uniform(0.05, 0.5) * n * cost.mean() * 0.2),
        )  # fmt: skip

    @property
    def gain(self) -> np.ndarray:
        """What each action is expected to earn, net of cost."""
        return (self.risk * self.value)[:, None] * self.estimated - self.cost

    def earned(self, choice: np.ndarray) -> float:
        """What a list truly earns."""
        rows = np.flatnonzero(choice >= 0)
        return float(self.worth[rows, choice[rows]].sum())

    def first(self, score: np.ndarray, number: int) -> np.ndarray:
        """The list of so many customers with the largest score, each with the action that is
        expected to earn most of an average customer, while it has room and the budget lasts.
        """
        choice, order = np.full(len(score), -1), np.argsort(-score, kind="stable")[:number]
        budget, start = self.budget, 0
        for action in np.argsort(-self.gain.mean(axis=0), kind="stable"):
            paid = budget // self.cost[action]
            room = int(min(self.capacity[action], paid, len(order) - start))
            choice[order[start : start + room]] = action
            start, budget = start + room, budget - room * self.cost[action]
        return choice

    def in_turn(self, score: np.ndarray) -> np.ndarray:
        """The list of all by their score, each with the action that is expected to earn most of
        them, of those that pay, have room and can be paid.
        """
        choice, room, budget, gain = (
            np.full(len(score), -1),
            self.capacity.copy(),
            self.budget,
            self.gain,
        )
        for customer in np.argsort(-score, kind="stable"):
            possible = (gain[customer] > 0) & (room > 0) & (self.cost <= budget)
            if possible.any():
                action = int(np.where(possible, gain[customer], -np.inf).argmax())
                choice[customer], room[action] = action, room[action] - 1
                budget -= self.cost[action]
        return choice


def shops(number: int) -> dict[str, list[float]]:
    """What other lists truly earn in random shops, as a share of what `allocate` does; by name."""
    ratios: dict[str, list[float]] = {}
    for seed in range(number):
        shop = Shop.drawn(np.random.default_rng([SEED, 2, seed]), 5_000, 4)
        result = allocate(shop.gain, shop.cost, shop.capacity, shop.budget)
        contacts, earned = int((result.choice >= 0).sum()), shop.earned(result.choice)
        at_stake = shop.risk * shop.value
        peers = {
            "as many contacts, the most at risk": shop.first(shop.risk, contacts),
            "as many contacts, the most risk x value": shop.first(at_stake, contacts),
            "by risk, each with their best action that pays": shop.in_turn(shop.risk),
            "by risk x value, each with their best action that pays": shop.in_turn(at_stake),
        }
        for name, choice in peers.items():
            ratios.setdefault(name, []).append(shop.earned(choice) / earned)
    return ratios


def shops_table(ratios: dict[str, list[float]]) -> str:
    """The same as a table."""
    heads = ["another list", "earns less in", "of shops", "median of its profit", "at most"]
    rows = [
        [name, sum(each < 1 for each in of), len(of), f"{np.median(of):.0%}", f"{max(of):.0%}"]
        for name, of in ratios.items()
    ]
    return _table(heads, rows)


def large(customers: int, seed: int) -> tuple[float, float, float]:
    """Gap, seconds and seconds of processor of a list of many customers."""
    shop = Shop.drawn(np.random.default_rng([SEED, 3, seed]), customers, 5)
    groups, limits = np.array([[0, 0, 1, 1, 1]]), np.array([shop.capacity[2:].sum() // 2])
    gain, began, cpu = shop.gain, time.perf_counter(), time.process_time()
    result = allocate(gain, shop.cost, shop.capacity, shop.budget, groups, limits)
    return result.gap, time.perf_counter() - began, time.process_time() - cpu


def costs(sizes: list[int], shops_each: int) -> str:
    """Gap, time and memory of lists by their size, each in a process of its own."""
    heads = ["customers x 5 actions", "shops", "largest gap", "seconds, at most", "of processor",
             "peak memory, GB"]  # fmt: skip
    rows = []
    for size in sizes:
        tried = []
        for seed in range(shops_each):
            command = [sys.executable, "-m", "benchmarks.campaigns", "--within", f"{size},{seed}"]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
            tried.append([float(each) for each in done.stdout.split()])
            sys.stderr.write(f"  {size:,} {tried[-1]}\n")
        gap, wall, cpu, peak = np.max(tried, axis=0)
        rows.append(
            [f"{size:,}", shops_each, f"{gap:.1e}", f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.2f}"]
        )
    return _table(heads, rows)


def _table(heads: list[str], rows: list[list[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=500)
    parser.add_argument("--shops", type=int, default=100)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--within", help="one list, in this process: customers,seed")
    given = parser.parse_args()
    if given.within:
        customers, seed = map(int, given.within.split(","))
        numbers = large(customers, seed)
        print(*numbers, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
        return
    text = f"""# Campaigns: intervals, lists and their cost

Made by `make bench-campaigns ARGS="--campaigns {given.campaigns} --shops {given.shops} --sizes \
{given.sizes}"`, on simulated campaigns and shops.

## Intervals of effects

{given.campaigns} campaigns a row, of customers whose outcomes mature over {DAYS} days. Called
effective or harmful: on any of the daily looks.

{intervals(given.campaigns)}

Spend is log-normal times gamma: a small control has seldom seen the largest customers, and its
intervals are wider for it. Coverage is of the campaigns of which something is said.

## When an effect is known

{given.campaigns} campaigns a row, {BASE:.0%} of the control leave, without a forecast. Outcomes are
those that `sizing` gives for an effect of {EFFECT:.0%} and a power of 80 %; < 0 is harm.

A mean of at most those of one look is below one look by construction. A mean of at most those of
every look need not be: an effect as small as the one that was sized takes longer to be known, when
every day is looked at, than by one look at the end.

{stops(given.campaigns)}

## Lists

{given.shops} random shops of 5,000 customers and 4 actions with capacities and a budget. Forecasts
are off, effects differ by customer, and the list has estimates of segments that are off too. What
counts is what is truly earned; 100 % is the list by `allocate`.

{shops_table(shops(given.shops))}

## Cost

With five capacities, a budget and a limit of three actions together, on one core.

{costs([int(size) for size in given.sizes.split(",")], 5)}
"""
    (ROOT / "docs" / "campaigns.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
