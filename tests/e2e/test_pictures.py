"""Pictures through the whole cloud: the painter is woken, draws what it is asked, is paid for, and refuses by name."""

import base64
import io
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from PIL import Image

from tests.conftest import make
from tests.e2e.cloud import Cloud
from tests.engines.judge import look

pytestmark = [pytest.mark.e2e]
GENERATIONS = "/v1/images/generations"


@pytest.fixture(scope="module", autouse=True)
def painter() -> None:
    make("painter")


def asked(cloud: Cloud, **body: Any) -> tuple[int, dict[str, str], Any]:
    headers = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        cloud.url + GENERATIONS, json.dumps({"model": "painter", **body}).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return (
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                json.loads(answer.read()),
            )
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, json.loads(error.read())


def test_two_pictures_are_drawn_and_paid_for(cloud: Cloud):
    """A sleeping model draws; both pictures are what the words say, of the size said; two images are on the bill."""
    prompt = "a red circle left of a green square on a white background"
    status, head, body = asked(cloud, prompt=prompt, n=2, size="128x128", seed=3)
    assert status == 200, body
    for item in body["data"]:
        picture = Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))
        assert (picture.format, picture.size) == ("PNG", (128, 128))
        ground, seen = look(picture)
        by_place = sorted(seen, key=lambda one: one.x)
        assert (ground, [(one.shape, one.colour) for one in by_place]) == (
            "white", [("circle", "red"), ("square", "green")],
        )  # fmt: skip
    assert body["usage"]["images"] == 2
    assert float(head["x-headrace-cost"].split()[0]) == pytest.approx(0.0002)


def test_what_the_painter_cannot_draw_is_refused_by_name(cloud: Cloud):
    """The runner's reason reaches the client, and so does the gateway's: words, then size."""
    status, _, body = asked(cloud, prompt="a photo of a cat")
    assert status == 400
    assert "it draws circle, square" in body["error"]["message"]
    status, _, body = asked(cloud, prompt="a red circle", size="100x100")
    assert status == 400
    assert "256x256" in body["error"]["message"]
