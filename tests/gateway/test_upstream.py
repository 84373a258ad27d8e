"""What an engine says, however it is cut: the same body, the same end; framing that lies is never believed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway.upstream import IDLE_CONNECTIONS_MAX, Pool, Upstream
from headrace.state.table import RouteReplica
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import run, until


class Wire:
    """A transport that only remembers."""

    def __init__(self) -> None:
        self.closed = False
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.closed = True

    close = abort

    def is_closing(self) -> bool:
        return self.closed

    def resume_reading(self) -> None: ...


class Ear:
    """A user that writes down what it is told."""

    def __init__(self) -> None:
        self.status = 0
        self.events = False
        self.body = b""
        self.ends: list[str] = []

    def upstream_head(self, status: int, events: bool) -> None:
        self.status, self.events = status, events

    def upstream_data(self, data: bytes) -> None:
        self.body += data

    def upstream_end(self) -> None:
        self.ends.append("end")

    def upstream_lost(self, reason: str, heard: bool) -> None:
        self.ends.append("lost")


def a_replica(address: str = "unix:/none", **more: str) -> RouteReplica:
    return RouteReplica(
        id="r", model="m", version="v1", incarnation="i", address=address, slots=1, phase="ready", upstream_model="u", **more
    )  # fmt: skip


def listening() -> tuple[Upstream, Ear, Wire, Pool]:
    pool, ear, wire = Pool(a_replica()), Ear(), Wire()
    upstream = Upstream(pool)
    upstream.connection_made(wire)  # type: ignore[arg-type]
    upstream.send(ear, b"request")
    return upstream, ear, wire, pool


def hear(data: bytes, cuts: list[int]) -> tuple[Ear, Wire, Pool]:
    upstream, ear, wire, pool = listening()
    at = 0
    for cut in [*sorted({c for c in cuts if c < len(data)}), len(data)]:
        if not wire.closed:
            upstream.data_received(data[at:cut])
        at = cut
    return ear, wire, pool


def chunked(parts: list[bytes]) -> bytes:
    return stub.STREAM_HEAD + b"".join(map(stub.framed, parts)) + stub.END


parts = st.lists(st.binary(min_size=1, max_size=50), max_size=6)
cuts = st.lists(st.integers(1, 400), max_size=30)


@settings(max_examples=200, deadline=None)
@given(parts, cuts, st.booleans())
def test_an_answer_is_read_however_it_is_cut(body: list[bytes], where: list[int], interim: bool):
    """Chunked or by length, past interim answers; the connection is the pool's again, once."""
    whole = b"".join(body)
    for data in (chunked(body), stub.whole(whole)):
        ear, wire, pool = hear((b"HTTP/1.1 100 Continue\r\n\r\n" * 3 if interim else b"") + data, where)
        assert (ear.status, ear.body, ear.ends) == (200, whole, ["end"])
        assert (len(pool._idle), wire.closed) == (1, False)


@settings(max_examples=300, deadline=None)
@given(parts, cuts, st.binary(min_size=1, max_size=4), st.integers(0, 500))
def test_noise_never_breaks_the_reader(body: list[bytes], where: list[int], noise: bytes, at: int):
    """At most one end or one loss; nothing raised; a connection that lied is not used again."""
    data = chunked(body)
    data = data[: at % len(data)] + noise + data[at % len(data) :]
    ear, wire, pool = hear(data, where)
    assert len(ear.ends) <= 1
    assert not (pool._idle and wire.closed)
    if ear.ends == ["lost"]:
        assert wire.closed


LIES: dict[str, bytes] = {
    "two lengths": stub.whole(b"{}", more="content-length: 3\r\n"),
    "a signed length": b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}",
    "a length and chunks": stub.whole(b"{}", more="transfer-encoding: chunked\r\n"),
    "two codings": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a negative chunk": stub.STREAM_HEAD + b"-1\r\n",
    "a chunk of another base": stub.STREAM_HEAD + b"0x5\r\nabcde\r\n",
    "an underscore": stub.STREAM_HEAD + b"1_0\r\n",
    "an endless size": stub.STREAM_HEAD + b"0" * 200,
    "an endless head": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000,
    "another protocol": b"SSH-2.0-x\r\n\r\n",
    "more than it said": stub.whole(b"{}") + b"x",
    "an answer of its own": stub.whole(b"{}") + stub.whole(b"{}"),
}


@pytest.mark.parametrize("name", LIES)
def test_framing_that_lies_loses_the_connection(name: str):
    """The user hears of a loss, not of an end, and nobody uses the connection again."""
    ear, wire, pool = hear(LIES[name], [])
    assert ear.ends == ["lost"]
    assert (wire.closed, pool._idle) == (True, [])


