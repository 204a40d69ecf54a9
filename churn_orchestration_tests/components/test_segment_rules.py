"""Segments by rules: the first that holds, what nobody can be in, and who moved."""

import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.report.explain import explain
from churn_orchestration.report.ranking import exported
from churn_orchestration.report.segments import segments_report
from churn_orchestration.runs import at_work
from churn_orchestration.storage.session import WarehouseError
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, metadata, why_not_loaded

LAYERS = (*UP_TO_FEATURES, "segments")
BY_VALUE = """\
type: churn_orchestration.components.Segments
attributes:
  name: by_value
  features: customer_features
  columns:
    spent: coalesce(orders_amount_sum_7d, 0)
  segments:
    - {name: large, when: spent > 20, action: thank them, priority: 2}
    - {name: silent, when: orders_days_since_last > 2, action: write to them, priority: 1}
    - {name: never, when: spent > 1000}
    - {name: huge, when: spent > 30}
  rest: {name: small}
"""


@pytest.fixture
def segmented(shop):
    """ann orders 1.50 to 8.50 on the days 1 to 8; bob once, on day 5."""
    shop.write("segments/defs.yaml", BY_VALUE)
    shop.land_quiet_days(1, 8)
    shop.land_orders(5, f"o5,ann,{JAN[5]} 10:00,5.50", f"b5,bob,{JAN[5]} 10:00,2")
    return shop


def test_an_action_may_come_later(segmented):
    text = BY_VALUE.replace(", action: thank them", "").replace(", action: write to them", "")
    segmented.write("segments/defs.yaml", text)
    segmented.refresh(5, layers=LAYERS)
    segmented.write("segments/defs.yaml", BY_VALUE)
    segmented.refresh(5, 8, layers=LAYERS)
    assert segmented.published("select distinct action from segments.by_value order by 1") == [
        ("thank them",),
        ("write to them",),
        (None,),
    ]


def test_a_forecast_of_a_day_that_somebody_waived_is_null_to_every_rule(segmented):
    segmented.change("segments/defs.yaml", "  columns:", "  question: churn_90d\n  columns:")
    segmented.change("segments/defs.yaml", "spent > 1000", "band is null")
    segmented.refresh(5, 8, layers=(*UP_TO_FEATURES, "predictions"))
    with segmented.tables() as tables:
        tables.drop_day("predictions.churn_90d", JAN[8])
        tables.db.execute(
            "update meta.days set status = 'refused', reason = 'a try' "
            f"where table_name = 'predictions.churn_90d' and day = date '{JAN[8]}'"
        )
        tables.days.waive("predictions.churn_90d", JAN[8], "a try")
    segmented.refresh(8, layers=["segments"])
    assert segmented.published("select segment from segments.by_value order by customer_id") == [
        ("large",),
        ("silent",),
    ]


def test_the_first_rule_that_holds_names_the_segment_and_none_is_the_rest(segmented):
    segmented.refresh(5, 8, layers=LAYERS)
    assert segmented.published("select * from segments.by_value order by all") == [
        ("ann", JAN[5], "small", None, None, 17.5),
        ("ann", JAN[6], "large", 2, "thank them", 24.0),
        ("ann", JAN[7], "large", 2, "thank them", 31.5),
        ("ann", JAN[8], "large", 2, "thank them", 38.5),
        ("bob", JAN[5], "small", None, None, 2.0),
        ("bob", JAN[6], "small", None, None, 2.0),
        ("bob", JAN[7], "small", None, None, 2.0),
        ("bob", JAN[8], "silent", 1, "write to them", 2.0),
    ]


def test_a_segment_that_nobody_can_be_in_is_named_with_the_one_that_takes_all(segmented):
    segmented.refresh(5, 8, layers=LAYERS)
    assert occurs(segmented) == (
        False,
        "2024-01-08: never: its rule holds for nobody; huge: its rule holds for 1 customers, who "
        "are all in a segment before it (1 in large)",
    )
    segmented.write("segments/defs.yaml", without(BY_VALUE, "never", "huge"))
    segmented.refresh(8, layers=LAYERS)
    assert occurs(segmented) == (True, None)


def test_the_numbers_of_a_day_say_who_is_where_and_which_share_moved(segmented):
    segmented.refresh(5, 8, layers=LAYERS)
    about = metadata(segmented, "segments/by_value", JAN[8])
    assert {name: about[name].value for name in ("large", "silent", "small", "moved_share")} == {
        "large": 1,
        "silent": 1,
        "small": 0,
        "moved_share": 0.5,
    }
    assert {"picture_segments", "picture_flows"} <= about.keys()
    assert "moved_share" not in metadata(segmented, "segments/by_value", JAN[5])


