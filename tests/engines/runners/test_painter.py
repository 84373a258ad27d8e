"""The painter's replica over its socket: sizes, formats, edits, seeds, progress, and who leaves frees the batch."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from headrace.engines import golden
from headrace.engines.painter import SIZES, PainterEngine
from tests.conftest import make
from tests.engines.judge import look

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"


@pytest.fixture(scope="module")
def socket() -> Iterator[str]:
    with golden.running(PainterEngine(), *make("painter")) as (address, _):
        yield address.removeprefix("unix:")


@pytest.fixture
def client(socket: str) -> Iterator[httpx.Client]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://engine", timeout=60) as made:
        yield made


def pictures(answer: httpx.Response) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    return [Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))) for item in answer.json()["data"]]


def things(picture: Image.Image) -> list[tuple[str, str]]:
    return [(one.shape, one.colour) for one in look(picture.convert("RGB").resize((64, 64)))[1]]


def told(answer: httpx.Response) -> str:
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


@pytest.mark.parametrize(("size", "form"), list(zip(SIZES, ("png", "jpeg", "webp", "png", "jpeg"), strict=True)))
def test_each_size_is_made_in_each_format(client: httpx.Client, size: str, form: str) -> None:
    """The one picture, larger, in the format that was asked for; the shape is the same in all."""
    body = {"prompt": "a red circle on a white background", "size": size, "output_format": form, "seed": 1}
    (picture,) = pictures(client.post(GENERATIONS, json=body))
    assert (form.upper(), size) == (picture.format, f"{picture.width}x{picture.height}")
    assert things(picture) == [("circle", "red")]


def test_picture_i_of_a_request_is_that_of_the_seed_plus_i(client: httpx.Client) -> None:
    """So each can be asked for again by itself; without a seed each request has its own."""
    several = pictures(client.post(GENERATIONS, json={"prompt": "a blue star", "n": 3, "seed": -4}))
    again = pictures(client.post(GENERATIONS, json={"prompt": "a blue star", "seed": -2}))
    assert np.array_equal(np.asarray(several[2]), np.asarray(again[0]))
    assert not np.array_equal(np.asarray(several[1]), np.asarray(several[2]))
    free = [client.post(GENERATIONS, json={"prompt": "a blue star"}).json()["data"] for _ in range(2)]
    assert free[0] != free[1]


def test_an_edit_begins_with_the_picture(client: httpx.Client) -> None:
    """A green square at the left becomes a blue one where it stood; what the mask keeps stays."""
    out = io.BytesIO()
    given = Image.new("RGBA", (128, 128), "white")
    given.paste((40, 160, 70), (20, 44, 60, 84))
    given.save(out, "PNG")
    image = base64.b64encode(out.getvalue()).decode()
    body: dict[str, Any] = {"prompt": "a blue square on the left on white", "images": [image], "seed": 2}
    (picture,) = pictures(client.post(EDITS, json=body | {"size": "64x64", "strength": 0.8}))
    _, seen = look(picture)
    assert [(one.shape, one.colour) for one in seen] == [("square", "blue")]
    assert seen[0].x < 0.45
    out = io.BytesIO()
    Image.new("RGBA", (128, 128), (0, 0, 0, 255)).save(out, "PNG")
    mask = base64.b64encode(out.getvalue()).decode()
    (whole,) = pictures(client.post(EDITS, json=body | {"size": "128x128", "mask": mask}))
    assert things(whole) == [("square", "green")]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (GENERATIONS, {"prompt": "a photo of my cat"}, "nothing this model can draw; it draws circle"),
        (
            GENERATIONS,
            {"prompt": "a red circle", "size": "100x100"},
            "size 100x100 cannot be made; this model makes 256x256",
        ),
        (GENERATIONS, {"prompt": "a red circle", "n": 11}, "n"),
        (GENERATIONS, {"prompt": "a red circle", "surprise": 1}, "unknown field"),
        (GENERATIONS, {"prompt": "a red circle", "output_format": "bmp"}, "output_format"),
        (EDITS, {"prompt": "a red circle", "images": []}, "images has 0 pictures; this model takes exactly one"),
        (EDITS, {"prompt": "a red circle", "images": ["aGVsbG8="]}, "images is not a picture that can be read"),
        (EDITS, {"prompt": "a red circle", "images": ["x"], "strength": 2}, "strength"),
    ],
)
def test_bad_requests_are_refused_by_name(client: httpx.Client, path: str, body: dict[str, Any], words: str) -> None:
    """400 with the value, the limit and the fix."""
    assert words in told(client.post(path, json=body))


def test_who_leaves_frees_the_batch(client: httpx.Client, socket: str) -> None:
    """Ten pictures are begun and their client goes: their steps end early, and the next is painted at once."""
    leaving = httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://e", timeout=0.02)
    with leaving, pytest.raises(httpx.TimeoutException):
        leaving.post(GENERATIONS, json={"prompt": "a red circle", "n": 10, "size": "1024x1024"})
    (picture,) = pictures(client.post(GENERATIONS, json={"prompt": "a red circle", "seed": 1}))
    assert things(picture) == [("circle", "red")]
    assert client.get("/progress").json() == {"running": []}
    assert client.get("/load").json()["waiting"] == 0
