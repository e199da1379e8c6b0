"""How numbers are written, the same in the page, the terminal and the README."""

NOTHING = "–"
LANGUAGES = {"en": "English", "ko": "Korean", "es": "Spanish"}


def percent(share: float) -> str:
    """0.465 -> "46.5" (the unit stands in the column's head)."""
    return f"{100 * share:.1f}"


def count(value: float) -> str:
    """A mean number of tokens: 46.24 -> "46.2", 12345.6 -> "12,346"."""
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def signed(text: str) -> str:
    """A written number with its sign: "28.0" -> "+28.0", "-0.0" -> "0.0"; the minus is a true minus."""
    if not text.strip("-0."):
        return text.lstrip("-")
    return text.replace("-", "−") if text.startswith("-") else f"+{text}"


def number(value: float) -> str:
    """A bare number to three significant digits: 0.00031, 1.5, 212, 48,120."""
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−") if text.startswith("-") else text


def duration(seconds: float) -> str:
    """48 -> "48 s", 370 -> "6 min 10 s", 3720 -> "1 h 02 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def listing(words: list[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
