"""What a worker cannot do, tried by real processes; and that the real engines live with it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace import assembly
from headrace.ports import WorkerSpec
from headrace.substrates import landlock, sandbox
from tests.substrates import programs
from tests.substrates.programs import local, spec, status

confined = pytest.mark.skipif(landlock.abi() < 6, reason="this kernel's Landlock is older than ABI 6")


def tried(folder: Path, code: str, *words: str, **more: Any) -> Any:
    """What a worker found out: the JSON it printed before it was ready."""

    async def body() -> Any:
        async with local(folder) as client:
            substrate = client()
            await substrate.start()
            await substrate.launch(
                spec("one", programs.SAY_READY + code + "\nready(); time.sleep(600)", *words, **more)
            )
            await status(substrate, "one", "ready")
            return json.loads((await substrate.logs("one"))[0])

    return asyncio.run(body())


def test_a_worker_inherits_no_secret(tmp_path, monkeypatch):
    """Of the environment only what a program needs to run, and what its spec gives."""
    monkeypatch.setenv("HEADRACE_API_KEY", "hr-secret")
    monkeypatch.setenv("HF_TOKEN", "hf-secret")
    found = tried(tmp_path, "print(json.dumps(dict(os.environ)), flush=True)", env={"OMP_NUM_THREADS": "2"})
    scratch = str(tmp_path / "home/scratch/one")
    assert (found.pop("HOME"), found.pop("TMPDIR")) == (scratch, scratch)
    assert len(found.pop("HEADRACE_INCARNATION")) == 12
    assert found.pop("OMP_NUM_THREADS") == "2"
    assert set(found) <= {"PATH", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE"}


def test_a_part_does_not_get_the_clients_key(monkeypatch):
    """The controller resolves references to secrets, so it has the environment; the CLI's key is not for it."""
    monkeypatch.setenv("HEADRACE_API_KEY", "hr-secret")
    monkeypatch.setenv("UPSTREAM_KEY", "sk-1")
    found = sandbox.part_environment()
    assert ("HEADRACE_API_KEY" in found, found["UPSTREAM_KEY"]) == (False, "sk-1")


def test_a_worker_has_no_standing(tmp_path):
    """No new privileges, no core dump, its own session, nothing on standard input, few descriptors, first to go."""
    code = """
import resource
said = open("/proc/self/status").read()
print(json.dumps({
    "privileges": "NoNewPrivs:\\t1" in said, "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
    "leader": os.getsid(0) == os.getpid(), "input": os.readlink("/proc/self/fd/0"),
    "open": sorted(int(n) for n in os.listdir("/proc/self/fd"))[-1] < 8, "oom": open("/proc/self/oom_score_adj").read().strip(),
    "folder": os.getcwd(),
}), flush=True)"""
    assert tried(tmp_path, code) == {
        "privileges": True,
        "core": 0,
        "leader": True,
        "input": "/dev/null",
        "open": True,
        "oom": "500",
        "folder": str(tmp_path / "home/scratch/one"),
    }


# As another user than root, who may look everywhere: says it is there, and stays.
PEER = """
import os, sys, time
from headrace.substrates import sandbox
if not os.getuid():
    os.setgid(65534); os.setuid(65534)
sandbox._libc.prctl(4, 1, 0, 0, 0)  # what a change of user took away
if sys.argv[1] == "closed":
    sandbox.keep_to_itself()
print(os.getpid(), flush=True); time.sleep(600)
"""
LOOK = """
import json, os, sys
if not os.getuid():
    os.setgid(65534); os.setuid(65534)
def attempt(name, mode):
    try:
        return bool(open(f"/proc/{sys.argv[1]}/{name}", mode).read(1) if name != "mem" else open(f"/proc/{sys.argv[1]}/mem", "rb"))
    except OSError as error:
        return os.strerror(error.errno)
print(json.dumps([attempt("environ", "rb"), attempt("mem", "rb"), attempt("maps", "rb"), attempt("cmdline", "rb")]))
"""


