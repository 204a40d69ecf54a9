"""Whether a candidate may score: a decision with its reason, from evidence on later, matured days."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from churn_orchestration.churn.evaluation import Evaluation

PROMOTE, REFUSE, BACKTEST = "promote", "refuse", "backtest"


@dataclass(frozen=True)
class Decision:
    """``promote`` or ``refuse``, and why."""

    decision: str
    reason: str


def decide(evaluation: "Evaluation | None") -> Decision:
    """Promote a candidate whose log loss on later days is below that of the rules and of a constant.

    The upper end of the 95 % interval of the paired difference decides: a lead that could be chance is none.
    """
    if evaluation is None:
        return Decision(REFUSE, "no later as_of with a matured label to test on: more history is needed")
    for peer, difference in evaluation.differences.items():
        if not difference["high"] < 0:  # nor where it is not a number
            return Decision(
                REFUSE,
                f"log loss is not below that of the {peer}: difference {difference['value']:+.4f} "
                f"[{difference['low']:+.4f}, {difference['high']:+.4f}]",
            )
    led = "; ".join(
        f"{difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}] against the {peer}"
        for peer, difference in evaluation.differences.items()
    )
    return Decision(PROMOTE, f"log loss on later days: {led}")
