"""How often the gates before promotion are right: writes docs/gates.md.

Run: CHURN_REAL_DATA=/folder/of/the/data python -m benchmarks.gates

Leaks: on real snapshots and on those of simulated shops, which nobody has tampered with, every alarm is a
false one; then each kind of leak is planted in the newest of some of them, and beside it the same made of an
outcome that is not the row's own.

Equal models: two models of the same recipe, fitted on two halves of the customers, are champion and candidate
on customers of a later day.
"""

import argparse
import datetime as dt
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.results import ROOT, churn
from churn_orchestration.business import Business
from churn_orchestration.churn import leakage, learners
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.settings import Economics
from churn_orchestration.churn.splits import folds
from churn_orchestration.churn.versus import Versus
from churn_orchestration.components.churn_model import snapshot as snapshots
from churn_orchestration.components.churn_model.question import AskedQuestion
from churn_orchestration.runs import at_work
from churn_orchestration.simulator import World, simulate

REAL = {
    "online_retail": ("2011-12-09", ["2011-07-09", "2011-09-09", "2011-10-09", "2011-12-09"]),
    "cdnow": ("1998-06-30", ["1997-12-31", "1998-03-31", "1998-06-30"]),
    "telco": ("2018-01-01", ["2018-01-01"]),
}
SCENARIOS = ("calm", "newsletter", "crisis", "price_rise", "new_customers", "harmless", "label_drift")
PLANTED_IN = ("online_retail", "telco", "calm", "crisis")
LOAD, CUTOFFS = "2024-12-16", ["2024-12-16"]
SEED = 20_111_209

Plant = Callable[[pd.Series, np.ndarray], pd.Series | np.ndarray]
PLANTS: dict[str, Plant] = {
    "a copy": lambda label, _: label,
    "a copy as text": lambda label, _: label.map({True: "gone", False: "here"}),
    "a copy with nulls": lambda label, chance: label.astype("boolean").mask(chance < 0.1),
    "a copy, 3 % wrong": lambda label, chance: label ^ (chance < 0.03),
    "a copy, 10 % wrong": lambda label, chance: label ^ (chance < 0.10),
    "U-shaped": lambda label, chance: np.where(label, np.where(chance < 0.5, -9, 9), 0) + chance,
    "constant in one class": lambda label, chance: np.where(label, 0.0, 0.1 + chance),
    "a category of one class only": lambda label, chance: np.where(label & (chance < 0.4), "closed", "open"),
    "a mark of a third of those who left": lambda label, chance: (label & (chance < 0.33)).astype(int),
    "an id, odd for those who left": lambda label, _: np.arange(len(label)) * 2 + label,
}


def taken(business: str, last: str, cutoffs: list[str]) -> Iterator[tuple[str, AskedQuestion, pd.DataFrame]]:
    """The snapshots of a business at some cut-offs, made by the assets' functions."""
    churn("--business", business, "run", "--to", last)
    with at_work(Business(ROOT / business)) as work:
        [asked] = work.questions().values()
        with work.warehouse.open() as tables:
            for cutoff in map(dt.date.fromisoformat, cutoffs):
                snapshots.build(tables, work.business, asked, cutoff)
                frame, _ = snapshots.load(tables.state / "snapshots" / asked.name, cutoff)
                yield str(cutoff), asked, frame


