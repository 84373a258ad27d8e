"""A small client of the public HTTP API, on the standard library alone: what the command line speaks through.

Synchronous, one connection a call. Errors of the server become `errors.*` with the server's own words. There is no
private door: everything here, any client could do.
"""

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from headrace.errors import HeadraceError, Invalid, Permanent, Refused, Transient, Unreachable
from headrace.units import US_PER_S

TIMEOUT_S: Final = 600.0
BODY_BYTES_MAX: Final = 1 << 20  # of a refusal


class Got(NamedTuple):
    """A whole answer: its bytes, and its headers by name in small letters."""

    data: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        """The JSON in it. Raises Permanent."""
        try:
            return json.loads(self.data)
        except ValueError:
            raise Permanent(f"the server sent something that is not JSON: {self.data[:80]!r}") from None


class Client:
    """Talks to one cloud. `base_url` with or without `/v1`; `key` may be empty for `health`."""

    def __init__(self, base_url: str, key: str, timeout_s: float = TIMEOUT_S) -> None:
        url = _address(base_url)
        if not key.isascii() or any(ord(letter) <= 32 for letter in key):
            raise Invalid("the key has characters no key has; copy it again, or make one with: headrace key create")
        self.base_url = f"{url.scheme}://{url.netloc}{url.path.rstrip('/').removesuffix('/v1')}"
        self._url = urlsplit(self.base_url)
        self._key = key
        self._timeout_s = timeout_s

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return self._json("GET", path, None)

    def text(self, path: str) -> str:
        """What is at a path, as text."""
        connection, answer = self._send("GET", path, None, {})
        try:
            return answer.read().decode()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"the answer of {self.base_url} broke off: {error}") from None
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """Send JSON (or text, as YAML); the JSON that answers."""
        return self._json("POST", path, body, headers)

    def fetch(self, path: str, body: Any = None) -> Got:
        """Send JSON, or ask for what is at a path; the bytes that answer."""
        return self._whole("GET" if body is None else "POST", path, body, {})

    def form(self, path: str, fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> Got:
        """Send a form with files (name and bytes, by field); the bytes that answer."""
        from headrace.wire import multipart  # only for those who send files

        parts = [multipart.Part(name, value.encode()) for name, value in fields.items()]
        parts += [multipart.Part(name, data, filename) for name, (filename, data) in files.items()]
        boundary = f"headrace-{uuid.uuid4().hex}"
        body = multipart.write(parts, boundary.encode())
        return self._whole("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def write(self, path: str, body: Any, **headers: str) -> Any:
        """Change something, once: sent again with the same Idempotency-Key when the connection breaks under it."""
        headers["Idempotency-Key"] = uuid.uuid4().hex
        try:
            return self._json("POST", path, body, headers)
        except Unreachable:
            return self._json("POST", path, body, headers)

    def delete(self, path: str) -> Any:
        """Delete what is at a path."""
        return self._json("DELETE", path, None)

    def events(self, path: str) -> "Stream":
        """The server-sent events at a path."""
        return Stream(*self._send("GET", path, None, {}))

    def stream(self, path: str, body: Any) -> "Stream":
        """Send JSON, read server-sent events."""
        connection, answer = self._send("POST", path, body, {})
        return Stream(connection, answer)

    def healthy(self) -> bool:
        """Whether traffic is accepted."""
        try:
            self.get("/health")
        except HeadraceError:
            return False
        return True

    def _json(self, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        got = self._whole(method, path, body, headers or {})
        try:
            return json.loads(got.data)
        except ValueError as error:
            raise Unreachable(f"the answer of {self.base_url} broke off: {error}") from None

    def _whole(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Got:
        connection, answer = self._send(method, path, body, headers)
        try:
            return Got(answer.read(), {name.lower(): value for name, value in answer.headers.items()})
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the answer of {self.base_url} broke off: {error}") from None
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=self._timeout_s)
        data: bytes | None
        if isinstance(body, str | bytes):
            data = body.encode() if isinstance(body, str) else body
        else:
            data = None if body is None else json.dumps(body).encode()
        content = "application/yaml" if isinstance(body, str) else "application/json"
        sent = {"Authorization": f"Bearer {self._key}", "Content-Type": content, **headers}
        try:
            connection.request(method, self._url.path + path, data, sent)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(
                f"nothing answers at {self.base_url} ({error}); start a cloud with: headrace up"
            ) from None
        if answer.status >= 400:
            try:
                raw = answer.read(BODY_BYTES_MAX)
            except (OSError, http.client.HTTPException):
                raw = b""
            finally:
                connection.close()
            raise refused(answer.status, raw, answer.headers.get("retry-after", ""))
        return connection, answer


class Stream:
    """The events of one answer. Iterate for the data of each; `request_id` names the request.

    `replica` is empty for a request that was held: its answer began before a replica was chosen.
    """

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._answer = answer
        self.request_id = answer.headers.get("x-request-id", "")
        self.replica = answer.headers.get("x-headrace-replica", "")

    def __iter__(self) -> Iterator[Any]:
        try:
            for line in self._answer:
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                try:
                    said = json.loads(data)
                except ValueError:
                    raise Permanent(f"the server sent an event that is not JSON: {data[:80]!r}") from None
                if isinstance(said, dict) and isinstance(said.get("error"), dict):  # events of runs have a text there
                    raise refused(502, data)
                yield said
            raise Unreachable("the stream ended without its end")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the stream broke off: {error}") from None
        finally:
            self._connection.close()


def refused(status: int, body: bytes, retry_after: str = "") -> HeadraceError:
    """The server's refusal as one of our errors, in its own words. `retry_after` is the header's, in seconds."""
    wait_us = int(retry_after) * US_PER_S if retry_after.isascii() and retry_after.isdigit() else None
    try:
        error = json.loads(body)["error"]
        message, code, param = str(error["message"]), str(error.get("code") or ""), error.get("param")
    except (ValueError, KeyError, TypeError):
        message, code, param = f"the server answered {status}", "", None
    if status in (401, 403, 429):
        return Refused(message, status=status, code=code, retry_after_us=wait_us)
    if status == 503 and code in ("overloaded", "model_unavailable"):
        return Refused(message, status=status, code=code, retry_after_us=wait_us)
    if status < 500:
        return Invalid(message, status=status, code=code, param=param)
    return Transient(message, delay_us=wait_us or 0)


def _address(text: str) -> SplitResult:
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0 and "@" not in url.netloc
    except ValueError:
        good = False
    if not good:
        raise Invalid(f"{text!r} is not an address; give http://HOST:PORT")
    return url
