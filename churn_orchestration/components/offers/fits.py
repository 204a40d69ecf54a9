"""What is fitted for offers at each month-end: pairs, a ranker, its probabilities, and which method
is used; kept as files.
"""

import datetime as dt
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import digest
from churn_orchestration.churn.bound import some_entities
from churn_orchestration.churn.calendar import DAY, last_month_end, month_ends
from churn_orchestration.churn.offers.candidates import (
    BOUGHT,
    FACTORS,
    METHODS,
    NEAREST,
    OFFERED,
    OWN,
    PEOPLE,
    RANKER,
    allowed,
    show_candidates,
    show_history,
    show_offered,
)
from churn_orchestration.churn.offers.declared import Offering
from churn_orchestration.churn.offers.grading import Choice, choose, graded, ranked
from churn_orchestration.churn.offers.pairs import count_pairs
from churn_orchestration.churn.sql import literal
from churn_orchestration.storage.files import kept, literal_parquet, swap_in
from churn_orchestration.storage.layers import PARQUET
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.offers.factors import Factors
    from churn_orchestration.churn.offers.ranker import Calibration, Ranker

HISTORY_DAYS = 28
"""Of data, that a month-end needs."""
MOST_AS_OFS = 2
"""Month-ends that a ranker learns from, and on which methods are graded: the newest."""
MOST_LEARNED = 3_000
"""Customers of a month-end that are learned from and graded, see ``churn.bound``."""
PER_ITEM = 50
"""Pairs of an item that are kept."""
PAIRS = "_offers_pairs"


