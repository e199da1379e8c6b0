"""The mixer decides the order; these tests see to it that it is asked rightly and obeyed."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from data_mixers.contract import Draw
from data_mixers.contract import Source as MixerSource
from posttrain.chat import MODES
from posttrain.data.encode import IGNORED, Encoded
from posttrain.data.intake import take_in
from posttrain.data.mixing import Mixed, Part, mix, parts_of
from posttrain.errors import UserError
from posttrain.recipe import MixerSection, SFTDataSection, Source

BY_TOKENS = MixerSection(
    use="data_mixers.by_tokens:ByTokens", args={"shares": {"reasoning": 1.5, "non_reasoning": 1.0}}
)


def source(name: str, path: Path, **more: Any) -> Source:
    return Source(name=name, path=str(path), **more)


@pytest.fixture
def sources(demo_files: dict[str, Path]) -> list[Source]:
    return [source("long", demo_files["sft_reasoning"]), source("short", demo_files["sft_non_reasoning"])]


@pytest.fixture(scope="module")
def both_modes_file(demo_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of the two modes in turn."""
    path = tmp_path_factory.mktemp("both") / "both.jsonl"
    pairs = zip(*(demo_files[f"sft_{mode}"].read_text().splitlines() for mode in MODES), strict=False)
    path.write_text("\n".join(line for pair in pairs for line in pair) + "\n")
    return path


def encode_sources(sources: list[Source], tokenizer: Any) -> dict[str, Part]:
    return parts_of(take_in(SFTDataSection(sources=sources), tokenizer), sources)


def mixed(sources: list[Source], tokenizer: Any, *, seed: int = 0, section: MixerSection = BY_TOKENS) -> Mixed:
    return mix(encode_sources(sources, tokenizer), section, seed=seed)


def test_trained_tokens_stand_three_to_two(sources: list[Source], tokenizer: Any) -> None:
    result = mixed(sources, tokenizer)
    largest = max(row.trained_tokens for row in result.rows)
    reasoning, direct = (result.trained_tokens[mode] for mode in MODES)
    assert abs(reasoning / 1.5 - direct / 1.0) <= largest
    assert result.ratio == reasoning / direct
    assert result.ratio == pytest.approx(1.5, abs=0.1)


def test_reported_tokens_are_those_of_the_rows(sources: list[Source], tokenizer: Any) -> None:
    result = mixed(sources, tokenizer)
    for index, mode in enumerate(MODES):
        rows = [row for row in result.rows if row.mode_id == index]
        assert result.trained_tokens[mode] == sum(label != IGNORED for row in rows for label in row.labels)
        assert result.all_tokens[mode] == sum(len(row.input_ids) for row in rows)
        assert 0 < result.trained_tokens[mode] < result.all_tokens[mode]


def test_counts_by_draw_are_those_of_the_rows_drawn(sources: list[Source], tokenizer: Any) -> None:
    result = mixed(sources, tokenizer)
    assert result.num_tokens.tolist() == [len(row.input_ids) for row in result.rows]
    assert result.rows.numbers("trained_tokens").tolist() == [row.trained_tokens for row in result.rows]
    some = result.rows[5:9]
    assert some.num_tokens.tolist() == [len(result.rows[draw].input_ids) for draw in range(5, 9)]
    assert list(some) == list(result.rows)[5:9]


def test_order_is_the_seeds(sources: list[Source], tokenizer: Any) -> None:
    first = mixed(sources, tokenizer, seed=3)
    again, other = (mixed(sources, tokenizer, seed=seed) for seed in (3, 4))
    assert list(again.rows) == list(first.rows)
    assert (again.plan, again.trained_tokens) == (first.plan, first.trained_tokens)
    assert list(other.rows) != list(first.rows)


def test_file_of_both_modes_becomes_two_sources(both_modes_file: Path, tokenizer: Any) -> None:
    encoded = encode_sources([source("both", both_modes_file)], tokenizer)
    assert {key: len(part.rows) for key, part in encoded.items()} == {"both/reasoning": 60, "both/non_reasoning": 60}
    for key, part in encoded.items():
        assert {MODES[row.mode_id] for row in part.rows} == {part.mode} == {key.partition("/")[2]}
    assert mixed([source("both", both_modes_file)], tokenizer).ratio == pytest.approx(1.5, abs=0.1)


