"""Features of an entity among its peers: relative to its cohort, and in quintiles fitted on an
earlier day.

They are made of the finished feature rows of one as_of, and so of nothing that was not known by
then.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

from churn_orchestration.churn.features.declared import Cohort, EventSource, FeatureSet
from churn_orchestration.churn.features.feature import Feature

_DAY = dt.timedelta(days=1)
_COHORT = "_cohort"
_PEERS = f"over (partition by {_COHORT})"


def fitted_on(as_of: dt.date) -> dt.date:
    """The day on which the quintiles that serve ``as_of`` were fitted: the last of the month
    before.

    >>> fitted_on(dt.date(2024, 3, 31))
    datetime.date(2024, 2, 29)
    """
    return as_of.replace(day=1) - _DAY


def peer_features(declared: FeatureSet) -> list[Feature]:
    """The features among peers, in the table's order; their SQL reads a finished row, and
    ``_edges``.
    """
    return [*_relative(declared), *_quintiles(declared)]


def among_peers(declared: FeatureSet, select: str, edges: str | None) -> str:
    """SQL: the feature rows of one as_of, which ``select`` gives, with those among peers; in no
    order.

    ``edges`` is SQL of one row of quintile edges, see ``edges_of``; None where no quintiles are
    declared.
    """
    result = peer_features(declared)
    if not result:
        return select
    columns = ", ".join(f"{feature.sql} as {feature.name}" for feature in result)
    first = f"{declared.cohort.source}_days_since_first" if declared.cohort else "null"
    rows = (
        f"select *, date_trunc('month', as_of - cast({first} as integer)) as {_COHORT} "
        f"from ({select})"
    )
    ours = [_COHORT]
    if declared.cohort and {"difference", "z"}.intersection(declared.cohort.kinds):
        rows, apart = _apart(declared.cohort, rows)
        ours += apart
    fitted = f" cross join ({edges}) as _edges" if edges else ""
    return f"select f.* exclude ({', '.join(ours)}), {columns} from ({rows}) as f{fitted}"


def _apart(cohort: Cohort, rows: str) -> tuple[str, list[str]]:
    """SQL: the rows with how far each compared feature is from its mean in the cohort; and the
    columns that this adds.

    ``_x`` is the feature in millionths, ``_d`` the whole number n x _x - sum of _x, and so n
    millionths of the difference, ``_far`` the largest of the cohort.
    """
    steps = (
        ("_x", "cast(cast({name} as decimal(38, 6)) * 1000000 as hugeint)"),
        ("_d", f"count(_x{{n}}) {_PEERS} * _x{{n}} - sum(_x{{n}}) {_PEERS}"),
        ("_far", f"max(abs(_d{{n}})) {_PEERS}"),
    )
    added: list[str] = []
    for step, sql in steps:
        columns = {
            f"{step}{n}": sql.format(n=n, name=name) for n, name in enumerate(cohort.features)
        }
        listed = ", ".join(f"{each} as {column}" for column, each in columns.items())
        rows = f"select *, {listed} from ({rows})"
        added += columns
    return rows, added


def _relative(declared: FeatureSet) -> Iterator[Feature]:
    if not declared.cohort:
        return
    for number, name in enumerate(declared.cohort.features):
        for kind in declared.cohort.kinds:
            yield _compared(declared.cohort, number, name, kind)


def _compared(cohort: Cohort, number: int, name: str, kind: str) -> Feature:
    """One comparison of a feature with its cohort: a ``ratio``, a ``difference`` or a ``z``."""
    message = name.replace("_", " ")
    nobody, mates = (
        f"{message}: no one to compare with",
        "all whose first event was in the same month",
    )
    if kind == "ratio":
        mean = (
            f"cast(sum(cast({name} as decimal(38, 6))) {_PEERS} as double) "
            f"/ nullif(count({name}) {_PEERS}, 0)"
        )
        return Feature(
            f"{name}_vs_cohort", f"{name} / nullif({mean}, 0)", cohort.source, "cohort",
            f"{name} / its mean over {mates}", "ratio",
            f"{message} at {{value:.1f}} times that of those who began in the same month",
            nobody, f"no {name}, or 0 for the whole cohort",
        )  # fmt: skip
    many = f"count({name}) {_PEERS}"
    if kind == "difference":
        return Feature(
            f"{name}_minus_cohort", f"cast(_d{number} as double) / ({many} * 1000000::double)",
            cohort.source, "cohort", f"{name} - its mean over {mates}, to six decimals",
            f"that of {name}",
            f"{message} {{value:+,.2f}} from the mean of those who began in the same month",
            nobody, f"no {name}",
        )  # fmt: skip
    # Relative to the largest of them, squares neither overflow nor vanish; as decimals, their sum
    # does not depend on the order of the rows.
    part = f"(cast(_d{number} as double) / nullif(_far{number}, 0))"
    squares = f"cast(sum(cast({part} * {part} as decimal(38, 18))) {_PEERS} as double)"
    return Feature(
        f"{name}_cohort_z", f"{part} / sqrt({squares} / nullif({many} - 1, 0))", cohort.source,
        "cohort", f"({name} - its mean) / its standard deviation, over {mates}",
        "standard deviations",
        f"{message} {{value:+.1f}} standard deviations from those who began in the same month",
        nobody, f"no {name}, or the same for the whole cohort",
    )  # fmt: skip


def _quintiles(declared: FeatureSet) -> Iterator[Feature]:
    if not declared.rfm:
        return
    rfm = declared.rfm
    scores = []
    for word, column in rfm.columns.items():
        above = f"list_count(list_filter(_edges.{word}, lambda edge: {column} > edge))"
        sql = f"5 - {above}" if word == "recency" else f"1 + {above}"
        scores.append(f"case when {column} is not null then {sql} end")
        yield Feature(
            f"{rfm.source}_{word}_quintile", f"cast({scores[-1]} as double)", rfm.source, "rfm",
            f"fifth of {column} by the quintiles of the end of the month before",
            "1 to 5, 5 is best", f"{word} in fifth {{value:.0f}} of 5", f"no {word}",
            "no such event yet, or none then",
        )  # fmt: skip
    total = " + ".join(f"({score})" for score in scores)
    yield Feature(
        f"{rfm.source}_rfm_score", f"cast({total} as double)", rfm.source, "rfm",
        "sum of the fifths of recency, frequency and monetary value", "3 to 15, 15 is best",
        "recency, frequency and value score {value:.0f} of 15", "no score",
        "no such event yet, or none then",
    )  # fmt: skip


def slim(declared: FeatureSet) -> FeatureSet:
    """Only what the quintiles are fitted on."""
    assert declared.rfm is not None
    rfm = declared.rfm
    [source] = (source for source in declared.sources if source.name == rfm.source)
    measures = tuple(replace(m, slope=False) for m in source.measures if m.name == rfm.measure)
    bare = EventSource(source.name, source.table, source.entity, source.noun, source.key, measures)
    return FeatureSet(declared.entity, (bare,), (rfm.window,), ())


def edges_of(declared: FeatureSet, select: str) -> str:
    """SQL: one row of quintile edges, a list a column, of the feature rows that ``select``
    gives.
    """
    assert declared.rfm is not None
    fifths = "[0.2, 0.4, 0.6, 0.8]"
    columns = (
        f"quantile_disc({column}, {fifths}) as {word}"
        for word, column in declared.rfm.columns.items()
    )
    return f"select {', '.join(columns)} from ({select})"
