import datetime as dt
import gzip
import hashlib
import sqlite3
from decimal import Decimal
from typing import Any

import duckdb
import openpyxl
import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.landing.arrivals import pending
from churn_orchestration.landing.files import Files
from churn_orchestration.storage.door import publish
from churn_orchestration_tests.support.shop import JAN, ORDERS_HEADER, Shop

HISTORY = '"orders_{day}.csv"', '"history.csv"'


def landed_rows(shop: Shop, columns: str = "order_id, _partition, known_on") -> list[tuple]:
    return shop.rows(f"select {columns} from raw.orders order by _partition, _file, _line")


def test_the_initial_load_keeps_the_day_in_each_files_name(shop):
    shop.land_quiet_days(3, 6)
    landed, _ = shop.take_in(5)
    assert landed.rows == {JAN[5]: 3}
    assert landed_rows(shop) == [
        ("o3", JAN[5], JAN[3]),
        ("o4", JAN[5], JAN[4]),
        ("o5", JAN[5], JAN[5]),
    ]


def test_a_late_file_is_known_from_the_day_that_takes_it_in(shop):
    shop.land_quiet_days(5, 6)
    shop.take_in(5)
    shop.take_in(6)
    shop.land_orders(4, "late,ann,2024-01-04 10:00,1")
    shop.land_quiet_days(7, 7)
    shop.take_in(7)
    assert landed_rows(shop)[2:] == [("late", JAN[7], JAN[7]), ("o7", JAN[7], JAN[7])]


def test_a_late_file_is_never_dated_back_when_the_initial_load_is_refreshed_again(shop):
    """It was not there when the days since were scored: no as_of before the newest landed day may
    see it.
    """
    shop.land_quiet_days(5, 7)
    for day in (5, 6, 7):
        shop.take_in(day)
    shop.land_orders(4, "late,ann,2024-01-04 10:00,1")
    shop.take_in(5)
    shop.take_in(8)
    assert [row for row in landed_rows(shop) if row[0] == "late"] == [("late", JAN[8], JAN[8])]


def test_the_manifest_keeps_each_file_with_its_hash_and_day(shop):
    shop.land_orders(5)
    shop.take_in(5)
    shop.take_in(5)
    manifest = "select source, file, sha256, partition, known_on, header from meta.manifest"
    [(source, file, sha, partition, known_on, header)] = shop.rows(manifest)
    assert (source, file, partition, known_on) == (
        "orders",
        "orders_2024-01-05.csv",
        JAN[5],
        JAN[5],
    )
    assert header == ["order_id", "customer_id", "ordered_at", "amount_usd"]
    assert sha == hashlib.sha256(ORDERS_HEADER.encode()).hexdigest()


def test_landing_a_day_again_gives_the_same_rows_even_if_its_file_is_gone_by_then(shop):
    shop.land_quiet_days(5, 5)
    file = shop.land_orders(6, "o6,ann,2024-01-06 10:00,1", "ragged")
    shop.take_in(5)
    shop.take_in(6)
    before = landed_rows(shop, "*")
    shop.take_in(6)
    assert landed_rows(shop, "*") == before
    file.unlink()
    landed, _ = shop.take_in(6)
    assert landed.rows == {JAN[6]: 2}
    assert landed_rows(shop, "*") == before


def test_a_changed_file_of_a_keyed_source_comes_again_on_the_next_day_as_a_correction(shop):
    shop.land_quiet_days(5, 5)
    shop.take_in(5)
    shop.land_orders(5, "o5,ann,2024-01-05 10:00,99")
    shop.take_in(6)
    shop.take_in(5)
    assert landed_rows(shop, "amount_usd, _partition, known_on") == [
        ("5.50", JAN[5], JAN[5]),
        ("99", JAN[6], JAN[6]),
    ]


def test_a_changed_file_without_a_key_is_refused_until_its_own_day_is_refreshed(shop):
    shop.change("raw/defs.yaml", "  key: [order_id]\n", "")
    shop.land_quiet_days(5, 5)
    shop.take_in(5)
    shop.land_orders(5, "o5,ann,2024-01-05 10:00,99")
    landed, _ = shop.take_in(6, 7)
    assert landed.refused.keys() == {JAN[6]}
    assert "orders_2024-01-05.csv changed after 2024-01-05 took it in" in landed.refused[JAN[6]]
    assert "(--from 2024-01-05 --to 2024-01-05) or declare a key" in landed.refused[JAN[6]]
    landed, _ = shop.take_in(5)
    assert landed.refused == {}
    assert landed_rows(shop, "amount_usd, _partition") == [("99", JAN[5])]


def test_a_file_that_comes_again_under_another_name_is_taken_in_once(shop):
    shop.change("raw/defs.yaml", "  key: [order_id]\n", "")
    shop.land_quiet_days(5, 5)
    shop.take_in(5)
    sent = (shop.landing / "orders_2024-01-05.csv").read_bytes()
    shop.land("orders_2024-01-06.csv", sent)
    for _ in range(2):
        landed, _ = shop.take_in(6)
        assert landed.rows == {JAN[6]: 0}
        assert landed.repeated == [
            "orders_2024-01-06.csv has the content of orders_2024-01-05.csv, which was taken in: "
            "not taken in twice"
        ]
    assert landed.missing == []
    shop.land_orders(6)
    shop.land_orders(7)
    landed, _ = shop.take_in(6, 7)
    assert landed.repeated == []


def test_a_file_of_a_day_to_come_is_valid_once_it_has_the_name_of_its_day(shop):
    shop.land_orders(5, "o7,ann,2024-01-07 10:00,1")
    _, judgement = shop.take_in(5)
    assert judgement.rules == {"future_day": 1}
    (shop.landing / "orders_2024-01-05.csv").rename(shop.landing / "orders_2024-01-07.csv")
    shop.take_in(7)
    assert shop.rows("select order_id, day from bronze.orders") == [("o7", JAN[7])]


