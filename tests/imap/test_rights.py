"""RFC 4314 4: which rights a command needs, for every command that there is; and that none gets round `imap.rights`."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from harness.wire import MemoryWire

import greenmail.imap
from greenmail.imap import registry
from greenmail.storage.api import ALL_RIGHTS, AclAction, Rights

ROOT = Path(greenmail.imap.__file__).parent


@dataclass(frozen=True)
class Case:
    """A command on the mailbox `Box`, selected or not; `needs` beside `l`, and beside `r` for what is selected."""

    line: str
    needs: str
    selected: bool = False
    absent: str = "NONEXISTENT"  # what is told of a mailbox that does not exist, and of a hidden one


SELECTED = "selected"
LITERAL = "APPEND Box {5}"  # is refused before the literal comes, or asked for it

CASES: dict[str, tuple[Case, ...]] = {
    "SELECT": (Case("SELECT Box", "r"),),
    "EXAMINE": (Case("EXAMINE Box", "r"),),
    "STATUS": (Case("STATUS Box (MESSAGES)", "r"),),
    "CREATE": (Case("CREATE Box/New", "k", absent="NOPERM"),),
    "DELETE": (Case("DELETE Box", "x"),),
    "RENAME": (Case("RENAME Box Free/Box", "x"), Case("RENAME Free/Other Box/Other", "k", absent="NOPERM")),
    "SUBSCRIBE": (Case("SUBSCRIBE Box", ""),),
    "APPEND": (Case(LITERAL, "i", absent="TRYCREATE"),),
    "GETQUOTAROOT": (Case("GETQUOTAROOT Box", "r"),),
    "GETACL": (Case("GETACL Box", "a"),),
    "SETACL": (Case("SETACL Box carol l", "a"),),
    "DELETEACL": (Case("DELETEACL Box carol", "a"),),
    "LISTRIGHTS": (Case("LISTRIGHTS Box carol", "a"),),
    "MYRIGHTS": (Case("MYRIGHTS Box", ""),),
    "GETMETADATA": (),  # see test_annotations_want_any_of_several_rights
    "SETMETADATA": (Case('SETMETADATA Box (/shared/comment "x")', "w"),),
    "FETCH": (Case("FETCH 1 FLAGS", "", selected=True),),
    "SEARCH": (Case("SEARCH ALL", "", selected=True),),
    "SORT": (Case("SORT (ARRIVAL) UTF-8 ALL", "", selected=True),),
    "THREAD": (Case("THREAD REFERENCES UTF-8 ALL", "", selected=True),),
    "STORE": (
        Case("STORE 1 +FLAGS (\\Seen)", "s", selected=True),
        Case("STORE 1 +FLAGS (\\Deleted)", "t", selected=True),
        Case("STORE 1 +FLAGS (\\Flagged)", "w", selected=True),
        Case("STORE 1 +FLAGS (word)", "w", selected=True),
        Case("UID STORE 1 +FLAGS.SILENT (\\Draft)", "w", selected=True),
    ),
    "EXPUNGE": (Case("EXPUNGE", "e", selected=True), Case("UID EXPUNGE 1", "e", selected=True)),
    "COPY": (Case("COPY 1 Free", "", selected=True), Case("UID COPY 1 Free", "", selected=True)),
    "MOVE": (Case("MOVE 1 Free", "te", selected=True), Case("UID MOVE 1 Free", "te", selected=True)),
    "CHECK": (Case("CHECK", "", selected=True),),
    "REPLACE": (
        Case("REPLACE 1 Free {4+}\r\na\r\n", "te", selected=True),
        Case("UID REPLACE 1 Free {4+}\r\na\r\n", "te", selected=True),
    ),
    "CANCELUPDATE": (),  # it takes back what only who could read has asked for
    "ESEARCH": (),  # what may not be read is left out in silence: transcripts/multisearch/multisearch-rights.txt
    "UIDBATCHES": (Case("UIDBATCHES 500", "", selected=True),),
    "CLOSE": (Case("CLOSE", "", selected=True),),
    "RESETKEY": (Case("RESETKEY Box", "r"),),
    "GENURLAUTH": (),  # whatever is wrong with a URL is BAD: transcripts/urlauth/rights.txt
    "URLFETCH": (),  # the rights are those of the user in the URL: likewise
}
# What is about no mailbox, or about the names and counters of those that LIST shows.
NOTHING = {
    "AUTHENTICATE", "CAPABILITY", "COMPARATOR", "COMPRESS", "ENABLE", "GETJMAPACCESS", "GETQUOTA", "ID", "IDLE",
    "LANGUAGE", "LIST", "LOGIN", "LOGOUT", "LSUB", "NAMESPACE", "NOOP", "NOTIFY", "SETQUOTA", "STARTTLS",
    "UNAUTHENTICATE", "UNSELECT", "UNSUBSCRIBE", "XLIST",
}  # fmt: skip
# May be there or not: they come with features of their own.
OPTIONAL = {"COMPRESS", "LANGUAGE", "SORT", "THREAD", "UNAUTHENTICATE"}


def test_every_command_says_what_it_needs() -> None:
    """A new command belongs into CASES with an example, or into NOTHING with a good reason."""
    assert (CASES.keys() | NOTHING) - OPTIONAL <= registry.COMMANDS.keys() <= CASES.keys() | NOTHING


def pairs() -> list[Case]:
    return [case for name, cases in CASES.items() if name in registry.COMMANDS for case in cases]


class Scene:
    """alice looks at bob's mail: INBOX, Box with three messages, and Free, where she may do everything."""

    def __init__(self) -> None:
        scheduler = Scheduler()
        self.engine = Engine(scheduler, memory_backend(scheduler), url_hosts=("example.com",))
        backend = self.engine.backend
        assert backend.give is not None
        backend.give("bob")
        self.engine.fill("Box", 3)
        self.engine.fill("Free/Other", 1)
        backend.outside.create("Free")
        for name in ("Free", "Free/Other"):
            backend.outside.set_acl(name, "alice", AclAction.REPLACE, ALL_RIGHTS)

    def grant(self, rights: Rights) -> None:
        self.engine.backend.outside.set_acl("Box", "alice", AclAction.REPLACE, rights)

    def ask(self, case: Case, rights: Rights) -> str:
        """The tagged answer, or that a literal is asked for."""
        wire: MemoryWire
        if case.selected:
            self.grant(ALL_RIGHTS)
            wire = self.engine.select("Box")
        else:
            wire = self.engine.login()
        self.grant(rights)
        answer = self.engine.talk(wire, f"t {case.line}\r\n".encode()).decode()
        return answer.strip().rpartition("\r\n")[2].removeprefix("t ")


