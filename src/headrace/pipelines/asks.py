"""What a step in YAML asks of a model: its request with the templates filled in, and what is made of the answer."""

from typing import Any, Final

from headrace.errors import Invalid
from headrace.pipelines import artifacts, author, templates
from headrace.pipelines.context import Ask
from headrace.specs.pipeline import Instead, Step

PATHS: Final = {
    "chat": "/v1/chat/completions",
    "agent": "/v1/chat/completions",
    "embed": "/v1/embeddings",
    "rerank": "/v1/rerank",
    "image": "/v1/images/generations",
    "edit": "/v1/images/edits",
    "upscale": "/v1/images/upscale",
    "transcribe": "/v1/audio/transcriptions",
    "speak": "/v1/audio/speech",
}
_FORMS: Final = frozenset({"edit", "transcribe"})


def asks_of(step: Step, values: dict[str, Any], name: str) -> list[Ask]:
    """The call, and what it may be instead. Raises Invalid."""
    body, form = body_of(step, values, name), step.kind in _FORMS
    first = Ask(path=PATHS[step.kind], body=body, form=form)
    changes = filter(None, map(change, step.or_else))
    others = (Ask(path=PATHS[step.kind], body={**body, **made}, why=f"with {made}", form=form) for made in changes)
    return [first, *others]


def change(instead: Instead) -> dict[str, Any]:
    """The fields of a request that an alternative changes."""
    found = {"model": instead.model, "max_tokens": instead.max_tokens}
    return {name: value for name, value in found.items() if value is not None}


def body_of(step: Step, values: dict[str, Any], name: str) -> dict[str, Any]:
    """The request of a step. Raises Invalid."""
    return _BODIES[step.kind](step, _Filled(step, values, name))


def read(step: Step, answer: Any, body: dict[str, Any]) -> Any:
    """A step's result, of what its model answered. Raises Invalid."""
    match step.kind:
        case "chat":
            return author.read_chat(answer, step.schema)
        case "embed":
            return author.read_vectors(answer)
        case "rerank":
            return author.read_ranks(answer, body["documents"])
        case "transcribe":
            return author.read_transcript(answer)
        case "speak":
            return answer
        case _:
            return author.read_picture(answer)


class _Filled:
    """A step's fields with their templates filled in."""

    def __init__(self, step: Step, values: dict[str, Any], name: str) -> None:
        self._step, self._values, self._name = step, values, name
        self.model = self.text("model")

    def value(self, field: str) -> Any:
        """As it is."""
        return templates.render(getattr(self._step, field), self._values, self._name)

    def text(self, field: str) -> str:
        """As text."""
        return str(self.value(field))

    def texts(self, field: str) -> list[str]:
        """A list of texts, none of them empty. Raises Invalid."""
        found = self.value(field)
        if not isinstance(found, list | tuple) or not found or not all(isinstance(one, str) and one for one in found):
            raise self._wrong("it needs a list of texts, none of them empty", 'give one, like texts: "{{ docs }}"')
        return list(found)

    def files(self, field: str, kind: str) -> list[dict[str, Any]]:
        """What a field mentions: one or more pictures or sounds. Raises Invalid."""
        found = self.value(field)
        every = found if isinstance(found, list) else [found]
        for one in every:
            if not artifacts.is_mention(one) or not one["type"].startswith((kind, "application/")):
                raise self._wrong(
                    f"`{field}` needs {kind} files of other steps or inputs", f"give them, not {one!r:.60}"
                )
        return every

    def one(self, field: str, kind: str) -> dict[str, Any]:
        """The one that a field mentions. Raises Invalid."""
        found = self.files(field, kind)
        if len(found) != 1:
            raise self._wrong(f"`{field}` has {len(found)} files, and one is needed", "use `each` for more")
        return found[0]

    def seed(self) -> dict[str, int]:
        """The seed; each of several variants has its own. Raises Invalid."""
        if self._step.seed is None:
            return {}
        try:
            return {"seed": int(self.value("seed")) + (self._values.get("variant", 0))}
        except (TypeError, ValueError):
            raise self._wrong("`seed` is no whole number", "give one") from None

    def _wrong(self, reason: str, fix: str) -> Invalid:
        return Invalid(f"step {self._name}: {reason}; {fix}", code="invalid_pipeline", status=422)


def _chat(step: Step, of: _Filled) -> dict[str, Any]:
    more: dict[str, Any] = {"max_tokens": step.max_tokens, **of.seed()}
    if step.temperature is not None:
        more["temperature"] = step.temperature
    images = of.files("images", "image/") if step.images is not None else []
    return author.chat_body(of.model, author.prompt_of(of.text("prompt"), images), of.text("system"), step.schema, more)


def _embed(_: Step, of: _Filled) -> dict[str, Any]:
    return {"model": of.model, "input": of.texts("texts"), "encoding_format": "float"}


def _rerank(step: Step, of: _Filled) -> dict[str, Any]:
    documents = of.texts("documents")
    top = min(step.top or len(documents), len(documents))
    return {"model": of.model, "query": of.text("query"), "documents": documents, "top_n": top}


def _image(step: Step, of: _Filled) -> dict[str, Any]:
    size = {"size": of.text("size")} if step.size is not None else {}
    return {"model": of.model, "prompt": of.text("prompt"), "response_format": "b64_json", **size, **of.seed()}


def _edit(step: Step, of: _Filled) -> dict[str, Any]:
    made = {**_image(step, of), "image[]": of.files("images", "image/")}
    return {name: value for name, value in made.items() if name != "response_format"}


def _upscale(step: Step, of: _Filled) -> dict[str, Any]:
    scale = {"scale": step.scale} if step.scale is not None else {}
    return {"model": of.model, "image": of.one("images", "image/"), **scale}


def _transcribe(step: Step, of: _Filled) -> dict[str, Any]:
    language = {"language": of.text("language")} if step.language is not None else {}
    return {"model": of.model, "file": of.one("audio", "audio/"), "response_format": "verbose_json", **language}


def _speak(step: Step, of: _Filled) -> dict[str, Any]:
    voice = of.text("voice") if step.voice is not None else "alloy"
    return {"model": of.model, "input": of.text("text"), "voice": voice, "response_format": "wav"}


_BODIES: Final = {
    "chat": _chat, "agent": _chat, "embed": _embed, "rerank": _rerank, "image": _image, "edit": _edit,
    "upscale": _upscale, "transcribe": _transcribe, "speak": _speak,
}  # fmt: skip
