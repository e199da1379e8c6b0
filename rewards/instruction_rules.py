"""Does the answer keep to every rule that its prompt sets, such as "at least 200 words" or "no commas"?

The rules are the 25 constraints of IFEval, and a row names them as that data set and those after it do:

    {"instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
     "kwargs": [{}, {"num_words": 200, "relation": "at least"}], ...}

Both are lists, so a rule may stand there twice. Nothing is made up where an argument is missing, and no id is passed
over. The checkers and where they follow the wording more closely than the benchmark's code: `rewards._instructions`.
"""

from collections.abc import Mapping
from typing import Any

from rewards._instructions.conflicts import find_conflicts
from rewards._instructions.constraints import read_constraints
from rewards._printable import printable
from rewards.contract import Attempt, Case, Reward, Verdict

SEES = ("answer", "is_truncated", "row")


def instruction_rules(attempt: Attempt) -> Verdict:
    """Score 1 with the outcome right when every constraint of the row holds, else 0 with the outcome wrong.

    Score None when the row has no constraints, when arguments are missing or of another kind, and when no answer could
    keep all of them (see `contradictions`).

    Raises:
        ValueError: the row names an id that there is no checker for.
    """
    constraints, problems = read_constraints(attempt.row)
    problems = problems or find_conflicts(constraints)
    if problems:
        return Verdict(None, reason="; ".join(problems)[:300])
    if not attempt.answer.strip():
        return Verdict(0.0, outcome=False, reason="truncated" if attempt.is_truncated else "no answer")
    for constraint in constraints:
        fault = constraint.fault(attempt.answer)
        if fault:
            return Verdict(0.0, outcome=False, reason=printable(f"{constraint.id}: {fault}"))
    return Verdict(1.0, outcome=True)


def contradictions(row: Mapping[str, Any]) -> list[str]:
    """What is wrong with the constraints of a row by themselves; empty when an answer can keep them all.

    Arguments that are missing or make no sense, at least 20 words and less than 10, a required word that is forbidden,
    lower case only and words in capitals, ... That a prompt asks for something else than its row cannot be seen here.

    Raises:
        ValueError: the row names an id that there is no checker for.
    """
    constraints, problems = read_constraints(row)
    return problems or find_conflicts(constraints)


EXAMPLE: Reward = instruction_rules


def _both(name: str, kept: str, broken: str, **arguments: Any) -> list[Case]:
    row = {"instruction_id_list": [name], "kwargs": [arguments]}
    return [(kept, row, 1.0), (broken, row, 0.0)]


def _row(**constraints: dict[str, Any] | None) -> dict[str, Any]:
    ids = [name.replace("__", ":") for name in constraints]
    return {"instruction_id_list": ids, "kwargs": list(constraints.values())}


_WORDS_TWICE = {
    "instruction_id_list": ["length_constraints:number_words"] * 2,
    "kwargs": [{"num_words": 2, "relation": "at least"}, {"num_words": 4, "relation": "less than"}],
}
CASES: list[Case] = [
    *_both("keywords:existence", "A Red fox.", "A fox.", keywords=["red", "fox"]),
    *_both("keywords:frequency", "Go, go!", "Go!", keyword="go", frequency=2, relation="at least"),
    *_both("keywords:forbidden_words", "Catalogue.", "The CAT.", forbidden_words=["cat"]),
    *_both(
        "keywords:letter_frequency",
        "Banana",
        "Banana Antarctica",
        letter="A",
        let_frequency=4,
        let_relation="less than",
    ),
    *_both("language:response_language", "La réponse est sept.", "The answer is seven.", language="fr"),
    *_both("length_constraints:number_words", "Two words", "One", num_words=2, relation="at least"),
    *_both("length_constraints:number_words", "Two words", "These are more", num_words=3, relation="less than"),
    *_both(
        "length_constraints:number_sentences",
        "Dr. No came. He won.",
        "Dr. No won.",
        num_sentences=2,
        relation="at least",
    ),
    *_both("length_constraints:number_paragraphs", "One\n***\nTwo", "One\n\nTwo", num_paragraphs=2),
    *_both(
        "length_constraints:nth_paragraph_first_word",
        'One.\n\n\n\n"Now, two.',
        "One.\n\nTwo, now.",
        num_paragraphs=2,
        nth_paragraph=2,
        first_word="now",
    ),
    *_both(
        "change_case:capital_word_frequency",
        "STOP at ONE-WAY",
        "Stop AT",
        capital_frequency=2,
        capital_relation="at least",
    ),
    *_both("change_case:english_capital", "THIS IS THE END.", "THIS is the end."),
    *_both("change_case:english_lowercase", "this is the end.", "das ist das ende der geschichte."),
    *_both("punctuation:no_comma", "One and two", "One, two"),
    *_both("detectable_format:number_bullet_lists", "* one\n  - two\n---", "* one\n* two\n* three", num_bullets=2),
    *_both("detectable_format:number_highlighted_sections", "*one* and **two**", "* one\n* two", num_highlights=2),
    *_both(
        "detectable_format:multiple_sections",
        "SECTION 1\nHello\n## SECTION 2\nBye",
        "SECTION 1\nas in SECTION 1 and SECTION 2",
        section_spliter="SECTION",
        num_sections=2,
    ),
    *_both("detectable_format:title", "<<A poem>>\nRoses", "<< >>\nRoses"),
    *_both("detectable_format:json_format", '```json\n{"a": 1}\n```', '{"a": 1} is JSON'),
    *_both("detectable_format:constrained_response", "My answer is no.", "My answer is yes. My answer is no."),
    *_both("detectable_content:number_placeholders", "[name], [address]", "[name], []", num_placeholders=2),
    *_both("detectable_content:postscript", "Bye.\n\nP. S. I won.", "I added a P.S. to it.", postscript_marker="P.S."),
    *_both("detectable_content:postscript", "Bye.\n\n**P.P.S.** I won.", "Bye.\nP.P.S.", postscript_marker="P.P.S"),
    *_both("combination:two_responses", "One\n******\nTwo", "One\n******\nOne"),
    *_both("combination:repeat_prompt", "Say hi.\nHi!", "Hi!", prompt_to_repeat="Say hi."),
    *_both("startend:end_checker", "Bye. Any questions?", "Any questions? Bye.", end_phrase="any questions?"),
    *_both("startend:quotation", '"Hello."', 'He said "Hello."'),
    ("Three words here", _WORDS_TWICE, 1.0),
    ("One", _WORDS_TWICE, 0.0),
    ("These are four words", _WORDS_TWICE, 0.0),
    ("one two", _row(punctuation__no_comma=None, change_case__english_lowercase={"language": None}), 1.0),
    ("One two", _row(punctuation__no_comma={}, change_case__english_lowercase={}), 0.0),
    ("", _row(punctuation__no_comma={}), 0.0),
    ("Hi.", {}, None),
    ("Hi.", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, None),
    ("Hi.", _row(length_constraints__number_words={"relation": "at least"}), None),
    ("Hi.", _row(length_constraints__number_words={"relation": "at most", "num_words": 5}), None),
    ("Hi.", _row(change_case__english_lowercase={}, change_case__english_capital={}), None),
]
