"""Looking at a landing file's bytes before it is read: is it whole, what is it really, what is the
remedy.
"""

import codecs
import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

CHUNK = 65_536
HEAD = 1 << 20
LONGEST_LINE = 16 << 20  # beyond 32 MB DuckDB 2.0 drops a record without a word
MOST_COLUMNS = 10_000  # DuckDB keeps a copy of the record for every surplus field

_REALLY = {
    b"\x1f\x8b": "it is gzip: call it .csv.gz",
    b"PK\x03\x04": "it is a zip file or an Excel workbook: call it .xlsx, or save it as CSV",
    b"PAR1": "it is Parquet: call it .parquet",
    b"\xd0\xcf\x11\xe0": "it is an old Excel workbook: save it as .xlsx or CSV",
    b"%PDF": "it is a PDF",
}
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class UnreadableFileError(Exception):
    """A landing file that cannot be read at all; the message says why."""


def scanned(path: Path, delimiter: str | None) -> tuple[bytes, bool, bool]:
    """The beginning of a text file that was read to its end; is it all of it; is a NUL byte in the
    file.

    The beginning is as much as holds the first line.

    Raises
    ------
    UnreadableFileError : a line is longer than any record, or has more fields than any record
    OSError, EOFError, zlib.error : it cannot be opened, or its gzip is damaged
    """
    head, whole, run, fields, line, nul = b"", True, 0, 0, 1, False
    for chunk in _chunks(path):
        if len(head) < CHUNK or (len(head) < HEAD and not _ends_line(head)):
            head += chunk
        else:
            whole = False
        nul = nul or b"\0" in chunk
        if _ends_line(chunk):
            run, fields, line = 0, 0, line + chunk.count(b"\n")
            continue
        run, fields = (
            run + len(chunk),
            fields + (chunk.count(delimiter.encode()) if delimiter else 0),
        )
        if run > LONGEST_LINE or fields > MOST_COLUMNS:
            much = (
                f"{MOST_COLUMNS:,} fields" if fields > MOST_COLUMNS else f"{LONGEST_LINE >> 20} MB"
            )
            raise UnreadableFileError(f"line {line} has more than {much}: take it out, or mend it")
    return head, whole, nul


def _chunks(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            yield chunk


def _ends_line(chunk: bytes) -> bool:
    return b"\n" in chunk or b"\r" in chunk


def decoded(head: bytes, encoding: str, *, whole: bool) -> str:
    """The beginning of a file as text; bytes that are none become U+FFFD.

    Where it is not the ``whole`` of what is read, its last character may be cut: then that is left
    out.
    """
    text = "utf-8-sig" if encoding == "utf-8" else encoding
    return codecs.getincrementaldecoder(text)(errors="replace").decode(head, final=whole)


def wrong_encoding(head: bytes, encoding: str, *, whole: bool) -> str | None:
    """What the bytes say against the declared encoding; None where nothing. ``whole``: no byte
    follows them.

    >>> wrong_encoding(b"name\\nRen\\xe9", "latin-1", whole=True)
    >>> wrong_encoding(b"name\\nRen\\xe9", "utf-8", whole=True)
    >>> wrong_encoding(b"caf\\xe9", "utf-8", whole=True)
    'its header is not UTF-8: if it is latin-1, declare `encoding: latin-1`'
    """
    if head.startswith(codecs.BOM_UTF16_BE) and encoding == "utf-16":
        return "it is UTF-16 written big end first, which is not read: save it as UTF-8"
    for mark, result in _BOMS.items():
        if head.startswith(mark) and result != encoding:
            return f"it begins with the byte order mark of {result}: declare `encoding: {result}`"
    if encoding == "latin-1" and not head.isascii():
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head, final=whole)
        except UnicodeDecodeError:
            return None
        return "it is declared latin-1, and its bytes are UTF-8: declare `encoding: utf-8`"
    first = head.splitlines()[0] if head else b""
    if encoding == "utf-8" and "\ufffd" in decoded(first, encoding, whole=whole or first != head):
        return (
            really(head) or "its header is not UTF-8: if it is latin-1, declare `encoding: latin-1`"
        )
    if encoding == "utf-16" and b"\0" not in head[:100] and head:
        return "it is declared utf-16, and its bytes are not: declare `encoding: utf-8`"
    return None


