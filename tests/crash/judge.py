"""What must be true of an account after a crash, an error or a power cut."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from crash.picture import Contents, Picture
from crash.scene import Operation


@dataclass
class Case:
    """What happened, for `judge`."""

    operation: Operation
    before: Picture
    complete: Picture
    answered: bool
    is_error: bool = False  # the process went on


def judge(case: Case, after: Picture) -> None:
    """Nothing acknowledged is missing, nothing else is half there, no UID is used twice, no counter went down."""
    for name, mine in after.mailboxes.items():
        _judge_mailbox(case, name, mine)
    if case.answered and case.is_error and case.operation.name.endswith("new-mail"):
        assert after.texts() == case.complete.texts()  # without room they are numbered later
    elif case.answered:
        assert after.same() == case.complete.same(), "what was answered OK is not there"
        assert after.subscriptions == case.complete.subscriptions
        assert after.special_use == case.complete.special_use
        assert after.seen == case.complete.seen
        assert after.metadata == case.complete.metadata
    else:
        _judge_annotations(case, after)
        assert after.seen in (case.before.seen, case.complete.seen)
        assert after.subscriptions in (case.before.subscriptions, case.complete.subscriptions)
        assert after.mailboxes.keys() >= case.before.mailboxes.keys() & case.complete.mailboxes.keys()
        assert after.mailboxes.keys() <= case.before.mailboxes.keys() | case.complete.mailboxes.keys()
    if case.is_error and not case.answered and case.operation.takes_back:
        assert after.same() == case.before.same(), "something is left of what was refused"
    if case.operation.keeps or case.operation.name == "move" or case.operation.renames_inbox:
        assert not set(case.before.texts()) - set(after.texts()), "a mail is lost"
    _judge_folders(case, after)


def judge_power(case: Case, after: Picture) -> None:
    """After a power cut: as `judge`, but flag changes and removals may be undone, `formats.md` 1.6."""
    done, before = case.complete, case.before
    for name, mine in after.mailboxes.items():
        _judge_mailbox(case, name, mine)
    if case.operation.keeps or case.operation.name == "move" or case.operation.renames_inbox:
        assert not set(before.texts()) - set(after.texts()), "a mail is lost"
    _judge_folders(case, after)
    if not case.answered:
        assert after.subscriptions in (before.subscriptions, done.subscriptions)
        assert after.seen in (before.seen, done.seen)
        _judge_annotations(case, after)
        return
    assert after.seen == done.seen, "what was seen is not"
    assert after.metadata == done.metadata, "an annotation is lost"
    assert after.subscriptions == done.subscriptions, "the subscription is lost"
    assert after.special_use == done.special_use, "the special use is lost"
    assert after.mailboxes.keys() == done.mailboxes.keys(), f"mailboxes {sorted(after.mailboxes)}"
    for name, mine in done.mailboxes.items():
        there = after.mailboxes[name]
        old = before.mailboxes.get(name)
        if not case.operation.is_first or name in case.operation.tells:  # nobody knows that of the others yet
            assert there.uidvalidity == mine.uidvalidity, f"{name} has another UIDVALIDITY"
        assert there.uidnext >= mine.uidnext, f"{name}: UIDNEXT {there.uidnext} was {mine.uidnext}"
        for uid, message in mine.messages.items():
            if old is None or uid not in old.messages:
                assert there.messages.get(uid) == message, f"{name} {uid}: {message} is {there.messages.get(uid)}"


def _judge_annotations(case: Case, after: Picture) -> None:
    """Those of each mailbox, of the server and of a reader are the old or the new ones, whole."""
    for name, found in after.metadata.items():
        known = [picture.metadata[name] for picture in (case.before, case.complete) if name in picture.metadata]
        if case.operation.renames_inbox:  # the new mailbox gets a copy
            known.append({})
        assert found in known, f"annotations of {name}: {found} are none of {known}"


def _judge_folders(case: Case, after: Picture) -> None:
    """A mailbox that was there is there, whole, under its old name or its new one; but for DELETE."""
    if case.operation.name.startswith("delete"):
        return
    values = {mine.uidvalidity: mine for mine in after.mailboxes.values()}
    for name, old in case.before.mailboxes.items():
        assert old.uidvalidity in values, f"{name} is lost, or has another UIDVALIDITY"
    # When the counter cannot be used the time is the value, and may be that of another mailbox.
    assert case.is_error or len(values) == len(after.mailboxes), "two mailboxes have one UIDVALIDITY"


def _judge_mailbox(case: Case, name: str, mine: Contents) -> None:
    assert mine.uidnext > max(mine.messages, default=0)
    named = case.before.mailboxes.get(name)
    same = [old for old in case.before.mailboxes.values() if old.uidvalidity == mine.uidvalidity]
    if named in same or not case.operation.name.startswith("rename"):
        same = [named] if named in same and named is not None else []
    done = case.complete.mailboxes.get(name)
    new = done.messages if done is not None else {}
    old = same[0] if same else Contents(mine.uidvalidity, 1, 0, {})
    assert mine.uidnext >= old.uidnext, "UIDNEXT went down"
    assert mine.modseq >= old.modseq, "HIGHESTMODSEQ went down"
    for uid, message in mine.messages.items():
        if uid in old.messages:
            known = [old.messages[uid], *([new[uid]] if uid in new else [])]
            assert message in known, f"{name} {uid}: {message} is neither of {known}"
        else:
            assert uid >= old.uidnext, f"{name} {uid}: a UID from before was used again"
            known_texts = {one.text for one in (*new.values(), *old.messages.values())}
            assert message.text in known_texts, f"{name} {uid}: {message} came from nowhere"
    counted = Counter(message.text for uid, message in mine.messages.items() if uid not in old.messages)
    assert all(number == 1 for number in counted.values()), f"doubled: {counted}"
    if same and name in case.complete.mailboxes and case.operation.keeps:
        assert old.messages.keys() <= mine.messages.keys(), f"{name}: missing or under another UID"


_BOX = rb"(control/|deep/)?(Maildir/)?(\.[^./][^/]*/|((INBOX|Other|Parent|Child|Made|Renamed|New|Later)/)*)?"
_KNOWN = re.compile(
    _BOX + rb"(dovecot-(uidlist|keywords|uidvalidity(\.[0-9a-f]{8})?)|maildirfolder|subscriptions"
    rb"|greenmail\.(lock|index|log|cache)|(greenmail-data|cur/\.greenmail-data)/(uidnext|keywords|special-use|url-keys|(server-)?metadata))"
    rb"|Reader/greenmail-data/(seen|private-metadata)/[0-9a-f]+"
)
_MESSAGE = re.compile(_BOX + rb"(cur|new)/[^./][^/]*")
# Replaced or broken by who comes next, or removed when 36 hours old.
_BY_RULE = re.compile(
    _BOX + rb"(tmp/[^/]+|tmp/\.\.greenmail\.[0-9a-f.]+/.*"
    rb"|(dovecot-uidlist|dovecot-keywords|subscriptions)\.lock|dovecot-uidlist\.tmp"
    rb"|(greenmail-data|cur/\.greenmail-data)/((special-use|url-keys|(server-)?metadata)\.lock"
    rb"|greenmail\.(special-use|url-keys|(server-)?metadata)\.tmp)"
    rb"|(greenmail-data|cur/\.greenmail-data)/(keywords|special-use|uidnext)\.tmp|greenmail\.(index|log|cache)\.tmp|greenmail\.cache\.new|greenmail\.subscriptions\.tmp"
    rb"|dovecot-uidvalidity\.tmp\.[0-9a-f.]+|\.\.greenmail\.[0-9a-f.]+(/.*)?)|Maildir/\.\.DOVECOT-TRASHED/.*"
    rb"|Reader/greenmail-data/(seen|private-metadata)/([0-9a-f]+\.lock|greenmail\.[0-9a-f]+\.tmp)"
)


def leftovers(paths: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Files that stay for ever, and those that go by a rule."""
    by_rule = [path for path in paths if _BY_RULE.fullmatch(path)]
    known = {path for path in paths if _KNOWN.fullmatch(path) or _MESSAGE.fullmatch(path)}
    return sorted(set(paths) - known - set(by_rule)), by_rule
