"""The benchmarks compare like with like."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.campaigns import Shop, large, shops
from benchmarks.features import (
    AS_OFS,
    DECLARED,
    KINDS,
    LAST,
    generate,
    landing,
    months,
    months_of,
    naive,
    one_of,
    ours,
    parts,
    same_values,
)
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.storage.resources import Warehouse


def test_ours_and_naive_sql_give_the_same_features_of_the_same_events(tmp_path: Path) -> None:
    with Warehouse.of(tmp_path).open() as tables:
        generate(tables, events=20_000, entities=500)
        [(events, late)] = tables.rows(
            "select count(*), count(*) filter (known_on > day) from silver.orders"
        )
        assert 15_000 < events < 25_000
        assert 0.01 < late / events < 0.03
        kinds = partial(one_of, KINDS), partial(months_of, KINDS)
        for candidate in (parts, ours, naive, landing, months, *kinds):
            candidate(tables, Namespace(folder=tmp_path))()
        for history in ("months", "kinds"):
            [(as_ofs,)] = tables.rows(
                f"select count(distinct as_of) from '{tmp_path}/{history}/*.parquet'"
            )
            assert as_ofs == len(AS_OFS["months"])
        same = tables.rows(
            f"select count(*) from (from '{tmp_path}/kinds/*.parquet' where as_of = '{LAST}' "
            f"except from '{tables.day_file('gold.kinds', LAST)}')"
        )
        assert same == [(0,)]
    assert (
        same_values(tmp_path) == len(catalogue(DECLARED)) - 2
    )  # naive leaves out two of the trends and gaps


def test_simpler_lists_keep_the_limits_of_the_shop_and_earn_less() -> None:
    shop = Shop.drawn(np.random.default_rng(1), 2_000, 4)
    for choice in (shop.first(shop.risk, 150), shop.in_turn(shop.risk)):
        contacts = np.bincount(choice[choice >= 0], minlength=4)
        assert (contacts <= shop.capacity).all()
        assert 0 < contacts @ shop.cost <= shop.budget
    for name, ratios in shops(8).items():
        assert sum(ratio < 1 for ratio in ratios) >= 7, name


def test_a_list_of_many_is_near_the_best() -> None:
    gap, _, _ = large(20_000, 1)
    assert gap < 0.01
