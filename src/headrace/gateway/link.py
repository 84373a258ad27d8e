"""The gateway's end of the push channel: tables and grants in, reports and questions about budgets out.

The controller may be away for as long as it likes: the last table stays in force, and a worker that starts meanwhile
begins with the one on disk.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from headrace import telemetry
from headrace.gateway.directory import read_table
from headrace.state import keys
from headrace.state.table import Challenge, FromControl, Grants, Proof, Purses, Report, Table

REPORT_S: Final = 0.25
RECONNECT_S: Final = 0.1
_MESSAGE_BYTES_MAX: Final = 16 << 20
_DECODER: Final[msgspec.json.Decoder[FromControl]] = msgspec.json.Decoder(FromControl)


class Link:
    """One worker's link to control. `took` is called with each table, `report` makes what is sent.

    `granted` is called with each grant; `hello` makes what a controller is told first.
    """

    def __init__(
        self,
        socket: Path,
        file: Path,
        took: Callable[[Table], None],
        report: Callable[[], Report],
        *,
        pepper: bytes = b"",
        granted: Callable[[Grants], None] = lambda _: None,
        hello: Callable[[], Purses] | None = None,
    ) -> None:
        self._socket = socket
        self._file = file
        self._took = took
        self._report = report
        self._pepper = pepper
        self._granted = granted
        self._hello = hello
        self._now = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    def start_from_disk(self) -> None:
        """Begin with the last table the controller wrote, if there is one."""
        try:
            self._took(read_table(self._file.read_bytes()))
        except (OSError, msgspec.MsgspecError):
            return

    def report_now(self) -> None:
        """Somebody waits for a model: do not let the next report take its time."""
        self._now.set()

    def send(self, message: Purses) -> bool:
        """Send a message now; False when there is no controller."""
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(msgspec.json.encode(message) + b"\n")
        return True

    async def run(self) -> None:
        """Keep the link up, for ever."""
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=_MESSAGE_BYTES_MAX)
            except OSError:
                await asyncio.sleep(RECONNECT_S)
                continue
            reporting = None
            try:
                self._prove(_DECODER.decode(await reader.readline()))
                reporting = asyncio.ensure_future(self._reports(self._writer))
                reporting.add_done_callback(self._reports_ended)
                while line := await reader.readline():
                    self._hear(_DECODER.decode(line))
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                telemetry.logger().warning("link.broken", error=str(error))
            finally:
                if reporting is not None:
                    reporting.cancel()
                self._writer.close()
                self._writer = None
            await asyncio.sleep(RECONNECT_S)

    def _prove(self, message: FromControl) -> None:
        """Show that this is a gateway, then say what budgets it holds: until then a new controller grants nothing."""
        if not isinstance(message, Challenge) or self._writer is None:
            raise ValueError("control did not ask who this is")
        self._writer.write(msgspec.json.encode(Proof(answer=keys.proof(self._pepper, message.nonce))) + b"\n")
        if self._hello is not None:
            self.send(self._hello())

    def _hear(self, message: FromControl) -> None:
        match message:
            case Table():
                self._took(message)
                self._now.set()  # control learns at once that this table is in force here
            case Grants():
                self._granted(message)

    async def _reports(self, writer: asyncio.StreamWriter) -> None:
        while True:
            self._now.clear()
            writer.write(msgspec.json.encode(self._report()) + b"\n")
            await writer.drain()
            try:
                await asyncio.wait_for(self._now.wait(), REPORT_S)
            except TimeoutError:
                continue

    def _reports_ended(self, reporting: "asyncio.Task[None]") -> None:
        if reporting.cancelled() or reporting.exception() is None:
            return
        telemetry.logger().warning("link.reports_ended", error=repr(reporting.exception()))
        if self._writer is not None:
            self._writer.close()  # the reader sees the end, and the link begins anew
