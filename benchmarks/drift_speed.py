"""What the drift of one day costs beside Evidently's report on the same frame: time and memory, as
ratios.

Run: python -m benchmarks.drift_speed --rows 1000000 --features 100. Each way in a process of its
own; the frames lie in Parquet. Ours bins the training rows too, which in use is done once a
champion.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SEED, BLOCK = 20_111_209, 100_000


def write(path: Path, rows: int, features: int, shift: float) -> None:
    """A frame of numbers, half of them counts, a tenth missing; the first feature is shifted."""
    rng = np.random.default_rng(SEED + int(shift * 10))
    names = [f"feature_{number}" for number in range(features)]
    schema = pa.schema(
        [("customer_id", pa.int64()), ("as_of", pa.date32()), *((n, pa.float64()) for n in names)]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            counts, normal = rng.poisson(3, (n, features)), rng.standard_normal((n, features))
            table = np.where(np.arange(features) % 2, normal, counts)
            table[rng.random((n, features)) < 0.1] = np.nan
            table[:, 0] += shift
            frame = pd.DataFrame(table, columns=names)
            frame.insert(0, "as_of", pd.Timestamp("2024-06-01").date())
            frame.insert(0, "customer_id", np.arange(start, start + n))
            writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))


def ours(before: Path, now: Path, features: int) -> None:
    """Bins from the training rows, counts of both, distances; by the product's own functions."""
    from churn_orchestration.churn.watching import drift
    from churn_orchestration.components.question.monitoring.reference import as_counts, bins_of
    from churn_orchestration.storage.resources import Warehouse
    from churn_orchestration.storage.warehouse import literal

    names = [f"feature_{number}" for number in range(features)]
    with Warehouse.of(now.parent / "state", memory_limit="700MB").open() as tables:
        bins = bins_of(tables, names, f"read_parquet({literal(before)})", "customer_id")
        counts = [
            as_counts(tables.db.execute(drift.counted(bins, literal(path))).df(), bins)
            for path in (before, now)
        ]
    apart = {
        each.feature: drift.distance(
            each, *(next(iter(result[each.feature].values())) for result in counts)
        )
        for each in bins
    }
    assert max(apart, key=lambda name: apart[name]) == "feature_0", apart


def evidently(before: Path, now: Path, features: int) -> None:
    """Evidently's preset, with the same measure."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = [f"feature_{number}" for number in range(features)]
    defined = DataDefinition(numerical_columns=names)
    frames = [
        Dataset.from_pandas(pd.read_parquet(path, columns=names), data_definition=defined)
        for path in (now, before)
    ]
    Report([DataDriftPreset(num_method="psi")]).run(*frames).dict()


WAYS: dict[str, Callable[[Path, Path, int], None]] = {"ours": ours, "evidently": evidently}


def main() -> None:
    """Time both ways on the same files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--ways", default="ours,evidently")
    parser.add_argument("--within", type=Path, help="one way, in this process, on a folder's files")
    given = parser.parse_args()
    if given.within:
        began = time.perf_counter()
        WAYS[given.ways](
            given.within / "before.parquet", given.within / "now.parquet", given.features
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{time.perf_counter() - began} {peak}")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, shift in (("before", 0.0), ("now", 0.5)):
            write(Path(folder) / f"{name}.parquet", given.rows, given.features, shift)
        result = {}
        for way in given.ways.split(","):
            command = [
                sys.executable,
                "-m",
                "benchmarks.drift_speed",
                "--ways",
                way,
                "--within",
                folder,
            ]
            command += ["--features", str(given.features)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result[way] = seconds, peak = tuple(map(float, done.stdout.split()))
            print(f"{way}: {seconds:.1f} s, peak {peak:.2f} GB", flush=True)
        if len(result) == 2:
            (our_time, our_peak), (its_time, its_peak) = result["ours"], result["evidently"]
            times, peaks = its_time / our_time, its_peak / our_peak
            print(f"evidently takes {times:.1f} x the time and {peaks:.1f} x the memory")


if __name__ == "__main__":
    main()
