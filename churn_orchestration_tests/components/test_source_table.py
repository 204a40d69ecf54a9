import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_orchestration.business import BusinessError
from churn_orchestration.cli.door import expected_message
from churn_orchestration.components.source.expectations import _failures, _may_fail
from churn_orchestration.components.source.judging import judge
from churn_orchestration.components.source.pii_key import pii_key
from churn_orchestration.landing.files import Files
from churn_orchestration.landing.land import land
from churn_orchestration.landing.source_landing import FileLanding
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration_tests.support.shop import (
    JAN,
    ORDERS_HEADER,
    UP_TO_FEATURES,
    Shop,
    metadata,
)

PII = (
    "    - {name: customer_id, type: id, required: true}\n",
    "    - {name: customer_id, type: id, required: true, pii: hash}\n"
    "    - {name: email, pii: drop, required: true}\n",
)
PII_HEADER = "order_id,customer_id,email,ordered_at,amount_usd,phone\n"


def test_every_row_is_in_bronze_in_quarantine_or_an_exact_duplicate(shop):
    good = "o1,ann,2024-01-05 10:00,1.50"
    shop.land_orders(5, good, good, "o2,ann,2024-01-05 10:00,2", "o2,ann,2024-01-05 10:00,9", "bad",
                     "o3,,2024-01-05 10:00,1", "o4,ann,x,1", "o5,ann,2024-01-06 10:00,1",
                     "o6,ann,2024-01-05 10:00,-1", "o7,ann,2024-01-05 10:00,7")  # fmt: skip
    landed, judgement = shop.take_in(5)
    assert landed.rows == {JAN[5]: 10}
    assert judgement.rows == {JAN[5]: 2}
    assert judgement.duplicates == {JAN[5]: 1}
    assert judgement.quarantined == {JAN[5]: 7}
    assert judgement.refused == {}
    assert shop.rows("select order_id, rule from quarantine.orders order by _line") == [
        ("o2", "conflicting_key"),
        ("o2", "conflicting_key"),
        (None, "malformed"),
        ("o3", "required:customer_id"),
        ("o4", "type:ordered_at"),
        ("o5", "future_day"),
        ("o6", "where:positive_amount"),
    ]


ids = st.sampled_from(["o1", "o2", "17850.0", "17850", "", " "])
moments = st.sampled_from(
    ["2024-01-05 10:00", "2024-01-05", "2024-01-06", "31/12/2023", "", "-infinity", "epoch"]
)
amounts = st.sampled_from(
    ["1", "1.0", "-1", "NaN", "inf", "", "1e400", "9" * 30, "0x1", "'; drop table x"]
)
cells = st.tuples(ids, ids, moments, amounts).map(",".join)
dirt = st.sampled_from(
    [
        "",
        "bad",
        ",,,",
        ",,,,,",
        '"quoted,one",ann,2024-01-05,1',
        '"never ends',
        'a"b,ann,2024-01-05,1',
        "\x00",
    ]
)
files = st.lists(st.one_of(cells, cells, dirt), max_size=12)


