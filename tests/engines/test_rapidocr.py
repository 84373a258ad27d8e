"""The reader of text: exact on clear print, turned or upside down, in order; and what it does not take is refused."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image, ImageFilter

from headrace.engines import golden
from headrace.engines.rapidocr import RapidOcr
from headrace.errors import Permanent
from headrace.specs.catalog import Golden
from tests.conftest import ARTIFACTS, CACHE, INVOICE, MODELS
from tests.engines.pictures import coded, written

OCR = MODELS["ocr"]
ENGINE = RapidOcr()


@pytest.fixture(scope="module")
def replica() -> Iterator[httpx.Client]:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(CACHE / "ocr.lock"):
        artifact = ENGINE.prepare(OCR, ARTIFACTS, print)
    with golden.running(ENGINE, OCR, artifact) as (address, _):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
        with httpx.Client(transport=transport, base_url="http://engine", timeout=100) as client:
            yield client


def part(picture: Image.Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded(picture)}"}}


def ask(client: httpx.Client, *pictures: Image.Image, words: str = "", **more: Any) -> httpx.Response:
    content = [*map(part, pictures), *([{"type": "text", "text": words}] if words else [])]
    body = {"model": "ocr", "messages": [{"role": "user", "content": content}], **more}
    return client.post("/v1/chat/completions", json=body)


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_a_printed_line_is_read_exactly(replica: httpx.Client) -> None:
    """The golden sentence, as chat completion with its usage: letters out, places looked at in."""
    answer = ask(replica, written([INVOICE]), max_tokens=2000, temperature=0)
    body = answer.json()
    assert text_of(answer) == INVOICE
    assert (body["object"], body["model"]) == ("chat.completion", "ocr")
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["completion_tokens"] == len(INVOICE)
    assert len(INVOICE) < usage["prompt_tokens"] < 20 * len(INVOICE)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


LINES = [INVOICE, "Payment due within 30 days", "IBAN DE89 3704 0044 0532 0130 00", "(c) 2026 / page 1-2: 100%"]


@pytest.mark.parametrize("degrees", [0, 7, -12, 90, 94, 180, 270])
def test_lines_come_in_reading_order_turned_or_not(replica: httpx.Client, degrees: int) -> None:
    """A page that lies askew, on a side or on its head: the same lines, exact, from its first to its last."""
    page = written(LINES, 26, 800).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    assert text_of(ask(replica, page)).split("\n") == LINES


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_columns_of_a_line_are_read_from_left_to_right(replica: httpx.Client, degrees: int) -> None:
    """A table: each row is one line, however it lies."""
    page = Image.new("RGB", (900, 160), "white")
    for row, cells in enumerate((("Apples", "12", "3.40"), ("Pears", "7", "2.10"))):
        for column, cell in enumerate(cells):
            page.paste(written([cell], 26, 200).crop((0, 0, 200, 70)), (20 + 300 * column, 10 + 75 * row))
    page = page.rotate(degrees, expand=True)
    assert text_of(ask(replica, page)).split("\n") == ["Apples 12 3.40", "Pears 7 2.10"]


def test_the_word_boxes_asks_for_json_lines(replica: httpx.Client) -> None:
    """Text, confidence, four corners around the ink, and which picture."""
    pages = [written([INVOICE], 30, 700), written(["Second page"], 30, 700)]
    lines = [json.loads(line) for line in text_of(ask(replica, *pages, words="boxes")).split("\n")]
    assert [(line["text"], line["image"]) for line in lines] == [(INVOICE, 0), ("Second page", 1)]
    for line, page in zip(lines, pages, strict=True):
        rows, columns = np.nonzero(np.asarray(page.convert("L")) < 128)
        box = np.array(line["box"])
        assert np.abs(box.min(0) - [columns.min(), rows.min()]).max() < 10
        assert np.abs(box.max(0) - [columns.max(), rows.max()]).max() < 10
        assert 0.9 < line["confidence"] <= 1


def test_only_the_last_message_of_the_user_is_read(replica: httpx.Client) -> None:
    """What came before is history."""
    messages = [
        {"role": "system", "content": "Read."},
        {"role": "user", "content": [part(written(["Before"]))]},
        {"role": "assistant", "content": "Before"},
        {"role": "user", "content": [{"type": "text", "text": "And this?"}, part(written(["After"]))]},
    ]
    assert text_of(replica.post("/v1/chat/completions", json={"messages": messages})) == "After"


def test_a_limit_of_tokens_cuts_and_says_so(replica: httpx.Client) -> None:
    """A letter is a token."""
    answer = ask(replica, written([INVOICE]), max_tokens=12)
    assert text_of(answer) == INVOICE[:12]
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    assert answer.json()["usage"]["completion_tokens"] == 12


def test_a_picture_without_text_gives_none(replica: httpx.Client) -> None:
    """White, and noise without form."""
    noise = Image.effect_noise((300, 200), 20).convert("RGB").filter(ImageFilter.GaussianBlur(2))
    assert text_of(ask(replica, Image.new("RGB", (300, 200), "white"), noise)).strip() == ""


def test_many_at_once_get_their_own(replica: httpx.Client) -> None:
    """Twelve pictures by twelve clients, whose lines share batches."""
    lines = [f"Number {number * 7919 % 100_000} of this list" for number in range(12)]
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda line: text_of(ask(replica, written([line], 24, 480))), lines))
    assert answers == lines


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"messages": [{"role": "user", "content": "What does it say?"}]}, "holds 0 pictures"),
        ({"messages": []}, "holds 0 pictures"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]}]}, "nothing is fetched"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}, "whole PNG"),
        ({"messages": [{"role": "user", "content": [part(written(["x"]))] * 17}]}, "holds 17 pictures"),
        ({"logprobs": True}, "logprobs"),
    ],
    ids=["no picture", "no message", "an address", "no PNG", "too many", "a field it does not know"],
)  # fmt: skip
def test_what_it_does_not_take_is_refused_by_name(replica: httpx.Client, body: dict[str, Any], said: str) -> None:
    """And the replica lives on."""
    answer = replica.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]} | body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert replica.get("/load").json() == {"running": 0, "waiting": 0, "slots": 4}


def test_a_wrong_answer_is_not_served(tmp_path: Path) -> None:
    """What stands in the picture is not what is expected."""
    wrong = msgspec.structs.replace(OCR, golden=Golden(prompt=INVOICE, expect="0815"))
    with pytest.raises(Permanent, match=r"it read 'Invoice 4711 total 42\.50 EUR'"):
        ENGINE.prepare(wrong, tmp_path, print)


def test_a_folder_without_a_reader_is_refused(tmp_path: Path) -> None:
    """By the role that is missing, and by what is in the file."""
    (tmp_path / "my_det.onnx").write_bytes(b"\x08\x08")
    model = msgspec.structs.replace(OCR, source=str(tmp_path))
    with pytest.raises(Permanent, match="'rec' in its name, found none"):
        ENGINE.prepare(model, tmp_path / "a", print)
    os.link(tmp_path / "my_det.onnx", tmp_path / "my_rec.onnx")
    with pytest.raises(Permanent, match="my_rec"):
        ENGINE.prepare(model, tmp_path / "a", print)
