"""The rows of predictions: probability, band, reasons and whom to contact."""

import datetime as dt
from typing import TYPE_CHECKING

from churn_orchestration.churn import bound
from churn_orchestration.churn.protocol import BASE_RATE, FACTORS
from churn_orchestration.churn.question.labels import population
from churn_orchestration.churn.question.settings import CAPACITY
from churn_orchestration.churn.sql import identifier, quoted
from churn_orchestration.churn.value.question import SPEND
from churn_orchestration.components.question.scoring.forecaster import (
    Forecaster,
    forecast,
    known_rate,
)
from churn_orchestration.components.question.scoring.issued import issue
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from churn_orchestration.components.question.question import QuestionSettings


def score(
    settings: "QuestionSettings", frame: "pd.DataFrame", words: "pd.DataFrame", by: Forecaster
) -> "pd.DataFrame":
    """Probability, band and reasons of each feature row, in its order.

    Parameters
    ----------
    frame : the population's feature rows of one as_of
    words : the feature catalogue, indexed by feature
    by : what scores them
    """
    from churn_orchestration.churn.learning.bands import band

    if frame.empty:
        columns = ["churn_probability", "band", *_worded(settings)]
        columns += ["model_version", "label_known_on"]
        columns += ["days_since_last", "recent_value", "contact", "confidence"]
        return frame[[settings.question.entity, "as_of"]].reindex(
            columns=[settings.question.entity, "as_of", *columns]
        )
    probability = forecast(settings, frame, by)
    horizon = settings.question.horizon
    known_on = {day: horizon.label_known_on(day.date()) for day in frame["as_of"].unique()}
    base_rate = (by.base_rate or float(probability.mean())) if settings.relative_bands else None
    return frame[[settings.question.entity, "as_of"]].assign(
        churn_probability=probability,
        band=band(probability, settings.edges, base_rate),
        **_reasons(settings, frame, words, by, probability),
        model_version=by.version,
        label_known_on=frame["as_of"].map(known_on),
        days_since_last=frame[settings.silence] if settings.silence else None,
        recent_value=frame[settings.value],
        contact=_contacted(settings, frame, probability, by),
        confidence=by.confidence,
    )


def _contacted(
    settings: "QuestionSettings", frame: "pd.DataFrame", probability: "np.ndarray", by: Forecaster
) -> "np.ndarray | None":
    """Who is contacted; None where no model was graded to say from which probability on."""
    import pandas as pd

    from churn_orchestration.churn.grading import contact

    if by.contact_threshold is None and settings.contact.by != CAPACITY:
        return None
    scored = pd.DataFrame(
        {"model": probability, "recent_value": frame[settings.value].to_numpy(float)}
    )
    return contact.contacted(settings.contact, scored, by.contact_threshold, settings.economics)


def _reasons(
    settings: "QuestionSettings",
    frame: "pd.DataFrame",
    words: "pd.DataFrame",
    by: Forecaster,
    probability: "np.ndarray",
) -> "dict[str, np.ndarray]":
    """What speaks for each forecast, and FACTORS where they are declared; beyond MOST_EXPLAINED
    rows, for those with the most at stake, and None for the others.
    """
    import numpy as np

    at_stake = np.nan_to_num(probability * frame[settings.value].to_numpy(float), nan=-np.inf)
    places = np.sort(np.lexsort((-probability, -at_stake))[: bound.MOST_EXPLAINED])
    result = {}
    of_places = _why(settings, frame, frame.iloc[places], words, by)
    for name, of_each in of_places.items():
        result[name] = np.full(len(frame), None, object)
        for place, why in zip(places, of_each, strict=True):
            result[name][place] = why
    return result


def _why(
    settings: "QuestionSettings",
    everybody: "pd.DataFrame",
    frame: "pd.DataFrame",
    words: "pd.DataFrame",
    by: Forecaster,
) -> dict[str, list[list[str]]]:
    """What speaks for the forecasts of ``frame``, some of everybody, in words; a known churn rate
    has no reasons.
    """
    from churn_orchestration.churn.learning.reasons import factors, reasons

    moved = moves(settings, everybody, frame, by)
    if moved is None:
        return dict.fromkeys(_worded(settings), [[]] * len(frame))
    result = {"reasons": reasons(moved, frame, words, among=everybody, withheld=by.unstable)}
    if settings.reasons.factors:
        of_each = factors(moved, frame, words, among=everybody, withheld=by.unstable)
        result |= dict(zip(FACTORS, of_each, strict=True))
    return result


def _worded(settings: "QuestionSettings") -> list[str]:
    """The columns that say in words why a forecast is as it is."""
    return ["reasons", *(FACTORS if settings.reasons.factors else ())]


