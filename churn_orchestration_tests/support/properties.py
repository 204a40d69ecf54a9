"""How many cases a property is tried on."""

import os


def examples(few: int, among: int = 1) -> int:
    """How many cases hypothesis tries: ``few``, or as many as CHURN_EXAMPLES says (`make
    thorough`).

    ``among``: the variants of a test that share those many cases.
    """
    return max(few, int(os.environ.get("CHURN_EXAMPLES", "0")) // among)
