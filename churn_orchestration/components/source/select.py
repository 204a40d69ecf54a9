"""A .sql file of one select: its text, what it reads, what its opening comment says."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.rows.user_sql import tables_read_by

NAME = r"^[a-z][a-z0-9_]*$"


@dataclass(frozen=True)
class Select:
    """A .sql file of one select: its text, its tree, the opening comment, the tables that it
    names.
    """

    path: Path
    text: str
    tree: exp.Query
    description: str
    upstream: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, layers: tuple[str, ...] = ("bronze", "silver")) -> "Select":
        """Read and check a .sql file that reads tables of ``layers``.

        Raises
        ------
        BusinessError : with file, line and remedy
        """
        if not re.fullmatch(NAME, path.stem):
            raise BusinessError(f"{path}: the file names its table: name it with a-z, 0-9 and _")
        text = path.read_text(encoding="utf-8")
        try:
            # The layer `values` is a word of SQL to sqlglot, which is given it quoted.
            quoted = re.sub(r"(?i)\bvalues(?=\s*\.)", '"values"', text)
            statements = [tree for tree in sqlglot.parse(quoted, read="duckdb") if tree is not None]
        except sqlglot.errors.ParseError as error:
            first = error.errors[0]
            place = f"{path}:{first['line']}:{first['col']}"
            near = first["highlight"]
            raise BusinessError(
                f'{place}: not valid SQL near "{near}": {first["description"]}'
            ) from None
        except sqlglot.errors.TokenError as error:
            raise BusinessError(f"{path}: not valid SQL: {error}") from None
        if len(statements) != 1 or not isinstance(statements[0], exp.Query):
            raise BusinessError(f"{path}: wanted one select, got {len(statements)} statements")
        tree = statements[0]
        try:
            upstream = tables_read_by(text, str(path), layers)
        except ValueError as error:
            raise BusinessError(str(error)) from None
        if not upstream:
            raise BusinessError(
                f"{path}: reads no table; name upstreams with their layer, such as bronze.orders"
            )
        return cls(path, text.rstrip().rstrip(";"), tree, _opening_comment(text), tuple(upstream))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns; none of a star, which has those of the tables it names."""
        carried = self.tree.named_selects
        return () if "*" in carried else tuple(carried)

    @property
    def below_comment(self) -> str:
        """The text without its opening comment."""
        return "\n".join(
            itertools.dropwhile(lambda line: line.startswith("--"), self.text.lstrip().splitlines())
        )


def _opening_comment(text: str) -> str:
    lines = []
    for line in text.lstrip().splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return "\n".join(lines)
