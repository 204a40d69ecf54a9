"""`churn explain` at a door that is written down by hand: integer ids, nulls, several
forecasters.
"""

import datetime as dt
from typing import Any

import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.report.customer import changed_features, introduced
from churn_orchestration.report.explain import explain
from churn_orchestration.report.history import band_since, largest_move, sparkline
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.warehouse import quoted
from churn_orchestration_tests.support.shop import JAN, Shop

CATALOGUE = [
    # feature, source, family, unit, window, phrase, null_phrase, zero_phrase
    ("visits_days_since_last", "visits", "recency", "days", "",
     "last visit {value:.0f} days ago", "no visit yet", ""),
    ("visits_days_since_first", "visits", "tenure", "days", "",
     "first visit {value:.0f} days ago", "no visit yet", ""),
    ("visits_count_all", "visits", "frequency", "count", "all",
     "{value:.0f} visits so far", "no visit so far", "no visit so far"),
    ("visits_count_30d", "visits", "frequency", "count", "30d",
     "{value:.0f} visits in the last 30 days", *["no visit in the last 30 days"] * 2),
    ("visits_fee_sum_all", "visits", "value", "eur", "all",
     "fee of {value:,.0f} eur so far", "no visit so far", ""),
    ("plan_contract_is_yearly", "plan", "plan_contract", "0 or 1", "",
     "contract: yearly", "contract: not given", "contract: not yearly"),
    ("plan_fee", "plan", "plan_fee", "eur", "", "fee of {value:.2f} eur", "fee: not given", ""),
]  # fmt: skip
WORDS = {
    row[0]: dict(
        zip(
            (
                "feature",
                "source",
                "family",
                "unit",
                "window",
                "phrase",
                "null_phrase",
                "zero_phrase",
            ),
            row,
            strict=True,
        )
    )
    for row in CATALOGUE
}

Prediction = tuple[object, float, str, float | None]  # id, probability, forecaster, recent value
Features = tuple[object, int | None, int | None, int, int, float, int | None, float | None]


def publish_scored(
    shop: Shop,
    scored: dict[dt.date, list[Prediction]],
    gold: dict[dt.date, list[Features]],
    kind: str = "bigint",
    question: str = "churn_90d",
) -> None:
    """A door with the predictions and features of some days."""
    with shop.tables() as tables:
        for day, rows in scored.items():
            tables.put_day(f"predictions.{question}", day, _predictions(kind, day, rows))
            tables.days.record(f"predictions.{question}", "stored", {day: len(rows)}, "test")
        for day, features in gold.items():
            names = ", ".join(WORDS)
            rows = f"(values {_values(features)}) as t(id, {names})"
            select = f"select id::{kind} as id, date '{day}' as as_of, * exclude (id) from {rows}"
            tables.put_day("gold.people", day, select)
        tables.days.descends(f"predictions.{question}", ["gold.people"])
        columns = ", ".join(map(quoted, WORDS["plan_fee"]))
        catalogue = f"from (values {_values(CATALOGUE)}) as t({columns})"
        tables.db.execute(f"create or replace table gold.people_catalogue as {catalogue}")
        publish(tables)


def _predictions(kind: str, day: dt.date, rows: list[Prediction]) -> str:
    return f"""
select id::{kind} as id, date '{day}' as as_of, p::double as churn_probability,
  case when p >= 0.5 then 'high' else 'low' end as band, ['↑ last visit 30 days ago'] as reasons,
  forecaster as model_version, null::date as label_known_on, null::bigint as days_since_last,
  value::double as recent_value, false as backtest
from (values {_values(rows)}) as t(id, p, forecaster, value) order by 1"""


