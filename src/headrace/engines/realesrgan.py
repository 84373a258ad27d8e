"""Pictures made larger by Real-ESRGAN on ncnn, on a CPU, served by our own small runner.

Made by assembly. Weights are ncnn's pairs of NAME.param (a text) and NAME.bin (plain numbers): neither can carry code.
Nothing of ncnn is imported here: this module is loaded by the idle controller.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, preparing, sources
from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability, Media
from headrace.units import MIB

_PACKAGES: Final = ("ncnn", "PIL", "httptools", "numpy")
_SCALE: Final = re.compile(r"(.*[-_]x)([2-9])([^/]*)\.param")
_MAGIC: Final = "7767517"
_LIGHT_BYTES: Final = 4 * MIB
_LIBRARY_BYTES: Final = 100 * MIB
_UNPACKED: Final = 10  # times its file: 16-bit numbers become 32-bit ones in Winograd's form
_WORK_BYTES: Final = 380 * MIB  # a picture of the largest size, enlarged by four, on its way out
_TILE_BYTES: Final = 96 * MIB  # what one more thread has at work


class RealEsrgan:
    """One process a replica. `source` is a .param file; others of its family (-x2, -x3, -x4) are served beside it.

    A light network (its weights under 4 MiB) takes pictures of a million pixels, a heavy one of 262,144: it needs
    forty times as long for each.
    """

    kind = "realesrgan"

    def ability(self, model: ModelSpec) -> Ability:
        """The scales there are weights for."""
        scales = tuple(_family(model.source)) or (4,)
        media = Media(pixels_max=_pixels_max(model.source), scales=scales, formats=("png", "jpeg", "webp"))
        return Ability(
            dialect="headrace", stream=False, json_schema=False, logprobs=False, n=False, completions=False, media=media
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = preparing.lacking("realesrgan", _PACKAGES)
        if model.task != "upscale":
            found.append(f"the engine realesrgan serves task upscale, not {model.task}")
        if model.engine.quantise:
            found.append(f"quantise {model.engine.quantise!r} is not done for realesrgan; remove it")
        if reason := sources.missing(model.source):
            found.append(reason)
        elif not _family(model.source):
            found.append(f"{model.source} names no network that enlarges; give a NAME-x2.param with its NAME-x2.bin")
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Look at the files of the family, put them in place, ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        engine = model.engine
        side = 128 if _light(model.source) else 96
        pixels = _pixels_max(model.source)
        argv = command_line.of("realesrgan", model, address, weights=artifact.path, side=side, pixels=pixels)
        env = {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(engine.threads)}
        return Command(argv=argv, env=env, address=address)

    def _build(self, model: ModelSpec, artifacts: Path) -> Artifact:
        with artifacts_on_disk.building(model, artifacts) as folder:
            files, used, heaviest = {}, {}, 0
            for scale, param in _family(model.source).items():
                _check(param)
                for file in (param, param.with_suffix(".bin")):
                    name = f"x{scale}{file.suffix}"
                    artifacts_on_disk.place(file, folder / name)
                    files[name] = name
                    used[file.name] = artifacts_on_disk.sha256(file)
                heaviest += param.with_suffix(".bin").stat().st_size
            tiles_bytes = (model.engine.threads - 1) * _TILE_BYTES
            memory_bytes = heaviest * _UNPACKED + _LIBRARY_BYTES + _WORK_BYTES + tiles_bytes
            return artifacts_on_disk.publish(model, artifacts, folder, files, used, memory_bytes)


def _family(source: str) -> dict[int, Path]:
    """The .param file of each scale: first the one named, then those beside it that differ in the scale alone."""
    file = sources.local(source)
    named = _SCALE.fullmatch(file.name) if file is not None else None
    if file is None or named is None:
        return {}
    before, scale, after = named.groups()
    others = {number: file.with_name(f"{before}{number}{after}.param") for number in range(2, 10)}
    wanted = {int(scale): file} | {number: param for number, param in others.items() if param.is_file()}
    return wanted if all(param.with_suffix(".bin").is_file() for param in wanted.values()) else {}


def _check(param: Path) -> None:
    """Raise Permanent unless the two files are ncnn's and the network goes from `data` to `output`."""
    sources.refuse_code(param)
    sources.refuse_code(param.with_suffix(".bin"))
    lines = param.read_text("utf8", "replace").split("\n")
    words = [line.split() for line in lines[2:] if line.strip()]
    if lines[0].strip() != _MAGIC or len(words) < 2:
        raise Permanent(f"{param.name} is not a network of ncnn; give a NAME.param with its NAME.bin")
    if words[0][0] != "Input" or words[0][4:5] != ["data"] or "output" not in words[-1]:
        raise Permanent(f"{param.name} does not go from `data` to `output`, as Real-ESRGAN's networks do")


def _light(source: str) -> bool:
    family = _family(source)
    return bool(family) and all(param.with_suffix(".bin").stat().st_size < _LIGHT_BYTES for param in family.values())


def _pixels_max(source: str) -> int:
    return 1 << 20 if _light(source) else 1 << 18
