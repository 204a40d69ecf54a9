"""What a search for better settings may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Seconds of wall clock, gigabytes of memory, trials: any of them ends a search.

    ``from_entities``: with fewer customers of the rarer outcome the fixed settings stand, unsearched.
    """

    seconds: float
    memory_gb: float
    trials: int
    from_entities: int = 0
