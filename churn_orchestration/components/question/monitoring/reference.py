"""What a champion was trained on, and how far from it the days before its cut-off were: counts in a
file.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError
from churn_orchestration.churn import bound
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.derived import CALENDAR
from churn_orchestration.churn.question.labels import population
from churn_orchestration.churn.sql import identifier
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.storage.day_files import NAMED, content_hash, damage
from churn_orchestration.storage.door import whole
from churn_orchestration.storage.files import file_literal, literal_parquet, swap_in
from churn_orchestration.storage.layers import PARQUET
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from churn_orchestration.churn.learners import LogOddsBlend
    from churn_orchestration.churn.watching.drift import Bins, Usual
    from churn_orchestration.components.question.question import QuestionSettings

Counts = Mapping[str, Mapping[dt.date, "np.ndarray"]]
SCORE = "churn_probability"
"""The forecast itself, whose drift is measured like a feature's."""
SAMPLED = 100_000  # rows from which the tenths of a feature are taken
SCORED = 5_000  # rows of a day that the model scores to learn how its forecasts spread
AT_ONCE = 25  # features whose values are held in memory at a time
SNAPSHOT, REPLAY = "snapshot", "replay"


def snapshot_file(tables: Tables, settings: "QuestionSettings", record: Mapping[str, Any]) -> Path:
    """The snapshot that trained a model. Raises BusinessError where it is gone."""
    name = f"{record['cutoff']}-{record['snapshot_sha256'][:12]}.parquet"
    path = settings.store.snapshot_files(tables.state) / name
    if not path.is_file():
        raise BusinessError(
            f"{settings.name}: {path}, which trained {record['model_version']}, is gone; put it "
            f"back from a copy, or `churn train --cutoff {record['cutoff']}` again"
        )
    return whole(f"snapshots.{settings.name}", record["cutoff"], path)


def sample(
    tables: Tables, entity: str, columns: Sequence[str], rows: str, most: int
) -> "pd.DataFrame":
    """At most so many rows of a relation, by chance that is the same each time."""
    names = ", ".join(columns)
    hashed = f"select *, hash({identifier(entity)}, as_of) as _order from {rows}"
    return tables.db.execute(
        f"select as_of, {names} from ({hashed}) order by _order limit {most}"
    ).df()


class Reference:
    """What a champion was trained on, and how far from it the days before its cut-off were, by
    feature.

    ``usual``: of each feature that has more than one value; ``bins``: how they are counted.
    """

    def __init__(
        self, version: str, model: "LogOddsBlend", record: Mapping[str, Any],
        bins: Sequence["Bins"], snapshot: Counts, replays: Counts,
    ) -> None:  # fmt: skip
        from churn_orchestration.churn.watching import drift

        self.version, self.model, self.record = version, model, record
        self.usual: dict[str, Usual] = {}
        for each in bins:
            result = drift.usual(each, snapshot[each.feature], replays.get(each.feature, {}))
            if result:
                self.usual[each.feature] = result
        self.bins = [each for each in bins if each.feature in self.usual]

    @classmethod
    def of(cls, tables: Tables, settings: "QuestionSettings", version: str) -> "Reference":
        """From its file, made where it is not there: it follows from the snapshot and days before
        its end.

        Raises
        ------
        BusinessError : the snapshot that trained it is gone
        """
        from churn_orchestration.churn.watching.drift import Bins

        files = ModelFiles(tables.state, settings.name, version)
        record, model = files.record(), files.model()
        path = settings.store.model_files(tables.state) / f"{version}.drift"
        if path.exists():  # as it was named before its name held the hash of its content
            path.rename(_named(path, path))
        kept = [file for file in path.parent.glob(f"{version}-*.drift") if not damage(file)]
        file = literal_parquet(
            kept[0] if kept else _Counting(tables, settings, record, model).write(path)
        )
        bins = [
            Bins(str(feature), tuple(cuts), bool(few))
            for feature, cuts, few in tables.rows(
                f"select feature, any_value(cuts), any_value(few) from {file} group by 1 order by 1"
            )
        ]
        rows = tables.db.execute(f"from {file} order by feature, kind, day, bin").df()
        kinds = {kind: as_counts(part, bins) for kind, part in rows.groupby("kind")}
        return cls(version, model, record, bins, kinds[SNAPSHOT], kinds.get(REPLAY, {}))


def _named(path: Path, content: Path) -> Path:
    """A path whose name ends in the beginning of the hash of a content."""
    return path.with_stem(f"{path.stem}-{content_hash(content)[:NAMED]}")


