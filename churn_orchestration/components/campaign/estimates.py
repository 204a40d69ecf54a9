"""What a campaign has learned of its effects by a month-end, kept as text; and what that says of
the customers of a day.
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError, digest
from churn_orchestration.churn.bound import some_entities
from churn_orchestration.churn.calendar import DAY, last_month_end
from churn_orchestration.churn.campaign.declared import Campaign
from churn_orchestration.churn.campaign.rows import WORTH
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.campaign.effects import left
from churn_orchestration.components.question.day_rows import Columns
from churn_orchestration.storage.door import rows_of
from churn_orchestration.storage.files import write_text
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from churn_orchestration.churn.campaign.uplift import Trial, Uplift

MOST_LEARNED = 200_000
"""Customers of a trial that are learned from, see ``churn.bound``."""
CHUNKS = 100
"""Of 2,048 customers each, whose features are read at once."""
TINY = 1e-6
"""A churn probability below it counts as so much where an effect is a share of it."""
NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(.*\)|BOOLEAN")
"""Types of features that are learned from, as DuckDB names them."""
FORECAST = ("churn_probability", WORTH)
"""What was forecast of a customer, which is learned from too."""
RECORD = "record.json"
COLUMNS: Columns = {
    "action": ("text", "the action whose effect it is, on those for whom it is the best one"),
    "cutoff": ("date", "the month-end by whose end all was known that was learned from"),
    "version": ("text", "hash of declaration, code and the files of the rows learned from"),
    "verdict": (
        "text",
        "learned: lists use it; abstains: the interval of qini includes a random order, or the "
        "order by churn probability is better beyond chance; too_few: outcomes",
    ),
    "treated": ("bigint", "customers of the treated arm whose outcome is known"),
    "control": ("bigint", "customers of the control whose outcome is known"),
    "look": (
        "bigint",
        "the number of the month-end, of those with enough outcomes and a new one; 0: too few",
    ),
    "effect": ("double", "by how much less of the treated leave, on the mean of both arms"),
    "qini": (
        "double",
        "how much more is had by treating the customers in the order of the estimate than in a "
        "random one: the area between both, in customers kept, per customer of the trial",
    ),
    "qini_low": (
        "double",
        "lower end of its interval; those of all month-ends and actions hold at once in 95 %",
    ),
    "qini_high": ("double", "its upper end"),
    "auuc": ("double", "the area under the curve of the order itself"),
    "lead": ("double", "by how much qini is larger than that of the order by churn probability"),
    "lead_low": ("double", "lower end of its 95 % interval"),
    "lead_high": ("double", "its upper end"),
    "slope": (
        "double",
        "by how much differences between estimates are stretched, as they held on customers who "
        "were not learned from",
    ),
    "record_sha256": ("text", "of the record, which has that of every model file"),
    MEASURED_ON: ("date", "the day whose list this is for"),
}  # fmt: skip
ORDER = "action"


class Estimates:
    """What is learned at each month-end from what is known at its end, by action; made once and
    kept under the version of what it was learned from.

    Parameters
    ----------
    features : the table whose rows of the day on whose list a customer entered are learned from
    version : what it depends on besides the rows, a ``stages.Version`` as text
    prove : refuses features of a day that later rows change
    """

    def __init__(
        self,
        tables: Tables,
        campaign: Campaign,
        features: str,
        version: str,
        prove: Callable[[dt.date], None],
    ) -> None:
        self.tables, self.campaign, self.features = tables, campaign, features
        self.version, self._prove = version, prove
        self._folder = cache(self._named)
        self._record, self._learned = cache(self._kept), cache(self._read)

    def cutoff(self, day: dt.date) -> dt.date | None:
        """The month-end by whose end all was known that the list of a day may use; None: before the
        first one with a list there is none.
        """
        first = self.tables.first_file_day(self.campaign.table)
        return last_month_end(first, day, least=1) if first and first <= day else None

    def effects(self, frame: "pd.DataFrame", day: dt.date) -> "dict[str, tuple[str, np.ndarray]]":
        """By action whose effect is learned: the version, and the share of would-be leavers that it
        keeps of each customer of a day's frame, with the ends of its interval; 3 x n.
        """
        import numpy as np

        cutoff = self.cutoff(day)
        learned = self._learned(cutoff) if cutoff else {}
        if not learned or not len(frame):
            return {}
        assert cutoff is not None
        record = self._record(cutoff)
        parts = [
            {name: uplift.effects(part) for name, uplift in learned.items()}
            for part in self._of_day(frame, record["features"], day)
        ]
        at_risk = np.maximum(frame["churn_probability"].to_numpy(), TINY)
        return {
            name: (
                record["version"],
                # Nobody can be kept more often than they would leave.
                np.minimum(np.concatenate([each[name] for each in parts], axis=1) / at_risk, 1),
            )
            for name in learned
        }

    def rows(self, day: dt.date) -> list[dict[str, Any]]:
        """Of each action, what the list of a day may use, as a row of COLUMNS."""
        cutoff = self.cutoff(day)
        if cutoff is None:
            return []
        record = self._record(cutoff)
        sealed = hashlib.sha256(self._text(cutoff).encode()).hexdigest()
        return [
            {
                "action": name, "cutoff": cutoff, "version": record["version"], **said["shown"],
                "record_sha256": sealed, MEASURED_ON: day,
            }
            for name, said in record["actions"].items()
        ]  # fmt: skip

    def _named(self, cutoff: dt.date) -> Path:
        """Where what is learned at a month-end is kept: under the version of all that it read."""
        tables, campaign = self.tables, self.campaign
        lists = tables.day_files(campaign.table, cutoff - DAY)  # of the last nobody's is known
        read = [*lists.values(), *tables.day_files(campaign.grades, cutoff).values()]
        read += [file for day, file in self._features_of(cutoff).items() if day in lists]
        names = [str(file.relative_to(tables.state)) for file in read]
        named = digest(self.version, str(cutoff), *names)
        return tables.state / "fits" / f"{campaign.name}_uplift" / f"{cutoff}-{named}"

    def _features_of(self, until: dt.date) -> dict[dt.date, Path]:
        return self.tables.day_files(self.features, until)

    def _text(self, cutoff: dt.date) -> str:
        return (self._folder(cutoff) / RECORD).read_text(encoding="utf-8")

    def _kept(self, cutoff: dt.date) -> dict[str, Any]:
        """The record of a month-end; where there is none, it is learned and kept."""
        folder = self._folder(cutoff)
        if not (folder / RECORD).is_file():
            record = self._learn(cutoff, folder)
            write_text(folder / RECORD, json.dumps(record, indent=1))
        record = json.loads(self._text(cutoff))
        return dict(record)

    def _learn(self, cutoff: dt.date, folder: Path) -> dict[str, Any]:
        """Learn the effect of each action, write its trees; what is to be kept of it besides."""
        from churn_orchestration.churn.campaign.uplift import LEVEL, learn, looks

        known = left(self.tables, self.campaign, cutoff)
        known = known[known["outcome"].notna()].reset_index(drop=True)
        names = self._numbers(known)
        if len(known):
            self._prove(cutoff)
        actions = dict[str, Any]()
        for action in self.campaign.actions:
            of_action = known[known["best_action"] == action.name].reset_index(drop=True)
            look = looks(
                of_action["treated"].to_numpy(bool), of_action["outcome"].to_numpy(float),
                of_action["matured"].to_numpy("datetime64[D]"),
            )  # fmt: skip
            level = LEVEL / len(self.campaign.actions)
            uplift = learn(self._trial(of_action, names), max(look, 1), level)
            texts = uplift.learners.texts() if uplift.learners else {}
            files = {each: f"{action.name}-{each}.txt" for each in texts}
            for each, text in texts.items():
                write_text(folder / files[each], text)
            actions[action.name] = _record(uplift, look) | {
                "files": {
                    files[each]: hashlib.sha256(text.encode()).hexdigest()
                    for each, text in texts.items()
                }
            }
        return {
            "cutoff": str(cutoff), "version": folder.name[len(f"{cutoff}-") :], "features": names,
            "actions": actions,
        }  # fmt: skip

    def _numbers(self, known: "pd.DataFrame") -> list[str]:
        """The features that are numbers on the last day on which somebody entered."""
        if not len(known):
            return []
        file = self.tables.day_file(self.features, known["as_of"].dt.date.max())
        described = self.tables.rows(f"describe from {literal(file)}")
        return [
            name for name, kind, *_ in described
            if NUMBER.fullmatch(str(kind)) and name != self.campaign.entity
        ]  # fmt: skip

    def _trial(self, known: "pd.DataFrame", names: list[str]) -> "Trial":
        """Customers whose outcome is known, with the features of the day on which they entered."""
        import numpy as np

        from churn_orchestration.churn.campaign.uplift import Trial
        from churn_orchestration.churn.splits import entity_folds

        entity, db = self.campaign.entity, self.tables.db
        key, parts = identifier(entity), [np.empty((0, len(names) + len(FORECAST)), np.float32)]
        some = some_entities(f"{key}::varchar", len(known), MOST_LEARNED)
        db.register("_known", known[[entity]].assign(_place=np.arange(len(known))))
        kept = db.execute(f"select {some} as kept from _known order by _place").df()["kept"]
        db.unregister("_known")
        rows = known[kept.to_numpy(bool)].reset_index(drop=True)
        if days := set(rows["as_of"].dt.date):
            entered = self._features_of(max(days)).items()
            features = rows_of(file for day, file in entered if day in days)
            parts += self._joined(rows, names, features, f"using ({key}, as_of)")
        return Trial(
            np.concatenate(parts),
            rows["treated"].to_numpy(bool),
            1.0 - rows["outcome"].to_numpy(float),
            entity_folds(rows[entity]),
            rows["churn_probability"].to_numpy(float),
            self.campaign.control,
        )

    def _of_day(
        self, frame: "pd.DataFrame", names: list[str], day: dt.date
    ) -> "Iterator[np.ndarray]":
        """What was learned from, of the customers of a day's frame, some at a time."""
        file = rows_of([self._features_of(day)[day]])
        there = {name for name, *_ in self.tables.rows(f"describe from {file}")}
        lost = "".join(f", null as {identifier(name)}" for name in names if name not in there)
        yield from self._joined(
            frame,
            names,
            f"(select *{lost} from {file})",
            f"using ({identifier(self.campaign.entity)})",
        )

    def _joined(
        self, frame: "pd.DataFrame", names: list[str], features: str, by: str
    ) -> "Iterator[np.ndarray]":
        """Features and FORECAST of a frame's rows, in its order; NaN is not known."""
        import numpy as np

        keys = ["as_of"] if "as_of" in by else []
        of = frame[[self.campaign.entity, *keys, *FORECAST]].assign(_place=np.arange(len(frame)))
        self.tables.db.register("_of", of)
        columns = [f"f.{identifier(name)}::float" for name in names]
        columns += [f"c.{name}::float" for name in FORECAST]
        read = self.tables.db.execute(
            f"select {', '.join(columns)} from _of as c left join {features} as f {by} "
            "order by _place"
        )
        while len(part := read.fetch_df_chunk(CHUNKS)):
            yield part.to_numpy(np.float32)
        self.tables.db.unregister("_of")

    def _read(self, cutoff: dt.date) -> "dict[str, Uplift]":
        """By action, what was learned at a month-end; without those whose prior stays.

        Raises
        ------
        BusinessError : a model file is gone, or not as it was written
        """
        from churn_orchestration.churn.campaign.uplift import LEARNED, Learners, Scale, Uplift

        folder, result = self._folder(cutoff), {}
        for name, said in self._record(cutoff)["actions"].items():
            if said["shown"]["verdict"] != LEARNED:
                continue
            texts = {
                file.removeprefix(f"{name}-").removesuffix(".txt"): read_sealed(
                    folder / file, sealed
                )
                for file, sealed in said["files"].items()
            }
            result[name] = Uplift(
                LEARNED, said["shown"]["treated"], said["shown"]["control"], {}, (),
                Scale(**said["scale"]), Learners.of_texts(texts, self.campaign.control),
            )  # fmt: skip
        return result


