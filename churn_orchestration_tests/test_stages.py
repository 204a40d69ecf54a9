"""Which code a stored row depends on: what changes its identity, what does not, and what is said of
it.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from churn_orchestration.stages import (
    BRONZE,
    GOLD,
    MODELS,
    PACKAGE,
    RAW,
    ROOTS,
    SILVER,
    WIRING,
    Stages,
    Version,
    identity,
    installed,
    version,
)  # fmt: skip
from churn_orchestration.stages.trees import Code
from churn_orchestration_tests.support.shop import Shop


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The code of the package in a folder of its own, and its record."""
    return shutil.copytree(
        PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__")
    )


def stages_of(package: Path) -> Stages:
    return Stages(Code(package), package / "stages" / "meanings.yaml")


def hashes(package: Path) -> dict[str, str]:
    stages = stages_of(package)
    return {stage: stages.hash(stage) for stage in ROOTS}


def edit(package: Path, module: str, before: str, after: str) -> Path:
    """Change a module of the copied package, by its dotted name below it."""
    path = Code(package).file(f"{package.name}.{module}")
    assert path is not None
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    return path


def commented(text: str) -> str:
    """The same code with a comment before each statement, and other docstrings everywhere."""
    lines, tree = text.splitlines(), ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                lines[first.lineno - 1] = lines[first.lineno - 1].replace(
                    '"""', '"""In other words: ', 1
                )
            elif (
                isinstance(node, ast.FunctionDef)
                and first.lineno > node.lineno
                and not _decorated(first)
            ):
                lines[first.lineno - 1] = (
                    f'{" " * first.col_offset}"""New."""\n{lines[first.lineno - 1]}'
                )
    for statement in tree.body:
        start = statement.lineno - 1
        if not _decorated(statement):
            lines[start] = f"# a comment\n{lines[start]}"
    return "\n".join([*lines, "# the end", ""])


def _decorated(statement: ast.stmt) -> bool:
    return bool(getattr(statement, "decorator_list", ()))


def test_a_comment_or_a_docstring_in_any_file_changes_no_identity(copied: Path) -> None:
    before, changed = hashes(copied), 0
    for path in copied.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(commented(text), encoding="utf-8")
        changed += path.read_text(encoding="utf-8") != text
    assert changed > 100
    assert hashes(copied) == before


def test_a_renamed_and_moved_module_changes_no_identity(copied: Path) -> None:
    before = hashes(copied)
    (copied / "churn" / "papers").mkdir()
    (copied / "churn" / "papers" / "__init__.py").write_text('"""A room of its own."""\n')
    moved = Code(copied).file(_module("contract"))
    assert moved is not None
    moved.rename(copied / "churn" / "papers" / "agreement.py")
    base = _module("contract").rpartition(".")[0]
    for path in copied.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = text.replace(
            f"from {base}.contract import", "from churn_orchestration.churn.papers.agreement import"
        )
        text = re.sub(
            rf"from {base} import contract\b",
            "from churn_orchestration.churn.papers import agreement",
            text,
        )
        path.write_text(text, encoding="utf-8")
    assert "churn_orchestration.churn.papers.agreement" in stages_of(copied).modules(BRONZE)
    assert hashes(copied) == before


def _module(name: str) -> str:
    """The dotted name of the module of churn/ that is called so, wherever it lies."""
    [result] = [m for m in installed().code.modules() if re.search(rf"\.churn\.(.*\.)?{name}$", m)]
    return result


def test_a_changed_parser_is_other_code_of_what_reads_by_it_and_of_nothing_else(
    copied: Path,
) -> None:
    before = hashes(copied)
    edit(copied, _module("contract").partition(".")[2], "NOISE = 1e-15", "NOISE = 1e-14")
    now = hashes(copied)
    assert {stage for stage in ROOTS if now[stage] != before[stage]} == {RAW, BRONZE}
    assert stages_of(copied).unrecorded()[:2] == [RAW, BRONZE]


def test_what_a_function_imports_when_it_runs_is_part_of_its_stage(copied: Path) -> None:
    before = hashes(copied)
    assert _module("signals") not in stages_of(copied).modules(SILVER)
    root = ROOTS[SILVER][0].partition(".")[2]
    module, name = _module("signals").rsplit(".", 1)
    path = edit(copied, root, '"""', '"""')
    path.write_text(
        f"{path.read_text()}\n\ndef later() -> None:\n    from {module} import {name}\n"
    )
    assert _module("signals") in stages_of(copied).modules(SILVER)
    assert hashes(copied)[SILVER] != before[SILVER]


