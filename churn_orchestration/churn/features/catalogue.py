"""The catalogue of a feature table: each feature's name, SQL, formula, unit, meaning of null,
words.
"""

import re
from collections.abc import Iterator

from churn_orchestration.churn.features.changes import changes, changing, of_changes
from churn_orchestration.churn.features.declared import (
    ALL,
    AttributeTable,
    EventSource,
    FeatureSet,
    UserTable,
    label_of,
)
from churn_orchestration.churn.features.derived import (
    concentration,
    dynamics,
    feature_ratios,
    mostly,
    of_the_day,
    over_the_life,
    ratios,
    thirds,
)
from churn_orchestration.churn.features.feature import Feature, braced, where_covered
from churn_orchestration.churn.features.parts import EVENTS, parts, repeats
from churn_orchestration.churn.features.peers import peer_features
from churn_orchestration.churn.features.recorded import where_recorded

RAISES, LOWERS = "↑ ", "↓ "
"""What leads a reason: it raises, or lowers, the risk."""


def catalogue(declared: FeatureSet) -> list[Feature]:
    """Every feature, in the table's order: those of an entity by itself, then those among its
    peers.
    """
    return [*features_alone(declared), *peer_features(declared)]


def features_alone(declared: FeatureSet) -> list[Feature]:
    """The features of an entity by itself, in the table's order.

    Names: ``<source>[_<measure>]_<aggregate>[_<window>d|_all]`` of events,
    ``<attributes>_<measure>``, ``<attributes>_<category>_is_<value>`` and ``<attributes>_<flag>``
    of attributes.
    """
    result: list[Feature] = []
    for number, source in enumerate(declared.sources):
        row = f"_s{number}"
        result += _recency(source, row)
        for window in (*map(str, declared.windows), ALL):
            result += _of_window(source, row, window)
        for days in declared.trends:
            result += _trends(source, row, days)
        result += dynamics(declared, source, row)
        result += changes(declared, source, row)
        result += concentration(declared, source, row)
        result += mostly(declared, source, row)
        result += ratios(declared, source, row)
        result += thirds(source, row)
        result += over_the_life(source, row)
    for number, attributes in enumerate(declared.attributes):
        result += _of_attributes(attributes, f"_a{number}")
    if any(c.is_limited for table in declared.inputs for c in (*table.measures, *table.categories)):
        result = [where_recorded(declared, feature) for feature in result]
    result += feature_ratios(declared, result)
    for number, own in enumerate(declared.own):
        result += _of_own(own, f"_u{number}")
    result += of_the_day(declared)
    return result


def _recency(source: EventSource, row: str) -> Iterator[Feature]:
    name, noun, plural = source.name, source.noun, f"{source.noun}s"
    never = f"no {noun} yet"
    once, twice = (f"fewer than {number} days with {plural} so far" for number in ("two", "three"))
    mean = f"cast({row}._gap_sum as double) / nullif({row}._gaps, 0)"
    spread = _std(f"{row}._gaps", f"{row}._gap_sum", f"{row}._gap_squares")
    for suffix, sql, family, formula, unit, phrase, null_phrase, null_means in (
        (
            "days_since_last", f"{row}._youngest", "recency", f"as_of - day of the last {noun}",
            "days", f"last {noun} {{value:.0f}} days ago", never, f"never: {never}",
        ),
        (
            "days_since_first", f"{row}._oldest", "tenure", f"as_of - day of the first {noun}",
            "days", f"first {noun} {{value:.0f}} days ago", never, f"never: {never}",
        ),
        (
            "gap_days_mean_all", mean, "rhythm", "mean of the days between active days", "days",
            f"usually {plural} every {{value:.0f}} days", once, once,
        ),
        (
            "gap_days_std_all", spread, "rhythm",
            "standard deviation of the days between active days", "days",
            f"days between {plural} vary by {{value:.0f}}", twice, twice,
        ),
        (
            "gap_ratio_all", f"{row}._youngest / nullif({mean}, 0)", "recency",
            "days since last / mean gap", "ratio", "silent for {value:.1f} times the usual gap",
            once, once,
        ),
    ):  # fmt: skip
        window = ALL if suffix.startswith("gap") else ""
        yield Feature(
            f"{name}_{suffix}",
            sql,
            name,
            family,
            formula,
            unit,
            phrase,
            null_phrase,
            null_means,
            window,
        )


