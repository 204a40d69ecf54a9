"""What retraining is worth, and how far a forecast knows itself: writes docs/retraining.md.

Run: python -m benchmarks.retraining. Each kind of shift is a scenario of `examples/shop`, with
short windows: a model is trained on what was known on BEGUN, then two years are gone through week
by week. The champion of the week scores it, and what was forecast is graded once its outcome is
known, by the functions of the assets and sensors. All policies train by the same recipe, so that of
a day all have the same candidate. Weeks do not end on the day on which the outcome of a week before
is known, so a bad champion is gone through by days.
"""

import datetime as dt
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pandas as pd

from benchmarks.bad_champion import UPSIDE_DOWN, force_upside_down
from benchmarks.results import ROOT
from benchmarks.shops import arguments, tried
from churn_orchestration.automation import retraining
from churn_orchestration.business import Business
from churn_orchestration.churn import protocol
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.grading import gate, metrics
from churn_orchestration.churn.question.labels import labelled, population
from churn_orchestration.churn.question.settings import Economics
from churn_orchestration.churn.watching.signals import SIGNALS, ChampionState
from churn_orchestration.components.features.feature_table import build_days
from churn_orchestration.components.question.day_rows import read_files
from churn_orchestration.components.question.monitoring import (
    drift,
    first_week,
    graded,
    performance,
)
from churn_orchestration.components.question.monitoring.reference import Reference
from churn_orchestration.components.question.scoring.forecaster import Forecaster, forecast
from churn_orchestration.components.question.scoring.scores import catalogue_words, score, write
from churn_orchestration.components.question.training import model as models
from churn_orchestration.components.question.training import promotion
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.runs import Work, at_work
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.warehouse import Tables, literal

BEGUN, WEEKS, HORIZON = dt.date(2024, 3, 29), 104, 90
WEEK = dt.timedelta(weeks=1)
LOOKS = [BEGUN + WEEK * number for number in range(1, WEEKS + 1)]
LAST = LOOKS[-1] + dt.timedelta(days=HORIZON)
CALM, SENSORS = "calm", "sensors"
MONTHLY, UNASKED, NEVER, BAD = "monthly", "unasked", "never", "bad champion"
POLICIES = {
    SENSORS: "`sensors` train when one of them asks",
    MONTHLY: "`monthly` trains each month, and the gate decides on both",
    UNASKED: "`unasked` puts each month's model in force",
    NEVER: "`never` keeps the first",
    BAD: "",
}
FORCED = LOOKS[30]
"""On this day a model that learned the wrong way round is put in force; its first week is scored by
days.
"""
FIRST_DAYS = [
    day + DAY * number for day in (BEGUN, FORCED) for number in range(1, first_week.DAYS + 2)
]
SHIFTS = ("price_rise", "crisis", "label_drift", "new_customers")


TEXT = """# Retraining: what it is worth, and how far a forecast knows itself

Made by `{command}`.
Shops of {customers} customers in all, each a seed of a scenario; a first model is trained, then two
years are gone through week by week. Profit is that of a customer and week, in customers' values, of
contacting whom the champion of the week says it pays to contact, by the outcomes as they came; its
95 % intervals are those of resampled customers. {policies}.
Worlds of one seed begin with the same customers, so that the intervals over all shops are too
narrow.

{worth}

## Expected and realised

Of each week of the
  sensors' two years: what its forecasts expected of themselves, before any outcome,
less what came. Where what makes a customer leave changes, as in `price_rise`, forecasts do not know
it: the churn rate falls out of the interval that they expected.

{itself}
"""

UNDONE = """
## A champion that should never have been one

Made by `{command}`.
Shops of {customers} customers in all, each a seed of a scenario. A model that learned the wrong way
round is put in force, and nothing trains another: what undoes it is the sensor that judges a
champion's first week, once its outcome is known. That of the first model, of {begun} on, is
judged too.

{undone}
"""


@dataclass
class Policy:
    """One way to retrain: day, decision and reason of each training, and what its champions
    forecast.
    """

    trained: list[tuple[dt.date, str, str]] = field(default_factory=list)
    forecast: pd.DataFrame = field(default_factory=pd.DataFrame)


