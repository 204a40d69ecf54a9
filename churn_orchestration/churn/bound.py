"""The bounds on what is read and worded of many customers; up to them, all are.

Beyond its bound a training reads a part of the customers: what more rows would add to a small
model, a probe or an interval is far less than what they cost. The part is of entities, each with
all of its rows, and follows from a hash of the id under a key of this bound: the same customers in
every run and on every as_of, and no other choice than chance's.
"""

MOST_ROWS = 300_000
"""Of a snapshot, that learners, probes, controls and grades see."""
MOST_HISTORIES = 25_000
"""Customers that a purchase process is fitted to."""
MOST_REPLAYED = 50_000
"""Customers whose features of the days before a cut-off are replayed, to learn how they drift."""
MOST_EXPLAINED = 25_000
"""Customers of a day whose forecast is given reasons: those with the most at stake."""
_KEY, _PARTS = "part", 1_000_000


def some_entities(entity: str, rows: int, most: int) -> str:
    """SQL condition on the entity, an SQL expression: true of all, or of those in a part of about
    ``most`` rows.

    >>> some_entities("customer_id", 500, 1_000)
    'true'
    >>> some_entities("customer_id", 4_000, 1_000)
    "md5_number_lower('part:' || customer_id) % 1000000 < 250000"
    """
    if rows <= most:
        return "true"
    return f"md5_number_lower('{_KEY}:' || {entity}) % {_PARTS} < {_PARTS * most // rows}"


def bound_message(read: int, rows: int, entity: str) -> str:
    """What a person reads where the bound acts; nothing where all is read.

    >>> bound_message(499_871, 6_000_000, "customer_id")
    'learned from and graded on 499,871 of 6,000,000 rows: those of 8.3 % of all customer_id, by a \
hash of the id'
    """
    if read == rows:
        return ""
    return (
        f"learned from and graded on {read:,} of {rows:,} rows: those of {read / rows:.1%} of all "
        f"{entity}, by a hash of the id"
    ).replace("%", " %")
