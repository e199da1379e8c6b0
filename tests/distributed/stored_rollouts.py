"""AGAPO with its completions replaced: the same ones however many processes share a batch.

Two processes sample other responses than one does. So every batch is sampled for real, and then each response gives way
to one that depends only on the step and its place in the whole batch. What is sampled ahead stays: there one engine
samples for all processes.
"""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

from posttrain.rl import AGAPOTrainer

# How many of a group's responses have an even number of tokens, which is what the reward asks for: batch by batch.
BATCHES = (("half", "half", "half"), ("all", "half", "none"))


class StoredRollouts(AGAPOTrainer):
    """Leaves `rank-<n>.json` beside the checkpoints: what this process was given to train on, and where it ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given: list[dict[str, Any]] = []

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        completions, logps = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        assert len(completions) == len(prompt_ids)
        if not self.args.staleness:
            first = self.accelerator.process_index * len(prompt_ids)
            completions = [self._stored(index) for index in range(first, first + len(prompt_ids))]
        self._given.append(
            {"step": self.state.global_step, "version": self.weights_version, "completions": completions}
        )
        return completions, logps

    def _stored(self, index: int) -> list[int]:
        rng = random.Random(f"{self.state.global_step} {index}")
        groups = BATCHES[self.state.global_step // self.num_iterations]
        is_even = {"all": True, "half": index % 2 == 0, "none": False}[groups[index // self.num_generations]]
        num_tokens = 2 * rng.randint(2, 9) - (not is_even)
        return [*rng.choices(range(20, 250), k=num_tokens - 1), self.eos_token_ids[0]]

    def train(self, *args: Any, **kwargs: Any) -> Any:
        output = super().train(*args, **kwargs)
        weights = hashlib.sha256()
        for parameter in self.model.parameters():
            weights.update(parameter.detach().numpy().tobytes())
        file = Path(self.args.output_dir).with_name(f"rank-{self.accelerator.process_index}.json")
        file.write_text(json.dumps({"given": self._given, "weights": weights.hexdigest()}))
        return output
