"""Evidently's page of drift: frames in, one HTML file out. No Dagster, no files; same frames, same
bytes.
"""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

METHODS = {"psi": "psi", "js": "jensenshannon"}
BY_CHANCE = re.compile(
    r"metric_[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
)
"""What Evidently calls its widgets: UUIDs of chance and of the clock."""


def page(
    title: str, judged: Sequence[Mapping[str, Any]], now: "pd.DataFrame", before: "pd.DataFrame"
) -> str:
    """A page that needs no other file, nor the network.

    Parameters
    ----------
    judged : rows of ``feature``, ``measure`` and ``usual_up_to``, in the order in which they are
        drawn; Evidently takes measures and limits from them
    now, before : a column a feature, numbers
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it warns of its own functions, and of values that are all one
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        wanted = [each["feature"] for each in judged]
        frames = [
            frame[wanted].where(frame[wanted].abs() < float("inf")) for frame in (now, before)
        ]
        drawn = [name for name in wanted if all(frame[name].notna().any() for frame in frames)]
        defined = DataDefinition(numerical_columns=drawn)
        preset = DataDriftPreset(
            columns=drawn,
            per_column_method={each["feature"]: METHODS[each["measure"]] for each in judged},
            per_column_threshold={each["feature"]: _limit(each) for each in judged},
        )
        sides = [Dataset.from_pandas(frame[drawn], data_definition=defined) for frame in frames]
        text = Report([preset]).run(*sides).get_html_str(as_iframe=False)
    message = (
        f"{len(now):,} customers of the day (current) next to {len(before):,} rows of the training "
        f"snapshot (reference), both sampled where there are more: the {len(drawn)} features that "
        "are furthest off. Evidently counts those beyond the limits of the table of drift on these "
        "samples and on values that are there; that table, which decides, counts on all rows, "
        "missing values too, so both may differ."
    )
    if empty := [name for name in wanted if name not in drawn]:
        message += f" Without any value on one side, so not drawn: {', '.join(empty)}."
    head = (
        f'<div style="font:15px/1.5 sans-serif;margin:2em"><h1>{title}</h1><p>{message}</p></div>'
    )
    names: dict[str, str] = {}
    text = BY_CHANCE.sub(lambda result: names.setdefault(result[0], f"drawn_{len(names)}"), text)
    # Where the page is narrower, Evidently cuts its last columns off.
    wide = "<style>[id^=root_]{min-width:1300px}</style>"
    text = text.replace("<head>", f"<head><title>{title}</title>{wide}", 1)
    return text.replace("<body>", f"<body>{head}", 1)


def _limit(each: Mapping[str, Any]) -> float:
    """A limit as Evidently measures: it takes the root of what we call Jensen-Shannon."""
    limit = float(each["usual_up_to"])
    return math.sqrt(limit) if each["measure"] == "js" else limit
