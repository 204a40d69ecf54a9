"""The lives of customers drawn day by day from a world: their events, and when and why they
left.
"""

from dataclasses import dataclass

import numpy as np

from churn_orchestration.churn.campaign.control import is_held_back
from churn_orchestration.simulator.listed import made_of_list
from churn_orchestration.simulator.retail import ID
from churn_orchestration.simulator.world import World

BLOCK = 10_000
"""Customers that share a random stream: a block is the same whoever draws it, and however many
do.
"""
CAUSES = ("by chance", "dissatisfied", "price")
WITH_US, AWAY, GONE = 0, 1, 2


@dataclass(frozen=True)
class Lives:
    """Customers of a block, one value each, and their events, one value each, by day and customer.

    Parameters
    ----------
    first : number of the first customer, from 0
    signed_up : day of the sign-up, which is that of the first event; days since the first of the
        world
    segment, rate, frailty : places in the world's ``segments``, ``rates`` and ``frailties``
    customer : of an event: who, from 0 in the block
    day, second, bad : of an event: when, days and seconds of the day; whether it went badly
    contacts : (customer, day, campaign, 1 if contacted and 0 if control), by the day
    mails : (customer, day, 1 if opened, 1 if clicked)
    absences : (customer, day of leaving, first day back or -1, place in CAUSES of what weighed
        most), by the day of leaving
    """

    first: int
    signed_up: np.ndarray
    segment: np.ndarray
    rate: np.ndarray
    frailty: np.ndarray
    customer: np.ndarray
    day: np.ndarray
    second: np.ndarray
    bad: np.ndarray
    contacts: np.ndarray
    mails: np.ndarray
    absences: np.ndarray

    @property
    def customers(self) -> int:
        """How many there are."""
        return len(self.signed_up)

    def state_at(self, day: int) -> np.ndarray:
        """Of each customer at the end of a day: whether they are with the business."""
        who, _, back, _ = self.absences[self.absences[:, 1] <= day].T
        with_us = np.ones(self.customers, dtype=bool)
        with_us[who] = (back >= 0) & (back <= day + 1)  # of several absences the last counts
        return with_us


