"""Scenarios are read or refused by place, and say what their page says."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from churn_orchestration.simulator import ScenarioError, World
from churn_orchestration.simulator.world import SCENARIOS

CALM = World.read("calm")


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_that_comes_with_the_package_is_read_and_says_what_it_is_about(
    path: Path,
) -> None:
    world = World.read(path.stem, customers=10)
    assert len(world.about) > 40
    assert world.customers == 10
    for change in world.changes:
        assert world.first_day < change.first <= world.last_day


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: x\nactivty: {per_day: 1}", "activty: Extra inputs are not permitted"),
        ("about: x\nactivity: {per_day: -1}", "activity.per_day: Input should be greater than 0"),
        (
            "about: x\nexperience: {bad: 2}",
            "experience.bad: Input should be less than or equal to 1",
        ),
        (
            "about: x\nchanges: [{first: 2024-02-01, last: 2024-01-01}]",
            "2024-01-01 lies before 2024-02-01",
        ),
        (
            "about: x\nchanges: [{first: 2024-02-01, mix: {nobody: 1}}]",
            "there is no segment nobody",
        ),
        ("about: x\nseason: {weekday: [1, 1]}", "weekday has 2 factors, wanted 7"),
        ("about: [", "no settings in YAML"),
        ("- a list", "no settings in YAML"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_by_file_and_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match="mine.yaml: ") as error:
        World.read(str(path))
    assert message in str(error.value)


def test_an_unknown_scenario_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ScenarioError, match="there is no scenario storm .known: calm, crisis"):
        World.read("storm")


def test_rates_and_frailties_have_the_means_that_are_said() -> None:
    for (values, shares), mean in ((CALM.rates, 0.05 * 0.8), (CALM.frailties, 0.004)):
        assert shares.sum() == pytest.approx(1)
        assert (values * shares).sum() == pytest.approx(mean)
    assert CALM.rates[0][0] == 0
    assert CALM.rates[1][0] == pytest.approx(0.2)


def test_a_change_comes_gradually_stays_and_ends() -> None:
    change = {"first": "2023-01-11", "last": "2023-01-20", "gradual_days": 4, "price": 0.5}
    prices = World.model_validate({"about": "x", "days": 30, "changes": [change]}).prices()
    assert prices[:10].tolist() == [0] * 10
    assert prices[10:15] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert prices[15:20].tolist() == [0.5] * 5
    assert prices[20:].tolist() == [0] * 10


def test_a_changed_mix_is_that_of_who_signs_up() -> None:
    world = World.read("new_customers")
    shares = world.shares_of_segments()
    assert shares.sum(axis=1) == pytest.approx(np.ones(world.days))
    assert shares[0] == pytest.approx([0.8, 0.15, 0.05])
    assert shares[-1] == pytest.approx([0.35, 0.6, 0.05])


def test_the_season_has_its_weekdays_its_wave_and_its_holidays() -> None:
    season = CALM.seasons()
    christmas = CALM.ordinal(dt.date(2023, 12, 25))
    assert season[christmas] < 0.2 * season[christmas - 7]
    saturday, sunday = CALM.ordinal(dt.date(2023, 6, 3)), CALM.ordinal(dt.date(2023, 6, 4))
    assert season[saturday] / season[sunday] == pytest.approx(1.3 / 0.7, rel=0.01)
    december, june = (
        CALM.ordinal(dt.date(2023, 12, 4)),
        CALM.ordinal(dt.date(2023, 6, 5)),
    )  # both Mondays
    assert season[december] / season[june] == pytest.approx(1.2 / 0.8, rel=0.02)
