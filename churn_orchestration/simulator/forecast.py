"""How well a simulated world can be forecast at all: from what is visible, and from everything.

A customer is a hidden Markov chain. Hidden: which rate, which frailty, and whether they are with
the business, away, or gone. Seen: the sign-up, the segment, the events of each day and which of
them went badly, from which satisfaction follows, and which mails were opened. The forward algorithm
gives P(hidden | history). A horizon without an event is one more history, along which satisfaction
only fades, so P(no event in it) is a sum of such chains: exact, because rates and frailties are few
atoms. Where leaving is seen, futures are drawn instead. Source: Rabiner 1989, "A tutorial on hidden
Markov models", III A.
"""

import copy
import datetime as dt

import numpy as np
import pandas as pd
from scipy.special import gammaln

from churn_orchestration.simulator.lives import AWAY, GONE, WITH_US, Contacted, Lives
from churn_orchestration.simulator.world import World


class _Chain:
    """Weights (customer, rate, frailty) of being with the business, away and gone, moved on day by
    day.
    """

    def __init__(self, world: World, signed_up: np.ndarray, segment: np.ndarray, days: int) -> None:
        kinds = list(world.segments.values())
        self.world, self.signed_up, self.segment = world, signed_up, segment
        self.pace = np.outer([kind.activity for kind in kinds], world.rates[0])
        self.dear = world.price_effect * np.array([kind.sensitivity for kind in kinds])
        self.season, self.price = world.seasons(days), world.prices(days)
        self.memory = 0.5 ** (1 / world.experience.half_life_days)
        self.satisfaction, self.contacted = np.zeros(len(signed_up)), Contacted(world, segment)
        prior = np.outer(world.rates[1], world.frailties[1])
        self.with_us = np.tile(prior, (len(signed_up), 1, 1))
        self.away, self.gone = np.zeros_like(self.with_us), np.zeros_like(self.with_us)

    def mail(self, who: np.ndarray, opened: np.ndarray) -> None:
        """Of mails of the day that comes next: whether those customers opened them."""
        mail = self.world.mail
        self.with_us[who] *= np.where(opened, mail.opened, 1 - mail.opened)[:, None, None]
        after = np.where(opened, mail.opened_after, 1 - mail.opened_after)[:, None, None]
        self.away[who] *= after
        self.gone[who] *= after

    def step(self, day: int, events: np.ndarray, ill: np.ndarray) -> None:
        """A day on which so many events of each customer are seen, ``ill`` of them bad."""
        new, there = self.signed_up == day, self.signed_up <= day
        mean = self.pace * self.season[day]  # (segment, rate)
        chance = np.exp(-mean)[self.segment]
        busy = np.flatnonzero(events * ~new)
        if len(busy):
            means, n = mean[self.segment[busy]], events[busy, None]
            log_mean = np.log(np.where(means > 0, means, 1))
            chance[busy] = np.where(means > 0, np.exp(n * log_mean - means - gammaln(n + 1)), 0)
        chance[new | ~there] = 1
        self.with_us *= chance[:, :, None]
        acted = (events > 0) & ~new
        self.away[acted], self.gone[acted] = 0, 0
        help_, hurt = self.world.experience.help, self.world.experience.hurt
        self.satisfaction *= self.memory
        self.satisfaction += help_ * (events - ill) - hurt * ill
        self._leave(day, there)

    def _leave(self, day: int, there: np.ndarray) -> None:
        leaving = self.world.leaving
        moved = np.exp(
            -leaving.dissatisfaction * self.satisfaction
            + self.dear[self.segment] * self.price[day]
            + self.contacted.on(day)
        )
        moved *= there / (1 + np.maximum(day - self.signed_up, 0) / leaving.settling_days)
        leaves = -np.expm1(-moved[:, None] * self.world.frailties[0])
        left = self.with_us * leaves[:, None, :]
        back = self.away / leaving.away_days
        self.with_us += back - left
        self.away += leaving.may_return * left - back
        self.gone += (1 - leaving.may_return) * left

    def stay(self) -> None:
        """It is seen that nobody has left."""
        self.away[:], self.gone[:] = 0, 0
        self.normalise()

    def normalise(self) -> None:
        total = self.total()[:, None, None]
        for weights in (self.with_us, self.away, self.gone):
            weights /= total

    def total(self) -> np.ndarray:
        weights: np.ndarray = (self.with_us + self.away + self.gone).sum(axis=(1, 2))
        return weights

    def quiet(self, first: int, days: int) -> np.ndarray:
        """The probability that no event follows on ``days`` days from ``first``; it moves the chain
        there.
        """
        self.normalise()
        nothing = np.zeros(len(self.signed_up), dtype=np.int64)
        for day in range(first, first + days):
            self.step(day, nothing, nothing)
        return np.minimum(self.total(), 1)  # but for rounding


