"""Every bad input, tried; docs/bad-input.md is what was seen. `make bad-input` writes it again."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from churn_orchestration.business import PACKAGE
from churn_orchestration.cli import main
from churn_orchestration_tests.support.bad_input import CASES, FILE, MISTAKES, WHOLE, Case, Mistake
from churn_orchestration_tests.support.shop import JAN, Shop

DOC = PACKAGE.parent / "docs" / "bad-input.md"
OPENING = """\
# Bad input, and what becomes of it

You have a bad file in hand: find its row, and do what its third column says in the words that \
`churn run` and
the quarantine show. A file that cannot be trusted is refused by name and its day waits; a row \
that cannot be
trusted goes to `quarantine.<source>` with its file, its line and the rule it broke, and the rest \
of its file
is kept. For every day raw = bronze + quarantine + exact duplicates, or raw waits until its \
day is mended:
nothing is lost without a word.

What a row held is shown by its shape, `A`, `a` and `9` for letters and \
digits; `raw.<source>` has it.

A test tries each of these and writes this page (`make bad-input`). `-`: \
nothing of the file is stored.
"""
TITLES = {
    "files": "Files", "rows": "Rows", "time": "Time", "names": "Names of columns",
    "yaml": "YAML and SQL",
}  # fmt: skip
HEAD = "| bad input | what happens | message | records | raw | bronze | quarantine | duplicates |"


@dataclass
class Seen:
    """What became of a case."""

    refused: list[str]
    quarantined: list[str]
    notes: list[str]
    stored: tuple[int, int, int, int]

    @property
    def message(self) -> list[str]:
        """All that the user is shown."""
        return self.refused + self.notes + self.quarantined

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.refused:
            return "day refused"
        if self.quarantined:
            return "rows quarantined" if self.stored[1] else "quarantined"
        return "accepted"


seen: dict[str, list[str]] = {}


def land(shop: Shop, name: str, case: Case) -> None:
    if case.content is None:
        (shop.landing / name).mkdir()
    else:
        shop.land(name, case.content)


def take_in(shop: Shop, case: Case) -> Seen:
    """Land a case and take it in; what was told and stored."""
    for change in case.change:
        shop.change(*change)
    land(shop, case.file, case)
    start = shop.business.start
    steps = [shop.take_in_days([start])]
    if case.then:
        shop.land(*case.then)
        steps.append(shop.take_in_days([JAN[6]]))
    refused = [str(reason) for landed, _ in steps for reason in landed.refused.values()]
    judged_reasons = [str(r) for _, judged in steps for r in judged.refused.values()]
    refused += [reason for reason in judged_reasons if "raw.orders" not in reason]
    notes = [f"new column: {name}" for _, judged in steps for name in judged.new_columns]
    notes += [judged.doubts["unique_key"] for _, judged in steps if judged.doubts["unique_key"]]
    notes += [landed.beyond for landed, _ in steps if landed.beyond]
    with shop.tables() as tables:
        stored = [
            tables.rows(f"select count(*) from {t}")[0][0] if tables.columns(t) else 0
            for t in ("raw.orders", "bronze.orders", "quarantine.orders")
        ]
        quarantined = []
        if tables.columns("quarantine.orders"):
            quarantined = tables.rows(
                "select _file, _line, rule, detail from quarantine.orders order by 1, 2"
            )
    duplicates = sum(sum(judged.duplicates.values()) for _, judged in steps)
    return Seen(
        [reason.replace(str(shop.landing), "LANDING") for reason in refused],
        [
            f"{file}:{line} {rule}" + (f": {detail}" if detail else "")
            for file, line, rule, detail in quarantined
        ],
        notes,
        (*stored, duplicates),
    )


def code(text: str) -> str:
    """A text as code in a table's cell; of a long one its beginning and its end."""
    short = (
        (text if len(text) < 240 else f"{text[:140]} … {text[-90:]}")
        .replace("|", "\\|")
        .replace("\n", "↵")
    )
    return f"`` {short} ``" if "`" in short else f"`{short}`"


