"""Tools that ask other servers: what is sent, what may be reached, and what is made of any answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from headrace.errors import Permanent, Refused, Unreachable
from headrace.pipelines.context import Context
from headrace.pipelines.declared import tool_of
from headrace.pipelines.tools import Told, Use, use
from headrace.pipelines.web import OpenWeb
from headrace.specs.agent import Http, ToolSpec
from headrace.state.run import Run
from tests.pipelines.test_agent import begun
from tests.pipelines.world import Journal, Model, world

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def serving(said: bytes, work: Callable[[int], Any]) -> tuple[Any, list[bytes]]:
    """What comes of `work`, given a port that answers anything with these bytes; and what it was sent."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), 0
        )
        heard.append(head + await reader.readexactly(length))
        writer.write(said)
        writer.close()

    async def life() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await work(server.sockets[0].getsockname()[1])

    return asyncio.run(life()), heard


def called(
    said: bytes, given: dict[str, Any], *, hosts: tuple[str, ...] = ("127.0.0.1",), **http: Any
) -> tuple[Told, list[bytes]]:
    parameters = {name: {"type": "string" if isinstance(value, str) else "integer"} for name, value in given.items()}

    async def work(port: int) -> Told:
        url = f"http://127.0.0.1:{port}" + http.pop("path", "/x")
        spec = ToolSpec(http=Http(url=url, **http), description="d", parameters=parameters, result_chars=100)
        ports = msgspec.structs.replace(world(Journal(), Model()), web=OpenWeb(hosts))
        at = Use(context=Context(Run(started=begun(), deadline_us=1 << 60), ports), step="s", place="s#1", scope="")
        return await use({"t": tool_of("t", spec)}, "t", msgspec.json.encode(given).decode(), at)

    return serving(said, work)


def test_arguments_go_into_the_path_the_query_and_nowhere_else():
    told, heard = called(
        OK + b"content-length: 2\r\n\r\n{}", {"order": "7/../../admin?x", "page": 2}, path="/orders/{order}"
    )
    assert told == Told(True, "{}")
    assert heard[0].startswith(b"GET /orders/7%2F..%2F..%2Fadmin%3Fx?page=2 HTTP/1.1\r\n")


def test_a_post_carries_the_rest_as_json_and_a_name_to_know_it_again():
    _, heard = called(OK + b"content-length: 2\r\n\r\n{}", {"order": "7", "euros": 5}, path="/o/{order}", method="POST",
                      headers={"X-Shop": "a"})  # fmt: skip
    assert heard[0].endswith(b'{"euros":5}')
    assert b"x-shop: a\r\n" in heard[0].lower()
    assert b"idempotency-key: run_1/s#1\r\n" in heard[0].lower()


def test_an_answer_in_chunks_is_read_whole():
    told, _ = called(OK + b"transfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n", {})
    assert told == Told(True, "[1,2]")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (OK + b"content-length: 3\r\n\r\n\xff\xfe\xfd", "not UTF-8"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 1\r\n\r\nx", "answered with image/png"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            "redirects are not followed",
        ),
        (b"HTTP/1.1 404 No\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nnone", "answered 404: none"),
        (b"nonsense\r\n\r\n", "cannot be reached"),
        (OK + b"content-length: 101\r\n\r\n" + b"x" * 101, "101 characters, more than 100"),
        (OK + b"content-length: 300000\r\n\r\n" + b"x" * 300_000, "more than 262144 bytes"),
        (OK + b"content-length: 10\r\n\r\nx", "cannot be reached"),
    ],
)
def test_whatever_a_server_answers_the_model_is_told_in_one_text(said: bytes, told: str):
    found, _ = called(said, {})
    assert not found.ok
    assert told in found.text


def test_an_address_that_is_not_public_is_refused_unless_the_operator_names_it():
    told, heard = called(OK + b"content-length: 0\r\n\r\n", {}, hosts=())
    assert "not a public address" in told.text
    assert heard == []

    async def fetch(url: str, *hosts: str) -> None:
        await OpenWeb(hosts).fetch("GET", url, {}, b"", 100)

    for url in ("http://localhost:1/", "http://169.254.169.254/latest", "http://[::1]:1/", "http://0.0.0.0:1/"):
        with pytest.raises(Refused, match="HEADRACE_TOOL_HOSTS"):
            asyncio.run(fetch(url, "127.0.0.1:2"))
    with pytest.raises(Unreachable, match="cannot be reached"):
        asyncio.run(fetch("http://127.0.0.1:1/", "127.0.0.1:1"))


def test_too_much_is_cut_off_while_it_comes():
    async def work(port: int) -> Any:
        return await OpenWeb(["127.0.0.1"]).fetch("GET", f"http://127.0.0.1:{port}/", {}, b"", 10)

    with pytest.raises(Permanent, match="more than 10 bytes"):
        serving(OK + b"\r\n" + b"x" * 11, work)
