"""Pages that the UI links to: what is drawn, and that it is served."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from churn_orchestration import pages

FRAMES = """
import os, socket
import numpy as np, pandas as pd
from churn_orchestration.evidently_page import page

def refuse(*where, **_): os._exit(3)
socket.socket.connect = socket.getaddrinfo = refuse

before = pd.DataFrame({"spend": np.arange(300.0), "visits": np.arange(300) % 3, "gone": 1.0, "late": np.nan})
now = before.assign(spend=before["spend"] ** 2, gone=np.nan, late=1.0)
now.loc[0, "spend"] = np.inf
judged = [("spend", "psi"), ("visits", "js"), ("gone", "psi"), ("late", "psi")]
judged = [{"feature": name, "measure": measure, "usual_up_to": 0.1} for name, measure in judged]
one, other = (page("a day", judged, now, before) for _ in range(2))
assert one == other
print(one)
"""


def served(address: str) -> bytes | None:
    """What is answered; None where nobody answers."""
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.read()
    except urllib.error.URLError:
        return None


def test_a_page_drawn_twice_is_the_same_and_reaches_for_nothing_and_names_what_it_cannot_draw() -> None:
    done = subprocess.run([sys.executable, "-c", FRAMES], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "<title>a day</title>" in done.stdout
    told = re.search(r"Shown are the (\d+) features .* so not drawn: ([\w, ]+)\.", done.stdout)
    assert told
    assert told.groups() == ("2", "gone, late")
    verdicts = re.findall(r'"column_name": "(\w+)".*?"data_drift": "([\w ]+)"', done.stdout)
    assert verdicts == [("spend", "Detected"), ("visits", "Not Detected")]


def test_pages_are_served_for_as_long_as_what_they_stand_beside(tmp_path: Path) -> None:
    page = pages.folder(tmp_path) / "a.html"
    page.parent.mkdir()
    page.write_text("here")
    code = f"""
import os, pathlib
from churn_orchestration import pages
pages.serve_beside(pathlib.Path({str(tmp_path)!r}))
print("beside", flush=True)
os.execv("/bin/sleep", ["sleep", "60"])"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as beside:
        assert beside.stdout
        assert beside.stdout.readline() == "beside\n"
        assert served(pages.address(page)) == b"here"
        os.kill(beside.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while served(pages.address(page)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
