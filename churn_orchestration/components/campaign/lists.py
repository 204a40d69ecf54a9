"""The list of a day: whom a campaign contacts, with what, and why nobody contacts the others."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.campaign.declared import CONTROL, TREATED, Action, Campaign
from churn_orchestration.churn.campaign.rows import (
    HELD,
    OF_LATE,
    WORTH,
    WORTH_HIGH,
    WORTH_LOW,
    customers,
    is_cooling,
    is_open,
    taken_this_week,
)
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.campaign.restated import keep_apart
from churn_orchestration.components.question.day_rows import Columns
from churn_orchestration.storage.day_files import damage
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from churn_orchestration.churn.campaign.allocation import Allocation
    from churn_orchestration.components.campaign.estimates import Estimates

MOST = 1e300
"""A number above all gains."""
HELD_BACK, NOT_OPEN, COOLING = "held back", "no action is open to them", "cooling down"
OFTEN, NO_VALUE, NO_PAY = "contacted often enough", "no value is forecast", "does not pay"
NOT_BEGUN = "the campaign has not begun"
UNCERTAIN, NO_ROOM = "too uncertain to pay", "no room: next in line"
COLUMNS: Columns = {
    "arm": ("text", f"{TREATED}, or {CONTROL}: held back by lot, whatever is forecast"),
    "control_share": ("double", "share of all customers that the lot holds back"),
    "question": ("text", "the churn question on whose forecasts the list acts"),
    "in_trial": (
        "boolean",
        "an action that is open to the customer is worth the day's prices of contacts and money, "
        "or as much as the last contact of a budget, whichever the arm and whatever contacts went "
        "before: from the first such day on the customer counts for the effect",
    ),
    "action": ("text", "what to do; null: nobody contacts the customer, see why"),
    "owner": ("text", "who does it"),
    "channel": ("text", "how"),
    "deadline": ("date", "the last day on which to do it; null: none is declared"),
    "churn_probability": ("double", "as forecast on as_of, 0 to 1"),
    "band": ("text", "as forecast"),
    WORTH: (
        "double",
        "what the customer is worth if kept: the declared amount; or expected spend, at least that "
        "of one purchase, for who is kept buys; null: not forecast",
    ),
    WORTH_LOW: (
        "double",
        "lower end of the interval of what a customer spends, as the value model has it; null: no "
        "outcome is known yet",
    ),
    WORTH_HIGH: ("double", "its upper end"),
    "best_action": (
        "text",
        "the action that is done or, where none is, the one that would earn most; what follows is "
        "of it; null: none is open to the customer",
    ),
    "effect": ("double", "the share of would-be leavers that it keeps, by belief"),
    "expected_gain": ("double", "churn_probability x effect x value, before its cost"),
    "gain_low": (
        "double",
        "the same at the low ends of effect and value, so wider than either; null: an end of the "
        "value is not known",
    ),
    "gain_high": ("double", "the same at their high ends"),
    "cost": ("double", "of one contact by it"),
    "why": (
        "text",
        f"null: somebody contacts the customer; else the first that holds: {NOT_BEGUN}; "
        f"{HELD_BACK}; "
        f"{NOT_OPEN}; {OFTEN}; {COOLING}; {NO_VALUE}; {NO_PAY}, its cost is no less than the "
        f"expected gain; {UNCERTAIN}, of a cautious campaign: its cost is no less than the gain at "
        f"the low end of the effect; {NO_ROOM} n",
    ),
    "next_in_line": ("bigint", "1 is contacted first, were there room; null: not waiting"),
    "contact_price": ("double", "what one more contact by best_action would have earned"),
    "hour_price": (
        "double",
        "what one more hour of the owner of best_action would have earned; null: the time of the "
        "owner has no limit",
    ),
    "money_price": ("double", "what one more unit of money would have earned"),
    "gap": ("double", "the share of the best possible gain that this list may lack, at most"),
    "decision_id": ("text", "hash of campaign, customer and as_of"),
}  # fmt: skip
PRIOR = "prior"
LEARNED_COLUMNS: Columns = {
    "effect": (
        "double",
        "the share of would-be leavers that it keeps; a learned one may be below 0: more leave",
    ),
    "effect_from": (
        "text",
        f"where the effect is from: {PRIOR}, as declared; or the version of what was learned from "
        "outcomes",
    ),
}
"""What a list of a campaign has as well that learns its effects."""


def store_list(
    tables: Tables, campaign: Campaign, day: dt.date, estimates: "Estimates | None" = None
) -> int:
    """Store the list of a day; its rows. After a later one was stored it is issued and stays, and
    what it would be now is kept apart where it differs.

    ``estimates``: what the campaign has learned; None: it does not learn.
    """
    table = campaign.table
    stored = tables.recorded_file(table, day)
    frame, listed = _listed(tables, campaign, day, estimates)
    tables.db.register("_list", frame.assign(**listed))
    select = _typed(tables, campaign, day, {**COLUMNS, **(LEARNED_COLUMNS if estimates else {})})
    if stored and not damage(stored) and tables.newest_file_day(table, after=day):
        keep_apart(tables, campaign, day, select)
        rows = int(tables.rows(f"select count(*) from {literal(stored)}")[0][0])
    else:
        rows = tables.put_day(table, day, select)
    tables.db.unregister("_list")
    return rows


def _typed(tables: Tables, campaign: Campaign, day: dt.date, columns: Columns) -> str:
    """SQL: the rows of ``_list`` with the types of the columns, in order."""
    key, file = identifier(campaign.entity), literal(tables.day_file(campaign.forecasts, day))
    [kind] = [k for name, k, *_ in tables.rows(f"describe from {file}") if name == campaign.entity]
    typed = ", ".join(
        f"{name}::{'varchar' if kind == 'text' else kind} as {name}"
        for name, (kind, _) in columns.items()
        if name != "decision_id"
    )
    of = f"{literal(campaign.name + '|')} || {key}::varchar || {literal(f'|{day}')}"
    return (
        f"select {key}::{kind} as {key}, {literal(day)} as as_of, {typed}, "
        f"sha256({of})[:16] as decision_id from _list order by {key}"
    )


def _listed(
    tables: Tables, campaign: Campaign, day: dt.date, estimates: "Estimates | None"
) -> "tuple[pd.DataFrame, dict[str, Any]]":
    """The customers of a day, and what the campaign does about each, by column."""
    import numpy as np

    from churn_orchestration.churn.campaign.allocation import allocate

    frame = tables.db.execute(_customers(tables, campaign, day)).df()
    held = frame[HELD].to_numpy(bool)
    effects = Effects.believed(campaign)
    if estimates is not None:
        effects = effects.but(estimates.effects(frame, day))
    offers = Offers.of(campaign, frame, effects)
    costs = _numbers(campaign, "cost")
    budget = np.inf if campaign.budget is None else campaign.budget
    begun = campaign.begins is None or day >= campaign.begins
    gain = np.where(offers.eligible & begun, offers.net, np.nan)
    time, hours = time_taken(campaign)
    best = allocate(gain, costs, room(tables, campaign, day), budget, time, hours, held_back=held)
    listed = _columns(campaign, frame, held, offers, effects, best, day)
    if estimates is not None:
        listed["effect_from"] = effects.source_of(listed["best_action"])
    if not begun:  # nobody acts on it, so nobody is compared from it on
        listed |= {"in_trial": False, "why": NOT_BEGUN, "next_in_line": None}
    return frame, listed


def _customers(tables: Tables, campaign: Campaign, day: dt.date) -> str:
    def rows_of(table: str) -> str:
        return literal(tables.day_file(table, day))

    sets = {name: rows_of(f"segments.{name}") for name in campaign.segments}
    values = rows_of(campaign.values) if campaign.values else None
    return customers(campaign, rows_of(campaign.forecasts), values, sets, day)


def room(tables: Tables, campaign: Campaign, day: dt.date) -> "np.ndarray":
    """For how many contacts by each action there is room, less those of the week so far."""
    import numpy as np

    taken = {}
    if campaign.outreach is not None:
        taken = dict(tables.rows(taken_this_week(campaign, day)))

    def left(action: Action) -> float:
        week = np.inf if action.per_week is None else action.per_week - taken.get(action.name, 0)
        return max(0, min(week, np.inf if action.per_day is None else action.per_day))

    return np.array([left(action) for action in campaign.actions])


def time_taken(campaign: Campaign) -> "tuple[np.ndarray, np.ndarray]":
    """The hours that a contact by each action takes of each owner with limited time, m x k, and
    those that each has; m.
    """
    import numpy as np

    taken = [
        [
            (action.minutes or 0) / 60 if action.owner == owner else 0.0
            for action in campaign.actions
        ]
        for owner, _ in campaign.hours
    ]
    there = np.array([hours for _, hours in campaign.hours])
    return np.array(taken).reshape(len(there), len(campaign.actions)), there


@dataclass(frozen=True)
class Effects:
    """The share of would-be leavers that each of k actions keeps, of each of n customers; n x k, or
    1 x k: the same of all.

    ``source``: PRIOR, or the version of what was learned, by the name of the action.
    """

    source: Mapping[str, str]
    mean: "np.ndarray"
    low: "np.ndarray"
    high: "np.ndarray"

    @classmethod
    def believed(cls, campaign: Campaign) -> "Effects":
        """As declared."""
        ends = (_numbers(campaign, "effect", end)[None] for end in ("mean", "low", "high"))
        return cls({action.name: PRIOR for action in campaign.actions}, *ends)

    def but(self, learned: "Mapping[str, tuple[str, np.ndarray]]") -> "Effects":
        """The same with what was learned: by action its version, and mean, low and high; 3 x n."""
        import numpy as np

        if not learned:
            return self
        [customers] = {len(each[0]) for _, each in learned.values()}
        shape = (customers, len(self.source))
        ends = [np.array(np.broadcast_to(end, shape)) for end in (self.mean, self.low, self.high)]
        for place, name in enumerate(self.source):
            if name in learned:
                for end, values in zip(ends, learned[name][1], strict=True):
                    end[:, place] = values
        versions = {name: version for name, (version, _) in learned.items()}
        return Effects({**self.source, **versions}, *ends)

    def source_of(self, actions: "np.ndarray") -> list[str | None]:
        """Where the effect of each customer's action is from; none where there is no action."""
        return [self.source.get(action) for action in actions]


