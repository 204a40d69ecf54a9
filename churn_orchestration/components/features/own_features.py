"""Features from users' own SQL: a file of one select, one row per entity, in which ``$as_of`` is
the day.
"""

import datetime as dt
import re
from pathlib import Path

import duckdb

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.declared import FeatureSet, UserTable
from churn_orchestration.churn.rows.shapes import fault_message
from churn_orchestration.components.features.feature_specs import NAME
from churn_orchestration.components.features.fitness import NUMBER
from churn_orchestration.components.shown import selected
from churn_orchestration.components.source.select import Select
from churn_orchestration.storage.warehouse import Tables


def own_table(path: Path, entity: str) -> UserTable:
    """A user's own select of features, checked. Raises BusinessError with file and remedy."""
    if not path.is_file():
        raise BusinessError(f"{path} does not exist; `sql` names files next to the YAML")
    select = Select.read(path)
    carried = select.tree.named_selects
    if "*" in carried or entity not in carried:
        raise BusinessError(
            f"{path}: wanted {entity} and the features by name, one row per {entity}; no star"
        )
    if "$as_of" not in select.text:
        raise BusinessError(
            f"{path}: does not say $as_of: bound what it reads by `day <= $as_of and known_on <= "
            "$as_of`"
        )
    if wrong := [name for name in carried if not re.fullmatch(NAME, name)]:
        raise BusinessError(f'{path}: a column "{wrong[0]}": name it with a-z, 0-9 and _, by `as`')
    described = {
        column.name: column.description or ""
        for column in selected(carried, select.description, {})
    }
    return UserTable(
        path.stem,
        entity,
        select.text,
        tuple((name, described[name]) for name in carried if name != entity),
        select.upstream,
        path.name,
    )


def require_own(tables: Tables, declared: FeatureSet, as_of: dt.date) -> None:
    """Refuse a select that fails, whose columns are no numbers, or that has two rows of an
    entity.
    """
    for own in declared.own:
        try:
            columns = tables.rows(f"describe {own.at(as_of)}")
        except duckdb.Error as error:
            raise BusinessError(f"{own.file}: {fault_message(error)}") from None
        for name, kind, *_ in columns[1:]:
            if kind != "BOOLEAN" and not NUMBER.fullmatch(kind):
                raise BusinessError(
                    f'{own.file}: "{name}" is {kind.lower()}; a feature is a number or a boolean: '
                    f"say a condition, such as ({name} = 'gold') as {name}_is_gold"
                )
        counted = f"select _entity, count(*) from ({own.at(as_of)}) group by 1"
        for _, count in tables.rows(f"{counted} having count(*) > 1 order by 1 limit 1"):
            raise BusinessError(
                f"{own.file}: {count} rows of one {own.entity} at {as_of}; wanted one: group by "
                f"{own.entity}"
            )
