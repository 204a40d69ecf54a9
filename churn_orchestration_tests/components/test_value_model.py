"""What customers will spend, through the tables of a business of which the truth is known."""

import datetime as dt
import shutil

import dagster as dg
import numpy as np
import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.components.tree import component_tree
from churn_orchestration.components.value import fits as fits_module
from churn_orchestration.components.value.spend import Forecasts
from churn_orchestration.components.value.value_model import ValueModel
from churn_orchestration.definitions import definitions_of
from churn_orchestration.report.explain import explain
from churn_orchestration.report.ranking import listed
from churn_orchestration.report.value import value_report
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.in_process import IN_PROCESS
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, metadata, why_not_loaded

pytestmark = IN_PROCESS
LAYERS = (*UP_TO_FEATURES, "predictions", "values", "monitoring")
CUSTOMERS, FIRST = 400, dt.date(2023, 7, 1)
SPEND = """\
type: churn_orchestration.components.ValueModel
attributes:
  name: spend_30d
  features: customer_features
  activity: orders
  measure: amount
  horizon_days: 30
  tiers: [{name: small}, {name: large, start: 40}]
"""


@pytest.fixture
def spending(shop):
    """Four hundred customers of half a year, each with a pace and an amount of its own."""
    shop.change("business.yaml", "history_from: 2024-01-01", f"history_from: {FIRST}")
    shop.write("values/defs.yaml", SPEND)
    draw = np.random.default_rng(5)
    rows = {}
    for customer in range(CUSTOMERS):
        day, pace = draw.integers(0, 120), draw.gamma(2, 10) + 2
        usual, stays = draw.gamma(4, 5) + 1, draw.exponential(200)
        since = day
        while day < 204 and day - since <= stays:
            amount = max(0.01, round(usual * draw.gamma(6, 1 / 6), 2))
            rows.setdefault(int(day), []).append((customer, amount))
            day += 1 + draw.exponential(pace)
    for day, orders in rows.items():
        on = FIRST + dt.timedelta(days=day)
        lines = "".join(
            f"o{day}-{customer},c{customer:03},{on} 10:00,{amount}\n" for customer, amount in orders
        )
        shop.land(f"orders_{on}.csv", "order_id,customer_id,ordered_at,amount_usd\n" + lines)
    return shop


def test_every_customer_who_bought_is_forecast_with_an_interval_a_tier_and_the_day_it_is_known(
    spending,
):
    spending.refresh(5, 6, layers=LAYERS)
    rows = spending.published(
        "select count(*), count(distinct customer_id), min(expected_spend) > 0, "
        "bool_and(low <= expected_spend or low = 0), bool_and(low <= high), "
        "bool_and((tier = 'large') = (expected_spend >= 40)), min(outcome_known_on), "
        "bool_and(forecaster = 'blend' "
        "or abs(expected_spend - expected_purchases * spend_per_purchase) < 1e-9) "
        f"from values.spend_30d where as_of = date '{JAN[6]}'"
    )
    assert rows == [(CUSTOMERS, CUSTOMERS, True, True, True, True, dt.date(2024, 2, 5), True)]
    about = metadata(spending, "values/spend_30d", JAN[6])
    assert about["intervals_from"].value == "2023-11-30"


def test_what_was_forecast_of_an_earlier_day_is_compared_with_what_came(spending):
    spending.refresh(5, layers=LAYERS)
    known = dict(
        spending.published(
            "select forecaster || ' ' || metric, value from monitoring.spend_30d_value"
        )
    )
    assert known["served rmse"] < known["mean_of_the_last rmse"]
    assert {"process rmse", "tweedie rmse", "two_part rmse", "last_period rmse"} <= known.keys()
    assert 0.7 < known["served total_ratio"] < 1.3
    assert 0.75 < known["served coverage"] < 0.95
    assert spending.published(
        "select distinct as_of, measured_on from monitoring.spend_30d_value"
    ) == [(dt.date(2023, 11, 30), JAN[5])]


def test_intervals_that_hold_too_few_outcomes_are_a_warning(shop):
    shop.write("values/defs.yaml", SPEND)
    definitions = definitions_of(shop.business)
    model = next(iter(component_tree(shop.business).get_all_components(of_type=ValueModel)))
    assert any(
        key.name == "intervals_hold" for key in definitions.resolve_asset_graph().asset_check_keys
    )
    assert model._intervals_hold({}).passed  # no outcome is known yet
    assert model._intervals_hold({"served_coverage": 0.76}).passed
    short = model._intervals_hold({"served_coverage": 0.66})
    assert not short.passed
    assert short.description.startswith("66% of the outcomes lie within their 80% interval")


