import time
from typing import Any

import pytest

from rewards import make_attempt
from rewards._instructions import CHECKERS
from rewards._instructions.constraints import read_constraints
from rewards._instructions.wording import count_sentences
from rewards.instruction_rules import CASES, contradictions, instruction_rules

WORDS = "length_constraints:number_words"
SENTENCES = "length_constraints:number_sentences"
LOWERCASE = "change_case:english_lowercase"
CAPITAL = "change_case:english_capital"
CAPITALS = "change_case:capital_word_frequency"
NO_COMMA = "punctuation:no_comma"
EXISTENCE = "keywords:existence"
FREQUENCY = "keywords:frequency"
FORBIDDEN = "keywords:forbidden_words"
LANGUAGE = "language:response_language"
SECTIONS = "detectable_format:multiple_sections"
NTH = "length_constraints:nth_paragraph_first_word"
END = "startend:end_checker"


def make_row(*constraints: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"instruction_id_list": [name for name, _ in constraints], "kwargs": [given for _, given in constraints]}


def score(answer: str, *constraints: tuple[str, dict[str, Any]]) -> float | None:
    return instruction_rules(make_attempt(answer, make_row(*constraints))).score


SINGLE = {row["instruction_id_list"][0]: row for _, row, value in CASES if value == 1.0}


def test_every_checker_has_a_case_that_passes_and_one_that_fails() -> None:
    assert len(CHECKERS) == 25
    for wanted in (1.0, 0.0):
        assert set(CHECKERS) == {
            row["instruction_id_list"][0]
            for _, row, value in CASES
            if value == wanted and len(row["instruction_id_list"]) == 1
        }


@pytest.mark.parametrize("name", CHECKERS)
@pytest.mark.parametrize("text", ["", " \n\t", "...", "***", "******", "- ", '""', "<<>>", "[]", "{}"])
def test_a_text_that_says_nothing_keeps_no_rule(name: str, text: str) -> None:
    assert instruction_rules(make_attempt(text, SINGLE[name])).score == 0.0
    (constraint, *_), _ = read_constraints(SINGLE[name])
    assert constraint.fault(text)


LONG = [
    "a" * 100_000,
    "*" * 50_000,
    "* " * 30_000,
    "<<" * 30_000,
    "<<" + "a" * 99_999,
    '"' + "a" * 99_999,
    "." * 50_000,
]
LONG += [
    "[" * 50_000,
    "a. " * 30_000,
    "P.S." * 20_000,
    "SECTION " * 10_000,
    "\n" * 50_000,
    " " * 50_000 + "x",
    "{" * 50_000,
]
LONG += ["*a" * 30_000, "a*" * 30_000, "```" * 20_000, "\ud800" * 1_000, "\x00" * 1_000, "가나" * 20_000, ", " * 30_000]


@pytest.mark.parametrize("name", CHECKERS)
def test_long_and_hostile_text_neither_raises_nor_stalls(name: str) -> None:
    for text in LONG:
        started = time.process_time()
        verdict = instruction_rules(make_attempt(text, SINGLE[name]))
        assert time.process_time() - started < 1.0, text[:20]
        verdict.reason.encode()


def test_an_unknown_id_is_an_error_that_names_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="unknown instruction id 'keywords:exist'; did you mean 'keywords:existence'"):
        score("Hi.", (NO_COMMA, {}), ("keywords:exist", {"keywords": ["hi"]}))
    with pytest.raises(ValueError, match="unknown instruction id None; known are keywords:existence, "):
        contradictions({"instruction_id_list": [None], "kwargs": [{}]})


def test_every_constraint_counts_also_one_that_stands_there_twice() -> None:
    red, blue = (
        (FREQUENCY, {"keyword": "red", "frequency": 1, "relation": "at least"}),
        (EXISTENCE, {"keywords": ["blue"]}),
    )
    twice = (FREQUENCY, {"keyword": "red", "frequency": 3, "relation": "less than"})
    answers = ("red blue", "red red red blue", "blue", "red")
    assert [score(answer, red, twice, blue) for answer in answers] == [1, 0, 0, 0]


def test_the_outcome_is_the_score_and_the_reason_names_the_rule() -> None:
    verdict = instruction_rules(make_attempt("One, two.", make_row((NO_COMMA, {}))))
    assert verdict.outcome is False
    assert verdict.reason == "punctuation:no_comma: with a comma"
    assert instruction_rules(make_attempt("One two.", make_row((NO_COMMA, {})))).outcome is True


