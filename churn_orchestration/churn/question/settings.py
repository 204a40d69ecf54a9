"""What a question may declare about its models besides the learner; the defaults hold where it
declares nothing.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

PROFIT, RECALL, PRECISION, CAPACITY = "profit", "recall", "precision", "capacity"


@dataclass(frozen=True)
class Budget:
    """Seconds of wall clock, gigabytes of memory, trials: any of them ends a search.

    ``from_entities``: with fewer customers of the rarer outcome the fixed settings stay,
    unsearched.
    """

    seconds: float
    memory_gb: float
    trials: int
    from_entities: int = 0


@dataclass(frozen=True)
class Economics:
    """What an offer to a customer costs and does; the defaults are those of the source.

    Parameters
    ----------
    offer_cost : of an offer that is accepted, as a share of the customer's value, 0..1
    contact_cost : of one contact, accepted or not, as a share of the customer's value, 0..1
    accepts, declines : alpha and beta of the Beta distribution of the share of churners whom an
        offer keeps; 6 and 14 keep 30 % of them
    """

    offer_cost: float = 0.05
    contact_cost: float = 0.005
    accepts: float = 6
    declines: float = 14

    @property
    def kept(self) -> float:
        """The share of churners whom an offer keeps, on average."""
        return self.accepts / (self.accepts + self.declines)

    @property
    def hit(self) -> float:
        """What contacting one who would churn earns, on average."""
        return self.kept * (1 - self.offer_cost) - self.contact_cost

    @property
    def miss(self) -> float:
        """What contacting one who would stay costs: the offer is taken."""
        return self.offer_cost + self.contact_cost

    @property
    def cut(self) -> float:
        """The probability of churn from which a contact pays; above 1 where none ever does.

        >>> round(Economics().cut, 4)
        0.1642
        """
        return self.miss / (self.miss + self.hit) if self.hit > 0 else 2.0

    def earned(self, churners: Any, others: Any) -> Any:
        """What contacting so many churners and so many others earns, in customers' values."""
        return self.hit * churners - self.miss * others


@dataclass(frozen=True)
class ContactRule:
    """Whom to contact of those who are scored on a day.

    Parameters
    ----------
    by : ``capacity``: those with the most at stake, as many as there is room for, of all whose
        contact is expected to pay; ``profit``: all whose contact is expected to pay, which the
        probability tells by itself; ``recall``: the fewest that find the share ``floor`` of those
        who churn; ``precision``: the most of whom the share ``floor`` would churn
    most, share : the room of a capacity, as customers a day, or as a share of those scored
    """

    by: str = CAPACITY
    floor: float | None = None
    most: int | None = None
    share: float = 0.1

    def room(self, scored: int) -> int:
        """For how many of a day's customers there is room.

        >>> ContactRule().room(95), ContactRule(most=7).room(95)
        (10, 7)
        """
        return ceil(self.share * scored) if self.most is None else self.most

    def sentence(self) -> str:
        """The rule in words."""
        room = f"the {self.share:.0%}" if self.most is None else f"the {self.most}"
        return {
            CAPACITY: (
                f"{room} of a day with the most at stake, of all whose contact is expected to pay"
            ),
            PROFIT: "all whose contact is expected to pay",
            RECALL: f"the fewest that find {self.floor or 0:.0%} of those who churn",
            PRECISION: f"the most of whom {self.floor or 0:.0%} would churn",
        }[self.by]


@dataclass(frozen=True)
class Fairness:
    """Groups of customers that are to be contacted alike.

    Parameters
    ----------
    groups : columns of ``table``, each value of which is a group
    table : ``layer.table`` with a row per customer, and the column that names them; None: the
        feature table, of whose numbers the quarters are groups
    least_ratio : of the contact rate of a group to the highest, what is fair; the four-fifths rule
    most_difference : of the true positive rate of a group to the highest, what is fair
    smallest : with fewer customers a group is not judged
    """

    groups: tuple[str, ...]
    table: str | None = None
    entity: str = ""
    least_ratio: float = 0.8
    most_difference: float = 0.1
    smallest: int = 20


@dataclass(frozen=True)
class Reasons:
    """What is kept of why a forecast is as it is.

    Parameters
    ----------
    factors : whether what raises it and what lowers it are kept, each by itself
    refits : how many models are fitted again at a training, each without a fifth of the customers,
        so that reasons about which they disagree are withheld; 0: none is
    """

    factors: bool = False
    refits: int = 0


@dataclass(frozen=True)
class Lever:
    """A feature that somebody can move, and how far it may be moved.

    Parameters
    ----------
    up : whether it may rise; else it may fall
    least, most : the values between which it may lie; None: those that the training has seen
    step : how far apart the values are that it may take; None: those that the training has seen
    """

    feature: str
    up: bool
    least: float | None = None
    most: float | None = None
    step: float | None = None