@pytest.mark.parametrize(("kind", "secrets"), [("open", True), ("closed", "Permission denied")])
def test_a_process_that_keeps_to_itself_is_closed_to_its_own_user(kind, secrets):
    """Environment and memory; its command line is still there for `ps`, and for the CLI to know the host by."""
    shown = [sys.executable, "-P", "-c", PEER, kind]
    with subprocess.Popen(shown, stdout=subprocess.PIPE, text=True) as process:
        try:
            pid = process.stdout.readline().strip()
            found = subprocess.run([sys.executable, "-c", LOOK, pid], capture_output=True, text=True, check=True)
        finally:
            process.kill()
    assert json.loads(found.stdout) == [secrets, secrets, secrets, True]


@pytest.mark.parametrize(
    "run",
    [
        lambda here: assembly.run_controller(here),
        lambda here: assembly.run_gateway(here, 0),
        lambda here: assembly.run_prepare(here, "m@v1"),
    ],
    ids=["controller", "gateway", "prepare"],
)
def test_each_part_keeps_to_itself_before_it_does_anything(run, tmp_path, monkeypatch):
    """They hold secrets: the pepper, upstream keys, what clients ask."""

    class Kept(Exception):
        pass

    def kept() -> None:
        raise Kept

    monkeypatch.setattr(sandbox, "keep_to_itself", kept)
    with pytest.raises(Kept):
        run(programs.home(tmp_path))


TRY = """
def attempt(what):
    try:
        what(); return "done"
    except OSError as error:
        return os.strerror(error.errno)
"""


@confined
def test_a_worker_reaches_neither_secrets_nor_others(tmp_path):
    """State, other folders, TCP and signals are denied; its weights can be read, its scratch and socket written."""
    secret, weights = tmp_path / "home/pepper", tmp_path / "weights"
    sock = programs.home(tmp_path).run / "engine-one/e.sock"
    secret.write_text("pepper")
    weights.mkdir()
    (tmp_path / "elsewhere").write_text("a local file that the weights link to")
    (weights / "linked").symlink_to(tmp_path / "elsewhere")
    code = f"""{TRY}
import socket
weights, home, sock = sys.argv[1], "/" + sys.argv[2], sys.argv[3]
print(json.dumps({{
    "secret": attempt(lambda: open(home + "/pepper").read()),
    "secret by link": attempt(lambda: (os.symlink(home + "/pepper", "link"), open("link").read())),
    "database": attempt(lambda: open(home + "/headrace.db", "w")),
    "list home": attempt(lambda: os.listdir(home)),
    "program": attempt(lambda: open(os.path.dirname(os.path.realpath(sys.executable)) + "/probe", "w")),
    "shared temporary files": attempt(lambda: open("/tmp/headrace-probe", "w")),
    "write weights": attempt(lambda: open(weights + "/x", "w")),
    "read weights": attempt(lambda: open(weights + "/linked").read()),
    "scratch": attempt(lambda: open("kept", "w").write("x")),
    "null": attempt(lambda: open("/dev/null", "w").write("x")),
    "bind": attempt(lambda: socket.socket().bind(("127.0.0.1", 0))),
    "connect": attempt(lambda: socket.socket().connect(("127.0.0.1", {{port}}))),
    "signal": attempt(lambda: os.kill(os.getppid(), 0)),
    "look into": attempt(lambda: open(f"/proc/{{os.getppid()}}/environ").read()),
    "own socket": attempt(lambda: socket.socket(socket.AF_UNIX).bind(sock)),
}}), flush=True)"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = tried(
            tmp_path,
            code.replace("{port}", str(server.getsockname()[1])),
            str(weights),
            str(tmp_path / "home").removeprefix("/"),  # a path that is named whole is readable, as weights are
            str(sock),
            address=f"unix:{sock}",
        )
    denied = "Permission denied"
    assert found == {
        "secret": denied,
        "secret by link": denied,
        "database": denied,
        "list home": denied,
        "program": denied,
        "shared temporary files": denied,
        "write weights": denied,
        "read weights": "done",
        "scratch": "done",
        "null": "done",
        "bind": denied,
        "connect": denied,
        "signal": "Operation not permitted",
        "look into": denied,
        "own socket": "done",
    }


@confined
def test_a_worker_on_a_port_may_use_tcp(tmp_path):
    """Programs that only speak TCP keep it; files stay closed to them."""
    programs.home(tmp_path)
    (tmp_path / "home/pepper").write_text("pepper")
    code = f"""{TRY}
