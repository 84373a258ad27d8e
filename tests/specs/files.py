"""Cloud files for tests: one that is good, and ways to break it."""

from headrace.specs.catalog import Catalog
from headrace.specs.load import load_text
from headrace.specs.problem import InvalidCloud, Problem

MACHINE = (8 << 30, 4)

GOOD = """\
version: 1
pools:
  local: {accelerator: cpu, memory: 8GiB, cpus: 2, price_per_hour: 0.08}
models:
  small:
    task: chat
    source: package://weights/small.gguf
    engine: {kind: llama_cpp, slots: 4}
    memory: 600MiB
    scaling: {min: 0, max: 2}
tenants:
  default: {models: [small]}
"""


def catalog(text: str = GOOD) -> Catalog:
    return load_text(text, "cloud.yaml", MACHINE)


def problems(text: str) -> list[Problem]:
    """What is wrong with a file; none when it is good."""
    try:
        catalog(text)
    except InvalidCloud as error:
        return list(error.problems)
    return []


def only(text: str) -> str:
    """The one problem of a file, as it is printed."""
    (problem,) = problems(text)
    return str(problem)


def changed(old: str, new: str) -> str:
    """The good file with one part replaced."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)