@dataclass(frozen=True)
class Offers:
    """What each of k actions would do for each of n customers; n x k each.

    Parameters
    ----------
    net : gain on the mean of the effect, less the cost; NaN: no value is forecast
    open, reachable : whom the condition takes; of them, who is not cooling down nor contacted often
        enough
    pays, sure : the cost is less than the gain; on a cautious campaign, at the effect's low end too
    often : who was contacted often enough; n
    """

    net: "np.ndarray"
    open: "np.ndarray"
    reachable: "np.ndarray"
    pays: "np.ndarray"
    sure: "np.ndarray"
    often: "np.ndarray"

    @property
    def eligible(self) -> "np.ndarray":
        """What may be done."""
        return self.reachable & self.pays & self.sure

    @classmethod
    def of(cls, campaign: Campaign, frame: "pd.DataFrame", effects: Effects) -> "Offers":
        """Of the customers of a day."""
        import numpy as np

        def those(column: Any) -> np.ndarray:
            names = [column(number) for number in range(len(campaign.actions))]
            return frame[names].to_numpy(bool)

        at_risk = (frame["churn_probability"] * frame[WORTH].astype(float)).to_numpy()[:, None]
        cost = _numbers(campaign, "cost")
        often = np.zeros(len(frame), bool)
        if campaign.cap:
            often = frame[OF_LATE].to_numpy() >= campaign.cap.most
        takes, net = those(is_open), at_risk * effects.mean - cost
        return cls(
            net=net, open=takes,
            reachable=takes & ~those(is_cooling) & ~often[:, None],
            pays=net > 0, often=often,
            sure=(at_risk * effects.low > cost) | (not campaign.is_cautious),
        )  # fmt: skip


