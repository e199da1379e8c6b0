import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.rows import read_all
from posttrain.errors import UserError
from posttrain.inference.sampling import SHOWN_QUERIES, evenly_spread, make_queries
from posttrain.models.load import load_tokenizer
from posttrain.recipe import DataSection, Decoding, EngineSection, ModelSection, SamplingRecipe, Source

QUESTION = {"role": "user", "content": "3+4?"}


@pytest.fixture
def recipe(model_folder: Any) -> SamplingRecipe:
    return SamplingRecipe(
        stage="filter",
        run="run",
        model=ModelSection(path=str(model_folder)),
        data=DataSection(sources=[]),
        engine=EngineSection(max_model_len=40),
        decoding=Decoding(temperature=1.0, max_new_tokens=10),
        rewards=[],
    )


def test_query_ends_with_the_question_in_the_mode_of_its_row(recipe: SamplingRecipe) -> None:
    tokenizer = load_tokenizer(recipe.model)
    gold = {"role": "assistant", "content": "7"}
    rows = [{"messages": [QUESTION, gold], "mode": mode, "n": 1} for mode in ("reasoning", "non_reasoning")]
    thinking, direct = make_queries(recipe, rows, tokenizer)
    assert thinking.row == rows[0] | {"messages": [QUESTION]}
    assert (thinking.mode, direct.mode) == ("reasoning", "non_reasoning")
    assert tokenizer.decode(thinking.prompt_ids).endswith("3+4?[|endofturn|]\n[|assistant|]\n<think>\n")
    assert tokenizer.decode(direct.prompt_ids).endswith("3+4?[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n")


def test_conversation_that_the_template_refuses_is_named(recipe: SamplingRecipe, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"messages": [message]} for message in (QUESTION, {"role": "judge", "content": "?"})]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = replace(recipe, data=DataSection(sources=[Source(path=str(path))]))
    with pytest.raises(UserError, match=r"rows\.jsonl:2: .*unknown role 'judge'"):
        make_queries(recipe, read_all(recipe.data.sources), load_tokenizer(recipe.model))


def test_prompt_that_leaves_no_room_for_its_response_is_refused_by_its_place(
    recipe: SamplingRecipe, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"messages": [{"role": "user", "content": text}]} for text in ("1?", "1+" * 20 + "1?", "2+" * 20 + "1?")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = replace(recipe, data=DataSection(sources=[Source(path=str(path))]))
    said = r"rows\.jsonl:2 has .* tokens, which with 10 .* than the engine's 40 \(as 1 more of 3 prompts\)"
    with pytest.raises(UserError, match=said):
        make_queries(recipe, read_all(recipe.data.sources), load_tokenizer(recipe.model))


@pytest.mark.parametrize(("num_queries", "last"), [(1, 0), (SHOWN_QUERIES, 31), (63, 31), (64, 62), (1000, 961)])
def test_shown_queries_are_few_and_spread(num_queries: int, last: int) -> None:
    shown = list(evenly_spread(num_queries))
    assert (shown[0], shown[-1]) == (0, last)
    assert len(shown) == min(num_queries, SHOWN_QUERIES)