@pytest.mark.parametrize("stage", ROOTS)
def test_a_stage_holds_every_module_of_churn_that_its_modules_name(stage: str) -> None:
    modules = installed().modules(stage)
    for module in modules:
        path = installed().code.file(module)
        assert path is not None
        named = re.findall(
            r"from (churn_orchestration\.churn[.\w]*) import (?:\((.*?)\)|([^\n]*))",
            path.read_text(),
            re.S,
        )
        for base, several, one in named:
            names = re.findall(r"(\w+)(?: as \w+)?", several or one.partition("#")[0])
            own = [f"{base}.{name}" for name in names if installed().code.file(f"{base}.{name}")]
            lacking = set(own or [base]) - set(modules)
            assert not lacking, f"{module} of the stage {stage} imports {lacking}"


def test_every_module_of_churn_landing_and_components_is_of_a_stage_or_decides_no_row() -> None:
    """A new module belongs to a stage where one imports it; else it is named in WIRING, or here."""
    decides_when_to_train = {_module("signals")}
    of_stages = {module for stage in ROOTS for module in installed().modules(stage)}
    named = decides_when_to_train
    for module in installed().code.modules():
        top = module.split(".")[1:2]
        path = installed().code.file(module)
        assert path is not None
        if top in (["churn"], ["landing"], ["components"]) and path.name != "__init__.py":
            wired = any(module == w or module.startswith(f"{w}.") for w in WIRING)
            assert module in of_stages or wired or module in named, module


def test_what_is_named_as_root_or_wiring_is_there() -> None:
    there = installed().code.modules()
    for name in (*WIRING, *(root for roots in ROOTS.values() for root in roots)):
        assert name in there, name


def test_all_code_is_in_the_record() -> None:
    assert installed().unrecorded() == [], "python -m churn_orchestration.stages says what to do"


def test_the_first_meaning_of_models_has_the_name_by_which_version_0_1_0_knew_them() -> None:
    assert installed().meanings[MODELS][0].name == "ea35ef1083ed66f0"
    assert identity(MODELS) == installed().meanings[MODELS][-1].name


FUNCTION = """
import math
from churn_orchestration.metrics import auc


def score(rows: list[int], times: int = 2) -> float:
    if not rows:
        raise ValueError(f"no rows: {rows}")
    return auc(math.fsum(rows), f"{times}{'x'}") * times
"""


def hash_of(tmp_path: Path, text: str) -> str:
    package = tmp_path / "churn_orchestration"
    package.mkdir(exist_ok=True)
    (package / "metrics.py").write_text("def auc(x, y):\n    return x\n")
    (package / "scoring.py").write_text(text)
    return Code(package).hash(["churn_orchestration.scoring"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rows: list[int]", "rows: tuple[int, ...]"),
        ("no rows:", "nothing to score in"),
        (
            "from churn_orchestration.metrics import auc",
            "from churn_orchestration.metrics import auc as area",
        ),
        ("import auc\n", "import auc\nfrom typing import Any\n"),
        ("from churn_orchestration.metrics import auc", "from churn_orchestration import metrics"),
        ("import math\n", ""),
        ("f\"{times}{'x'}\"", "f'{times}{\"x\"}'"),
    ],
)
def test_what_carries_no_meaning_changes_no_hash(tmp_path: Path, before: str, after: str) -> None:
    assert before in FUNCTION
    text = FUNCTION.replace(before, after)
    if "area" in after:
        text = text.replace("return auc(", "return area(")
    if after.endswith("import metrics"):
        text = text.replace("return auc(", "return metrics.auc(")
    if not after:
        text = text.replace("    if not", "    import math\n\n    if not")
    assert hash_of(tmp_path, text) == hash_of(tmp_path, FUNCTION)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("times: int = 2", "times: int = 3"),
        ("if not rows", "if rows"),
        ("ValueError", "TypeError"),
        ("* times", "+ times"),
        ("{'x'}", "{'y'}"),
        ("math.fsum(rows)", "sum(rows)"),
        ("import math", "import cmath as math"),
        ("2)", "2.0)"),
        ("{times}", "{times!r}"),
    ],
)
def test_what_runs_otherwise_has_another_hash(tmp_path: Path, before: str, after: str) -> None:
    assert (
        hash_of(tmp_path, FUNCTION.replace(before, after)) != hash_of(tmp_path, FUNCTION)
        or before not in FUNCTION
    )


