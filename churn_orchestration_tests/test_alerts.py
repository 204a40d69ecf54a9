"""Alerts of a real business, sent to servers on this machine that really speak HTTP and SMTP."""

import datetime as dt
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from apprise.plugins.slack import NotifySlack
from click.testing import CliRunner

from churn_orchestration import cli
from churn_orchestration.automation import alerts
from churn_orchestration.automation.alerts import Alert
from churn_orchestration.business import BusinessError
from churn_orchestration.definitions import definitions_of
from churn_orchestration.runs import at_work
from churn_orchestration.storage import ledger
from churn_orchestration_tests.support.champions import STEADY, interval
from churn_orchestration_tests.support.in_process import commanded
from churn_orchestration_tests.support.listener import Listener
from churn_orchestration_tests.support.questions import SILENT, asking
from churn_orchestration_tests.support.shop import Shop

GONE_STALE = """{"__class__": "FreshnessStateChange",
    "key": {"__class__": "AssetKey", "path": ["predictions", "q"]},
    "previous_state": {"__enum__": "FreshnessState.PASS"},
      "new_state": {"__enum__": "FreshnessState.FAIL"},
    "state_change_timestamp": 1704500000.0}"""  # as Dagster's daemon stores it
SOMEBODY = "ann.smith@example.org"


@contextmanager
def mailbox() -> Iterator[tuple[int, list[bytes]]]:
    """An SMTP server on this machine: its port, and the mails that came."""
    mails: list[bytes] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002, N802
            mails.append(envelope.content)
            return "250 kept"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port, mails
    finally:
        controller.stop()


def telling(shop: Shop, *addresses: str) -> None:
    lines = "".join(f'  - "{address}"\n' for address in addresses)
    shop.write("business.yaml", (shop.folder / "business.yaml").read_text() + f"alerts:\n{lines}")


def an_alert(key: str = "k", title: str = "predictions are late") -> Alert:
    return Alert(
        frozenset({key}), title, "The newest are of 2024-01-05.", "see `churn status`.", "assets/x"
    )


def tick(
    shop: Shop, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[str | None, str | None]:
    """One tick of the sensor: what it says, and its cursor."""
    definitions = definitions_of(shop.business)
    with dg.build_sensor_context(instance, cursor, definitions=definitions) as context:
        result = definitions.resolve_sensor_def("alerts").evaluate_tick(context)
    return result.skip_message, result.cursor


def test_a_refused_day_is_sent_once_and_without_anybodys_data(
    shop: Shop, listener: Listener
) -> None:
    telling(shop, f"json://{listener.address}/hook")
    shop.land_quiet_days(1, 5)
    with at_work(shop.business) as work:
        said, cursor = tick(shop, work.instance, None)
        assert (said, listener.posts) == ("nothing new", [])
    shop.refresh(5)
    shop.land("orders_2024-01-06.csv", f"id,{SOMEBODY},at\no6,{SOMEBODY},2024-01-06\n")
    shop.refresh(6)
    with at_work(shop.business) as work:
        said, cursor = tick(shop, work.instance, cursor)
        again, cursor = tick(shop, work.instance, cursor)
        [run] = work.instance.get_runs(limit=1)
    [(path, post)] = listener.posts
    assert path == "/hook"
    assert post["title"].startswith("[shop] raw.orders 2024-01-06: a check failed")
    assert f"http://127.0.0.1:3000/runs/{run.run_id}" in post["message"]
    assert "First: read why in `churn status`" in post["message"]
    assert said == f"sent: {post['title'].removeprefix('[shop] ')}"
    assert again == "nothing new"
    everything = json.dumps(post) + (shop.business.state / alerts.FILE).read_text()
    assert SOMEBODY not in everything


def test_a_run_that_fails_without_a_check_is_alerted(shop: Shop, listener: Listener) -> None:
    telling(shop, f"json://{listener.address}")

    @dg.op
    def breaks() -> None:
        raise RuntimeError(SOMEBODY)

    @dg.job
    def broken() -> None:
        breaks()

    with at_work(shop.business) as work:
        _, cursor = tick(shop, work.instance, None)
        broken.execute_in_process(instance=work.instance, raise_on_error=False)
        tick(shop, work.instance, cursor)
    assert listener.titles == ["[shop] run of broken failed"]
    assert SOMEBODY not in json.dumps(listener.posts)


def test_a_check_that_fails_over_a_span_of_days_is_alerted_for_each_span() -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("adds_up", asset="t")])
    def t() -> Iterator[Any]:
        yield dg.AssetCheckResult(passed=False)
        yield dg.MaterializeResult()

    keys = []
    with dg.DagsterInstance.ephemeral() as instance:
        for last in ("2024-01-05", "2024-01-06"):
            span = {"dagster/asset_partition_range_start": "2024-01-01"}
            span |= {"dagster/asset_partition_range_end": last}
            run = dg.materialize([t], instance=instance, tags=span)
            [alert] = alerts.ended(instance, run.run_id, dg.DagsterEventType.RUN_SUCCESS)
            keys.append(set(alert.keys))
    assert keys == [{"check t adds_up 2024-01-05"}, {"check t adds_up 2024-01-06"}]


