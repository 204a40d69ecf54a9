import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pytest

from churn_orchestration.churn.rows.contract import AT_ONCE, Column, Contract, judged, typed

BERLIN = "Europe/Berlin"
at = dt.datetime.fromisoformat


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def read(db, kind, text, form=None, timezone="UTC", raw="VARCHAR"):
    """One cell, as bronze would have it; None where it is refused."""
    sql = typed(Column("c", "c", kind, form), timezone)
    return db.execute(
        f"select {sql} from (select cast(?::{raw} as varchar) as c)", [text]
    ).fetchone()[0]


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("17850.0", "17850"),
        ("17850.00", "17850"),
        ("017850", "017850"),
        (" 17850 ", "17850"),
        ("A1.0", "A1.0"),
        ("17850.5", "17850.5"),
        ("  ", None),
    ],
)
def test_an_id_loses_a_spreadsheets_decimals_and_keeps_its_leading_zeros(db, text, read_as):
    assert read(db, "id", text) == read_as


@pytest.mark.parametrize("number", [17850.0, 123456789012.0])
def test_an_id_that_came_as_a_float_is_its_whole_number(db, number):
    assert read(db, "id", number, raw="DOUBLE") == str(int(number))


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("12", 12),
        ("+1", 1),
        ("-1", -1),
        ("3.0", 3),
        ("3.5", None),
        ("1,000", None),
        ("9" * 20, None),
        ("NaN", None),
    ],
)
def test_an_integer_is_whole_or_refused(db, text, read_as):
    assert read(db, "integer", text) == read_as


@pytest.mark.parametrize("kind", ["decimal", "decimal(10, 2)", "double"])
@pytest.mark.parametrize("text", ["NaN", "nan", "inf", "-Infinity", "1e400", "1,5", "$5", "abc"])
def test_an_amount_that_is_no_finite_number_is_refused(db, kind, text):
    assert read(db, kind, text) is None


def test_a_decimal_keeps_its_digits(db):
    assert read(db, "decimal", "0.1") == Decimal("0.1000")
    assert read(db, "decimal(10, 2)", "12345678.90") == Decimal("12345678.90")
    assert read(db, "decimal(4, 2)", "100.00") is None
    assert read(db, "decimal", "12345678901234.5678") == Decimal("12345678901234.5678")


@pytest.mark.parametrize("text", ["0.00004", "9.34E-05", "33.964131", "-12.34567"])
def test_a_decimal_with_more_decimals_than_declared_is_refused_and_never_rounded(db, text):
    assert read(db, "decimal", text) is None
    assert read(db, "decimal(18, 8)", text) == Decimal(text)
    assert read(db, "double", text) == float(text)


@pytest.mark.parametrize("text", ["19.990000000000002", "19.9900000", "1999e-2"])
def test_a_decimal_is_what_software_wrote_it_for(db, text):
    assert read(db, "decimal", text) == Decimal("19.99")


@pytest.mark.parametrize(
    ("text", "read_as"),
    [("TRUE", True), ("y", True), ("1", True), ("No", False), ("0", False), ("maybe", None)],
)
def test_a_boolean_is_a_word_for_yes_or_no(db, text, read_as):
    assert read(db, "boolean", text) is read_as


def test_a_date_is_iso_or_in_its_declared_format(db):
    assert read(db, "date", "2024-01-05") == dt.date(2024, 1, 5)
    assert read(db, "date", "05/01/2024") is None
    assert read(db, "date", "05/01/2024", "%d/%m/%Y") == dt.date(2024, 1, 5)
    assert read(db, "date", "2024-02-30") is None
    assert read(db, "date", "31/02/2024", "%d/%m/%Y") is None


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("epoch_s", "1704495600"),
        ("epoch_s", "1704495600.0"),
        ("epoch_ms", "1704495600000"),
        ("epoch_us", "1704495600000000"),
    ],
)
def test_a_time_as_a_number_counts_from_1970_in_utc_and_its_day_is_that_of_the_zone(db, form, text):
    """2024-01-05 23:00 UTC is the next day in Berlin."""
    for kind in ("timestamp", "timestamptz"):
        assert read(db, kind, text, form, BERLIN) == at("2024-01-05 23:00")
    assert read(db, "date", text, form, BERLIN) == dt.date(2024, 1, 6)
    assert read(db, "date", text, form) == dt.date(2024, 1, 5)