def _columns(
    campaign: Campaign,
    frame: "pd.DataFrame",
    held: "np.ndarray",
    offers: Offers,
    effects: Effects,
    best: "Allocation",
    day: dt.date,
) -> dict[str, Any]:
    """What the campaign does about each customer, by column."""
    import numpy as np

    from churn_orchestration.churn.campaign.allocation import of_trial

    done = best.choice >= 0
    time, _ = time_taken(campaign)
    price = best.capacity_price + best.budget_price * _numbers(campaign, "cost")
    price = price + best.group_price @ time
    hours = {name: each for (name, _), each in zip(campaign.hours, best.group_price, strict=True)}
    an_hour = np.array([hours.get(action.owner, np.nan) for action in campaign.actions])
    earned = offers.net - price
    pays = offers.open & offers.pays & offers.sure
    line = _places(
        np.where(offers.eligible, earned, -np.inf).max(axis=1),
        ~held & ~done & offers.eligible.any(axis=1),
    )
    shown = np.where(done, best.choice, _first_of(offers, earned))
    risk = frame["churn_probability"].to_numpy()
    mean, low, high = (_at(shown, end) for end in (effects.mean, effects.low, effects.high))
    value, least, most = (frame[w].to_numpy(float) for w in (WORTH, WORTH_LOW, WORTH_HIGH))
    return {
        "arm": np.where(held, CONTROL, TREATED),
        "control_share": campaign.control,
        "question": campaign.question,
        "in_trial": of_trial(pays, offers.net, price, best.choice),
        "action": _of(best.choice, _words(campaign, "name")),
        "owner": _of(best.choice, _words(campaign, "owner")),
        "channel": _of(best.choice, _words(campaign, "channel")),
        "deadline": _deadlines(campaign, best.choice, frame["band"], day),
        "best_action": _of(shown, _words(campaign, "name")),
        "effect": mean,
        "expected_gain": risk * mean * value,
        # Of an effect that may be harm, the more a customer is worth the more is lost.
        "gain_low": risk * low * np.where(low < 0, most, least),
        "gain_high": risk * high * np.where(high < 0, least, most),
        "cost": _of(shown, _numbers(campaign, "cost")),
        "why": _why(frame, held, done, offers, line),
        "next_in_line": [int(place) or None for place in line],
        "contact_price": _of(shown, best.capacity_price),
        "hour_price": _of(shown, an_hour),
        "money_price": best.budget_price,
        "gap": best.gap,
    }


