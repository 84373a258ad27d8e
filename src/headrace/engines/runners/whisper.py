"""A replica for speech to text: Whisper behind OpenAI's verbose answer, batched over requests.

Started by `engines.whisper.command`. A recording is decoded here, bounded, in the sandbox of this process.
"""

import argparse
import asyncio
import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final

import msgspec
from faster_whisper.transcribe import Segment

from headrace.engines.runners import recording, words
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.engines.runners.transcriber import Encode, Heard, Transcriber, Waiter, Wish, load
from headrace.errors import Invalid

_PROMPT_MAX_CHARS: Final = 4_096  # of which Whisper uses the last 224 tokens
_LONG_S: Final = 600  # longer recordings are held in memory one at a time: 2 MB a minute


class TranscriptionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/audio/transcriptions. `file` is base64; `seconds_max` is what the gateway has reckoned with."""

    file: bytes
    model: str = ""
    filename: str = ""
    language: str | None = None
    prompt: Annotated[str, msgspec.Meta(max_length=_PROMPT_MAX_CHARS)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    words: bool = False
    translate: bool = False
    seconds_max: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stream: bool = False


class Work:
    """One recording at work: how far it is, seconds, and whether it is the long one.

    `told` are the segments so far, for who hears them as they come, and None at the end.
    """

    def __init__(self, name: str, wait: Waiter, long: asyncio.Semaphore) -> None:
        self.name, self.wait = name, wait
        self.told = asyncio.Queue[Segment | None]()
        self.done_s = self.length_s = 0.0
        self._long, self._held = long, False
        self._loop = asyncio.get_running_loop()

    def going(self, seconds: float) -> None:
        """Called in the decoding thread: ends it when its client has gone, holds it while another long one is here."""
        self.wait.check()
        if seconds > _LONG_S and not self._held:
            self.wait(self._hold())

    def reached(self, segment: Segment) -> None:
        """Called in its thread."""
        self.done_s = segment.end
        self._loop.call_soon_threadsafe(self.told.put_nowait, segment)

    def end(self) -> None:
        """Make room for the next long one."""
        if self._held:
            self._held = False
            self._long.release()

    async def _hold(self) -> None:
        await self._long.acquire()
        self._held = True


class Runner:
    """The routes of one replica. `slots` recordings are worked on at once; the others wait."""

    def __init__(self, transcriber: Transcriber, slots: int, seconds_max: int) -> None:
        self.transcriber, self.seconds_max, self.slots = transcriber, seconds_max, slots
        self.waiting = 0
        self.works: list[Work] = []
        self._free, self._long = asyncio.Semaphore(slots), asyncio.Semaphore(1)
        self._threads = ThreadPoolExecutor(slots, "recording")

    async def transcriptions(self, exchange: Exchange) -> None:
        """POST /v1/audio/transcriptions: text, segments, and words if wanted, with their times in seconds.

        Streamed, each segment's text as soon as it is known.
        """
        request = decode(exchange.body)
        exchange.body = b""
        wish = self._wish(request)
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        work = Work(exchange.name, Waiter(asyncio.get_running_loop()), self._long)
        try:
            if request.stream:
                await self._told(exchange, request, wish, work)
            else:
                exchange.json(msgspec.json.encode(answer(await self._heard(request, wish, work), wish)))
        finally:
            self._free.release()

    def load(self) -> dict[str, int]:
        """What GET /load answers."""
        return {"running": len(self.works), "waiting": self.waiting, "slots": self.slots}

    def progress(self) -> list[dict[str, Any]]:
        """Seconds heard of the seconds there are, as steps."""
        return [{"id": work.name, "step": int(work.done_s), "steps": int(work.length_s)} for work in self.works]

    def _wish(self, request: TranscriptionRequest) -> Wish:
        """How it shall be heard. Raises Invalid for what the weights cannot."""
        known = self.transcriber.languages
        if request.translate and self.transcriber.english_only:
            raise Invalid("this model knows English alone and does not translate; ask one that does", param="model")
        if request.language is not None and request.language not in known:
            raise Invalid(
                f"language {request.language!r} is not known to this model; give {', '.join(known)}", param="language"
            )
        return Wish(request.language, request.prompt, request.temperature, request.words, request.translate)

    async def _told(self, exchange: Exchange, request: TranscriptionRequest, wish: Wish, work: Work) -> None:
        """OpenAI's events, and with each how many milliseconds of the recording have been heard."""
        hearing = asyncio.ensure_future(self._heard(request, wish, work))
        hearing.add_done_callback(lambda _: work.told.put_nowait(None))
        try:
            while (segment := await work.told.get()) is not None:
                if not exchange.answered:
                    exchange.open()
                done_ms = round(1_000 * min(max(float(segment.end), 0.0), work.length_s))
                delta = {"type": "transcript.text.delta", "delta": segment.text, "milliseconds": done_ms}
                await exchange.send(_event(delta))
            heard = answer(await hearing, wish)
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])
        if not exchange.answered:
            exchange.open()
        facts = {name: heard[name] for name in ("text", "duration", "language")}
        await exchange.send(_event({"type": "transcript.text.done", **facts}))
        exchange.close()

    async def _heard(self, request: TranscriptionRequest, wish: Wish, work: Work) -> Heard:
        loop = asyncio.get_running_loop()
        limit_s = min(self.seconds_max, request.seconds_max or self.seconds_max)

        def hear() -> Heard:
            samples = recording.decode(request.file, limit_s, work.going)
            work.length_s = len(samples) / recording.RATE
            return self.transcriber.hear(samples, wish, work.wait, work.reached)

        future = loop.run_in_executor(self._threads, hear)
        self.works.append(work)
        try:
            return await asyncio.shield(future)
        finally:
            work.wait.leave()
            await asyncio.wait([future])  # the slot is free when its thread is
            if not future.cancelled():
                future.exception()  # else an error that nobody waits for is told of at the end
            work.end()
            self.works.remove(work)