def test_a_function_that_moves_within_its_stage_changes_no_hash(tmp_path: Path) -> None:
    package = tmp_path / "churn_orchestration"
    package.mkdir()
    (package / "a.py").write_text("A = 1\n\n\ndef f(x):\n    return x + A\n")
    one = Code(package)
    before = one.hash(one.reached(["churn_orchestration.a"]))
    (package / "b.py").write_text("A = 1\n")
    (package / "a.py").write_text(
        "from churn_orchestration.b import A\n\n\ndef f(x):\n    return x + A\n"
    )
    other = Code(package)
    assert other.hash(other.reached(["churn_orchestration.a"])) == before


def test_the_record_says_why_rows_are_stale(copied: Path) -> None:
    parser = _module("contract").partition(".")[2]
    first = stages_of(copied).identity(BRONZE)
    edit(copied, parser, "NOISE = 1e-15", "NOISE = 1e-14")
    edited = stages_of(copied).identity(BRONZE)
    assert stages_of(copied).why(BRONZE, first) == "the code of bronze was edited"
    stages_of(copied).record_changed(BRONZE, "numbers with noise are read")
    assert stages_of(copied).identity(BRONZE) == edited
    assert (
        stages_of(copied).why(BRONZE, first)
        == "the code of bronze changed: numbers with noise are read"
    )
    stages_of(copied).record_same(RAW, "raw rows are text")
    assert stages_of(copied).identity(RAW) == identity(RAW)
    edit(copied, parser, "NOISE = 1e-14", "NOISE = 1e-13")
    stages_of(copied).record_changed(BRONZE, "more noise is read")
    assert (
        stages_of(copied)
        .why(BRONZE, first)
        .endswith(": numbers with noise are read; more noise is read")
    )
    assert stages_of(copied).why(BRONZE, edited).endswith(" changed: more noise is read")
    assert stages_of(copied).why(BRONZE, "0" * 16) == "it was computed by edited code of bronze"
    edit(copied, parser, "NOISE = 1e-13", "NOISE = 1e-15")
    assert stages_of(copied).identity(BRONZE) == first
    assert "a later version of the package" in stages_of(copied).why(BRONZE, edited)


def test_the_command_records_what_is_the_same_and_what_is_not(copied: Path) -> None:
    edit(copied, _module("contract").partition(".")[2], "NOISE = 1e-15", "NOISE = 1e-14")
    message = command(copied, "-m", "churn_orchestration.stages", expect=1)
    assert "bronze: its code is not in the record" in message
    assert "stages same" in message
    assert "bronze" in command(
        copied, "-m", "churn_orchestration.stages", "changed", BRONZE, "noise is read"
    )
    assert "raw: the same" in command(
        copied, "-m", "churn_orchestration.stages", "same", "raw rows are text"
    )
    assert command(copied, "-m", "churn_orchestration.stages").strip() == ""
    assert stages_of(copied).meanings[BRONZE][-1].why == "noise is read"
    assert stages_of(copied).meanings[GOLD] == installed().meanings[GOLD]


def command(package: Path, *words: str, expect: int = 0) -> str:
    """What the copied package says on the command line."""
    done = subprocess.run(
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": str(package.parent)},
        cwd=package.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_changed_parser_makes_bronze_stale_and_run_and_status_say_so(
    copied: Path, shop: Shop
) -> None:
    shop.land_quiet_days(1, 6)
    churn = (
        "-c",
        "from churn_orchestration.cli import main; main()",
        "--business",
        str(shop.folder),
    )
    command(copied, *churn, "run", "--to", "2024-01-06")
    assert "fresh up to 2024-01-06" in command(copied, *churn, "status")
    edit(copied, _module("contract").partition(".")[2], "NOISE = 1e-15", "NOISE = 1e-14")
    command(
        copied, "-m", "churn_orchestration.stages", "changed", BRONZE, "numbers with noise are read"
    )
    command(copied, "-m", "churn_orchestration.stages", "same", "raw rows are text")
    why = "the code of bronze changed: numbers with noise are read"
    status = command(copied, *churn, "status")
    assert "2 tables computed by code that has changed" in status
    assert why in " ".join(status.split())
    message = command(copied, *churn, "run", "--to", "2024-01-06")
    assert f"bronze.orders, quarantine.orders: 2 days, 2024-01-05 to 2024-01-06: {why}" in message
    assert "fresh up to 2024-01-06" in command(copied, *churn, "status")
    computed = dict(shop.rows("select table_name, max(made) from meta.days group by 1"))
    assert computed["bronze.orders"] > computed["predictions.churn_90d"], (
        "the same rows: nothing else is stale"
    )


def test_a_version_is_read_as_it_was_written() -> None:
    assert Version.parse(version("d41d8cd9", BRONZE)) == Version(
        "d41d8cd9", BRONZE, identity(BRONZE)
    )
