"""What changes in landing files is said on its day, in bronze tables written down and through a
refresh.
"""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn_orchestration.automation import alerts
from churn_orchestration.business import BusinessError
from churn_orchestration.churn.calendar import DAY, ClosedDays, days_between
from churn_orchestration.components.source.landing_changes import changes_of
from churn_orchestration.report.status import status_report
from churn_orchestration.runs import at_work
from churn_orchestration.storage import ledger
from churn_orchestration.storage.open_changes import accept, open_events
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.in_process import commanded
from churn_orchestration_tests.support.shop import ORDERS_HEADER, Shop

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 3, 3)
NEVER = ClosedDays.parse(())
BRONZE = f"""
create or replace table bronze.orders as
select 'o' || n as order_id, 'c' || (n % 40) as customer_id,
  day + interval (n % 600) minute as ordered_at,
  (4 + (n * 7) % 13)::decimal(18, 4) as amount_usd, case n % 3 when 0 then 'app'
    else 'web' end as channel,
  day::date as day, day::date as known_on, greatest(day::date, date '{FIRST}') as _partition
from (select unnest(range(6048)) as n, date '{FIRST}' + (n // 96)::int as day)
"""
"""96 orders a day on 63 days, in whole dollars; the last day is LAST."""
FAULTS = {
    "unit": "update bronze.orders set amount_usd = amount_usd * 100 where {today}",
    "currency": "update bronze.orders set amount_usd = amount_usd * 0.92 where {today}",
    "renamed": "update bronze.orders set channel = 'online' where channel = 'web' and {today}",
    "duplicated": "insert into bronze.orders select * replace (date '{last}' as known_on, date "
    "'{last}' as _partition) from bronze.orders where known_on = date '{last}' - 1",
    "outage": "delete from bronze.orders where {today}",
    "half": "delete from bronze.orders where {today} and hash(order_id) % 2 = 0",
    "nobody": "update bronze.orders set channel = null where {today} and hash(order_id) % 3 = 0",
}
SAYS = {
    "unit": "amount_usd: x 100, typically ",
    "currency": "have 13 values that no row had before (x 0.914, 0.838 to 0.996)",
    "renamed": (
        "channel: no row has a value of usually 67%, and 67% have a value that no row had before: "
        "ren"
    ),
    "duplicated": (
        "50% of the rows landed before, usually 0%: 192 rows where about 96 are usual (x 2)"
    ),
    "outage": "0 rows where about 96 are usual (x 0)",
    "half": "rows where about 96 are usual (x 0.",
    "nobody": "channel: empty in ",
}


def judged(
    tables: Tables, shop: Shop, *days: dt.date
) -> tuple[dict[dt.date, str], dict[dt.date, str]]:
    source, contract = shop.source()
    return changes_of(tables, source.rules(contract), days, (), NEVER)


@pytest.fixture
def channels(shop: Shop) -> Shop:
    shop.change(
        "raw/defs.yaml",
        "  event_time",
        "    - {name: channel, description: web or app}\n  event_time",
    )
    return shop


def test_days_that_go_on_as_ever_are_no_change_and_the_initial_load_is_not_judged(
    channels: Shop,
) -> None:
    with channels.tables() as tables:
        tables.db.execute(BRONZE)
        assert judged(tables, channels, *days_between(FIRST, LAST)) == ({}, {})


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_said_on_the_day_on_which_it_lands(channels: Shop, fault: str) -> None:
    with channels.tables() as tables:
        tables.db.execute(BRONZE)
        tables.db.execute(FAULTS[fault].format(today=f"known_on = date '{LAST}'", last=LAST))
        noted, held = judged(tables, channels, LAST)
        again, _ = judged(tables, channels, LAST)
    assert SAYS[fault] in noted[LAST]
    assert noted[LAST].endswith(f"since {LAST}")
    assert (again, held) == (noted, {})


def test_a_change_goes_on_as_one_event_until_it_is_accepted(channels: Shop) -> None:
    days = [LAST - n * DAY for n in (2, 1, 0)]
    with channels.tables() as tables:
        tables.db.execute(BRONZE)
        tables.db.execute(FAULTS["unit"].format(today=f"known_on >= date '{days[0]}'"))
        noted, _ = judged(tables, channels, *days)
        [event] = open_events(tables)
        said = accept(tables, "bronze.orders", days[0], "in cents from now on")
        after, _ = judged(tables, channels, *days)
        with pytest.raises(BusinessError, match=f"no change up to {LAST} waits for anybody"):
            accept(tables, "bronze.orders", LAST, "twice")
        assert (open_events(tables), after) == ([], {})
    assert list(noted) == days
    assert (event.since, event.last, event.columns) == (
        days[0],
        LAST,
        {"bronze.orders": {"amount_usd"}},
    )
    assert said.startswith("amount_usd: x 100")


