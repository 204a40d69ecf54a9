"""What to offer to whom -> offers/x by entity and day; offers/x_pairs, items bought together;
offers/x_due, when a customer buys an item again; monitoring/x_offers, how the lists came out.
"""

import datetime as dt
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import dagster as dg
from pydantic import Field, PrivateAttr, model_validator

from churn_orchestration import stages
from churn_orchestration.business import Business, BusinessError, digest, line_of
from churn_orchestration.churn.calendar import Horizon, month_ends
from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.churn.offers.candidates import METHODS
from churn_orchestration.churn.offers.declared import Offering, Retired
from churn_orchestration.churn.offers.grading import METRICS
from churn_orchestration.churn.offers.pairs import strength
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.features.fitness import NUMBER
from churn_orchestration.components.offers.lists import (
    COLUMNS,
    DUE_COLUMNS,
    PAIR_COLUMNS,
    list_select,
    show_due,
    show_list,
)
from churn_orchestration.components.question.day_rows import Columns, described, put_rows
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.segments.axes import Axes
from churn_orchestration.components.segments.segments import Segments
from churn_orchestration.components.shown import keys
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.source.sql_tables import sql_tables_of
from churn_orchestration.components.sql_tables import keys_in
from churn_orchestration.storage.files import literal_parquet
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.components.offers.fits import OfferFits

NAME = r"^[a-z][a-z0-9_]*$"
DATE = re.compile(r"DATE|TIMESTAMP.*")
"""The types of a day from which an item is retired."""
TABLE = r"^(bronze|silver)\.[a-z][a-z0-9_]*$"
NAMED, SERVED, BOUGHT, EXPECTED = "items_are_named", "served", "bought_share", "expected_share"
QUALITY: Columns = {
    "as_of": ("date", "the day whose lists are compared with what came"),
    "method": (
        "text",
        f"{SERVED}: the lists as they were stored; "
        + "; ".join(f"{name}: {words}" for name, words in METHODS.items()),
    ),
    "metric": (
        "text",
        "; ".join(f"{name}: {words}" for name, words in METRICS.items())
        + f"; {BOUGHT}: share of the offers with a probability that were bought; {EXPECTED}: the "
        "mean of their probabilities",
    ),
    "value": ("double", "of the metric"),
    "customers": ("bigint", "who bought within the horizon"),
    "is_used": ("boolean", "the method that orders the lists of the day"),
    "fitted_on": ("date", "the month-end at which that was decided"),
    MEASURED_ON: ("date", "the day at whose end this was known"),
}


class AfterSpec(dg.Model, dg.Resolvable):
    """The same item is offered again some days after its last purchase."""

    after_days: int = Field(ge=1, description="so many days after the last purchase")


class RetiredSpec(dg.Model, dg.Resolvable):
    """A table of items that are not sold any more."""

    table: str = Field(pattern=TABLE, description="layer.table, a row per item and landing")
    item: str = Field(description="its column of the item")
    retired_on: str = Field(
        description="its column of the first day on which the item is not sold; null: it is sold"
    )


