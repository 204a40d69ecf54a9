"""Axes through the tables of a business: fitted at a month-end, applied to later days as they
are.
"""

import csv
import json

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.segments.axes import Axis
from churn_orchestration.churn.segments.changes import LEVELS
from churn_orchestration.definitions import definitions_of
from churn_orchestration.report.explain import explain
from churn_orchestration.report.ranking import exported
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, metadata, why_not_loaded

LAYERS = (*UP_TO_FEATURES, "segments")
AXES = """\
type: churn_orchestration.components.Axes
attributes:
  name: behaviour
  features: customer_features
  axes:
    - {name: frequency, features: [orders_count_7d]}
    - {name: silence, features: [orders_days_since_last]}
  changes: {activity: orders, days: 1, false_alarms: 0.1}
"""


@pytest.fixture
def busy(shop):
    """Of 300 customers, every tenth orders each day and the others on one day of six."""
    shop.write("segments/defs.yaml", AXES)
    for day in range(1, 8):
        shop.land_orders(
            day,
            *(
                f"o{day}-{each},c{each:03},{JAN[day]} 10:00,5"
                for each in range(300)
                if each % 10 == 0 or each % 6 == day % 6
            ),
        )
    return shop


def test_customers_belong_to_clusters_by_degrees_that_come_to_one_and_move(busy, tmp_path):
    busy.refresh(5, 7, layers=(*LAYERS, "predictions"))
    assert busy.published(
        "select count(*), max(abs(list_sum(map_values(frequency_memberships)) - 1)) < 1e-9, "
        "bool_and(segment = frequency || ' frequency / ' || silence || ' silence'), "
        "count(distinct fitted_on) = count(distinct as_of) from segments.behaviour"
    ) == [(260 + 300 + 300, True, True, True)]
    assert busy.published(
        "select (substr(customer_id, 2)::int % 10 = 0) as daily, frequency, count(*) "
        f"from segments.behaviour where as_of = date '{JAN[7]}' group by all order by all"
    ) == [(False, "low", 220), (False, "middle", 50), (True, "high", 30)]
    moved_as_between_two_days_of_features(busy)
    numbers = metadata(busy, "segments/behaviour_changes", JAN[7])
    assert sum(numbers[level].value for level in LEVELS) == 300
    assert numbers["unusual_share"].value <= 0.1
    assert "picture_changes" in numbers
    text_of_a_customer_and_columns_of_the_list(busy, tmp_path)


def moved_as_between_two_days_of_features(busy):
    """The distances are those of the axes' own numpy between the stored features of two days."""
    [path] = (busy.business.state / "fits" / "behaviour").glob(f"{JAN[7]}-*.json")
    axes = [Axis.of_record(record) for record in json.loads(path.read_text())]
    named = "customer_id, orders_count_7d, orders_days_since_last"
    then, now = (
        pd.DataFrame(
            busy.published(
                f"select {named} from gold.customer_features where as_of = date '{JAN[day]}' "
                f"and customer_id in (select customer_id from gold.customer_features where as_of = "
                f"date '{JAN[6]}') order by 1"
            ),
            columns=named.split(", "),
        )
        for day in (6, 7)
    )
    apart = [((axis.scaled(now) - axis.scaled(then)) ** 2).mean(axis=1) for axis in axes]
    assert np.ptp(apart[0]) > 0
    rows = busy.published(
        "select distance, frequency_distance, silence_distance, compared_with, fitted_on "
        f"from segments.behaviour_changes where as_of = date '{JAN[7]}' and segment <> 'new' "
        "order by customer_id"
    )
    assert [row[3:] for row in rows] == [(JAN[6], JAN[7])] * len(then)
    expected = np.sqrt(np.column_stack([np.mean(apart, axis=0), *apart]))
    assert np.array([row[:3] for row in rows]) == pytest.approx(expected)


def text_of_a_customer_and_columns_of_the_list(busy, tmp_path):
    facts, text = explain(busy.business, "c000", None)
    [change] = [of for of in facts["segments"] if of["set"] == "behaviour_changes"]
    assert f"{change['distance']:.2f} from where it was on {JAN[6]} (its peers " in text
    assert f"history: {change['history']}, confidence {change['confidence']:.0%}" in text
    exported(busy.business, None, tmp_path / "list.csv", None)
    [row] = [
        row
        for row in csv.DictReader((tmp_path / "list.csv").read_text("utf-8-sig").splitlines())
        if row["customer_id"] == "c000"
    ]
    assert row["segment_behaviour_changes"] == change["segment"]
    assert float(row["behaviour_changes_distance"]) == pytest.approx(change["distance"], abs=0.01)
    assert row["behaviour_changes_is_unusual"] == str(change["is_unusual"])
    assert row["behaviour_changes_rose"] == "orders_count_7d"


