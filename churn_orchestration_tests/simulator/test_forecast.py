"""The bars of a world against what comes, and against counting many lives with the same history."""

import datetime as dt
from collections import defaultdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from churn_orchestration.simulator import World, expected_spend, forecasts, furnished
from churn_orchestration.simulator.forecast import (
    best_forecasts,
    latent_oracle,
    outcomes,
    outreach_effects,
)
from churn_orchestration.simulator.lives import BLOCK, draw

AS_OF = dt.date(2024, 8, 15)


def z(said: np.ndarray, came: np.ndarray) -> float:
    """How many standard errors lie between what came and what was said; one case is no matter."""
    return float((came.sum() - said.sum()) / np.sqrt((said * (1 - said)).sum() + 1))


@pytest.mark.parametrize(
    "name",
    [
        "calm",
        "crisis",
        pytest.param("price_rise", marks=pytest.mark.thorough),
        pytest.param("harmless", marks=pytest.mark.thorough),
        pytest.param("new_customers", marks=pytest.mark.thorough),
        "outreach",
        pytest.param("newsletter", marks=pytest.mark.thorough),
    ],
)
def test_both_bars_are_calibrated_and_the_oracle_knows_more(name: str) -> None:
    world = World.read(name, customers=BLOCK, seed=3)
    bars = forecasts(world, AS_OF, 90, processes=1)
    assert bars["customer_id"].is_monotonic_increasing
    quiet = bars["quiet"].to_numpy()
    for column in ("best_probability", "oracle_probability"):
        said = bars[column].to_numpy()
        edges = np.quantile(said, np.linspace(0, 1, 6))
        place = np.searchsorted(edges[1:-1], said, side="right")
        assert abs(z(said, quiet)) < 4, (name, column)
        for fifth in np.unique(place):
            assert abs(z(said[place == fifth], quiet[place == fifth])) < 4.5, (name, column, fifth)
    best, oracle = (roc_auc_score(quiet, bars[f"{bar}_probability"]) for bar in ("best", "oracle"))
    assert 0.75 < best < oracle


def test_the_forecast_is_the_share_of_quiet_ones_among_many_with_the_same_history() -> None:
    """Nothing but counting: customers of one day and segment, by what each of their first days
    brought, and whether they opened the one mail of which it is known by then.
    """
    world = World.model_validate(
        {
            "about": "short and wild",
            "days": 12,
            "customers": 60_000,
            "segments": {"all": {"share": 1}},
            "activity": {"per_day": 0.35, "shape": 0.8, "one_time": 0.2},
            "experience": {"bad": 0.4, "hurt": 1.5, "help": 0.5, "half_life_days": 3},
            "leaving": {
                "per_day": 0.15,
                "shape": 1,
                "may_return": 0.5,
                "away_days": 4,
                "settling_days": 20,
            },
            "changes": [{"first": "2023-01-05", "price": 0.2}],
            "mail": {"every_days": 2, "opened": 0.7, "opened_after": 0.2},
        }
    )
    as_of, seen, horizon = world.first_day + dt.timedelta(days=4), 5, 6
    groups = defaultdict[tuple[tuple[int, int, int], ...], list[tuple[float, bool]]](list)
    for block in range(6):
        lives = draw(world, block)
        first = np.flatnonzero(lives.signed_up == 0)
        events, bad, opened = np.zeros((3, lives.customers, seen), dtype=int)
        early = lives.day < seen
        np.add.at(events, (lives.customer[early], lives.day[early]), 1)
        np.add.at(bad, (lives.customer[early], lives.day[early]), lives.bad[early])
        mails = lives.mails[lives.mails[:, 1] + world.mail.REPORTED_AFTER_DAYS < seen]
        np.add.at(opened, (mails[:, 0], mails[:, 1]), mails[:, 2])
        said = best_forecasts(world, lives, as_of, horizon).set_index("customer")[
            "best_probability"
        ]
        came = outcomes(world, lives, as_of, horizon).set_index("customer")["quiet"]
        for who in first:
            history = tuple(
                zip(*(what[who].tolist() for what in (events, bad, opened)), strict=True)
            )
            number = lives.first + who
            groups[history].append((said[number], came[number]))
    tried = 0
    for history, result in groups.items():
        said, came = np.array([s for s, _ in result]), np.array([c for _, c in result])
        assert np.ptp(said) < 1e-12, f"one history, several forecasts: {history}"
        if len(result) >= 30:
            tried += 1
            assert abs(z(said, came)) < 4.5, (history, said[0], came.mean(), len(result))
    assert tried >= 10


def test_what_is_opened_makes_the_best_forecast_better_where_it_tells_and_moves_nobody() -> None:
    bars = {
        name: forecasts(World.read(name, customers=BLOCK), AS_OF, 90, processes=1)
        for name in ("calm", "newsletter")
    }
    calm, newsletter = bars.values()
    assert newsletter["quiet"].equals(calm["quiet"])
    assert newsletter["oracle_probability"].equals(calm["oracle_probability"])
    better = [roc_auc_score(table["quiet"], table["best_probability"]) for table in bars.values()]
    assert better[0] + 0.002 < better[1]


def test_who_is_gone_is_quiet_to_the_oracle_and_a_habit_broken_is_noticed_by_the_forecast() -> None:
    world = World.read("calm", customers=BLOCK, leaving={"may_return": 0})
    lives = draw(world, 0)
    known = lives.signed_up <= world.ordinal(AS_OF)
    with_us = lives.state_at(world.ordinal(AS_OF))[known]
    oracle = latent_oracle(world, lives, AS_OF, 90)["oracle_probability"].to_numpy()
    assert (oracle[~with_us] == 1).all()
    assert (oracle[with_us] < 1).any()
    best = best_forecasts(world, lives, AS_OF, 90)["best_probability"].to_numpy()
    assert best[~with_us].mean() > best[with_us].mean() + 0.2