def test_a_day_made_again_has_the_same_bytes_and_later_rows_change_nothing_of_it(spending):
    spending.refresh(5, 6, layers=LAYERS)
    files = sorted(path.name for path in spending.business.state.glob("values/spend_30d/*"))
    spending.land_orders(7, f"x1,c001,{JAN[2]} 10:00,5000", f"x2,new,{JAN[7]} 10:00,70")
    spending.refresh(7, layers=LAYERS)
    spending.refresh(5, 6, layers=["values"])
    again = sorted(path.name for path in spending.business.state.glob("values/spend_30d/*"))
    assert files == [name for name in again if not name.startswith(str(JAN[7]))]


def test_the_commands_show_tiers_intervals_and_how_forecasts_came_out(spending):
    spending.change("churn_90d/defs.yaml", "value: orders_amount_sum_7d", "value: spend_30d")
    quick = "horizon_days: 30\n  learner: logistic\n  test_as_ofs: 1\n  snapshots: {as_ofs: 2}"
    spending.change("churn_90d/defs.yaml", "horizon_days: 90", quick)
    spending.refresh(5, 6, layers=LAYERS)
    facts, text = value_report(spending.business, None, None, 3)
    result = facts["values"]["spend_30d"]
    assert [row["tier"] for row in result["tiers"]] == ["large", "small"]
    assert len(result["largest"]) == 3
    assert "How the forecasts of 2023-11-30 came out" in text
    who = result["largest"][0]["customer_id"]
    assert (
        f"  spend_30d: {result['largest'][0]['expected_spend']:,.0f} expected, "
        in explain(spending.business, who, None)[1]
    )
    with pytest.raises(BusinessError, match='no value model "other", but spend_30d'):
        value_report(spending.business, "other", None, 3)
    with pytest.raises(BusinessError, match="no 2024-01-09; there are 2024-01-05 to 2024-01-06"):
        value_report(spending.business, None, JAN[9], 3)
    assert_at_stake_is_expected_spend(spending)
    with at_work(spending.business) as work:
        graph = work.definitions.resolve_asset_graph()
        reads = graph.get(dg.AssetKey(["predictions", "churn_90d"])).parent_keys
        assert dg.AssetKey(["values", "spend_30d"]) in reads
        work.train(JAN[6])
        assert_rows_held_out_have_what_was_expected_then(work)


def test_with_a_discount_a_whole_future_is_worth_more_than_the_horizon_and_is_null_without(
    spending,
):
    worth = "count(*) filter (lifetime_value > expected_spend), count(lifetime_value), count(*)"
    spending.refresh(5, layers=LAYERS)
    assert spending.published(f"select {worth} from values.spend_30d") == [(0, 0, CUSTOMERS)]
    spending.write("values/defs.yaml", SPEND + "  yearly_discount: 0.1\n")
    spending.refresh(5, layers=LAYERS)
    [(more, known, every)] = spending.published(f"select {worth} from values.spend_30d")
    assert known == every == CUSTOMERS
    assert more > 0.95 * CUSTOMERS


def assert_at_stake_is_expected_spend(shop):
    both = (
        "from predictions.churn_90d as p full join values.spend_30d as v using (customer_id, as_of)"
    )
    assert shop.published(
        f"select count(*), count(*) filter (p.recent_value = v.expected_spend) {both}"
    ) == [(2 * CUSTOMERS, 2 * CUSTOMERS)]
    facts, text = listed(shop.business, JAN[6], None, 3)
    [(stake, who)] = shop.published(
        f"select churn_probability * expected_spend, customer_id {both} "
        f"where as_of = date '{JAN[6]}' order by 1 desc limit 1"
    )
    assert (facts["customers"][0]["at_stake"], facts["customers"][0]["customer_id"]) == (stake, who)
    assert "probability of churn x expected spend (spend_30d)" in text
    in_words = f"; at stake {stake:,.0f} usd of an expected spend (spend_30d) of "
    assert in_words in explain(shop.business, who, None)[1]