@pytest.fixture(scope="module")
def one_shop(tmp_path_factory):
    """A shop for many examples, with the source and contract of its orders."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("many")
        patch.setenv("CHURN_DATA", str(folder / "data"))
        shop = Shop(folder / "shop", folder / "data" / "landing")
        yield shop, *shop.source()


@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(first=files, second=files)
def test_no_row_is_lost_or_told_twice_whatever_the_files_hold(one_shop, first, second):
    shop, source, contract = one_shop
    shop.land_orders(5, *first)
    shop.land_orders(6, *second)
    (shop.business.state / "warehouse.duckdb").unlink(missing_ok=True)
    with shop.tables() as tables:
        landed = land(
            FileLanding(
                tables=tables,
                business=shop.business,
                name="orders",
                contract=contract,
                days=JAN[5:7],
                files=Files(source.files),
            )
        )
        tables.days.record("raw.orders", "stored", landed.rows, "test")
        judgement = judge(tables, source.rules(contract), JAN[5:7])
        lines = tables.rows("select count(*), count(distinct (_file, _line)) from raw.orders")
        broken = tables.rows(f"from bronze.orders where {BROKEN}")
    # A quote that never ends may swallow good rows, so such a file is refused whole and leaves no
    # row.
    assert all("is a quote not closed?" in reason for reason in landed.refused.values())
    assert judgement.refused == {}
    for day in JAN[5:7]:
        message = (
            judgement.rows[day] + judgement.quarantined[day] + judgement.duplicates.get(day, 0)
        )
        assert landed.rows[day] == message
    assert lines[0][0] == lines[0][1]
    assert broken == []


BROKEN = (
    "order_id is null or customer_id is null or not coalesce(isfinite(amount_usd::double), false) "
    "or amount_usd <= 0 or not coalesce(isfinite(day), false) or day > known_on"
)


def test_a_missing_column_refuses_the_day_by_name_with_the_columns_that_came(shop):
    shop.land_quiet_days(5, 5)
    shop.land(
        "orders_2024-01-06.csv", "order_id,customer_id,ordered_on,amount_usd\no6,ann,2024-01-06,1\n"
    )
    _, judgement = shop.take_in(5, 6)
    assert judgement.rows == {JAN[5]: 1}
    assert judgement.refused == {
        JAN[6]: 'orders_2024-01-06.csv has no column "ordered_at" '
        '(columns: order_id, customer_id, ordered_on, amount_usd); if it is "ordered_on" now, '
        "declare "
        "`from: ordered_on`"
    }


def test_another_delimiter_is_guessed_at_in_the_refusal(shop):
    shop.land(
        "orders_2024-01-05.csv", "order_id;customer_id;ordered_at;amount_usd\no1;ann;2024-01-05;1\n"
    )
    _, judgement = shop.take_in(5)
    assert str(judgement.refused[JAN[5]]).endswith('; declare `delimiter: ";"` next to `files`)')


def test_an_undeclared_column_is_named_and_refuses_nothing(shop):
    shop.land("orders_2024-01-05.csv", f"coupon,{ORDERS_HEADER}X,o1,ann,2024-01-05 10:00,1\n")
    _, judgement = shop.take_in(5)
    assert (judgement.new_columns, judgement.refused, judgement.rows) == (
        ["coupon"],
        {},
        {JAN[5]: 1},
    )
    with shop.tables() as tables:
        assert "coupon" not in tables.columns("bronze.orders")


PEPPER = "pepper, and much more of it"


@pytest.fixture
def pii(shop, monkeypatch):
    monkeypatch.setenv("CHURN_PII_KEY", PEPPER)
    shop.change("raw/defs.yaml", *PII)
    rows = [
        "o1,ann,ann@example.org,2024-01-05 10:00,1,555-1",
        "o2,bob,bob@example.org,2024-01-05 10:00,-1,555-2",
        "bad,bob@example.org",
    ]
    shop.land("orders_2024-01-05.csv", PII_HEADER + "\n".join(rows) + "\n")
    return shop


def test_personal_columns_are_dropped_or_kept_as_a_hash_under_the_key_of_the_environment(pii):
    pii.take_in(5)
    inner = hashlib.sha256(PEPPER.encode() + b"ann").hexdigest()
    assert pii.rows("select customer_id from bronze.orders") == [
        (hashlib.sha256((PEPPER + inner).encode()).hexdigest(),)
    ]
    with pii.tables() as tables:
        assert "email" not in tables.columns("bronze.orders")


def test_without_the_key_a_hash_is_refused_with_the_variable_to_set(pii, monkeypatch):
    monkeypatch.delenv("CHURN_PII_KEY")
    with pytest.raises(BusinessError, match="set CHURN_PII_KEY"):
        pii.take_in(5)


def test_a_key_that_is_easily_tried_out_is_refused_before_anything_is_hashed(pii, monkeypatch):
    monkeypatch.setenv("CHURN_PII_KEY", "fifteen letters")
    with pytest.raises(BusinessError, match="has 15 characters, wanted are at least 16"):
        pii.take_in(5)
    monkeypatch.setenv("CHURN_PII_KEY", "sixteen letters.")
    pii.take_in(5)


def test_another_key_is_refused_and_a_new_name_is_a_new_beginning_under_it(pii, monkeypatch):
    pii.take_in(5)
    before = pii.rows("select customer_id from bronze.orders")
    monkeypatch.setenv("CHURN_PII_KEY", PEPPER.upper())
    with pytest.raises(BusinessError, match="CHURN_PII_KEY is not the key of before"):
        pii.take_in(5)
    assert pii.rows("select customer_id from bronze.orders") == before
    pii.change("business.yaml", "name: shop", "name: shop_2")
    pii.take_in(5)
    assert pii.rows("select customer_id from bronze.orders") != before


def test_what_was_hashed_before_keys_were_remembered_goes_on_under_its_key(pii, monkeypatch):
    pii.take_in(5)
    monkeypatch.setenv("CHURN_PII_KEY", "pepper")
    with pii.tables() as tables:
        tables.db.execute("drop table meta.pii_key")
    pii.take_in(5)
    monkeypatch.setenv("CHURN_PII_KEY", PEPPER)
    with pytest.raises(BusinessError, match="not the key of before"):
        pii.take_in(5)


def test_the_key_stays_in_no_session(pii):
    _, contract = pii.source()
    with pii.tables() as tables:
        with pii_key(tables, contract, "bronze.orders"):
            assert tables.rows("select getvariable('pii_key')") == [(PEPPER,)]
        assert tables.rows("select getvariable('pii_key')") == [(None,)]


def test_nothing_personal_and_nothing_undeclared_leaves_through_published_quarantine(pii):
    """A column left out of the contract stays behind in raw: it may not come out where rows are
    refused.
    """
    pii.take_in(5)
    with pii.tables() as tables:
        publish(tables)
    cells = [str(cell) for row in pii.published("from quarantine.orders") for cell in row]
    assert "where:positive_amount" in cells
    assert not [cell for cell in cells if "bob" in cell or "555" in cell]


def test_values_that_slid_into_other_columns_are_shown_as_their_shape_and_are_in_no_message(shop):
    """No column is declared personal: nobody thought that a mail could stand where an amount
    should.
    """
    shop.land("orders_2024-01-05.csv", "order_id,customer_id,ordered_at,amount_usd\n"
              "o1,Ann Lee,2024-01-05 10:00,ann@mail.org\no2,ann@mail.org,Ann Lee,1\n"
              "o3,ann@mail.org\no4,bob,2024-01-05,-1\n")  # fmt: skip
    _, judgement = shop.take_in(5)
    with shop.tables() as tables:
        publish(tables)
    shown = "order_id, customer_id, amount_usd, rule, detail from quarantine.orders order by _line"
    assert shop.published(f"select {shown}") == [
        ("a9", "Aaa Aaa", "aaa@aaaa.aaa", "type:amount_usd", '"aaa@aaaa.aaa" is no decimal'),
        ("a9", "aaa@aaaa.aaa", "9", "type:ordered_at", '"Aaa Aaa" is no timestamp'),
        (None, None, None, "malformed", "missing columns: a9,aaa@aaaa.aaa"),
        ("o4", "bob", "-1", "where:positive_amount", None),
    ]
    assert (
        "orders_2024-01-05.csv:4 missing columns: a9,aaa@aaaa.aaa"
        in judgement.doubts["mostly_valid"]
    )


@pytest.mark.parametrize(
    "name", ["cell", "cells", "raw", "record", "shape", "error", "_on", "detail"]
)
def test_a_file_may_call_a_column_as_the_refusal_of_its_rows_does(shop, name):
    amount = "    - {name: amount_usd, type: decimal, required: true}\n"
    shop.change("raw/defs.yaml", amount, f"{amount}    - {{name: note, from: {name}}}\n")
    shop.land("orders_2024-01-05.csv", f"order_id,customer_id,ordered_at,amount_usd,{name}\n"
              "o1,ann,2024-01-05 10:00,much,Hi 5\no2,bob,2024-01-05 10:00,-1,Hi 6\n")  # fmt: skip
    shop.take_in(5)
    with shop.tables() as tables:
        publish(tables)
    shown = "detail_in_file" if name == "detail" else name
    assert shop.published(
        f"select {shown}, rule, detail from quarantine.orders order by _line"
    ) == [
        ("Aa 9", "type:amount_usd", '"aaaa" is no decimal'),
        ("Hi 6", "where:positive_amount", None),
    ]


EXPECT = (
    "  where:",
    "  expectations:\n"
    "    - {type: expect_column_values_to_be_between, column: amount_usd, max_value: 100}\n"
    "  where:",
)


def test_a_day_whose_expectations_are_not_met_is_refused_and_the_days_beside_it_stand(shop):
    shop.change("raw/defs.yaml", *EXPECT)
    shop.land_quiet_days(5, 7)
    shop.land_orders(6, "o6,ann,2024-01-06 10:00,100.5")
    _, judgement = shop.take_in(5, 6, 7)
    assert judgement.rows == {JAN[5]: 1, JAN[7]: 1}
    assert judgement.refused.keys() == {JAN[6]}
    assert "expect_column_values_to_be_between" in judgement.refused[JAN[6]]
    assert judgement.refused[JAN[6]].endswith("1 of 1 rows, e.g. orders_2024-01-06.csv:2")
    assert "100.5" not in judgement.refused[JAN[6]]
    assert judgement.faults["expectations"] == judgement.refused
    assert shop.rows("select _partition from bronze.orders order by 1") == [(JAN[5],), (JAN[7],)]


def test_what_sql_can_say_of_an_expectation_is_what_the_library_says(tmp_path):
    amounts = {
        "decimal(18,4)": ["0", "0.1", "9.9999", "10", "10.0001", "null"],
        "bigint": ["-1", "10", "11"],
    }
    amounts["double"] = amounts["decimal(18,4)"]
    bounds = [{"min_value": 0.1}, {"max_value": 10}, {"min_value": 0, "max_value": 10}]
    settings = [
        {"type": "expect_column_values_to_be_between", "column": "x"} | ends for ends in bounds
    ]
    settings += [{"type": "expect_column_values_to_not_be_null", "column": "x"}]
    with Warehouse.of(tmp_path).open() as tables:
        for kind, values in amounts.items():
            for value in values:
                row = f"select {value}::{kind} as x, date '2024-01-05' as _partition"
                tables.db.execute(f"create or replace table bronze.t as {row}")
                number = "x::double" if kind.startswith("decimal") else "x"
                frame = tables.db.execute(f"select {number} as x from bronze.t").df()
                broken = [
                    each for each in settings if _may_fail(tables, "bronze.t", each, [JAN[5]])
                ]
                assert (len(_failures(frame, settings)), kind, value) == (len(broken), kind, value)


@pytest.mark.parametrize(
    ("type_and_column", "message"),
    [
        (
            "type: expect_column_value_to_be_fine, column: amount_usd",
            "expect_column_value_to_be_fine",
        ),
        ("type: expect_column_values_to_not_be_null, column: amonut", 'no column "amonut"'),
    ],
)
def test_an_expectation_that_cannot_be_evaluated_is_a_mistake_of_the_yaml_told_in_a_line(
    shop, type_and_column, message
):
    shop.change(
        "raw/defs.yaml", "  where:", f"  expectations:\n    - {{{type_and_column}}}\n  where:"
    )
    shop.land_quiet_days(5, 5)
    with pytest.raises(Exception) as refusal:  # noqa: PT011 - Dagster wraps what pydantic raises
        shop.take_in(5)
    assert message in str(expected_message(refusal.value))
    assert "Traceback" not in str(expected_message(refusal.value))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "event_time: ordered_at",
            "event_time: sold_at",
            'event_time names "sold_at", which is no column',
        ),
        (
            "key: [order_id]",
            "key: [id]",
            'key names "id", which is no column (order_id, customer_id,',
        ),
        ("type: decimal", "type: money", 'unknown type "money"; known: text, id,'),
        (
            "type: timestamp",
            "type: text",
            "event_time ordered_at is text; a date or timestamp is needed",
        ),
        ("name: customer_id", "name: order_id", "column order_id is declared twice"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused_when_the_yaml_is_read(
    shop, old, new, message
):
    shop.change("raw/defs.yaml", old, new)
    with pytest.raises(Exception) as refusal:  # noqa: PT011 - Dagster wraps what pydantic raises
        shop.source()
    chain, error = [], refusal.value
    while error:
        chain.append(str(error))
        error = error.__cause__ or error.__context__
    assert message in "\n".join(chain)


def test_a_rule_over_an_unknown_column_is_told_with_the_rules_name(shop):
    shop.change("raw/defs.yaml", "amount_usd > 0", "amount > 0")
    shop.land_quiet_days(5, 5)
    with pytest.raises(Exception) as refusal:  # noqa: PT011 - Dagster wraps what pydantic raises
        shop.take_in(5)
    assert 'rule positive_amount: no column "amount"' in str(expected_message(refusal.value))


def contents(shop: Shop) -> dict[str, list[tuple]]:
    """Every table but the clock of the bookkeeping, and the bytes of every Parquet file."""
    tables = {
        name: shop.rows(
            f"select md5(string_agg(t::varchar, '|' order by t::varchar)), count(*) from {name} as "
            "t"
        )
        for name in (
            "raw.orders",
            "bronze.orders",
            "quarantine.orders",
            "silver.orders",
            "meta.manifest",
        )
    }
    state = shop.business.state
    files = [
        p
        for layer in ("gold", "predictions", "quarantine")
        for p in (state / layer).rglob("*.parquet")
    ]
    return tables | {
        str(p.relative_to(state)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_refreshing_days_again_changes_nothing(shop):
    shop.layers = (*UP_TO_FEATURES, "predictions")
    shop.land_quiet_days(1, 7)
    shop.land_orders(
        6,
        "o6,ann,2024-01-06 10:00,6.5",
        "o6,ann,2024-01-06 10:00,6.5",
        "bad",
        "o5,ann,2024-01-05 10:00,9",
    )
    shop.refresh(5, 7)
    before = contents(shop)
    shop.change("gold/defs.yaml", "  windows:", "  refresh: {mode: full}\n  windows:")
    assert len([name for name in before if name.startswith("gold/customer_features/")]) == 3
    shop.refresh(6)
    shop.refresh(5, 7)
    assert contents(shop) == before


BAD = "order_id,customer_id,amount_usd\no7,ann,7\n"


def as_ofs(shop: Shop) -> list[tuple]:
    return shop.published("select as_of, orders_count_all from gold.customer_features order by 1")


def test_one_bad_day_of_five_is_refused_by_name_and_the_other_four_stand(shop):
    shop.land_quiet_days(1, 10)
    file = shop.land("orders_2024-01-07.csv", BAD)
    done = shop.refresh(5, 10, UP_TO_FEATURES)
    why = (
        'orders_2024-01-07.csv has no column "ordered_at" (columns: order_id, customer_id, '
        "amount_usd)"
    )
    assert done.refused["bronze.orders"] == {"2024-01-07": why}
    four = [(JAN[day],) for day in (6, 8, 9, 10)]
    for table in ("bronze.orders", "silver.orders"):
        assert (
            shop.rows(f"select _partition from {table} where _partition > '2024-01-05' order by 1")
            == four
        )
    assert list(done.refused["gold.customer_features"]) == [str(JAN[day]) for day in (7, 8, 9, 10)]
    assert all(why in reason for reason in done.refused["gold.customer_features"].values())
    assert as_ofs(shop) == [(JAN[5], 5), (JAN[6], 6)]

    shop.land_quiet_days(11, 11)
    later = shop.refresh(11, layers=UP_TO_FEATURES)
    assert why in later.refused["gold.customer_features"]["2024-01-11"]
    assert "bronze.orders" not in later.refused

    file.write_text(f"{ORDERS_HEADER}o7,ann,2024-01-07 10:00,7\n")
    assert shop.refresh(7, 11, UP_TO_FEATURES).refused == {}
    assert as_ofs(shop) == [(JAN[day], day) for day in range(5, 12)]


def test_a_waived_day_counts_as_closed_and_what_waited_for_it_is_built(shop):
    shop.land_quiet_days(1, 7)
    shop.land("orders_2024-01-06.csv", BAD)
    shop.refresh(5, 7, UP_TO_FEATURES)
    assert as_ofs(shop) == [(JAN[5], 5)]
    with shop.tables() as tables:
        tables.days.waive("bronze.orders", JAN[6], "the till was broken")
    assert shop.refresh(6, 7, UP_TO_FEATURES).refused == {}
    assert as_ofs(shop) == [(JAN[5], 5), (JAN[6], 5), (JAN[7], 6)]


def test_nothing_is_left_to_run_once_a_refused_day_was_waived_and_what_waited_is_built(shop):
    shop.land_quiet_days(1, 7)
    shop.land("orders_2024-01-06.csv", BAD)
    shop.refresh(5, 7)
    with shop.tables() as tables:
        tables.days.waive("bronze.orders", JAN[6], "the till was broken")
    shop.refresh(5, 7)
    assert shop.first_stale(7) is None


def test_a_good_day_that_turns_bad_is_refused_everywhere_and_blocks_the_days_after_it(shop):
    """Its old rows may not stand in for it: neither in its own tables nor in later days'
    features.
    """
    shop.land_quiet_days(1, 7)
    shop.refresh(5, 6, UP_TO_FEATURES)
    shop.land("orders_2024-01-06.csv", BAD)
    assert "bronze.orders" in shop.refresh(6, layers=UP_TO_FEATURES).refused
    assert shop.rows("from bronze.orders where _partition = '2024-01-06'") == []
    done = shop.refresh(7, layers=UP_TO_FEATURES)
    assert 'has no column "ordered_at"' in done.refused.get("gold.customer_features", {}).get(
        "2024-01-07", ""
    )
    assert as_ofs(shop) == [(JAN[5], 5)]
    with shop.tables() as tables:
        tables.days.waive("bronze.orders", JAN[6], "the till was broken")
    shop.refresh(6, 7, UP_TO_FEATURES)
    assert as_ofs(shop) == [(JAN[5], 5), (JAN[6], 5), (JAN[7], 6)]


def test_a_waived_initial_load_lets_the_days_after_it_begin(shop):
    shop.land("orders_2024-01-05.csv", "")
    shop.land_quiet_days(6, 6)
    shop.refresh(5, layers=UP_TO_FEATURES)
    with shop.tables() as tables:
        tables.days.waive("raw.orders", JAN[5], "there is no history")
    shop.refresh(5, layers=UP_TO_FEATURES)
    assert shop.refresh(6, layers=UP_TO_FEATURES).refused == {}
    assert as_ofs(shop)[-1] == (JAN[6], 1)


def test_a_run_of_whose_rows_none_is_valid_is_no_success(shop):
    shop.land_orders(5, "o5,ann,2024-01-05 10:00,-1")
    done = shop.refresh(5, layers=UP_TO_FEATURES[:3])
    assert not done.succeeded
    message = (
        "check mostly_valid failed: 1 of 1 rows are quarantined, 1 of them by where:positive_amount"
    )
    assert done.notes["bronze.orders"].startswith(message)
    shop.land_orders(5, "o5,ann,2024-01-05 10:00,1")
    assert shop.refresh(5, layers=UP_TO_FEATURES[:3]).succeeded


def test_a_day_before_the_initial_load_is_there_says_what_comes_first(shop):
    shop.land_quiet_days(1, 6)
    with pytest.raises(BusinessError, match="the initial load, partition 2024-01-05, comes first"):
        shop.refresh(6)


# ---------------- what the UI shows


def pictured(shop, asset, days):
    """The days of an asset with which a picture is shown."""
    return [
        day
        for day in days
        if any(name.startswith("picture_") for name in metadata(shop, asset, JAN[day]))
    ]


def test_a_picture_hangs_on_the_newest_day_of_a_range_alone_and_each_day_has_its_own_rows(shop):
    shop.land_quiet_days(1, 8)
    shop.land_orders(7, "o7,ann,2024-01-07 10:00,7", "o8,ann,2024-01-07 10:00,-1")
    shop.refresh(5)
    shop.refresh(6, 8)
    for asset in ("raw/orders", "bronze/orders", "quarantine/orders", "predictions/churn_90d"):
        assert pictured(shop, asset, (6, 7, 8)) == [8], asset
    rows = [
        metadata(shop, "raw/orders", JAN[day])["dagster/partition_row_count"].value
        for day in (6, 7, 8)
    ]
    assert rows == [1, 2, 1]
    assert metadata(shop, "bronze/orders", JAN[7])["quarantined"].value == 1


def test_a_refused_day_is_marked_until_it_is_mended(shop):
    shop.land_quiet_days(1, 8)
    shop.land("orders_2024-01-07.csv", BAD)
    shop.refresh(5)
    shop.refresh(6, 8)
    message = "bronze.orders: 7 rows, 1 of them on 2024-01-08"
    picture = metadata(shop, "bronze/orders", JAN[8])["picture_rows_by_day"].value
    assert picture.startswith(f"![{message}; 1 day refused]")
    shop.land_orders(7, "o7,ann,2024-01-07 10:00,7")
    shop.refresh(7, 8)
    picture = metadata(shop, "bronze/orders", JAN[8])["picture_rows_by_day"].value
    assert picture.startswith("![bronze.orders: 8 rows, 1 of them on 2024-01-08]")


def test_where_nothing_was_quarantined_there_is_no_picture_of_it(shop):
    shop.land_quiet_days(1, 5)
    shop.refresh(5)
    assert pictured(shop, "quarantine/orders", [5]) == []
    assert metadata(shop, "quarantine/orders", JAN[5])["dagster/partition_row_count"].value == 0


@pytest.mark.parametrize("day", ["0000-01-01", "0001-01-01"])
def test_a_day_that_nobody_means_is_quarantined_and_stretches_no_picture(shop, day):
    shop.change("business.yaml", "history_from: 2024-01-01\n", "")
    shop.change("raw/defs.yaml", "orders_{day}.csv", "history.csv")
    shop.land("history.csv", f"{ORDERS_HEADER}o1,ann,2024-01-05,1\no2,bob,{day},1\n")
    assert shop.refresh(5).refused == {}
    assert shop.rows("select order_id, rule from quarantine.orders") == [("o2", "before_history")]
    for asset, shown in (
        ("raw/orders", "rows_by_day"),
        ("quarantine/orders", "quarantined_by_rule"),
    ):
        picture = metadata(shop, asset, JAN[5])[f"picture_{shown}"].value
        drawn = base64.b64decode(picture.split("base64,")[1].rstrip(")")).decode()
        assert "2024" in drawn
        assert "1000" not in drawn
