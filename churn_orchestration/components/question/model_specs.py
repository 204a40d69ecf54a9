"""The blocks of a churn question's YAML that say how its models are sought, judged and acted on."""

from typing import Literal

import dagster as dg
from pydantic import Field, model_validator

from churn_orchestration.churn.protocol import ENTITY_FOLDS
from churn_orchestration.churn.question.settings import (
    CAPACITY,
    PROFIT,
    Budget,
    ContactRule,
    Economics,
    Fairness,
    Lever,
    Reasons,
)


class SearchSpec(dg.Model, dg.Resolvable):
    """What a search for a better family of learners and better settings may take; without the block
    the fixed settings stay.
    """

    minutes: float = Field(1, gt=0, description="wall clock")
    memory_gb: float = Field(4, gt=0, description="memory of the process that tries")
    trials: int = Field(
        100,
        ge=2,
        description="how many settings to try, the fixed ones of each family first; if they end "
        "before the minutes, the same is tried on every machine",
    )
    from_customers: int = Field(
        2_000,
        ge=0,
        description="with fewer customers of the rarer outcome the fixed settings stay",
    )

    def budget(self) -> Budget:
        """In the words of ``churn.settings``."""
        return Budget(60 * self.minutes, self.memory_gb, self.trials, self.from_customers)


class EconomicsSpec(dg.Model, dg.Resolvable):
    """What an offer costs and does, in shares of what a customer is worth."""

    offer_cost: float = Field(0.05, ge=0, lt=1, description="of an offer that is accepted")
    contact_cost: float = Field(0.005, ge=0, lt=1, description="of one contact, accepted or not")
    kept: float = Field(
        0.3, gt=0, lt=1, description="share of the churners whom an offer keeps, on average"
    )
    kept_seen: float = Field(
        20,
        gt=0,
        description="how sure that share is: as if seen on so many churners who got an offer",
    )

    def economics(self) -> Economics:
        """In the words of ``churn.settings``."""
        accepts = self.kept * self.kept_seen
        return Economics(self.offer_cost, self.contact_cost, accepts, self.kept_seen - accepts)


class ContactSpec(dg.Model, dg.Resolvable):
    """Whom to contact of those who are scored on a day."""

    by: Literal["capacity", "profit", "recall", "precision"] = Field(
        "capacity",
        description="capacity: those with the most at stake, of all whose contact is expected to "
        "pay, as many as there is room for; profit: all whose contact is expected to "
        "pay; recall: the fewest that find the share `floor` of the churners; "
        "precision: the most of whom the share `floor` would churn",
    )
    floor: float | None = Field(None, gt=0, le=1, description="with recall and precision")
    most: int | None = Field(None, ge=1, description="with capacity: customers a day")
    share: float = Field(
        0.1, gt=0, le=1, description="with capacity and without `most`: of those scored"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ContactSpec":
        fits = {CAPACITY: {"most", "share"}, PROFIT: set[str]()}.get(self.by, {"floor"})
        given = self.model_fields_set - {"by"}
        if stray := sorted(given - fits):
            raise ValueError(f"contact: by: {self.by} has no use for `{stray[0]}`")
        if {"most", "share"} <= given:
            raise ValueError("contact: either `most` or `share`, not both")
        if "floor" in fits - given:
            raise ValueError(f"contact: by: {self.by} needs `floor`")
        return self

    def rule(self) -> ContactRule:
        """In the words of ``churn.settings``."""
        return ContactRule(self.by, self.floor, self.most, self.share)


class FairnessSpec(dg.Model, dg.Resolvable):
    """Groups of customers that are to be contacted alike; no model need read what makes them."""

    groups: list[str] = Field(
        min_length=1,
        description="columns of `table`, each value of which is a group; without `table`, "
        "features: of a number that has more than five values, quarters",
    )
    table: str | None = Field(
        None,
        pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$",
        description="layer.table with a row per customer, such as bronze.customers; of several "
        "rows that which was known last; default: the feature table",
    )
    entity: str | None = Field(
        None, description="the column of the customer, where it has another name in `table`"
    )
    least_ratio: float = Field(
        0.8,
        gt=0,
        le=1,
        description="a contact rate below this share of the highest is a warning, beyond chance",
    )
    most_difference: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="of those who churn, a share contacted that is lower than the highest by more "
        "than this is a warning, beyond chance",
    )
    smallest: int = Field(20, ge=1, description="with fewer customers a group is not judged")

    @model_validator(mode="after")
    def _consistent(self) -> "FairnessSpec":
        if self.entity and not self.table:
            raise ValueError("fairness: `entity` goes with `table`, and only with it")
        if len(set(self.groups)) < len(self.groups):
            raise ValueError(f"fairness: groups {self.groups}: each of them once")
        return self

    def fairness(self, entity: str) -> Fairness:
        """In the words of ``churn.settings``; ``entity``: its column, where no other is named."""
        return Fairness(
            tuple(self.groups), self.table, self.entity or entity, self.least_ratio,
            self.most_difference, self.smallest,
        )  # fmt: skip


class ReasonsSpec(dg.Model, dg.Resolvable):
    """What is kept of why a forecast is as it is."""

    factors: bool = Field(
        False,
        description="keep with each forecast what raises it most and what lowers it most, three of "
        "each, beside the `reasons`, which are the strongest of both",
    )
    refits: int = Field(
        0,
        ge=0,
        le=ENTITY_FOLDS,
        description="fit as many models again at a training, each without another fifth of the "
        "customers, and withhold the reasons about which they disagree; each takes as long as the "
        "model itself",
    )

    def reasons(self) -> Reasons:
        """In the words of ``churn.settings``."""
        return Reasons(self.factors, self.refits)


class ActionableSpec(dg.Model, dg.Resolvable):
    """A feature that somebody can move."""

    feature: str = Field(description="its name, such as tickets_count_30d")
    direction: Literal["up", "down"] = Field(description="how it can be moved")
    least: float | None = Field(
        None, description="moved to no lower value; default: the lowest that the training has seen"
    )
    most: float | None = Field(
        None,
        description="moved to no higher value; default: the highest that the training has seen",
    )
    step: float | None = Field(
        None,
        gt=0,
        description="how far apart the values are; default: those that the training has seen",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ActionableSpec":
        if None not in (self.least, self.most) and self.least > self.most:  # type: ignore[operator]
            raise ValueError(
                f"actionable: {self.feature}: `least` {self.least} is above `most` {self.most}"
            )
        return self

    def lever(self) -> Lever:
        """In the words of ``churn.settings``."""
        return Lever(self.feature, self.direction == "up", self.least, self.most, self.step)
