"""What a process sets before the heavy libraries are imported, and what it leaves in order at its end."""

import logging
import os
import sys
import warnings

DEFAULTS = {
    # The tokenizer's threads and forked workers deadlock; it says so in a warning on every fork.
    "TOKENIZERS_PARALLELISM": "false",
    # OpenMP threads that wait by spinning collapse as soon as anything else runs on their cores: on two busy cores the
    # demo's SFT went from 4 minutes to an announced 57, with sleeping ones to 7.
    "OMP_WAIT_POLICY": "PASSIVE",
    # The engine lives in the trainer's process: weights are handed over in memory, and it dies with the trainer.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # To ask whether there is a GPU must not bring up CUDA, which forked processes could not use any more; vLLM sets it
    # too, but late. And its engines' processes are not forked, on no device.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # GB. On a CPU vLLM otherwise takes a share of all memory for its cache, next to a trainer that needs it.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # A training run tells nobody about itself.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # The libraries' chatter hides our own lines. vLLM warns at every start and every weight sync of what is meant so.
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "warning",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    # The TRL modules we build on are pinned to a minor version, so the notice that they may change tells nothing.
    "TRL_EXPERIMENTAL_SILENCE": "1",
}

# Warnings that say nothing to a user of the pinned versions, by their first words.
KNOWN_WARNINGS = (
    "TRL currently supports vLLM versions",  # 0.32 is harmless with trl 1.16: the tests run on it
    # raised inside vLLM and DeepSpeed, the latter at every step
    "`torch.distributed.(reduce_op|all_gather_into_tensor|reduce_scatter_tensor)` is deprecated",
)


def prepare_environment() -> None:
    """Set what is not set yet; a value from the user's shell wins."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("vllm.triton_utils.importing").setLevel(logging.ERROR)  # speaks before vLLM's own level holds
    # Ten lines a minute where the hub cannot be reached; the error at the end says so once.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())


def leave_process_group() -> None:
    """Each of several processes ends its threads of communication; to be called in all when their work is done.

    Where they still run as the interpreter ends, some processes abort (SIGABRT, "terminate called without an active
    exception"; seen with gloo, and told in pytorch#190489), and a finished run looks like a failed one. A process that
    fails alone must not leave: NCCL may wait for the others, who wait for it; there the launcher ends them all.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "torch" in sys.modules:
        from torch import distributed

        if "vllm.distributed.parallel_state" in sys.modules:  # an engine in the trainer's process has groups of its own
            from vllm.distributed.parallel_state import destroy_distributed_environment, destroy_model_parallel

            destroy_model_parallel()  # or it would do so as the interpreter ends, and find them gone
            destroy_distributed_environment()
        if distributed.is_initialized():
            distributed.destroy_process_group()
