"""What a newcomer stumbles over: each is met with one line that names the remedy, and nothing is
broken.
"""

import datetime as dt
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from churn_orchestration.business import PACKAGE, BusinessError
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.cli import main
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.tree import component_tree
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.shop import JAN, ORDERS_HEADER, Shop

ROOT = PACKAGE.parent


def stumble(folder: Path, *arguments: str) -> str:
    """What a command that must fail tells, in this process."""
    done = CliRunner().invoke(main, ["--business", str(folder), *arguments])
    assert done.exit_code == 1, (done.output, done.exception)
    assert "Traceback" not in done.output
    return done.stderr.splitlines()[-1]


@pytest.fixture(autouse=True)
def _own_environment(churn_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line sets CHURN_BUSINESS and DAGSTER_HOME: undone after each test."""
    monkeypatch.setenv("CHURN_BUSINESS", "")
    assert churn_data


def test_a_folder_without_business_yaml_says_where_one_is_shown(tmp_path: Path) -> None:
    assert "is no business: it has no business.yaml (see examples/ for one)" in stumble(
        tmp_path, "status"
    )


def test_a_missing_folder_of_real_data_is_named_with_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CHURN_REAL_DATA", raising=False)
    message = stumble(ROOT / "examples/cdnow", "run")
    assert (
        "examples/cdnow/business.yaml: landing: the environment variable 'CHURN_REAL_DATA' is not "
        "set" in message
    )


def test_a_wrong_folder_of_real_data_is_named_with_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHURN_REAL_DATA", "/nowhere")
    message = stumble(ROOT / "examples/cdnow", "run")
    assert "the landing folder /nowhere/cdnow does not exist" in message
    assert (
        "check `landing` in business.yaml, and the environment variables that it names" in message
    )


def test_days_beyond_the_files_are_refused_with_the_last_one(shop: Shop) -> None:
    shop.land_quiet_days(1, 7)
    assert "is of a day after 2024-01-07: use --to 2024-01-07" in stumble(
        shop.folder, "run", "--to", "2024-01-09"
    )


def test_days_on_which_the_shop_is_closed_may_follow_the_last_file(shop: Shop) -> None:
    shop.change("business.yaml", "name: shop\n", "name: shop\nclosed: [2024-01-08..2024-01-09]\n")
    shop.land_quiet_days(1, 7)
    with at_work(shop.business) as work:
        assert work.last_day(JAN[9]) == JAN[9]
        with pytest.raises(BusinessError, match="use --to 2024-01-07"):
            work.last_day(JAN[10])


def test_without_an_end_the_newest_file_says_up_to_which_day_to_run(shop: Shop) -> None:
    shop.change("business.yaml", "end_date: 2024-01-20\n", "")
    shop.land_quiet_days(1, 7)
    with at_work(shop.business) as work:
        assert work.last_day(None) == JAN[7]


def test_one_wrong_year_in_a_files_name_does_not_make_years_of_empty_days(shop: Shop) -> None:
    shop.change("business.yaml", "end_date: 2024-01-20\n", "")
    shop.land_quiet_days(1, 7)
    wrong = shop.land("orders_2042-01-07.csv", "order_id\n")
    message = stumble(shop.folder, "run")
    assert (
        "no file is of the 6574 days before orders_2042-01-07.csv: mend its name, or use --to "
        "2024-01-07" in message
    )
    wrong.rename(
        shop.landing / "orders_2024-02-09.csv"
    )  # 32 days are in between, one more than is common
    assert (
        "if nothing came on those days, use --to 2024-02-09, or name them in `closed`"
        in stumble(shop.folder, "run")
    )
    with at_work(shop.business) as work:
        assert work.last_day(dt.date(2024, 2, 9)) == dt.date(2024, 2, 9)
    shop.change("business.yaml", "name: shop\n", "name: shop\nclosed: [2024-01-31]\n")
    with at_work(shop.business) as work:
        assert work.last_day(None) == dt.date(2024, 2, 9)


def test_a_day_that_is_not_over_is_not_made(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """The UI has no such partition; its sensor leaves the file for later too."""
    shop.change("business.yaml", "end_date: 2024-01-20\n", "")
    over = dt.date.fromisoformat(shop.business.days.get_last_partition_key() or "")
    shop.change("business.yaml", "start_date: 2024-01-05", f"start_date: {over - DAY}")
    for day in (over - DAY, over, over + DAY, over + 3 * DAY):
        shop.land(f"orders_{day}.csv", ORDERS_HEADER)
    with at_work(shop.business) as work:
        assert work.last_day(None) == over
        assert (
            capsys.readouterr().err
            == f"  left for later: orders_{over + DAY}.csv, whose day is not over yet\n"
        )
        with pytest.raises(
            BusinessError, match=rf"{over + DAY} is not over yet \(UTC\): use --to {over}"
        ):
            work.last_day(over + DAY)


def test_a_business_whose_first_day_is_to_come_says_so(shop: Shop) -> None:
    shop.change(
        "business.yaml", "start_date: 2024-01-05\nend_date: 2024-01-20", "start_date: 2999-01-05"
    )
    shop.land("orders_2999-01-05.csv", ORDERS_HEADER)
    message = stumble(shop.folder, "run")
    assert "2999-01-05 is not over yet (UTC): start_date in" in message


def test_a_history_without_an_end_asks_for_the_last_day(shop: Shop) -> None:
    shop.change("business.yaml", "end_date: 2024-01-20\n", "")
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders*.csv")
    shop.land_quiet_days(1, 7)
    assert "give --to, or end_date in" in stumble(shop.folder, "run")


def test_without_a_declared_beginning_old_events_count_and_impossible_ones_do_not(
    shop: Shop,
) -> None:
    shop.change("business.yaml", "history_from: 2024-01-01\n", "")
    shop.land_orders(
        5,
        "o1,ann,1997-01-01,1",
        "o2,ann,1900-01-01,1",
        "o3,bob,0001-01-01,1",
        "o4,bob,1899-12-30,1",
    )
    shop.take_in(5)
    assert shop.rows("select order_id from bronze.orders order by 1") == [("o1",), ("o2",)]
    rules = shop.rows("select order_id, rule from quarantine.orders order by 1")
    assert rules == [("o3", "before_history"), ("o4", "before_history")]


def test_a_last_day_long_after_the_data_is_asked_about(shop: Shop) -> None:
    shop.change(
        "business.yaml", "start_date: 2024-01-05\nend_date: 2024-01-20", "start_date: 2024-03-01"
    )
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders*.csv")
    shop.land_quiet_days(1, 7)
    done = CliRunner().invoke(main, ["--business", str(shop.folder), "run", "--to", "2024-03-01"])
    assert done.exit_code == 0
    settings = (
        "the newest row of orders*.csv is of 2024-01-07, 54 days before 2024-03-01: "
        "is that the last day"
    )
    assert f"note: raw.orders: {settings} of the data?" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("raw",), "raw.orders: the initial load, partition 2024-01-05, comes first: `churn run`"),
        (
            ("silver",),
            "silver.orders: the initial load, partition 2024-01-05, comes first: `churn run`",
        ),
        (("gold",), "is not there yet"),
        (("predictions",), "is not there yet"),
    ],
)
def test_a_later_day_asked_for_before_the_initial_load_is_refused(
    shop: Shop, layers: tuple[str, ...], message: str
) -> None:
    shop.land_quiet_days(1, 7)
    try:
        done = str(shop.refresh(7, layers=layers).refused)
    except BusinessError as error:
        done = str(error)
    assert message in done


def test_a_start_date_that_moved_is_refused_before_history_is_taken_in_twice(shop: Shop) -> None:
    shop.change("raw/defs.yaml", "orders_{day}.csv", "orders*.csv")
    shop.land_quiet_days(1, 12)
    shop.refresh(5)
    shop.change("business.yaml", "start_date: 2024-01-05", "start_date: 2024-01-10")
    message = stumble(shop.folder, "run", "--to", "2024-01-10")
    assert (
        "raw.orders begins with the initial load of 2024-01-05, and start_date is 2024-01-10 now"
        in message
    )
    assert shop.rows("select count(*) from raw.orders") == [(5,)]


def test_two_folders_of_one_name_do_not_share_their_tables(shop: Shop, tmp_path: Path) -> None:
    shop.land_quiet_days(1, 5)
    stumbled = shutil.copytree(shop.folder, tmp_path / "copy")
    shop.refresh(5)
    for command in ("run", "status"):
        assert f"another business is called shop, that of {shop.folder}" in stumble(
            stumbled, command
        )
    shop.folder.rename(tmp_path / "moved")  # a folder that moved keeps its tables
    assert (
        CliRunner()
        .invoke(main, ["--business", str(stumbled), "run", "--to", "2024-01-05"])
        .exit_code
        == 0
    )


def test_a_file_whose_rows_are_quarantined_is_no_success_without_a_word(shop: Shop) -> None:
    shop.land_orders(5, "o1,ann,05.01.2024,1", "o2,ann,05.01.2024,1", "o3,bob,2024-01-05,2")
    done = CliRunner().invoke(main, ["--business", str(shop.folder), "run", "--to", "2024-01-05"])
    wanted = (
        "2 of 3 rows are quarantined, 2 of them by type:ordered_at, e.g. "
        'orders_2024-01-05.csv:2 "99.99.9999"'
    )
    assert wanted in " ".join(done.output.split())
    message = CliRunner().invoke(main, ["--business", str(shop.folder), "status"]).output
    assert "most rows of orders are quarantined" in " ".join(message.split())


def test_a_business_named_after_the_command_says_where_it_belongs(shop: Shop) -> None:
    done = CliRunner().invoke(main, ["run", "--business", str(shop.folder)])
    assert "--business comes before the command" in done.stderr


def test_training_before_the_initial_load_says_what_comes_first(shop: Shop) -> None:
    shop.land_quiet_days(1, 7)
    assert "`churn run" in stumble(shop.folder, "train")
    assert "`churn run" in stumble(shop.folder, "score")
    assert "`churn run" in stumble(shop.folder, "status")


def test_a_port_that_is_taken_is_named_with_another(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = stumble(shop.folder, "ui", "--port", str(port))
    assert message == f"churn: port {port} is taken; choose another: churn ui --port {port + 1}"


def test_status_and_export_work_while_another_program_holds_the_warehouse(
    shop: Shop, tmp_path: Path
) -> None:
    shop.land_quiet_days(1, 5)
    shop.refresh(5)
    with duckdb.connect(str(shop.business.state / "warehouse.duckdb")):
        run = CliRunner().invoke(
            main, ["--business", str(shop.folder), "export", "--out", str(tmp_path / "c.csv")]
        )
        assert run.exit_code == 0, run.output
        assert CliRunner().invoke(main, ["--business", str(shop.folder), "status"]).exit_code == 0


def test_a_place_that_cannot_be_written_is_named_with_the_setting(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (
        tmp_path / "file" / "data",
        Path("/sys/churn"),
    ):  # not even root may write the second
        monkeypatch.setenv("CHURN_DATA", str(place))
        message = stumble(shop.folder, "run")
        assert message.startswith("churn: cannot write there: ")
        assert message.endswith("CHURN_DATA names another folder for all that is made")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_room(
    shop: Shop, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.change("business.yaml", "${CHURN_DATA}/landing", str(shop.landing))
    shop.land_quiet_days(1, 20)
    monkeypatch.setenv("CHURN_DATA", str(small_disk))
    command = [sys.executable, "-m", "churn_orchestration.cli", "--business", str(shop.folder)]
    command += ["run", "--to", "2024-01-06"]
    first = subprocess.run(command, capture_output=True, text=True)
    message = first.stderr.splitlines()[-1]
    assert first.returncode == 1
    assert message.startswith("churn: the disk is full")
    assert message.endswith("free some space, then give the same command again")
    subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert shop.published("select count(*) from gold.customer_features") == [(2,)]


def make(folder: Path, **variables: str) -> str:
    """What `make demo` tells where it cannot begin."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    settings = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "--no-print-directory", "demo", *settings],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode
    return done.stdout


def test_a_python_that_is_too_old_is_named_with_its_version_and_the_remedy(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    message = make(tmp_path, PYTHON=str(old))
    assert message == (
        f"Python 3.11 or 3.12 is needed, {old} is Python 3.9.2: make PYTHON=/path/to/python3.11\n"
    )


def test_a_second_make_does_not_touch_the_environment_that_the_first_one_fills(
    tmp_path: Path,
) -> None:
    (tmp_path / ".venv.making").mkdir()
    assert "another make is filling .venv: wait for it" in make(tmp_path)
    assert not (tmp_path / ".venv").exists()


def test_the_demo_is_no_business_of_another_folder(shop: Shop) -> None:
    assert "call it without --business" in stumble(shop.folder, "demo")


def test_a_command_may_be_given_from_any_folder(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    shop.land_quiet_days(1, 5)
    monkeypatch.chdir(elsewhere)
    folder = os.path.relpath(shop.folder, elsewhere)
    done = CliRunner().invoke(main, ["--business", folder, "run", "--to", "2024-01-05"])
    assert done.exit_code == 0, done.output
    assert list(elsewhere.iterdir()) == []


MEGABYTE, LARGE = "x" * 1_000_000, "is larger than 1,000,000 bytes"
KEY = "  key: [order_id]"
COMPONENT = "churn_orchestration.components.SourceTable"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("raw/defs.yaml", "name: orders", "name: \"{{ env('HOME') }}\"",
         ":3: `{{` opens a template"),
        ("raw/defs.yaml", KEY, '  key: ["\\x7b% raw %}"]', ":11: `{%` opens a template"),
        ("raw/defs.yaml", COMPONENT, "dagster.DefsFolderComponent",
         "raw/defs.yaml:1: type: no component dagster.DefsFolderComponent; there are: "
         "churn_orchestration"),
        ("raw/defs.yaml", "attributes:", "template_vars_module: os\nattributes:",
         "raw/defs.yaml:2: template_vars_module: no such setting; a component has a type and "
         "attributes"),
        ("raw/defs.yaml", f"type: {COMPONENT}", "type: [a]",
         "raw/defs.yaml:1: wanted a component, `type:`"),
        ("raw/defs.yaml", 'files: "orders_{day}.csv"',
         "query: {url_variable: CHURN_PII_KEY, sql: select 1}",
         "url_variable: CHURN_PII_KEY is the key of hashes, and no address"),
        ("raw/defs.yaml", KEY, "  key: &k [*k]", "raw/defs.yaml:11: *k names no anchor"),
        ("raw/defs.yaml", KEY, f"  key: {'[' * 60}{']' * 60}", "raw/defs.yaml:11: more than"),
        ("raw/defs.yaml", KEY, f"# {MEGABYTE}\n{KEY}", f"raw/defs.yaml {LARGE}"),
        ("business.yaml", "name: shop", f"name: shop\n# {MEGABYTE}", f"business.yaml {LARGE}"),
        ("silver/orders.sql", "-- One row", f"-- {MEGABYTE}\n-- One row",
         f"silver/orders.sql {LARGE}"),
    ],
)  # fmt: skip
def test_yaml_is_data_of_a_bounded_size(
    shop: Shop, name: str, old: str, new: str, message: str
) -> None:
    shop.change(name, old, new)
    assert message in stumble(shop.folder, "run")


@pytest.mark.parametrize("name", ["business.yaml", "raw/defs.yaml"])
def test_aliases_that_stand_for_billions_of_values_are_refused_at_once(
    shop: Shop, name: str
) -> None:
    nine = {n: ", ".join([f"*a{n - 1}"] * 9) for n in range(1, 12)}
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{held}]\n" for n, held in nine.items())
    shop.write(name, (shop.folder / name).read_text() + bomb)
    assert f"{name}:" in (said := stumble(shop.folder, "run"))
    assert "more than 50,000 values, aliases written out" in said