def best_forecasts(world: World, lives: Lives, as_of: dt.date, horizon_days: int) -> pd.DataFrame:
    """P(no event in the horizon | all that is visible at the end of ``as_of``): no model can do
    better.

    It knows the world's page, not which rate and frailty a customer has, nor who has left. The
    changes that the world has in store are known to it too, as an announced price is; contacts to
    come are not.

    Returns
    -------
    customer (number from 0), best_probability; one row a customer who has signed up by then, in
    order
    """
    last = world.ordinal(as_of)
    chain, known = _seen(world, lives, last, horizon_days)
    _look(chain, lives, known, last)
    numbers = lives.first + np.flatnonzero(known)
    return pd.DataFrame(
        {"customer": numbers, "best_probability": chain.quiet(last + 1, horizon_days)}
    )


def _look(chain: _Chain, lives: Lives, known: np.ndarray, last: int) -> None:
    """Move a chain along what was seen of its customers until the end of a day."""
    seen = lives.day <= last
    order = np.argsort(lives.day[seen], kind="stable")
    day, who, ill = lives.day[seen][order], lives.customer[seen][order], lives.bad[seen][order]
    place = np.cumsum(known) - 1
    edges = np.searchsorted(day, np.arange(last + 2))
    message = chain.world.mail.tells & (
        lives.mails[:, 1] <= last - chain.world.mail.REPORTED_AFTER_DAYS
    )
    mails = lives.mails[message]
    mails = mails[np.argsort(mails[:, 1], kind="stable")]
    mailed = np.searchsorted(mails[:, 1], np.arange(last + 2))
    for today in range(int(lives.signed_up[known].min(initial=last)), last + 1):
        those = slice(edges[today], edges[today + 1])
        events = np.bincount(place[who[those]], minlength=int(known.sum()))
        bad = np.bincount(place[who[those]], weights=ill[those], minlength=int(known.sum()))
        sent = mails[mailed[today] : mailed[today + 1]]
        chain.mail(place[sent[:, 0]], sent[:, 2] == 1)
        chain.step(today, events, bad.astype(np.int64))
        touched = lives.contacts[(lives.contacts[:, 1] == today) & (lives.contacts[:, 3] == 1)]
        chain.contacted.contact(today, place[touched[:, 0]], touched[:, 2])
        if chain.world.cancels:
            chain.stay()
        elif today % 30 == 0:
            chain.normalise()


def latent_oracle(world: World, lives: Lives, as_of: dt.date, horizon_days: int) -> pd.DataFrame:
    """The same by who knows rate, frailty and state of everybody: only chance remains.

    Returns
    -------
    customer (number from 0), oracle_probability; one row a customer who has signed up by then, in
    order
    """
    last = world.ordinal(as_of)
    who = np.flatnonzero(lives.signed_up <= last)
    chain = _knowing(world, lives, last, who, horizon_days)
    return pd.DataFrame(
        {"customer": lives.first + who, "oracle_probability": chain.quiet(last + 1, horizon_days)}
    )


def outreach_effects(world: World, lives: Lives, horizon_days: int) -> pd.DataFrame:
    """What every contact does: P(no event in the horizon | contacted) - P(the same | not), knowing
    all.

    Returns
    -------
    customer (number from 0), day, campaign, treated, true_effect: one row a contact or control, by
    day; below 0 where a contact keeps. Contacts that come later are left out of both. Of a world
    that follows lists true_effect is missing: what they do shows in the same world without it
    """
    columns = ["customer", "day", "campaign", "treated", "true_effect"]
    if world.follows_lists:
        touched = pd.DataFrame(lives.contacts, columns=columns[:4]).astype({"treated": bool})
        return touched.assign(customer=touched["customer"] + lives.first, true_effect=np.nan)
    result = []
    for day, campaign in np.unique(lives.contacts[:, 1:3], axis=0).tolist():
        those = lives.contacts[(lives.contacts[:, 1] == day) & (lives.contacts[:, 2] == campaign)]
        alone = _knowing(world, lives, day, those[:, 0], horizon_days, contacts_until=day - 1)
        reached = copy.deepcopy(alone)
        reached.contacted.contact(day, np.arange(len(those)), those[:, 2])
        effect = reached.quiet(day + 1, horizon_days) - alone.quiet(day + 1, horizon_days)
        result.append(np.column_stack([those, effect]))
    every = np.concatenate(result or [np.empty((0, 5))])
    table = pd.DataFrame(every, columns=columns)
    table = table.astype({"customer": int, "day": int, "campaign": int, "treated": bool})
    return table.assign(customer=table["customer"] + lives.first)


