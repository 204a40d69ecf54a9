"""What a business declares, kept from when it was last loaded: reading it needs no Dagster."""

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel

from churn_orchestration.business import PACKAGE, Business, digest
from churn_orchestration.stages import ROOTS, installed
from churn_orchestration.storage.files import write_text

if TYPE_CHECKING:
    import dagster as dg

FILE = "declared.json"


class Declared(BaseModel):
    """Files of each source that has any, the meaning of each question; ``of``: what they were read
    from.

    ``code``: of each stage, what code is called that computes what the installed one does.
    """

    of: str
    files: dict[str, str]
    meanings: dict[str, str]
    code: dict[str, list[str]]


def declared(business: Business) -> Declared:
    """What the business's files declare now: as it was kept, or loaded where a file has changed
    since.
    """
    path = business.state / FILE
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("of") == _read_from(business):
            return Declared(**kept)
    from churn_orchestration.components.tree import component_tree

    return _loaded(business, component_tree(business))


def save(business: Business, tree: "dg.ComponentTree") -> None:
    """Keep what a loaded business declares."""
    write_text(business.state / FILE, _loaded(business, tree).model_dump_json())


def _loaded(business: Business, tree: "dg.ComponentTree") -> Declared:
    from churn_orchestration.components.question.churn_model import questions_in
    from churn_orchestration.components.source.source_table import SourceTable

    sources = tree.get_all_components(of_type=SourceTable)
    return Declared(
        of=_read_from(business),
        files={source.name: source.files for source in sources if source.files},
        meanings={
            name: settings.question.meaning
            for name, settings in questions_in(tree, business).items()
        },
        code={stage: installed().equivalents(stage) for stage in ROOTS},
    )


def _read_from(business: Business) -> str:
    """A hash of the business's YAML and SQL, and of the code that reads it."""
    files = sorted([*business.files(), *PACKAGE.rglob("*.py")])
    return digest(*(part for path in files for part in (path, path.read_bytes())))
