"""Heads and chunks: what is taken, what is refused, and that nothing is read in a way another parser would not."""

import contextlib
import time

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.gateway import http1
from headrace.gateway.http1 import BadHttp, Chunks, parse_head

GOOD = b"POST /v1/x?a=b HTTP/1.1\r\nHost: h:80\r\nContent-Length: 5\r\nX-A: 1\r\nX-A:\t2 \r\n\r\n"


def head(*lines: str, first: str = "POST /p HTTP/1.1") -> bytes:
    return ("\r\n".join([first, *lines]) + "\r\n\r\n").encode("latin-1")


def test_a_head_is_read():
    """Method, path, query, lower-case names, values trimmed and joined, length."""
    found = parse_head(GOOD)
    assert (found.method, found.path, found.query, found.length) == (b"POST", "/v1/x", b"a=b", 5)
    assert found.headers == {b"host": b"h:80", b"content-length": b"5", b"x-a": b"1, 2"}
    assert (found.keep_alive, found.chunked, found.expects, found.minor) == (True, False, False, 1)


@pytest.mark.parametrize(
    ("first", "line", "keeps"),
    [
        ("GET / HTTP/1.1", "Connection: close", False),
        ("GET / HTTP/1.1", "Connection: Keep-Alive, Close", False),
        ("GET / HTTP/1.1", "Connection: closed", True),
        ("GET / HTTP/1.0", "X: y", False),
        ("GET / HTTP/1.0", "Connection: keep-alive", True),
    ],
)
def test_whether_a_connection_is_kept(first: str, line: str, keeps: bool):
    """HTTP/1.1 keeps unless told, HTTP/1.0 closes unless told; options are whole words."""
    assert parse_head(head("Host: x", line, first=first)).keep_alive is keeps


