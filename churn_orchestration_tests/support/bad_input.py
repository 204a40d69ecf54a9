"""The bad inputs that are tried: what lands, and by hand what must become of it."""

import gzip
from dataclasses import dataclass

from churn_orchestration_tests.support.shop import ORDERS, ORDERS_HEADER

FILE, RAW, GOLD = "orders_2024-01-05.csv", "raw/defs.yaml", "gold/defs.yaml"
GOOD = "o1,ann,2024-01-05 10:00,1.50\n"
JSON = (
    '{"order_id": 1, "customer_id": "ann", "ordered_at": "2024-01-05 10:00", "amount_usd": 1.5}\n'
)
Content = str | bytes | None
Change = tuple[str, str, str]


@dataclass(frozen=True)
class Case:
    """One bad input and what must become of it.

    Parameters
    ----------
    kind, name : where in the table, and what is wrong
    content : of the day's file; None is a folder of that name
    records : in the files, counted by hand
    message : what the user must be told; each text occurs
    stored : raw, bronze, quarantine, duplicates
    change : of the shop's YAML; ``file``: the landing file's name; ``then``: what lands on the next
        day
    reads : what bronze must hold of a column
    why : a decision, for the table
    """

    kind: str
    name: str
    content: Content
    records: int
    stored: tuple[int, int, int, int]
    message: tuple[str, ...] = ()
    change: tuple[Change, ...] = ()
    file: str = FILE
    then: tuple[str, Content] | None = None
    reads: tuple[str, tuple[str, ...]] | None = None
    why: str = ""


def setting(line: str) -> Change:
    """A setting of the source."""
    return RAW, "  event_time: ordered_at", f"  {line}\n  event_time: ordered_at"


def ending(kind: str) -> Change:
    """Files of another ending."""
    return RAW, "orders_{day}.csv", "orders_{day}." + kind


def rows(*lines: str) -> str:
    """The day's file of these lines."""
    return ORDERS_HEADER + "".join(f"{line}\n" for line in lines)


def at(*moments: str) -> str:
    """The day's file of one good order at each of these moments."""
    return rows(*(f"o{n},ann,{moment},1.50" for n, moment in enumerate(moments, 1)))


def amounts(*texts: str) -> str:
    """The day's file of one order of each of these amounts."""
    return rows(*(f"o{n},ann,2024-01-05 10:00,{text}" for n, text in enumerate(texts, 1)))


REFUSED = (0, 0, 0, 0)
WHOLE = ORDERS_HEADER + GOOD
RENE = rows("o1,ann,2024-01-05 10:00,1.50", "o2,René,2024-01-05 10:00,2.50")
MANY = rows(*(f"o{n},c{n * 7919 % 10007},2024-01-05 10:00,{n * 31 % 977}" for n in range(2000)))
GZIP = gzip.compress(MANY.encode(), mtime=0)
NO_KEY = (RAW, "  key: [order_id]\n", "")
LATIN, UTF16 = setting("encoding: latin-1"), setting("encoding: utf-16")
HISTORY = (RAW, "orders_{day}.csv", "history.csv")
LONDON = (
    "business.yaml",
    "end_date: 2024-01-20\n",
    "end_date: 2024-12-20\ntimezone: Europe/London\n",
)
LATER = (LONDON, ("business.yaml", "start_date: 2024-01-05", "start_date: 2024-11-05"))
NOVEMBER = "orders_2024-11-05.csv"
NAMES = 'has no column "order_id" (columns: '

