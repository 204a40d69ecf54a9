"""Pages that the UI links to: what is drawn, and that it is served."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from churn_orchestration.pictures import pages
from churn_orchestration_tests.support.shop import Shop

FRAMES = """
import os, socket
import numpy as np, pandas as pd
from churn_orchestration.pictures.evidently_page import page

def refuse(*where, **_): os._exit(3)
socket.socket.connect = socket.getaddrinfo = refuse

visits = np.arange(300) % 3
before = pd.DataFrame({"spend": np.arange(300.0), "visits": visits, "gone": 1.0, "late": np.nan})
now = before.assign(spend=before["spend"] ** 2, gone=np.nan, late=1.0)
now.loc[0, "spend"] = np.inf
judged = [("spend", "psi"), ("visits", "js"), ("gone", "psi"), ("late", "psi")]
judged = [{"feature": name, "measure": measure, "usual_up_to": 0.1} for name, measure in judged]
one, other = (page("a day", judged, now, before) for _ in range(2))
assert one == other
print(one)
"""


def test_a_page_drawn_twice_is_the_same_and_reaches_for_nothing_and_names_what_it_cannot_draw() -> (
    None
):
    done = subprocess.run(
        [sys.executable, "-c", FRAMES], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "<title>a day</title>" in done.stdout
    message = re.search(
        r"the (\d+) features that are furthest off\. .* so not drawn: ([\w, ]+)\.", done.stdout
    )
    assert message
    assert message.groups() == ("2", "gone, late")
    verdicts = re.findall(r'"column_name": "(\w+)".*?"data_drift": "([\w ]+)"', done.stdout)
    assert verdicts == [("spend", "Detected"), ("visits", "Not Detected")]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of `churn ui` on a shop and of a page that it serves, for as long as it
    runs.
    """
    data = tmp_path_factory.mktemp("ui")
    shop = Shop(data / "folder", data / "landing")
    page = pages.folder(data / "shop") / "a.html"
    (page.parent / "folder").mkdir(parents=True)
    page.write_text("here")
    (page.parent / "out.yaml").symlink_to(shop.folder / "business.yaml")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "churn_orchestration.cli",
        "--business",
        str(shop.folder),
        "ui",
    ]
    with subprocess.Popen(
        [*command, "--port", address.rpartition(":")[2]],
        env=os.environ | {"CHURN_DATA": str(data)}, start_new_session=True,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            until = time.monotonic() + 180
            while not status(f"{address}/server_info"):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
            yield address, pages.address(page)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 0
            with pytest.raises(ProcessLookupError):  # it left nobody behind
                os.killpg(process.pid, 0)
            assert not status(pages.address(page))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


CHANGE = '{"query": "mutation { setNuxSeen }"}'


def status(address: str, body: str | None = None, **headers: str) -> int | None:
    """How a request is answered, a POST where it has a body; None where nobody answers."""
    sent = {"Content-Type": "application/json"} | {
        name.title(): value for name, value in headers.items()
    }
    request = urllib.request.Request(address, body.encode() if body else None, sent)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return None


def test_the_ui_does_what_its_own_page_asks_and_nothing_that_another_page_asks(
    ui: tuple[str, str],
) -> None:
    graphql = f"{ui[0]}/graphql"
    assert status(graphql, CHANGE, origin=ui[0]) == 200
    assert status(graphql, CHANGE) == 200  # a program of this machine's, not a browser
    for foreign in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        ui[0].replace("http", "https"),
    ):
        assert status(graphql, CHANGE, origin=foreign) == 403, foreign
        assert (
            status(f"{ui[0]}/report_asset_materialization/raw/orders", "{}", origin=foreign) == 403
        )
    by_get = urllib.parse.quote("mutation { setNuxSeen }")
    assert status(f"{graphql}?query={by_get}") == 403  # what <img src=...> of any page sends
    assert status(graphql, accept="text/html") == 200  # the page to write queries on


def test_neither_port_answers_to_the_name_of_another_host(ui: tuple[str, str]) -> None:
    for address in ui:
        assert status(address) == 200
        assert status(address, host=address.split("/")[2].replace("127.0.0.1", "localhost")) == 200
        for foreign in ("evil.example", "127.0.0.1.evil.example"):
            assert status(address, host=foreign) == 400, foreign


def test_a_websocket_of_another_page_is_refused(ui: tuple[str, str]) -> None:
    address = f"{ui[0].replace('http', 'ws')}/graphql"
    with connect(address, origin=ui[0], subprotocols=["graphql-ws"]) as mine:
        mine.send('{"type": "connection_init"}')
        assert mine.recv() == '{"type":"connection_ack"}'
    for foreign in ("http://evil.example", "null"):
        with pytest.raises(InvalidStatus, match="403"), connect(address, origin=foreign):
            pass


def test_pages_are_served_by_name_alone(ui: tuple[str, str]) -> None:
    page, (folder, _, _) = ui[1], ui[1].rpartition("/")
    assert status(page) == 200
    refused = ("", "folder", "folder/", "out.yaml", "../business.yaml", "%2e%2e/business.yaml")
    assert {name: status(f"{folder}/{name}") for name in refused} == dict.fromkeys(refused, 404)
    assert status(page, "{}") == 405
    assert status(page, origin="http://evil.example") == 403
