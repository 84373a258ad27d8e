"""`headrace check`: whether a cloud file is good and fits this machine, before anything starts."""

from pathlib import Path

import click

from headrace.cli.shown import json_option, show
from headrace.errors import Invalid
from headrace.specs.catalog import Catalog


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def command(file: Path | None, as_json: bool) -> None:
    """Check FILE (the built-in cloud when not given): every field, and whether it fits this machine."""
    catalog, name = read(file)
    count = len(catalog.models)
    text = f"{name}: good. {count} model versions in {len(catalog.pools)} pools fit this machine."
    found = {"ok": True, "file": name, "revision": catalog.revision, "models": [model.key for model in catalog.models]}
    show(found, text, as_json=as_json)


def read(file: Path | None) -> tuple[Catalog, str]:
    """A cloud file's catalog and its name. Raises Invalid for anything that would keep it from running here."""
    from headrace import assembly  # heavy, and wanted by `up` and `check` alone
    from headrace.control.observer import pooled
    from headrace.policy import fit
    from headrace.specs.load import load_text

    path = file or Path(__file__).parents[1] / "specs" / "default.yaml"
    name = str(file) if file else "the built-in cloud"
    machine = assembly.devices()
    catalog = load_text(
        path.read_text(), str(path) if file else "default.yaml", (machine[0].memory_bytes, machine[0].cpus)
    )
    problems = [*fit.problems(catalog, pooled(catalog, machine)), *assembly.engine_problems(catalog)]
    if problems:
        raise Invalid("\n".join(f"{name}: {problem}" for problem in problems), code="does_not_fit")
    return catalog, name