def test_nulls_of_a_table_and_whole_floats_are_read() -> None:
    table = {"num_words": 2.0, "relation": "at least", "keywords": None, "language": None}
    assert [score(answer, (WORDS, table)) for answer in ("Two words", "One")] == [1.0, 0.0]
    assert score("No comma", (NO_COMMA, None)) == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        (WORDS, {"relation": "at least"}, "num_words is missing"),
        (WORDS, {"num_words": 5, "relation": "at most"}, "relation is 'at most', need 'at least' or 'less than'"),
        (WORDS, {"num_words": -1, "relation": "at least"}, "num_words is -1, need a positive whole number"),
        (WORDS, {"num_words": 2.5, "relation": "at least"}, "num_words is 2.5"),
        (WORDS, {"num_words": True, "relation": "at least"}, "num_words is True"),
        (NO_COMMA, {"num_words": 5}, "takes no num_words"),
        (NO_COMMA, "{}", "its kwargs are a str, need an object"),
        (EXISTENCE, {"keywords": []}, "keywords is [], need a list of words"),
        (EXISTENCE, {"keywords": "word"}, "keywords is 'word', need a list of words"),
        (FORBIDDEN, {"forbidden_words": ["a", " "]}, "need a list of words"),
        (END, {"end_phrase": " "}, "end_phrase is ' ', need text"),
        (LANGUAGE, {"language": "tlh"}, "language is 'tlh', need one of"),
        (
            "keywords:letter_frequency",
            {"letter": "ab", "let_frequency": 1, "let_relation": "at least"},
            "one character",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_the_fault_of_the_row(name: str, given: Any, problem: str) -> None:
    (found,) = contradictions(make_row((name, given)))
    assert found.startswith(f"{name}: ")
    assert problem in found
    verdict = instruction_rules(make_attempt("Any text.", make_row((name, given))))
    assert verdict.score is None
    assert problem in verdict.reason or len(verdict.reason) == 300


@pytest.mark.parametrize(
    "row", [{}, {"instruction_id_list": []}, {"instruction_id_list": [NO_COMMA]}, {"kwargs": [{}]}]
)
def test_a_row_without_both_lists_cannot_be_judged(row: dict[str, Any]) -> None:
    assert contradictions(row)
    assert instruction_rules(make_attempt("Hi.", row)).score is None


def at_least(number: int) -> dict[str, Any]:
    return {"num_words": number, "relation": "at least"}


def less_than(number: int) -> dict[str, Any]:
    return {"num_words": number, "relation": "less than"}


def times(keyword: str, number: int, relation: str) -> tuple[str, dict[str, Any]]:
    return FREQUENCY, {"keyword": keyword, "frequency": number, "relation": relation}


def letters(letter: str, number: int, relation: str = "at least") -> tuple[str, dict[str, Any]]:
    return "keywords:letter_frequency", {"letter": letter, "let_frequency": number, "let_relation": relation}


def capitals(number: int, relation: str) -> tuple[str, dict[str, Any]]:
    return CAPITALS, {"capital_frequency": number, "capital_relation": relation}


@pytest.mark.parametrize(
    "constraints",
    [
        [(WORDS, at_least(20)), (WORDS, less_than(20))],
        [(WORDS, less_than(1))],
        [(SENTENCES, {"num_sentences": 1, "relation": "less than"})],
        [times("go", 3, "at least"), times(" GO", 3, "less than")],
        [letters("e", 4), letters("E", 2, "less than")],
        [(LOWERCASE, {}), (CAPITAL, {})],
        [(LOWERCASE, {}), capitals(2, "at least")],
        [(CAPITAL, {}), capitals(1, "less than")],
        [(LOWERCASE, {}), (LANGUAGE, {"language": "de"})],
        [(LANGUAGE, {"language": "en"}), (LANGUAGE, {"language": "de"})],
        [(LOWERCASE, {}), (SECTIONS, {"section_spliter": "Section", "num_sections": 2})],
        [(CAPITAL, {}), (SECTIONS, {"section_spliter": "Section", "num_sections": 2})],
        [(LOWERCASE, {}), ("detectable_format:constrained_response", {})],
        [(FORBIDDEN, {"forbidden_words": ["cat"]}), (EXISTENCE, {"keywords": ["dog", "Cat food"]})],
        [(FORBIDDEN, {"forbidden_words": ["cat"]}), times("cat", 1, "at least")],
        [(FORBIDDEN, {"forbidden_words": ["help"]}), (END, {"end_phrase": "Can I help?"})],
        [(NO_COMMA, {}), (END, {"end_phrase": "That is all, friends."})],
        [(NO_COMMA, {}), letters(",", 2)],
        [(NO_COMMA, {}), ("combination:repeat_prompt", {"prompt_to_repeat": "First, say hi."})],
        [(END, {"end_phrase": "The end."}), (END, {"end_phrase": "Bye."})],
        [(NTH, {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "now"})],
        [("length_constraints:number_paragraphs", {"num_paragraphs": number}) for number in (2, 3)],
        [("detectable_format:json_format", {}), ("combination:two_responses", {})],
        [("startend:quotation", {}), ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."})],
        [("length_constraints:number_paragraphs", {"num_paragraphs": 2}), ("combination:two_responses", {})],
    ],
    ids=str,
)
def test_what_no_answer_can_keep_is_reported_and_not_scored(constraints: list[tuple[str, dict[str, Any]]]) -> None:
    for order in (constraints, constraints[::-1]):
        (found,) = contradictions(make_row(*order))
        verdict = instruction_rules(make_attempt("Any text.", make_row(*order)))
        assert verdict.score is None
        assert verdict.reason == found[:300]


@pytest.mark.parametrize(
    ("answer", "constraints"),
    [
        ("one two three", [(WORDS, at_least(2)), (WORDS, less_than(4)), (LOWERCASE, {}), capitals(1, "less than")]),
        ("Go. The end.", [times("go", 1, "at least"), times("the", 2, "less than"), (END, {"end_phrase": "The end."})]),
        ("A cart.", [(FORBIDDEN, {"forbidden_words": ["car", "a b"]}), times("car", 2, "less than"), letters("a", 2)]),
        ("a banana", [(FORBIDDEN, {"forbidden_words": ["b"]}), letters("b", 1)]),
        ("THIS IS IT.", [(CAPITAL, {}), capitals(3, "at least"), (LANGUAGE, {"language": "en"})]),
        ("Bye. The end.", [(END, {"end_phrase": "The end."}), (END, {"end_phrase": "end."})]),
    ],
    ids=str,
)
def test_what_can_be_kept_together_is_no_contradiction(
    answer: str, constraints: list[tuple[str, dict[str, Any]]]
) -> None:
    assert not contradictions(make_row(*constraints))
    assert score(answer, *constraints) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("...", 0),
        ("No full stop", 1),
        ("One. Two! Three? Four", 4),
        ("Really?! Yes... I mean it.", 3),
        ("Dr. Smith met J. R. Brown at 5 p.m. on Friday.", 1),
        ("It costs 3.50 at shop.com, e.g. in town.", 1),
        ('He said "Stop." Then he left.', 2),
        ("1. First point.\n2. Second point.", 2),
        ("all in lower case. still two sentences.", 2),
        ("하나입니다. 둘입니다.", 2),
        ("一つです。二つです。", 2),
    ],
)
def test_sentences_are_counted(text: str, expected: int) -> None:
    assert count_sentences(text) == expected


