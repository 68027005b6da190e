"""Make a demo account: a development certificate, a user, fifty messages and a configuration. Usage: demo.py DIRECTORY

Run again, it keeps what is there (delete the directory to begin anew) and prints how to connect.
"""

import datetime
import ipaddress
import json
import os
import sys
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER = PASSWORD = "demo"
PORTS = {"imap": 1143, "imaps": 1993, "pop3": 1110, "pop3s": 1995, "metrics": 9143}
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
PEOPLE = [
    ("Ada Lovelace", "ada@example.org"),
    ("Jürgen Müller", "juergen@example.de"),
    ("日本語 太郎", "taro@example.jp"),
    ("Grace Hopper", "grace@example.com"),
    ("Zoë O'Brien, PhD", "zoe@example.ie"),
]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)


def certificate(directory: Path) -> None:
    """A key and a self-signed certificate for localhost, good for ten years: for development only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(directory / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def message(number: int, subject: str) -> EmailMessage:
    """One plain message; every person writes in turn."""
    mail = EmailMessage()
    person, address = PEOPLE[number % len(PEOPLE)]
    mail["From"] = f'"{person}" <{address}>'
    mail["To"] = "Demo <demo@example.org>"
    mail["Subject"] = subject
    mail["Date"] = format_datetime(NOW - datetime.timedelta(hours=7 * number, minutes=number))
    mail["Message-ID"] = f"<demo-{number}@example.org>"
    if number % 4 == 3:
        mail["In-Reply-To"] = f"<demo-{number - 1}@example.org>"
        mail["References"] = f"<demo-{number - 2}@example.org> <demo-{number - 1}@example.org>"
    mail.set_content(
        f"Hello,\n\nthis is message {number}: {subject}.\n\n.\n..a line that begins with dots\n-- \n{person}\n"
    )
    return mail


def varied(number: int) -> EmailMessage:
    """Message `number`, of one of ten kinds."""
    subjects = [
        "Plain text",
        "With an HTML alternative",
        "A picture attached",
        "Forwarded message",
        "Grüße aus Köln – 日本から",
        "A long letter",
        "Invoice 2026-11 (PDF)",
        "Re: meeting on Thursday",
        "Empty",
        "Inline picture",
    ]
    kind = number % len(subjects)
    mail = message(number, subjects[kind])
    if kind in (1, 9):
        mail.add_alternative("<p>Hello <b>Demo</b>, <i>Grüße</i> &amp; 😀</p>", subtype="html")
    if kind in (2, 9):
        mail.add_attachment(PIXEL, maintype="image", subtype="png", filename="pixel.png")
    if kind == 3:
        mail.add_attachment(message(number + 100, "The original"), filename="original.eml")
    if kind == 4:
        mail.set_content("Füße, naïve, 日本語, emoji 😀\n", cte="8bit")
    if kind == 5:
        mail.set_content("".join(f"Paragraph {line}: all work and no play.\n" for line in range(2000)))
    if kind == 6:
        mail.add_attachment(
            b"%PDF-1.4\n" + bytes(range(256)) * 40, maintype="application", subtype="pdf", filename="Übersicht.pdf"
        )
    if kind == 8:
        mail.set_content("")
    return mail


FOLDERS = [  # Maildir++ directory, messages, flags in turn ("" in cur/ is unread; None stays in new/)
    ("", 20, ["S", None, "RS", "FS", ""]),
    (".Sent", 8, ["S"]),
    (".Drafts", 2, ["DS"]),
    (".Trash", 4, ["S", "ST"]),
    (".Junk", 3, [""]),
    (".Archive", 6, ["S", "FS"]),
    (".Archive.2025", 4, ["S"]),
    (".Entw&APw-rfe &- mehr", 3, ["S", ""]),
]


def mail(root: Path) -> int:
    """Write the Maildirs as a delivery agent would; the number of messages."""
    number = 0
    for folder, count, flags in FOLDERS:
        directory = root / folder
        for name in ("cur", "new", "tmp"):
            for made in (directory, directory / name):
                made.mkdir(mode=0o700, exist_ok=True)
        if folder:
            (directory / "maildirfolder").touch()
        for place in range(count):
            data = varied(number).as_bytes().replace(b"\r\n", b"\n")
            seconds = int(NOW.timestamp()) - number * 25260
            name = f"{seconds}.M{number:06}P1.demo,S={len(data)},W={len(data) + data.count(10)}"
            letters = flags[place % len(flags)]
            path = directory / "new" / name if letters is None else directory / "cur" / f"{name}:2,{letters}"
            path.write_bytes(data)
            os.utime(path, (seconds, seconds))
            number += 1
    (root / "subscriptions").write_bytes(
        b"V\t2\n\n" + b"".join(n + b"\n" for n in (b"INBOX", b"Sent", b"Drafts", b"Trash", b"Junk"))
    )
    return number


def configuration(directory: Path) -> str:
    """The configuration of the demo: eight lines would do, these choose unprivileged ports on loopback."""

    def quoted(name: str) -> str:
        # JSON strings are YAML strings: a path may hold any character.
        return json.dumps(str(directory / name), ensure_ascii=False)

    return f"""\