def test_a_day_made_again_is_the_same_file_and_a_changed_rule_makes_its_days_stale(segmented):
    segmented.layers = LAYERS
    segmented.refresh(5, 8)
    files = sorted(segmented.business.state.glob("segments/by_value/*"))
    segmented.refresh(5, 8, layers=["segments"])
    assert files == sorted(segmented.business.state.glob("segments/by_value/*"))
    assert segmented.first_stale(8) is None
    segmented.change("segments/defs.yaml", "spent > 20", "spent > 25")
    assert segmented.first_stale(8) == JAN[5]


def test_the_command_shows_sizes_and_flows_and_explain_and_export_carry_the_segment(
    segmented, tmp_path
):
    segmented.change("segments/defs.yaml", "  columns:", "  question: churn_90d\n  columns:")
    segmented.change(
        "segments/defs.yaml", "spent > 1000", "\"band in ('low', 'medium', 'high', 'critical')\""
    )
    segmented.refresh(5, 8, layers=(*UP_TO_FEATURES, "predictions", "segments"))
    facts, text = segments_report(segmented.business, None, None, JAN[5])
    rows = {row["segment"]: row for row in facts["segments"]["by_value"]["segments"]}
    assert {name: row["customers"] for name, row in rows.items()} == {"large": 1, "silent": 1}
    assert 0 < rows["silent"]["churn_probability"] < 1
    assert facts["segments"]["by_value"]["flows"] == [
        {"was": "never", "now": "large", "customers": 1},
        {"was": "never", "now": "silent", "customers": 1},
    ]
    assert "since 2024-01-05: 2 customers moved" in text
    facts, text = explain(segmented.business, "bob", None)
    [segment] = facts["segments"]
    assert (segment["segment"], segment["since"]) == ("silent", JAN[8])
    assert "by_value: silent since 2024-01-08: write to them" in text
    exported(segmented.business, None, tmp_path / "list.csv", None)
    header, *lines = (tmp_path / "list.csv").read_text("utf-8-sig").splitlines()
    assert header.endswith(",segment_by_value")
    assert sorted(line.rsplit(",", 1)[1] for line in lines) == ["large", "silent"]


def test_a_set_or_day_that_there_is_not_is_named_with_those_that_there_are(segmented):
    with pytest.raises(WarehouseError, match="nothing is published"):
        segments_report(segmented.business, None, None, None)
    segmented.refresh(5, 8, layers=LAYERS)
    with pytest.raises(BusinessError, match='no set of segments "other", but by_value'):
        segments_report(segmented.business, "other", None, None)
    with pytest.raises(BusinessError, match="no 2024-01-04; there are 2024-01-05 to 2024-01-08"):
        segments_report(segmented.business, None, JAN[4], None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("spent > 20", "spent >", "by_value: large: when: not valid SQL"),
        ("spent > 20", "spend > 20",
         'defs.yaml:8: by_value: large: when: no column "spend"; did you mean spent'),
        ("spent > 20", "churn_probability > 0.5",
         'no column "churn_probability"; to read the forecast, name its `question`'),
        ("spent > 20", "tier = 'large'",
         'no column "tier"; to read what is expected to be spent, name its `value` model'),
        ("spent > 20", "day > today()", "today() would give another answer tomorrow"),
        ("name: silent", "name: large", "by_value: two segments are called large"),
        ("spent: coalesce", "segment: coalesce", "columns: segment is there already"),
        ("spent: coalesce", "Segment: coalesce", "columns: Segment is there already"),
        ("features: customer_features", "features: others",
         "features: there is no others (customer_features)"),
        ("features: customer_features", "features: customer_features\n  question: no_such",
         "question: there is no no_such (churn_90d)"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused_by_file_line_and_segment(segmented, old, new, message):
    segmented.change("segments/defs.yaml", old, new)
    assert message in why_not_loaded(segmented)


def test_a_rule_on_a_text_that_is_no_number_is_refused_when_it_runs_by_its_file(segmented):
    segmented.change("segments/defs.yaml", "spent > 1000", "spent > 'much'")
    with pytest.raises(BusinessError, match=r"defs.yaml:3: by_value: Conversion Error"):
        segmented.refresh(5, layers=LAYERS)


def without(text, *names):
    return "\n".join(
        line for line in text.splitlines() if not any(f"name: {name}" in line for name in names)
    )


def occurs(shop):
    with at_work(shop.business) as work:
        keys = work.definitions.resolve_asset_graph().asset_check_keys
        [key] = [key for key in keys if key.name == "occur"]
        [record] = work.instance.event_log_storage.get_asset_check_execution_history(
            check_key=key, limit=1
        )
    result = record.event.dagster_event.event_specific_data
    return result.passed, result.description
