"""Why a run trains, and who started it."""

from collections.abc import Mapping

from churn_orchestration.churn.protocol import CLI_TAG, EVIDENCE_TAG, MANUAL, SCHEDULED, TRIGGER_TAG


def trigger_of(tags: Mapping[str, str]) -> tuple[str, str]:
    """The trigger of a training, and who or what started the run, from the run's tags.

    >>> trigger_of({CLI_TAG: "true"})
    ('manual', 'churn train')
    """
    if "dagster/schedule_name" in tags:
        return SCHEDULED, f"schedule {tags['dagster/schedule_name']}"
    if "dagster/sensor_name" in tags:
        evidence = f": {tags[EVIDENCE_TAG]}" if EVIDENCE_TAG in tags else ""
        return tags.get(TRIGGER_TAG, MANUAL), f"sensor {tags['dagster/sensor_name']}{evidence}"
    return MANUAL, "churn train" if CLI_TAG in tags else "Dagster"
