"""Which code decides the rows of which tables, and whether it means what it meant when they were
computed.

``meanings.yaml`` is the record: of each stage its meanings, oldest first, each with the hashes of
the code that has it. After an edit, `python -m churn_orchestration.stages` says which stages are
not in it any more.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import yaml

from churn_orchestration.stages.trees import Code

PACKAGE = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("meanings.yaml")
"""The hashes of the code of each stage, and what a new one changed."""

RAW, BRONZE, SILVER, DAYS, GOLD = "raw", "bronze", "silver", "days", "gold"
SNAPSHOTS, MODELS, PREDICTIONS = "snapshots", "models", "predictions"
GRADED, PERFORMANCE, FIRST_WEEK, DRIFT, MEASURES, VALUES, SEGMENTS, AXES, MARTS, ACTIONS, EFFECT = (
    "graded",
    "performance",
    "first_week",
    "drift",
    "measures",
    "values",
    "segments",
    "axes",
    "marts",
    "actions",
    "effect",
)
CHANGES, UPLIFT, OFFERS, RECOMMENDATIONS = "changes", "uplift", "offers", "recommendations"

ROOTS = {
    RAW: ["churn_orchestration.landing.land", "churn_orchestration.landing.queries"],
    BRONZE: ["churn_orchestration.components.source.judging"],
    SILVER: ["churn_orchestration.components.source.sql_tables"],
    DAYS: ["churn_orchestration.components.features.daily_parts"],
    GOLD: [
        "churn_orchestration.components.features.feature_history",
        "churn_orchestration.components.features.own_features",
    ],
    SNAPSHOTS: ["churn_orchestration.components.question.training.snapshot"],
    MODELS: ["churn_orchestration.components.question.training.model"],
    PREDICTIONS: ["churn_orchestration.components.question.scoring.prediction"],
    GRADED: ["churn_orchestration.components.question.monitoring.graded"],
    PERFORMANCE: ["churn_orchestration.components.question.monitoring.performance"],
    FIRST_WEEK: ["churn_orchestration.components.question.monitoring.first_week"],
    DRIFT: ["churn_orchestration.components.question.monitoring.drift"],
    MEASURES: ["churn_orchestration.components.question.measures"],
    VALUES: ["churn_orchestration.components.value.spend"],
    SEGMENTS: ["churn_orchestration.churn.segments.rules"],
    AXES: ["churn_orchestration.churn.segments.axes"],
    CHANGES: ["churn_orchestration.churn.segments.changes"],
    MARTS: ["churn_orchestration.components.marts.mart"],
    ACTIONS: ["churn_orchestration.components.campaign.lists"],
    EFFECT: ["churn_orchestration.components.campaign.effects"],
    UPLIFT: ["churn_orchestration.components.campaign.estimates"],
    OFFERS: ["churn_orchestration.components.offers.lists"],
    RECOMMENDATIONS: ["churn_orchestration.components.recommendations.rules"],
}
"""Where each stage begins: its modules are these and all that they import, but for WIRING."""

WIRING = (
    "churn_orchestration.automation",
    "churn_orchestration.business",
    "churn_orchestration.churn.features.source_rows",
    "churn_orchestration.churn.learning.what_if",
    "churn_orchestration.components.campaign.campaign",
    "churn_orchestration.components.campaign.campaign_specs",
    "churn_orchestration.components.campaign.outreach",
    "churn_orchestration.components.days",
    "churn_orchestration.report.declared",
    "churn_orchestration.components.faulty_files",
    "churn_orchestration.components.features.feature_specs",
    "churn_orchestration.components.features.feature_table",
    "churn_orchestration.components.features.fitness",
    "churn_orchestration.components.features.mart_features",
    "churn_orchestration.components.features.misfits",
    "churn_orchestration.components.features.proof",
    "churn_orchestration.components.offers.offers",
    "churn_orchestration.components.question.backtest",
    "churn_orchestration.components.question.churn_model",
    "churn_orchestration.components.day_table",
    "churn_orchestration.components.question.model_specs",
    "churn_orchestration.components.question.monitoring.drift_page",
    "churn_orchestration.components.question.scoring.issued",
    "churn_orchestration.components.question.store",
    "churn_orchestration.components.question.worth",
    "churn_orchestration.components.question.training.card",
    "churn_orchestration.components.question.training.promotion",
    "churn_orchestration.components.question.training.trigger",
    "churn_orchestration.components.recommendations.recommendations",
    "churn_orchestration.components.scaffolding",
    "churn_orchestration.components.segments",
    "churn_orchestration.components.shown",
    "churn_orchestration.components.source.doubts",
    "churn_orchestration.components.source.landed_at_once",
    "churn_orchestration.components.source.source_specs",
    "churn_orchestration.components.source.source_table",
    "churn_orchestration.components.source.sql_tests",
    "churn_orchestration.components.sql_tables",
    "churn_orchestration.components.value.value_model",
    "churn_orchestration.components.tree",
    "churn_orchestration.pictures",
    "churn_orchestration.service",
    "churn_orchestration.stages",
    "churn_orchestration.storage",
)
"""What keeps, shows, checks or declares rows, and decides none: no part of any stage.

YAML types are here because what they declare is compared by itself, with every stored day.
"""

LIBRARIES = {
    MODELS: (("lightgbm",), ("scikit-learn",), ("xgboost-cpu", "xgboost"), ("optuna",)),
    VALUES: (("lightgbm",), ("scikit-learn",)),
    UPLIFT: (("lightgbm",),),
    OFFERS: (("lightgbm",), ("scikit-learn",)),
}
"""The libraries whose release decides what a stage computes, each by the names of its
distributions.

