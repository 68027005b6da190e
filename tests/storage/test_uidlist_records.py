"""Records of a uidlist: whatever is done to them, they are what a dict would be."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage import uidlist_records
from greenmail.storage.uidlist_format import parse
from greenmail.storage.uidlist_records import Records


@pytest.fixture(scope="module", autouse=True, params=[(3, 2), (0, 1), (40, 5)], ids=str)
def sizes(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uidlist_records, "YOUNG", request.param[0])
        patch.setattr(uidlist_records, "BLOCK", request.param[1])
        yield


BASES = st.sampled_from([b"%d.M%dP4711.mx,S=%d" % (number % 3, number, number * 7) for number in range(40)])
RAW = st.sampled_from([b"", b"", b"W755", b"P", b"Zx:y W1", b"Gd:e"])
CHANGES = st.one_of(
    st.tuples(st.just("extend"), st.lists(st.tuples(BASES, RAW), max_size=12, unique_by=lambda pair: pair[0])),
    st.tuples(st.just("remove"), BASES),
    st.tuples(st.just("raw"), BASES, RAW),
    st.tuples(st.just("with"), st.lists(BASES, max_size=4, unique=True)),
    st.tuples(st.just("only"), st.sets(BASES)),
    st.tuples(st.just("copy")),
)


def apply(records: Records, model: dict[bytes, tuple[int, bytes]], change: tuple) -> Records:  # type: ignore[type-arg]
    match change:
        case "extend", pairs:
            fresh = [(base, raw) for base, raw in pairs if base not in model]
            uids = [records.highest + 2 + 2 * place for place in range(len(fresh))]
            records.extend([base for base, _ in fresh], uids, {base: raw for base, raw in fresh if raw})
            model.update((base, (uid, raw)) for uid, (base, raw) in zip(uids, fresh, strict=True))
        case "remove", base:
            records.remove(base)
            model.pop(base, None)
        case "raw", base, raw if base in model:
            records.set_raw(model[base][0], raw)
            model[base] = (model[base][0], raw)
        case "with", bases:
            free = [uid for uid in range(1, 400) if uid not in {known for known, _ in model.values()}]
            added = dict(zip((base for base in bases if base not in model), free[::-3], strict=False))
            model.update((base, (uid, b"")) for base, uid in added.items())
            return records.with_others((uid, b"", base) for base, uid in added.items())
        case "only", live:
            for base in model.keys() - live:
                del model[base]
            return records.only(live)
        case ("copy",):
            return records.copy()
    return records


@given(st.lists(CHANGES, max_size=25))
def test_records_are_what_a_dict_would_be(changes: list[tuple]) -> None:  # type: ignore[type-arg]
    records = Records()
    model: dict[bytes, tuple[int, bytes]] = {}
    for change in changes:
        records = apply(records, model, change)
        expected = sorted((uid, raw, base) for base, (uid, raw) in model.items())
        assert list(records.records()) == expected
        assert (len(records), bool(records)) == (len(model), bool(model))
        assert records == {base: uid for base, (uid, _) in model.items()}
        assert list(records.values()) == [uid for uid, _, _ in expected]
        assert all(records.get(base) == uid and records[base] == uid for uid, _, base in expected)
        assert all(records.raw(uid) == raw for uid, raw, _ in expected)
        rows = [(uid, base) for uid, _, base in expected[::2]] + [(uid, b"absent") for uid in (1, 50, 400)]
        absent = [(uid, base) for uid, base in sorted(rows) if model.get(base, (0,))[0] != uid]
        assert list(records.missing(sorted(rows))) == absent
        assert b"absent" not in records and records.raw(9999) == b""
        assert records.highest >= max(records.values(), default=0)
        text = b"".join(records.lines())
        assert parse(b"3 V1 N1 G" + b"ab" * 16 + b"\n" + text).uids == records


def test_a_copy_stays_as_it_is() -> None:
    records = Records.of((uid, b"", b"n%d" % uid) for uid in range(1, 30))
    before = records.copy()
    for uid in range(1, 30, 3):
        records.remove(b"n%d" % uid)
    records.set_raw(2, b"W1")
    records.extend([b"new"], [31], {})
    assert list(before.records()) == [(uid, b"", b"n%d" % uid) for uid in range(1, 30)]


@pytest.mark.parametrize("rows", [[(b"01", b"", b"a")], [(b"2", b"", b"a"), (b"2", b"", b"b")], [(b"0", b"", b"a")]])
def test_lines_out_of_order_are_not_taken(rows: list[tuple[bytes, bytes, bytes]]) -> None:
    assert not Records().take(rows)


def test_a_field_that_some_record_has_is_not_missed() -> None:
    records = Records()
    records.extend([b"a", b"b", b"c", b"d"], [1, 2, 3, 4], {b"b": b"W7 Pid", b"d": b"Guid"})
    assert [records.may_have([key]) for key in (b"W", b"P", b"G", b"O", b"id")] == [True, True, True, False, False]
    assert records.may_have([b"O", b"G"]) and not records.may_have([]) and not Records().may_have([b"W"])


def test_twins_are_noticed() -> None:
    records = Records()
    assert records.take([(b"%d" % uid, b"W5 ", b"n%d" % (uid % 50)) for uid in range(1, 50)])
    assert not records.has_twins()
    assert records.take([(b"70", b"", b"n7")])
    assert records.has_twins()


def test_two_names_of_one_hash_are_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uidlist_records, "_HASH", 0)
    records = Records()
    assert records.take([(b"%d" % uid, b"", b"n%d" % uid) for uid in range(1, 600)])
    assert not records.has_twins()
    assert [records.get(b"n%d" % uid) for uid in range(601)] == [None, *range(1, 600), None]
