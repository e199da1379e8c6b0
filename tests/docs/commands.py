"""Every command of the Markdown, and why some are not run."""

from importlib.util import find_spec

from tests.docs.markdown import PAGES, PROJECT, commands, words

FOLLOWED = PROJECT / "docs" / "quickstart.md"  # to the letter, in test_quickstart.py
# Page by page, in their order; a command that is there twice counts once.
COMMANDS = tuple(
    dict.fromkeys(" ".join(command.split()) for page in PAGES if page != FOLLOWED for command in commands(page))
)
# By what a command begins with. All others are run by test_commands_run.py.
NOT_RUN = {
    "posttrain run RECIPE": "a placeholder, and launchers of many processes; tests/supervisor",
    "posttrain serve": "a placeholder; tests/talk starts, asks and stops a server",
    "make": "sets up, trains or measures for minutes and more; its target is looked up",
    "accelerate launch --config_file recipes/accelerate/zero3.yaml -m posttrain sft": "minutes; tests/distributed",
    "accelerate launch --config_file recipes/accelerate/zero3.yaml --num_processes 4": "four GPUs",
    "sbatch": "a cluster; tests/distributed plays Slurm's part",
    "trl vllm-serve": "GPUs",
    "python tests/benchmarks": "measures for minutes; the file is looked up",
    "python -m pytest": "a test of its own",
    "python -m tests.report.browser": "placeholders; tests/report",
    "pip install": "a network",
    "echo": "what is piped into the next command",
}
if find_spec("pycosat") is None:
    NOT_RUN["python -m rewards.reasoning_gym"] = "a C compiler; tests/rewards"


def starts(command: str, prefix: str) -> bool:
    """Whether a command begins with these words; the last one may be a folder of what is named."""
    split = words(command)
    return split[: len(words(prefix))] == words(prefix) or " ".join(split).startswith(f"{prefix}/")


def is_run(command: str) -> bool:
    return not any(starts(command, prefix) for prefix in NOT_RUN)