class Shop:
    """One shop, landed and with its features built for every week; policies are tried on it in
    turn.
    """

    def __init__(self, work: Work, tables: Tables, log: Callable[[str], None]) -> None:
        self.work, self.tables, self.tell = work, tables, log
        [self.settings] = work.questions().values()
        self.words = catalogue_words(tables, self.settings)

    @property
    def monitoring(self) -> list[str]:
        """The tables that watch."""
        kept = self.settings.store
        return [kept.grades, kept.performance, kept.drift, kept.first_week]

    @property
    def business(self) -> Business:
        return self.work.business

    def tried(self, name: str) -> Policy:
        """Go through the two years by one policy."""
        policy = self._begun()
        parts = []
        for before, day in zip([BEGUN, *LOOKS], LOOKS, strict=False):
            parts.append(self.score(day, keep=name == SENSORS))
            if name == SENSORS:
                self.watch(day)
                self.retrain(policy, day)
            elif name in (MONTHLY, UNASKED) and before.month != day.month:
                self.train(
                    policy, day, protocol.SCHEDULED, "a month is over", force=name == UNASKED
                )
        policy.forecast = pd.concat(parts)
        return policy

    def rolled_back(self) -> list[tuple[str, dt.date]]:
        """Which champions are rolled back on which day, where one is put in force that never should
        be.
        """
        self._begun()
        result, looks = (
            [],
            [self.settings.question.horizon.label_known_on(day) for day in FIRST_DAYS],
        )
        days = sorted({*FIRST_DAYS, *looks})
        build_days(self.tables, self.settings.gold, self.settings.question.features, days)
        for day in days:
            if day - DAY == FORCED:
                force_upside_down(self.tables, self.work.tracking, self.settings, BEGUN, FORCED)
            self.score(day, keep=True)
            if day in looks:
                self.watch(day)
                known = retraining.champion_state(self.business, self.settings)
                if known and known.worse_first_week:
                    self.undo(known)
                    result.append((known.version, day))
        return result

    def _begun(self) -> Policy:
        """From a ledger with nothing in it, with a first model."""
        for table in [self.settings.store.forecasts, *self.monitoring]:
            for day in self.tables.day_files(table, LAST):
                self.tables.drop_day(table, day)
        (self.tables.state / ledger.FILE).unlink(missing_ok=True)
        policy = Policy()
        self.train(policy, BEGUN, protocol.INITIAL, "the first")
        return policy

    def score(self, day: dt.date, *, keep: bool) -> pd.DataFrame:
        """The forecasts of a day by its champion; ``keep``: as predictions, which are watched."""
        gold, settings = literal(self.tables.day_file(self.settings.gold, day)), self.settings
        people = population(settings.question, f"(from {gold})", day)
        frame = self.tables.db.execute(f"{people} order by {settings.question.entity}").df()
        by = Forecaster.in_force(self.tables, settings, day)
        if keep:
            write(
                self.tables, settings, day, score(settings, frame, self.words, by), backtest=False
            )
        keys = frame[[settings.question.entity, "as_of"]]
        return keys.assign(
            churn_probability=forecast(settings, frame, by), model_version=by.version
        )

    def watch(self, day: dt.date) -> None:
        """Grade and judge a day."""
        tables, settings = self.tables, self.settings
        graded.grade(tables, settings, day)
        performance.measure(tables, settings, day)
        champion = ledger.champion(tables.state, settings.name, day, settings.question.meaning)
        reference = Reference.of(tables, settings, champion["model_version"]) if champion else None
        drift.measure(tables, settings, day, reference)
        first_week.measure(tables, settings, day)
        publish(tables)

    def undo(self, known: ChampionState) -> None:
        """What the sensor that rolls back asks for."""
        message = (known.previous_version, known.day, known.worse_first_week, "the sensor")
        promotion.roll_back(self.tables, self.work.tracking, self.settings, *message)
        self.tell(f"{known.day} rolled back {known.version}: {known.worse_first_week}")

    def retrain(self, policy: Policy, day: dt.date) -> None:
        """What the sensors ask for."""
        known = retraining.champion_state(self.business, self.settings)
        for name, find in SIGNALS.items() if known else ():
            said, request = retraining.retrain_or_skip(name, find, self.settings, known)
            if request:
                self.train(policy, day, request.tags[protocol.TRIGGER_TAG], said)
                return

    def train(
        self, policy: Policy, day: dt.date, trigger: str, why: str, *, force: bool = False
    ) -> None:
        """Train and let the gate decide; ``force``: put it in force whatever the gate says."""
        tables, settings, tracking = self.tables, self.settings, self.work.tracking
        if not (settings.store.snapshot_files(tables.state) / f"{day}.json").exists():
            snapshots.build(tables, self.business, settings, day)
        champion = ledger.champion(tables.state, settings.name, day, settings.question.meaning)
        record = models.train(tables, tracking, settings, day, day, trigger, why)
        decision = protocol.PROMOTE if force else record["decision"]
        if decision != record["decision"]:
            promotion.record_decision(
                tables, tracking, settings, gate.Decision(protocol.PROMOTE, "unasked"), record, {},
                decided_on=str(day), trigger=trigger, asked_by=why,
                parent=champion and champion["model_version"],
            )  # fmt: skip
        policy.trained.append((day, decision, why))
        self.tell(f"{day} {decision}: {why}")

    def outcomes(self) -> pd.DataFrame:
        """What came of every customer scored in two years, as known at the end."""
        parts = []
        for day in LOOKS:
            gold = literal(self.tables.day_file(self.settings.gold, day))
            known = labelled(self.settings.question, f"(from {gold})", day, LAST)
            parts.append(
                self.tables.db.execute(
                    f"select {self.settings.question.entity}, as_of, label from ({known})"
                ).df()
            )
        return pd.concat(parts)


