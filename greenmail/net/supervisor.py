"""The parent: binds, checks certificates, forks, and afterwards waits in one plain loop.

It never starts an event loop of gevent and no thread: what ran here would run on in every child. It keeps the
privileges it was started with, so it does little: it restarts children, answers signals, keeps the register and hands
out renewed certificates.

    SIGTERM, SIGINT   drain and end; a second one ends at once
    SIGHUP            check the configuration, start new workers, drain the old ones; on any error all stays as it is
"""

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import greenmail
from greenmail import built, metrics
from greenmail import config as configuration
from greenmail import log as logs
from greenmail.config import Config
from greenmail.config_tables import ConfigError
from greenmail.errors import Refused
from greenmail.imap import registry
from greenmail.net import directory, register, requests, systemd
from greenmail.net.children import owners_identity
from greenmail.net.control import Control, Reply
from greenmail.net.family import Child, Family, Kind
from greenmail.net.figures import resident
from greenmail.net.requests import Office
from greenmail.net.site import Site
from greenmail.net.tls import CannotStart
from greenmail.pop3 import commands as pop3
from greenmail.preload import preload

log = logging.getLogger(__name__)

STATUS_EVERY = 5.0  # seconds between figures for the status page
CERTIFICATES_EVERY = 60.0  # seconds between looks at certificate files
READY_WITHIN = 60.0  # seconds that new workers of a reload have to become ready
FALSE_STARTS = 5  # children that end before the first is ready: then the server cannot run at all
TEND_LATE = 0.05  # seconds after a login or logout that other work of the parent may wait for more of them
KILL_AFTER = 3.0  # seconds behind `stop-grace`, after which children are killed: more than a worker gives itself


def serve(config: Config) -> int:
    """Run the server until it is stopped; the exit status."""
    try:
        with directory.figures(config) as figures:
            metrics.start(figures)
            return _Supervisor(config).run()
    except CannotStart as error:
        log.error("cannot-start %s", error.text)
        return error.status


