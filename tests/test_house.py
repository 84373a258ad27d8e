"""The laws of the house, read from the source: purity, one knower, sizes, and words that must not stand in it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "headrace"
FILES = sorted(SOURCE.rglob("*.py"))
PURE = ("units.py", "errors.py", "specs", "state", "economics", "policy", "wire")
IMPURE = {
    "asyncio", "time", "random", "os", "socket", "pathlib", "logging", "sqlite3", "apsw", "subprocess", "threading",
    "uvloop", "http", "urllib", "structlog", "secrets", "select", "signal",
}  # fmt: skip
ADAPTERS = ("headrace.engines", "headrace.substrates", "headrace.stores")
CATCH_ALL = {
    "gateway/worker.py": "the outermost frame of a request: one mistake of ours must not end the worker",
    "control/controller.py": "the outermost frame of its loop: one bad round must not end the cloud",
    "pipelines/runner.py": "outermost frame of a run: an operator's code may raise anything, and its run is told so",
    "pipelines/functions.py": "outermost frame of a tool's own thread: whoever waits for it is told what it raised",
    "pipelines/tools.py": "outermost frame of an agent's tool: foreign code may raise anything, and its model is told",
    "jobs/batch_routes.py": "outermost frame of a batch: one mistake of ours ends that batch and no other",
    "engines/onnx_convert.py": "a parser of foreign bytes: whatever it raises, the file is to blame",
    "engines/rapidocr.py": "a parser of foreign bytes: whatever it raises, the file is to blame",
    "engines/runners/batching.py": "outermost frame of the engine's thread: told to each request that waits",
    "engines/runners/pictures.py": "a parser of foreign bytes: whatever it raises, the file is to blame",
    "engines/runners/server.py": "outermost frame of a request: the replica lives on",
}
FORBIDDEN_NAMES = {"utils", "common", "manager", "base", "helpers"}
FORBIDDEN_CALLS = {"eval", "exec", "compile"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve"}
LINES_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX = 400, 70, 8
BY_KEYWORD = {"agent"}  # a decorator that users write, all of it by name


def name_of(file: Path) -> str:
    return str(file.relative_to(SOURCE))


def imports(file: Path) -> Iterator[str]:
    """Every module a file imports, late ones included."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("file", [f for f in FILES if name_of(f).split("/")[0] in PURE], ids=name_of)
def test_pure_rooms_do_no_io_and_read_no_clock(file: Path):
    """Units, errors, specs, state, economics, policy and wire import nothing that touches the world."""
    assert [module for module in imports(file) if module.split(".")[0] in IMPURE] == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_only_assembly_knows_adapters(file: Path):
    """A room of adapters knows itself; nobody else but assembly knows any."""
    room = name_of(file).split("/")[0]
    if room == "assembly":
        return
    own = f"headrace.{room}"
    assert [m for m in imports(file) if m.startswith(ADAPTERS) and not m.startswith(own)] == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_and_its_functions_stay_small(file: Path):
    """One noun a file, one thought a function."""
    assert len(file.read_text().splitlines()) <= LINES_MAX
    for function in functions(file):
        assert (function.end_lineno or 0) - function.lineno + 1 <= FUNCTION_LINES_MAX, function.name
        arguments = function.args
        count = len(arguments.args) + len(arguments.kwonlyargs) + len(arguments.posonlyargs)
        assert count <= PARAMETERS_MAX or function.name in BY_KEYWORD, function.name  # `self` is one of them


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_nothing_executes_what_it_is_given(file: Path):
    """No pickle, no eval, no shell; names that say nothing are not used."""
    assert file.stem not in FORBIDDEN_NAMES
    assert [module for module in imports(file) if module.split(".")[0] in FORBIDDEN_MODULES] == []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN_CALLS, node.lineno
            yaml_load = isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "yaml.load"
            assert not yaml_load, node.lineno
            assert not any(k.arg == "shell" and getattr(k.value, "value", False) for k in node.keywords), node.lineno


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_catch_all_handlers_stand_in_outermost_frames_only(file: Path):
    """`except Exception` hides mistakes: only where CATCH_ALL says why; BaseException only to pass it on."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type or ast.Name("")) if isinstance(name, ast.Name)}
            if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
                caught.discard("BaseException")  # it cleans up and lets the error go on
            assert not caught & {"", "BaseException"}, node.lineno
            found |= caught & {"Exception"}
    assert not found or name_of(file) in CATCH_ALL


def test_the_list_of_catch_all_handlers_is_current():
    """A reason that excuses nothing any more is taken away."""
    assert [name for name in CATCH_ALL if "except Exception" not in (SOURCE / name).read_text()] == []


def test_there_is_no_import_cycle():
    """Late imports counted."""
    modules = {"headrace." + name_of(f)[:-3].replace("/", ".").removesuffix(".__init__"): f for f in FILES}
    graph = {name: {m for m in imports(file) if m in modules and m != name} for name, file in modules.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_settings_alone_reads_the_environment():
    """Specs describe the cloud and settings the process; a child's clean environment is the one other reader."""
    readers = {name_of(f) for f in FILES if re.search(r"os\.environ|os\.getenv", f.read_text())}
    assert readers <= {"settings.py", "substrates/sandbox.py", "cli/main.py", "engines/golden.py", "engines/sources.py"}


def test_each_exception_to_the_linters_has_its_reason():
    """`noqa` and `type: ignore` say why, in the same line."""
    bare = re.compile(r"# (noqa: [A-Z0-9, ]+|type: ignore\[[a-z-]+\])\s*$")
    found = [f"{name_of(f)}: {line}" for f in FILES for line in f.read_text().splitlines() if bare.search(line)]
    assert found == []


def test_the_repository_speaks_of_itself_alone():
    """No path of a machine, no host of a registry."""
    words = "|".join([r"(^|[^A-Za-z0-9_.])/(work|farm)/", "files.pythonhosted" + r"\.org", "pypi" + r"\.org/simple"])
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = []
    for name in tracked:
        try:
            text = (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [f"{name}: {line[:80]}" for line in text.splitlines() if re.search(words, line)]
    assert [line for line in found if "test_house.py" not in line] == []
