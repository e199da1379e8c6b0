import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Verdict, make_attempt
from rewards._boxed import last_box
from rewards._numerals import LITERAL
from rewards.math_answer import math_answer


def grade(gold: str, boxed: str, **row: str) -> Verdict:
    return math_answer(make_attempt(rf"\boxed{{{boxed}}}", {"answer": gold, **row}))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{7}", "7"),
        (r"\boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{1} \boxed{2", "1"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{}", ""),
        (r"} \boxed{7} {", "7"),
        (r"\boxed 7", None),
        (r"boxed{7}", None),
    ],
)
def test_the_last_balanced_box_is_taken(text: str, content: str | None) -> None:
    assert last_box(text) == content


@given(st.integers())
def test_an_integer_is_right_in_every_spelling_and_its_neighbours_are_wrong(n: int) -> None:
    for spelling in (
        f"{n}",
        f"{n:,}",
        f"{n:,}".replace(",", "{,}"),
        f"{n:,}".replace(",", r"\,"),
        f"{n}.0",
        f"x = {n}",
    ):
        assert grade(str(n), spelling).outcome is True
    assert grade(str(n), str(n + 1)).outcome is False
    assert grade(str(n), f"{n - 1}+1").outcome is False


@given(st.fractions(max_denominator=10**6), st.integers(min_value=2, max_value=99))
def test_a_fraction_need_not_be_reduced_but_must_be_equal(gold: Fraction, factor: int) -> None:
    top, bottom = gold.as_integer_ratio()
    text = rf"\frac{{{top}}}{{{bottom}}}"
    assert grade(text, rf"\frac{{{factor * top}}}{{{factor * bottom}}}").outcome is True
    assert grade(text, rf"\frac{{{factor * top + 1}}}{{{factor * bottom}}}").outcome is False


@pytest.mark.parametrize(
    "echo",
    [
        "37*43",
        r"37\cdot43",
        r"37\times 43",
        "(37)(43)",
        "1590+1",
        "1592-1",
        "3182/2",
        r"\frac{3182}{2}",
        r"\gcd(1591,0)",
        r"\sqrt{1591^2}",
        r"\int_0^{1591}1dx",
        r"\max(3,1591)",
        "|-1591|",
        "x+1591-x",
        "1591^1",
        r"\binom{1591}{1}",
    ],
)
def test_an_echo_of_the_question_earns_nothing(echo: str) -> None:
    assert grade("1591", echo).outcome is False


@pytest.mark.parametrize("echo", [r"\ln(1+1)", r"\log_3 9\ln 2", r"\int_1^2\frac{1}{x}dx", r"\ln 2+0"])
def test_an_echo_is_noticed_where_math_verify_compares(echo: str) -> None:
    assert grade(r"\ln 2", r"\ln{2}").outcome is True
    assert grade(r"\ln 2", "0.693147").outcome is True
    assert grade(r"\ln 2", echo).reason == "a calculation that is not finished"


@pytest.mark.parametrize(
    "literal",
    [
        "2",
        "-2.5",
        r"\frac{1}{2}",
        r"\sqrt{2}",
        r"-2\sqrt[3]{5}",
        r"\pi",
        r"2\pi",
        r"\frac{3\pi}{4}",
        r"\pi^2",
        "3e",
        "e^{-2}",
        r"1+\sqrt{2}",
        r"\frac{1+\sqrt{5}}{2}",
        r"\frac{\sqrt{6}-\sqrt{2}}{4}",
        r"2(1+\sqrt{3})",
        r"\pi/4",
        r"5\cdot\pi",
    ],
)
def test_closed_literals_are_recognised(literal: str) -> None:
    assert LITERAL.fullmatch(literal)


@pytest.mark.parametrize(
    "text", ["37*43", r"37\cdot43\pi", "10!", "2^{10}", r"\sqrt{3^2+4^2}", "x", r"\ln 2", "", r"\pi\pi!"]
)
def test_calculations_are_not_closed_literals(text: str) -> None:
    assert not LITERAL.fullmatch(text)


