"""The served model beside its peers, on every month-end whose outcome is known: writes
docs/models.md.

Run: CHURN_REAL_DATA=/folder/of/the/data python -m benchmarks.models

Every day's training rows are the snapshot of that day as cut-off, so nothing that was known later
trains; every peer is fitted on the same rows, or, Pareto/NBD, on the purchases up to the end of the
day. FLAML gets the CPU seconds that the served model took. One thread each.
"""

import argparse
import datetime as dt
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks.results import ROOT, churn
from churn_orchestration.business import Business
from churn_orchestration.churn import learners
from churn_orchestration.churn.calendar import month_ends
from churn_orchestration.churn.capacity import Capacity, HopelessLabel, scarce_entities
from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.grading.evaluation import feature_columns
from churn_orchestration.churn.process.fitting import Process
from churn_orchestration.churn.process.fitting import fit as fit_process
from churn_orchestration.churn.process.histories import Histories, counted_sql
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.question.labels import Question, labelled
from churn_orchestration.churn.recipe import WEIGHED_DAYS, Recipe
from churn_orchestration.churn.splits import entity_folds
from churn_orchestration.components.features.feature_history import features_at
from churn_orchestration.components.question.processes import members, process_records
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.runs import at_work
from churn_orchestration.storage.warehouse import Tables, literal

SEED = 20_111_209
FITTED_CUSTOMERS = 4_000  # of Pareto/NBD; all are scored
SERVED, PLAIN, RANK = "served: blend", "plain average of logistic and LightGBM", "recency rank"
MINUTE = "FLAML, 60 seconds"


class Comparison(NamedTuple):
    """A question of an example, and the days on which it is forecast.

    Parameters
    ----------
    landed : last day whose files are there
    observed : observation window in days, or all
    first, last : month-ends that are graded; last None: the newest whose outcome is known
    customers : a sample of so many, by a hash of their id; None: all
    unlabelled : no label is known on the days, so that nothing can be trained
    """

    example: str
    landed: str
    observed: int | str
    first: str
    last: str | None = None
    customers: int | None = None
    unlabelled: bool = False


QUESTIONS = {
    "Online Retail, active in 180 days": Comparison(
        "online_retail", "2011-12-09", 180, "2011-05-31"
    ),
    "CDNOW, everyone": Comparison("cdnow", "1998-06-30", "all", "1997-07-31"),
    "CDNOW, active in 180 days": Comparison("cdnow", "1998-06-30", 180, "1997-07-31"),
    "Superstore, active in 365 days": Comparison("superstore", "2019-12-30", 365, "2017-12-31"),
    "Online Retail, two and three as_ofs": Comparison(
        "online_retail", "2011-12-09", 180, "2011-04-30", "2011-05-31"
    ),
    "CDNOW, everyone, two and three as_ofs": Comparison(
        "cdnow", "1998-06-30", "all", "1997-05-31", "1997-06-30"
    ),
    "Online Retail, before any label": Comparison(
        "online_retail", "2011-12-09", 180, "2011-01-31", "2011-02-28", unlabelled=True
    ),
    "CDNOW, everyone, before any label": Comparison(
        "cdnow", "1998-06-30", "all", "1997-02-28", "1997-03-31", unlabelled=True
    ),
    **{
        f"{title}, {customers} customers": Comparison(*where, customers=customers)
        for customers in (600, 300, 100)
        for title, where in {
            "Online Retail": ("online_retail", "2011-12-09", 180, "2011-05-31"),
            "CDNOW": ("cdnow", "1998-06-30", "all", "1997-10-31"),
        }.items()
    },
}


STATIC = {"Telco, one row a customer": ("telco", "2018-01-01")}
"""Examples of a static question, each with its day."""


@dataclass(frozen=True)
class Day:
    """One month-end: rows that were known by its end, the rows of the day, and purchase counts by
    its end.
    """

    as_of: dt.date
    train: pd.DataFrame
    test: pd.DataFrame
    question: Question
    bought: pd.DataFrame
    processes: Mapping[pd.Timestamp, PurchaseProcess]

    @property
    def features(self) -> list[str]:
        """The columns a model may see."""
        return feature_columns(self.train, self.question)


