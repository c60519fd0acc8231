"""Every word for trouble is explained."""

from typing import get_args

import pytest

from cio_buffer.upstream import transport
from cio_buffer.upstream.troubles import TROUBLES, TroubleWord, explained, hint_for


def test_each_word_has_its_sentence_and_no_other_has():
    assert set(TROUBLES) == set(get_args(TroubleWord))
    assert set(get_args(transport.Trouble)) <= set(TROUBLES)


@pytest.mark.parametrize("word", TROUBLES)
def test_a_hint_is_a_sentence_that_says_what_to_look_at(word):
    hint = hint_for(word)
    assert hint == TROUBLES[word].hint
    assert 60 < len(hint) < 240
    assert "\n" not in hint


@pytest.mark.parametrize("word", [None, "", "sulking"])
def test_what_is_no_trouble_has_none(word):
    assert hint_for(word) is None
    assert explained(word) is None


def test_no_two_are_the_same():
    assert len({told.hint for told in TROUBLES.values()}) == len(TROUBLES)
