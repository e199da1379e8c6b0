"""One grader for training, pairs and evaluation: completions in, verdicts out."""

from posttrain.grading.attempts import empty_attempt, read_attempt
from posttrain.grading.grader import Graded, Grader
from posttrain.grading.samples import sample_record

__all__ = ["Graded", "Grader", "empty_attempt", "read_attempt", "sample_record"]