# fmt: off
FILES = [
    Case("files", "semicolons, not declared", WHOLE.replace(",", ";"), 1, REFUSED,
         ('declare `delimiter: ";"`',)),
    Case("files", "semicolons, declared", WHOLE.replace(",", ";"), 1, (1, 1, 0, 0),
         change=(setting('delimiter: ";"'),)),
    Case("files", "tabs, not declared", WHOLE.replace(",", "\t"), 1, REFUSED,
         (r'declare `delimiter: "\t"`',)),
    Case("files", "UTF-8 with a byte order mark", b"\xef\xbb\xbf" + WHOLE.encode(), 1,
         (1, 1, 0, 0)),
    Case("files", "latin-1, not declared, in a cell", RENE.encode("latin-1"), 2, (2, 1, 1, 0),
         (":3 malformed", "declare `encoding: latin-1`"),
         why="the other rows of the file are kept"),
    Case("files", "latin-1, not declared, in the header", WHOLE.replace("usd",
         "usd,région").encode("latin-1"), 1, REFUSED,
         ("its header is not UTF-8: if it is latin-1, declare `encoding: latin-1`",)),
    Case("files", "latin-1, declared", RENE.encode("latin-1"), 2, (2, 2, 0, 0), change=(LATIN,),
         reads=("customer_id", ("ann", "René"))),
    Case("files", "latin-1, declared, its one letter beyond ASCII the file's last",
         "order_id,ordered_at,amount_usd,customer_id\no1,2024-01-05,1.50,René".encode("latin-1"), 1,
         (1, 1, 0, 0), change=(LATIN,), reads=("customer_id", ("René",))),
    Case("files", "UTF-8, declared latin-1", RENE, 2, REFUSED,
         ("its bytes are UTF-8: declare `encoding: utf-8`",), change=(LATIN,)),
    Case("files", "UTF-16, not declared", RENE.encode("utf-16"), 2, REFUSED,
         ("declare `encoding: utf-16`",)),
    Case("files", "UTF-16 without its mark, not declared", RENE.encode("utf-16-le"), 2, REFUSED,
         ("declare `encoding: utf-16`",)),
    Case("files", "UTF-16, declared", RENE.encode("utf-16"), 2, (2, 2, 0, 0), change=(UTF16,),
         reads=("customer_id", ("ann", "René"))),
    Case("files", "UTF-16 big end first, declared", b"\xfe\xff" + RENE.encode("utf-16-be"), 2,
         REFUSED, ("not read: save it as UTF-8",), change=(UTF16,),
         why="DuckDB 2.0 reads such a file as no rows"),
    Case("files", "UTF-8, declared UTF-16", RENE, 2, REFUSED, ("declare `encoding: utf-8`",),
         change=(UTF16,)),
    Case("files", "an emoji in UTF-16",
         RENE.replace("René", "\N{SNOWMAN}\U0001f600").encode("utf-16"), 2, REFUSED,
         ("save it as UTF-8",), change=(UTF16,)),
    Case("files", "an empty file", "", 0, REFUSED, ("the file is empty",)),
    Case("files", "blank lines only", "\n\n", 0, REFUSED, ("the first line is empty",)),
    Case("files", "a header and no row", ORDERS_HEADER, 0, (0, 0, 0, 0),
         why="a day without sales is a day"),
    Case("files", "a gzip that was cut", GZIP[:-900], 2000, REFUSED,
         ("ends too early: bring the whole file",), (ending("csv.gz"),), FILE + ".gz"),
    Case("files", "a gzip with one bit turned", GZIP[:-5] + bytes([GZIP[-5] ^ 1]) + GZIP[-4:], 2000,
         REFUSED, ("the checksum does not fit",), (ending("csv.gz"),), FILE + ".gz",
         why="DuckDB 2.0 looks at no checksum"),
    Case("files", "a .gz that is none", WHOLE, 1, REFUSED, ("it is no gzip",), (ending("csv.gz"),),
         FILE + ".gz"),
    Case("files", "a gzip called .csv", gzip.compress(WHOLE.encode(), mtime=0), 1, REFUSED,
         ("call it .csv.gz",)),
    Case("files", "two gzips one after the other",
         gzip.compress(WHOLE.encode()) + gzip.compress(b"o2,ann,2024-01-05,1\n"), 2, (2, 2, 0, 0),
         change=(ending("csv.gz"),), file=FILE + ".gz"),
    Case("files", "a web page called .csv", "<!DOCTYPE html>\n<html>404, not found</html>\n", 0,
         REFUSED, ("it is HTML or XML, not CSV",)),
    Case("files", "a workbook called .csv", b"PK\x03\x04" + bytes(range(256)), 0, REFUSED,
         ("Excel workbook",)),
    Case("files", "binary junk called .csv", b"\x89\x07" + bytes(range(256)) * 8, 0, REFUSED,
         ("it is binary, no text",)),
    Case("files", "NUL bytes only", b"\0" * 5000, 0, REFUSED, ("it holds NUL bytes only",)),
    Case("files", "a Parquet file that is none", WHOLE, 1, REFUSED, ("it is no Parquet file",),
         (ending("parquet"),), "orders_2024-01-05.parquet"),
    Case("files", "a folder of the file's name", None, 0, REFUSED,
         (f"{FILE}: it is no file, and one is wanted",)),
    Case("files", "JSON lines, some of them no objects",
         JSON + '[1]\n3\nnull\n{"a"\n\n' + JSON.replace("1,", "2,", 1), 6, (6, 2, 4, 0),
         (":2 malformed: not a JSON object: [9]", ":5 malformed"), (ending("jsonl"),),
         "orders_2024-01-05.jsonl"),
    Case("files", "a JSON array called .jsonl", f"[{JSON.strip()}]\n", 1, REFUSED,
         ("wanted one object a line",), (ending("jsonl"),), "orders_2024-01-05.jsonl"),
    Case("files", "latin-1 in JSON lines", (JSON + JSON.replace("ann", "René")).encode("latin-1"),
         2, REFUSED, ("line 2: it is not UTF-8",), (ending("jsonl"),), "orders_2024-01-05.jsonl"),
    Case("files", "31 February in the file's name", WHOLE, 1, REFUSED,
         ("no day can be read in orders_2024-02-31.csv",), file="orders_2024-02-31.csv"),
    Case("files", "line ends of two kinds", "order_id,customer_id,ordered_at,amount_usd\r\n" + GOOD,
         1, REFUSED, ("now in CRLF, now in LF",)),
]
# fmt: on

