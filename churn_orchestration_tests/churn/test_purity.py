"""The pure functions compute: they open no file, start no process and read no clock."""

import ast
from pathlib import Path

import pytest

import churn_orchestration.churn

HERE = Path(churn_orchestration.churn.__file__).parent
MODULES = sorted(HERE.rglob("*.py"))
IMPORTS = {"subprocess", "multiprocessing", "threading", "socket", "tempfile", "shutil", "time"}
CALLS = {
    "open", "Popen", "system", "read_text", "write_text", "read_bytes", "write_bytes",
    "mkdir", "unlink", "read_csv", "read_parquet", "to_csv", "to_parquet", "now", "today", "utcnow",
}  # fmt: skip


def acts(source: str) -> list[str]:
    """What a module's text does beside computing, by line."""
    result = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                result += [
                    f"{node.lineno}: {n.name}" for n in names if n.name.split(".")[0] in IMPORTS
                ]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in IMPORTS:
                result.append(f"{node.lineno}: {module}")
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CALLS:
                result.append(f"{node.lineno}: {name}()")
    return result


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HERE)))
def test_pure_functions_open_no_file_start_no_process_and_read_no_clock(path: Path) -> None:
    assert acts(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source", ["open('x')", "import subprocess", "from time import sleep", "dt.date.today()"]
)
def test_what_acts_is_seen(source: str) -> None:
    assert acts(source)
