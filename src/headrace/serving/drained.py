"""Who answers before all was read reads the rest first: else the sender's pipe breaks, and the answer goes with it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Drained:
    """An ASGI app whose answers end no sooner than the request's body; what is left of that is thrown away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        read = scope["type"] != "http"

        async def reading() -> Message:
            nonlocal read
            message = await receive()
            read = read or message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            while last and not read:
                await reading()
            await send(message)

        await self._app(scope, reading, sending)