def table_row(case: Case, result: Seen) -> list[str]:
    """The row of a case in the page."""
    message = [code(line) for line in result.message[:2]]
    message += [f"and {len(result.message) - 2} more"] if len(result.message) > 2 else []
    numbers = (
        [str(n) for n in result.stored] if result.stored[0] or not result.refused else ["-"] * 4
    )
    why = f"; {case.why}" if case.why else ""
    return [case.name, result.verdict + why, "<br>".join(message), str(case.records), *numbers]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_is_refused_quarantined_or_read_right_and_every_record_is_counted(shop, case):
    result = take_in(shop, case)
    for words in case.message:
        assert any(words in line for line in result.message), result.message
    assert result.stored == case.stored, result
    raw, bronze, quarantine, duplicates = result.stored
    if not result.refused:
        assert raw == bronze + quarantine + duplicates
        waiting = int(
            next((n.split(" holds ")[1].split()[0] for n in result.notes if " holds " in n), 0)
        )
        assert raw + waiting == case.records
        assert bool(result.quarantined) == (quarantine > 0)
    if case.reads:
        column, values = case.reads
        assert [
            str(v)
            for (v,) in shop.rows(f"select {column} from bronze.orders order by _partition, _line")
        ] == list(values)
    seen[case.name] = table_row(case, result)


@pytest.fixture(scope="module")
def whole_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A $CHURN_DATA with a good file, whose Dagster home the mistakes share: making one takes a
    second.
    """
    folder = tmp_path_factory.mktemp("data")
    (folder / "landing").mkdir()
    (folder / "landing" / FILE).write_text(WHOLE)
    return folder


@pytest.fixture
def home(whole_day: Path, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> None:  # noqa: ARG001
    """The shop's state lies there, as that of a business whose folder moved."""
    (whole_day / "shop" / "business.path").unlink(missing_ok=True)
    monkeypatch.setenv("CHURN_DATA", str(whole_day))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_in_yaml_is_told_by_file_and_line_without_a_traceback(
    shop, capsys, mistake: Mistake
):
    name, old, new = mistake.change
    shop.change(name, old, new) if old else shop.write(name, new)
    message = failing_run(shop, capsys)
    assert mistake.message in message
    seen[mistake.name] = [mistake.name, code(message.splitlines()[-1].removeprefix("churn: "))]


def failing_run(shop: Shop, capsys) -> str:
    """What `churn run` tells of a business that it cannot run to the end."""
    with pytest.raises(SystemExit) as stopped:
        main.main(args=["--business", str(shop.folder), "run", "--to", "2024-01-05"])
    out, message = capsys.readouterr()
    assert stopped.value.code == 1
    assert "Traceback" not in message + out
    return (message + out).replace(f"{shop.folder.parent}{os.sep}", "").strip()


def test_a_refused_file_is_told_by_the_command_with_the_way_on(shop, capsys):
    shop.land("orders_2024-01-05.csv", "order_id;customer_id;ordered_at;amount_usd\n")
    message = failing_run(shop, capsys)
    assert (
        'refused: raw.orders 2024-01-05: orders_2024-01-05.csv: has no column "order_id"' in message
    )
    assert 'declare `delimiter: ";"` next to `files`' in message
    assert "Mend the file, or its declaration in the YAML, and run again" in " ".join(
        message.split()
    )


def page() -> str:
    """The page of what was seen."""
    lines = [OPENING]
    for kind, title in TITLES.items():
        cases = [case.name for case in CASES if case.kind == kind] or [m.name for m in MISTAKES]
        head = "| mistake | what `churn run` tells |" if kind == "yaml" else HEAD
        lines += [f"\n## {title}\n", head, "|" + "---|" * (head.count("|") - 1)]
        lines += [f"| {' | '.join(seen[name])} |" for name in cases]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def test_the_page_says_what_was_seen():
    if any(case.name not in seen for case in (*CASES, *MISTAKES)):
        pytest.skip("the page is compared where the whole file of tests runs, and passes")
    if os.environ.get("WRITE_BAD_INPUT"):
        DOC.write_text(page(), encoding="utf-8")
    assert DOC.read_text(encoding="utf-8") == page(), (
        "docs/bad-input.md is stale: `make bad-input` writes it"
    )
