"""Headers as servers hand them over: which are read as they are, and which are looked through."""

from __future__ import annotations

from udc.surface.headers import HeaderNames

USUAL = [(b"host", b"x"), (b"authorization", b"Bearer t"), (b"content-type", b"application/json")]


def test_names_are_taken_as_they_are_once_they_were_seen_in_lower_case() -> None:
    names = HeaderNames()
    assert names.plain(USUAL) is None
    assert dict(names.read(USUAL)) == {"host": "x", "authorization": "Bearer t", "content-type": "application/json"}
    assert names.plain(USUAL) == dict(USUAL)


def test_other_cases_and_repeated_ones_are_never_plain() -> None:
    names = HeaderNames()
    for odd in ([*USUAL, (b"X-Y", b"1")], [*USUAL, (b"host", b"y")]):
        for _ in range(2):
            assert names.plain(odd) is None
            read = names.read(odd)
    assert read["host"] == "x, y"


def test_made_up_names_of_strangers_do_not_keep_others_out_for_ever() -> None:
    names = HeaderNames()
    for number in range(2_000):
        names.read([(b"x-%d" % number, b"")])
    assert names.plain(USUAL) is None
    names.read(USUAL)
    assert names.plain(USUAL) == dict(USUAL)
    assert len(names._known) == 256
