"""A day's file is read while its content is what its name says; what is no probability never
leaves.
"""

import datetime as dt
from pathlib import Path

import pytest

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.report.ranking import exported, top_customers
from churn_orchestration.storage import door as doors
from churn_orchestration.storage.day_files import damage
from churn_orchestration.storage.door import door, publish
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.session import WarehouseError
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.files import flip_a_bit

DAY, NEXT = dt.date(2024, 1, 5), dt.date(2024, 1, 6)


def forecasts(day: dt.date, *chances: str) -> str:
    """A day's predictions of a few customers."""
    rows = ", ".join(f"('c{n}', {chance}::double)" for n, chance in enumerate(chances))
    return (
        f"select customer_id, date '{day}' as as_of, churn_probability, 10.0 as recent_value, "
        "['why'] as reasons, 'rules' as model_version, 1 as days_since_last, 'low' as band, false "
        f"as backtest from (values {rows}) as t(customer_id, churn_probability)"
    )


@pytest.fixture
def business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Business:
    monkeypatch.setenv("CHURN_DATA", str(tmp_path / "data"))
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "business.yaml").write_text(
        "name: shop\nlanding: landing\nstart_date: 2024-01-05\nend_date: 2024-01-06\n"
    )
    (folder / "landing").mkdir()
    with Warehouse.of(Business(folder).state).open() as tables:
        for day in (DAY, NEXT):
            tables.put_day("predictions.q", day, forecasts(day, "0.25", "0.5"))
            tables.days.record("predictions.q", "stored", {day: 2}, "declared")
        publish(tables)
    return Business(folder)


def damaged_file(tables: Tables) -> Path:
    path = tables.day_file("predictions.q", DAY)
    assert path
    flip_a_bit(path)
    return path


def test_a_file_is_whole_gone_or_damaged(tmp_path: Path) -> None:
    # SHA-256 of "one" begins 7692c3ad3540
    path = tmp_path / "2024-01-05-7692c3ad3540.parquet"
    path.write_text("one")
    assert damage(path) is None
    path.write_text("two!")
    assert "is damaged (its content has SHA-256 " in str(damage(path))
    path.unlink()
    assert "is gone" in str(damage(path))


def test_a_damaged_day_is_read_by_nobody_and_named_with_the_command_that_recomputes_it(
    business: Business,
) -> None:
    with Warehouse.of(business.state).open() as tables:
        path = damaged_file(tables)
        message = (
            rf"predictions\.q 2024-01-05: its file {path} is damaged .*`churn run` recomputes it"
        )
        with pytest.raises(WarehouseError, match=message):
            tables.day_file("predictions.q", DAY)
        with pytest.raises(WarehouseError, match=message):
            tables.day_files("predictions.q", NEXT)
        assert tables.day_file("predictions.q", NEXT)
    for read in (
        lambda: top_customers(business, DAY),
        lambda: exported(business, DAY, Path("x.csv"), None),
    ):
        with pytest.raises(WarehouseError, match=message):
            read()
    assert not Path("x.csv").exists()


def test_a_damaged_day_is_stale_not_shown_and_whole_again_once_it_is_recomputed(
    business: Business,
) -> None:
    with Warehouse.of(business.state).open() as tables:
        path = damaged_file(tables)
        assert tables.days.stale("predictions.q", "declared", [], [DAY, NEXT]) == [DAY]
        publish(tables)
        with door(business.state) as db:
            assert db.execute("select distinct as_of from predictions.q").fetchall() == [(NEXT,)]
        publish(tables)
        assert path.exists(), "what is damaged may still be mended by hand"
        tables.put_day("predictions.q", DAY, forecasts(DAY, "0.25", "0.5"))
        assert tables.day_file("predictions.q", DAY) == path
        assert tables.days.stale("predictions.q", "declared", [], [DAY, NEXT]) == []


@pytest.mark.parametrize("chance", ["2e267", "-0.1", "'nan'", "'inf'", "null"])
def test_what_is_no_probability_is_not_published(business: Business, chance: str) -> None:
    with Warehouse.of(business.state).open() as tables:
        tables.put_day("predictions.q", NEXT, forecasts(NEXT, "0.5", chance))
        with pytest.raises(
            WarehouseError, match=r"predictions\.q 2024-01-06: 1 rows have a churn_p"
        ):
            publish(tables)
    with door(business.state) as db:
        assert db.execute("select max(churn_probability) from predictions.q").fetchall() == [(0.5,)]


def test_what_is_no_probability_is_not_exported_from_a_door_of_an_earlier_version(
    business: Business, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Warehouse.of(business.state).open() as tables:
        tables.put_day("predictions.q", NEXT, forecasts(NEXT, "0.5", "2e267"))
        monkeypatch.setattr(doors, "_refuse_no_probabilities", lambda *_: None)
        publish(tables)
    with pytest.raises(
        (WarehouseError, BusinessError), match="1 rows have a churn_probability that is none"
    ):
        exported(business, NEXT, tmp_path / "x.csv", None)
    assert not (tmp_path / "x.csv").exists()
