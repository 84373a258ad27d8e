"""Bad input, as raw bytes on the public port: the right 4xx, OpenAI's error object, no engine touched, no growth."""

import contextlib
import json
import socket

import pytest

from tests.e2e.cloud import Cloud, rss_kib

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CHAT = "/v1/chat/completions"
GOOD = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


def exchange(cloud: Cloud, raw: bytes, wait_s: float = 20) -> tuple[int, dict]:
    """Send bytes, read one answer: status and body."""
    with socket.create_connection(("127.0.0.1", cloud.port), timeout=wait_s) as line:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused early: the answer is what counts
            line.sendall(raw)
        answer = b""
        while b"\r\n\r\n" not in answer:
            got = line.recv(65536)
            assert got, f"no answer, only {answer!r}"
            answer += got
        head, _, body = answer.partition(b"\r\n\r\n")
        length = next(int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length"))
        while len(body) < length:
            got = line.recv(65536)
            assert got
            body += got
    return int(head.split()[1]), json.loads(body)


def post(cloud: Cloud, body: bytes, *more: str, path: str = CHAT, length: int | None = None) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {cloud.key}", "Content-Type: application/json"]
    head += [f"Content-Length: {len(body) if length is None else length}", *more]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def with_field(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


BODIES = {
    "malformed JSON": (b'{"model": "smollm2", ', 400),
    "JSON 100k deep": (b'{"model":"smollm2","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "deep inside a schema": (
        b'{"model":"smollm2","messages":[{"role":"user","content":"x"}],"metadata":'
        + b'{"a":' * 100_000
        + b"1"
        + b"}" * 100_000
        + b"}",
        400,
    ),
    "invalid UTF-8": (b'{"model":"smollm2","messages":[{"role":"user","content":"\xff\xfe"}]}', 400),
    "lone surrogate": (b'{"model":"smollm2","messages":[{"role":"user","content":"\\ud800"}]}', 400),
    "not an object": (b"[]", 400),
    "empty": (b"", 400),
    "unknown model": (with_field(model="gpt-9"), 404),
    "n of 10^9": (with_field(n=10**9), 400),
    "negative max_tokens": (with_field(max_tokens=-1), 400),
    "NaN temperature": (with_field(temperature=1).replace(b'"temperature": 1', b'"temperature": NaN'), 400),
    "temperature of 3": (with_field(temperature=3), 400),
    "string for a number": (with_field(max_tokens="many"), 400),
    "unknown parameter": (with_field(max_token=3), 400),
    "no messages": (with_field(messages=[]), 400),
    "a role that is none": (with_field(messages=[{"role": "robot", "content": "x"}]), 400),
    "an image for a text model": (
        with_field(
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]
        ),
        400,
    ),
    "100 stop words": (with_field(stop=["x"] * 100), 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_gets_the_right_answer(cloud: Cloud, name: str):
    """Status, all four keys of the error object, and words that help."""
    body, status = BODIES[name]
    got, answer = exchange(cloud, post(cloud, body))
    assert got == status
    assert sorted(answer["error"]) == ["code", "message", "param", "type"]
    assert len(answer["error"]["message"]) > 10


def test_a_prompt_beyond_the_context_is_told_both_figures(cloud: Cloud):
    """It passes the look at its bytes, and the engine counts its tokens."""
    text = with_field(messages=[{"role": "user", "content": "word " * 4_000}])
    status, body = exchange(cloud, post(cloud, text))
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    assert body["error"]["message"].startswith("This model's context is 2048 tokens, and the prompt has 4")


def test_an_unknown_model_is_told_what_the_key_may_use(cloud: Cloud):
    """The 404 lists the models."""
    _, answer = exchange(cloud, post(cloud, with_field(model="gpt-9")))
    assert answer["error"]["code"] == "model_not_found"
    assert "smollm2" in answer["error"]["message"]


SHAPES = {
    "two different lengths": "POST {path} HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}",
    "length and chunked": "POST {path} HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": "POST {path} HTTP/1.1\r\nHost: x\r\n{auth}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a bare CR": "POST {path} HTTP/1.1\r\nHost: x\r\nX-A: 1\rX-B: 2\r\n{auth}\r\nContent-Length: 0\r\n\r\n",
    "a bare LF": "POST {path} HTTP/1.1\nHost: x\n{auth}\nContent-Length: 0\n\n\r\n\r\n",
    "a folded header": "POST {path} HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n  2\r\n{auth}\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n{auth}\r\n\r\n",
    "a signed length": "POST {path} HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Length: +2\r\n\r\n{{}}",
    "a chunk size with a sign": "POST {path} HTTP/1.1\r\nHost: x\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk that is longer than it says": "POST {path} HTTP/1.1\r\nHost: x\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{}}\r\n0\r\n\r\n",
    "two hosts": "POST {path} HTTP/1.1\r\nHost: x\r\nHost: y\r\n{auth}\r\nContent-Length: 0\r\n\r\n",
    "no host": "POST {path} HTTP/1.1\r\n{auth}\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a header": "POST {path} HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n{auth}\r\nContent-Length: 0\r\n\r\n",
    "not HTTP": "hello there\r\n\r\n",
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_smuggling_shape_is_refused(cloud: Cloud, name: str):
    """400 (501 for an unknown coding), the connection closed: nothing after it is ever read as a request."""
    raw = SHAPES[name].format(path=CHAT, auth=f"Authorization: Bearer {cloud.key}").encode()
    status, answer = exchange(cloud, raw)
    assert status in (400, 501)
    assert "error" in answer


def test_too_many_and_too_large_headers_are_refused(cloud: Cloud):
    """10,000 headers and 16 MiB of header: 431, and the gateway is no larger."""
    before = [rss_kib(pid) for pid in cloud.pids("gateway")]
    many = "".join(f"X-{number}: 1\r\n" for number in range(10_000))
    large = "X-A: " + "a" * (16 << 20) + "\r\n"
    for extra in (many, large):
        status, _ = exchange(cloud, f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode())
        assert status == 431
    after = [rss_kib(pid) for pid in cloud.pids("gateway")]
    assert max(after) - max(before) < 16 * 1024


def test_a_body_over_the_cap_is_refused_before_it_is_read(cloud: Cloud):
    """413 by the announced length alone."""
    status, answer = exchange(cloud, post(cloud, b"{", length=1 << 30))
    assert status == 413
    assert "MiB" in answer["error"]["message"]


def test_no_key_and_a_wrong_key_are_401(cloud: Cloud):
    """Default deny, in OpenAI's shape; the answer does not tell which part was wrong."""
    for auth in ("", "Authorization: Bearer sk-nothing\r\n", f"Authorization: Bearer {cloud.key[:-1]}\r\n"):
        status, answer = exchange(cloud, f"GET /v1/models HTTP/1.1\r\nHost: x\r\n{auth}\r\n".encode())
        assert status == 401
        assert answer["error"]["code"] == "invalid_api_key"


def test_an_unknown_path_and_a_wrong_method_are_told_apart(cloud: Cloud):
    """404 and 405, both in OpenAI's shape."""
    auth = f"Authorization: Bearer {cloud.key}"
    assert exchange(cloud, f"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n{auth}\r\n\r\n".encode())[0] == 404
    assert exchange(cloud, f"GET {CHAT} HTTP/1.1\r\nHost: x\r\n{auth}\r\n\r\n".encode())[0] == 405
