"""What a source may declare: the columns of its contract, and a query instead of files."""

import re
from typing import Literal

import dagster as dg
import duckdb
from pydantic import Field, field_validator, model_validator

from churn_orchestration.business import PII_KEY
from churn_orchestration.churn.rows import contract as contracts
from churn_orchestration.churn.sql import connect

_TYPE = re.compile(
    r"text|id|integer|decimal(\(\d+,\s*\d+\))?|double|boolean|date|timestamp|timestamptz"
)


class ColumnSpec(dg.Model, dg.Resolvable):
    """One column of a contract."""

    name: str = Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$", description="its name from bronze on")
    source: str | None = Field(
        None, alias="from", description="its name in the file, where that differs"
    )
    type: str = Field(
        "text",
        description=f"one of {', '.join(contracts.TYPES)}; decimal(p, s) too, 18 digits and 4 "
        "decimals where not given; a number with more is refused, "
        "never rounded: declare more, or double",
    )
    format: str | None = Field(
        None,
        description="how a date or timestamp is written, e.g. %d/%m/%Y, or epoch_s, epoch_ms, "
        "epoch_us for numbers since 1970; ISO if not given",
    )
    decimal: Literal[".", ","] = Field(".", description="the decimal sign of a decimal or double")
    required: bool = Field(False, description="a row without it goes to quarantine")
    pii: Literal["drop", "hash"] | None = Field(
        None, description="drop it after raw, or keep a keyed hash"
    )
    description: str = Field("", description="what it means, with its unit")

    @field_validator("name")
    @classmethod
    def _free_name(cls, name: str) -> str:
        if name.lower() in ("known_on", "rule", "detail"):
            raise ValueError(
                f'"{name}" is a name of the platform\'s own; call the column otherwise'
            )
        return name

    @field_validator("type")
    @classmethod
    def _known_type(cls, kind: str) -> str:
        if not _TYPE.fullmatch(kind):
            raise ValueError(f'unknown type "{kind}"; known: {", ".join(contracts.TYPES)}')
        return kind

    @field_validator("format")
    @classmethod
    def _parses(cls, form: str | None) -> str | None:
        if form is None or form in contracts.EPOCHS:
            return form
        try:
            with connect() as db:
                db.execute("select try_strptime('', ?)", [form])
        except duckdb.Error as error:
            message = str(error).partition(f"specifier {form}: ")[2]
            raise ValueError(
                f'"{form}" is no format ({message}): wanted letters such as %d/%m/%Y %H:%M, or '
                f"{', '.join(contracts.EPOCHS)}"
            ) from None
        return form

    @model_validator(mode="after")
    def _format_of_a_time(self) -> "ColumnSpec":
        if self.format and self.type not in ("date", "timestamp", "timestamptz"):
            raise ValueError(
                f"{self.name}: `format` says how a date or timestamp is written, and it is "
                f"{self.type}"
            )
        return self


class QuerySpec(dg.Model, dg.Resolvable):
    """A table behind an SQL connection instead of files."""

    url_variable: str = Field(
        description="environment variable with an SQLAlchemy URL or a DuckDB file's path"
    )
    sql: str = Field(
        description="one select; :first_day and :last_day are the requested landing days"
    )

    @field_validator("url_variable")
    @classmethod
    def _no_secret_of_another_kind(cls, name: str) -> str:
        if name == PII_KEY:
            raise ValueError(f"{PII_KEY} is the key of hashes, and no address")
        return name