def everything() -> Iterator[tuple[str, str, AskedQuestion, pd.DataFrame]]:
    """Every clean snapshot: real data, then the simulated scenarios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CHURN_DATA"] = str(folder / "real")
        for business, (last, cutoffs) in REAL.items():
            for cutoff, asked, frame in taken(f"examples/{business}", last, cutoffs):
                yield business, cutoff, asked, frame
        for scenario in SCENARIOS:
            simulate(World.read(scenario, customers=4000), folder / scenario)
            os.environ["CHURN_SHOP"] = str(folder / scenario / "landing")
            os.environ["CHURN_DATA"] = str(folder / f"{scenario}_data")
            for cutoff, asked, frame in taken("examples/shop", LOAD, CUTOFFS):
                yield scenario, cutoff, asked, frame


def alarms(asked: AskedQuestion, frame: pd.DataFrame, *planted: str) -> list[leakage.Leak]:
    """What is called a leak in a snapshot."""
    families = {feature.name: feature.family for feature in catalogue(asked.question.features)}
    question = asked.question
    return leakage.find(frame, question.entity, [*families, *planted], question.horizon, families)


def planted(asked: AskedQuestion, frame: pd.DataFrame) -> dict[str, tuple[bool, bool]]:
    """Whether each kind of leak, and its honest twin, is named when it is planted."""
    rng, label = np.random.default_rng(SEED), frame["label"].astype(bool)
    chance, other = rng.random(len(frame)), label.sample(frac=1, random_state=SEED).reset_index(drop=True)

    def is_named(values: pd.Series | np.ndarray) -> bool:
        found = alarms(asked, frame.assign(planted=values), "planted")
        return any("planted" in leak.feature for leak in found)

    return {kind: (is_named(p(label, chance)), is_named(p(other, chance))) for kind, p in PLANTS.items()}


def replays(asked: AskedQuestion, frame: pd.DataFrame, many: int, lead: float = 0.0) -> dict[str, int]:
    """How often a candidate of the same recipe is promoted over the champion, in so many replays.

    ``lead`` > 0: the candidate knows the outcome a little: so much of its log odds is added.
    """
    question = asked.question
    frame = frame.assign(as_of=pd.to_datetime(frame["as_of"]).dt.date)
    fold = folds(sorted(frame["as_of"].unique()), question.horizon, 1)[0]
    train, test = frame[frame["as_of"].isin(fold.train)], frame[frame["as_of"] == fold.test]
    columns = [feature.name for feature in catalogue(question.features)]
    rng, counts = np.random.default_rng(SEED), {"promoted": 0, "replays": many}
    for _ in range(many):
        half = rng.permutation(train[question.entity].unique())
        unseen = rng.choice(test[question.entity].unique(), len(test) // 2, replace=False)
        rows = test[test[question.entity].isin(unseen)]
        said = []
        for part in np.array_split(half, 2):
            mine = train[train[question.entity].isin(part)]
            model = learners.fit("logistic", mine[columns], mine["label"], mine[question.entity])
            said.append(model.predict_proba(rows[columns])[:, 1])
        if lead:
            odds = np.log(said[0] / (1 - said[0])) + lead * (rows["label"].to_numpy(float) - 0.5)
            said[0] = 1 / (1 + np.exp(-odds))
        versus = Versus.of(rows["label"], said[0], said[1], rows[question.entity], "", Economics())
        counts["promoted"] += versus.better
    return counts


def main() -> None:
    """Probe every snapshot, replay equal models, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--replays", type=int, default=200)
    given = parser.parse_args()
    lines, named, kept, false = [], dict.fromkeys(PLANTS, np.zeros(3, int)), {}, 0
    for name, cutoff, asked, frame in everything():
        found = alarms(asked, frame)
        false += len(found)
        kept[name] = (asked, frame)  # the newest
        base = frame["label"].mean()
        lines.append(
            f"| {name} | {cutoff} | {len(frame):,} | {base:.1%} | {'; '.join(map(str, found)) or 'none'} |"
        )
        sys.stderr.write(f"  {lines[-1]}\n")
    for name in PLANTED_IN:
        for kind, (leak, twin) in planted(*kept[name]).items():
            named[kind] = named[kind] + [leak, twin, 1]
            if not leak or twin:
                sys.stderr.write(f"  {name}: {kind} named: {leak}, its twin: {twin}\n")
    calm = kept["calm"]
    equal, better = replays(*calm, given.replays), replays(*calm, given.replays // 4, lead=0.5)
    text = [
        "# The gates before promotion, measured",
        "",
        "Made by `CHURN_REAL_DATA=/folder python -m benchmarks.gates`; no number here is written by hand.",
        "",
        "## Leaks",
        "",
        f"On {len(lines)} snapshots that nobody has tampered with, {false} alarms:",
        "",
        "| snapshot | cut-off | rows | base rate | alarms |",
        "|---|---|---|---|---|",
        *lines,
        "",
        f"Then each leak was planted in the newest snapshot of {', '.join(PLANTED_IN)}, and beside it "
        "its twin, the same made of another row's outcome:",
        "",
        "| planted | named | its twin named |",
        "|---|---|---|",
        *(f"| {kind} | {a} of {of} | {b} of {of} |" for kind, (a, b, of) in named.items()),
        "",
        "## Equal models",
        "",
        f"Of {equal['replays']} candidates that are as good as the champion, {equal['promoted']} were "
        f"promoted. Of {better['replays']} that are better (half a unit of log odds in the right direction), "
        f"{better['promoted']}.",
    ]
    (ROOT / "docs" / "gates.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
