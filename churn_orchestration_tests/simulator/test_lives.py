"""Lives follow the page: who acts when, who leaves and why; tolerances are five standard errors."""

import datetime as dt
from collections.abc import Iterator

import numpy as np
import pytest

from churn_orchestration.churn.campaign.control import is_held_back
from churn_orchestration.simulator import World
from churn_orchestration.simulator.forecast import outcomes
from churn_orchestration.simulator.lives import BLOCK, CAUSES, Lives, draw


@pytest.fixture(scope="module")
def calm() -> tuple[World, Lives]:
    world = World.read("calm", customers=BLOCK, seed=5)
    return world, draw(world, 0)


def present(world: World, lives: Lives) -> np.ndarray:
    """(customer, day): whether they had signed up and were with the business."""
    days = np.arange(world.days)
    there = days >= lives.signed_up[:, None]
    for who, left, back, _ in lives.absences:
        there[who, left + 1 : back if back >= 0 else None] = False
    return there


def near(result: float, expected: float, error: float) -> bool:
    """Within five standard errors."""
    return bool(abs(result - expected) <= 5 * error)


def test_a_block_is_always_the_same_and_another_seed_is_another(calm: tuple[World, Lives]) -> None:
    world, lives = calm
    again, other = draw(world, 0), draw(world.model_copy(update={"seed": 6}), 0)
    for name in ("signed_up", "segment", "rate", "customer", "day", "second", "bad", "absences"):
        assert np.array_equal(getattr(lives, name), getattr(again, name))
    assert not np.array_equal(lives.day[:1000], other.day[:1000])


def test_the_first_event_is_the_sign_up_and_nobody_acts_while_away(
    calm: tuple[World, Lives],
) -> None:
    world, lives = calm
    first = np.full(lives.customers, world.days)
    np.minimum.at(first, lives.customer, lives.day)
    assert np.array_equal(first, lives.signed_up)
    assert present(world, lives)[lives.customer, lives.day].all()
    assert (lives.second >= 0).all()
    assert (lives.second < 86_400).all()


def test_events_come_at_the_rate_of_the_customer_the_segment_and_the_season(
    calm: tuple[World, Lives],
) -> None:
    world, lives = calm
    pace = (
        world.rates[0][lives.rate]
        * np.array([s.activity for s in world.segments.values()])[lives.segment]
    )
    there = present(world, lives)
    there[np.arange(lives.customers), lives.signed_up] = False  # its event is given
    later = lives.day > lives.signed_up[lives.customer]
    season = world.seasons()
    for chosen in range(len(world.segments)):
        expected = (there[lives.segment == chosen] @ season * pace[lives.segment == chosen]).sum()
        result = (lives.segment[lives.customer[later]] == chosen).sum()
        assert near(result, expected, np.sqrt(expected))
    for weekday in range(7):
        days = np.arange(world.days) % 7 == weekday
        expected = pace @ (there * season)[:, days].sum(axis=1)
        assert near((lives.day[later] % 7 == weekday).sum(), expected, np.sqrt(expected))


def test_an_event_goes_badly_as_often_as_the_day_says() -> None:
    world = World.read("crisis", customers=BLOCK)
    lives = draw(world, 0)
    chance = world.bad()[lives.day]
    for during in (chance > 0.5, chance < 0.5):
        expected = chance[during].mean()
        assert near(
            lives.bad[during].mean(), expected, np.sqrt(expected * (1 - expected) / during.sum())
        )


def test_the_unhappy_leave_as_much_more_often_as_the_page_says(calm: tuple[World, Lives]) -> None:
    world, lives = calm
    counts = np.zeros((lives.customers, world.days))
    did = np.where(lives.bad, -world.experience.hurt, world.experience.help)
    np.add.at(counts, (lives.customer, lives.day), did)
    memory = 0.5 ** (1 / world.experience.half_life_days)
    satisfaction, there = np.zeros(lives.customers), present(world, lives)
    expected, result, variance = np.zeros(2), np.zeros(2), np.zeros(2)
    left = {(who, day) for who, day, _, _ in lives.absences}
    for day in range(world.days):
        satisfaction = satisfaction * memory + counts[:, day]
        tenure = np.maximum(day - lives.signed_up, 0)
        hazard = world.frailties[0][lives.frailty] * np.exp(
            -world.leaving.dissatisfaction * satisfaction
        )
        chance = -np.expm1(-hazard / (1 + tenure / world.leaving.settling_days))
        for group, unhappy in enumerate((satisfaction >= 0, satisfaction < 0)):
            those = there[:, day] & unhappy
            expected[group] += chance[those].sum()
            variance[group] += (chance[those] * (1 - chance[those])).sum()
            result[group] += sum((who, day) in left for who in np.flatnonzero(those))
    assert expected[1] > 200
    for group in range(2):
        assert near(result[group], expected[group], np.sqrt(variance[group]))