def days(comparison: Comparison, as_ofs: int | None = None) -> Iterator[Day]:
    """Every month-end that is graded, with its rows, from an example's own tables.

    ``as_ofs``: how many train; None: as many as without a word in the YAML.
    """
    folder, landed = Path("examples") / comparison.example, dt.date.fromisoformat(comparison.landed)
    churn("--business", str(folder), "run", "--to", comparison.landed)
    with at_work(Business(ROOT / folder)) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        name = f"{settings.name}_{comparison.observed}"
        settings = replace(
            settings,
            question=replace(settings.question, name=name, observation_days=comparison.observed),  # type: ignore[arg-type]
            most_as_ofs=as_ofs or settings.most_as_ofs,
        )
        last = settings.question.horizon.newest_as_of(landed)
        if comparison.last:
            last = dt.date.fromisoformat(comparison.last)
        for as_of in month_ends(dt.date.fromisoformat(comparison.first), last):
            made = _first_day if comparison.unlabelled else _day
            day = made(tables, work.business, settings, as_of, landed)
            yield (
                day if comparison.customers is None else _sampled(tables, day, comparison.customers)
            )


def _sampled(tables: Tables, day: Day, customers: int) -> Day:
    """The day as a business of so many customers would have it: those active on it whose ids have
    the lowest hashes.
    """
    entity, activity = day.question.entity, day.question.activity
    assert activity is not None
    by_hash = sorted(day.test[entity], key=lambda id_: hashlib.sha256(str(id_).encode()).digest())
    last = hashlib.sha256(str(by_hash[min(customers, len(by_hash)) - 1]).encode()).digest()

    def ours(ids: pd.Series) -> pd.Series:
        return ids.map(lambda id_: hashlib.sha256(str(id_).encode()).digest() <= last)

    everybody = tables.db.execute(f"select distinct {entity} from {activity.table}").df()
    tables.db.register("_ours", everybody[ours(everybody[entity])])
    bought = f"(select {entity}, day from {activity.table} semi join _ours using ({entity}))"
    records = {}
    for on in sorted({*pd.to_datetime(day.train["as_of"]).dt.date, day.as_of}):
        counted = tables.db.execute(counted_sql(bought, entity, on)).df()
        process = fit_process(Histories.of_table(counted))
        if isinstance(process, Process):
            records[str(on)] = process.record()
    tables.db.unregister("_ours")
    return replace(
        day,
        train=day.train[ours(day.train[entity])].reset_index(drop=True),
        test=day.test[ours(day.test[entity])].reset_index(drop=True),
        bought=day.bought[ours(day.bought[entity])].reset_index(drop=True),
        processes=members(day.question, records),
    )


def _day(
    tables: Tables, business: Business, settings: QuestionSettings, as_of: dt.date, last: dt.date
) -> Day:
    question = settings.question
    snapshots.build(tables, business, settings, as_of)
    train, manifest = snapshots.load(settings.store.snapshot_files(tables.state), as_of)
    return _of(tables, question, as_of, last, train, manifest["processes"])


def _first_day(
    tables: Tables, _: Business, settings: QuestionSettings, as_of: dt.date, last: dt.date
) -> Day:
    question = settings.question
    processes = process_records(
        tables, question, lambda day: f"({features_at(question.features, day)})", [as_of]
    )
    return _of(tables, question, as_of, last, pd.DataFrame(), processes)


def _of(
    tables: Tables, question: Question, as_of: dt.date, last: dt.date, train: pd.DataFrame,
    processes: Mapping[str, Any],
) -> Day:  # fmt: skip
    described = f"({features_at(question.features, as_of)})"
    test = tables.db.execute(labelled(question, described, as_of, last)).df()
    assert question.activity
    entity, on = question.entity, literal(as_of)
    bought = tables.db.execute(
        f"select {entity}, count(distinct day) - 1 as again, max(day) - min(day) as until, "
        f"{on} - min(day) as age from {question.activity.table} where day <= {on} group by 1"
    ).df()
    return Day(as_of, train, test, question, bought, members(question, processes))


