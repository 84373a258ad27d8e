"""Routes about versions on their way: begin a rollout, take it further, take it back, and what is known of it."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin import views
from headrace.control.admin.changes import parsed
from headrace.control.admin.routes import AdminRoute, decoded, json
from headrace.control.controller import Controller
from headrace.control.tables import allowed
from headrace.policy import in_force
from headrace.policy import rollout as policy
from headrace.policy.rollouts import How
from headrace.ports import KeyRecord
from headrace.specs.catalog import ModelSpec
from headrace.state.rollout import Rollout

_AT: Final = "/headrace/v1/rollouts"
_NEAR: Final = 20


class Deploy(msgspec.Struct, forbid_unknown_fields=True):
    """A version to roll out, `NAME@VERSION`: of the cloud file in force, or of the file whose text is `cloud`.

    `first` is the percent it begins with; `automatic` false waits for an operator at each step. With `shadow`, that
    percent of the model's requests is copied to it, and it answers nobody; with `agree`, it may be promoted only when
    its answers are shown to agree by that percent.
    """

    model: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=200)]
    first: Annotated[int, Meta(ge=1, le=100)] = 5
    automatic: bool = True
    shadow: Annotated[int, Meta(ge=0, le=100)] = 0
    agree: Annotated[int, Meta(ge=0, le=100)] = 0
    cloud: Annotated[str, Meta(max_length=1 << 20)] = ""
    filename: Annotated[str, Meta(max_length=200)] = "cloud.yaml"
    folder: str = ""


class Versions:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        return [
            AdminRoute("GET", _AT, "user", "Versions, weights and rollouts.", self.every, gives=views.Versions),
            AdminRoute(
                "POST", _AT, "admin", "Roll a version out, or shadow with it.", self.deploy,
                takes=Deploy, gives=views.RolloutView,
            ),
            AdminRoute(
                "POST", f"{_AT}/{{model}}/promote", "admin", "All traffic to the candidate.", self.promote,
                gives=views.RolloutView,
            ),
            AdminRoute(
                "POST", f"{_AT}/{{model}}/rollback", "admin", "All traffic back.", self.rollback,
                gives=views.RolloutView,
            ),
        ]  # fmt: skip

    async def every(self, request: Request) -> Response:
        """Of every model the key may use: the versions with their weights now, and the last rollout."""
        control, key = self._controller, request.state.key
        await control.bookkeeper.try_to_catch_up()
        control.loop.wake()
        names = [name for name in control.catalog.names() if _may(key, name, control)]
        return json(views.Versions(models=[self._model(name) for name in names]))

    async def deploy(self, request: Request) -> Response:
        """Begin. Raises Invalid: no such version, a rollout under way, or nothing to compare it with."""
        control = self._controller
        wanted = await decoded(request, Deploy)
        source = control.declared
        if wanted.cloud:
            source = await parsed(control, wanted.cloud, wanted.filename, wanted.folder)
        candidate = source.model(wanted.model)
        if candidate is None:
            there = ", ".join(model.key for model in source.models[:_NEAR])
            where = "that cloud file" if wanted.cloud else "the cloud file in force; give one that has it with --file"
            raise errors.Invalid(
                f"there is no {wanted.model[:80]} in {where}; there are: {there}", code="not_found", status=404
            )
        self._must_fit(candidate)
        if wanted.agree and not wanted.shadow:
            raise errors.Invalid(
                "'agree' is for a shadow; give 'shadow', the percent of requests to copy", param="agree"
            )
        how = How(
            first=wanted.first,
            automatic=wanted.automatic,
            shadow=wanted.shadow,
            agree=wanted.agree,
            replicas=sum(r.model == candidate.name and r.phase == "ready" for r in control.loop.fleet.replicas),
        )
        made = control.rollouts.deploy(control.declared, candidate, how)
        control.loop.anew(candidate)
        return self._done(made)

    def _must_fit(self, candidate: ModelSpec) -> None:
        """A version of another file must live in this cloud, and do what its siblings do."""
        control = self._controller
        known = [pool.name for pool in control.declared.pools]
        lost = [pool for pool in candidate.pools if pool not in known]
        if candidate.owned and lost:
            raise errors.Invalid(
                f"{candidate.key} names the pool {lost[0]!r}, which this cloud has not; there are: {', '.join(known)}",
                code="does_not_fit",
                status=422,
            )
        for sibling in in_force.of(control.declared, candidate.name):
            if sibling.task != candidate.task:
                raise errors.Invalid(
                    f"{candidate.key} does {candidate.task}, {sibling.key} does {sibling.task}; give it another name",
                    code="does_not_fit",
                    status=422,
                )

    async def promote(self, request: Request) -> Response:
        """All traffic to the candidate, now."""
        return self._done(self._controller.rollouts.promote(request.path_params["model"]))

    async def rollback(self, request: Request) -> Response:
        """All traffic to the versions before, now."""
        return self._done(self._controller.rollouts.rollback(request.path_params["model"]))

    def _done(self, rollout: Rollout) -> Response:
        self._controller.rollouts_changed()
        self._controller.loop.wake()
        return json(_view(rollout))

    def _model(self, name: str) -> views.VersionedModel:
        control = self._controller
        rollout = control.rollouts.all.get(name)
        shown = [
            views.VersionView(
                version=model.version,
                weight=model.weight,
                ready=sum(replica.phase == "ready" for replica in control.loop.fleet.of(model.key)),
                declared=control.declared.model(model.key) is not None,
            )
            for model in in_force.of(control.catalog, name)
        ]
        return views.VersionedModel(model=name, versions=shown, rollout=None if rollout is None else _view(rollout))


def _may(key: KeyRecord, name: str, control: Controller) -> bool:
    usable = allowed(key, control.catalog)
    return key.role == "admin" or "*" in usable or name in usable


def _view(rollout: Rollout) -> views.RolloutView:
    return views.RolloutView(
        model=rollout.model,
        stable=rollout.stable,
        candidate=rollout.candidate,
        phase=rollout.phase,
        share=rollout.share,
        shadow=rollout.shadow,
        automatic=rollout.automatic,
        verdict=policy.verdict(rollout),
        reason=rollout.reason,
        began_us=rollout.began_us,
        changed_us=rollout.changed_us,
        evidence=policy.doubt(rollout),
        old=rollout.old,
        new=rollout.new,
        agreement=rollout.agreement,
        agree=rollout.agree,
    )
