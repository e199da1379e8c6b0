"""What the process has imported that runs are forked from; nothing here computes, opens or starts anything."""

from posttrain.environment import prepare_environment

prepare_environment()

import peft  # noqa: E402, F401
import transformers  # noqa: E402, F401
import trl  # noqa: E402, F401

import posttrain.cli  # noqa: E402
import posttrain.context.stage  # noqa: E402
import posttrain.evals.stage  # noqa: E402
import posttrain.filter.stage  # noqa: E402
import posttrain.preference.pairs_stage  # noqa: E402
import posttrain.preference.stage  # noqa: E402
import posttrain.rl.stage  # noqa: E402
import posttrain.sft.stage  # noqa: E402, F401