@pytest.mark.parametrize("data", [b"\x00", b"SSH-2.0-", b"HTTP/2 200 OK\r\n", b"HTTX"])
def test_what_cannot_become_http_is_not_waited_for(data: bytes):
    """A server of another protocol may say one line and then wait for us."""
    ear, wire, _ = hear(data, [])
    assert (ear.ends, wire.closed) == (["lost"], True)
    ear, wire, _ = hear(b"HTTP", [1, 2])
    assert (ear.ends, wire.closed) == ([], False)


@pytest.mark.parametrize(
    "data",
    [chunked([b"x"])[:-2] + b"A: b\r\n\r\n", chunked([b"x"]) + b"y", stub.whole(b"x", more="connection: close\r\n")],
)
def test_what_follows_the_end_ends_the_connection(data: bytes):
    """The answer stands; the connection does not."""
    ear, wire, pool = hear(data, [])
    assert (ear.body, ear.ends) == (b"x", ["end"])
    assert (wire.closed, pool._idle) == (True, [])


def test_an_answer_without_a_length_ends_with_its_connection():
    """And is whole only when the connection ended in order."""
    for error, end in ((None, "end"), (ConnectionResetError(), "lost")):
        upstream, ear, _, _ = listening()
        upstream.data_received(b"HTTP/1.1 200 OK\r\n\r\nabc")
        upstream.connection_lost(error)
        assert (ear.body, ear.ends) == (b"abc", [end])


def test_thousands_of_interim_answers_are_no_recursion():
    """Read in one go, within bounds of memory and stack."""
    ear, _, _ = hear(b"HTTP/1.1 100 C\r\n\r\n" * 20_000 + stub.whole(b"x"), [])
    assert (ear.body, ear.ends) == (b"x", ["end"])


def test_a_replica_that_speaks_unasked_is_cut():
    """Bytes on an idle connection belong to nobody."""
    upstream, _, wire, pool = listening()
    upstream.data_received(stub.whole(b"x"))
    assert pool._idle == [upstream]
    upstream.data_received(stub.whole(b"y"))
    assert wire.closed
    upstream.connection_lost(None)
    assert pool.take() is None


def test_requests_carry_the_replicas_facts_alone():
    """Prefix of its address, its own bearer token, a length that is right."""
    pool = Pool(a_replica("https://api.example:444/base/", api_key="sk-theirs"))
    head, _, body = pool.request("/v1/embeddings", b"{}").partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /base/v1/embeddings HTTP/1.1",
        b"host: api.example:444",
        b"authorization: Bearer sk-theirs",
        b"content-type: application/json",
        b"content-length: 2",
    ]
    assert body == b"{}"


def test_idle_connections_are_bounded_and_taken_last_in_first_out():
    """The newest is the least likely to have been closed."""
    pool = Pool(a_replica())
    made = []
    for _ in range(IDLE_CONNECTIONS_MAX + 1):
        upstream = Upstream(pool)
        upstream.connection_made(Wire())  # type: ignore[arg-type]
        pool.give(upstream)
        made.append(upstream)
    assert made[-1].transport.is_closing()
    assert pool.take() is made[-2]
    assert pool.take() is made[-3]


def test_tcp_and_unix_addresses_are_reached(tmp_path: Path):
    """And one that does not answer is an OSError or a TimeoutError, in time."""

    async def talk(pool: Pool) -> Ear:
        upstream, ear = await pool.connect(), Ear()
        upstream.send(ear, pool.request("/x", b'{"stream":false}'))
        await until(lambda: ear.ends)
        pool.close()
        return ear

    async def work() -> None:
        async with StubUpstream(tmp_path / "up", stub.truthful) as up:
            assert (await talk(Pool(a_replica(f"unix:{up.socket}")))).status == 200
            server = await asyncio.start_server(up._serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            assert (await talk(Pool(a_replica(f"http://127.0.0.1:{port}")))).status == 200
            server.close()
            with pytest.raises(OSError, match=r".+"):
                await Pool(a_replica(f"http://127.0.0.1:{port}")).connect()

    run(work)


def test_connecting_has_its_time(monkeypatch):
    """A server that never completes the handshake costs CONNECT_S."""
    monkeypatch.setattr("headrace.gateway.upstream.CONNECT_S", 0.05)

    async def work() -> None:
        never: Callable[..., object] = lambda *_, **__: asyncio.Event().wait()  # noqa: E731
        asyncio.get_running_loop()
        pool = Pool(a_replica("http://127.0.0.1:1"))

        class Loop:
            create_connection = staticmethod(never)

        monkeypatch.setattr("headrace.gateway.upstream.asyncio.get_running_loop", Loop)
        with pytest.raises(TimeoutError):
            await pool.connect()

    asyncio.run(work())