Another LightGBM grows other trees on the same rows. What DuckDB and pandas compute for tables is
exact or defined, so a release of theirs changes no row, and history is not computed again for it.
"""


@dataclass(frozen=True)
class Meaning:
    """What the code of a stage computes: ``why`` that is other than before.

    ``code``: the hashes of the code that computes it, each with the reason for it; the first names
    it. ``libraries``: the releases with which it had that name.
    """

    why: str
    code: Mapping[str, str]
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The first hash, which stored rows name."""
        return next(iter(self.code))


class Version(NamedTuple):
    """What a stored day depends on: the hash of its declaration, its stage, and the identity of its
    code.

    >>> Version.parse(str(Version("d41d8cd9", "bronze", "9f3a1c2b"))).code
    '9f3a1c2b'
    >>> Version.parse("d41d8cd9")
    Version(declaration='d41d8cd9', stage=None, code=None)
    """

    declaration: str
    stage: str | None = None
    code: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Version":
        """The version that was written as ``text``, as Dagster keeps it."""
        declaration, *code = text.split()
        return cls(declaration, *code[0].split(":")) if code else cls(declaration)

    def __str__(self) -> str:
        return f"{self.declaration} {self.stage}:{self.code}" if self.stage else self.declaration


class Stages:
    """The stages of a package: their code as it is, and the record of what it has meant."""

    def __init__(self, code: Code, record: Path = RECORD) -> None:
        self.code, self.record = code, record
        self.meanings = _read(record)
        self.hash = cache(self._hash)

    def modules(self, stage: str) -> list[str]:
        """The modules that decide what a stage computes."""
        return self.code.reached(ROOTS[stage], WIRING)

    def _hash(self, stage: str) -> str:
        return self.code.hash(self.modules(stage))

    def identity(self, stage: str) -> str:
        """What the code of a stage is called: as when it first meant this; its hash where
        unrecorded.
        """
        meaning = self._meaning(stage, self.hash(stage))
        if meaning is None:
            return self.hash(stage)
        libraries = _libraries(stage)
        if meaning.libraries == libraries:
            return meaning.name
        return hashlib.sha256(f"{meaning.name} {libraries}".encode()).hexdigest()[:16]

    def equivalents(self, stage: str) -> list[str]:
        """What code of a stage may be called that computes what it computes now."""
        meaning = self._meaning(stage, self.hash(stage))
        return [self.identity(stage), *(meaning.code if meaning else ())]

    def first(self, stage: str) -> str:
        """What the code is called by which days were computed before it was kept with them."""
        return self.meanings[stage][0].name

    def why(self, stage: str, before: str) -> str:
        """Why rows that other code of a stage has computed are stale, in words; ``before``: its
        identity.
        """
        names = [meaning.name for meaning in self.meanings[stage]]
        now, then = self._meaning(stage, self.hash(stage)), self._meaning(stage, before)
        if now is None:
            return f"the code of {stage} was edited"
        if then is None:
            return f"it was computed by edited code of {stage}"
        since = self.meanings[stage][names.index(then.name) + 1 : names.index(now.name) + 1]
        if not since:
            return f"it was computed by the code of {stage} of a later version of the package"
        return f"the code of {stage} changed: {'; '.join(meaning.why for meaning in since)}"

    def unrecorded(self) -> list[str]:
        """The stages whose code is not in the record."""
        return [stage for stage in ROOTS if self._meaning(stage, self.hash(stage)) is None]

    def record_same(self, stage: str, reason: str) -> None:
        """Record that the code of a stage computes what its newest recorded code computes."""
        newest = self.meanings[stage][-1]
        code = {**newest.code, self.hash(stage): reason}
        self._record(stage, [*self.meanings[stage][:-1], replace(newest, code=code)])

    def record_changed(self, stage: str, why: str) -> None:
        """Record that the code of a stage computes something else now, so that its tables are
        recomputed.
        """
        newest = Meaning(why, {self.hash(stage): why}, _libraries(stage))
        self._record(stage, [*self.meanings.get(stage, []), newest])

    def _record(self, stage: str, meanings: list[Meaning]) -> None:
        self.meanings[stage] = meanings
        plain = {
            stage: [
                {k: v for k, v in asdict(meaning).items() if v} for meaning in self.meanings[stage]
            ]
            for stage in ROOTS
            if stage in self.meanings
        }
        text = yaml.safe_dump(plain, sort_keys=False, width=100, allow_unicode=True)
        self.record.write_text(text, encoding="utf-8")

    def _meaning(self, stage: str, code: str) -> Meaning | None:
        return next(
            (meaning for meaning in self.meanings.get(stage, []) if code in meaning.code), None
        )


@cache
def installed() -> Stages:
    """The stages of this package."""
    return Stages(Code(PACKAGE))


def identity(stage: str) -> str:
    """What the code of a stage of this package is called; see ``Stages.identity``."""
    return installed().identity(stage)


def version(declaration: str, stage: str) -> str:
    """What a stored day of a stage depends on, as Dagster keeps it; see ``Version``."""
    return str(Version(declaration, stage, identity(stage)))


def _read(record: Path) -> dict[str, list[Meaning]]:
    if not record.is_file():
        return {}
    result = yaml.safe_load(record.read_text(encoding="utf-8"))
    return {
        stage: [Meaning(**meaning) for meaning in meanings] for stage, meanings in result.items()
    }


def _libraries(stage: str) -> dict[str, str]:
    """The releases, major and minor, of the libraries that decide what a stage computes."""
    return {names[0]: _release(names) for names in LIBRARIES.get(stage, ())}


def _release(names: tuple[str, ...]) -> str:
    """The release of a library that is installed from one of several distributions."""
    for name in names:
        try:
            return ".".join(distribution(name).version.split(".")[:2])
        except PackageNotFoundError:
            continue
    raise PackageNotFoundError(" or ".join(names))
