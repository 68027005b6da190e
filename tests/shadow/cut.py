"""A server that dies: passes everything on until so many octets came back, then is gone for good."""

import contextlib
import socket
import threading


class Cut:
    """Listens at `port` in front of another port of this machine."""

    def __init__(self, behind: int, octets: int) -> None:
        self._behind, self._left = behind, octets
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "Cut":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._die()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._behind))
                self._open += [near, far]
                for work in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._pass_on, args=work)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(4096):
                if is_counted:
                    octets = octets[: max(0, self._left)]
                    self._left -= len(octets)
                sink.sendall(octets)
                if self._left <= 0:
                    self._die()
                    return
            sink.shutdown(socket.SHUT_WR)

    def _die(self) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