def served(learner: str) -> Callable[[Day, float], np.ndarray]:
    """What the product forecasts, by a learner."""

    def forecast(day: Day, _: float) -> np.ndarray:
        recipe = Recipe(learner, processes=day.processes)
        try:
            model = recipe.fit(day.train, day.features, day.question.entity)
        except HopelessLabel:  # no training: what forecasts before a model goes on
            return process_alone(day, 0)
        return model.predict_proba(day.test[day.features])[:, 1]

    return forecast


def plain_average(day: Day, _: float) -> np.ndarray:
    """Logistic regression and LightGBM, both with the product's settings, averaged in log odds."""
    train = day.train
    ids, label = train[day.question.entity].to_numpy(), train["label"].to_numpy(bool)
    capacity = Capacity.of(len(train), scarce_entities(label, ids))
    pair = [
        member for member in learners.LEARNERS["blend"](capacity).members if member[0] != "xgboost"
    ]
    model = learners.LogOddsBlend(pair).fit(train[day.features], label)
    return model.predict_proba(day.test[day.features])[:, 1]


def lightgbm_of_four_leaves(day: Day, _: float) -> np.ndarray:
    """LightGBM alone, with the product's settings."""
    return served("lightgbm")(day, 0)


def process_alone(day: Day, _: float) -> np.ndarray:
    """The product's own purchase process, as before any model; the churn rate where none fits."""
    member = Recipe("blend", processes=day.processes).process()
    if member is None:
        return np.full(len(day.test), day.train["label"].mean())
    return np.asarray(member.fit(day.test).predict_proba(day.test)[:, 1])


def logistic_rfm(day: Day, _: float) -> np.ndarray:
    """Logistic regression on recency, frequency and money of a year, logarithms of all."""
    assert day.question.activity
    name = day.question.activity.name
    money = next(iter(day.question.activity.measures)).name
    columns = [f"{name}_days_since_last", f"{name}_active_days_365d", f"{name}_{money}_sum_365d"]
    columns = [
        column if column in day.train else column.replace("365d", "180d") for column in columns
    ]
    model = make_pipeline(
        FunctionTransformer(learners.signed_log1p),
        SimpleImputer(),
        StandardScaler(),
        LogisticRegression(),
    ).fit(day.train[columns].astype(float), day.train["label"])
    return np.asarray(model.predict_proba(day.test[columns].astype(float))[:, 1])


def recency_rank(day: Day, _: float) -> np.ndarray:
    """Days since the last purchase, as a rank; no probability."""
    assert day.question.activity
    return day.test[f"{day.question.activity.name}_days_since_last"].rank(pct=True).to_numpy()


def pareto_nbd(day: Day, _: float) -> np.ndarray:
    """P(no purchase within the horizon) by Pareto/NBD (Schmittlein, Morrison, Colombo 1987), of
    lifetimes.

    The probability of the history and of a silence after it, over that of the history. Fitted on a
    sample of all who ever bought: those active of late alone would be a chosen few.
    """
    from lifetimes import ParetoNBDFitter

    again, until, age = (day.bought[name].to_numpy(float) for name in ("again", "until", "age"))
    until, age = until / 7, age / 7
    rng = np.random.default_rng(SEED)
    some = rng.choice(len(age), min(FITTED_CUSTOMERS, len(age)), replace=False)
    model = ParetoNBDFitter(penalizer_coef=0.001).fit(again[some], until[some], age[some])
    later = age + day.question.horizon.days(day.as_of) / 7
    fitted = model.params_[["r", "alpha", "s", "beta"]]
    log = [model._conditional_log_likelihood(fitted, again, until, end) for end in (later, age)]
    said = pd.Series(np.exp(log[0] - log[1]), day.bought[day.question.entity])
    return said[day.test[day.question.entity]].to_numpy()


def flaml(day: Day, seconds: float) -> np.ndarray:
    """FLAML's search, as long as the served model took."""
    return _flaml(day.train[day.features], day.train["label"], day.test[day.features], seconds)


def flaml_of_a_minute(day: Day, _: float) -> np.ndarray:
    """FLAML's search, for a minute."""
    return _flaml(day.train[day.features], day.train["label"], day.test[day.features], 60)