def blocks(world: World) -> int:
    """How many blocks a world has."""
    return -(-world.customers // BLOCK)


def draw(world: World, block: int) -> Lives:
    """One block of customers, day by day."""
    count = min(BLOCK, world.customers - block * BLOCK)
    who, course, clock, touch, post = (
        np.random.default_rng(stream)
        for stream in np.random.SeedSequence([world.seed, block]).spawn(5)
    )
    signed_up = np.sort(who.choice(world.days, count, p=world.sign_up_weights()))
    shares = world.shares_of_segments().cumsum(axis=1)
    segment = (who.random(count)[:, None] >= shares[signed_up][:, :-1]).sum(axis=1)
    rate = who.choice(len(world.rates[0]), count, p=world.rates[1])
    frailty = who.choice(len(world.frailties[0]), count, p=world.frailties[1])
    contacts = _contacts(world, signed_up, block * BLOCK, touch)
    chance = _Chance(world, block, course)
    happened = _course(world, signed_up, segment, rate, frailty, contacts, chance)
    customer, day, bad, absences = happened
    second = clock.integers(0, 86_400, len(day))
    order = np.lexsort((customer, second, day))
    return Lives(
        block * BLOCK, signed_up, segment, rate, frailty,
        customer[order], day[order], second[order], bad[order], contacts,
        _mails(world, signed_up, absences, post), absences,
    )  # fmt: skip


def _contacts(
    world: World, signed_up: np.ndarray, before: int, rng: np.random.Generator
) -> np.ndarray:
    """Whom a campaign drew, and whether they were contacted; nobody's life bears on it.

    ``before``: number of the first customer of the block
    """
    result = [np.empty((0, 4), dtype=np.int64)]
    for number, campaign in enumerate(world.outreach):
        if campaign.listed:
            result.append(made_of_list(world, number, signed_up, before))
            continue
        first, last = (
            max(0, world.ordinal(campaign.first)),
            min(world.days - 1, world.ordinal(campaign.last)),
        )
        for day in range(first, last + 1):
            known = int(np.searchsorted(signed_up, day - 30, side="right"))  # sign-ups are sorted
            drawn = np.flatnonzero(rng.random(known) < (campaign.per_day or 0))
            treated = rng.random(len(drawn)) >= campaign.control
            if campaign.lots:
                business, name = campaign.lots
                ids = (ID % (before + number_of + 1) for number_of in drawn)
                treated = np.array(
                    [not is_held_back(each, name, business, campaign.control) for each in ids], bool
                )
            result.append(
                np.column_stack(
                    [drawn, np.full(len(drawn), day), np.full(len(drawn), number), treated]
                )
            )
    every = np.concatenate(result).astype(np.int64)
    return every[np.argsort(every[:, 1], kind="stable")]


def _mails(
    world: World, signed_up: np.ndarray, absences: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The newsletters, by customer and day, and what became of each; nobody's life bears on
    them.
    """
    if world.cancels:
        return np.empty((0, 4), dtype=np.int32)
    every = world.mail.every_days
    first = signed_up + every // 2
    count = np.maximum(0, (world.days - 1 - first) // every + 1)
    begin, customer = np.cumsum(count) - count, np.repeat(np.arange(len(first)), count)
    day = first[customer] + every * (np.arange(len(customer)) - begin[customer])
    # The mails of an absence, from the first one after the day of leaving to that before the first
    # day back.
    who, left, back, _ = absences.T
    low = np.clip((left - first[who]) // every + 1, 0, count[who])
    high = np.where(back < 0, count[who], np.clip(-((first[who] - back) // every), 0, count[who]))
    edges = np.zeros(len(customer) + 1, dtype=np.int64)
    np.add.at(edges, begin[who] + low, 1)
    np.add.at(edges, begin[who] + high, -1)
    away = edges.cumsum()[:-1] > 0
    opened = rng.random(len(customer)) < np.where(away, world.mail.opened_after, world.mail.opened)
    clicked = opened & (rng.random(len(customer)) < world.mail.clicked)
    return np.column_stack([customer, day, opened, clicked]).astype(np.int32)


class Contacted:
    """How contacts move the hazard of customers for a while; those of several campaigns add up."""

    def __init__(self, world: World, segment: np.ndarray) -> None:
        self.effects, self.segment = world.effects(), segment
        self.lasting = np.array(
            [campaign.lasting_days for campaign in world.outreach], dtype=np.int64
        )
        self.until = np.full((len(segment), len(world.outreach)), -1)

    def contact(self, day: int, who: np.ndarray, campaign: np.ndarray) -> None:
        """Those are contacted at the end of a day."""
        self.until[who, campaign] = day + self.lasting[campaign]

    def on(self, day: int) -> np.ndarray:
        """The term of the log of each hazard on a day."""
        moved: np.ndarray = -(self.effects.T[self.segment] * (day <= self.until)).sum(axis=1)
        return moved


@dataclass(frozen=True)
class _Chance:
    """What is drawn of a block: from one stream, or where a world follows lists from one a day, so
    that no draw depends on who has left.
    """

    world: World
    block: int
    stream: np.random.Generator

    def of(self, day: int) -> np.random.Generator:
        """What the draws of a day come from."""
        if not self.world.follows_lists:
            return self.stream
        return np.random.default_rng([self.world.seed, self.block, day])

    def events(
        self, rng: np.random.Generator, rates: np.ndarray, new: int, with_us: np.ndarray, bad: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Events of a day and how many of them go badly, of customers by their rates.

        ``new``: from this customer on they sign up on the day, which is their first event.
        """
        events = rng.poisson(rates)
        if not self.world.follows_lists:
            events[~with_us] = 0
        events[new:] = 1
        ill = rng.binomial(events, bad)
        return events * with_us, ill * with_us


def _course(
    world: World,
    signed_up: np.ndarray,
    segment: np.ndarray,
    rate: np.ndarray,
    frailty: np.ndarray,
    contacts: np.ndarray,
    chance: _Chance,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(customer, day, bad) of every event, by day and customer, and the absences."""
    kinds = list(world.segments.values())
    pace = world.rates[0][rate] * np.array([kind.activity for kind in kinds])[segment]
    weak = world.frailties[0][frailty]
    dear = world.price_effect * np.array([kind.sensitivity for kind in kinds])[segment]
    season, bad, price = world.seasons(), world.bad(), world.prices()
    memory, back = 0.5 ** (1 / world.experience.half_life_days), 1 / world.leaving.away_days
    state = np.full(len(signed_up), WITH_US, dtype=np.int8)
    satisfaction = np.zeros(len(signed_up))
    whose, when, badly = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    contacted, contacts = Contacted(world, segment), contacts[contacts[:, 3] == 1]
    absences, latest = list[list[int]](), np.full(len(signed_up), -1)
    for day in range(world.days):
        here = int(np.searchsorted(signed_up, day, side="right"))  # sign-ups are sorted
        new = int(np.searchsorted(signed_up, day, side="left"))
        if not here:
            continue
        rng, with_us = chance.of(day), state[:here] == WITH_US
        events, ill = chance.events(rng, pace[:here] * season[day], new, with_us, bad[day])
        gone_well = events - ill
        satisfaction[:here] *= memory
        satisfaction[:here] += world.experience.help * gone_well - world.experience.hurt * ill
        unhappy = -world.leaving.dissatisfaction * satisfaction[:here]
        costly = dear[:here] * price[day]
        tenure = day - signed_up[:here]
        hazard = (
            weak[:here]
            * np.exp(unhappy + costly + contacted.on(day)[:here])
            / (1 + tenure / world.leaving.settling_days)
        )
        leaves = with_us & (rng.random(here) < -np.expm1(-hazard))
        returns = (state[:here] == AWAY) & (rng.random(here) < back)
        for left in np.flatnonzero(leaves):
            weights = (0.0, unhappy[left], costly[left])
            latest[left] = len(absences)
            absences.append([int(left), day, -1, int(np.argmax(weights))])
        those = contacts[contacts[:, 1] == day]
        contacted.contact(day, those[:, 0], those[:, 2])
        away = rng.random(here) < world.leaving.may_return
        state[:here][leaves] = np.where(away, AWAY, GONE)[leaves]
        state[:here][returns] = WITH_US
        for who in np.flatnonzero(returns):
            absences[latest[who]][2] = day + 1
        acted = np.flatnonzero(events)
        whose.append(np.repeat(acted, events[acted]))
        when.append(np.full(len(whose[-1]), day))
        first_of = np.cumsum(events[acted]) - events[acted]
        nth = np.arange(len(whose[-1])) - np.repeat(first_of, events[acted])
        badly.append(nth < np.repeat(ill[acted], events[acted]))
    listed = np.array(absences, dtype=np.int64).reshape(-1, 4)
    return np.concatenate(whose), np.concatenate(when), np.concatenate(badly), listed
