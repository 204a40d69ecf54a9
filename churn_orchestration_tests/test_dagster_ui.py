"""What Dagster's UI shows of runs and checks, by the questions that it asks its server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from churn_orchestration.business import PACKAGE
from churn_orchestration.components.days import DAY_TAG
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.in_process import IN_PROCESS
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, Shop

pytestmark = IN_PROCESS
QUESTIONS = """{
  repositoryOrError(repositorySelector:
      {repositoryLocationName: "churn_orchestration", repositoryName: "__repository__"}) {
    ... on Repository {
      pipelines { name runs { tags { key value } repositoryOrigin { repositoryName } } } } }
  assetNodeOrError(assetKey: {path: ["bronze", "orders"]}) {
    ... on AssetNode { assetChecksOrError {
      ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } }
}"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is answered after days were refreshed by the command line, and one of them refused in
    the UI.
    """
    place = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHURN_DATA", str(place / "data"))
        patch.setenv("DAGSTER_HOME", "")
        shop = Shop(place / "shop", place / "data/landing")
        shop.land_quiet_days(1, 7)
        assert shop.refresh(5, 7, UP_TO_FEATURES).succeeded
        shop.land(
            "orders_2024-01-06.csv", "order_id,customer_id,ordered_at\no6,ann,2024-01-06 10:00\n"
        )
        with at_work(shop.business) as work:
            keys = [
                key for key, group in work._groups() if group in ("raw", "bronze", "quarantine")
            ]
            refresh = work.definitions.resolve_job_def("refresh")
            done = refresh.execute_in_process(
                instance=work.instance, asset_selection=keys, raise_on_error=False,
                partition_key=str(JAN[6]),  # as the UI does for one day
            )  # fmt: skip
            assert done.dagster_run.tags[DAY_TAG] == "2024-01-06"
            assert not done.success
            home = work.instance.root_directory
        tool, answered = Path(sys.executable).parent / "dagster-graphql", place / "answers.json"
        command = [str(tool), "-w", "workspace.yaml", "-t", QUESTIONS, "-o", str(answered)]
        here = os.environ | {"CHURN_BUSINESS": str(shop.folder), "DAGSTER_HOME": home}
        settings = subprocess.run(
            command, env=here, cwd=PACKAGE.parent, capture_output=True, text=True
        )
    assert settings.returncode == 0, settings.stderr
    return json.loads(answered.read_text())["data"]


def test_a_day_that_fails_after_it_was_good_is_shown_as_failed(answers: dict[str, Any]) -> None:
    checks = answers["assetNodeOrError"]["assetChecksOrError"]["checks"]
    shown = {
        check["name"]: (check["executionForLatestMaterialization"] or {}).get("status")
        for check in checks
    }
    assert (shown["schema"], shown["accepted"]) == ("FAILED", "FAILED")


def test_runs_of_the_command_line_are_among_those_of_their_job(answers: dict[str, Any]) -> None:
    jobs = {job["name"]: job["runs"] for job in answers["repositoryOrError"]["pipelines"]}
    by_hand = [
        run for run in jobs["refresh"] if {"key": "churn/cli", "value": "true"} in run["tags"]
    ]
    assert [run["repositoryOrigin"]["repositoryName"] for run in by_hand] == ["__repository__"]
