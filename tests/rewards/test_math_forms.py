"""Forms, spellings, units and lists that are equal, and those that only look so."""

import pytest

from rewards import Verdict, make_attempt
from rewards.math_answer import math_answer
from tests.rewards.math_attempts import grade


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