# fmt: off
ROWS = [
    Case("rows", "a line break within quotes", rows('"o\n1",ann,2024-01-05 10:00,1'), 1,
         (1, 1, 0, 0), reads=("order_id", ("o\n1",)), why="valid CSV"),
    Case("rows", "a quote that never closes", rows('o9,"ann,2024-01-05 10:00,1', GOOD.strip()), 2,
         REFUSED, ("record 2 is malformed and spans lines: is a quote not closed?",),
         why="it may have swallowed any number of good rows"),
    Case("rows", "text after a closing quote", rows(GOOD.strip(), 'o9,"ann"x,2024-01-05 10:00,1'),
         2, (2, 1, 1, 0), (":3 malformed: unquoted value: a9",)),
    Case("rows", "too few fields, too many fields",
         rows("o2,ann", GOOD.strip(), "o3,ann,2024-01-05,1,x"), 3, (3, 1, 2, 0),
         (":2 malformed: missing columns: a9,aaa",
          ":4 malformed: too many columns: a9,aaa,9999-99-99,9,a")),
    Case("rows", "empty fields too many", rows("o1,ann,2024-01-05,1,,"), 1, (1, 1, 0, 0),
         why="nothing is in them"),
    Case("rows", "a record of 3 MB", rows(GOOD.strip(), "x" * 3_000_000), 2, (2, 1, 1, 0),
         (":3 malformed", "only its first 10000 characters are kept: aaa"), why="shown are 200"),
    Case("rows", "a record of 20 MB", rows(GOOD.strip(), "x" * 20_000_000), 2, REFUSED,
         ("line 3 has more than 16 MB",),
         why="beyond 32 MB DuckDB 2.0 drops a record without a word"),
    Case("rows", "a million fields in one record", rows(GOOD.strip(), "x," * 1_000_000), 2, REFUSED,
         ("line 3 has more than 10,000 fields",)),
    Case("rows", "a NUL byte in a cell", rows(GOOD.strip(), "o2,a\0nn,2024-01-05 10:00,1"), 2,
         (2, 1, 1, 0), (r":3 malformed: NUL byte: a9,a\0aa,9999-99-99 99:99,9",)),
    Case("rows", "decimal commas, not declared", amounts('"1,50"', "2"), 2, (2, 1, 1, 0),
         (':2 type:amount_usd: "9,99" is no decimal: declare `decimal: ","`',)),
    Case("rows", "decimal commas, declared", amounts('"1,50"', "2", "1.500"), 3, (3, 2, 1, 0),
         (':4 type:amount_usd: "9.999"',), ((RAW, "amount_usd, type: decimal",
         "amount_usd, type: decimal, decimal: ','"),), reads=("amount_usd", ("1.5000", "2.0000")),
         why="a point beside decimal commas says two things"),
    Case("rows", "thousands separators", amounts('"1,000.50"', "1 000.50", "1'000.50", "1_000.50"),
         4, (4, 1, 3, 0), (':2 type:amount_usd: "9,999.99" is no decimal',),
         reads=("amount_usd", ("1000.5000",))),
    Case("rows", "thousands separators, not quoted", amounts("1,000.50"), 1, (1, 0, 1, 0),
         ("too many columns",)),
    Case("rows", "more decimals than a decimal keeps", amounts("0.00004", "9.34E-05", "1.50000"), 3,
         (3, 1, 2, 0), (":2 type:amount_usd",
          "it has more decimals: declare `type: decimal(18, 8)` or `type: double`"),
         reads=("amount_usd", ("1.5000",)), why="a number is never rounded without a word"),
    Case("rows", "infinities and NaN", amounts("NaN", "inf", "-Infinity", "1e400"), 4, (4, 0, 4, 0),
         (':2 type:amount_usd: "NaN" is no decimal', ':5 type:amount_usd: "9a999"')),
    Case("rows", "ids with leading zeros and with .0",
         rows("007,1.0,2024-01-05,1", "7,01,2024-01-05,1"), 2, (2, 2, 0, 0),
         reads=("order_id || '/' || customer_id", ("007/1", "7/01")),
         why="7 and 007 are two ids; 1.0 is 1"),
    Case("rows", "an id once with .0", rows("17850.0,ann,2024-01-05,1", "17850,ann,2024-01-05,1"),
         2, (2, 0, 2, 0), (":2 conflicting_key", ":3 conflicting_key"),
         why="they differ as landed, so neither is taken for a copy"),
    Case("rows", "ids that are not there",
         rows(",ann,2024-01-05,1", "o2, ,2024-01-05,1", "o3,NULL,2024-01-05,1"), 3, (3, 1, 2, 0),
         (":2 required:order_id", ":3 required:customer_id"), reads=("customer_id", ("NULL",)),
         why="the word NULL is a text; "
             "a rule such as `customer_id <> 'NULL'` under `where` refuses it"),
    Case("rows", "the same row twice, with a key", WHOLE + GOOD, 2, (2, 1, 0, 1)),
    Case("rows", "the same row twice, without a key", WHOLE + GOOD, 2, (2, 2, 0, 0),
         change=(NO_KEY,), why="without a key nobody can tell a copy from a second purchase"),
    Case("rows", "one key, two contents, in one file", WHOLE + GOOD.replace("1.50", "9"), 2,
         (2, 0, 2, 0), (":2 conflicting_key", ":3 conflicting_key")),
    Case("rows", "one key on two days of a history file",
         rows("7,ann,2024-01-02,10", "7,bob,2024-01-04,20"), 2, (2, 0, 2, 0),
         (":2 conflicting_key", ":3 conflicting_key", "is order_id really the key?"), (HISTORY,),
         "history.csv", why="a correction comes in a later landing, and a history is one"),
    Case("rows", "a day that lands again with other content, with a key", WHOLE, 2, (2, 2, 0, 0),
         then=(FILE, WHOLE.replace("1.50", "9")),
         reads=("amount_usd || ' ' || known_on", ("1.5000 2024-01-05", "9.0000 2024-01-06")),
         why="a correction, known from the day that saw it"),
    Case("rows", "a day that lands again with other content, without a key", WHOLE, 2, (1, 1, 0, 0),
         ("refresh that day alone (--from 2024-01-05 --to 2024-01-05) or declare a key",),
         (NO_KEY,), then=(FILE, WHOLE.replace("1.50", "9"))),
    Case("rows", "a column that changes its type the next day", WHOLE, 3, (3, 2, 1, 0),
         ('orders_2024-01-06.csv:2 type:amount_usd: "aaaaa" is no decimal',),
         then=("orders_2024-01-06.csv", rows("o2,ann,2024-01-06,cheap", "o3,ann,2024-01-06,2"))),
]
# fmt: on

