"""`headrace doctor`: look for what keeps a cloud from running well; each line names its fix."""

import os
import shutil
import sys
from typing import Final

import click

from headrace import settings
from headrace.cli.local import address_problem, running
from headrace.cli.shown import json_option, show
from headrace.errors import HeadraceError
from headrace.units import GIB, format_bytes

DISK_LEAST_BYTES: Final = 2 * GIB
SQLITE_LEAST: Final = (3, 51, 3)
Finding = tuple[str, bool, str]


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Look at Python, SQLite, disk, home, database, port, sandbox, engines and models; each finding with its fix."""
    here = settings.load()
    findings = [_python(), _sqlite(), _disk(here), _home(here), *_database(here), _port(here), _sandbox()]
    findings += _engines(here)
    found = {
        "ok": all(good for _, good, _ in findings),
        "findings": [dict(zip(("what", "ok", "says"), f, strict=True)) for f in findings],
    }
    marks = {True: click.style("✓", fg="green"), False: click.style("✗", fg="red")}
    show(found, "\n".join(f"{marks[good]} {what:<9} {says}" for what, good, says in findings), as_json=as_json)
    if not found["ok"]:
        raise click.exceptions.Exit(1)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return "python", sys.version_info >= (3, 11), f"{version} at {sys.executable}"


def _sqlite() -> Finding:
    import apsw  # 10 MB that other commands need not load

    version = apsw.sqlite_lib_version()
    good = tuple(int(part) for part in version.split(".")) >= SQLITE_LEAST
    fault = "before 3.51.3 its write-ahead log has a fault that can corrupt a database"
    fix = "" if good else f"; {fault}; fix: pip install --upgrade apsw"
    return "sqlite", good, f"{version}, carried by apsw{fix}"


def _disk(here: settings.Settings) -> Finding:
    folder = here.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    good = free >= DISK_LEAST_BYTES
    fix = "" if good else f"; make room for {format_bytes(DISK_LEAST_BYTES)} or give another HEADRACE_HOME"
    return "disk", good, f"{format_bytes(free)} free at {folder}{fix}"


def _home(here: settings.Settings) -> Finding:
    if not here.home.exists():
        return "home", True, f"{here.home} is made by the first: headrace up"
    mode = here.home.stat().st_mode & 0o777
    if mode & 0o077:
        return "home", False, f"{here.home} can be read by others (mode {mode:o}); fix: chmod 700 {here.home}"
    if not os.access(here.home, os.W_OK | os.X_OK):
        return "home", False, f"{here.home} cannot be written; fix: chown or give another HEADRACE_HOME"
    return "home", True, f"{here.home}, mode {mode:o}"


def _port(here: settings.Settings) -> Finding:
    pid = running(here)
    if pid is not None:
        return "port", True, f"a cloud runs on {here.listen} (process {pid})"
    problem = address_problem(here)
    return "port", not problem, problem or f"{here.listen} is free"


def _database(here: settings.Settings) -> list[Finding]:
    from headrace.assembly import home

    if not here.database.exists():
        return []
    fix = "; fix: headrace down, move the file away or restore a backup, headrace up"
    found = home.database_problems(here)
    return [("database", False, problem + fix) for problem in found] or [
        ("database", True, f"{here.database} is whole")
    ]


def _sandbox() -> Finding:
    """Weak where the kernel is old, which keeps nothing from running."""
    from headrace import assembly

    level = assembly.sandbox_level()
    fix = "" if "signals" in level else "; a kernel with Landlock holds more: files from 5.13, TCP 6.7, signals 6.12"
    return "sandbox", True, f"replicas are kept from: {level}{fix}"


def _engines(here: settings.Settings) -> list[Finding]:
    from headrace import assembly  # heavy, and wanted by this part alone
    from headrace.assembly import home
    from headrace.cli.check import read

    try:
        catalog = home.stored_catalog(here) or read(None)[0]
    except HeadraceError:  # told by the finding about the database
        catalog = read(None)[0]
    problems = assembly.engine_problems(catalog)
    said = [("engine", False, problem) for problem in problems]
    if not said:
        kinds = sorted({model.engine.kind for model in catalog.models})
        said = [("engine", True, f"{', '.join(kinds)} can run every model of the catalog")]
    ready = [model.key for model in catalog.models if model.owned and home.prepared(here, model)]
    rest = [model.key for model in catalog.models if model.owned and model.key not in ready]
    text = f"prepared: {', '.join(ready) or 'none yet'}" + (
        f"; prepared at first start: {', '.join(rest)}" if rest else ""
    )
    return [*said, ("models", True, text)]