def test_promotions_and_roll_backs_are_alerted_with_why_but_not_with_what_a_person_wrote(
    shop: Shop, listener: Listener
) -> None:
    telling(shop, f"json://{listener.address}")

    def decide(decision: str, version: str, trigger: str, reason: str) -> None:
        ledger.append(
            shop.business.state, "q", decision, reason, trigger, {}, model_version=version,
            cutoff="2024-01-05", decided_on="2024-01-05", parent="v0",
        )  # fmt: skip

    decide("promote", "v0", "manual", "before anybody listened")
    with at_work(shop.business) as work:
        _, cursor = tick(shop, work.instance, None)
        decide("promote", "v1", "drift", "better by 0.01")
        decide("keep", "v2", "drift", "chance is not ruled out")
        decide("roll back", "v0", "performance", "v0 is better than champion v1")
        decide("roll back", "rules", "manual", f"{SOMEBODY} complained")
        tick(shop, work.instance, cursor)
    message = [post["message"] for _, post in listener.posts]
    assert [title.split(": ")[1] for title in listener.titles] == [
        "a model was promoted", "a model was rolled back", "a model was rolled back",
    ]  # fmt: skip
    assert "Model v1 scores q from 2024-01-05 on. better by 0.01." in message[0]
    assert "v0 is better than champion v1" in message[1]
    assert "by hand; the ledger says why" in message[2]
    assert SOMEBODY not in json.dumps(listener.posts)


def test_drift_and_performance_alert_once_a_champion_and_again_where_another_feature_drifts() -> (
    None
):
    settings = asking(SILENT)
    assert list(alerts.monitoring_alerts(settings, STEADY)) == []
    drifted = replace(
        STEADY, drifted={"a": "a: PSI 0.3, usual up to 0.1"}, realised={"auc": interval(0.7)}
    )
    drift, worse = alerts.monitoring_alerts(settings, drifted)
    assert drift.keys == {"drift q v1 a"}
    assert "a: PSI 0.3, usual up to 0.1" in drift.message
    assert drift.link == "assets/monitoring/q_drift?partition=2024-10-20"
    assert "auc of 2024-07-22 came to 0.700" in worse.message
    later = replace(drifted, day=drifted.day + dt.timedelta(days=1))
    assert [alert.keys for alert in alerts.monitoring_alerts(settings, later)] == [
        drift.keys,
        worse.keys,
    ]
    more, _ = alerts.monitoring_alerts(
        settings, replace(later, drifted=dict(drifted.drifted) | {"b": "b: PSI 0.2"})
    )
    assert not more.keys <= drift.keys


def test_late_predictions_are_alerted_when_dagster_finds_them_so() -> None:
    settings, key = asking(SILENT), dg.AssetKey(["predictions", "q"])
    with dg.DagsterInstance.ephemeral() as instance:
        assert list(alerts.late_predictions(instance, settings)) == []
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2024-01-05"))
        instance.report_runless_asset_event(dg.deserialize_value(GONE_STALE))
        [alert] = alerts.late_predictions(instance, settings)
    assert (alert.keys, alert.message) == (
        {"stale q 2024-01-05"},
        "The newest predictions of q are of 2024-01-05.",
    )


def test_an_alert_comes_as_a_mail(shop: Shop) -> None:
    with mailbox() as (port, mails):
        telling(
            shop,
            f"mailto://127.0.0.1:{port}?from=churn@example.org&to=you@example.org&mode=insecure",
        )
        assert alerts.send(shop.business, [an_alert()]) == ["predictions are late"]
    mail = message_from_bytes(mails[0], policy=policy.default)
    assert (mail["subject"], mail["to"]) == ("[shop] predictions are late", "you@example.org")
    body = mail.get_body(("plain", "html"))  # type: ignore[attr-defined]
    assert "http://127.0.0.1:3000/assets/x" in body.get_content()