def test_what_is_not_watched_is_no_change_and_a_column_that_is_not_there_is_named(
    channels: Shop,
) -> None:
    channels.change("raw/defs.yaml", "  key:", "  watch: {amount_usd: ignore}\n  key:")
    with channels.tables() as tables:
        tables.db.execute(BRONZE)
        tables.db.execute(FAULTS["unit"].format(today=f"known_on = date '{LAST}'"))
        assert judged(tables, channels, LAST) == ({}, {})
    channels.change("raw/defs.yaml", "watch: {amount_usd: ignore}", "watch: {amount: block}")
    message = commanded(
        "--business", str(channels.folder), "run", "--to", str(LAST), expect=1
    ).output
    assert 'orders: watch: no column "amount"' in message


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Thirty orders a day up to 2024-02-09, refreshed; in cents on the 8th and 9th, where that
    blocks.
    """
    folder = tmp_path_factory.mktemp("changed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHURN_DATA", str(folder / "data"))
        patch.setenv("DAGSTER_HOME", str(folder / "data"))
        patch.setenv("COLUMNS", "200")
        patch.chdir(folder)
        shop = Shop(folder / "shop", folder / "data/landing")
        shop.change(
            "business.yaml",
            "start_date: 2024-01-05\nend_date: 2024-01-20",
            "start_date: 2024-02-06",
        )
        shop.change("raw/defs.yaml", "  key:", "  watch: {amount_usd: block}\n  key:")
        for day in days_between(FIRST, dt.date(2024, 2, 9)):
            cents = 100 if day >= dt.date(2024, 2, 8) else 1
            rows = [f"{day}-{n},c{n},{day} 10:{n:02},{(5 + n % 7) * cents}" for n in range(30)]
            if day != dt.date(2024, 2, 7):
                shop.land(f"orders_{day}.csv", ORDERS_HEADER + "\n".join(rows) + "\n")
        with at_work(shop.business) as work:
            work.refresh(
                dt.date(2024, 2, 6), dt.date(2024, 2, 9), ("raw", "bronze", "quarantine", "silver")
            )
        yield shop


def test_a_day_that_changed_is_held_where_it_blocks_before_anything_reads_it(changed: Shop) -> None:
    held = changed.published("select day, reason from meta.days where table_name = 'bronze.orders' "
                             "and status = 'refused' order by day")  # fmt: skip
    assert [day for day, _ in held] == [dt.date(2024, 2, 8), dt.date(2024, 2, 9)]
    assert held[0][1].startswith(
        "held: amount_usd: x 100, typically 756 where 7.56 is usual: another unit?"
    )
    assert changed.rows("select count(*) from silver.orders where _partition > '2024-02-07'") == [
        (0,)
    ]


def test_status_has_the_change_since_when_it_is_and_the_day_without_a_file(changed: Shop) -> None:
    text = status_report(changed.business)[1]
    assert "changed: 2024-02-07:" in text
    assert "bronze.orders: 0 rows where about 30 are usual (x 0) since 2024-02-07" in text
    assert (
        "changed: 2024-02-08, up to 2024-02-09; 2 days (2024-02-08 to 2024-02-09) held back:"
        in text
    )
    assert (
        "churn --business shop accept --table bronze.orders --day 2024-02-08 --reason WHY" in text
    )
    assert "no file: orders: 2024-02-07; nothing of those days counts" in text


def test_people_are_told_of_a_change_once_with_all_that_changed_from_one_day_on(
    changed: Shop,
) -> None:
    lost, cents = map(alerts.changed, alerts.changes_open(changed.business))
    assert lost.keys == {"changed bronze.orders rows 2024-02-07"}
    assert cents.title == "2024-02-08: bronze.orders changed"
    assert cents.message.startswith(
        "bronze.orders: amount_usd: x 100, typically 756 where 7.56 is usual"
    )


def test_what_is_accepted_is_taken_in_and_the_ledger_says_why(changed: Shop) -> None:
    done = commanded("--business", str(changed.folder), "accept", "--table", "bronze.orders",
     "--day",
                     "2024-02-08", "--reason", "cents from now on")  # fmt: skip
    assert "amount_usd: x 100" in done.output
    [row] = [row for row in ledger.read(changed.business.state) if row["decision"] == "accept"]
    assert (row["subject"], row["reason"]) == ("bronze.orders", "cents from now on")
    with at_work(changed.business) as work:
        layers = ("raw", "bronze", "quarantine", "silver")
        assert work.plan(dt.date(2024, 2, 9), layers).first == dt.date(2024, 2, 8)
        done = work.refresh(dt.date(2024, 2, 8), dt.date(2024, 2, 9), layers)
    assert done.refused == {}
    assert "bronze.orders" not in done.notes
    assert changed.rows("select count(*) from silver.orders where _partition > '2024-02-07'") == [
        (60,)
    ]


def test_an_older_state_has_no_changes(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect() as db:
        assert open_events(Tables(db, tmp_path)) == []
