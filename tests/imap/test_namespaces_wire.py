"""Several namespaces, as a client sees them: RFC 9051 6.3.9, 6.3.10, RFC 2342, RFC 4314."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.engine import Backend, Engine
from harness.green import Scheduler
from harness.wire import MemoryWire
from support.namespaces import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    found = Spool(tmp_path)
    found.box(found.home("alice") / ".Work")
    bob = found.home("bob")
    found.deliver(found.box(bob / ".Work", "user=alice lrwstipekxa\n"), 1)
    found.deliver(found.box(found.public / ".News", "anyone lrs\n", shared=True), 1, "S")
    found.deliver(found.public / ".News", 2)
    found.box(found.public / ".Quiet")
    return found


@pytest.fixture
def engine(spool: Spool) -> Engine:
    scheduler = Scheduler()
    worker = spool.worker(scheduler.runtime())
    return Engine(scheduler, Backend(lambda: worker.account(), spool.worker(scheduler.runtime()).account()))


Say = Callable[[str], list[str]]


def speaker(engine: Engine, wire: MemoryWire) -> Say:
    """`say(command)`: what the server answers, lines; the tagged one without its tag."""

    def say(command: str) -> list[str]:
        answer = engine.talk(wire, b"t " + command.encode() + b"\r\n").decode()
        return [line.removeprefix("t ") for line in answer.split("\r\n")[:-1]]

    return say


@pytest.fixture
def say(engine: Engine) -> Say:
    return speaker(engine, engine.login())


def test_namespace(say: Say) -> None:
    """RFC 9051 6.3.10: the user's own, other users', shared; the hidden one is not told."""
    assert say("NAMESPACE") == [
        '* NAMESPACE (("" "/")("Archive/" "/")) (("shared/" "/")) (("Public/" "/"))',
        "OK NAMESPACE completed",
    ]


def test_namespace_with_translations(say: Say) -> None:
    """RFC 5255 3.4, with LANGUAGE and afterwards; in modified UTF-7 as other names, and in UTF-8 as they are later."""
    translated = (
        '* NAMESPACE (("" "/")("Archive/" "/" "TRANSLATION" ("Archiv/"))) (("shared/" "/" "TRANSLATION" ("Geteilt/")))'
        ' (("Public/" "/" "TRANSLATION" ("%s/")))'
    )
    assert say("LANGUAGE DE-IT") == [
        "* LANGUAGE (de)",
        translated % "&ANY-ffentlich",
        "OK Sprachwechsel durch LANGUAGE-Befehl ausgeführt",
    ]
    assert say("NAMESPACE")[0] == translated % "&ANY-ffentlich"
    say("ENABLE IMAP4rev2")
    assert say("NAMESPACE")[0] == translated % "Öffentlich"
    assert say("LANGUAGE en")[1] == '* NAMESPACE (("" "/")("Archive/" "/")) (("shared/" "/")) (("Public/" "/"))'


@pytest.mark.parametrize(
    "command, expected",
    [
        ('LIST "" %', ['INBOX', 'Archive', 'Public', 'Work', 'shared']),
        ('LIST "" *', [
            'INBOX', 'Archive', 'Public', 'Public/News', 'Work', 'shared', 'shared/bob', 'shared/bob/Work',
        ]),
        ('LIST "" shared/%/%', ['shared/bob/Work']),
        ('LIST "Public/" %', ['Public/News']),
        ('LIST "" INBOX*', ['INBOX']),
        ('LIST "" INBOX.*', ['INBOX.Work']),
        ('LIST "inbox." %', ['INBOX.Work']),
        ('LIST "" (INBOX.% Work inbox.W* "")', ['INBOX.Work', 'Work']),
        ('LIST (SUBSCRIBED) "" *', []),
    ],
)  # fmt: skip
def test_list(say: Say, command: str, expected: list[str]) -> None:
    lines = say(command)
    assert lines.pop() == "OK LIST completed"
    assert [line.split(" ")[-1] for line in lines] == expected


def test_list_tells_the_separator_of_each_namespace(say: Say) -> None:
    assert say('LIST "" (INBOX.Work Work)')[:2] == ['* LIST () "." INBOX.Work', '* LIST () "/" Work']
    assert say('LIST "INBOX.x" ""')[0] == '* LIST (\\Noselect) "." "INBOX."'
    assert say('LIST "Public/x" ""')[0] == '* LIST (\\Noselect) "/" "Public/"'
    assert say('LIST "x" ""')[0] == '* LIST (\\Noselect) "/" ""'


def test_lsub(say: Say) -> None:
    for name in ("INBOX.Work", "shared/bob/Work", "Public/News"):
        assert say(f"SUBSCRIBE {name}") == ["OK SUBSCRIBE completed"]
    assert [line.split(" ")[-1] for line in say('LSUB "" *')[:-1]] == ["Work", "shared/bob/Work", "Public/News"]
    assert say('LSUB "" %')[:-1] == [
        '* LSUB () "/" Work', '* LSUB (\\Noselect) "/" Public', '* LSUB (\\Noselect) "/" shared',
    ]  # fmt: skip
    assert say('LSUB "" INBOX.%')[:-1] == ['* LSUB () "." INBOX.Work']
    assert say('LIST (SUBSCRIBED) "" Public/*')[0] == '* LIST (\\Subscribed) "/" Public/News'


def test_the_old_name_leads_to_the_mailbox_and_rev2_is_told_the_other(say: Say) -> None:
    """RFC 9051 6.3.9.7."""
    assert say("SELECT INBOX.Work")[-1] == "OK [READ-WRITE] SELECT completed"
    assert say("ENABLE IMAP4rev2")[-1].startswith("OK")
    assert '* LIST (\\HasNoChildren) "/" Work ("OLDNAME" (INBOX.Work))' in say("SELECT INBOX.Work")


def test_what_cannot_be_renamed_can_be_moved(say: Say, spool: Spool) -> None:
    assert say("RENAME shared/bob/Work Mine")[-1].startswith("NO [CANNOT] ")
    say("SELECT shared/bob/Work")
    moved = say("MOVE 1 INBOX.Work")
    assert [line.partition("[")[0] for line in moved] == ["* OK ", "* 1 EXPUNGE", "OK MOVE completed"]
    assert say("STATUS Work (MESSAGES)")[0] == "* STATUS Work (MESSAGES 1)"
    assert not list((spool.home("bob") / ".Work" / "cur").iterdir())


def test_what_others_hide_is_not_there(say: Say) -> None:
    """RFC 4314 6: one answer for what does not exist, and for what one may not know of."""
    names = ("shared/bob", "shared/bob/Nothing", "shared/nobody", "shared/alice", "shared", "Public/Quiet", "Public/No")
    for command in ("SELECT {}", "STATUS {} (MESSAGES)", "DELETE {}", "SUBSCRIBE {}", "MYRIGHTS {}"):
        assert {tuple(say(command.format(name))) for name in names} == {
            ("NO [NONEXISTENT] There is no such mailbox.",)
        }, command


def test_seen_is_the_readers_own_and_other_sessions_of_his_learn_of_it(engine: Engine, spool: Spool) -> None:
    one, other = (speaker(engine, engine.login()) for _ in range(2))
    opened = one("SELECT Public/News")
    assert "* OK [NOMODSEQ] No mod-sequences here" in opened and "* OK [UNSEEN 1] First unseen message" in opened
    assert "* OK [PERMANENTFLAGS (\\Seen)] You may change no others here" in opened
    other("SELECT Public/News")
    assert one("STORE 1:2 +FLAGS.SILENT (\\Seen)") == ["OK STORE completed"]
    assert sorted(other("NOOP")) == [
        "* 1 FETCH (UID 1 FLAGS (\\Seen))", "* 2 FETCH (UID 2 FLAGS (\\Seen))", "OK NOOP completed",
    ]  # fmt: skip
    assert other("SEARCH UNSEEN")[0] == "* SEARCH"
    assert other("STATUS Public/News (MESSAGES UNSEEN)")[0] == "* STATUS Public/News (MESSAGES 2 UNSEEN 0)"
    assert one("STORE 1 FLAGS ()")[-1] == "OK STORE completed"
    assert other("SEARCH UNSEEN")[0] == "* SEARCH 1"
    names = sorted(path.name for path in (spool.public / ".News" / "cur").iterdir())
    assert [name.partition(":2,")[2] for name in names] == ["S", ""], "what the letter says to others stays"
