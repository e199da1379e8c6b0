"""Which of several answers would a reader rather have? A judge compares them two at a time.

This is the preference reward of EXAONE 4.0 section 2.4.3: of a response in reasoning mode the judge sees the final
answer alone. To compare all with all takes n (n - 1) / 2 comparisons; a few rounds of a tournament, in which everybody
plays equally often, take n / 2 each. Each comparison is asked twice, with the places swapped, because models favour a
place: where the two verdicts disagree it is a tie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rewards._contest import conversation, pairings, takes_part, verdict_without_contest
from rewards._judge import PreferenceJudge
from rewards._normal import normal
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
    one that was cut off, scores 0 and is not shown.

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
        """Compare the answers to one prompt; their order changes nothing.

        Returns:
            Score None where there is nothing to compare an answer with, where its comparisons ended without a verdict,
            and where it, or the conversation, is too long to be shown.

        Raises:
            JudgeDownError: the judge does not answer; the caller counts that.
            JudgeRefusedError: it does not take our requests; the same.
            SilentJudgeError: more than half of the comparisons ended without a verdict; the same.
        """
        verdicts = [verdict_without_contest(attempt, attempts) for attempt in attempts]
        question = conversation(attempts[0].prompt) if attempts else ""
        for index, attempt in enumerate(attempts):
            if takes_part(attempt) and max(len(question), len(attempt.answer)) > _LONGEST_TEXT:
                verdicts[index] = Verdict(None, reason=f"more than the {_LONGEST_TEXT} characters for the judge")
        players = _players(attempts) if len(question) <= _LONGEST_TEXT else []
        answers = [attempts[same[0]].answer for same in players]
        games = pairings(len(players), self.rounds, f"{self.seed}/{question!a}")
        results = {(one, other): self._compare(question, answers[one], answers[other]) for one, other in games}
        _require_verdicts(list(results.values()))
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
            return Comparison(0.5, f"the {there.verdict} one both ways: {there.reason}")
        return Comparison(float(there.verdict == "first"), there.reason)


def _players(attempts: Sequence[Attempt]) -> list[list[int]]:
    """The attempts to compare, those with the same answer together; their order depends on the answers alone."""
    players: dict[str, list[int]] = {}
    for index, attempt in enumerate(attempts):
        if takes_part(attempt) and len(attempt.answer) <= _LONGEST_TEXT:
            players.setdefault(normal(attempt.answer), []).append(index)
    return [players[answer] for answer in sorted(players)]


def _require_verdicts(results: Sequence[Comparison]) -> None:
    silent = [result for result in results if result.points is None]
    if len(silent) > _MOST_SILENT * len(results):
        raise SilentJudgeError(f"{len(silent)} of {len(results)} comparisons have no verdict; {silent[0].reason}")


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
