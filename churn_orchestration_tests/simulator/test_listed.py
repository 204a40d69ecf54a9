"""Contacts that are made of a platform's lists, and what they do to who is contacted."""

import datetime as dt

import pandas as pd
import pytest

from churn_orchestration.simulator import ScenarioError, World, simulate
from churn_orchestration.simulator.lives import draw

FIRST, LISTED = dt.date(2024, 1, 1), dt.date(2024, 4, 1)
DAYS, CUSTOMERS = 150, 400
LIVELY = {"per_day": 0.3, "shape": 2.0, "one_time": 0}
LEAVING = {"per_day": 0.02, "may_return": 0}


@pytest.fixture
def world(tmp_path):
    """A world in which every second customer of the first 200 is listed for a call on a day."""
    path = tmp_path / "lists.csv"
    names = [f"C{n:06d}" for n in range(1, 200, 2)]
    pd.DataFrame({"customer_id": names, "day": LISTED, "action": "call"}).to_csv(path, index=False)

    def of(effect, **also):
        campaign = {"action": "call", "first": FIRST, "last": dt.date(2024, 5, 1), "listed": path,
                    "effect": {"consumer": effect, "small_business": effect, "company": effect},
                    **also}  # fmt: skip
        return World.read(
            "calm", first_day=FIRST, days=DAYS, customers=CUSTOMERS, activity=LIVELY,
            leaving=LEAVING, season={"yearly": 0}, growth_per_year=0, outreach=[campaign],
        )  # fmt: skip

    return of


def lives_of(world):
    """Each customer's days with an event, and the day on which they leave, None: never."""
    lives = draw(world, 0)
    days = [lives.day[lives.customer == who].tolist() for who in range(lives.customers)]
    left = dict(lives.absences[:, :2].tolist())
    return lives, days, [left.get(who) for who in range(lives.customers)]


def test_nobody_but_who_is_contacted_lives_another_life_and_nobody_before_it(world):
    lives, without, _ = lives_of(world(0.0))
    for effect, moves in ((6.0, "stay"), (-4.0, "leave")):
        _, days, left = lives_of(world(effect))
        contacted = set(lives.contacts[:, 0].tolist())
        assert len(contacted) > 60
        others = [n for n in range(CUSTOMERS) if n not in contacted]
        assert [days[n] for n in others] == [without[n] for n in others]
        until = [[day for day in life if day <= 92] for life in days]
        assert until == [[day for day in life if day <= 92] for life in without]
        base = [n for n in contacted if _leaves(without[n])]
        kept = [n for n in contacted if _leaves(days[n])]
        assert (set(kept) < set(base)) if moves == "stay" else (set(kept) > set(base))
        assert left != lives_of(world(0.0))[2]


def _leaves(days):
    """Whether a customer who orders each three days has no order in the last 40 days."""
    return days[-1] < DAYS - 40


def test_a_share_of_the_lists_is_acted_on_within_the_days(world):
    every = draw(world(0.0), 0).contacts
    assert set(every[:, 1]) == {92}  # the day after the list
    some = draw(world(0.0, made=0.5, within_days=5), 0).contacts
    assert set(some[:, 1]) == {92, 93, 94, 95, 96}
    assert 0.3 < len(some) / len(every) < 0.7
    assert set(some[:, 0]) < set(every[:, 0])
    assert not len(draw(world(0.0, last=dt.date(2024, 3, 31)), 0).contacts)


def test_a_shop_lands_the_contacts_and_a_help_desk_too(world, tmp_path):
    simulate(world(1.0), tmp_path / "shop", processes=1)
    landed = pd.read_csv(tmp_path / "shop" / "landing" / "outreach" / "outreach_2024-04-02.csv")
    assert set(landed["arm"]) == {"treated"}
    assert len(landed) == len(draw(world(1.0), 0).contacts)
    desk = help_desk(tmp_path, "COMP00001,2024-06-01,call")
    simulate(desk, tmp_path / "desk", processes=1)
    landed = pd.read_csv(tmp_path / "desk" / "landing" / "outreach_en.csv")
    assert landed.iloc[0].tolist() == ["OUT0000001", "COMP00001", "2024-06-02", "call"]


def help_desk(folder, row):
    """A help desk that follows a list of one row."""
    path = folder / "companies.csv"
    path.write_text(f"company_id,day,action\n{row}\n")
    campaign = {"action": "call", "first": FIRST, "last": "2024-07-01", "listed": path,
                "effect": {"RETAIL": 2}}  # fmt: skip
    return World.read("helpdesk", customers=20, days=200, outreach=[campaign])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("COMP00020,2024-02-01,call", "COMP00020 has not signed up by 2024-02-01"),
        ("COMP99999,2024-06-01,call", "there is no customer COMP99999"),
        ("COMP1,2024-06-01,call", "there is no customer COMP1"),
        ("COMP00001,soon,call", "wanted columns company_id, day and action"),
        (",2024-06-01,call", "there is a row of call without company_id or day"),
        ("COMP00001,,call", "there is a row of call without company_id or day"),
    ],
)
def test_a_list_that_cannot_be_is_refused_with_the_reason(tmp_path, row, message):
    with pytest.raises(ScenarioError, match=message):
        draw(help_desk(tmp_path, row), 0)


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"per_day": 0.1}, "one of per_day and listed says whom it contacts"),
        ({"control": 0.2}, "control is not of customers who are listed"),
        ({"listed": None, "made": 0.5, "per_day": 1}, "made is not of customers who are drawn"),
        ({"listed": "nowhere.csv"}, "there is no file nowhere.csv"),
    ],
)
def test_outreach_is_drawn_or_listed(world, also, message):
    with pytest.raises(ScenarioError, match=message):
        world(0.0, **also)


def test_another_list_is_another_simulation(world, tmp_path):
    noted = world(0.0).model_dump_json()
    with (tmp_path / "lists.csv").open("a") as file:
        file.write("C000002,2024-04-01,call\n")
    assert world(0.0).model_dump_json() != noted