@dg.scaffold_with(example(features="customer_features", table="silver.orders", item="channel"))
class Offers(dg.Component, dg.Model, dg.Resolvable):
    """What to offer to each customer: products bought together, lists that are judged by what was
    bought later, and when each item is due again.
    """

    name: str = Field(pattern=NAME, description="the table's name in offers")
    description: str = Field("", description="shown in the UI")
    features: str = Field(pattern=NAME, description="the feature table whose customers get offers")
    table: str = Field(
        pattern=TABLE,
        description="layer.table of the purchases: a row per item of a basket with the entity, and "
        "day and known_on as every source",
    )
    item: str = Field(description="its column of the item")
    basket: str | None = Field(
        None, description="its column of the order; default: what is bought on a day is one basket"
    )
    quantity: str | None = Field(
        None, description="its column of how many; a row that is not above 0 is no purchase"
    )
    horizon_days: int = Field(30, ge=1, description="within how many days an offer is to be bought")
    settle_days: int = Field(0, ge=0, description="days that late rows get before it is graded")
    window_days: int = Field(365, ge=1, description="how far back purchases count")
    recent_days: int = Field(30, ge=1, description="over how many days something is popular")
    most: int = Field(5, ge=1, le=100, description="offers a customer")
    repurchase: Literal["keep", "leave_out"] | AfterSpec = Field(
        "keep",
        description="what a customer bought before: `keep`, `leave_out`, or `after_days: n`, which "
        "offers it again n days after its last purchase",
    )
    unsold_days: int = Field(
        90, ge=1, description="an item that nobody bought for so many days is not offered"
    )
    retired: RetiredSpec | None = Field(
        None, description="items that are not sold any more; from that day on none is offered"
    )
    segments: str | None = Field(
        None,
        pattern=NAME,
        description="a set of segments: a customer of whom nothing is known gets what is popular "
        "in the own segment; default: in the shop",
    )
    min_baskets: int = Field(5, ge=2, description="baskets that hold a pair, for it to count")
    most_items: int = Field(
        100, ge=2, description="a basket with more items says nothing about what goes together"
    )
    factors: int | None = Field(
        None,
        ge=1,
        le=512,
        description="factors of a factorisation (ALS) that is one more method; it needs the "
        "library implicit: pip install 'churn-orchestration[offers]'. Default: none",
    )
    _place: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _consistent(self) -> "Offers":
        if self.recent_days > self.window_days:
            raise ValueError(
                f"{self.name}: recent_days is {self.recent_days}, more than the "
                f"{self.window_days} of window_days"
            )
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the YAML that declares it."""
        loaded = super().load(attributes, context)
        loaded._place = Path(context.path) / "defs.yaml"
        return loaded

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets offers/x, offers/x_pairs, offers/x_due and monitoring/x_offers."""
        business, tree = Business.holding(context.path), context.component_tree
        offering, fits = self.offering(tree, business)
        tables = [
            self._pairs(business, offering, fits), self._due(business, offering, fits),
            self._lists(business, offering, fits), self._quality(business, offering, fits),
        ]  # fmt: skip
        return dg.Definitions(assets=[table.asset() for table in tables])

    def offering(
        self, tree: dg.ComponentTree, business: Business
    ) -> "tuple[Offering, Callable[[Tables], OfferFits]]":
        """What is offered, and from the tables to the fits of it.

        Raises
        ------
        BusinessError : there is no such table, column or set of segments, or no library
        """
        if self.factors and importlib.util.find_spec("implicit") is None:
            self._refuse(
                "factors: the library implicit is not installed: pip install "
                "'churn-orchestration[offers]', or leave factors out"
            )
        features = {each.name: each for each in tree.get_all_components(of_type=FeatureTable)}
        entity = self._named(features, self.features, "features").entity
        there: dict[str, Any] = {
            f"bronze.{source.name}": [column.name for column in source.bronze_columns()]
            for source in tree.get_all_components(of_type=SourceTable)
        }
        there |= {name: select.columns for name, select in sql_tables_of(business).items()}
        read = [("item", self.item), ("basket", self.basket), ("quantity", self.quantity)]
        self._require_columns("table", self.table, there, [(entity, entity), *read, ("day", "day")])
        if self.retired:
            columns = [("item", self.retired.item), ("retired_on", self.retired.retired_on)]
            self._require_columns("retired", self.retired.table, there, columns)
        self._require_segments(tree)
        if entity in COLUMNS:
            self._refuse(
                f"the entity of {self.features} is called {entity}, as a column of offers is: "
                "rename it in the .sql"
            )
        key = tuple(keys_in(tree).get(self.table, ()))
        again = {"keep": 0, "leave_out": None}
        offering = Offering(
            self.name, entity, EventSource(self.name, self.table, entity, "purchase", key),
            self.item, self.basket, self.quantity, self.window_days, self.recent_days,
            Horizon(self.horizon_days, settle_days=self.settle_days), self.most,
            again[self.repurchase] if isinstance(self.repurchase, str)
            else self.repurchase.after_days,
            self.unsold_days,
            Retired(self.retired.table, self.retired.item, self.retired.retired_on)
            if self.retired else None,
            self.min_baskets, self.most_items, self.factors,
        )  # fmt: skip

        def fits(tables: Tables) -> "OfferFits":
            from churn_orchestration.components.offers.fits import OfferFits

            self._require_kinds(tables)
            return OfferFits(tables, offering, stages.version(digest(offering), stages.OFFERS))

        return offering, fits

    def _refuse(self, words: str) -> None:
        raise BusinessError(f"{line_of(self._place, self.name)}: {self.name}: {words}")

    def _named(self, those: Mapping[str, Any], name: str, key: str) -> Any:
        if name not in those:
            self._refuse(f"{key}: there is no {name} ({', '.join(those) or 'none at all'})")
        return those[name]

    def _require_columns(
        self, key: str, table: str, there: Mapping[str, Any],
        wanted: Sequence[tuple[str, str | None]],
    ) -> None:  # fmt: skip
        """Refuse a table that is not there, or that lacks a column."""
        has = self._named(there, table, key)
        for field, name in wanted:
            if has and name and name not in has:  # not known of a star
                self._refuse(
                    f'{field}: {table} has no column "{name}" ({", ".join(has)}): let a .sql of '
                    "silver name it so"
                )

    def _require_kinds(self, tables: Tables) -> None:
        """Refuse a quantity that is no number, and an end that is no date. Raises BusinessError."""
        read = [("quantity", self.table, self.quantity, NUMBER, "number")]
        if self.retired:
            ends = self.retired.retired_on
            read.append(("retired_on", self.retired.table, ends, DATE, "date"))
        for field, table, name, kinds, wanted in read:
            kind = tables.columns(table).get(name or "")
            if kind and not kinds.fullmatch(kind):
                self._refuse(
                    f"{field}: {table}.{name} is {kind.lower()}, no {wanted}: declare its type "
                    "in the contract, or cast it in the SQL"
                )

    def _require_segments(self, tree: dg.ComponentTree) -> None:
        if self.segments is None:
            return
        sets: dict[str, Segments | Axes] = {
            each.name: each for each in tree.get_all_components(of_type=Segments)
        }
        sets |= {each.name: each for each in tree.get_all_components(of_type=Axes)}
        if self._named(sets, self.segments, "segments").features != self.features:
            self._refuse(f"segments: {self.segments} has no customers of {self.features}")

    def _landed(self, offering: Offering) -> list[str]:
        return [offering.source.table, *([offering.retired.table] if offering.retired else [])]

    def _table(self, business: Business, offering: Offering, **own: Any) -> DayTable:
        """One of its tables: what they share."""
        declaration = digest(offering, self.features, self.segments)
        version = stages.version(declaration, stages.OFFERS)
        return DayTable(
            business=business, about=self.description, like=f"gold.{self.features}",
            version=version, **own,
        )  # fmt: skip

    def _pairs(self, business: Business, offering: Offering, fits: Any) -> DayTable:
        return self._table(
            business,
            offering,
            table=f"offers.{self.name}_pairs",
            says="One row per item and other item that are often in the same basket, on the "
            f"first day and at each month-end: of the baskets of {self.window_days} days. "
            "Other days have no row: the newest before them counts.",
            columns=[dg.TableColumn("as_of", "date", "the day"), *described(PAIR_COLUMNS)],
            upstream=[f"gold.{self.features}", *self._landed(offering)],
            store=partial(self._store_pairs, business.start, fits),
            checks={NAMED: "Every row of a purchase names its item and its basket."},
        )

    def _store_pairs(
        self, start: dt.date, prepare: "Callable[[Tables], OfferFits]", tables: Tables,
        days: list[dt.date],
    ) -> Stored:  # fmt: skip
        fits = prepare(tables)
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            counted_on = fits.month_end(day)
            has_rows = day == start or day in month_ends(day, day)
            select = (
                f"select {literal(day)} as as_of, item, other, place, baskets, item_baskets, "
                f"other_baskets, support, confidence, lift, {strength()} as strength, "
                f"{literal(counted_on)} as counted_on "
                f"from {literal_parquet(fits.pairs(counted_on))} "
                f"where {str(has_rows).lower()} order by item, place"
            )
            rows[day] = tables.put_day(f"offers.{self.name}_pairs", day, select)
            about[day] = _unnamed(fits, day)
        checks = [_named_result(about[max(days)])] if days else []
        return Stored(rows=rows, metadata=about, checks=checks)

    def _due(self, business: Business, offering: Offering, fits: Any) -> DayTable:
        return self._table(
            business,
            offering,
            table=f"offers.{self.name}_due",
            says=f"One row per {offering.entity}, item that it bought on two days or more, and "
            "as_of: when it is due again.",
            columns=[*keys(offering.entity), *described(DUE_COLUMNS)],
            upstream=[f"gold.{self.features}", *self._landed(offering)],
            store=partial(self._store_due, offering, fits),
        )

    def _store_due(
        self, offering: Offering, prepare: "Callable[[Tables], OfferFits]", tables: Tables,
        days: list[dt.date],
    ) -> Stored:  # fmt: skip
        fits, named = prepare(tables), identifier(offering.entity)
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            show_due(fits, day)
            kind = self._kind(tables, offering, day)
            select = (
                f"select cast(entity as {kind}) as {named}, {literal(day)} as as_of, item, "
                "last_bought_on, purchases, usual_days, due_by, repeat_probability "
                f"from _due order by {named}, item"
            )
            rows[day] = tables.put_day(f"offers.{self.name}_due", day, select)
            about[day] = {}
        return Stored(rows=rows, metadata=about)

    def _lists(self, business: Business, offering: Offering, fits: Any) -> DayTable:
        sets = [f"segments.{self.segments}"] if self.segments else []
        return self._table(
            business,
            offering,
            table=f"offers.{self.name}",
            says=f"One row per {offering.entity} of gold.{self.features}, rank and as_of: the "
            f"{self.most} items to offer first, by the method that was best on earlier month-ends.",
            columns=[*keys(offering.entity), *described(COLUMNS)],
            upstream=[f"gold.{self.features}", *self._landed(offering), *sets],
            store=partial(self._store_lists, offering, fits),
            faults=partial(self._faults, sets),
        )

    def _faults(self, sets: list[str], tables: Tables, days: list[dt.date]) -> dict[dt.date, Any]:
        """The days without the segments, which somebody waived."""
        return {
            day: f"{table} has no rows of {day}"
            for table in sets
            for day in days
            if tables.recorded_file(table, day) is None
        }

    def _store_lists(
        self, offering: Offering, prepare: "Callable[[Tables], OfferFits]", tables: Tables,
        days: list[dt.date],
    ) -> Stored:  # fmt: skip
        fits, named = prepare(tables), identifier(offering.entity)
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            gold = literal(tables.day_file(f"gold.{self.features}", day))
            of = f"select {named}::varchar as entity from {gold}"
            sets = None
            if self.segments:
                file = literal(tables.day_file(f"segments.{self.segments}", day))
                sets = f"select {named}::varchar as entity, segment from {file}"
            show_list(fits, day, of, sets)
            select = list_select(fits, day, offering.entity, self._kind(tables, offering, day))
            rows[day] = tables.put_day(f"offers.{self.name}", day, select)
            about[day] = self._numbers(fits, day)
        return Stored(rows=rows, metadata=about)

    def _kind(self, tables: Tables, offering: Offering, day: dt.date) -> str:
        """The type of the entity in the feature table."""
        gold = literal(tables.day_file(f"gold.{self.features}", day))
        described_rows = tables.rows(f"describe from {gold}")
        return next(kind for name, kind, *_ in described_rows if name == offering.entity)

    def _numbers(self, fits: "OfferFits", day: dt.date) -> dict[str, Any]:
        file = literal(fits.tables.day_file(f"offers.{self.name}", day))
        [(customers, cold)] = fits.tables.rows(
            f"select count(*), count(*) filter (is_cold) from (from {file} where rank = 1)"
        )
        month_end = fits.month_end(day)
        choice = fits.choice(month_end)
        result: dict[str, Any] = {"customers": customers, "cold_customers": cold}
        if choice is None:
            return result | {"method": "no outcome is known yet: what the customer bought most"}
        result |= {"method": choice.method}
        for figure in choice.figures:
            name = f"{figure['method']}_{figure['metric']}_{figure['as_of']}"
            result[name] = round(figure["value"], 4)
        if choice.lead:
            lead, low, high = choice.lead
            result["lead_in_ndcg"] = f"{lead:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
        return result

    def _quality(self, business: Business, offering: Offering, fits: Any) -> DayTable:
        return self._table(
            business,
            offering,
            table=f"monitoring.{self.name}_offers",
            says="One row per as_of, method and metric: how lists came out on the month-ends by "
            "which the method of the day was chosen, and the stored lists of the newest day whose "
            "outcome is known.",
            columns=described(QUALITY),
            upstream=[f"offers.{self.name}", *self._landed(offering)],
            store=partial(self._store_quality, fits),
        )

    def _store_quality(
        self, prepare: "Callable[[Tables], OfferFits]", tables: Tables, days: list[dt.date]
    ) -> Stored:
        fits = prepare(tables)
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            month_end = fits.month_end(day)
            choice = fits.choice(month_end)
            shared = {"fitted_on": month_end, MEASURED_ON: day}
            used, figures = (choice.method, choice.figures) if choice else ("", ())
            compared = [
                {**figure, **shared, "is_used": figure["method"] == used} for figure in figures
            ]
            served = [{**row, **shared, "is_used": True} for row in self._served(fits, day)]
            table = f"monitoring.{self.name}_offers"
            rows[day] = put_rows(
                tables, table, day, compared + served, QUALITY, "as_of, method, metric"
            )
            about[day] = {row["metric"]: round(row["value"], 4) for row in served}
        return Stored(rows=rows, metadata=about)

    def _served(self, fits: "OfferFits", day: dt.date) -> list[dict[str, Any]]:
        """How the stored lists of the newest day whose outcome is known came out."""
        from churn_orchestration.churn.offers.grading import graded

        tables, offering = fits.tables, fits.offering
        files = tables.day_files(f"offers.{self.name}", offering.horizon.newest_as_of(day))
        if not files:
            return []
        as_of, entity = max(files), identifier(offering.entity)
        stored = f"select {entity}::varchar as entity, * from {literal(files[as_of])}"
        came = f"select * from ({fits.came(as_of, day)}) semi join ({stored}) using (entity)"
        [(recall, ndcg, customers)] = tables.rows(
            # The order in which floating numbers are summed differs from run to run.
            "select round(avg(recall), 9), round(avg(ndcg), 9), count(*) from "
            f"({graded(f'select entity, item, rank from ({stored})', came, offering.most)})"
        )
        [(expected, bought)] = tables.rows(
            "select round(avg(s.buy_probability), 9), avg((c.item is not null)::integer) "
            f"from (from ({stored}) where buy_probability is not null) as s "
            f"left join ({came}) as c on c.entity = s.entity and c.item = s.item"
        )
        measured = {"recall": recall, "ndcg": ndcg, EXPECTED: expected, BOUGHT: bought}
        return [
            {"as_of": as_of, "method": SERVED, "metric": m, "value": v, "customers": customers}
            for m, v in measured.items()
            if v is not None
        ]


def _unnamed(fits: "OfferFits", day: dt.date) -> dict[str, Any]:
    """Rows of purchases of the window that name no item, or no basket: they count for nothing."""
    offering = fits.offering
    first = day - dt.timedelta(days=offering.window_days - 1)
    [(item, basket)] = fits.tables.rows(
        "select count(*) filter (item is null), count(*) filter (basket is null) "
        f"from ({offering.lines(first, day, day)})"
    )
    return {"rows_without_item": item, "rows_without_basket": basket}


def _named_result(about: Mapping[str, Any]) -> dg.AssetCheckResult:
    without = {name: count for name, count in about.items() if count}
    words = " and ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in without.items())
    return dg.AssetCheckResult(
        check_name=NAMED, passed=not without, severity=dg.AssetCheckSeverity.WARN,
        description=f"{words} in the window count for nothing: declare the column `required` in "
        "its source, and such rows go to quarantine" if without else None,
        metadata=dict(without),
    )  # fmt: skip
