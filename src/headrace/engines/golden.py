"""Asks prepared weights one question through the real engine, before anything serves them.

Called by the adapters' `prepare`. The replica's own command is started on a private socket and stopped again. Weights
that load and answer nonsense are found here: a file can be whole and its quantisation still wrong for an engine.
"""

import base64
import ctypes
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from headrace.engines import artifact, colours, golden_pictures, golden_speech
from headrace.errors import Permanent
from headrace.ports import Artifact, Command, Engine
from headrace.specs.catalog import Golden, ModelSpec

_ANSWER_TOKENS: Final = 48
_REQUEST_TIMEOUT_S: Final = 300
_STOP_TIMEOUT_S: Final = 10
_QUOTE_CHARS: Final = 200
_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1


def prove(engine: Engine, model: ModelSpec, found: Artifact, artifacts: Path, say: Callable[[str], None]) -> Artifact:
    """The artifact, once its golden question has been answered rightly; asked only if it has not been yet.

    Raises Permanent when the answer is wrong: the artifact stays, unproven, and is not found by the controller.
    """
    if artifact.proven(model, found) and model.golden is not None:
        return found
    say(f"{model.key}: asking the golden question" if model.golden else f"{model.key}: trying a start")
    memory_bytes = ask(engine, model, found)
    if memory_bytes:
        artifact.measured(model, artifacts, memory_bytes)
    artifact.mark_proven(model, found)
    proven = artifact.find(model, artifacts)
    assert proven is not None, "published and proven"
    say(f"{model.key}: ready in {proven.digest}")
    return proven


def ask(engine: Engine, model: ModelSpec, found: Artifact) -> int:
    """Start one replica and ask the model's golden question; returns its resident memory, bytes.

    Without a question the replica must still start. Raises Permanent when the answer is wrong or none comes.
    """
    with running(engine, model, found) as (address, pid):
        if model.golden is not None:
            check(engine, model, model.golden, address)
        return resident_bytes(pid)


