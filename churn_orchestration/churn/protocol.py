"""The words and numbers that the parts of the platform share. Imports nothing."""

PROMOTE, KEEP, REFUSE = "promote", "keep", "refuse"
BACKTEST, ROLL_BACK, IDENTIFY = "backtest", "roll back", "identify"
NOT_TRAINED, NO_MODEL = "not trained", "none"
"""A training that was refused before there was a candidate, and the ``model_version`` of such a
line.
"""
RESTATE, SUPERSEDE, RENAME = "restate", "supersede", "rename"
"""Of forecasts: scored again, replaced on their own day, kept under another name."""
RULES, BASE_RATE, PROCESS = "rules", "base_rate", "process"
UNTRAINED = (RULES, BASE_RATE, PROCESS)
"""The ``model_version`` of scores while no model is champion: by the rules, or by the known churn
rate.
"""
INITIAL, MANUAL, SCHEDULED = "initial", "manual", "scheduled"
DRIFT, PERFORMANCE = "drift", "performance"
"""Why a model was trained; a sensor gives its own reason by TRIGGER_TAG."""
TRIGGER_TAG, EVIDENCE_TAG, CLI_TAG = "churn/trigger", "churn/evidence", "churn/cli"
"""The tags of a run that say so: a sensor's reason and its evidence; whether the command line
requested it.
"""
EXPECTED, REALISED, RESTATED = "expected", "realised", "restated"
"""The ``kind`` of a performance: foreseen, measured once outcomes came, again on late rows."""
ENTITY_FOLDS = 5
OUT_OF_FOLD = f"out of fold, not out of time ({ENTITY_FOLDS} folds of entities by hash)"
"""How a question is graded whose outcome has no later day."""
FACTORS = ("risk_factors", "protective_factors")
"""What raises a forecast most and what lowers it most, each by itself, where that is kept."""
MIN_ENTITIES = 20
"""Fewer distinct entities that left, or that stayed, neither train a model nor grade one."""

POWER_OF_AUC = 0.02
"""The difference of AUC for whose being seen a comparison says its chance."""
