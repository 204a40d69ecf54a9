"""The files of a shop: the same bytes whoever draws them, complete, with the faults of the
scenario.
"""

import csv
import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from churn_orchestration.simulator import (
    Faults,
    ScenarioError,
    World,
    forecasts,
    furnished,
    simulate,
    write_bars,
)
from churn_orchestration.simulator.lives import BLOCK
from churn_orchestration.simulator.retail import COLUMNS, MALFORMED, TABLES
from churn_orchestration_tests.support.files import hashes

DAY = dt.timedelta(days=1)


def rows(folder: Path, table: str) -> Iterator[tuple[dt.date, list[str]]]:
    """Every row of a table's files, after the header, with the day of its file."""
    for path in sorted((folder / "landing" / table).glob("*.csv")):
        day = dt.date.fromisoformat(path.stem.removeprefix(f"{table}_"))
        with path.open(newline="") as lines:
            for line in list(csv.reader(lines))[1:]:
                yield day, line


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    world = World.read("calm", customers=800, days=240)
    folder = tmp_path_factory.mktemp("calm")
    simulate(world, folder, processes=1)
    return folder, world


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    faults = {
        "late": 0.1, "most_days_late": 7, "duplicate": 0.02, "malformed": 0.03,
        "future_dated": 0.01, "missing": ["2023-05-06"],
        "outages": [{"first": "2023-04-03", "last": "2023-04-04"}],
        "renamed": [{"first": "2023-07-01", "table": "orders", "column": "channel", "to": "way"}],
        "in_cents_from": "2023-08-01",
    }  # fmt: skip
    world = World.read("calm", customers=3000, days=240, faults=faults)
    folder = tmp_path_factory.mktemp("messy")
    simulate(world, folder, processes=1)
    return folder, world


def test_the_same_world_gives_the_same_bytes_however_many_draw_it(tmp_path: Path) -> None:
    world = World.read(
        "calm", customers=BLOCK + 500, days=40, faults=Faults(late=0.1, duplicate=0.1)
    )
    for name, processes in (("one", 1), ("two", 2), ("three", 3)):
        simulate(world, tmp_path / name, processes)
    one = hashes(tmp_path / "one")
    assert len(one) == 40 * len(TABLES) + 3
    assert one == hashes(tmp_path / "two") == hashes(tmp_path / "three")


def test_a_finished_simulation_is_let_be_and_another_does_not_mix_with_it(
    calm: tuple[Path, World], tmp_path: Path
) -> None:
    folder, world = calm
    before, message = hashes(folder), list[str]()
    counts = simulate(world, folder, log=message.append)
    assert message == [f"{folder} is there already"]
    assert counts == {name: len(list(rows(folder, name))) for name in TABLES}
    with pytest.raises(ScenarioError, match="holds another simulation"):
        simulate(world.model_copy(update={"seed": 8}), folder)
    assert hashes(folder) == before
    (tmp_path / "landing" / "orders").mkdir(parents=True)
    (tmp_path / "landing" / "orders" / "orders_2023-01-01.csv").write_text("order_id\n")
    with pytest.raises(ScenarioError, match="holds files of another simulation"):
        simulate(world, tmp_path)


