"""Who meets whom in a tournament of a few rounds."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rewards._contest import conversation, pairings


@given(st.integers(0, 17), st.integers(1, 20), st.text())
def test_nobody_meets_anybody_twice_and_all_play_equally_often(num_players: int, num_rounds: int, seed: str) -> None:
    games = list(pairings(num_players, num_rounds, ascii(seed)))
    assert len({frozenset(game) for game in games}) == len(games)
    assert all(one != other for one, other in games)
    played = Counter(player for game in games for player in game)
    counts = [played[player] for player in range(num_players)]
    if num_players > 1:
        rounds = min(num_rounds, num_players - 1 + num_players % 2)
        assert max(counts) <= rounds
        assert min(counts) >= rounds - num_players % 2
        assert len(games) == rounds * (num_players // 2)


def test_enough_rounds_let_all_meet_all() -> None:
    for num_players in (2, 5, 8):
        assert len(list(pairings(num_players, 99, "0"))) == num_players * (num_players - 1) / 2


def test_the_same_seed_gives_the_same_games_and_another_one_others() -> None:
    assert list(pairings(8, 3, "a")) == list(pairings(8, 3, "a")) != list(pairings(8, 3, "b"))


def test_a_conversation_names_its_speakers_where_there_are_several() -> None:
    question = {"role": "user", "content": [{"type": "text", "text": "Why?"}]}
    assert conversation([question]) == "Why?"
    assert conversation([{"role": "system", "content": "Be brief."}, question]) == "system: Be brief.\n\nuser: Why?"
