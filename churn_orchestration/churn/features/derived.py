"""Features derived from the merged rows: dynamics, concentration, ratios, the life so far, the
calendar.
"""

from collections.abc import Iterable, Iterator, Sequence

from churn_orchestration.churn.features.declared import (
    ALL,
    Category,
    EventSource,
    FeatureRatio,
    FeatureSet,
    label_of,
)
from churn_orchestration.churn.features.feature import Feature, braced, where_covered


def dynamics(declared: FeatureSet, source: EventSource, row: str) -> Iterator[Feature]:
    """Velocity, acceleration and momentum of the events and of every measure; slopes;
    regularity.
    """
    name, plural = source.name, f"{source.noun}s"
    summed = [("count", plural, "events", "count", 1)]
    summed += [
        (f"{m.name}_sum", m.name, f"{m.name}_sum", m.unit, 10**m.decimals) for m in source.measures
    ]
    for words, message, part, unit, scale in summed:
        for window in declared.velocity:
            now, middle, old = (
                f"coalesce({row}.{part}_{times * window}, 0)" for times in (1, 2, 3)
            )
            per_day = f"{window * scale}::double"
            velocity = f"cast(2 * {now} - {middle} as double) / {per_day}"
            unknown = [
                (
                    f"no {message} to compare over {days} days",
                    f"the data begin less than {days} days before",
                )
                for days in (2 * window, 3 * window)
            ]
            yield Feature(
                f"{name}_{words}_velocity_{window}d", where_covered(row, 2 * window, velocity),
                name, "velocity",
                f"({message} - {message} before) / {window}, windows of {window} days",
                f"{unit} a day",
                f"{message} change by {{value:+.2f}} a day from {window} days to the next",
                *unknown[0], window=f"{window}d",
            )  # fmt: skip
            change = f"cast(3 * {now} - 3 * {middle} + {old} as double) / {per_day}"
            yield Feature(
                f"{name}_{words}_acceleration_{window}d", where_covered(row, 3 * window, change),
                name, "velocity",
                f"velocity - velocity before, windows of {window} days", f"{unit} a day",
                f"the change of {message} itself changes by {{value:+.2f}} a day over {window} "
                "days",
                *unknown[1], window=f"{window}d",
            )  # fmt: skip
        for window in declared.momentum:
            rate = f"cast(coalesce({row}.{part}_{window}, 0) as double) / {window}"
            life = f"cast({row}.{part}_{ALL} as double) / ({row}._oldest + 1)"
            nothing = f"no {message} so far"
            usual = where_covered(row, window, f"{rate} / nullif({life}, 0)")
            yield Feature(
                f"{name}_{words}_momentum_{window}d", usual, name, "momentum",
                f"{message} a day in {window} days / {message} a day since the first {source.noun}",
                "ratio", f"{message} of {window} days at {{value:.1f}} times the usual rate",
                nothing, f"{nothing}, or the data begin less than {window} days before",
                f"{window}d",
            )  # fmt: skip
    if declared.velocity or declared.momentum:
        n, total, squares = (f"{row}.{part}" for part in ("_gaps", "_gap_sum", "_gap_squares"))
        spread = (
            f"sqrt(cast({n} * {squares} - {total} * {total} as double) "
            f"/ nullif({n} * ({n} - 1), 0)::double)"
        )
        few = f"fewer than three days with {plural} so far"
        yield Feature(
            f"{name}_regularity_all",
            f"{spread} / nullif(cast({total} as double) / nullif({n}, 0), 0)", name, "rhythm",
            "standard deviation of the gaps / mean gap", "ratio; 0 is a clockwork, 1 is chance",
            f"gaps between {plural} vary by {{value:.1f}} times their mean", few, few, ALL,
        )  # fmt: skip
    for m in source.measures:
        if m.slope:
            last, first = (
                f"cast({row}.{m.name}_{end}_sum as double) / nullif({row}.{m.name}_{end}_filled, 0)"
                for end in ("last", "first")
            )
            few = f"{m.name} on fewer than two days so far"
            yield Feature(
                f"{name}_{m.name}_slope_all",
                f"({last} - {first}) / nullif({row}._gap_sum, 0) / {10**m.decimals}::double", name,
                "slope", f"(mean {m.column} of the last day - of the first) / days between",
                f"{m.unit} a day",
                f"{m.name} changed by {{value:+.2f}} a day from the first {source.noun} to the "
                "last",
                few, few, ALL,
            )  # fmt: skip


def concentration(declared: FeatureSet, source: EventSource, row: str) -> Iterator[Feature]:
    """How the events spread over the declared values of a category."""
    for category in source.categories:
        if category.concentration:
            for window in (*map(str, declared.windows), ALL):
                if category.is_shared(window):
                    yield from _concentrated(source, category, row, window)