def _knowing(
    world: World,
    lives: Lives,
    last: int,
    who: np.ndarray,
    horizon_days: int,
    contacts_until: int | None = None,
) -> _Chain:
    """The chain of some customers of whom all is known at the end of a day, contacts until one
    before it.
    """
    chain = _Chain(world, lives.signed_up[who], lives.segment[who], last + horizon_days + 1)
    place = np.full(lives.customers, -1)
    place[who] = np.arange(len(who))
    until = last if contacts_until is None else contacts_until
    touched = lives.contacts[(lives.contacts[:, 1] <= until) & (lives.contacts[:, 3] == 1)]
    for day in np.unique(touched[:, 1]):
        those = touched[(touched[:, 1] == day) & (place[touched[:, 0]] >= 0)]
        chain.contacted.contact(day, place[those[:, 0]], those[:, 2])
    own = np.zeros_like(chain.with_us)
    own[np.arange(len(who)), lives.rate[who], lives.frailty[who]] = 1
    with_us = lives.state_at(last)[who]
    chain.with_us = own * with_us[:, None, None]
    # Of one who is not with us it is hidden only whether they may come back, which they do by
    # chance.
    gone = own * ~with_us[:, None, None]
    may = world.leaving.may_return
    absent = last - _left(lives, last)[who]
    still = may * (1 - 1 / world.leaving.away_days) ** np.maximum(absent, 0)
    likely = (still / np.where(still + 1 - may > 0, still + 1 - may, 1))[:, None, None]
    chain.away, chain.gone = gone * likely, gone * (1 - likely)
    chain.satisfaction = _satisfaction(world, lives, last)[who]
    return chain


PATHS = 400
"""Futures drawn of each customer where what is to come moves who leaves."""


def leaving_forecasts(
    world: World, lives: Lives, as_of: dt.date, horizon_days: int
) -> pd.DataFrame:
    """P(leaves in the horizon) where leaving is seen: of the best forecast and of the latent
    oracle.

    What is to come sours or pleases on the way, so there is no closed form. Futures are drawn, of
    the rates that the history leaves possible; whether one leaves on such a way is not drawn but
    summed over frailties: 1 - exp(-frailty x summed hazard). Seeded by the world.

    Returns
    -------
    customer (number from 0), best_probability, best_error (its standard error), oracle_probability,
    cancels: one row a customer who has signed up and not left by then, in order
    """
    last = world.ordinal(as_of)
    chain, known = _seen(world, lives, last, horizon_days)
    _look(chain, lives, known, last)
    left = np.full(lives.customers, np.iinfo(np.int64).max)
    left[lives.absences[:, 0]] = lives.absences[:, 1]
    who = np.flatnonzero(known)
    stays = left[who] > last
    rng = np.random.default_rng([world.seed, lives.first, last])
    rates = chain.with_us.sum(axis=2)[stays]
    drawn = (rng.random((len(rates), PATHS, 1)) > rates.cumsum(axis=1)[:, None, :-1]).sum(axis=2)
    frailty = np.take_along_axis(chain.with_us[stays], drawn[:, :, None], axis=1)
    frailty /= frailty.sum(axis=2, keepdims=True)
    sour = chain.satisfaction[stays]
    leaves = (
        frailty * -np.expm1(-_hazard(chain, stays, drawn, sour, last, horizon_days, rng))
    ).sum(axis=2)
    own = np.repeat(lives.rate[who[stays]][:, None], PATHS, axis=1)
    hazards = _hazard(chain, stays, own, sour, last, horizon_days, rng)
    truly = -np.expm1(-hazards[np.arange(len(own)), :, lives.frailty[who[stays]]])
    return pd.DataFrame(
        {
            "customer": lives.first + who[stays],
            "best_probability": leaves.mean(axis=1),
            "best_error": leaves.std(axis=1, ddof=1) / np.sqrt(PATHS),
            "oracle_probability": truly.mean(axis=1),
            "cancels": left[who[stays]] <= last + horizon_days,
        }
    )


