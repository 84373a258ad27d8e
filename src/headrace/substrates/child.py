"""One child process of the host: its start, its output, its end seen at once. Used for workers and parts alike.

Plain `subprocess` and a pidfd instead of asyncio's subprocesses: those start a thread for each child on Python 3.11
(and a fork beside threads is unsafe), and reap the child before its group could be ended without a race.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 1 << 16
_LAST_READS_MAX: Final = 64  # a survivor in another group may go on printing for ever


class Child:
    """A running process, leader of its own session and group. `ended` is its exit status, negative for a signal."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        before_exec: Callable[[], None],
        printed: Callable[[bytes], object],
        folder: Path | None = None,
    ) -> None:
        """Start it. `printed` gets standard output and error as they come. Raises OSError when it cannot be started."""
        self._loop = asyncio.get_running_loop()
        self._printed = printed
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._output, writer = os.pipe2(os.O_CLOEXEC)
        try:
            # Forked in the loop's thread, which is the main one: the death signal is bound to the thread that forks.
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=dict(env),
                cwd=folder,
                preexec_fn=before_exec,  # noqa: PLW1509 - the host has one thread
                start_new_session=True,
            )
        except subprocess.SubprocessError as error:
            os.close(self._output)
            raise OSError(f"the sandbox could not be set up: {error}") from error
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(writer)
        self.pid = self._process.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # a kernel before 5.3
            self._process.kill()
            self._process.wait()
            os.close(self._output)
            raise
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)
        self._loop.add_reader(self._pidfd, self._reap)

    def terminate(self) -> None:
        """SIGTERM to the leader alone: it drains, and ends its helpers when it is done."""
        if not self.ended.done():
            self._process.send_signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """A signal to the leader alone."""
        if not self.ended.done():
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if not self.ended.done():
            self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self) -> bool:
        """Take what was printed; whether there may be more."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._printed(data)
        else:
            self._loop.remove_reader(self._output)
        return bool(data)

    def _reap(self) -> None:
        # Not reaped yet, so the number is still this process's: whatever it left in its group ends here, and no other.
        self._kill_group()
        code = self._process.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        for _ in range(_LAST_READS_MAX):
            if not self._read():
                break
        self._loop.remove_reader(self._output)
        os.close(self._output)
        self.ended.set_result(code)


def ended_how(code: int) -> str:
    """How a process ended, in words.

    >>> ended_how(-9), ended_how(1)
    ('was ended by SIGKILL', 'exited with status 1')
    """
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with status {code}"
