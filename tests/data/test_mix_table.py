"""The table of a mix: sums of the right rows, and 80 columns are enough."""

import re

import pytest
from rich.console import Console

from data_mixers import MixPlan, Source, Stream, plan_of
from data_mixers.by_tokens import ByTokens
from posttrain.data.mix_table import mix_table, short


def plan(*, domain: str = "math") -> MixPlan:
    sources = [
        Source(f"sums/reasoning/{domain}", "reasoning", [30] * 120, domain=domain),
        Source("fixes/reasoning", "reasoning", [40] * 50, domain="code"),
        Source("patches/reasoning", "reasoning", [40] * 50, domain="code"),
        Source("chat/non_reasoning", "non_reasoning", [10] * 1_000),
    ]
    tree = {"reasoning": {"share": 1.5, "domains": {domain: 2, "code": 1}}, "non_reasoning": 1.0}
    return plan_of(ByTokens(tree, "repeat", 2)(sources, seed=0))


def printed(plan: MixPlan) -> list[str]:
    console = Console(width=80, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(mix_table(plan))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_table_has_a_line_for_each_mode_domain_and_source() -> None:
    lines = {line.split("  ")[0].strip() or line: line.split() for line in (each.strip() for each in printed(plan()))}
    # 7,200 tokens of math in two epochs, half as many of code, two thirds of both of direct answers.
    assert lines["reasoning"][1:] == ["220", "7,600", "60.00", "60.00", "1.50", "3,600", "400"]
    assert lines["math"][1:] == ["120", "3,600", "40.00", "40.00", "2.00", "3,600", "0"]
    assert lines["sums"][1:] == lines["math"][1:]
    assert lines["code"][1:] == ["100", "4,000", "20.00", "20.00", "0.90", "0", "400"]
    assert lines["fixes"][1:] == lines["patches"][1:] == ["50", "2,000", "10.00", "10.00", "0.90", "0", "200"]
    assert lines["chat"][1:] == lines["non_reasoning"][1:]
    assert lines["chat"][1:] == ["1,000", "10,000", "40.00", "40.00", "0.72", "0", "2,800"]
    assert lines["all"][1:] == ["1,220", "17,600", "100.00", "100.00", "0.86", "3,600", "3,200"]


def test_eighty_columns_are_enough_for_long_names_and_large_counts() -> None:
    long = "a-domain-with-a-name-of-more-than-forty-letters"
    lines = printed(plan(domain=long))
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert long in re.sub(r"[^a-z-]", "", "".join(lines[4:8]))  # folded, nothing lost


def test_weight_of_rows_stays_with_the_name_of_their_source() -> None:
    sources = [
        Source("a/reasoning/math x2", "reasoning", [1, 2], domain="math"),
        Source("box x2/reasoning/no domain x0.5", "reasoning", [1, 2]),
        Source("plain/non_reasoning x1e-05", "non_reasoning", [1, 2]),
    ]
    names = {line.strip().split("  ")[0] for line in printed(plan_of(Stream.collect(sources, [])))}
    assert {"a x2", "box x2 x0.5", "plain x1e-05"} <= names


def test_mixer_without_an_aim_has_a_dash_for_what_is_asked() -> None:
    sources = [Source("a/reasoning", "reasoning", [1, 2])]
    (line,) = (line for line in printed(plan_of(Stream.collect(sources, []))) if line.startswith("   a"))
    assert line.split() == ["a", "2", "3", "–", "0.00", "0.00", "0", "3"]


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (9_994_999, "9.99M"),
        (9_995_000, "10.0M"),
        (99_950_000, "100M"),
        (1_234_567_890, "1.23B"),
        (10**12, "1.00T"),
    ],
)
def test_count_takes_six_characters_at_most(count: int, written: str) -> None:
    assert short(count) == written