def assert_rows_held_out_have_what_was_expected_then(work):
    """Of days before the first that is stored, what a run of them would have stored."""
    [model] = work.tree.get_all_components(of_type=ValueModel)
    settings = work.questions()["churn_90d"]
    with work.warehouse.open() as tables:
        gold = tables.db.execute("from gold.customer_features order by customer_id, as_of").df()
        stored = "select expected_spend from values.spend_30d order by customer_id, as_of"
        assert [(value,) for value in settings.spend.of(tables, gold)] == tables.rows(stored)
        [held_out] = work.business.state.glob("models/churn_90d/*.parquet")
        graded = tables.db.execute(f"from '{held_out}'").df()
        as_of = graded["as_of"].min().date()
        question, fits = model.forecasting(work.tree, work.business)
        rows = f"({features_at(settings.question.features, as_of)})"
        forecast, _ = Forecasts(question, fits(tables)).of_day(rows, as_of)
    expected = forecast.set_index("customer_id")["expected_spend"]
    of_day = graded[graded["as_of"].dt.date == as_of]
    assert as_of < JAN[5]
    assert of_day["recent_value"].tolist() == of_day["customer_id"].map(expected).tolist()
    assert len(of_day) > 50


@pytest.mark.parametrize(
    ("value", "model", "message"),
    [
        ("spend", "", 'value "spend" is no feature of customer_features, nor a value model; there'),
        ("orders_count_7d", "name: orders_count_7d",
         "churn_90d/defs.yaml:3: churn_90d: value: \"orders_count_7d\" is a feature of "
         "customer_features and a value model: give the model another name"),
        ("spend_30d", "features: others",
         "value: spend_30d forecasts those of others, not of customer_features"),
    ],
)  # fmt: skip
def test_a_value_that_is_nothing_or_two_things_is_refused(shop, value, model, message):
    shop.write("values/defs.yaml", SPEND)
    if model:
        old = "name: spend_30d" if "name" in model else "features: customer_features"
        shop.change("values/defs.yaml", f"  {old}\n", f"  {model}\n")
    if "others" in model:
        text = (shop.folder / "gold" / "defs.yaml").read_text()
        text = text.replace("name: customer_features", "name: others")
        shop.write("others/defs.yaml", text.replace("name: orders\n", "name: purchases\n"))
        shop.change("values/defs.yaml", "activity: orders", "activity: purchases")
    shop.change("churn_90d/defs.yaml", "value: orders_amount_sum_7d", f"value: {value}")
    assert message in why_not_loaded(shop)


def test_a_mart_reads_what_is_expected_of_its_day(spending):
    spending.write(
        "marts/defs.yaml",
        "type: churn_orchestration.components.SqlTables\nattributes:\n  layer: marts\n"
        "  tables: {future: {key: [tier]}}\n",
    )
    spending.write(
        "marts/future.sql",
        "select tier, count(*) as customers from values.spend_30d where as_of = $as_of group by 1",
    )
    spending.refresh(5, 6, layers=(*UP_TO_FEATURES, "values", "marts"))
    assert spending.published(
        "select as_of, sum(customers)::int from marts.future group by 1 order by 1"
    ) == [(JAN[5], CUSTOMERS), (JAN[6], CUSTOMERS)]


def test_a_currency_that_is_no_column_is_named(spending):
    spending.write("values/defs.yaml", SPEND + "  currency: curency\n")
    with pytest.raises(BusinessError, match='currency: silver.orders has no column "curency"'):
        spending.refresh(5, layers=(*UP_TO_FEATURES, "values"))


def test_a_rule_of_segments_reads_what_is_expected_to_be_spent(spending):
    spending.write(
        "segments/defs.yaml",
        """\
type: churn_orchestration.components.Segments
attributes:
  name: by_future
  features: customer_features
  value: spend_30d
  segments:
    - {name: much, when: tier = 'large' and expected_purchases > 1}
  rest: {name: little}
""",
    )
    spending.refresh(5, layers=(*UP_TO_FEATURES, "values", "segments"))
    [(wrong, much)] = spending.published(
        "select count(*) filter ((expected_spend >= 40 and expected_purchases > 1) <> "
        "(segment = 'much')), count(*) filter (segment = 'much') "
        "from segments.by_future join values.spend_30d using (customer_id, as_of)"
    )
    assert wrong == 0
    assert much > 10


def test_too_few_customers_have_no_forecast_and_it_says_why(shop):
    shop.write("values/defs.yaml", SPEND)
    shop.land_quiet_days(1, 6)
    shop.refresh(5, 6, layers=LAYERS)
    assert shop.published("select count(*) from values.spend_30d") == [(0,)]
    reason = metadata(shop, "values/spend_30d", JAN[6])["no_forecast"].value
    assert reason.startswith("too few customers: 1")


