"""The group of all commands, which turns mistakes of a user, and of the machine, into one line."""

import errno
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from churn_orchestration.terminal import say


class Door(click.Group):
    """Turns every expected mistake into one line and exit code 1, and Ctrl-C into exit code 130."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; see the class."""
        try:
            return super().main(*args, **(kwargs | {"standalone_mode": False}))
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.ClickException as error:
            if isinstance(error, click.NoSuchOption) and error.option_name == "--business":
                message = "--business comes before the command: churn --business FOLDER run"
                error = click.UsageError(message, error.ctx)
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            say("stopped; the same command goes on from here")
            sys.exit(130)
        except Exception as error:
            if expected := machine_message(error) or expected_message(error):
                say(f"churn: {expected}")
                sys.exit(1)
            raise


# SQLite, which holds Dagster's log, says either of the last two of a full disk.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full", "disk I/O error")
_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def machine_message(error: Exception) -> str | None:
    """The message of a full disk, a missing right or a lock, whoever met it; None for anything
    else.
    """
    message, code = str(error).strip(), getattr(error, "errno", None)
    if any(full in message for full in _FULL):
        line = next(line for line in message.splitlines() if any(full in line for full in _FULL))
        return f"the disk is full ({line}); free some space, then give the same command again"
    if "Could not set lock on file" in message:
        holder = re.search(r"\(PID \d+\)", message)
        return (
            f"warehouse.duckdb is open in another program {holder[0] if holder else ''}: wait for "
            "the run of the UI, or close what else reads it (published.duckdb next to it never "
            "blocks)"
        )
    if code in _RIGHTS or any(os.strerror(number) in message for number in _RIGHTS):
        return (
            f"cannot write there: {message}; CHURN_DATA names another folder for all that is made"
        )
    return None


def expected_message(error: BaseException) -> str | None:
    """The message of a user's mistake, taken out of what Dagster's loader made of it; None: our
    fault.
    """
    from pydantic import ValidationError

    from churn_orchestration.business import BusinessError
    from churn_orchestration.storage.session import WarehouseError

    if isinstance(error, WarehouseError):
        return str(error)
    loading, chain = False, list[str]()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BusinessError):
            return str(cause)
        if isinstance(cause, ValidationError):
            folder = Path(os.environ["CHURN_BUSINESS"]) if "CHURN_BUSINESS" in os.environ else None
            return "; ".join(dict.fromkeys(_fault_lines(cause.errors(), chain, folder)))
        chain.append(str(cause))
        loading = loading or type(cause).__module__.startswith("dagster.components.")
        deeper = cause.__cause__ or cause.__context__
        if deeper is None and loading:
            return str(cause).split("Traceback (most recent call last)")[0].strip()
        cause = deeper
    return None


def _fault_lines(faults: list[Any], chain: list[str], folder: Path | None) -> list[str]:
    """A line for each fault; of the ways in which a list may be written, the one that was meant."""
    from churn_orchestration.components.faulty_files import shown

    meant = [fault for fault in faults if ".str at " not in ".".join(map(str, fault["loc"]))]
    return [shown(fault, chain, folder) for fault in meant or faults]
