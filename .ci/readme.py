"""Run the marked command blocks of the README, then of the docs, in their order, as a reader would.

A block under `<!-- ci: run -->` must succeed. One under `<!-- ci: serve URL -->` is started, must
answer GET URL with 200, and must end when it is interrupted. Everything else is for reading.
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


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """The marked blocks of a page: (URL or "", commands)."""
    text = page.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    if len(blocks) != text.count("<!-- ci:"):
        sys.exit(
            f"{page}: {text.count('<!-- ci:')} marks, {len(blocks)} blocks: a mark goes above its "
            "```"
        )
    return blocks


def main() -> None:
    """Every marked block of README.md, then those of the docs by path."""
    pages = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
    if not blocks_of(pages[0]):
        sys.exit("README.md: no block is marked")
    for page in pages:
        for url, commands in blocks_of(page):
            print(f"--- {page}\n{commands.strip()}", flush=True)
            begun = time.monotonic()
            serve(commands.strip(), url) if url else run(commands)
            print(f"--- {time.monotonic() - begun:.0f} s", flush=True)


main()
