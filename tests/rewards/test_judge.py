"""The judge against real endpoints on this machine that answer well, badly, late or not at all."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from rewards._judge import Judge, Judgement
from rewards._judge.endpoint import JudgeRefusedError
from rewards._judge.ledger import JudgeDownError, Ledger
from tests.rewards.judge_server import BROKEN, DROPPED, RIGHT, WRONG, Reply, Server, says, serve

TEXTS = {"question": "Which planet is red?", "gold": "Mars", "answer": "the fourth planet"}
RIGHT_JUDGEMENT = Judgement("right", reason="the same")


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def judge_at(server: Server | str, folder: Path, **settings: Any) -> Judge:
    url = server if isinstance(server, str) else server.url
    return Judge(url=url, model="judge", folder=str(folder), **settings)


def free_url() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


@pytest.mark.parametrize(("reply", "verdict"), [(RIGHT, "right"), (WRONG, "wrong")])
def test_the_verdict_is_what_the_endpoint_says(reply: Reply, verdict: str, tmp_path: Path) -> None:
    with serve(reply) as server:
        assert judge_at(server, tmp_path)(**TEXTS).verdict == verdict
    (request,) = server.requests
    assert (request["path"], request["model"]) == ("/v1/chat/completions", "judge")
    assert request["response_format"]["json_schema"]["schema"]["required"] == ["reason", "verdict"]
    assert (request["temperature"], request["max_tokens"]) == (0.0, 512)
    assert all(text in server.prompts[0] for text in TEXTS.values())


@pytest.mark.parametrize(
    "failure",
    [
        BROKEN,
        Reply(b"<html>", status=503),
        Reply(status=429),
        Reply(status=408),
        DROPPED,
        says("It is right."),
        says('{"reason": "the same", "verd', finish_reason="length"),
        says('```json\n{"reason": "", "verdict": "right"}\n```'),
        Reply(b"<html>"),
        Reply(b'{"choices": []}'),
    ],
    ids=["500", "503", "429", "408", "drop", "words", "half", "fence", "html", "empty"],
)
def test_one_failure_is_asked_again(failure: Reply, tmp_path: Path) -> None:
    with serve(failure, RIGHT) as server:
        assert judge_at(server, tmp_path)(**TEXTS) == RIGHT_JUDGEMENT
    assert len(server.requests) == 2


def test_pauses_grow_from_try_to_try(tmp_path: Path) -> None:
    with serve(BROKEN, BROKEN, BROKEN, RIGHT) as server:
        assert judge_at(server, tmp_path)(**TEXTS) == RIGHT_JUDGEMENT
    pauses = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert [pause >= least for pause, least in zip(pauses, (0.25, 0.5, 1.0), strict=True)] == [True] * 3


def test_an_endpoint_that_never_answers_raises_within_the_time_limit(tmp_path: Path) -> None:
    with serve(Reply(delay_s=60)) as server:
        judge = judge_at(server, tmp_path, timeout_s=3, request_timeout_s=0.3, max_tries=100)
        began = time.monotonic()
        with pytest.raises(JudgeDownError, match=r"no answer in \d+ tries .*no answer within 0[.\d]* s"):
            judge(**TEXTS)
    assert time.monotonic() - began < 3 + 10


def test_an_answer_that_is_late_is_asked_for_again(tmp_path: Path) -> None:
    with serve(says('{"reason": "late", "verdict": "wrong"}', delay_s=10), RIGHT) as server:
        assert judge_at(server, tmp_path, request_timeout_s=2)(**TEXTS) == RIGHT_JUDGEMENT
    assert len(server.requests) >= 2


def test_an_answer_that_drips_in_meets_the_time_limit(tmp_path: Path) -> None:
    with serve(says("x" * 1000, drip_s=0.1)) as server:
        began = time.monotonic()
        with pytest.raises(JudgeDownError, match=r"no (whole )?answer within 0\.5 s"):
            judge_at(server, tmp_path, request_timeout_s=0.5, max_tries=1)(**TEXTS)
        assert time.monotonic() - began < 20  # all of it would take 100 s


def test_an_endless_answer_is_nonsense(tmp_path: Path) -> None:
    with serve(Reply(b" " * 2_000_000)) as server:
        judgement = judge_at(server, tmp_path, max_tries=1)(**TEXTS)
    assert judgement.verdict is None
    assert "more than 1000000 bytes" in judgement.reason


def test_nobody_listening_raises_with_the_address(tmp_path: Path) -> None:
    url = free_url()
    with pytest.raises(JudgeDownError, match=rf"judge at {url} gave no answer in 2 tries .*ConnectError"):
        judge_at(url, tmp_path, max_tries=2)(**TEXTS)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_request_raises_at_once_and_names_the_cause(status: int, tmp_path: Path) -> None:
    with (
        serve(Reply(b"no such model", status=status)) as server,
        pytest.raises(JudgeRefusedError, match=f"status {status}: no such model"),
    ):
        judge_at(server, tmp_path)(**TEXTS)
    assert len(server.requests) == 1


def test_retry_after_in_seconds_is_kept_to(tmp_path: Path) -> None:
    with serve(Reply(status=429, headers={"Retry-After": "2"}), RIGHT) as server:
        assert judge_at(server, tmp_path)(**TEXTS) == RIGHT_JUDGEMENT
    assert server.times[1] - server.times[0] >= 2


def test_retry_after_as_a_date_is_kept_to(tmp_path: Path) -> None:
    moment = int(time.time()) + 3
    with serve(Reply(status=503, headers={"Retry-After": formatdate(moment, usegmt=True)}), RIGHT) as server:
        assert judge_at(server, tmp_path)(**TEXTS) == RIGHT_JUDGEMENT
    assert time.time() >= moment
    assert len(server.requests) == 2


def test_a_retry_after_beyond_the_time_limit_holds_back_everybody_without_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(Reply(status=429, headers={"Retry-After": "300"}), RIGHT) as server:
        judge = judge_at(server, tmp_path)
        began, now = time.monotonic(), time.time()
        with pytest.raises(JudgeDownError, match=r"in 1 tries .*status 429"):
            judge(**TEXTS)
        monkeypatch.setattr(time, "time", lambda: now + 100)
        with pytest.raises(JudgeDownError, match="the turn to ask comes in 200"):
            judge_at(server, tmp_path)(**TEXTS)
        assert time.monotonic() - began < 10
        monkeypatch.setattr(time, "time", lambda: now + 310)
        assert judge(**TEXTS) == RIGHT_JUDGEMENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "content",
    [
        "right",
        "",
        None,
        "{}",
        "[]",
        '"right"',
        '{"verdict": "right"}',
        '{"reason": 1, "verdict": "right"}',
        '{"reason": "", "verdict": "RIGHT"}',
        '{"reason": "", "verdict": true}',
        '{"reason": "", "verdict": ["right"]}',
        '{"reason": "", "verdict": "right", "score": 1}',
        '{"reason": "", "verdict": "wrong", "verdict": "right"}',
        '{"reason": "", "verdict": "right"} {"reason": "", "verdict": "wrong"}',
        '{"reason": "", "verdict": "right"} That is my verdict.',
        "[" * 100_000,
    ],
)
def test_nonsense_is_no_verdict_and_not_kept(content: str | None, tmp_path: Path) -> None:
    with serve(says(content)) as server:
        judge = judge_at(server, tmp_path, max_tries=1)
        for _ in range(2):
            judgement = judge(**TEXTS)
            assert judgement.verdict is None
            assert judgement.reason.startswith("the judge gave no verdict in 1 tries")
            assert len(judgement.reason) < 300
    assert len(server.requests) == 2


def test_a_verdict_is_asked_for_once_in_all_processes(tmp_path: Path) -> None:
    with serve(RIGHT) as server:
        judge_at(server, tmp_path)(**TEXTS)
        run_processes([asking(server.url, tmp_path, ["the fourth planet"])] * 2)
        assert len(server.requests) == 1
        for change in ({"model": "another"}, {"request": {"temperature": 1.0}}):
            Judge(**{"url": server.url, "model": "judge", "folder": str(tmp_path), **change})(**TEXTS)
        for text in TEXTS:
            judge_at(server, tmp_path)(**TEXTS | {text: "?"})
    assert len(server.requests) == 6


def test_a_kept_verdict_needs_no_endpoint(tmp_path: Path) -> None:
    with serve(WRONG) as server:
        verdict = judge_at(server, tmp_path)(**TEXTS)
    with pytest.raises(JudgeDownError):
        judge_at(free_url(), tmp_path, max_tries=1)(**TEXTS | {"answer": "another"})
    assert judge_at(free_url(), tmp_path)(**TEXTS) == verdict


def test_a_dead_endpoint_costs_its_time_once_and_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(BROKEN, BROKEN, RIGHT) as server:
        judge = judge_at(server, tmp_path, max_tries=2)
        with pytest.raises(JudgeDownError, match=r"in 2 tries .*status 500"):
            judge(**TEXTS)
        for _ in range(3):
            with pytest.raises(JudgeDownError, match=r"status 500.*left alone for another"):
                judge(**TEXTS)
        assert len(server.requests) == 2
        in_31_s = time.time() + 31
        monkeypatch.setattr(time, "time", lambda: in_31_s)
        assert judge(**TEXTS) == RIGHT_JUDGEMENT
        assert judge(**TEXTS | {"answer": "another"}) == RIGHT_JUDGEMENT


def test_an_endpoint_that_answers_others_is_not_down(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    began_at = time.time()
    ledger.answered()
    ledger.gave_up(began_at=began_at, reason="it was slow")
    ledger.check_is_up()


def test_when_the_pause_is_over_one_process_tries_and_the_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    ledger.gave_up(began_at=time.time(), reason="it was down")
    in_31_s = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: in_31_s)
    ledger.check_is_up()
    with pytest.raises(JudgeDownError, match="it was down"):
        ledger.check_is_up()


def test_the_budget_counts_every_request_and_kept_verdicts_are_free(tmp_path: Path) -> None:
    with serve(BROKEN, RIGHT) as server:
        judge = judge_at(server, tmp_path, max_requests=3)
        assert judge(**TEXTS).verdict == "right"
        assert judge(**TEXTS | {"answer": "second"}).verdict == "right"
        spent = judge(**TEXTS | {"answer": "third"})
        assert spent == Judgement(None, reason="the judge's budget spent: 3 of 3 requests were made")
        assert judge(**TEXTS).verdict == "right"
        assert judge_at(server, tmp_path, max_requests=4)(**TEXTS | {"answer": "third"}).verdict == "right"
    assert len(server.requests) == 4 == Ledger(tmp_path).num_requests


ASKING = """
import sys
from rewards._judge import Judge
url, folder, settings, *answers = sys.argv[1:]
judge = Judge(url=url, model="judge", folder=folder, **eval(settings))
for answer in answers:
    print(judge(question="Which planet is red?", gold="Mars", answer=answer).verdict)
