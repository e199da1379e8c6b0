"""One grader for training, pairs and evaluation: completions in, verdicts out.

- `grader`: the rewards of a recipe, and what their verdicts make together
- `pool`: many attempts in worker processes (`process`: one of them from outside, `worker`: from inside)
- `broken`: the verdict of a reward that breaks, and how many there may be
- `groups`: the same with rewards that compare the responses to a prompt with each other
- `gold`: do the rows' own gold answers pass? (not imported here: the workers do without `rich`)
- `event_loop`: where async rewards run
- `attempts`, `samples`, `trl_style`: from tokens to what a reward sees, to the log, and rewards written for TRL
"""

from posttrain.grading.attempts import empty_attempt, read_attempt
from posttrain.grading.broken import CAUSES
from posttrain.grading.grader import Graded, Grader
from posttrain.grading.pool import GradingPool
from posttrain.grading.samples import sample_record

__all__ = [
    "CAUSES",
    "Graded",
    "Grader",
    "GradingPool",
    "empty_attempt",
    "read_attempt",
    "sample_record",
]