def _flaml(train: pd.DataFrame, label: pd.Series, test: pd.DataFrame, seconds: float) -> np.ndarray:
    from flaml import AutoML

    model = AutoML()
    model.fit(
        train.astype(float), label.astype(int), task="classification", metric="log_loss",
        time_budget=max(seconds, 1), n_jobs=1, verbose=0, seed=SEED % 2**31,
        estimator_list=["lgbm", "xgboost", "rf", "extra_tree"],
    )  # fmt: skip
    return np.asarray(model.predict_proba(test.astype(float))[:, 1])


def shifted_to_the_process(day: Day, _: float) -> np.ndarray:
    """The served model, its mean moved half way to what the purchase process expects of all
    customers of the day.
    """
    process = Recipe("blend", processes=day.processes).process()
    odds = logit(served("blend")(day, 0))
    shift = 0 if process is None else SHIFTED * _shift(odds, process, day.test)
    return np.asarray(expit(odds + shift))


def shifted_where_it_helped(day: Day, _: float) -> np.ndarray:
    """The same, where that helped on each of the newest days whose outcome is known; else the
    served model.
    """
    gains, recipe = list[float](), Recipe("blend", processes=day.processes)
    for as_of in sorted(set(pd.to_datetime(day.train["as_of"])), reverse=True)[:WEIGHED_DAYS]:
        earlier = day.train[pd.to_datetime(day.train["label_known_on"]) <= as_of]
        later = day.train[pd.to_datetime(day.train["as_of"]) == as_of]
        process = recipe.process(as_of)
        try:
            model = recipe.fit(earlier, day.features, day.question.entity, as_of)
        except HopelessLabel:
            continue
        if process is None:
            continue
        plain = logit(model.predict_proba(later[day.features])[:, 1])
        moved = plain + SHIFTED * _shift(plain, process, later)
        losses = [metrics.measure(later["label"], expit(o))["log_loss"] for o in (plain, moved)]
        gains.append(losses[0] - losses[1])
    print(f"{day.as_of}: the shift gained {[round(gain, 4) for gain in gains]} on earlier days")
    has_helped = bool(gains) and min(gains) > 0
    return (shifted_to_the_process if has_helped else served("blend"))(day, 0)


SHIFTED = 0.5  # of the way to the mean that the process expects


def _shift(odds: np.ndarray, process: PurchaseProcess, rows: pd.DataFrame) -> float:
    """What has to be added to log odds so that their mean is the process's."""
    mean = process.fit(rows).predict_proba(rows)[:, 1].mean()
    return float(brentq(lambda by: expit(odds + by).mean() - mean, -20, 20))


def with_a_third_of_pareto_nbd(day: Day, _: float) -> np.ndarray:
    """The plain average and Pareto/NBD, two to one in log odds."""
    return np.asarray(
        expit(2 / 3 * logit(plain_average(day, 0)) + 1 / 3 * logit(pareto_nbd(day, 0)))
    )


def knowing_the_base_rate(day: Day, _: float) -> np.ndarray:
    """The plain average, shifted in log odds so that its mean is the churn rate that the day will
    have had.

    No forecast: it reads the outcome. It bounds what any forecast of the base rate can add.
    """
    odds, rate = logit(plain_average(day, 0)), day.test["label"].mean()
    return np.asarray(expit(odds + brentq(lambda by: expit(odds + by).mean() - rate, -5, 5)))


PEERS: dict[str, Callable[[Day, float], np.ndarray]] = {
    SERVED: served("blend"),
    "stack": served("stack"),
    PLAIN: plain_average,
    "LightGBM, 4 leaves": lightgbm_of_four_leaves,
    "process alone": process_alone,
    "logistic RFM": logistic_rfm,
    "Pareto/NBD": pareto_nbd,
    "FLAML, equal CPU": flaml,
    MINUTE: flaml_of_a_minute,
    "served, shifted to the process's mean": shifted_to_the_process,
    "served, so shifted where that helped before": shifted_where_it_helped,
    "plain average and a third Pareto/NBD": with_a_third_of_pareto_nbd,
    "plain average, knowing the day's churn rate": knowing_the_base_rate,
    RANK: recency_rank,
}
RIVALS = (
    "LightGBM, 4 leaves", "process alone", "logistic RFM", "Pareto/NBD", "FLAML, equal CPU", MINUTE,
)  # fmt: skip
"""What somebody would use who does not have the product."""
UNLABELLED = ("process alone", "Pareto/NBD", RANK)
"""What forecasts without any outcome; the first is what the product serves then."""
SHOWN = {"log_loss": "log loss", "auc": "AUC", "average_precision": "average precision",
         "calibration_error": "calibration error"}  # fmt: skip