def test_a_day_made_again_has_the_same_bytes_and_keeps_the_axes_of_its_day(busy):
    busy.refresh(5, 6, layers=LAYERS)
    files = sorted(path.name for path in busy.business.state.glob("segments/behaviour*/*"))
    usual = sorted((busy.business.state / "fits" / "behaviour_changes").glob("*.json"))
    assert len(usual) == 2
    kept = sorted((busy.business.state / "fits" / "behaviour").glob("*.json"))
    assert [path.name[:10] for path in kept] == [str(JAN[5]), str(JAN[6])]
    assert [axis["name"] for axis in json.loads(kept[0].read_text())] == ["frequency", "silence"]
    for path in (*kept, *usual):
        path.unlink()
    busy.refresh(5, 6, layers=["segments"])
    assert files == sorted(path.name for path in busy.business.state.glob("segments/behaviour*/*"))
    assert kept == sorted((busy.business.state / "fits" / "behaviour").glob("*.json"))
    moved_the_same_whether_the_earlier_day_was_made_again_or_not(busy)


def moved_the_same_whether_the_earlier_day_was_made_again_or_not(busy):
    """An earlier day whose files came again is not read as it was stored before."""
    busy.land_orders(5, *(f"more-{each},c{each:03},{JAN[5]} 10:00,5" for each in range(100)))
    busy.refresh(5, layers=UP_TO_FEATURES[:-1])
    rows = f"from segments.behaviour_changes where as_of = date '{JAN[6]}' order by customer_id"
    before = busy.published(rows)
    busy.refresh(6, layers=LAYERS)
    alone = busy.published(rows)
    assert alone != before
    busy.refresh(5, 6, layers=LAYERS)
    assert busy.published(rows) == alone


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("orders_count_7d", "orders_cuont_7d",
         'defs.yaml:6: behaviour: frequency: customer_features has no feature "orders_cuont_7d"; '
         "did you mean orders_count_7d"),
        ("features: customer_features", "features: x", "there is no x (customer_features)"),
        ("name: silence", "name: frequency", "behaviour: two axes are called frequency"),
        ("name: silence", "name: frequency_memberships",
         "behaviour: two columns would be called frequency_memberships"),
        ("name: silence", "name: strength", "behaviour: two columns would be called strength"),
        ("activity: orders", "activity: visits",
         "defs.yaml:3: behaviour: changes: activity: customer_features has no source visits "
         "(orders)"),
        ("days: 1", "days: 1, shifting: 2", "changed is 1, not above shifting (2)"),
        ("name: silence", "name: usual", "changes: two columns would be called usual_distance"),
    ],
)  # fmt: skip
def test_an_axis_that_cannot_be_is_refused_by_file_and_line(busy, old, new, message):
    busy.change("segments/defs.yaml", old, new)
    assert message in why_not_loaded(busy)


def test_a_set_that_is_called_as_the_changes_of_another_is_refused_by_file_and_line(busy):
    other = AXES.partition("  changes")[0].replace("behaviour", "behaviour_changes")
    busy.write("others/defs.yaml", other)
    assert why_not_loaded(busy) == (
        f"{busy.folder}/others/defs.yaml:3: 2 blocks make segments.behaviour_changes: give one of "
        "them another name"
    )


def test_a_campaign_may_read_who_changed(busy):
    busy.write(
        "actions/defs.yaml",
        "type: churn_orchestration.components.Campaign\nattributes:\n  name: calls\n"
        "  churn: churn_90d\n  value: 50\n  segments: [behaviour_changes]\n  actions:\n"
        "    - {name: call, channel: phone, owner: ann, cost: 1, effect: {low: 0, high: 0.2}, "
        "when: behaviour_changes = 'changed'}\n",
    )
    defs = definitions_of(busy.business)
    key = dg.AssetKey(["actions", "calls"])
    parents = defs.resolve_asset_graph().get(key).parent_keys
    assert dg.AssetKey(["segments", "behaviour_changes"]) in parents
    busy.change("actions/defs.yaml", "segments: [behaviour_changes]", "segments: [moved]")
    assert "there is no moved (behaviour, behaviour_changes)" in why_not_loaded(busy)
