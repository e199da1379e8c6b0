"""The judge and a real vLLM server, with a model of random weights: whatever it says, we know what becomes of it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewards import Verdict, make_attempt
from rewards._judge.endpoint import JudgeRefusedError
from rewards.science_answer import ScienceAnswer
from tests import vllm_server

pytestmark = pytest.mark.slow

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


@pytest.fixture(scope="module")
def quote_id(model_folder: Path) -> int:
    """The token of a quotation mark."""
    from transformers import AutoTokenizer

    (token_id,) = AutoTokenizer.from_pretrained(model_folder).encode('"')
    return int(token_id)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from posttrain.chat import read_template
    from posttrain.models.build import HybridShape, build_model
    from posttrain.models.load import save_model
    from posttrain.models.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(
        ['{"reason": "one two", "verdict": "right"}'], vocab_size=300, chat_template=read_template("exaone4")
    )
    folder = tmp_path_factory.mktemp("judge") / "model"
    save_model(build_model(HybridShape(max_position_embeddings=4096), tokenizer, seed=0), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def url(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The module is what `vllm serve` runs; that command finds no version of itself where the package is vllm-cpu."""
    port = vllm_server.free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_folder)]
    command += ["--served-model-name", "judge", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "4096", "--max-num-seqs", "4", "--enforce-eager"]
    no_whitespace = '{"backend": "xgrammar", "disable_any_whitespace": true}'  # random weights love line breaks
    command += ["--structured-outputs-config", no_whitespace]
    with vllm_server.running(command, port, tmp_path_factory.mktemp("log") / "vllm.log", ENVIRONMENT) as address:
        yield address


def grade(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, **settings: Any) -> Verdict:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    long_waits = {"timeout_s": 120.0, "request_timeout_s": 100.0}
    judge = {"url": url, "model": "judge", "folder": str(folder), **long_waits, **settings}
    return ScienceAnswer(judge=judge)(make_attempt(rf"\boxed{{{answer}}}", {"answer": "photosynthesis"}))


def test_a_model_that_decodes_by_the_schema_gives_a_verdict(
    url: str, quote_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights with a liking for the quotation mark, or the reason would have no end."""
    request = {"temperature": 1.0, "max_tokens": 200, "logit_bias": {str(quote_id): 100}}
    verdicts = []
    for number in range(3):
        verdict = grade(url, tmp_path, monkeypatch, f"how plants use light {number}", request=request)
        assert verdict.outcome is not None
        assert verdict.score == float(verdict.outcome)
        assert verdict.reason.startswith("judge: " if verdict.outcome else "not the same words; judge: ")
        verdicts.append(verdict)
    closed = "http://127.0.0.1:9/v1"
    for number, verdict in enumerate(verdicts):
        assert grade(closed, tmp_path, monkeypatch, f"how plants use light {number}", request=request) == verdict


@pytest.mark.parametrize("response_format", ["text", "json_schema"])
def test_a_model_that_talks_nonsense_or_without_end_gives_no_score(
    url: str, response_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"temperature": 0.0, "max_tokens": 40}
    verdict = grade(url, tmp_path, monkeypatch, "light", request=request, response_format=response_format, max_tries=2)
    assert (verdict.score, verdict.outcome) == (None, None)
    assert verdict.reason.startswith("the judge gave no verdict in 2 tries")


def test_a_model_that_is_not_served_is_the_settings_fault(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(JudgeRefusedError, match=r"status 404.*does not exist"):
        grade(url, tmp_path, monkeypatch, "light", model="another")
