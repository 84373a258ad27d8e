"""Small requests to the five engines that share batches: 32 at once beside one at a time, and what a lone one waits.

    python bench/at_once.py [--rounds 6] [--only embed,upscale] [--first] [--json FILE]

Each engine runs through its own adapter and runner, two threads each, as in the default cloud, over HTTP on a unix
socket; and a second time as it would be without batches (`bench/unbatched.py`: each request's items are computed by
themselves, in turn). Ways alternate within a round, so that a busy neighbour meets all. Quote the ratios: machines are
shared, and the load average is in the output; on a busy one `--first` has client and replicas go before the others.
`busy` is how many cores the replica kept busy, which says what is left for batches to gain: one at a time that keeps
all of them in arithmetic cannot be passed by much, by whatever batch.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import espeakng_loader
from PIL import Image, ImageDraw

from headrace import assembly
from headrace.engines.runners.espeak_library import RATE_NORMAL, Library
from headrace.engines.runners.sound import encoded
from headrace.specs.catalog import ModelSpec
from headrace.specs.load import load_text

DEFAULT = Path(assembly.__file__).parents[1] / "specs" / "default.yaml"
UNBATCHED = Path(__file__).with_name("unbatched.py")
COUNT, LONE = 32, 15
MODELS = {
    "embed": "minilm", "rerank": "minilm-rerank", "upscale": "upscaler", "image": "painter", "transcribe": "whisper",
}  # fmt: skip
PATHS = {
    "embed": "/v1/embeddings", "rerank": "/v1/rerank", "upscale": "/v1/images/upscale",
    "image": "/v1/images/generations", "transcribe": "/v1/audio/transcriptions",
}  # fmt: skip
NAMES = ("morning", "evening", "Monday", "winter", "summer", "London", "seven", "coffee")


def bodies(task: str) -> list[bytes]:
    """32 small requests, none like another."""
    made: list[dict[str, Any]] = []
    library = Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    for number in range(COUNT):
        name = NAMES[number % len(NAMES)]
        if task == "embed":
            made.append({"input": f"The {number}th note is about the {name} and what was said of it."})
        elif task == "rerank":
            documents = [f"Note {number} on {name}.", "Stocks fell.", "A kitten sleeps on a rug.", "It rained."]
            made.append({"query": f"Which one tells of {name}?", "documents": documents})
        elif task == "upscale":
            picture = Image.new("RGB", (48, 48), (number * 7 % 256, 120, 200))
            ImageDraw.Draw(picture).ellipse((8, 8, 40, 20 + number % 20), fill="white", outline="black")
            out = io.BytesIO()
            picture.save(out, "png")
            made.append({"image": base64.b64encode(out.getvalue()).decode(), "scale": 2})
        elif task == "image":
            made.append({"prompt": "a red circle left of a blue square", "size": "64x64", "seed": number})
        else:
            said = library.speak(f"Recording number {number + 1}: {name}.", "en-us", RATE_NORMAL, lambda: True)
            sound = encoded(said, library.rate, 1.0, "wav")
            made.append({"file": base64.b64encode(sound).decode(), "temperature": 0.0})
    return [json.dumps({"model": "m", **body}).encode() for body in made]


class Replica:
    """One process of an engine, and a client of it that keeps its connections."""

    def __init__(self, pid: int, socket: str, path: str) -> None:
        self.pid, self._socket, self._path = pid, socket, path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: bytes) -> None:
        line = self._idle.pop() if self._idle else await asyncio.open_unix_connection(self._socket, limit=1 << 26)
        reader, writer = line
        head = f"POST {self._path} HTTP/1.1\r\nhost: e\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        told = (await reader.readuntil(b"\r\n\r\n")).lower()
        answer = await reader.readexactly(int(told.split(b"content-length: ")[1].split(b"\r\n")[0]))
        assert b" 200 " in told[:20], answer
        self._idle.append(line)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


@contextmanager
def running(model: ModelSpec, *, batched: bool) -> Iterator[Replica]:
    engine = assembly.engines()[model.engine.kind]
    artifacts = Path(".cache/artifacts").resolve()
    artifacts.mkdir(parents=True, exist_ok=True)
    artifact = engine.prepare(model, artifacts, lambda _: None)
    with tempfile.TemporaryDirectory(prefix="at-once-") as folder:
        socket = f"{folder}/e.sock"
        command = engine.command(model, artifact, f"unix:{socket}", 0)
        argv = list(command.argv)
        if not batched:
            at = argv.index("-m")
            argv[at : at + 2] = [str(UNBATCHED), argv[at + 1]]
        child = subprocess.Popen(argv, env={"PATH": os.environ["PATH"], **command.env}, stdout=subprocess.PIPE)
        assert child.stdout is not None
        try:
            assert json.loads(child.stdout.readline())["ready"]
            yield Replica(child.pid, socket, PATHS[model.task])
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(20)
            child.stdout.close()


class Way:
    """Seconds, and CPU seconds of the replica, of each round of 32; of the lone ones, seconds each."""

    def __init__(self) -> None:
        self.wall_s: list[float] = []
        self.cpu_s: list[float] = []
        self.lone_s: list[float] = []

    async def all(self, replica: Replica, asked: list[bytes], *, at_once: bool) -> None:
        cpu_s, began_s = replica.cpu_s(), time.perf_counter()
        if at_once:
            await asyncio.gather(*map(replica.ask, asked))
        else:
            for body in asked:
                await replica.ask(body)
        self.wall_s.append(time.perf_counter() - began_s)
        self.cpu_s.append(replica.cpu_s() - cpu_s)

    async def alone(self, replica: Replica, body: bytes) -> None:
        began_s = time.perf_counter()
        await replica.ask(body)
        self.lone_s.append(time.perf_counter() - began_s)

    @property
    def busy(self) -> float:
        return statistics.median(cpu / wall for cpu, wall in zip(self.cpu_s, self.wall_s, strict=True))


async def measured(task: str, batched: Replica, unbatched: Replica, rounds: int) -> dict[str, float]:
    """All ways in turn, `rounds` times; the middle ratio of the rounds, not the ratio of the middles."""
    asked, ways = bodies(task), {name: Way() for name in ("one", "once", "once unbatched", "lone", "lone unbatched")}
    for replica in (batched, unbatched):
        await asyncio.gather(*map(replica.ask, asked[:8]))  # warm
    for turn in range(rounds):
        await ways["one"].all(batched, asked, at_once=False)
        await ways["once"].all(batched, asked, at_once=True)
        await ways["once unbatched"].all(unbatched, asked, at_once=True)
        for number in range(LONE):
            pair = (("lone", batched), ("lone unbatched", unbatched))
            for name, replica in pair if (turn + number) % 2 else pair[::-1]:
                await ways[name].alone(replica, asked[number])

    for replica in (batched, unbatched):
        replica.close()

    def ratio(over: str, under: str) -> float:
        return statistics.median(a / b for a, b in zip(ways[over].wall_s, ways[under].wall_s, strict=True))

    lone = [statistics.median(ways[name].lone_s) for name in ("lone", "lone unbatched")]
    return {
        "one at a time, requests/s": COUNT / statistics.median(ways["one"].wall_s),
        "32 at once, requests/s": COUNT / statistics.median(ways["once"].wall_s),
        "at once / one at a time": ratio("one", "once"),
        "at once / unbatched at once": ratio("once unbatched", "once"),
        "CPU at once / one at a time": statistics.median(ways["once"].cpu_s) / statistics.median(ways["one"].cpu_s),
        "busy, one at a time": ways["one"].busy,
        "busy, at once": ways["once"].busy,
        "lone p50, ms": 1_000 * lone[0],
        "lone p50 / unbatched": lone[0] / lone[1],
    }


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--rounds", type=int, default=6, help="of recordings, which take long, a third of that")
    words.add_argument("--first", action="store_true", help="go before all neighbours (real time, as root)")
    words.add_argument("--only", default=",".join(MODELS), help="some of " + ", ".join(MODELS))
    words.add_argument("--json", type=Path)
    given = words.parse_args()
    if given.first:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, load average before: {os.getloadavg()[0]:.1f}", flush=True)
    known = {model.name: model for model in load_text(DEFAULT.read_text(), machine=(8 << 30, cores)).models}
    found = {}
    for task in given.only.split(","):
        with ExitStack() as stack:
            two = [stack.enter_context(running(known[MODELS[task]], batched=batched)) for batched in (True, False)]
            rounds = max(1, given.rounds // 3) if task == "transcribe" else given.rounds
            found[task] = asyncio.run(measured(task, *two, rounds))
        print(task, *(f"{name}: {value:.2f}" for name, value in found[task].items()), sep="\n  ", flush=True)
    print(f"load average after: {os.getloadavg()[0]:.1f}")
    if given.json:
        given.json.write_text(json.dumps({"load": os.getloadavg()[0], "cores": cores, **found}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
