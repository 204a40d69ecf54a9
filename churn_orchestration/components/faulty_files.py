"""Mistakes in a business's files, reported by file and line before Dagster's loader meets them."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from churn_orchestration import components
from churn_orchestration.business import (
    SETTINGS,
    Business,
    BusinessError,
    bounded_text,
    yaml_documents,
)

BLOCKS = "defs.yaml"
_TEMPLATE = re.compile(r"{[{%#]")  # of Jinja, which Dagster's loader applies to every text
_VARIANT = re.compile(r"\.?((tuple|list|dict|nullable)\[[^\]]*\]|constrained-\w+|\w+Model\b)")
"""What pydantic adds to the way to a key: of which type the value was wanted."""
_LOADING = re.compile(r"Error while loading component (\S+?)\[(\d+)\]")


def refuse_faulty_files(business: Business) -> None:
    """Raise BusinessError for YAML that does not parse, says a thing twice, or names no component
    of ours.

    Also for YAML and SQL that Dagster's loader would pass over in silence, and for code that it
    would run.
    """
    if code := min(business.foreign_files(), default=None):
        raise BusinessError(
            f"{code}: a business is YAML and SQL, and Dagster would load this with every command: "
            f"move it out of {business.folder}"
        )
    result = sorted(business.files())
    blocks = {path.parent for path in result if path.name == BLOCKS}
    named: dict[tuple[str, str], str] = {}
    for path in result:
        bounded_text(path)
        if path.suffix == ".sql":
            _refuse_lonely_sql(path, blocks)
            continue
        documents = yaml_documents(path)
        for node in documents:
            _refuse_twice(path, node)
            _refuse_templates(path, node)
        if path == business.folder / SETTINGS:
            continue
        _refuse_unread(path, blocks)
        if not documents:
            raise BusinessError(
                f"{path}: holds nothing; wanted a component such as "
                "`type: churn_orchestration.components.SourceTable`, or take the file away"
            )
        for node in documents:
            _refuse_component(path, node, named)


def _refuse_unread(path: Path, blocks: set[Path]) -> None:
    if path.name != BLOCKS:
        raise BusinessError(
            f"{path} would never be read: call it {BLOCKS} (in a folder of its own), or take it "
            "away"
        )
    if outer := next((parent for parent in path.parent.parents if parent in blocks), None):
        raise BusinessError(
            f"{path} would never be read, for {outer / BLOCKS} lies above it: move its blocks "
            "there, after a line ---, or move either file into a folder of its own"
        )


def _refuse_lonely_sql(path: Path, blocks: set[Path]) -> None:
    if path.parent not in blocks:
        raise BusinessError(
            f"{path} would never be read: its folder has no {BLOCKS} of the type "
            f"{components.__name__}.SqlTables"
        )


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    yield node
    if isinstance(node, yaml.CollectionNode):
        for part in node.value:
            for each in part if isinstance(part, tuple) else (part,):
                yield from _nodes(each)


def _mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    return (each for each in _nodes(node) if isinstance(each, yaml.MappingNode))


def _refuse_twice(path: Path, node: yaml.Node) -> None:
    for mapping in _mappings(node):
        seen: dict[str, int] = {}
        for key, _ in mapping.value:
            line = key.start_mark.line + 1
            if str(key.value) in seen:
                first = seen[str(key.value)]
                raise BusinessError(
                    f"{path}:{line}: {key.value} is given twice, first in line {first}"
                )
            seen[str(key.value)] = line


def _refuse_templates(path: Path, node: yaml.Node) -> None:
    """Dagster would evaluate them: they read the environment and run commands."""
    for each in _nodes(node):
        if isinstance(each, yaml.ScalarNode) and (opening := _TEMPLATE.search(each.value)):
            raise BusinessError(
                f"{path}:{each.start_mark.line + 1}: `{opening[0]}` opens a template, and YAML is "
                f"data here: write the value itself ({SETTINGS} may name environment variables, as "
                f"${{NAME}}, in `landing` and `alerts`)"
            )


def _values(node: yaml.Node) -> dict[str, yaml.Node]:
    return (
        {key.value: value for key, value in node.value}
        if isinstance(node, yaml.MappingNode)
        else {}
    )


def _refuse_component(path: Path, node: yaml.Node, named: dict[tuple[str, str], str]) -> None:
    values = _values(node)
    place = f"{path}:{node.start_mark.line + 1}"
    kind = str(values["type"].value) if isinstance(values.get("type"), yaml.ScalarNode) else ""
    module, _, name = kind.rpartition(".")
    known = ", ".join(f"{components.__name__}.{each}" for each in components.__all__)
    if not kind:
        raise BusinessError(
            f"{place}: wanted a component, `type:` and `attributes:`; types: {known}"
        )
    if module != components.__name__ or name not in components.__all__:
        line = values["type"].start_mark.line + 1
        raise BusinessError(f"{path}:{line}: type: no component {kind}; there are: {known}")
    for key, value in values.items():
        if key not in ("type", "attributes"):
            line = value.start_mark.line + 1
            raise BusinessError(
                f"{path}:{line}: {key}: no such setting; a component has a type and attributes"
            )
    if called := _values(values.get("attributes", node)).get("name"):
        here = f"{path}:{called.start_mark.line + 1}"
        if first := named.get((kind, str(called.value))):
            raise BusinessError(
                f"{here}: a second {name} called {called.value}; the first is in {first}"
            )
        named[kind, str(called.value)] = here
    if name == "FeatureTable":
        _refuse_second_source(path, values, named)


def _refuse_second_source(
    path: Path, values: dict[str, yaml.Node], named: dict[tuple[str, str], str]
) -> None:
    sources = _values(values.get("attributes", yaml.MappingNode("", []))).get("sources")
    for source in sources.value if isinstance(sources, yaml.SequenceNode) else []:
        if called := _values(source).get("name"):
            here = f"{path}:{called.start_mark.line + 1}"
            if first := named.get(("source", str(called.value))):
                raise BusinessError(
                    f"{here}: a second source of features called {called.value}; the first is in "
                    f"{first}; both would make silver.{called.value}_days: give this one another "
                    "name"
                )
            named["source", str(called.value)] = here


def shown(fault: Any, chain: list[str], folder: Path | None) -> str:
    """One fault of pydantic's as a line: file and line where they are clear, the key, what was
    wanted.
    """
    where = ".".join(map(str, fault["loc"]))
    message = fault["msg"].removeprefix("Value error, ")
    message = message.replace("Extra inputs are not permitted", "no such setting")
    if " at " in where:
        key, _, place = where.partition(" at ")
        key = _VARIANT.sub("", key).removeprefix("attributes").strip(".")
        path = Path(place.rpartition(":")[0])
        line = _line(yaml_documents(path), key.rpartition(".")[2], fault["input"])
        place = f"{path}:{line}" if line else place
        return f"{place}: {key}: {message}" if key else f"{place}: {message}"
    place = _place(fault, chain, folder)
    return f"{place}{where}: {message}" if where else f"{place}{message}"


def _place(fault: Any, chain: list[str], folder: Path | None) -> str:
    """``file:line: `` of the component that was being loaded, by its key and its value."""
    loading = next((result for text in chain if (result := _LOADING.search(text))), None)
    if loading is None or folder is None:
        return ""
    path = folder / loading[1] / BLOCKS
    document = yaml_documents(path)[int(loading[2])]
    key = str(fault["loc"][-1]) if fault["loc"] else ""
    line = _line([document], key, fault["input"])
    return f"{path}:{line or document.start_mark.line + 1}: "


def _line(documents: Iterable[yaml.Node], key: str, given: Any) -> int | None:
    """The line of the first value of a key that is what was given, or is no scalar."""
    written = (str(given), f"{given:g}") if isinstance(given, float) else (str(given),)
    for mapping in (each for document in documents for each in _mappings(document)):
        value = _values(mapping).get(key)
        if value is not None and (not isinstance(value, yaml.ScalarNode) or value.value in written):
            return value.start_mark.line + 1
    return None