def moves(
    settings: "QuestionSettings", everybody: "pd.DataFrame", frame: "pd.DataFrame", by: Forecaster
) -> "pd.DataFrame | None":
    """What each feature adds to the log odds of the rows of ``frame``, some of everybody; None: of
    a known churn rate.
    """
    import pandas as pd
    from scipy.special import logit

    if by.model is not None:
        from churn_orchestration.churn.learning.contributions import (
            of_entities,
        )  # imports every learner

        features = frame[list(by.model.feature_names_in_)].astype(float)
        return of_entities(by.model, features, frame[settings.question.entity])
    if by.process is not None:
        return by.process.contributions(frame)
    if by.version == BASE_RATE:
        return None
    odds, usual = (logit(forecast(settings, rows, by)) for rows in (frame, everybody))
    # Both features of the rules are of one topic, the silence.
    return pd.DataFrame({settings.silence: odds - usual.mean()})


def score_days(
    tables: Tables, settings: "QuestionSettings", days: list[dt.date]
) -> tuple[dict[dt.date, int], dict[dt.date, Refusal]]:
    """Store the predictions of each day whose features are valid; rows by day, and the refused
    days.
    """
    faults = tables.days.faults(settings.gold, min(days), max(days)) if days else {}
    if settings.spend and days:
        faults = tables.days.faults(settings.value, min(days), max(days)) | faults
    refused: dict[dt.date, Refusal] = {
        day: reason
        for day in days
        if (reason := faults.get(day) or _unanswerable(tables, settings, day))
    }
    valid = [day for day in days if day not in refused]
    words = catalogue_words(tables, settings) if valid else None  # made with the first gold day
    rows = {}
    for day in valid:
        frame = tables.db.execute(
            population(settings.question, _described(tables, settings, day), day)
            + f" order by {identifier(settings.question.entity)}"
        ).df()
        scored = score(settings, frame, words, Forecaster.in_force(tables, settings, day))
        rows[day] = write(tables, settings, day, scored, backtest=False)
    return rows, refused


def _described(tables: Tables, settings: "QuestionSettings", day: dt.date) -> str:
    """SQL, in brackets: the feature rows of a day; with what each is expected to spend, where that
    is the value.
    """
    rows = f"from {literal(tables.day_file(settings.gold, day))}"
    if settings.spend:
        entity, file = identifier(settings.question.entity), tables.day_file(settings.value, day)
        spend = f"select {entity}, {SPEND} as {quoted(settings.value)} from {literal(file)}"
        rows += f" left join ({spend}) using ({entity})"
    return f"({rows})"


def _unanswerable(tables: Tables, settings: "QuestionSettings", day: dt.date) -> Refusal | None:
    """Why a day may not be scored though its features are valid: who left does not, no label is
    known, or nobody's value.
    """
    if settings.spend and tables.recorded_file(settings.value, day) is None:
        return f"{settings.value} has no rows of {day}"
    for table in settings.question.outcome_tables:
        if fault := tables.days.fault(table, tables.days.first_day(table) or day, day):
            return fault
    if (label := settings.question.label) and known_rate(tables, settings, day) is None:
        return f"{label.table} says of nobody whether {label.condition}"
    return None


def write(
    tables: Tables,
    settings: "QuestionSettings",
    day: dt.date,
    scored: "pd.DataFrame",
    *,
    backtest: bool,
) -> int:
    """Store the predictions of one day, one row per entity in its order; an empty day keeps the
    types.
    """
    entity, base = identifier(settings.question.entity), settings.question.base
    kind = tables.columns(base.table)[base.entity]
    factors = "".join(f" {name}::varchar[] as {name}," for name in FACTORS if name in scored)
    tables.db.register("_scored", scored)
    select = f"""
select {entity}::{kind} as {entity}, as_of::date as as_of, \
churn_probability::double as churn_probability,
  band::varchar as band, reasons::varchar[] as reasons,{factors}
  model_version::varchar as model_version,
  label_known_on::date as label_known_on, days_since_last::bigint as days_since_last,
  recent_value::double as recent_value, contact::boolean as contact, \
confidence::varchar as confidence,
  {backtest} as backtest
from _scored order by {entity}"""
    rows = issue(tables, settings, day, select, backtest=backtest)
    tables.db.unregister("_scored")
    return rows


def catalogue_words(tables: Tables, settings: "QuestionSettings") -> "pd.DataFrame":
    """The catalogue of the question's features, indexed by feature."""
    return tables.db.execute(f"from {settings.gold}_catalogue").df().set_index("feature")
