"""`posttrain rewards new NAME`: a reward that works and its test, to be changed into the one that is wanted."""

import importlib.util
import keyword
import re
from pathlib import Path

from rich.markup import escape

from posttrain.errors import UserError
from posttrain.runs import write_text_atomically
from posttrain.terminal import say

TEMPLATE = Path(__file__).with_name("template")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def new_reward(name: str) -> int:
    """Write the module and its test, and say what to do next; the exit code.

    In a checkout of this project they go to `rewards/` and `tests/rewards/`; anywhere else, both into the working
    directory, where recipes find them too.

    Raises:
        UserError: the name will not do, or a file is there already.
    """
    is_checkout = Path("rewards/contract.py").is_file() and Path("tests/rewards").is_dir()
    module, test = Path(f"{name}.py"), Path(f"test_{name}.py")
    module_name = name
    if is_checkout:
        module, test, module_name = "rewards" / module, "tests/rewards" / test, f"rewards.{name}"
    _check_name(name, module_name)
    for path in (module, test):
        if path.exists():
            raise UserError(f"{path} exists already; choose another name, or move it away")
    for path, source in ((module, "my_reward.py"), (test, "test_my_reward.py")):
        text = (TEMPLATE / source).read_text(encoding="utf-8")
        text = text.replace("posttrain.authoring.template.my_reward", module_name).replace("my_reward", name)
        write_text_atomically(path, text)
    say(escape(_next_steps(module, test, f"{module_name}:{name}", is_checkout=is_checkout)))
    return 0


def _check_name(name: str, module_name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UserError(f"got {name!r}, need a name for a module and a function in it, such as my_reward")
    if name.startswith("test_") or importlib.util.find_spec(module_name) is not None:
        raise UserError(f"got {name!r}, but there is a module of that name, or it reads as a test; choose another name")


def _next_steps(module: Path, test: Path, use: str, *, is_checkout: bool) -> str:
    lines = [
        f"wrote {module} and {test}. Next:",
        f"  python -m pytest {test}    # passes; change the reward, its CASES first",
        f"  posttrain rewards check use={use} data=rows.jsonl",
        "and in a recipe:",
        "  rewards:",
        f'    - {{use: "{use}"}}',
    ]
    if is_checkout:
        lines.insert(3, "  a line for it in the table of rewards/README.md, which a test asks for")
    return "\n".join(lines)