# fmt: off
TIME = [
    Case("time", "dates written in several ways", at("05/01/2024 10:00", "2024-1-5 10:00",
          "20240105", "1704448800", "2024/01/05", "2024-01-05T10:00"), 6, (6, 3, 3, 0),
         (':2 type:ordered_at: "99/99/9999 99:99" is no timestamp: declare its `format`',
          ":5 type:ordered_at", "declare `format: epoch_s` in its column"), reads=("ordered_at",
          ("2024-01-05 10:00:00", "2024-01-05 00:00:00", "2024-01-05 10:00:00")),
         why="never guessed: 05/01 may be May"),
    Case("time", "31 February, 29 February of 2023, 25 o'clock", at("2024-02-31", "2023-02-29",
         "2024-01-05 25:00"), 3, (3, 0, 3, 0), (':2 type:ordered_at: "9999-99-99" is no timestamp',
         ":4 type:ordered_at")),
    Case("time", "the years 0001 and 24, the day before history_from", at("0001-01-01", "24-01-05",
         "2023-12-31"), 3, (3, 0, 3, 0),
         (":2 before_history: 0001-01-01 lies before 2024-01-01, the first day that counts",
          ":3 before_history",
         ":4 before_history")),
    Case("time", "the year 9999, the day after the file's", at("9999-12-31", "2024-01-06 00:00"), 2,
         (2, 0, 2, 0), (":2 future_day: 9999-12-31 lies after 2024-01-05, the day on which it came",
          ":3 future_day")),
    Case("time", "offsets",
         at("2024-01-05T00:30:00+02:00", "2024-01-05T23:30:00Z", "2024-01-05 23:30:00-02"), 3,
         (3, 2, 1, 0), (":4 future_day: 2024-01-06",),
         reads=("ordered_at", ("2024-01-04 22:30:00", "2024-01-05 23:30:00")),
         why="an offset is honoured, and the day is that of the business's zone"),
    Case("time", "a local time that the clock skipped (London)",
         at("2024-03-31 00:59", "2024-03-31 01:30", "2024-03-31 02:00"), 3, (3, 3, 0, 0),
         change=LATER, file=NOVEMBER, reads=("ordered_at",
          ("2024-03-31 00:59:00", "2024-03-31 01:30:00", "2024-03-31 01:00:00")),
         why="01:30 was never shown: read as 02:30 summer time, moved on by the hour, "
             "as PostgreSQL does"),
    Case("time", "a local time that the clock showed twice (London)",
         at("2024-10-27 00:59", "2024-10-27 01:30", "2024-10-27T01:30+01:00"), 3, (3, 3, 0, 0),
         change=LATER, file=NOVEMBER, reads=("ordered_at",
          ("2024-10-26 23:59:00", "2024-10-27 01:30:00", "2024-10-27 00:30:00")),
         why="the later one, of standard time, as PostgreSQL does; an offset says which"),
    Case("time", "rows of a history file after the last requested day",
         at("2024-01-05", "2024-01-07", "2024-01-08"), 3, (1, 1, 0, 0),
         ("history.csv holds 2 rows of days after 2024-01-05, from 2024-01-07 on: not taken in yet",
          ), (HISTORY,), "history.csv", why="they are taken in with their day"),
]
# fmt: on

