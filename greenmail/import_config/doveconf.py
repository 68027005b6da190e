"""What `doveconf -n` of Dovecot 2.3 prints.

    output  = *(comment / setting / open / close / empty)
    comment = "#" text LF                       ; the version and the file's name stand in the first one
    setting = name " = " value LF               ; value: text, or a quoted string if it begins or ends with a space
    open    = kind [" " name] " {" LF           ; name: an atom, or a quoted string
    close   = "}" LF
    quoted  = DQUOTE *(any / "\\" any) DQUOTE

Lines have any indentation. A value `# hidden, use -P to show it` stands for a secret. Whoever uses a setting takes it;
what nobody took is known afterwards.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

HIDDEN = "# hidden"
_SETTING = re.compile(r"([A-Za-z0-9_.:/*-]+)\s*=\s*(.*)\Z")
_OPEN = re.compile(r'([a-z_]+)(?:\s+("(?:[^"\\]|\\.)*"|[^"{][^{]*?))?\s*\{\Z')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\Z')


@dataclass(slots=True)
class Block:
    """The settings between two braces, or of the whole; blocks in it in their order."""

    kind: str = ""  # "namespace"; empty: the whole
    name: str = ""
    values: dict[str, str] = field(default_factory=dict)
    blocks: list["Block"] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def take(self, key: str, default: str = "") -> str:
        """The value of `key`, which is dealt with from now on."""
        self.taken.add(key)
        return self.values.get(key, default)

    def of(self, kind: str, name: str | None = None) -> list["Block"]:
        """The blocks of this kind, or of this kind and name."""
        return [block for block in self.blocks if block.kind == kind and name in (None, block.name)]

    def is_on(self, key: str, default: bool = False) -> bool:
        """A switch: yes or no, as Dovecot reads it."""
        value = self.take(key)
        return value[0].lower() in "yt1" if value else default

    def title(self) -> str:
        """How the block is opened."""
        return f"{self.kind} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class Output:
    """What was read: the settings, and how many lines could not be."""

    root: Block
    version: str  # "2.3.19.1"; empty if the text does not say it
    source: str  # the path of Dovecot's own file, likewise
    host: str
    strange_lines: int


def parse(text: str) -> Output:
    """Total: any text gives settings, perhaps none."""
    root = Block()
    open_blocks = [root]
    strange = 0
    comments: list[str] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if not line:
            continue
        if line.startswith("#"):
            comments.append(line)
        elif line == "}":
            strange += len(open_blocks) == 1
            del open_blocks[max(1, len(open_blocks) - 1) :]
        elif (opened := _OPEN.match(line)) and "=" not in line.partition('"')[0]:
            block = Block(opened[1], _unquoted(opened[2] or ""))
            open_blocks[-1].blocks.append(block)
            open_blocks.append(block)
        elif setting := _SETTING.match(line):
            open_blocks[-1].values[setting[1]] = _unquoted(setting[2])
        else:
            strange += 1
    strange += len(open_blocks) - 1
    first = re.match(r"# ([0-9][^ ]*)(?: \([^)]*\))?: (.*)", comments[0]) if comments else None
    hosts = [comment.removeprefix("# Hostname: ") for comment in comments if comment.startswith("# Hostname: ")]
    return Output(root, first[1] if first else "", first[2] if first else "", hosts[0] if hosts else "", strange)


def _unquoted(text: str) -> str:
    quoted = _QUOTED.match(text)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text


def rest(block: Block, path: str = "") -> Iterator[tuple[str, str]]:
    """Every setting that nobody took, as ("plugin/sieve", value); a block's own place stands before its settings."""
    for key, value in block.values.items():
        if key not in block.taken:
            yield path + key, value
    for inner in block.blocks:
        title = f"{path}{inner.title()}"
        if not inner.values and not inner.blocks:
            yield title, ""
        yield from rest(inner, f"{title}/")


def words(text: str) -> list[str]:
    """A list of Dovecot's: words between spaces, or commas."""
    return [word for word in re.split(r"[\s,]+", text) if word]


def arguments(text: str) -> tuple[dict[str, str], str]:
    """`args` of a database: `name=value` words, and what comes behind them (a path)."""
    found: dict[str, str] = {}
    text = text.strip()
    while text:
        word, _, after = text.partition(" ")
        key, equals, value = word.partition("=")
        if not equals or "/" in key:
            break
        found[key] = value
        text = after.lstrip()
    return found, text
