"""What a block of YAML of a feature table comes to in SQL."""

import datetime as dt
from zoneinfo import ZoneInfo

import duckdb
import pytest

from churn_orchestration.components.features.feature_specs import CadenceSpec

BANDS = ("night", "morning", "afternoon", "evening")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"])
@pytest.mark.parametrize("first", ["2024-03-09", "2024-03-30", "2024-10-26", "2024-11-02"])
def test_bands_of_the_day_are_of_the_local_clock_through_changes_of_daylight_saving(
    zone: str, first: str
) -> None:
    flags = CadenceSpec(time="ordered_at", windows=[7]).flags(zone)
    begin = dt.datetime.fromisoformat(first)
    moments = [begin + dt.timedelta(minutes=30 * n) for n in range(3 * 48)]  # UTC
    listed = ", ".join(f"(timestamp '{moment}')" for moment in moments)
    bands = ", ".join(f"({flags[band]})" for band in BANDS)
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        result = db.execute(f"select {bands} from (values {listed}) as t(ordered_at)").fetchall()
    local = [moment.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone)) for moment in moments]
    assert result == [tuple(at.hour // 6 == n for n in range(4)) for at in local]
