"""``python -m churn_orchestration.cli``, as `churn`."""

from churn_orchestration.cli import main

main()
