import pandas as pd
import pytest

from churn_orchestration.churn.reasons import reasons

CATALOGUE = pd.DataFrame(
    [
        ("orders_days_since_last", "recency", "last order {value:.0f} days ago", "has never ordered"),
        ("orders_count_30d", "frequency", "{value:.0f} orders in 30 days", None),
        ("orders_count_90d", "frequency", "{value:.0f} orders in 90 days", None),
        ("orders_amount_sum_90d", "money", "{value:.2f} USD in 90 days", None),
        ("tenure_days", "tenure", "customer for {value:.0f} days", None),
    ],
    columns=["feature", "family", "phrase", "null_phrase"],
).set_index("feature")
VALUES = pd.DataFrame([[40.4, 0.0, 2.0, 9.5, 100.0]], columns=CATALOGUE.index)


def _of(*contributions: float, top: int = 3) -> list[str]:
    return reasons(pd.DataFrame([contributions], columns=CATALOGUE.index), VALUES, CATALOGUE, top)[0]


def test_the_three_strongest_families_are_named_with_value_and_direction() -> None:
    assert _of(0.9, -0.5, 0.0, 0.3, 0.1) == [
        "↑ last order 40 days ago",
        "↓ 0 orders in 30 days",
        "↑ 9.50 USD in 90 days",
    ]


def test_a_family_counts_by_the_sum_of_its_features() -> None:
    assert _of(0.5, 0.3, 0.3, 0.0, 0.0, top=1) == ["↑ 0 orders in 30 days"]
    assert _of(0.5, 0.9, -0.8, 0.0, 0.0, top=1) == ["↑ last order 40 days ago"]


def test_the_words_come_from_the_strongest_member_that_pushes_the_same_way() -> None:
    assert _of(0.0, -0.6, 0.5, 0.0, 0.0) == ["↓ 0 orders in 30 days"]
    assert _of(0.0, 0.5, -0.4, 0.0, 0.2) == ["↑ customer for 100 days", "↑ 0 orders in 30 days"]
    one_family = CATALOGUE.assign(family="all")
    mixed = pd.DataFrame([[0.5, 0.4, -0.6, 0.0, 0.0]], columns=CATALOGUE.index)
    assert reasons(mixed, VALUES, one_family) == [["↑ last order 40 days ago"]]


def test_a_family_that_moves_nothing_is_not_named() -> None:
    assert _of(0.0, 0.0, 0.0, 0.0, 0.0) == []
    assert _of(0.0, 0.0, 0.0, -0.1, 0.0) == ["↓ 9.50 USD in 90 days"]


def test_each_row_has_its_own_reasons_and_never_has_its_own_words() -> None:
    pushes = pd.DataFrame([[0.9, 0, 0, 0, 0], [0, 0, 0, 0, -0.2]], columns=CATALOGUE.index, index=["a", "b"])
    values = pd.concat([VALUES.assign(orders_days_since_last=None), VALUES])
    assert reasons(pushes, values, CATALOGUE) == [["↑ has never ordered"], ["↓ customer for 100 days"]]


@pytest.mark.parametrize(
    ("values", "catalogue", "message"),
    [
        (VALUES, CATALOGUE.drop("tenure_days"), r"without a catalogue row: \['tenure_days'\]"),
        (VALUES.drop(columns="tenure_days"), CATALOGUE, r"without values: \['tenure_days'\]"),
        (VALUES.assign(tenure_days=None), CATALOGUE, r"no null_phrase for \['tenure_days'\]"),
        (VALUES.iloc[:0], CATALOGUE, "1 rows of contributions, but 0 of features"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    values: pd.DataFrame, catalogue: pd.DataFrame, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reasons(pd.DataFrame(0.1, index=[0], columns=CATALOGUE.index), values, catalogue)