@pytest.mark.parametrize(
    ("answer", "name", "given", "expected"),
    [
        ("I like C++.", EXISTENCE, {"keywords": ["C++"]}, 1.0),
        ("I like Casa.", EXISTENCE, {"keywords": ["C.s"]}, 0.0),
        ("# # # #", "keywords:letter_frequency", {"letter": "#", "let_frequency": 4, "let_relation": "at least"}, 0.0),
        (
            "#a #b #c #d",
            "keywords:letter_frequency",
            {"letter": "#", "let_frequency": 4, "let_relation": "at least"},
            1.0,
        ),
        ("one， two", NO_COMMA, {}, 0.0),
        ("12345", LANGUAGE, {"language": "fr"}, 0.0),
        ("42", "detectable_format:json_format", {}, 0.0),
        ('[{"a": []}]', "detectable_format:json_format", {}, 1.0),
        ("Say hi.", "combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, 0.0),
        ("“All of it.”", "startend:quotation", {}, 1.0),
        ("***bold*** and * not * this", "detectable_format:number_highlighted_sections", {"num_highlights": 1}, 1.0),
        ("1 * 2 * 3", "detectable_format:number_highlighted_sections", {"num_highlights": 1}, 0.0),
        ("* * *\n-5\n---", "detectable_format:number_bullet_lists", {"num_bullets": 1}, 0.0),
    ],
)
def test_the_wording_of_the_instruction_decides(answer: str, name: str, given: dict[str, Any], expected: float) -> None:
    assert score(answer, (name, given)) == expected
