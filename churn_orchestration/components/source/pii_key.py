"""The secret key under which columns declared `pii: hash` are hashed: one a business, for all its
days.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager

from churn_orchestration.business import PII_KEY, BusinessError
from churn_orchestration.churn.rows.contract import Contract
from churn_orchestration.storage.warehouse import Tables

LEAST = 16  # characters: a shorter key can be guessed, with the few million values of a column


@contextmanager
def pii_key(tables: Tables, contract: Contract, bronze: str) -> Iterator[None]:
    """The key as the session variable ``pii_key`` for the block alone, since a user's SQL may read
    variables.

    Raises
    ------
    BusinessError : it is not set, too short for a business that has hashed nothing yet, or not the
        one under which it has hashed so far
    """
    if all(column.pii != "hash" for column in contract.columns):
        yield
        return
    tables.db.execute("set variable pii_key = ?", [_checked(tables, bronze)])
    try:
        yield
    finally:
        tables.db.execute("reset variable pii_key")


def _checked(tables: Tables, bronze: str) -> str:
    key = os.environ.get(PII_KEY)
    if not key:
        raise BusinessError(
            f"a column is declared `pii: hash`: set {PII_KEY} to the secret key of the hash"
        )
    mark = hmac.new(key.encode(), b"fingerprint of a key", hashlib.sha256).hexdigest()
    kept = tables.pii_fingerprint()
    if kept and kept != mark:
        raise BusinessError(
            f"{PII_KEY} is not the key of before: a person would have two hashes, and forecasts "
            "would not meet their outcomes. Set the former one. For a new key, give the business a "
            "new `name` in business.yaml and `churn run`: its tables are made from the landing "
            f"files under the new key; {tables.state} stays as it is"
        )
    if not kept:
        hashed = tables.columns(bronze) and tables.rows(f"select 1 from {bronze} limit 1")
        if len(key) < LEAST and not hashed:  # an older release took any
            raise BusinessError(
                f"{PII_KEY} has {len(key)} characters, wanted are at least {LEAST}: `openssl rand "
                "-hex 32` prints a good one; keep it as long as you keep the tables"
            )
        tables.keep_pii_fingerprint(mark)
    return key
