"""`posttrain` for several commands in turn, a JSON list of their words: one start of the libraries serves them all.

AGAPO's completions are replaced by stored ones. The processes stay together until the last command, which must leave
their group behind.
"""

import json
import sys

from posttrain.environment import prepare_environment

prepare_environment()

from stored_rollouts import StoredRollouts  # noqa: E402  (after the environment)
from torch import distributed  # noqa: E402

import posttrain.rl.stage as rl_stage  # noqa: E402
from posttrain import cli  # noqa: E402

rl_stage.AGAPOTrainer = StoredRollouts  # type: ignore[misc]
*first, last = json.loads(sys.argv[1])
leave, cli.leave_process_group = cli.leave_process_group, lambda: None
codes = [cli.main(words) for words in first]
cli.leave_process_group = leave
codes.append(cli.main(last))
if distributed.is_initialized():
    sys.exit("the process group is still there, and its threads with it")
sys.exit(max(codes))
