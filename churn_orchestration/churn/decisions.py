"""Whether a candidate may score: a decision with its reason, from evidence on rows that it has not seen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from churn_orchestration.churn.evaluation import Evaluation

PROMOTE, KEEP, REFUSE = "promote", "keep", "refuse"
BACKTEST, ROLL_BACK = "backtest", "roll back"
RULES, BASE_RATE = "rules", "base_rate"
"""The ``model_version`` of scores while no model is champion: by the rules, or by the known churn rate."""
INITIAL, MANUAL, SCHEDULED, DRIFT, PERFORMANCE = "initial", "manual", "scheduled", "drift", "performance"
"""Why a model was trained."""
ENTITY_FOLDS = 5
OUT_OF_FOLD = f"out of fold, not out of time ({ENTITY_FOLDS} folds of entities by hash)"
"""How a question is graded whose outcome has no later day."""


@dataclass(frozen=True)
class Decision:
    """``promote`` or ``refuse``, and why."""

    decision: str
    reason: str


def decide(evaluation: "Evaluation | None") -> Decision:
    """Promote a candidate whose log loss on rows that it has not seen is below that of its peers.

    Its peers are the rules, where there are rules, and a constant. The upper end of the 95 % interval of the
    paired difference decides: a lead that could be chance is none.
    """
    if evaluation is None:
        return Decision(REFUSE, "no later as_of with a matured label to test on: more history is needed")
    graded = f" {evaluation.caveat}" if evaluation.caveat else ""
    for peer, difference in evaluation.differences.items():
        if not difference["high"] < 0:  # nor where it is not a number
            return Decision(
                REFUSE,
                f"log loss{graded} is not below that of the {peer}: difference {difference['value']:+.4f} "
                f"[{difference['low']:+.4f}, {difference['high']:+.4f}]",
            )
    led = "; ".join(
        f"{difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}] against the {peer}"
        for peer, difference in evaluation.differences.items()
    )
    return Decision(PROMOTE, f"log loss{graded or ' on later days'}: {led}")
