"""Run the README's marked command blocks in their order, as a reader would.

A block under `<!-- ci: run -->` must succeed. One under `<!-- ci: serve URL -->` is started, must
answer GET URL with 200, and must end when it is interrupted. Everything else in the README is for
reading.
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
PATIENCE = 180  # seconds, for a server to come up or to end on a busy machine


def run(commands: str) -> None:
    """A block of commands, each of which must succeed."""
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], check=True)


def serve(command: str, url: str) -> None:
    """A command that serves until it is interrupted."""
    if answers(url):
        sys.exit(f"{url} is served already: stop what serves it")
    server = subprocess.Popen(["bash", "-c", f"exec {command}"], start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    try:
        while not answers(url):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"no answer from {url}")
            time.sleep(1)
        print(f"GET {url}: 200")
        os.killpg(server.pid, signal.SIGINT)
        server.wait(timeout=PATIENCE)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def main() -> None:
    """Every marked block of README.md, in order."""
    text = Path("README.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    if not blocks or len(blocks) != text.count("<!-- ci:"):
        sys.exit(
            f"README.md: {text.count('<!-- ci:')} marks, {len(blocks)} blocks: a mark stands above "
            "its ```"
        )
    for url, commands in blocks:
        print(f"--- README.md\n{commands.strip()}", flush=True)
        begun = time.monotonic()
        serve(commands.strip(), url) if url else run(commands)
        print(f"--- {time.monotonic() - begun:.0f} s", flush=True)


main()
