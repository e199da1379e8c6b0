r"""Is the answer in the language of the question?

This is the language-consistency reward of EXAONE 4.0 section 2.4.3. Scripts decide first, because a script cannot be
guessed wrong: Korean is told by Hangul. Only where a script writes several languages does a detector choose among them
(py3langid: byte n-grams and naive Bayes, so the same text gets the same language everywhere); in answers of a word or
two that it cannot tell, function words do.

Limits, on purpose: the language of *most* words wins, so one foreign sentence in a long answer passes; a language that
is not in the list counts as the nearest one of its script that is; a single name or number cannot be judged.
"""

import copy
import re
import unicodedata
from functools import lru_cache
from typing import Any

from rewards.contract import Attempt, Case, Reward, Verdict

_MAX_CHARACTERS = 20_000  # a language shows long before that
_SURE, _LIKELY = 0.7, 0.5  # probabilities that the detector gives to its choice

# What belongs to no language: code, mathematics, commands, tags, addresses. Every pattern stops at the next opening
# sign of its own kind, so that a text of a thousand openings without an end is still read in linear time.
_NOT_PROSE = re.compile(
    r"```(?:(?!```).)*(?:```|$)|`[^`\n]*`"
    r"|\$\$[^$]*\$\$|\$[^$\n]{1,300}\$|\\\((?:(?!\\\().)*?\\\)|\\\[(?:(?!\\\[).)*?\\\]"
    r"|\\boxed\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|\\[a-zA-Z]+|<[^<>\s]{1,40}>|https?://\S+",
    re.DOTALL,
)
_SCRIPTS = {
    "latin": r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "hangul": r"가-힣\u1100-\u11ff\u3130-\u318f",
    "kana": r"\u3040-\u30ff",
    "han": r"\u3400-\u4dbf\u4e00-\u9fff",
    "cyrillic": r"\u0400-\u052f",
    "arabic": r"\u0620-\u065f\u066e-\u06ff",
    "devanagari": r"\u0900-\u0963\u0971-\u097f",
    "greek": r"\u0370-\u03ff",
    "hebrew": r"\u0591-\u05ea",
    "thai": r"\u0e01-\u0e3a\u0e40-\u0e4e",
    "bengali": r"\u0980-\u09e3",
    "gurmukhi": r"\u0a01-\u0a51\u0a59-\u0a5e\u0a70-\u0a75",
    "gujarati": r"\u0a81-\u0ae3",
    "tamil": r"\u0b82-\u0bd7",
    "telugu": r"\u0c00-\u0c63",
    "kannada": r"\u0c80-\u0ce3",
    "malayalam": r"\u0d00-\u0d63",
}
_RUN = re.compile(
    "|".join(rf"(?P<{script}>[{signs}]+)" for script, signs in _SCRIPTS.items()) + r"|(?P<other>[^\W\d_]+)"
)
_LANGUAGES = {
    "latin": "cs da de en es fi fr hr hu id it nl no pl pt ro sv sw tr vi",
    "hangul": "ko",
    "kana": "ja",
    "han": "zh",
    "cyrillic": "bg ru uk",
    "arabic": "ar fa ur",
    "devanagari": "hi mr ne",
    "greek": "el",
    "hebrew": "he",
    "thai": "th",
    "bengali": "bn",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
}
KNOWN_LANGUAGES = sorted(" ".join(_LANGUAGES.values()).split())
_COMMON = frozenset({"de", "en", "es", "fr", "it", "pt"})
_ENGLISH_WORDS = """
    the of and to in is are was were be been it its this that these those we you they she what which who when where how
    why with for from by at as an on or if then than so not do does did have had will would can could should there here
    my your our their about into only let let's answer therefore hence since because first next thus yes
"""
_SPANISH_WORDS = """
    el los las unos unas del y en es era qué sus con cómo pero más él ella esto eso estos hay sí cuando donde entonces
    luego porque también muy al ya tanto así desde hasta respuesta primero por
"""
_ENGLISH, _SPANISH = frozenset(_ENGLISH_WORDS.split()), frozenset(_SPANISH_WORDS.split())


def detect_language(text: str, expected: str | None = None) -> str | None:
    r"""Tell the language that most of a text is written in.

    Code, LaTeX, `\boxed{...}`, digits and punctuation are left out first; only the first 20,000 characters are read.

    Args:
        text: The text.
        expected: The language that it should be in. A few words may be of many languages ("Water boils faster here.");
            they are then compared with this one and the most common ones alone.

    Returns:
        A code of ISO 639-1; "other" for a script that is not known; None when there are no words, or too few to tell.
    """
    prose = _NOT_PROSE.sub(" ", unicodedata.normalize("NFC", text[:_MAX_CHARACTERS])).lower()
    runs = [(str(match.lastgroup), match[0]) for match in _RUN.finditer(prose)]
    sizes = dict.fromkeys([*_SCRIPTS, "other"], 0.0)
    for script, run in runs:
        sizes[script] += _count_words(script, run)
    script = max(sizes, key=lambda name: sizes[name])
    if not sizes[script]:
        return None
    if script in ("kana", "han"):
        return "ja" if sizes["kana"] else "zh"
    if script == "other":
        return "other"
    languages = frozenset(_LANGUAGES[script].split())
    if len(languages) == 1:
        return min(languages)
    words = [run for name, run in runs if name == script]
    return _nearest(words, languages, _SURE) or _from_few_words(words, languages, expected)


