"""`headrace check`: whether a cloud file is good and fits this machine, before anything starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from headrace.cli.shown import json_option, show, warn
from headrace.errors import HeadraceError, Invalid
from headrace.specs.catalog import Catalog
from headrace.units import format_bytes

BUILT_IN: Final = Path(__file__).parents[1] / "specs" / "default.yaml"


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
def command(file: Path | None, as_json: bool) -> None:
    """Check FILE (the built-in cloud when not given): every field, its fit, and what will never happen."""
    warnings: list[str] = []
    try:
        catalog, name = read(file, warnings.append if as_json else warn)
    except Invalid as error:
        if as_json:
            found = {"ok": False, "file": str(file or BUILT_IN.name), "problems": told(error), "warnings": warnings}
            show(found, "", as_json=True)
        raise
    lines = [f"{name}: good; {_models(len(catalog.models))} in {_pools(catalog)}"]
    for model in catalog.models:
        replicas = f"{model.scaling.min_replicas}..{model.scaling.max_replicas} replicas"
        place = f"{format_bytes(model.memory_bytes)} each" if model.owned else model.engine.url
        lines.append(f"  {model.key}  {model.task} on {model.engine.kind}, {replicas}, {place}")
    keys = [model.key for model in catalog.models]
    good = {"ok": True, "file": name, "revision": catalog.revision, "models": keys, "warnings": warnings}
    show(good, "\n".join(lines), as_json=as_json)


def read(file: Path | None, caution: Callable[[str], None] = warn) -> tuple[Catalog, str]:
    """A cloud file's catalog and its name. Raises Invalid for anything that would keep it from running here.

    `caution` is told what the file asks for and will never happen, also where it cannot run here.
    """
    from headrace import assembly  # heavy, and wanted by `up` and `check` alone
    from headrace.control.observer import pooled
    from headrace.policy import fit
    from headrace.policy.cautions import cautions
    from headrace.specs.load import load_text

    name = str(file) if file else "the built-in cloud"
    machine = assembly.devices()
    here = (machine[0].memory_bytes, machine[0].cpus)
    folder = folder_of(file) if file else ""
    catalog = load_text(text_of(file or BUILT_IN), str(file) if file else BUILT_IN.name, here, folder)
    for never in cautions(catalog):
        caution(f"{name}: {never}")
    problems = [*fit.problems(catalog, pooled(catalog, machine)), *assembly.engine_problems(catalog)]
    if problems:
        raise Invalid("\n".join(f"{name}: {problem}" for problem in problems), code="does_not_fit", status=422)
    return catalog, name


def folder_of(file: Path) -> str:
    """The folder a cloud file is named in, as a real path; a link to a file elsewhere is of where the link lies."""
    return str(file.parent.resolve())


def text_of(file: Path) -> str:
    """The text of a cloud file. Raises Invalid (404) when it is not there, Invalid when it is not text."""
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        raise Invalid(f"there is no file {file}; see: headrace config default", status=404) from None
    except OSError as error:
        raise HeadraceError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte {error.start} cannot be read; save the file as UTF-8"
        raise Invalid(message, where=f"{file}:1:1", code="invalid_cloud_file", status=422) from None


def told(error: Invalid) -> list[dict[str, str]]:
    """What is wrong, one entry a fault, for programs."""
    from headrace.specs.problem import InvalidCloud

    if isinstance(error, InvalidCloud):
        return [{"where": one.where, "path": one.path, "message": one.message} for one in error.problems]
    return [{"where": error.where, "path": "", "message": line} for line in error.message.splitlines()]


def _models(count: int) -> str:
    return "1 model version" if count == 1 else f"{count} model versions"


def _pools(catalog: Catalog) -> str:
    return ", ".join(f"pool {pool.name} ({pool.count} x {pool.accelerator})" for pool in catalog.pools)
