"""The command line run in the test's own process: libraries take seconds to import."""

import traceback

import pytest
from click.testing import CliRunner, Result

from churn_orchestration.cli import main

IN_PROCESS = [
    # MLflow 3 uses a loader strategy that SQLAlchemy 2.1 deprecates.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    # MLflow says so of its own functions, when imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
"""Marks of tests that run the command line, or train, in their own process."""


def commanded(*arguments: str, expect: int = 0) -> Result:
    """What a command of the command line told, run in this process: libraries take seconds to
    import.
    """
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == expect, done.output + "".join(
        traceback.format_exception(done.exception)
    )
    return done