@pytest.mark.parametrize(
    ("gold", "echo"),
    [
        (r"3\sqrt{2}", r"\sqrt{50}-\sqrt{8}"),
        (r"\sqrt{6}", r"\sqrt{2}\cdot\sqrt{3}"),
        (r"\frac{\sqrt{2}}{2}", r"\sin(\pi/4)"),
        ("2x", r"\frac{d}{dx}x^2"),
        ("x^2", r"\int 2xdx"),
        ("n!", r"\prod_{k=1}^n k"),
        ("(2,3)", "(1+1,3)"),
        (r"\{2,3\}", r"\{\sqrt{4},3\}"),
        ("(-3,3)", "|x|<3"),
        (r"\begin{pmatrix}2\\3\end{pmatrix}", r"\begin{pmatrix}1+1\\3\end{pmatrix}"),
    ],
)
def test_an_echo_is_noticed_in_literals_formulas_and_lists(gold: str, echo: str) -> None:
    assert grade(gold, gold).outcome is True
    assert grade(gold, echo).outcome is False


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", r"\frac{1}{\sqrt{2}}"),
        (r"\frac{\pi}{100000000}", r"\pi/100000000", "0"),
        (r"\frac{1+\sqrt{5}}{2}", r"\frac{1}{2}+\frac{\sqrt5}{2}", r"\frac{1-\sqrt{5}}{2}"),
        (r"\sqrt{2}", "1.414214", "1.41"),
        (r"\sqrt[3]{2}", "2^{1/3}", "2^{1/2}"),
        ("2^{10}", "1024", "1023"),
        ("y=2x+1", "y-2x=1", "y=2x"),
        ("3+4i", "4i+3", "3-4i"),
        ("yes", r"\text{Yes}", "no"),
        ("B", "(B)", "C"),
        ("2024-01-05", "2024-01-05", "2018"),
        ("90^\\circ", "90", "91"),
        ("50", r"50\%", r"5\%"),
        ("50", r"50\text{ percent}", r"5\text{ percent}"),
        (r"\infty", r"+\infty", r"-\infty"),
        (r"\frac{1}{3}", r"0.\overline{3}", r"0.\overline{4}"),
        (r"0.1\overline{6}", r"\frac{1}{6}", r"\frac{16}{99}"),
    ],
)
def test_equal_forms_are_right_and_others_wrong(gold: str, right: str, wrong: str) -> None:
    assert grade(gold, right).outcome is True
    assert grade(gold, wrong).outcome is False


