"""The command line as a person meets it: separate processes, killed, interrupted, repeated."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from churn_orchestration_tests.support.shop import without

CLI = [sys.executable, "-m", "churn_orchestration.cli"]
TABLES = ("raw.orders", "bronze.orders", "quarantine.orders", "silver.orders")


def churn(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def content(state: Path) -> dict[str, object]:
    """Every table's rows in order and every prediction file's bytes."""
    with duckdb.connect(str(state / "warehouse.duckdb"), read_only=True) as db:
        tables: dict[str, object] = {
            name: db.execute(f"from {name} order by all").fetchall() for name in TABLES
        }
        listed = db.execute(
            "select file from meta.files where table_name ~ '(gold|predictions)[.].*'"
        )
        files = sorted(file for (file,) in listed.fetchall())
    return tables | {file: (state / file).read_bytes() for file in files}


def imported_by(*arguments: str) -> set[str]:
    """The packages that a command imports."""
    command = [sys.executable, "-X", "importtime", *CLI[1:], *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    times = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.split("|")[-1].strip().split(".")[0] for line in times}


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The landing files of a small simulated company, and its business folder on the demo's
    YAML.
    """
    folder = tmp_path_factory.mktemp("a shop with spaces")
    churn("simulate", "calm", "--customers", "300", "--days", "200", "--out", str(folder))
    from churn_orchestration.business import DEMO

    for name, text in without(DEMO, "actions", "values"):
        if "customers" not in name.name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    (folder / "business.yaml").write_text(
        "name: shop\nlanding: landing\n"
        "history_from: 2023-01-01\nstart_date: 2023-07-10\nend_date: 2023-07-19\n"
    )
    silver = folder / "silver/defs.yaml"
    lines = silver.read_text().splitlines(keepends=True)
    silver.write_text("".join(line for line in lines if "customers:" not in line))
    orders_only = (folder / "raw/defs.yaml").read_text().split("---")[0].split("  expectations:")[0]
    (folder / "raw/defs.yaml").write_text(orders_only)
    return folder


RUN = ("run", "--to", "2023-07-13")
IMPORTED = "imported"


@pytest.fixture(scope="module")
def undisturbed(landed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the business after a run that nobody disturbed."""
    data = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHURN_DATA", str(data))
        (data / IMPORTED).write_text(
            "\n".join(sorted(imported_by("--business", str(landed), *RUN)))
        )
    return data


@pytest.mark.parametrize(
    ("stop", "after", "code"),
    [
        pytest.param(signal.SIGKILL, "raw/orders", -signal.SIGKILL, marks=pytest.mark.thorough),
        (signal.SIGKILL, "gold/customer_features", -signal.SIGKILL),
        (signal.SIGINT, "bronze_orders", 130),
    ],
)
def test_a_run_that_was_stopped_is_taken_up_again_and_ends_with_the_same_tables(
    landed: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: signal.Signals,
    after: str,
    code: int,
) -> None:
    monkeypatch.setenv("CHURN_DATA", str(tmp_path))
    command = [*CLI, "--business", str(landed), *RUN]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as victim:
        assert victim.stderr is not None
        for line in victim.stderr:
            if after in line:
                os.kill(victim.pid, stop)
                break
        rest = victim.stderr.read()
    assert victim.returncode == code
    assert "Traceback" not in rest

    churn(
        "--business", str(landed), *RUN
    )  # a slot or a lock that is still held would hang until the timeout
    assert content(tmp_path / "shop") == content(undisturbed / "shop")


def test_a_second_process_on_the_same_business_is_told_who_is_at_work(
    landed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn_orchestration.business import Business
    from churn_orchestration.runs import at_work

    monkeypatch.setenv("CHURN_DATA", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with at_work(Business(landed)):
        message = churn("--business", str(landed), "run", "--to", "2023-07-13", expect=1).stderr
    assert f"process {os.getpid()} is at work" in message
    assert "Traceback" not in message


def test_a_business_goes_from_files_to_an_explained_and_exported_customer(
    landed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_DATA", str(tmp_path))
    business = ["--business", str(landed)]
    ran = json.loads(churn(*business, "run", "--to", "2023-07-12", "--json").stdout)
    assert ran["succeeded"]
    assert (
        ran["rows"]["raw.orders"] >= ran["rows"]["bronze.orders"] + ran["rows"]["quarantine.orders"]
    )

    out = tmp_path / "customers.csv"
    exported = json.loads(
        churn(*business, "export", "--day", "2023-07-12", "--out", str(out), "--json").stdout
    )
    lines = out.read_text(encoding="utf-8-sig").splitlines()
    assert exported["rows"] == len(lines) - 1 > 100
    assert lines[0].startswith("rank,customer_id,churn_probability,band,at_stake,recent_value")

    someone = lines[1].split(",")[1]
    explained = json.loads(churn(*business, "explain", someone, "--json").stdout)
    assert (explained["now"]["model_version"], explained["now"]["rank"]) == ("process", 1)
    assert len(explained["history"]) == 3

    assert "churn_90d: no outcome is known yet" in churn(*business, "watch").stdout
    written = [out, *(tmp_path / "shop").rglob("*")]
    assert not [path for path in written if not path.is_symlink() and path.stat().st_mode & 0o077]
    [first] = json.loads(churn(*business, "top", "--rows", "1", "--json").stdout)["customers"]
    assert (first["rank"], first["customer_id"]) == (1, lines[1].split(",")[1])

    status = json.loads(churn(*business, "status", "--json").stdout)
    assert status["tables"]["predictions.churn_90d"]["days"] == 3
    assert status["refused"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--to", "2023-08-01"), "is none of its days (2023-07-10 to 2023-07-19)"),
        (("train", "--cutoff", "2022-12-31"), "is none of its days (2023-01-01 to 2023-07-19)"),
        (("status",), "nothing is published"),
        (("export", "--day", "2023-07-12", "--out", "x.txt"), "ends in .csv, .xlsx or .parquet"),
        (("backtest", "--as-of", "2023-03-31"), "nothing has been landed yet"),
    ],
)
def test_a_mistake_is_met_with_one_line_that_names_the_remedy(
    landed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("CHURN_DATA", str(tmp_path))
    error = churn("--business", str(landed), *arguments, expect=1).stderr
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["--help", "status", "top"])
def test_who_only_reads_does_not_wait_for_dagster(
    landed: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("CHURN_DATA", str(undisturbed))
    imported = imported_by("--business", str(landed), command)
    assert "click" in imported
    assert not imported & {"dagster", "pandas", "sqlglot", "matplotlib"}


def test_a_day_without_a_model_imports_no_learner_tracker_or_checker(
    undisturbed: Path,
) -> None:
    imported = set((undisturbed / IMPORTED).read_text().split())
    assert {"dagster", "duckdb", "pandas"} <= imported
    heavy = {"sklearn", "lightgbm", "xgboost", "mlflow", "great_expectations", "evidently"}
    assert not imported & heavy


def test_loading_the_definitions_imports_no_learner_tracker_or_checker() -> None:
    heavy = [
        "sklearn",
        "lightgbm",
        "xgboost",
        "mlflow",
        "great_expectations",
        "evidently",
        "pandas",
        "sqlalchemy",
    ]
    code = (
        "import sys, churn_orchestration.definitions as d; d.defs();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