def compared(name: str, as_ofs: int | None = None) -> str:
    """One question as a Markdown section: the mean of every peer over the days, and the days."""
    rows, comparison = [], QUESTIONS[name]
    peers = {peer: by for peer, by in PEERS.items() if peer != MINUTE or not comparison.customers}
    if comparison.unlabelled:
        peers = {peer: by for peer, by in PEERS.items() if peer in UNLABELLED}
    for day in days(comparison, as_ofs):
        said, seconds = {}, 0.0
        for peer, forecast in peers.items():
            began = time.process_time()
            try:
                said[peer] = forecast(day, seconds)
            except HopelessLabel:
                said[peer] = np.full(len(day.test), np.nan)
            took = time.process_time() - began
            seconds = seconds or took
            if np.isnan(said[peer]).any():
                result = dict.fromkeys(SHOWN, np.nan) | {"base_rate": day.test["label"].mean()}
            else:
                result = metrics.measure(day.test["label"], said[peer])
            if peer == RANK:
                result |= {"log_loss": np.nan, "calibration_error": np.nan}
            rows.append({"as_of": str(day.as_of), "peer": peer, "seconds": took} | result)
        print(f"{name}: {day.as_of} of {len(day.test):,} customers", flush=True)
    table = pd.DataFrame(rows)
    mean = table.groupby("peer", sort=False)[["seconds", *SHOWN]].mean()
    lead = mean["log_loss"] - mean["log_loss"].get(PLAIN, np.nan)
    span = (
        f"{table['as_of'].min()} to {table['as_of'].max()}, {table['as_of'].nunique()} month-ends"
    )
    by_day = table.pivot_table(index="as_of", columns="peer", values="log_loss")
    best = by_day[[peer for peer in RIVALS if peer in by_day]]
    worst = {
        peer: float((by_day[peer] - best.drop(columns=peer, errors="ignore").min(axis=1)).max())
        for peer in by_day
    }
    heads = [*SHOWN.values(), "log loss against the plain average",
             "worst day against the best rival", "CPU seconds"]  # fmt: skip
    lines = [f"## {name}", "", f"Mean over {span}.", "", f"| | {' | '.join(heads)} |"]
    lines.append("|" + "---|" * (len(heads) + 1))
    for peer, row in mean.iterrows():
        cells = ["-" if np.isnan(row[metric]) else f"{row[metric]:.4f}" for metric in SHOWN]
        cells.append("-" if np.isnan(lead[peer]) else f"{lead[peer]:+.4f}")
        cells.append(f"{worst[peer]:+.4f}" if peer in worst else "-")
        lines.append(f"| {peer} | {' | '.join(cells)} | {row['seconds']:.1f} |")
    shown = [peer for peer in peers if peer != RANK]
    lines += ["", "By day, log loss:", "", f"| as_of | churned | {' | '.join(shown)} |"]
    lines.append("|" + "---|" * (len(shown) + 2))
    for as_of, part in table.groupby("as_of"):
        losses = part.set_index("peer")["log_loss"]
        cells = [f"{losses[peer]:.4f}" for peer in shown]
        lines.append(f"| {as_of} | {part['base_rate'].iloc[0]:.1%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def boosted_by_default(train: pd.DataFrame, label: pd.Series, test: pd.DataFrame) -> np.ndarray:
    """LightGBM as it comes."""
    model = LGBMClassifier(n_jobs=1, verbose=-1, random_state=SEED).fit(train.astype(float), label)
    return np.asarray(model.predict_proba(test.astype(float)))[:, 1]


def boosted_plainly(train: pd.DataFrame, label: pd.Series, test: pd.DataFrame) -> np.ndarray:
    """LightGBM of 200 trees of 15 leaves, which learn at a rate of 0.05."""
    settings: dict[str, Any] = {"n_estimators": 200, "num_leaves": 15, "learning_rate": 0.05}
    model = LGBMClassifier(**settings, n_jobs=1, verbose=-1, random_state=SEED)
    model.fit(train.astype(float), label)
    return np.asarray(model.predict_proba(test.astype(float)))[:, 1]


def out_of_fold(name: str) -> str:
    """A static question as a Markdown section: every customer forecast by what was learned from the
    other folds' customers.
    """
    example, day = STATIC[name]
    folder = Path("examples") / example
    churn("--business", str(folder), "run", "--to", day)
    with at_work(Business(ROOT / folder)) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        cutoff = dt.date.fromisoformat(day)
        snapshots.build(tables, work.business, settings, cutoff)
        rows, _ = snapshots.load(settings.store.snapshot_files(tables.state), cutoff)
    entity, columns = settings.question.entity, feature_columns(rows, settings.question)
    fold = entity_folds(rows[entity])

    def recipe(learner: str) -> Callable[[pd.DataFrame, pd.Series, pd.DataFrame], np.ndarray]:
        def forecast(train: pd.DataFrame, _: pd.Series, test: pd.DataFrame) -> np.ndarray:
            model = Recipe(learner).fit(rows.loc[train.index], columns, entity)
            return model.predict_proba(test)[:, 1]

        return forecast

    peers = {
        SERVED: recipe("blend"), "logistic": recipe("logistic"),
        "LightGBM as it comes": boosted_by_default, "LightGBM, 15 leaves": boosted_plainly,
        "FLAML, 60 seconds a fold": lambda *given: _flaml(*given, 60),
    }  # fmt: skip
    lines = [f"## {name}", "", f"{len(rows):,} customers, {rows['label'].mean():.1%} left.", ""]
    lines += [f"| | {' | '.join(SHOWN.values())} | CPU seconds |", "|" + "---|" * (len(SHOWN) + 2)]
    for peer, forecast in peers.items():
        began, said = time.process_time(), np.empty(len(rows))
        for number in np.unique(fold):
            train, test = rows[fold != number], rows[fold == number]
            said[fold == number] = forecast(train[columns], train["label"], test[columns])
        took = time.process_time() - began
        result = metrics.measure(rows["label"], said)
        cells = [f"{result[metric]:.4f}" for metric in SHOWN]
        lines.append(f"| {peer} | {' | '.join(cells)} | {took:.1f} |")
        print(f"{name}: {peer}", flush=True)
    return "\n".join(lines)


def main() -> None:
    """Compare on every question and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="part of a question's name")
    parser.add_argument("--as-ofs", type=int, help="how many train; the page is not written then")
    given = parser.parse_args()
    everything = [*QUESTIONS, *STATIC]
    wanted = [name for name in everything if (given.only or "") in name]
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHURN_DATA"] = folder
        parts = [
            out_of_fold(name) if name in STATIC else compared(name, given.as_ofs) for name in wanted
        ]
    print("\n\n".join(parts))
    if given.as_ofs is None:
        made = dict(zip(wanted, parts, strict=True))
        sections = (made.get(name) or _section(PAGE.read_text(), name) for name in everything)
        PAGE.write_text("\n\n".join([HEAD, *filter(None, sections)]) + "\n")


PAGE = ROOT / "docs" / "models.md"
HEAD = (
    "# The served model and its peers\n\n"
    "Made by `CHURN_REAL_DATA=/folder make bench-models`, or a part of it by "
    '`make bench-models ARGS="--only CDNOW"`; no number here is written by hand. '
    "Every month-end whose outcome is known is forecast by what was known at its end; see "
    "`benchmarks/models.py`. "
    "The settings are those of the examples' YAML, the same on every day.\n\n"
    f"The worst day is the largest lead in log loss of the best of {', '.join(RIVALS)}; "
    "where it is negative, all rivals lose on all days. "
    "The row that knows the day's churn rate is no forecast: it reads the outcome, and "
    "bounds what forecasting the drift of the base rate could add to the plain average."
)


def _section(page: str, name: str) -> str:
    """The section of a question on a page that was made before; empty where it has none."""
    _, heading, rest = page.partition(f"## {name}\n")
    return heading + rest.partition("\n## ")[0].rstrip("\n") if heading else ""


if __name__ == "__main__":
    main()