def test_an_anchor_may_be_used_again(shop: Shop) -> None:
    shop.change(
        "gold/defs.yaml", "windows: [3, 7]\n  trends: [3]", "windows: &w [3, 7]\n  trends: *w"
    )
    table = component_tree(shop.business).get_all_components(of_type=FeatureTable)[0]
    assert (table.windows, table.trends) == ([3, 7], [3, 7])


@pytest.mark.parametrize("name", ["make.py", "raw/code.py", "files/code.py", "files/defs.yaml"])
def test_what_dagster_would_run_is_named_and_not_run(
    shop: Shop, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.change("business.yaml", "${CHURN_DATA}/landing", "files")
    shop.write(name, "print('it ran')")
    said = stumble(shop.folder, "run")
    assert said.startswith(
        f"churn: {shop.folder / name}: a business is YAML and SQL, and Dagster would load"
    )
    assert "it ran" not in "".join(capfd.readouterr())


def test_a_comment_in_a_condition_says_what_it_hides(shop: Shop) -> None:
    shop.change("raw/defs.yaml", "amount_usd > 0", "amount_usd > 0 -- no refunds")
    assert stumble(shop.folder, "run").endswith(
        "raw/defs.yaml:1: orders: rule positive_amount: not valid SQL: amount_usd > 0 -- no "
        "refunds (its comment hides what comes after it; comments of YAML begin with #)"
    )


def test_a_condition_may_read_a_column_that_is_called_like_a_command(shop: Shop) -> None:
    shop.change("raw/defs.yaml", "name: amount_usd,", "name: copy,")
    shop.change("raw/defs.yaml", "amount_usd > 0", "copy > 0")
    assert shop.source()[1].where == (("positive_amount", "copy > 0"),)


def test_what_files_are_called_does_not_operate_the_terminal(shop: Shop) -> None:
    shop.change("business.yaml", "${CHURN_DATA}/landing", '"a\\x1b]0;owned\\x07"')
    message = stumble(shop.folder, "run")
    assert r"a\x1b]0;owned\x07" in message
    assert not {"\x1b", "\x07"} & {*message}


def test_a_state_folder_is_its_owners_and_dagster_reads_its_settings_wherever_that_lies(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "a[1]*"
    monkeypatch.setenv("CHURN_DATA", str(data))
    shop.business.state.mkdir(parents=True, mode=0o755)
    with at_work(shop.business) as work:
        assert not work.instance.telemetry_enabled
        assert work.instance.get_concurrency_config().pool_config.default_pool_limit == 1
    assert (data / "shop" / "dagster" / "history").is_dir()
    assert shop.business.state.stat().st_mode & 0o777 == 0o700