def _hazard(
    chain: _Chain,
    stays: np.ndarray,
    rate: np.ndarray,
    satisfaction: np.ndarray,
    last: int,
    days: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Summed hazards of drawn futures, (customer, path, frailty), of the places ``rate`` (customer,
    path).
    """
    world, segment = chain.world, chain.segment[stays]
    pace = chain.pace[segment[:, None], rate]
    sour = np.repeat(satisfaction[:, None], rate.shape[1], axis=1)
    bad, summed = world.bad(last + days + 1), np.zeros(rate.shape)
    tenure = last - chain.signed_up[stays]
    for day in range(last + 1, last + 1 + days):
        events = rng.poisson(pace * chain.season[day])
        ill = rng.binomial(events, bad[day])
        sour *= chain.memory
        sour += world.experience.help * (events - ill) - world.experience.hurt * ill
        settled = 1 + (tenure + day - last) / world.leaving.settling_days
        costly = chain.dear[segment] * chain.price[day]
        summed += np.exp(costly[:, None] - world.leaving.dissatisfaction * sour) / settled[:, None]
    return summed[:, :, None] * world.frailties[0]


def expected_worth(
    world: World, lives: Lives, as_of: dt.date, horizon_days: int, worth: np.ndarray
) -> pd.DataFrame:
    """What the events of the horizon are expected to be worth, by who knows all: over drawn
    futures.

    ``worth``: of an event, (customer of the block, day of the horizon). What is drawn is how
    satisfaction goes and who leaves and comes back; the events of those who are there are not
    counted but expected.

    Returns
    -------
    customer (number from 0), expected, error (its standard error); one row a customer who has
    signed up by then, in order
    """
    last, leaving = world.ordinal(as_of), world.leaving
    who = np.flatnonzero(lives.signed_up <= last)
    chain = _knowing(world, lives, last, who, horizon_days)
    rng = np.random.default_rng([world.seed, lives.first, last, horizon_days])
    shape = len(who), PATHS
    away = np.where(rng.random(shape) < chain.away.sum(axis=(1, 2))[:, None], AWAY, GONE)
    state = np.where(lives.state_at(last)[who][:, None], WITH_US, away).astype(np.int8)
    pace = chain.pace[chain.segment, lives.rate[who]]
    frailty = world.frailties[0][lives.frailty[who]]
    sour, total = np.repeat(chain.satisfaction[:, None], PATHS, axis=1), np.zeros(shape)
    bad = world.bad(last + horizon_days + 1)
    for ahead in range(horizon_days):
        day, here = last + 1 + ahead, state == WITH_US
        mean = pace * chain.season[day]
        total += here * (mean * worth[who, ahead])[:, None]
        events = rng.poisson(mean[:, None], shape) * here
        ill = rng.binomial(events, bad[day])
        sour *= chain.memory
        sour += world.experience.help * (events - ill) - world.experience.hurt * ill
        settled = 1 + (day - chain.signed_up) / leaving.settling_days
        moved = chain.dear[chain.segment] * chain.price[day] + chain.contacted.on(day)
        hazard = (frailty * np.exp(moved) / settled)[:, None] * np.exp(
            -leaving.dissatisfaction * sour
        )
        leaves = here & (rng.random(shape) < -np.expm1(-hazard))
        returns = (state == AWAY) & (rng.random(shape) < 1 / leaving.away_days)
        state[leaves] = np.where(rng.random(int(leaves.sum())) < leaving.may_return, AWAY, GONE)
        state[returns] = WITH_US
    return pd.DataFrame(
        {
            "customer": lives.first + who,
            "expected": total.mean(axis=1),
            "error": total.std(axis=1, ddof=1) / np.sqrt(PATHS),
        }
    )


def outcomes(world: World, lives: Lives, as_of: dt.date, horizon_days: int) -> pd.DataFrame:
    """What came: customer and whether no event followed in the horizon, of all who had signed
    up.
    """
    last = world.ordinal(as_of)
    known = lives.signed_up <= last
    after = (lives.day > last) & (lives.day <= last + horizon_days)
    quiet = np.bincount(lives.customer[after], minlength=lives.customers) == 0
    return pd.DataFrame({"customer": lives.first + np.flatnonzero(known), "quiet": quiet[known]})


def _seen(world: World, lives: Lives, last: int, horizon_days: int) -> tuple[_Chain, np.ndarray]:
    known = lives.signed_up <= last
    return _Chain(
        world, lives.signed_up[known], lives.segment[known], last + horizon_days + 1
    ), known


def _satisfaction(world: World, lives: Lives, last: int) -> np.ndarray:
    """Of each customer at the end of a day: the sum of what their events did, each faded since."""
    seen = lives.day <= last
    memory = 0.5 ** (1 / world.experience.half_life_days)
    did = np.where(lives.bad, -world.experience.hurt, world.experience.help)[seen]
    faded = did * memory ** (last - lives.day[seen])
    result: np.ndarray = np.bincount(lives.customer[seen], weights=faded, minlength=lives.customers)
    return result


def _left(lives: Lives, last: int) -> np.ndarray:
    who, day, _, _ = lives.absences[lives.absences[:, 1] <= last].T
    left = np.full(lives.customers, last)
    left[who] = day  # of several absences the last counts
    return left