def _record(uplift: "Uplift", look: int) -> dict[str, Any]:
    """What is kept of an action's uplift besides its trees: what is shown of it, and the rest."""
    from churn_orchestration.churn.campaign.uplift import BLEND

    shown: dict[str, Any] = {
        "verdict": uplift.verdict, "treated": uplift.treated, "control": uplift.control,
        "look": look,
    }  # fmt: skip
    if uplift.scale is None:
        return {"shown": shown, "qini": {}, "scale": None}
    best = uplift.qini[BLEND]
    shown |= {"effect": uplift.scale.level, "slope": uplift.scale.slope}
    shown |= {"qini": best.value, "qini_low": best.low, "qini_high": best.high, "auuc": best.auuc}
    shown |= dict(zip(("lead", "lead_low", "lead_high"), uplift.lead, strict=True))
    areas = {name: asdict(each) for name, each in uplift.qini.items()}
    return {"shown": shown, "qini": areas, "scale": asdict(uplift.scale)}


def read_sealed(path: Path, sha256: str) -> str:
    """The text of a model file, by its hash as it was written.

    Raises
    ------
    BusinessError : it is gone, or was changed since
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise BusinessError(
            f"{path}: is gone or not as it was written: remove the folder {path.parent}, and "
            "`churn run` learns it from the same rows again"
        )
    return text
