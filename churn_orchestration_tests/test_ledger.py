import datetime as dt
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.storage import ledger


def decide(
    state: Path,
    decision: str,
    version: str,
    cutoff: str,
    trigger: str = "train",
    question: str = "q",
    meaning: str | None = None,
    **evidence: Any,
) -> dict[str, Any]:
    facts: dict[str, Any] = {"model_version": version, "cutoff": cutoff, "decided_on": cutoff}
    facts |= {"mlflow_version": version} | ({"meaning": meaning} if meaning else {})
    return ledger.append(state, question, decision, "because", trigger, evidence, **facts)


def roll_back(
    state: Path, version: str, cutoff: str, decided_on: str, **facts: Any
) -> dict[str, Any]:
    facts |= {"model_version": version, "cutoff": cutoff, "decided_on": decided_on}
    return ledger.append(state, "q", "roll back", "it went wrong", "churn rollback", {}, **facts)


def in_force(state: Path, day: str, question: str = "q") -> str | None:
    result = ledger.champion(state, question, dt.date.fromisoformat(day))
    return result and result["model_version"]


def test_without_a_ledger_there_is_no_decision_and_no_champion(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "nothing") == []
    assert in_force(tmp_path / "nothing", "2024-01-01") is None


def test_a_decision_is_one_line_with_who_why_and_the_hash_of_its_evidence(tmp_path: Path) -> None:
    row = decide(tmp_path, "promote", "a", "2024-01-31", auc=0.75)
    assert ledger.read(tmp_path) == [row]
    written = json.loads((tmp_path / ledger.FILE).read_text())
    assert written.pop("hash") == sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()
    assert written == {
        "sequence": 1, "subject": "q", "decision": "promote", "reason": "because",
        "trigger": "train", "model_version": "a", "cutoff": "2024-01-31",
        "decided_on": "2024-01-31", "mlflow_version": "a", "evidence": {"auc": 0.75},
        "evidence_sha256": sha256(b'{"auc": 0.75}').hexdigest(),
        "format": 1, "previous": "0" * 64,
    }  # fmt: skip


def test_a_new_decision_is_added_and_no_byte_of_the_old_ones_changes(tmp_path: Path) -> None:
    path = tmp_path / ledger.FILE
    before = b""
    for version in "abc":
        decide(tmp_path, "promote", version, "2024-01-31")
        after = path.read_bytes()
        assert after.startswith(before)
        assert len(after) > len(before)
        before = after
    assert [row["sequence"] for row in ledger.read(tmp_path)] == [1, 2, 3]


def test_the_same_decision_is_there_once_and_is_given_back(tmp_path: Path) -> None:
    first = decide(tmp_path, "promote", "a", "2024-01-31", auc=0.75)
    content = (tmp_path / ledger.FILE).read_bytes()
    assert decide(tmp_path, "promote", "a", "2024-01-31", auc=0.75) == first
    assert (tmp_path / ledger.FILE).read_bytes() == content


