"""The whole product beside the bare engine: what routing, metering and waking cost. Prints a table and JSON.

    python bench/product.py [--rounds 5] [--json FILE]

One cloud is started through `headrace up` in a temporary home (weights are prepared first, not timed). Measured:
tokens/s of 16 concurrent streams through the gateway against the same replica's own socket, in turn; zero to first
token through the gateway against spawning the same engine command by hand; memory of the idle cloud; start-up.
The same client code drives both sides. Machines are shared: quote the ratios.
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
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).parent / "headrace"
PORT = 8791
STREAMS, TOKENS = 16, 64


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), wanted.rounds)
    for name, value in figures.items():
        print(f"| {name} | {value} |")
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=1))


def measure(home: Path, rounds: int) -> dict[str, Any]:
    env = {**os.environ, "HEADRACE_HOME": str(home / "h")}
    figures: dict[str, Any] = {"headrace --version, s": version_s()}
    figures |= up_down(env)
    up(env)
    try:
        key = (home / "h" / "credentials").read_text().strip()
        until(lambda: stream(product(key))[1] > 0)
        figures |= throughput(key, rounds)
        figures |= cold_start(key, rounds)
        figures |= idle(key, env)
    finally:
        subprocess.run([PROGRAM, "down"], env=env, check=True, stdout=subprocess.DEVNULL)
    return figures


def up(env: dict[str, str]) -> float:
    start = time.monotonic()
    argv = [PROGRAM, "up", "--detach", "--listen", f"127.0.0.1:{PORT}"]
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def up_down(env: dict[str, str]) -> dict[str, Any]:
    """Start-up of a cloud, the first time (home is made) and again."""
    first = up(env)
    subprocess.run([PROGRAM, "down"], env=env, check=True, stdout=subprocess.DEVNULL)
    again = up(env)
    subprocess.run([PROGRAM, "down"], env=env, check=True, stdout=subprocess.DEVNULL)
    return {"headrace up, first, s": round(first, 2), "headrace up, again, s": round(again, 2)}


def version_s() -> float:
    times = []
    for _ in range(9):
        start = time.monotonic()
        subprocess.run([PROGRAM, "--version"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - start)
    return round(statistics.median(times), 3)


def throughput(key: str, rounds: int) -> dict[str, Any]:
    """Tokens/s of concurrent streams, product and engine in turn on the same replica."""
    direct = engine(replica(key)["address"])
    ratios, through, alone = [], [], []
    many(product(key)), many(direct)
    for _ in range(rounds):
        through.append(many(product(key)))
        alone.append(many(direct))
        ratios.append(through[-1] / alone[-1])
    return {
        f"tokens/s, {STREAMS} streams, product": round(statistics.median(through), 1),
        f"tokens/s, {STREAMS} streams, engine alone": round(statistics.median(alone), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio, min and max": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def cold_start(key: str, rounds: int) -> dict[str, Any]:
    """Zero to first token: the product from a sleeping model, the engine from the same command line."""
    pid = replica(key)["pid"]
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    address = replica(key)["address"]
    settings = dict(pair.split(b"=", 1) for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pair)
    other = address.replace(".sock", "2.sock")
    argv = [word.replace(address.encode(), other.encode()) for word in argv]
    argv = [word.replace(address.removeprefix("unix:").encode(), other.removeprefix("unix:").encode()) for word in argv]
    products, engines = [], []
    for _ in range(rounds):
        sleep_now(key)
        products.append(stream(product(key))[0])
        start = time.monotonic()
        child = subprocess.Popen(argv, env=settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while not (line := child.stdout.readline()).startswith(b"{"):
            assert line, "the engine ended before it was ready"
        stream(engine(other))
        engines.append(FIRST[0] - start)
        child.send_signal(signal.SIGKILL)
        child.wait()
    gaps = [a - b for a, b in zip(products, engines, strict=True)]
    return {
        "zero to first token, product, s": round(statistics.median(products), 3),
        "zero to first token, engine alone, s": round(statistics.median(engines), 3),
        "difference, ms": round(1000 * statistics.median(gaps), 1),
    }


def idle(key: str, env: dict[str, str]) -> dict[str, Any]:
    """Resident memory of all processes with every model asleep; replicas are told to stop first."""
    sleep_now(key)
    total, parts = 0.0, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            status = (entry / "status").read_text()
        except OSError:
            continue
        if env["HEADRACE_HOME"] in line and "VmRSS" in status:
            kib = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS"))
            parts[line.split("headrace.assembly ")[-1].split(" ")[0] + "-" + entry.name] = round(kib / 1024, 1)
            total += kib / 1024
    return {"idle cloud RSS, MB": round(total, 1), "idle cloud RSS by process": parts}


def sleep_now(key: str) -> None:
    for one in api(key, "/headrace/v1/replicas")["replicas"]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/headrace/v1/replicas/{one['id']}/stop",
            b"{}",
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).read()
    until(lambda: not api(key, "/headrace/v1/replicas")["replicas"])


def replica(key: str) -> dict[str, Any]:
    found = [
        r for r in api(key, "/headrace/v1/replicas")["replicas"] if r["model"] == "smollm2" and r["phase"] == "ready"
    ]
    return found[0]


def api(key: str, path: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", headers={"Authorization": f"Bearer {key}"})
    return json.loads(urllib.request.urlopen(request, timeout=10).read())


def until(happened: Callable[[], Any], limit_s: float = 180) -> None:
    end = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


# --- one client for both sides ------------------------------------------------------------------------------------

Target = tuple[str, str]  # address and key
FIRST = [0.0]  # moment of the last first token


def product(key: str) -> Target:
    return f"127.0.0.1:{PORT}", key


def engine(address: str) -> Target:
    return address, ""


def stream(target: Target) -> tuple[float, int]:
    """One stream: seconds to the first token, tokens seen."""
    return asyncio.run(_stream(target, 0, 4))


def many(target: Target) -> float:
    """Tokens/s of STREAMS concurrent streams."""

    async def run() -> float:
        start = time.monotonic()
        results = await asyncio.gather(*(_stream(target, number, TOKENS) for number in range(STREAMS)))
        return sum(tokens for _, tokens in results) / (time.monotonic() - start)

    return asyncio.run(run())


async def _stream(target: Target, number: int, tokens: int) -> tuple[float, int]:
    address, key = target
    body = json.dumps(
        {
            "model": "smollm2",
            "messages": [{"role": "user", "content": f"Write story number {number} about a river and an engine."}],
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    start = time.monotonic()
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {key}\r\n" if key else ""
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    first, seen = 0.0, 0
    while line := await reader.readline():
        if line.startswith(b"data: {") and b'"delta"' in line and b'"content":null' not in line:
            if not first and b'"content"' in line:
                FIRST[0] = time.monotonic()
                first = FIRST[0] - start
            seen += b'"content"' in line
        if line.startswith(b"data: [DONE]"):
            break
    writer.close()
    return first, seen


if __name__ == "__main__":
    main()