@dataclass
class Tried:
    """What was found of one shop.

    ``performance``: of the sensors; ``known_on``: when the first week of the model that was forced
    is known.
    """

    name: str
    economics: Economics
    entity: str
    known_on: dt.date
    policies: dict[str, Policy] = field(default_factory=dict)
    outcomes: pd.DataFrame = field(default_factory=pd.DataFrame)
    performance: pd.DataFrame = field(default_factory=pd.DataFrame)
    rolled_back: list[tuple[str, dt.date]] = field(default_factory=list)


def gone_through(policies: list[str], scenario: str, seed: int, shop: Business) -> Tried:
    """One shop through two years, by each policy."""
    with at_work(shop) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        question, name = settings.question, f"{scenario} {seed}"
        one = Shop(work, tables, lambda text: _tell(f"    {name}: {text}"))
        known_on = question.horizon.label_known_on(FORCED + DAY * first_week.DAYS)
        result = Tried(name, settings.economics, question.entity, known_on)
        if policies != [BAD]:
            build_days(tables, settings.gold, question.features, LOOKS)
            result.outcomes = one.outcomes()
        for policy in policies:
            _tell(f"  {name}, {policy}")
            if policy == BAD:
                result.rolled_back = one.rolled_back()
            else:
                result.policies[policy] = one.tried(policy)
            if policy == SENSORS:
                files = read_files(
                    tables.day_files(performance.settings.store.performance, LAST).values()
                )
                result.performance = tables.db.execute(f"from {files} where feature is null").df()
        return result


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def earned(shops: list[Tried], policy: str, other: str | None = None) -> dict[str, float]:
    """Profit a customer and week, in customers' values, of a policy; or by how much it is above
    another's.
    """
    rows = pd.concat([_forecast(shop, policy, other) for shop in shops])
    profit = metrics.profit(shops[0].economics)
    if other is None:
        of = rows["label"], rows["churn_probability"], rows["customer"]
        return metrics.evaluate(*of, metrics={"profit": profit})["profit"]
    return metrics.paired_difference(
        rows["label"],
        rows["churn_probability"],
        rows["churn_probability_other"],
        rows["customer"],
        profit,
    )


def _forecast(shop: Tried, policy: str, other: str | None) -> pd.DataFrame:
    """Outcomes of a shop beside what a policy forecast, and another."""
    keys = [shop.entity, "as_of"]
    rows = shop.outcomes.merge(shop.policies[policy].forecast, on=keys)
    if other:
        rows = rows.merge(shop.policies[other].forecast, on=keys, suffixes=("", "_other"))
    return rows.assign(customer=f"{shop.name} " + rows[shop.entity].astype(str))


