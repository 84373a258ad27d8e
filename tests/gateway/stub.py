"""An upstream that does what a test tells it to: tell the truth, lie, stall or die. HTTP by hand, so that it can."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


class Question:
    """One request as the stub got it."""

    def __init__(self, target: str, headers: dict[str, str], body: bytes) -> None:
        self.target = target
        self.headers = headers
        self.body: dict[str, Any] = json.loads(body)


Behaviour = Callable[[Question, asyncio.StreamWriter], Awaitable[None]]


class StubUpstream:
    """Listens on a unix socket, or a loopback port of its own; `behave` answers each POST, a GET is a health check.

    `asked` are the requests, `gone` the cut connections.
    """

    def __init__(self, socket: Path | None, behave: Behaviour) -> None:
        self.socket = socket
        self.behave = behave
        self.asked: list[Question] = []
        self.connections = 0
        self.gone = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "StubUpstream":
        if self.socket is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        else:
            self._server = await asyncio.start_unix_server(self._serve, self.socket)
        return self

    @property
    def url(self) -> str:
        """Where it listens, without a socket's file."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def die(self) -> None:
        """As a killed process: nothing listens, every connection breaks."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                if head[0].startswith("GET "):
                    writer.write(whole(b'{"data": []}'))
                    continue
                headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
                body = await reader.readexactly(int(headers["content-length"]))
                question = Question(head[0].split()[1], headers, body)
                self.asked.append(question)
                working = asyncio.ensure_future(self.behave(question, writer))
                watching = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
                if not working.done() or isinstance(working.exception(), ConnectionError):
                    self.gone.set()  # cut while it worked
                    working.cancel()
                    watching.cancel()
                    await asyncio.gather(working, watching, return_exceptions=True)
                    return
                working.result()
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()


def whole(body: bytes, status: int = 200, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def answer(content: str = "Paris", tokens: int = 1, **more: object) -> bytes:
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "up", "choices": [choice], "usage": usage}
    return json.dumps({**body, **more}).encode()


def piece(delta: dict[str, object] | None = None, finish: str | None = None, **more: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": choices, **more}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def words(*texts: str) -> list[bytes]:
    """The events of a whole stream, without its usage and end."""
    return [
        piece({"role": "assistant", "content": ""}),
        *[piece({"content": text}) for text in texts],
        piece({}, finish="stop"),
    ]


def usage(tokens: int) -> bytes:
    return piece(usage={"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens})


async def truthful(question: Question, writer: asyncio.StreamWriter) -> None:
    """Answers `Paris`, whole or streamed, with right usage."""
    if not question.body.get("stream"):
        writer.write(whole(answer()))
        return
    writer.write(STREAM_HEAD)
    for event in words("Par", "is"):
        writer.write(framed(event))
    writer.write(framed(usage(4)) + framed(DONE) + END)


def saying(*parts: bytes) -> Behaviour:
    """Sends these bytes, one write each, whatever is asked."""

    async def say(_: Question, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return say


def dying(*parts: bytes) -> Behaviour:
    """Sends these bytes and breaks the connection."""

    async def say(_: Question, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    return say


async def silent(_: Question, __: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.Event().wait()