@contextmanager
def running(engine: Engine, model: ModelSpec, found: Artifact) -> Iterator[tuple[str, int]]:
    """A replica of these weights on a private socket: its address and pid."""
    with tempfile.TemporaryDirectory(prefix="headrace-golden-") as folder:
        command = engine.command(model, found, f"unix:{folder}/engine.sock", _free_port())
        log = Path(folder) / "log"
        with log.open("wb") as sink:
            child = subprocess.Popen(
                command.argv,
                env=_environment(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - prepare has one thread
            )
            try:
                _await_ready(child, command, log, model.scaling.start_timeout_us / 1e6)
                yield command.address, child.pid
            finally:
                _stop(child)


def check(engine: Engine, model: ModelSpec, golden: Golden, address: str) -> None:
    """Ask a running replica. Raises Permanent when the answer is not the expected one."""
    name = model.engine.upstream_model or model.name
    if model.engine.kind == "rapidocr":
        golden_pictures.reads(model, golden, name, lambda path, body: post(address, path, body))
        return
    if model.task == "chat":
        answer = _chat(address, name, golden.prompt)
        if golden.expect.casefold() not in answer.casefold():
            raise Permanent(
                f"{model.key} failed its golden question: {golden.prompt!r} was answered {answer[:_QUOTE_CHARS]!r}, "
                f"without {golden.expect!r}; use another `quantise` or other weights"
            )
        return
    if model.task in ("image", "video"):
        drawn = _drawn_colour if model.task == "image" else _filmed_colour
        colour = drawn(address, name, golden.prompt)
        if colour != golden.expect.casefold():
            raise Permanent(
                f"{model.key} failed its golden question: in what it made of {golden.prompt!r} {colour} prevails, "
                f"not {golden.expect!r}; use other weights"
            )
        return
    if model.task == "upscale":
        media = engine.ability(model).media
        for scale in media.scales if media else ():
            golden_pictures.enlarges(model, scale, name, lambda path, body: post(address, path, body))
        return
    if model.task in ("transcribe", "speak"):
        golden_speech.check(model, golden, name, lambda path, body: fetch(address, path, body))
        return
    ask_pair = _embed_pair if model.task == "embed" else _rerank_pair
    closer, farther = ask_pair(address, name, golden)
    if closer <= farther:
        raise Permanent(
            f"{model.key} failed its golden question: {golden.farther!r} ({farther:.3f}) came before "
            f"{golden.closer!r} ({closer:.3f}) for {golden.prompt!r}; use another `quantise` or other weights"
        )


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children; 0 when it is gone."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident_bytes(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        return total
    return total


def post(address: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request to a replica that answers with JSON. Raises Permanent when it does not answer 200."""
    decoded: dict[str, Any] = json.loads(fetch(address, path, body))
    return decoded


def fetch(address: str, path: str, body: dict[str, Any]) -> bytes:
    """One JSON request to a replica: the answer's bytes. Raises Permanent when it does not answer 200."""
    connection = _connection(address)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    except OSError as error:
        raise Permanent(f"the engine did not answer {path}: {type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Permanent(f"the engine answered {path} with {response.status}")
    return answer


def _chat(address: str, model: str, prompt: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    answer = post(address, "/v1/chat/completions", {**body, "max_tokens": _ANSWER_TOKENS, "temperature": 0})
    return str(answer["choices"][0]["message"]["content"])


def _drawn_colour(address: str, model: str, prompt: str) -> str:
    body = {"model": model, "prompt": prompt, "n": 1, "seed": 1, "output_format": "png"}
    drawn = post(address, "/v1/images/generations", body)["data"][0]["b64_json"]
    return colours.prevailing(base64.b64decode(drawn))


def _filmed_colour(address: str, model: str, prompt: str) -> str:
    body = {"model": model, "prompt": prompt, "seconds": 1, "seed": 1}
    film = post(address, "/v1/videos/generations", body)["data"][0]["b64_json"]
    return colours.prevailing(golden_pictures.first_frame(base64.b64decode(film)))


def _embed_pair(address: str, model: str, golden: Golden) -> tuple[float, float]:
    texts = [golden.prompt, golden.closer, golden.farther]
    data = post(address, "/v1/embeddings", {"model": model, "input": texts})["data"]
    asked, closer, farther = (entry["embedding"] for entry in sorted(data, key=lambda entry: entry["index"]))
    return _cosine(asked, closer), _cosine(asked, farther)


def _rerank_pair(address: str, model: str, golden: Golden) -> tuple[float, float]:
    body = {"model": model, "query": golden.prompt, "documents": [golden.closer, golden.farther]}
    scores = {row["index"]: row["relevance_score"] for row in post(address, "/v1/rerank", body)["results"]}
    return scores[0], scores[1]


def _cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return float(dot / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5)


def _die_with_parent() -> None:
    """In the child: no engine outlives a prepare that was killed. Linux; elsewhere `_stop` must do."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_REQUEST_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(address: str) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"))
    return http.client.HTTPConnection(address.removeprefix("http://"), timeout=_REQUEST_TIMEOUT_S)


def _environment(command: Command) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | command.env


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_ready(child: "subprocess.Popen[bytes]", command: Command, log: Path, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    assert child.stdout is not None
    while time.monotonic() < end:
        if command.ready_path:
            if _answers(command):
                return
        elif select.select([child.stdout], [], [], 0.2)[0]:
            line = child.stdout.readline()
            if line.startswith(b'{"ready"'):
                return
        if child.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise Permanent(f"the engine ended with {child.returncode} at start: {said[-1] if said else 'no words'}")
    raise Permanent(f"the engine was not ready after {timeout_s:.0f} s; raise scaling.start_timeout")


def _answers(command: Command) -> bool:
    connection = _connection(command.address)
    try:
        connection.request("GET", command.ready_path)
        return connection.getresponse().status == 200
    except OSError:
        time.sleep(0.2)
        return False
    finally:
        connection.close()


def _stop(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
