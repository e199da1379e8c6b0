import pytest

from rewards import make_attempt
from rewards.format_tags import format_tags


@pytest.mark.parametrize("tag", ["<think>", "</think>", "</THINK>", "< / think >", "<thinking>"])
def test_a_stray_tag_in_either_part_breaks_the_format(tag: str) -> None:
    for fields in (
        {"answer": f"4 {tag}"},
        {"answer": f"4 {tag}", "thinking": "hm"},
        {"answer": "4", "thinking": f"a {tag} b"},
    ):
        assert "tag" in format_tags(make_attempt(fields, {})).reason


def test_talking_about_thinking_is_no_tag() -> None:
    assert format_tags(make_attempt("I think <b>thinking</b> is fine, if x<think.", {})).score == 1.0


def test_the_format_says_nothing_about_correctness() -> None:
    assert format_tags(make_attempt("4", {"answer": "5"})).outcome is None