class OfferFits:
    """The fits of a block of offers, by month-end; each is made once and kept as a file, under the
    version of what it was fitted to.

    ``version``: what they depend on besides the rows, a ``stages.Version`` as text.
    """

    def __init__(self, tables: Tables, offering: Offering, version: str) -> None:
        self.tables, self.offering, self.version = tables, offering, version
        self.first_day, self.ranker = cache(self._first_day), cache(self._ranker)
        self.choice, self.calibration = cache(self._choice), cache(self._calibration)
        self._candidates = lru_cache(2 * MOST_AS_OFS + 1)(self._candidates_of)
        self._factors = lru_cache(1)(self._factors_of)

    def month_end(self, day: dt.date) -> dt.date:
        """The day to which the lists of a day are fitted: the last month-end, so that they move
        with the customers and not with the fit; before there is one, the day itself.
        """
        first = self.first_day(day)
        return (last_month_end(first, day) if first else None) or day

    def known(self, day: dt.date) -> list[dt.date]:
        """The newest month-ends whose outcome is known at the end of a day, with enough data
        before.
        """
        first = self.first_day(day)
        if first is None:
            return []
        newest = self.offering.horizon.newest_as_of(day)
        return month_ends(first + DAY * (HISTORY_DAYS - 1), newest)[-MOST_AS_OFS:]

    @property
    def methods(self) -> list[str]:
        """Those that are compared, the simplest first."""
        return [name for name in METHODS if name != FACTORS or self.offering.factors]

    def pairs(self, month_end: dt.date) -> Path:
        """The file of the pairs of a month-end, see ``count_pairs``."""
        path = self._path(month_end, "-pairs.parquet")
        if not path.is_file():
            self.tables.db.execute(
                f"create or replace temp table {BOUGHT} as {self.offering.known(month_end)}"
            )
            self._count(path)
        return path

    def _count(self, path: Path) -> None:
        """Count the pairs of the purchases that are shown, and keep them."""
        offering, db = self.offering, self.tables.db
        # A basket of two entities may hold an item twice.
        db.execute(
            f"create or replace temp table _lines as select distinct basket, item from {BOUGHT}"
        )
        count_pairs(db, "_lines", PAIRS, offering.min_baskets, offering.most_items, PER_ITEM)
        path.parent.mkdir(parents=True, exist_ok=True)
        writing = path.with_suffix(".writing")
        db.execute(f"copy {PAIRS} to {literal(writing)} ({PARQUET})")
        for table in (PAIRS, "_lines"):
            db.execute(f"drop table {table}")
        swap_in(writing, path)

    def show(self, as_of: dt.date, entities: str, pairs: Path, result: str) -> None:
        """Make the table of the candidates of some entities on an as_of, whose history is shown;
        see ``show_candidates``.

        ``entities``: a table of those who have bought; ``pairs``: of the month-end before.
        """
        factors = "_offers_factors" if self.offering.factors else None
        if factors:
            self._score(as_of, entities, factors)
        show_candidates(
            self.tables.db, self.offering, as_of, entities, literal_parquet(pairs), factors, result
        )

    def _factors_of(self, as_of: dt.date) -> "Factors":  # noqa: ARG002, its cache is by day
        """The factorisation of an as_of, whose history is shown."""
        from churn_orchestration.churn.offers.factors import factorise

        own = self.tables.db.execute(
            f"select entity, item, baskets from {OWN} order by entity, item"
        ).df()
        assert self.offering.factors is not None
        return factorise(own, self.offering.factors)

    def _score(self, as_of: dt.date, entities: str, result: str) -> None:
        """Make the table of the best items of some entities by the factorisation of an as_of."""
        db = self.tables.db
        scores = self._factors(as_of).scores(
            db.execute(f"select entity from {entities} order by 1").df()["entity"],
            db.execute(f"select item from {OFFERED} order by 1").df()["item"],
            # What may not be offered again would take the places of what may.
            NEAREST * (1 if self.offering.again_after == 0 else 4),
        )
        db.register("_scores", scores)
        db.execute(f"create or replace temp table {result} as from _scores")
        db.unregister("_scores")

    def _candidates_of(self, as_of: dt.date) -> "pd.DataFrame":
        """The candidates of the part of the customers that is learned from, by what was known on a
        month-end.
        """
        db = self.tables.db
        show_history(db, self.offering, as_of)
        show_offered(db, self.offering, as_of)
        [(people,)] = self.tables.rows(f"select count(*) from {PEOPLE}")
        some = some_entities("entity", people, MOST_LEARNED)
        db.execute(
            f"create or replace temp table _part as select entity from {PEOPLE} where {some}"
        )
        path = self._path(as_of, "-pairs.parquet")
        if not path.is_file():
            self._count(path)
        self.show(as_of, "_part", path, "_candidates")
        result = db.execute("from _candidates order by entity, item").df()
        db.execute("drop table _candidates")
        return result

    def came(self, as_of: dt.date, known_by: dt.date) -> str:
        """SQL: entity and item of what was bought within the horizon of an as_of by those who had
        bought before, and might have been offered, as known at the end of ``known_by``.
        """
        first, last = self.offering.horizon.outcome(as_of)
        before = (
            f"select entity, item, max(day) as last_day from ({self.offering.known(as_of)}) "
            "group by all"
        )
        return (
            f"with before as ({before}) select distinct l.entity as entity, l.item as item "
            f"from ({self.offering.lines(first, last, known_by)}) as l "
            "semi join before using (entity) left join before as b using (entity, item) "
            f"where l.item is not null and {allowed(self.offering, as_of)}"
        )

    def _outcome(self, as_of: dt.date, known_by: dt.date) -> "pd.DataFrame":
        """The candidates of a month-end, and of each whether it ``came``."""
        db = self.tables.db
        db.register("_known", self._candidates(as_of))
        result = db.execute(
            f"select k.*, c.item is not null as came from _known as k left join "
            f"({self.came(as_of, known_by)}) as c using (entity, item) order by entity, item"
        ).df()
        db.unregister("_known")
        return result

    def _ranker(self, month_end: dt.date) -> "Ranker | None":
        """What was learned from the month-ends whose outcome is known; None: that is too little."""
        from churn_orchestration.churn.offers.ranker import Ranker

        def record() -> dict[str, Any]:
            import pandas as pd

            from churn_orchestration.churn.offers.ranker import fit_ranker

            as_ofs = self.known(month_end)
            if not as_ofs:
                return {}
            rows = pd.concat([self._outcome(day, month_end) for day in as_ofs])
            ranker = fit_ranker(rows, rows["came"].to_numpy())
            return {"trees": ranker.trees} if ranker else {}

        stored = kept(self._path(month_end, "-ranker.json"), record)
        return Ranker(stored["trees"]) if stored else None

    def _scored(self, month_end: dt.date) -> dict[dt.date, "pd.DataFrame"]:
        """By month-end whose outcome is known, its candidates as its own ranker scored them."""
        result = {}
        for day in self.known(month_end):
            ranker = self.ranker(day)
            rows = self._outcome(day, month_end)
            if ranker and not rows.empty:
                result[day] = rows.assign(**{RANKER: ranker.scores(rows)})
        return result

    def _calibration(self, month_end: dt.date) -> "Calibration | None":
        """From scores to probabilities; None: no outcome of a score is known yet."""
        from churn_orchestration.churn.offers.ranker import Calibration

        record = self._decision(month_end)["calibration"]
        return Calibration.of_record(record) if record else None

    def _choice(self, month_end: dt.date) -> Choice | None:
        """Which method is used from a month-end on; None: no outcome is known yet."""
        record = self._decision(month_end)["choice"]
        return Choice.of_record(record) if record else None

    def _decision(self, month_end: dt.date) -> dict[str, Any]:
        return dict(kept(self._path(month_end, "-choice.json"), lambda: self._decide(month_end)))

    def _decide(self, month_end: dt.date) -> dict[str, Any]:
        """Grade every method on the month-ends whose outcome is known, and choose."""
        import pandas as pd

        from churn_orchestration.churn.offers.ranker import calibrated

        # A ranker that was good is no method while there is none of this month-end.
        scored = self._scored(month_end) if self.ranker(month_end) else {}
        calibration = None
        if scored:
            rows = pd.concat(scored.values())
            calibration = calibrated(rows[RANKER].to_numpy(), rows["came"].to_numpy()).record()
        methods, days = self.methods, scored
        if not scored:  # what needs no learning is compared
            methods = [name for name in methods if name != RANKER]
            days = {day: self._candidates(day) for day in self.known(month_end)}
        grades: dict[str, dict[tuple[str, str], tuple[float, float]]] = {m: {} for m in methods}
        for day, rows in days.items():
            for method in methods:
                grades[method] |= self.grade(rows, method, day, month_end)
        choice = choose(grades).record() if any(grades.values()) else None
        return {"choice": choice, "calibration": calibration}

    def grade(
        self, candidates: "pd.DataFrame", method: str, as_of: dt.date, known_by: dt.date
    ) -> dict[tuple[str, str], tuple[float, float]]:
        """Recall and NDCG of a method by as_of and entity, of those entities of candidates
        that bought.
        """
        db, most = self.tables.db, self.offering.most
        db.register("_ranked", candidates)
        came = f"select * from ({self.came(as_of, known_by)}) semi join _ranked using (entity)"
        rows = db.execute(
            f"from ({graded(ranked('_ranked', method, most), came, most)}) order by entity"
        ).fetchall()
        db.unregister("_ranked")
        return {(str(as_of), entity): (recall, ndcg) for entity, recall, ndcg in rows}

    def _first_day(self, day: dt.date) -> dt.date | None:
        """The first day of a purchase that is known at the end of ``day``."""
        source = self.offering.source
        [(first,)] = self.tables.rows(
            f"select min(day) from {source.table} where known_on <= {literal(day)}"
        )
        return first

    def _path(self, day: dt.date, suffix: str) -> Path:
        """Where a fit of a day is kept: under the version of all that it can have read."""
        read = [self.offering.source.table]
        read += [self.offering.retired.table] if self.offering.retired else []
        named = digest(self.version, self.tables.days.newest_version(read, day))
        return self.tables.state / "fits" / self.offering.name / f"{day}-{named}{suffix}"
