"""A shop of which much changes on a day, watched through the whole graph: drift, outcomes,
retraining.
"""

import datetime as dt
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from scipy.special import logit

from benchmarks.bad_champion import force_upside_down
from churn_orchestration.automation.retraining import champion_state
from churn_orchestration.business import DEMO, Business, BusinessError
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.catalogue import worded
from churn_orchestration.churn.features.feature import ACTIVITY, topic_of
from churn_orchestration.churn.learning.contributions import contributions
from churn_orchestration.churn.learning.reasons import AGAINST
from churn_orchestration.churn.watching.signals import SIGNALS, what_is_new
from churn_orchestration.cli import main
from churn_orchestration.components.question.monitoring.drift_page import SAMPLED, SHOWN
from churn_orchestration.components.question.training.promotion import record_of
from churn_orchestration.components.recommendations.rules import Declared, Horizons, of_day
from churn_orchestration.definitions import definitions_of
from churn_orchestration.report.watching import watch_report as message
from churn_orchestration.runs import at_work
from churn_orchestration.service import page_server
from churn_orchestration.simulator import World, simulate
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.door import door
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration_tests.support.daemon import Daemon
from churn_orchestration_tests.support.daemon import at_work as daemon_at_work
from churn_orchestration_tests.support.in_process import IN_PROCESS
from churn_orchestration_tests.support.listener import Listener
from churn_orchestration_tests.support.shop import metadata, set_data, without

pytestmark = IN_PROCESS

CUTOFF, CHANGE, LAST = dt.date(2024, 6, 20), dt.date(2024, 7, 1), dt.date(2024, 7, 12)
CALM = dt.date(2024, 6, 28)  # a day on which nothing has changed yet; the daemon refreshes it
ACTING = (*(f"retrain_on_{name}" for name in SIGNALS), "roll_back_champion")
HORIZON = 14
SUDDEN = {"first": CHANGE, "amount": 1.5, "activity": 0.3}


