"""Films over the replica's socket: as long and large as asked for, of the things that were asked for, moving."""

import base64
import io
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import av
import httpx
import msgspec
import numpy as np
import pytest

from headrace.engines import golden
from headrace.engines.painter import FILM_S_MAX, FILM_SIZES, PainterEngine
from headrace.engines.runners import filming
from headrace.engines.runners.film import encode
from tests.conftest import MODELS, make
from tests.engines.judge import look

PATH = "/v1/videos/generations"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    _, artifact = make("painter")
    film = msgspec.structs.replace(MODELS["painter"], name="film", task="video")
    with (
        golden.running(PainterEngine(), film, artifact) as (address, _),
        httpx.Client(
            transport=httpx.HTTPTransport(uds=address.removeprefix("unix:")), base_url="http://engine", timeout=60
        ) as made,
    ):
        yield made


def frames(answer: httpx.Response) -> tuple[list[Any], float]:
    """Its pictures, and how many of them a second."""
    assert answer.status_code == 200, answer.text
    (film,) = answer.json()["data"]
    with av.open(io.BytesIO(base64.b64decode(film["b64_json"]))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        rate = float(stream.average_rate)
        return [frame.to_image() for frame in container.decode(video=0)], rate


def test_a_film_is_what_was_asked_for(client: httpx.Client) -> None:
    """In length, size and pace; the thing is in its first and last picture, and has moved between them."""
    body = {"prompt": "a small red circle on a white background", "seconds": 2, "size": "128x128", "fps": 6, "seed": 3}
    shown, rate = frames(client.post(PATH, json=body))
    assert (len(shown), rate, shown[0].size) == (12, 6.0, (128, 128))
    first, last = (look(picture.resize((64, 64)))[1] for picture in (shown[0], shown[-1]))
    assert [(one.shape, one.colour) for one in (*first, *last)] == [("circle", "red")] * 2
    assert abs(first[0].x - last[0].x) + abs(first[0].y - last[0].y) > 0.03


def test_nothing_jumps(client: httpx.Client) -> None:
    """From one picture to the next little changes, at the turn of a second too."""
    shown, _ = frames(client.post(PATH, json={"prompt": "a blue star", "seconds": 2, "size": "128x128", "seed": 1}))
    levels = [np.asarray(picture, np.float32) for picture in shown]
    steps = [float(np.abs(after - before).mean()) for before, after in itertools.pairwise(levels)]
    assert max(steps) < 12


def test_the_same_seed_is_the_same_film(client: httpx.Client) -> None:
    """And without one each is another; alone as beside others."""
    body = {"prompt": "a green triangle", "seconds": 1, "size": "128x128", "fps": 4}
    said: list[Any] = []
    beside = [threading.Thread(target=lambda: said.append(client.post(PATH, json=body | {"seed": 7}).json()))
              for _ in range(2)]  # fmt: skip
    for thread in beside:
        thread.start()
    for thread in beside:
        thread.join()
    alone = client.post(PATH, json=body | {"seed": 7}).json()
    assert [one["data"] for one in said] == [alone["data"]] * 2
    assert client.post(PATH, json=body).json()["data"] != client.post(PATH, json=body).json()["data"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": "a dragon"}, "nothing this model can draw"),
        ({"prompt": "a red circle", "size": "100x100"}, "size 100x100 cannot be made; this model makes 256x256"),
        ({"prompt": "a red circle", "seconds": FILM_S_MAX + 1}, "seconds"),
        ({"prompt": "a red circle", "fps": 0}, "fps"),
        ({"prompt": "a red circle", "sound": True}, "unknown field"),
    ],
)
def test_bad_requests_are_refused_by_name(client: httpx.Client, body: dict[str, Any], words: str) -> None:
    """400 with the value and what there is."""
    answer = client.post(PATH, json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_who_leaves_ends_the_film(client: httpx.Client) -> None:
    """The next one is made at once, and nothing is left at work."""
    with pytest.raises(httpx.TimeoutException):
        client.post(PATH, json={"prompt": "a red circle", "seconds": 20, "size": "512x512"}, timeout=0.05)
    frames(client.post(PATH, json={"prompt": "a red circle", "seconds": 1, "size": "128x128"}))
    assert client.get("/progress").json() == {"running": []}


def test_what_the_adapter_says_the_runner_makes() -> None:
    """Sizes, and the longest."""
    assert tuple(f"{side}x{side}" for side in filming.SIDES) == FILM_SIZES
    assert filming.SECONDS_MAX == FILM_S_MAX


def test_frames_become_a_film_that_shows_them() -> None:
    """Each within what the codec may change."""
    given = [np.full((64, 48, 3), level, np.uint8) for level in (0, 80, 160, 240)]
    with av.open(io.BytesIO(encode(given, 4))) as container:
        seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [abs(int(one.mean()) - level) < 6 for one, level in zip(seen, (0, 80, 160, 240), strict=True)] == [True] * 4
