"""What `engine.args` may say to the engine diffusers: read by its adapter, and again by its runner."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace.errors import Permanent

_SIZE: Final = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
_MULTIPLE: Final = 8  # pixels of a side for each latent, in every autoencoder that there is a pipeline for


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`sizes` are WIDTHxHEIGHT with commas between them, the first the default. `guidance` None is the pipeline's own.

    `dtype` auto is float16 on a GPU and float32 on a CPU. `edits`: pictures may be begun with. `variant` is the middle
    of the names of the weights, like fp16. A film has at most `frames`, `fps` a second unless the request says else.
    """

    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    steps: Annotated[int, Meta(ge=1, le=1000)] = 30
    guidance: Annotated[float, Meta(ge=0, le=100)] | None = None
    sizes: str = "512x512"
    edits: bool = False
    variant: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{0,32}$")] = ""
    frames: Annotated[int, Meta(ge=1, le=1024)] = 32
    fps: Annotated[int, Meta(ge=1, le=60)] = 8

    @property
    def each_size(self) -> tuple[str, ...]:
        """The sizes one by one."""
        return tuple(size.strip() for size in self.sizes.split(","))


def faults(args: Mapping[str, Any]) -> list[str]:
    """Each argument that is not known or not good, by name, with what would be."""
    known = Options.__struct_fields__
    found = [
        f"engine.args.{name} is not known to the engine diffusers; it takes {', '.join(known)}"
        for name in args
        if name not in known
    ]
    for name, value in args.items():
        if name in known:
            try:
                msgspec.convert({name: value}, Options)
            except msgspec.ValidationError as error:
                found.append(f"engine.args.{name} is {value!r}: {str(error).partition(' - at')[0]}")
    if not found and (given := msgspec.convert(args, Options)).frames < given.fps:
        found.append(
            f"engine.args.frames is {given.frames}, less than a second at fps {given.fps}; give more, or less fps"
        )
    sizes = args.get("sizes")
    if isinstance(sizes, str):
        found.extend(
            f"engine.args.sizes has {size!r}; write WIDTHxHEIGHT, each a multiple of {_MULTIPLE}, with commas between"
            for size in Options(sizes=sizes).each_size
            if not _good(size)
        )
    return found


def read(args: Mapping[str, Any]) -> Options:
    """The options. Raises Permanent with everything that is wrong."""
    if found := faults(args):
        raise Permanent("; ".join(found))
    return msgspec.convert(args, Options)


def _good(size: str) -> bool:
    sides = _SIZE.fullmatch(size)
    return sides is not None and all(int(side) % _MULTIPLE == 0 for side in sides.groups())
