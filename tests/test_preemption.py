"""SIGTERM becomes a request for a checkpoint, and the end of training once it is written."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl

from posttrain.errors import Preempted
from posttrain.preemption import SaveAndStop

ALONE: Any = SimpleNamespace(num_processes=1)


def state(step: int) -> Any:
    return SimpleNamespace(global_step=step, max_steps=10)


@pytest.fixture(autouse=True)
def _preempts() -> Any:
    """As on the command line, where SIGTERM outside of training ends the process."""

    def preempt(*_: object) -> None:
        raise Preempted

    old = signal.signal(signal.SIGTERM, preempt)
    yield
    signal.signal(signal.SIGTERM, old)


def test_it_saves_at_the_end_of_the_step_and_stops_when_that_is_done() -> None:
    control = TrainerControl()
    with SaveAndStop(ALONE) as preemption:
        preemption.on_step_end(None, state(1), control)
        assert not control.should_save
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a launcher may say it again
        preemption.on_step_end(None, state(2), control)
        assert control.should_save
        assert not control.should_training_stop
        preemption.on_save(None, state(2), control)
    assert control.should_training_stop
    assert preemption.has_stopped


def test_a_checkpoint_that_others_put_off_is_asked_for_again() -> None:
    with SaveAndStop(ALONE) as preemption:
        os.kill(os.getpid(), signal.SIGTERM)
        for step in (2, 3):
            control = TrainerControl()
            preemption.on_step_end(None, state(step), control)
            assert control.should_save
            assert not control.should_training_stop


def test_a_run_at_its_last_step_is_finished_and_not_stopped() -> None:
    control = TrainerControl()
    with SaveAndStop(ALONE) as preemption:
        os.kill(os.getpid(), signal.SIGTERM)
        preemption.on_step_end(None, state(10), control)
        preemption.on_save(None, state(10), control)
    assert not control.should_training_stop
    assert not preemption.has_stopped


def test_a_checkpoint_without_a_signal_stops_nothing() -> None:
    control = TrainerControl()
    with SaveAndStop(ALONE) as preemption:
        preemption.on_step_end(None, state(4), control)
        preemption.on_save(None, state(4), control)
    assert not control.should_training_stop


def test_outside_of_training_the_signal_means_what_it_meant() -> None:
    with SaveAndStop(ALONE):
        pass
    with pytest.raises(Preempted):
        signal.raise_signal(signal.SIGTERM)


def test_another_thread_than_the_main_one_may_train_without_it() -> None:
    def train() -> None:
        with SaveAndStop(ALONE):
            pass

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    with pytest.raises(Preempted):
        signal.raise_signal(signal.SIGTERM)


def test_a_worker_that_was_forked_in_training_can_be_terminated() -> None:
    code = """
import os, signal, sys, time
from types import SimpleNamespace
from posttrain.preemption import SaveAndStop
with SaveAndStop(SimpleNamespace(num_processes=1)):
    pid = os.fork()
    if not pid:
        print("up", flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(1)
    os.kill(pid, signal.SIGTERM)
    print(os.waitpid(pid, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split()[-1] != "0"
    assert "Preempted" in done.stderr
