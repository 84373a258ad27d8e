"""The replica of diffusers' checkpoints over its socket, on pipelines with random weights; where torch is installed."""

import base64
import importlib.util
import io
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image

from headrace.engines import golden
from headrace.engines.diffusers import Diffusers
from headrace.ports import Artifact
from headrace.specs.catalog import EngineSpec, ModelSpec
from tests.conftest import CAPITAL
from tests.conftest import model as model_of
from tests.engines import tiny_diffusion

LACKING = [name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=f"needs {', '.join(LACKING)}, which headrace never installs"),
]
GENERATIONS, EDITS, FILMS = "/v1/images/generations", "/v1/images/edits", "/v1/videos/generations"
STEPS = 6


def prepared(folder: Path, task: str, source: Path, **args: Any) -> tuple[ModelSpec, Artifact]:
    spec = EngineSpec(kind="diffusers", slots=4, args={"steps": STEPS, "sizes": "64x64,96x64,256x256", **args})
    model = msgspec.structs.replace(model_of("tiny", task, str(source), spec, CAPITAL), golden=None)
    return model, Diffusers().prepare(model, folder / "artifacts", print)


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The sockets of a replica that draws and edits, and of one that films."""
    folder = tmp_path_factory.mktemp("diffusers")
    draws = prepared(folder, "image", tiny_diffusion.painter(folder / "painter"), edits=True)
    films = prepared(folder, "video", tiny_diffusion.film(folder / "film"), frames=16)
    with golden.running(Diffusers(), *draws) as (one, _), golden.running(Diffusers(), *films) as (other, _):
        yield {"image": one.removeprefix("unix:"), "video": other.removeprefix("unix:")}


def client_of(socket: str, timeout: float = 120) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://engine", timeout=timeout)


@pytest.fixture
def client(sockets: dict[str, str]) -> Iterator[httpx.Client]:
    with client_of(sockets["image"]) as made:
        yield made


@pytest.fixture
def camera(sockets: dict[str, str]) -> Iterator[httpx.Client]:
    with client_of(sockets["video"]) as made:
        yield made


def pictures(answer: httpx.Response) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    return [Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))) for item in answer.json()["data"]]


def levels(picture: Image.Image) -> Any:
    return np.asarray(picture.convert("RGB"), int)


@pytest.mark.parametrize(("size", "form"), [("64x64", "png"), ("96x64", "jpeg"), ("64x64", "webp")])
def test_a_picture_has_the_size_and_format_asked_for(client: httpx.Client, size: str, form: str) -> None:
    """Width before height."""
    (picture,) = pictures(client.post(GENERATIONS, json={"prompt": "fox", "size": size, "output_format": form}))
    assert (picture.format, f"{picture.width}x{picture.height}") == (form.upper(), size)


def test_a_seed_makes_the_same_picture_alone_and_in_a_batch(client: httpx.Client) -> None:
    """Picture i is that of the seed + i; who shares the call changes it by a rounding at most."""
    several = pictures(client.post(GENERATIONS, json={"prompt": "a fox", "n": 4, "seed": -1}))
    alone = [pictures(client.post(GENERATIONS, json={"prompt": "a fox", "seed": 1}))[0] for _ in range(2)]
    assert np.array_equal(levels(alone[0]), levels(alone[1]))
    assert np.abs(levels(several[2]) - levels(alone[0])).max() <= 1
    assert np.abs(levels(several[1]) - levels(alone[0])).max() > 20
    other = pictures(client.post(GENERATIONS, json={"prompt": "zebra", "seed": 1}))[0]
    assert not np.array_equal(levels(other), levels(alone[0]))


def test_requests_that_come_together_share_a_call(client: httpx.Client, sockets: dict[str, str]) -> None:
    """While one picture is drawn, four requests gather: each gets its own picture."""
    alone = [pictures(client.post(GENERATIONS, json={"prompt": word, "seed": 5}))[0] for word in ("ant", "bee", "cow")]

    def ask(word: str) -> Image.Image:
        with client_of(sockets["image"]) as own:
            return pictures(own.post(GENERATIONS, json={"prompt": word, "seed": 5}))[0]

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.post, GENERATIONS, json={"prompt": "elk", "size": "256x256"})
        together = list(pool.map(ask, ("ant", "bee", "cow")))
        pictures(first.result())
    for one, other in zip(alone, together, strict=True):
        assert np.abs(levels(one) - levels(other)).max() <= 1


def test_progress_tells_steps_and_who_leaves_stops_them(client: httpx.Client, sockets: dict[str, str]) -> None:
    """Steps of all pictures of a request; when its client has gone nothing of it runs or waits."""
    leaving = client_of(sockets["image"])
    body = {"prompt": "a fox", "n": 10, "size": "256x256"}
    with ThreadPoolExecutor(1) as pool:
        asked: Future[httpx.Response] = pool.submit(
            leaving.post, GENERATIONS, json=body, headers={"x-request-id": "long"}, timeout=0.5
        )
        seen: list[dict[str, Any]] = []
        while not asked.done():
            seen.extend(client.get("/progress").json()["running"])
        with pytest.raises(httpx.TimeoutException):
            asked.result()
    leaving.close()
    assert {(one["id"], one["steps"]) for one in seen} == {("long", 10 * STEPS)}
    assert [one["step"] for one in seen] == sorted(one["step"] for one in seen)
    pictures(client.post(GENERATIONS, json={"prompt": "a fox"}))
    assert client.get("/progress").json() == {"running": []}
    assert client.get("/load").json() == {"running": 0, "waiting": 0, "slots": 4}


def test_an_edit_begins_with_the_picture(client: httpx.Client) -> None:
    """The weaker the edit, the nearer to what it began with; one picture is taken, whatever its shape."""
    out = io.BytesIO()
    Image.new("RGB", (200, 100), (200, 40, 40)).save(out, "PNG")
    body = {"prompt": "a fox", "images": [base64.b64encode(out.getvalue()).decode()], "seed": 3, "size": "96x64"}
    weak, again, strong = (
        pictures(client.post(EDITS, json=body | {"strength": strength}))[0] for strength in (0.2, 0.2, 1.0)
    )
    assert weak.size == (96, 64)
    assert np.array_equal(levels(weak), levels(again))
    assert not np.array_equal(levels(weak), levels(strong))


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (GENERATIONS, {"prompt": "a fox", "size": "65x64"}, "size 65x64 cannot be made; this model makes 64x64, 96x64"),
        (GENERATIONS, {"prompt": "abcdefghijklmnopqrst"}, "prompt has 22 tokens; this model reads at most 16"),
        (GENERATIONS, {"prompt": "a fox", "n": 11}, "n"),
        (GENERATIONS, {"prompt": "a fox", "surprise": 1}, "unknown field"),
        (EDITS, {"prompt": "a fox", "images": []}, "images has 0 pictures; this model takes exactly one"),
        (EDITS, {"prompt": "a fox", "images": ["aGk="]}, "images is not a picture that can be read"),
        (EDITS, {"prompt": "a fox", "images": ["aGk="], "mask": "aGk="}, "mask is not taken by this model"),
        (EDITS, {"prompt": "a fox", "images": ["aGk="], "strength": 0.1}, "strength is 0.1; it is at least 0.167"),
    ],
)
def test_bad_requests_are_refused_by_name(client: httpx.Client, path: str, body: dict[str, Any], words: str) -> None:
    """400 with the value, the limit and the fix."""
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_film_is_as_long_and_large_as_asked(camera: httpx.Client) -> None:
    """H.264 in MP4; the same seed is the same film."""
    body = {"prompt": "a fox", "seconds": 2, "size": "96x64", "fps": 6, "seed": 2}
    one, other = (camera.post(FILMS, json=body).json()["data"][0]["b64_json"] for _ in range(2))
    assert one == other
    with av.open(io.BytesIO(base64.b64decode(one))) as file:
        (stream,) = file.streams.video
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 6)
    assert (len(frames), frames[0].shape) == (12, (64, 96, 3))
    assert np.abs(frames[0].astype(int) - frames[11]).max() > 0


def test_a_film_that_is_too_long_is_refused(camera: httpx.Client) -> None:
    """By its frames, which are what the network makes; a camera draws no pictures."""
    answer = camera.post(FILMS, json={"prompt": "a fox", "seconds": 3})
    assert answer.status_code == 400
    told = answer.json()["error"]["message"]
    assert told.startswith("seconds is 3, which at 8 frames a second are 24; this model makes at most 16")
    assert camera.post(GENERATIONS, json={"prompt": "a fox"}).status_code == 404
