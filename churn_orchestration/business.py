"""A business: the folder of YAML and SQL that describes it, and the folder its state lies in."""

import datetime as dt
import hashlib
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from churn_orchestration.churn.calendar import ClosedDays
from churn_orchestration.churn.declared_text import declared_text

if TYPE_CHECKING:
    import dagster as dg

PACKAGE = Path(__file__).parent
DEMO = PACKAGE / "defs"
SETTINGS = "business.yaml"
FOLDER_NOTE = "business.path"  # in a business's state: the folder that made it
MOST_BYTES, MOST_VALUES, MOST_DEPTH = 1_000_000, 50_000, 50  # of a file of YAML or SQL
LOADED = ("defs.yaml", "defs.yml", "component.yaml")  # wherever Dagster's loader meets one
PII_KEY = "CHURN_PII_KEY"  # the environment variable with the key of hashed columns
NOBODY_MEANS_BEFORE = dt.date(
    1900, 1, 1
)  # 0001-01-01 and 1899-12-30 stand for "no date" in many systems


class BusinessError(Exception):
    """A mistake in a business's files or in how it is used; its message names the place and the
    remedy.
    """


class Settings(BaseModel):
    """What business.yaml may say."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="names the state folder; a-z, 0-9 and _"
    )
    landing: str = Field(description="folder of the landing files; may name environment variables")
    start_date: dt.date = Field(
        description="first partition: all that landed up to it is the initial load"
    )
    end_date: dt.date | None = Field(
        None, description="last partition, for a business whose data end"
    )
    history_from: dt.date | None = Field(
        None, description="first day with data; events before it are refused"
    )
    timezone: str = Field("UTC", description="the zone in which a day begins, an IANA name")
    closed: list[str] = Field([], description="days on which nothing lands")
    owners: list[str] = Field([], description="team:name or an e-mail address, shown in the UI")
    look_back_days: int = Field(
        7,
        gt=0,
        description="how long the daily schedule tries again what was refused or is missing",
    )
    alerts: list[str] = Field(
        [], description="whom to alert, as addresses of Apprise; may name environment variables"
    )
    ui: str = Field(
        "http://127.0.0.1:3000", description="where the Dagster UI is, for the links of alerts"
    )
    memory_limit: str = Field("4GB", description="DuckDB's memory limit")
    threads: int = Field(2, gt=0, description="DuckDB's threads")

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f'"{zone}" is not an IANA time zone such as Europe/London') from error
        return zone

    @field_validator("ui")
    @classmethod
    def _ui_is_an_address(cls, ui: str) -> str:
        if not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/\S*)?", ui):
            raise ValueError(
                f'"{ui}" is no address such as http://127.0.0.1:3000 or https://churn.example'
            )
        return ui

    @field_validator("closed")
    @classmethod
    def _closed_reads(cls, closed: list[str]) -> list[str]:
        ClosedDays.parse(closed)
        return closed

    @model_validator(mode="after")
    def _dates_in_order(self) -> "Settings":
        if self.end_date and self.end_date < self.start_date:
            raise ValueError(f"end_date {self.end_date} lies before start_date {self.start_date}")
        if self.history_from and self.history_from > self.start_date:
            raise ValueError(
                f"history_from {self.history_from} lies after start_date {self.start_date}"
            )
        return self


class Business:
    """One business. ``folder`` holds its YAML and SQL; all it makes goes below ``state``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.settings = read_settings(self.folder / SETTINGS)

    @classmethod
    def current(cls) -> "Business":
        """The business that CHURN_BUSINESS names; the demo where it is not set."""
        return cls(Path(os.environ.get("CHURN_BUSINESS") or DEMO))

    @classmethod
    def holding(cls, path: Path) -> "Business":
        """The business whose folder holds ``path``."""
        for folder in (path, *path.parents):
            if (folder / SETTINGS).is_file():
                return cls(folder)
        raise BusinessError(
            f"{path} lies in no business: none of its parent folders has a {SETTINGS}"
        )

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def state(self) -> Path:
        return data_folder() / self.name

    def refuse_namesake(self) -> None:
        """Raise BusinessError where another folder's business has this name: both would share
        tables.
        """
        note = self.state / FOLDER_NOTE
        before = Path(note.read_text(encoding="utf-8")) if note.exists() else self.folder
        if before == self.folder or not (before / SETTINGS).is_file():
            return  # a folder that moved keeps its tables
        if read_settings(before / SETTINGS).name == self.name:
            raise BusinessError(
                f"{self.folder / SETTINGS}: another business is called {self.name}, that of "
                f"{before}: give this one a name of its own"
            )

    @property
    def start(self) -> dt.date:
        return self.settings.start_date

    @property
    def history_from(self) -> dt.date:
        return self.settings.history_from or self.settings.start_date

    @property
    def earliest_event(self) -> dt.date:
        """No event lies before it: history_from where it is declared, else a day that no file
        means.
        """
        return self.settings.history_from or NOBODY_MEANS_BEFORE

    @cached_property
    def closed(self) -> ClosedDays:
        return ClosedDays.parse(self.settings.closed)

    def files_hash(self) -> str:
        """The hash of its YAML and SQL, wherever its folder lies."""
        files = sorted(self.files())
        names = (str(path.relative_to(self.folder)) for path in files)
        return digest(*names, *(path.read_bytes() for path in files))

    def files(self) -> Iterator[Path]:
        """Its YAML and SQL, in folders that it shares by a link too; not what has landed or is
        hidden.
        """
        for folder, below, names in os.walk(self.folder, followlinks=True):
            below[:] = [
                name
                for name in below
                if name[0] != "." and Path(folder, name) != self.landing_place
            ]
            yield from (
                Path(folder, name) for name in names if name.endswith((".yaml", ".yml", ".sql"))
            )

    @property
    def landing_place(self) -> Path | None:
        """The landing folder; None where an environment variable that it names is not set."""
        try:
            return self.landing
        except BusinessError:
            return None

    @cached_property
    def landing(self) -> Path:
        """The landing folder, environment variables filled in, relative to the business's
        folder.
        """
        remedy = "set it to the folder that holds the landing files (see docs/how-to/own-data.md)"
        text = self.filled(self.settings.landing, "landing", remedy)
        return (self.folder / text).resolve()

    def foreign_files(self) -> Iterator[Path]:
        """What Dagster's loader would take in, too: Python in any folder of it, and YAML that has
        landed.
        """
        own = set(self.files())
        for folder, below, names in os.walk(self.folder, followlinks=True):
            below[:] = [name for name in below if name[0] != "." and name != "__pycache__"]
            result = {
                Path(folder, name) for name in names if name.endswith(".py") or name in LOADED
            }
            yield from (path for path in result - own if path.name[0] != ".")

    def filled(self, text: str, setting: str, remedy: str) -> str:
        """A setting with the environment variables that it names; CHURN_DATA has a default.

        Raises
        ------
        BusinessError : one is not set, or is the key of hashes, which would leave by an address or
            a message
        """
        if f"${{{PII_KEY}}}" in text:
            raise BusinessError(
                f"{self.folder / SETTINGS}: {setting}: no setting may hold {PII_KEY}"
            )
        try:
            variables = {"CHURN_DATA": str(data_folder())} | os.environ
            return re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], text)
        except KeyError as error:
            raise BusinessError(
                f"{self.folder / SETTINGS}: {setting}: the environment variable {error} is not "
                f"set; {remedy}"
            ) from None

    @cached_property
    def days(self) -> "dg.DailyPartitionsDefinition":
        """The daily partitions: from the initial load on, to end_date where there is one."""
        return self._daily(self.start)

    @cached_property
    def cutoffs(self) -> "dg.DailyPartitionsDefinition":
        """The cut-off days a training snapshot may have: any day with data."""
        return self._daily(self.history_from)

    def _daily(self, first: dt.date) -> "dg.DailyPartitionsDefinition":
        import dagster as dg  # here: it takes seconds, and a reader of the door needs none of it

        end = self.settings.end_date
        return dg.DailyPartitionsDefinition(
            start_date=first.isoformat(),
            end_date=(end + dt.timedelta(days=1)).isoformat() if end else None,
            timezone=self.settings.timezone,
        )


