"""`posttrain` with AGAPO's completions replaced: the same ones however many processes share a batch.

Two processes sample other responses than one does. So every batch is sampled for real, and then each response gives way
to one that depends only on the prompt, the step and its place in its group.
"""

import random
import sys
from typing import Any

from posttrain.environment import prepare_environment

prepare_environment()

from posttrain import cli  # noqa: E402  (after the environment)
from posttrain.rl import AGAPOTrainer  # noqa: E402

# Of a group's responses, in tokens before the end: all even with it, all odd, or a mixture.
LENGTHS = ([7], [8], range(2, 20), range(2, 20))


class StoredRollouts(AGAPOTrainer):
    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        completions, logps = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        assert len(completions) == len(prompt_ids)
        first = self.accelerator.process_index * len(prompt_ids)
        stored = []
        for index, prompt in enumerate(prompt_ids, start=first):
            question = f"{self.state.global_step} {prompt}"
            lengths = random.Random(question).choice(LENGTHS)
            rng = random.Random(f"{question} {index % self.num_generations}")
            stored.append([*rng.choices(range(20, 250), k=rng.choice(lengths)), self.eos_token_ids[0]])
        return stored, logps


if __name__ == "__main__":
    import posttrain.rl.stage as stage

    stage.AGAPOTrainer = StoredRollouts  # type: ignore[misc]
    sys.exit(cli.main())
