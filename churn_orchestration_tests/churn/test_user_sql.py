import pytest

from churn_orchestration.churn.user_sql import columns_of, parsed


@pytest.mark.parametrize(
    "condition",
    [
        "day > current_date - 30",
        "placed_at < now()",
        "day = today()",
        "random() < 0.5",
        "age(placed_at) < interval 1 day",
        "id in (select id from orders using sample 10)",
        "nextval('s') > 1",
        "uuid() = id",
    ],
)
def test_what_gives_another_answer_tomorrow_is_refused_by_name(condition):
    with pytest.raises(ValueError, match="rule recent: .* would give another answer tomorrow"):
        parsed(condition, "rule recent")


@pytest.mark.parametrize(
    "condition", ["day > date '2024-01-01'", "age(day, first_day) > interval 1 day", '"now" > 1']
)
def test_days_and_columns_of_the_data_are_let_through(condition):
    assert parsed(condition, "rule") is not None


def test_sql_that_does_not_parse_is_told_with_its_place():
    with pytest.raises(ValueError, match="rule big: not valid SQL: amount >"):
        parsed("amount > (1", "rule big")


def test_the_columns_of_a_condition_are_read_from_it():
    assert sorted(columns_of(parsed("amount > 0 and lower(kind) = 'x'", "rule"))) == ["amount", "kind"]