def test_a_history_that_is_renamed_is_taken_in_once_and_so_is_its_next_dump(shop):
    """`files:` changes with the name, so every day is taken in again, and no key stops it."""
    shop.change("raw/defs.yaml", *HISTORY)
    shop.change("raw/defs.yaml", "  key: [order_id]\n", "")
    rows = ["o1,ann,2024-01-02,1", "o1,ann,2024-01-02,1", "o2,bob,2024-01-06,2"]
    shop.land("history.csv", ORDERS_HEADER + "\n".join(rows[:2]) + "\n")
    shop.take_in(5)
    (shop.landing / "history.csv").rename(shop.landing / "orders_all.csv")
    shop.change("raw/defs.yaml", "history.csv", "orders_*.csv")
    landed, _ = shop.take_in(5)
    assert landed.rows == {JAN[5]: 2}
    assert landed.repeated == [
        "2 rows of history.csv, which is gone, came again under another name: taken in once"
    ]
    (shop.landing / "orders_all.csv").unlink()
    shop.land("orders_new.csv", ORDERS_HEADER + "\n".join(rows) + "\n")
    landed, _ = shop.take_in(5, 6)
    assert landed.rows == {JAN[5]: 2, JAN[6]: 1}
    shop.land("orders_copy.csv", ORDERS_HEADER + "\n".join(rows) + "\n")
    landed, _ = shop.take_in(5, 6)
    assert landed.rows == {JAN[5]: 2, JAN[6]: 1}
    assert landed.repeated == [
        "orders_copy.csv has the content of orders_new.csv, which was taken in: not taken in twice"
    ]


def test_a_file_written_again_with_the_same_content_is_the_same_file(shop):
    shop.land_quiet_days(5, 5)
    shop.take_in(5)
    file = shop.landing / "orders_2024-01-05.csv"
    file.write_bytes(file.read_bytes())
    landed, _ = shop.take_in(6)
    assert (landed.rows, landed.refused) == ({JAN[6]: 0}, {})


def test_ragged_rows_are_kept_with_the_number_of_their_line(shop):
    rows = ["x,y", "o1,ann,2024-01-05 10:00,1", "a,b,c,d,e", "q", "o2,ann,2024-01-05 10:00,1", "z"]
    shop.land_orders(5, *rows)
    _, judgement = shop.take_in(5)
    assert judgement.rules == {"malformed": 4}
    assert shop.rows("select _line, detail from quarantine.orders order by _line") == [
        (2, "missing columns: a,a"),
        (4, "too many columns: a,a,a,a,a"),
        (5, "missing columns: a"),
        (7, "missing columns: a"),
    ]
    assert shop.rows("select _line, order_id from bronze.orders order by _line") == [
        (3, "o1"),
        (6, "o2"),
    ]


def test_windows_line_ends_blank_lines_and_a_byte_order_mark_change_no_value(shop):
    lines = ["o1,ann,2024-01-05 10:00,1.5", "", "bad", "o2,ann,2024-01-05 10:00,2.5", ""]
    shop.land(
        "orders_2024-01-05.csv",
        b"\xef\xbb\xbf" + "\r\n".join([ORDERS_HEADER.strip(), *lines]).encode(),
    )
    _, judgement = shop.take_in(5)
    assert (judgement.rows, judgement.quarantined, judgement.refused) == (
        {JAN[5]: 2},
        {JAN[5]: 1},
        {},
    )
    assert [row[0] for row in landed_rows(shop, "amount_usd") if row[0]] == ["1.5", "2.5"]


def test_one_cell_of_another_encoding_refuses_its_row_and_no_other(shop):
    rows = "".join(f"o{n},ann,2024-01-05 10:00,1\n" for n in range(1000)).encode()
    content = (
        ORDERS_HEADER.encode()
        + rows
        + b"o_x,Ren\xe9,2024-01-05 10:00,1\no_y,ann,2024-01-05 10:00,1\n"
    )
    shop.land("orders_2024-01-05.csv", content)
    _, judgement = shop.take_in(5)
    assert (judgement.rows, judgement.quarantined) == ({JAN[5]: 1001}, {JAN[5]: 1})


def test_an_empty_file_refuses_its_day_by_name_and_a_header_alone_does_not(shop):
    shop.land_orders(5)
    shop.land("orders_2024-01-06.csv", "")
    landed, judgement = shop.take_in(5, 6)
    assert landed.rows == {JAN[5]: 0, JAN[6]: 0}
    assert landed.refused.keys() == {JAN[6]}
    assert landed.refused[JAN[6]].startswith(
        "orders_2024-01-06.csv: no header line could be read: the file is empty"
    )
    assert judgement.rows == {JAN[5]: 0}


