"""What the texts and questions of the long-context tasks say, a file for each language."""

from collections.abc import Sequence

from posttrain.haystack.languages._language import Language
from posttrain.haystack.languages.english import ENGLISH
from posttrain.haystack.languages.korean import KOREAN
from posttrain.haystack.languages.spanish import SPANISH

LANGUAGES = {"en": ENGLISH, "ko": KOREAN, "es": SPANISH}

__all__ = ["LANGUAGES", "Language", "require_languages"]


def require_languages(languages: Sequence[str]) -> None:
    """Check that there are words in each of them.

    Raises:
        ValueError: none is given, or one that there is none of.
    """
    if not languages or not set(languages) <= set(LANGUAGES):
        raise ValueError(f"got languages {list(languages)}; need some of {', '.join(LANGUAGES)}")
