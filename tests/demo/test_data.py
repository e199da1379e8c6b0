import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.chat import MODES
from posttrain.demo.data import TEACHER, Sizes, write_data
from posttrain.demo.task import LANGUAGES, Problem
from rewards import make_attempt
from rewards.language import detect_language
from rewards.math_answer import math_answer

CHAIN_CHARACTERS = set("0123456789+-*")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def chain(row: dict[str, Any]) -> str:
    """The problem, read from the question as a person would."""
    words = row["messages"][0]["content"].replace(",", " ").split()
    (found,) = [word for word in words if len(word) > 1 and set(word) <= CHAIN_CHARACTERS]
    return str(found)


def problem(row: dict[str, Any]) -> Problem:
    text = chain(row)
    return Problem(int(text[0]), tuple((text[at], int(text[at + 1])) for at in range(1, len(text), 2)))


def test_files_have_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    sizes = Sizes(7, 6, 5, 4, 3, 2, 1)
    paths = write_data(tmp_path / "deep" / "data", seed=0, sizes=sizes)
    assert {name: len(rows(path)) for name, path in paths.items() if name != "sft_round2"} == {
        "sft_reasoning": 7,
        "sft_non_reasoning": 6,
        "rl": 5,
        "pairs_stage1": 4,
        "pairs_stage2": 3,
        "validation": 2,
        "test": 1,
    }
    assert all(path == tmp_path / "deep" / "data" / f"{name}.jsonl" for name, path in paths.items())


def test_problem_of_validation_or_test_is_in_no_training_file(demo_files: dict[str, Path]) -> None:
    held_out = {"validation", "test"}
    for name, path in demo_files.items():
        expected = name if name in held_out else "train"
        assert {problem(row).split for row in rows(path)} == {expected}
    chains = {name: {chain(row) for row in rows(path)} for name, path in demo_files.items()}
    for name in held_out:
        for other in chains.keys() - {name}:
            assert not chains[name] & chains[other]


def test_every_gold_is_the_chains_answer_and_passes_the_grader(demo_files: dict[str, Path]) -> None:
    for path in demo_files.values():
        for row in rows(path):
            assert row["answer"] == str(problem(row).answer)
            assert row["steps"] == len(problem(row).steps)
            assert math_answer(make_attempt(rf"\boxed{{{row['answer']}}}", row)).outcome is True


def test_same_seed_writes_the_same_bytes_and_another_seed_other_problems(tmp_path: Path) -> None:
    sizes = Sizes(20, 20, 20, 20, 20, 20, 20)
    first, again, other = (write_data(tmp_path / name, seed, sizes) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    for name in first:
        assert first[name].read_bytes() == again[name].read_bytes()
        assert first[name].read_bytes() != other[name].read_bytes()


def test_growing_a_file_keeps_its_beginning(tmp_path: Path) -> None:
    small = write_data(tmp_path / "a", 0, Sizes(5, 5, 5, 5, 5, 5, 5))
    large = write_data(tmp_path / "b", 0, Sizes(9, 9, 9, 9, 9, 9, 9))
    for name in small:
        begun = rows(small[name])
        assert rows(large[name])[: len(begun)] == begun


def test_second_round_has_the_first_ones_reasoning_rows_that_are_right_in_two_domains(
    demo_files: dict[str, Path],
) -> None:
    first, second = rows(demo_files["sft_reasoning"]), rows(demo_files["sft_round2"])
    right = [row for row in first if math_answer(make_attempt(row["messages"][-1]["content"], row)).outcome]
    assert [{**row, "domain": "math"} for row in second] == right
    assert 0 < len(second) < len(first)
    for row in second:
        assert row["domain"] == ("long_chains" if len(problem(row).steps) >= 5 else "short_chains")
    assert {row["domain"] for row in second} == {"long_chains", "short_chains"}


def test_languages_are_asked_equally_often(demo_files: dict[str, Path]) -> None:
    for path in (path for name, path in demo_files.items() if name != "sft_round2"):
        languages = [row["language"] for row in rows(path)]
        assert {language: languages.count(language) * 3 for language in LANGUAGES} == dict.fromkeys(
            LANGUAGES, len(languages)
        )


def test_files_hold_the_modes_of_their_stage(demo_files: dict[str, Path]) -> None:
    modes = {name: {row["mode"] for row in rows(path)} for name, path in demo_files.items()}
    both = {"sft_non_reasoning": {"non_reasoning"}, "pairs_stage2": set(MODES)}
    assert modes == {name: both.get(name, {"reasoning"}) for name in demo_files}
    cells = [(row["mode"], row["language"]) for row in rows(demo_files["pairs_stage2"])]
    assert {cell: cells.count(cell) for cell in cells} == {(m, la): 5 for m in MODES for la in LANGUAGES}


def test_only_direct_answers_are_given_to_short_chains(demo_files: dict[str, Path]) -> None:
    for name, path in demo_files.items():
        shortest = min(len(problem(row).steps) for row in rows(path))
        assert shortest < 3 if name == "sft_non_reasoning" else shortest >= 3
        assert max(len(problem(row).steps) for row in rows(path)) <= 6


def test_sft_data_has_the_teachers_habits(tmp_path: Path) -> None:
    paths = write_data(tmp_path, 0, Sizes(900, 900, 1, 1, 1, 1, 1))
    for name in ("sft_reasoning", "sft_non_reasoning"):
        strayed = [detect_language(row["messages"][-1]["content"]) != row["language"] for row in rows(paths[name])]
        assert sum(strayed) / len(strayed) == pytest.approx(TEACHER.stray_rate, abs=0.06)
    verdicts = {
        name: [math_answer(make_attempt(row["messages"][-1]["content"], row)).outcome for row in rows(paths[name])]
        for name in ("sft_reasoning", "sft_non_reasoning")
    }
    assert all(verdicts["sft_non_reasoning"])
    # Wrong thoughts must be common enough for RL to have something to mend, and right ones for it to find them.
    assert 0.3 < sum(map(bool, verdicts["sft_reasoning"])) / 900 < 0.8