# fmt: off
COLUMNS = [
    Case("names", "columns in another order",
         "amount_usd,ordered_at,customer_id,order_id\n1,2024-01-05,ann,o1\n", 1, (1, 1, 0, 0),
         reads=("order_id", ("o1",))),
    Case("names", "spaces around the names",
         "order_id , customer_id, ordered_at, amount_usd\no1,ann,2024-01-05,1\n", 1, (1, 1, 0, 0)),
    Case("names", "a column that is not there",
         "order_id,customer_id,ordered_at\no1,ann,2024-01-05\n", 1, (1, 0, 0, 0),
         (f'{FILE} has no column "amount_usd" (columns: order_id, customer_id, ordered_at)',)),
    Case("names", "a column of another name",
         "order_id,customer_id,ordered_at,total\no1,ann,2024-01-05,1\n", 1, (1, 0, 0, 0),
         ('has no column "amount_usd"', "declare `from: total`")),
    Case("names", "a column of another case",
         "Order_ID,customer_id,ordered_at,amount_usd\no1,ann,2024-01-05,1\n", 1, (1, 0, 0, 0),
         ('has no column "order_id"', "declare `from: Order_ID`")),
    Case("names", "a new column", ORDERS_HEADER.strip() + ",coupon\no1,ann,2024-01-05,1,X\n", 1,
         (1, 1, 0, 0), ("new column: coupon",), why="it stays in raw until it is declared"),
    Case("names", "a column named twice",
         ORDERS_HEADER.strip() + ",amount_usd\no1,ann,2024-01-05,1,2\n", 1, REFUSED,
         ('the header names column "amount_usd" twice',)),
    Case("names", "no header", GOOD, 1, REFUSED, ("(columns: a9, aaa, 9999-99-99 99:99, 9.99)",
         "the first line must name the columns")),
    Case("names", "a column without a name",
         ORDERS_HEADER.strip() + ",,column4\no1,ann,2024-01-05,1,2,3\n", 1, (1, 1, 0, 0),
         ("new column: column4_unnamed", "new column: column4"),
         why="it is called after its position"),
    Case("names", "a header of 200,000 columns", ",".join(f"c{n}" for n in range(200_000)) + "\n",
         0, REFUSED, ("line 1 has more than 10,000 fields",)),
    Case("names", "a name of the platform's own",
         ORDERS_HEADER.strip() + ",_line\no1,ann,2024-01-05,1,2\n", 1, REFUSED,
         ('the column name "_line" is kept for the platform',)),
    Case("names", "reserved words, quotes, and names of quarantine",
         ORDERS_HEADER.strip() + ',select,"a""b",day,rule,detail\no1,ann,2024-01-05,1,2,3,4,5,6\n'
         "o2,ann,x,1,2,3,4,5,6\n",
         2, (2, 1, 1, 0), (':3 type:ordered_at: "a" is no timestamp',)),
    Case("names", "a reserved word as a declared name", WHOLE, 1, (1, 1, 0, 0),
         change=((RAW, "{name: customer_id,", "{name: select, from: customer_id,"),),
         reads=('"select"', ("ann",))),
]
# fmt: on

