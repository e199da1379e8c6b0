"""The words of one language."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """Word lists, and the sentences that they are put into.

    Attributes:
        times: with `actors`, `deeds` and `places` what the generated text is made of; any four go together.
        actors: see `times`.
        deeds: see `times`.
        places: see `times`.
        sentences: of `{time}`, `{actor}`, `{deed}` and `{place}`.
        colours: of a thing that has a code.
        things: that have codes.
        key: of `{colour}` and `{thing}`: what a code is asked by.
        code: says the code of a key, and is the reply to `ask_code`.
        ask_code: for the one code of a key.
        codes: says several codes of a key, the reply to `ask_codes`.
        ask_codes: for all codes of a key.
        ask_keys: for the codes of several keys.
        between_keys: joins them in `ask_keys`.
        variable: gives the variable `{name}` a `{value}`.
        copy: gives the variable `{name}` the value of the variable `{other}`.
        ask_variables: for all names with a `{value}`.
        variables: the reply, with the `{names}`.
        words: of the lists of words; none is a part of another.
        ask_words: for the `{count}` most frequent `{words}`.
        frequent: the reply, with the `{words}`.
        given: names.
        family: names.
        person: of `{given}` and `{family}`.
        facts: each says something about a `{person}` and a `{town}`, and asks for the town.
        towns: the answers; none is a part of another.
        is_spaced: words stand apart; where they do not, particles are written onto them.
    """

    times: tuple[str, ...]
    actors: tuple[str, ...]
    deeds: tuple[str, ...]
    places: tuple[str, ...]
    sentences: tuple[str, ...]
    colours: tuple[str, ...]
    things: tuple[str, ...]
    key: str
    code: str
    ask_code: str
    codes: str
    ask_codes: str
    ask_keys: str
    between_keys: str
    variable: str
    copy: str
    ask_variables: str
    variables: str
    words: tuple[str, ...]
    ask_words: str
    frequent: str
    given: tuple[str, ...]
    family: tuple[str, ...]
    person: str
    facts: tuple[tuple[str, str], ...]
    towns: tuple[str, ...]
    is_spaced: bool = True


def listed(text: str, separator: str = "/") -> tuple[str, ...]:
    """The entries of a list that is written as one text."""
    return tuple(entry.strip() for entry in text.split(separator))
