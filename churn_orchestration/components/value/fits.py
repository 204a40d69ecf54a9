"""What forecasts spend from a month-end on: fitted to what was known at its end, and kept."""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import digest
from churn_orchestration.churn.bound import some_entities
from churn_orchestration.churn.calendar import DAY, last_month_end, month_ends
from churn_orchestration.churn.features.parts import scaled
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.features.seen import visible
from churn_orchestration.churn.process.fitting import NoFit
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.churn.value.forecast import SpendForecast, fit_forecast
from churn_orchestration.churn.value.question import (
    LAST_PERIOD,
    LEARNED,
    OUTCOME,
    PROCESS,
    SPEND,
    SpendQuestion,
)
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.storage.files import kept, literal_parquet, swap_in
from churn_orchestration.storage.layers import PARQUET
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.value.blend import Decision
    from churn_orchestration.churn.value.members import Members

HISTORY_DAYS = 28
"""Of data, that a month-end needs."""
MOST_AS_OFS, MOST_GRADED = 6, 3
"""Month-ends that are learned from, and on which the members are weighed: the newest."""
MOST_KEPT = 12
"""As_ofs whose features stay in memory for the next month-end."""
MOST_LEARNED = 50_000
"""Customers of a month-end that are learned from and weighed on, see ``churn.bound``."""
CHUNKS = 100
"""Of 2,048 customers each, whose features are read at once."""
NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(.*\)|BOOLEAN")
"""Types of features that are learned from, as DuckDB names them."""


