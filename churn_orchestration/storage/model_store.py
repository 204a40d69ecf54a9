"""The files of a model version: what scores, its record, what it forecast of rows unseen.

The ledger holds the SHA-256 of each, and nothing is read that it does not name. ADR 26 says why.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.protocol import IDENTIFY
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.files import swap_in
from churn_orchestration.storage.tracking import Tracking

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.learners import LogOddsBlend

MODEL, RECORD, HELD_OUT = ".skops", ".json", ".parquet"
FIRST_USE = "the ledger had no hash of its files: they count as they were when they were first used"
REMADE = "a file of it was gone: it was trained again from the same snapshot, settings and code"


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model version in a business's state folder."""

    state: Path
    question: str
    version: str

    def path(self, kind: str) -> Path:
        """Where a file lies: MODEL, RECORD or HELD_OUT."""
        return self.state / "models" / self.question / f"{self.version}{kind}"

    def are_there(self) -> bool:
        """Whether no file is missing; what they hold is checked by who reads them."""
        return all(self.path(kind).is_file() for kind in (MODEL, RECORD, HELD_OUT))

    def model(self) -> "LogOddsBlend":
        """What scores. Raises BusinessError as ``read_verified``."""
        return _loaded(self.read_verified(MODEL))

    def record(self) -> dict[str, Any]:
        """How it was made and graded. Raises BusinessError as ``read_verified``."""
        record: dict[str, Any] = json.loads(self.read_verified(RECORD))
        return record

    def shown(self) -> dict[str, Any]:
        """The record for a table or a page: as it lies there, where the ledger has no hash; empty:
        gone.
        """
        if not self.path(RECORD).is_file():
            return {}
        if RECORD in self.ledger_hashes():
            return self.record()
        record: dict[str, Any] = json.loads(self.path(RECORD).read_text())
        return record

    def held_out(self) -> "pd.DataFrame":
        """What it forecast of rows whose outcome it had not seen. Raises BusinessError as
        ``read_verified``.
        """
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self.read_verified(HELD_OUT)))

    def save(self, model: "LogOddsBlend") -> None:
        """Write what scores, whole or not at all; not where the ledger knows the file that is
        there.
        """
        import skops.io

        path = self.path(MODEL)
        if path.is_file() and content_hash(path) == self.ledger_hashes().get(MODEL):
            return
        self._write(skops.io.dumps(model))

    def read_verified(self, kind: str) -> bytes:
        """The content of a file, which is what the ledger says it is.

        Raises
        ------
        BusinessError : the ledger knows no such model, or the file is gone or another one
        """
        path, sealed = self.path(kind), self.ledger_hashes()
        if kind not in sealed:
            sealed = self._identify(kind)
        if not path.is_file():
            raise BusinessError(f"{path} is gone: {self._remedy}")
        content = path.read_bytes()
        if (got := hashlib.sha256(content).hexdigest()) != sealed[kind]:
            raise BusinessError(
                f"{path} is not what was registered as {self.version} (SHA-256 {got[:12]}, in the "
                f"ledger {sealed[kind][:12]}): {self._remedy}"
            )
        return content

    def ledger_hashes(self) -> dict[str, str]:
        """The SHA-256 of each file by the ledger; empty where no line has them."""
        lines = (
            row["files_sha256"] for row in reversed(self._decisions()) if row.get("files_sha256")
        )
        return next(lines, {})

    def file_hashes(self) -> dict[str, str]:
        """The SHA-256 of each file that is there."""
        paths = {kind: self.path(kind) for kind in (MODEL, RECORD, HELD_OUT)}
        return {kind: content_hash(path) for kind, path in paths.items() if path.is_file()}

    def identify(self, reason: str) -> dict[str, str]:
        """Note in the ledger what the files are now, and why; their hashes."""
        row, result = self._decisions()[-1], self.file_hashes()
        kept = ("cutoff", "decided_on", "model_version", "mlflow_version", "meaning")
        facts = {name: row[name] for name in kept if name in row}
        ledger.append(
            self.state, self.question, IDENTIFY, reason, IDENTIFY, {"files_sha256": result},
            **facts, files_sha256=result,
        )  # fmt: skip
        return result

    def _identify(self, kind: str) -> dict[str, str]:
        """Of a model that was registered before the ledger held hashes: what is there, from now
        on.
        """
        if not self._decisions():
            raise BusinessError(
                f"{self.question}: no line of the ledger is about a model {self.version}"
            )
        if kind == MODEL and not self.path(MODEL).is_file():
            number = self._decisions()[-1].get("mlflow_version")
            kept = Tracking(state=str(self.state)).model_file(self.question, number, self.version)
            if kept is None:
                raise BusinessError(
                    f"{self.path(MODEL)} is gone, and MLflow has no {self.version} under its "
                    f"number {number} of {self.question}: {self._remedy}"
                )
            self._write(kept.read_bytes())
        return self.identify(FIRST_USE)

    def _decisions(self) -> list[dict[str, Any]]:
        rows = ledger.read(self.state)
        return [
            r
            for r in rows
            if r["subject"] == self.question and r.get("model_version") == self.version
        ]

    def _write(self, content: bytes) -> None:
        path = self.path(MODEL)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".skops.writing")
        temporary.write_bytes(content)
        swap_in(temporary, path)

    @property
    def _remedy(self) -> str:
        cutoff = self._decisions()[-1]["cutoff"]
        return (
            f"put it back from a copy; or remove it and `churn train --cutoff {cutoff}`; or let "
            "another model score: `churn rollback --reason WHY`"
        )


@lru_cache(maxsize=4)
def _loaded(content: bytes) -> "LogOddsBlend":
    """A model from its bytes: of our own types alone, whatever the bytes or a file near them ask
    for.
    """
    import skops.io

    from churn_orchestration.churn.learners import TRUSTED_TYPES

    model: LogOddsBlend = skops.io.loads(content, trusted=TRUSTED_TYPES)
    return model
