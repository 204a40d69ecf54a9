"""What people are alerted of: in the ledger, in monitoring and in finished runs; each sent once
to a target.

An alert names tables, features, versions and numbers, never a row: no value of a customer leaves
the house.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from churn_orchestration.automation.retraining import champion_state
from churn_orchestration.business import SETTINGS, Business, BusinessError, digest
from churn_orchestration.churn import protocol
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.churn.watching import signals
from churn_orchestration.components.days import DAY_TAG, LAST_DAY_TAG, REFUSED, table_of
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door
from churn_orchestration.storage.files import write_text
from churn_orchestration.storage.layers import DOOR
from churn_orchestration.storage.masking import masked
from churn_orchestration.storage.open_changes import Event, open_events
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

FILE = "alerts.jsonl"
MOST = 50  # finished runs a look
Ends = Literal[dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE]
ENDS: tuple[Ends, ...] = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE)
TO_WATCH = "See `churn watch`: the realised performance next to the expected one, and what drifted."


@dataclass(frozen=True)
class Alert:
    """Something worth an alert.

    Parameters
    ----------
    keys : what it is about; it is sent where one of them has not been sent yet
    title, message : what happened, in a line and in a few
    step : the first step to take
    link : a path of the UI, where there is more
    """

    keys: frozenset[str]
    title: str
    message: str
    step: str
    link: str

    def body(self, ui: str) -> str:
        """The text below the title."""
        return f"{self.message}\nFirst: {self.step}\n{ui.rstrip('/')}/{self.link}"


def alert_sensor(
    business: Business, questions: Iterable["QuestionSettings"]
) -> dg.SensorDefinition:
    """The sensor that alerts people."""
    settings = list(questions)

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=60,
        description="Once switched on, alerts those that `alerts` of business.yaml names: failed "
        "runs and checks, changes in what landed, harmful drift, worse performance, "
        "late predictions, promotions and roll backs, each once. "
        "What was sent is kept in alerts.jsonl.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if not business.settings.alerts:
            return dg.SensorResult(
                skip_reason=f"nobody to alert: `alerts` in {business.folder / SETTINGS}"
            )
        looked = AlertCursor.at(context.cursor, context.instance, business)
        result, seen = looked.since(business, settings, context.instance)
        message = send(business, result)
        reason = f"sent: {'; '.join(message)}" if message else "nothing new"
        return dg.SensorResult(skip_reason=reason, cursor=seen.text())

    return sensor


@dataclass(frozen=True)
class AlertCursor:
    """How far was looked: the last end of a run by kind, and the last line of the ledger."""

    runs: Mapping[str, int]
    line: int

    @classmethod
    def at(
        cls, cursor: str | None, instance: dg.DagsterInstance, business: Business
    ) -> "AlertCursor":
        """From a cursor; without one, from now on: what was before is no news."""
        if cursor:
            return cls(**json.loads(cursor))
        newest = instance.event_log_storage.get_maximum_record_id() or 0
        return cls({kind.value: newest for kind in ENDS}, len(ledger.read(business.state)))

    def text(self) -> str:
        """As a cursor."""
        return json.dumps({"runs": dict(self.runs), "line": self.line}, sort_keys=True)

    def since(
        self, business: Business, questions: list["QuestionSettings"], instance: dg.DagsterInstance
    ) -> tuple[list[Alert], "AlertCursor"]:
        """What is worth an alert since then, and how far was looked now."""
        runs, result = dict(self.runs), list[Alert]()
        for kind in ENDS:
            after = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=self.runs[kind.value])
            for record in instance.fetch_run_status_changes(after, MOST, ascending=True).records:
                runs[kind.value] = record.storage_id
                result += ended(instance, record.event_log_entry.run_id, kind)
        result += map(changed, changes_open(business))
        rows = ledger.read(business.state)
        result += chain.from_iterable(map(decision_alerts, rows[self.line :]))
        for settings in questions:
            result += late_predictions(instance, settings)
            if settings.question.kind != STATIC and (state := champion_state(business, settings)):
                result += monitoring_alerts(settings, state)
        return result, AlertCursor(runs, len(rows))


def ended(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> Iterator[Alert]:
    """The failed checks of a run, in one alert; where there are none, that it failed."""
    run, failed = instance.get_run_by_id(run_id), dict[str, str]()
    if run is None:  # somebody deleted it
        return
    day = run.tags.get(DAY_TAG) or run.tags.get(LAST_DAY_TAG, "")
    of_checks = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    for record in of_checks.records:
        event = record.event_log_entry.dagster_event
        check = event.asset_check_evaluation_data if event else None
        if check and not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
            table = table_of(check.asset_key)
            for of in _refused(check) or [day]:
                failed[f"check {table} {check.check_name} {of}"] = f"{table} {of}".strip()
    if failed:
        first = next(iter(failed.values()))
        yield Alert(
            frozenset(failed),
            f"{first}: a check failed"
            + (f", and {len(failed) - 1} more" if len(failed) > 1 else ""),
            f"What failed its check, and so is not used: {', '.join(failed.values())}.",
            "read why in `churn status`; mend the file or the declaration and `churn run`, or "
            "waive the day.",
            f"runs/{run_id}",
        )
    elif kind == dg.DagsterEventType.RUN_FAILURE:
        yield Alert(
            frozenset({f"run {run_id}"}),
            f"run of {run.job_name} failed",
            f"The run of {run.job_name} for {day or 'no day'} failed; no check says why.",
            "open the run and read the log of the step that failed.",
            f"runs/{run_id}",
        )


def _refused(check: dg.AssetCheckEvaluation) -> list[str]:
    """The days that a check names as refused."""
    days: Any = check.metadata[REFUSED].value if REFUSED in check.metadata else {}
    return sorted(days)


def changes_open(business: Business) -> list[Event]:
    """The changes in what landed that nobody has accepted."""
    if not (business.state / DOOR).is_file():
        return []
    with door(business.state) as db:
        return open_events(Tables(db, business.state))


def changed(event: Event) -> Alert:
    """A change in what landed, once for all that changed from one day on."""
    keys = {
        f"changed {table} {column} {event.since}"
        for table in event.tables
        for column in event.columns[table]
    }
    return Alert(
        frozenset(keys),
        f"{event.since}: {', '.join(event.tables)} changed",
        f"{event.says()}.",
        "ask where the files come from; mend them and `churn run`, or say that it is right: `churn "
        "accept`.",
        f"assets/{next(iter(event.tables)).replace('.', '/')}?partition={event.since}",
    )


def decision_alerts(row: Mapping[str, Any]) -> Iterator[Alert]:
    """A promotion, or a roll back. What a person wrote as their reason stays in the ledger."""
    question, version, decision = row["subject"], row.get("model_version"), row["decision"]
    if decision not in (protocol.PROMOTE, protocol.ROLL_BACK):
        return
    key = frozenset({f"ledger {row['sequence']} {row['hash'][:16]}"})
    by_hand = row["trigger"] == protocol.MANUAL
    if decision == protocol.PROMOTE:
        message = f"Model {version} scores {question} from {row['decided_on']} on. {row['reason']}."
        step = "read its card, `churn card`; `churn rollback --reason WHY` undoes it."
        yield Alert(
            key, f"{question}: a model was promoted", message, step, f"assets/models/{question}"
        )
    else:
        why = "by hand; the ledger says why" if by_hand else row["reason"]
        message = (
            f"{version} scores {question} "
            f"from {row['decided_on']} on, in place of {row['parent']}: {why}."
        )
        step = (
            "see `churn models`; find out what the other one had learned "
            "before it is trained again."
        )
        yield Alert(
            key, f"{question}: a model was rolled back", message, step, f"assets/models/{question}"
        )


def monitoring_alerts(
    settings: "QuestionSettings", state: signals.ChampionState
) -> Iterator[Alert]:
    """Drift and worse performance of a champion on its newest day."""
    of, strongest = f"{settings.name} {state.version}", list(state.drifted.values())[:3]
    of_changes = [cause for feature, cause in state.follows.items() if feature in state.drifted]
    follow = (
        f" {len(of_changes)} of {len(state.drifted)} follow from {of_changes[0]}."
        if of_changes
        else ""
    )
    if state.drifted:
        yield Alert(
            frozenset(
                f"drift {of} {state.follows.get(feature, feature)}" for feature in state.drifted
            ),
            f"{settings.name}: harmful drift",
            f"On {state.day}, beyond the usual and moving the scores: "
            f"{'; '.join(strongest)}.{follow}",
            f"ask what changed in the source of {next(iter(state.drifted))}. {TO_WATCH}",
            f"assets/monitoring/{settings.name}_drift?partition={state.day}",
        )
    for name, find in (
        ("performance", signals.performance),
        ("expectation", signals.expectation),
        ("calibration", signals.calibration),
    ):
        if signal := find(state):
            yield Alert(
                frozenset({f"{name} {of}"}),
                f"{settings.name}: worse than when trained",
                f"{signal.evidence}.",
                f"ask what changed since {state.cutoff}. {TO_WATCH}",
                f"assets/monitoring/{settings.name}_performance?partition={state.day}",
            )


def late_predictions(instance: dg.DagsterInstance, settings: "QuestionSettings") -> Iterator[Alert]:
    """Predictions that are later than their freshness policy allows, by Dagster's daemon."""
    key = dg.AssetKey(["predictions", settings.name])
    state = instance.get_freshness_state_records([key]).get(key)
    if state is None or state.freshness_state.value != "FAIL":
        return
    event = instance.get_latest_materialization_event(key)
    newest = event.dagster_event.partition if event and event.dagster_event else None
    yield Alert(
        frozenset({f"stale {settings.name} {newest}"}),
        f"{settings.name}: predictions are late",
        f"The newest predictions of {settings.name} are of {newest or 'no day'}.",
        "see in `churn status` what was refused or has not come, and whether the schedule `daily` "
        "is on.",
        f"assets/predictions/{settings.name}",
    )


