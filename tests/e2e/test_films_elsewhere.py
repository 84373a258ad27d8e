"""A cloud in front of another one's films: asked for here, made there, told and paid for in both."""

import io
from collections.abc import Iterator

import av
import openai
import pytest

from tests.e2e.cloud import Cloud, running

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),  # theirs ends; the client's calls do not
]
SPEC = """\
version: 1
pools:
  theirs: {{accelerator: cpu, price_per_hour: 0.08}}
models:
  front:
    task: video
    engine: {{kind: openai, url: "{url}/v1", api_key: "env:THEIRS", upstream_model: film, slots: 4}}
    price: {{video_seconds: 0.01}}
"""


@pytest.fixture(scope="module")
def front(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("front")
    (folder / "cloud.yaml").write_text(SPEC.format(url=cloud.url))
    with running(folder / "home", spec=folder / "cloud.yaml", gateways=1, THEIRS=cloud.key) as front:
        yield front


def test_a_film_is_made_by_another_cloud(cloud: Cloud, front: Cloud):
    """Created, polled and fetched with the official client; nothing of it stays there."""
    before = {one["id"] for one in cloud.get("/v1/videos")["data"]}
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=3) as client:
        film = client.videos.create_and_poll(model="front", prompt="a red circle", seconds="1", size="128x128")  # type: ignore[arg-type]
        assert film.status == "completed", film.error
        data = client.videos.download_content(film.id).content
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height) == (128, 128)
        assert sum(1 for _ in file.decode(stream)) > 5
    assert float(film.headrace["cost"]) == pytest.approx(0.01)
    cloud.until(
        lambda: {one["id"] for one in cloud.get("/v1/videos")["data"]} <= before, what="it to be taken away there"
    )


def test_what_the_other_refuses_is_refused_here(front: Cloud):
    """Its painter draws no cats."""
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=3) as client:
        film = client.videos.create_and_poll(model="front", prompt="a photo of a cat", seconds="1")  # type: ignore[arg-type]
    assert film.status == "failed"
    assert film.error is not None
