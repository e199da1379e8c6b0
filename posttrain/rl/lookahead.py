"""Rollouts ahead of the updates: an engine in a process of its own samples later batches while this one trains.

Before the update of batch k, the engine is handed batch k + n and the weights as they are then; n is the staleness.
"""

import math
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from posttrain.errors import UserError
from posttrain.inference.engine_process import EngineProcess, Job
from posttrain.inference.policies import PolicySpec
from posttrain.inference.weights_handover import write_weights
from posttrain.placement import reshard
from posttrain.recipe import ModelSection
from posttrain.rl.handed_weights import HandedWeights
from posttrain.rl.pending import Batch, read_pending, write_pending
from posttrain.rl.probe import Probe
from posttrain.rl.prompt_order import prompts_of_batch
from posttrain.saving import on_main


class Schedule(NamedTuple):
    """What is sampled when.

    Attributes:
        staleness: how many batches the rollouts are ahead of the updates.
        steps_per_batch: optimizer steps that one batch of rollouts serves.
        last_batch: of the run, counted from 0.
        prompts_of: the prompts of a batch as token ids, each once.
        seed: of the run.
    """

    staleness: int
    steps_per_batch: int
    last_batch: int
    prompts_of: Callable[[int], list[list[int]]]
    seed: int


class Lookahead(HandedWeights):
    """Stands where TRL's vLLM backend would, and gives what was sampled ahead.

    The engine proves for every version of the weights that it holds them: it answers with their fingerprint, and scores
    a few responses that the trainer has scored with the same weights. Of several processes the main one has the engine.

    Overridden upstream hooks: those of `HandedWeights`, `_init_vllm`, `sync_weights` (nothing: weights go with the
    prompts) and `generate`.

    Attributes:
        schedule: to be set before the first generation.
        score: log-probabilities at temperature 1 that the trainer gives a completion after its prompt; likewise.
        taken: the batch that was given last.
        process: the engine's; None where another process of ours has it.
    """

    schedule: Schedule
    score: Callable[[list[int], list[int]], list[float]]
    taken: Batch

    def __init__(self, *args: Any, engine: Literal["vllm", "transformers"], **kwargs: Any) -> None:
        self._engine: Literal["vllm", "transformers"] = engine
        self.process: EngineProcess | None = None
        self._asked: deque[tuple[int, Job, Probe | None]] = deque()  # without an answer yet
        self._ready: deque[Batch] = deque()  # answered; they come before those that are not
        self._next = 0  # batch to be handed over
        self._step = -1
        super().__init__(*args, **kwargs)

    @property
    def weights_version(self) -> int:
        """The step whose weights the batch was sampled with that was given last."""
        return self.taken.weights_version

    def begin(self, step: int, *, seed: tuple[int, ...]) -> None:
        """Say which step the next generation is for; the seed follows from the schedule."""
        if step <= self._step:  # the same trainer trains anew
            self.restore(None)
        self._step = step

    def _init_vllm(self) -> None:
        if self.accelerator.is_main_process:
            self.process = EngineProcess(self._spec())

    def _spec(self) -> PolicySpec:
        return PolicySpec(
            engine=self._engine,
            model=ModelSection(
                path=self.model.name_or_path,
                dtype=str(self.model.dtype).removeprefix("torch."),  # type: ignore[arg-type]
                attn_implementation=self.model.config._attn_implementation,
            ),
            tokenizer=self.processing_class,
            sampling={
                "temperature": self.temperature,
                "top_p": self.top_p,
                "top_k": self.top_k,
                "min_p": self.min_p or 0.0,
                "repetition_penalty": self.repetition_penalty,
                "max_tokens": self.max_completion_length,
                **self.generation_kwargs,
            },
            vllm={
                "gpu_memory_utilization": self.gpu_memory_utilization,
                "max_model_len": self.max_model_length,
                "max_num_seqs": self.max_num_seqs,
                "max_num_batched_tokens": 4096,  # upstream's, as the next one
                "logprobs_mode": "processed_logprobs",
                "model_impl": self.model_impl,
                "trust_remote_code": self.trust_remote_code,
            },
        )

    def sync_weights(self) -> None:
        """Nothing: the weights go with the prompts."""

    def generate(
        self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any = None
    ) -> tuple[Any, ...]:
        """Upstream's signature and answer: the rollouts of this step's batch. A later batch is handed to the engine.

        Raises:
            UserError: the engine refuses the model or the settings.
            RuntimeError: the engine failed, or its process is dead.
        """
        number = self._step // self.schedule.steps_per_batch
        if self._next <= number:  # a run begins
            self._next = number
            self._hand(number + self.schedule.staleness, num_generations, None)
        self.taken = on_main(self.accelerator, self._take)
        own = slice(self.accelerator.process_index * len(prompts), (self.accelerator.process_index + 1) * len(prompts))
        prompts_ids = [ids for ids in self.taken.prompts_ids for _ in range(num_generations)]
        if self.taken.number != number or prompts_ids[own] != prompts:
            raise RuntimeError(f"batch {number} has other prompts than those that were sampled ahead for it")
        self._hand(number + self.schedule.staleness, num_generations, self._probe(num_generations))
        completions = self.taken.completions[own]
        logps = [[[logp] for logp in completion.logps] for completion in completions]
        return prompts, [completion.token_ids for completion in completions], logps, None

    def save(self, folder: str) -> None:
        """Wait for all that is under way and write it into a checkpoint."""
        while self._asked:
            self._ready.append(self._receive())
        if self.accelerator.is_main_process:
            write_pending(folder, self._ready)

    def restore(self, folder: str | None) -> None:
        """Begin with the rollouts of a checkpoint, as if nothing had happened in between; None: with none."""
        while self._asked:
            self._receive()
        pending = read_pending(folder) if folder is not None else []
        self._next = pending[-1].number + 1 if pending else 0
        if self.accelerator.is_main_process:
            self._ready = deque(pending)

    def close(self) -> None:
        """End the engine's process."""
        if self.process is not None:
            self.process.close()

    def _probe(self, num_generations: int) -> Probe:
        """The first response to each of the first prompts of the batch that is about to be trained on."""
        completions_ids = [completion.token_ids for completion in self.taken.completions[::num_generations]]
        return Probe.of(self.score, self.taken.prompts_ids, completions_ids)

    def _hand(self, last: int, num_generations: int, probe: Probe | None) -> None:
        """Ask for the batches that nobody was asked for yet, up to the `last` one; with the weights as they are now."""
        numbers = range(self._next, min(last, self.schedule.last_batch) + 1)
        if not numbers:
            return
        self._next = numbers.stop
        reshard(self.model)  # the probe was a pass without gradients
        if self.process is None:
            for _ in self._iter_named_params():  # shards are gathered by all processes
                pass
            return
        descriptor, stamp = write_weights(self._iter_named_params(), self._step)
        try:
            for number in numbers:
                seed = (self.schedule.seed, number * self.schedule.steps_per_batch, 0)
                sequences = probe.sequences if probe else []
                job = Job(stamp, self.schedule.prompts_of(number), num_generations, seed, sequences)
                self.process.hand(job, descriptor if number == numbers.start else None)
                self._asked.append((number, job, probe))
        finally:
            os.close(descriptor)

    def _take(self) -> Batch:
        if not self._ready:
            self._ready.append(self._receive())
        return self._ready.popleft()

    def _receive(self) -> Batch:
        assert self.process is not None
        number, job, probe = self._asked.popleft()
        answer = self.process.take()
        if answer.stamp != job.stamp:
            raise RuntimeError(f"batch {number} was sampled with {answer.stamp}, asked was for {job.stamp}")
        return Batch(
            number=number,
            weights_version=answer.stamp.version,
            prompts_ids=job.prompts_ids,
            completions=answer.completions,
            mismatch_kl=probe.mismatch_kl(answer.probe_logps) if probe else math.nan,
            began=answer.began,
            ended=answer.ended,
        )


def schedule_of(trainer: Any) -> Schedule:
    """That of an `AGAPOTrainer` that trains.

    Raises:
        UserError: its prompts come as a stream.
    """
    order, rows, arguments = trainer.order, trainer.train_dataset, trainer.args
    if order is None:
        raise UserError("trainer.staleness needs prompts that are known ahead; give a data set that is not a stream")

    def prompts_of(number: int) -> list[list[int]]:
        prompts = [rows[index]["prompt"] for index in prompts_of_batch(order, number)]
        ids: list[list[int]] = trainer._tokenize_prompts(prompts)[0]
        return ids

    return Schedule(
        staleness=arguments.staleness,
        steps_per_batch=arguments.steps_per_batch,
        last_batch=(trainer.state.max_steps - 1) // arguments.steps_per_batch,
        prompts_of=prompts_of,
        seed=arguments.seed,
    )
