"""The latent world of a simulated business: who its customers are, what moves them, when they
leave.

One day of a customer who is with the business, in this order (all rates are per day):

1. events    N ~ Poisson(rate x segment x season of the day)
2. each event goes badly with the probability of the day; satisfaction S <- m S - hurt x bad + help
x good,
   with the memory m = 0.5 ** (1 / half-life)
3. leaving with probability 1 - exp(-hazard),
   hazard = frailty x exp(-dissatisfaction x S + price effect x sensitivity x price) / (1 + tenure /
   settling) of those who were lately contacted, times exp(-effect of the campaign)
4. who leaves is gone for good, or, with the probability ``may_return``, away: then each later day
brings them
   back with probability 1 / away_days. Nobody who has left has events

Rate and frailty are hidden and differ from customer to customer: gamma distributed, each cut into a
few atoms with its own mean, so that a forecast can sum over them exactly. Events, whether they went
badly, segment and sign-up are seen. ``forecast`` turns this page into probabilities.
"""

import datetime as dt
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from scipy import stats

SCENARIOS = Path(__file__).parent / "scenarios"
_RATE_EDGES = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_FRAILTY_EDGES = (0, 0.2, 0.4, 0.6, 0.8, 0.95, 1)


class ScenarioError(Exception):
    """A scenario cannot be; the message names file and place."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Activity(_Section):
    """How often a customer acts.

    ``per_day``: mean over customers; ``shape`` of its gamma distribution, smaller is more uneven,
    null: all are alike; ``one_time``: the share that never acts again after the sign-up.
    """

    per_day: float = Field(0.05, gt=0)
    shape: float | None = Field(0.7, gt=0)
    one_time: float = Field(0.2, ge=0, lt=1)


class Segment(_Section):
    """A kind of customer, which is seen: its share, and its rate and sensitivity to price next to
    others'.
    """

    share: float = Field(gt=0)
    activity: float = Field(1.0, gt=0)
    sensitivity: float = Field(1.0, ge=0)


class Season(_Section):
    """Factors of activity: Monday to Sunday; a yearly wave of ``yearly`` with its ``peak``; single
    days.
    """

    weekday: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.2, 1.3, 0.7)
    yearly: float = Field(0.2, ge=0, lt=1)
    peak: dt.date = dt.date(2024, 12, 1)
    days: dict[str, float] = {"12-25": 0.1, "01-01": 0.3}


class Experience(_Section):
    """What an event does to satisfaction: a bad one hurts, a good one helps, both fade by
    half-life.
    """

    bad: float = Field(0.08, ge=0, le=1)
    hurt: float = Field(1.0, ge=0)
    help: float = Field(0.05, ge=0)
    half_life_days: float = Field(45, gt=0)


class Leaving(_Section):
    """Who leaves: ``per_day`` is the mean frailty, ``shape`` of its gamma distribution, null: all
    alike.

    ``dissatisfaction``: how strongly satisfaction moves the hazard; ``settling_days``: tenure that
    halves it; ``may_return``: share of leavers that may come back, each after ``away_days`` in the
    mean.
    """

    per_day: float = Field(0.004, ge=0)
    shape: float | None = Field(1.0, gt=0)
    dissatisfaction: float = Field(0.8, ge=0)
    settling_days: float = Field(365, gt=0)
    may_return: float = Field(0.15, ge=0, le=1)
    away_days: float = Field(120, gt=1)


class Change(_Section):
    """What is different from a day to a day, both included, reached over ``gradual_days``.

    ``bad``: probability of a bad experience; ``price``: relative rise, which moves who leaves;
    ``activity``: factor on all rates, and so on how many are quiet; ``amount``: factor on all
    amounts, which moves no customer; ``mix``: shares of the segments among those who sign up.
    """

    first: dt.date
    last: dt.date | None = None
    gradual_days: int = Field(0, ge=0)
    bad: float | None = Field(None, ge=0, le=1)
    price: float | None = None
    activity: float | None = Field(None, gt=0)
    amount: float | None = Field(None, gt=0)
    mix: dict[str, float] | None = None


OF_LISTS = {"listed", "made", "within_days"}
"""What only a campaign has that follows a platform's lists."""


