"""Files compared, and damaged as a disk damages them."""

import hashlib
import os
from pathlib import Path


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by its path there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def flip_a_bit(path: Path) -> None:
    """As a disk does it: neither size nor time says so."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # one process looks once at a file