# Made by `make run`. Every setting is explained in conf/imap.yaml.
bind-addr: 127.0.0.1
cert-path: {quoted("cert.pem")}
key-path: {quoted("key.pem")}
passwd-file: {quoted("passwd")}
mail-path: {quoted("mail/%u/Maildir")}
run-path: {quoted("run")}
special-use: {{Sent: \\Sent, Drafts: \\Drafts, Trash: \\Trash, Junk: \\Junk, Archive: \\Archive}}
metrics-bind: 127.0.0.1:{PORTS["metrics"]}
allow-plain-text: true  # for the lines without TLS below; never on a real server
processes: 2
server:
  listener:
    imap: {{bind: ["127.0.0.1:{PORTS["imap"]}"], protocol: imap}}
    imaps: {{bind: ["127.0.0.1:{PORTS["imaps"]}"], protocol: imap, tls: {{implicit: true}}}}
    pop3: {{bind: ["127.0.0.1:{PORTS["pop3"]}"], protocol: pop3}}
    pop3s: {{bind: ["127.0.0.1:{PORTS["pop3s"]}"], protocol: pop3, tls: {{implicit: true}}}}
"""


GREETING = f"""
GreenMail serves {{count}} messages of user "{USER}" with password "{PASSWORD}":

    IMAP  127.0.0.1:{PORTS["imap"]} (STARTTLS)   IMAPS 127.0.0.1:{PORTS["imaps"]}
    POP3  127.0.0.1:{PORTS["pop3"]} (STLS)       POP3S 127.0.0.1:{PORTS["pop3s"]}
    metrics http://127.0.0.1:{PORTS["metrics"]}/metrics

Try, in another terminal:

    curl -k --user {USER}:{PASSWORD} imaps://127.0.0.1:{PORTS["imaps"]}/
    curl --user {USER}:{PASSWORD} 'imap://127.0.0.1:{PORTS["imap"]}/INBOX;MAILINDEX=1'
    curl --user {USER}:{PASSWORD} pop3://127.0.0.1:{PORTS["pop3"]}/
    openssl s_client -crlf -quiet -connect 127.0.0.1:{PORTS["imaps"]}
    mutt -f imap://{USER}:{PASSWORD}@127.0.0.1:{PORTS["imap"]}/

The Maildir is {{maildir}}; Ctrl-C ends the server.
"""


def main(where: str) -> int:
    directory = Path(where).absolute()
    maildir = directory / "mail" / USER / "Maildir"
    directory.mkdir(exist_ok=True)
    (directory / "run").mkdir(exist_ok=True)
    if not (directory / "cert.pem").exists():
        certificate(directory)
    if not (directory / "passwd").exists():
        (directory / "passwd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n", encoding="utf-8")
    if not maildir.exists():
        maildir.parent.mkdir(parents=True, exist_ok=True)
        mail(maildir)
    (directory / "imap.yaml").write_text(configuration(directory), encoding="utf-8")
    count = sum(len(list(maildir.glob(pattern))) for pattern in ("cur/*", "new/*", ".*/cur/*", ".*/new/*"))
    print(GREETING.format(count=count, maildir=maildir), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