@pytest.mark.parametrize(
    ("gold", "spellings"),
    [
        (
            "5",
            "5. +5 05 5.0 (5) {5} ≈5 ~5 5\u200b 5🎉 **5** `5` 5️⃣ \\mathbf{5} \\text{5} \\underline{5} \\displaystyle5 "
            "$5$ \\(5\\) \\approx5 \\text{Answer:}5 x=5 x_1=5 f(3)=5 a+b=5 5=5 5\\approx5.0 ５ ٥ ५",
        ),
        ("-5", "-5 −5 –5 —5 －5 -{5} (-5) -5.0"),
        (
            "1234",
            "1,234 1{,}234 1\\,234 1\\;234 1~234 1\u00a0234 1\u2009234 1\u202f234 1\u3000234 1'234 1’234 １２３４",
        ),
        ("300000000", "3e8 3E8 3e+8 3\\times10^8 3\\times10^{8} 3\\cdot10^8 3x10^8 3×10⁸"),
        (r"\frac{1}{2}", "½ 1/2 \\frac12 \\tfrac12 {1\\over2} .5 0.50 50\\% \\frac{2}{4}=\\frac{1}{2}=0.5 1⁄2"),
        (r"-\frac{3}{4}", r"-3/4 \frac{-3}{4} \frac{3}{-4} -0.75"),
        ("3^2", "3² 3^{2} 9"),
        (r"2\sqrt{2}", "2√2 2\\sqrt2 2√(2) \\sqrt8 2\\cdot\\sqrt{2} 2\\sqrt2\\approx2.83 x=2√2"),
        ("x^2", "x² x^{2} y=x^2 f(x)=x^2 x\\cdotx"),
    ],
)
def test_every_spelling_of_an_answer_is_right(gold: str, spellings: str) -> None:
    for spelling in spellings.split(" "):
        assert grade(gold, spelling).outcome is True, spelling


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("5", "5/6"),
        ("5", "5;6"),
        ("5", r"5\pm 0"),
        ("5", "5x"),
        ("5", "5 pi"),
        ("5", "5 (or maybe 6)"),
        ("5", r"5\text{ (or maybe 6)}"),
        ("5", r"5\text{ or }6"),
        ("5", r"5\text{ or so}"),
        ("5", r"5\text{ is wrong}"),
        ("5", "5가 아니다"),
        ("5", "5 million"),
        ("5", "x=5=7"),
        ("7", "x=5=7"),
        ("5", r"5=7\approx5"),
        ("5", r"7\approx5"),
        (r"\sqrt{2}", r"\sqrt{2}\approx1.5"),
        ("1234", "12 34"),
        ("1234", "1,23,4"),
        ("9", "3²"),
        ("2", r"\sqrt{4}"),
        ("x^2", "x^2=x^3"),
    ],
)
def test_what_only_looks_right_is_wrong(gold: str, answer: str) -> None:
    assert grade(gold, answer).outcome is False


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (
            r"12\text{ cm}",
            r"12 12\text{cm} 120\text{mm} 0.12\text{meters} 12\,cm",
            r"12\text{km} 12\text{cm}^2 12\text{s}",
        ),
        (r"1000\text{ m}", r"1\text{km} 1000 1\text{kilómetro} 1킬로미터", r"1 1\text{m} 1000\text{km}"),
        (
            r"30\text{ m/s}",
            r"30 108\text{km/h} 30\frac{\text{m}}{\text{s}} 108\text{kilometers~per~hour}",
            r"30\text{km/h}",
        ),
        (
            r"9\text{ m}^2",
            r"9\text{square~meters} 9\text{metros~cuadrados} 9제곱미터 90000\text{cm}^2",
            r"9\text{m} 9\text{m}^3",
        ),
        (r"1\text{ L}", r"1000\text{cm}^3 1000\text{mL}", r"1\text{cm}^3"),
        (r"25^\circ\text{C}", "25 25°C 25℃", "25°F"),
        (r"3\text{시간}", r"3 180분 180\text{min} 3\text{horas}", "3분"),
        (r"2\sqrt{3}\text{ cm}", r"2\sqrt{3} 20\sqrt{3}\text{mm}", r"2\sqrt{3}\text{mm}"),
        ("12", r"12개 12\text{개} 12명 12~apples 12\text{manzanas} 12\text{unidades}", "13개"),
        ("12", r"12€ 12~€ €12 12~euros £12 \$12 12\text{dollars} 12~km 12\text{m}", "12~million"),
        ("12000", "12,000원 12,000 ₩12,000 1.2만원 12천원", "12,000만원"),
        (r"12000\text{원}", "12,000원", "12,000달러"),
        (r"\$5", r"5 \$5 5\text{dollars}", "6"),
        ("5000000", r"5~million 5\text{million~dollars} 5\text{millones} 500만", r"5\text{thousand}"),
    ],
)
def test_units_are_converted_and_counted_things_left_out(gold: str, right: str, wrong: str) -> None:
    for answer in right.split():
        assert grade(gold, answer).outcome is True, answer
    for answer in wrong.split():
        assert grade(gold, answer).outcome is False, answer


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("1,2", r"2,1 \{1,2\} 1\text{and}2 x=1,2 x=1\text{or}x=2 x_1=1,x_2=2 (1,2)", "1 1,2,3 1,3 x=1,y=3"),
        (r"\{1,2,3\}", r"3,2,1 \{3,1,2\} A=\{1,2,3\}", r"(1,2,3) \{1,2\} \{1,2,2\}"),
        (r"\{5\}", r"5 x=5 \{5\}", r"\{6\}"),
        ("(1,2)", "(1,2) 1,2 x=1,y=2 (x,y)=(1,2) (1.0,2)", r"(2,1) \{1,2\} [1,2] (1,2,3)"),
        (r"\{(1,2),(3,4)\}", "(3,4),(1,2)", "(2,1),(3,4)"),
        (r"\pm 3", r"3,-3 -3,3 x=\pm3 \{3,-3\}", "3 3,-2"),
        (r"1\pm\sqrt{2}", r"1-\sqrt2,1+\sqrt2", r"1\pm\sqrt3"),
        ("[0,1)", r"[0,1) 0\le~x<1 x\in[0,1) 1>x\ge0 \{x\mid0\le~x<1\}", "(0,1) [0,1] 0<x<1 [0,2)"),
        ("x>3", r"(3,\infty) 3<x x\gt3", r"x\ge3 (3,4) y>3"),
        (
            r"(-\infty,2)\cup(2,\infty)",
            r"x\neq2 \mathbb{R}\setminus\{2\} (2,\infty)\cup(-\infty,2) x<2\text{or}x>2",
            "x<2",
        ),
        (r"\mathbb{R}", r"(-\infty,\infty) x\in\mathbb{R}", r"(0,\infty)"),
        (r"\emptyset", r"∅ \varnothing \{\}", r"\{0\}"),
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"\begin{bmatrix}1&2\\3&4\end{bmatrix}",
            r"\begin{pmatrix}1&3\\2&4\end{pmatrix} (1,2,3,4)",
        ),
        (r"\{\text{red},\text{blue}\}", r"blue,red", r"red,green"),
        ("(x+1,y)", "(1+x,y)", "(y,x+1)"),
    ],
)
def test_lists_pairs_sets_intervals_and_matrices(gold: str, right: str, wrong: str) -> None:
    for answer in right.split():
        assert grade(gold, answer).outcome is True, answer
    for answer in wrong.split():
        assert grade(gold, answer).outcome is False, answer


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        (r"\boxed{5}, \boxed{7}", ["7", "5,7"], ["5", "7,8"]),
        (r"\boxed{5}\boxed{7}", ["7", "5,7"], ["5", "57"]),
        (r"$\boxed{5}$ and $\boxed{7}$", ["7,5"], ["5", "7"]),
        (r"\boxed{5} or \boxed{7}", ["5,7"], ["5", "7"]),
        (r"\boxed{5}, \boxed{6} y \boxed{7}", ["5,6,7"], ["7", "6,7"]),
        (r"\boxed{5} was my first guess, but it is \boxed{7}", ["7"], ["5", "5,7"]),
    ],
)
def test_close_boxes_are_a_list_where_one_is_asked_for(text: str, right: list[str], wrong: list[str]) -> None:
    for gold in right:
        assert math_answer(make_attempt(text, {"answer": gold})).outcome is True, gold
    for gold in wrong:
        assert math_answer(make_attempt(text, {"answer": gold})).outcome is False, gold