"""


def asking(url: str, folder: Path, answers: Sequence[str], **settings: Any) -> list[str]:
    """The command of a process that asks for some verdicts, one after the other."""
    return [sys.executable, "-c", ASKING, url, str(folder), repr(settings), *answers]


def run_processes(commands: Sequence[Sequence[str]]) -> list[list[str]]:
    """Run them at the same time; what each prints."""
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(commands)
    return outputs


def test_two_processes_share_the_rate_and_the_budget(tmp_path: Path) -> None:
    began = time.monotonic()
    with serve(RIGHT) as server:
        outputs = run_processes(
            [
                asking(
                    server.url, tmp_path, [f"{name}{i}" for i in range(4)], max_requests_per_minute=120, max_requests=6
                )
                for name in "ab"
            ]
        )
    assert sorted(outputs[0] + outputs[1]) == ["None"] * 2 + ["right"] * 6
    assert len(server.requests) == 6
    assert max(server.times) - began >= 5 * 0.5  # six turns, half a second apart


def test_processes_ask_no_more_at_once_than_allowed(tmp_path: Path) -> None:
    with serve(says('{"reason": "", "verdict": "right"}', delay_s=0.4)) as server:
        run_processes(
            [
                asking(server.url, tmp_path, [f"{name}{i}" for i in range(3)], max_concurrency=1, timeout_s=60)
                for name in "ab"
            ]
        )
    assert server.most_at_once == 1
    assert len(server.requests) == 6


def test_a_killed_process_gives_its_slot_back_and_leaves_the_ledger_whole(tmp_path: Path) -> None:
    with serve(Reply(delay_s=60), RIGHT) as server:
        process = subprocess.Popen(asking(server.url, tmp_path, ["a"], max_concurrency=1, request_timeout_s=60))
        while not server.requests:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert judge_at(server, tmp_path, max_concurrency=1)(**TEXTS) == RIGHT_JUDGEMENT
    with sqlite3.connect(tmp_path / "judge.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_too_few_requests_per_minute_for_the_time_limit_is_said_before_the_wait(tmp_path: Path) -> None:
    with serve(RIGHT) as server:
        judge = judge_at(server, tmp_path, max_requests_per_minute=0.5)
        judge(**TEXTS)
        with pytest.raises(JudgeDownError, match="max_requests_per_minute"):
            judge(**TEXTS | {"answer": "another"})


def test_the_key_goes_to_the_endpoint_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "s3cret-key")
    with serve(Reply(b"bad key s3cret-key", status=401), RIGHT) as server:
        judge = judge_at(server, tmp_path, api_key_env="SOME_KEY")
        with pytest.raises(JudgeRefusedError) as refused:
            judge(**TEXTS)
        assert judge(**TEXTS).verdict == "right"
    assert [headers["Authorization"] for headers in server.headers] == ["Bearer s3cret-key"] * 2
    assert "s3cret" not in f"{refused.value}{judge}"
    assert all(b"s3cret" not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_response_format_may_be_left_out_and_any_field_added(tmp_path: Path) -> None:
    with serve(RIGHT) as server:
        judge_at(server, tmp_path, response_format="text", request={"max_completion_tokens": 99})(**TEXTS)
    (request,) = server.requests
    assert request.keys() == {"model", "messages", "max_completion_tokens", "path"}


@pytest.mark.parametrize(
    ("settings", "need"),
    [
        ({"url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"url": "http://me:secret@host/v1"}, "without user, password"),
        ({"url": "http://host/v1?key=secret"}, "without user, password or query"),
        ({"model": ""}, "model is empty"),
        ({"folder": ""}, "folder is empty"),
        ({"timeout_s": 0}, "timeout_s=0, need more than 0"),
        ({"max_requests": -1}, "max_requests=-1"),
        ({"request": None}, "need fields of the request"),
        ({"response_format": "xml"}, "need one of json_schema, json_object, text"),
        ({"api_key_env": "NO_SUCH_VARIABLE"}, "'NO_SUCH_VARIABLE' is not set"),
        ({"prompt_file": "/no/such/file"}, "cannot be read"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], need: str, tmp_path: Path) -> None:
    given = {"url": "http://localhost/v1", "model": "judge", "folder": str(tmp_path), **settings}
    with pytest.raises(ValueError, match=need) as refused:
        Judge(**given)
    assert "secret" not in str(refused.value)
    assert not list(tmp_path.iterdir())
