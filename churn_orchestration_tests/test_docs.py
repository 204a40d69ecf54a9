"""The README and the docs name only what exists: commands, targets, pages, files, fields of the
YAML.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import yaml

from churn_orchestration import components
from churn_orchestration.business import PACKAGE
from churn_orchestration.cli import main

ROOT = PACKAGE.parent
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^]]*]\(([^)\s]+)\)")
PLACE = re.compile(r"`((?:churn_orchestration(?:_tests)?|benchmarks|examples|docs|\.ci)/[\w./]*)`")
ELSEWHERE = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(https?://[^\s\">]+)")


def blocks(*languages: str) -> Iterator[tuple[Path, str]]:
    """The fenced blocks of the pages in one of the languages."""
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                yield page, text


def commands(program: str) -> list[str]:
    """The lines of the pages' shell blocks that call a program."""
    lines = [line.strip() for _, text in blocks("", "bash", "sh") for line in text.splitlines()]
    starts = (f"{program} ", f".venv/bin/{program} ")
    return sorted({line.partition("  #")[0].strip() for line in lines if line.startswith(starts)})


def test_the_readme_is_at_most_nine_kilobytes() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 9_000


def test_every_command_of_churn_has_the_options_that_the_docs_name() -> None:
    refused, called = [], set()
    for line in commands("churn"):
        words = shlex.split(line)[1:]
        name, *rest = words[2:] if words[0] == "--business" else words
        try:
            main.commands[name].make_context(name, rest, parent=click.Context(main))
        except (KeyError, click.ClickException) as error:
            refused.append(f"{line}: {error}")
        called.add(name)
    assert refused == []
    assert {"run", "train", "score", "export", "backtest", "rollback", "waive", "accept"} <= called


def test_every_target_of_make_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(READY)", ".venv/.ready")
    targets = set(re.findall(r"^([\w./-]+):", makefile, re.MULTILINE))
    named = {command.split()[1] for command in commands("make")}
    assert named - targets == set()
    assert {"demo", "ui", "check", "test", "bench"} <= named


def test_every_link_and_picture_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
            path = target.partition("#")[0]
            if path and "://" not in path and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    def pages_in(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        for inner in (
            entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else []
        ):
            yield from pages_in(inner)

    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(pages_in(nav)) == sorted(
        str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")
    )


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. .*?\((0.*?\.md)\)", index, re.MULTILINE)
    assert [page for _, page in listed] == sorted(
        page.name for page in (DOCS / "adr").glob("0*.md")
    )
    assert [int(number) for number, _ in listed] == [int(page[:4]) for _, page in listed]


def test_every_path_in_the_docs_exists() -> None:
    rooms = "|".join(
        path.name for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"
    )
    of_package = re.compile(rf"`((?:{rooms})(?:/[\w./]*)?)`")
    named = []
    for page in PAGES:
        if "adr" in page.parts:  # a decision names what was there on its day
            continue
        text = page.read_text(encoding="utf-8")
        named += [(page, ROOT / path) for path in PLACE.findall(text)]
        if page.name in ("architecture.md", "CONTRIBUTING.md"):
            named += [(page, PACKAGE / path) for path in of_package.findall(text)]
    assert [f"{page.relative_to(ROOT)}: {path}" for page, path in named if not path.exists()] == []
    assert len(named) > 50


def test_every_yaml_block_of_a_component_is_valid() -> None:
    tried = []
    for page, text in blocks("yaml"):
        for block in yaml.safe_load_all(text):
            kind = block.get("type", "") if isinstance(block, dict) else ""
            if kind.startswith(components.__name__) and block["attributes"] != "...":
                getattr(components, kind.rpartition(".")[2]).model_validate(block["attributes"])
                tried.append(page.name)
    assert {"source.md", "table.md", "feature.md", "question.md"} <= set(tried)


def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    build = [str(Path(sys.executable).parent / "zensical"), "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        loaded = ELSEWHERE.findall(page.read_text(encoding="utf-8"))
        assert loaded == [], page.name