REFUSED = {
    "no host": head("X: y"),
    "two hosts": head("Host: x", "Host: x"),
    "a host with a space": head("Host: a b"),
    "a host with a slash": head("Host: a/b"),
    "two lengths": head("Host: x", "Content-Length: 1", "Content-Length: 1"),
    "a list of lengths": head("Host: x", "Content-Length: 1, 1"),
    "a signed length": head("Host: x", "Content-Length: +1"),
    "a length of no digits": head("Host: x", "Content-Length: "),
    "a length in hexadecimal": head("Host: x", "Content-Length: 0x1"),
    "a length of other digits": head("Host: x", "Content-Length: \xb2"),
    "a length and chunks": head("Host: x", "Content-Length: 1", "Transfer-Encoding: chunked"),
    "chunks twice": head("Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks in HTTP/1.0": head("Host: x", "Transfer-Encoding: chunked", first="POST / HTTP/1.0"),
    "two keys": head("Host: x", "Authorization: a", "Authorization: b"),
    "a bare CR": head("Host: x", "A: b\rC: d"),
    "a bare LF": head("Host: x", "A: b\nC: d"),
    "a NUL": head("Host: x", "A: b\0"),
    "a folded line": head("Host: x", "A: b", " c"),
    "a name without a value": head("Host: x", "A"),
    "an empty name": head("Host: x", ": a"),
    "a space before the colon": head("Host: x", "A : b"),
    "a name with a forbidden byte": head("Host: x", "A\xe9: b"),
    "an empty first line": b"\r\n\r\n",
    "two words": head("Host: x", first="GET /"),
    "two spaces": head("Host: x", first="GET  / HTTP/1.1"),
    "a tab": head("Host: x", first="GET\t/ HTTP/1.1"),
    "a control byte in the target": head("Host: x", first="GET /\x01 HTTP/1.1"),
    "a target beyond ASCII": head("Host: x", first="GET /\xe9 HTTP/1.1"),
    "a target that is no path": head("Host: x", first="CONNECT a:1 HTTP/1.1"),
    "an absolute target": head("Host: x", first="GET http://a/ HTTP/1.1"),
    "HTTP/2.0": head("Host: x", first="GET / HTTP/2.0"),
    "HTTP/1.2": head("Host: x", first="GET / HTTP/1.2"),
    "http in lower case": head("Host: x", first="GET / http/1.1"),
    "a method of 33 letters": head("Host: x", first="G" * 33 + " / HTTP/1.1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_shape_that_could_be_read_in_two_ways_is_refused(name: str):
    """400."""
    with pytest.raises(BadHttp) as refused:
        parse_head(REFUSED[name])
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (head("Host: x", first="GET /" + "a" * http1.TARGET_BYTES_MAX + " HTTP/1.1"), "uri_too_long"),
        (head("Host: x", *["A: b"] * http1.HEADERS_MAX), "headers_too_large"),
        (head("Host: x", f"Content-Length: {http1.BODY_BYTES_MAX + 1}"), "request_too_large"),
        (head("Host: x", "Content-Length: 9" + "9" * 17), "request_too_large"),
        (head("Host: x", "Transfer-Encoding: gzip, chunked"), "not_implemented"),
        (head("Host: x", "Transfer-Encoding: identity"), "not_implemented"),
    ],
)
def test_limits_have_their_own_codes(block: bytes, code: str):
    """So that the status is the right one."""
    with pytest.raises(BadHttp) as refused:
        parse_head(block)
    assert refused.value.code == code


HOSTILE = {
    "spaces": b"A:" + b" " * 32_000 + b"\0",
    "tabs and spaces": b"A:" + b"\t " * 16_000 + b"\0",
    "a name": b"A" * 32_000 + b"\0",
    "a host": b"Host: " + b"a" * 32_000 + b"/",
    "commas": b"Connection:" + b"," * 32_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_head_takes_long(name: str):
    """Time grows with the length alone: 32 KiB of the worst take some milliseconds, not seconds."""
    start = time.process_time()
    for _ in range(4):
        try:
            parse_head(b"GET / HTTP/1.1\r\n" + HOSTILE[name] + b"\r\n\r\n")
        except BadHttp:
            continue
    assert time.process_time() - start < 0.5


def test_heads_seen_before_are_remembered_within_bounds():
    """At most so many, and no large ones."""
    for number in range(3 * http1._CACHED_HEADS_MAX):
        parse_head(head("Host: x", f"A: {number}"))
    parse_head(head("Host: x", "A: " + "b" * 4000))
    assert len(http1._cache) <= http1._CACHED_HEADS_MAX
    assert max(map(len, http1._cache)) <= http1._CACHED_HEAD_BYTES_MAX
    http1._cache.clear()


# --- beside llhttp ------------------------------------------------------------------------------------------------


class Oracle:
    """What httptools makes of the same bytes."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = 0
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def oracle(data: bytes) -> Oracle | None:
    found = Oracle()
    try:
        found.parser.feed_data(data)
    except httptools.HttpParserError:
        return None
    except httptools.HttpParserUpgrade:
        return None
    return found


token = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12)
value = st.binary(max_size=20)
names = st.one_of(
    token, st.sampled_from(["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "Content-Type"])
).map(lambda name: name.encode())
values = st.one_of(value, st.sampled_from([b"x", b"0", b"3", b"03", b"chunked", b"close", b"1\r\nHost: y", b"gzip"]))
separators = st.sampled_from([b": ", b":", b":\t", b" : ", b" "])
ends = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n "])
lines = st.lists(st.tuples(names, separators, values, ends), max_size=6)
targets = st.one_of(st.just(b"/p"), st.binary(min_size=1, max_size=12).map(lambda t: b"/" + t))


@settings(max_examples=400, deadline=None)
@given(targets, lines)
@example(b"/p", [(b"Host", b": ", b"x", b"\r\n"), (b"Content-Length", b": ", b"3", b"\r\n")])
def test_what_is_taken_is_what_another_parser_reads(target: bytes, fields: list[tuple[bytes, bytes, bytes, bytes]]):
    """Whatever we accept, llhttp accepts too, with the same target, the same headers and the same length."""
    data = b"POST " + target + b" HTTP/1.1\r\n" + b"".join(map(b"".join, fields)) + b"\r\n"
    if data.find(b"\r\n\r\n") != len(data) - 4:
        return
    try:
        ours = parse_head(data)
    except BadHttp:
        return
    theirs = oracle(data)
    assert theirs is not None, "we took what llhttp refuses"
    assert theirs.url == ours.path.encode() + (b"?" + ours.query if b"?" in target else b"")
    joined: dict[bytes, bytes] = {}
    for name, text in theirs.headers:
        trimmed = text.strip(b" \t")
        joined[name.lower()] = joined[name.lower()] + b", " + trimmed if name.lower() in joined else trimmed
    assert ours.headers == joined
    assert theirs.complete == (1 if not ours.length and not ours.chunked else 0)
    if ours.length:
        theirs.parser.feed_data(b"x" * ours.length)
        assert (theirs.complete, len(theirs.body)) == (1, ours.length)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_a_head_or_refused(data: bytes):
    """Nothing else is raised."""
    with contextlib.suppress(BadHttp):
        assert parse_head(data + b"\r\n\r\n").method


# --- chunks -------------------------------------------------------------------------------------------------------

pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def feed(data: bytes, cuts: list[int]) -> tuple[bytes, bytes] | None:
    """Feed in pieces; what follows the end is put together as a connection would."""
    reader, at = Chunks(), 0
    for cut in [*sorted({c for c in cuts if c < len(data)}), len(data)]:
        found = reader.feed(data[at:cut])
        if found is not None:
            return found[0], found[1] + data[cut:]
        at = cut
    return None


@settings(max_examples=200, deadline=None)
@given(pieces, st.binary(max_size=10), st.lists(st.integers(1, 400), max_size=20))
def test_a_chunked_body_is_read_however_it_is_cut(parts: list[bytes], after: bytes, cuts: list[int]):
    """The same body, and not a byte of what follows taken or lost."""
    assert feed(chunked(parts) + after, cuts) == (b"".join(parts), after)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60).map(lambda noise: noise), pieces, st.integers(0, 100))
def test_a_chunked_body_that_is_taken_is_what_another_parser_reads(noise: bytes, parts: list[bytes], at: int):
    """Framing with noise in it: refused, or read alike."""
    data = chunked(parts)
    data = data[: at % (len(data) + 1)] + noise[:3] + data[at % (len(data) + 1) :]
    try:
        ours = feed(data, [])
    except BadHttp:
        return
    theirs = oracle(head("Host: x", "Transfer-Encoding: chunked") + data)
    if ours is None:
        assert theirs is None or not theirs.complete
    elif theirs is not None:  # llhttp may refuse what follows, which is another request
        assert theirs.body.startswith(ours[0])
        assert theirs.complete >= 1


@pytest.mark.parametrize(
    "data",
    [b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1 \r\n", b" 1\r\n", b"\r\n", b"g\r\n", b"1\n", b"1" * 300, b"1\r\nab", b"1\r\na\n\r", b"0\r\nA: b\r\n\r\n", b"1" * 16 + b"\r\n", b"1;a\x00\r\n", b"1;\xff\r\n"],
)  # fmt: skip
def test_framing_of_chunks_is_strict(data: bytes):
    """Signs, spaces, prefixes, bare LF, trailers, endless sizes: refused."""
    with pytest.raises(BadHttp) as refused:
        feed(data + b"\r\n\r\n", [])
    assert refused.value.code in ("bad_request", "request_too_large")


def test_a_chunked_body_is_bounded():
    """By its bytes, told before they come, and by its framing."""
    with pytest.raises(BadHttp) as refused:
        Chunks().feed(b"%x\r\n" % (http1.BODY_BYTES_MAX + 1))
    assert refused.value.code == "request_too_large"
    reader = Chunks()
    start = time.process_time()
    with pytest.raises(BadHttp):
        while True:
            assert reader.feed(b"1\r\nx\r\n" * 10_000) is None
    assert time.process_time() - start < 2