def test_a_damaged_gzip_refuses_its_day_and_leaves_the_days_beside_it(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.csv.gz")
    whole = gzip.compress((ORDERS_HEADER + "o1,ann,2024-01-05 10:00,1\n").encode())
    rows = "".join(
        f"o{n},c{n * 7919 % 10007},2024-01-06 10:00,{n * 31 % 977}\n" for n in range(20000)
    )
    shop.land("orders_2024-01-05.csv.gz", whole)
    shop.land("orders_2024-01-06.csv.gz", gzip.compress((ORDERS_HEADER + rows).encode())[:-20000])
    shop.land("orders_2024-01-07.csv.gz", b"no gzip at all")
    landed, _ = shop.take_in(5, 6, 7)
    assert landed.rows == {JAN[5]: 1, JAN[6]: 0, JAN[7]: 0}
    assert "orders_2024-01-06.csv.gz: cannot be read" in landed.refused[JAN[6]]
    assert "orders_2024-01-07.csv.gz: cannot be read" in landed.refused[JAN[7]]


def test_a_web_page_in_the_place_of_a_file_refuses_its_day_and_widens_no_table(shop):
    shop.land_quiet_days(5, 5)
    shop.land("orders_2024-01-06.csv", "<!DOCTYPE html>\n<html>404, not found</html>\n")
    _, judgement = shop.take_in(5, 6)
    assert 'orders_2024-01-06.csv: has no column "order_id" (columns: <!DOCTYPE html>)' in str(
        judgement.refused[JAN[6]]
    )
    with shop.tables() as tables:
        assert not [name for name in tables.columns("raw.orders") if "DOCTYPE" in name]


@pytest.mark.parametrize("ending", ["CSV", "xls", "jsonl.gz"])
def test_a_file_of_an_ending_that_is_not_read_is_refused_by_its_name(shop, ending):
    """Upper-case endings and gzipped JSON may also be read; never taken for a CSV without a
    header.
    """
    shop.change("raw/defs.yaml", "orders_{day}.csv", f"orders_{{day}}.{ending}")
    rows = (ORDERS_HEADER + "o1,ann,2024-01-05 10:00,1\n").encode()
    record = (
        b'{"order_id": 1, "customer_id": 2, "ordered_at": "2024-01-05 10:00", "amount_usd": 1}\n'
    )
    content = {"CSV": rows, "xls": b"PK\x03\x04 a workbook\n", "jsonl.gz": gzip.compress(record)}[
        ending
    ]
    shop.land(f"orders_2024-01-05.{ending}", content)
    landed, judgement = shop.take_in(5)
    message = landed.refused.get(JAN[5], "")
    assert judgement.rows == {JAN[5]: 1} or (
        f"orders_2024-01-05.{ending}" in message and "ending" in message
    )


@pytest.mark.parametrize(
    "name", ["path", "filename", "_n", "good", "known_on", "_line", "_partition", "Order_ID"]
)
def test_a_column_of_the_file_may_have_any_name(shop, name):
    """Undeclared columns are the sender's; path and filename are common in exports of web logs."""
    shop.land(
        "orders_2024-01-05.csv",
        f"{ORDERS_HEADER.strip()},{name}\no1,ann,2024-01-05 10:00,1,extra\nbad\n",
    )
    landed, judgement = shop.take_in(5)
    clash = f'"{name}"' in landed.refused.get(JAN[5], "") and "column" in landed.refused[JAN[5]]
    message = clash and "Binder Error" not in landed.refused[JAN[5]]
    assert message or (judgement.rows, judgement.quarantined) == ({JAN[5]: 1}, {JAN[5]: 1})


def test_json_lines_are_read_with_their_line_numbers_and_a_broken_file_is_refused(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.jsonl")
    good = (
        '{"order_id": 17850.0, "customer_id": "ann", "ordered_at": "2024-01-05 10:00", '
        '"amount_usd": 1.5}\n'
    )
    shop.land("orders_2024-01-05.jsonl", good + good.replace("1.5", "NaN").replace("NaN", '"NaN"'))
    shop.land("orders_2024-01-06.jsonl", '{"order_id": 1\n')
    landed, judgement = shop.take_in(5, 6)
    assert shop.rows("select order_id, amount_usd, _line from bronze.orders") == [("17850", 1.5, 1)]
    assert shop.rows("select _line, rule from quarantine.orders") == [(2, "type:amount_usd")]
    assert "orders_2024-01-06.jsonl: no line is a JSON object" in landed.refused[JAN[6]]
    assert judgement.refused.keys() == {JAN[6]}


def test_json_lines_without_a_declared_column_refuse_the_day_by_name(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.jsonl")
    shop.land(
        "orders_2024-01-05.jsonl", '{"order_id": 1, "client": "ann", "ordered_at": "2024-01-05"}\n'
    )
    _, judgement = shop.take_in(5)
    assert 'orders_2024-01-05.jsonl has no column "customer_id"' in judgement.refused.get(
        JAN[5], ""
    )


def test_json_of_one_object_a_line_is_read_whatever_it_is_called_and_an_array_is_told(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.json")
    good = (
        '{"order_id": 1, "customer_id": "ann", "ordered_at": "2024-01-05 10:00", "amount_usd": 1.5}'
    )
    shop.land("orders_2024-01-05.json", good + "\n")
    shop.land("orders_2024-01-06.json", f"[{good}]")
    landed, _ = shop.take_in(5, 6)
    assert shop.rows("select order_id, amount_usd from bronze.orders") == [("1", 1.5)]
    assert "wanted one object a line, as `jq -c '.[]'` makes of an array" in landed.refused[JAN[6]]


def workbook(shop: Shop, name: str, **sheets: list[list[Any]]) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(shop.landing / name)


def test_a_sheet_of_a_workbook_is_read_as_text_through_the_same_contract(shop):
    shop.change("raw/defs.yaml", '"orders_{day}.csv"', '"orders_{day}.xlsx"\n  sheet: Orders')
    at = dt.datetime.fromisoformat("2024-01-05")
    rows = [
        ["order_id", "customer_id", "ordered_at", "amount_usd", None],
        [1, 17850.0, at.replace(hour=10), 1.5],
        [None, None, None, None],
        [2, "ann", "2024-01-05", 0.00004],
        [3, "ann", at, 2, "more"],
        [4, "bob", at, 9.34],
    ]
    workbook(shop, "orders_2024-01-05.xlsx", Notes=[["read me"]], Orders=rows)
    _, judgement = shop.take_in(5)
    assert shop.rows("select * exclude (day, known_on, _partition, _file) from bronze.orders") == [
        ("1", "17850", at.replace(hour=10), 1.5, 2),
        ("4", "bob", at, Decimal("9.34"), 6),
    ]
    assert shop.rows("select _line, rule from quarantine.orders order by 1") == [
        (4, "type:amount_usd"), (5, "malformed")
    ]  # fmt: skip
    assert judgement.refused == {}


def test_a_workbook_of_several_sheets_and_a_broken_one_are_refused_with_the_remedy(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.xlsx")
    workbook(shop, "orders_2024-01-05.xlsx", Notes=[["read me"]], Orders=[["order_id"]])
    shop.land("orders_2024-01-06.xlsx", b"PK\x03\x04 a workbook that was cut")
    shop.land_orders(7)
    (shop.landing / "orders_2024-01-07.csv").rename(shop.landing / "orders_2024-01-07.xlsx")
    landed, _ = shop.take_in(5, 6, 7)
    several = "it has 2 sheets: declare `sheet: Notes` next to `files`, or another of Notes, Orders"
    assert landed.refused == {
        JAN[5]: f"orders_2024-01-05.xlsx: {several}",
        JAN[6]: "orders_2024-01-06.xlsx: it is no Excel workbook, or was cut",
        JAN[7]: "orders_2024-01-07.xlsx: it is no Excel workbook, or was cut",
    }


def write_parquet(shop: Shop, day: int, select: str) -> None:
    with duckdb.connect() as db:
        db.execute(
            f"copy ({select}) to '{shop.landing}/orders_{JAN[day]}.parquet' (format parquet)"
        )


TYPED = (
    "select {} as order_id, 17850.0::double as customer_id, timestamp '2024-01-05 10:00' as "
    "ordered_at, {} as amount_usd"
)


def test_parquet_is_read_with_its_own_types(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.parquet")
    write_parquet(shop, 5, f"{TYPED.format('1', '1.5')} union all {TYPED.format('2', 'null')}")
    _, judgement = shop.take_in(5)
    assert shop.rows("select order_id, customer_id, amount_usd, _line from bronze.orders") == [
        ("1", "17850", 1.5, 1)
    ]
    assert judgement.rules == {"required:amount_usd": 1}


def test_a_parquet_day_of_another_type_is_read_or_refused_and_takes_no_other_day_with_it(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.parquet")
    write_parquet(shop, 5, TYPED.format("1", "1.5"))
    write_parquet(shop, 6, TYPED.format("'x2'", "1.5"))
    write_parquet(shop, 7, TYPED.format("3::bigint", "1.5"))
    landed, _ = shop.take_in(5)
    assert landed.rows == {JAN[5]: 1}
    landed, judgement = shop.take_in(6, 7)
    assert judgement.rows[JAN[7]] == 1
    assert judgement.rows.get(JAN[6]) == 1 or JAN[6] in landed.refused


def test_parquet_files_of_different_types_can_land_together(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders_{day}.parquet")
    write_parquet(shop, 5, TYPED.format("1", "1.5"))
    write_parquet(shop, 6, TYPED.format("'x2'", "1.5"))
    _, judgement = shop.take_in(5, 6)
    assert judgement.rows == {JAN[5]: 1, JAN[6]: 1}


def test_a_history_file_is_split_by_the_day_of_its_events(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    rows = [f"o{day},ann,{JAN[day]} 10:00,1" for day in (7, 2, 5, 6)]
    shop.land("history.csv", ORDERS_HEADER + "\n".join([*rows, "o_x,ann,nonsense,1", "bad"]) + "\n")
    landed, judgement = shop.take_in(5, 6)
    assert landed.rows == {JAN[5]: 4, JAN[6]: 1}
    assert shop.rows(
        "select order_id, day, known_on, _partition from bronze.orders order by day"
    ) == [
        ("o2", JAN[2], JAN[2], JAN[5]),
        ("o5", JAN[5], JAN[5], JAN[5]),
        ("o6", JAN[6], JAN[6], JAN[6]),
    ]
    assert judgement.quarantined == {JAN[5]: 2, JAN[6]: 0}


def test_a_key_on_two_days_of_a_history_is_a_conflict_with_the_remedy_and_no_correction(shop):
    """Receipts numbered from 1 every year: the older of two would vanish from a customer's
    history.
    """
    shop.change("raw/defs.yaml", *HISTORY)
    rows = (
        "7,ann,2024-01-02,10",
        "7,bob,2024-01-04,20",
        "8,ann,2024-01-03,40",
        "7,ann,2024-01-04,80",
    )
    shop.land("history.csv", ORDERS_HEADER + "\n".join(rows) + "\n")
    _, judgement = shop.take_in(5)
    assert shop.rows("select order_id, amount_usd from bronze.orders") == [("8", 40)]
    assert judgement.rules == {"conflicting_key": 3}
    assert judgement.doubts["unique_key"] == (
        "3 rows are quarantined by conflicting_key, e.g. history.csv:2: is order_id really the "
        "key? Another row of their landing has it too; unique would be `key: [order_id, "
        "customer_id, ordered_at]`"
    )


def test_a_history_taken_in_day_by_day_judges_a_key_as_one_taken_in_at_once(shop):
    """The first row of a key was alone when its day came; later ones are no corrections of it."""
    shop.change("raw/defs.yaml", *HISTORY)
    first = ["1,ann,2024-01-05,1", "2,ann,2024-01-05,1", "1,bob,2024-01-06,2", "3,ann,2024-01-06,1"]
    later = ["3,bob,2024-01-06,9", "3,bob,2024-01-07,1", "1,ann,2024-01-07,3", "4,ann,2024-01-07,4"]
    shop.land("history.csv", ORDERS_HEADER + "\n".join([*first, *later]) + "\n")
    for step in ([5], [6], [7], [5, 6, 7]):
        shop.take_in(*step)
        if step[-1] == 7:
            assert shop.rows("select order_id, day from bronze.orders order by all") == [
                ("1", JAN[5]), ("2", JAN[5]), ("4", JAN[7])
            ]  # fmt: skip
            assert shop.rows("select _line, rule from quarantine.orders order by _line") == [
                (line, "conflicting_key") for line in (4, 5, 6, 7, 8)
            ]


def test_a_history_without_a_file_is_refused_with_the_remedy(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    with pytest.raises(BusinessError, match=r"orders: no file history.csv in the landing folder"):
        shop.take_in(5)


def test_a_file_without_days_in_its_name_or_its_rows_is_the_initial_load(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    shop.change("raw/defs.yaml", "  event_time: ordered_at\n", "")
    shop.land(
        "history.csv",
        ORDERS_HEADER + "o1,ann,2023-05-01,1\no2,ann,2024-01-07,2\no3,ann,2024-01-07,-1\n",
    )
    landed, judgement = shop.take_in(5, 6, 7)
    assert landed.rows == {JAN[5]: 3, JAN[6]: 0, JAN[7]: 0}
    assert (judgement.rows[JAN[5]], judgement.quarantined[JAN[5]]) == (2, 1)
    assert shop.rows(
        "select order_id, day, known_on, _partition from bronze.orders order by order_id"
    ) == [
        ("o1", JAN[5], JAN[5], JAN[5]),
        ("o2", JAN[5], JAN[5], JAN[5]),
    ]


def test_rows_that_an_initial_load_without_days_gains_later_are_not_lost_but_refused(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    shop.change("raw/defs.yaml", "  event_time: ordered_at\n", "")
    shop.land("history.csv", ORDERS_HEADER + "o1,ann,2023-05-01,1\n")
    shop.take_in(5)
    shop.land("history.csv", ORDERS_HEADER + "o1,ann,2023-05-01,1\no2,ann,2023-05-01,1\n")
    landed, _ = shop.take_in(6)
    assert landed.refused[JAN[6]].startswith("history.csv changed after 2024-01-05 took it in")
    landed, judgement = shop.take_in(5)
    assert (landed.refused, judgement.rows) == ({}, {JAN[5]: 2})


@pytest.mark.parametrize(
    "now", ["o1,ann,2023-05-01,9\no2,bob,2023-05-01,2\n", "o1,ann,2023-05-01,1\n"]
)
def test_an_initial_load_without_days_that_is_overwritten_is_refused_with_an_honest_remedy(
    shop, now
):
    shop.change("raw/defs.yaml", *HISTORY)
    shop.change("raw/defs.yaml", "  event_time: ordered_at\n", "")
    shop.land("history.csv", ORDERS_HEADER + "o1,ann,2023-05-01,1\no2,bob,2023-05-01,2\n")
    shop.take_in(5)
    shop.land("history.csv", ORDERS_HEADER + now)
    for day in (6, 6, 7):
        landed, _ = shop.take_in(day)
        assert landed.refused[JAN[day]] == (
            "history.csv changed after 2024-01-05 took it in, and its rows have no day: what "
            "changed cannot be distinguished from what was there. Name the day in the file "
            '(`files: "history_{day}.csv"`): what was taken '
            "in stays, and what a file brings is known from its day on. Only if what 2024-01-05 "
            "took in was wrong, take it in again (--from 2024-01-05): all that the file says then "
            "counts as known on 2024-01-05"
        )


def test_the_remedy_of_an_overwritten_initial_load_keeps_what_was_known(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    shop.change("raw/defs.yaml", "  event_time: ordered_at\n", "")
    file = shop.land("history.csv", ORDERS_HEADER + "o1,ann,2023-05-01,1\n")
    shop.take_in(5)
    file.write_text(ORDERS_HEADER + "o1,ann,2023-05-01,9\n")
    shop.take_in(6)
    file.rename(shop.landing / "history_2024-01-06.csv")
    shop.change("raw/defs.yaml", '"history.csv"', '"history_{day}.csv"')
    landed, _ = shop.take_in(5, 6)
    assert landed.refused == {}
    assert shop.rows("select amount_usd, known_on from bronze.orders order by 1") == [
        (1, JAN[5]),
        (9, JAN[6]),
    ]


def test_a_history_written_anew_with_the_same_rows_is_the_same_history(shop):
    """In another order, zipped, under another name, with a column that nobody declared."""
    shop.change("raw/defs.yaml", '"orders_{day}.csv"', '"history*"')
    file = shop.land("history.csv", ORDERS_HEADER + "o1,ann,2024-01-05,1\no2,bob,,2\nbad\n")
    shop.take_in(5)
    file.unlink()
    again = (
        "customer_id,order_id,ordered_at,amount_usd,exported\nbob,o2,,2,x\nann,o1,2024-01-05,1,x\n"
    )
    shop.land("history_2.csv.gz", gzip.compress(again.encode()))
    landed, _ = shop.take_in(6)
    assert (landed.rows, landed.refused) == ({JAN[6]: 0}, {})


def test_a_history_whose_rows_of_a_day_taken_in_before_changed_is_refused_by_that_day(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    old, new = "o1,ann,2024-01-05,1\n", "o2,ann,2024-01-06,1\n"
    shop.land("history.csv", ORDERS_HEADER + old)
    shop.take_in(5)
    shop.land("history.csv", ORDERS_HEADER + old.replace(",1\n", ",9\n") + new)
    for _ in range(2):
        landed, _ = shop.take_in(6)
        assert landed.refused[JAN[6]] == (
            "the history's rows of 2024-01-05 are not those that were taken in: corrections need "
            "daily files, or that day refreshed again (--from 2024-01-05), as if known on their day"
        )
    shop.land("history.csv", ORDERS_HEADER + old + new)
    assert shop.take_in(6)[0].refused == {}


def test_a_history_of_the_last_days_only_is_taken_in(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    shop.land("history.csv", ORDERS_HEADER + "o1,ann,2024-01-04,1\no2,ann,2024-01-05,1\n")
    shop.take_in(5)
    shop.land("history.csv", ORDERS_HEADER + "o2,ann,2024-01-05,1\no3,ann,2024-01-06,1\n")
    landed, _ = shop.take_in(6)
    assert (landed.rows, landed.refused) == ({JAN[6]: 1}, {})


def test_a_query_without_an_event_time_is_refused_with_the_remedy(shop, monkeypatch):
    query = '  query: {url_variable: SHOP_DB, sql: "select 1 as order_id"}\n'
    shop.change("raw/defs.yaml", '  files: "orders_{day}.csv"\n', query)
    shop.change("raw/defs.yaml", "  event_time: ordered_at\n", "")
    monkeypatch.setenv("SHOP_DB", "sqlite://")
    with pytest.raises(BusinessError, match=r'split by event day: give "event_time"'):
        shop.take_in(5)


def test_days_without_a_file_are_counted_except_the_closed_ones(shop):
    shop.write(
        "business.yaml",
        (shop.folder / "business.yaml").read_text() + "closed: [sunday, 2024-01-04]\n",
    )
    for day in (2, 5, 8):
        shop.land_quiet_days(day, day)
    landed, judgement = shop.take_in(5)
    assert landed.missing == [JAN[3]]
    landed, judgement = shop.take_in(6, 7, 8)  # the 7th is a Sunday
    assert landed.missing == [JAN[6]]
    assert judgement.rows == {JAN[6]: 0, JAN[7]: 0, JAN[8]: 1}


def test_a_day_without_its_file_fails_where_that_is_declared_until_the_file_comes(shop):
    shop.change("raw/defs.yaml", "  event_time", "  missing_file: fail\n  event_time")
    shop.land_quiet_days(5, 5)
    shop.take_in(5)
    landed, _ = shop.take_in(6)
    assert landed.refused == {JAN[6]: "no file for 2024-01-06 (orders_{day}.csv)"}
    shop.land_quiet_days(6, 6)
    landed, judgement = shop.take_in(6)
    assert (landed.refused, judgement.rows) == ({}, {JAN[6]: 1})


def test_an_initial_load_that_finds_no_file_at_all_is_no_success(shop):
    """A typo in the glob must not read as a company without customers."""
    landed, _ = shop.take_in(5)
    assert "orders_{day}.csv" in landed.refused.get(JAN[5], "")


def test_a_landing_folder_that_is_not_there_is_named(shop):
    shop.landing.rmdir()
    with pytest.raises(
        BusinessError, match=r"the landing folder .*/landing does not exist: check `landing`"
    ):
        shop.take_in(5)


QUERY = (
    '  files: "orders_{day}.csv"\n',
    "  query:\n    url_variable: SHOP_DB\n"
    "    sql: select * from orders where day between :first_day and :last_day\n",
)
SOLD = [
    (1, "ann", "2024-01-02 10:00", 1.5, "2024-01-02"),
    (2, "ann", "2024-01-05 10:00", 2.5, "2024-01-05"),
    (3, "bob", "2024-01-06 10:00", 3.5, "2024-01-06"),
    (None, "bob", "2024-01-08 10:00", None, "2024-01-08"),
    (5, "bob", "2024-01-08 10:00", 5, "2024-01-08"),
    (6, "bob", "nonsense", 6, "2024-01-09"),
    (7, "bob", "2024-01-09 10:00", 7, "2024-01-09"),
]


@pytest.fixture(params=["sqlite", "duckdb"])
def sold(request, shop, tmp_path, monkeypatch):
    """The shop's orders in a database, known only by its address."""
    file = tmp_path / f"sold.{request.param}"
    monkeypatch.setenv("SHOP_DB", str(file) if request.param == "duckdb" else f"sqlite:///{file}")
    db = duckdb.connect(str(file)) if request.param == "duckdb" else sqlite3.connect(file)
    kind = "date" if request.param == "duckdb" else "text"
    db.execute(
        "create table orders (order_id integer, customer_id text, ordered_at text, "
        f"amount_usd double precision, day {kind})"
    )
    db.executemany("insert into orders values (?, ?, ?, ?, ?)", SOLD)
    if request.param == "sqlite":
        db.commit()
    db.close()
    shop.change("raw/defs.yaml", *QUERY)
    return shop


def test_a_query_lands_the_days_of_its_events_the_initial_load_from_the_first_day_with_data(sold):
    landed, _ = sold.take_in(5)
    assert landed.rows == {JAN[5]: 2}
    sold.take_in(6)
    assert sold.rows(
        "select order_id, day, known_on, _partition from bronze.orders order by day"
    ) == [
        ("1", JAN[2], JAN[2], JAN[5]),
        ("2", JAN[5], JAN[5], JAN[5]),
        ("3", JAN[6], JAN[6], JAN[6]),
    ]


def test_without_a_declared_beginning_the_initial_load_of_a_query_is_all_up_to_the_first_day(sold):
    sold.change("business.yaml", "history_from: 2024-01-01\n", "")
    sold.take_in(5)
    assert sold.rows("select order_id from bronze.orders order by day") == [("1",), ("2",)]


def test_a_day_of_a_query_may_be_empty_or_have_nulls_where_the_day_before_had_none(sold):
    sold.take_in(5)
    assert sold.take_in(7)[1].rows == {JAN[7]: 0}
    _, judgement = sold.take_in(8)
    assert (judgement.rows, judgement.rules) == ({JAN[8]: 1}, {"required:order_id": 1})


def test_a_row_of_a_query_whose_day_cannot_be_read_goes_to_quarantine_and_not_missing(sold):
    sold.take_in(5)
    landed, judgement = sold.take_in(9)
    assert landed.rows == {JAN[9]: 2}
    assert judgement.rules == {"type:ordered_at": 1}


def test_a_query_on_a_duckdb_file_reads_files_of_its_folder_alone(shop, tmp_path, monkeypatch):
    (tmp_path / "sold").mkdir()
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "sold" / "sold.duckdb"))
    with duckdb.connect(str(tmp_path / "sold" / "sold.duckdb")) as db:
        db.execute(f"copy (select 1 as order_id) to '{tmp_path}/sold/o.parquet'")
        db.execute(
            f"create view orders as select 'o1' as order_id, 'ann' as customer_id, "
            f"'2024-01-02' as ordered_at, 5 as amount_usd from '{tmp_path}/sold/o.parquet'"
        )
    select = "select order_id, customer_id, ordered_at, amount_usd from orders"
    source = '  query: {{url_variable: SHOP_DB, sql: "{}"}}\n'
    shop.change("raw/defs.yaml", '  files: "orders_{day}.csv"\n', source.format(select))
    assert shop.take_in(5)[0].rows == {JAN[5]: 1}
    shop.change("raw/defs.yaml", select, "select content as order_id from read_text('/etc/hosts')")
    with pytest.raises(BusinessError, match=r"the query on SHOP_DB failed: Permission Error"):
        shop.take_in(6)


def test_a_query_that_meets_a_value_it_cannot_read_tells_its_shape(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "sold.duckdb"))
    with duckdb.connect(str(tmp_path / "sold.duckdb")) as db:
        db.execute("create table orders as select 'ann@mail.org' as order_id")
    select = (
        '  query: {url_variable: SHOP_DB, sql: "select order_id::int as order_id from orders"}\n'
    )
    shop.change("raw/defs.yaml", '  files: "orders_{day}.csv"\n', select)
    with pytest.raises(BusinessError, match=r"failed: .*'aaa@aaaa.aaa' to INT32"):
        shop.take_in(5)


def test_a_query_without_its_address_names_the_variable(shop, monkeypatch):
    shop.change("raw/defs.yaml", *QUERY)
    monkeypatch.delenv("SHOP_DB", raising=False)
    with pytest.raises(BusinessError, match=r"orders: the environment variable SHOP_DB is not set"):
        shop.take_in(5)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:////nowhere/x.db",
        "/nowhere/x.duckdb?password=pa55word",
        "no://ann:pa55word@db/x?k=pa55word",
    ],
)
def test_a_database_that_cannot_be_reached_is_told_with_source_and_variable(
    shop, monkeypatch, address
):
    shop.change("raw/defs.yaml", *QUERY)
    monkeypatch.setenv("SHOP_DB", address)
    with pytest.raises(BusinessError, match=r"orders: .*SHOP_DB") as refusal:
        shop.take_in(5)
    assert "pa55word" not in str(refusal.value)
    assert refusal.value.__cause__ is None  # which Dagster would store


def test_a_landing_of_more_than_one_row_group_is_seen_by_every_query(shop):
    """DuckDB 2.0 lost sight of 122,880 rows and more in a table that the same transaction had made
    empty.
    """
    content = "".join(
        f"o{n},ann,2024-01-05 10:00,1\n" if n % 50_000 else "bad\n" for n in range(130_000)
    )
    shop.land("orders_2024-01-05.csv", ORDERS_HEADER + content)
    landed, judgement = shop.take_in(5)
    assert landed.rows == {JAN[5]: 130_000}
    assert (judgement.rows, judgement.quarantined, judgement.refused) == (
        {JAN[5]: 129_997},
        {JAN[5]: 3},
        {},
    )
    astray = "select count(*) from bronze.orders where order_id <> 'o' || (_line - 2)"
    assert shop.rows(astray) == [(0,)]


def test_an_open_quote_refuses_its_file_rather_than_swallow_the_records_after_it(shop):
    good = "".join(f"o{n},ann,2024-01-05 10:0{n},1\n" for n in range(5))
    shop.land("orders_2024-01-05.csv", f'{ORDERS_HEADER}o9,"ann,2024-01-05 10:00,1\n{good}')
    landed, judgement = shop.take_in(5)
    assert "is a quote not closed?" in landed.refused[JAN[5]]
    assert JAN[5] not in judgement.rows


def test_a_column_that_changes_its_case_refuses_its_day_and_no_other(shop):
    shop.land_quiet_days(5, 5)
    shop.land("orders_2024-01-06.csv", ORDERS_HEADER.replace("amount_usd", "Amount_USD"))
    landed, _ = shop.take_in(5)
    landed, _ = shop.take_in(6)
    assert 'column "Amount_USD" was called "amount_usd" before' in landed.refused[JAN[6]]


def test_a_file_whose_name_has_no_readable_day_is_named(shop):
    shop.land_quiet_days(5, 5)
    shop.land("orders_20240106.csv", ORDERS_HEADER)
    landed, _ = shop.take_in(5)
    assert landed.strays == ["orders_20240106.csv"]


def test_the_right_history_put_back_mends_its_day_and_is_no_new_file(shop):
    shop.change("raw/defs.yaml", *HISTORY)
    right = ORDERS_HEADER + "o1,ann,2024-01-05,1\n"
    for content in (right, right.replace("amount_usd", "total"), right):
        shop.land("history.csv", content)
        _, judgement = shop.take_in(5)
    assert (judgement.rows, judgement.refused) == ({JAN[5]: 1}, {})
    with shop.tables() as tables:
        assert pending(tables, shop.business, "orders", Files("history.csv")) == []


class Vanishing(Files):
    """Files that are taken away as soon as they were found."""

    def find(self, folder):
        result = super().find(folder)
        for path, _ in result:
            path.unlink()
        return result


def test_a_file_that_is_gone_before_it_was_looked_at_is_not_pending(shop):
    shop.land_quiet_days(5, 6)
    shop.take_in(5)
    with shop.tables() as tables:
        assert pending(tables, shop.business, "orders", Vanishing("orders_{day}.csv")) == []


def test_a_link_to_nothing_and_a_folder_are_no_files_and_refuse_the_day_they_are_named_after(shop):
    shop.land_quiet_days(5, 5)
    (shop.landing / f"orders_{JAN[6]}.csv").symlink_to("/nowhere")
    (shop.landing / f"orders_{JAN[7]}.csv").mkdir()
    (shop.landing / "orders_old.csv").mkdir()
    landed, _ = shop.take_in(5, 6, 7)
    assert landed.refused.keys() == {JAN[6], JAN[7]}
    assert landed.refused[JAN[6]].startswith(
        "orders_2024-01-06.csv: it is no file, and one is wanted"
    )
    assert (landed.missing, landed.strays) == ([JAN[6], JAN[7]], [])


def test_a_history_that_grew_rows_of_a_day_taken_in_before_is_refused_by_that_day(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "history.csv")
    rows = [f"o{day},ann,2024-01-0{day} 10:00,1" for day in (3, 5, 6)]
    shop.land("history.csv", ORDERS_HEADER + "\n".join(rows[:2]) + "\n")
    assert shop.take_in(5)[0].rows == {JAN[5]: 2}
    shop.land(
        "history.csv", ORDERS_HEADER + "\n".join([*rows, "late,bob,2024-01-04 10:00,1"]) + "\n"
    )
    landed, _ = shop.take_in(6)
    assert "the history has 3 rows of 2024-01-05, and 2 were taken in" in landed.refused[JAN[6]]


@pytest.mark.parametrize(
    "name", ["orders[1].csv", "orders*.csv", "orders?.csv", "orders{1,2}.csv", "[!o].csv"]
)
def test_a_files_name_is_a_name_and_no_pattern(shop, name):
    """Browsers call a second download orders[1].csv; read as a pattern it is orders1.csv, twice."""
    shop.change("raw/defs.yaml", "orders_{day}.csv", "*.csv")
    shop.land(name, f"{ORDERS_HEADER}o1,ann,2024-01-05,1\n")
    for other in ("orders1.csv", "orders2.csv", "a.csv"):
        shop.land(other, f"{ORDERS_HEADER}{other},ann,2024-01-05,1\n")
    shop.take_in(5)
    result = shop.rows("select order_id, _file from raw.orders order by 1")
    assert result == [
        ("a.csv", "a.csv"), ("o1", name), ("orders1.csv", "orders1.csv"),
        ("orders2.csv", "orders2.csv")
    ]  # fmt: skip


def test_a_parquet_file_in_a_folder_with_brackets_is_read_and_not_its_neighbour(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "in[1]/o[a-c]_{day}.parquet")
    for folder in ("in[1]", "in1"):
        (shop.landing / folder).mkdir()
        select = TYPED.format(f"'{folder}'", "1.5")
        with duckdb.connect() as db:
            db.execute(f"copy ({select}) to '{shop.landing}/{folder}/ob_2024-01-05.parquet'")
    shop.change("raw/defs.yaml", "in[1]", "in[[]1]")
    shop.take_in(5)
    assert shop.rows("select order_id, _file from bronze.orders") == [
        ("in[1]", "in[1]/ob_2024-01-05.parquet")
    ]


def test_a_pattern_that_is_the_name_of_a_file_is_that_file(shop):
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders[1].csv")
    shop.land("orders1.csv", f"{ORDERS_HEADER}o2,ann,2024-01-05,1\n")
    shop.land("orders[1].csv", f"{ORDERS_HEADER}o1,ann,2024-01-05,1\n")
    shop.take_in(5)
    assert shop.rows("select order_id, _file from raw.orders") == [("o1", "orders[1].csv")]


def test_a_link_that_leads_out_of_the_landing_folder_is_refused_by_name(shop, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "orders_2024-01-06.csv").write_text(f"{ORDERS_HEADER}o6,ann,2024-01-06,1\n")
    shop.land_quiet_days(5, 5)
    (shop.landing / "orders_2024-01-06.csv").symlink_to(elsewhere / "orders_2024-01-06.csv")
    (shop.landing / "orders_2024-01-07.csv").symlink_to(shop.landing / "orders_2024-01-05.csv")
    landed, _ = shop.take_in(5, 6)
    assert landed.refused == {
        JAN[6]: "orders_2024-01-06.csv: it is a link that leads out of the landing folder: "
        "put the file itself there"
    }
    shop.change("raw/defs.yaml", "orders_{day}.csv", "2024/*.csv")
    (shop.landing / "2024").symlink_to(elsewhere)
    landed, _ = shop.take_in(5)
    assert "2024/orders_2024-01-06.csv: it is a link that leads out" in landed.refused[JAN[5]]


def test_rows_of_a_file_without_an_id_are_named_by_their_line_and_equal_rows_are_two(shop):
    shop.change(
        "raw/defs.yaml", "{name: order_id, type: id,", "{name: order_id, from: _line, type: id,"
    )
    day = f"{JAN[5]} 10:00"
    shop.land(
        "orders_2024-01-05.csv",
        f"customer_id,ordered_at,amount_usd\nann,{day},1\nann,{day},1\n,{day},1\n",
    )
    _, judgement = shop.take_in(5)
    assert (judgement.rows, judgement.quarantined, judgement.refused) == (
        {JAN[5]: 2},
        {JAN[5]: 1},
        {},
    )
    assert shop.rows("select order_id, customer_id from bronze.orders order by 1") == [
        ("2", "ann"),
        ("3", "ann"),
    ]
    with shop.tables() as tables:
        publish(tables)
    assert shop.published("select customer_id, rule, _line from quarantine.orders") == [
        (None, "required:customer_id", 4)
    ]
