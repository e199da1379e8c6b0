r"""Is the answer in the language of the question?

This is the language-consistency reward of EXAONE 4.0 section 2.4.3. Scripts decide first, because a script cannot be
guessed wrong: Korean is told by Hangul. Only Latin text needs words: English and Spanish are told apart by function
words that the other language does not have, and by Spanish letters.

Limits, on purpose: the language of *most* words wins, so one foreign sentence in a long answer passes; other languages
in Latin script are not known and may count as either; a single name or number cannot be judged.
"""

import re
import unicodedata

from rewards.contract import Attempt, Case, Reward, Verdict

_LANGUAGES = ("en", "ko", "es")
_MAX_CHARACTERS = 20_000  # a language shows long before that

# What belongs to no language: code, mathematics, commands, tags, addresses. Every pattern stops at the next opening
# sign of its own kind, so that a text of a thousand openings without an end is still read in linear time.
_NOT_PROSE = re.compile(
    r"```(?:(?!```).)*(?:```|$)|`[^`\n]*`"
    r"|\$\$[^$]*\$\$|\$[^$\n]{1,300}\$|\\\((?:(?!\\\().)*?\\\)|\\\[(?:(?!\\\[).)*?\\\]"
    r"|\\boxed\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|\\[a-zA-Z]+|<[^<>\s]{1,40}>|https?://\S+",
    re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]+")
_SCRIPTS = {
    "hangul": re.compile(r"[가-힣\u1100-\u11ff\u3130-\u318f]+"),
    "kana": re.compile(r"[\u3040-\u30ff]+"),
    "han": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+"),
    "latin": re.compile(r"[A-Za-z\u00aa-\u024f]+"),
}
_ENGLISH_WORDS = """
    the of and to in is are was were be been it its this that these those we you they she what which who when where how
    why with for from by at as an on or if then than so not do does did have had will would can could should there here
    my your our their about into only also let let's answer therefore hence since because first next thus
"""
_SPANISH_WORDS = """
    el la los las un una unos unas de del y en es era está están ser que qué se su sus lo le les por para con como cómo
    pero más mi tu nos yo él ella esto esta este estos estas eso hay si sí cuando donde entonces luego porque entre
    sobre también muy al ya tanto así cada desde hasta respuesta primero
"""
_ENGLISH, _SPANISH = frozenset(_ENGLISH_WORDS.split()), frozenset(_SPANISH_WORDS.split())
_SPANISH_SIGNS = re.compile(r"[áéíóúüñ¿¡]")


def detect_language(text: str) -> str | None:
    r"""Tell the language that most of a text is written in.

    Code, LaTeX, `\boxed{...}`, digits and punctuation are left out first; only the first 20,000 characters are read.

    Returns:
        "ko", "en" or "es"; "ja" or "zh" for kana or Chinese characters; "other" for any other script; None when there
        are no words, or none that tell English from Spanish.
    """
    prose = _NOT_PROSE.sub(" ", unicodedata.normalize("NFC", text[:_MAX_CHARACTERS])).lower()
    words = _WORD.findall(prose)
    sizes = {script: _count_words(words, script) for script in _SCRIPTS}
    sizes["other"] = sum(not any(pattern.search(word) for pattern in _SCRIPTS.values()) for word in words)
    script = max(sizes, key=lambda name: sizes[name])
    if not sizes[script]:
        return None
    if script == "latin":
        return _english_or_spanish(words, prose)
    if script in ("kana", "han"):
        return "ja" if sizes["kana"] else "zh"
    return "ko" if script == "hangul" else "other"


def _count_words(words: list[str], script: str) -> float:
    """Words of a script. A single Latin letter is a variable; kana and Chinese have no spaces: two signs are a word."""
    runs = [run for word in words for run in _SCRIPTS[script].findall(word)]
    if script == "latin":
        return sum(len(run) > 1 for run in runs)
    return sum(map(len, runs)) / 2 if script in ("kana", "han") else len(runs)


def _english_or_spanish(words: list[str], prose: str) -> str | None:
    english = sum(word in _ENGLISH for word in words)
    spanish = sum(word in _SPANISH for word in words) + len(_SPANISH_SIGNS.findall(prose))
    if english == spanish:
        return None
    return "en" if english > spanish else "es"


def language(attempt: Attempt) -> Verdict:
    """Score 1 when the answer is in the language `row["language"]`, else 0; it says nothing about correctness.

    Only the answer counts, not the thinking. Score None when the row names no language out of en, ko, es, and when the
    answer has no words to judge by (a bare number): pair this reward with one that demands an answer.
    """
    asked = attempt.row.get("language")
    if asked not in _LANGUAGES:
        return Verdict(None, reason=f"row['language'] is {asked!r}, need one of {', '.join(_LANGUAGES)}")
    spoken = detect_language(attempt.answer)
    if spoken is None:
        return Verdict(None, reason="too few words to tell the language")
    if spoken == asked:
        return Verdict(1.0, extracted=spoken)
    return Verdict(0.0, extracted=spoken, reason=f"asked in {asked}, answered in {spoken}")


EXAMPLE: Reward = language

_EN, _KO, _ES = ({"language": name} for name in _LANGUAGES)
CASES: list[Case] = [
    (r"The answer is \boxed{7}.", _EN, 1.0),
    (r"정답은 \boxed{7} 입니다.", _KO, 1.0),
    (r"La respuesta es \boxed{7}.", _ES, 1.0),
    (r"The answer is \boxed{7}.", _KO, 0.0),
    (r"The answer is \boxed{7}.", _ES, 0.0),
    (r"정답은 \boxed{7} 입니다.", _EN, 0.0),
    (r"La respuesta es \boxed{7}.", _EN, 0.0),
    ("Python의 list comprehension을 쓰면 코드가 짧아집니다.", _KO, 1.0),
    ("다음 코드를 쓰세요:\n```python\nfor item in the_list_of_items:\n    print(item)\n```", _KO, 1.0),
    ("Queda $x + y = z$, y por tanto no hay solución.", _ES, 1.0),
    ("José García was the first to see that it is so.", _EN, 1.0),
    ("他的答案是七。", _KO, 0.0),
    ("答えは七です。", _KO, 0.0),
    ("Ответ равен семи.", _EN, 0.0),
    ({"answer": "The answer is 7.", "thinking": "답은 7이다."}, _EN, 1.0),
    (r"\boxed{\text{the one and only}}", _ES, None),
    ("42", _EN, None),
    ("x = y", _ES, None),
    ("Madrid", _ES, None),
    ("", _KO, None),
    ("The answer is 7.", {"language": "fr"}, None),
    ("The answer is 7.", {}, None),
]
