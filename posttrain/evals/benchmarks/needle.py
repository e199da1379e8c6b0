"""Needle in a haystack: one sentence in a long text has a code, and the model is asked for it.

Every message has exactly the tokens that are asked for, in the model's own tokenizer (the template's tags come on top),
and the needle stands at the boundary between two sentences that is nearest to the asked depth: 0 is the beginning of
the text, 1 its end. Codes are drawn anew for each question, so that nothing can be known beforehand.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.chat import encode_prompt
from posttrain.data.rows import Row
from posttrain.errors import UserError
from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import user
from posttrain.recipe import RewardSpec
from rewards.contract import Attempt, Verdict

_HAY = {
    "en": (
        "The market opened early, and the first customers asked for bread and apples.",
        "A cat slept on the warm roof while the street filled with voices.",
        "Nobody could remember who had planted the old tree beside the school.",
        "In the evening the fishermen came home and hung their nets along the wall.",
        "She wrote a letter to her sister and told her about the garden.",
        "The train was late again, so they talked about the weather and the harvest.",
        "On the hill above the village there stood a mill without wings.",
        "The children followed the river until they could hear the sea.",
    ),
    "ko": (
        "시장은 일찍 문을 열었고 첫 손님들은 빵과 사과를 찾았다.",
        "고양이 한 마리가 따뜻한 지붕 위에서 잠을 자고 있었다.",
        "학교 옆의 오래된 나무를 누가 심었는지 아무도 기억하지 못했다.",
        "저녁이 되자 어부들은 집으로 돌아와 담을 따라 그물을 널었다.",
        "그녀는 언니에게 편지를 써서 정원 이야기를 들려주었다.",
        "기차가 또 늦어서 사람들은 날씨와 추수에 대해 이야기했다.",
        "마을 위 언덕에는 날개 없는 풍차가 서 있었다.",
        "아이들은 바닷소리가 들릴 때까지 강을 따라 걸었다.",
    ),
    "es": (
        "El mercado abrió temprano y los primeros clientes pidieron pan y manzanas.",
        "Un gato dormía en el tejado caliente mientras la calle se llenaba de voces.",
        "Nadie recordaba quién había plantado el viejo árbol junto a la escuela.",
        "Por la tarde los pescadores volvieron a casa y tendieron las redes en el muro.",
        "Ella escribió una carta a su hermana y le habló del jardín.",
        "El tren llegó tarde otra vez, así que hablaron del tiempo y de la cosecha.",
        "En la colina, encima del pueblo, había un molino sin aspas.",
        "Los niños siguieron el río hasta que pudieron oír el mar.",
    ),
}
_NEEDLE = {
    "en": "The code of the blue box is {code}.",
    "ko": "파란 상자의 암호는 {code} 이다.",
    "es": "El código de la caja azul es {code}.",
}
_QUESTION = {
    "en": "What is the code of the blue box in this text? Answer with the code.",
    "ko": "이 글에 나오는 파란 상자의 암호는 무엇입니까? 암호로 답하세요.",
    "es": "¿Cuál es el código de la caja azul en este texto? Responde con el código.",
}
_PADS = (" .", ".", " -", "\n", " a")  # one of them is a token of its own wherever text is cut into tokens
_TRIES = 8

SEES = ("answer", "is_truncated", "row")


def needle(
    *,
    tokenizer: Any,
    lengths: Sequence[int] = (1024, 2048, 4096),
    depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    languages: Sequence[str] = ("en", "ko", "es"),
    per_cell: int = 1,
    seed: int = 0,
) -> Benchmark:
    """Questions for every length, depth and language; results by length and depth.

    Args:
        tokenizer: the model's.
        lengths: of the message in tokens.
        depths: of the needle in the text, 0 to 1.
        languages: of en, ko and es.
        per_cell: questions for each length, depth and language.
        seed: same seed, same questions.

    Raises:
        ValueError: a depth or a language that there is none of.
        UserError: a length that the question alone exceeds, or that cannot be met exactly.
    """
    unknown = sorted(set(languages) - set(_HAY))
    if unknown or not all(0 <= depth <= 1 for depth in depths):
        raise ValueError(f"got languages {unknown}, depths {list(depths)}; need {', '.join(_HAY)}, and 0 to 1")
    rows = [
        _row(tokenizer, length, depth, language, random.Random(f"{seed} {length} {depth} {language} {number}"))
        for length in lengths
        for depth in depths
        for language in languages
        for number in range(per_cell)
    ]
    reward = RewardSpec(use="posttrain.evals.benchmarks.needle:needle_found")
    return Benchmark(rows, [reward], cells=("length", "depth"))


def needle_found(attempt: Attempt) -> Verdict:
    """Score 1 with the outcome right when the answer has the code `row["answer"]` and no other, else 0.

    Thousands may be separated. Score None when the row has no code.
    """
    gold = attempt.row.get("answer")
    if not isinstance(gold, str) or not gold.isdecimal():
        return Verdict(None, reason="row['answer'] has no code of digits")
    codes = set(re.findall(r"\d{5,}", re.sub(r"(?<=\d)[,. ](?=\d{3})", "", attempt.answer)))
    extracted = ", ".join(sorted(codes))[:100] or None
    if codes == {gold}:
        return Verdict(1.0, outcome=True, extracted=extracted)
    reason = "another code" if codes else "truncated" if attempt.is_truncated else "no code"
    return Verdict(0.0, outcome=False, extracted=extracted, reason=reason)


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The code itself."""
    gold = row.get("answer")
    return gold if isinstance(gold, str) else None


def _row(tokenizer: Any, length: int, depth: float, language: str, rng: random.Random) -> Row:
    code = str(rng.randrange(1_000_000, 10_000_000))
    return {
        "messages": user(_message(tokenizer, length, depth, language, code, rng)),
        "answer": code,
        "language": language,
        "domain": "long_context",
        "length": length,
        "depth": depth,
    }


def _message(tokenizer: Any, length: int, depth: float, language: str, code: str, rng: random.Random) -> str:
    """A text of sentences with the needle among them, then the question, in exactly `length` tokens."""
    hay: list[str] = []

    def write(num_sentences: int, padding: str = "") -> str:
        before = round(depth * num_sentences)
        sentences = [*hay[:before], _NEEDLE[language].format(code=code), *hay[before:num_sentences]]
        return f"{' '.join(sentences)}{padding}\n\n{_QUESTION[language]}"

    def missing(num_sentences: int, padding: str = "") -> int:
        return length - len(encode_prompt(tokenizer, write(num_sentences, padding)))

    if missing(0) < 0:
        needed = length - missing(0)
        raise UserError(
            f"a needle in {length} tokens: the question alone takes {needed} ({language}); need a longer text"
        )
    shortest = min(len(encode_prompt(tokenizer, sentence)) for sentence in _HAY[language])
    hay += rng.choices(_HAY[language], k=2 + length // max(1, shortest - 1))
    fits, too_many = 0, len(hay) + 1
    while too_many - fits > 1:  # the most sentences that still fit
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if missing(middle) >= 0 else (fits, middle)
    for pad in _PADS:
        repeats = missing(fits)
        for _ in range(_TRIES):
            still = missing(fits, pad * repeats)
            if not still:
                return write(fits, pad * repeats)
            repeats = max(0, repeats + still)
    raise UserError(f"a needle in {length} tokens: this tokenizer gives no text of exactly that length ({language})")
