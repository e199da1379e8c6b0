import pytest

from posttrain.chat import Origin
from posttrain.errors import UserError
from posttrain.inference.sample_files import write_samples
from posttrain.preference.sample_files import read_groups

ORIGIN = Origin("a" * 64, "b" * 64)


def sample(query, reward, *, is_truncated=False, **columns):
    return {
        "query": query,
        "prompt_ids": [10, query],
        "token_ids": [20, query],
        "is_truncated": is_truncated,
        "mode": "reasoning",
        "language": "ko",
        "reward": reward,
        **ORIGIN._asdict(),
        **columns,
    }


@pytest.fixture
def folder(tmp_path):
    def write(*parts):
        for number, samples in enumerate(parts):
            write_samples(tmp_path / "samples.parquet" / f"part-{number:05d}.parquet", samples)
        return tmp_path / "samples.parquet"

    return write


def test_a_query_becomes_a_group_of_all_its_scored_responses(folder):
    path = folder([sample(0, 1.0), sample(0, 0.5), sample(0, None), sample(0, 0.0)], [sample(1, 0.2), sample(1, 0.9)])
    groups = read_groups(path, ORIGIN)
    assert groups.rows == [
        {
            "prompt_ids": [10, 0],
            "completions": [[20, 0]] * 3,
            "weights": pytest.approx([1.0, 0.0, -1.0]),
            "mode": "reasoning",
            "language": "ko",
        },
        {
            "prompt_ids": [10, 1],
            "completions": [[20, 1]] * 2,
            "weights": pytest.approx([-1.0, 1.0]),
            "mode": "reasoning",
            "language": "ko",
        },
    ]
    assert groups.skipped == {}


def test_queries_that_teach_nothing_are_counted_by_reason(folder):
    path = folder(
        [sample(0, 1.0), sample(0, 0.0)],
        [sample(1, 0.5), sample(1, 0.5)],
        [sample(2, 0.5), sample(2, None)],
        [sample(3, 1.0, is_truncated=True), sample(3, 0.0)],
    )
    groups = read_groups(path, ORIGIN)
    assert len(groups.rows) == 1
    assert groups.skipped == {"equal_rewards": 1, "unscorable": 1, "best_cut_off": 1}


def test_a_response_that_was_cut_off_is_never_an_example_to_follow(folder):
    path = folder([sample(0, 1.0), sample(0, 0.9, is_truncated=True), sample(0, 0.0, is_truncated=True)])
    weights = read_groups(path, ORIGIN).rows[0]["weights"]
    assert weights[1] == 0
    assert weights[0] > 0 > weights[2]


@pytest.mark.parametrize(
    ("samples", "named"),
    [
        ([sample(0, 1.0), sample(0, 0.0, token_ids=[])], "samples.parquet:2: token_ids is empty"),
        ([sample(0, 1.0), sample(0, 1.0)], "none whose responses differ in reward .1 equal_rewards"),
        ([sample(0, None), sample(0, None)], "none whose responses differ in reward .1 unscorable.; check the rewards"),
        (
            [sample(0, 1.0), sample(0, 0.0), sample(1, None, mode=None, language=None)],
            "samples.parquet:3: is not graded; let `posttrain pairs` finish",
        ),
        ([sample(0, 1.0), sample(0, 0.0, template_sha256="c" * 64)], "made with another chat template"),
        ([sample(0, 1.0), sample(0, 0.0, vocabulary_sha256="c" * 64)], "made with another tokenizer"),
    ],
)
def test_samples_that_cannot_be_trained_are_refused(folder, samples, named):
    with pytest.raises(UserError, match=named):
        read_groups(folder(samples), ORIGIN)


def test_what_is_no_samples_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist; make it with `posttrain pairs`"):
        read_groups(tmp_path / "samples.parquet", ORIGIN)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(UserError, match="is not a Parquet file"):
        read_groups(tmp_path / "text.parquet", ORIGIN)
