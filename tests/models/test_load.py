import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch

from posttrain.chat import read_template, render_prompt
from posttrain.errors import UserError
from posttrain.models.attention import SEGMENTS
from posttrain.models.build import build_model
from posttrain.models.load import load_model, load_tokenizer, read_config, save_model
from posttrain.models.tokenizer import train_tokenizer
from posttrain.recipe import ModelSection
from tests import taught


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    """The model folder, to be broken."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def section(folder: Path | str, **more: Any) -> ModelSection:
    return ModelSection(path=str(folder), **more)


def remove_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("chat_template", None)
    path.write_text(json.dumps(config))


# --- saved models ---


def test_saved_folder_is_the_model_for_plain_transformers(model_folder: Path, tokenizer: Any, tiny_shape: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    built = build_model(tiny_shape, tokenizer, seed=0).eval()
    loaded = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    ids = torch.tensor([tokenizer("4+7*3-2 정답은")["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(built(ids).logits, loaded(ids).logits)
    assert loaded.config.layer_types == built.config.layer_types
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id
    plain = AutoTokenizer.from_pretrained(model_folder)
    messages = [{"role": "user", "content": "4+7?"}]
    rendered = plain.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=True, tokenize=False)
    assert rendered == render_prompt(tokenizer, messages, "reasoning")


def test_saving_replaces_what_a_killed_run_left(
    model_folder: Path, tokenizer: Any, tiny_shape: Any, tmp_path: Path
) -> None:
    for name in ("model", "model.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rest").write_text("of another run")
    save_model(build_model(tiny_shape, tokenizer, seed=0), tokenizer, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {path.name for path in model_folder.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_gathered_weights_win_over_the_models_own(tokenizer: Any, tiny_shape: Any, tmp_path: Path) -> None:
    shards, whole = (build_model(tiny_shape, tokenizer, seed=seed) for seed in (0, 1))
    save_model(shards, tokenizer, tmp_path / "model", state_dict=whole.state_dict())
    loaded = load_model(section(tmp_path / "model"), tokenizer)
    assert torch.equal(loaded.lm_head.weight, whole.lm_head.weight)


def saved_settings(model: Any, tokenizer: Any, folder: Path) -> dict[str, Any]:
    save_model(model, tokenizer, folder)
    settings: dict[str, Any] = json.loads((folder / "generation_config.json").read_text())
    return settings


def test_model_without_sampling_settings_gets_those_of_the_reasoning_mode(model_folder: Path) -> None:
    settings = json.loads((model_folder / "generation_config.json").read_text())
    assert (settings["do_sample"], settings["temperature"], settings["top_p"]) == (True, 0.6, 0.95)


def test_models_own_sampling_settings_are_kept_and_the_model_itself_is_left_alone(
    tokenizer: Any, tiny_shape: Any, tmp_path: Path
) -> None:
    model = build_model(tiny_shape, tokenizer, seed=0)
    saved_settings(model, tokenizer, tmp_path / "plain")
    assert model.generation_config.temperature is None
    model.generation_config.update(do_sample=True, temperature=0.3, top_k=7)
    settings = saved_settings(model, tokenizer, tmp_path / "own")
    assert (settings["temperature"], settings["top_k"], settings.get("top_p")) == (0.3, 7, None)


def test_base_model_learns_to_end_at_the_end_of_a_turn(tokenizer: Any, tiny_shape: Any, tmp_path: Path) -> None:
    model = build_model(tiny_shape, tokenizer, seed=0)
    model.generation_config.eos_token_id = 7
    assert saved_settings(model, tokenizer, tmp_path / "model")["eos_token_id"] == [7, tokenizer.eos_token_id]


PLAIN = """
import json, sys
from pathlib import Path

def main(folder, question):
    messages = [{"role": "user", "content": question}]
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    plain = {"settings": [model.generation_config.temperature, model.generation_config.top_p]}
    for thinks in (True, False):
        given = {"add_generation_prompt": True, "enable_thinking": thinks, "return_dict": True, "return_tensors": "pt"}
        inputs = tokenizer.apply_chat_template(messages, **given)
        out = model.generate(**inputs, do_sample=False, max_new_tokens=60)[0, inputs["input_ids"].shape[1]:]
        plain[str(thinks)] = tokenizer.decode(out, skip_special_tokens=True)
    from vllm import LLM
    llm = LLM(model=folder, dtype="float32", enforce_eager=True)
    params = llm.get_default_sampling_params()
    served = {"settings": [params.temperature, params.top_p]}
    params.temperature, params.max_tokens = 0, 60
    for thinks in (True, False):
        (reply,) = llm.chat(messages, params, use_tqdm=False, chat_template_kwargs={"enable_thinking": thinks})
        served[str(thinks)] = reply.outputs[0].text
    assert not any(name.partition(".")[0] in ("posttrain", "rewards") for name in sys.modules)
    Path("said.json").write_text(json.dumps([plain, served]))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.slow