def worth(result: list[Tried]) -> str:
    """What each policy did in each shop and in all of them, and what it earned."""
    lines = [
        "| shop | policy | trainings | put in force | profit | above monthly |",
        "|---" * 6 + "|",
    ]
    groups = {shop.name: [shop] for shop in result}
    for message, shops in (
        groups | {f"all {len(result)}": result} if len(result) > 1 else groups
    ).items():
        for name in shops[0].policies:
            of = [shop.policies[name].trained for shop in shops]
            promoted = sum(
                decision == protocol.PROMOTE for trained in of for _, decision, _ in trained
            )
            more = _cell(earned(shops, name, MONTHLY), "+") if name != MONTHLY else ""
            shown = [message, name, sum(map(len, of)), promoted, _cell(earned(shops, name)), more]
            lines.append(f"| {' | '.join(map(str, shown))} |")
    return "\n".join(lines)


def self_knowledge(result: list[Tried]) -> str:
    """By shop, how far what forecasts expected of themselves was from what came, over its weeks."""
    heads = ["shop", "weeks", "AUC: median error", "9 of 10 within", "bias"]
    heads += ["churn rate: median error", "9 of 10 within", "bias", "weeks within the interval"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for shop in result:
        rows = shop.performance[shop.performance["model_version"] != protocol.RULES]
        rows = rows.sort_values("measured_on").assign(expected=rows["kind"] == protocol.EXPECTED)
        keys = ["as_of", "metric"]
        pairs = rows[rows["expected"]].merge(
            rows[~rows["expected"]].drop_duplicates(keys, keep="last"),
            on=keys,
            suffixes=("", "_came"),
        )
        cells = [shop.name, str(pairs["as_of"].nunique())]
        for metric in ("auc", "base_rate"):
            of = pairs[pairs["metric"] == metric]
            error = of["value"] - of["value_came"]
            cells += [
                f"{error.abs().median():.3f}",
                f"{error.abs().quantile(0.9):.3f}",
                f"{error.mean():+.3f}",
            ]
        of = pairs[pairs["metric"] == "base_rate"]
        cells.append(f"{of['value_came'].between(of['low'], of['high']).mean():.0%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def undone(result: list[Tried]) -> str:
    """What became of the champions that were forced, and of those before them."""
    heads = [
        "shop",
        "put in force on",
        "its first week is known on",
        "rolled back on",
        "others rolled back",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for shop in result:
        message = [str(day) for version, day in shop.rolled_back if version == UPSIDE_DOWN] or [
            "never"
        ]
        others = sum(version != UPSIDE_DOWN for version, _ in shop.rolled_back)
        cells = [shop.name, FORCED, shop.known_on, ", ".join(message), others]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _cell(result: dict[str, float], sign: str = "") -> str:
    value, low, high = (format(result[name], f"{sign}.4f") for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def main() -> None:
    """The command line."""
    parser = arguments(__doc__, ",".join((CALM, *SHIFTS)), seeds=1, customers=3_000)
    parser.add_argument("--policies", default=",".join(POLICIES))
    given = parser.parse_args()
    policies = given.policies.split(",")
    result = list(tried(partial(gone_through, policies), LAST, given))
    path = ROOT / "docs" / "retraining.md"
    two_years, heading, first_weeks = path.read_text(encoding="utf-8").partition("\n## A champion")
    of = {
        "command": f'make bench-retraining ARGS="{shlex.join(sys.argv[1:])}"',
        "customers": f"{given.customers:,}", "begun": BEGUN,
    }  # fmt: skip
    if policies != [BAD]:
        message = "; ".join(POLICIES[name] for name in policies if name != BAD)
        two_years = TEXT.format(
            **of, worth=worth(result), itself=self_knowledge(result), policies=message
        )
    if BAD in policies:
        heading, first_weeks = "", UNDONE.format(**of, undone=undone(result))
    path.write_text(two_years + heading + first_weeks, encoding="utf-8")


if __name__ == "__main__":
    main()
