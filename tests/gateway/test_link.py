"""Tables in, reports out; and service goes on when nobody is at the other end."""

import asyncio
from pathlib import Path

import msgspec

from headrace.gateway import link
from headrace.gateway.link import Link
from headrace.state import keys
from headrace.state.table import Challenge, Proof, Report, Table
from tests.gateway.world import run, table, until


class Control:
    """The other end: takes reports, sends what the test gives it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.reports: list[Report] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.close()
        self.writers.clear()
        self.socket.unlink(missing_ok=True)

    def send(self, data: bytes) -> None:
        self.writers[-1].write(data + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(msgspec.json.encode(Challenge(nonce="n")) + b"\n")
        assert msgspec.json.decode(await reader.readline(), type=Proof).answer == keys.proof(b"", "n")
        self.writers.append(writer)
        while line := await reader.readline():
            self.reports.append(msgspec.json.decode(line, type=Report))
        writer.close()


def linked(folder: Path, check, monkeypatch) -> None:
    monkeypatch.setattr(link, "RECONNECT_S", 0.01)

    async def work() -> None:
        taken: list[Table] = []
        reports = 0

        def report() -> Report:
            nonlocal reports
            reports += 1
            return Report(worker=0, epoch="e", pid=1, demand=(), connections=reports)

        control = Control(folder / "link.sock")
        end = Link(control.socket, folder / "table.json", taken.append, report)
        task = asyncio.ensure_future(end.run())
        try:
            await check(end, control, taken)
        finally:
            task.cancel()
            if control._server is not None:
                await control.stop()
            await asyncio.gather(task, return_exceptions=True)

    run(work)


def test_tables_arrive_and_reports_leave(tmp_path: Path, monkeypatch):
    """Each table in order; a report at once on connecting, and at once when asked for."""
    monkeypatch.setattr(link, "REPORT_S", 60.0)

    async def check(end: Link, control: Control, taken: list[Table]) -> None:
        await control.start()
        await until(lambda: len(control.reports) == 1)
        for revision in (1, 2, 3):
            control.send(msgspec.json.encode(table(revision, [])))
        await until(lambda: len(taken) == 3)
        assert [t.revision for t in taken] == [1, 2, 3]
        end.report_now()
        await until(lambda: len(control.reports) == 2)

    linked(tmp_path, check, monkeypatch)


def test_reports_come_by_themselves(tmp_path: Path, monkeypatch):
    """Every so often, asked or not."""
    monkeypatch.setattr(link, "REPORT_S", 0.01)

    async def check(_: Link, control: Control, __: list[Table]) -> None:
        await control.start()
        await until(lambda: len(control.reports) >= 5)

    linked(tmp_path, check, monkeypatch)


def test_a_controller_that_comes_back_is_found(tmp_path: Path, monkeypatch):
    """Away, back, away, back: each time linked again."""

    async def check(_: Link, control: Control, taken: list[Table]) -> None:
        for revision in (1, 2, 3):
            await control.start()
            await until(lambda: control.writers)
            control.send(msgspec.json.encode(table(revision, [])))
            await until(lambda r=revision: len(taken) == r)
            await control.stop()

    linked(tmp_path, check, monkeypatch)


def test_what_is_not_a_table_breaks_the_link_and_nothing_else(tmp_path: Path, monkeypatch):
    """Connected again, and the next table is taken."""

    async def check(_: Link, control: Control, taken: list[Table]) -> None:
        await control.start()
        await until(lambda: control.writers)
        control.send(b"{}")
        await until(lambda: len(control.writers) == 2)
        control.send(msgspec.json.encode(table(1, [])))
        await until(lambda: taken)

    linked(tmp_path, check, monkeypatch)


def test_a_worker_begins_with_the_table_on_disk(tmp_path: Path):
    """Static stability; a broken or absent file is no table."""
    file, taken = tmp_path / "table.json", []
    end = Link(tmp_path / "none", file, taken.append, lambda: Report(worker=0, epoch="e", pid=1, demand=()))
    end.start_from_disk()
    file.write_text("{")
    end.start_from_disk()
    assert taken == []
    file.write_bytes(msgspec.json.encode(table(7, [])))
    end.start_from_disk()
    assert [t.revision for t in taken] == [7]
