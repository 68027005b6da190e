"""What a configuration means on this machine: bound sockets, checked certificates, whom to run as. In the parent."""

import logging
import math
import socket
from dataclasses import dataclass, field
from typing import Any

from greenmail import metrics
from greenmail.auth.api import Secret
from greenmail.config import Config
from greenmail.config_tables import Listener
from greenmail.net import (
    auth_socket,
    children,
    client_certificates,
    databases,
    directory,
    exporter,
    listen,
    sni,
    systemd,
    tls,
    tokens,
    verifier,
)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Site:
    """Everything that children are given at the fork."""

    config: Config
    status_token: Secret | None  # of the status page
    identity: children.Identity
    sockets: dict[listen.Place, socket.socket]
    metrics_socket: socket.socket | None
    materials: dict[tls.Pair, tls.Material]
    contexts: dict[tls.Pair, Any]
    database_secrets: dict[str, Secret]
    pam: verifier.Line | None  # to the process that asks PAM, if there is to be one
    auth_socket: socket.socket | None = None
    _told: dict[tls.Pair, str] = field(default_factory=dict)  # why certificates were not renewed

    @staticmethod
    def make(config: Config, old: "Site | None") -> "Site":
        """Bind and check; what `old` has bound already is kept. Raises CannotStart, and then nothing has changed."""
        identity = children.identity(config)
        materials = tls.read_all(tls.Pair(*paths) for paths in config.certificate_paths())
        directory.make_uses(config)
        asked = client_certificates.asking(config)
        if config.takes_tokens:
            tokens.looker(config)  # whether it can be made
        contexts = _contexts(config, materials, asked)
        databases.check(config)
        secrets = databases.secrets(config)
        path = config.status_token_path
        token = databases.secret("status-token-path", path) if path else None
        if old is not None:
            bound = old.sockets
        else:
            bound = listen.activated(config.listeners(), systemd.inherited(), config.timeout_write)
        metrics_socket = _metrics_socket(config, old)
        auth: socket.socket | None = None
        try:
            auth = auth_socket.bind(config, old.config if old is not None else None, old.auth_socket if old else None)
            sockets = listen.bind_all(config.listeners(), config.timeout_write, bound)
        except tls.CannotStart:
            if metrics_socket is not None and (old is None or metrics_socket is not old.metrics_socket):
                metrics_socket.close()
            if auth is not None and (old is None or auth is not old.auth_socket):
                auth_socket.remove(config, auth)
            raise
        for material in materials.values():
            metrics.certificate_expiry(material.pair.cert_path, material.expires)
        pam = _pam(config, old)
        return Site(config, token, identity, sockets, metrics_socket, materials, contexts, secrets, pam, auth)

    def listeners(self) -> list[tuple[Listener, socket.socket]]:
        """Each listener with its socket; not those that this machine has no address family for."""
        found = [(listener, self.sockets.get(listen.place(listener))) for listener in self.config.listeners()]
        return [(listener, sock) for listener, sock in found if sock is not None]

    def announce(self) -> None:
        """Say in the log where clients are served; the port is the real one, also if any free one was asked for."""
        for listener, sock in self.listeners():
            address, port = sock.getsockname()[:2]
            kind = "implicit" if listener.implicit_tls else "offered" if listener.cert_path else "none"
            log.info(
                "listening listener=%s protocol=%s address=%s port=%d tls=%s",
                listener.name, listener.protocol, address, port, kind,
            )  # fmt: skip
        if self.config.certificates:
            for pair, context in self.contexts.items():
                log.info("certificate path=%s names=%r", pair.cert_path, " ".join(sorted(tls.names(context))))
        if self.metrics_socket is not None:
            log.info("listening listener=metrics address=%s port=%d", *self.metrics_socket.getsockname()[:2])
        if self.auth_socket is not None:
            log.info("listening listener=auth-socket path=%r", self.config.auth_socket)
        if self.identity.uid == 0:
            log.warning("running-as-root text=%r", "set `user` to the owner of the mail")

    def close(self, keep: "Site | None") -> None:
        """Close every socket that `keep` does not have, and forget when certificates end that it does not use."""
        if keep is not None:
            for pair in self.materials.keys() - keep.materials.keys():
                metrics.certificate_expiry(pair.cert_path, math.inf)
            for material in keep.materials.values():
                metrics.certificate_expiry(material.pair.cert_path, material.expires)
        kept = {id(sock) for sock in keep.all_sockets()} if keep is not None else set()
        for sock in self.all_sockets():
            if id(sock) not in kept and sock is not self.auth_socket:
                sock.close()
        if self.auth_socket is not None and (keep is None or keep.auth_socket is not self.auth_socket):
            auth_socket.remove(self.config, self.auth_socket)
        if self.pam is not None and (keep is None or keep.pam is not self.pam):
            self.pam.close()

    def stop_listening(self) -> None:
        """The parent's part of not accepting any more."""
        for sock in self.sockets.values():
            sock.close()
        if self.auth_socket is not None:
            auth_socket.remove(self.config, self.auth_socket)
            self.auth_socket = None

    def all_sockets(self) -> list[socket.socket]:
        """Everything that is bound."""
        single = (self.metrics_socket, self.auth_socket)
        return [*self.sockets.values(), *(sock for sock in single if sock is not None)]

    def renewed(self) -> list[tls.Material]:
        """Certificates that are new on disk; taken up here, for processes that will be forked."""
        found = []
        for material in tls.changed(self.materials.values(), self._told):
            try:
                with tls.in_memory(material) as descriptors:
                    tls.load(self.contexts[material.pair], *descriptors)
            except OSError as error:  # OpenSSL's errors, too
                tls.not_reloaded(material.pair, str(error), self._told)
                continue
            self._told.pop(material.pair, None)
            self.materials[material.pair] = material
            metrics.certificate_expiry(material.pair.cert_path, material.expires)
            found.append(material)
        return found


def _contexts(
    config: Config, materials: dict[tls.Pair, tls.Material], asked: client_certificates.Asking | None
) -> dict[tls.Pair, Any]:
    """Of each certificate; clients choose among those of `certificates` by name."""
    exports = config.tls_exporter and bool(materials) and exporter.works()
    contexts = {pair: _context(config, material, asked, exports) for pair, material in materials.items()}
    if config.certificates:
        chooser = sni.Chooser([contexts[tls.Pair(one.cert_path, one.key_path)] for one in config.certificates])
        for context in contexts.values():
            chooser.serve(context)
    return contexts


def _context(config: Config, material: tls.Material, asked: client_certificates.Asking | None, exports: bool) -> Any:
    """Of one certificate; a context of `ssl`, unless clients are asked for theirs, or `tls-exporter` is wanted."""
    made: Any = tls.context(material, config.tls_min_version, config.tls_ciphers)
    if asked is not None or config.tls_exporter:
        made = client_certificates.AskingContext(asked, config.tls_min_version, config.tls_ciphers, exports)
        with tls.in_memory(material) as descriptors:
            tls.load(made, *descriptors)
    return made


def _pam(config: Config, old: Site | None) -> verifier.Line | None:
    if not verifier.wanted(config):
        return None
    return old.pam if old is not None and old.pam is not None else verifier.Line.make()


def _metrics_socket(config: Config, old: Site | None) -> socket.socket | None:
    wanted = config.metrics_bind
    if wanted is None:
        return None
    if old is not None and old.config.metrics_bind == wanted and old.metrics_socket is not None:
        return old.metrics_socket
    return listen.bind_plain("metrics-bind", wanted.address, wanted.port)