def test_a_time_in_another_unit_than_declared_is_refused(db):
    assert read(db, "timestamp", "1704495600000", "epoch_s") is None
    assert read(db, "timestamp", "2024-01-05", "epoch_s") is None


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
@pytest.mark.parametrize("text", ["infinity", "-infinity"])
def test_an_infinite_day_is_refused(db, kind, text):
    cell = typed(Column("c", "c", kind), "UTC")
    assert db.execute(f"select ({cell})::varchar from (select ? as c)", [text]).fetchone() == (
        None,
    )


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2024-01-05 23:30", at("2024-01-05 22:30")),
        ("2024-07-05 00:30", at("2024-07-04 22:30")),
        ("2024-03-31 03:30", at("2024-03-31 01:30")),  # an hour after the clock went forward
        ("2024-10-27 03:30", at("2024-10-27 02:30")),  # after it went back
    ],
)
def test_a_timestamp_is_local_time_of_the_business_kept_in_utc(db, local, utc):
    assert read(db, "timestamp", local, timezone=BERLIN) == utc


def test_a_timestamptz_carries_its_own_offset(db):
    assert read(db, "timestamptz", "2024-01-05T23:30:00+01:00", timezone=BERLIN) == at(
        "2024-01-05 22:30"
    )
    assert read(db, "timestamptz", "2024-01-05T23:30:00Z", timezone=BERLIN) == at(
        "2024-01-05 23:30"
    )


def test_a_local_timestamp_that_brings_an_offset_is_never_read_without_it(db):
    """Read without it, 00:30+02:00 lands on the wrong day; either honour the offset or refuse the
    cell.
    """
    honoured = at("2024-01-04 22:30")
    assert read(db, "timestamp", "2024-01-05T00:30:00+02:00") in (None, honoured)


def test_a_timestamptz_without_an_offset_is_refused_not_taken_for_utc(db):
    assert read(db, "timestamptz", "2024-01-05 23:30", timezone=BERLIN) is None


def test_a_timestamptz_is_read_in_its_declared_format(db):
    text, form = "05.01.2024 23:30 +0100", "%d.%m.%Y %H:%M %z"
    assert read(db, "timestamptz", text, form, BERLIN) == at("2024-01-05 22:30")


def test_a_moment_of_a_database_keeps_its_instant(db):
    moment = "2024-01-05 23:30:00+01"
    for kind in ("timestamp", "timestamptz"):
        assert read(db, kind, moment, timezone=BERLIN, raw="TIMESTAMPTZ") == at("2024-01-05 22:30")


ORDERS = Contract(
    columns=(
        Column("order_id", "id", "id", required=True),
        Column("ordered_at", "placed", "timestamp", required=True),
        Column("amount_usd", "amount", "decimal"),
    ),
    event_time="ordered_at",
    where=(("positive_amount", "amount_usd > 0"), ("not_a_test", "order_id not like 'test%'")),
)
KEYED = Contract(ORDERS.columns, ORDERS.event_time, ("order_id",), ORDERS.where)


def verdicts(db, contract, *rows, known_on="2024-01-05"):
    """The rule each row breaks, in their order; a row is (id, placed, amount) or (.., known_on)."""
    db.execute(
        "create or replace temp table raw (id varchar, placed varchar, amount varchar, known_on "
        "date, _partition date, _file varchar, _line bigint, _error varchar)"
    )
    for line, row in enumerate(rows):
        known = row[3] if len(row) > 3 else known_on
        db.execute(
            "insert into raw values (?, ?, ?, ?, ?, 'f', ?, null)", [*row[:3], known, known, line]
        )
    result = db.execute(
        f"select _rule from ({judged(contract, 'raw', ['id', 'placed', 'amount'], 'true')}) order "
        "by _line"
    ).fetchall()
    return [rule for (rule,) in result]


def test_each_row_is_judged_by_the_first_rule_it_breaks(db):
    assert verdicts(
        db, ORDERS,
        ("o1", "2024-01-05 10:00", "1.50"),
        ("", "nonsense", "-1"),
        ("o3", "nonsense", "-1"),
        ("o4", "2024-01-06 00:00", "-1"),
        ("o5", "2024-01-05 10:00", "-1"),
        ("test6", "2024-01-05 10:00", "1.50"),
        ("o7", "2024-01-05 10:00", "NaN"),
    ) == [
        None, "required:order_id", "type:ordered_at", "future_day", "where:positive_amount",
        "where:not_a_test",
        "type:amount_usd",
    ]  # fmt: skip


