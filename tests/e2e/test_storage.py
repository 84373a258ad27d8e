"""What a tenant keeps on the real cloud: counted, bounded by the cloud file at once, and gone when it is deleted."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import headrace
from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
DEFAULT = (Path(headrace.__file__).parent / "specs" / "default.yaml").read_text()
DRAW = """
name: draw
steps: {drawn: {image: painter, prompt: a red circle on white, n: 2, seed: 1, size: 64x64}}
output: "{{ drawn }}"
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("storage")
    with running(folder / "home", artifacts=shared_artifacts) as cloud:
        yield cloud


@pytest.fixture
def client(cloud: Cloud) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:
        yield client


def kept(cloud: Cloud) -> dict[str, Any]:
    (tenant,) = cloud.get("/headrace/v1/storage")["data"]
    return dict(tenant)


def bounded(cloud: Cloud, folder: Path, size: str) -> None:
    """Apply the default cloud with so much storage for its tenant."""
    (folder / "cloud.yaml").write_text(DEFAULT.replace("  default: {", f"  default: {{storage: {size}, "))
    assert size in (folder / "cloud.yaml").read_text()
    cloud.run("apply", str(folder / "cloud.yaml"), "--yes")


def objects(cloud: Cloud) -> int:
    return len(list((cloud.home / "pipelines" / "objects").iterdir()))


def test_files_and_stored_responses_are_bounded_by_the_cloud_file_at_once(
    cloud: Cloud, client: openai.OpenAI, tmp_path: Path
):
    file = client.files.create(file=("a.txt", b"x" * 1_500), purpose="user_data")
    ask: dict[str, Any] = {"model": "smollm2", "input": "Hi", "max_output_tokens": 16}
    stored = client.responses.create(**ask, store=True)
    by = kept(cloud)["by"]
    assert by["file"] == 1_500
    assert by["response"] > 500
    assert "tenant default keeps" in cloud.run("status").stdout
    bounded(cloud, tmp_path, "2kB")
    cloud.until(lambda: kept(cloud)["limit_bytes"] == 2_000, what="the limit to be in force")
    for refused in (
        lambda: client.files.create(file=("b.txt", b"y" * 900), purpose="user_data"),
        lambda: client.responses.create(**ask, store=True),
        lambda: client.post("/videos", cast_to=object, body={"model": "painter", "prompt": "a red circle"}),
    ):
        with pytest.raises(openai.BadRequestError, match=r"tenants\.default\.storage") as told:
            refused()
        assert told.value.code == "storage_limit_exceeded"
    assert client.responses.create(**ask, store=False).output_text
    client.files.delete(file.id)
    client.responses.delete(stored.id)
    assert kept(cloud)["by"] == {}
    client.files.delete(client.files.create(file=("b.txt", b"y" * 2_000), purpose="user_data").id)
    bounded(cloud, tmp_path, "1GiB")


def test_pictures_of_a_run_go_when_it_is_deleted_and_its_requests_stay_in_the_books(cloud: Cloud):
    """Also with a runner that is killed in between."""
    runs = []
    for _ in range(2):
        run = cloud.post("/headrace/v1/runs", {"text": DRAW})["id"]
        found = cloud.until(
            lambda run=run: (s := cloud.get(f"/headrace/v1/runs/{run}"))["phase"] != "running" and s, 90
        )
        assert found["phase"] == "finished", found
        runs.append(run)
    sizes = sum(one["bytes"] for one in found["output"])
    assert kept(cloud)["by"] == {"run": 2 * sizes}  # the same pictures, counted for each run
    assert objects(cloud) == 2
    assert cloud.run("pipeline", "delete", runs[0]).stdout == f"deleted {runs[0]}\n"
    assert cloud.run("pipeline", "show", runs[0], check=False).returncode == 4
    left = cloud.get(f"/headrace/v1/runs/{runs[1]}/artifacts")["data"]
    assert {one["bytes"] for one in left} == {one["bytes"] for one in found["output"]}  # drawn side by side
    for pid in cloud.pids("pipelines"):
        os.kill(pid, signal.SIGKILL)
    cloud.run("pipeline", "delete", runs[1])
    assert (kept(cloud)["by"], objects(cloud)) == ({}, 0)
    rows = cloud.get(f"/headrace/v1/usage?label={runs[0]}/")["usage"]
    assert len(rows) == 2
    assert "the books are right" in cloud.run("cost", "verify").stdout
