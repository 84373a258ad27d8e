"""The kernel's word on who is at the other end."""

import os
import socket

import pytest

from headrace import peer
from headrace.peer import Peer


def test_the_peer_of_a_pair_is_this_process():
    """Process, user and group; and it is our own."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer.of(one) == Peer(os.getpid(), os.getuid(), os.getgid())
        assert peer.of(one).own


def test_a_child_of_this_process_is_told_by_its_own_number(tmp_path):
    """Of a named socket, it is who called `connect`."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "s"))
        door.listen()
        child = os.fork()
        if not child:
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(tmp_path / "s"))
                line.recv(1)
            os._exit(0)
        line, _ = door.accept()
        with line:
            assert peer.of(line).pid == child
        os.waitpid(child, 0)


@pytest.mark.parametrize("uid", [0, os.getuid() + 1, 2**31 - 1])
def test_another_user_is_not_our_own(uid):
    """Not root either: whoever serves root's sockets is root."""
    assert Peer(1, uid, 0).own == (uid == os.geteuid())


def test_a_socket_of_another_kind_has_no_peer_that_is_ours():
    """TCP knows no credentials."""
    with socket.socket() as line:
        assert not peer.of(line).own