CASES = FILES + ROWS + TIME + COLUMNS


@dataclass(frozen=True)
class Mistake:
    """A mistake in YAML or SQL: what is changed, and what the command must say, from file and line
    on.
    """

    name: str
    change: Change
    message: str


def _instead(text: str, name: str = RAW) -> Change:
    return name, "", text


# fmt: off
MISTAKES = [
    Mistake("a scalar where a list is wanted", (RAW, "key: [order_id]", "key: order_id"),
         "shop/raw/defs.yaml:11: key: Input should be a valid list"),
    Mistake("a list where a scalar is wanted",
            (RAW, "event_time: ordered_at", "event_time: [ordered_at]"),
            "shop/raw/defs.yaml:10: event_time: Input should be a valid string"),
    Mistake("an unknown key", setting("colour: red"),
            "shop/raw/defs.yaml:10: colour: no such setting"),
    Mistake("an unknown key of a column", (RAW, "amount_usd, type:", "amount_usd, typ:"),
         "shop/raw/defs.yaml:9: columns.3.typ: no such setting"),
    Mistake("a wrong indent", (RAW, "  event_time:", "   event_time:"),
         "shop/raw/defs.yaml:10: not valid YAML: expected <block end>"),
    Mistake("a tab as indent", (RAW, "  event_time:", "\tevent_time:"),
         "shop/raw/defs.yaml:10: not valid YAML: found character"),
    Mistake("an open bracket", (RAW, "key: [order_id]", "key: [order_id"),
         "shop/raw/defs.yaml:12: not valid YAML: expected ','"),
    Mistake("a wrong type", (RAW, "amount_usd, type: decimal, required: true",
         "amount_usd, type: decimal, required: maybe"),
         "shop/raw/defs.yaml:9: required: Input should be a valid boolean"),
    Mistake("an empty YAML file", _instead(""),
            "shop/raw/defs.yaml: holds nothing; wanted a component"),
    Mistake("a list instead of a component", _instead("- a\n- b\n"),
         "shop/raw/defs.yaml:1: wanted a component"),
    Mistake("a component that is none", (RAW, "components.SourceTable", "components.SorceTable"),
         "shop/raw/defs.yaml:1: type: no component churn_orchestration.components.SorceTable"),
    Mistake("a key given twice", setting("event_time: order_id"),
         "shop/raw/defs.yaml:11: event_time is given twice, first in line 10"),
    Mistake("a setting of the business given twice", ("business.yaml", "name: shop\n",
         "name: shop\nname: two\n"), "shop/business.yaml:2: name is given twice, first in line 1"),
    Mistake("a setting that is missing", (RAW, "  name: orders\n", ""),
         "shop/raw/defs.yaml:2: name: Field required"),
    Mistake("two sources of one name", _instead(f"{ORDERS}---\n{ORDERS}"),
         "shop/raw/defs.yaml:17: a second SourceTable called orders"),
    Mistake("a declared name of the platform's own", (RAW, "name: amount_usd", "name: known_on"),
         'shop/raw/defs.yaml:9: name: "known_on" is a name of the platform\'s own'),
    Mistake("a quote in a declared name", (RAW, "name: amount_usd", "name: 'amount\"usd'"),
         "shop/raw/defs.yaml:9: columns.3.name: String should match pattern"),
    Mistake("an encoding that is not read", setting("encoding: cp1252"),
         'shop/raw/defs.yaml:10: encoding: encoding "cp1252" is not read: utf-8, utf-16 or '
         'latin-1'),
    Mistake("a format that is none", (RAW, "type: timestamp,", "type: timestamp, format: '%Q',"),
         'shop/raw/defs.yaml:8: format: "%Q" is no format (Unrecognized format for '
         'strftime/strptime: %Q)'),
    Mistake("a format of what is no time",
         (RAW, "amount_usd, type: decimal,", "amount_usd, type: decimal, format: '%d',"),
         "`format` says how a date or timestamp is written, and it is decimal"),
    Mistake("files above the landing folder", (RAW, '"orders_{day}', '"a/../../orders_{day}'),
         'shop/raw/defs.yaml:4: files: "a/../../orders_{day}.csv" leads out of the landing folder'),
    Mistake("files of a folder of the machine", (RAW, '"orders_{day}.csv"', "/etc/pass*"),
         'shop/raw/defs.yaml:4: files: "/etc/pass*" leads out of the landing folder'),
    Mistake("a delimiter of two characters", setting('delimiter: ";;"'),
         "shop/raw/defs.yaml:10: delimiter: Value should have at most 1"),
    Mistake("an entity that the feature source lacks", ("silver/orders.sql", "customer_id, ", ""),
         'shop/gold/defs.yaml:6: the features read "customer_id" (orders: entity), and '
         'silver.orders has'),
    Mistake("a measure that is text", (GOLD, "column: amount_usd", "column: order_id"),
         "shop/gold/defs.yaml:11: measure amount of orders: silver.orders.order_id is varchar; a "
         "measure is"),
    Mistake("a window of 0 days", (GOLD, "windows: [3, 7]", "windows: [0, 7]"),
         "shop/gold/defs.yaml:12: windows: a window of 0 days: windows are whole days, at least 1"),
    Mistake("a window of negative days", (GOLD, "windows: [3, 7]", "windows: [3, -7]"),
         "shop/gold/defs.yaml:12: windows: a window of -7 days"),
    Mistake("two features of one name",
         (GOLD, "unit: usd}", "unit: usd}\n        - {name: amount, column: day}"),
         "shop/gold/defs.yaml:1: customer_features: two features are called orders_amount_max_3d"),
    Mistake("an attribute that is to answer",
         (GOLD, "  windows:", "  attributes:\n    - {name: plan, table: silver.orders, measures: "
          "[{name: price, column: amount_usd, answered: true}]}\n  windows:"),
         "shop/gold/defs.yaml:1: plan: measure price: `answered` is of events, and an attribute "
         "has none: take it out"),
    Mistake("a change of what no day comes to",
         (GOLD, "unit: usd}", "unit: usd, change: last}"),
         "shop/gold/defs.yaml:11: change: Input should be 'sum' or 'mean'"),
    Mistake("what is repeated of a closed category",
         (GOLD, "      measures:", "      categories: [{name: channel, column: order_id, values: "
          "[web], closed: true, repeated: true}]\n      measures:"),
         "shop/gold/defs.yaml:1: category channel: `repeated` counts the days of each value, and "
         "`closed` keeps none by itself: take `closed` out"),
    Mistake("a select of features that is not there",
         (GOLD, "  windows:", "  sql: [own.sql]\n  windows:"),
         "shop/gold/own.sql does not exist; `sql` names files next to the YAML"),
]
# fmt: on
