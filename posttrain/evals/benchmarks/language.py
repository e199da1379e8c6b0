"""Does the model answer in the language it is asked in? Open questions in English, Korean and Spanish, our own.

There is no right answer to them: what counts is `language_consistency`, and `accuracy` stays empty.
"""

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import user
from posttrain.recipe import RewardSpec

QUESTIONS = {
    "en": (
        "How would you spend a rainy Sunday at home?",
        "Why do leaves change colour in autumn?",
        "Explain to a child what a bank does.",
        "What makes a good neighbour?",
        "Describe how bread is made, in a few sentences.",
        "Which habits help people to sleep better?",
        "What should one pack for three days in the mountains?",
        "Write a short thank-you note to a teacher.",
    ),
    "ko": (
        "비 오는 일요일을 집에서 어떻게 보내면 좋을까요?",
        "가을이 되면 나뭇잎 색이 왜 변하나요?",
        "은행이 하는 일을 아이에게 설명해 주세요.",
        "좋은 이웃이란 어떤 사람일까요?",
        "빵을 만드는 과정을 몇 문장으로 설명해 주세요.",
        "잠을 더 잘 자는 데 도움이 되는 습관은 무엇인가요?",
        "사흘 동안 산에 갈 때 무엇을 챙겨야 하나요?",
        "선생님께 드리는 짧은 감사 편지를 써 주세요.",
    ),
    "es": (
        "¿Cómo pasarías un domingo de lluvia en casa?",
        "¿Por qué cambian de color las hojas en otoño?",
        "Explícale a un niño qué hace un banco.",
        "¿Qué hace que alguien sea un buen vecino?",
        "Describe en pocas frases cómo se hace el pan.",
        "¿Qué costumbres ayudan a dormir mejor?",
        "¿Qué hay que llevar para tres días en la montaña?",
        "Escribe una breve nota de agradecimiento a una profesora.",
    ),
}


def language() -> Benchmark:
    """Every question once; `samples` of the decoding asks more often."""
    rows = [{"messages": user(text), "language": code} for code, texts in QUESTIONS.items() for text in texts]
    return Benchmark(rows, [RewardSpec(use="rewards.language:language", weight=0.0)])