class Fits:
    """The fits of a value model, by month-end; each is made once and kept as a file, under the
    version of what it was fitted to.

    Parameters
    ----------
    version : what they depend on besides the rows, a ``stages.Version`` as text
    prove : refuses features of a day that later rows change
    """

    def __init__(
        self,
        tables: Tables,
        question: SpendQuestion,
        version: str,
        prove: Callable[[dt.date], None],
    ) -> None:
        self.tables, self.question, self.version = tables, question, version
        self.process, self.members = cache(self._process), cache(self._members)
        self.decision = cache(self._decision)
        self.forecasts = lru_cache(MOST_GRADED + 1)(self._forecasts)  # whole populations
        self.first_day, self._customers = cache(self._first_day), cache(self._count)
        self._prove = prove
        self._rows = dict[dt.date, tuple[int, "pd.DataFrame"]]()

    def month_end(self, day: dt.date) -> dt.date:
        """The day to which the forecasts of a day are fitted: the last month-end, so that they move
        with the customers and not with the fit; before there is one, the day itself.
        """
        first = self.first_day(day)
        return (last_month_end(first, day) if first else None) or day

    def known(self, day: dt.date) -> list[dt.date]:
        """The month-ends whose outcome is known at the end of a day, with enough data before."""
        first = self.first_day(day)
        if first is None:
            return []
        return month_ends(first + DAY * (HISTORY_DAYS - 1), self.question.horizon.newest_as_of(day))

    def spent(self, name: str, first: dt.date, last: dt.date, known_by: dt.date) -> "pd.DataFrame":
        """What each entity spent over some days, as known at the end of ``known_by``."""
        activity, measure = self.question.activity, self.question.measure
        entity, column = identifier(activity.entity), identifier(measure.column)
        events = visible(activity, known_by, f"{entity} as entity, day, {column}")
        # Whole numbers of the last decimal: sums of floating numbers would differ from run to run.
        return self.tables.db.execute(
            f"select entity as {identifier(self.question.entity)}, "
            f"sum({scaled(measure)})::double / {10**measure.decimals} as {name} from ({events}) "
            f"where day between {literal(first)} and {literal(last)} group by 1 order by 1"
        ).df()

    def came(self, frame: "pd.DataFrame", as_of: dt.date, known_by: dt.date) -> "pd.Series":
        """What was spent since by the entities of a frame of an as_of, in its order."""
        first, last = self.question.horizon.outcome(as_of)
        spent = self.spent(OUTCOME, first, last, known_by).set_index(self.question.entity)[OUTCOME]
        return frame[self.question.entity].map(spent).fillna(0.0)

    def people(self, rows: str, names: list[str]) -> str:
        """SQL: some features of whom a day forecasts, as floats, in the entity's order; ``rows``:
        a table, or a select in brackets.
        """
        entity, bought = identifier(self.question.entity), identifier(self.question.columns[0])
        floats = ", ".join(f"{identifier(name)}::double as {identifier(name)}" for name in names)
        select = f"select {entity}, {floats} from {rows} where {bought} > 0"
        if self.question.observation_days is not None:
            last = identifier(self.question.columns[1])
            select += f" and {last} < {self.question.observation_days}"
        return f"{select} order by {entity}"

    def forecast(
        self,
        rows: str,
        month_end: dt.date,
        yearly_discount: float | None = None,
        *,
        learned: bool = True,
    ) -> "pd.DataFrame":
        """Of each customer of feature rows: the entity, what the process of a month-end forecasts,
        see ``SpendForecast.of``, and if ``learned``, what its members do, where it has any.

        Without rows where no process fits.
        """
        import pandas as pd

        entity, process = self.question.entity, self.process(month_end)
        if isinstance(process, NoFit):
            return pd.DataFrame({entity: [], SPEND: []})
        process = replace(process, yearly_discount=yearly_discount)
        members = self.members(month_end) if learned else None
        names = dict.fromkeys([*self.question.columns, *(members.features if members else [])])

        def expected(part: pd.DataFrame) -> pd.DataFrame:
            by_process = process.of(part)
            learned = [members.forecast(part, by_process)] if members else []
            return pd.concat([part[[entity]], by_process, *learned], axis=1)

        people = self.tables.db.execute(self.people(rows, list(names)))
        parts = [expected(people.fetch_df_chunk(CHUNKS))]
        while len(part := people.fetch_df_chunk(CHUNKS)):
            parts.append(expected(part))
        return pd.concat(parts, ignore_index=True)

    def _forecasts(self, month_end: dt.date) -> "pd.DataFrame":
        """Of everybody of a month-end: what was forecast of them on it, see ``forecast``, and what
        they had spent in as many days before.
        """
        path = self._path(month_end, ".parquet")
        if not path.is_file():
            whole = self.question.features if self.members(month_end) else self.question.bare
            result = self.forecast(f"({features_at(whole, month_end)})", month_end)
            first = month_end - DAY * (self.question.horizon.days(month_end) - 1)
            before = self.spent(LAST_PERIOD, first, month_end, month_end)
            result = result.merge(before, on=self.question.entity, how="left")
            writing = path.with_suffix(".writing")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.tables.db.register("_forecasts", result.fillna({LAST_PERIOD: 0.0}))
            self.tables.db.execute(f"copy _forecasts to {literal(writing)} ({PARQUET})")
            self.tables.db.unregister("_forecasts")
            swap_in(writing, path)
        return self.tables.db.execute(f"from {literal_parquet(path)}").df()

    def _decision(self, month_end: dt.date) -> "Decision | None":
        """Which forecast scores from a month-end on; None: the process, for nothing else was ever
        compared with it.
        """
        from churn_orchestration.churn.value.blend import Decision

        def record() -> dict[str, Any]:
            graded = [day for day in self.known(month_end)[-MOST_GRADED:] if self.members(day)]
            compared = graded and self.members(month_end)
            return self._weigh(month_end, graded) if compared else {}

        stored = kept(self._path(month_end, "-weights.json"), record)
        return Decision.of_record(stored) if stored else None

    def _weigh(self, month_end: dt.date, graded: list[dt.date]) -> dict[str, Any]:
        import pandas as pd

        from churn_orchestration.churn.value.blend import decide

        frames, part = [], self._part(month_end)
        for day in graded:
            rows = self.forecasts(day)
            rows = rows[rows[self.question.entity].isin(part)]
            came = self.came(rows, day, month_end)
            frames.append(rows.assign(**{OUTCOME: came, "as_of": str(day), PROCESS: rows[SPEND]}))
        known = pd.concat(frames, ignore_index=True)
        return decide(
            known[[PROCESS, *LEARNED]], known[OUTCOME].to_numpy(), known[self.question.entity],
            known["as_of"], PROCESS,
        ).record()  # fmt: skip

    def _members(self, month_end: dt.date) -> "Members | None":
        """What is learned from the month-ends whose outcome is known; None: that is too little."""
        as_ofs = self.known(month_end)[-MOST_AS_OFS:]
        if not as_ofs or isinstance(self.process(month_end), NoFit):
            return None
        import skops.io

        from churn_orchestration.churn.value.members import TYPES, Members

        path = self._path(month_end, ".skops")
        if not path.is_file():
            members = self._learn(as_ofs, month_end)
            writing = path.with_suffix(".writing")
            skops.io.dump(members.record() if members else {}, writing)
            swap_in(writing, path)
        record = skops.io.loads(path.read_bytes(), trusted=TYPES)
        return Members.of_record(record) if record else None

    def _learn(self, as_ofs: list[dt.date], known_by: dt.date) -> "Members | None":
        import pandas as pd

        from churn_orchestration.churn.value.members import fit_members

        # One process for all days, the one that scores: a few numbers that many customers gave.
        process, frames, spent = self.process(known_by), [], []
        assert isinstance(process, SpendForecast)
        for day, frame in self._read(as_ofs, known_by).items():
            if len(frame):
                frames.append(frame)
                spent.append(self.came(frame, day, known_by))
        if not frames:
            return None
        rows = pd.concat(frames, ignore_index=True)
        features = [name for name in rows if name != self.question.entity]
        return fit_members(rows, process.of(rows), pd.concat(spent).to_numpy(), features)

    def _read(self, as_ofs: list[dt.date], known_by: dt.date) -> dict[dt.date, "pd.DataFrame"]:
        """By as_of, the features of the part of the customers that is learned from by a day."""
        question, tables = self.question, self.tables
        if not self._rows:
            self._prove(known_by)  # all month-ends are made by the same code
        customers = self._customers(known_by)
        # Rows that were read for a day with fewer customers are of a part that holds this one.
        most = max(customers, MOST_LEARNED)
        usable = [day for day, (by, _) in self._rows.items() if by <= most]
        self._rows = {day: self._rows[day] for day in usable[-MOST_KEPT:]}
        if missing := [day for day in as_ofs if day not in self._rows]:
            folder = tables.state / "fits" / question.name / ".features"
            some = partial(some_entities, rows=customers, most=MOST_LEARNED)
            with features_of(tables, question.features, missing, folder, some) as features:
                described = tables.rows(f"describe from {features(missing[0])}")
                names = [name for name, kind, *_ in described if _is_number(kind, name, question)]
                for day in missing:
                    rows = self.people(features(day), names)
                    self._rows[day] = (customers, tables.db.execute(rows).df())
        part = self._part(known_by)
        frames = {day: self._rows[day][1] for day in as_ofs}
        return {day: frame[frame[question.entity].isin(part)] for day, frame in frames.items()}

    def _part(self, known_by: dt.date) -> "pd.Series":
        """The customers who are learned from and weighed on, of all who are known by a day."""
        some = some_entities("id", self._customers(known_by), MOST_LEARNED)
        everybody = self._everybody(known_by)
        return self.tables.db.execute(f"select id from ({everybody}) where {some}").df()["id"]

    def _count(self, known_by: dt.date) -> int:
        [(customers,)] = self.tables.rows(f"select count(*) from ({self._everybody(known_by)})")
        return int(customers)

    def _everybody(self, known_by: dt.date) -> str:
        activity = self.question.activity
        select = f"select distinct {identifier(activity.entity)} as id from {activity.table}"
        return f"{select} where known_on <= {literal(known_by)}"

    def _process(self, day: dt.date) -> SpendForecast | NoFit:
        """The process, and the spend on a purchase, of everybody who had ever bought by a day."""
        question = self.question

        def record() -> dict[str, Any]:
            rows = question.bought(f"({features_at(question.bare, day)})")
            return fit_forecast(
                self.tables.db.execute(rows).df(), question.activity.name, question.measure.name,
                question.horizon.days(day), question.horizon.gap_days,
            ).record()  # fmt: skip

        stored = kept(self._path(day, ".json"), record)
        return NoFit(stored["reason"]) if "reason" in stored else SpendForecast.of_record(stored)

    def _first_day(self, day: dt.date) -> dt.date | None:
        """The first day of an event that is known at the end of ``day``."""
        table = self.question.activity.table
        [(first,)] = self.tables.rows(
            f"select min(day) from {table} where known_on <= {literal(day)}"
        )
        return first

    def _path(self, day: dt.date, suffix: str) -> Path:
        """Where a fit of a day is kept: under the version of all that it can have read."""
        question = self.question
        read = [question.activity.table, question.activity.days_table, *question.features.tables]
        named = digest(self.version, self.tables.days.newest_version(read, day))
        return self.tables.state / "fits" / question.name / f"{day}-{named}{suffix}"


def _is_number(kind: object, name: str, question: SpendQuestion) -> bool:
    return NUMBER.fullmatch(str(kind)) is not None and name != question.entity
