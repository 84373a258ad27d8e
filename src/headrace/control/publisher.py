"""Makes the table gateways route by, and serves the push channel: tables and grants out, reports and questions in.

The table is sent whole on every change and written to disk, so that a gateway can start while the controller is away.
Its revision grows for ever: it begins with the wall clock. Only processes of this user are heard and told.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from headrace import peer, telemetry
from headrace.control.counted import Counted
from headrace.ports import Clock
from headrace.state import keys
from headrace.state.demand import Demand, total
from headrace.state.table import Challenge, FromGateway, Grants, Proof, Purses, Report, Table

REPORT_STALE_US: Final = 2_000_000
PROOF_S: Final = 2.0
SETTLED_POLLS: Final = 500
SETTLED_POLL_S: Final = 0.002
_MESSAGE_BYTES_MAX: Final = 4 << 20
_DECODER: Final[msgspec.json.Decoder[FromGateway]] = msgspec.json.Decoder(FromGateway)
_UNSENT_BYTES_MAX: Final = 16 << 20  # a gateway that reads nothing is let go; it comes back for the whole table
_COUNTED_MAX: Final = 10_000  # then gateways that are gone are forgotten


class Publisher:
    """The controller's end of the link to all gateways. `heard` is called with each report.

    `asked` is called with what a gateway says about its budgets.
    """

    def __init__(
        self,
        socket: Path,
        file: Path,
        clock: Clock,
        heard: Callable[[Report], None],
        asked: Callable[[Purses], None] = lambda _: None,
        pepper: bytes = b"",
    ) -> None:
        self._socket = socket
        self._file = file
        self._clock = clock
        self._heard = heard
        self._asked = asked
        self._pepper = pepper
        self._links: dict[str, asyncio.StreamWriter] = {}  # by the gateway's epoch
        self._writers: set[asyncio.StreamWriter] = set()
        self._in_force: dict[asyncio.StreamWriter, int] = {}  # the revision each link's gateway routes by
        self._reports: dict[str, tuple[Report, int]] = {}
        self._table = Table(revision=clock.now_us(), models=(), replicas=(), keys=())
        self._server: asyncio.Server | None = None
        self._began_us = clock.monotonic_us()
        self._counted = Counted(self._began_us)
        self._line = b""

    @property
    def revision(self) -> int:
        """Of the table last published."""
        return self._table.revision

    async def start(self) -> None:
        """Serve the link."""
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._socket), limit=_MESSAGE_BYTES_MAX)
        self._socket.chmod(0o600)

    async def close(self) -> None:
        """Let the gateways go."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()

    def publish(self, table: Table) -> None:
        """Send a table out if it differs from the last one; its revision is set here."""
        same = msgspec.structs.replace(table, revision=self._table.revision)
        if same == self._table and self._line:
            return
        self._table = msgspec.structs.replace(table, revision=max(self._table.revision + 1, self._clock.now_us()))
        self._line = msgspec.json.encode(self._table) + b"\n"
        for writer in list(self._writers):
            if writer.transport.get_write_buffer_size() > _UNSENT_BYTES_MAX:
                writer.transport.abort()
            else:
                writer.write(self._line)
        self._keep()

    async def settled(self) -> bool:
        """Whether every gateway on the link says that it routes by the last table, given a moment to do so."""
        for _ in range(SETTLED_POLLS):
            if all(self._in_force.get(writer, 0) >= self._table.revision for writer in self._writers):
                return True
            await asyncio.sleep(SETTLED_POLL_S)
        return False

    def tell(self, epoch: str, grants: Grants) -> None:
        """Answer one gateway, if it is still there."""
        writer = self._links.get(epoch)
        if writer is not None and not writer.is_closing():
            writer.write(msgspec.json.encode(grants) + b"\n")

    def linked(self) -> list[str]:
        """The epochs of the gateways on the link."""
        return list(self._links)

    def hear(self, report: Report) -> None:
        """Take one gateway's report."""
        self._counted.hear(report.epoch, report.began_us, report.demand)
        self._reports[report.epoch] = (report, self._clock.monotonic_us())
        self._heard(report)

    def reports(self) -> list[Report]:
        """The last report of each gateway that is alive."""
        now_us = self._clock.monotonic_us()
        self._reports = {e: (r, at) for e, (r, at) in self._reports.items() if now_us - at < REPORT_STALE_US}
        if len(self._counted) > _COUNTED_MAX:
            self._counted.forget(set(self._reports), now_us)
        return [report for report, _ in self._reports.values()]

    def demand(self) -> Mapping[str, Demand]:
        """What all gateways together are asked for, by `name@version`; counts since this controller began."""
        parts: dict[str, list[Demand]] = {}
        for report in self.reports():
            for demand in report.demand:
                parts.setdefault(demand.key, []).append(demand)
        return {key: self._counted.over(total(found)) for key, found in parts.items()}

    def at_work(self, replica: str, since_revision: int) -> bool:
        """Whether a gateway has work on this replica, or may not know yet that it should send it none.

        A controller that has just started supposes so, until every gateway has had the time to report.
        """
        if self._clock.monotonic_us() - self._began_us < REPORT_STALE_US:
            return True
        return any(report.in_flight.get(replica) or report.revision < since_revision for report in self.reports())

    def _keep(self) -> None:
        beside = self._file.with_suffix(".new")
        try:
            file = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(self._line)
            beside.replace(self._file)
        except OSError as error:
            telemetry.logger().warning("table.not_kept", error=str(error))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not peer.of(writer.get_extra_info("socket")).own:
            telemetry.logger().warning("link.refused", reason="the process at the other end is another user's")
            writer.close()
            return
        try:
            await self._ask_who(reader, writer)
            self._writers.add(writer)
            if self._line:
                writer.write(self._line)
            while line := await reader.readline():
                match _DECODER.decode(line):
                    case Report() as report:
                        self._in_force[writer] = report.revision
                        self._links[report.epoch] = writer
                        self.hear(report)
                    case Purses() as purses:
                        self._links[purses.epoch] = writer
                        self._asked(purses)
        except (OSError, ValueError, TimeoutError, msgspec.MsgspecError) as error:
            telemetry.logger().warning("link.broken", error=str(error))
        finally:
            self._writers.discard(writer)
            self._in_force.pop(writer, None)
            self._links = {epoch: link for epoch, link in self._links.items() if link is not writer}
            writer.close()

    async def _ask_who(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Only who knows the pepper is told anything. Raises ValueError, MsgspecError or TimeoutError."""
        nonce = secrets.token_hex(32)
        writer.write(msgspec.json.encode(Challenge(nonce=nonce)) + b"\n")
        async with asyncio.timeout(PROOF_S):
            given = msgspec.json.decode(await reader.readline(), type=Proof)
        if not keys.same(given.answer, keys.proof(self._pepper, nonce)):
            raise ValueError("the process at the other end is no gateway of this cloud")