def test_weight_of_a_source_reaches_the_mixer(demo_files: dict[str, Path], tokenizer: Any, tmp_path: Path) -> None:
    lines = demo_files["sft_reasoning"].read_text().splitlines()
    halves = []
    for name, part in (("heavy", lines[:30]), ("light", lines[30:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part))
        halves.append(source(name, tmp_path / f"{name}.jsonl", weight=3.0 if name == "heavy" else 1.0))
    encoded = encode_sources(halves, tokenizer)
    only = MixerSection(use=BY_TOKENS.use, args={"shares": {"reasoning": 1.0}})
    rows = mix(encoded, only, seed=0).rows
    drawn = Counter("heavy" if row in encoded["heavy/reasoning"].rows else "light" for row in rows)
    assert drawn["heavy"] == 30
    assert 6 <= drawn["light"] <= 14  # a third of the pace


class Backwards:
    """A mixer of one's own: every row once, the last first."""

    def __call__(self, sources: Sequence[MixerSource], *, seed: int) -> Iterator[Draw]:
        return (Draw(each.name, row) for each in sources for row in reversed(range(len(each.token_counts))))


class OneTooFar(Backwards):
    """Draws a row that is not there."""

    def __call__(self, sources: Sequence[MixerSource], *, seed: int) -> Iterator[Draw]:
        yield Draw(sources[0].name, len(sources[0].token_counts))


@pytest.fixture
def own_mixers(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with the mixers of this file."""
    module = ModuleType("mixers_of_this_test")
    module.Backwards, module.OneTooFar = Backwards, OneTooFar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_rows_come_in_the_order_of_the_mixer(sources: list[Source], tokenizer: Any, own_mixers: str) -> None:
    encoded = encode_sources(sources, tokenizer)
    result = mix(encoded, MixerSection(use=f"{own_mixers}:Backwards"), seed=0)
    expected: list[Encoded] = [
        *reversed(encoded["long/reasoning"].rows),
        *reversed(encoded["short/non_reasoning"].rows),
    ]
    assert list(result.rows) == expected
    assert {usage.asked_share for usage in result.plan.sources} == {None}
    assert {usage.epochs for usage in result.plan.sources} == {1.0}


def test_mixer_that_draws_what_is_not_there_is_the_users_error(
    sources: list[Source], tokenizer: Any, own_mixers: str
) -> None:
    with pytest.raises(UserError, match="mixer: the mixer drew row 60 of 'long/reasoning', which has rows 0 to 59"):
        mixed(sources, tokenizer, section=MixerSection(use=f"{own_mixers}:OneTooFar"))


# --- domains ---


@pytest.fixture
def two_domains(demo_files: dict[str, Path], tmp_path: Path) -> Path:
    """Thirty rows of math, twenty of code and ten without a domain, in turn."""
    rows = [json.loads(line) for line in demo_files["sft_reasoning"].read_text().splitlines()]
    for index, row in enumerate(rows):
        row["domain"] = ("math", "code", "math", "code", "math", None)[index % 6]
    path = tmp_path / "domains.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_file_of_several_domains_becomes_a_source_for_each(two_domains: Path, tokenizer: Any) -> None:
    parts = encode_sources([source("all", two_domains, weight=2.0)], tokenizer)
    assert {key: (part.domain, len(part.rows), part.weight) for key, part in parts.items()} == {
        "all/reasoning/math": ("math", 30, 2.0),
        "all/reasoning/code": ("code", 20, 2.0),
        "all/reasoning/no domain": (None, 10, 2.0),
    }


def test_domain_of_the_source_is_that_of_its_rows_without_one(two_domains: Path, tokenizer: Any) -> None:
    parts = encode_sources([source("all", two_domains, domain="code")], tokenizer)
    assert {key: len(part.rows) for key, part in parts.items()} == {"all/reasoning/math": 30, "all/reasoning/code": 30}


def test_shares_of_domains_reach_the_stream(two_domains: Path, tokenizer: Any) -> None:
    section = MixerSection(
        use=BY_TOKENS.use, args={"shares": {"reasoning": {"share": 1.0, "domains": {"math": 1.0, "code": 3.0}}}}
    )
    result = mixed([source("all", two_domains, domain="code")], tokenizer, section=section)
    drawn = {usage.domain: usage.drawn_tokens for usage in result.plan.sources}
    assert drawn["code"] == pytest.approx(3 * drawn["math"], abs=2 * max(row.trained_tokens for row in result.rows))
    with pytest.raises(
        UserError, match=r"10 rows belong to no share \(10 of 'all/reasoning/no domain' have no domain\)"
    ):
        mixed([source("all", two_domains)], tokenizer, section=section)


# --- weights of rows ---


@pytest.fixture
def weighted(demo_files: dict[str, Path], tmp_path: Path) -> Path:
    """Sixty rows: a third without a weight, a third twice as often, a third half as often."""
    rows = [json.loads(line) for line in demo_files["sft_reasoning"].read_text().splitlines()]
    for index, row in enumerate(rows):
        row |= ({}, {"weight": 2}, {"weight": 0.5})[index % 3]
    path = tmp_path / "weighted.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


REPEATED = MixerSection(use=BY_TOKENS.use, args={"shares": {"reasoning": 1.0}, "on_shortage": "repeat"})


def test_rows_are_drawn_as_often_as_their_weights_say(weighted: Path, tokenizer: Any) -> None:
    """The lightest once, those without a weight twice, the heaviest four times; one more or less at the end."""
    result = mixed([source("all", weighted)], tokenizer, section=REPEATED)
    times = Counter(tuple(row.input_ids) for row in result.rows)
    file = take_in(SFTDataSection(sources=[source("all", weighted)]), tokenizer)[0].rows
    for index, row in enumerate(file):
        assert abs(times[tuple(row.input_ids)] - (2, 4, 1)[index % 3]) <= 1
    drawn = {usage.name: usage.drawn_rows for usage in result.plan.sources}
    assert drawn == {
        "all/reasoning": pytest.approx(40, abs=2),
        "all/reasoning x2": pytest.approx(80, abs=3),
        "all/reasoning x0.5": pytest.approx(20, abs=1),
    }


def test_weights_of_rows_multiply_that_of_their_source(weighted: Path, tokenizer: Any) -> None:
    parts = encode_sources([source("all", weighted, weight=3.0)], tokenizer)
    assert {key: (part.weight, len(part.rows)) for key, part in parts.items()} == {
        "all/reasoning": (3.0, 20),
        "all/reasoning x2": (6.0, 20),
        "all/reasoning x0.5": (1.5, 20),
    }


def test_weight_of_one_changes_nothing(demo_files: dict[str, Path], tokenizer: Any, tmp_path: Path) -> None:
    lines = demo_files["sft_reasoning"].read_text().splitlines()
    ones = tmp_path / "ones.jsonl"
    ones.write_text(
        "\n".join(json.dumps({**json.loads(line), "weight": (1, 1.0, None)[len(line) % 3]}) for line in lines)
    )
    plain, said = (
        mixed([source("all", path)], tokenizer, section=REPEATED) for path in (demo_files["sft_reasoning"], ones)
    )
    assert list(said.rows) == list(plain.rows)
    assert said.plan == plain.plan


def test_more_weights_than_parts_can_be_balanced_are_refused(
    demo_files: dict[str, Path], tokenizer: Any, tmp_path: Path
) -> None:
    lines, path = demo_files["sft_reasoning"].read_text().splitlines(), tmp_path / "many.jsonl"
    for different, is_refused in ((16, False), (17, True)):
        rows = [{**json.loads(line), "weight": 1 + index % different} for index, line in enumerate(lines)]
        path.write_text("\n".join(json.dumps(row) for row in rows))
        if is_refused:
            with pytest.raises(
                UserError, match=r"'all' have 17 different weights, from 1 to 17; .* round them, or put"
            ):
                encode_sources([source("all", path)], tokenizer)
        else:
            assert len(encode_sources([source("all", path)], tokenizer)) == 16


# --- mistakes ---


def test_what_the_mixer_refuses_is_the_users_error(sources: list[Source], tokenizer: Any) -> None:
    lacking = MixerSection(use=BY_TOKENS.use, args={"shares": {"reasoning": 1.0}})
    with pytest.raises(
        UserError, match=r"mixer: .* 90 rows belong to no share \(90 of 'short/non_reasoning' have mode"
    ):
        mixed(sources, tokenizer, section=lacking)
    with pytest.raises(UserError, match=r"mixer\.args"):
        mixed(sources, tokenizer, section=MixerSection(use=BY_TOKENS.use, args={"share": {}}))


def test_ratio_without_direct_answers_is_infinite(sources: list[Source], tokenizer: Any) -> None:
    only = mixed(sources[:1], tokenizer, section=replace(BY_TOKENS, args={"shares": {"reasoning": 1.0}}))
    assert only.trained_tokens["non_reasoning"] == 0
    assert only.ratio == float("inf")
