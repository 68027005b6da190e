"""The process that forks servers for `support.forked`; its standard input is a socket, over which they are asked for.

It imports the server, and does nothing with it. A child has what a new process has after its imports: no threads, no
sockets, a session and standard streams of its own. What is about the process itself (its memory, how it begins and
ends) is tried with a new one: `support.server.start(fresh=True)`.
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable


def ready() -> Callable[[list[str]], int]:
    """The server's main function; all that it would import is imported."""
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()  # as it is for `python -m greenmail`
    import http.server  # noqa: F401 -- the next ones come from the path that was just set
    import wsgiref.simple_server  # noqa: F401 -- the same

    import greenmail.net.supervisor  # noqa: F401 -- the same
    from greenmail import cli, preload

    preload.preload("")
    gc.collect()
    gc.freeze()
    return cli.main


def reap(pipes: dict[int, int]) -> None:
    """Tell the exit statuses of the children that have ended."""
    while pipes:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        pipe = pipes.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, b"%d" % os.waitstatus_to_exitcode(status))
        os.close(pipe)


def serve(requests: socket.socket) -> list[str] | None:
    """Fork until nobody asks any more; None then, and in a child its command line."""
    pipes: dict[int, int] = {}
    died, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wakeup)
    selector = selectors.PollSelector()  # no descriptor of its own, which a child would have
    selector.register(requests, selectors.EVENT_READ)
    selector.register(died, selectors.EVENT_READ)
    while True:
        waiting = [key.fileobj for key, _ in selector.select()]
        if died in waiting:
            os.read(died, 100)
            reap(pipes)
        if requests not in waiting:
            continue
        request, (*descriptors,), _, _ = socket.recv_fds(requests, 65536, 2)
        if not request:
            return None
        output, pipe = descriptors
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            requests.close()
            for number in (died, wakeup, pipe, *pipes.values()):
                os.close(number)
            os.open(os.devnull, os.O_RDONLY)  # 0, which was the socket
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            wanted = json.loads(request)
            os.chdir(wanted["directory"])
            return list(wanted["arguments"])
        pipes[pid] = pipe
        os.close(output)
        requests.sendall(b"%d" % pid)


if __name__ == "__main__":
    main = ready()
    arguments = serve(socket.socket(fileno=0))
    if arguments is not None:
        sys.argv = ["greenmail", *arguments]
        sys.exit(main(arguments))
