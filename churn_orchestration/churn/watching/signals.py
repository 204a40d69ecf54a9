"""What speaks for retraining a model: seven signals, each with its evidence, from the monitored
state of a champion on a day.

A signal that lasts would train again and again what the gate does not promote. So age and outcomes
count from the last training, whatever became of it, and each training that was not promoted doubles
the days until the next for the same reason.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from churn_orchestration.churn.protocol import DRIFT, PERFORMANCE, SCHEDULED

OLD_DAYS = 90
MORE_LABELS = 0.5
CALIBRATION = 0.02  # of the calibration error, beyond what right probabilities would show
COOL_DOWN_DAYS = 14
"""Between two trainings; twice as long for each in vain for the same reason, OLD_DAYS at most."""

Interval = Mapping[str, float]
"""``value``, ``low`` and ``high`` of a metric, 95 %."""


@dataclass(frozen=True)
class ChampionState:
    """The monitored state of a champion, and of what was trained, at the end of a day.

    Parameters
    ----------
    day : the newest day that is watched
    version, cutoff : which model; where none is champion, what forecasts without one, and the last
        cut-off
    trained_on : the day of the last training, whatever was decided on it; ``as_ofs``: what it
        learned from
    in_vain : by trigger, how many trainings since the last promotion it requested, all not promoted
    features : what the champion reads; ``declared``: what the feature table has now
    graded : by metric, on held-out days, when it was trained
    matured : the newest as_of whose outcome is known
    realised : by metric, of its newest forecasts with an outcome, those of ``realised_as_of``
    foreseen : by metric, what was expected of those forecasts
    expected : by metric, what is expected of the forecasts of ``day``
    drifted : by feature, the harmful alarms of ``day`` in words, the strongest first
    follows : by feature, the open change in what landed that its alarm follows from
    previous_version, worse_first_week : where its first week was worse than without it: what was in
        force before, and by how much that would have been better, in words
    """

    day: dt.date
    version: str
    cutoff: dt.date
    trained_on: dt.date
    as_ofs: Sequence[dt.date]
    in_vain: Mapping[str, int]
    features: Sequence[str]
    declared: Sequence[str]
    matured: dt.date
    graded: Mapping[str, Interval] = field(default_factory=dict)
    realised_as_of: dt.date | None = None
    realised: Mapping[str, Interval] = field(default_factory=dict)
    foreseen: Mapping[str, Interval] = field(default_factory=dict)
    expected: Mapping[str, Interval] = field(default_factory=dict)
    drifted: Mapping[str, str] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)
    previous_version: str | None = None
    worse_first_week: str | None = None

    def cool_on(self, trigger: str) -> dt.date:
        """The first day on which a trigger may train again."""
        days = min(COOL_DOWN_DAYS * 2 ** self.in_vain.get(trigger, 0), OLD_DAYS)
        return self.trained_on + dt.timedelta(days=days)

    @property
    def unseen_as_ofs(self) -> float:
        """How many months of outcomes became known since the newest that the last training learned
        from.
        """
        return max(0.0, (self.matured - max(self.as_ofs)).days / 30.4)


@dataclass(frozen=True)
class Signal:
    """Why to train: the ledger's ``trigger``, and the evidence in words."""

    trigger: str
    evidence: str


def drift(state: ChampionState) -> Signal | None:
    """A feature drifted beyond the usual, and moves the scores."""
    if not state.drifted:
        return None
    strongest = list(state.drifted.values())[:3]
    return Signal(DRIFT, f"{len(state.drifted)} harmful on {state.day}: {'; '.join(strongest)}")


def performance(state: ChampionState) -> Signal | None:
    """What came is worse than what the training promised, chance ruled out."""
    for metric, better in (("auc", 1), ("log_loss", -1)):
        promised, came = state.graded.get(metric), state.realised.get(metric)
        if promised and came and _worse(came, promised, better):
            return Signal(
                PERFORMANCE,
                f"{metric} of {state.realised_as_of} came to {_words(came)}, when trained it was "
                f"{_words(promised)}",
            )
    return None


def expectation(state: ChampionState) -> Signal | None:
    """What the forecasts expect of themselves is worse than what the training promised."""
    promised, expected = state.graded.get("auc"), state.expected.get("auc")
    if promised and expected and _worse(expected, promised, 1):
        return Signal(
            PERFORMANCE,
            f"the auc to expect of {state.day} is {_words(expected)}, when trained it was "
            f"{_words(promised)}",
        )
    return None


