"""Planted leaks on a simulated shop, each with its clean twin: the same, made honestly."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.origin import Origin
from churn_orchestration.churn.question import leakage
from churn_orchestration.simulator import World, simulate

HORIZON = Horizon(60)
AS_OFS = [dt.date(2024, month, 1) for month in (3, 4, 5, 6, 7, 8, 9, 10)]

# What a shop knows of a customer at as_of, and what it did after it; straight from the files.
ROWS = """
with orders as (select customer_id, ordered_at::date as day, amount_usd from read_csv(
  '{landing}/orders/*.csv', types={{'amount_usd': 'double'}}, ignore_errors=true)
    where order_id is not null),
seen as (from orders where day <= date '{as_of}')
select customer_id, date '{as_of}' as as_of,
  date '{as_of}' - max(day) as recency, count(*) as frequency, sum(amount_usd) as money,
  count(*) filter (day > date '{as_of}' - 30) as orders_30d,
  count(*) filter (day > date '{as_of}' - 90) as orders_90d,
  avg(amount_usd) as mean_amount, max(day) - min(day) as span,
  max(day) filter (day > date '{as_of}' - 180) - min(day)
    filter (day > date '{as_of}' - 180) as span_180d,
  date '{as_of}' - min(day) as tenure,
  customer_id not in (select customer_id from orders
    where day > date '{as_of}' and day <= date '{as_of}' + 60) as label