def _values(rows: Any) -> str:
    def literal(value: object) -> str:
        text = str(value).replace("'", "''")
        return "null" if value is None else f"'{text}'" if isinstance(value, str) else str(value)

    return ", ".join(f"({', '.join(map(literal, row))})" for row in rows)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no line is wrapped."""
    monkeypatch.setenv("COLUMNS", "118")


def lines(shop: Shop, entity: str, **options: Any) -> list[str]:
    text = explain(shop.business, entity, options.pop("day", None), **options)[1]
    return [line.strip() for line in text.splitlines() if line.strip()]


def error(shop: Shop, entity: str, day: dt.date | None = None) -> str:
    with pytest.raises(BusinessError) as raised:
        explain(shop.business, entity, day)
    return str(raised.value)


def three_days(shop: Shop) -> None:
    """Customer 7: rules, then two days of a model with a jump between them; 8 leaves the
    population.
    """
    publish_scored(
        shop,
        {
            JAN[5]: [(7, 0.6, "rules", 100.0), (8, 0.7, "rules", 10.0)],
            JAN[6]: [(7, 0.2, "m1", 100.0), (8, 0.6, "m1", 10.0), (9, 0.4, "m1", None)],
            JAN[7]: [(7, 0.8, "m1", 100.0), (9, 0.9, "m1", None)],
        },
        {
            JAN[5]: [(7, 3, 40, 5, 2, 50.0, 1, 9.5), (8, 9, 9, 1, 1, 10.0, None, None)],
            JAN[6]: [(7, 4, 41, 5, 2, 50.0, 1, 9.5), (8, 10, 10, 1, 1, 10.0, 0, None)],
            JAN[7]: [(7, 30, 42, 5, 0, 50.0, 1, 9.5), (10, 5, 5, 1, 1, 1.0, 0, 2.0)],
        },
    )


def test_a_customer_is_told_with_its_dates_its_rank_and_what_is_at_stake(shop: Shop) -> None:
    three_days(shop)
    assert lines(shop, "7")[:7] == [
        "id 7, churn_90d on 2024-01-07",
        "visits: first 2023-11-26, last 2023-12-08 (30 days ago); known for 42 days",
        "5 visits so far; fee of 50 eur so far; no visit in the last 30 days",
        "plan: contract: yearly; fee of 9.50 eur",
        "risk: 80%, high; at stake 80 eur of a recent value of 100 eur; 1st of 2 in the list, top "
        "50%",
        "↑ last visit 30 days ago",
        "scored by m1",
    ]


def test_the_history_marks_the_forecaster_and_tells_the_largest_move_of_one_in_words(
    shop: Shop,
) -> None:
    three_days(shop)
    assert lines(shop, "7")[7:] == [
        "how it moved, 3 scored days:",
        "2024-01-05  ▅▂▇  2024-01-07",
        "first 60%, last 80%, lowest 20% on 2024-01-06, highest 80% on 2024-01-07",
        "high since 2024-01-07",
        "2024-01-06: 60% -> 20% as m1 took over from rules, another forecaster",
        "largest move by one forecaster: 20% -> 80% from 2024-01-06 to 2024-01-07",
        "last visit 4 days ago -> 30 days ago",
        "2 visits in the last 30 days -> no visit",
    ]


def test_one_who_left_the_population_is_told_so(shop: Shop) -> None:
    three_days(shop)
    message = lines(shop, "8")
    assert message[0] == "id 8, churn_90d on 2024-01-06"
    assert "no longer in the population on 2024-01-07" in message


def test_without_activity_value_and_known_day_only_what_is_known_is_told(shop: Shop) -> None:
    static = {JAN[5]: [("ann", 0.25, "base_rate", None), ("bob", 0.25, "base_rate", None)]}
    publish_scored(shop, static, {JAN[5]: [("ann", None, None, 0, 0, 0.0, 0, 3.5)]}, kind="varchar")
    assert lines(shop, "ann") == [
        "id ann, churn_90d on 2024-01-05",
        "visits: no visit yet",
        "plan: fee of 3.50 eur",
        "risk: 25%, low; 1st of 2 in the list, top 50%",
        "↑ last visit 30 days ago",
        "scored by base_rate",
        "scored on this day only (low)",
    ]


def test_one_that_gold_knows_outside_the_population_is_told_with_its_last_activity(
    shop: Shop,
) -> None:
    three_days(shop)
    assert error(shop, "10").startswith(
        "churn_90d: id 10 is known (on 2024-01-07: last visit 5 days ago), but was in the "
        "population of no"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("12", "no id 12; did you mean 0012?"),
        ("0012.0", "no id 0012.0; did you mean 0012?"),
        ("ANN", "no id ANN; did you mean ann o'x [b]?"),
        ("0", "no id 0; did you mean 0012?"),
        ("zed", "no id zed in gold.people, nor one that begins so"),
        ("' or '1'='1", "no id ' or '1'='1 in gold.people, nor one that begins so"),
    ],
)
def test_an_unknown_id_is_met_with_the_nearest_ones(
    shop: Shop, settings: str, message: str
) -> None:
    row = (None, None, 0, 0, 0.0, 0, 0.0)
    publish_scored(
        shop,
        {JAN[5]: [("0012", 0.5, "rules", 1.0)]},
        {JAN[5]: [("0012", *row), ("ann o'x [b]", *row)]},
        kind="varchar",
    )
    assert error(shop, settings) == f"churn_90d: {message}"


def test_an_id_with_blanks_quotes_and_brackets_is_found_and_told_whole(shop: Shop) -> None:
    odd = 'o\'x [bold] :smile: "y"'
    publish_scored(shop, {JAN[5]: [(odd, 0.5, "rules", 1.0)]}, {}, kind="varchar")
    assert lines(shop, odd)[0] == f"id {odd}, churn_90d on 2024-01-05"


@pytest.mark.parametrize("settings", ["7", " 7", "007", "7.0"])
def test_an_integer_id_is_found_however_it_is_written(shop: Shop, settings: str) -> None:
    three_days(shop)
    assert explain(shop.business, settings, None)[0]["entity"] == "7"


def test_a_text_asked_of_integer_ids_is_an_id_that_nobody_has(shop: Shop) -> None:
    three_days(shop)
    assert error(shop, "ann") == "churn_90d: no id ann in gold.people, nor one that begins so"


def test_a_day_without_scores_names_the_nearest_one_and_a_day_without_the_customer_its_own(
    shop: Shop,
) -> None:
    three_days(shop)
    assert error(shop, "7", JAN[10]) == (
        "churn_90d: 2024-01-10 was not scored; the nearest scored day is 2024-01-07 "
        "(scored: 2024-01-05 to 2024-01-07)"
    )
    assert error(shop, "8", JAN[7]) == (
        "churn_90d: 8 was not in the population of 2024-01-07; it was scored from 2024-01-05 to "
        "2024-01-06"
    )


def test_a_refused_day_says_why_it_was_not_scored(shop: Shop) -> None:
    three_days(shop)
    with shop.tables() as tables:
        tables.days.record("gold.people", "refused", {JAN[8]: 0}, "test", "no file")
        publish(tables)
    assert "2024-01-08 was not scored (gold.people 2024-01-08 is refused (no file))" in error(
        shop, "7", JAN[8]
    )


def test_of_several_questions_one_is_to_be_named(shop: Shop) -> None:
    three_days(shop)
    publish_scored(shop, {JAN[5]: [(7, 0.1, "rules", 1.0)]}, {}, question="left_30d")
    assert (
        error(shop, "7") == "there are 2 questions; wanted: --question, one of churn_90d, left_30d"
    )
    assert lines(shop, "7", question="left_30d")[0] == "id 7, left_30d on 2024-01-05"


def risk(*steps: tuple[str, float, str]) -> list[dict[str, Any]]:
    return [
        {"as_of": n, "model_version": by, "churn_probability": p, "band": band}
        for n, (by, p, band) in enumerate(steps)
    ]


def test_the_band_counts_from_the_last_time_it_was_entered() -> None:
    rows = risk(("m", 0.8, "high"), ("m", 0.2, "low"), ("m", 0.7, "high"), ("m", 0.8, "high"))
    assert band_since(rows)["as_of"] == 2


def test_the_largest_move_is_one_of_the_customer_not_of_the_forecaster() -> None:
    rows = risk(("rules", 0.1, "low"), ("m", 0.9, "high"), ("m", 0.7, "high"), ("m", 0.6, "high"))
    assert [row["as_of"] for row in largest_move(rows) or ()] == [1, 2]
    assert largest_move(rows[:2]) is None
    assert largest_move(risk(("m", 0.5, "low"), ("m", 0.5, "low"))) is None


def test_a_long_history_is_one_line_of_sixty_blocks() -> None:
    line = sparkline([0.0] * 500 + [1.0] * 500)
    assert line == "▁" * 30 + "█" * 30


def test_what_the_reasons_name_is_told_first_and_one_line_a_family() -> None:
    before = {"visits_days_since_last": 40, "visits_count_all": 5, "visits_count_30d": 0}
    after = {"visits_days_since_last": 41, "visits_count_all": 6, "visits_count_30d": 1}
    assert changed_features(WORDS, before, after, ["↑ last visit 41 days ago"]) == [
        "last visit 40 days ago -> 41 days ago",
        "no visit in the last 30 days -> 1",
    ]


def test_attributes_that_are_not_given_or_do_not_hold_are_left_out() -> None:
    row = {"plan_contract_is_yearly": 0, "plan_fee": None}
    assert introduced({name: WORDS[name] for name in row}, row, JAN[5])[0]["words"] == []