def test_an_alert_comes_to_a_slack_channel(
    shop: Shop, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://{listener.address}/services")
    monkeypatch.setenv("CHURN_SLACK", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    telling(shop, "${CHURN_SLACK}")
    alerts.send(shop.business, [an_alert()])
    [(path, post)] = listener.posts
    assert path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert "predictions are late" in json.dumps(post)
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in (shop.business.state / alerts.FILE).read_text()


def test_where_one_cannot_be_reached_the_others_are_and_nobody_is_alerted_twice(
    shop: Shop, listener: Listener
) -> None:
    telling(shop, f"json://{listener.address}/bad", f"json://{listener.address}/good")
    refusing = Listener()
    try:
        shop.change("business.yaml", f"{listener.address}/bad", f"{refusing.address}/bad")
        refusing.status = 503
        with pytest.raises(
            BusinessError, match="business.yaml: alerts: could not alert json://... "
        ) as refusal:
            alerts.send(shop.business, [an_alert()])
        assert "/bad" not in str(refusal.value)
        assert "error=503" in str(refusal.value)
        assert len(listener.posts) == 1
        refusing.status = 200
        assert alerts.send(shop.business, [an_alert()]) == ["predictions are late"]
        assert alerts.send(shop.business, [an_alert()]) == []
        assert (len(listener.posts), len(refusing.posts)) == (1, 1)
    finally:
        refusing.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense://x", "alerts: entry 1 is no address that Apprise knows"),
        (
            "${CHURN_NOBODY_SET_THIS}",
            "alerts: the environment variable 'CHURN_NOBODY_SET_THIS' is not set",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_words(
    shop: Shop, address: str, said: str
) -> None:
    telling(shop, address)
    with pytest.raises(BusinessError, match=said.replace("$", "\\$")):
        alerts.send(shop.business, [an_alert()])


def test_no_secret_of_an_address_is_printed_or_stored(
    shop: Shop, listener: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
    def churn(*arguments: str, expect: int = 0) -> str:
        return commanded("--business", str(shop.folder), "alerts", *arguments, expect=expect).output

    settings = (shop.folder / "business.yaml").read_text()
    telling(
        shop,
        f"json://ann:pa55word@{listener.address}/T0KEN",
        "discord://T0KEN",
        "mailto://:pa55word@",
    )
    said = churn("--try", expect=1)
    assert "alerts: entry 2 is no address that Apprise knows" in said
    shop.write("business.yaml", settings)
    telling(shop, f"json://ann:pa55word@{listener.address}/T0KEN?+X-Key=pa55word%2B")
    said += churn("--try")
    alerts.send(shop.business, [an_alert()])
    said += (shop.business.state / alerts.FILE).read_text() + churn()
    listener.status = 500
    said += churn("--try", expect=1) + "".join(capfd.readouterr())
    assert listener.posts[0][0] == "/T0KEN"
    assert "error=500" in said
    assert not {secret for secret in ("T0KEN", "pa55word") if secret in said}


def test_addresses_that_an_older_release_stored_are_masked_and_not_sent_again(
    shop: Shop, listener: Listener
) -> None:
    telling(shop, f"json://{listener.address}/T0KEN")
    alerts.send(shop.business, [an_alert()])
    kept = shop.business.state / alerts.FILE
    kept.write_text(kept.read_text().replace("json://...", f"json://{listener.address}/T0KEN/"))
    assert alerts.send(shop.business, [an_alert()]) == []
    assert "T0KEN" not in kept.read_text()


def test_without_anybody_to_tell_the_sensor_says_so(shop: Shop) -> None:
    with at_work(shop.business) as work:
        said, _ = tick(shop, work.instance, None)
    assert said == f"nobody to alert: `alerts` in {shop.folder / 'business.yaml'}"


def test_the_command_line_tries_and_lists_what_was_sent(shop: Shop, listener: Listener) -> None:
    def churn(*arguments: str) -> str:
        done = CliRunner().invoke(cli.main, ["--business", str(shop.folder), "alerts", *arguments])
        return done.output

    assert churn() == "no alert was sent yet\n"
    assert "nobody to alert" in churn("--try")
    telling(shop, f"json://{listener.address}/hook")
    assert churn("--try").startswith("sent to json://... ")
    alerts.send(shop.business, [an_alert()])
    assert listener.titles == ["[shop] a trial", "[shop] predictions are late"]
    assert churn().startswith(
        "predictions are late\n  The newest are of 2024-01-05.\n  sent to json://"
    )
    listener.status = 500
    assert "alerts: could not alert json://" in churn("--try")
