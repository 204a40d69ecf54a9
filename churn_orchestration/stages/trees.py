"""What Python code means, without what carries no meaning: a hash of the statements of some
modules.

Comments, docstrings, annotations, the words of errors, the order of definitions and the names and
places of modules take no part. The same code gives the same hash on every Python that this package
runs on, which ``ast.dump`` does not.
"""

import ast
import gc
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

_NO_MEANING = {"ctx", "kind", "type_comment", "returns"}
"""Fields of Python's syntax trees that change nothing when the code runs."""


class Code:
    """The Python code of a package.

    Parameters
    ----------
    folder : of the package; its name is the package's
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.package = folder, folder.name
        self._read = cache(self._read_module)

    def reached(self, roots: Iterable[str], beyond: Iterable[str] = ()) -> list[str]:
        """Modules and all that they import of the package, for their types too, in the order of
        their names.

        ``beyond``: modules and packages that are not followed, and are no part of it; by dotted
        names.

        Raises
        ------
        FileNotFoundError : there is no such module
        """
        outside, result, ahead = tuple(beyond), set[str](), list(roots)
        while ahead:
            module = ahead.pop()
            if module not in result and not _is_in(module, outside):
                result.add(module)
                ahead += self._read(module)[0]
        return sorted(result)

    def hash(self, modules: Iterable[str]) -> str:
        """A hash of what modules mean: of the set of their statements, wherever each is."""
        statements = set[str]().union(*(self._read(module)[1] for module in modules))
        return hashlib.sha256("".join(sorted(statements)).encode()).hexdigest()[:16]

    def file(self, module: str) -> Path | None:
        """The file of a module, by its dotted name; None where there is none."""
        stem = self.folder.parent.joinpath(*module.split("."))
        return next(
            (f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file()), None
        )

    def modules(self) -> list[str]:
        """The dotted names of all modules of the package."""
        files = (file.relative_to(self.folder.parent) for file in self.folder.rglob("*.py"))
        return sorted(
            ".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files
        )

    def _read_module(self, module: str) -> tuple[set[str], set[str]]:
        """What a module imports of the package, and the hashes of its statements."""
        file = self.file(module)
        if file is None:
            raise FileNotFoundError(f"there is no module {module} in {self.folder}")
        tree = _parsed(file)
        imports, names = self._imports(tree)
        hashes = set[str]()
        for statement in _meaningful(tree.body):
            written = list[str]()
            _write(statement, names, written)
            hashes.add(hashlib.sha256("\x1f".join(written).encode()).hexdigest())
        return imports, hashes

    def _imports(self, tree: ast.Module) -> tuple[set[str], dict[str, str | None]]:
        """The own modules that a module imports, and what its imported names mean: None, an own
        module.
        """
        imports, names = set[str](), dict[str, str | None]()
        for node in _import_statements(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    own = _is_in(alias.name, (self.package,))
                    imports |= {alias.name} if own else set()
                    names[bound] = None if own else (alias.name if alias.asname else bound)
            elif node.module:
                own = _is_in(node.module, (self.package,))
                for alias in node.names:
                    name, bound = f"{node.module}.{alias.name}", alias.asname or alias.name
                    is_module = own and self.file(name) is not None
                    imports |= {name if is_module else node.module} if own else set()
                    names[bound] = None if is_module else (alias.name if own else name)
        return imports, names


def _import_statements(block: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, in its functions and branches too."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        statements = getattr(block, part, [])
        for statement in statements if isinstance(statements, list) else ():
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                yield statement
            else:
                yield from _import_statements(statement)


def _parsed(file: Path) -> ast.Module:
    """The syntax tree of a file. Python's garbage collector would take as long again, and find
    nothing.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(file.read_text(encoding="utf-8"), file)
    finally:
        if collects:
            gc.enable()


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _meaningful(statements: list[ast.stmt], of_class: bool = False) -> Iterator[ast.stmt]:
    """The statements that do something when they run: no import, no docstring, nothing for types
    alone.
    """
    for statement in statements:
        match statement:
            case (
                ast.Import() | ast.ImportFrom() | ast.Pass()
            ):  # a name says where it is from, see `_write`
                pass
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.AnnAssign(target=target, value=value) if (
                not of_class
            ):  # there, it declares a field
                if value:
                    yield ast.Assign([target], value)
            case _:
                yield statement


def _write(node: Any, names: dict[str, str | None], out: list[str]) -> None:
    """Write a node and all below it as words; ``names``: what the module's imported names mean."""
    match node:
        case ast.Name(id=name):
            out.append(f"name {names.get(name) or name}")
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if names.get(name, "") is None:
            out.append(
                f"name {attribute}"
            )  # `metrics.auc`, as if `auc` had been imported from there
        case ast.Constant(value=value):
            out.append(f"{type(value).__name__} {value!r}")
        case ast.arg(arg=name):
            out.append(f"arg {name}")
        case ast.Raise(exc=ast.Call(func=error)):
            _write(["raise", error], names, out)  # its words decide no number
        case ast.JoinedStr(values=values):
            _write(_joined(values), names, out)
        case ast.AST():
            out.append(type(node).__name__)
            for name in node._fields:
                part = getattr(node, name, None)
                if name not in _NO_MEANING and part is not None and part != []:
                    if isinstance(part, list) and isinstance(part[0], ast.stmt):
                        part = list(_meaningful(part, isinstance(node, ast.ClassDef)))
                    out.append(name)
                    _write(part, names, out)
        case list():
            out.append(str(len(node)))
            for value in node:
                _write(value, names, out)
        case _:
            out.append(repr(node))


def _joined(values: list[ast.expr]) -> list[Any]:
    """The parts of an f-string: Pythons differ in how they cut its text, and in empty pieces of
    it.
    """
    parts: list[Any] = ["f-string", ""]
    for value in values:
        if not isinstance(value, ast.Constant):
            parts += [value, ""]
        else:
            parts[-1] += value.value
    return parts