def _concentrated(
    source: EventSource, category: Category, row: str, window: str
) -> Iterator[Feature]:
    n = f"{row}.events_{window}"
    hits = [f"{row}.{category.name}_is_{label_of(value)}_{window}" for value in category.values]
    declared = f"({' + '.join(hits)})"
    of_all, of_declared = (
        [f"(cast({hit} as double) / nullif({whole}, 0))" for hit in hits] for whole in (n, declared)
    )
    when = "so far" if window == ALL else f"in the last {window} days"
    named = category.name.replace("_", " ")
    nothing, none = f"no {source.noun} {when}", f"no {source.noun} with a declared {named} {when}"
    spread = f"{source.noun}s over {category.name} {when}"
    surprise = [f"coalesce({share} * ln(nullif({share}, 0)), 0)" for share in of_declared]
    known = f"of {category.column}, among the declared ones"
    for words, sql, formula, unit, phrase, null in (
        (
            "top_share", f"nullif(greatest({', '.join(of_all)}), 0)",
            f"largest share of a declared value of {category.column}", "share",
            f"{{value:.0%}} of {spread} are of one", none,
        ),
        (
            "hhi", " + ".join(f"{share} * {share}" for share in of_declared),
            f"sum of squared shares {known}", "1: all of one",
            f"concentration of {spread} {{value:.2f}} (1: all of one)", none,
        ),
        (
            "entropy", f"case when {declared} > 0 then -({' + '.join(surprise)}) end",
            f"-sum of share x ln(share) {known}", "nats; 0: all of one",
            f"variety of {spread} {{value:.2f}} (0: all of one)", none,
        ),
        (
            "undeclared_share", f"cast({n} - {declared} as double) / nullif({n}, 0)",
            f"share of rows with none of the declared values of {category.column}", "share",
            f"{{value:.0%}} of {source.noun}s {when}: none of the declared {named}", nothing,
        ),
    ):  # fmt: skip
        suffix = ALL if window == ALL else f"{window}d"
        yield Feature(
            f"{source.name}_{category.name}_{words}_{suffix}", sql, source.name, "variety", formula,
            unit, phrase, null, null, suffix,
        )  # fmt: skip


def mostly(declared: FeatureSet, source: EventSource, row: str) -> Iterator[Feature]:
    """Which of the declared values of a category is the most frequent; the first declared of
    several.
    """
    for category in source.categories:
        if category.mostly:
            for window in (*map(str, declared.windows), ALL):
                if category.is_shared(window):
                    yield from _most_frequent(source, category, row, window)


def _most_frequent(
    source: EventSource, category: Category, row: str, window: str
) -> Iterator[Feature]:
    hits = [f"{row}.{category.name}_is_{label_of(value)}_{window}" for value in category.values]
    suffix, when = (
        (ALL, "so far") if window == ALL else (f"{window}d", f"in the last {window} days")
    )
    named = category.name.replace("_", " ")
    none = f"no {source.noun} with a declared {named} {when}"
    listed = ", ".join(hits)
    first = f"list_position([{listed}], greatest({listed}))"
    for place, value in enumerate(category.values, 1):
        said = f"{source.noun}s {when}: {named} {braced(value)}"
        yield Feature(
            f"{source.name}_{category.name}_is_mostly_{label_of(value)}_{suffix}",
            f"case when {' + '.join(hits)} > 0 then cast({first} = {place} as bigint) end",
            source.name, "variety",
            f"1 if no declared value of {category.column} is in more rows than {value}, nor an "
            "earlier one in as many; else 0",
            "0 or 1", f"{said} is the most frequent", none, none, suffix,
            f"{source.noun}s {when}: {named} {value} is not the most frequent",
        )  # fmt: skip


def ratios(declared: FeatureSet, source: EventSource, row: str) -> Iterator[Feature]:
    """The declared ratios of summed measures."""
    measures = {m.name: m for m in source.measures}
    for ratio in source.ratios:
        top, bottom = measures[ratio.top], measures[ratio.bottom]
        for window in (*map(str, declared.windows), ALL):
            upper, lower = (f"cast({row}.{m.name}_sum_{window} as double)" for m in (top, bottom))
            scale = f"({10**bottom.decimals}::double / {10**top.decimals}::double)"
            suffix, when = (
                (ALL, "so far") if window == ALL else (f"{window}d", f"in the last {window} days")
            )
            none = f"no {bottom.name} {when}"
            yield Feature(
                f"{source.name}_{ratio.name}_{suffix}", f"{upper} / nullif({lower}, 0) * {scale}",
                source.name, "ratio", f"sum of {top.column} / sum of {bottom.column}", "ratio",
                f"{ratio.name.replace('_', ' ')} of {{value:.2f}} {when}", none, none, suffix,
            )  # fmt: skip