from seen group by customer_id having recency < 180 order by 1"""
FEATURES = [
    "recency", "frequency", "money", "orders_30d", "orders_90d", "mean_amount", "span", "span_180d",
    "tenure",
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("calm")
    simulate(World.read("calm", customers=3000), folder, processes=1)
    rows = [
        duckdb.sql(ROWS.format(landing=Path(folder) / "landing", as_of=as_of)).df()
        for as_of in AS_OFS
    ]
    frame = pd.concat(rows, ignore_index=True)
    return frame.assign(chance=_chance(frame))


def _chance(frame: pd.DataFrame) -> np.ndarray:
    """A number from 0 to 1 of each customer, that nothing else knows."""
    return pd.util.hash_array(frame["customer_id"].to_numpy(object)) / 2.0**64


def result(frame: pd.DataFrame, *features: str) -> list[str]:
    """The features that are called leaks, among those of a shop and ``features``."""
    named = [*FEATURES, *features]
    return [leak.feature for leak in leakage.find(frame, "customer_id", named, HORIZON, {})]


def test_an_honest_shop_has_no_leak(shop: pd.DataFrame) -> None:
    assert result(shop) == []


Plant = Callable[[pd.DataFrame], pd.Series]
COPIES: dict[str, Plant] = {
    "bool": lambda f: f["label"],
    "int8": lambda f: f["label"].astype("int8"),
    "nullable": lambda f: f["label"].astype("boolean").mask(f["chance"] < 0.1),
    "category": lambda f: f["label"].map({True: "gone", False: "here"}).astype("category"),
    "string": lambda f: f["label"].map({True: "gone", False: "here"}),
    "inverted": lambda f: ~f["label"],
    "a date": lambda f: pd.Timestamp("2024-01-01") + pd.to_timedelta(f["label"] * 5, "D"),
    "U-shaped": lambda f: (
        np.where(f["label"], np.where(f["chance"] < 0.5, -9.0, 9.0), 0.0) + f["chance"]
    ),
    "with two rows off": lambda f: f["label"] ^ (f.index < 2),
    "with 3 % off": lambda f: f["label"] ^ (((f["chance"] * 1e6) % 100) < 3),
    "with 10 % off": lambda f: f["label"] ^ (((f["chance"] * 1e6) % 100) < 10),
    "near constant within one class": lambda f: f["label"] * 0.0 + ~f["label"] * f["chance"],
    "null where it stays": lambda f: f["chance"].where(f["label"]),
    "one category of one class only": lambda f: np.where(
        f["label"] & (f["chance"] < 0.4), "closed", "open"
    ),
    "a mark of some who left": lambda f: (f["label"] & (f["chance"] < 0.3)).astype(int),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_of_the_label_is_named_whatever_its_shape(shop: pd.DataFrame, kind: str) -> None:
    assert result(shop.assign(status=COPIES[kind](shop)), "status") == ["status"]


@pytest.mark.parametrize("kind", COPIES)
def test_the_same_made_of_another_customers_outcome_passes(shop: pd.DataFrame, kind: str) -> None:
    other = shop.sample(frac=1, random_state=7).reset_index(drop=True)
    twin = COPIES[kind](shop.assign(label=other["label"]))
    assert result(shop.assign(status=twin), "status") == []


def test_an_id_that_encodes_the_outcome_is_named(shop: pd.DataFrame) -> None:
    number = shop.index.to_numpy() * 2 + shop["label"].to_numpy()
    even = shop.assign(account=number)
    assert "account modulo 2" in result(even, "account")
    assert result(shop.assign(account=shop.index.to_numpy() * 2), "account") == []


def test_a_tag_derived_from_the_score_that_the_label_is_made_of(shop: pd.DataFrame) -> None:
    label = shop["chance"] > 0.7
    tagged = shop.assign(label=label, tags=(shop["chance"] > 0.6) * (shop["frequency"] % 7 + 1))
    [leak] = leakage.find(tagged, "customer_id", [*FEATURES, "tags"], HORIZON, {})
    assert leak.feature == "tags"
    assert "after the outcome" in leak.cause
    other = (shop["chance"] * 1e6 % 1) > 0.6
    assert result(shop.assign(label=label, tags=other * (shop["frequency"] % 7 + 1)), "tags") == []


def test_a_label_that_is_a_threshold_on_a_feature_of_the_same_instant(shop: pd.DataFrame) -> None:
    leaks = leakage.find(
        shop.assign(label=shop["recency"] > 60), "customer_id", FEATURES, HORIZON, {}
    )
    assert leaks[0].feature == "recency"
    assert "AUC 1.000" in leaks[0].evidence
    assert "the label is made of it" in leaks[0].cause


def test_the_score_of_a_recency_against_a_label_of_recency(shop: pd.DataFrame) -> None:
    scored = shop.assign(
        rfm_recency=pd.qcut(-shop["recency"], 5, labels=False, duplicates="drop"),
        rfm_sum=pd.qcut(-shop["recency"], 5, labels=False, duplicates="drop") * 100
        + shop["orders_90d"],
    ).assign(label=shop["recency"] > shop["recency"].quantile(0.6))
    without = [name for name in FEATURES if name != "recency"]
    leaks = leakage.find(scored, "customer_id", [*without, "rfm_recency", "rfm_sum"], HORIZON, {})
    assert {"rfm_recency", "rfm_sum"} <= {leak.feature for leak in leaks}
    honest = scored.assign(label=shop["label"])
    assert (
        leakage.find(honest, "customer_id", [*without, "rfm_recency", "rfm_sum"], HORIZON, {}) == []
    )


def test_the_tenure_of_those_who_began_together_against_a_label_of_recency(
    shop: pd.DataFrame,
) -> None:
    together = shop[shop["span_180d"] + shop["recency"] > 165]  # all bought when the window began
    columns = ["span_180d", "mean_amount", "money", "orders_90d", "frequency"]
    honest = together[["customer_id", "as_of", "label", *columns]].reset_index(drop=True)
    same_instant = honest.assign(label=together["recency"].to_numpy() > 30)
    [span, *_] = leakage.find(same_instant, "customer_id", columns, HORIZON, {})
    assert span.feature == "span_180d"
    assert "recency in disguise" in span.cause
    assert leakage.find(honest, "customer_id", columns, HORIZON, {}) == []


def test_without_a_later_day_other_customers_judge(shop: pd.DataFrame) -> None:
    day = shop[shop["as_of"] == shop["as_of"].max()].reset_index(drop=True)
    assert result(day) == []
    assert result(day.assign(status=day["label"]), "status") == ["status"]


def test_a_static_question_is_probed_on_customers_that_did_not_fit_the_tree(
    shop: pd.DataFrame,
) -> None:
    day = shop[shop["as_of"] == shop["as_of"].max()].reset_index(drop=True)
    day = day.assign(account=day.index.to_numpy() * 2 + day["label"])
    leaks = leakage.find(day, "customer_id", [*FEATURES, "account"], Horizon(0), {})
    assert "account modulo 2" in [leak.feature for leak in leaks]


def test_a_span_that_ranks_as_the_silence_does_is_recency_in_disguise(shop: pd.DataFrame) -> None:
    together = shop[shop["span_180d"] + shop["recency"] > 165].reset_index(drop=True)
    same_instant = together.assign(label=together["recency"] > 30, since=together["span_180d"])
    origins = {"recency": Origin("recency"), "since": Origin("own")}
    leaks = leakage.find(
        same_instant, "customer_id", ["recency", "since", "money"], HORIZON, origins
    )
    causes = {leak.feature: leak.cause for leak in leaks}
    assert causes["since"].startswith(
        "most likely recency in disguise, for it ranks as recency does"
    )
    assert causes["recency"].startswith("most likely the label is made of it, the silence")


def test_a_silence_that_nobody_has_together_with_a_feature_is_no_disguise_of_it(
    shop: pd.DataFrame,
) -> None:
    never = shop.assign(tagged=shop["label"].astype(float), visits=np.nan)
    origins = {"recency": Origin("recency"), "visits": Origin("recency"), "tagged": Origin("own")}
    [leak] = leakage.find(
        never, "customer_id", ["recency", "visits", "tagged", "money"], HORIZON, origins
    )
    assert leak.cause.startswith(
        "most likely the label is made of it, or it of the label: take tagged out"
    )


@pytest.mark.parametrize("wrong", [0.0, 0.05])
def test_a_pair_that_answers_only_together_is_named_and_one_of_chance_is_not(
    shop: pd.DataFrame, wrong: float
) -> None:
    coin = (shop["chance"] * 1e6).astype(int) % 2 == 0
    other = (shop["chance"] * 1e9).astype(int) % 100 < 100 * wrong
    planted = shop.assign(
        coin=coin, both=coin ^ shop["label"] ^ other, chance_too=coin ^ (shop.index % 3 == 0)
    )
    newest = planted["as_of"] == planted["as_of"].max()
    planted["gone"] = planted["money"].mask(newest)  # of nobody on the day that is judged
    features = [*FEATURES, "coin", "both", "chance_too", "gone"]
    [leak] = leakage.find(planted, "customer_id", features, HORIZON, {})
    assert (leak.feature, leak.blocking) == ("coin and both", True)
    assert leakage.find(planted, "customer_id", features, HORIZON, {}, ["both"]) == []
    assert (
        leakage.find(planted, "customer_id", [*FEATURES, "coin", "chance_too", "gone"], HORIZON, {})
        == []
    )


FEES = ["fee_sum", "fee_mean", "fee_max_90d", "amount_sum"]
OF_FEES = {name: Origin(family, frozenset({"orders.fee"})) for name, family in zip(
    FEES, ("value", "size", "size", "value"), strict=True)} | {
    "amount_sum": Origin("value", frozenset({"orders.amount"}))}  # fmt: skip


def fees(shop: pd.DataFrame, paid: pd.Series) -> list[leakage.Leak]:
    """Leaks among the features of a shop and those of a fee, which were paid by some."""
    fee = paid * 25.0
    frame = shop.assign(
        fee_sum=fee, fee_mean=fee.where(fee > 0), fee_max_90d=fee, amount_sum=shop["money"]
    )
    return leakage.find(frame, "customer_id", [*FEATURES, *FEES], HORIZON, OF_FEES)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_measure_written_over_is_named_whatever_family_its_features_are_of(
    shop: pd.DataFrame, share: float
) -> None:
    [leak] = fees(shop, shop["label"] & (shop["chance"] < share))
    assert leak.feature in FEES[:3]
    assert leak.blocking
    other = shop.sample(frac=1, random_state=7).reset_index(drop=True)
    assert fees(shop, other["label"] & (shop["chance"] < share)) == []


def test_a_mark_in_a_weak_feature_is_not_hidden_by_a_strong_one_of_its_column(
    shop: pd.DataFrame,
) -> None:
    marked = shop.assign(
        least=shop["mean_amount"].mask(shop["label"] & (shop["chance"] < 0.3), -1.0)
    )
    strong = shop["recency"] + 90 * shop["chance"]  # ranks better than the mark, and is no leak
    column = frozenset({"orders.amount"})
    origins = {"least": Origin("size", column), "best": Origin("value", column)}
    leaks = leakage.find(
        marked.assign(best=strong), "customer_id", [*FEATURES, "least", "best"], HORIZON, origins
    )
    assert [leak.feature for leak in leaks] == ["least"]


def locked(shop: pd.DataFrame) -> pd.DataFrame:
    """A shop where nobody leaves before the third order."""
    return shop.assign(label=shop["label"] & (shop["frequency"] > 2))


def test_a_minimum_term_of_landed_events_is_a_warning_and_no_leak(shop: pd.DataFrame) -> None:
    origins = {"frequency": Origin("frequency", landed=True)}
    [leak] = leakage.find(locked(shop), "customer_id", FEATURES, HORIZON, origins)
    assert (leak.feature, leak.blocking) == ("frequency", False)
    assert "from 1 to 2 has 0 of" in leak.evidence
    assert "a minimum term?" in leak.cause
    assert "had landed by then" in leak.cause


def test_a_minimum_term_in_an_attribute_blocks_in_milder_words(shop: pd.DataFrame) -> None:
    [leak] = leakage.find(locked(shop), "customer_id", FEATURES, HORIZON, {})
    assert (leak.feature, leak.blocking, leak.innocent) == ("frequency", True, "a minimum term")
    assert leak.cause.startswith("nobody there can or does leave (a minimum term?)")


def test_a_mark_of_those_who_left_is_no_minimum_term(shop: pd.DataFrame) -> None:
    calls = (shop["label"] & (shop["chance"] < 0.3)) * (1 + shop["frequency"] % 3)
    [leak] = leakage.find(
        shop.assign(calls=calls), "customer_id", [*FEATURES, "calls"], HORIZON, {}
    )
    assert (leak.feature, leak.blocking, leak.innocent) == ("calls", True, "")


def test_what_is_vouched_for_is_not_judged_and_explains_its_likes(shop: pd.DataFrame) -> None:
    alike = locked(shop).assign(paid=shop["frequency"] * 10.0)
    names = [*FEATURES, "paid"]
    assert leakage.find(alike, "customer_id", names, HORIZON, {}) != []
    assert leakage.find(alike, "customer_id", names, HORIZON, {}, ["frequency"]) == []
