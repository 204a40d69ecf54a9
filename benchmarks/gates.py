"""How often the gates before promotion are right: writes docs/gates.md.

Run: CHURN_REAL_DATA=/folder/of/the/data python -m benchmarks.gates

Leaks: on real snapshots and on those of simulated shops, which nobody has tampered with, every
alarm is a false one; then each kind of leak is planted in the newest of some of them, a measure
that is written over, a minimum term, and a pair that answers together, and beside it its innocent
twin.

Equal models: two models of the same recipe, fitted on two halves of the customers, are champion and
candidate on customers of a later day.
"""

import argparse
import datetime as dt
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from benchmarks.results import ROOT, churn
from churn_orchestration.business import Business
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.origin import Origin, origins
from churn_orchestration.churn.grading import evaluation, metrics
from churn_orchestration.churn.grading.versus import Versus
from churn_orchestration.churn.question import leakage, too_good
from churn_orchestration.churn.question.halves import halves
from churn_orchestration.churn.question.settings import Economics
from churn_orchestration.churn.recipe import fit
from churn_orchestration.churn.splits import folds
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.runs import at_work
from churn_orchestration.simulator import World, simulate

REAL = {
    "online_retail": ("2011-12-09", ["2011-07-09", "2011-09-09", "2011-10-09", "2011-12-09"]),
    "cdnow": ("1998-06-30", ["1997-12-31", "1998-03-31", "1998-06-30"]),
    "telco": ("2018-01-01", ["2018-01-01"]),
}
SCENARIOS = (
    "calm",
    "newsletter",
    "crisis",
    "price_rise",
    "new_customers",
    "harmless",
    "label_drift",
)
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
    "a category of one class only": lambda label, chance: np.where(
        label & (chance < 0.4), "closed", "open"
    ),
    "a mark of a third of those who left": lambda label, chance: (label & (chance < 0.33)).astype(
        int
    ),
    "an id, odd for those who left": lambda label, _: np.arange(len(label)) * 2 + label,
}


def taken(
    business: str, last: str, cutoffs: list[str]
) -> Iterator[tuple[str, QuestionSettings, pd.DataFrame]]:
    """The snapshots of a business at some cut-offs, made by the assets' functions."""
    churn("--business", business, "run", "--to", last)
    with at_work(Business(ROOT / business)) as work:
        [settings] = work.questions().values()
        with work.warehouse.open() as tables:
            for cutoff in map(dt.date.fromisoformat, cutoffs):
                snapshots.build(tables, work.business, settings, cutoff)
                frame, _ = snapshots.load(settings.store.snapshot_files(tables.state), cutoff)
                yield str(cutoff), settings, frame