def _of_window(source: EventSource, row: str, window: str) -> Iterator[Feature]:
    name, noun, plural = source.name, source.noun, f"{source.noun}s"
    suffix = ALL if window == ALL else f"{window}d"
    when = "so far" if window == ALL else f"in the last {window} days"
    nothing = f"no {noun} {when}"

    def feature(
        words: str,
        sql: str,
        family: str,
        formula: str,
        unit: str,
        phrase: str,
        null_means: str = "",
        zero_phrase: str = "",
    ) -> Feature:
        full, null = f"{name}_{words}_{suffix}", null_means or "never null"
        return Feature(
            full, sql, name, family, formula, unit, phrase, null_means, null, suffix, zero_phrase
        )

    n = f"{row}.events_{window}"
    count, active = (
        f"cast(coalesce({n}, 0) as bigint)",
        f"cast(coalesce({row}._active_{window}, 0) as bigint)",
    )
    message = f"{{value:.0f}} {plural} {when}"
    yield feature(
        "count", count, "frequency", "number of rows", "count", message, zero_phrase=nothing
    )
    days = f"{plural} on {{value:.0f}} days {when}"
    yield feature(
        "active_days", active, "frequency", "distinct days", "days", days, zero_phrase=nothing
    )
    for m in source.measures:
        filled, total, squares = (
            f"{row}.{m.name}_{part}_{window}" for part in ("filled", "sum", "squares")
        )
        scale, unit = f"{10**m.decimals}::double", f" {m.unit}" if m.unit else ""
        summed = f"cast(coalesce({total}, 0) as double) / {scale}"
        message = f"{m.name} of {{value:,.0f}}{unit} {when}"
        yield feature(f"{m.name}_sum", summed, "value", f"sum of {m.column}", m.unit, message)
        for aggregate, sql in {
            "mean": f"cast({total} as double) / nullif({filled}, 0)",
            "max": f"cast({row}.{m.name}_max_{window} as double)",
            "min": f"cast({row}.{m.name}_min_{window} as double)",
            "std": _std(filled, total, squares),
        }.items():
            few = (
                f"{'fewer than two' if aggregate == 'std' else 'no'} {plural} with {m.name} {when}"
            )
            word = {
                "mean": "average {}",
                "max": "largest {}",
                "min": "smallest {}",
                "std": "{} varies by",
            }
            message = f"{word[aggregate].format(m.name)} {{value:,.2f}}{unit} {when}"
            of = f"{aggregate} of {m.column}"
            yield feature(
                f"{m.name}_{aggregate}", f"({sql}) / {scale}", "size", of, m.unit, message, few
            )
        if m.answered:
            yield feature(
                f"{m.name}_answered_count",
                f"cast(coalesce({filled}, 0) as bigint)",
                "response",
                f"number of rows with {m.column}",
                "count",
                f"{{value:.0f}} {plural} with {m.name} {when}",
                zero_phrase=f"no {noun} with {m.name} {when}",
            )
            yield feature(
                f"{m.name}_answered_share",
                f"cast({filled} as double) / nullif({n}, 0)",
                "response",
                f"share of rows with {m.column}",
                "share",
                f"{{value:.0%}} of {plural} {when} with {m.name}",
                nothing,
            )
    for category in source.categories:
        seen = f"bit_count({row}.{category.name}_seen_{window})"
        counted = seen if category.closed else f"{row}.{category.name}_values_{window}"
        distinct, message = (
            f"cast(coalesce({counted}, 0) as bigint)",
            f"{category.name}: {{value:.0f}} different {when}",
        )
        others = ", of which all others count as one" if category.closed else ""
        of = f"distinct values of {category.column}{others}"
        none = f"no {category.name} {when}"
        yield feature(
            f"{category.name}_distinct", distinct, "variety", of, "count", message, zero_phrase=none
        )
        if category.repeated:
            again = f"{row}.{repeats(source)[f'{category.name}_values']}_{window}"
            yield feature(
                f"{category.name}_repeated_share",
                f"cast({again} as double) / nullif({counted}, 0)",
                "variety",
                f"share of the distinct values of {category.column} that are on at least two days",
                "share",
                f"{category.name}: {{value:.0%}} of the different ones {when} on two days or more",
                none,
                f"{category.name}: none {when} on two days",
            )
        for value in category.values if category.is_shared(window) else ():
            hits = f"{row}.{category.name}_is_{label_of(value)}_{window}"
            share = f"cast({hits} as double) / nullif({n}, 0)"
            message = f"{{value:.0%}} of {plural} {when}: {category.name} {braced(value)}"
            of = f"share of rows with {category.column} = {value}"
            yield feature(
                f"{category.name}_{label_of(value)}_share",
                share,
                "variety",
                of,
                "share",
                message,
                nothing,
            )
            if category.counts:
                yield feature(
                    f"{category.name}_{label_of(value)}_count",
                    f"cast(coalesce({hits}, 0) as bigint)",
                    "variety",
                    f"number of rows with {category.column} = {value}",
                    "count",
                    f"{{value:.0f}} {plural} {when}: {category.name} {braced(value)}",
                    zero_phrase=f"{nothing}: {category.name} {value}",
                )
    for flag in source.flags:
        if not flag.is_shared(window):
            continue
        hits = f"{row}.{flag.name}_hits_{window}"
        share = f"cast({hits} as double) / nullif({n}, 0)"
        message = f"{{value:.0%}} of {plural} {when}: {flag.name}"
        of = f"share of rows with {flag.condition}"
        yield feature(f"{flag.name}_share", share, "quality", of, "share", message, nothing)
        if flag.counts:
            yield feature(
                f"{flag.name}_count",
                f"cast(coalesce({hits}, 0) as bigint)",
                "quality",
                f"number of rows with {flag.condition}",
                "count",
                f"{{value:.0f}} {plural} {when}: {flag.name}",
                zero_phrase=f"{nothing}: {flag.name}",
            )


