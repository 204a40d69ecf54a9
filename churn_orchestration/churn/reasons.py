"""The few families of features that moved a row's log odds of churn the most, in words."""

import numpy as np
import pandas as pd

from churn_orchestration.churn.features.catalogue import LOWERS, RAISES, worded


def reasons(
    contributions: pd.DataFrame, features: pd.DataFrame, catalogue: pd.DataFrame, top: int = 3
) -> list[list[str]]:
    """Name for each row the ``top`` families with the largest absolute sum of contributions.

    Features of one family say nearly the same thing, and a model splits their effect among them at
    will; only the sum is stable. A family is worded by its member that pushes most in the sum's direction;
    by the one that holds, where its members are conditions (1 or 0, a phrase that shows no value).

    Parameters
    ----------
    contributions : n x f, additive, log odds of churn
    features : n x f or wider, same row order; the values that the words show, NaN = never or undefined
    catalogue : one row a feature, indexed by its name; family; phrase, a format string of one ``value``
        ("last order {value:.0f} days ago"); null_phrase, said for NaN ("has never ordered");
        zero_phrase, said for 0 where it is there and not empty
    top : number of families, > 0

    Returns
    -------
    n lists of at most ``top`` texts, strongest first, each led by "↑ " (raises the risk) or "↓ "
    (lowers it); a family that moves nothing is not named

    Raises
    ------
    ValueError : a feature has no catalogue row, no values or no phrase that is needed; row counts differ

    >>> words = {"family": ["recency"], "phrase": ["{value:.0f} days silent"], "null_phrase": ["new"]}
    >>> words = pd.DataFrame(words, index=["r"])
    >>> reasons(pd.DataFrame({"r": [0.4, -0.1]}), pd.DataFrame({"r": [50.0, None]}), words)
    [['↑ 50 days silent'], ['↓ new']]
    """
    values = _values(contributions, features, catalogue)
    wording = catalogue.loc[contributions.columns]
    push = contributions.to_numpy(float)
    codes, families = pd.factorize(wording["family"])
    sums = push @ (codes[:, None] == np.arange(len(families)))
    ranked = np.argsort(-np.abs(sums), axis=1, kind="stable")

    phrases, null_phrases = wording["phrase"].tolist(), wording["null_phrase"].tolist()
    holds = (values == 1) & np.array(["{value" not in str(phrase) for phrase in phrases])
    zero_phrases = wording["zero_phrase"].tolist() if "zero_phrase" in wording else [""] * len(phrases)
    named: list[list[str]] = [[] for _ in range(len(push))]
    for family in ranked.T:
        total = np.take_along_axis(sums, family[:, None], axis=1)
        members = codes == family[:, None]
        own, held = np.where(members, push * np.sign(total), 0.0), holds & members
        spoken = np.where(held.any(axis=1), held.argmax(axis=1), own.argmax(axis=1))
        for row in np.flatnonzero(total[:, 0]):
            if len(named[row]) == top:
                continue
            member, value = spoken[row], values[row, spoken[row]]
            text = worded(value, phrases[member], null_phrases[member], zero_phrases[member])
            told = (RAISES if total[row, 0] > 0 else LOWERS) + text
            if told not in named[row]:  # two families may say the same of one who did nothing
                named[row].append(told)
    return named


def _values(contributions: pd.DataFrame, features: pd.DataFrame, catalogue: pd.DataFrame) -> np.ndarray:
    """Values in the columns of ``contributions``, after checking that all three tables fit together."""
    names = contributions.columns
    if unknown := sorted(set(names) - set(catalogue.index)):
        raise ValueError(f"features without a catalogue row: {unknown}")
    if absent := sorted(set(names) - set(features.columns)):
        raise ValueError(f"features without values: {absent}")
    if len(contributions) != len(features):
        raise ValueError(f"{len(contributions)} rows of contributions, but {len(features)} of features")
    values = features[names].to_numpy(float)
    wording, null = catalogue.loc[names], np.isnan(values)
    for column, needed in (("phrase", ~null), ("null_phrase", null)):
        if unworded := names[needed.any(axis=0) & wording[column].isna().to_numpy()].tolist():
            raise ValueError(f"catalogue has no {column} for {unworded}")
    return values
