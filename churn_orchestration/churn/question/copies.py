"""Rows that are another's copy under another id: by their content, counted once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MANY_VALUES = 100
FEW = 0.01  # of the rows: as many as chance may make equal (22 of 7,043 customers of a telecom)


def distinct(snapshot: "pd.DataFrame", topics: Mapping[str, str], least: int) -> "pd.DataFrame":
    """The rows of a snapshot without those that are another's copy; all of them where that is few.

    A copy has the as_of, the label and every feature of an earlier row, and of features of
    ``least`` topics a value that no other row has, where the feature has MANY_VALUES values or
    more: where features are coarse, many a customer equals another, and who buys once on one day
    equals another of that day.

    Parameters
    ----------
    snapshot : rows with as_of, label and the features
    topics : of each feature, what it is about; features of one topic are no witnesses for each
        other

    >>> import pandas as pd
    >>> same = {"as_of": "2024-01-01", "label": False, "plan": "a"}
    >>> people = pd.DataFrame({"spend": range(100), **same})
    >>> twice, topics = pd.concat([people, people.head(30)]), {"spend": "money", "plan": "plan"}
    >>> [len(distinct(twice, topics, least)) for least in (1, 2)]
    [100, 130]
    >>> len(distinct(people.assign(spend=people["spend"] % 5), topics, 1))
    100
    """
    import numpy as np
    import pandas as pd

    copy = np.zeros(len(snapshot), bool)
    for places in snapshot.groupby("as_of").indices.values():
        rows = snapshot.iloc[places]
        content = pd.util.hash_pandas_object(rows[["label", *topics]], index=False)
        alike = content.map(content.value_counts())
        only_theirs = dict.fromkeys(topics.values(), np.zeros(len(rows), bool))
        if (alike > 1).any():
            for name, topic in topics.items():
                counts = rows[name].value_counts()
                if len(counts) >= MANY_VALUES:
                    only_theirs[topic] = (
                        only_theirs[topic] | (rows[name].map(counts) == alike).to_numpy()
                    )
        witnesses = np.sum(list(only_theirs.values()), axis=0)
        copy[places] = (witnesses >= least) & content.duplicated().to_numpy()
    return snapshot[~copy] if copy.mean() >= FEW else snapshot


def copies_message(copies: int, rows: int, entity: str) -> str:
    """What a person reads of copies; nothing where there is none."""
    if not copies:
        return ""
    return (
        f"{copies:,} of {rows:,} rows equal another in every column but {entity}, as copies under "
        "new ids do: each is counted once"
    )