def send(business: Business, result: Iterable[Alert]) -> list[str]:
    """Send each target the alerts that it has not received yet; the titles of those sent to any.

    Raises
    ------
    BusinessError : a target could not be reached; the others were, and nothing is sent twice
    """
    path, titles, faults = business.state / FILE, dict[str, None](), list[str]()
    news = list(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    _mask_stored(path)
    for target, deliver in _targets(business).items():
        before = {key for row in read(path) if row["target"] == target for key in row["keys"]}
        for alert in news:
            if alert.keys <= before:
                continue
            title, body = f"[{business.name}] {alert.title}", alert.body(business.settings.ui)
            if fault := deliver(title, body):
                faults.append(f"{target}: {fault}")
                break
            before |= alert.keys
            titles[alert.title] = None
            row = {
                "keys": sorted(alert.keys),
                "title": alert.title,
                "told": alert.message,
                "target": target,
            }
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    if faults:
        raise BusinessError(
            f"{business.folder / SETTINGS}: alerts: could not alert {'; '.join(faults)}; is it "
            "right, and can it be reached?"
        )
    return list(titles)


def try_out(business: Business) -> list[str]:
    """Send each target a trial, which is not kept; the targets.

    Raises
    ------
    BusinessError : there is none, or one could not be reached
    """
    where = f"{business.folder / SETTINGS}: alerts"
    targets = _targets(business)
    if not targets:
        raise BusinessError(f"{where}: nobody to alert; name addresses, such as slack://A/B/C")
    trial = Alert(frozenset(), "a trial", "Alerts come here.", "nothing: it works.", "")
    for target, deliver in targets.items():
        if fault := deliver(f"[{business.name}] {trial.title}", trial.body(business.settings.ui)):
            raise BusinessError(f"{where}: could not alert {target}: {fault}")
    return list(targets)


def read(path: Path) -> list[dict[str, Any]]:
    """What has been sent, oldest first; a last line without its end is that of a process that was
    killed.
    """
    rows = [json.loads(line) for line in _lines(path) if line.endswith("\n")]
    return [row | {"target": _shown(row["target"])} for row in rows]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def _mask_stored(path: Path) -> None:
    """Lines of an older release hold addresses whose paths may be secrets."""
    lines = "".join(json.dumps(row) + "\n" for row in read(path))
    if lines != "".join(_lines(path)):
        write_text(path, lines)


def _shown(target: str) -> str:
    """A target in words that hold no secret: its kind and the digest of its address.

    >>> _shown("jsons://example.org/hooks/T0KEN/ 1f3a"), _shown("jsons://... 1f3a")
    ('jsons://... 1f3a', 'jsons://... 1f3a')
    """
    return f"{target.partition('://')[0]}://... {target.rpartition(' ')[2]}"


def _targets(business: Business) -> dict[str, Callable[[str, str], str | None]]:
    """Who is alerted: a target as it is shown -> what sends title and body there, and returns what
    failed.

    Raises
    ------
    BusinessError : an address is none that Apprise knows, or names a variable that is not set
    """
    import apprise

    result = {}
    for number, named in enumerate(business.settings.alerts):
        address = business.filled(named, "alerts", "set it, or take the entry out")
        with (
            apprise.LogCapture()
        ):  # what it says of an address that it cannot use holds the address
            service = apprise.Apprise.instantiate(address)
        if service is None:
            raise BusinessError(
                f"{business.folder / SETTINGS}: alerts: entry {number + 1} is no address that "
                "Apprise knows, such as slack://A/B/C, mailtos://user:password@host?to=you@host or "
                "jsons://host/path"
            )
        result[_shown(f"{address} {digest(address)[:4]}")] = _sender(
            service, address.partition("://")[2]
        )
    return result


def _sender(service: Any, secret: str) -> Callable[[str, str], str | None]:
    def deliver(title: str, body: str) -> str | None:
        import apprise

        with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as log:
            if service.notify(body=body, title=title):
                return None
            return masked(" ".join(log.getvalue().split()), secret) or "it did not say why"

    return deliver
