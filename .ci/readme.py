"""Run the README's marked command blocks in their order, as a reader would.

A block under `<!-- ci: run -->` must succeed. One under `<!-- ci: serve URL -->` is started, must answer GET
URL with 200, and must end when it is interrupted. Everything else in the README is for reading.
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BLOCK = re.compile(r"<!-- ci: (?:run|serve (\S+)) -->\n```\w*\n(.*?)```", re.DOTALL)
PATIENCE = 180  # seconds, for a server to come up on a busy machine


def run(commands: str) -> None:
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], check=True)


def serve(commands: str, url: str) -> None:
    with subprocess.Popen(["bash", "-c", f"exec {commands}"], start_new_session=True) as server:
        try:
            wait_for(url, server)
        finally:
            os.killpg(server.pid, signal.SIGINT)
        server.wait(timeout=60)


def wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                print(f"GET {url}: {answer.status}")
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    sys.exit(f"no answer from {url}")


def main() -> None:
    blocks = BLOCK.findall(Path("README.md").read_text(encoding="utf-8"))
    if not blocks:
        sys.exit("README.md has no block marked <!-- ci: run -->")
    for url, commands in blocks:
        print(f"--- README.md\n{commands.strip()}", flush=True)
        begun = time.monotonic()
        serve(commands.strip(), url) if url else run(commands)
        print(f"--- {time.monotonic() - begun:.0f} s", flush=True)


main()