def test_a_simulation_that_was_stopped_is_made_anew(
    calm: tuple[Path, World], tmp_path: Path
) -> None:
    folder, world = calm

    def stop(line: str) -> None:
        if line.startswith("wrote"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(world, tmp_path, processes=1, log=stop)
    assert not (tmp_path / "truth" / "world.json").exists()
    simulate(world, tmp_path, processes=1)
    assert hashes(tmp_path) == hashes(folder)


def test_every_day_has_its_files_under_its_columns_and_all_rows_arrive(
    calm: tuple[Path, World],
) -> None:
    folder, world = calm
    for table in TABLES:
        files = sorted((folder / "landing" / table).glob("*.csv"))
        assert [file.stem[-10:] for file in files] == [
            str(world.first_day + DAY * n) for n in range(world.days)
        ]
        assert {file.read_text().splitlines()[0] for file in files} == {",".join(COLUMNS[table])}
    with furnished(world) as db:
        for table in TABLES:
            inside = f"where day <= date '{world.last_day}'"
            columns = ", ".join(f"cast({column} as varchar)" for column in COLUMNS[table])
            expected = db.execute(f"select {columns} from {table} {inside}").fetchall()
            assert Counter(map(tuple, (row for _, row in rows(folder, table)))) == Counter(expected)


def test_the_truth_lies_apart_and_has_what_was_hidden(calm: tuple[Path, World]) -> None:
    folder, _ = calm
    people = duckdb.sql(f"select * from '{folder}/truth/people.parquet'").df()
    assert len(people) == 800
    assert people["left_on"].isna().eq(people["cause"].isna()).all()
    orders = duckdb.sql(
        f"select count(*), avg(bad::int) from '{folder}/truth/events.parquet'"
    ).fetchall()[0]
    assert orders[0] == len(list(rows(folder, "orders")))
    assert not [path for path in (folder / "landing").rglob("*") if "truth" in path.name]


def test_what_went_badly_is_late_and_told_so(calm: tuple[Path, World]) -> None:
    _, world = calm
    with furnished(world) as db:
        late = "select order_id, delivered_on > promised_on as late from deliveries"
        result = db.execute(
            f"select bad, late, count(*) from orders join ({late}) using (order_id) group by all"
        )
        assert {(bad, is_late) for bad, is_late, _ in result.fetchall()} == {
            (True, True),
            (False, False),
        }
        stars = (
            "select bad, max(score), min(score) from reviews join orders using (order_id) "
            "group by 1"
        )
        message = {bad: rest for bad, *rest in db.execute(stars).fetchall()}
        assert (message[True][0], message[False][1]) == (2, 4)
        words = db.execute("select distinct score <= 2, text from reviews").fetchall()
        assert len(words) == 6


def test_an_order_comes_to_what_its_lines_cost_less_the_discount_and_with_shipping() -> None:
    with furnished(World.read("price_rise", customers=600)) as db:
        total = (
            "select order_id, sum(quantity * unit_price_usd) as goods, count(*) as lines, "
            "max(line) as last from order_items group by 1"
        )
        [(orders, discounted, wrong)] = db.execute(
            "select count(*), avg((discount_usd > 0)::int), "
            "count(*) filter (amount_usd <> goods - discount_usd + shipping_usd or lines <> last) "
            f"from orders left join ({total}) using (order_id)"
        ).fetchall()
        assert (orders > 5000, wrong) == (True, 0)
        assert discounted == pytest.approx(0.2, abs=0.02)
        prices = db.execute(
            "select valid_from::varchar, count(*), sum(list_price_usd)::double from products "
            "group by 1 order by 1"
        ).fetchall()
        [(_, products, before), (day, again, after)] = prices
        assert (day, products, again) == ("2024-07-01", 120, 120)
        assert after / before == pytest.approx(1.3, rel=0.001)
        # A line costs what the list of its day says, a substitute is another product of the
        # category.
        strange = db.execute(
            "select count(*) from order_items as i asof join products as p "
            "on i.product_id = p.product_id and i.day >= p.valid_from where unit_price_usd <> "
            "list_price_usd"
        ).fetchall()
        assert strange == [(0,)]
        [(pairs,)] = db.execute(
            "select count(*) from catalogue as p join catalogue as s on s.product_id = "
            "p.substitute_id where s.category = p.category and s.product_id <> p.product_id"
        ).fetchall()
        assert pairs == 120


def test_a_cancelled_order_is_not_delivered_and_all_others_are(calm: tuple[Path, World]) -> None:
    _, world = calm
    with furnished(world) as db:
        result = db.execute(
            "select status, d.order_id is not null as delivered, count(*) from orders "
            "left join deliveries as d using (order_id) group by all"
        ).fetchall()
    counts = {status: (delivered, count) for status, delivered, count in result}
    assert len(result) == 2
    assert (counts["placed"][0], counts["cancelled"][0]) == (True, False)
    assert 0.02 < counts["cancelled"][1] / (counts["placed"][1] + counts["cancelled"][1]) < 0.04


def test_what_became_of_a_mail_is_told_three_days_after_it(calm: tuple[Path, World]) -> None:
    folder, _ = calm
    landed = list(rows(folder, "emails"))
    assert {(day - dt.date.fromisoformat(row[2])).days for day, row in landed} == {3}
    assert sum(row[3] == "true" for _, row in landed) / len(landed) == pytest.approx(0.3, abs=0.03)


def test_some_write_their_address_into_a_review() -> None:
    world = World.read("calm", customers=800, days=400, faults={"personal_in_text": 0.2})
    with furnished(world) as db:
        [(share,)] = db.execute(
            "select avg((text like '%@example.com%')::int) from reviews"
        ).fetchall()
    assert 0.1 < share < 0.3


def test_each_fault_is_there_in_its_share(messy: tuple[Path, World]) -> None:
    folder, world = messy
    faults = world.faults
    with furnished(world) as db:
        [(orders,)] = db.execute(
            f"select count(*) from orders where day <= '{world.last_day}'"
        ).fetchall()
        result = dict(db.execute("select fault, count(*) from landed_orders group by 1").fetchall())
        [(late,)] = db.execute(
            "select count(*) from landed_orders where fault = '' and file_day > ordered_at::date"
        ).fetchall()
        lateness = db.execute(
            "select distinct file_day - ordered_at::date from landed_orders where fault = '' order "
            "by 1"
        ).fetchall()
    kinds = {kind: result.pop(kind) for kind in MALFORMED}
    for count, share in (
        (late, faults.late), (result["duplicate"], faults.duplicate),
        (sum(kinds.values()), faults.malformed), (result["future_dated"], faults.future_dated),
    ):  # fmt: skip
        assert abs(count - orders * share) < 5 * (orders * share) ** 0.5 + 0.03 * orders * share
    assert [days for (days,) in lateness] == list(range(faults.most_days_late + 1))
    assert min(kinds.values()) > 0
    files = {path.stem[-10:] for path in (folder / "landing" / "orders").glob("*.csv")}
    assert len(files) == world.days - 1
    assert "2023-05-06" not in files
    own = [line for _, line in rows(folder, "orders") if line[0].startswith("O")]
    assert not [line for line in own if line[2][:10] in ("2023-04-03", "2023-04-04")]
    header = {
        path.stem[-10:]: path.read_text().splitlines()[0]
        for path in (folder / "landing" / "orders").glob("*.csv")
    }
    assert all((",way," in text) == (day >= "2023-07-01") for day, text in header.items())
    assert all(
        ("." in line[3]) == (str(day) < "2023-08-01")
        for day, line in rows(folder, "orders")
        if line[0].startswith("O")
    )
    surplus = [line for _, line in rows(folder, "orders") if len(line) > len(COLUMNS["orders"])]
    assert len(surplus) == kinds["surplus_field"]


def test_a_harmless_change_is_one_of_the_amounts() -> None:
    means = {}
    for name in ("calm", "harmless"):
        with furnished(World.read(name, customers=1000)) as db:
            query = "select avg(amount_usd), count(*) from orders where day >= '2024-09-01'"
            means[name] = db.execute(query).fetchall()[0]
    assert means["harmless"][1] == means["calm"][1]
    assert means["harmless"][0] == pytest.approx(1.5 * means["calm"][0], rel=0.001)


def test_a_column_that_the_shop_does_not_have_cannot_be_renamed() -> None:
    renamed = [{"first": "2023-01-05", "table": "orders", "column": "amount", "to": "sum"}]
    world = World.read("calm", customers=5, days=9, faults={"renamed": renamed})
    with pytest.raises(ScenarioError, match="no column amount in orders"), furnished(world):
        pass


def test_a_day_that_comes_again_is_corrected_and_amounts_change_currency(tmp_path: Path) -> None:
    faults = {
        "resent": [{"day": "2023-02-03", "sent_on": "2023-02-06"}],
        "in_currency": {"first": "2023-03-01", "rate": 0.5},
    }
    world = World.read(
        "calm", customers=3000, days=90, faults=faults, new_channel_from="2023-03-11"
    )
    simulate(world, tmp_path, processes=1)
    landed = list(rows(tmp_path, "orders"))
    first = {row[0]: row for day, row in landed if day == dt.date(2023, 2, 3)}
    again = {
        row[0]: row for day, row in landed if day == dt.date(2023, 2, 6) and row[2] < "2023-02-04"
    }
    assert first.keys() == again.keys()
    assert len(first) > 5
    for order, row in first.items():
        assert float(again[order][3]) == pytest.approx(1.1 * float(row[3]), abs=0.011)
        assert again[order][:3] == row[:3]
    true = dict(
        duckdb.sql(f"select order_id, amount_usd from '{tmp_path}/truth/events.parquet'").fetchall()
    )
    for day, row in landed:
        if day >= dt.date(2023, 3, 1):
            assert float(row[3]) == pytest.approx(float(true[row[0]]) / 2, abs=0.006)
    ways = {
        late: Counter(row[4] for day, row in landed if (day >= dt.date(2023, 3, 11)) is late)
        for late in (True, False)
    }
    assert "marketplace" not in ways[False]
    assert ways[True]["marketplace"] / ways[True].total() == pytest.approx(0.3, abs=0.06)
    with pytest.raises(ScenarioError, match="2023-02-03 is not after 2023-02-06"):
        World.read("calm", faults={"resent": [{"day": "2023-02-06", "sent_on": "2023-02-03"}]})


def test_a_category_has_another_code_a_load_comes_twice_and_a_share_of_rows_is_lost() -> None:
    faults = {
        "recoded": [{"first": "2023-03-01", "column": "channel", "value": "web", "to": "online"}],
        "copied": [{"day": "2023-02-03", "sent_on": "2023-02-04"}],
        "outages": [{"first": "2023-03-20", "share": 0.5}],
    }
    with furnished(World.read("calm", customers=3000, days=90, faults=faults)) as db:
        landed = db.execute("select order_id, channel, file_day from landed_orders").df()
        true = db.execute("select order_id, day from orders").df()
    landed["file_day"], true["day"] = landed["file_day"].dt.date, true["day"].dt.date
    before, after = (
        landed["file_day"] < dt.date(2023, 3, 1),
        landed["channel"].isin(["web", "online"]),
    )
    assert set(landed["channel"][before & after]) == {"web"}
    assert set(landed["channel"][~before & after]) == {"online"}
    of_day = {day: list(rows["order_id"]) for day, rows in landed.groupby("file_day")}
    third, fourth = of_day[dt.date(2023, 2, 3)], of_day[dt.date(2023, 2, 4)]
    assert set(third) < set(fourth)
    lost = dt.date(2023, 3, 20)
    assert (landed["file_day"] >= lost).sum() / (true["day"] >= lost).sum() == pytest.approx(
        0.5, abs=0.08
    )


def test_the_bars_are_written_into_the_truth(calm: tuple[Path, World], tmp_path: Path) -> None:
    _, world = calm
    (tmp_path / "truth").mkdir()
    path = write_bars(world, tmp_path, dt.date(2023, 6, 1), 60, processes=1)
    assert path == tmp_path / "truth" / "bars_2023-06-01_60d.parquet"
    there = duckdb.sql(f"select * from '{path}'").df()
    expected = forecasts(world, dt.date(2023, 6, 1), 60, processes=1)
    assert there[expected.columns].equals(expected)
    assert (there["expected_spend_usd"] >= 0).all()
    with pytest.raises(ScenarioError, match="the simulation goes from 2023-01-01 to 2023-08-28"):
        write_bars(world, tmp_path, dt.date(2023, 8, 1), 60)
