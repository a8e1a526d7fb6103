"""Test the pure rule for which counters exist."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.names import Catalog, Names, Verdict, judge
from ops.maintenance import counters

#: A few characters, so that names and patterns often match.
NAMES = st.text("ab.-", min_size=1, max_size=6)
ENTRIES = st.text("ab.-*", min_size=1, max_size=6)


def matches(name: str, pattern: str) -> bool:
    """Match by definition: each `*` stands for any text."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(matches(name[start:], pattern[1:]) for start in range(len(name) + 1))
    return name[:1] == pattern[0] and matches(name[1:], pattern[1:])


@given(NAMES, st.lists(ENTRIES, max_size=4))
def test_set_has_a_name_if_one_of_its_entries_matches(name, entries):
    assert (name in Names(entries)) == any(matches(name, entry) for entry in entries)


@pytest.mark.parametrize(
    ("name", "entry", "is_in"),
    [
        ("visits", "visits", True),
        ("Visits", "visits", False),
        ("visits-2", "visits", False),
        ("likes-", "likes-*", True),
        ("likes-1", "likes-*", True),
        ("my-likes-1", "likes-*", False),
        ("a.b", "a.b", True),
        ("axb", "a.b*", False),
        ("axb", "a.*", False),
        ("a" * 64, "*", True),
        ("a-old-2", "*-old-*", True),
    ],
)
def test_entry_matches_whole_names_literally(name, entry, is_in):
    assert (name in Names([entry])) == is_in


def test_pattern_with_many_stars_matches_in_linear_time():
    """A naive regular expression would backtrack for longer than the test session."""
    assert "a" * 64 not in Names(["*a" * 31 + "*b"])


#: For each combination of allowed, added, closed and hidden: the verdict.
VERDICTS = {
    (allowed, added, closed, hidden): Verdict.UNKNOWN
    if hidden or not (allowed or added)
    else Verdict.CLOSED
    if closed
    else Verdict.OPEN
    for allowed, added, closed, hidden in itertools.product([False, True], repeat=4)
}


@pytest.mark.parametrize("listed", VERDICTS)
@pytest.mark.parametrize("entry", ["clicks", "cl*"])
def test_verdict_on_each_combination_of_sets(listed, entry):
    allowed, added, closed, hidden = (Names([entry] if is_listed else ["other"]) for is_listed in listed)

    assert judge("clicks", allowed, Catalog(added, closed, hidden)) is VERDICTS[listed]


def is_common_by_brute_force(first: str, second: str) -> bool:
    """Check all names of up to six characters. The alphabet has a character that no pattern has."""
    texts = ("".join(letters) for length in range(7) for letters in itertools.product("abz", repeat=length))
    return any(matches(text, first) and matches(text, second) for text in texts)


@given(st.text("ab*", min_size=1, max_size=3), st.text("ab*", min_size=1, max_size=3))
def test_patterns_overlap_exactly_if_a_name_matches_both(first, second):
    assert counters.has_common_name(first, second) is is_common_by_brute_force(first, second)