@pytest.mark.parametrize(
    "other",
    [
        {"decision": "refuse"}, {"version": "b"}, {"cutoff": "2024-02-29"}, {"question": "p"},
        {"auc": 0.7},
    ],
)  # fmt: skip
def test_a_decision_that_differs_in_anything_is_another(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    one = {"decision": "promote", "version": "a", "cutoff": "2024-01-31", "auc": 0.75}
    decide(tmp_path, **one)
    decide(tmp_path, **one | other)
    assert len(ledger.read(tmp_path)) == 2


def test_the_champion_of_a_day_is_the_last_promoted_with_a_cut_off_not_after_it(
    tmp_path: Path,
) -> None:
    decide(tmp_path, "promote", "jan", "2024-01-31")
    decide(tmp_path, "promote", "mar", "2024-03-31")
    decide(tmp_path, "promote", "feb", "2024-02-29")
    days = (
        "2024-01-30",
        "2024-01-31",
        "2024-02-28",
        "2024-02-29",
        "2024-03-30",
        "2024-03-31",
        "2030-01-01",
    )
    assert [in_force(tmp_path, day) for day in days] == [
        None,
        "jan",
        "jan",
        "feb",
        "feb",
        "mar",
        "mar",
    ]


def test_refusals_and_backtests_are_never_champion(tmp_path: Path) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31")
    decide(tmp_path, "refuse", "b", "2024-02-29")
    decide(tmp_path, "backtest", "c", "2024-03-31")
    assert in_force(tmp_path, "2024-04-30") == "a"


def test_a_question_has_its_own_champion(tmp_path: Path) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31", question="p")
    assert (in_force(tmp_path, "2024-04-30", "p"), in_force(tmp_path, "2024-04-30", "q")) == (
        "a",
        None,
    )


def test_of_two_promotions_at_one_cut_off_the_later_one_counts(tmp_path: Path) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31")
    decide(tmp_path, "promote", "b", "2024-01-31")
    assert in_force(tmp_path, "2024-01-31") == "b"


def test_a_decision_taken_again_after_another_one_is_a_decision(tmp_path: Path) -> None:
    for version in ("a", "b", "a"):  # settings changed, tried, and changed back
        decide(tmp_path, "promote", version, "2024-01-31")
    assert in_force(tmp_path, "2024-01-31") == "a"


def test_a_later_cut_off_never_changes_the_champion_of_an_earlier_day(tmp_path: Path) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31")
    before = in_force(tmp_path, "2024-02-28")
    decide(tmp_path, "promote", "b", "2024-02-29")
    assert in_force(tmp_path, "2024-02-28") == before == "a"


_APPEND = """
import datetime as dt
import sys
from pathlib import Path
from churn_orchestration.storage import ledger
from churn_orchestration.business import BusinessError
state, who, many = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(many):
    facts = {"model_version": f"{who}{number}", "cutoff": "2024-01-31", "decided_on": "2024-01-31"}
    ledger.append(state, "q", "promote", "because", who, {"long": "x" * 20_000}, **facts)
    shared = {"model_version": f"shared{number}", "cutoff": f"2024-02-{number + 1:02d}"}
    ledger.append(state, "q", "promote", "because", who, {}, **facts | shared)
    ledger.champion(state, "q", dt.date(2024, 2, 1))
"""


def test_an_edited_line_is_found_and_named(tmp_path: Path) -> None:
    for version in "abc":
        decide(tmp_path, "refuse", version, "2024-01-31", auc=0.75)
    path = tmp_path / ledger.FILE
    path.write_text(path.read_text().replace('"auc": 0.75', '"auc": 0.95', 1))
    with pytest.raises(
        BusinessError, match=r"line 1 \(refuse of q, cut-off 2024-01-31\) was changed"
    ):
        ledger.read(tmp_path)


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ([0, 2], "line 2"), ([1, 2], "line 1"), ([1, 0, 2], "line 1"), ([0, 1, 1, 2], "line 3"),
    ],
)  # fmt: skip
def test_a_line_taken_out_moved_or_doubled_is_found_and_named(
    tmp_path: Path, kept: list[int], named: str
) -> None:
    for version in "abc":
        decide(tmp_path, "refuse", version, "2024-01-31")
    path = tmp_path / ledger.FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[place] for place in kept))
    with pytest.raises(BusinessError, match=f"{named} .* does not follow the line before it"):
        decide(tmp_path, "promote", "d", "2024-01-31")


def test_a_line_that_is_no_decision_at_all_is_named(tmp_path: Path) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31")
    with (tmp_path / ledger.FILE).open("a") as handle:
        handle.write("promote my model, please\n")
    with pytest.raises(BusinessError, match="line 2"):
        in_force(tmp_path, "2024-02-01")


def test_a_roll_back_puts_the_model_before_in_force_from_the_day_it_was_decided(
    tmp_path: Path,
) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31")
    decide(tmp_path, "promote", "b", "2024-02-29")
    roll_back(tmp_path, "a", "2024-01-31", decided_on="2024-03-10")
    days = ("2024-02-28", "2024-02-29", "2024-03-09", "2024-03-10", "2024-04-30")
    assert [in_force(tmp_path, day) for day in days] == ["a", "b", "b", "a", "a"]


@pytest.mark.parametrize("untrained", ["rules", "base_rate"])
def test_after_a_roll_back_to_no_model_none_scores_until_another_promotion(
    tmp_path: Path, untrained: str
) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31")
    roll_back(tmp_path, untrained, "2024-02-10", decided_on="2024-02-10")
    decide(tmp_path, "promote", "b", "2024-02-29")
    days = ("2024-02-09", "2024-02-10", "2024-02-28", "2024-02-29")
    assert [in_force(tmp_path, day) for day in days] == ["a", None, None, "b"]


