"""`namespaces`: what is taken, and what is said of the rest."""

import re
from pathlib import Path
from typing import Any

import pytest

from greenmail.config import ConfigError, from_mapping, load
from greenmail.net.namespaces import space_of, tables_of
from greenmail.storage.api import ALL_RIGHTS
from greenmail.storage.namespace_names import Kind, Listed, OwnSeen, Space

PAGE = Path(__file__).parents[2] / "docs" / "namespaces.md"
SHARED = {"type": "shared", "prefix": "shared/%u/"}
PUBLIC = {"type": "public", "prefix": "Public/", "mail-path": "/var/mail/public"}
ALIAS = {"prefix": "INBOX.", "separator": ".", "alias-for": "", "hidden": True, "list": False}


def spaces(*tables: dict[str, Any], **flat: Any) -> list[Space]:
    config = from_mapping({"namespaces": list(tables), **flat})
    return [space_of(config, table) for table in tables_of(config)]


def problems(*tables: dict[str, Any], **flat: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"namespaces": list(tables), **flat})
    return str(caught.value).split("\n")


def test_the_example_of_the_page_is_good(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "imap.yaml"
    file.write_text(example, encoding="utf-8")
    config = load(str(file))
    assert [space_of(config, table) for table in tables_of(config)] == [
        Space(Kind.PRIVATE, is_inbox=True),
        Space(Kind.SHARED, "shared/%u/", listed=Listed.CHILDREN, subscriptions=False),
        Space(Kind.PUBLIC, "Public/", subscriptions=False, default_rights=frozenset("lr")),
        Space(Kind.PRIVATE, "Archive/"),
        Space(Kind.PRIVATE, "INBOX.", ".", listed=Listed.NO, hidden=True, alias_for=""),
    ]


def test_the_page_names_every_setting() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (table,) = tables_of(from_mapping({}))
    for name, field in type(table).model_fields.items():
        assert f"`{field.alias or name}" in text, f"docs/namespaces.md lacks {field.alias}"


def test_the_same_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "imap.toml"
    file.write_text('[[namespaces]]\ntype = "shared"\nprefix = "shared/%u/"\nlist = "children"\nprivate-seen = true\n')
    (_, space) = (space_of(load(str(file)), table) for table in tables_of(load(str(file))))
    assert (space.listed, space.own_seen) == (Listed.CHILDREN, OwnSeen.YES)


def test_a_table_may_have_inbox() -> None:
    own, alias = spaces({"inbox": True, "prefix": "mail/", "mail-path": "/m/%u"}, {"prefix": "", "alias-for": "mail/"})
    assert (own.prefix, own.is_inbox, own.separator) == ("mail/", True, "/")
    assert (alias.prefix, alias.alias_for) == ("", "mail/")


def test_without_tables_there_is_what_the_flat_settings_say() -> None:
    assert spaces(prefix="INBOX.", separator=".") == [Space(Kind.PRIVATE, "INBOX.", ".", is_inbox=True)]
    assert spaces({**PUBLIC, "default-rights": "".join(sorted(ALL_RIGHTS))})[1].default_rights == ALL_RIGHTS


@pytest.mark.parametrize(
    "tables, found",
    [
        ([{**SHARED, "prefix": "shared/"}], "namespaces.0.prefix: found no %u or %n"),
        ([{**SHARED, "prefix": "shared/%h/"}], "namespaces.0.prefix: found a variable"),
        ([{**SHARED, "prefix": "shared/%u"}], "does not end in the separator /"),
        ([{**PUBLIC, "prefix": "%u/"}], "namespaces.0.prefix: found a variable"),
        ([{**SHARED, "subscriptions": True}], "namespaces.0.subscriptions: cannot be true"),
        ([{**SHARED, "default-rights": "l"}], "namespaces.0.default-rights: is for public namespaces"),
        ([{**PUBLIC, "default-rights": "q"}], "namespaces.0.default-rights: found 'q'; allowed: letters out of"),
        ([{"type": "public", "prefix": "Public/"}], "namespaces.0.mail-path: is not set"),
        ([{"prefix": "Archive/"}], "namespaces.0.mail-path: is not set"),
        ([{"mail-path": "/x"}], "namespaces.0.prefix: is not set"),
        ([PUBLIC, PUBLIC], 'namespaces.1.prefix: "Public/" is taken already, by namespaces.0'),
        ([{**PUBLIC, "prefix": "Public.", "separator": "."}], "namespaces.0.separator: is not that of INBOX"),
        ([{**ALIAS, "alias-for": "x/"}], 'namespaces.0.alias-for: "x/" is not the prefix of a private namespace'),
        ([{**ALIAS, "mail-path": "/x"}], "namespaces.0.mail-path: an alias has no mail of its own"),
        ([{**ALIAS, "type": "public"}], "namespaces.0.type: the namespace with INBOX, and an alias, are private"),
        ([{"inbox": True}, {"inbox": True, "prefix": "x/"}], "namespaces.1.inbox: only one namespace can have INBOX"),
        ([{**SHARED, "list": "sometimes"}], "namespaces.0.list: found 'sometimes'; allowed: one of yes, no, children"),
        ([{**SHARED, "lists": True}], "namespaces.0.lists: unknown key; did you mean list?"),
    ],
)
def test_what_is_wrong_is_said(tables: list[dict[str, Any]], found: str) -> None:
    assert any(found in line for line in problems(*tables)), problems(*tables)


def test_one_table_is_no_list() -> None:
    with pytest.raises(ConfigError, match=r"namespaces: found .* allowed: a list of tables"):
        from_mapping({"namespaces": SHARED})


def test_a_public_namespace_that_shows_nothing_by_itself_is_noticed() -> None:
    assert [text for text in from_mapping({"namespaces": [PUBLIC]}).notices() if "Public/" in text] == [
        "of Public/ only mailboxes with an access control list are shown, because default-rights is not set"
    ]
    open_one = {**PUBLIC, "default-rights": "lr"}
    assert not any("Public/" in text for text in from_mapping({"namespaces": [open_one]}).notices())
