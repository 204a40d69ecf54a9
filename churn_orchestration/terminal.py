"""What people read in a terminal: what comes from files and ids may not operate it."""

import sys

_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {
    0x09,
    0x0A,
}
_ESCAPES = {code: repr(chr(code))[1:-1] for code in _CONTROLS}


def visible(text: str) -> str:
    r"""A text whose control sequences and changes of direction are shown and not obeyed.

    >>> visible("orders\x1b]0;owned\x07.csv"), visible("a\u202etxt")
    ('orders\\x1b]0;owned\\x07.csv', 'a\\u202etxt')
    """
    return text.translate(_ESCAPES)


def say(line: str) -> None:
    """A line apart from the result of a command, on standard error."""
    sys.stderr.write(f"{visible(line)}\n")
