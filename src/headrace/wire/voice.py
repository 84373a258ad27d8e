"""How an API words its errors: the body of an answer, and the event that ends a stream.

This one is OpenAI's, and the same for all requests. An API with words of its own has a subclass, made for one request,
whose id it may tell.
"""

from typing import Final

from headrace.wire import fault


class Voice:
    """OpenAI's. `headers` are whole lines that each of its answers carries."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers = b""

    def body(self, code: str, message: str = "", param: str | None = None) -> bytes:
        """The body of an answer that is an error of the catalogue."""
        return fault.body(code, message, param)

    def event(self, code: str, message: str = "") -> bytes:
        """The last event of a stream that has begun, and of which its meter has told nothing."""
        return fault.event(code, message)


OPENAI: Final = Voice()
