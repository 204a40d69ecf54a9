"""The text of what is declared, which outlives the names of our classes: stored rows hold hashes of
it.
"""

from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def declared_text(part: object) -> str:
    """The text of something that is declared, by which stored days know it again.

    It is what ``str`` gives. Where a class is renamed, let ``WRITTEN_AS`` of it be its first name;
    a field, its metadata ``written_as``. A field that comes later says so (metadata ``{"later":
    True}``) and is left out while it has its default: so what nobody has declared otherwise is not
    computed again.

    >>> from dataclasses import dataclass, field
    >>> from typing import ClassVar
    >>> @dataclass
    ... class Range:
    ...     WRITTEN_AS: ClassVar[str] = "Window"
    ...     length: int = field(metadata={"written_as": "days"})
    ...     gap: int = field(default=0, metadata={"later": True})
    >>> declared_text((Range(7), "a")), declared_text([Range(7, 1)])
    ("(Window(days=7), 'a')", '[Window(days=7, gap=1)]')
    """
    return _text(part) if is_dataclass(part) or isinstance(part, (tuple, list, dict)) else str(part)


def _text(value: object) -> str:
    """As ``repr``, with the first names of classes and fields."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = ", ".join(
            f"{f.metadata.get('written_as', f.name)}={_text(getattr(value, f.name))}"
            for f in fields(value)
            if f.repr and not ("later" in f.metadata and getattr(value, f.name) == _default(f))
        )
        return f"{getattr(value, 'WRITTEN_AS', type(value).__qualname__)}({parts})"
    if type(value) is dict:
        return f"{{{', '.join(f'{_text(key)}: {_text(held)}' for key, held in value.items())}}}"
    if type(value) is list:
        return f"[{', '.join(map(_text, value))}]"
    if type(value) is tuple:
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _default(of: Field[Any]) -> object:
    return of.default if of.default_factory is MISSING else of.default_factory()
