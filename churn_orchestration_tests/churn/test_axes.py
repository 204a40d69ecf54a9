"""Fuzzy axes on made customers whose clusters are known."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

from churn_orchestration.churn.segments.axes import Axis, archetypes, fit_axis, silhouette


def customers(seed: int, rows: int = 3_000) -> tuple[pd.DataFrame, np.ndarray]:
    """Three clusters by how often they buy, 60, 30 and 10 % of all, with noise and some nulls."""
    draw = np.random.default_rng(seed)
    cluster = draw.choice(3, rows, p=[0.6, 0.3, 0.1])
    often = np.array([2.0, 20.0, 40.0])[cluster] * draw.gamma(30, 1 / 30, rows)
    days = often * draw.gamma(50, 1 / 50, rows)
    table = pd.DataFrame(
        {"often": often, "days": days, "same": 7.0, "amount": draw.gamma(2, 5, rows)}
    )
    table.loc[::50, "days"] = np.nan
    return table, cluster


@pytest.fixture(scope="module")
def axis() -> Axis:
    return fit_axis("frequency", ["often", "days", "same"], customers(1)[0])


def test_clusters_that_are_there_come_out_with_their_places_as_names(axis):
    rows, cluster = customers(2)
    assert axis.clusters == ("low", "middle", "high")
    assert axis.features == ("often", "days")  # of the third nothing varies
    assert axis.silhouette > 0.7
    assert (axis.memberships(rows).argmax(axis=1) == cluster).mean() > 0.97


def test_memberships_come_to_one_whatever_a_row_holds_and_a_row_at_a_centre_is_in_its_cluster(axis):
    odd = pd.DataFrame(
        {"often": [np.nan, 0, 1e12, -5], "days": [np.nan, 1e12, 0, 0], "same": [0, 1, 2, np.nan]}
    )
    degrees = axis.memberships(odd)
    assert np.isfinite(degrees).all()
    assert (degrees >= 0).all()
    assert np.abs(degrees.sum(axis=1) - 1).max() < 1e-9
    centre = axis.centres[1] * axis.scale + axis.middle
    at = pd.DataFrame([centre], columns=list(axis.features))
    assert axis.memberships(at)[0] == pytest.approx([0, 1, 0], abs=1e-6)
    assert axis.memberships(odd.head(0)).shape == (0, 3)


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_the_silhouette_is_that_of_scikit_learn(clusters):
    draw = np.random.default_rng(clusters)
    points = draw.normal(size=(300, 2)).round(1)  # some are alike
    labels = draw.integers(0, clusters, 300)
    labels[labels == 1] = 0
    labels[:1] = 1  # a cluster of one
    assert silhouette(points, labels) == pytest.approx(silhouette_score(points, labels), abs=1e-9)


def test_the_same_rows_give_the_same_axis_and_a_file_gives_it_back(axis):
    again = fit_axis("frequency", ["often", "days", "same"], customers(1)[0])
    assert json.dumps(again.record()) == json.dumps(axis.record())
    read = Axis.of_record(json.loads(json.dumps(axis.record())))
    rows = customers(3)[0]
    assert (read.memberships(rows) == axis.memberships(rows)).all()


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"x": np.full(500, 3.0)}),
        pd.DataFrame({"x": np.full(500, np.nan)}),
        pd.DataFrame({"x": np.arange(50.0)}),
        pd.DataFrame({"x": [0.0] * 499 + [1.0]}),
        pd.DataFrame({"x": []}, dtype=float),
    ],
)
def test_where_nothing_varies_or_nobody_is_there_all_are_in_one_cluster(rows):
    axis = fit_axis("a", ["x"], rows)
    assert axis.clusters == ("all",)
    assert (axis.memberships(rows) == 1).all()


def test_an_infinite_value_is_an_end_and_no_crash():
    rows, _ = customers(6)
    rows.loc[::40, "often"] = np.inf
    axis = fit_axis("frequency", ["often", "days"], rows)
    assert axis.clusters == ("low", "middle", "high")
    assert np.isfinite(axis.memberships(rows)).all()


def test_an_archetype_names_the_cluster_on_each_axis_that_has_several(axis):
    rows, _ = customers(4)
    alone = fit_axis("nothing", ["same"], rows)
    axes = [axis, alone]
    text, strength = archetypes(axes, [each.memberships(rows) for each in axes])
    assert set(text) == {"low frequency", "middle frequency", "high frequency"}
    assert ((strength > 1 / 3) & (strength <= 1)).all()
    text, strength = archetypes([alone], [alone.memberships(rows)])
    assert set(text) == {"all"}
