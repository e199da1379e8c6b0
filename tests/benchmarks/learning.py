"""AGAPO against GRPO, RLOO and DAPO: same start, same prompts, same number of samples, several seeds.

    posttrain filter recipes/demo/filter.yaml keep.pass_rate_below=0.3    # the prompts that the demo finds hard
    make bench-learning

Every run samples 512 responses a batch (64 prompts of 8), grades them and learns from them in four updates, so that a
clip has something to clip. The model is then evaluated on the validation problems. Runs that are there already are not
run again; the table and the picture are made of all of them.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAMPLES, GROUP_SIZE, MICRO_BATCH = 512, 8, 32
UPDATES = 4  # of each batch, so that a clip has something to clip
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student's t, 1 to 9 degrees of freedom
DECODINGS = ("greedy", "T=0.6", "T=1")


@dataclass(frozen=True, slots=True)
class Variant:
    """A trainer and what it is told beyond the common settings."""

    trainer: str  # agapo, grpo or rloo
    settings: dict[str, Any] = field(default_factory=dict)
    updates: int = UPDATES


VARIANTS = {
    "agapo-penalize": Variant("agapo", {"all_wrong": "penalize"}),
    "agapo-literal": Variant("agapo", {"all_wrong": "literal"}),
    "agapo-drop": Variant("agapo", {"all_wrong": "drop"}),
    "agapo-one-update": Variant("agapo", {"all_wrong": "penalize"}, updates=1),
    "grpo": Variant("grpo", {"loss_type": "grpo", "scale_rewards": "group"}),
    "dapo": Variant("grpo", {"loss_type": "dapo", "scale_rewards": "group", "epsilon_high": 0.28}),
    "rloo": Variant("rloo", {}),
}


def main() -> None:
    """Run what is missing, one process each, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    demo = Path("runs/demo")
    parser.add_argument("--start", type=Path, default=demo / "sft/model", help="where all runs start")
    parser.add_argument("--prompts", type=Path, default=demo / "filter/prompts.jsonl", help="rows to learn from")
    parser.add_argument("--validation", type=Path, default=demo / "data/validation.jsonl", help="rows to evaluate on")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--betas", nargs="+", type=float, default=[0.0, 0.01])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=16, help="batches of 512 samples")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        variant, beta, seed = args.one
        learn(args, variant, float(beta), int(seed))
        return
    for seed in args.seeds if not args.only_table else []:
        for variant in args.variants:
            for beta in args.betas:
                if not (folder_of(args.out, variant, beta, seed) / "eval.json").is_file():
                    words = [sys.executable, *sys.argv, "--one", variant, str(beta), str(seed)]
                    subprocess.run(words, check=True)
    print_table(args.out)
    print_differences(args.out)
    draw_curves(args.out)


def folder_of(out: Path, variant: str, beta: float, seed: int) -> Path:
    """Where a run lies."""
    return out / f"{variant}-beta{beta:g}-seed{seed}"


def learn(args: argparse.Namespace, name: str, beta: float, seed: int) -> None:
    """Train, write `curve.json` (share of right responses at T=1, batch by batch), evaluate into `eval.json`."""
    from posttrain.environment import prepare_environment

    prepare_environment()
    from posttrain.data.rows import read_all
    from posttrain.evals.stage import run_stage as run_eval
    from posttrain.models.load import load_model, load_tokenizer, save_model
    from posttrain.recipe import Decoding, EngineSection, EvalRecipe, ModelSection, RewardSpec
    from posttrain.recipe.sections import DataSection, Source

    folder = folder_of(args.out, name, beta, seed)
    section = ModelSection(path=str(args.start))
    tokenizer = load_tokenizer(section)
    rewards = [
        RewardSpec(use="rewards.math_answer:math_answer"),
        RewardSpec(use="rewards.format_tags:format_tags", weight=0.1),
    ]
    rows = read_all([Source(path=str(args.prompts))])
    trainer = make_trainer(args, VARIANTS[name], beta, seed, load_model(section, tokenizer), tokenizer, rewards, rows)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "rewards/outcome/mean" in entry]
    keys = ("rewards/outcome/mean", "kl", "grad_norm", "groups/all_wrong", "completions/mean_length", "entropy")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curve.json").write_text(json.dumps({key: [entry.get(key) for entry in log] for key in keys}))
    save_model(trainer.model, tokenizer, folder / "model")
    temperatures = zip(DECODINGS, (0.0, 0.6, 1.0), strict=True)
    run_eval(
        EvalRecipe(
            run=str(folder / "eval"),
            label=folder.name,
            model=ModelSection(path=str(folder / "model")),
            data=DataSection(sources=[Source(path=str(args.validation))]),
            engine=EngineSection(name="transformers"),
            decodings=[
                Decoding(name=label, mode="reasoning", temperature=temperature, max_new_tokens=192)
                for label, temperature in temperatures
            ],
            rewards=[*rewards, RewardSpec(use="rewards.language:language", weight=0.0)],
        ),
        resume=False,
    )
    (folder / "eval" / "eval.json").rename(folder / "eval.json")


