"""The pipelines of deploy/ci, step by step, beside a running proxy under load: a good version is promoted, bad ones are not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from crossfade_backends.data import Sample, as_request, draw_sample, split_sample
from crossfade_backends.recipes import RECIPES
from crossfade_backends.registry import MODEL_FILE, read_metadata
from crossfade_backends.stages import move
from tests.backends.test_models import as_csv
from tests.deploy.pipelines import FOLDER, read_jobs
from tests.deploy.project import ROOT
from tests.scenarios.harness import Proxy, running
from tests.scenarios.test_batch import python
from tests.scenarios.test_deployed_models import Rows
from tests.scenarios.test_shadow_models import model_servers

IN_CENTS = RECIPES[-1].prepare  # the mistake of v4
ROLLOUT = """{steps: [{weight: 50%, hold: 1s}], min_requests: 100, watch: 1s, checks: [{metric: error_rate, max: 5%},
  {metric: score_divergence, max: 0.35}]}"""


def routing(registry: Path, champion: str) -> str:
    return f"""
registry: {{kind: folder, uri: {registry}, interval: 500ms}}
backends:
  churn-v2: {{endpoints: [{champion}], registry: churn/v2}}
routes:
  - name: churn
    match: {{path: /predict}}
    sticky: {{json: customer_id}}
    split: {{churn-v2: 100%}}
    prediction: {{score: churn_probability}}
    retry: {{pure: true}}
