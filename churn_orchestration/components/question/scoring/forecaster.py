"""What scores a day, and the probabilities that it gives: the champion; before any, a process, the
rules or a rate.
"""

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.grading import gate
from churn_orchestration.churn.protocol import BASE_RATE, PROCESS, RULES, UNTRAINED
from churn_orchestration.churn.question.labels import INACTIVITY
from churn_orchestration.churn.question.settings import CAPACITY, PROFIT
from churn_orchestration.churn.watching.measures import churned_at
from churn_orchestration.components.question.processes import process_of_day
from churn_orchestration.storage import ledger
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from churn_orchestration.churn.learners import LogOddsBlend
    from churn_orchestration.churn.process.gold import DayProcess
    from churn_orchestration.components.question.question import QuestionSettings

NORMAL, LOW = "normal", "low"
AT_ONCE = 100_000  # rows that are forecast: members hold several times as much of them


@dataclass(frozen=True)
class Forecaster:
    """What scores a day: a model and its record; without a model a purchase process, the rules, or
    the known churn rate.

    ``unstable``: topics of reasons about which refitted models disagree, which are not named.
    ``contact_threshold``: the probability from which on a customer is contacted; None: the capacity
    decides, or nobody knows, see ``contact``.
    """

    version: str
    model: "LogOddsBlend | None" = None
    process: "DayProcess | None" = None
    base_rate: float | None = None
    contact_threshold: float | None = None
    unstable: tuple[str, ...] = ()

    @property
    def confidence(self) -> str:
        """How far to trust its probabilities: they were graded on rows unseen, or never."""
        return LOW if self.version in UNTRAINED else NORMAL

    @classmethod
    def in_force(cls, tables: Tables, settings: "QuestionSettings", as_of: dt.date) -> "Forecaster":
        """The champion by the ledger as of the day; before any, what does without a model."""
        champion = ledger.champion(tables.state, settings.name, as_of, settings.question.meaning)
        version = champion["model_version"] if champion else None
        return cls.named(tables, settings, version, as_of)

    @classmethod
    def named(
        cls,
        tables: Tables,
        settings: "QuestionSettings",
        version: str | None,
        as_of: dt.date,
    ) -> "Forecaster":
        """A model version; None: what does without a model on the day."""
        if version is None:
            threshold = settings.economics.cut if settings.contact.by == PROFIT else None
            return replace(_untrained(tables, settings, as_of), contact_threshold=threshold)
        files = ModelFiles(tables.state, settings.name, version)
        return cls.of(tables, settings, files.record(), files.model())

    @classmethod
    def of(
        cls,
        tables: Tables,
        settings: "QuestionSettings",
        record: dict[str, Any],
        model: "LogOddsBlend",
    ) -> "Forecaster":
        """A trained model; its held-out forecasts decide whom to contact."""
        version = record["model_version"]
        return cls(
            version,
            model,
            base_rate=record["base_rate"],
            contact_threshold=_contact_threshold(tables, settings, version),
            unstable=tuple(
                topic
                for topic, of in record.get("stability", {}).get("topics", {}).items()
                if not of["stable"]
            ),
        )


def _contact_threshold(tables: Tables, settings: "QuestionSettings", version: str) -> float | None:
    """The probability from which on a customer is contacted, chosen on its held-out
    forecasts.
    """
    from churn_orchestration.churn.grading import contact

    held_out = ModelFiles(tables.state, settings.name, version).held_out()
    if settings.contact.by in (PROFIT, CAPACITY):
        return contact.threshold(settings.contact, held_out, settings.economics)
    if held_out.empty:
        return None
    return contact.threshold(
        settings.contact,
        contact.choose_and_report_rows(held_out, settings.question.entity)[0],
        settings.economics,
    )


def _untrained(tables: Tables, settings: "QuestionSettings", as_of: dt.date) -> Forecaster:
    """What scores a day without a model: a purchase process, the rules, or the known churn rate."""
    question = settings.question
    report = ledger.newest_report(tables.state, settings.name, as_of, question.meaning)
    usual = PROCESS if question.kind == INACTIVITY else BASE_RATE
    by = gate.better_untrained(report, usual)
    if by == PROCESS and (file := tables.day_file(settings.gold, as_of)):
        if process := process_of_day(tables, question, f"(from {literal(file)})"):
            return Forecaster(PROCESS, process=process)
        by = gate.better_untrained(report, RULES, without=PROCESS)
    if by == BASE_RATE:
        rate = known_rate(tables, settings, as_of)
        if rate is not None or not question.activity:
            return Forecaster(BASE_RATE, base_rate=rate)
    return Forecaster(RULES)


def known_rate(tables: Tables, settings: "QuestionSettings", as_of: dt.date) -> float | None:
    """The churn rate of the newest day whose outcome is known at the end of ``as_of``; None: of
    none yet.
    """
    if label := settings.question.label:
        return tables.rows(label.rate_at(as_of))[0][0]
    newest = settings.question.horizon.newest_as_of(as_of)
    [(customers, churned)] = tables.rows(churned_at(settings.question, newest, as_of))
    # Half a customer more of each kind: of a few who all stayed, nobody can say that none ever
    # leaves.
    return (churned + 0.5) / (customers + 1) if customers else None


def forecast(settings: "QuestionSettings", frame: "pd.DataFrame", by: Forecaster) -> "np.ndarray":
    """Probabilities of feature rows, in their order: of the model, of the rules, or the known churn
    rate.
    """
    import numpy as np

    from churn_orchestration.churn.rules import rules_forecast

    if by.model is not None:
        parts, names = list[np.ndarray](), list(by.model.feature_names_in_)
        for start in range(0, len(frame), AT_ONCE):
            part = frame.iloc[start : start + AT_ONCE]
            features, probability = part[names].astype(float), np.empty(len(part))
            for rows, model in by.model.for_entities(part[settings.question.entity]):
                probability[rows] = model.predict_proba(features[rows])[:, 1]
            parts.append(probability)
        return np.concatenate(parts)
    if by.process is not None:
        from scipy.special import expit

        return expit(by.process.log_odds(frame))
    if by.version == BASE_RATE:
        return np.full(len(frame), by.base_rate, float)
    return rules_forecast(settings.question, frame).to_numpy()
