"""The shape of a row's values: what messages show to people who may not see the row."""

import re

import duckdb

_KINDS = (("\\p{Lu}", "A"), ("[\\p{Ll}\\p{Lm}\\p{Lo}\\p{Lt}]", "a"), ("\\p{N}", "9"))
DATA_FAULTS = (duckdb.DataError, duckdb.InvalidInputException)
"""What DuckDB raises of a value, which it quotes."""
HARMLESS = (
    "nan",
    "inf",
    "+inf",
    "-inf",
    "infinity",
    "-infinity",
    "null",
    "none",
    "n/a",
    "na",
    "-",
    "?",
)
"""Words for no value, which are shown as they are."""


def shape(text: str) -> str:
    """Letters become A or a, digits 9; all else stays.

    >>> shape("Ann.Lee@x.org, 1,000.50"), shape("NaN")
    ('Aaa.Aaa@a.aaa, 9,999.99', 'NaN')
    """
    if text.lower() in HARMLESS:
        return text
    return "".join(map(_sign, text))


def _sign(sign: str) -> str:
    if sign.isalpha():
        return "A" if sign.isupper() else "a"
    return "9" if sign.isnumeric() else sign


def shape_sql(text: str) -> str:
    """The SQL expression of the same."""
    shaped = text
    for kind, sign in _KINDS:
        shaped = f"regexp_replace({shaped}, '{kind}', '{sign}', 'g')"
    words = ", ".join(f"'{word}'" for word in HARMLESS)
    return f"case when lower({text}) in ({words}) then {text} else {shaped} end"


def fault_message(error: duckdb.Error) -> str:
    """DuckDB's message for a fault, on one line, without the statement and values of the data.

    >>> with duckdb.connect() as db:
    ...     try:
    ...         db.execute("select cast(t as int) from (values ('ann@x.org')) as v(t)")
    ...     except duckdb.Error as error:
    ...         fault_message(error)
    "Conversion Error: Could not convert string 'aaa@a.aaa' to INT32
    when casting from source column t"
    """
    message = str(error).split("\n\nLINE")[0].replace("\n", " ").strip()
    if not isinstance(error, DATA_FAULTS):
        return message
    return without_values(error)


def without_values(error: Exception) -> str:
    """The first line of a message, for others may quote a value again, without what it quotes."""
    message = str(error).strip().splitlines()[0]
    message = re.sub(r"(?<=value )[^ ]+", lambda result: shape(result[0]), message)
    if not (opening := re.search(r"(?<= )['\"]", message)):
        return message
    head, quoted = message[: opening.end()], message[opening.end() :]
    # A value may hold quotes or the end of a line: what follows the last quote is shown only where
    # it is DuckDB's.
    end = quoted.rfind(opening[0])
    if not re.match(r".( to | when | according |$)", quoted[end:]):
        end = len(quoted)
    return head + shape(quoted[:end]) + quoted[end:]