class Campaign(_Section):
    """Outreach: on each of its days customers are drawn, of whom a share is a control and not
    contacted.

    ``per_day``: probability that a customer of 30 days or more is drawn; ``control``: share that is
    left alone; ``lots``: a business and the name of a campaign that it declares, by whose lots that
    share is left alone, so that the contacts are its own; ``effect``: by segment, how much the log
    of the hazard falls for ``lasting_days`` from the next day on; 0 if not named, and negative
    where it drives customers away.

    ``listed``: CSV or Parquet with the entity's column, ``day`` and ``action``, as a platform lists
    whom to contact from the next day on. Then nobody is drawn: of the rows of this action from
    ``first`` to ``last`` the share ``made`` becomes a contact, within ``within_days``.
    """

    action: str
    first: dt.date
    last: dt.date
    per_day: float | None = Field(None, gt=0, le=1)
    control: float = Field(0.5, ge=0, lt=1)
    lots: tuple[str, str] | None = None
    effect: dict[str, float]
    lasting_days: int = Field(60, gt=0)
    listed: Path | None = None
    made: float = Field(1, gt=0, le=1)
    within_days: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _drawn_or_listed(self) -> "Campaign":
        if (self.per_day is None) == (self.listed is None):
            raise ValueError(f"{self.action}: one of per_day and listed says whom it contacts")
        drawn, listed = {"control", "lots"}, {"made", "within_days"}
        if wrong := self.model_fields_set & (listed if self.listed is None else drawn):
            whom = "drawn" if self.listed is None else "listed"
            raise ValueError(f"{self.action}: {min(wrong)} is not of customers who are {whom}")
        if self.listed and not self.listed.is_file():
            raise ValueError(f"{self.action}: listed: there is no file {self.listed}")
        return self

    @model_serializer(mode="wrap")
    def _as_noted(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is noted beside the files: of a list what is in it, wherever it lies."""
        noted: dict[str, Any] = fields(self)
        if self.listed is None:
            return {name: noted[name] for name in noted if name not in OF_LISTS}
        return noted | {"listed": hashlib.sha256(self.listed.read_bytes()).hexdigest()}


class Mail(_Section):
    """A newsletter to every customer of a shop, each ``every_days`` from the sign-up on.

    ``opened``: share that those open who are with the shop; ``opened_after``: that those open who
    have left, the same unless a scenario says so, for then it tells who has left; ``clicked``:
    share of the opened ones.
    """

    every_days: int = Field(28, gt=0)
    opened: float = Field(0.3, gt=0, lt=1)
    opened_after: float = Field(0.3, gt=0, lt=1)
    clicked: float = Field(0.15, ge=0, le=1)

    REPORTED_AFTER_DAYS: ClassVar = 3

    @property
    def tells(self) -> bool:
        """Whether what is opened says anything of who has left."""
        return self.opened != self.opened_after


class Renamed(_Section):
    """A column that has another name in the files from a day on."""

    first: dt.date
    table: str
    column: str
    to: str


class Currency(_Section):
    """Amounts in another currency from a day on, at a rate; no column says so."""

    first: dt.date
    rate: float = Field(gt=0)


class Resent(_Section):
    """All orders of a day come again in the file of a later one, 10 % higher: the first ones were
    wrong.
    """

    day: dt.date
    sent_on: dt.date


class Outage(_Section):
    """Days, both included, of whose orders a share was never recorded; null: it never ends."""

    first: dt.date
    last: dt.date | None = None
    share: float = Field(1.0, gt=0, le=1)


class Recoded(_Section):
    """A value of a column of the orders that is written another way from a day on."""

    first: dt.date
    column: Literal["channel", "status"]
    value: str
    to: str


class Copied(Resent):
    """A file of orders that comes once more, as it was, as a part of that of a later day."""


class Faults(_Section):
    """What is wrong with the files; shares are of all orders.

    ``late``: come 1 to ``most_days_late`` days after their own day; ``duplicate``: written twice in
    a file; ``malformed``: extra rows that no contract takes; ``future_dated``: extra rows of a day
    to come; ``missing``: days without a file, whose rows are lost; ``in_cents_from``: amounts in
    another unit; ``resent``: days that come once more, corrected; ``copied``: as they were;
    ``recoded``: another code.

    Of both businesses: ``personal_in_text``, the share of messages or reviews with an e-mail
    address in them. Of a help desk alone: ``leaky_tag``: tickets of companies that will leave are
    tagged CHURN_RISK.
    """

    late: float = Field(0, ge=0, le=1)
    most_days_late: int = Field(10, ge=1)
    duplicate: float = Field(0, ge=0, le=1)
    malformed: float = Field(0, ge=0, le=1)
    future_dated: float = Field(0, ge=0, le=1)
    missing: tuple[dt.date, ...] = ()
    renamed: tuple[Renamed, ...] = ()
    in_cents_from: dt.date | None = None
    in_currency: Currency | None = None
    resent: tuple[Resent, ...] = ()
    outages: tuple[Outage, ...] = ()
    recoded: tuple[Recoded, ...] = ()
    copied: tuple[Copied, ...] = ()
    personal_in_text: float = Field(0, ge=0, le=1)
    leaky_tag: bool = False

    OF_A_HELPDESK: ClassVar = {"personal_in_text", "leaky_tag"}
    OF_A_SHOP_TOO: ClassVar = {"personal_in_text"}


class World(_Section):
    """A scenario: a business, its latent world, and what changes in it when.

    ``growth_per_year``: how many more sign up from year to year, relative; ``price_effect``: of a
    price that is 100 % up on the log of the hazard, at sensitivity 1. ``new_channel_from``: from
    this day on three of ten orders come by a channel, ``marketplace``, that there was not before;
    it moves nobody.
    """

    about: str
    business: Literal["retail", "helpdesk"] = "retail"
    first_day: dt.date = dt.date(2023, 1, 1)
    days: int = Field(730, gt=0)
    customers: int = Field(5000, gt=0)
    seed: int = 7
    growth_per_year: float = Field(0.2, ge=0)
    segments: dict[str, Segment] = {
        "consumer": Segment(share=0.8),
        "small_business": Segment(share=0.15, activity=1.6, sensitivity=1.5),
        "company": Segment(share=0.05, activity=2.5, sensitivity=0.5),
    }
    activity: Activity = Activity()
    season: Season = Season()
    experience: Experience = Experience()
    leaving: Leaving = Leaving()
    price_effect: float = 4.0
    changes: tuple[Change, ...] = ()
    new_channel_from: dt.date | None = None
    outreach: tuple[Campaign, ...] = ()
    mail: Mail = Mail()
    faults: Faults = Faults()

    @model_validator(mode="after")
    def _can_be(self) -> "World":
        if len(self.season.weekday) != 7:
            raise ValueError(f"season: weekday has {len(self.season.weekday)} factors, wanted 7")
        declared, own = self.faults.model_fields_set, Faults.OF_A_HELPDESK
        if wrong := (declared - own if self.cancels else declared & (own - Faults.OF_A_SHOP_TOO)):
            raise ValueError(f"faults: {min(wrong)} is no fault of the business {self.business}")
        if self.cancels and self.leaving.may_return:
            raise ValueError(
                "leaving: may_return: a company that has cancelled does not return, wanted 0"
            )
        of_shops = {"new_channel_from", "mail"} & self.model_fields_set
        drawn = any(campaign.listed is None for campaign in self.outreach)
        if self.cancels and (of_shops or drawn or any(change.amount for change in self.changes)):
            message = "outreach without lists, new_channel_from, mail and changes of amount"
            raise ValueError(f"{message}: a help desk has none of them")
        for again in (*self.faults.resent, *self.faults.copied):
            if again.sent_on <= again.day:
                raise ValueError(f"faults: resent: {again.sent_on} is not after {again.day}")
        for campaign in self.outreach:
            if unknown := sorted(set(campaign.effect) - set(self.segments)):
                raise ValueError(f"outreach: there is no segment {unknown[0]}")
        for change in self.changes:
            if change.last and change.last < change.first:
                raise ValueError(f"changes: {change.last} lies before {change.first}")
            if unknown := sorted(set(change.mix or ()) - set(self.segments)):
                raise ValueError(f"changes: there is no segment {unknown[0]}")
        return self

    @classmethod
    def read(cls, scenario: str, **given: Any) -> "World":
        """A scenario by its name, or a YAML file of one's own; ``given`` replaces what it says.

        Raises
        ------
        ScenarioError : there is none, or it says what cannot be
        """
        path = _path_of(scenario)
        try:
            said = yaml.safe_load(path.read_text(encoding="utf-8"))
            if isinstance(said, dict) and "like" in said:
                like = _path_of(str(said.pop("like")))
                said = {**yaml.safe_load(like.read_text(encoding="utf-8")), **said}
            return cls.model_validate({**said, **given})
        except (yaml.YAMLError, TypeError) as error:
            raise ScenarioError(f"{path}: no settings in YAML: {error}") from None
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, f['loc'])) or 'scenario'}: {f['msg']}" for f in error.errors()
            ]
            raise ScenarioError(f"{path}: " + "; ".join(faults)) from None

    @property
    def cancels(self) -> bool:
        """Whether leaving is seen, as a cancellation, and not only a silence that goes on."""
        return self.business == "helpdesk"

    @property
    def follows_lists(self) -> bool:
        """Whether a platform says whom to contact. Then chance is drawn for each customer and day
        whoever is contacted, so that with and without an effect a world is the same but for it.
        """
        return any(campaign.listed for campaign in self.outreach)

    def refuse_beyond(self, as_of: dt.date, horizon_days: int) -> None:
        """Raise ScenarioError where a day, or the horizon after it, lies beyond the simulation."""
        last = as_of + dt.timedelta(days=horizon_days)
        if horizon_days < 1 or as_of < self.first_day or last > self.last_day:
            raise ScenarioError(
                f"bars of {as_of} and {horizon_days} days after it: the simulation goes from "
                f"{self.first_day} to {self.last_day}, and a horizon is at least 1 day"
            )

    @property
    def last_day(self) -> dt.date:
        """The last day, inclusive."""
        return self.first_day + dt.timedelta(days=self.days - 1)

    def ordinal(self, day: dt.date) -> int:
        """Days since the first day."""
        return (day - self.first_day).days

    @cached_property
    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """The hidden rates, events a day, and their probabilities; the first, 0, is of one-time
        customers.
        """
        rates, shares = _atoms(self.activity.per_day, self.activity.shape, _RATE_EDGES)
        again = 1 - self.activity.one_time
        return np.append(0.0, rates), np.append(self.activity.one_time, again * shares)

    @cached_property
    def frailties(self) -> tuple[np.ndarray, np.ndarray]:
        """The hidden frailties, a day, and their probabilities."""
        return _atoms(self.leaving.per_day, self.leaving.shape, _FRAILTY_EDGES)

    def seasons(self, days: int | None = None) -> np.ndarray:
        """The factor of activity of each of ``days`` (None: the whole period), changes included."""
        at = self._dates(days)
        weekday = np.array(self.season.weekday)[[day.weekday() for day in at]]
        phase = np.array([(day - self.season.peak).days for day in at]) * (2 * np.pi / 365.25)
        single = np.array([self.season.days.get(f"{day:%m-%d}", 1.0) for day in at])
        return (
            weekday
            * (1 + self.season.yearly * np.cos(phase))
            * single
            * self._course("activity", 1.0, at)
        )

    def bad(self, days: int | None = None) -> np.ndarray:
        """The probability of each day that an event goes badly."""
        return self._course("bad", self.experience.bad, self._dates(days))

    def prices(self, days: int | None = None) -> np.ndarray:
        """The relative rise of the price on each day."""
        return self._course("price", 0.0, self._dates(days))

    def amounts(self) -> np.ndarray:
        """The factor on all amounts on each day."""
        return self._course("amount", 1.0, self._dates(None))

    def effects(self) -> np.ndarray:
        """How much a contact lowers the log of the hazard, (campaigns, segments)."""
        named = [
            [campaign.effect.get(name, 0.0) for name in self.segments] for campaign in self.outreach
        ]
        return np.array(named).reshape(len(self.outreach), len(self.segments))

    def sign_up_weights(self) -> np.ndarray:
        """How likely a sign-up falls on each day; they sum to 1."""
        grown = (1 + self.growth_per_year) ** (np.arange(self.days) / 365.25)
        weights = (
            grown * np.array(self.season.weekday)[[day.weekday() for day in self._dates(None)]]
        )
        return weights / weights.sum()

    def shares_of_segments(self) -> np.ndarray:
        """The share of each segment among those who sign up on each day, (days, segments)."""
        usual = np.array([segment.share for segment in self.segments.values()])
        shares = np.tile(usual / usual.sum(), (self.days, 1))
        for change in self.changes:
            if change.mix:
                mixed = np.array([change.mix.get(name, 0.0) for name in self.segments])
                weight = self._weight(change, self._dates(None))[:, None]
                shares = (1 - weight) * shares + weight * mixed / mixed.sum()
        return shares

    def _dates(self, days: int | None) -> list[dt.date]:
        return [self.first_day + dt.timedelta(days=n) for n in range(days or self.days)]

    def _course(self, what: str, usual: float, at: list[dt.date]) -> np.ndarray:
        course = np.full(len(at), usual)
        for change in self.changes:
            value = getattr(change, what)
            if value is not None:
                weight = self._weight(change, at)
                course = (1 - weight) * course + weight * value
        return course

    def _weight(self, change: Change, at: list[dt.date]) -> np.ndarray:
        """0 before a change, 1 where it is reached, between them on its way; 0 again after its last
        day.
        """
        since = np.array([(day - change.first).days + 1 for day in at], dtype=float)
        weight = np.clip(since / (change.gradual_days + 1), 0, 1)
        if change.last:
            weight[[day > change.last for day in at]] = 0
        return weight


def _path_of(scenario: str) -> Path:
    path = (
        Path(scenario) if scenario.endswith((".yaml", ".yml")) else SCENARIOS / f"{scenario}.yaml"
    )
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SCENARIOS.glob("*.yaml")))
        raise ScenarioError(
            f"there is no scenario {scenario} (known: {known}; or give a .yaml file)"
        )
    return path


def _atoms(
    mean: float, shape: float | None, edges: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """A gamma distribution cut at quantiles: the mean of each piece, and its probability.

    The mean of a gamma between two quantiles is a difference of distribution functions of shape +
    1.
    """
    if shape is None or mean == 0:
        return np.array([mean]), np.array([1.0])
    cuts = stats.gamma.ppf(edges, shape)
    shares = np.diff(edges)
    means = np.diff(stats.gamma.cdf(cuts, shape + 1)) * shape / shares
    return means * mean / shape, shares
