"""What the README says about mixers, done."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import data_mixers
from data_mixers.by_tokens import ByTokens
from posttrain.data.intake import take_in
from posttrain.data.mixing import mix, parts_of
from posttrain.recipe import MixerSection, SFTDataSection, Source

README = Path(data_mixers.__file__).with_name("README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_example_in_python_runs() -> None:
    example, _ = blocks("python")
    assert example.count("assert") == 3
    exec(compile(example, "README.md", "exec"), {})


def test_the_shares_of_the_yaml_examples_are_accepted() -> None:
    recipe, shares, _ = (yaml.safe_load(block) for block in blocks("yaml"))
    ByTokens(**recipe["mixer"]["args"])
    ByTokens(**shares)


def test_the_mixer_in_fifteen_lines_passes_its_test_and_orders_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Any
) -> None:
    _, code = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    (tmp_path / "short_first.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    import short_first  # type: ignore[import-not-found]

    short_first.test_short_rows_come_first()
    section = MixerSection(**yaml.safe_load(blocks("yaml")[2])["mixer"])
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(answered("7" * digits)) + "\n" for digits in (4, 2, 3)))
    sources = [Source(path="rows.jsonl")]
    mixed = mix(parts_of(take_in(SFTDataSection(sources=sources), tokenizer), sources), section, seed=0)
    assert [row.trained_tokens for row in mixed.rows] == [3, 4, 5]  # every digit is one, and so is the end


def answered(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]}
