r"""What stands behind a number: units, which are compared and converted, and counted things, which may be left out.

`12\text{ km}`, `30\text{ m/s}`, `12,000원`, `5 million euros`, `12개`. A word that is in no table (apples, 명)
is a counted thing in some language, and says nothing.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from rewards._boxed import DOUBT

# base unit -> names of the unit: how many base units it is
_TABLE = {
    ("m", 1): {
        "mm millimeter millimetre milímetro 밀리미터": "0.001",
        "cm centimeter centimetre centímetro 센티미터": "0.01",
        "m meter metre metro 미터": "1",
        "km kilometer kilometre kilómetro 킬로미터": "1000",
        "inch inches pulgada 인치": "0.0254",
        "ft foot feet pie 피트": "0.3048",
        "yd yard yarda 야드": "0.9144",
        "mi mile milla 마일": "1609.344",
    },
    ("m", 2): {"ha hectare hectárea 헥타르": "10000"},
    ("m", 3): {"ml mL milliliter millilitre mililitro 밀리리터": "0.000001", "l L liter litre litro 리터": "0.001"},
    ("kg", 1): {
        "mg milligram miligramo": "0.000001",
        "g gram gramo 그램": "0.001",
        "kg kilogram kilo kilogramo 킬로그램": "1",
        "ton tonne tonelada 톤": "1000",
        "lb lbs pound libra 파운드": "0.45359237",
    },
    ("s", 1): {
        "ms millisecond milisegundo": "0.001",
        "s sec second segundo 초": "1",
        "min minute minuto 분": "60",
        "h hr hour hora 시간": "3600",
        "day día 일": "86400",
        "week semana 주": "604800",
    },
    ("year", 1): {"month mes meses 개월": "1/12", "yr year año 년": "1"},
    ("degree", 1): {"degree grado": "1"},
    ("radian", 1): {"rad radian radián radianes 라디안": "1"},
    ("degC", 1): {"degC": "1"},
    ("degF", 1): {"degF": "1"},
    ("J", 1): {"J joule julio 줄": "1", "kJ": "1000"},
    ("W", 1): {"W watt vatio 와트": "1", "kW": "1000"},
    ("N", 1): {"N newton 뉴턴": "1"},
    ("V", 1): {"V volt voltio 볼트": "1"},
    ("Pa", 1): {"Pa pascal": "1", "kPa": "1000"},
    ("Hz", 1): {"Hz hertz 헤르츠": "1", "kHz": "1000", "MHz": "1000000"},
    ("$", 1): {"USD dollar dólar dólares 달러": "1", "¢ cent centavo": "0.01"},
    ("€", 1): {"€ EUR euro 유로": "1"},
    ("£", 1): {"£ GBP": "1"},
    ("₩", 1): {"₩ KRW won 원": "1"},
    ("¥", 1): {"¥ JPY yen yenes 엔": "1"},
    ("peso", 1): {"MXN peso 페소": "1"},
    ("", 0): {
        "dozen docena": "12",
        "hundred 백": "100",
        "thousand mil 천": "1000",
        "만": "10000",
        "million millón millones 백만": "1000000",
        "억": "100000000",
        "billion": "1000000000",
        "trillion 조": "1000000000000",
    },
}
_UNITS = {
    name: (base, power, Fraction(factor))
    for (base, power), units in _TABLE.items()
    for names, factor in units.items()
    for name in names.split()
}
_WORD = r"[^\W\d_]++"
_SIGN = "[€£₩¥¢]"
_STEP = rf"(?: ?/ ?| per | por |\\cdot ?|\*| )?(?:{_WORD}|{_SIGN})(?: ?\^\{{?-?[1-4]\}}?)?"
_BEFORE = re.compile(rf"([+-]?)({_SIGN}) ?(.+)")
_TAIL = re.compile(rf"(.*?(?:[\d}})]|\\pi))( ?)((?:{_STEP})++)")
_STEPS = re.compile(rf"( ?/ ?| per | por )?\W*?({_WORD}|{_SIGN})(?: ?\^\{{?(-?[1-4])\}}?)?")
_MATHS = re.compile(r"\b(?:pi|sqrt|sin|cos|tan|log|ln|exp|mod|inf|squared|cubed|factorial|choose)\b")
_AREA = re.compile(r"\b(square|cubic) (\w+)|(\w+) (cuadrad|cúbic)os?|(제곱|세제곱)(\w+)")


class Unit(NamedTuple):
    """What a number is to be multiplied by, and of what kind it then is.

    Attributes:
        scale: of words such as million.
        factor: to base units.
        kind: base units with their powers, sorted; empty where nothing is known.
    """

    scale: Fraction = Fraction(1)
    factor: Fraction = Fraction(1)
    kind: tuple[tuple[str, int], ...] = ()

    def in_units_of(self, other: "Unit") -> Fraction | None:
        """How many of the other unit this one is; None when they are of different kinds."""
        if self.kind and other.kind and self.kind != other.kind:
            return None
        ratio = self.scale / other.scale
        return ratio * self.factor / other.factor if self.kind and other.kind else ratio


NO_UNIT = Unit()


@lru_cache(maxsize=4096)
def split_unit(text: str, *, is_gold: bool) -> tuple[str, Unit]:
    r"""What stands before the unit, and the unit; where a text has none, all of it.

    A single letter is a unit where one is called so: in an answer also without a gap (`5m`), in a gold answer only with
    one (`5 m`), as `5m` is a formula.
    """
    if match := _BEFORE.fullmatch(text):
        return match[1] + match[3], _parse(match[2])
    plain = re.sub(r"\\frac\{\\text\{([^{}]*)\}\}\{\\text\{([^{}]*)\}\}", r" \1/\2", text)
    plain = re.sub(r"\\text\{ *([^{}]*?) *\}", r" \1", plain)
    match = _TAIL.fullmatch(plain)
    if match is None or DOUBT.search(match[3]) or _MATHS.search(match[3]):
        return text, NO_UNIT
    value, gap, words = match.groups()
    is_apart = bool(gap) or not words[0].isascii()
    if plain == text and len(words) == 1 and words.isascii() and (words not in _UNITS or (is_gold and not gap)):
        return text, NO_UNIT  # a variable
    if not is_apart and words not in _UNITS:
        return text, NO_UNIT
    return value, _parse(words)


def _parse(words: str) -> Unit:
    words = _AREA.sub(_as_power, words)
    scale, factor, powers = Fraction(1), Fraction(1), dict[str, int]()
    is_below = False
    for slash, word, exponent in _STEPS.findall(words):
        is_below = is_below or bool(slash)
        times = int(exponent or 1) * (-1 if is_below else 1)
        for base, power, size in _look_up(word):
            if base:
                factor *= size**times
                powers[base] = powers.get(base, 0) + power * times
            else:
                scale *= size
    return Unit(scale, factor, tuple(sorted((base, power) for base, power in powers.items() if power)))


def _as_power(match: re.Match[str]) -> str:
    how = match[1] or match[4] or match[5]
    exponent = 2 if how in ("square", "cuadrad", "제곱") else 3
    return f"{match[2] or match[3] or match[6]}^{exponent}"


def _look_up(word: str) -> list[tuple[str, int, Fraction]]:
    """The units that a word names: none, one, or in Korean a scale and one (만원)."""
    small = word.lower()
    for name in (word, small, small.removesuffix("s"), small.removesuffix("es")):
        if name in _UNITS:
            return [_UNITS[name]]
    for scale in ("백만", "천", "만", "억", "조"):
        if word.startswith(scale):
            return [_UNITS[scale], *_look_up(word.removeprefix(scale))]
    return []
