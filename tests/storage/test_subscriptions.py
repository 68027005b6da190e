"""The list of subscriptions: formats.md 3.2, 6.1, checks 2, 29, 48."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import unpack

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files
from greenmail.storage.folder_names import Encoding, Layout
from greenmail.storage.locks import Waiting
from greenmail.storage.subscriptions import Subscriptions

V2 = b"V\t2\n\n"


@pytest.fixture
def root(tmp_path):
    return os.fsencode(tmp_path)


def subscriptions(root, data=None, separator="/", prefix="", encoding=Encoding.MUTF7, courier=None):
    for name, content in ((b"/subscriptions", data), (b"/courierimapsubscribed", courier)):
        if content is not None:
            with open(root + name, "wb") as file:
                file.write(content)
    layout = Layout(root, separator, prefix, encoding)
    return Subscriptions(Files(), layout, Waiting(time.sleep, time.time, 1.0))


def read(root):
    return Files().read_file(root + b"/subscriptions")


@pytest.mark.parametrize(
    "data, options, names",
    [
        (V2 + b"INBOX\nArchive\t2024\tM&AOQ-rz\nA&-B\n", {}, ["INBOX", "Archive/2024/März", "A&B"]),
        (V2 + b"inbox\n", {}, ["INBOX"]),
        (V2 + b"a\tb\t\nc\n", {}, ["a/b", "c"]),  # a trailing separator is ignored
        (V2 + b"a\nb", {}, ["a", "b"]),
        (V2 + b"a\n\na\n&bad\n", {}, ["a"]),
        (V2 + b"a\x01tb\na\x01nb\nok\n", {}, ["ok"]),  # control characters: no mailbox can be called so
        (b"INBOX\nArchive.2024\nfoo bar\n", {}, ["INBOX", "Archive/2024", "foo bar"]),
        (b"INBOX\r\nSent\r\n", {}, ["INBOX", "Sent"]),
        (b"Sent.\n", {}, ["Sent"]),
        (b"", {}, []),
        (V2, {}, []),
        (None, {}, []),
        (V2 + "März\nA&B\n".encode(), {"encoding": Encoding.UTF8}, ["März", "A&B"]),
        (V2 + b"INBOX\nSent\n", {"prefix": "INBOX.", "separator": "."}, ["INBOX", "INBOX.Sent"]),
        (V2 + b"INBOX\tSub\n", {}, ["INBOX/Sub"]),
    ],
)
def test_names(root, data, options, names):
    assert subscriptions(root, data, **options).names() == names


@pytest.mark.parametrize(
    "data, name, after",
    [
        (V2 + b"INBOX\n", "Archive/2024/März", V2 + b"INBOX\nArchive\t2024\tM&AOQ-rz\n"),
        (b"INBOX\n", "Archive/2024", b"INBOX\nArchive.2024\n"),  # version 1 stays version 1
        (b"", "a", b"a\n"),
        (None, "a", V2 + b"a\n"),
        (V2 + b"x\x01ty\n#keep\n\n", "inbox", V2 + b"x\x01ty\n#keep\n\nINBOX\n"),
        (V2 + b"half", "a", V2 + b"half\na\n"),
    ],
)
def test_add_appends_one_line(root, data, name, after):
    made = subscriptions(root, data)
    assert made.add(name) is True
    assert read(root) == after
    assert made.add(name) is False
    assert read(root) == after
    assert b"subscriptions.lock" not in os.listdir(root)


@pytest.mark.parametrize(
    "data, name, after",
    [
        (V2 + b"INBOX\nA\tb\nDoomed\n", "A/b", V2 + b"INBOX\nDoomed\n"),
        (V2 + b"INBOX\nDoomed", "INBOX", V2 + b"Doomed\n"),
        (V2 + b"a\n", "a", V2),
        (b"a.b\nc\n", "a/b", b"c\n"),
        (V2 + b"a\n&bad\na\n", "a", V2 + b"&bad\n"),
        (V2 + b"inbox\nx\n", "INBOX", V2 + b"x\n"),
    ],
)
def test_remove_takes_out_one_name(root, data, name, after):
    made = subscriptions(root, data)
    assert made.remove(name) is True
    assert read(root) == after
    assert made.remove(name) is False
    assert made.remove("a//b") is False
    assert read(root) == after


def test_an_impossible_name_is_refused(root):
    with pytest.raises(StorageError) as caught:
        subscriptions(root).add("a.b")
    assert caught.value.reason is Reason.CANNOT
    assert os.listdir(root) == []


COURIER = {"separator": ".", "prefix": "INBOX."}


@pytest.mark.parametrize(
    "courier, options, names",
    [
        ("INBOX\nINBOX.Archive.März\nINBOX.A&B\n".encode(), {**COURIER, "encoding": Encoding.UTF8},
         ["INBOX", "INBOX.Archive.März", "INBOX.A&B"]),
        (b"INBOX\nINBOX.M&AOQ-rz\nINBOX.A&-B\n", COURIER, ["INBOX", "INBOX.März", "INBOX.A&B"]),
        ("INBOX.Grün\n".encode(), COURIER, ["INBOX.Grün"]),
        ("INBOX.Grün.x\nshared.a\n\xff\n".encode("latin-1"), {}, []),
        (b"INBOX.Sent.x\nINBOX.\nOther\n", {}, ["Sent/x"]),
    ],
)  # fmt: skip
def test_couriers_list_is_used_and_taken_over(root, courier, options, names):
    made = subscriptions(root, None, courier=courier, **options)
    assert made.names() == names
    prefix = options.get("prefix", "")
    made.add(prefix + "New")
    assert made.names() == [*names, prefix + "New"]
    assert read(root).startswith(V2)
    assert Files().read_file(root + b"/courierimapsubscribed") == courier
    made.remove(prefix + "New")
    assert made.names() == names


def test_couriers_list_is_there_for_dovecot_once_it_was_read(root):
    """Check 50."""
    made = subscriptions(root, None, courier=b"INBOX\nINBOX.Sent\n", **COURIER)
    assert made.names() == ["INBOX", "INBOX.Sent"]
    assert read(root) == V2 + b"INBOX\nSent\n"
    assert made.names() == ["INBOX", "INBOX.Sent"]


def test_an_empty_list_of_ours_hides_couriers(root):
    assert subscriptions(root, V2, courier=b"INBOX.Sent\n", **COURIER).names() == []


@pytest.mark.parametrize(
    "server, options, count",
    [("dovecot", {}, 10), ("courier", {**COURIER, "encoding": Encoding.UTF8}, 8)],
)
def test_the_recorded_lists(tmp_path, server, options, count):
    made = subscriptions(os.fsencode(unpack(server, tmp_path)), **options)
    names = made.names()
    assert len(names) == count and names[0] == "INBOX"
    assert ("Doomed" in names) == (server == "dovecot")
    before = read(made._layout.root) if server == "dovecot" else b""
    prefix = options.get("prefix", "")
    assert made.add(prefix + "Zü") and made.remove(prefix + "Zü")
    assert not before or read(made._layout.root) == before
    assert made.names() == names


LINES = st.lists(st.binary(max_size=8).filter(lambda line: b"\n" not in line), max_size=6)


@given(LINES, st.booleans())
def test_other_lines_stay_byte_for_byte(tmp_path_factory, lines, is_new):
    root = os.fsencode(tmp_path_factory.getbasetemp())
    data = (V2 if is_new else b"") + b"".join(line + b"\n" for line in lines)
    made = subscriptions(root, data)
    made.names()
    if made.add("Unheard Of"):
        assert read(root) == data + b"Unheard Of\n"
        assert made.remove("Unheard Of")
    assert read(root) == data
