"""Routes about what is wanted: the catalog, the check of a cloud file, and its application, difference first."""

import asyncio
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control import observer
from headrace.control.admin import views
from headrace.control.admin.routes import AdminRoute, Query, json, text, yes
from headrace.control.controller import Controller
from headrace.policy import fit
from headrace.policy.cautions import cautions
from headrace.specs.catalog import Catalog

_FILENAME: Final = Query("filename", "The name that faults are told with; cloud.yaml when not given.")
_FOLDER: Final = Query("folder", "Where the file lies on this machine: what relative sources are relative to.")
_DRY: Final = Query("dry_run", "true: only show the difference.", "boolean")
_FOLDER_MAX: Final = 4096


class Changes:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1"
        return [
            AdminRoute("GET", f"{at}/catalog", "admin", "What is wanted.", self.catalog, gives=Catalog),
            AdminRoute(
                "POST", f"{at}/check", "admin", "Check a cloud file and its fit.", self.check,
                takes=str, gives=views.Checked, query=(_FILENAME, _FOLDER),
            ),
            AdminRoute(
                "POST", f"{at}/apply", "admin", "Apply a cloud file, or show what would change.", self.apply,
                takes=str, gives=views.Applied, query=(_FILENAME, _FOLDER, _DRY),
            ),
        ]  # fmt: skip

    async def catalog(self, _request: Request) -> Response:
        """What is wanted; its revision as an entity tag."""
        answer = json(self._controller.declared)
        answer.headers["etag"] = f'"{self._controller.declared.revision}"'
        return answer

    async def check(self, request: Request) -> Response:
        """Whether a cloud file is good and fits this machine."""
        catalog = await self._parsed(request)
        keys = [model.key for model in catalog.models]
        told = cautions(catalog)
        return json(views.Checked(ok=True, revision=catalog.revision, models=keys, catalog=catalog, warnings=told))

    async def apply(self, request: Request) -> Response:
        """The difference; and, unless it is a dry run, from now on this is wanted. Again, it changes nothing."""
        from headrace.specs.diff import diff  # with its neighbour below: read only when somebody applies

        control = self._controller
        dry = yes(request, "dry_run")
        catalog = await self._parsed(request)
        before = control.declared.revision
        guard = request.headers.get("if-match", "").strip().strip('"')
        if guard not in ("", "*", before):
            raise errors.Invalid(
                f"the catalog is at revision {before}, not {guard[:40]}; look at the difference again",
                code="conflict",
                status=409,
            )
        changes = diff(control.declared, catalog)
        if not dry and catalog.revision != before:
            control.apply(catalog, [change.text for change in changes])
        shown = [views.ChangeView(**msgspec.structs.asdict(change)) for change in changes]
        told = cautions(catalog)
        return json(views.Applied(revision=catalog.revision, before=before, diff=shown, applied=not dry, warnings=told))

    async def _parsed(self, request: Request) -> Catalog:
        asked = request.query_params
        name, folder = asked.get("filename", "cloud.yaml")[:200], asked.get("folder", "")
        return await parsed(self._controller, await text(request), name, folder)


async def parsed(control: Controller, written: str, name: str, folder: str) -> Catalog:
    """The catalog a cloud file stands for, checked against this machine. Raises Invalid, telling all that is wrong."""
    from headrace.specs.load import load_text  # the YAML reader is 5 MB that an idle cloud need not hold

    seen = await control.substrate.devices()
    machine = (seen[0].memory_bytes, seen[0].cpus)
    if folder and (not folder.startswith("/") or len(folder) > _FOLDER_MAX):
        raise errors.Invalid(f"folder is {folder[:40]!r}; give an absolute path", param="folder")
    catalog = await asyncio.to_thread(load_text, written, name, machine, folder)
    problems = fit.problems(catalog, observer.pooled(catalog, seen))
    for model in catalog.models:
        problems += [f"{model.key}: {problem}" for problem in control.engines[model.engine.kind].problems(model)]
    problems += control.missing_keys(catalog)
    if problems:
        raise errors.Invalid("\n".join(problems), code="does_not_fit", status=422)
    return catalog
