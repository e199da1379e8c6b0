"""The work of the stages that sample: RL, and filter, pairs and evaluation, which do nothing else."""

from typing import Any

from posttrain.errors import UserError
from posttrain.models.activations import Rows
from posttrain.plan.work import Reading, Sampling, Update, Work, arguments_of, bytes_of, num_steps
from posttrain.recipe import Decoding, EvalRecipe, FilterRecipe, GradingSection, PairsRecipe, RLRecipe

GRADERS_PER_NODE = 32  # half of 64 cores
# Questions of the benchmarks in the box, as their papers and data sets have them.
QUESTIONS = {
    "math_500": 500,
    "aime": 30,
    "mmlu_pro": 12_032,
    "gpqa": 198,
    "instructions": 541,
    "bfcl": 400,
    "human_eval": 164,
}


def rl(recipe: RLRecipe, reading: Reading) -> Work:
    """Sampling, grading, reference, update; every group is trained, none refilled."""
    from posttrain.rl.stage import training_arguments

    arguments, options = arguments_of(training_arguments, recipe), reading.options
    is_server = recipe.engine == "vllm" and arguments.vllm_mode == "server"
    devices = options.devices or (2 if is_server else 1)
    sampling_devices = (options.rollout_devices or min(8, devices // 2)) if is_server else devices
    processes = devices - sampling_devices if is_server else devices
    if processes < 1:
        raise UserError(f"--rollout-devices: got {sampling_devices} of {devices}, which leaves none to train on")
    prompt, limit = reading.prompt_tokens(), arguments.max_completion_length
    response = reading.response_tokens(limit)
    longest = (reading.counts.longest_prompt or prompt) + limit
    if recipe.engine == "vllm" and not reading.counts.longest_prompt:
        longest = arguments.vllm_max_model_length or longest
    batch, accumulation = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    responses = batch * arguments.steps_per_generation * processes
    updates = arguments.steps_per_generation * arguments.num_iterations / accumulation
    has_reference = arguments.beta != 0
    update = Update(
        reading.training(recipe, arguments, processes=processes, reference=has_reference),
        Rows(longest, rows=batch, trained=batch * limit),
        sequences=(prompt + response,) * batch,
        scored=batch * response,
        micro_batches=accumulation,
        reference_passes=int(has_reference),
    )
    own = arguments.vllm_tensor_parallel_size if recipe.engine == "vllm" else 1
    sampling = Sampling(
        where=arguments.vllm_mode if recipe.engine == "vllm" else "trainer",
        prompts=responses // arguments.num_generations,
        responses=responses,
        prompt_tokens=prompt,
        response_tokens=response,
        longest=limit,
        longest_sequence=longest,
        devices=sampling_devices,
        tensor_parallel=sampling_devices if is_server else own,
        at_once=responses,
        memory_share=0.9 if is_server else arguments.vllm_gpu_memory_utilization,
        sleeps=bool(arguments.vllm_enable_sleep_mode),
        updates=updates,
        graders=_graders(recipe.grading, reading, processes),
    )
    per_update = batch * accumulation * processes
    tokens = per_update * (prompt + response)
    groups = f"{responses // arguments.num_generations:,} groups of {arguments.num_generations}"
    served = "" if updates == 1 else f", which serve {updates:g} steps"
    rollouts = reading.rows() * arguments.num_generations if arguments.max_steps <= 0 else 0
    trained = rollouts * arguments.num_iterations
    return Work(
        name="AGAPO",
        shape=reading.shape,
        number=bytes_of(recipe.model.dtype),
        devices=devices,
        steps=num_steps(arguments, trained, per_update),
        per_step=f"{groups}, {responses:,} responses{served}, {tokens:,} tokens",
        tokens=tokens,
        update=update,
        sampling=sampling,
        assumed=tuple(reading.assumed),
    )


def responses_only(recipe: FilterRecipe | PairsRecipe, reading: Reading) -> Work:
    """So many responses to every prompt."""
    if isinstance(recipe, PairsRecipe) and recipe.samples:
        reading.assumed.append(f"nothing is sampled: {recipe.samples} is graded and paired anew")
    return _work(recipe, [recipe.decoding], reading.rows(), recipe.stage, reading)


def evaluation(recipe: EvalRecipe, reading: Reading) -> Work:
    """Every question under every decoding, and under every thinking budget that a reasoning one is tried with."""
    if reading.options.rows:
        questions = reading.options.rows
    else:
        known = [_questions(spec) for spec in recipe.benchmarks]
        questions = sum(known) + (reading.rows() if recipe.data else 0)
        reading.assumed.append(f"--rows {questions}: the benchmarks' questions, 100 where their number is not known")
    budgets = recipe.thinking_budgets or [None]
    decodings = [
        decoding for decoding in recipe.decodings for _ in (budgets if decoding.mode == "reasoning" else [None])
    ]
    return _work(recipe, decodings, questions, "evaluation", reading)


def _work(recipe: Any, decodings: list[Decoding], prompts: int, name: str, reading: Reading) -> Work:
    """One process with one engine; more devices are more parts of the prompts, each a run of its own."""
    samples = sum(decoding.samples for decoding in decodings)
    limit = max(decoding.max_new_tokens for decoding in decodings)
    means = [decoding.samples * reading.response_tokens(decoding.max_new_tokens) for decoding in decodings]
    prompt, parallel = reading.prompt_tokens(), recipe.engine.tensor_parallel
    devices = reading.options.devices or parallel
    longest = (reading.counts.longest_prompt or prompt) + limit
    is_vllm, tokens = recipe.engine.name == "vllm", round(sum(means) / samples)
    responses = 0 if getattr(recipe, "samples", None) else prompts * samples
    cpu_share = recipe.engine.memory_gb * 1e9 / reading.device.memory
    return Work(
        name=name,
        shape=reading.shape,
        number=bytes_of(recipe.model.dtype),
        devices=devices,
        steps=1,
        per_step=f"{prompts:,} prompts, {prompts * samples:,} responses",
        tokens=0,
        sampling=Sampling(
            where="alone",
            prompts=prompts,
            responses=responses,
            prompt_tokens=prompt,
            response_tokens=tokens,
            longest=limit,
            longest_sequence=min(longest, recipe.engine.max_model_len or longest),
            devices=devices,
            tensor_parallel=parallel,
            at_once=recipe.engine.max_num_seqs or (256 if is_vllm else 32),
            memory_share=min(0.9, cpu_share) if reading.device.is_cpu and is_vllm else 0.9,
            graders=_graders(recipe.grading, reading, devices),
        ),
        assumed=tuple(reading.assumed),
    )


def _graders(section: GradingSection, reading: Reading, devices: int) -> int:
    if section.workers is not None:
        return max(1, section.workers)
    nodes = -(-devices // reading.device.per_node)
    return 1 if reading.device.is_cpu else GRADERS_PER_NODE * nodes


def _questions(spec: Any) -> int:
    """Of a benchmark; some say it themselves."""
    if spec.use == "demo":
        return int(spec.args.get("size", 200))
    lengths, depths = spec.args.get("lengths"), spec.args.get("depths")
    if lengths and depths:
        cells = len(lengths) * len(depths) * len(spec.args.get("tasks", [0])) * len(spec.args.get("languages", [0]))
        return int(cells * spec.args.get("per_cell", 1))
    known = QUESTIONS.get(spec.use, 100)
    return int(min(spec.args.get("limit") or known, known))
