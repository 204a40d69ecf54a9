"""docs/reference/ lists the YAML and the commands as the code declares them; `make reference`
writes it.
"""

import os
import re
import types
import typing
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from churn_orchestration.business import PACKAGE, Settings
from churn_orchestration.cli import main
from churn_orchestration.components import (
    Axes,
    Campaign,
    ChurnModel,
    FeatureTable,
    Offers,
    Recommendations,
    Segments,
    SourceTable,
    SqlTables,
    ValueModel,
)

FOLDER = PACKAGE.parent / "docs" / "reference"
BLOCKS = {
    "business.md": (
        Settings,
        "business.yaml",
        "The settings of a business, in the file `business.yaml` of its folder.",
    ),
    "source-table.md": (
        SourceTable,
        "SourceTable",
        "[Add a source](../how-to/source.md) has examples.",
    ),
    "sql-tables.md": (SqlTables, "SqlTables", "[Add a table](../how-to/table.md) has examples."),
    "feature-table.md": (
        FeatureTable,
        "FeatureTable",
        "[Add a feature](../how-to/feature.md) has examples.",
    ),
    "churn-model.md": (
        ChurnModel,
        "ChurnModel",
        "[Add a question](../how-to/question.md) has examples.",
    ),
    "value-model.md": (
        ValueModel,
        "ValueModel",
        "[Forecast value](../how-to/value.md) has an example.",
    ),
    "recommendations.md": (
        Recommendations,
        "Recommendations",
        "[Read the week](../how-to/digest.md) has an example.",
    ),
    "campaign.md": (
        Campaign,
        "Campaign",
        "[Act on Monday](../how-to/campaign.md) has an example.",
    ),
    "offers.md": (Offers, "Offers", "[Offer products](../how-to/offers.md) has an example."),
    "axes.md": (
        Axes,
        "Axes",
        "[Clusters](../how-to/segments.md#clusters) has an example.",
    ),
    "segments.md": (Segments, "Segments", "[Add segments](../how-to/segments.md) has examples."),
}
WIDTH = 100  # columns of the terminal that the help is written for
MADE = "Written by `make reference` from {}; not edited by hand."


def block_page(block: type[BaseModel], title: str, opening: str) -> str:
    """The fields of a block and of every block within it, as Markdown."""
    of = f"`{block.__name__}`" if block is not Settings else "the settings' own declaration"
    parts = [f"# {title}", opening]
    if block is not Settings:
        parts += [f"```yaml\ntype: churn_orchestration.components.{title}\nattributes:\n  ...\n```"]
    headings = _headings(block)
    for each, heading in headings.items():
        if heading:
            parts.append(f"## {heading}")
        parts += [_sentence(each), _fields(each, headings)]
    return "\n\n".join([*parts, MADE.format(of)]) + "\n"


def _headings(block: type[BaseModel]) -> dict[type[BaseModel], str]:
    """A block and every block within it, by its heading: the field that holds it, and of which
    block where another one has a field of that name.
    """
    waiting, headings = [(block, "", "")], dict[type[BaseModel], str]()
    while waiting:
        each, field, parent = waiting.pop(0)
        if each in headings:
            continue
        headings[each] = f"{field} of {parent}" if field in headings.values() else field
        waiting += [
            (inner, name, field)
            for name, info in each.model_fields.items()
            for inner in _blocks_in(info.annotation)
        ]
    return headings


def _sentence(block: type[BaseModel]) -> str:
    return _cell(block.__doc__ or "")


def _fields(block: type[BaseModel], headings: dict[type[BaseModel], str]) -> str:
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, info in block.model_fields.items():
        assert info.description, f"{block.__name__}.{name} has no description"
        default = (
            "required"
            if info.is_required()
            else _default(info.get_default(call_default_factory=True))
        )
        of = [
            f"[{name}](#{headings[held].replace(' ', '-')})" for held in _blocks_in(info.annotation)
        ]
        kind = _type_words(info.annotation, of[0] if of else "")
        cells = [f"`{info.alias or name}`", kind, default, _limits(info) + _cell(info.description)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _limits(info: Any) -> str:
    signs = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}
    limits = [
        signs[sign].format(getattr(each, sign))
        for each in info.metadata
        for sign in signs
        if getattr(each, sign, None) is not None
    ]
    return f"({', '.join(limits)}) " if limits else ""


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "-"
    if isinstance(value, BaseModel):
        return "its own defaults"
    shown = str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")
    return f"`{shown}`" if shown else "-"


def _blocks_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [block for inner in typing.get_args(annotation) for block in _blocks_in(inner)]


def _type_words(annotation: Any, block: str) -> str:
    """A type as a reader of YAML says it; ``block`` names the block it holds."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_words(each, block) for each in inner if each is not type(None))
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is list:
        return f"list of {_type_words(inner[0], block)}"
    if origin is dict:
        return f"map of {_type_words(inner[0], block)} to {_type_words(inner[1], block)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return block
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "Any": "any",
    }
    return words.get(annotation.__name__, annotation.__name__)


def cli_page() -> str:
    """Every command with its arguments and options, as Markdown."""
    context = click.Context(main, info_name="churn", terminal_width=WIDTH, **main.context_settings)
    main._help_option = None  # click keeps the option of the first context, whatever its names
    parts = [
        "# Commands",
        "Every command exits with 0 only if its work is done. Those with `--json` print one JSON "
        "object.",
        "```text\n" + _flat(main.get_help(context)) + "\n```",
    ]
    for name in main.list_commands(context):
        command = main.commands[name]
        with click.Context(command, info_name=name, parent=context, terminal_width=WIDTH) as inner:
            usage = command.get_usage(inner).removeprefix("Usage: ")
            rows = [row for p in command.params if (row := p.get_help_record(inner)) is not None]
        parts += [
            f"## churn {name}",
            f"```text\n{' '.join(usage.split())}\n```",
            _paragraphs(command.help or ""),
        ]
        options = ["| option | meaning |", "|---|---|"]
        options += [f"| `{option}` | {_cell(message)} |" for option, message in rows]
        parts.append("\n".join(options))
    parts.append(MADE.format("the commands themselves"))
    return "\n\n".join(parts) + "\n"


def _flat(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def _cell(text: str) -> str:
    """A text on one line of Markdown, in which ``<question>`` is no HTML."""
    plain = re.sub(r"\s+", " ", text).strip().replace("<", "&lt;").replace("|", r"\|")
    return plain or "-"


def _paragraphs(text: str) -> str:
    return "\n\n".join(_cell(part) for part in text.split("\n\n"))


PAGES = [(name, lambda given=given: block_page(*given)) for name, given in BLOCKS.items()]
PAGES.append(("cli.md", cli_page))


@pytest.mark.parametrize(("name", "made"), PAGES, ids=[name for name, _ in PAGES])
def test_the_reference_is_that_of_the_code(name: str, made: typing.Callable[[], str]) -> None:
    path: Path = FOLDER / name
    if os.environ.get("WRITE_REFERENCE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(made(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == made(), (
        f"{path.name} is stale: `make reference` writes it"
    )