@pytest.mark.parametrize("case", pairs(), ids=lambda case: case.line)
def test_a_command_with_just_what_it_needs(case: Case) -> None:
    rights = frozenset(case.needs + "l" + ("r" if case.selected else ""))
    assert Scene().ask(case, rights).startswith(("OK", "+"))


@pytest.mark.parametrize("case", pairs(), ids=lambda case: case.line)
def test_a_command_with_all_rights_but_one_that_it_needs(case: Case) -> None:
    for letter in case.needs:
        assert Scene().ask(case, ALL_RIGHTS - {letter}).startswith("NO [NOPERM] "), letter


@pytest.mark.parametrize("rights", ["lr", "ls", "lw", "li", "lp", "l", "ltekxa", "rswip"])
def test_annotations_want_any_of_several_rights(rights: str) -> None:
    """RFC 5464 3.3."""
    wanted = (
        "OK" if rights in ("lr", "ls", "lw", "li", "lp") else "NO [NOPERM]" if "l" in rights else "NO [NONEXISTENT]"
    )
    case = Case("GETMETADATA Box /shared/comment", "")
    assert Scene().ask(case, frozenset(rights)).startswith(wanted + " ")


@pytest.mark.parametrize("case", [case for case in pairs() if not case.selected], ids=lambda case: case.line)
def test_a_hidden_mailbox_is_told_of_as_one_that_does_not_exist(case: Case) -> None:
    """RFC 4314 6."""
    hidden = Scene().ask(case, frozenset())
    gone = Scene()
    gone.engine.backend.outside.delete("Box")
    wire = gone.engine.login()
    answer = gone.engine.talk(wire, f"t {case.line}\r\n".encode()).decode().strip().removeprefix("t ")
    assert hidden == answer
    assert hidden.startswith(f"NO [{case.absent}] ")


@pytest.mark.parametrize(
    "name",
    sorted(name for name, one in registry.COMMANDS.items() if {state.value for state in one.states} == {SELECTED}),
)
def test_who_may_no_longer_read_gets_nothing_of_the_selected_mailbox(name: str) -> None:
    if name in ("CANCELUPDATE", "CLOSE", "UNSELECT"):
        return  # they tell nothing of it
    case = next(case for case in CASES[name] if case.selected)
    for line in (case.line, f"UID {case.line}") if registry.COMMANDS[name].uid else (case.line,):
        scene = Scene()
        scene.grant(ALL_RIGHTS)
        wire = scene.engine.select("Box")
        scene.grant(ALL_RIGHTS - {"r"})
        answer = scene.engine.talk(wire, f"t {line.replace('UID UID', 'UID')}\r\n".encode())
        assert answer.startswith((b"* BYE ", b"t BAD")), answer
        assert b"FETCH" not in answer.partition(b"t ")[0]


@pytest.mark.parametrize("rights, seen", [("lr", b""), ("lrs", b"\\Seen"), ("lrwtiea", b"")])
def test_fetch_marks_as_seen_with_s_alone(rights: str, seen: bytes) -> None:
    scene = Scene()
    scene.grant(frozenset(rights))
    wire = scene.engine.select("Box")
    scene.engine.talk(wire, b"t FETCH 1 BODY[]\r\n")
    answer = scene.engine.talk(wire, b"t FETCH 1 FLAGS\r\n")
    assert (b"\\Seen" in answer) is bool(seen)


# The methods of Account that take a mailbox's name.
NAMED = {
    "acl", "create", "delete", "delete_acl", "list_rights", "may_create", "my_rights", "quota_roots", "rename",
    "set_acl", "metadata", "set_metadata", "set_special_use",
}  # fmt: skip


def calls(path: Path) -> set[str]:
    """Calls of such methods in a module, whatever they are called on."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        on = node.func.value
        receiver = on.attr if isinstance(on, ast.Attribute) else on.id if isinstance(on, ast.Name) else "()"
        if receiver == "rights":
            continue
        takes_name = node.func.attr in NAMED
        takes_name |= node.func.attr == "open" and bool(node.args)  # a cursor's has no argument
        takes_name |= node.func.attr == "subscribe" and receiver != "mailbox"
        if takes_name:
            found.add(f"{path.name}:{node.lineno} {receiver}.{node.func.attr}")
    return found


def test_only_one_module_gives_names_to_the_account() -> None:
    assert calls(ROOT / "rights.py")
    others = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "rights.py"]
    assert set().union(*map(calls, others)) == set()
