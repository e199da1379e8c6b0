"""The 25 constraints of IFEval (Zhou et al. 2023, arXiv:2311.07911), each as a function `text, arguments -> fault`.

A fault says in a few words what is wrong; it is "" when the constraint holds. The names of the arguments are those of
the data sets. Every checker finds a fault in a text without words.

Where the benchmark's own code and the wording of its instructions differ, the wording is followed:

- a keyword is text, not a pattern (`C++`); a letter may be any character (`#`);
- a postscript begins a line and says something; a bullet has a space and text after its sign (`---` is none);
- sections are counted by their numbers, at the beginning of lines; empty paragraphs count nowhere;
- exactly one of the constrained responses is given, not all three;
- JSON is an object or a list; after the repeated prompt comes an answer; a comma is a comma in every script;
- the language is told by `rewards.language`, the same way every time, and text in no language is not in the right one;
- sentences are counted by a few rules, without a model that would have to be downloaded.
"""

from collections.abc import Callable

from rewards._instructions import content, layout, wording

CHECKERS: dict[str, Callable[..., str]] = {
    "keywords:existence": wording.keywords_exist,
    "keywords:frequency": wording.keyword_frequency,
    "keywords:forbidden_words": wording.forbidden_words,
    "keywords:letter_frequency": wording.letter_frequency,
    "language:response_language": wording.response_language,
    "length_constraints:number_words": wording.number_words,
    "length_constraints:number_sentences": wording.number_sentences,
    "length_constraints:number_paragraphs": layout.number_paragraphs,
    "length_constraints:nth_paragraph_first_word": layout.nth_paragraph_first_word,
    "change_case:capital_word_frequency": wording.capital_word_frequency,
    "change_case:english_capital": wording.english_capital,
    "change_case:english_lowercase": wording.english_lowercase,
    "punctuation:no_comma": wording.no_comma,
    "detectable_format:number_bullet_lists": layout.number_bullet_lists,
    "detectable_format:number_highlighted_sections": layout.number_highlighted_sections,
    "detectable_format:multiple_sections": layout.multiple_sections,
    "detectable_format:title": layout.title,
    "detectable_format:json_format": layout.json_format,
    "detectable_format:constrained_response": content.constrained_response,
    "detectable_content:number_placeholders": content.number_placeholders,
    "detectable_content:postscript": content.postscript,
    "combination:two_responses": layout.two_responses,
    "combination:repeat_prompt": content.repeat_prompt,
    "startend:end_checker": content.end_checker,
    "startend:quotation": content.quotation,
}
