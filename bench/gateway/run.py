"""Headrace's gateway beside nginx and sgl-router, one core each, in the same minutes; prints a table and JSON.

    python bench/gateway/run.py [--reps 3] [--sgl PATH_TO_sglang-router] [--json FILE]

Core 0 runs the upstream and the load generator (C, built here with gcc), core 1 the peer. Every repetition measures
nginx first, so that ratios are of the same minute. The gateway is started through the product (`headrace up`) with
keys, limits, routing, strict parsing and the durable journal on; its controller and host run on core 0.
Needs root (real-time priority for single-threaded peers), two cores, gcc and nginx. The figures that last are ratios.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
UPSTREAM_PORTS = (9101, 9102)
NGINX_PORT, HEADRACE_PORT, SGL_PORT = 8001, 8790, 8021
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--reps", type=int, default=3)
    options.add_argument("--sgl", default=shutil.which("sglang-router"), help="the sglang-router program")
    options.add_argument("--json", type=Path)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("upstream", "lg"):
            subprocess.run(["gcc", "-O2", "-o", work / name, HERE / f"{name}.c"], check=True)
        results = measure(work, wanted.reps, wanted.sgl)
    print(table(results))
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=1))


def measure(work: Path, reps: int, sgl: str | None) -> dict[str, list[dict]]:
    """All repetitions of all peers; each holds the nginx figures of its own minute under `nginx`."""
    results: dict[str, list[dict]] = {}
    with process([work / "upstream", *map(str, UPSTREAM_PORTS)], core=0, realtime=True), nginx(work) as reference:
        peers = [("headrace", headrace)] + ([("sgl-router", lambda _: router(sgl))] if sgl else [])
        for name, start in peers:
            with start(work) as (port, pids, key, started_s):
                for _ in range(reps):
                    row = {"nginx": series(work, NGINX_PORT, reference, "sk-bench"), "start_s": started_s}
                    row |= series(work, port, pids, key)
                    row["rss_mb"] = sum(map(rss_mb, pids))
                    results.setdefault(name, []).append(row)
                    print(name, json.dumps(row), file=sys.stderr, flush=True)
                results[name][-1]["ladder"] = ladder(work, port, pids, key)
    return results


def series(work: Path, port: int, pids: list[int], key: str) -> dict[str, dict]:
    upstream(pace_us=0)
    row = {
        "c32": load(work, port, pids, key, 32, 1.5, "chat"),
        "s64": load(work, port, pids, key, 64, 1.2, "stream"),
    }
    upstream(pace_us=20_000)
    row["p64"] = load(work, port, pids, key, 64, 2.5, "stream")
    upstream(pace_us=0)
    return row


def ladder(work: Path, port: int, pids: list[int], key: str) -> dict[str, dict]:
    """Paced streams, one event every 20 ms each: sustained when >= 95 % of the direct run's events arrive."""
    upstream(pace_us=20_000)
    steps = {}
    for streams in (256, 1000, 1500):
        direct = load(work, UPSTREAM_PORTS[0], [], key, streams, 3.0, "stream")
        steps[str(streams)] = load(work, port, pids, key, streams, 3.0, "stream")
        steps[str(streams)]["of_direct"] = round(steps[str(streams)]["events_s"] / max(1, direct["events_s"]), 3)
        steps[str(streams)]["direct_ttft_p50"] = direct["ttft_p50"]
    upstream(pace_us=0)
    return steps


def load(work: Path, port: int, pids: list[int], key: str, clients: int, seconds: float, mode: str) -> dict:
    before, start = sum(map(cpu_s, pids)), time.monotonic()
    argv = ["taskset", "-c", "0", "chrt", "-r", "1", work / "lg", "-p", str(port), "-c", str(clients)]
    argv += ["-d", str(seconds), "-w", "0.3", "-m", mode, "-k", key]
    out = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=60, check=True).stdout
    figures = json.loads(out)
    figures["cpu"] = round((sum(map(cpu_s, pids)) - before) / (time.monotonic() - start), 3)
    return figures


@contextmanager
def process(argv: list, *, core: int, realtime: bool, env: dict | None = None) -> Iterator[int]:
    pinned = ["taskset", "-c", str(core), *(["chrt", "-r", "1"] if realtime else ["nice", "-n", "-20"])]
    child = subprocess.Popen(
        [str(word) for word in (*pinned, *argv)],
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.3)
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()


