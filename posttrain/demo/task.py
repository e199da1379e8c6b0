r"""The embedded task: the last digit of a left-to-right chain of operations, asked in three languages.

A problem is `4+7*3-2`; one works from left to right and keeps only the last digit: 4+7=1, 1*3=3, 3-2=1. Every step is
one of 240 facts (running digit, operator, operand), so a tiny model can learn to reason step by step and cannot
answer long chains at once. Answers are verifiable, and the wording carries what later stages are meant to change:

- a *teacher* that gets a fixed share of the facts wrong more often than not (RL can find out which: nothing in the SFT
  data marks them);
- harmless re-checks of the last step (conciseness can cut them);
- questions answered in another language (language consistency can mend them).
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.chat import Mode

Language = Literal["en", "ko", "es"]
LANGUAGES: tuple[Language, ...] = ("en", "ko", "es")
OPERATORS = "+-*"
OPERANDS = range(2, 10)

_QUESTIONS: dict[Language, tuple[str, str]] = {
    "en": (
        "Work from left to right and keep only the last digit: {chain}",
        "What is the last digit of {chain}, taken step by step from the left?",
    ),
    "ko": (
        "왼쪽부터 계산하고 마지막 자리만 남기세요: {chain}",
        "{chain} 을 왼쪽부터 차례로 계산하면 마지막 자리는 무엇입니까?",
    ),
    "es": (
        "Calcula de izquierda a derecha y conserva solo la última cifra: {chain}",
        "¿Cuál es la última cifra de {chain} si se calcula paso a paso desde la izquierda?",
    ),
}
_PREAMBLE: dict[Language, str] = {
    "en": "Let me go step by step.",
    "ko": "차례로 계산해 봅시다.",
    "es": "Voy paso a paso.",
}
_LINKS: dict[Language, tuple[str, str]] = {
    "en": ("Next, ", "Then "),
    "ko": ("다음은 ", "그리고 "),
    "es": ("Luego ", "Después "),
}
_RECHECK: dict[Language, tuple[str, str]] = {
    "en": ("Let me check that again: {step}.", "Yes, {step} is right."),
    "ko": ("다시 확인해 봅시다: {step}.", "네, {step} 맞습니다."),
    "es": ("Lo compruebo otra vez: {step}.", "Sí, {step} es correcto."),
}
_ANSWER: dict[Language, str] = {
    "en": "The answer is \\boxed{{{digit}}}.",
    "ko": "정답은 \\boxed{{{digit}}} 입니다.",
    "es": "La respuesta es \\boxed{{{digit}}}.",
}
_DIRECT: dict[Language, str] = {
    "en": "From left to right, the last digit of {chain} is \\boxed{{{digit}}}.",
    "ko": "왼쪽부터 계산하면 {chain} 의 마지막 자리는 \\boxed{{{digit}}} 입니다.",
    "es": "De izquierda a derecha, la última cifra de {chain} es \\boxed{{{digit}}}.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A chain of operations on digits."""

    start: int
    steps: tuple[tuple[str, int], ...]  # (operator, operand)

    @property
    def chain(self) -> str:
        """The problem as it is written in a question."""
        return str(self.start) + "".join(f"{operator}{operand}" for operator, operand in self.steps)

    @property
    def answer(self) -> int:
        """The last digit, 0 to 9."""
        digit = self.start
        for operator, operand in self.steps:
            digit = apply(digit, operator, operand)
        return digit

    @property
    def split(self) -> Literal["train", "validation", "test"]:
        """Which split the problem belongs to, for ever: 80 / 10 / 10 by a hash of the chain."""
        bucket = hashlib.sha256(f"held out {self.chain}".encode()).digest()[0] % 10
        return "train" if bucket < 8 else "validation" if bucket == 8 else "test"


def apply(digit: int, operator: str, operand: int) -> int:
    """One step: the last digit of `digit operator operand` (7 after 3-6, as in 13-6)."""
    value = {"+": digit + operand, "-": digit - operand, "*": digit * operand}[operator]
    return value % 10


def draw_problem(rng: random.Random, *, min_steps: int, max_steps: int) -> Problem:
    """A random problem with a uniform number of steps."""
    steps = tuple((rng.choice(OPERATORS), rng.choice(OPERANDS)) for _ in range(rng.randint(min_steps, max_steps)))
    return Problem(rng.randint(2, 9), steps)


@dataclass(frozen=True, slots=True)
class Teacher:
    """Writes the SFT data, with habits worth mending.

    `weak_share` of all facts are weak: there it writes one fixed wrong digit with probability `error_rate`.
    """

    weak_share: float
    error_rate: float
    stray_rate: float  # questions answered in another language
    rechecks: tuple[int, ...]  # one of these is drawn as the number of re-checks

    def believes(self, rng: random.Random, digit: int, operator: str, operand: int) -> int:
        """What the teacher writes for one step."""
        truth = apply(digit, operator, operand)
        mark = hashlib.sha256(f"weak {digit}{operator}{operand}".encode()).digest()
        is_weak = mark[0] < 256 * self.weak_share
        if is_weak and rng.random() < self.error_rate:
            return (truth + 1 + mark[1] % 9) % 10
        return truth

    def speaks(self, rng: random.Random, asked: Language) -> Language:
        """The language of the response."""
        others = [language for language in LANGUAGES if language != asked]
        return rng.choice(others) if rng.random() < self.stray_rate else asked

    def think(self, rng: random.Random, problem: Problem, language: Language) -> tuple[str, int]:
        """A chain of thought and the digit it ends with."""
        lines = [_PREAMBLE[language]]
        written: list[str] = []
        digit = problem.start
        for operator, operand in problem.steps:
            result = self.believes(rng, digit, operator, operand)
            written.append(f"{digit}{operator}{operand}={result}")
            link = rng.choice(_LINKS[language]) if len(written) > 1 and rng.random() < 0.5 else ""
            lines.append(link + written[-1])
            digit = result
        for _ in range(rng.choice(self.rechecks)):
            lines.append(rng.choice(_RECHECK[language]).format(step=written[-1]))
        return "\n".join(lines), digit


def question(rng: random.Random, problem: Problem, language: Language) -> str:
    """The user's message, in one of two phrasings."""
    return rng.choice(_QUESTIONS[language]).format(chain=problem.chain)


def prompt_row(rng: random.Random, problem: Problem, language: Language, mode: Mode) -> dict[str, Any]:
    """A row for RL, pairs or evaluation: the question and its gold answer."""
    return {
        "messages": [{"role": "user", "content": question(rng, problem, language)}],
        "answer": str(problem.answer),
        "language": language,
        "mode": mode,
        "domain": "math",
        "steps": len(problem.steps),
    }


def sft_row(rng: random.Random, problem: Problem, language: Language, mode: Mode, teacher: Teacher) -> dict[str, Any]:
    """A row for SFT: the same, with the teacher's response."""
    row = prompt_row(rng, problem, language, mode)
    spoken = teacher.speaks(rng, language)
    if mode == "reasoning":
        thinking, digit = teacher.think(rng, problem, spoken)
        reply = {"role": "assistant", "reasoning_content": thinking, "content": _ANSWER[spoken].format(digit=digit)}
    else:
        reply = {"role": "assistant", "content": _DIRECT[spoken].format(chain=problem.chain, digit=problem.answer)}
    return {**row, "messages": [*row["messages"], reply]}
