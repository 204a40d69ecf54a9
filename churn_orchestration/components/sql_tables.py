"""Every .sql next to the YAML is a table of its layer: one select, which names what it reads."""

import warnings
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Self

import dagster as dg
from pydantic import Field, PrivateAttr

from churn_orchestration.business import Business, BusinessError, line_of_key
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.marts.mart import DAY, made_of_day, mart_asset, mart_select
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.segments.segments import Segments
from churn_orchestration.components.source.select import Select
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.source.sql_contracts import SqlTableSpec
from churn_orchestration.components.source.sql_tables import (
    made_of_landed,
    silver_asset,
    silver_select,
)
from churn_orchestration.components.source.sql_tests import (
    Keys,
    MadeBySql,
    fault,
    place_of,
    shape_of,
)


@dg.scaffold_with(example(named=False, layer="silver"))
class SqlTables(dg.Component, dg.Model, dg.Resolvable):
    """The .sql files next to this YAML, each a daily table of the layer."""

    layer: Literal["silver", "marts"] = Field(
        "silver",
        description="silver: made of what landed, read by features; marts: made of any table, by "
        "day, shown at the door",
    )
    tables: dict[str, SqlTableSpec] = Field(
        {},
        description=(
            "by name of a .sql file: its key and what else is checked by day, "
            "e.g. {key: [order_id]}"
        ),
    )

    _folder: Path = PrivateAttr(default=Path())

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the folder of its .sql files."""
        loaded = super().load(attributes, context)
        loaded._folder = Path(context.path)
        return loaded

    @property
    def place(self) -> Path:
        """The YAML that declares it."""
        return self._folder / "defs.yaml"

    def selects(self) -> dict[str, Select]:
        """The selects of its .sql files, by the name of the file."""
        read = silver_select if self.layer == "silver" else mart_select
        return {path.stem: read(path) for path in sorted(self._folder.glob("*.sql"))}

    def made(self, keys: Keys) -> Iterator[tuple[str, MadeBySql, SqlTableSpec]]:
        """Each table, ``layer.table``, how it is made, and what is declared of it."""
        make = made_of_landed if self.layer == "silver" else made_of_day
        for name, select in self.selects().items():
            table = f"{self.layer}.{name}"
            yield table, make(table, select, keys), self.spec(name)

    def spec(self, name: str) -> SqlTableSpec:
        """What is declared of the table of a .sql file."""
        return self.tables.get(name, SqlTableSpec())

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per .sql file, named after it."""
        business, tree = Business.holding(context.path), context.component_tree
        selects, keys, shapes = self.selects(), keys_in(tree), cache(partial(shape_in, tree))
        self._require_columns(selects)
        known = {
            f"bronze.{source.name}": {column.name: column for column in source.bronze_columns()}
            for source in tree.get_all_components(of_type=SourceTable)
        }
        make = silver_asset if self.layer == "silver" else mart_asset
        return dg.Definitions(
            assets=[
                make(business, select, known, self.spec(name), self.place, keys, shapes)
                for name, select in selects.items()
            ]
        )

    def _require_columns(self, selects: Mapping[str, Select]) -> None:
        """Refuse a contract of no table, or of columns that its select has not. Raises
        BusinessError.
        """
        for name, spec in self.tables.items():
            place = f"{line_of_key(self.place, 'attributes', 'tables', name)}: {name}"
            if name not in selects:
                there = ", ".join(selects) or "none at all"
                raise BusinessError(f"{place}: there is no {name}.sql next to it ({there})")
            if spec.cohorts and self.layer != "marts":
                raise BusinessError(f"{place}: cohorts: only a mart is drawn")
            columns = selects[name].columns  # not known of a star
            has = (*columns, DAY) if self.layer == "marts" else columns
            if unknown := [column for column in spec.columns if columns and column not in has]:
                raise BusinessError(
                    f'{place}: no column "{unknown[0]}" in {name}.sql ({", ".join(columns)})'
                )


def keys_in(tree: dg.ComponentTree) -> dict[str, list[str]]:
    """By table of bronze and silver: the columns that are declared to identify a row."""
    result = {f"bronze.{s.name}": s.key for s in tree.get_all_components(of_type=SourceTable)}
    for tables in tree.get_all_components(of_type=SqlTables):
        if tables.layer == "silver":
            result |= {f"silver.{name}": spec.key or [] for name, spec in tables.tables.items()}
    return result


def shape_in(tree: dg.ComponentTree, table: str) -> dict[str, str]:
    """The columns of a table and their types, as the business declares it."""
    keys, made = keys_in(tree), dict[str, MadeBySql]()
    for component in tree.get_all_components(of_type=SqlTables):
        made |= {name: made_by for name, made_by, _ in component.made(keys)}
    entities = {table.entity for table in tree.get_all_components(of_type=FeatureTable)}
    types = {
        column.name: column.type
        for source in tree.get_all_components(of_type=SourceTable)
        for column in source.bronze_columns()
        if column.name in entities
    }
    for segments in tree.get_all_components(of_type=Segments):
        made[f"segments.{segments.name}"] = segments.made(tree)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # as in `definitions_of`
        return shape_of(table, made, tree.build_defs, types)


def test_results(tree: dg.ComponentTree) -> Iterator[tuple[str, str, str | None]]:
    """Table, test and how the rows differ, None where they do not: of every test of a business."""
    keys, shapes = keys_in(tree), cache(partial(shape_in, tree))
    for component in tree.get_all_components(of_type=SqlTables):
        for name, made, spec in component.made(keys):
            for test in spec.tests:
                place = place_of(component.place, test)
                yield name, test.name, fault(made, test, place, shapes)