def calibration(state: ChampionState) -> Signal | None:
    """The probabilities were off by clearly more than chance explains."""
    came, expected = (
        state.realised.get("calibration_error"),
        state.foreseen.get("calibration_error"),
    )
    if (
        came
        and expected
        and came["low"] > expected["high"]
        and came["value"] > expected["value"] + CALIBRATION
    ):
        return Signal(
            PERFORMANCE,
            f"the calibration error of {state.realised_as_of} came to {_words(came)}, expected was "
            f"{_words(expected)}",
        )
    return None


def age(state: ChampionState) -> Signal | None:
    """The last training was long ago."""
    days = (state.day - state.trained_on).days
    return Signal(SCHEDULED, f"it was trained {days} days ago") if days >= OLD_DAYS else None


def labels(state: ChampionState) -> Signal | None:
    """Half as many outcomes again as the last training had have become known since."""
    more = state.unseen_as_ofs / len(state.as_ofs)
    if more < MORE_LABELS:
        return None
    return Signal(
        SCHEDULED,
        f"{state.unseen_as_ofs:.1f} months of outcomes compared with the {len(state.as_ofs)} of "
        "the last training",
    )


def schema(state: ChampionState) -> Signal | None:
    """The feature table has other features than those it reads."""
    new = sorted(set(state.declared) - set(state.features))
    gone = sorted(set(state.features) - set(state.declared))
    message = [
        f"{word}: {', '.join(names[:3])}" for word, names in (("new", new), ("gone", gone)) if names
    ]
    return Signal(DRIFT, f"features are {'; '.join(message)}") if message else None


SIGNALS = {
    "drift": drift,
    "performance": performance,
    "expectation": expectation,
    "calibration": calibration,
    "age": age,
    "labels": labels,
    "schema": schema,
}
"""Name -> what looks for it."""
DESCRIPTIONS = {
    "drift": "A feature drifted beyond the usual, and moves the scores.",
    "performance": "What came is worse than what the training promised, chance ruled out.",
    "expectation": (
        "What the forecasts expect of themselves is worse than what the training promised."
    ),
    "calibration": "The probabilities were off by clearly more than chance explains.",
    "age": "The last training was long ago.",
    "labels": "Half as many outcomes again as the last training had have become known since.",
    "schema": "The feature table has other features than those it reads.",
}
"""Name -> when it requests a training, as the UI shows it."""


def why_quiet(name: str, state: ChampionState) -> str:
    """What a signal that does not speak measured, and its limit."""
    unknown = "no outcome of its forecasts is known yet"
    if name == "drift":
        return "no feature is beyond the usual and moves the scores"
    if name == "performance":
        both = [
            metric
            for metric in ("auc", "log_loss")
            if metric in state.graded and metric in state.realised
        ]
        message = (
            f"{m} {_words(state.realised[m])}, trained {_words(state.graded[m])}" for m in both
        )
        return (
            f"{'; '.join(message)}: worse only where the intervals do not meet" if both else unknown
        )
    if name == "expectation":
        promised, expected = state.graded.get("auc"), state.expected.get("auc")
        if not (promised and expected):
            return "nothing is expected of its forecasts yet"
        return (
            f"auc {_words(expected)}, trained {_words(promised)}: "
            "worse only where the intervals do not meet"
        )
    if name == "calibration":
        came, expected = (
            state.realised.get("calibration_error"),
            state.foreseen.get("calibration_error"),
        )
        if not (came and expected):
            return unknown
        return f"calibration error {_words(came)}, limit {expected['value'] + CALIBRATION:.3f}"
    if name == "age":
        return f"trained {(state.day - state.trained_on).days} days ago, limit {OLD_DAYS}"
    if name == "labels":
        more, limit = state.unseen_as_ofs, MORE_LABELS * len(state.as_ofs)
        return f"{more:.1f} months of new outcomes, limit {limit:.1f}"
    return f"the {len(state.declared)} features are those that it reads"


def what_is_new(state: ChampionState) -> str | None:
    """What a training would learn from that the last one has not; None: nothing."""
    if sorted(state.declared) != sorted(state.features):
        return "it would read the features as they are declared now"
    unseen = (state.matured - max(state.as_ofs)).days
    if unseen <= 0:
        return None
    return f"it would learn from outcomes of {unseen} more days, up to as_of {state.matured}"


def _worse(came: Interval, promised: Interval, better: int) -> bool:
    """Whether two intervals do not meet, on the worse side; ``better``: 1 if more is better, else
    -1.
    """
    if better > 0:
        return came["high"] < promised["low"]
    return came["low"] > promised["high"]


def _words(result: Interval) -> str:
    return f"{result['value']:.3f} [{result['low']:.3f}, {result['high']:.3f}]"
