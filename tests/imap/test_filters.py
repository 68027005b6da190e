"""FILTERS, RFC 5466, where a transcript would be too long."""

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler


@pytest.mark.parametrize("returns", [b"", b"RETURN (UPDATE) "])
def test_what_is_nested_counts_through_all_filters(returns: bytes) -> None:
    """Each value is within the limit, all together would be deeper than can be carried out."""
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    made.fill("INBOX", 1)
    wire = made.select()
    for number in range(9):
        value = b"(" * 48 + (b"FILTER f%d" % (number + 1)) + b" ALL)" * 48
        answer = made.talk(wire, b'a SETMETADATA "" ("/private/filters/values/f%d" "%b")\r\n' % (number, value))
        assert b"a OK" in answer
    made.talk(wire, b'a SETMETADATA "" ("/private/filters/values/f9" "ALL")\r\n')
    assert b"a NO [CANNOT] " in made.talk(wire, b"a SEARCH %bFILTER f0\r\n" % returns)
    answer = made.talk(wire, b"a SEARCH %bFILTER f8\r\n" % returns)
    assert b"a OK" in answer
