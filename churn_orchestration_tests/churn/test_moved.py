"""How far customers moved between two days, against a slow oracle, and on made customers."""

import math

import duckdb
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.segments.axes import Axis, fit_axis
from churn_orchestration.churn.segments.changes import (
    ALL,
    Changes,
    Reference,
    Usual,
    prior_days,
    rate_sums,
)

FEATURES = ["often", "days", "amount"]


def rows_of(seed: int, first: int, customers: int) -> pd.DataFrame:
    """Feature rows of customers from a number on; some values are missing, none or far away."""
    draw = np.random.default_rng(seed)
    often = draw.choice([2.0, 20.0], customers, p=[0.7, 0.3]) * draw.gamma(30, 1 / 30, customers)
    table = pd.DataFrame(
        {
            "customer": [f"c{n:05}" for n in range(first, first + customers)],
            "often": often,
            "days": often * draw.gamma(50, 1 / 50, customers),
            "amount": draw.gamma(2, 5, customers),
            "events": draw.integers(0, 14, customers),
            "since": draw.integers(0, 400, customers),
        }
    )
    table.loc[::17, "days"] = np.nan
    table.loc[::23, "amount"] = 1e9
    table.loc[::29, "events"] = pd.NA
    return table


def changes_of(axes: list[Axis], false_alarms: float = 0.02) -> Changes:
    return Changes("customer", axes, 0.5, 1.0, false_alarms, "events", "since")


@pytest.fixture(scope="module")
def made():
    then, now = rows_of(1, 0, 900), rows_of(2, 100, 1_000)
    axes = [
        fit_axis("frequency", ["often", "days"], now),
        fit_axis("value", ["amount", "often"], now),
        Axis("still", (), *[np.empty(0)] * 4, np.zeros((1, 0)), ("all",), 0.0),
    ]
    with duckdb.connect() as db:
        db.register("now_rows", now)
        db.register("then_rows", then)
        yield db, now, then, changes_of(axes)


def slow_row(now, then, changes):
    """One customer's row in plain Python: distance, distances, what rose and fell, its peers."""

    def at(row, axis, f):
        value = row[axis.features[f]]
        value = axis.middle[f] if pd.isna(value) else value
        return (min(max(value, axis.low[f]), axis.high[f]) - axis.middle[f]) / axis.scale[f]

    apart, rose, fell, peers = [], {}, {}, []
    for axis in changes.axes:
        moved = [at(now, axis, f) - at(then, axis, f) for f in range(len(axis.features))]
        rose |= {n: 1 for n, d in zip(axis.features, moved, strict=True) if d >= changes.shifting}
        fell |= {n: 1 for n, d in zip(axis.features, moved, strict=True) if d <= -changes.shifting}
        apart.append(math.sqrt(sum(d * d for d in moved) / len(moved)) if moved else 0.0)
        if len(axis.clusters) > 1:
            place = [at(then, axis, f) for f in range(len(axis.features))]
            far = [math.dist(place, centre) for centre in axis.centres]
            peers.append(f"{axis.clusters[far.index(min(far))]} {axis.name}")
    moving = [d for d, axis in zip(apart, changes.axes, strict=True) if axis.features]
    whole = math.sqrt(sum(d * d for d in moving) / len(moving))
    return whole, apart, list(rose), list(fell), " / ".join(peers)


def test_distances_are_those_of_a_slow_oracle(made):
    db, now, then, changes = made
    assert all(len(axis.clusters) > 1 for axis in changes.axes[:2])
    sql = changes.distances("from now_rows", "from then_rows")
    result = {row["customer"]: row for row in db.execute(sql).df().to_dict("records")}
    assert set(result) == set(now["customer"])
    before = {row["customer"]: row for row in then.to_dict("records")}
    for row in now.to_dict("records"):
        got = result[row["customer"]]
        assert got["was_there"] == (row["customer"] in before)
        if not got["was_there"]:
            assert pd.isna(got["distance"])
            assert pd.isna(got["peers"])
            assert len(got["rose"]) == len(got["fell"]) == 0
            continue
        whole, apart, rose, fell, peers = slow_row(row, before[row["customer"]], changes)
        assert got["distance"] == pytest.approx(whole)
        assert [got[f"{a.name}_distance"] for a in changes.axes] == pytest.approx(apart)
        assert (list(got["rose"]), list(got["fell"]), got["peers"]) == (rose, fell, peers)