def really(head: bytes) -> str | None:
    """What a file is that is no text; None where it may be text."""
    if known := next(
        (message for magic, message in _REALLY.items() if head.startswith(magic)), None
    ):
        return known
    if head[1:100:2].count(0) > 20 or head[0:100:2].count(0) > 20:
        if set(head[:100]) == {0}:
            return "it holds NUL bytes only"
        return (
            "it looks like UTF-16: declare `encoding: utf-16`, with a byte order mark in the file"
        )
    if b"\0" in head[:1000] or re.search(rb"[\x01-\x08\x0e-\x1f]", head[:1000]):
        return "it is binary, no text"
    return None


def guess(names: list[str], declared: list[str]) -> str:
    """What is probably wrong with a CSV file whose header names no declared column, and the
    remedy.
    """
    first = " ".join(names)
    for other in ";\t|,:":
        row = next(csv.reader([",".join(names)], delimiter=other), [])
        if len(row) > 1 and {name.strip() for name in row} & set(declared):
            shown = "\\t" if other == "\t" else other
            return f'declare `delimiter: "{shown}"` next to `files`'
    if first.lstrip().startswith("<"):
        return "it is HTML or XML, not CSV: is it an error page?"
    if first.lstrip().startswith(("{", "[")):
        return "it is JSON: one object a line in a file called .jsonl or .json is read"
    lower = {name.lower(): name for name in names}
    if same := next((name for name in declared if name.lower() in lower), None):
        return f"declare `from: {lower[same.lower()]}`"
    return "the first line must name the columns; is it the header, and the delimiter right?"


def reason(error: BaseException) -> str:
    """Why a file cannot be read, without the names of classes and folders."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    message = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", lines[0])
    message = re.sub(r"(:? ?(in file )?'?/\S+'?)", "", message)
    for result, remedy in _REASONS.items():
        if result in str(error):
            line = re.search(r"on Line: (\d+)", str(error))
            return f"cannot be read: {f'line {line[1]}: ' if line else ''}{remedy}"
    return f"cannot be read: {message}"


_REASONS = {
    "Unexpected end of GZIP": "its gzip ends too early: bring the whole file again",
    "ended before the end-of-stream": "its gzip ends too early: bring the whole file again",
    "Not a gzipped file": "it is no gzip: call it without .gz, or compress it",
    "not a GZIP stream": "bytes follow its gzip: bring the file again",
    "CRC check failed": "its gzip is damaged (the checksum does not fit): bring the file again",
    "Incorrect length of data": (
        "its gzip is damaged (the length does not fit): bring the file again"
    ),
    "while decompressing data": "its gzip is damaged: bring the file again",
    "state machine reached an invalid": (
        "its lines end now in CRLF, now in LF: write it with one of them"
    ),
    "not utf-16 encoded": "it holds half characters or ones beyond UCS-2 (emoji): save it as UTF-8",
    "field larger than field limit": "a name in its header has no end: is it a CSV file?",
    "does not start with BOM": "it has no byte order mark: save it as UTF-8",
    "not utf-8 encoded": "it is not UTF-8",
    "Maximum line size": "the line is longer than 2 MB",
    "No magic bytes": "it is no Parquet file",
    "Footer length error": "it is no Parquet file, or was cut",
    "too small to be a Parquet": "it is no Parquet file",
    "Is a directory": "it is a folder, and a file is wanted",
    "No such file": "it is a link to nothing",
    "Permission denied": "this user may not read it",
}