class _Counting:
    """The making of a reference's file: counts of the snapshot, then of each day that is
    replayed.
    """

    def __init__(
        self,
        tables: Tables,
        settings: "QuestionSettings",
        record: Mapping[str, Any],
        model: "LogOddsBlend",
    ) -> None:
        self.tables, self.settings, self.record, self.model = tables, settings, record, model
        calendar = {f.name for f in catalogue(settings.question.features) if f.family == CALENDAR}
        self.features = [name for name in record["features"] if name not in calendar]

    def write(self, path: Path) -> Path:
        """Write the file, whole or not at all, near ``path``, and name it after its content; its
        path.
        """
        from churn_orchestration.churn.watching import drift

        tables, question, file = (
            self.tables,
            self.settings.question,
            snapshot_file(self.tables, self.settings, self.record),
        )
        cutoff = dt.date.fromisoformat(self.record["cutoff"])
        tables.db.execute(
            "create or replace temp table _counts (kind varchar, feature varchar, day date, bin "
            "integer, rows bigint, cuts double[], few boolean)"
        )
        snapshot = file_literal(file)
        with self._scores(snapshot):
            bins = [*bins_of(tables, self.features, f"read_parquet({snapshot})", question.entity)]
            bins += bins_of(tables, [SCORE], "_scores", "as_of")
            self._count(bins, SNAPSHOT, snapshot)
        days = drift.replay_days(dt.date.fromisoformat(self.record["as_ofs"][0]), cutoff)
        newest = f"where as_of = {literal(self.record['as_ofs'][-1])}"
        [(customers,)] = tables.rows(f"select count(*) from read_parquet({snapshot}) {newest}")
        some = partial(bound.some_entities, rows=customers, most=bound.MOST_REPLAYED)
        with features_of(
            tables, question.features, days, path.parent / f".{path.stem}", some
        ) as described:
            for day in days:
                people = population(question, described(day), day)
                tables.db.execute(f"create or replace temp table _people as {people}")
                with self._scores("_people"):
                    self._count(bins, REPLAY, "_people")
        temporary = path.with_suffix(".drift.writing")
        ordered = "from _counts order by feature, kind, day, bin"
        tables.db.execute(f"copy ({ordered}) to {literal(temporary)} ({PARQUET})")
        tables.db.execute("drop table _counts; drop table if exists _people")
        named = _named(path, temporary)
        swap_in(temporary, named)
        return named

    @contextmanager
    def _scores(self, rows: str) -> Iterator[None]:
        """While the block lasts: a table of what the model says of a sample of rows."""
        some = sample(
            self.tables, self.settings.question.entity, self.record["features"], rows, SCORED
        )
        forecast = some[["as_of"]].copy()
        if len(some):
            features = some[self.record["features"]].astype(float)
            forecast[SCORE] = self.model.predict_proba(features)[:, 1]
        else:
            forecast[SCORE] = []
        self.tables.db.register("_forecast", forecast)
        self.tables.db.execute(
            "create or replace temp table _scores as "
            f"select as_of::date as as_of, {SCORE}::double as {SCORE} from _forecast"
        )
        self.tables.db.unregister("_forecast")
        yield
        self.tables.db.execute("drop table _scores")

    def _count(self, bins: Sequence["Bins"], kind: str, rows: str) -> None:
        from churn_orchestration.churn.watching.drift import counted

        for each in bins:
            result = counted([each], "_scores" if each.feature == SCORE else rows)
            self.tables.db.execute(
                f"insert into _counts select '{kind}', feature, day, bin, rows, "
                f"{list(each.cuts)}::double[], {each.few} from ({result})"
            )


def bins_of(tables: Tables, features: Sequence[str], rows: str, key: str) -> list["Bins"]:
    """How each feature of a relation is binned: its values where they are few, else tenths of a
    sample.
    """
    from churn_orchestration.churn.watching import drift

    result = list[drift.Bins]()
    [(count,)] = tables.rows(f"select count(*) from {rows}")
    share = -(-count // SAMPLED)
    tenths = [number / drift.TENTHS for number in range(1, drift.TENTHS)]
    for start in range(0, len(features), AT_ONCE):
        some = features[start : start + AT_ONCE]
        ends = [
            f"min({name})::double, max({name})::double, approx_count_distinct({name})"
            for name in some
        ]
        spans = tables.rows(f"select {', '.join(ends)} from {rows}")[0]
        inner = [f"quantile_disc({name}::double, {tenths})" for name in some]
        sampled = tables.rows(
            f"select {', '.join(inner)} from {rows} where hash({identifier(key)}) % {share} = 0"
        )[0]
        for place, name in enumerate(some):
            low, high, distinct = spans[3 * place : 3 * place + 3]
            if low is None or low == high:
                continue
            few = _values(tables, name, rows) if distinct <= 2 * drift.FEW else []
            cuts = few or sorted(
                {low, high, *(cut for cut in sampled[place] or () if low < cut < high)}
            )
            result.append(drift.Bins(name, tuple(map(float, cuts)), bool(few)))
    return result


def _values(tables: Tables, feature: str, rows: str) -> list[float]:
    """The values of a feature that has few; empty where it has many."""
    from churn_orchestration.churn.watching.drift import FEW

    distinct = (
        f"select distinct {feature}::double from {rows} where {feature} is not null order by 1"
    )
    result = [value for (value,) in tables.rows(f"{distinct} limit {FEW + 1}")]
    return result if len(result) <= FEW else []


def as_counts(
    rows: "pd.DataFrame", bins: Sequence["Bins"]
) -> dict[str, dict[dt.date, "np.ndarray"]]:
    """Counts by feature and day, from rows of ``feature``, ``day``, ``bin`` and ``rows``."""
    import numpy as np

    number, result = (
        {each.feature: each.number for each in bins},
        dict[str, dict[dt.date, np.ndarray]](),
    )
    for (feature, day), part in rows.groupby(["feature", "day"], sort=True):
        counts = np.zeros(number[str(feature)])
        counts[part["bin"].to_numpy(int)] = part["rows"].to_numpy()
        result.setdefault(str(feature), {})[day.date()] = counts
    return result