def test_a_stated_share_is_above_what_is_unusual_among_peers_and_few_peers_cannot_say(made):
    db, _, _, changes = made
    sql = changes.distances("from now_rows", "from then_rows")
    moved = db.execute(f"select peers, distance from ({sql}) where was_there").df()
    usual = {
        row.pop("peers"): row for row in db.execute(changes.reference(sql)).df().to_dict("records")
    }
    groups = {**dict(iter(moved.groupby("peers")["distance"])), ALL: moved["distance"]}
    assert set(usual) == set(groups)
    for peers, distances in groups.items():
        ranked = sorted(distances, reverse=True)
        k = math.floor(changes.false_alarms * (len(ranked) + 1))
        assert usual[peers]["customers"] == len(ranked)
        assert usual[peers]["distance"] == ranked[(len(ranked) + 1) // 2 - 1]
        assert pd.isna(usual[peers]["unusual_from"]) == (k == 0)
        if k:
            assert usual[peers]["unusual_from"] == ranked[k - 1]
    assert any(len(each) < 49 for each in groups.values())


@pytest.mark.parametrize(("peers", "limit"), [(98, None), (99, 99.0), (198, 198.0), (199, 198.0)])
def test_one_in_a_hundred_is_beyond_the_largest_of_ninety_nine(peers, limit):
    moved = pd.DataFrame({"peers": "a", "distance": np.arange(1.0, peers + 1), "was_there": True})
    with duckdb.connect() as db:
        db.register("moved", moved)
        rows = db.execute(changes_of([], 0.01).reference("from moved")).fetchall()
    middle = peers // 2 + 1  # of an even number, the upper one
    assert rows == [(ALL, peers, middle, limit), ("a", peers, middle, limit)]


def test_where_nothing_is_unusual_no_more_than_the_stated_share_is_marked():
    """Customers of one kind, measured again: over many draws the share comes to the stated one."""
    axis = fit_axis("amount", ["amount"], rows_of(3, 0, 2_000))
    changes, draw = changes_of([axis], 0.05), np.random.default_rng(4)
    marked = []
    with duckdb.connect() as db:
        for _ in range(40):
            db.register("distances", pd.DataFrame(
                {"peers": "a", "distance": draw.lognormal(size=259), "was_there": True}
            ))  # fmt: skip
            [(_, _, _, limit)] = db.execute(changes.reference("from distances")).fetchall()[1:]
            marked.append((draw.lognormal(size=20_000) > limit).mean())
    assert np.mean(marked) == pytest.approx(13 / 260, abs=4 * np.std(marked) / 40**0.5)
    assert np.mean(marked) < 0.06


def test_levels_marks_and_histories_are_by_their_edges(made):
    db, _, _, changes = made
    rows = pd.DataFrame(
        {
            "customer": list("abcdef"),
            "was_there": [True, True, True, True, True, False],
            "distance": [0.49, 0.5, 1.0, 3.0, 3.1, None],
            "frequency_distance": 0.0, "value_distance": 0.0, "still_distance": 0.0,
            "rose": [[]] * 6, "fell": [[]] * 6,
            "peers": ["few", "many", "many", "many", "many", None],
            "events": [None, 1, 2, 5, 9, 10],
            "days": [0, 30, 30, 90, 29, 30],
        }
    )  # fmt: skip
    db.register("made_rows", rows)
    usual = {ALL: Usual(500, 0.1, 0.4), "many": Usual(400, 0.2, 3.0), "few": Usual(9, 9.9, None)}
    sql = changes.day("from made_rows", Reference(usual, 30.0))
    got = db.execute(
        "select segment, usual_distance, is_unusual, history, round(confidence, 4) "
        f"from ({sql}) order by customer"
    ).fetchall()
    assert got == [
        ("stable", 0.1, True, "cold", 0.0),
        ("shifting", 0.2, False, "thin", 0.5),
        ("changed", 0.2, False, "thin", 0.5),
        ("changed", 0.2, False, "some", 0.75),
        ("changed", 0.2, True, "cold", 0.4915),
        ("new", None, None, "rich", 0.5),
    ]
    nothing = Reference({ALL: Usual(0, None, None)}, None)
    sql = changes.day("from made_rows", nothing)
    got = db.execute(f"select is_unusual, confidence, history from ({sql})").fetchall()
    assert set(got) == {(None, None, each) for each in ("thin", "some", "rich")}
    assert Reference.of_record(nothing.record()) == nothing


@pytest.mark.parametrize(("mean", "prior"), [(0.02, 50.0), (0.1, 300.0)])
def test_the_weight_of_an_own_history_is_recovered_from_made_rates(mean, prior):
    draw = np.random.default_rng(7)
    days = draw.integers(0, 700, 40_000)
    rates = draw.gamma(mean * prior, 1 / prior, 40_000)
    made = pd.DataFrame({"n": 1 + draw.poisson(rates * days), "t": days})
    with duckdb.connect() as db:
        db.register("made", made)
        [sums] = db.execute(rate_sums("n", "t", "from made")).fetchall()
        [of_nobody] = db.execute(rate_sums("n", "t", "from made limit 0")).fetchall()
    assert prior_days(*sums) == pytest.approx(prior, rel=0.06)
    assert prior_days(*of_nobody) is None


def test_where_all_buy_alike_an_own_history_says_nothing():
    draw = np.random.default_rng(8)
    x = draw.poisson(10.0, 5_000).clip(8, 12)  # less apart than chance would have it
    assert prior_days(x.sum(), 5_000 * 100, (x * x).sum(), (x * 100).sum(), 5_000 * 10_000) is None