def _numbers(campaign: Campaign, *path: str) -> "np.ndarray":
    """A number of every action."""
    import numpy as np

    return np.array([float(attrgetter(".".join(path))(action)) for action in campaign.actions])


def _words(campaign: Campaign, name: str) -> "np.ndarray":
    import numpy as np

    return np.array([getattr(action, name) for action in campaign.actions], object)


def _of(action: "np.ndarray", values: "np.ndarray") -> "np.ndarray":
    """The value of each customer's action, by its number; none where that is -1."""
    import numpy as np

    none = np.array([None if values.dtype == object else np.nan], values.dtype)
    return np.concatenate([values, none])[action]


def _at(action: "np.ndarray", values: "np.ndarray") -> "np.ndarray":
    """Of values (n x k, or 1 x k) that of each customer's action; NaN where that is -1."""
    import numpy as np

    shape = (len(action), values.shape[1])
    taken = np.take_along_axis(np.broadcast_to(values, shape), action[:, None], axis=1)[:, 0]
    return np.where(action >= 0, taken, np.nan)


def _first_of(offers: Offers, earned: "np.ndarray") -> "np.ndarray":
    """The action that would earn most of what may be done; of what is open, where nothing may."""
    import numpy as np

    some = offers.eligible.any(axis=1, keepdims=True)
    taken = np.where(some, offers.eligible, offers.open)
    # A value that is not forecast is no number; then the first one that is open is shown.
    places = np.where(taken, np.nan_to_num(earned, nan=-MOST), -np.inf)
    return np.where(taken.any(axis=1), places.argmax(axis=1), -1)


def _places(earned: "np.ndarray", waits: "np.ndarray") -> "np.ndarray":
    """The places in the line of those who wait, from 1, who would earn most first; else 0."""
    import numpy as np

    result = np.zeros(len(earned), int)
    order = np.argsort(-np.where(waits, earned, -np.inf), kind="stable")[: waits.sum()]
    result[order] = np.arange(1, len(order) + 1)
    return result


def _why(
    frame: "pd.DataFrame", held: "np.ndarray", done: "np.ndarray", offers: Offers,
    line: "np.ndarray",
) -> "np.ndarray":  # fmt: skip
    """Why nobody contacts a customer; None where somebody does."""
    import numpy as np

    nobody = {
        HELD_BACK: held,
        NOT_OPEN: ~offers.open.any(axis=1),
        OFTEN: offers.often,
        COOLING: ~offers.reachable.any(axis=1),
        NO_VALUE: frame[WORTH].isna().to_numpy(),
        NO_PAY: ~(offers.reachable & offers.pays).any(axis=1),
        UNCERTAIN: ~offers.eligible.any(axis=1),
    }
    waiting = np.array([f"{NO_ROOM} {place}" for place in line], object)
    words = np.select(list(nobody.values()), [np.array(word, object) for word in nobody], waiting)
    words[done] = None
    return words


def _deadlines(
    campaign: Campaign, choice: "np.ndarray", bands: "pd.Series", day: dt.date
) -> list[dt.date | None]:
    """The last day on which each contact is to be done."""
    result: list[dt.date | None] = []
    for action, band in zip(choice, bands, strict=True):
        days = campaign.actions[action].deadline_days if action >= 0 else None
        within = days.get(band) if isinstance(days, Mapping) else days
        result.append(None if within is None else day + within * DAY)
    return result
