r"""Math grading: our pool of workers against TRL's `accuracy_reward`, on the same attempts.

    python tests/benchmarks/math_grading.py [--attempts 2000] [--rounds 6] [--workers 2]

TRL is called as its trainer calls it: once, with the whole list, in the main thread (it has no pooled way). It gets its
golds between dollars, without which it misreads them. Every round has new attempts, which both grade one after the
other; printed are the medians of the rounds' ratios. The first round warms up and is left out. Nothing is kept from
round to round that would not be kept in training: the workers live, the problems are new.

The attempts are made up, so that it is known which are right:

- Groups of eight responses to one problem. About 30 % of the boxed answers of a group are distinct, and nearly all of
  the texts around them: in the `rl/samples.jsonl` of three runs of `make demo` the shares were 28 to 34 % and 97 to
  100 %.
- Gold answers: half of them integers, the rest fractions, radicals, formulas, intervals, pairs, words and lengths in
  the shares of `PROBLEMS`, which are our choice.
- Around the box stands a text of one to three thousand characters with mathematics in it.

Then the time of every single attempt where one in a hundred has a box that hangs a careless grader.
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psutil

from posttrain.environment import prepare_environment

prepare_environment()

from trl.rewards import accuracy_reward  # noqa: E402  (after the environment is set)

from posttrain.grading import GradingPool  # noqa: E402
from posttrain.recipe import GradingSection, RewardSpec  # noqa: E402
from posttrain.terminal import say  # noqa: E402
from rewards import make_attempt  # noqa: E402

GROUP_SIZE = 8
RIGHT_SHARE, RESPELT_SHARE = 0.62, 0.06
SPECS = [RewardSpec(use="rewards.math_answer:math_answer")]
BOMBED_GOLD = r"\sin x"  # the worst case: here math-verify has to read the bomb
BOMBS = (
    "9^{9^{9}}",
    "10^8!",
    "5!!!",
    r"\prod_{k=1}^{10^6}k",
    "(x+y+z)^{200}",
    r"\sin(" * 9 + "x" + ")" * 9,
    "(" * 200 + "7" + ")" * 200,
    r"\frac{1}{" * 40 + "2" + "}" * 40,
    r"\int_0^\infty e^{-x^x}dx",
    "x^{30}+17x^{29}-4x^3+x-1=0",
)
SENTENCES = (
    "We start from ${a}x^2-{b}x+{c}=0$ and complete the square.",
    r"Dividing both sides by ${a}$ gives $\frac{{{b}}}{{{a}}}$ on the left.",
    r"Hence $\sqrt{{{b}}}<{c}$, which is what we need for the bound.",
    "There are {a} ways to choose the first and {b} ways to choose the second, so {c} in all.",
    r"By symmetry the angle is ${a}^\circ$, and the triangle is similar to the first one.",
    "Let us check: {a} + {b} = {c} is false, so this case cannot occur.",
    r"The sum telescopes: $\sum_{{k=1}}^{{{a}}}\left(\frac{{1}}{{k}}-\frac{{1}}{{k+1}}\right)$.",
    r"\[ f({a}) = {b}, \qquad f({b}) = {c}. \]",
)


class Problem(NamedTuple):
    """A gold answer with other ways to write it, and wrong answers."""

    gold: str
    respelt: list[str]
    wrong: list[str]


class Response(NamedTuple):
    """What was written before the box and in it, the gold answer, and whether it is right."""

    reasoning: str
    box: str
    gold: str
    is_right: bool

    @property
    def text(self) -> str:
        """The visible text."""
        return f"{self.reasoning}\n\n" rf"The final answer is $\boxed{{{self.box}}}$."


def main() -> None:
    """Time both, and print ratios, who was right, and how long one attempt may take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attempts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with GradingPool(SPECS, GradingSection(workers=args.workers)) as pool:
        compare_throughput(pool, args.attempts, args.rounds)
        compare_latency(pool, args.attempts // 2)


def compare_throughput(pool: GradingPool, num_attempts: int, num_rounds: int) -> None:
    """Attempts per second, in wall time and in processor time, paired in rounds."""
    rounds, num_distinct = [], 0
    for seed in range(num_rounds):
        responses = draw_responses(random.Random(seed), num_attempts)
        num_distinct += len({(response.gold, response.box) for response in responses})
        order = ["ours", "TRL"] if seed % 2 else ["TRL", "ours"]
        rounds.append({name: measure(PEERS[name], pool, responses) for name in order})
    share = num_distinct / num_attempts / num_rounds
    say(f"{num_attempts} attempts in groups of {GROUP_SIZE}, {share:.0%} of the boxes distinct")
    for name in PEERS:
        wall, cpu, right = (statistics.median(timed[name][i] for timed in rounds[1:]) for i in range(3))
        each = f"{1000 * cpu / num_attempts:.2f} ms of CPU time each"
        say(f"{name:<6}{num_attempts / wall:>8,.0f} attempts/s   {each}   {right:.1%} of the verdicts right")
    for what, index in (("wall time", 0), ("CPU time", 1)):
        ratios = [timed["TRL"][index] / timed["ours"][index] for timed in rounds[1:]]
        say(f"TRL / ours, {what:<10}{statistics.median(ratios):.1f}x  (range {min(ratios):.1f} to {max(ratios):.1f})")


def compare_latency(pool: GradingPool, num_attempts: int) -> None:
    """Each attempt on its own; one in a hundred has a bomb in its box."""
    responses = draw_responses(random.Random(-1), num_attempts)
    for index in range(0, num_attempts, 100):
        bomb = BOMBS[index // 100 % len(BOMBS)]
        responses[index] = Response("So I would say", bomb, BOMBED_GOLD, is_right=False)
    for name, grade in PEERS.items():
        seconds = sorted(measure(grade, pool, [response])[0] for response in responses)
        p50, p99 = seconds[len(seconds) // 2], seconds[math.ceil(0.99 * len(seconds)) - 1]
        say(f"{name:<6}p50 {1000 * p50:>7.1f} ms   p99 {1000 * p99:>7.1f} ms   longest {seconds[-1]:.1f} s")


def measure(
    grade: Callable[[GradingPool, Sequence[Response]], list[bool]], pool: GradingPool, responses: Sequence[Response]
) -> tuple[float, float, float]:
    """Wall and CPU seconds, our workers' included, and the share of verdicts that are right."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    verdicts = grade(pool, responses)
    wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
    are_right = [verdict is response.is_right for verdict, response in zip(verdicts, responses, strict=True)]
    return wall, cpu, statistics.fmean(are_right)


def _cpu_seconds() -> float:
    this = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (this, *this.children()))


def grade_by_pool(pool: GradingPool, responses: Sequence[Response]) -> list[bool]:
    """As training does it."""
    attempts = [make_attempt(response.text, {"answer": response.gold}) for response in responses]
    return [graded.outcome is True for graded in pool.grade_all(attempts)]


def grade_by_trl(_: GradingPool, responses: Sequence[Response]) -> list[bool]:
    """As TRL's trainer does it."""
    completions = [[{"role": "assistant", "content": response.text}] for response in responses]
    return [score == 1.0 for score in accuracy_reward(completions, [f"${response.gold}$" for response in responses])]


PEERS = {"ours": grade_by_pool, "TRL": grade_by_trl}


def draw_responses(rng: random.Random, num_responses: int) -> list[Response]:
    """Groups of responses, each with a text of its own."""
    kinds, shares = list(PROBLEMS), list(PROBLEMS.values())
    responses = []
    for _ in range(math.ceil(num_responses / GROUP_SIZE)):
        problem = rng.choices(kinds, shares)[0](rng)
        responses += [_respond(rng, problem) for _ in range(GROUP_SIZE)]
    return responses[:num_responses]


def _respond(rng: random.Random, problem: Problem) -> Response:
    chance = rng.random()
    if chance < RIGHT_SHARE:
        box, is_right = problem.gold, True
    elif chance < RIGHT_SHARE + RESPELT_SHARE:
        box, is_right = rng.choice(problem.respelt), True
    else:
        box, is_right = rng.choices(problem.wrong, [6, 2, 1][: len(problem.wrong)])[0], False
    steps = [
        rng.choice(SENTENCES).format(a=rng.randint(2, 99), b=rng.randint(2, 99), c=rng.randint(2, 999))
        for _ in range(rng.randint(15, 40))
    ]
    return Response("\n".join(steps), box, problem.gold, is_right)


def _integer(rng: random.Random) -> Problem:
    n = int(10 ** rng.uniform(0, 6))
    return Problem(f"{n}", [f"{n:,}", f"x = {n}", f"{n}.0"], [f"{n + 1}", f"{2 * n}", f"-{n}"])


def _fraction(rng: random.Random) -> Problem:
    b = rng.randint(3, 999)
    a = rng.choice([a for a in range(1, b) if math.gcd(a, b) == 1])
    respelt = [rf"\dfrac{{{a}}}{{{b}}}", f"{a}/{b}"]
    return Problem(rf"\frac{{{a}}}{{{b}}}", respelt, [rf"\frac{{{a + 1}}}{{{b}}}", rf"\frac{{{b}}}{{{a}}}", f"{a}"])


def _radical(rng: random.Random) -> Problem:
    a, b = rng.randint(2, 99), rng.choice([2, 3, 5, 6, 7, 10, 11, 13, 14, 15, 17, 19, 21, 22, 23])
    respelt = [rf"\sqrt{{{a * a * b}}}", rf"{a}\cdot\sqrt{{{b}}}"]
    return Problem(rf"{a}\sqrt{{{b}}}", respelt, [rf"{a + 1}\sqrt{{{b}}}", rf"{a}\sqrt{{{b + 1}}}", f"{a * b}"])


def _multiple_of_pi(rng: random.Random) -> Problem:
    a, b = rng.choice([1, 5, 7, 11, 13, 17]), rng.choice([6, 12, 18, 24, 36])
    respelt = [rf"\frac{{{a}}}{{{b}}}\pi", rf"{a}\pi/{b}"]
    return Problem(rf"\frac{{{a}\pi}}{{{b}}}", respelt, [rf"\frac{{{a}\pi}}{{{b + 1}}}", rf"{a}\pi"])


def _polynomial(rng: random.Random) -> Problem:
    a, b, c = rng.randint(2, 30), rng.randint(2, 60), rng.randint(2, 99)
    respelt = [f"{c}+{b}x+{a}x^2", f"x({a}x+{b})+{c}"]
    return Problem(f"{a}x^2+{b}x+{c}", respelt, [f"{a}x^2-{b}x+{c}", f"{a}x^2+{b}x-{c}", f"{a}x^2+{c}"])


def _quotient(rng: random.Random) -> Problem:
    a, b, c = rng.randint(2, 30), rng.randint(2, 60), rng.randint(2, 99)
    gold = rf"\frac{{{a}x+{b}}}{{x^2+{c}}}"
    respelt = [f"({a}x+{b})/(x^2+{c})", rf"\dfrac{{{b}+{a}x}}{{{c}+x^2}}"]
    return Problem(gold, respelt, [rf"\frac{{{a}x-{b}}}{{x^2+{c}}}", rf"\frac{{{a}x+{b}}}{{x^2-{c}}}"])


def _interval(rng: random.Random) -> Problem:
    a = rng.randint(-99, 99)
    b = a + rng.randint(1, 99)
    return Problem(
        f"[{a},{b})", [rf"\left[{a}, {b}\right)", f"[{a}, {b})"], [f"({a},{b})", f"[{a},{b}]", f"[{a},{b + 1})"]
    )


def _pair(rng: random.Random) -> Problem:
    a, b = rng.randint(-99, 99), rng.randint(100, 199)
    return Problem(
        f"({a},{b})", [f"({a}, {b})", rf"\left({a},{b}\right)"], [f"({b},{a})", f"({a},{b + 1})", f"({a + 1},{b})"]
    )


def _word(rng: random.Random) -> Problem:
    word, *others = rng.sample(["Monday", "Tuesday", "even", "odd", "Anna", "Ben", "Clara", "yes", "no", "always"], 4)
    return Problem(rf"\text{{{word}}}", [word], [rf"\text{{{other}}}" for other in others])


def _length(rng: random.Random) -> Problem:
    n = rng.randint(2, 9999)
    return Problem(rf"{n}\text{{ cm}}", [f"{n}", rf"{n}\,\text{{cm}}"], [rf"{n + 1}\text{{ cm}}", f"{2 * n}"])


PROBLEMS = {
    _integer: 50,
    _fraction: 14,
    _radical: 8,
    _multiple_of_pi: 4,
    _polynomial: 6,
    _quotient: 4,
    _interval: 4,
    _pair: 4,
    _word: 4,
    _length: 2,
}

if __name__ == "__main__":
    main()
