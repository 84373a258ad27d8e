"""Routes about pools: their devices, and notices that one will be taken away."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control import notices
from headrace.control.admin import views
from headrace.control.admin.routes import AdminRoute, decoded, json
from headrace.control.controller import Controller
from headrace.state.fleet import Device
from headrace.units import US_PER_S


class Notice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device will be taken away in so many seconds, or is `back`. `device` may be left out where there is one."""

    device: Annotated[str, msgspec.Meta(max_length=200)] = ""
    in_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    back: bool = False


class Pools:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1/pools"
        return [
            AdminRoute("GET", at, "admin", "Every device of every pool.", self.pools, gives=views.Pools),
            AdminRoute(
                "POST", f"{at}/{{pool}}/notice", "admin", "A device will be taken away, or is back.", self.notice,
                takes=Notice, gives=views.DeviceView,
            ),
        ]  # fmt: skip

    async def pools(self, _request: Request) -> Response:
        """Every device, what is free of it, and when it goes."""
        return json(views.Pools(devices=[self._shown(device) for device in self._controller.loop.fleet.devices]))

    async def notice(self, request: Request) -> Response:
        """Take a notice; in force when this answers."""
        said, loop = await decoded(request, Notice), self._controller.loop
        if said.back == (said.in_s is not None):
            raise errors.Invalid("say in_s, the seconds until it goes, or back: true; one of them", param="in_s")
        device = notices.chosen(loop.fleet.devices, request.path_params["pool"], said.device)
        if said.in_s is None:
            self._controller.notices.take_back(device)
        else:
            self._controller.notices.give(device, round(said.in_s * US_PER_S))
        loop.observe()
        loop.wake()
        now = notices.chosen(loop.fleet.devices, device.pool, device.device)
        return json(self._shown(now))

    def _shown(self, device: Device) -> views.DeviceView:
        fleet = self._controller.loop.fleet
        left_us = max(0, device.doomed_us - self._controller.clock.monotonic_us()) if device.doomed_us else None
        return views.DeviceView(
            pool=device.pool,
            node=device.node,
            device=device.device,
            memory_bytes=device.memory_bytes,
            held_bytes=sum(
                replica.held_bytes
                for replica in fleet.replicas
                if (replica.pool, replica.node, replica.device) == (device.pool, device.node, device.device)
                and replica.phase != "failed"
            ),
            goes_in_us=left_us,
        )
