"""Uplift: the learners beside those of causalml on a real trial, campaigns with and without effects
that differ, and what a list gains. Writes docs/uplift.md.

Run: python -m benchmarks.uplift, with CHURN_REAL_DATA set; causalml is of the extra `bench-uplift`.
Campaigns are simulated, each with a seed of its own.
"""

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.results import ROOT
from churn_orchestration.churn.campaign.allocation import allocate
from churn_orchestration.churn.campaign.uplift import (
    ABSTAINS,
    LEARNED,
    LEARNERS,
    PARAMETERS,
    TREES,
    Trial,
    fit_learners,
    judged,
    learn,
    led,
    qini,
)
from churn_orchestration.churn.splits import entity_folds
from churn_orchestration.components.campaign.estimates import MOST_LEARNED

SEED = 20_111_209
MAILS = ("Womens E-Mail", "Mens E-Mail")
COST, CAPACITY = 2.0, 0.1
ROWS, COLUMNS = 2_000_000, 60


def hillstrom(mail: str) -> Trial:
    """Who was sent one mail, and who none: drawn at random, as many of each; 1 is a visit."""
    table = pd.read_csv(Path(os.environ["CHURN_REAL_DATA"]) / "hillstrom" / "hillstrom.csv.gz")
    table = table[table["segment"].isin([mail, "No E-Mail"])].reset_index(drop=True)
    before = table[["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]]
    features = pd.get_dummies(before, columns=["zip_code", "channel"]).to_numpy(np.float32)
    return Trial(
        features, (table["segment"] == mail).to_numpy(), table["visit"].to_numpy(float),
        entity_folds(pd.Series(table.index.astype(str))), np.zeros(len(table)), 0.5,
    )  # fmt: skip


def peers() -> dict[str, Callable[[], object]]:
    """causalml's learners, by name, each over LightGBM as it comes and over our small trees."""
    from causalml.inference.meta import BaseSClassifier, BaseTClassifier, BaseXClassifier
    from lightgbm import LGBMClassifier, LGBMRegressor

    small = {key: value for key, value in PARAMETERS.items() if key != "verbosity"}
    small |= {"n_estimators": TREES, "min_data_in_leaf": 200}
    result = dict[str, Callable[[], object]]()
    for words, given in (("LightGBM as it comes", {}), ("our small trees", small)):
        settings = {"n_jobs": 1, "verbose": -1, **given}

        def both(settings: dict = settings) -> tuple[LGBMClassifier, LGBMRegressor]:
            return LGBMClassifier(**settings), LGBMRegressor(**settings)

        result |= {
            f"causalml S, {words}": lambda both=both: BaseSClassifier(both()[0], control_name=0),
            f"causalml T, {words}": lambda both=both: BaseTClassifier(both()[0], control_name=0),
            f"causalml X, {words}": lambda both=both: BaseXClassifier(*both(), control_name=0),
        }
    return result


def by_peer(make: Callable[[], object], trial: Trial) -> np.ndarray:
    """The effect on each customer but those of the first fold, by a learner of causalml that was
    fitted to the folds before theirs, as ours are.
    """
    effect = np.empty(len(trial.outcome))
    for fold in np.unique(trial.fold)[1:]:
        seen, unseen = trial.some(trial.fold < fold), trial.fold == fold
        known = {"p": np.full(len(seen.outcome), 1 - trial.share)} if "X" in str(make()) else {}
        learner = make()
        learner.fit(seen.features, seen.treated.astype(int), seen.outcome.astype(int), **known)
        known = {"p": np.full(unseen.sum(), 1 - trial.share)} if known else {}
        effect[unseen] = learner.predict(trial.features[unseen], **known)[:, 0]
    return effect[trial.fold != trial.fold.min()]


def real(with_peers: bool) -> str:
    """Qini of each learner on Hillstrom, and by how much that of the average is larger."""
    heads = [
        "mail", "learner", "Qini x 1,000", "AUUC x 1,000",
        "Qini of ours less that of this one x 1,000", "seconds of processor",
    ]  # fmt: skip
    rows = list[list[object]]()
    warnings.filterwarnings("ignore")  # of causalml's own
    for mail in MAILS:
        trial, began = hillstrom(mail), time.process_time()
        by = judged(trial)
        seconds, fold = time.process_time() - began, trial.fold[by.rows]
        ours = by.effects.mean(axis=1)
        each = {"ours: their average, which serves": ours}
        each |= {f"ours {n.upper()}": one for n, one in zip(LEARNERS, by.effects.T, strict=True)}
        took = dict.fromkeys(each, f"{seconds:.1f}, all")
        for name, make in (peers() if with_peers else {}).items():
            began = time.process_time()
            each[name] = by_peer(make, trial)
            took[name] = f"{time.process_time() - began:.1f}"
        for name, effect in each.items():
            at, lead = qini(effect, by.score, fold), led(ours, effect, by.score, fold)
            rows.append(
                [
                    mail, name, _interval(at.value, at.low, at.high),
                    _interval(at.auuc, at.auuc_low, at.auuc_high),
                    "" if effect is ours else _interval(*lead), took[name],
                ]
            )  # fmt: skip
            sys.stderr.write(f"  {rows[-1]}\n")
    return _table(heads, rows)


def _interval(value: float, low: float, high: float) -> str:
    return f"{1e3 * value:.2f} ({1e3 * low:.2f} to {1e3 * high:.2f})"


@dataclass(frozen=True)
class Campaign:
    """Simulated customers: a trial, the true risk of each, the true effect, and the value.

    ``risk``, ``effect``, ``value``: n each; ``effect`` is by how much less the treated leave.
    """

    trial: Trial
    effect: np.ndarray
    value: np.ndarray
    forecast: np.ndarray

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, n: int, share: float, differs: float, alike: float = 0.0
    ) -> "Campaign":
        """Risk and effect depend on different features among ten. ``differs``: the share of
        would-be leavers kept of the third of customers on whom it works most; ``alike``: the effect
        on everybody.
        """
        features = rng.normal(size=(n, 10)).astype(np.float32)
        risk = 1 / (1 + np.exp(1 - 0.8 * features[:, 0] - 0.5 * features[:, 1]))
        works = np.clip(0.5 + features[:, 2] + 0.5 * features[:, 3], 0, 1.5) / 1.5
        effect = np.minimum(alike, risk) if alike else risk * differs * works
        forecast = 1 / (1 + (1 - risk) / risk * np.exp(rng.normal(0, 0.3, n)))
        value = rng.lognormal(3.5, 0.7, n)
        treated = rng.random(n) >= share
        stays = (rng.random(n) >= risk - effect * treated).astype(float)
        fold = entity_folds(pd.Series(np.arange(n).astype(str)))
        columns = np.column_stack([features, forecast, value]).astype(np.float32)
        trial = Trial(columns, treated, stays, fold, forecast, share)
        return cls(trial, effect, value, forecast)

    def profit(self, believed: np.ndarray) -> float:
        """What the list truly earns that is made of effects as they are believed."""
        gain = (believed * self.value - COST)[:, None]
        room = np.array([np.floor(CAPACITY * len(gain))])
        listed = allocate(gain, np.array([COST]), room).choice >= 0
        return float((self.effect * self.value - COST)[listed].sum())


def _drawn(number: int, kind: int) -> Iterator[tuple[np.random.Generator, int, float]]:
    """Of each campaign: its generator, customers and share of control."""
    for seed in range(number):
        rng = np.random.default_rng([SEED, kind, seed])
        yield rng, int(rng.integers(1_500, 8_000)), float(rng.choice([0.2, 0.3, 0.5]))


def usual(trial: Trial) -> bool:
    """Whether Qini is above 0 beyond chance where each fold is judged by all the others."""
    effect, score = np.empty(len(trial.outcome)), np.empty(len(trial.outcome))
    for fold in np.unique(trial.fold):
        learners, within = fit_learners(trial.some(trial.fold != fold)), trial.fold == fold
        rows = trial.some(within)
        effect[within] = learners.effects(rows.features).mean(axis=1)
        treated, control = learners.outcomes(rows.features)
        missing = rows.outcome - np.where(rows.treated, treated, control)
        weight = np.where(rows.treated, 1 / (1 - trial.share), -1 / trial.share)
        score[within] = treated - control + weight * missing
    return qini(effect, score, trial.fold).low > 0


def nothing(campaigns: int) -> tuple[str, float]:
    """How often campaigns abstain on whose customers nothing differs; a table, and the share of
    all.
    """
    heads = [
        "effect", "campaigns", "abstain", "too few outcomes", "learned",
        "above 0, were each fold judged by all others",
    ]  # fmt: skip
    rows, kept = list[list[object]](), 0
    for kind, (words, alike) in enumerate((("none", 0.0), ("3 % fewer leave, of everybody", 0.03))):
        trials = [
            Campaign.drawn(rng, n, share, 0.0, alike).trial
            for rng, n, share in _drawn(campaigns // 2, kind)
        ]
        verdicts = [learn(trial).verdict for trial in trials]
        wrongly = sum(map(usual, trials))
        learned = verdicts.count(LEARNED)
        kept += len(verdicts) - learned
        few = len(verdicts) - learned - verdicts.count(ABSTAINS)
        rows.append([words, len(verdicts), verdicts.count(ABSTAINS), few, learned, wrongly])
        sys.stderr.write(f"  {rows[-1]}\n")
    return _table(heads, rows), kept / (campaigns // 2 * 2)


def months(campaigns: int, looks: int) -> tuple[int, int]:
    """Of campaigns without an effect, how many are ever learned at one of so many looks, each with
    as many new outcomes; and how many at the last.
    """
    ever, last = 0, 0
    for rng, n, share in _drawn(campaigns, 2):
        whole = Campaign.drawn(rng, n, share, 0.0).trial
        at, look = list[str](), 0
        for month in range(1, looks + 1):
            trial = whole.some(np.arange(n) < n * month // looks)
            look += trial.is_enough
            at.append(learn(trial, max(look, 1)).verdict)
        ever, last = ever + (LEARNED in at), last + (at[-1] == LEARNED)
    sys.stderr.write(f"  {looks} looks: {ever} ever, {last} at the last\n")
    return ever, last


def gains(campaigns: int) -> str:
    """How often effects that differ are learned, and what a list of other customers gains by it."""
    heads = [
        "would-be leavers kept, of those on whom it works best", "outcomes", "campaigns", "learned",
        "profit of the list, prior = 100 %: all campaigns", "of those learned, the median",
        "earns more than the prior, of those learned", "by the true effects",
    ]  # fmt: skip
    rows = list[list[object]]()
    for kind, (differs, n) in enumerate(((0.3, 4_000), (0.3, 16_000), (0.6, 4_000), (0.6, 16_000))):
        prior, ours, best, learned = (np.zeros(campaigns) for _ in range(4))
        for seed in range(campaigns):
            rng = np.random.default_rng([SEED, 10 + kind, seed])
            result = learn(Campaign.drawn(rng, n, 0.3, differs).trial)
            day = Campaign.drawn(rng, 5_000, 0.3, differs)
            risk = day.forecast
            believed = risk * day.effect.sum() / risk.sum()  # right on the mean
            learned[seed] = result.verdict == LEARNED
            known = believed
            if learned[seed]:
                known = np.minimum(result.effects(day.trial.features)[0], risk)
            prior[seed], ours[seed], best[seed] = map(day.profit, (believed, known, day.effect))
        there = learned > 0
        ratio = ours[there] / prior[there]
        rows.append(
            [
                f"{differs:.0%}", f"{n:,}", campaigns, f"{there.mean():.0%}",
                f"{ours.sum() / prior.sum():.0%}",
                f"{np.median(ratio):.0%}" if there.any() else "-",
                f"{(ratio > 1).sum()} of {there.sum()}", f"{best.sum() / prior.sum():.0%}",
            ]
        )  # fmt: skip
        sys.stderr.write(f"  {rows[-1]}\n")
    return _table(heads, rows)


def large() -> tuple[float, float, float]:
    """Seconds of processor to learn of a trial of ROWS x COLUMNS, and to say the effect on each;
    the peak of memory, GB.
    """
    rng = np.random.default_rng([SEED, 20])
    features = np.empty((ROWS, COLUMNS), np.float32)
    for part in np.array_split(features, 40):
        part[:] = rng.standard_normal(part.shape, np.float32)
    risk = 1 / (1 + np.exp(1 - 0.8 * features[:, 0]))
    treated = rng.random(ROWS) >= 0.3
    stays = (rng.random(ROWS) >= risk * (1 - 0.4 * treated * (features[:, 1] > 0))).astype(float)
    some = rng.permutation(ROWS) < MOST_LEARNED  # as a hash of the entity draws them
    trial = Trial(
        features[some], treated[some], stays[some],
        entity_folds(pd.Series(np.flatnonzero(some).astype(str))), risk[some], 0.3,
    )  # fmt: skip
    began = time.process_time()
    result = learn(trial)
    learned = time.process_time()
    assert np.isfinite(result.effects(features)).all()
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return learned - began, done - learned, peak


def costs() -> str:
    """The same in words, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.uplift", "--within"]
    given = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=given)
    learning, forecasting, peak = map(float, done.stdout.split())
    return (
        f"A trial of {ROWS:,} customers x {COLUMNS} features, of whom {MOST_LEARNED:,} are learned "
        f"from: {learning:.0f} s of processor to learn and judge, {forecasting:.0f} s to say the "
        f"effect on all of them, {peak:.2f} GB at the peak, of which the features are "
        f"{ROWS * COLUMNS * 4 / 1e9:.2f}."
    )


def _table(heads: list[str], rows: list[list[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=200)
    parser.add_argument("--looks", type=int, default=6)
    parser.add_argument("--within", action="store_true", help="the large trial, in this process")
    given = parser.parse_args()
    if given.within:
        print(*large())
        return
    there = importlib.util.find_spec("causalml") is not None
    beside = "Without causalml, which is not installed: `pip install '.[bench-uplift]'`."
    if there:
        beside = f"Beside causalml {version('causalml')}, fitted to and judged on the same folds."
    few, each = given.campaigns // 4, given.campaigns // 8
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        trial, without = pool.submit(real, there), pool.submit(nothing, given.campaigns)
        gained, looked = pool.submit(gains, each), pool.submit(months, few, given.looks)
        spent = pool.submit(costs)
    (table, share), (ever, last) = without.result(), looked.result()
    text = f"""# Uplift: on whom a campaign works

Made by `make bench-uplift ARGS="--campaigns {given.campaigns} --looks {given.looks}"`, on \
Hillstrom's trial of two mails and on
simulated campaigns.

## A real trial

Hillstrom 2008: a mail beside none, drawn at random, about 21,300 customers each; the outcome is a
visit within two weeks. Qini is how much more is had by mailing customers in the order of the
estimate than in a random one: the area between both, in visits per customer of the trial; AUUC is
the area under the order's own curve. Intervals are of 95 %; the difference is of the same
customers. {beside}

{trial.result()}

## Nothing to learn

{given.campaigns} campaigns of 1,500 to 8,000 outcomes, of which a fifth to a half is control, and \
on whose customers
nothing differs. {share:.1%} of them keep what was believed.

{table}

A campaign is looked at each month-end, and each look has its share of the level. Of {few} \
campaigns
without an effect {ever} are learned at one of {given.looks} looks at least, and {last} at the \
last one. The
other campaigns of this page are looked at once.

## What a list gains

The trial has three tenths of control. A list of 5,000 other customers, with room for a tenth of
them, is made by the prior, which is right on the mean; by what was learned, or the prior where it
abstains; and by the true effects. What counts is what is truly earned.

{gained.result()}

## Cost

{spent.result()}
"""
    (ROOT / "docs" / "uplift.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
