"""A real cloud for tests: started through the real command line, with the real models, in a home of its own."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).parent / "headrace")


@dataclass
class Cloud:
    home: Path
    port: int
    key: str = ""
    env: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(
        self, *words: str, check: bool = True, stdin: str = "", cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """One `headrace` command."""
        done = subprocess.run(
            [PROGRAM, *words],
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            cwd=cwd,
        )
        if check and done.returncode:
            raise AssertionError(f"headrace {' '.join(words)} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *words: str) -> Any:
        """The JSON a command prints."""
        return json.loads(self.run(*words, "--json").stdout)

    def get(self, path: str, key: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return send(urllib.request.Request(self.url + path, headers=headers), 30)

    def post(self, path: str, body: Any, key: str | None = None, timeout: float = 120) -> Any:
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return send(urllib.request.Request(self.url + path, data, headers), timeout)

    def chat(self, text: str = "Hi", **more: Any) -> Any:
        body = {"model": "smollm2", "messages": [{"role": "user", "content": text}], "max_tokens": 16, "temperature": 0}
        return self.post("/v1/chat/completions", {**body, **more})

    def pids(self, role: str) -> list[int]:
        """Processes of this cloud by role: host, controller, gateway; `engine` for replicas."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if stat == "Z" or (str(self.home) not in line and str(self.runtime) not in line):
                continue
            is_engine = "headrace.engines.runners" in line
            if is_engine if role == "engine" else f"headrace.assembly {role}" in line:
                found.append(int(entry.name))
        return found

    def all_listen(self, workers: int = 2) -> None:
        """Wait until every gateway worker has opened its door; `up` waits for the first one."""
        logs = [self.home / "logs" / f"gateway-{index}.log" for index in range(workers)]
        self.until(lambda: all("gateway.listening" in log.read_text() for log in logs), what="all doors to be open")

    @property
    def runtime(self) -> Path:
        from headrace.settings import Settings

        return Settings(home=self.home).run

    def until(self, happened: Callable[[], Any], seconds: float = 30, what: str = "it to happen") -> Any:
        """Wait on a condition; the clock only bounds the wait."""
        end = time.monotonic() + seconds
        while True:
            try:
                value = happened()
            except (urllib.error.URLError, OSError):
                value = None
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for {what}\n{self.log_tail()}")
            time.sleep(0.02)

    def log_tail(self) -> str:
        tails = []
        for file in sorted((self.home / "logs").glob("*.log")):
            tails.append(f"--- {file.name}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-12:]))
        return "\n".join(tails)


def send(request: urllib.request.Request, timeout: float) -> Any:
    """The JSON that answers; an HTTPError is closed before it is raised, its status and headers remain."""
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        raise


def rss_kib(pid: int, what: str = "VmRSS") -> int:
    """Memory of a process; `VmHWM` is the most it ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))


def free_port() -> int:
    """Below the range that the kernel gives to clients; by chance, since gateways may share a port unnoticed."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running(
    home: Path, *, artifacts: Path | None = None, spec: Path | None = None, gateways: int = 2, **secrets: str
) -> Iterator[Cloud]:
    """A cloud that is up; stopped, and proved to leave no process behind, at the end.

    `secrets` stand in its environment, for the references of its cloud file.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    cloud = Cloud(home, free_port(), env={**env, **secrets, "HEADRACE_HOME": str(home), "NO_COLOR": "1"})
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if artifacts is not None:
        (home / "artifacts").symlink_to(artifacts)
    words = ["up", "--detach", "--listen", f"127.0.0.1:{cloud.port}", "--gateways", str(gateways)]
    cloud.run(*words, *([str(spec)] if spec else []))
    cloud.key = (home / "credentials").read_text().strip()
    try:
        yield cloud
    finally:
        cloud.run("down", check=False)
        left = [pid for role in ("host", "controller", "gateway", "engine") for pid in cloud.pids(role)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(cloud.runtime, ignore_errors=True)
        assert left == [], f"processes left behind: {left}"