"""


@dataclass
class Team:
    """A model team: its data and its pipelines. `said` and `variables`: of the last one."""

    folder: Path
    proxy: Proxy
    registry: Path

    async def pipeline(
        self, service: str, number: str, train: Sample, held_out: Sample, **more: str
    ) -> tuple[list[str], bool]:
        """The steps that ran, and whether all went well."""
        filled_in = {
            "github.run_number": number, "github.run_attempt": "1", "github.sha": "c0ffee", "github.actor": "ann",
            "CI_PIPELINE_IID": number, "CI_JOB_ID": "1", "CI_COMMIT_SHA": "c0ffee", "GITLAB_USER_LOGIN": "ann",
            "secrets.CROSSFADE_ADMIN_TOKEN": "",
        }  # fmt: skip
        here = {
            "REGISTRY": str(self.registry),
            "ROUTING": str(self.proxy.file),
            "TRAINING_DATA": str(as_csv(self.folder / "train.csv", train)),
            "HELD_OUT": str(as_csv(self.folder / "held_out.csv", held_out)),
            "WORK": str(self.folder / "build"),
            "TESTS": str(self.folder / "tests"),
            "CROSSFADE_ADMIN_URL": f"http://127.0.0.1:{self.proxy.admin_port}",
            "ROLLOUT": ROLLOUT,
            "WAIT": "10m",
            "REPLICAS": "1",
            "RUNNER_TRACKING_ID": self.mark,
            **more,
        }
        self.said, ran = "", []
        for job in read_jobs(FOLDER / f"{service}.yml", filled_in).values():
            self.variables = {**job.variables, **here}
            for line in (each for each in job.steps if not each.startswith("pip install")):
                ran.append(name_of(line))
                if await self.shell(line, self.variables):
                    for after in job.after_failure:
                        ran.append(name_of(after))
                        assert await self.shell(after, self.variables) == 0, self.said
                    return ran, False
        return ran, True

    @property
    def mark(self) -> str:
        """What GitHub's runner gives to processes that it kills at the end of a job."""
        return f"github_{self.folder.name}_{self.proxy.port}"

    def marked(self) -> list[str]:
        """Processes that would be killed now."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in (process / "environ").read_bytes():
                    found.append(process.name)
        return found

    async def shell(self, line: str, variables: Mapping[str, str]) -> int:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        child = await asyncio.create_subprocess_exec(
            *("sh", "-ec", line),
            cwd=ROOT,
            env={**os.environ, **variables, "PATH": path},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.said += f"$ {line}\n" + (await child.communicate())[0].decode()
        assert child.returncode is not None
        return child.returncode

    def stage(self, version: str) -> str:
        return read_metadata(self.registry, "churn", version).stage

    async def in_charge(self) -> str:
        [one] = [name for name, share in (await self.proxy.split()).items() if share]
        return one

    async def deployed(self) -> str:
        code, said = await python("crossfade_backends.models", "info", "--registry", str(self.registry))
        assert code == 0, said
        return said


def name_of(line: str) -> str:
    return line.partition("deploy/ci/")[2].partition(".sh")[0]


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    registry = tmp_path / "models"
    assert (await python("crossfade_backends.train", "--registry", str(registry), "--rows", "2000"))[0] == 0
    for stage in ("staging", "production"):
        move(registry, "churn", "v2", stage)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_rows.py").write_text("def test_rows():\n    assert True\n")
    async with model_servers(registry, "v2") as urls:
        proxy = Proxy(tmp_path, routing(registry, urls["v2"]), workers=1)
        async with running(proxy):
            try:
                yield Team(tmp_path, proxy, registry)
            finally:
                for folder in (registry / ".deployments").glob("churn-*"):
                    which = f"churn@{folder.name.partition('-')[2]}"
                    await python(
                        *(
                            "crossfade_backends.models",
                            "undeploy",
                            which,
                            "--force",
                            "--registry",
                            str(registry),
                        )
                    )


STEPS = ["test", "train", "evaluate", "register", "plan", "deploy", "wait"]


@pytest.mark.timeout(900)  # each step imports scikit-learn, and replicas are started three times
async def test_bad_versions_are_stopped_and_taken_back_and_a_good_one_is_promoted(team: Team) -> None:
    train, held_out = split_sample(draw_sample(6000, 5))
    customers = Rows(team.proxy.url)
    sample = draw_sample(3000, 7)  # with few, the two arms have scores that differ by chance
    customers.rows = [as_request(sample, n) for n in range(3000)]
    async with customers as load:
        await one_worse_than_the_champion(team, IN_CENTS(train), held_out)
        await one_that_only_customers_find_out(team, IN_CENTS(train), IN_CENTS(held_out))
        await one_that_takes_too_long(team, train, held_out)
        await a_good_one(team, train, held_out)
        await load.wait_for_answers(100)
    assert load.failures == []
    assert load.answers["g1.1"] == 0 < min(load.answers[name] for name in ("g2.1", "g4.1"))


async def one_worse_than_the_champion(team: Team, train: Sample, held_out: Sample) -> None:
    ran, went_well = await team.pipeline("github", "1", train, held_out)
    assert (ran, went_well) == ([*STEPS[:3], "roll_back"], False), team.said
    assert "worse than the champion: auc" in team.said and "nothing to roll back" in team.said
    assert not (team.registry / "churn" / "g1.1").exists()


async def one_that_only_customers_find_out(team: Team, train: Sample, held_out: Sample) -> None:
    """Its held-out rows have the same mistake as those that it was trained on, so no evaluation sees it."""
    ran, went_well = await team.pipeline("gitlab", "2", train, held_out)
    assert (ran, went_well) == ([*STEPS, "roll_back"], False), team.said
    assert "churn is aborted, not promoted" in team.said and "score_divergence" in team.said
    await is_taken_back(team, "g2.1")


async def one_that_takes_too_long(team: Team, train: Sample, held_out: Sample) -> None:
    slow = ROLLOUT.replace("hold: 1s", "hold: 1h")
    ran, went_well = await team.pipeline("github", "3", train, held_out, ROLLOUT=slow, WAIT="1s")
    assert (ran, went_well) == ([*STEPS, "roll_back"], False), team.said
    assert "the time is over" in team.said
    await is_taken_back(team, "g3.1")


async def a_good_one(team: Team, train: Sample, held_out: Sample) -> None:
    """And taken back by hand in its watch, and once more."""
    watched = ROLLOUT.replace("watch: 1s", "watch: 1h")
    ran, went_well = await team.pipeline("github", "4", train, held_out, ROLLOUT=watched)
    assert (ran, went_well) == (STEPS, True), team.said
    assert "rollout churn-v2 → churn-g4.1, if every check passes:" in team.said
    assert await team.in_charge() == "churn-g4.1"
    assert (await team.deployed()).startswith("churn-g4.1: ") and await asyncio.to_thread(team.marked) == []
    assert read_metadata(team.registry, "churn", "g4.1").tags["commit"] == "c0ffee"
    for _ in range(2):
        assert await team.shell("deploy/ci/roll_back.sh", team.variables) == 0, team.said
        await is_taken_back(team, "g4.1")


async def is_taken_back(team: Team, version: str) -> None:
    """The champion has all requests, the file names the version nowhere, no replica is left."""
    assert await team.in_charge() == "churn-v2"
    assert version not in team.proxy.file.read_text()
    assert await team.deployed() == "nothing is deployed\n"
    assert (team.stage(version), team.stage("v2")) == ("archived", "production")
    assert (team.registry / "churn" / version / MODEL_FILE).exists()
