"""The sensor that sends the digest of a week, once it is over, to those that are alerted."""

import dagster as dg

from churn_orchestration.automation.alerts import Alert, send
from churn_orchestration.business import SETTINGS, Business
from churn_orchestration.report.digest import digest_report, newest_week
from churn_orchestration.report.text import command
from churn_orchestration.storage.layers import DOOR


def digest_sensor(business: Business) -> dg.SensorDefinition:
    """The sensor; a week is over once its Sunday is scored, whatever a clock says."""

    @dg.sensor(
        name="weekly_digest",
        minimum_interval_seconds=3600,
        description="Once switched on, sends those that `alerts` of business.yaml names what a "
        "week brought, once its Sunday is scored: who is at risk, what campaigns have saved as far "
        "as it is known, what is to decide. Each week is sent once.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if not business.settings.alerts:
            return dg.SensorResult(
                skip_reason=f"nobody to send it to: `alerts` in {business.folder / SETTINGS}"
            )
        week = newest_week(business) if (business.state / DOOR).is_file() else None
        if week is None or context.cursor == str(week.monday):
            reason = f"the week up to {week.until} was sent" if week else "no week is over yet"
            return dg.SensorResult(skip_reason=reason, cursor=context.cursor)
        _, text = digest_report(business, week.until, None)
        alert = Alert(
            frozenset({f"digest {week.until}"}),
            f"the week up to {week.until}",
            text,
            f"read it with its rows: `{command(business, f'digest --week {week.monday}')}`.",
            "",
        )
        sent = send(business, [alert])
        reason = f"sent: {'; '.join(sent)}" if sent else f"the week up to {week.until} was sent"
        return dg.SensorResult(skip_reason=reason, cursor=str(week.monday))

    return sensor