@pytest.mark.parametrize(
    "after",
    [
        " is wrong, it is 8.",
        "$ is not correct.",
        ", no wait, the answer is 8.",
        ". Wait, that is wrong.",
        " or maybe 8",
        ". It might also be 8.",
        " es incorrecto.",
        " o quizás 8",
        "은 틀렸습니다. 8입니다.",
        "이 아니라 8입니다.",
    ],
)
def test_an_answer_that_is_taken_back_is_wrong(after: str) -> None:
    verdict = math_answer(make_attempt(rf"It is \boxed{{7}}{after}", {"answer": "7"}))
    assert verdict == Verdict(0.0, outcome=False, extracted="7", reason="taken back after the box")


@pytest.mark.parametrize(
    "after",
    [".", " 🎉", "입니다.", " es correcto.", " is right. The other value is wrong.", ", not 8", " (that is, 7.0)"],
)
def test_words_after_the_box_do_no_harm(after: str) -> None:
    assert math_answer(make_attempt(rf"It is \boxed{{7}}{after}", {"answer": "7"})).outcome is True


def test_integers_are_compared_at_any_length() -> None:
    gold = "9" * 4_999 + "8"
    assert grade(gold, gold).outcome is True
    assert grade(gold, f"{10**4300 - 1}").outcome is False
    assert grade(gold, "9" * 5_000).outcome is False
    assert grade(",".join(["123"] * 1_500), "123" * 1_500).outcome is True


def test_a_decimal_comma_counts_in_spanish_rows_only() -> None:
    assert grade("3.5", "3,5", language="es").outcome is True
    assert grade("3.5", "3,5", language="en").outcome is False
    assert grade("1234", "1.234", language="es").outcome is True
    assert grade("1.234", "1.234", language="es").outcome is True
    assert grade("1234567.5", r"1.234.567,5\text{ €}", language="es").outcome is True
    assert grade("1.5,2.5", "1,5; 2,5", language="es").outcome is True


