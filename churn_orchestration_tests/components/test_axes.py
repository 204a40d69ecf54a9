"""Axes through the tables of a business: fitted at a month-end, applied to later days as they
are.
"""

import json

import pytest

from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, why_not_loaded

LAYERS = (*UP_TO_FEATURES, "segments")
AXES = """\
type: churn_orchestration.components.Axes
attributes:
  name: behaviour
  features: customer_features
  axes:
    - {name: frequency, features: [orders_count_7d]}
    - {name: silence, features: [orders_days_since_last]}
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


def test_customers_belong_to_clusters_by_degrees_that_come_to_one(busy):
    busy.refresh(5, 7, layers=LAYERS)
    assert busy.published(
        "select count(*), max(abs(list_sum(map_values(frequency_memberships)) - 1)) < 1e-9, "
        "bool_and(segment = frequency || ' frequency / ' || silence || ' silence'), "
        "count(distinct fitted_on) = count(distinct as_of) from segments.behaviour"
    ) == [(260 + 300 + 300, True, True, True)]
    assert busy.published(
        "select (substr(customer_id, 2)::int % 10 = 0) as daily, frequency, count(*) "
        f"from segments.behaviour where as_of = date '{JAN[7]}' group by all order by all"
    ) == [(False, "low", 220), (False, "middle", 50), (True, "high", 30)]


def test_a_day_made_again_has_the_same_bytes_and_keeps_the_axes_of_its_day(busy):
    busy.refresh(5, 6, layers=LAYERS)
    files = sorted(path.name for path in busy.business.state.glob("segments/behaviour/*"))
    kept = sorted((busy.business.state / "fits" / "behaviour").glob("*.json"))
    assert [path.name[:10] for path in kept] == [str(JAN[5]), str(JAN[6])]
    assert [axis["name"] for axis in json.loads(kept[0].read_text())] == ["frequency", "silence"]
    for path in kept:
        path.unlink()
    busy.refresh(5, 6, layers=["segments"])
    assert files == sorted(path.name for path in busy.business.state.glob("segments/behaviour/*"))
    assert kept == sorted((busy.business.state / "fits" / "behaviour").glob("*.json"))


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
    ],
)  # fmt: skip
def test_an_axis_that_cannot_be_is_refused_by_file_and_line(busy, old, new, message):
    busy.change("segments/defs.yaml", old, new)
    assert message in why_not_loaded(busy)
