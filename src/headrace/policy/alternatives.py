"""What a model would cost if its devices were rented otherwise, its weights were smaller, or its devices were. Pure.

Told in proportion to what it costs now: the price of a device, and the work of the same requests. Where a figure is not
known the case says what is missing and names no number.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from headrace.policy.capacity import Point, point
from headrace.policy.performance import Roofline
from headrace.specs import accelerators, rentals
from headrace.specs.accelerators import Accelerator
from headrace.specs.catalog import ModelSpec, PoolSpec
from headrace.specs.shapes import Shape

PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Alternative:
    """One case. `price_ppm` is a device hour's price and `work_ppm` the time of the same requests, of what they are.

    Both are 0 where the case cannot be told; `text` then says why, else on what it rests.
    """

    name: str
    text: str
    price_ppm: int = 0
    work_ppm: int = 0

    @property
    def known(self) -> bool:
        """Whether there is a figure."""
        return self.price_ppm > 0


def alternatives(
    model: ModelSpec, pool: PoolSpec, input_tokens: int, output_tokens: int
) -> tuple[Alternative, Alternative, Alternative]:
    """Spot, eight bits and a cheaper device, for requests of that mean size."""
    device = accelerators.named(pool.accelerator)
    if device is None:
        why = f"pool {pool.name} is {pool.accelerator}, which is not in the table of accelerators"
        return Alternative("spot", why), Alternative("8 bits", why), Alternative("cheaper device", why)
    size = (max(1, input_tokens), max(1, output_tokens))
    return _spot(pool, device), _eight_bits(model, device, size), _cheaper(model, device, size)


def _spot(pool: PoolSpec, device: Accelerator) -> Alternative:
    share = rentals.spot_ppm(device.name)
    if pool.price_basis != "on_demand":
        return Alternative("spot", f"pool {pool.name} is not rented on demand ({pool.price_basis})")
    if share is None:
        return Alternative("spot", f"no spot offer of {device.name} was seen")
    text = f"{device.name} on spot is {share / 10_000:.0f} % of on demand at the same provider; it may be taken away"
    return Alternative("spot", text, share, PPM)


def _eight_bits(model: ModelSpec, device: Accelerator, size: tuple[int, int]) -> Alternative:
    name = "8 bits"
    if model.shape is None:
        return Alternative(name, f"{model.name} has no shape to foretell its steps; give it one")
    if model.shape.weight_bits <= 8:
        return Alternative(name, f"{model.name} has {model.shape.weight_bits} bits already")
    if not device.flops_8:
        return Alternative(name, f"{device.name} does not calculate in 8 bits")
    now = _point(model, model.shape, device, size)
    then = _point(model, msgspec.structs.replace(model.shape, weight_bits=8), device, size)
    if now is None or then is None:
        return Alternative(name, f"{model.name} does not keep its objective on {device.name}")
    work = round(PPM * now.requests_per_hour / then.requests_per_hour)
    return Alternative(name, f"a full {device.name} serves {PPM / work:.2f} times as much", PPM, work)


def _cheaper(model: ModelSpec, device: Accelerator, size: tuple[int, int]) -> Alternative:
    name = "cheaper device"
    here = rentals.typical_nanousd(device.name, "on_demand")
    if model.shape is None:
        return Alternative(name, f"{model.name} has no shape to foretell its steps; give it one")
    now = _point(model, model.shape, device, size)
    if here is None or now is None:
        return Alternative(
            name, f"no offer of {device.name} was seen, or {model.name} does not keep its objective there"
        )
    best: tuple[int, Alternative] | None = None  # of those that cost less an hour, the cheapest for this work
    for other in accelerators.TABLE.values():
        price = rentals.typical_nanousd(other.name, "on_demand")
        if price is None or price >= here or (then := _point(model, model.shape, other, size)) is None:
            continue
        work = round(PPM * now.requests_per_hour / then.requests_per_hour)
        text = f"{other.name} rents for {price * 100 // here} % and serves {100 * PPM // work} % of {device.name}"
        found = Alternative(name, text, price * PPM // here, work)
        if best is None or price * work < best[0]:
            best = price * work, found
    if best is None:
        return Alternative(name, f"on no cheaper device does {model.name} fit and keep its objective")
    return best[1]


def _point(model: ModelSpec, shape: Shape, device: Accelerator, size: tuple[int, int]) -> Point | None:
    return point(Roofline(shape, device), *size, model.objective.tpot_us, model.engine.slots)