class _Supervisor:
    def __init__(self, config: Config) -> None:
        self._site = Site.make(config, None)
        self._old_site: Site | None = None  # during a reload, to go back to
        self._family = Family(config.max_connections_per_user, config.ban_rule())
        self._selector = selectors.DefaultSelector()
        self._signals: set[int] = set()
        self._stopping = False
        self._reload_until: float | None = None
        self._look_at_certificates = time.monotonic() + CERTIFICATES_EVERY
        self._watchdog = systemd.Watchdog()
        self._tell_status = 0.0  # when the status page is told again
        self._told_ready = False
        self._false_starts = 0
        self._recent = logs.keep_recent()
        self._reload_wanted: list[Reply] = []  # who waits for the next reload ...
        self._reload_replies: list[Reply] = []  # ... and for the one that is under way
        self._control: Control | None = None
        self._office = Office(
            self._family,
            lambda: self._site,
            Path(config.run_directory),
            time.time(),
            self._reload_for,
            self._stop,
            lambda: self._stopping,
        )

    def run(self) -> int:
        config = self._site.config
        which = "compiled" if built.is_compiled() else "python"
        version = greenmail.__version__
        log.info("start version=%s modules=%s pid=%d processes=%d", version, which, os.getpid(), config.processes)
        self._site.announce()
        self._family.born = self._born
        self._family.carry = self._carry
        preload(config.time_zone)
        metrics.expect("imap", registry.COMMANDS, ("ok", "no", "bad"))
        metrics.expect("pop3", pop3.COMMANDS, ("ok", "err"))
        with self._signal_pipe(), self._control_socket():
            while True:
                self._answer_signals()
                status = self._reap()
                if status is not None:
                    return status
                if self._stopping and not self._family.children:
                    break
                self._tend()
                self._wait()
        self._site.close(None)
        log.info("stop")
        return 0

    # --- signals ---

    @contextmanager
    def _signal_pipe(self) -> Iterator[None]:
        """Signals as input of the selector; the handlers only take note."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, self._note) for number in handled}
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, None)
        self._family.foreign = [reader, writer, self._selector]
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            reader.close()
            writer.close()

    @contextmanager
    def _control_socket(self) -> Iterator[None]:
        """The socket for the verbs of `greenmail`; mail is served without it, too."""
        try:
            self._control = Control(self._office.run, self._selector, partial(requests.handle, self._office))
        except BlockingIOError:
            log.warning("control-off reason=%r", "another server with this run-path is running")
        except OSError as error:
            log.error("control-off reason=%r", str(error))
        if self._control is not None:
            self._family.foreign.append(self._control)
        try:
            yield
        finally:
            if self._control is not None:
                self._control.end()

    def _note(self, number: int, frame: object) -> None:
        self._signals.add(number)

    def _answer_signals(self) -> None:
        signals, self._signals = self._signals, set()
        if signals & {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        elif signal.SIGHUP in signals and not self._stopping:
            if self._reload_until is None:
                self._reload()
            else:
                self._signals.add(signal.SIGHUP)  # again when the present one is done

    def _stop(self) -> None:
        grace = self._site.config.stop_grace
        if self._stopping:
            log.warning("stop-at-once")
            self._family.kill_all()
            return
        log.info("stopping grace=%g", grace)
        systemd.notify("STOPPING=1")
        self._stopping = True
        for site in (self._site, self._old_site):
            if site is not None:
                site.stop_listening()
        self._family.end(self._family.children.values(), grace + KILL_AFTER)

    # --- children ---

    def _reap(self) -> int | None:
        """Take note of children that ended; an exit status if there is no point in going on."""
        for child, status in self._family.reap():
            self._forget(child)
            child.control.close()
            if child.leaving:
                continue
            log.error("process-ended kind=%s pid=%d status=%s", child.kind.value, child.pid, _status(status))
            metrics.process_restart(child.kind.value)
            if not self._told_ready and not child.ready:
                self._false_starts += 1
                if self._false_starts >= FALSE_STARTS:
                    log.error("cannot-start processes end at once; the reason is above")
                    self._family.kill_all()
                    return 1
            is_new = child.generation == self._family.generation and child.kind is not Kind.OWNER
            if self._reload_until is not None and is_new:
                self._take_back("a new process ended at once")
        return None

    def _tend(self) -> None:
        """Start what is missing, finish a reload, see to late children and certificates."""
        now = time.monotonic()
        metrics.resident_memory(resident())
        self._family.asking.tend(now)
        self._family.troubled(self._recent.take(), os.getpid())
        if self._control is not None:
            self._control.tend(now)
        logs.look()  # workers may not be allowed to make a file where the log was rotated away
        self._family.kill_late(now)
        self._family.fold()
        if not self._stopping:
            for kind in self._family.missing(self._site, now):
                self._fork(kind)
            self._finish_reload(now)
        if now >= self._tell_status and self._site.metrics_socket is not None:
            self._tell_status = now + STATUS_EVERY
            self._tell_page()
        if now >= self._look_at_certificates:
            self._look_at_certificates = now + CERTIFICATES_EVERY
            self._renew_certificates()
        self._family.tell_health(self._site)
        if not self._told_ready and self._family.complete(self._site):
            self._told_ready = True
            log.info("ready processes=%d", self._site.config.processes)
            systemd.notify("READY=1")
        if self._told_ready:
            self._watchdog.tend(now, self._stopping or self._family.is_well(now))

    def _fork(self, kind: Kind) -> Child | None:
        return self._registered(self._family.fork(kind, self._site, self._old_site))

    def _registered(self, child: Child | None) -> Child | None:
        if child is not None:
            self._selector.register(child.control, selectors.EVENT_READ, child)
        return child

    def _carry(self, worker: Child, message: dict[str, Any], descriptor: int) -> str:
        """Pass a session on to the process of its mail's owner (`auth.passage`); why that cannot be, or nothing.

        One of the worker's own generation: both are told to go at the same time.
        """
        if (worker.leaving and not worker.retires) or self._stopping:
            return "the worker is about to end; the client may connect again"
        site, other = self._site, self._old_site
        if other is not None and worker.generation != self._family.generation:
            site, other = other, site
        config = site.config
        user = message["session"]["user"]
        identity, problem = owners_identity(config, user["uid"], user["gid"])
        if identity is None:
            return problem
        child = self._family.owner(identity, worker.generation)
        if child is None:
            if self._family.owners() >= config.owner_processes:
                return f"all {config.owner_processes} processes are in use: raise owner-processes, or lower owner-idle"
            forked = self._family.fork(Kind.OWNER, site, other, identity, worker.generation)
            child = self._registered(forked)
            if child is None:
                return "no process could be forked"
        data = register.encode({"op": "host", "session": message["session"], "ends": message["ends"]})
        try:
            socket.send_fds(child.control, [data], [descriptor])
        except OSError as error:
            return f"the owner's process does not take it: {error.strerror}"
        child.carried += 1
        if worker.kill_at is not None and not child.leaving:
            self._family.retire([child], worker.kill_at - time.monotonic())
        return ""

    def _tell_page(self) -> None:
        """Tell the status page; what workers say of themselves is no reason for the parent to end."""
        try:
            self._family.tell_status(requests.status(self._office))
        except Exception:
            log.exception("bug in what the status page is told")

    def _born(self, child: Child) -> None:
        """A child is ready: what others of its kind know it is told."""
        if child.kind is Kind.WORKER:
            requests.hand_traces(self._office, child)
        elif child.kind is Kind.ADMIN:
            self._tell_status = 0.0

    def _forget(self, child: Child) -> None:
        if child.control.fileno() in self._selector.get_map():
            self._selector.unregister(child.control)

    def _wait(self) -> None:
        """Sleep until a signal, a message or something to do.

        Logins and logouts are answered, and leave nothing to tend: there may be thousands a second.
        """
        if self._signals - {signal.SIGHUP}:
            return
        now = time.monotonic()
        end = max(now, min(now + self._family.pause(now, self._site, self._stopping), self._watchdog.next))
        is_busy = False
        while not self._hear(max(0.0, end - now)):
            now = time.monotonic()
            if not is_busy:
                is_busy, end = True, min(end, now + TEND_LATE)
            if now >= end:
                return

    def _hear(self, timeout: float) -> bool:
        """Take what comes in this time; whether the loop may have something to do for that, or for the time."""
        events = self._selector.select(timeout)
        is_more = not events
        for key, mask in events:
            if key.data is None:
                _empty(key.fileobj)
                is_more = True
            elif not isinstance(key.data, Child):
                key.data(mask)  # the control socket, or somebody who came there
                is_more = True
            elif not self._family.read(key.data):
                self._forget(key.data)  # it ends, or its end of the socketpair is broken: SIGCHLD will tell
                is_more = True
        return is_more or self._family.take_stir()

    # --- reload ---

    def _reload_for(self, reply: Reply) -> None:
        """Somebody at the control socket wants to know how it went."""
        if self._stopping:
            raise Refused("the server is stopping")
        self._reload_wanted.append(reply)
        self._signals.add(signal.SIGHUP)

    def _reload_ended(self, problem: str = "") -> None:
        """The reload that was under way is over."""
        replies, self._reload_replies = self._reload_replies, []
        for reply in replies:
            if problem:
                reply.fail("refused", problem)
            else:
                reply.give({"pid": os.getpid()})

    def _reload(self) -> None:
        """SIGHUP, first half: everything is checked before anything is changed."""
        log.info("reload")
        self._reload_replies, self._reload_wanted = self._reload_wanted, []
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        old = self._site
        try:
            config = configuration.load(old.config.source) if old.config.source else old.config
            logs.setup(config.log_level, config.log_format, config.log_path, config.owner())
            site = Site.make(config, old)
        except (ConfigError, CannotStart, OSError) as error:
            _log_as(old.config)
            for line in str(error).splitlines():
                log.error("reload-refused %s", line)
            self._reload_ended(str(error))
            systemd.notify("READY=1")
            return
        preload(config.time_zone)
        self._old_site, self._site = old, site
        self._family.next_generation(config.max_connections_per_user, config.ban_rule())
        self._reload_until = time.monotonic() + READY_WITHIN
        site.announce()

    def _finish_reload(self, now: float) -> None:
        """Second half: the new workers are ready, so the old ones may go."""
        if self._reload_until is None:
            return
        if self._family.complete(self._site):
            self._reload_until = None
            old, self._old_site = self._old_site, None
            if old is not None:
                old.close(self._site)
                self._family.retire(self._family.outdated(), old.config.stop_grace + KILL_AFTER)
            log.info("reloaded")
            self._reload_ended()
            systemd.notify("READY=1")
        elif now >= self._reload_until:
            self._take_back("new processes were not ready in time")

    def _take_back(self, why: str) -> None:
        """The new configuration does not work: the old workers have never stopped."""
        log.error("reload-refused %s", why)
        self._reload_ended(why)
        assert self._old_site is not None
        _log_as(self._old_site.config)
        self._reload_until = None
        self._site.close(self._old_site)
        self._site, self._old_site = self._old_site, None
        self._family.end(self._family.back(), 1.0)
        systemd.notify("READY=1")

    def _renew_certificates(self) -> None:
        self._family.hand_out_late()
        for material in self._site.renewed():
            log.info("certificate-renewed path=%s", material.pair.cert_path)
            self._family.hand_out(material)


def _empty(reader: Any) -> None:
    try:
        while reader.recv(4096):
            pass
    except BlockingIOError:
        return


def _log_as(config: Config) -> None:
    """Go back to how the log was; where it cannot be opened any more, it stays where it is now."""
    try:
        logs.setup(config.log_level, config.log_format, config.log_path, config.owner())
    except OSError as error:
        log.error("log-not-opened path=%s reason=%r", config.log_path, error.strerror)


def _status(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit:{code}" if code >= 0 else f"signal:{-code}"