def make_trainer(
    args: argparse.Namespace,
    variant: Variant,
    beta: float,
    seed: int,
    model: Any,
    tokenizer: Any,
    rewards: list[Any],
    rows: list[Any],
) -> Any:
    """The variant's trainer with our rewards and our engine; what all know has the same value in all."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
    from trl.trainer import grpo_trainer, rloo_trainer

    from posttrain.grading import GradingPool
    from posttrain.inference.engine import end_token_ids
    from posttrain.models.patching import replaced
    from posttrain.recipe import GradingSection
    from posttrain.rl import AGAPOConfig, AGAPOTrainer
    from posttrain.rl.bridge import RewardBridge
    from posttrain.rl.stage import prompt_columns
    from posttrain.rl.synced_vllm import SyncedVLLM

    class SeededPeer:
        """Prompts are rendered already; requests are seeded as AGAPO's are."""

        def _tokenize_prompts(self, prompts: list[str]) -> Any:
            return self.processing_class(text=prompts, add_special_tokens=False)["input_ids"], None, {}

        def _generate_single_turn(self, *words: Any, **options: Any) -> Any:
            step = self.state.global_step
            self.vllm_generation.begin(step, seed=(self.args.seed, step, 0))
            return super()._generate_single_turn(*words, **options)

    class SeededGRPO(SeededPeer, GRPOTrainer):
        pass

    class SeededRLOO(SeededPeer, RLOOTrainer):
        pass

    classes = {
        "agapo": (AGAPOConfig, AGAPOTrainer, grpo_trainer),
        "grpo": (GRPOConfig, SeededGRPO, grpo_trainer),
        "rloo": (RLOOConfig, SeededRLOO, rloo_trainer),
    }
    config, trainer, module = classes[variant.trainer]
    bridge = RewardBridge(
        GradingPool(rewards, GradingSection()), tokenizer, end_token_ids(model.generation_config, tokenizer)
    )
    extra = {"outcome_reward": "outcome"} if variant.trainer == "agapo" else {}
    settings = config(
        output_dir=str(folder_of(args.out, "checkpoints", beta, seed)),
        seed=seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=SAMPLES // MICRO_BATCH // variant.updates,
        steps_per_generation=SAMPLES // MICRO_BATCH,
        num_generations=GROUP_SIZE,
        max_steps=args.steps * variant.updates,
        max_completion_length=160,
        vllm_mode="colocate",
        vllm_max_model_length=384,
        use_vllm=True,
        beta=beta,
        temperature=1.0,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        reward_weights=[*(spec.weight for spec in rewards), 0.0],
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **extra,
        **variant.settings,
    )
    with replaced(module, "VLLMGeneration", SyncedVLLM):
        return trainer(
            model=model,
            args=settings,
            reward_funcs=bridge.functions(),
            train_dataset=Dataset.from_list([prompt_columns(tokenizer, row) for row in rows]),
            processing_class=tokenizer,
        )


def runs_by_method(out: Path) -> dict[str, list[Path]]:
    """Folders of the finished runs, by method and beta, in the order of their seeds."""
    runs: dict[str, list[Path]] = {}
    for path in sorted(out.glob("*-seed*/eval.json")):
        runs.setdefault(path.parent.name.rpartition("-seed")[0], []).append(path.parent)
    return runs


