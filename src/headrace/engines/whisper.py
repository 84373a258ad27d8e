"""Speech to text: Whisper on CTranslate2 through faster-whisper, on a CPU or a GPU.

Made by assembly. Nothing of the engine is imported here: this module is loaded by the idle controller.
"""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, ctranslate2_header, preparing, sources
from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability, Media
from headrace.units import MIB

# In which it computes; none is the quickest of this machine.
FORMS: Final = (
    "int8",
    "int8_float32",
    "float32",
    "int8_float16",
    "float16",
    "bfloat16",
)
SECONDS_MAX: Final = 3_600  # of one recording
_ON_CPU: Final = ("", "int8", "int8_float32", "float32")  # forms with which an encoder for OpenVINO is written
_FILES: Final = ("model.bin", "config.json", "tokenizer.json")
_OPTIONAL: Final = ("preprocessor_config.json",)
_WORDS: Final = ("vocabulary.txt", "vocabulary.json")  # the one or the other
_PACKAGES: Final = ("faster_whisper", "ctranslate2", "av", "tokenizers", "httptools", "numpy")
_ENGLISH_TOKENS: Final = 51_864  # models with more know languages; source: CTranslate2's Whisper::is_multilingual
_LIBRARY_BYTES: Final = 160 * MIB
_SLOT_BYTES: Final = 24 * MIB  # samples, features and one window's activations


class Whisper:
    """One process a replica. Each of `slots` recordings is heard window by window; windows share a batch."""

    kind = "whisper"

    def ability(self, model: ModelSpec) -> Ability:
        """Segments and words with their times. Models of English alone neither translate nor know other languages."""
        english = _english_only(sources.local(model.source))
        media = Media(audio_s_max=SECONDS_MAX, words=True, translates=not english, languages=("en",) if english else ())
        return Ability(
            dialect="headrace", stream=True, json_schema=False, logprobs=False, n=False, completions=False, media=media
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = preparing.lacking("whisper", _PACKAGES)
        if model.task != "transcribe":
            found.append(f"the engine whisper serves task transcribe, not {model.task}")
        if model.engine.quantise and model.engine.quantise not in FORMS:
            found.append(f"quantise {model.engine.quantise!r} is not known; give one of {', '.join(FORMS)} or none")
        if reason := sources.missing(model.source):
            found.append(reason)
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Check that the folder is CTranslate2's, whole; ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts, say))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        engine = model.engine
        folder = Path(artifact.path)
        encoder = {"encoder": folder / artifact.files["encoder"]} if "encoder" in artifact.files else {}
        argv = command_line.of(
            "whisper", model, address, weights=folder / artifact.files["weights"], compute=engine.quantise or "auto",
            seconds=SECONDS_MAX, **encoder,
        )  # fmt: skip
        # Waiting threads must sleep: there are others on this machine.
        env = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(engine.threads), "TOKENIZERS_PARALLELISM": "false"}
        return Command(argv=argv, env=env, address=address)

    def _build(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        source = sources.fetch(model.source, ctranslate2=True)
        missing = [name for name in _FILES if not (source / name).is_file()]
        words = [name for name in _WORDS if (source / name).is_file()]
        if missing or not words:
            raise Permanent(
                f"{source} has no {(missing or [' or '.join(_WORDS)])[0]}; `source` must be a folder of Whisper for "
                "CTranslate2, as ct2-transformers-converter with --copy_files tokenizer.json writes it"
            )
        header = ctranslate2_header.read(source / "model.bin")
        if header.spec != "WhisperSpec":
            raise Permanent(f"{source} holds a {header.spec.removesuffix('Spec')} model; engine whisper runs Whisper")
        say(f"{model.key}: {len(header.variables)} tensors, {header.bytes >> 20} MiB")
        with artifacts_on_disk.building(model, artifacts) as folder:
            (folder / "ct2").mkdir()
            kept = [*_FILES, words[0], *(name for name in _OPTIONAL if (source / name).is_file())]
            for name in kept:
                artifacts_on_disk.place(source / name, folder / "ct2" / name)
            files = {"weights": "ct2"} | _encoder(model, source, folder, say)
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                files,
                {name: artifacts_on_disk.sha256(source / name) for name in kept},
                header.bytes + _LIBRARY_BYTES + _SLOT_BYTES * model.engine.slots,
            )


def _encoder(model: ModelSpec, source: Path, folder: Path, say: Callable[[str], None]) -> dict[str, str]:
    """The role and the name of an encoder for OpenVINO; none where it would not be used or cannot be made."""
    if model.engine.quantise not in _ON_CPU or importlib.util.find_spec("openvino") is None:
        return {}
    from headrace.engines import whisper_graph

    say(f"{model.key}: writing the encoder for OpenVINO")
    try:
        (folder / "openvino").mkdir()  # a folder of its own: a replica may read what its command line names
        whisper_graph.write(source / "model.bin", folder / "openvino" / "encoder.xml")
    except Permanent as error:
        say(f"{model.key}: {error.message}; CTranslate2's own encoder is used")
        return {}
    return {"encoder": "openvino"}


@functools.lru_cache(maxsize=64)
def _english_only(source: Path | None) -> bool:
    """Whether the weights know no other language; False while they are not on this machine or not readable."""
    if source is None:
        return False
    try:
        shape = ctranslate2_header.read(source / "model.bin").variables["decoder/embeddings/weight"].shape
    except (OSError, Permanent, KeyError):
        return False
    return shape[0] <= _ENGLISH_TOKENS