def test_a_share_of_leavers_comes_back_after_the_mean_time(calm: tuple[World, Lives]) -> None:
    world, lives = calm
    left, back = lives.absences[:, 1], lives.absences[:, 2]
    time = world.days - 1 - left
    returns = 1 - (1 - 1 / world.leaving.away_days) ** time
    chance = world.leaving.may_return * returns
    assert near((back >= 0).sum(), chance.sum(), np.sqrt((chance * (1 - chance)).sum()))


def causes(name: str) -> Iterator[str]:
    for _, _, _, cause in draw(World.read(name, customers=BLOCK), 0).absences:
        yield CAUSES[cause]


def test_a_price_rise_is_why_those_leave_who_look_at_the_price() -> None:
    world = World.read("price_rise", customers=BLOCK)
    lives = draw(world, 0)
    rise = world.ordinal(dt.date(2024, 7, 1))
    by_price = lives.absences[lives.absences[:, 3] == CAUSES.index("price")]
    assert (by_price[:, 1] >= rise).all()
    segments = list(world.segments)
    whose = np.bincount(lives.segment[by_price[:, 0]], minlength=3)
    assert whose[segments.index("company")] == 0
    assert whose[segments.index("small_business")] > whose[segments.index("consumer")] > 0


def test_a_crisis_makes_many_more_leave_and_they_are_dissatisfied() -> None:
    left = {}
    for name in ("calm", "crisis"):
        world = World.read(name, customers=2 * BLOCK)
        absences = np.concatenate([draw(world, block).absences for block in range(2)])
        since = world.ordinal(dt.date(2024, 8, 1))
        during = (absences[:, 1] >= since) & (absences[:, 1] < since + 60)
        left[name] = np.bincount(absences[during, 3], minlength=len(CAUSES))
    assert left["crisis"].sum() > 1.3 * left["calm"].sum() > 100
    assert (
        left["crisis"][CAUSES.index("dissatisfied")]
        > 2 * left["calm"][CAUSES.index("dissatisfied")]
    )


def test_a_harmless_change_moves_nobody_and_a_drift_of_the_label_makes_more_quiet() -> None:
    calm, harmless, drift = (
        draw(World.read(name, customers=BLOCK), 0) for name in ("calm", "harmless", "label_drift")
    )
    for name in ("customer", "day", "second", "bad", "absences"):
        assert np.array_equal(getattr(calm, name), getattr(harmless, name))
    as_of = dt.date(2024, 9, 1)
    quiet = {
        name: outcomes(World.read(name, customers=BLOCK), lives, as_of, 90)["quiet"].mean()
        for name, lives in (("calm", calm), ("label_drift", drift))
    }
    assert quiet["label_drift"] > quiet["calm"] + 0.03


def test_nobody_leaves_where_there_is_no_signal_and_few_where_churn_is_rare() -> None:
    assert list(causes("no_signal")) == []
    assert 0 < len(list(causes("rare_churn"))) < 0.02 * BLOCK
    assert "price" not in set(causes("calm"))


def test_every_customer_gets_mail_and_those_who_have_left_open_less_of_it() -> None:
    world = World.read("newsletter", customers=3000)
    lives = draw(world, 0)
    customer, day, opened, clicked = lives.mails.T
    since = day - lives.signed_up[customer]
    assert set(since % world.mail.every_days) == {world.mail.every_days // 2}
    due = (world.days - 1 - lives.signed_up - 14) // 28 + 1
    assert (np.bincount(customer, minlength=lives.customers) == np.maximum(due, 0)).all()
    away = np.zeros(len(day), dtype=bool)
    for who, left, back, _ in lives.absences:
        away |= (customer == who) & (day > left) & ((back < 0) | (day < back))
    for those, share in ((away, world.mail.opened_after), (~away, world.mail.opened)):
        assert abs(opened[those].mean() - share) < 4 * (share * (1 - share) / those.sum()) ** 0.5
    assert not (clicked & ~opened).any()
    assert clicked[opened == 1].mean() == pytest.approx(world.mail.clicked, abs=0.03)


def test_the_lots_of_a_declared_campaign_decide_who_is_left_alone_and_no_effect_moves_nobody() -> (
    None
):
    calm = World.read("calm", customers=BLOCK + 500, days=120)
    first = calm.first_day
    campaign = {
        "action": "call", "first": first, "last": first + dt.timedelta(days=100),
        "per_day": 0.05, "control": 0.3, "effect": {}, "lots": ("demo", "win_back"),
    }  # fmt: skip
    acting = World.read("calm", customers=calm.customers, days=calm.days, outreach=[campaign])
    contacted, alone = draw(acting, 1), draw(calm, 1)
    assert len(contacted.contacts) > 100
    for who, _, _, treated in contacted.contacts:
        held = is_held_back(f"C{BLOCK + who + 1:06}", "win_back", "demo", 0.3)
        assert treated == (not held)
    assert 0 < contacted.contacts[:, 3].mean() < 1
    assert np.array_equal(contacted.day, alone.day)
    assert np.array_equal(contacted.absences, alone.absences)
