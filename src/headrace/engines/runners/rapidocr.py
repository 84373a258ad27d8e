"""A replica that reads: pictures in chat messages become the text that stands in them. Started by `engines.rapidocr`.

The last message of the user is answered: its pictures in order, lines in reading order. When its text is the one word
`boxes`, each line is a JSON object instead. Pictures and lines of all requests share batches, and nothing is generated:
the same picture gives the same text whatever the sampling parameters.
"""

import argparse
import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from PIL import Image

from headrace.engines.runners import ocr, pictures, words
from headrace.engines.runners.batching import Batcher, Bounds, Item, padded
from headrace.engines.runners.ocr import Found, Reader
from headrace.engines.runners.ocr_boxes import Box
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid

_PICTURES_MAX: Final = 16
_CONFIDENCE_MIN: Final = 0.5
_FINDING: Final = Bounds(count=4, cost=3 << 20)  # pictures, and pixels as the detector sees them
_READING: Final = Bounds(count=16, cost=9600)  # lines, and pixels of width with padding
_BOXES: Final = "boxes"
Limit = Annotated[int, msgspec.Meta(ge=1)]


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True):
    """`data:image/...;base64,` and the picture."""

    url: str
    detail: str = "auto"


class ImagePart(msgspec.Struct, tag="image_url", tag_field="type", forbid_unknown_fields=True):
    """A picture in a message."""

    image_url: ImageUrl


class TextPart(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Words in a message."""

    text: str


class Message(msgspec.Struct):
    """One turn."""

    role: str
    content: str | list[ImagePart | TextPart] | None = None


class ChatRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/chat/completions. What steers sampling is taken and changes nothing."""

    messages: list[Message]
    model: str = ""
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    stream: Literal[False] = False
    n: Literal[1] | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    user: str | None = None


class Page(NamedTuple):
    """One picture's boxes and what was read in each; `rows` are indices by lines in reading order."""

    boxes: list[Box]
    found: list[Found]
    rows: list[list[int]]


class Runner:
    """The routes of one replica."""

    def __init__(self, reader: Reader, alias: str, pixels_max: int) -> None:
        thread = ThreadPoolExecutor(1, "compute")
        self.finding: Batcher[Image.Image, list[Box]] = Batcher(reader.find, _FINDING, executor=thread)
        self.reading: Batcher[Image.Image, Found] = Batcher(reader.read, _READING, padded, thread)
        self.alias, self.pixels_max = alias, pixels_max
        self.requests = 0

    async def chat(self, exchange: Exchange) -> None:
        """POST /v1/chat/completions."""
        try:
            request = msgspec.json.decode(exchange.body, type=ChatRequest)
        except msgspec.MsgspecError as error:
            raise Invalid(str(error)) from error
        urls, words = asked(request.messages)
        began = time.monotonic()
        self.requests += 1
        try:
            pages = list(await asyncio.gather(*(self._page(url, exchange.name) for url in urls)))
        finally:
            self.requests -= 1
        shown = as_boxes(pages) if words.strip().casefold() == _BOXES else as_text(pages)
        limit = request.max_completion_tokens or request.max_tokens or len(shown)
        usage = {
            "prompt_tokens": sum(one.positions for page in pages for one in page.found),
            "completion_tokens": min(limit, len(shown)),
            "prefill_us": 0,
            "decode_us": round(1e6 * (time.monotonic() - began)),
        }
        exchange.json(self._answer(shown[:limit], "length" if limit < len(shown) else "stop", usage))

    async def _page(self, url: str, name: str) -> Page:
        picture = await asyncio.to_thread(_opened, url, self.pixels_max)
        size = ocr.scaled(picture.width, picture.height)
        (boxes,) = await self.finding.run([Item(picture, shape=size, cost=size[0] * size[1])], name)
        if not boxes:
            return Page([], [], [])
        lines = await asyncio.to_thread(lambda: [ocr.line(picture, box) for box in boxes])
        found = await self.reading.run([Item(line, cost=line.width) for line in lines], name)
        return Page(boxes, found, ocr.lines_of(boxes, found, _CONFIDENCE_MIN))

    def _answer(self, text: str, reason: str, usage: dict[str, int]) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        return msgspec.json.encode(
            {
                "id": f"chatcmpl-{secrets.token_hex(12)}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": self.alias,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
                "usage": usage | {"total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]},
            }
        )


def asked(messages: list[Message]) -> tuple[list[str], str]:
    """The pictures of the user's last message, and its words. Raises Invalid when it holds no picture."""
    last = next((message for message in reversed(messages) if message.role == "user"), None)
    parts = last.content if last is not None and isinstance(last.content, list) else []
    urls = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
    if not 0 < len(urls) <= _PICTURES_MAX:
        raise Invalid(
            f"the last message of the user holds {len(urls)} pictures; this model reads 1 to {_PICTURES_MAX}: add a "
            'part {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}',
            param="messages",
        )
    return urls, " ".join(part.text for part in parts if isinstance(part, TextPart))


def as_text(pages: list[Page]) -> str:
    """Lines in reading order, a blank line between pictures."""
    return "\n\n".join(
        "\n".join(" ".join(page.found[index].text.strip() for index in row) for row in page.rows) for page in pages
    )


def as_boxes(pages: list[Page]) -> str:
    """One JSON object a box: text, confidence, corners clockwise from the upper left in pixels, and the picture."""
    lines = [
        {
            "text": page.found[index].text.strip(),
            "confidence": round(page.found[index].confidence, 4),
            "box": [[round(float(x)), round(float(y))] for x, y in page.boxes[index].corners],
            "image": number,
        }
        for number, page in enumerate(pages)
        for row in page.rows
        for index in row
    ]
    return "\n".join(msgspec.json.encode(line).decode() for line in lines)


def _opened(url: str, pixels_max: int) -> Image.Image:
    """The picture of a data: URL, or of bare base64, on white ground."""
    head, comma, coded = url.rpartition(",")
    if ":" in url and not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise Invalid(
            "image_url holds no picture; write data:image/png;base64,...; nothing is fetched", param="messages"
        )
    picture = pictures.opened(coded, "messages", pixels_max)
    if picture.mode == "RGBA":
        ground = Image.new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture.getchannel("A"))
        return ground
    return picture


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", numbers=("pixels",))
    asyncio.run(_serve(Runner(Reader(given.weights, given.threads), given.alias, given.pixels), given, began))


async def _serve(runner: Runner, given: argparse.Namespace, began: float) -> None:
    def load() -> dict[str, int]:
        asked_now, slots = runner.requests, given.slots
        return {"running": min(asked_now, slots), "waiting": max(0, asked_now - slots), "slots": slots}

    def progress() -> list[dict[str, Any]]:
        return runner.finding.progress() + runner.reading.progress()

    routes = {("POST", "/v1/chat/completions"): runner.chat}
    await serve(Server(routes, load, progress), given.listen, began)


if __name__ == "__main__":
    main()