def _trends(source: EventSource, row: str, window: int) -> Iterator[Feature]:
    name, plural = source.name, f"{source.noun}s"
    now, both = f"coalesce({row}.events_{window}, 0)", f"coalesce({row}.events_{2 * window}, 0)"
    parts = [
        (
            "count",
            f"{{many}} {plural}",
            plural,
            "n",
            f"(2 * {now} - {both}) / cast(nullif({both}, 0) as double)",
        )
    ]
    for m in source.measures:
        now = f"coalesce({row}.{m.name}_sum_{window}, 0)"
        before = f"(coalesce({row}.{m.name}_sum_{2 * window}, 0) - {now})"
        both = f"nullif(cast(abs({now}) + abs({before}) as double), 0)"
        parts.append(
            (
                f"{m.name}_sum",
                f"{{much}} {m.name}",
                m.name,
                "|sum|",
                f"cast({now} - {before} as double) / {both}",
            )
        )
    for words, change, what, part, sql in parts:
        yield Feature(
            f"{name}_{words}_trend_{window}d", where_covered(row, 2 * window, sql), name, "trend",
            f"({part} - {part} before) / ({part} + {part} before), windows of {window} days",
            "-1 to 1", f"{change} in the last {window} days than in the {window} before",
            f"no {what} to compare over {2 * window} days",
            f"nothing in either window, or the data begin less than {2 * window} days before",
            f"{window}d", f"as much {what} in the last {window} days as in the {window} before",
        )  # fmt: skip


def spans_of(declared: FeatureSet, source: EventSource) -> dict[str, list[str]]:
    """The windows over which the features read each daily part of a source, and the changes of a
    measure, shortest first, ``all`` last.
    """
    every = [*map(str, declared.windows), ALL]
    spans = dict.fromkeys(("_active", *(part.name for part in parts(source))), every)
    for part in (EVENTS, *(f"{m.name}_sum" for m in source.measures)):
        spans[part] = [*map(str, declared.rings), ALL]
    for category in source.categories:
        shared = [window for window in every if category.is_shared(window)]
        spans |= {f"{category.name}_is_{label_of(value)}": shared for value in category.values}
    for flag in source.flags:
        spans[f"{flag.name}_hits"] = [window for window in every if flag.is_shared(window)]
    spans |= {of_changes(m): every for m in changing(source)}
    spans |= dict.fromkeys(repeats(source).values(), every)
    return spans


