"""The location as the server loads it, its jobs, schedule and sensor."""

import datetime as dt
import re
from pathlib import Path

import dagster as dg
import pytest
from pydantic import ValidationError

from churn_orchestration.business import DEMO, PACKAGE, Business, BusinessError
from churn_orchestration.components import FeatureTable
from churn_orchestration.components.days import range_tags
from churn_orchestration.definitions import definitions_of, defs
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.shop import JAN, Shop

ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def demo() -> dg.Definitions:
    """The demo's definitions."""
    return definitions_of(Business(DEMO))


@pytest.mark.usefixtures("churn_data")
def test_the_location_loads_as_the_server_loads_it() -> None:
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
    keys = {key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys()}
    assert {"raw/orders", "bronze/orders", "quarantine/orders", "silver/orders"} <= keys
    assert {
        "gold/customer_features",
        "snapshots/churn_90d",
        "models/churn_90d",
        "predictions/churn_90d",
    } <= keys
    assert {key for key in keys if key.startswith("measures/")} == {
        f"measures/churn_90d_{name}" for name in ("at_risk", "churn_rate", "movers", "retention")
    }


def test_nothing_private_of_dagster_is_imported() -> None:
    private = re.compile(
        r"^\s*(?:from|import) dagster(?:_\w+)?\.(?:_|components\.core)", re.MULTILINE
    )
    assert private.search("    from dagster._core.storage.tags import PARTITION_NAME_TAG")
    files = [path for folder in ("churn_orchestration", "churn_orchestration_tests", "benchmarks")
             for path in (ROOT / folder).rglob("*.py")]  # fmt: skip
    # Tests keep what Dagster computes again for each load, which no public name reaches.
    files.remove(ROOT / "churn_orchestration_tests" / "support" / "kept.py")
    assert [path for path in files if private.search(path.read_text())] == []


@pytest.mark.usefixtures("churn_data")
@pytest.mark.parametrize(
    "left_out", [[], ["churn_90d/defs.yaml"], ["churn_90d/defs.yaml", "gold/defs.yaml"]]
)
def test_a_job_has_the_days_of_its_tables(shop: Shop, left_out: list[str]) -> None:
    for name in left_out:
        (shop.folder / name).unlink()
    jobs = {
        job.name: job.partitions_def for job in definitions_of(shop.business).resolve_all_job_defs()
    }
    assert jobs["refresh"] == jobs["refresh_fully"] == shop.business.days
    assert jobs["train"] == (None if left_out else shop.business.cutoffs)


def test_every_asset_says_what_it_is(demo: dg.Definitions) -> None:
    graph = demo.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners == ["team:data"], key
        assert node.kinds, key
        assert node.group_name == key.path[0], key
        assert node.is_partitioned, key