@contextmanager
def nginx(work: Path) -> Iterator[list[int]]:
    conf = work / "nginx.conf"
    conf.write_text((HERE / "nginx.conf").read_text().replace("@WORK@", str(work)))
    with process([shutil.which("nginx") or "/usr/sbin/nginx", "-c", conf], core=1, realtime=True) as pid:
        answers(NGINX_PORT, "sk-bench")
        yield [pid, *children(pid)]


@contextmanager
def headrace(work: Path) -> Iterator[tuple[int, list[int], str, float]]:
    home = work / "home"
    program = [str(Path(sys.executable).parent / "headrace")]
    env = {**os.environ, "HEADRACE_HOME": str(home)}
    listen = f"127.0.0.1:{HEADRACE_PORT}"
    argv = [*program, "up", "--detach", "--gateways", "1", "--listen", listen, str(HERE / "cloud.yaml")]
    subprocess.run(["taskset", "-c", "0", *argv], env=env, check=True, stdout=subprocess.DEVNULL)
    try:
        key = (home / "credentials").read_text().strip()
        (gateway,) = find("headrace.assembly gateway", str(home))
        os.kill(gateway, signal.SIGKILL)  # start-up is timed on its successor, alone
        start = time.monotonic()
        answers(HEADRACE_PORT, key)
        started_s = round(time.monotonic() - start, 3)
        (gateway,) = find("headrace.assembly gateway", str(home))
        os.sched_setaffinity(gateway, {1})
        for task in os.listdir(f"/proc/{gateway}/task"):
            os.sched_setaffinity(int(task), {1})
            os.sched_setscheduler(int(task), os.SCHED_RR, os.sched_param(1))
        yield HEADRACE_PORT, [gateway], key, started_s
    finally:
        subprocess.run([*program, "down"], env=env, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def router(program: str) -> Iterator[tuple[int, list[int], str, float]]:
    urls = [f"http://127.0.0.1:{port}" for port in UPSTREAM_PORTS]
    argv = [program, "launch", "--worker-urls", *urls, "--policy", "round_robin", "--host", "127.0.0.1"]
    argv += ["--port", str(SGL_PORT), "--log-level", "error", "--prometheus-port", "29101"]
    start = time.monotonic()
    with process(argv, core=1, realtime=False) as pid:
        answers(SGL_PORT, "sk-bench")
        yield SGL_PORT, [pid, *children(pid)], "sk-bench", round(time.monotonic() - start, 3)


def upstream(*, pace_us: int) -> None:
    url = f"http://127.0.0.1:{UPSTREAM_PORTS[0]}/_ctl?chunks=100&pace_us={pace_us}&latency_us=0"
    urllib.request.urlopen(url, timeout=5).read()


def answers(port: int, key: str, limit_s: float = 30.0) -> None:
    """Wait until one request is answered."""
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    end = time.monotonic() + limit_s
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=3).read()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def find(*words: str) -> list[int]:
    """Processes whose command line holds all the words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if all(word in line for word in words):
                found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def table(results: dict[str, list[dict]]) -> str:
    """Medians over the repetitions; ratios are taken within a repetition first."""

    def median(rows: list[dict], take) -> float:
        return statistics.median(take(row) for row in rows)

    lines = ["| figure | " + " | ".join(results) + " |", "| --- |" + " ---: |" * len(results)]
    figures = {
        "rps at 32 connections / nginx": lambda r: r["c32"]["rps"] / r["nginx"]["c32"]["rps"],
        "CPU per request / nginx": lambda r: (
            r["c32"]["cpu"] / r["c32"]["rps"] / (r["nginx"]["c32"]["cpu"] / r["nginx"]["c32"]["rps"])
        ),
        "p99 at 32 connections / nginx": lambda r: r["c32"]["p99"] / r["nginx"]["c32"]["p99"],
        "burst streaming events/s / nginx": lambda r: r["s64"]["events_s"] / r["nginx"]["s64"]["events_s"],
        "TTFT p50 at 64 paced streams, ms": lambda r: r["p64"]["ttft_p50"] / 1000,
        "the same through nginx, ms": lambda r: r["nginx"]["p64"]["ttft_p50"] / 1000,
        "errors": lambda r: r["c32"]["errs"] + r["s64"]["errs"] + r["p64"]["errs"],
        "RSS under load, MB": lambda r: r["rss_mb"],
        "start to first answer, s": lambda r: r["start_s"],
    }
    for name, take in figures.items():
        lines.append(f"| {name} | " + " | ".join(f"{median(rows, take):.2f}" for rows in results.values()) + " |")
    for streams in ("256", "1000", "1500"):
        cells = [f"{rows[-1]['ladder'][streams]['of_direct']:.3f}" for rows in results.values()]
        lines.append(f"| {streams} paced streams, events / direct | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
