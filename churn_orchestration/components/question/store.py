"""Where what belongs to a question is kept: the names of its tables, the places of its files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class QuestionStore:
    """The tables and folders of the question ``name``; a table is ``layer.table``."""

    name: str

    @property
    def snapshots(self) -> str:
        """What models are trained on, one file a cut-off."""
        return f"snapshots.{self.name}"

    @property
    def models(self) -> str:
        """The models that were trained."""
        return f"models.{self.name}"

    @property
    def forecasts(self) -> str:
        """Forecasts as they were issued."""
        return f"predictions.{self.name}"

    @property
    def restated(self) -> str:
        """Forecasts that were scored again, or issued and replaced on their own day."""
        return f"restated.{self.name}"

    @property
    def grades(self) -> str:
        """The ledger of forecasts: each with its outcome."""
        return f"monitoring.{self.name}_graded"

    @property
    def drift(self) -> str:
        """The drift of each feature by day."""
        return f"monitoring.{self.name}_drift"

    @property
    def performance(self) -> str:
        """Expected and realised performance by day."""
        return f"monitoring.{self.name}_performance"

    @property
    def first_week(self) -> str:
        """A new champion compared with the one before it, in its first week."""
        return f"monitoring.{self.name}_first_week"

    def measure(self, name: str) -> str:
        """A measure of customers and money."""
        return f"measures.{self.name}_{name}"

    def snapshot_files(self, state: Path) -> Path:
        """The folder of its snapshots."""
        return state / "snapshots" / self.name

    def model_files(self, state: Path) -> Path:
        """The folder of its models' records."""
        return state / "models" / self.name

    def search_files(self, state: Path) -> Path:
        """The folder of its searches."""
        return state / "searches" / self.name