@pytest.mark.usefixtures("churn_data")
@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("online_retail", "churn_90d"),
        ("cdnow", "churn_90d"),
        ("returns", "first_return_90d"),
        ("telco", "churn"),
        ("support_tickets", "at_risk"),
        ("helpdesk", "cancels_90d"),
        ("shop", "churn_90d"),
    ],
)
def test_the_examples_load_from_their_own_folders(
    name: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("CHURN_REAL_DATA", "CHURN_HELPDESK", "CHURN_SHOP"):
        monkeypatch.setenv(place, "/nowhere")
    loaded = definitions_of(Business(ROOT / "examples" / name))
    dg.Definitions.validate_loadable(loaded)
    assert (
        dg.AssetKey(["predictions", question]) in loaded.resolve_asset_graph().get_all_asset_keys()
    )


def test_the_schedule_follows_the_partitions_and_their_time_zone(
    tmp_path: Path, churn_data: Path
) -> None:
    shop = Shop(tmp_path / "shop", churn_data / "landing")
    shop.change("business.yaml", "name: shop", "name: shop\ntimezone: Asia/Tokyo")
    daily = definitions_of(shop.business).resolve_schedule_def("daily")
    assert (daily.cron_schedule, daily.execution_timezone) == ("0 2 * * *", "Asia/Tokyo")


def asked_at_two(loaded: dg.RepositoryDefinition, day: int) -> tuple[str, str] | str | None:
    """What the schedule asks for at 02:00 of a day of January 2024, first and last day; or why
    nothing.
    """
    at = dt.datetime(2024, 1, day, 2, tzinfo=dt.UTC)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(instance, at, repository_def=loaded) as context,
    ):
        tick = loaded.get_schedule_def("daily").evaluate_tick(context)
    if not tick.run_requests:
        return tick.skip_message
    [request] = tick.run_requests
    assert request.run_key == f"daily:{dt.date(2024, 1, day) - dt.timedelta(days=1)}"
    span = [request.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end")]
    return (request.partition_key,) * 2 if request.partition_key else tuple(span)  # type: ignore[return-value]


def test_the_schedule_asks_for_the_days_that_are_lacking_in_order(
    tmp_path: Path, churn_data: Path
) -> None:
    shop = Shop(tmp_path / "shop", churn_data / "landing")
    shop.change("business.yaml", "name: shop", "name: shop\nlook_back_days: 4")
    loaded = definitions_of(shop.business).get_repository_def()
    assert asked_at_two(loaded, 5) == "2024-01-05, the first day, has not ended"
    assert asked_at_two(loaded, 8) == (
        "2024-01-05",
        "2024-01-07",
    )  # the initial load and what followed
    shop.land_quiet_days(1, 6)
    shop.refresh(5, 6)
    assert asked_at_two(loaded, 7) == "2024-01-06 is there"
    assert asked_at_two(loaded, 8) == ("2024-01-07", "2024-01-07")
    assert asked_at_two(loaded, 11) == ("2024-01-07", "2024-01-10")  # the machine was off
    shop.land("orders_2024-01-07.csv", "no,such\ncolumns,here\n")
    shop.land_quiet_days(8, 8)
    shop.refresh(7, 8)
    assert asked_at_two(loaded, 10) == (
        "2024-01-07",
        "2024-01-09",
    )  # what was refused is tried again
    assert asked_at_two(loaded, 12) == ("2024-01-08", "2024-01-11")  # of the last four days alone


def test_a_mistyped_cut_off_starts_no_run_that_would_be_shown_as_failed(shop: Shop) -> None:
    with at_work(shop.business) as work:
        with pytest.raises(
            BusinessError, match="is not there yet; `churn run --to 2024-01-19` first"
        ):
            work.train(JAN[19])
        assert work.instance.get_runs() == []
    (shop.folder / "churn_90d/defs.yaml").unlink()
    with (
        at_work(shop.business) as work,
        pytest.raises(BusinessError, match="shop has no question: declare"),
    ):
        work.train(JAN[5])


def test_a_run_for_several_cut_offs_trains_at_none_and_no_day_is_shown_as_failed(
    shop: Shop,
) -> None:
    with at_work(shop.business) as work:
        job = work.definitions.resolve_job_def("train")
        done = job.execute_in_process(instance=work.instance, tags=range_tags(JAN[6], JAN[8]))
        assert done.success
        assert done.get_asset_materialization_events() == []
    message = {
        (evaluation.passed, evaluation.description)
        for evaluation in done.get_asset_check_evaluations()
    }
    [(passed, description)] = message
    assert not passed
    assert (
        "a run trains at one cut-off, and this one is for all from 2024-01-06 to 2024-01-08"
        in description
    )


def test_a_full_refresh_makes_days_anew_that_an_incremental_one_leaves(
    tmp_path: Path, churn_data: Path
) -> None:
    shop = Shop(tmp_path / "shop", churn_data / "landing")
    shop.land_quiet_days(1, 6)
    shop.refresh(5, 6)

    def unchanged(full: bool) -> int:
        with at_work(shop.business) as work:
            work.refresh(JAN[5], JAN[6], full=full)
            key = dg.AssetCheckKey(dg.AssetKey(["gold", "customer_features"]), "accepted")
            [record] = work.instance.event_log_storage.get_asset_check_execution_history(
                key, limit=1
            )
        message = record.event.dagster_event.asset_check_evaluation_data.metadata["unchanged_days"]
        return int(message.value)

    assert [unchanged(False), unchanged(True)] == [2, 0]


def asked_on_new_files(
    loaded: dg.Definitions, cursor: str | None
) -> tuple[list[str | None], str | None]:
    """The days that the sensor asks for, and its cursor afterwards; where there are none, why."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, cursor=cursor, definitions=loaded) as context,
    ):
        tick = loaded.resolve_sensor_def("new_files").evaluate_tick(context)
    days = [request.partition_key for request in tick.run_requests or []]
    assert tick.cursor == (days[-1] if days else cursor)
    return days, tick.skip_message


def test_new_files_ask_for_their_day_once(tmp_path: Path, churn_data: Path) -> None:
    shop = Shop(tmp_path / "shop", churn_data / "landing")
    shop.land_quiet_days(1, 7)
    result = definitions_of(shop.business)

    def nothing_after(day: str) -> tuple[list[str | None], str]:
        return (
            [],
            f"{shop.landing} has no file of a day after {day}, the newest one loaded or requested",
        )

    # The history before the initial load's day is its own.
    assert asked_on_new_files(result, None) == (["2024-01-05", "2024-01-06", "2024-01-07"], None)
    assert asked_on_new_files(result, "2024-01-07") == nothing_after("2024-01-07")
    shop.land_quiet_days(8, 8)
    assert asked_on_new_files(result, "2024-01-07") == (["2024-01-08"], None)
    shop.land_quiet_days(
        21, 21
    )  # after end_date: no partition asks for it, and it hides no later one
    assert asked_on_new_files(result, "2024-01-08") == nothing_after("2024-01-08")
    shop.land_orders(
        4, "late,ann,2024-01-04 10:00,1.00"
    )  # changed and late: the next day takes it in
    assert asked_on_new_files(result, "2024-01-08") == nothing_after("2024-01-08")


def test_new_files_begin_after_the_newest_day_that_was_taken_in(features_shop: Shop) -> None:
    features_shop.land_quiet_days(1, 7)
    features_shop.refresh(5, 6)
    result = definitions_of(features_shop.business)
    assert asked_on_new_files(result, None) == (["2024-01-07"], None)
    # 2024-01-06 came by hand while the sensor was off.
    assert asked_on_new_files(result, "2024-01-05") == (["2024-01-07"], None)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gold/more/defs.yaml", "type: x", "gold/defs.yaml lies above it"),
        ("more/spend.sql", "select 1", "its folder has no defs.yaml of the type"),
        ("raw/customers.yaml", "type: x", "call it defs.yaml"),
        ("more/defs.yml", "type: x", "call it defs.yaml"),
    ],
)
def test_a_file_that_nothing_would_read_is_told(
    tmp_path: Path, churn_data: Path, name: str, text: str, message: str
) -> None:
    shop = Shop(tmp_path / "shop", churn_data / "landing")
    path = shop.write(name, text)
    with pytest.raises(BusinessError, match=message) as error:
        definitions_of(shop.business)
    assert str(error.value).startswith(f"{path} would never be read")


def test_what_lands_inside_the_business_is_no_definition(tmp_path: Path, churn_data: Path) -> None:
    shop = Shop(tmp_path / "shop", churn_data / "landing")
    shop.change("business.yaml", "${CHURN_DATA}/landing", "landing")
    shop.write("landing/dump.sql", "select 1")
    shop.write("landing/meta.yaml", "no: component")
    shop.write(".github/ci.yaml", "on: push")
    keys = definitions_of(shop.business).resolve_asset_graph().get_all_asset_keys()
    assert {key.path[0] for key in keys} >= {"raw", "bronze", "silver", "gold", "predictions"}


def test_a_flag_whose_name_is_no_name_is_refused_at_load() -> None:
    orders = {
        "name": "orders",
        "table": "silver.orders",
        "noun": "order",
        "flags": {"Big Order": "amount > 9"},
    }
    with pytest.raises(
        ValidationError, match='flag "Big Order": wanted a-z, 0-9 and _, e.g. big_order'
    ):
        FeatureTable(name="features", entity="customer_id", sources=[orders])


@pytest.mark.usefixtures("churn_data")
def test_two_businesses_live_side_by_side(tmp_path: Path) -> None:
    one = Shop(tmp_path / "one", tmp_path / "one_landing")
    one.change(
        "business.yaml", "landing: ${CHURN_DATA}/landing", f"landing: {tmp_path / 'one_landing'}"
    )
    two = Shop(tmp_path / "two", tmp_path / "two_landing")
    two.change(
        "business.yaml", "landing: ${CHURN_DATA}/landing", f"landing: {tmp_path / 'two_landing'}"
    )
    two.change("business.yaml", "name: shop", "name: second_shop")
    one.land_quiet_days(1, 5)
    two.land_quiet_days(1, 3)
    assert one.refresh(5).refused == {}
    before = sorted(path.name for path in one.business.state.rglob("*.parquet"))
    assert two.refresh(5).refused == {}
    assert sorted(path.name for path in one.business.state.rglob("*.parquet")) == before
    assert one.rows("select count(*) from silver.orders") == [(5,)]
    assert two.rows("select count(*) from silver.orders") == [(3,)]


def _specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {".".join(spec.key.path): spec for spec in defs.resolve_all_asset_specs()}


def test_every_table_says_its_grain_its_columns_and_how_to_look_at_it(demo: dg.Definitions) -> None:
    for name, spec in _specs(demo).items():
        schema = spec.metadata["dagster/column_schema"]
        assert (spec.description or "").startswith("One row per "), name
        assert schema.columns, name
        assert spec.metadata["dagster/table_name"] == name
        assert f"from demo.{name} limit 100;" in (spec.description or "")


def test_a_column_tells_its_unit_from_the_contract_on(demo: dg.Definitions) -> None:
    for table in ("raw.orders", "bronze.orders", "quarantine.orders", "silver.orders"):
        columns = {c.name: c for c in _specs(demo)[table].metadata["dagster/column_schema"].columns}
        assert columns["amount_usd"].description == "US dollars", table
    assert (
        columns["day"].description == "calendar day of the order, UTC"
    )  # by the comment of silver/orders.sql
    assert columns["channel"].description == "web, app or store"  # by the contract


def test_a_business_whose_data_go_on_wants_each_day_by_morning(
    tmp_path: Path, churn_data: Path
) -> None:
    shop = Shop(tmp_path / "shop", churn_data / "landing")
    assert {spec.freshness_policy for spec in _specs(definitions_of(shop.business)).values()} == {
        None
    }
    shop.change("business.yaml", "end_date: 2024-01-20", "timezone: Asia/Tokyo")
    policies = {
        name: spec.freshness_policy for name, spec in _specs(definitions_of(shop.business)).items()
    }
    assert {name for name, policy in policies.items() if policy is None} == {
        "snapshots.churn_90d", "models.churn_90d",
    }  # fmt: skip
    by_six = dg.FreshnessPolicy.cron("0 6 * * *", dt.timedelta(hours=6), "Asia/Tokyo")
    assert policies["bronze.orders"] == policies["predictions.churn_90d"] == by_six
