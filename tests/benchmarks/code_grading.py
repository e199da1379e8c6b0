"""How many completions a core grades with `code_tests`, against a bare subprocess that isolates nothing.

    python tests/benchmarks/code_grading.py [--rounds 20]

Both run a trivial function with 4 tests, in turn on one core, so that a noisy machine slows both alike. Printed are the
medians over the rounds of both rates and of each round's ratio. The first round warms up and is left out.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from posttrain.terminal import say
from rewards import make_attempt
from rewards.code_tests import CodeTests

CODE = "def double(n):\n    return 2 * n\n"
TESTS = {"fn_name": "double", "inputs": [[0], [3], [-7], [1000003]], "outputs": [0, 6, -14, 2000006]}
BARE = CODE + "".join(
    f"assert double({given}) == {expected}\n"
    for (given,), expected in zip(TESTS["inputs"], TESTS["outputs"], strict=True)  # type: ignore[misc]
)


def main() -> None:
    """Time both and print completions per second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--completions", type=int, default=10, help="of each kind in a round")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    reward, attempt = CodeTests(), make_attempt(f"```python\n{CODE}```", {"tests": TESTS})

    def sandboxed() -> None:
        assert reward(attempt).score == 1.0

    # The interpreter of the sandbox, without a virtual environment; and as it is mostly called, with its packages.
    peers: dict[str, Callable[[], object]] = {
        "code_tests": sandboxed,
        "bare, isolated mode": lambda: subprocess.run([sys.executable, "-I", "-S", "-c", BARE], check=True),
        "bare": lambda: subprocess.run([sys.executable, "-c", BARE], check=True),
    }
    say(f"code_tests: {reward.describe()['sandbox']}")
    rounds = [{name: _rates(run, args.completions) for name, run in peers.items()} for _ in range(args.rounds)][1:]
    for name in peers:
        wall, cpu = (statistics.median(rates[name][kind] for rates in rounds) for kind in (0, 1))
        say(f"{name:<22}{wall:>8.1f} completions/s{cpu:>8.1f} per CPU second")
    for name in list(peers)[1:]:
        wall, cpu = ([rates["code_tests"][kind] / rates[name][kind] for rates in rounds] for kind in (0, 1))
        say(
            f"code_tests / {name:<20} {statistics.median(wall):.2f}x  (range {min(wall):.2f} to {max(wall):.2f}); "
            f"of CPU time {statistics.median(cpu):.2f}x"
        )


def _rates(run: Callable[[], object], completions: int) -> tuple[float, float]:
    """Completions per second, and per second of CPU time, that of the children included."""
    began, cpu_began = time.perf_counter(), _cpu_s()
    for _ in range(completions):
        run()
    return completions / (time.perf_counter() - began), completions / (_cpu_s() - cpu_began)


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
