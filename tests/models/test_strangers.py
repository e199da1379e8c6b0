"""Model folders from strangers: nothing in them is run."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain.chat import render_prompt
from posttrain.errors import UserError
from posttrain.inference import open_engine
from posttrain.models.load import load_model, load_tokenizer, read_config
from posttrain.recipe import EngineSection, ModelSection


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "strange"))


@pytest.fixture
def with_code(copy: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A folder whose model is a class of its own, and the file that its code would write."""
    trace = tmp_path / "ran"
    (copy / "code.py").write_text(
        f"from pathlib import Path\nPath({str(trace)!r}).touch()\nclass M: pass\nclass C: pass\n"
    )
    path = copy / "config.json"
    mine = {"model_type": "strange", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | mine))
    return copy, trace


def pickle_weights(folder: Path) -> None:
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()


def load_all(section: ModelSection, tokenizer: Any) -> None:
    read_config(section)
    load_model(section, tokenizer)


@pytest.mark.parametrize("load", [lambda section, _: read_config(section), load_model, load_all])
def test_code_in_a_model_folder_is_refused_and_never_runs(
    with_code: tuple[Path, Path], tokenizer: Any, load: Any
) -> None:
    folder, trace = with_code
    with pytest.raises(UserError, match=r"needs code of its own \(`auto_map`\), which is never run; take a model"):
        load(ModelSection(path=str(folder)), tokenizer)
    assert not trace.exists()


def test_model_that_has_code_but_does_not_need_it_loads(with_code: tuple[Path, Path], tokenizer: Any) -> None:
    folder, trace = with_code
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "exaone4"}))
    assert type(load_model(ModelSection(path=str(folder)), tokenizer)).__module__.startswith("transformers.")
    assert not trace.exists()


def test_pickled_weights_are_refused_unless_allowed(copy: Path, tokenizer: Any) -> None:
    weights = load_model(ModelSection(path=str(copy)), tokenizer).lm_head.weight
    pickle_weights(copy)
    with pytest.raises(UserError, match=r"no model could be loaded from .*; model\.allow_pickle: true reads others"):
        load_model(ModelSection(path=str(copy)), tokenizer)
    allowed = load_model(ModelSection(path=str(copy), allow_pickle=True), tokenizer)
    assert torch.equal(allowed.lm_head.weight, weights)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_refuses_pickled_weights_too(copy: Path, tokenizer: Any) -> None:
    pickle_weights(copy)
    with pytest.raises(UserError, match=r"have to be safetensors, model\.allow_pickle: true reads others"):
        open_engine(EngineSection(name="vllm"), ModelSection(path=str(copy)), tokenizer)


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10**9) %}x{% endfor %}",
    ],
)
def test_templates_are_rendered_in_a_sandbox(copy: Path, attack: str) -> None:
    (copy / "chat_template.jinja").write_text(attack)
    tokenizer = load_tokenizer(ModelSection(path=str(copy)))
    with pytest.raises(UserError, match="template"):
        render_prompt(tokenizer, [{"role": "user", "content": "?"}], "reasoning")