def sides(name: str, features: Iterable[Feature]) -> dict[str, Feature]:
    """What one side of a ratio names, by window: a feature by its whole name, under ``""``, or by a
    name without its window those of all windows; nothing if there is none.
    """
    named = {feature.name: feature for feature in features}
    if name in named:
        return {"": named[name]}
    return {f.window: f for f in named.values() if f.window and f.name == f"{name}_{f.window}"}


def divided(ratio: FeatureRatio, features: Sequence[Feature]) -> dict[str, tuple[Feature, Feature]]:
    """What a ratio divides: top and bottom by window, ``""`` where both sides are whole names."""
    top, bottom = sides(ratio.top, features), sides(ratio.bottom, features)
    pairs = {
        window: (top.get(window, top.get("")), bottom.get(window, bottom.get("")))
        for window in (bottom if "" in top else top)
    }
    return {window: (upper, lower) for window, (upper, lower) in pairs.items() if upper and lower}


def feature_ratios(declared: FeatureSet, features: Sequence[Feature]) -> Iterator[Feature]:
    """The declared ratios of features, among those given."""
    for ratio in declared.ratios:
        for window, (top, bottom) in divided(ratio, features).items():
            source = (
                top.source if top.source == bottom.source else f"{top.source} / {bottom.source}"
            )
            when = {"": "", ALL: " so far"}.get(window, f" in the last {window[:-1]} days")
            message = ratio.name.replace("_", " ")
            nulls = [f"{bottom.name} is 0"]
            nulls += [f"{f.name} is null" for f in (top, bottom) if f.null_means != "never null"]
            yield Feature(
                f"{ratio.name}_{window}" if window else ratio.name,
                f"cast({top.sql} as double) / nullif({bottom.sql}, 0)", source, "ratio",
                f"{top.name} / {bottom.name}", "ratio", f"{message} of {{value:.2f}}{when}",
                f"{message}: nothing to compare{when}", ", or ".join(nulls), window,
                made_of=(top.name, bottom.name),
            )  # fmt: skip


def thirds(source: EventSource, row: str) -> Iterator[Feature]:
    """The share of the events in each third of the life seen so far, from the first event to
    as_of.
    """
    if source.thirds:
        for third, words in enumerate(("first", "middle", "last"), 1):
            yield Feature(
                f"{source.name}_{words}_third_share_all",
                f"cast({row}._third{third} as double) / nullif({row}.events_{ALL}, 0)", source.name,
                "lifecycle",
                f"share of rows in the {words} third of the days from the first to as_of", "share",
                f"{{value:.0%}} of {source.noun}s in the {words} third of the time since the first",
                f"no {source.noun} so far", f"no {source.noun} so far", ALL,
            )  # fmt: skip


def over_the_life(source: EventSource, row: str) -> Iterator[Feature]:
    """How much of the life seen so far is silence, and on how many of its days there are events."""
    name, plural = source.name, f"{source.noun}s"
    if source.recency_ratio:
        yield Feature(
            f"{name}_recency_ratio_all",
            f"cast({row}._youngest as double) / nullif({row}._oldest, 0)", name, "recency",
            "days since last / days since first", "0: active on as_of, to 1: active once",
            f"silent for {{value:.0%}} of the days since the first {source.noun}",
            f"no {source.noun} before today", f"no {source.noun} yet, or the first is on as_of",
            ALL,
        )  # fmt: skip
    if source.active_days_per_month:
        yield Feature(
            f"{name}_active_days_per_month_all",
            f"cast(30 * {row}._active_{ALL} as double) / ({row}._oldest + 1)", name, "frequency",
            "30 x active days / days from the first to as_of, both included",
            "days per 30 days",
            f"{plural} on {{value:.1f}} of 30 days since the first",
            f"no {source.noun} yet", f"no {source.noun} yet", ALL,
        )  # fmt: skip


CALENDAR = "calendar"
"""The family of what is the same for everybody on a day."""


def of_the_day(declared: FeatureSet) -> Iterator[Feature]:
    """What the calendar says of as_of; the same for everybody."""
    if declared.calendar:
        for name, sql, unit in (
            ("month", "month($as_of)", "1 to 12"), ("weekday", "isodow($as_of)", "1: Monday, to 7"),
            ("day_of_year", "dayofyear($as_of)", "1 to 366"),
        ):  # fmt: skip
            message = name.replace("_", " ")
            yield Feature(
                f"calendar_{name}", f"cast({sql} as bigint)", "calendar", CALENDAR,
                f"{message} of as_of", unit, f"{message} {{value:.0f}}", "",
            )  # fmt: skip
        for name, wave in (
            ("winter", "cos"),
            ("spring", "sin"),
        ):  # a circle: December ends next to January
            formula = f"{wave} of 2 pi x day of year / 365.25"
            yield Feature(
                f"calendar_{name}", f"{wave}(2 * pi() * dayofyear($as_of) / 365.25)", "calendar",
                CALENDAR, formula, "-1 to 1", "time of the year", "",
            )  # fmt: skip
