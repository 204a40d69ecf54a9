"""Marts as attributes: which of them features may read, and the selects of these."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from churn_orchestration.business import Business, BusinessError, line_of
from churn_orchestration.churn.features.declared import Mart
from churn_orchestration.components.features.feature_specs import (
    AttributeTableSpec,
    EventSourceSpec,
)
from churn_orchestration.components.marts.mart import mart_select
from churn_orchestration.components.source.select import Select
from churn_orchestration.components.source.sql_tables import sql_paths_of

MARTS, LANDED = "marts", ("bronze", "silver")


def marts_of(business: Business) -> dict[str, Select]:
    """The marts of a business by name, ``marts.x``."""
    return {f"{MARTS}.{path.stem}": mart_select(path) for path in sql_paths_of(business, MARTS)}


def marts_read(
    inputs: Iterable[EventSourceSpec | AttributeTableSpec],
    entity: str,
    marts: Mapping[str, Select],
    keys: Mapping[str, Iterable[str]],
    late: Iterable[str],
    place: tuple[Path, str],
) -> dict[str, Mart]:
    """The marts that a feature table reads, by name.

    Parameters
    ----------
    entity : of the feature table
    keys : of what landed, by table; ``late``: those tables of it that say nothing before they
        landed, though their rows are dated earlier
    place : the YAML of the feature table, and its name

    Raises
    ------
    BusinessError : features cannot read such a table, with file, line and remedy
    """
    result, known_late = dict[str, Mart](), set(late)
    for spec in inputs:
        layer = spec.table.partition(".")[0]
        if layer in LANDED:
            continue
        path, name = place
        here = f"{line_of(path, name, spec.name)}: {name}: {spec.name}"
        if layer != MARTS:
            raise BusinessError(
                f"{here}: {spec.table}: features read bronze, silver, and marts of these: what is "
                "made of features is known only once they are"
            )
        if isinstance(spec, EventSourceSpec):
            raise BusinessError(
                f"{here}: {spec.table} says what holds at the end of a day, and has no events: "
                "name it under `attributes`"
            )
        select = _readable(spec.table, marts, here)
        wanted = spec.entity or entity
        if select.columns and wanted not in select.columns:
            raise BusinessError(
                f"{here}: {select.path} has no column {wanted}, whose features they are "
                f"({', '.join(select.columns)})"
            )
        result[spec.table] = Mart(
            select.text, select.path.name,
            tuple((table, tuple(keys.get(table, ()))) for table in select.upstream),
            tuple(table for table in select.upstream if table in known_late),
        )  # fmt: skip
    return result


def _readable(table: str, marts: Mapping[str, Select], here: str) -> Select:
    """The select of a mart of what landed alone. Raises BusinessError: it is none."""
    if table not in marts:
        there = ", ".join(marts) or "none at all"
        raise BusinessError(f"{here}: there is no {table} ({there})")
    select = marts[table]
    if made := [name for name in select.upstream if name.partition(".")[0] not in LANDED]:
        remedy = (
            f"write its select into a `with` of {select.path.name}"
            if made[0].startswith(f"{MARTS}.")
            else "let a mart of its own read what features are made of, bronze and silver alone"
        )
        raise BusinessError(
            f"{here}: {table} ({select.path}) reads {made[0]}, which is made of features, or may "
            f"be: they would be made of themselves; {remedy}"
        )
    return select
