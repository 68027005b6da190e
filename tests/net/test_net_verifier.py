"""The process that asks PAM, when the machine gives it no further process."""

import errno
import os
import socket

import pytest

from greenmail.config import from_mapping
from greenmail.net import verifier
from greenmail.net.verifier import Line, asker


@pytest.fixture
def line():
    made = Line.make()
    yield made
    made.close()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_no_process_is_no_answer_and_the_next_question_is_asked(line, monkeypatch, caplog, number):
    """A wrong word here would be taken for a wrong password; an exception would end all questions."""
    control, parent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with control, parent:
        asked = verifier._Verifier(from_mapping({"auth": [{"type": "pam", "service": "mail"}]}), line.verifier, control)
        (directory, service), _ = next(iter(asked._services.items()))
        forks = []

        def full():
            forks.append(number)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fork", full)
        send = socket.send_fds

        def then_taken(sock, data, descriptors):
            sent = send(sock, data, descriptors)
            asked._take()
            return sent

        monkeypatch.setattr(socket, "send_fds", then_taken)
        request = {"directory": directory, "service": service, "timeout": 5.0}
        for _ in range(2):
            said = asker(line.worker)(request)
            assert said == {"text": f"there is no process to ask PAM: {os.strerror(number)}"}
        assert forks == [number, number] and not asked._children
        assert caplog.text.count("pam-not-asked") == 2 and os.strerror(number) in caplog.text
