"""What is declared of a source for judging what lands from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from churn_orchestration.churn.rows.contract import BY_FILE, Contract


@dataclass(frozen=True, kw_only=True)
class SourceRules:
    """The contract of a source, and what else its days must meet.

    Parameters
    ----------
    name : the source's, so that its tables are ``raw.<name>``, ``bronze.<name>`` and
        ``quarantine.<name>``
    together : which rows landed together: ``BY_FILE``, ``BY_QUERY`` or ``AT_ONCE``
    expectations : Great Expectations, each its type and its arguments
    watch : of a column, or of ``rows``: whether a change holds the day, ``block``, or is not looked
        for, ``ignore``
    """

    name: str
    contract: Contract
    together: str = BY_FILE
    expectations: list[dict[str, Any]] = field(default_factory=list)
    watch: Mapping[str, str] = field(default_factory=dict)
