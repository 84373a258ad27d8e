"""A wake from sleep beside a cold start, of the real runners: until each answers its first request, and memory.

python bench/sleep.py [--runs 5]

Starts and wakes take turns, so that a busy machine slows both; the median of all runs, of the clock and of the CPU
time of the process, which neighbours change less. Weights are in the page cache for both. Prepares the default cloud's
models when they are not in this checkout's cache.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from headrace import assembly
from headrace.specs.catalog import ModelSpec
from headrace.specs.load import load_text

DEFAULT = Path(__file__).parents[1] / "src" / "headrace" / "specs" / "default.yaml"
ARTIFACTS = Path(__file__).parents[1] / ".cache" / "artifacts"
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "smollm2": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
    "minilm": ("/v1/embeddings", {"input": "a cat sits on the mat"}),
}


class Runner:
    """One replica's process."""

    def __init__(self, model: ModelSpec, folder: Path) -> None:
        engine = assembly.engines()[model.engine.kind]
        artifact = engine.prepare(model, ARTIFACTS, lambda _: None)
        self.path, self.asked = folder / "e.sock", ASKED[model.name]
        command = engine.command(model, artifact, f"unix:{self.path}", 0)
        env = {"PATH": os.environ["PATH"]} | command.env
        self.process = subprocess.Popen(command.argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def line(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def ask(self) -> None:
        line = http.client.HTTPConnection("engine")
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.connect(str(self.path))
        line.request("POST", self.asked[0], json.dumps(self.asked[1]), {"Content-Type": "application/json"})
        assert line.getresponse().status == 200
        line.close()

    def turn(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.line()

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS")) / 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def measured(model: ModelSpec, folder: Path) -> tuple[float, float, float, float, float, float]:
    """Seconds of a start and of a wake until the first answer, by the clock and of CPU; MiB awake and asleep."""
    start = time.perf_counter()
    runner = Runner(model, folder)
    try:
        runner.line()
        runner.ask()
        began = time.perf_counter() - start
        awake, cpu = runner.rss_mib(), runner.cpu_s()
        runner.turn(signal.SIGUSR1)
        asleep, before = runner.rss_mib(), runner.cpu_s()
        start = time.perf_counter()
        runner.turn(signal.SIGUSR2)
        runner.ask()
        return began, time.perf_counter() - start, cpu, runner.cpu_s() - before, awake, asleep
    finally:
        runner.end()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=5)
    runs = words.parse_args().runs
    print("| engine | start, s | wake, s | start, CPU s | wake, CPU s | awake, MiB | asleep, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for found in load_text(DEFAULT.read_text(), machine=(8 << 30, 2)).models:
        if found.name not in ASKED:
            continue
        assert found.engine.sleep is not None, "its engine can"
        with tempfile.TemporaryDirectory(prefix="hr-") as folder:
            measured(found, Path(folder))  # into the page cache
            each = [measured(found, Path(folder)) for _ in range(runs)]
        *times, awake, asleep = zip(*each, strict=True)
        middle = " | ".join(f"{statistics.median(column):.2f}" for column in times)
        print(f"| {found.engine.kind} | {middle} | {max(awake):.0f} | {max(asleep):.0f} |")


if __name__ == "__main__":
    main()