def everything() -> Iterator[tuple[str, str, QuestionSettings, pd.DataFrame]]:
    """Every clean snapshot: real data, then the simulated scenarios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CHURN_DATA"] = str(folder / "real")
        for business, (last, cutoffs) in REAL.items():
            for cutoff, settings, frame in taken(f"examples/{business}", last, cutoffs):
                yield business, cutoff, settings, frame
        for scenario in SCENARIOS:
            simulate(World.read(scenario, customers=4000), folder / scenario)
            os.environ["CHURN_SHOP"] = str(folder / scenario / "landing")
            os.environ["CHURN_DATA"] = str(folder / f"{scenario}_data")
            for cutoff, settings, frame in taken("examples/shop", LOAD, CUTOFFS):
                yield scenario, cutoff, settings, frame


def alarms(
    settings: QuestionSettings,
    frame: pd.DataFrame,
    planted: Mapping[str, Origin] = MappingProxyType({}),
) -> list[leakage.Leak]:
    """What is called a leak in a snapshot, with the features that were planted in it."""
    question = settings.question
    known = origins(question.features, settings.landed) | planted
    return leakage.find(frame, question.entity, list(known), question.horizon, known)


def planted(settings: QuestionSettings, frame: pd.DataFrame) -> dict[str, tuple[bool, bool]]:
    """Whether each kind of leak, and its honest twin, is named when it is planted."""
    rng, label = np.random.default_rng(SEED), frame["label"].astype(bool)
    chance, other = (
        rng.random(len(frame)),
        label.sample(frac=1, random_state=SEED).reset_index(drop=True),
    )

    def is_named(values: pd.Series | np.ndarray) -> bool:
        result = alarms(settings, frame.assign(planted=values), {"planted": Origin("planted")})
        return any("planted" in leak.feature for leak in result)

    return {
        kind: (is_named(p(label, chance)), is_named(p(other, chance))) for kind, p in PLANTS.items()
    }


def columns_and_terms(
    settings: QuestionSettings, frame: pd.DataFrame
) -> dict[str, tuple[bool, bool]]:
    """Whether what is written over, and a minimum term, are judged as they must be, and their twins
    are.

    Of a measure written over: whether a feature of its column blocks. Of a minimum term in which
    nobody leaves: whether it is a warning where landing proves its events, and its twin, a mark of
    some who left, in the same feature, blocks.
    """
    rng, label = np.random.default_rng(SEED), frame["label"].astype(bool).to_numpy()
    chance, count = rng.random(len(frame)), rng.poisson(4, len(frame)) + 1
    column = frozenset({"orders.fee"})
    fees = {
        name: Origin(f, column)
        for name, f in (("p_sum", "value"), ("p_mean", "size"), ("p_max", "size"))
    }

    def levels(rows: pd.DataFrame, planted: Mapping[str, Origin]) -> set[bool]:
        result = alarms(settings, rows, planted)
        return {leak.blocking for leak in result if leak.feature in planted}

    def written(marked: np.ndarray) -> bool:
        fee = pd.Series(np.where(marked, 25.0, 0.0), index=frame.index)
        return levels(frame.assign(p_sum=fee, p_max=fee, p_mean=fee.where(fee > 0)), fees) == {True}

    def term(origin: Origin, label: np.ndarray, count: np.ndarray) -> set[bool]:
        return levels(frame.assign(label=label, count=count), {"count": origin})

    other = rng.permutation(label)
    result = {
        f"a measure written over for {share:.0%} of those who left": (
            written(label & (chance < share)), written(other & (chance < share)),
        )
        for share in (0.3, 0.6)
    }  # fmt: skip
    locked, marks = label & (count > 3), np.where(label & (chance < 0.3), count, 0)

    def is_mild(label: np.ndarray, count: np.ndarray) -> bool:
        rows = frame.assign(label=label, count=count)
        return any(leak.innocent for leak in alarms(settings, rows, {"count": Origin("count")}))

    proved, attribute = Origin("count", landed=True), Origin("count")
    result["a minimum term of 3 payments, which landed: a warning"] = (
        term(proved, locked, count) == {False}, term(proved, label, count) != set(),
    )  # fmt: skip
    result["a minimum term in an attribute, in milder words; the twin is a mark set afterwards"] = (
        is_mild(locked, count), is_mild(label, marks),
    )  # fmt: skip
    result["a mark set afterwards, in numbers"] = (
        term(attribute, label, marks) == {True},
        term(attribute, label, np.where(other & (chance < 0.3), count, 0)) != set(),
    )
    return result


def pairs(settings: QuestionSettings, frame: pd.DataFrame) -> dict[str, tuple[bool, bool]]:
    """Whether two features that answer only together are named, each kind, and in no leak their
    twins.
    """
    rng, label = np.random.default_rng(SEED), frame["label"].astype(bool).to_numpy()
    coin, size = rng.random(len(frame)) < 0.5, rng.normal(size=len(frame)) * 50
    question = settings.question
    names = [feature.name for feature in catalogue(question.features)]

    def is_named(a: np.ndarray, b: np.ndarray) -> bool:
        rows = frame.assign(p_a=a, p_b=b)
        message = too_good.answering(
            rows, question.entity, [*names, "p_a", "p_b"], question.horizon, 1.0
        )
        return "p_a and p_b answer together" in message or "p_b and p_a answer together" in message

    other = rng.permutation(label)
    return {
        "b = a xor label": (is_named(coin, coin ^ label), is_named(coin, coin ^ other)),
        "b = a + label": (is_named(size, size + label), is_named(size, size + other)),
    }


def reached(settings: QuestionSettings, frame: pd.DataFrame) -> tuple[float, float, float]:
    """AUC of the served recipe on rows unseen, its lower end, and log loss as a share of the
    expected one.
    """
    question = settings.question
    earlier, later = halves(frame, question.entity, question.horizon)
    names = evaluation.feature_columns(frame, question)
    model = fit(settings.learner, earlier[names], earlier["label"], earlier[question.entity])
    said = model.predict_proba(later[names])[:, 1]
    result = metrics.evaluate(later["label"], said, later[question.entity])
    loss = result["log_loss"]["value"] / too_good.expected_log_loss(said)
    return result["auc"]["value"], result["auc"]["low"], loss


def replays(
    settings: QuestionSettings, frame: pd.DataFrame, many: int, lead: float = 0.0
) -> dict[str, int]:
    """How often a candidate of the same recipe is promoted over the champion, in so many replays.

    ``lead`` > 0: the candidate knows the outcome a little: so much of its log odds is added.
    """
    question = settings.question
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
            model = fit("logistic", mine[columns], mine["label"], mine[question.entity])
            said.append(model.predict_proba(rows[columns])[:, 1])
        if lead:
            odds = np.log(said[0] / (1 - said[0])) + lead * (rows["label"].to_numpy(float) - 0.5)
            said[0] = 1 / (1 + np.exp(-odds))
        versus = Versus.of(rows["label"], said[0], said[1], rows[question.entity], "", Economics())
        counts["promoted"] += versus.better
    return counts


def main() -> None:
    """Probe every snapshot, replay equal models, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--replays", type=int, default=200)
    given = parser.parse_args()
    lines, named, kept, false = [], dict[str, np.ndarray](), {}, 0
    for name, cutoff, settings, frame in everything():
        result = alarms(settings, frame)
        false += len(result)
        kept[name] = (settings, frame)  # the newest
        base = frame["label"].mean()
        lines.append(
            f"| {name} | {cutoff} | {len(frame):,} | {base:.1%} | "
            f"{'; '.join(map(str, result)) or 'none'} |"
        )
        sys.stderr.write(f"  {lines[-1]}\n")
    for name in PLANTED_IN:
        kinds = planted(*kept[name]) | columns_and_terms(*kept[name]) | pairs(*kept[name])
        for kind, (leak, twin) in kinds.items():
            named[kind] = named.get(kind, np.zeros(3, int)) + [leak, twin, 1]
            if not leak or twin:
                sys.stderr.write(f"  {name}: {kind} named: {leak}, its twin: {twin}\n")
    best = dict[str, list[tuple[float, float, float, str]]]()
    for name, (settings, frame) in kept.items():
        best.setdefault(settings.question.kind, []).append((*reached(settings, frame), name))
        sys.stderr.write(f"  {name}: {best[settings.question.kind][-1]}\n")
    calm = kept["calm"]
    equal, better = replays(*calm, given.replays), replays(*calm, given.replays // 4, lead=0.5)
    text = [
        "# The gates before promotion, measured",
        "",
        "Made by `CHURN_REAL_DATA=/folder python -m benchmarks.gates`; no number here is written "
        "by hand.",
        "",
        "## Leaks",
        "",
        f"On {len(lines)} snapshots that nobody has tampered with, {false} alarms:",
        "",
        "| snapshot | cut-off | rows | base rate | alarms |",
        "|---|---|---|---|---|",
        *lines,
        "",
        f"Then each leak was planted in the newest snapshot of {', '.join(PLANTED_IN)}, and "
        "its twin, the same made of another row's outcome (of a minimum term, the same counts "
        "without one):",
        "",
        "| planted | named | its twin named |",
        "|---|---|---|",
        *(f"| {kind} | {a} of {of} | {b} of {of} |" for kind, (a, b, of) in named.items()),
        "",
        "## Models that are too good",
        "",
        "The highest that the served recipe reaches on clean snapshots, the newest of each, by "
        "kind; and the bounds beyond which a model waits for a person: the lower end of its "
        "interval of AUC lies above the bound, or the upper end of its log loss below it, as a "
        "share of what its own probabilities would cost if they were right. Of a kind that is not "
        "listed no clean snapshot was measured: its bound is that of the others.",
        "",
        "| kind | snapshots | highest AUC | its lower end | bound | lowest log loss, share | bound "
        "|",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {kind} | {len(result)} | {max(result)[0]:.3f} ({max(result)[3]}) | "
            f"{max(result)[1]:.3f} | {too_good.MOST_AUC[kind]} | "
            f"{min(one[2] for one in result):.2f} | {too_good.LEAST_LOSS} |"
            for kind, result in best.items()
        ),
        "",
        "## Equal models",
        "",
        f"Of {equal['replays']} candidates that are as good as the champion, {equal['promoted']} "
        f"were promoted. Of {better['replays']} that are better (half a unit of log odds in the "
        f"right direction), {better['promoted']}.",
    ]
    (ROOT / "docs" / "gates.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