def test_refunds_among_the_amounts_are_refused_with_the_remedy(shop):
    shop.write("values/defs.yaml", SPEND)
    shop.change("raw/defs.yaml", "amount_usd > 0", "amount_usd <> 0")
    shop.land_quiet_days(1, 5)
    shop.land_orders(5, f"o5,ann,{JAN[5]} 10:00,-5")
    refused = shop.refresh(4 + 1, 6, layers=(*UP_TO_FEATURES, "values")).refused
    assert "1 rows of silver.orders have amount_usd below 0" in str(refused["values.spend_30d"])


def test_two_currencies_are_refused_with_the_remedy(shop):
    shop.write("values/defs.yaml", SPEND + "  currency: currency\n")
    shop.change(
        "silver/orders.sql", "known_on,", "'usd' || (day = '2024-01-03') as currency, known_on,"
    )
    shop.change("churn_90d/defs.yaml", "value: orders_amount_sum_7d", "value: spend_30d")
    shop.land_quiet_days(1, 5)
    refused = shop.refresh(5, layers=(*UP_TO_FEATURES, "values")).refused
    reason = "has amounts in usdfalse and usdtrue: let its .sql"
    assert reason in str(refused["values.spend_30d"])
    refused = shop.refresh(5, layers=["predictions"]).refused
    at_stake = refused["predictions.churn_90d"][str(JAN[5])]
    assert "values.spend_30d" in at_stake and reason in at_stake


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("measure: amount", "measure: price",
         "defs.yaml:3: spend_30d: measure: there is no price (amount)"),
        ("activity: orders", "activity: visits", "activity: there is no visits (orders)"),
        ("features: customer_features", "features: x", "there is no x (customer_features)"),
        ("start: 40", "start: 0", "large starts at 0, not above small (0): two tiers"),
        ("{name: small}", "{name: small, start: 5}", "tiers: small, the lowest, starts at 0"),
        ("horizon_days: 30", "horizon_days: 0", "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_forecast_is_refused_by_file_and_line(shop, old, new, message):
    shop.write("values/defs.yaml", SPEND)
    shop.change("values/defs.yaml", old, new)
    assert message in why_not_loaded(shop)


def fits_of(business):
    """From an open warehouse to the fits of the one value model, and where they are kept."""
    tree = component_tree(business)
    [model] = tree.get_all_components(of_type=ValueModel)
    return model.forecasting(tree, business)[1], business.state / "fits" / "spend_30d"


def test_what_is_learned_of_a_part_does_not_depend_on_what_was_learned_before(
    spending, monkeypatch
):
    spending.refresh(5, layers=UP_TO_FEATURES)
    monkeypatch.setattr(fits_module, "MOST_LEARNED", 150)  # of about 280 and 400 customers
    early, late = dt.date(2023, 10, 31), dt.date(2023, 12, 31)
    kept = []
    with at_work(spending.business) as work, work.warehouse.open() as tables:
        fits, folder = fits_of(spending.business)
        for order in ((early, late), (late, early), (early,)):
            shutil.rmtree(folder, ignore_errors=True)
            made = fits(tables)
            members = {day: made.members(day) for day in order}
            table = members[early].forecast(*rows_and_process(made, early))
            kept.append(table["tweedie"].tolist())
    assert kept[0] == kept[1] == kept[2]


def rows_and_process(fits, day):
    """The rows that are learned from on a day, and what the process says of them."""
    last = max(fits.known(day))
    [frame] = fits._read([last], day).values()
    return frame, fits.process(day).of(frame)


def test_history_that_is_other_than_it_was_is_fitted_again(spending):
    spending.refresh(5, layers=LAYERS)
    total = "select sum(expected_spend) from values.spend_30d"
    [(before,)] = spending.published(total)
    sql = spending.business.folder / "silver" / "orders.sql"
    sql.write_text(sql.read_text().replace("day, amount_usd", "day, 2 * amount_usd as amount_usd"))
    spending.refresh(5, layers=LAYERS)
    [(after,)] = spending.published(total)
    assert after == pytest.approx(2 * before, rel=0.02)


def test_a_day_on_which_nobody_is_left_to_forecast_has_no_row(spending):
    spending.write("values/defs.yaml", SPEND + "  observation_days: 1\n")
    spending.land(f"orders_{JAN[6]}.csv", "order_id,customer_id,ordered_at,amount_usd\n")
    spending.refresh(5, 6, layers=LAYERS)
    counts = "select as_of, count(*) from values.spend_30d group by 1 order by 1"
    [(day, customers)] = spending.published(counts)
    assert (day, customers > 0) == (JAN[5], True)
    assert metadata(spending, "values/spend_30d", JAN[6])["expected_spend"].value == 0
