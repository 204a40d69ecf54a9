"""What is known of a champion."""

import datetime as dt

from churn_orchestration.churn.watching.signals import ChampionState, Interval

AS_OFS = [dt.date(2024, month, 28) for month in range(1, 7)]
DAY = dt.date(2024, 10, 20)


def interval(value: float, half: float = 0.02) -> Interval:
    return {"value": value, "low": value - half, "high": value + half}


STEADY = ChampionState(
    DAY, "v1", dt.date(2024, 9, 26), dt.date(2024, 9, 26), AS_OFS, {},
    ["a", "b"], ["a", "b"], dt.date(2024, 7, 22),
    {"auc": interval(0.8), "log_loss": interval(0.45)}, dt.date(2024, 7, 22),
    {"auc": interval(0.79), "log_loss": interval(0.46), "calibration_error": interval(0.025, 0.01)},
    {"auc": interval(0.8), "calibration_error": interval(0.02, 0.01)}, {"auc": interval(0.8)},
)  # fmt: skip