def test_a_rule_that_cannot_be_answered_is_broken(db):
    assert verdicts(db, ORDERS, ("o1", "2024-01-05 10:00", "")) == ["where:positive_amount"]


def test_the_last_moment_of_the_day_it_became_known_is_no_future(db):
    rows = [("o1", "2024-01-05 23:59:59.999999", "1"), ("o2", "2024-01-06 00:00:00", "1")]
    assert verdicts(db, ORDERS, *rows) == [None, "future_day"]


@pytest.mark.parametrize(
    ("local", "day"),
    [
        ("2024-03-31 00:00", dt.date(2024, 3, 31)),
        ("2024-03-31 23:59:59", dt.date(2024, 3, 31)),
        ("2024-10-27 00:00", dt.date(2024, 10, 27)),
        ("2024-10-27 23:59:59", dt.date(2024, 10, 27)),
        ("2024-10-28 00:00", dt.date(2024, 10, 28)),
    ],
)
def test_the_day_begins_at_midnight_of_the_business_also_when_the_clock_changes(db, local, day):
    contract = Contract(ORDERS.columns, "ordered_at", timezone=BERLIN)
    verdicts(db, contract, ("o1", local, "1"))
    select = judged(contract, "raw", ["id", "placed", "amount"], "true")
    assert db.execute(f"select day from ({select})").fetchall() == [(day,)]


def test_without_a_key_nothing_is_a_duplicate(db):
    row = ("o1", "2024-01-05 10:00", "1.50")
    assert verdicts(db, ORDERS, row, row, ("o1", "2024-01-05 10:00", "9")) == [None, None, None]


def test_exact_copies_of_a_key_are_duplicates_and_differing_ones_are_conflicts(db):
    one, other = ("o1", "2024-01-05 10:00", "1.50"), ("o1", "2024-01-05 10:00", "9")
    assert verdicts(db, KEYED, one, one, one) == [None, "duplicate", "duplicate"]
    assert verdicts(db, KEYED, one, other) == ["conflicting_key", "conflicting_key"]
    assert verdicts(db, KEYED, one, one, other) == [
        "conflicting_key",
        "duplicate",
        "conflicting_key",
    ]


def test_the_same_key_in_a_later_landing_is_a_correction(db):
    first = ("o1", "2024-01-05 10:00", "1.50", "2024-01-05")
    corrected = ("o1", "2024-01-05 10:00", "9", "2024-01-06")
    repeated = ("o1", "2024-01-05 10:00", "1.50", "2024-01-07")
    assert verdicts(db, KEYED, first, corrected, repeated) == [None, None, None]


def test_a_broken_row_does_not_make_its_valid_twin_a_conflict(db):
    assert verdicts(
        db, KEYED, ("o1", "2024-01-05 10:00", "1.50"), ("o1", "2024-01-05 10:00", "-1")
    ) == [
        None,
        "where:positive_amount",
    ]


def test_a_source_may_have_a_column_called_day(db):
    """A clash with a name of ours is refused when the YAML is read, or works; it is never an SQL
    error.
    """
    contract = Contract((Column("order_id", "id", "id"), Column("day", "placed", "text")))
    assert verdicts(db, contract, ("o1", "monday", "1")) == [None]


def test_rows_that_landed_at_once_conflict_on_different_days_with_those_of_their_day_and_before(db):
    rows = [
        ("o1", "2024-01-05 10:00", "1", "2024-01-05"),
        ("o1", "2024-01-06 10:00", "2", "2024-01-06"),
        ("o2", "2024-01-06 10:00", "3", "2024-01-06"),
        ("o3", "2024-01-06 10:00", "4", "2024-01-06"),
    ]
    verdicts(db, KEYED, *rows)
    landed = ["id", "placed", "amount"]
    for earlier, wanted in (
        (None, [None, "conflicting_key", None, None]),
        ("values ('o3')", [None, "conflicting_key", None, "conflicting_key"]),
    ):
        select = judged(KEYED, "raw", landed, "true", AT_ONCE, earlier)
        result = db.execute(f"select _rule from ({select}) order by _line").fetchall()
        assert [rule for (rule,) in result] == wanted
