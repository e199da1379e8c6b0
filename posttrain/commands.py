"""What commands there are: what runs each, and what it does.

Targets are named as `module:function`, not imported: `import trl` costs seconds.
"""

STAGES = {
    "sft": ("posttrain.sft.stage:run_stage", "fine-tune on both modes together"),
    "filter": ("posttrain.filter.stage:run_stage", "keep the prompts that a model does not always answer right"),
    "rl": ("posttrain.rl.stage:run_stage", "AGAPO reinforcement learning"),
    "pairs": ("posttrain.preference.pairs_stage:run_stage", "sample from a model and build preference pairs"),
    "pref": ("posttrain.preference.stage:run_stage", "SimPER preference learning from pairs"),
    "context": ("posttrain.context.stage:run_stage", "grow a model's context in stages, each with a needle gate"),
    "eval": ("posttrain.evals.stage:run_stage", "grade a model's answers in both modes"),
    "report": ("posttrain.report.stage:run_stage", "write one page about the runs of several stages"),
}
TALK = {
    "generate": ("posttrain.talk.generate:run_generate", "let a model answer one prompt"),
    "chat": ("posttrain.talk.chat:run_chat", "talk to a model in the terminal, in either mode"),
    "serve": ("posttrain.talk.serve:run_serve", "serve a model with vLLM behind an OpenAI-compatible API"),
}
# Every command, in the order of `--help`: to begin with, stages, what surrounds a run, tools.
COMMANDS = {
    "demo": "run every stage on a tiny model and task that need nothing else",
    "doctor": "say what this machine has and lacks for a run, line by line",
    "recipes": "copy the recipes that come with the package, to be changed",
    "check": "check a recipe, its data and its plugins without training",
    "plan": "say what a recipe will take of memory, time and money, without running it",
    **{name: text for name, (_, text) in STAGES.items()},
    "compare": "tell two evaluations apart, question by question",
    "run": "run a recipe's stage, watch it, and start it again after a crash",
    **{name: text for name, (_, text) in TALK.items()},
    "rewards": "list rewards, begin one, or check one against your rows",
    "model": "build, probe or convert a model, or export a checkpoint",
    "simulate": "say what an RL run would gain from more servers and from staleness, in simulated time",
}
# Under a launcher the first process does these alone: there is nothing to share out, and the others return at once.
SINGLE_PROCESS = (
    *("filter", "pairs", "eval", "report"),
    *("plan", "demo", "doctor", "recipes", "model", "simulate"),
)
SUPERVISED = ("sft", "filter", "rl", "pairs", "pref", "eval", "context")
REWARDS = {
    "list": ("posttrain.authoring.listing:list_rewards", "the rewards that are there"),
    "new": ("posttrain.authoring.scaffold:new_reward", "write a reward and its test, to be changed into yours"),
    "check": ("posttrain.authoring.check:check_reward", "ask a reward about the gold, empty and hostile answers"),
}
MODEL = {
    "new": "build an untrained model of any shape, or count what it would cost",
    "probe": "change single tokens and see which layers notice: windows, causality, RoPE, packing",
    "convert": "turn a full-attention checkpoint into a sliding/full hybrid with the same weights",
    "export": "turn a training checkpoint of any stage and sharding into a model folder",
}