def print_table(out: Path) -> None:
    """Mean over seeds, with the seeds' own figures behind it; `while learning` is the mean share over all batches."""
    lines = [f"| method | {' | '.join(f'{name} %' for name in DECODINGS)} | while learning % | thinking tokens |"]
    lines.append("|---|" + "---|" * (len(DECODINGS) + 2))
    for name, folders in runs_by_method(out).items():
        evals = [_decodings(folder / "eval.json") for folder in folders]
        columns = [[100 * one[decoding]["accuracy"]["mean"] for one in evals] for decoding in DECODINGS]
        columns.append([while_learning(folder) for folder in folders])
        cells = [f"{statistics.fmean(each):.1f} ({', '.join(f'{value:.1f}' for value in each)})" for each in columns]
        tokens = statistics.fmean(one["T=0.6"]["thinking_tokens"]["mean"] for one in evals)
        lines.append(f"| {name} | {' | '.join(cells)} | {tokens:.1f} |")
    sys.stdout.write("\n".join(lines) + "\n")


def while_learning(folder: Path) -> float:
    """Mean share of right samples over all batches of a run, in percent."""
    curve = json.loads((folder / "curve.json").read_text())["rewards/outcome/mean"]
    return 100 * statistics.fmean(curve)


def accuracy_at_1(folder: Path) -> float:
    """Accuracy at T=1 on the validation problems, in percent."""
    return 100 * float(_decodings(folder / "eval.json")["T=1"]["accuracy"]["mean"])


def print_differences(out: Path, base: str = "agapo-penalize") -> None:
    """Each method less `base`, paired by seed and beta, with a 95 % interval (Student's t)."""
    lines = [f"| less {base} | while learning, points | T=1, points | pairs |", "|---|---|---|---|"]
    for method in (method for method in VARIANTS if method != base):
        pairs = [
            (folder, out / folder.name.replace(method, base, 1))
            for folder in sorted(path.parent for path in out.glob(f"{method}-beta*-seed*/eval.json"))
        ]
        pairs = [pair for pair in pairs if (pair[1] / "eval.json").is_file()]
        if 1 < len(pairs) <= len(T_975) + 1:
            cells = [_interval([figure(a) - figure(b) for a, b in pairs]) for figure in (while_learning, accuracy_at_1)]
            lines.append(f"| {method} | {cells[0]} | {cells[1]} | {len(pairs)} |")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def _interval(values: list[float]) -> str:
    mean, half = statistics.fmean(values), T_975[len(values) - 2] * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def draw_curves(out: Path) -> None:
    """`curves.svg`: the share of right samples by batch; the line is the mean of the seeds, the band their range."""
    import matplotlib.pyplot as plt

    runs = runs_by_method(out)
    betas = sorted({name.rpartition("-beta")[2] for name in runs})
    figure, panels = plt.subplots(1, len(betas), figsize=(5 * len(betas), 4), sharey=True, squeeze=False)
    for panel, beta in zip(panels[0], betas, strict=True):
        for method in (method for method in VARIANTS if f"{method}-beta{beta}" in runs):
            files = [folder / "curve.json" for folder in runs[f"{method}-beta{beta}"]]
            curves = [json.loads(file.read_text())["rewards/outcome/mean"] for file in files]
            batches = range(1, len(curves[0]) + 1)
            (line,) = panel.plot(batches, [statistics.fmean(column) for column in zip(*curves, strict=True)])
            line.set_label(method)
            lowest, highest = ([pick(column) for column in zip(*curves, strict=True)] for pick in (min, max))
            panel.fill_between(batches, lowest, highest, color=line.get_color(), alpha=0.12, linewidth=0)
        panel.set(title=f"beta {beta}", xlabel="batches of 512 samples")
    panels[0][0].set_ylabel("share right, T = 1")
    panels[0][-1].legend(frameon=False, fontsize=8)
    for panel in panels[0]:
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out / "curves.svg")


def _decodings(path: Path) -> dict[str, Any]:
    return {entry["name"]: entry["groups"]["all"] for entry in json.loads(path.read_text())["decodings"]}


if __name__ == "__main__":
    main()