class Watched:
    """The demo's YAML with fewer windows, and a horizon short enough for outcomes to be known.

    ``said``: what each sensor said of the calm day.
    """

    said: dict[str, str]

    def __init__(self, place: Path) -> None:
        self.place, self.folder, self.data = place, place / "shop", place / "data"
        self.state = self.data / "shop"

    def land(self) -> None:
        """Write its declarations and its files."""
        for name, declared in without(DEMO, "actions", "values"):
            copy = self.folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = declared.replace("horizon_days: 90", f"horizon_days: {HORIZON}")
            text = text.replace("[7, 30, 90, 180, 365]", "[7, 30, 90]").replace("365d", "90d")
            # Great Expectations takes ten seconds to import, in each run of the daemon.
            copy.write_text(re.sub(r"  expectations:\n(    .*\n)+", "", text))
        (self.folder / "business.yaml").write_text(
            f"name: shop\nlanding: landing\nhistory_from: 2023-01-01\nstart_date: {CUTOFF}\n"
        )
        simulate(
            World.read("calm", customers=3500, days=563, changes=[SUDDEN]), self.folder, processes=1
        )

    @property
    def business(self) -> Business:
        return Business(self.folder)

    def churn(self, *arguments: str) -> None:
        main(["--business", str(self.folder), *arguments])

    def say(self, sensors: tuple[str, ...]) -> dict[str, str]:
        """What each sensor says of the newest day, none of which wants a run."""
        definitions, said = definitions_of(self.business), {}
        with dg.DagsterInstance.ephemeral() as instance:
            for name in sensors:
                with dg.build_sensor_context(instance, definitions=definitions) as context:
                    result = definitions.resolve_sensor_def(name).evaluate_tick(context)
                assert result.run_requests == []
                said[name] = str(result.skip_message)
        return said

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with door(self.state) as db:
            return db.execute(query).fetchall()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The shop, trained at CUTOFF and landed up to LAST; and, in `before`, up to the calm day."""
    shop = Watched(tmp_path_factory.mktemp("watched"))
    shop.land()
    patch = pytest.MonkeyPatch()
    set_data(patch, shop.data)
    shop.churn("run", "--to", str(CUTOFF))
    shop.churn("train", "--cutoff", str(CUTOFF))
    shop.churn("run", "--to", str(CALM - DAY))
    shutil.copytree(shop.place, before(shop).place)
    shop.churn("run", "--to", str(CALM))
    shop.said = shop.say(ACTING)
    shop.churn("run", "--to", str(LAST))
    yield shop
    patch.undo()


def before(shop: Watched) -> Watched:
    """The same shop as it was before the calm day."""
    return Watched(shop.place.with_name("before"))


def test_on_a_calm_day_no_sensor_fires(watched: Watched) -> None:
    assert set(watched.said) == set(ACTING)
    assert all(said.startswith(f"churn_90d: nothing on {CALM}: ") for said in watched.said.values())


@pytest.mark.thorough
def test_on_a_calm_day_the_daemon_refreshes_and_nothing_fires(
    watched: Watched, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = before(watched)
    set_data(monkeypatch, shop.data)
    daemon = Daemon(shop.folder, shop.data, shop.state / "dagster")
    settings = shop.folder / "business.yaml"
    settings.write_text(settings.read_text() + f"alerts: ['json://{listener.address}/hook']\n")
    daemon.set(CALM + DAY, 1, 59)
    daemon.switch_on(schedule="daily", sensors=(*ACTING, "alerts"))
    with daemon_at_work(daemon, CALM + DAY, 2):
        assert daemon.wait(lambda: daemon.finished("refresh", CALM)).is_success
    with daemon_at_work(daemon, CALM + DAY, 2, 30):  # five minutes between two looks are over
        for name in ACTING:
            said = daemon.wait(lambda name=name: daemon.said(name, CALM))
            assert said.startswith(f"churn_90d: nothing on {CALM}: ")
        daemon.wait(lambda: daemon.looked("alerts", CALM + DAY, 2, 30))
    assert [*daemon.runs("train"), *daemon.runs("roll_back")] == []
    assert listener.titles == []
    days = shop.rows(f"select count(*) from predictions.churn_90d where as_of = '{CALM}'")
    assert days[0][0] > 0


def test_the_change_is_alarmed_within_a_week_and_nothing_before(watched: Watched) -> None:
    alarms = watched.rows(
        "select measured_on, list(distinct verdict) from monitoring.churn_90d_drift where alarm "
        "group by 1 order by 1"
    )
    assert alarms
    assert CHANGE <= alarms[0][0] <= CHANGE + dt.timedelta(days=7)
    assert "harmful" in alarms[-1][1]


def test_amounts_that_rose_follow_from_a_change_that_nobody_accepted_and_are_not_called_harmless(
    watched: Watched,
) -> None:
    message = watched.rows(
        "select distinct verdict, follows from monitoring.churn_90d_drift "
        "where alarm and feature like '%amount_mean%'"
    )
    assert message == [("open", f"bronze.orders {CHANGE}")]


def test_a_day_before_the_champion_has_no_drift_and_each_day_after_has_all_features(
    watched: Watched,
) -> None:
    counts = watched.rows(
        "select measured_on, count(*), count(distinct model_version) from "
        "monitoring.churn_90d_drift group by 1 order by 1"
    )
    assert [day for day, *_ in counts] == [CUTOFF + dt.timedelta(days=n) for n in range(1, 23)]
    assert len({rows for _, rows, _ in counts}) == 1
    assert watched.rows("from monitoring.churn_90d_drift where feature = 'churn_probability'")


def test_what_came_stands_beside_what_was_expected_and_lies_outside_once_the_world_has_changed(
    watched: Watched,
) -> None:
    rows = watched.rows("""
        select c.as_of, e.low, c.value, e.high from monitoring.churn_90d_performance as e
        join monitoring.churn_90d_performance as c using (as_of, metric, model_version)
        where e.kind = 'expected' and c.kind = 'realised' and e.feature is null
          and c.feature is null
          and metric = 'base_rate' and model_version <> 'process' order by 1""")
    assert len(rows) == (LAST - CUTOFF).days - HORIZON
    as_of, _, came, high = rows[-1]
    assert as_of + dt.timedelta(days=3) == CHANGE
    assert came > high  # far more are silent than was to be expected on that day


def test_each_forecast_is_graded_once_its_outcome_is_known_and_the_rest_are_counted(
    watched: Watched,
) -> None:
    known = f"as_of <= date '{LAST}' - {HORIZON}"
    [(forecasts, waiting)] = watched.rows(
        f"select count(*) filter ({known}), count(*) filter (not {known}) from "
        "predictions.churn_90d"
    )
    [(graded, days)] = watched.rows(
        "select count(*), count(distinct measured_on - as_of) from monitoring.churn_90d_graded"
    )
    assert (graded, days) == (forecasts, 1)
    message = watched.rows(
        "select distinct waiting from monitoring.churn_90d_performance where measured_on = "
        f"'{LAST}'"
    )
    assert message == [(waiting,)]


def test_segments_are_measured_with_their_size(watched: Watched) -> None:
    rows = watched.rows("""
        select feature, sum(forecasts) from (select distinct as_of, feature, segment, forecasts
        from monitoring.churn_90d_performance where feature is not null and kind = 'realised')
        group by 1, as_of""")
    [sizes] = [{total for _, total in rows if total}]
    assert len({feature for feature, _ in rows}) == 3
    assert sizes == {
        total
        for (total,) in watched.rows(
            "select count(*) from monitoring.churn_90d_graded group by as_of"
        )
    }


def test_the_terminal_tells_what_came_beside_what_was_expected_and_the_alarms(
    watched: Watched,
) -> None:
    facts, text = message(Business(watched.folder), None)
    [result] = facts["questions"].values()
    newest = LAST - dt.timedelta(days=HORIZON)
    assert (result["performance"]["as_of"], result["performance"]["day"]) == (newest, LAST)
    auc = result["performance"]["metrics"]["auc"]
    assert f"{auc['value']:.3f}" in text
    assert f"{auc['expected']:.3f}" in text
    [(alarms,)] = watched.rows(
        f"select count(*) from monitoring.churn_90d_drift where alarm and measured_on = '{LAST}'"
    )
    assert len(result["drift"]["alarms"]) == alarms > 0
    assert result["first_week"]["says"].startswith("rules is not surely better than champion")
    assert result["first_week"]["says"] in " ".join(text.split())
    assert all(alarm["feature"] in text for alarm in result["drift"]["alarms"][:3])
    assert "harmful: " in text


def test_the_page_of_an_alarmed_day_is_linked_from_the_ui_and_opens_there(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = metadata(watched, "monitoring/churn_90d_drift", LAST)
    with (
        page_server.served(watched.state, "http://127.0.0.1:3000"),
        urllib.request.urlopen(newest["drift_page"].value, timeout=10) as answer,
    ):
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
        text = answer.read().decode()
    assert f"<title>churn_90d: drift on {LAST} from model " in text
    alarmed = watched.rows(
        f"select feature from monitoring.churn_90d_drift where alarm and measured_on = '{LAST}' "
        "order by abs(effect) desc, feature"
    )
    assert all(text.count(feature) for (feature,) in alarmed[:SHOWN])
    rows = re.search(r"([\d,]+) customers of the day \(current\) next to ([\d,]+) rows", text)
    assert rows
    assert all(0 < int(number.replace(",", "")) <= SAMPLED for number in rows.groups())
    assert len(text) < 6e6
    page = Path(newest["drift_page_file"].value)
    assert page.read_text() == text
    drawn = [file.name for file in page.parent.glob("*_drift-*")]
    assert drawn == [page.name], "the newest day of the run alone"
    monkeypatch.setenv("CHURN_BUSINESS", "")  # set first: only then is what the command sets undone
    main(["--business", str(watched.folder), "drift"])
    assert capsys.readouterr().out == f"wrote {page}\n"


def test_of_a_question_that_is_not_watched_it_is_said_which_are(watched: Watched) -> None:
    with pytest.raises(
        BusinessError, match='no "other" is watched, but churn_90d; to watch the days: churn'
    ):
        message(Business(watched.folder), "other")


def test_a_day_run_again_gives_the_same_bytes(watched: Watched) -> None:
    def hashes() -> dict[str, str]:
        with door(watched.state) as db:
            layers = "monitoring|measures|values|segments|marts"
            listed = f"select file from meta.files where table_name ~ '({layers})[.].*'"
            files = [file for (file,) in db.execute(listed).fetchall()]
        return {file: content_hash(watched.state / file) for file in files}

    before = hashes()
    watched.churn("run", "--from", str(LAST), "--to", str(LAST))
    assert hashes() == before
    assert len(before) == (4 + 4 + 3 + 2) * ((LAST - CUTOFF).days + 1)


def test_the_rise_of_a_mover_is_told_by_what_changed_with_the_customer_since(
    watched: Watched,
) -> None:
    movers = watched.rows(
        "select customer_id, churn_probability, churn_probability_before, reasons, model_version, "
        f"forecaster_changed from measures.churn_90d_movers where as_of = '{LAST}' order by rise "
        "desc"
    )
    assert len(movers) == 100
    assert {changed for *_, changed in movers} == {False}
    record = record_of(watched.state, "churn_90d", movers[0][4])
    model = ModelFiles(watched.state, "churn_90d", record["model_version"]).model()
    names, days = list(model.feature_names_in_), (LAST - dt.timedelta(days=7), LAST)
    with door(watched.state) as db:
        gold = db.execute("from gold.customer_features where as_of in (?, ?)", days).df()
        words = db.execute("from gold.customer_features_catalogue").df().set_index("feature")
    for who, now, before, why, *_ in movers[:10]:
        rows = gold[gold["customer_id"] == who].sort_values("as_of")[names].astype(float)
        moved = contributions(model, rows)[0].diff().iloc[1]
        assert moved.sum() == pytest.approx(logit(now) - logit(before), abs=1e-6)
        topic = {
            name: _topic(*words.loc[name, ["source", "family", "window"]], rows.iloc[1])
            for name in names
        }
        sums = moved.groupby(topic).sum()
        strongest = sums.abs().idxmax()
        assert why[0][0] == ("↑" if sums[strongest] > 0 else "↓")
        spoken = [
            worded(rows[name].iloc[1], *words.loc[name, ["phrase", "null_phrase", "zero_phrase"]])
            for name in names
            if topic[name] == strongest
        ]
        rhythm = strongest == "orders/activity" and why[0][2:].startswith("usually orders every")
        assert rhythm or why[0][2:].removesuffix(AGAINST) in spoken, (who, strongest)


def _topic(source: str, family: str, window: str, row: pd.Series) -> str:
    """What a feature is about: silence, where nothing happened in its window."""
    silence = row.get(f"{source}_days_since_last")
    is_idle = window not in ("", "all") and not silence < int(window.removesuffix("d"))
    return f"{source}/{ACTIVITY}" if is_idle else topic_of(source, family)


def test_what_is_at_risk_is_that_of_the_predictions_of_each_day(watched: Watched) -> None:
    differing = watched.rows("""
        select measured_on, customers, round(expected_churners, 6), round(value_at_risk, 2)
        from measures.churn_90d_at_risk where feature is null and band is null
        except select as_of, count(*), round(sum(churn_probability), 6),
          round(sum(churn_probability * recent_value), 2)
        from predictions.churn_90d group by 1""")
    assert differing == []
    days = "select count(distinct measured_on) from measures.churn_90d_at_risk"
    assert watched.rows(days) == [((LAST - CUTOFF).days + 1,)]


def test_what_the_platform_would_change_is_what_features_monitoring_and_orders_say(
    watched: Watched,
) -> None:
    with at_work(watched.business) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        declared = Declared({settings.gold: settings.question.features}, [settings], {}, 4)
        made = {(r.kind, r.subject): r for r in of_day(tables, declared, LAST, Horizons())}
        gold = tables.db.execute(f"from {settings.gold} where as_of = '{LAST}'").df()
        orders = tables.db.execute("select customer_id, day, known_on from silver.orders").df()
    state = champion_state(watched.business, settings)
    assert state
    signalled = [found for find in SIGNALS.values() if (found := find(state))]
    cooled = [found for found in signalled if state.cool_on(found.trigger) <= LAST]
    assert (("retrain", settings.name) in made) == bool(cooled and what_is_new(state))
    assert all(found.trigger == "drift" or found.evidence in made["retrain", settings.name].reason
               for found in cooled)  # fmt: skip
    dull = [name for name in state.declared if gold[name].nunique(dropna=False) < 2]
    said = f"{len(dull)} of {len(state.declared)} features"
    assert (dull == []) or made["drop", settings.gold].advice.endswith(f": {said}")
    assert "add" not in {kind for kind, _ in made}
    back = came_back(orders, settings.question.observation_days, pd.Timestamp(2024, 6, 30))
    assert f"by 2024-06-30, {back:.0%} of those called churned came back" in (
        made["horizon", settings.name].reason
    )


def came_back(orders: pd.DataFrame, window: int, last: pd.Timestamp) -> float:
    """Of those who were silent for the horizon, the share that ordered in the 90 days after it, of
    the three as_ofs, a month apart, of which that is known last.
    """
    known = orders[(orders["known_on"] <= last) & (orders["day"] <= last)]
    silent = returned = 0
    for as_of in (pd.Timestamp(2024, month, 18) for month in (1, 2, 3)):
        before = known[(known["day"] <= as_of) & (known["known_on"] <= as_of)]
        recent = before.groupby("customer_id")["day"].max()
        there = set(recent.index[(as_of - recent).dt.days < window])
        after = known[known["day"] > as_of].assign(wait=(known["day"] - as_of).dt.days)
        first = after.groupby("customer_id")["wait"].min()
        waits = [first.get(name, 10**6) for name in there]
        silent += sum(wait > HORIZON for wait in waits)
        returned += sum(HORIZON < wait <= HORIZON + 90 for wait in waits)
    return returned / silent


def test_where_nothing_speaks_for_a_training_each_sensor_says_so(watched: Watched) -> None:
    message = watched.say(
        ("retrain_on_age", "retrain_on_labels", "retrain_on_schema", "roll_back_champion")
    )
    assert {said.split(":")[1] for said in message.values()} == {f" nothing on {LAST}"}


def test_the_daemon_refreshes_sees_the_drift_trains_once_promotes_and_tells(
    watched: Watched, listener: Listener
) -> None:
    first, second = LAST + DAY, LAST + DAY * 2
    with at_work(watched.business) as work, work.warehouse.open() as tables:
        [settings] = work.questions().values()
        bad = force_upside_down(tables, work.tracking, settings, CUTOFF, CUTOFF)
    settings = watched.folder / "business.yaml"
    settings.write_text(settings.read_text() + f"alerts: ['json://{listener.address}/hook']\n")
    daemon = Daemon(watched.folder, watched.data, watched.state / "dagster")
    daemon.set(second, 1, 59)
    daemon.switch_on(schedule="daily")
    with daemon_at_work(daemon, second, 2):
        assert daemon.wait(lambda: daemon.finished("refresh", first)).is_success
        daemon.switch_on(sensors=("retrain_on_drift", "roll_back_champion", "alerts"))
        trained = daemon.wait(lambda: daemon.finished("train", first))
        assert trained.is_success
    with daemon_at_work(daemon, second, 2, 30):
        daemon.wait(lambda: "churn_90d: a model was promoted" in listener.about("churn_90d"))
    with daemon_at_work(daemon, second + DAY, 2):
        assert daemon.wait(lambda: daemon.finished("refresh", second)).is_success
    with daemon_at_work(daemon, second + DAY, 2, 30):
        said = daemon.wait(lambda: daemon.said("retrain_on_drift", second))
        assert "nothing on" in daemon.wait(lambda: daemon.said("roll_back_champion", second))
    assert len(daemon.runs("train")) == 1  # asked once, and not again on the next day
    assert "nothing on" in said or "cools down" in said
    row = ledger.read(watched.state)[-1]
    assert (row["decision"], row["trigger"], row["parent"]) == ("promote", "drift", bad)
    assert (row["cutoff"], row["decided_on"]) == (str(first), str(first))
    assert row["asked_by"].startswith("sensor retrain_on_drift: ")
    assert "it would learn from outcomes of" in row["asked_by"]
    by = dict(
        watched.rows(
            "select distinct as_of, model_version from predictions.churn_90d where as_of > "
            f"'{LAST}'"
        )
    )
    assert by == {first: bad, second: row["model_version"]}
    message = listener.about("churn_90d")
    assert (
        message.count("churn_90d: a model was promoted")
        == message.count("churn_90d: harmful drift")
        == 1
    )
    promoted = next(post["message"] for _, post in listener.posts if "promoted" in post["title"])
    assert f"Model {row['model_version']} scores churn_90d from {first} on." in promoted
