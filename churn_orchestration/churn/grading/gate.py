"""Whether a candidate may score: a decision with its reason, from evidence on rows that it has not
seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.protocol import (
    BASE_RATE,
    KEEP,
    POWER_OF_AUC,
    PROCESS,
    PROMOTE,
    REFUSE,
    RULES,
)

if TYPE_CHECKING:
    from churn_orchestration.churn.grading.evaluation import Evaluation
    from churn_orchestration.churn.grading.versus import Versus

FEW_AS_OFS = 2
MOST_DROP = 0.15  # of AUC, from the rows that trained to later ones
SAME_FORECAST = 1e-9


@dataclass(frozen=True)
class Decision:
    """``promote`` or ``refuse``, and why."""

    decision: str
    reason: str


def decide(
    evaluation: "Evaluation | None",
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    more_as_ofs: int = 0,
    too_good: str = "",
) -> Decision:
    """Promote a candidate whose log loss on rows that it has not seen is below that of its peers.

    Its peers are the rules, where there are rules, and a constant. The upper end of the 95 %
    interval of the paired difference decides: a lead that could be chance is none. It must also
    rank better than chance, reach the ``floors`` and stay below the ``ceilings``, given by metric.
    ``more_as_ofs``: so many the history would allow, where they may mend a refusal; 0: no more.
    ``too_good``: why a person must look first; empty: nobody need.
    """
    if evaluation is None:
        message = "no later as_of with a matured label to test on: "
        more = (
            f"`snapshots: {{as_ofs: {more_as_ofs}}}` reach further back, which the history allows"
        )
        return Decision(REFUSE, message + (more if more_as_ofs else "more history is needed"))
    graded = f" {evaluation.caveat}" if evaluation.caveat else ""
    faults = _unsound(evaluation.controls)
    faults += [
        f"log loss{graded} is not below that of the {peer}: difference {_interval(difference, 4)}"
        for peer, difference in evaluation.differences.items()
        if not difference["high"] < 0  # nor where it is not a number
    ]
    report = evaluation.report.get("model", {})
    if "auc" in report and not report["auc"]["low"] > 0.5:
        # A rate that is nearer to that of later days has a lower log loss, and ranks nobody.
        faults.append(f"it ranks no better than chance: AUC {_plain(report['auc'])}")
    for bounds, sign, word in ((floors, 1, "below its floor"), (ceilings, -1, "above its ceiling")):
        for name, bound in (bounds or {}).items():
            if not sign * (report[name]["value"] - bound) >= 0:
                faults.append(f"{name} {report[name]['value']:.4f} is {word} {bound}")
    if too_good:
        faults.append(too_good)
    if faults:
        fewest = min((len(fold.train) for fold in evaluation.folds), default=0)
        if more_as_ofs and 0 < fewest <= FEW_AS_OFS:
            faults.append(
                f"a test day has learned from {fewest} as_of{'s' * (fewest > 1)} alone: with "
                f"`snapshots: {{as_ofs: {more_as_ofs}}}`, which the history allows, it learns from "
                "more"
            )
        return Decision(REFUSE, "; ".join(faults))
    led = "; ".join(
        f"{_interval(difference, 4)} against the {peer}"
        for peer, difference in evaluation.differences.items()
    )
    return Decision(PROMOTE, f"log loss{graded or ' on later days'}: {led}")


def _unsound(controls: Mapping[str, Any]) -> list[str]:
    """Which controls a training fails, in words."""
    if not controls:
        return []
    shuffled, drop = controls["shuffled_auc"], controls["auc_trained"] - controls["auc_later"]
    faults = []
    if not shuffled["low"] <= 0.5 <= shuffled["high"]:
        faults.append(
            f"learned from shuffled labels it still ranks: AUC {_plain(shuffled)} does not contain "
            "0.5: the outcome comes in by another way than the labels"
        )
    if not drop <= MOST_DROP:
        faults.append(
            f"AUC falls from {controls['auc_trained']:.3f} on what trained it to "
            f"{controls['auc_later']:.3f} on what did not, by more than {MOST_DROP}: it has "
            "learned its rows by heart"
        )
    if not controls["company"] <= SAME_FORECAST:
        faults.append(
            f"a customer's forecast moves by {controls['company']:.2g} with the other "
            "rows that are scored together with it: something is fitted again at scoring"
        )
    return faults


def _plain(result: Mapping[str, float]) -> str:
    return f"{result['value']:.3f} [{result['low']:.3f}, {result['high']:.3f}]"


def between(versus: "Versus | None", champion: str) -> Decision:
    """Promote a candidate that is better than the champion on the same unseen rows; keep the
    champion else.

    Better: in log loss, chance ruled out (95 % interval of the paired difference), and not worse in
    profit beyond chance. Before it decides, the same comparison is held up to three forecasts of
    known worth: who knows every outcome must win, who would contact nobody or everybody must not;
    else nothing is promoted.
    """
    if versus is None:
        return Decision(
            KEEP, f"no outcome that neither it nor champion {champion} has seen is known yet"
        )
    if broken := versus.broken():
        return Decision(
            REFUSE, f"the comparison with champion {champion} cannot be trusted: {broken}"
        )
    message = (
        f"{versus.how}: log loss {_interval(versus.log_loss, 4)}, profit "
        f"{_interval(versus.profit, 4)} of a customer's value; +{POWER_OF_AUC} AUC would be seen "
        f"with probability {versus.power:.0%}"
    )
    if versus.better:
        return Decision(PROMOTE, f"better than champion {champion}, {message}")
    why = "chance is not ruled out"
    if versus.log_loss["low"] > 0:
        why = "the candidate is worse, chance ruled out"
    elif versus.log_loss["high"] < 0:
        why = "the candidate's log loss is better, its profit is worse, chance ruled out of both"
    return Decision(KEEP, f"champion {champion} stays: {why}, {message}")


def rolled_back(undone: Mapping[str, Any], champion: str | None) -> Decision:
    """A model that was rolled back is not put in force by training it once more: it is the same
    model.
    """
    version, scores = (
        undone["parent"],
        f"champion {champion} stays" if champion else "no model is champion",
    )
    return Decision(
        REFUSE,
        f"model {version} was rolled back on {undone['decided_on']} ({undone['reason']}), and the "
        f"same snapshot and settings give the same model: nothing changed, {scores}; `churn "
        f"rollback {version} --reason WHY` puts it in force again",
    )


def outlived(champion: str, cutoff: str) -> Decision:
    """A candidate of an earlier cut-off than the champion's scores no day."""
    return Decision(KEEP, f"champion {champion} stays: it has learned from more, up to {cutoff}")


def better_untrained(report: Mapping[str, Any], usual: str, without: str = "") -> str:
    """What scores without a model: process, rules or base rate, whichever a training graded best.

    Parameters
    ----------
    report : of a training, by forecaster; one that has not graded the rules and the constant leaves
        it at ``usual``
    without : what cannot score

    >>> rules, rate = ({"log_loss": {"value": value}} for value in (0.63, 0.33))
    >>> better_untrained({"rules": rules, "constant": rate}, RULES), better_untrained({}, RULES)
    ('base_rate', 'rules')
    """
    if not {"rules", "constant"} <= report.keys():
        return usual
    graded = {RULES: "rules", BASE_RATE: "constant", PROCESS: "process"}
    lost = {
        forecaster: report[name]["log_loss"]["value"]
        for forecaster, name in graded.items()
        if name in report and forecaster != without
    }
    return min(lost, key=lambda forecaster: lost[forecaster])


def _interval(result: dict[str, float], digits: int) -> str:
    return (
        f"{result['value']:+.{digits}f} [{result['low']:+.{digits}f}, {result['high']:+.{digits}f}]"
    )