def data_folder() -> Path:
    """Where all state goes: $CHURN_DATA, else data/ of the checkout, else data/ of the working
    directory.
    """
    if named := os.environ.get("CHURN_DATA"):
        return Path(named).expanduser().resolve()
    checkout = PACKAGE.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "data"


def read_settings(path: Path) -> Settings:
    """Read and validate a business.yaml. Raises BusinessError naming file, line and remedy."""
    if not path.is_file():
        raise BusinessError(
            f"{path.parent} is no business: it has no {SETTINGS} (see examples/ for one)"
        )
    nodes = yaml_documents(path)
    given = dict(nodes[0].value) if nodes and isinstance(nodes[0], yaml.MappingNode) else None
    if given is None:
        raise BusinessError(f"{path}: wanted settings such as `name: my_shop`, got something else")
    # As text: a date such as 2024-13-05 is then reported with its line, not raised by the YAML
    # reader.
    texts = yaml.load(bounded_text(path), Loader=yaml.BaseLoader)
    empty = {key.value for key, value in given.items() if value.tag == "tag:yaml.org,2002:null"}
    try:
        return Settings(**{name: value for name, value in texts.items() if name not in empty})
    except ValidationError as error:
        raise BusinessError("\n".join(_explain(path, fault) for fault in error.errors())) from None


