import subprocess
import sys

import pytest

from posttrain.time_limit import time_limit

HANGS = """\
import threading
from posttrain.time_limit import time_limit

def waits_for_a_peer():
    with time_limit(0.3, "the rollout engine's work for step 7"):
        try:
            threading.Event().wait()
        except BaseException:  # nothing that is raised would end this
            threading.Event().wait()

waits_for_a_peer()
"""


def test_a_block_in_time_is_not_touched() -> None:
    with time_limit(60.0, "this"):
        pass
    with time_limit(None, "this"):
        pass


@pytest.mark.fault(16, "hangs where nothing can be raised", stage="rl")
def test_a_process_that_hangs_ends_with_its_stacks_and_what_it_waited_for() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    first, *rest = ended.stderr.splitlines()
    assert first.startswith("error: the rollout engine's work for step 7 has not ended after 0.3 s, so this process")
    assert "--resume" in first
    assert any("waits_for_a_peer" in line for line in rest)
