"""A shop whose prices rise, watched day by day through the whole graph: drift, outcomes, expectations."""

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from churn_orchestration.business import DEMO, Business, BusinessError
from churn_orchestration.report.watching import watched as told
from churn_orchestration.simulator import World, simulate
from churn_orchestration.warehouse import content_hash, door

CUTOFF, RISE, LAST = dt.date(2024, 6, 20), dt.date(2024, 7, 1), dt.date(2024, 7, 12)
HORIZON = 14


class Watched:
    """The demo's YAML with fewer windows, and a horizon short enough for outcomes to be known."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder / "shop", folder / "data"
        self.state = self.data / "shop"
        for path in [*DEMO.rglob("*.yaml"), *DEMO.rglob("*.sql")]:
            copy = self.folder / path.relative_to(DEMO)
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text().replace("horizon_days: 90", f"horizon_days: {HORIZON}")
            copy.write_text(text.replace("[7, 30, 90, 180, 365]", "[7, 30, 90]").replace("365d", "90d"))
        (self.folder / "business.yaml").write_text(
            f"name: shop\nlanding: landing\nhistory_from: 2023-01-01\nstart_date: {CUTOFF}\n"
        )
        simulate(World.read("price_rise", customers=5000, days=560), self.folder, processes=1)

    def churn(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "churn_orchestration.cli", "--business", str(self.folder)]
        environment = os.environ | {"CHURN_DATA": str(self.data)}
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with door(self.state) as db:
            return db.execute(query).fetchall()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The shop, trained at CUTOFF and landed up to LAST."""
    shop = Watched(tmp_path_factory.mktemp("watched"))
    patch = pytest.MonkeyPatch()
    patch.setenv("CHURN_DATA", str(shop.data))
    shop.churn("run", "--to", str(CUTOFF))
    shop.churn("train", "--cutoff", str(CUTOFF))
    shop.churn("run", "--to", str(LAST))
    yield shop
    patch.undo()


def test_the_rise_of_prices_is_alarmed_within_a_week_by_the_features_of_the_amount(watched: Watched) -> None:
    alarms = watched.rows(
        "select measured_on, list(feature order by abs(effect) desc)[:3] from monitoring.churn_90d_drift "
        "where alarm group by 1 order by 1"
    )
    assert alarms
    assert all(day > RISE for day, _ in alarms), alarms
    first, named = alarms[0]
    assert (first - RISE).days <= 7
    assert all("amount" in feature for feature in named)


def test_a_day_before_the_champion_has_no_drift_and_each_day_after_has_all_features(watched: Watched) -> None:
    counts = watched.rows(
        "select measured_on, count(*), count(distinct model_version) from monitoring.churn_90d_drift "
        "group by 1 order by 1"
    )
    assert [day for day, *_ in counts] == [CUTOFF + dt.timedelta(days=n) for n in range(1, 23)]
    assert len({rows for _, rows, _ in counts}) == 1
    assert watched.rows("from monitoring.churn_90d_drift where feature = 'churn_probability'")


def test_what_was_expected_of_a_day_stands_beside_what_came(watched: Watched) -> None:
    [(days, near, inside)] = watched.rows("""
        select count(*), median(abs(c.value - e.value)), avg((c.value between e.low and e.high)::int)
        from monitoring.churn_90d_performance as e
        join monitoring.churn_90d_performance as c using (as_of, metric, model_version)
        where e.kind = 'expected' and c.kind = 'realised' and e.feature is null and c.feature is null
          and metric = 'auc' and model_version <> 'rules'""")
    assert days == (LAST - CUTOFF).days - HORIZON
    assert near < 0.03
    assert inside > 0.5


def test_each_forecast_is_graded_once_its_outcome_is_known_and_the_rest_are_counted(
    watched: Watched,
) -> None:
    known = f"as_of <= date '{LAST}' - {HORIZON}"
    [(forecasts, waiting)] = watched.rows(
        f"select count(*) filter ({known}), count(*) filter (not {known}) from predictions.churn_90d"
    )
    [(graded, days)] = watched.rows(
        "select count(*), count(distinct measured_on - as_of) from monitoring.churn_90d_graded"
    )
    assert (graded, days) == (forecasts, 1)
    told = watched.rows(
        f"select distinct waiting from monitoring.churn_90d_performance where measured_on = '{LAST}'"
    )
    assert told == [(waiting,)]


def test_segments_are_measured_with_their_size(watched: Watched) -> None:
    rows = watched.rows("""
        select feature, sum(forecasts) from (select distinct as_of, feature, segment, forecasts
        from monitoring.churn_90d_performance where feature is not null and kind = 'realised')
        group by 1, as_of""")
    [sizes] = [{total for _, total in rows if total}]
    assert len({feature for feature, _ in rows}) == 3
    assert sizes == {
        total for (total,) in watched.rows("select count(*) from monitoring.churn_90d_graded group by as_of")
    }


def test_the_terminal_tells_what_came_beside_what_was_expected_and_the_alarms(watched: Watched) -> None:
    facts, text = told(Business(watched.folder), None)
    [found] = facts["questions"].values()
    newest = LAST - dt.timedelta(days=HORIZON)
    assert (found["performance"]["as_of"], found["performance"]["day"]) == (newest, LAST)
    auc = found["performance"]["metrics"]["auc"]
    assert f"{auc['value']:.3f}" in text
    assert f"{auc['expected']:.3f}" in text
    [(alarms,)] = watched.rows(
        f"select count(*) from monitoring.churn_90d_drift where alarm and measured_on = '{LAST}'"
    )
    assert len(found["drift"]["alarms"]) == alarms > 0
    assert all(alarm["feature"] in text for alarm in found["drift"]["alarms"][:3])


def test_of_a_question_that_is_not_watched_it_is_said_which_are(watched: Watched) -> None:
    with pytest.raises(BusinessError, match='no "other" is watched, but churn_90d; to watch the days: churn'):
        told(Business(watched.folder), "other")


def test_days_run_again_give_the_same_bytes(watched: Watched) -> None:
    files = sorted((watched.state / "monitoring").rglob("*.parquet"))
    before = {file.name: content_hash(file) for file in files}
    watched.churn("run", "--from", str(LAST - dt.timedelta(days=1)), "--to", str(LAST))
    files = sorted((watched.state / "monitoring").rglob("*.parquet"))
    assert {file.name: content_hash(file) for file in files} == before
    assert len(files) == 3 * ((LAST - CUTOFF).days + 1)