def yaml_documents(path: Path) -> list[yaml.Node]:
    """The documents of a YAML file as nodes, which know their lines. Raises BusinessError with the
    place.
    """
    try:
        text = bounded_text(path)
        _refuse_unbounded(path, text)
        return [node for node in yaml.compose_all(text) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BusinessError(
            f"{path}:{line}: not valid YAML: {error.problem or error.context}; is the indent "
            "right, and every bracket and quote closed?"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BusinessError(
            f"{path}: not valid YAML in UTF-8: {str(error).splitlines()[0]}"
        ) from None


def bounded_text(path: Path) -> str:
    """What a file of a business says. Raises BusinessError for one that is none, or larger than
    any.
    """
    if not path.is_file():
        raise BusinessError(f"{path} is no file, or a link to none: take it away")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BusinessError(
            f"{path} is larger than {MOST_BYTES:,} bytes; data belong into `landing`"
        )
    return content.decode()


def _refuse_unbounded(path: Path, text: str) -> None:
    """An alias stands for all that its anchor holds, so a few lines can stand for billions of
    values.
    """
    held, within, values = dict[str, int](), list[tuple[str | None, int]](), 0
    for event in yaml.parse(text):
        place = f"{path}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in held:
                raise BusinessError(
                    f"{place}: *{event.anchor} names no anchor that ended before it"
                )
            values += held[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            held |= {anchor: values - before} if anchor else {}
        elif isinstance(event, yaml.NodeEvent):
            values += 1
            if isinstance(event, yaml.CollectionStartEvent):
                within.append((event.anchor, values - 1))
            elif event.anchor:
                held[event.anchor] = 1
        if values > MOST_VALUES or len(within) > MOST_DEPTH:
            raise BusinessError(
                f"{place}: more than {MOST_VALUES:,} values, aliases written out, or nested deeper "
                f"than {MOST_DEPTH}: no business needs that; is this the right file?"
            )


def line_of(path: Path, *names: str) -> str:
    """``file:line`` of the block that is called ``names[-1]``, in that called ``names[-2]``, and so
    on.
    """
    result: list[yaml.Node] = yaml_documents(path)
    line = 1
    for name in names:
        for node in _called(result, name):
            result, line = [node], node.start_mark.line + 1
            break
    return f"{path}:{line}"


def line_of_key(path: Path, *keys: str) -> str:
    """``file:line`` of a key, below those before it."""
    nodes, line = yaml_documents(path), 1
    for key in keys:
        pairs = [
            pair
            for node in nodes
            if isinstance(node, yaml.MappingNode)
            for pair in node.value
            if pair[0].value == key
        ]
        if not pairs:
            break
        nodes, line = [value for _, value in pairs], pairs[0][0].start_mark.line + 1
    return f"{path}:{line}"


def lines_named(business: Business, name: str) -> list[str]:
    """``file:line`` of every block that is called so."""
    files = sorted(path for path in business.files() if path.name == "defs.yaml")
    return [
        f"{path}:{node.start_mark.line + 1}"
        for path in files
        for node in _called(yaml_documents(path), name)
    ]


def _called(nodes: list[yaml.Node], name: str) -> Iterator[yaml.Node]:
    for node in nodes:
        if isinstance(node, yaml.MappingNode):
            if any(key.value == "name" and value.value == name for key, value in node.value):
                yield node
            yield from _called([value for _, value in node.value], name)
        elif isinstance(node, yaml.SequenceNode):
            yield from _called(node.value, name)


def _explain(path: Path, fault: ErrorDetails) -> str:
    key = str(fault["loc"][0]) if fault["loc"] else ""
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next((n for n, text in enumerate(lines, 1) if key and text.startswith(f"{key}:")), 1)
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = f"no such setting (known: {', '.join(Settings.model_fields)})"
    return f"{path}:{line}: {key or 'settings'}: {message}"


def digest(*parts: object) -> str:
    """A short hash that changes when any part's text does; see ``declared_text``."""
    return hashlib.sha256("\x1f".join(map(declared_text, parts)).encode()).hexdigest()[:16]