import socket
print(json.dumps([attempt(lambda: socket.socket().bind(("127.0.0.1", 0))), attempt(lambda: open("/" + sys.argv[1]).read())]), flush=True)"""
    assert tried(tmp_path, code, str(tmp_path / "home/pepper").removeprefix("/")) == ["done", "Permission denied"]


@confined
def test_the_folder_of_its_socket_is_not_open_to_a_worker(tmp_path):
    """The routing table and the counters may lie beside it."""
    run = programs.home(tmp_path).run
    (run / "table.json").write_text("digests")
    code = f"""{TRY}
import socket
run = os.path.dirname("/" + sys.argv[1])
print(json.dumps([
    attempt(lambda: open(run + "/table.json").read()), attempt(lambda: open(run + "/table.json", "r+")),
    attempt(lambda: os.listdir(run)), attempt(lambda: open(run + "/new", "w")),
    attempt(lambda: socket.socket(socket.AF_UNIX).bind("/" + sys.argv[1])),
]), flush=True)"""
    sock = run / "engine-one.sock"
    found = tried(tmp_path, code, str(sock).removeprefix("/"), address=f"unix:{sock}")
    assert found == [*["Permission denied"] * 4, "done"]


@confined
def test_a_workers_socket_is_out_of_reach_of_its_neighbour(tmp_path):
    """It can neither take the name away, nor put a socket of its own beside it or among the cloud's."""
    settings = programs.home(tmp_path)
    other, own = (settings.engine_socket(name) for name in ("other", "one"))
    other.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as neighbour:
        neighbour.bind(str(other))
        code = f"""{TRY}
import socket
other, run = "/" + sys.argv[1], os.path.dirname(os.path.dirname("/" + sys.argv[1]))
bind = lambda path: attempt(lambda: socket.socket(socket.AF_UNIX).bind(path))
print(json.dumps([
    attempt(lambda: os.unlink(other)), attempt(lambda: os.rename(other, os.path.dirname(sys.argv[2]) + "/x")),
    bind(other + "2"), bind(run + "/link.sock"), bind(run + "/engine-new.sock"), bind(sys.argv[2]),
]), flush=True)"""
        found = tried(tmp_path, code, str(other).removeprefix("/"), str(own), address=f"unix:{own}")
    assert found == [*["Permission denied"] * 5, "done"]
    assert other.exists()
    assert not own.parent.exists()  # it went with its worker


def test_where_the_kernel_has_no_landlock_workers_run_all_the_same(tmp_path, monkeypatch):
    """Best effort, and the level says so."""
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    assert sandbox.level() == "none"
    assert tried(tmp_path, "print(json.dumps(os.path.exists('/')), flush=True)") is True


@pytest.mark.parametrize("name", ["smollm2", "minilm", "smollm2-ov"])
def test_the_real_engines_run_in_the_sandbox(tmp_path, prepared, name):
    """Ready, and a question over its socket is answered."""
    model, artifact = prepared(name)
    sock = programs.home(tmp_path).engine_socket("one")
    command = assembly.engines()[model.engine.kind].command(model, artifact, f"unix:{sock}", 0)

    async def body() -> None:
        async with local(tmp_path) as client:
            substrate = client()
            await substrate.start()
            await substrate.launch(
                WorkerSpec(id="one", argv=command.argv, env=command.env, address=command.address, fast_crashes_max=1)
            )
            await status(substrate, "one", "ready")
            chat = {
                "messages": [{"role": "user", "content": "What is the capital of France?"}],
                "max_tokens": 10,
                "temperature": 0,
            }
            path, asked = ("chat/completions", chat) if model.task == "chat" else ("embeddings", {"input": "hello"})
            status_line, answer = await post(sock, f"/v1/{path}", {"model": name, **asked})
            assert status_line == 200, answer
            assert ("Paris" if model.task == "chat" else "embedding") in answer

    asyncio.run(body())


async def post(sock: Path, path: str, body: dict[str, Any]) -> tuple[int, str]:
    reader, writer = await asyncio.open_unix_connection(sock)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + data)
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer


def test_the_file_limit_is_raised_as_far_as_allowed(tmp_path):
    """Engines and gateways hold many connections."""
    code = "import resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)), flush=True)"
    hard = min(65_536, os.sysconf("SC_OPEN_MAX"))
    assert tried(tmp_path, code)[0] >= hard