def answer(heard: Heard, wish: Wish) -> dict[str, Any]:
    """OpenAI's verbose_json. Moments are kept within the recording: Whisper tells some that are after its end."""

    def within(seconds: float) -> float:
        return round(min(max(float(seconds), 0.0), heard.duration_s), 3)

    told: dict[str, Any] = {
        "task": "translate" if wish.translate else "transcribe",
        "language": heard.language,
        "duration": round(heard.duration_s, 3),
        "text": "".join(segment.text for segment in heard.segments).strip(),
        "segments": [
            {
                "id": number,
                "seek": segment.seek,
                "start": within(segment.start),
                "end": within(segment.end),
                "text": segment.text,
                "tokens": list(segment.tokens),
                "temperature": float(segment.temperature),
                "avg_logprob": float(segment.avg_logprob),
                "compression_ratio": float(segment.compression_ratio),
                "no_speech_prob": float(segment.no_speech_prob),
            }
            for number, segment in enumerate(heard.segments)
        ],
    }
    if wish.words:
        told["words"] = [
            {"word": word.word.strip(), "start": within(word.start), "end": within(word.end)}
            for segment in heard.segments
            for word in segment.words or []
        ]
    return told


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def decode(body: bytes) -> TranscriptionRequest:
    """The request. Raises Invalid that names the field."""
    try:
        return msgspec.json.decode(body, type=TranscriptionRequest)
    except msgspec.MsgspecError as error:
        raise Invalid(str(error)) from error


def encoder(given: argparse.Namespace) -> Encode | None:
    """OpenVINO's encoder, where one was written and OpenVINO is here."""
    if not given.encoder or importlib.util.find_spec("openvino") is None:
        return None
    from headrace.engines.runners.whisper_encoder import Encoder

    return Encoder(f"{given.encoder}/encoder.xml", given.threads, exact=given.compute == "float32")


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", "compute", numbers=("seconds",), optional=("encoder",))
    whisper = load(given.weights, given.compute, given.threads)
    transcriber = Transcriber(whisper, encoder(given) if whisper.model.device == "cpu" else None)
    asyncio.run(_serve(transcriber, given, began))


async def _serve(transcriber: Transcriber, given: argparse.Namespace, began: float) -> None:
    runner = Runner(transcriber, given.slots, given.seconds)
    routes = {("POST", "/v1/audio/transcriptions"): runner.transcriptions}
    await serve(Server(routes, runner.load, runner.progress), given.listen, began)


if __name__ == "__main__":
    main()
