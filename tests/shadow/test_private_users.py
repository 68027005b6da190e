"""What `shadow --start` says where the users are in no passwd-file."""

import pytest

from greenmail.config import from_mapping
from greenmail.errors import Refused
from greenmail.shadow.private import _passwd


@pytest.mark.parametrize(
    "auth, kinds",
    [
        ([{"type": "pam"}, {"type": "system"}], "pam, system"),
        ([{"type": "sql", "url": "sqlite:////x", "query": "SELECT password FROM u WHERE n = :user"}], "sql"),
        ([], "no database"),
    ],
)
def test_the_way_is_named(auth: list[dict[str, str]], kinds: str) -> None:
    with pytest.raises(Refused) as refused:
        _passwd(from_mapping({"auth": auth}), ["bob"], "secret")
    assert f"here they are in {kinds}: " in refused.value.text
    assert "--ours-master NAME" in refused.value.text