def _from_few_words(words: list[str], languages: frozenset[str], expected: str | None) -> str | None:
    """What the detector is not sure of. Where English or Spanish may be expected, their function words know better."""
    if expected in ("en", "es") or expected not in languages:
        english, spanish = (sum(word in known for word in words) for known in (_ENGLISH, _SPANISH))
        if english != spanish:
            return "en" if english > spanish else "es"
    likely = languages & (_COMMON | {expected}) if expected else languages
    return _nearest(words, languages, _LIKELY) or _nearest(words, likely or languages, _LIKELY)


def _count_words(script: str, run: str) -> float:
    """How many words. A single Latin or Greek letter is a variable; kana and Chinese have no spaces: two are a word."""
    if script in ("latin", "greek"):
        return float(len(run) > 1)
    return len(run) / 2 if script in ("kana", "han") else 1


def _nearest(words: list[str], languages: frozenset[str], min_probability: float) -> str | None:
    language, probability = _detector(languages).classify(" ".join(words))
    return str(language) if probability >= min_probability else None


@lru_cache(maxsize=64)
def _detector(languages: frozenset[str]) -> Any:
    detector = copy.copy(_load_detector())
    detector.set_languages(languages)
    return detector


@lru_cache(maxsize=1)
def _load_detector() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


SEES = ("prompt", "answer", "row")


def language(attempt: Attempt) -> Verdict:
    """Score 1 when the answer is in the language of the question, else 0; it says nothing about correctness.

    The language of the question is `row["language"]`; where the row has none, that of the last user message. Only the
    answer counts, not the thinking. Score None when the row names a language that is not known, when the question has
    too few words to tell, and when the answer has (a bare number): pair this reward with one that demands an answer.
    """
    asked = attempt.row.get("language")
    if asked is None:
        asked = detect_language(_question(attempt))
        if asked is None:
            return Verdict(None, reason="no row['language'], and too few words in the question to tell")
    if asked not in KNOWN_LANGUAGES:
        return Verdict(None, reason=f"asked in {asked!r}, need one of {', '.join(KNOWN_LANGUAGES)}")
    spoken = detect_language(attempt.answer, expected=asked)
    if spoken is None:
        return Verdict(None, reason="too few words to tell the language")
    if spoken == asked:
        return Verdict(1.0, extracted=spoken)
    return Verdict(0.0, extracted=spoken, reason=f"asked in {asked}, answered in {spoken}")


def _question(attempt: Attempt) -> str:
    asked = [message.get("content") for message in attempt.prompt if message.get("role") == "user"]
    return asked[-1] if asked and isinstance(asked[-1], str) else ""


EXAMPLE: Reward = language

_EN, _KO, _ES, _FR = ({"language": name} for name in ("en", "ko", "es", "fr"))
_GERMAN = [{"role": "user", "content": "Wie viele Äpfel bleiben übrig, wenn man drei von zehn isst?"}]
CASES: list[Case] = [
    (r"The answer is \boxed{7}.", _EN, 1.0),
    (r"정답은 \boxed{7} 입니다.", _KO, 1.0),
    (r"La respuesta es \boxed{7}.", _ES, 1.0),
    (r"La réponse est \boxed{7}.", _FR, 1.0),
    ("Seven apples", _EN, 1.0),
    (r"The answer is \boxed{7}.", _KO, 0.0),
    (r"The answer is \boxed{7}.", _ES, 0.0),
    (r"The answer is \boxed{7}.", _FR, 0.0),
    (r"정답은 \boxed{7} 입니다.", _EN, 0.0),
    (r"La respuesta es \boxed{7}.", _EN, 0.0),
    (r"Portanto, a resposta é \boxed{7}.", _ES, 0.0),
    ("Python의 list comprehension을 쓰면 코드가 짧아집니다.", _KO, 1.0),
    ("다음 코드를 쓰세요:\n```python\nfor item in the_list_of_items:\n    print(item)\n```", _KO, 1.0),
    ("Queda $x + y = z$, y por tanto no hay solución.", _ES, 1.0),
    ("José García was the first to see that it is so.", _EN, 1.0),
    ("他的答案是七。", _KO, 0.0),
    ("答えは七です。", _KO, 0.0),
    ("Ответ равен семи.", _EN, 0.0),
    ("Відповідь дорівнює семи.", {"language": "uk"}, 1.0),
    ({"answer": "The answer is 7.", "thinking": "답은 7이다."}, _EN, 1.0),
    ({"answer": "Es bleiben sieben Äpfel übrig.", "prompt": _GERMAN}, {}, 1.0),
    ({"answer": "Seven apples are left.", "prompt": _GERMAN}, {"language": None}, 0.0),
    (r"\boxed{\text{the one and only}}", _ES, None),
    ("42", _EN, None),
    ("x = y", _ES, None),
    ("Madrid", _ES, None),
    ("", _KO, None),
    ("The answer is 7.", {"language": "tlh"}, None),
    ("The answer is 7.", {}, None),
]
