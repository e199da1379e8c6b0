"""Which of several answers would a reader rather have? A judge compares them two at a time.

This is the preference reward of EXAONE 4.0 section 2.4.3: of a response in reasoning mode the judge sees the final
answer alone. To compare all with all takes n (n - 1) / 2 comparisons; a few rounds of a tournament, in which everybody
plays equally often, order the answers nearly as well for a fraction of the requests. Each comparison is asked twice,
with the places swapped, because models favour a place: where the two verdicts disagree it is a tie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rewards._judge import PreferenceJudge
from rewards._normal import normal
from rewards._rounds import pairings
from rewards.contract import Attempt, GroupCase, GroupReward, Verdict

GRADES_GROUPS = True
SEES = ("prompt", "answer", "is_truncated")

_LONGEST_TEXT = 50_000  # characters of the conversation and of an answer
_MOST_SILENT = 0.5  # share of the comparisons of a group that may end without a verdict


class SilentJudgeError(RuntimeError):
    """The judge answers, and says too little that counts."""


class Comparison(NamedTuple):
    """What became of two answers: the share of the point that the first one gets, None without a verdict."""

    points: float | None
    reason: str


@dataclass(frozen=True)
class PairwiseJudge:
    """The share of its comparisons that an answer wins, a tie being half a win.

    Answers that are the same but for white space, case and the form of characters are one answer. An empty answer, and
    one that was cut off, scores 0 and loses against any other without being shown.

    Attributes:
        judge: the settings of a judge (see `rewards._judge.Judge` and the README).
        rounds: in each of which every answer is compared with one other (of an odd number one is left out, so there are
            at least 2); n answers take at most `rounds` times n requests.
        seed: of who is compared with whom.

    Raises:
        ValueError: a setting makes no sense.
    """

    judge: PreferenceJudge | Mapping[str, Any]
    rounds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Read the judge's settings."""
        if isinstance(self.judge, Mapping):
            object.__setattr__(self, "judge", PreferenceJudge.from_settings(self.judge))
        if self.rounds < 2:
            raise ValueError(f"rounds={self.rounds}, need at least 2, or one of an odd number is never compared")

    @property
    def groups_at_a_time(self) -> int:
        """As many as may ask at once: the comparisons of a group are made in turn."""
        return self._judge.max_concurrency

    @property
    def _judge(self) -> PreferenceJudge:
        assert isinstance(self.judge, PreferenceJudge)
        return self.judge

    def __call__(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        """Compare the answers to one prompt.

        Returns:
            Score None where there is nothing to compare an answer with, where its comparisons ended without a verdict,
            and where it, or the conversation, is too long to be shown.

        Raises:
            JudgeDownError: the judge does not answer; the caller counts that.
            JudgeRefusedError: it does not take our requests; the same.
            SilentJudgeError: more than half of the comparisons ended without a verdict; the same.
        """
        players = _players(attempts)
        question = _conversation(attempts[0].prompt) if attempts else ""
        is_shown = len(question) <= _LONGEST_TEXT
        games = list(pairings(len(players), self.rounds, f"{self.seed}/{question!a}")) if is_shown else []
        answers = [attempts[same[0]].answer for same in players]
        results = {game: self._compare(question, answers[game[0]], answers[game[1]]) for game in games}
        silent = [result for result in results.values() if result.points is None]
        if len(silent) > _MOST_SILENT * len(results):
            raise SilentJudgeError(f"{len(silent)} of {len(results)} comparisons have no verdict; {silent[0].reason}")
        is_alone = len(players) == 1 and not all(map(_can_win, attempts))
        verdicts = [_without_a_game(attempt, is_shown=is_shown, is_alone=is_alone) for attempt in attempts]
        for player, same in enumerate(players):
            own = [_seen_by(player, game, result) for game, result in results.items() if player in game]
            for index in same if own else ():
                verdicts[index] = _verdict(own)
        return verdicts

    def _compare(self, question: str, one: str, other: str) -> Comparison:
        """Ask twice, with the places swapped."""
        there = self._judge(question=question, first=one, second=other)
        if there.verdict is None:
            return Comparison(None, there.reason)
        back = self._judge(question=question, first=other, second=one)
        if back.verdict is None:
            return Comparison(None, back.reason)
        if there.verdict == back.verdict:
            return Comparison(0.5, f"{there.verdict} both ways: {there.reason}")
        return Comparison(float(there.verdict == "first"), there.reason)


def _players(attempts: Sequence[Attempt]) -> list[list[int]]:
    """The attempts to compare, those with the same answer together; their order depends on the answers alone."""
    players: dict[str, list[int]] = {}
    for index, attempt in enumerate(attempts):
        if _can_win(attempt) and len(attempt.answer) <= _LONGEST_TEXT:
            players.setdefault(normal(attempt.answer), []).append(index)
    return [players[answer] for answer in sorted(players)]


def _can_win(attempt: Attempt) -> bool:
    return bool(attempt.answer.strip()) and not attempt.is_truncated


def _without_a_game(attempt: Attempt, *, is_shown: bool, is_alone: bool) -> Verdict:
    """The verdict of an attempt that the judge was not asked about.

    Args:
        attempt: the attempt.
        is_shown: the conversation can be shown.
        is_alone: this answer, if it is one, is the only one that can win.
    """
    if attempt.is_truncated:
        return Verdict(0.0, reason="cut off")
    if not attempt.answer.strip():
        return Verdict(0.0, reason="no answer")
    if len(attempt.answer) > _LONGEST_TEXT:
        return Verdict(None, reason=f"longer than the {_LONGEST_TEXT} characters for the judge")
    if not is_shown:
        return Verdict(None, reason=f"conversation longer than the {_LONGEST_TEXT} characters for the judge")
    if is_alone:
        return Verdict(1.0, reason="the only answer")
    return Verdict(None, reason="no other answer to compare it with")


def _seen_by(player: int, game: tuple[int, int], result: Comparison) -> Comparison:
    """The result with the points of `player`."""
    if result.points is None or player == game[0]:
        return result
    return result._replace(points=1 - result.points)


def _verdict(own: Sequence[Comparison]) -> Verdict:
    points = [result.points for result in own if result.points is not None]
    if not points:
        return Verdict(None, reason=own[0].reason)
    counts = {"won": points.count(1.0), "tied": points.count(0.5), "lost": points.count(0.0)}
    counts["without a verdict"] = len(own) - len(points)
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return Verdict(sum(points) / len(points), reason=f"{said}; judge: {own[0].reason}")


def _conversation(prompt: Sequence[Mapping[str, Any]]) -> str:
    """A single question as it is, anything longer with the name of who speaks."""
    texts = [(str(message.get("role")), _text(message.get("content"))) for message in prompt]
    return texts[0][1] if len(texts) == 1 else "\n\n".join(f"{role}: {text}" for role, text in texts)


def _text(content: Any) -> str:
    if isinstance(content, list):
        content = "\n".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
    return str(content or "")


EXAMPLE: GroupReward = PairwiseJudge({"url": "http://localhost:8000/v1", "model": "judge", "folder": "runs/judge"})

_CUT = {"answer": "It is", "is_truncated": True}
CASES: list[GroupCase] = [  # those that need no judge
    (["It is 4.", ""], {}, [1.0, 0.0]),
    (["It is 4.", " it  is 4."], {}, [None, None]),
    (["It is 4.", "IT IS ４.", "\n", _CUT], {}, [1.0, 1.0, 0.0, 0.0]),
    (["", _CUT], {}, [0.0, 0.0]),
    (["It is 4."], {}, [None]),
    ([], {}, []),
]
