"""What the sensors know of a question that has no champion, or few customers."""

import json
import re

import pytest

from churn_orchestration.automation.retraining import champion_state, retrain_or_skip, sensors
from churn_orchestration.business import PACKAGE
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.protocol import RULES, TRIGGER_TAG
from churn_orchestration.churn.watching import signals
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.tree import questions_of
from churn_orchestration.storage import ledger
from churn_orchestration_tests.support.shop import JAN, Shop


def refuse(shop: Shop, settings: QuestionSettings, version: str, day: str, trigger: str) -> None:
    """A training whose model was refused, in the ledger and on record."""
    folder = shop.business.state / "models" / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    features = [feature.name for feature in catalogue(settings.question.features)]
    report = {"report": {"model": {"auc": {"value": 0.9, "low": 0.8, "high": 1.0}}}}
    record = {"cutoff": day, "as_ofs": ["2023-07-01"], "features": features, "evaluation": report}
    (folder / f"{version}.json").write_text(json.dumps(record))
    ledger.append(
        shop.business.state, settings.name, "refuse", "no better than the rules", trigger,
        {"of": version}, model_version=version, cutoff=day, decided_on=day,
        meaning=settings.question.meaning,
    )  # fmt: skip


def test_the_ui_shows_words_of_each_signal_and_no_docstring(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for find in signals.SIGNALS.values():
        monkeypatch.setattr(find, "__doc__", "A NOTE TO PROGRAMMERS")
    shown = {sensor.name: sensor.description or "" for sensor in sensors(shop.business, [])}
    assert signals.DESCRIPTIONS.keys() == signals.SIGNALS.keys()
    for name, says in signals.DESCRIPTIONS.items():
        assert (
            f"requests a training on the newest day when this holds: {says} It waits"
            in (shown[f"retrain_on_{name}"])
        )


def test_a_business_too_small_to_be_measured_grows_old_all_the_same(shop: Shop) -> None:
    shop.land_quiet_days(1, 6)
    assert shop.refresh(5, 6).succeeded
    assert shop.published("from monitoring.churn_90d_performance") == []
    settings = questions_of(shop.business)["churn_90d"]
    refuse(shop, settings, "first", "2023-10-01", "initial")
    known = champion_state(shop.business, settings)
    assert known
    assert known.day == JAN[6]
    _, request = retrain_or_skip("age", signals.age, settings, known)
    assert request


def test_where_the_first_training_was_refused_age_asks_again_and_later_each_time(
    shop: Shop,
) -> None:
    for day in range(1, 7):
        who = range(200) if day == 1 else range(100)  # half of them are never seen again
        shop.land_orders(day, *(f"o{day}_{n},c{n},{JAN[day]} 10:00,9.50" for n in who))
    assert shop.refresh(5, 6).succeeded
    settings = questions_of(shop.business)["churn_90d"]
    assert champion_state(shop.business, settings) is None
    refuse(shop, settings, "first", "2023-10-01", "initial")
    known = champion_state(shop.business, settings)
    assert known
    assert (known.day, known.version, known.in_vain) == (JAN[6], RULES, {"initial": 1})
    assert (known.graded, known.realised, known.drifted) == ({}, {}, {})
    said, request = retrain_or_skip("age", signals.age, settings, known)
    assert said.startswith("it was trained 97 days ago; it would learn from outcomes of ")
    assert request
    assert request.tags[TRIGGER_TAG] == "scheduled"
    refuse(shop, settings, "second", "2023-12-20", "scheduled")
    known = champion_state(shop.business, settings)
    assert known
    assert (known.in_vain["scheduled"], str(known.cool_on("scheduled"))) == (1, "2024-01-17")
    said, request = retrain_or_skip("labels", signals.labels, settings, known)
    assert request is None
    assert (
        "trained on 2023-12-20, 1 in vain for such a reason, and cools down until 2024-01-17"
        in said
    )


def test_a_kind_of_performance_is_compared_by_its_constant() -> None:
    bare = re.compile(r"\bkind\b\s*(?:=|<>|==|!=|in)\s*\(?['\"]\w")
    sources = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    compared = {path for path, text in sources.items() if re.search(r"kind (=|<>) '\{\w", text)}
    assert {"performance.py", "watching.py", "churn_rate.py"} <= {path.name for path in compared}
    assert [path for path in compared if bare.search(sources[path])] == []