def test_where_nothing_can_be_known_everybody_is_told_the_same() -> None:
    world = World.read("no_signal", customers=2000)
    bars = forecasts(world, AS_OF, 90, processes=1)
    for column in ("best_probability", "oracle_probability"):
        assert np.ptp(bars[column]) < 1e-9
    assert 0.3 < bars["quiet"].mean() < 0.7


def test_several_processes_say_the_same_as_one() -> None:
    world = World.read("calm", customers=BLOCK + 50, days=200)
    day = dt.date(2023, 4, 1)
    assert forecasts(world, day, 30, processes=1).equals(forecasts(world, day, 30, processes=2))


def test_what_a_contact_does_is_what_lots_show_between_those_contacted_and_those_left_alone() -> (
    None
):
    """By segment: one is kept, one is driven away, to one nothing is done."""
    world = World.model_validate(
        {
            "about": "everybody is drawn once",
            "customers": 8 * BLOCK,
            "days": 200,
            "segments": {name: {"share": 1} for name in ("kept", "driven", "indifferent")},
            "activity": {"per_day": 0.04, "shape": None, "one_time": 0},
            "leaving": {"per_day": 0.04, "shape": None, "may_return": 0},
            "outreach": [
                {"action": "call", "first": "2023-04-11", "last": "2023-04-11", "per_day": 1,
                 "effect": {"kept": 3, "driven": -1.5}, "lasting_days": 40},
            ],
        }
    )  # fmt: skip
    shown = defaultdict[str, list[np.ndarray]](list)
    for block in range(8):
        lives = draw(world, block)
        done = outreach_effects(world, lives, 60).set_index("customer")
        came = outcomes(world, lives, dt.date(2023, 4, 11), 60).set_index("customer")["quiet"]
        for place, name in enumerate(world.segments):
            who = [number for number in done.index if lives.segment[number - lives.first] == place]
            rows = done.loc[who].assign(quiet=came.loc[who])
            shown[name].append(rows[["treated", "quiet", "true_effect"]].to_numpy(float))
    effects = {}
    for name, blocks in shown.items():
        treated, quiet, said = np.concatenate(blocks).T
        arms = [quiet[treated == arm] for arm in (1, 0)]
        result = arms[0].mean() - arms[1].mean()
        error = np.sqrt(sum(arm.var() / len(arm) for arm in arms))
        assert abs(result - said.mean()) < 4 * error, name
        effects[name] = said.mean() / error
    assert effects["kept"] < -5
    assert effects["driven"] > 5
    assert effects["indifferent"] == pytest.approx(0, abs=1e-9)


def test_what_customers_are_expected_to_spend_is_what_they_spend_in_the_sum() -> None:
    """Groups of customers with the same expectation in all, after a price rise."""
    world, as_of = World.read("price_rise", customers=5_000), dt.date(2024, 6, 15)
    table = expected_spend(world, as_of, 90, processes=1)
    with furnished(world) as db:
        spent = db.execute(
            "select customer_id, sum(amount_usd)::double as spent from orders "
            f"where day between date '{as_of}' + 1 and date '{as_of}' + 90 group by 1"
        ).df()
    table = table.merge(spent, how="left").fillna({"spent": 0}).sort_values("expected_spend_usd")
    said, came = table["expected_spend_usd"].to_numpy(), table["spent"].to_numpy()
    group = (said.cumsum() / said.sum() * 4).astype(int).clip(max=3)
    for fourth in range(4):
        off = (came - said)[group == fourth]
        assert abs(off.sum()) < 4 * np.sqrt((off**2).sum()), fourth
        assert abs(off.sum()) < 0.1 * said.sum() / 4, fourth
    assert table["spend_error_usd"].sum() < 0.03 * said.sum()


def test_where_leaving_is_seen_both_bars_are_calibrated_too() -> None:
    world = World.read("helpdesk", customers=4_000, seed=3)
    bars = forecasts(world, dt.date(2025, 6, 1), 90, processes=1)
    assert bars["company_id"].is_monotonic_increasing
    cancels = bars["cancels"].to_numpy()
    for column in ("best_probability", "oracle_probability"):
        said = bars[column].to_numpy()
        place = np.searchsorted(np.quantile(said, [0.2, 0.4, 0.6, 0.8]), said, side="right")
        for fifth in range(5):
            assert abs(z(said[place == fifth], cancels[place == fifth])) < 4.5, (column, fifth)
    assert (bars["best_error"] < 0.03).all()
    best, oracle = (
        roc_auc_score(cancels, bars[f"{bar}_probability"]) for bar in ("best", "oracle")
    )
    assert 0.7 < best < oracle


def test_the_campaigns_of_the_scenario_keep_one_segment_each_and_the_voucher_drives_one_away() -> (
    None
):
    world = World.read("outreach", customers=3000)
    lives = draw(world, 0)
    done = outreach_effects(world, lives, 90)
    done["segment"] = np.array(list(world.segments))[lives.segment[done["customer"]]]
    done["action"] = np.array([campaign.action for campaign in world.outreach])[done["campaign"]]
    mean = done.groupby(["action", "segment"])["true_effect"].mean()
    assert mean["voucher", "consumer"] < -0.005
    assert mean["voucher", "company"] > 0.005
    assert mean["call", "small_business"] < -0.005
    for nothing in (("voucher", "small_business"), ("call", "consumer"), ("call", "company")):
        assert mean[nothing] == pytest.approx(0, abs=1e-9)
