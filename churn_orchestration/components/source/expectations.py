"""Great Expectations from YAML, run on bronze days. Imported only where a row may break one."""

import datetime as dt
import logging
from numbers import Number
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.sql import within
from churn_orchestration.storage.layers import day_column
from churn_orchestration.storage.warehouse import Tables, quoted

if TYPE_CHECKING:
    import pandas as pd


def unmet(
    tables: Tables, table: str, expectations: list[dict[str, Any]], days: list[dt.date]
) -> dict[dt.date, str]:
    """The days on which an expectation does not hold, with what was expected and what is there;
    each day alone.
    """
    expectations = [each for each in expectations if _may_fail(tables, table, each, days)]
    if not expectations:
        return {}
    columns = ", ".join(
        f"cast({quoted(name)} as double) as {quoted(name)}"
        if kind.startswith("DECIMAL")
        else quoted(name)
        for name, kind in tables.columns(table).items()
    )
    of_day = day_column(table)
    frame = tables.db.execute(f"select {columns} from {table} where {within(of_day, days)}").df()
    by_day = {day: frame[frame[of_day].dt.date == day] for day in days}
    result = {day: _failures(part, expectations) for day, part in by_day.items()}
    return {day: "; ".join(failures) for day, failures in result.items() if failures}


def _may_fail(tables: Tables, table: str, expectation: dict[str, Any], days: list[dt.date]) -> bool:
    """Whether a row of the days may break an expectation: False only where none does, by one pass
    of SQL.

    To import the library takes a third of the processor time of a day of a small shop, so it is
    left out where nothing breaks what SQL can say as surely. It judges, and words, all the rest.
    """
    condition = _breaking(expectation, tables.columns(table))
    if condition is None:
        return True
    of_day = within(day_column(table), days)
    return bool(tables.rows(f"from {table} where {of_day} and ({condition}) limit 1"))


def _breaking(expectation: dict[str, Any], kinds: dict[str, str]) -> str | None:
    """SQL, of a row: whether it breaks an expectation; None where that is for the library to say.

    >>> between = {"type": "expect_column_values_to_be_between", "column": "n", "max_value": 9}
    >>> _breaking(between, {"n": "BIGINT"}), _breaking(between, {"n": "VARCHAR"})
    ('"n" > 9', None)
    >>> _breaking(between | {"mostly": 0.9}, {"n": "BIGINT"}) is None
    True
    >>> _breaking({"type": "expect_column_values_to_not_be_null", "column": "n"}, {"n": "BIGINT"})
    '"n" is null'
    """
    bounds = dict(expectation)
    kind, column = bounds.pop("type"), bounds.pop("column", None)
    if column not in kinds:
        return None
    if kind == "expect_column_values_to_not_be_null" and not bounds:
        return f"{quoted(column)} is null"
    signs = {"min_value": "<", "max_value": ">"}
    numeric = kinds[column].startswith(("DECIMAL", "DOUBLE", "BIGINT"))
    plain = all(
        name in signs and type(end) in (int, float) and abs(end) < 1e15
        for name, end in bounds.items()
    )
    if kind == "expect_column_values_to_be_between" and numeric and bounds and plain:
        return " or ".join(
            f"{quoted(column)} {signs[name]} {end!r}" for name, end in bounds.items()
        )
    return None


def _failures(frame: "pd.DataFrame", expectations: list[dict[str, Any]]) -> list[str]:
    import great_expectations as gx
    from great_expectations.compatibility import pydantic
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("bronze").add_dataframe_asset("days")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    failures = []
    for expectation in expectations:
        arguments = {name: value for name, value in expectation.items() if name != "type"}
        config = ExpectationConfiguration(type=expectation["type"], kwargs=arguments)
        try:
            result = batch.validate(config.to_domain_obj(), result_format="COMPLETE")
        except (ExpectationNotFoundError, pydantic.ValidationError) as error:
            message = str(error).strip().replace("\n", "; ")
            raise BusinessError(
                f"expectation {expectation['type']} {arguments}: {message}"
            ) from None
        raised = [
            e
            for e in (result.exception_info or {}).values()
            if isinstance(e, dict) and e.get("raised_exception")
        ]
        if raised or (result.exception_info or {}).get("raised_exception") is True:
            # Its message may quote values.
            raise RuntimeError(
                f"{expectation['type']} {arguments} could not be evaluated on this data"
            )
        if not result.success:
            failures.append(f"{expectation['type']} {arguments}: {_seen(frame, result.result)}")
    return failures


def _seen(frame: "pd.DataFrame", result: dict[str, Any]) -> str:
    """How many rows do not meet it and where the first is, or what was measured; no value of a
    row.
    """
    if rows := result.get("unexpected_index_list"):
        first = frame.loc[rows[0]]
        place = (
            f", e.g. {first['_file']}:{first['_line']}"
            if "_file" in first and "_line" in first
            else ""
        )
        return f"{len(rows):,} of {len(frame):,} rows{place}"
    measured = result.get("observed_value")
    if isinstance(measured, Number):
        return f"it is {measured}"
    return f"{result.get('unexpected_count') or 'some'} values, of {len(frame):,} rows"