def _of_attributes(table: AttributeTable, row: str) -> Iterator[Feature]:
    def feature(
        name: str, sql: str, of: str, formula: str, unit: str, phrase: str, zero_phrase: str = ""
    ) -> Feature:
        family, null_phrase, null_means = (
            f"{table.name}_{of}",
            f"{spoken(of)}: not given",
            "not given",
        )
        if family in table.known_late:
            null_means = "not given, or as_of lies before its landing"
        full = f"{table.name}_{name}"
        return Feature(
            full,
            sql,
            table.name,
            family,
            formula,
            unit,
            phrase,
            null_phrase,
            null_means,
            "",
            zero_phrase,
        )

    def spoken(name: str) -> str:
        return f"{table.noun} {name}".strip().replace("_", " ")

    for number, m in enumerate(table.measures):
        unit = f" {m.unit}" if m.unit else ""
        phrase = f"{spoken(m.name)} of {{value:,.{min(m.decimals, 2)}f}}{unit}"
        sql = f"cast({row}._m{number} as double) / {10**m.decimals}::double"
        yield feature(m.name, sql, m.name, m.column, m.unit, phrase)
    for number, category in enumerate(table.categories):
        for position, value in enumerate(category.values):
            name, formula = (
                f"{category.name}_is_{label_of(value)}",
                f"1 if {category.column} = {value}, else 0",
            )
            phrase, other = (
                f"{spoken(category.name)}: {braced(value)}",
                f"{spoken(category.name)}: not {value}",
            )
            yield feature(
                name,
                f"{row}._c{number}_{position}",
                category.name,
                formula,
                "0 or 1",
                phrase,
                other,
            )
    for number, flag in enumerate(table.flags):
        formula, yes, no = (
            f"1 if {flag.condition}, else 0",
            f"{spoken(flag.name)}: yes",
            f"{spoken(flag.name)}: no",
        )
        yield feature(flag.name, f"{row}._f{number}", flag.name, formula, "0 or 1", yes, no)

    for number, of in enumerate(table.dates):
        formula = f"as_of - {of.column}; below 0: still to come"
        yield feature(
            f"days_since_{of.name}",
            f"{row}._d{number}",
            of.name,
            formula,
            "days",
            f"{spoken(of.name)} {{ago}}",
        )


def _of_own(table: UserTable, row: str) -> Iterator[Feature]:
    for column, meaning in table.columns:
        message = f"{table.name} {column}".replace("_", " ")
        absent = f"{message}: no row"
        yield Feature(
            f"{table.name}_{column}", f"cast({row}.{column} as double)", table.name,
            f"{table.name}_{column}", meaning or f"see {table.file}", "",
            f"{message} {{value:,.2f}}", absent, f"no row in {table.file}",
        )  # fmt: skip


def _std(count: str, total: str, squares: str) -> str:
    """Sample standard deviation from integer parts: exact until the one division. Null below two
    values.
    """
    spread = (
        f"({count}::hugeint * {squares}::hugeint - {total}::hugeint * {total}::hugeint)::double"
    )
    return f"sqrt({spread} / nullif({count} * ({count} - 1), 0)::double)"


def worded(value: float | None, phrase: str, null_phrase: str, zero_phrase: str = "") -> str:
    """A feature's value in the words of its catalogue entry; of one, in the singular.

    A phrase shows the ``value``; or only its sign, as ``many`` ("more" or "fewer") or ``much``
    ("more" or "less"); or, of days, ``ago``: "3 days ago", and of -3 "in 3 days".

    >>> silent = ("{value:.0f} days silent", "new", "active today")
    >>> [worded(days, *silent) for days in (11, 1.2, 0, None)]
    ['11 days silent', '1 day silent', 'active today', 'new']
    """
    if value is None or value != value:  # NaN, as frames have it
        return null_phrase
    if value == 0 and zero_phrase:
        return zero_phrase
    many, much = ("more", "more") if value > 0 else ("fewer", "less")
    ago = f"{value:,.0f} days ago" if value >= 0 else f"in {-value:,.0f} days"
    return _PLURAL_OF_ONE.sub(r"\1", phrase.format(value=value, many=many, much=much, ago=ago))


_PLURAL_OF_ONE = re.compile(r"(?<![\d.,])(1 [a-z]*[a-rt-z])s\b")