def test_a_box_in_the_thinking_is_not_an_answer() -> None:
    attempt = make_attempt({"thinking": r"\boxed{7}", "answer": "Done."}, {"answer": "7"})
    assert math_answer(attempt).reason == r"no \boxed{...} in the answer"


def test_a_truncated_attempt_without_a_box_is_wrong_and_says_so() -> None:
    attempt = make_attempt({"thinking": "so", "answer": "", "is_truncated": True}, {"answer": "7"})
    assert math_answer(attempt) == Verdict(0.0, outcome=False, reason="truncated")


def test_a_gold_answer_may_come_in_its_own_box() -> None:
    assert grade(r"\boxed{7}", "7").outcome is True
    assert grade(r"\boxed{7}", "8").outcome is False


UNREADABLE = [
    "",
    "  ",
    "$$",
    r"\boxed{}",
    "x" * 301,
    "9^{9^{9}}",
    r"\frac{",
    r"\frac{1}{0}",
    r"\frac{\pi}{0}",
    r"\frac{1}{\pi-\pi}",
    "foo(bar",
]


@pytest.mark.parametrize("gold", [None, 7, ["7"], *UNREADABLE])
def test_a_broken_gold_answer_is_not_the_models_fault(gold: object) -> None:
    for answer in (r"\boxed{\pi+1}", rf"\boxed{{{gold}}}"):
        verdict = math_answer(make_attempt(answer, {"answer": gold}))
        assert verdict.score is None
        assert "answer" in verdict.reason


PIECES = [
    "1",
    "2",
    "x",
    "e",
    r"\pi",
    r"\frac{1}{2}",
    r"\sqrt{3}",
    "+",
    "-",
    "=",
    "<",
    ",",
    "(",
    ")",
    "[",
    r"\{",
    r"\}",
    " ",
]
PIECES += [
    r"\text{ cm}",
    r"\text{ or }",
    r"\infty",
    r"\cup ",
    "%",
    "^2",
    r"\pm ",
    "개",
    "Monday",
    "*",
    r"\neq ",
    "!",
    r"\ln ",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
def test_a_gold_answer_passes_itself_or_cannot_be_read(pieces: list[str]) -> None:
    """What a check of the data before a run relies on: a row is good or says why not, and is never just wrong."""
    gold = "".join(pieces)
    verdict = grade(gold, gold)
    assert verdict.score == 1.0 or (verdict.score is None and verdict.reason.startswith("gold answer: "))


def in_a_thread(gold: str, boxed: str) -> Verdict:
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(grade, gold, boxed).result()


def test_in_another_thread_what_needs_no_limit_is_graded_and_the_rest_is_none_not_zero() -> None:
    assert threading.current_thread() is threading.main_thread()
    assert in_a_thread("7", "7").outcome is True
    assert in_a_thread(r"\sqrt{12}", r"2\sqrt{3}").outcome is True
    assert in_a_thread("x^2+1", "1+x^2").outcome is True
    assert in_a_thread(r"\sin x", r"\sin(x)").score is None
    assert "main thread" in in_a_thread(r"\sin x", r"\sin(x)").reason


def test_the_callers_signals_are_left_as_they_were() -> None:
    before = signal.getsignal(signal.SIGPROF), signal.getsignal(signal.SIGALRM)
    signal.alarm(100)
    assert grade(r"\cos x", r"\cos(x)").outcome is True
    assert signal.alarm(0) > 0
    assert (signal.getsignal(signal.SIGPROF), signal.getsignal(signal.SIGALRM)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_plain_numbers_and_words_never_import_sympy() -> None:
    code = (
        "import sys; from rewards import make_attempt; from rewards.math_answer import math_answer\n"
        r"for gold in ('7', r'\frac{1}{3}', '50\\%', r'\text{yes}', '[0,1)', r'\{1,2\}'):"
        "\n    for box in (gold, '8', '37*43', '9^{9^9}'):"
        r" math_answer(make_attempt(r'\boxed{' + box + '}', {'answer': gold}))"
        "\nassert not {'sympy', 'math_verify'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
