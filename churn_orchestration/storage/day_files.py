"""Whether a day's file is what its name says: it ends in the beginning of its content's SHA-256."""

import hashlib
from functools import cache
from pathlib import Path

NAMED = 12
"""How many characters of the SHA-256 a name ends in."""


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def damage(path: Path) -> str | None:
    """What is wrong with a file that is named after its content; None: nothing.

    A process hashes a file once, and again where its size or time has changed.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        return f"its file {path} is gone"
    result, named = _hashed(path, stat.st_size, stat.st_mtime_ns)[:NAMED], path.stem[-NAMED:]
    if result == named:
        return None
    return (
        f"its file {path} is damaged (its content has SHA-256 {result}, "
        f"and not {named} as its name says)"
    )


@cache
def _hashed(path: Path, _size: int, _mtime_ns: int) -> str:
    return content_hash(path)