def test_saved_folder_says_the_same_in_plain_transformers_and_plain_vllm(taught_folder: Path, tmp_path: Path) -> None:
    """Template, end of turn and sampling settings come from the folder: nothing of ours is imported."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    (tmp_path / "plain.py").write_text(PLAIN)
    words = [sys.executable, "plain.py", str(taught_folder), taught.QUESTION]
    subprocess.run(words, cwd=tmp_path, timeout=500, check=True)
    plain, served = json.loads((tmp_path / "said.json").read_text())
    thinking = f"{taught.THINKING}\n</think>\n\n{taught.ANSWER}"
    assert plain == {"settings": [0.6, 0.95], "True": thinking, "False": taught.DIRECT_ANSWER}
    assert served == plain


# --- tokenizers ---


def test_tokenizer_comes_with_its_template_and_pads_on_the_left(model_folder: Path) -> None:
    loaded = load_tokenizer(section(model_folder))
    assert loaded.padding_side == "left"
    assert loaded.chat_template == read_template("exaone4")


def test_recipe_can_bring_its_own_template(copy: Path, tmp_path: Path) -> None:
    remove_template(copy)
    assert load_tokenizer(section(copy, chat_template="exaone4")).chat_template == read_template("exaone4")
    (tmp_path / "own.jinja").write_text("own")
    assert load_tokenizer(section(copy, chat_template=str(tmp_path / "own.jinja"))).chat_template == "own"


def test_model_without_template_is_refused(copy: Path) -> None:
    remove_template(copy)
    with pytest.raises(UserError, match=r"copy' has no chat template; set model\.chat_template"):
        load_tokenizer(section(copy))


def test_tokenizer_without_padding_pads_with_its_end(copy: Path) -> None:
    path = copy / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["pad_token"]
    path.write_text(json.dumps(config))
    loaded = load_tokenizer(section(copy))
    assert loaded.pad_token_id == loaded.eos_token_id


def test_folder_without_tokenizer_is_refused(copy: Path) -> None:
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match=r"no tokenizer could be loaded from '.*copy': "):
        load_tokenizer(section(copy))


def test_hub_id_without_a_network_is_told_what_to_give_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="files; without a network, give a model folder: `hf download nobody/nothing"):
        load_tokenizer(ModelSection(path="nobody/nothing"))


# --- models ---


def test_model_has_the_dtype_and_attention_of_the_recipe(model_folder: Path, tokenizer: Any) -> None:
    loaded = load_model(section(model_folder, dtype="bfloat16", attn_implementation="eager"), tokenizer)
    assert loaded.dtype == torch.bfloat16
    assert loaded.config._attn_implementation == "eager"
    assert load_model(section(model_folder), tokenizer).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU takes transformers' choice")
def test_on_a_cpu_our_attention_is_taken_and_the_saved_model_does_not_know_of_it(
    model_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    model = load_model(section(model_folder), tokenizer)
    assert model.config._attn_implementation == SEGMENTS
    save_model(model, tokenizer, tmp_path / "model")
    assert SEGMENTS not in (tmp_path / "model/config.json").read_text()


@pytest.mark.parametrize("load", [load_tokenizer, lambda where: load_model(where, None), read_config])
@pytest.mark.parametrize("path", ["{tmp}/none", "./none", "none", "a/b/none", "{name}/none"])
def test_missing_folder_is_refused_without_asking_the_hub(
    path: str, load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runs/none` looks like a hub id; it is none while there is a folder `runs`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match=r"no model at '.*none' \(no config\.json there\); give a model folder"):
        load(section(path.format(tmp=tmp_path, name="runs")))


def test_folder_without_weights_is_refused(copy: Path, tokenizer: Any) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model could be loaded from '.*copy': "):
        load_model(section(copy), tokenizer)


def test_tokenizer_larger_than_the_embedding_is_refused(model_folder: Path, tokenizer: Any) -> None:
    larger = train_tokenizer(["a"], vocab_size=280, chat_template="x")
    larger.add_tokens([f"new{index}" for index in range(len(tokenizer))])
    with pytest.raises(UserError, match=f"{len(larger)} tokens but the model's embedding has {len(tokenizer)} rows"):
        load_model(section(model_folder), larger)


def test_tokenizer_larger_than_the_configured_embedding_is_refused_without_the_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 100}))
    with pytest.raises(UserError, match=r"has \d+ tokens but the model's embedding has 100 rows; use the tokenizer"):
        load_tokenizer(section(copy))


def test_embedding_larger_than_the_tokenizer_is_fine(model_folder: Path) -> None:
    """Published models pad theirs to a round number."""
    smaller = train_tokenizer(["a"], vocab_size=280, chat_template="x")
    assert load_model(section(model_folder), smaller).config.vocab_size > len(smaller)


def test_configuration_is_read_without_the_weights(copy: Path, tiny_shape: Any) -> None:
    (copy / "model.safetensors").unlink()
    config = read_config(section(copy))
    assert config.max_position_embeddings == replace(tiny_shape).max_position_embeddings


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_attention_that_is_not_installed_is_refused_in_a_line(model_folder: Path, tokenizer: Any) -> None:
    with pytest.raises(UserError, match=r"no model could be loaded from .*FlashAttention2 .* installed"):
        load_model(section(model_folder, dtype="bfloat16", attn_implementation="flash_attention_2"), tokenizer)
