"""How rarely and how soon drift is reported: writes docs/drift.md. Run: python -m benchmarks.drift

Each seed is another shop of `examples/shop`, with windows of 7, 30 and 90 days: a model is trained
on its history, then each day after it is scored and judged by the functions of the assets. Beside
the product's alarms stand those of others: PSI above 0.2, Kolmogorov-Smirnov with p < 0.05, on the
same features and days.
"""

import datetime as dt
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from scipy.stats import ks_2samp

from benchmarks.results import ROOT
from benchmarks.shops import arguments, tried
from churn_orchestration.business import Business
from churn_orchestration.churn.protocol import BACKTEST
from churn_orchestration.churn.question.labels import population
from churn_orchestration.components.features.feature_table import build_days
from churn_orchestration.components.question.day_rows import read_files
from churn_orchestration.components.question.monitoring import drift
from churn_orchestration.components.question.monitoring.reference import SCORE, Reference
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.scoring.forecaster import Forecaster
from churn_orchestration.components.question.scoring.scores import catalogue_words, score, write
from churn_orchestration.components.question.training import model as models
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.runs import at_work
from churn_orchestration.storage.warehouse import Tables, literal

CUTOFF, LAST = dt.date(2024, 6, 20), dt.date(2024, 8, 19)
CHANGED = {
    "price_rise": dt.date(2024, 7, 1),
    "crisis": dt.date(2024, 8, 1),
    "harmless": dt.date(2024, 8, 1),
}
HARMFUL = {"price_rise": ("orders_amount",), "crisis": ("deliveries_", "reviews_")}
"""What a change moves first: the amounts, or deliveries and what is said of them."""
WITHIN, TOP, KS_EVERY, KS_ROWS = 7, 3, 10, 5_000


@dataclass
class Found:
    """What was told of one shop."""

    scenario: str
    features: int = 0
    days: list[dt.date] = field(default_factory=list)
    alarms: dict[dt.date, list[str]] = field(default_factory=dict)
    harmful: dict[dt.date, list[str]] = field(default_factory=dict)
    psi: set[dt.date] = field(default_factory=set)
    ks: dict[dt.date, float] = field(default_factory=dict)

    @property
    def quiet(self) -> list[dt.date]:
        """The days before anything changed."""
        return [day for day in self.days if day < CHANGED.get(self.scenario, dt.date.max)]

    def seen_after(self) -> int | None:
        """Days from the change to one whose first alarms name what it moved; None: never within
        WITHIN.
        """
        began = CHANGED[self.scenario]
        for day in self.days:
            named = self.alarms.get(day, [])[:TOP]
            if 0 <= (day - began).days <= WITHIN and any(
                n.startswith(HARMFUL[self.scenario]) for n in named
            ):
                return (day - began).days
        return None


def watched(scenario: str, seed: int, shop: Business) -> Found:
    """One shop: trained at the cut-off, then each day after it scored and judged by the assets'
    functions.
    """
    days = [CUTOFF + dt.timedelta(days=number) for number in range(1, (LAST - CUTOFF).days + 1)]
    with at_work(shop) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        snapshots.build(tables, shop, settings, CUTOFF)
        record = models.train(
            tables, work.tracking, settings, CUTOFF, CUTOFF, BACKTEST, "benchmarks.drift"
        )
        reference = Reference.of(tables, settings, record["model_version"])
        build_days(tables, settings.gold, settings.question.features, days)
        by, words = (
            Forecaster.of(tables, settings, record, reference.model),
            catalogue_words(tables, settings),
        )
        for day in days:
            gold = literal(tables.day_file(settings.gold, day))
            frame = tables.db.execute(population(settings.question, f"(from {gold})", day)).df()
            write(tables, settings, day, score(settings, frame, words, by), backtest=True)
            drift.measure(tables, settings, day, reference)
        result = _told(tables, settings, Found(scenario, days=days))
    quiet = [(str(day), result.alarms[day][:TOP]) for day in result.quiet if result.alarms[day]]
    seen = result.seen_after() if scenario in HARMFUL else None
    sys.stderr.write(f"  {scenario} {seed}: alarms on quiet days {quiet}; seen after {seen} days\n")
    return result


