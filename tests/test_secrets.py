"""Keys and passwords stay out of recipes, and so out of all that a recipe is written into."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from posttrain import cli
from posttrain.errors import UserError
from posttrain.recipe import load_recipe

RECIPE: dict[str, Any] = {
    "stage": "rl",
    "run": "run",
    "model": {"path": "base"},
    "data": {"sources": [{"path": "rows.jsonl"}]},
    "rewards": [{"use": "rewards.judge:judge", "args": {"url": "http://localhost/v1", "api_key_env": "MY_KEY"}}],
    "trainer": {"max_steps": 3, "hub_token": None},
}
DIGITS = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6"
# Put together here, so that no scanner of this repository takes them for real.
SECRETS = {
    "hub": "hf" + "_" + DIGITS,
    "openai": "sk" + "-proj-" + DIGITS,
    "github": "ghp" + "_" + DIGITS,
    "aws": "AKIA" + "ABCDEFGHIJKLMNOP",
    "header": "Bearer " + DIGITS,
    "address": "https://me:" + DIGITS + "@host/v1",
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + DIGITS,
}
PLACES = {
    "rewards.0.args.prompt": lambda recipe, value: recipe["rewards"][0]["args"].update(prompt=value),
    "trainer.run_name": lambda recipe, value: recipe["trainer"].update(run_name=value),
    "rewards.0.when.domain.1": lambda recipe, value: recipe["rewards"][0].update(when={"domain": ["a", value]}),
}


def written(path: Path, change: Any = None, value: str = "") -> Path:
    recipe = yaml.safe_load(yaml.safe_dump(RECIPE))
    if change is not None:
        change(recipe, value)
    path.write_text(yaml.safe_dump(recipe))
    return path


def assert_refused_unseen(said: str, key: str) -> None:
    assert f"{key}: got what looks like a secret" in said
    assert "environment variable" in said
    assert DIGITS not in said
    assert "ABCDEFGHIJKLMNOP" not in said


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_looks_like_a_secret_is_refused_without_showing_it(kind: str, place: str, tmp_path: Path) -> None:
    path = written(tmp_path / "rl.yaml", PLACES[place], SECRETS[kind])
    with pytest.raises(UserError) as refusal:
        load_recipe(path)
    assert_refused_unseen(str(refusal.value), place)


@pytest.mark.parametrize("name", ["api_key", "apikey", "JUDGE_API_KEY", "hub_token", "password", "client_secret"])
def test_a_key_that_names_a_secret_may_hold_none_whatever_it_looks_like(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"rewards\.0\.args\.{name}: got what looks like a secret") as refusal:
        load_recipe(written(tmp_path / "rl.yaml"), [f"rewards.0.args.{name}=plainword"])
    assert "plainword" not in str(refusal.value)


def test_a_secret_from_the_environment_is_refused_too_as_the_run_folder_has_what_it_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_VERY_OWN", SECRETS["openai"])
    with pytest.raises(UserError) as refusal:
        load_recipe(written(tmp_path / "rl.yaml"), ["rewards.0.args.header='${oc.env:MY_VERY_OWN}'"])
    assert_refused_unseen(str(refusal.value), "rewards.0.args.header")


def test_the_command_line_does_not_show_it_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    path = written(tmp_path / "rl.yaml")
    assert cli.main(["check", str(path), f"rewards.0.args.prompt={SECRETS['openai']}", "no.such.key=1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert_refused_unseen(err, "rewards.0.args.prompt")


@pytest.mark.parametrize(
    "value",
    [
        "<|endoftext|>",
        "sk-learn-and-other-long-words-with-hyphens",
        "runs/hf_models/tiny",
        "https://host:8000/v1?user=me@here",
        "the secret is: think first",
    ],
)
def test_words_that_only_resemble_one_are_taken(value: str, tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path / "rl.yaml", PLACES["rewards.0.args.prompt"], value), ["trainer.eos_token=x"])
    assert recipe.rewards[0].args["prompt"] == value  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[1].glob("recipes/**/*.yaml")), ids=lambda path: path.stem
)
def test_no_recipe_in_the_box_is_taken_for_one(path: Path) -> None:
    from posttrain.recipe.secrets import refuse_secrets

    refuse_secrets(yaml.safe_load(path.read_text()))
