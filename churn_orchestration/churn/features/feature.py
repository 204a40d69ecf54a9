"""What a feature is: its SQL, and how a person reads it."""

import datetime as dt
import re
from dataclasses import dataclass, field

ACTIVITY = "activity"
_TOPICS = {
    "recency": ACTIVITY, "rhythm": ACTIVITY, "frequency": ACTIVITY, "trend": ACTIVITY,
    "velocity": ACTIVITY, "momentum": ACTIVITY, "lifecycle": ACTIVITY, "rfm": ACTIVITY,
    "value": "money", "size": "money", "slope": "money", "change": "money",
    "variety": "kind", "quality": "kind",
}  # fmt: skip


def topic_of(source: str, family: str) -> str:
    """The matter that a person takes several families of a source for; any other family is one of
    its own.

    >>> topic_of("orders", "rhythm"), topic_of("orders", "tenure")
    ('orders/activity', 'orders/tenure')
    """
    return f"{source}/{_TOPICS.get(family, family)}"


_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_AS_DOUBLE = re.compile(r"(?:::|\bas )double\b")


class _Any:
    """Any value, however it is to be formatted."""

    def __format__(self, spec: str) -> str:
        return "…"


@dataclass(frozen=True)
class Feature:
    """One column: its SQL over a source's merged row (see ``rings``), and how a person reads it.

    In the SQL ``$as_of`` is the day. ``family`` groups features that say nearly the same;
    ``phrase`` is a format string of one ``value``, ``null_phrase`` the words where it is null,
    ``zero_phrase`` where it is 0 (the phrase itself if empty). ``made_of``: the names of the
    features that a ratio divides; empty of all others. ``recorded_from``: the first as_of whose
    window lies within the days on which its columns are recorded, where that is declared.
    """

    name: str
    sql: str = field(repr=False)
    source: str
    family: str
    formula: str
    unit: str
    phrase: str
    null_phrase: str
    null_means: str = "never null"
    window: str = ""
    zero_phrase: str = ""
    made_of: tuple[str, ...] = ()
    recorded_from: dt.date | None = None

    @property
    def title(self) -> str:
        """The feature in words, "…" in place of a value.

        >>> Feature("n", "", "", "", "", "", "{value:,.0f} orders, {many} than before", "").title
        '… orders, more or fewer than before'
        """
        return self.phrase.format(
            value=_Any(), many="more or fewer", much="more or less", ago="… days ago"
        )

    @property
    def type(self) -> str:
        """``double`` where the SQL casts to it, else ``bigint``: what is counted.

        >>> Feature("n", "_s0.is_double_optin_30", "", "", "", "", "", "").type
        'bigint'
        """
        # Of a cast, not of the word: a category may be called double_optin, and its value "as
        # double".
        return "double" if _AS_DOUBLE.search(_QUOTED.sub("", self.sql)) else "bigint"


def braced(text: str) -> str:
    """A text whose braces a format string leaves alone."""
    return text.replace("{", "{{").replace("}", "}}")


def where_covered(row: str, days: int, sql: str) -> str:
    """SQL that is null where the data of a source, of whomever, begin less than so many days before
    as_of.

    What lies before the data is not known, and no silence after which everybody would have begun.

    >>> where_covered("_s0", 60, "_s0.events_30")
    'case when _h0._history >= 60 then _s0.events_30 end'
    """
    return f"case when _h{row.removeprefix('_s')}._history >= {days} then {sql} end"