def test_what_is_rolled_back_to_is_what_was_in_force_before_the_champion_ever_was(
    tmp_path: Path,
) -> None:
    def before() -> str | None:
        champion = ledger.champion(tmp_path, "q", dt.date.max, "90 days")
        result = champion and ledger.before(tmp_path, "q", "90 days", champion["model_version"])
        return result and result["model_version"]

    assert before() is None
    for version, cutoff in (("a", "2024-01-31"), ("b", "2024-02-29"), ("c", "2024-03-31")):
        decide(tmp_path, "promote", version, cutoff, meaning="90 days")
    assert before() == "b"
    roll_back(tmp_path, "b", "2024-02-29", decided_on="2024-03-31", meaning="90 days")
    assert before() == "a"  # not c, which was rolled back from
    roll_back(tmp_path, "a", "2024-01-31", decided_on="2024-03-31", meaning="90 days")
    assert before() is None


def test_a_roll_back_from_a_model_counts_until_the_model_is_put_in_force_again(
    tmp_path: Path,
) -> None:
    def rolled_back() -> int | None:
        result = ledger.rolled_back_from(tmp_path, "q", "90 days", "b")
        return result and result["sequence"]

    decide(tmp_path, "promote", "a", "2024-01-31", meaning="90 days")
    decide(tmp_path, "promote", "b", "2024-02-29", meaning="90 days")
    assert rolled_back() is None
    roll_back(tmp_path, "a", "2024-01-31", decided_on="2024-03-01", meaning="90 days", parent="b")
    assert rolled_back() == 3
    roll_back(tmp_path, "b", "2024-02-29", decided_on="2024-03-02", meaning="90 days", parent="a")
    assert rolled_back() is None


def test_two_processes_appending_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", _APPEND, str(tmp_path)]
    others = [
        subprocess.Popen([*command, who, "15"], stderr=subprocess.PIPE) for who in ("left", "right")
    ]
    assert [(other.communicate()[1].decode(), other.returncode) for other in others] == [
        ("", 0),
        ("", 0),
    ]
    rows = ledger.read(tmp_path)
    assert [row["sequence"] for row in rows] == list(range(1, 46))
    wanted = {f"{who}{number}" for who in ("left", "right", "shared") for number in range(15)}
    assert {row["model_version"] for row in rows} == wanted


def test_a_line_torn_by_a_killed_process_loses_no_other_decision(tmp_path: Path) -> None:
    decide(tmp_path, "promote", "a", "2024-01-31")
    decide(tmp_path, "promote", "b", "2024-02-29")
    path = tmp_path / ledger.FILE
    path.write_bytes(path.read_bytes()[:-40])
    assert in_force(tmp_path, "2024-03-31") == "a"
    decide(tmp_path, "promote", "c", "2024-03-31")
    assert [row["model_version"] for row in ledger.read(tmp_path)] == ["a", "c"]


def test_a_promotion_decided_after_later_days_had_landed_is_champion_of_none_of_them_before(
    tmp_path: Path,
) -> None:
    facts = {"model_version": "a", "cutoff": "2024-01-31", "mlflow_version": "1"}
    ledger.append(
        tmp_path, "q", "promote", "because", "train", {}, decided_on="2024-02-10", **facts
    )
    assert in_force(tmp_path, "2024-02-09") is None
    assert in_force(tmp_path, "2024-02-10") == "a"


def test_the_same_model_promoted_for_a_changed_question_is_a_decision_of_its_own(
    tmp_path: Path,
) -> None:
    facts = {
        "model_version": "a",
        "cutoff": "2024-01-31",
        "decided_on": "2024-01-31",
        "mlflow_version": "1",
    }
    for meaning in ("of 90 days", "of 60 days", "of 60 days"):
        ledger.append(tmp_path, "q", "promote", "because", "train", {}, **facts, meaning=meaning)
    assert [row["meaning"] for row in ledger.read(tmp_path)] == ["of 90 days", "of 60 days"]
    result = ledger.champion(tmp_path, "q", dt.date(2024, 2, 1), "of 60 days")
    assert result
    assert result["sequence"] == 2