def _told(tables: Tables, settings: QuestionSettings, result: Found) -> Found:
    """What the tables of the days hold."""
    files = read_files(tables.day_files(drift.settings.store.drift, LAST).values())
    rows = tables.rows(
        f"select measured_on, feature, alarm, verdict, measure, value from {files} "
        "order by measured_on, abs(effect) desc, feature"
    )
    for day, feature, alarm, verdict, measure, value in rows:
        for named, is_named in ((result.alarms, alarm), (result.harmful, verdict == drift.HARMFUL)):
            named.setdefault(day, []).extend([feature] if is_named else [])
        result.psi |= {day} if measure == "psi" and value > 0.2 else set()
    names = sorted({feature for _, feature, *_ in rows} - {SCORE})
    result.features = len(names)
    result.ks = dict(_kolmogorov_smirnov(tables, settings, names))
    return result


def _kolmogorov_smirnov(
    tables: Tables, settings: QuestionSettings, features: list[str]
) -> Iterator[tuple[dt.date, float]]:
    """Of some days: the share of features of which Kolmogorov-Smirnov says p < 0.05."""
    entity = settings.question.entity
    snapshot, _ = snapshots.load(settings.store.snapshot_files(tables.state), CUTOFF)
    before = snapshot.sample(min(KS_ROWS, len(snapshot)), random_state=1)
    for number in range(1, (LAST - CUTOFF).days, KS_EVERY):
        day = CUTOFF + dt.timedelta(days=number)
        scored = literal(tables.day_file(settings.store.forecasts, day))
        gold = literal(tables.day_file(settings.gold, day))
        now = tables.db.execute(f"from {gold} semi join {scored} using ({entity})").df()
        pairs = [(before[name].dropna(), now[name].dropna()) for name in features]
        said = [ks_2samp(*pair).pvalue < 0.05 for pair in pairs if len(pair[0]) and len(pair[1])]
        yield day, sum(said) / len(said)


def table(result: list[Found]) -> str:
    """What was told, by scenario."""
    heads = [
        "scenario", "shops", "features", "quiet days with an alarm", "with a harmful one",
        "PSI > 0.2", "features with KS p < 0.05",
        "the right feature among the first three within 7 days", "after days",
    ]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for scenario in dict.fromkeys(each.scenario for each in result):
        of = [each for each in result if each.scenario == scenario]
        days = [(each, day) for each in of for day in each.quiet]
        alarmed = sum(bool(each.alarms[day]) for each, day in days)
        harmful = sum(bool(each.harmful[day]) for each, day in days)
        psi = sum(day in each.psi for each, day in days)
        ks = [share for each in of for day, share in each.ks.items() if day in each.quiet]
        seen = [each.seen_after() for each in of] if scenario in HARMFUL else []
        hits = [after for after in seen if after is not None]
        of_days = [
            f"{hit} of {len(days)} ({hit / len(days):.1%})" for hit in (alarmed, harmful, psi)
        ]
        message = f"{len(hits)} of {len(seen)}" if seen else "-"
        after = f"{min(hits)} to {max(hits)}" if hits else "-"
        cells = [
            scenario,
            len(of),
            of[0].features,
            *of_days,
            f"{sum(ks) / len(ks):.0%}",
            message,
            after,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    given = arguments(
        __doc__, "price_rise,calm,crisis,harmless", seeds=5, customers=5_000
    ).parse_args()
    result = list(tried(watched, LAST, given))
    text = f"""# Drift: how rarely it is reported, and how soon

Made by `make bench-drift ARGS="--seeds {given.seeds} --scenarios {given.scenarios}"`.
Shops of {given.customers:,} customers, each a seed of a scenario, watched day by
day up to {LAST} by a model trained on what was known on {CUTOFF}. Quiet days are
those before anything changes. PSI and Kolmogorov-Smirnov are reported as many use them,
  on the same features and days.

"""
    path = ROOT / "docs" / "drift.md"
    _, heading, others = path.read_text(encoding="utf-8").partition(
        "\n## "
    )  # sections of other benchmarks
    path.write_text(text + table(result) + "\n" + heading + others, encoding="utf-8")


if __name__ == "__main__":
    main()
