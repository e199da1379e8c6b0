import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain.chat import Origin, origin_of
from posttrain.errors import UserError
from posttrain.models.tokenizer import train_tokenizer
from posttrain.preference.pair_files import PAIR_SCHEMA, read_pairs, write_pairs
from posttrain.preference.pair_report import PairRow

ORIGIN = Origin("a" * 64, "b" * 64)
ROW: PairRow = {
    "query": 3,
    "prompt": '[{"role": "user", "content": "¿Qué?"}]',
    "prompt_ids": [1, 2],
    "chosen_ids": [3],
    "rejected_ids": [4, 5],
    "chosen_untrained": 0,
    "rejected_untrained": 1,
    "chosen_text": "sí",
    "rejected_text": "네",
    "chosen_outcome": True,
    "rejected_outcome": None,
    "chosen_in_language": True,
    "rejected_in_language": None,
    "mode": "reasoning",
    "language": None,
    "domain": None,
    "reason": "longer",
    "reused": False,
}


def test_pairs_come_back_as_they_were_written(tmp_path):
    write_pairs(tmp_path / "pairs.parquet", [ROW, ROW], ORIGIN)
    assert read_pairs(tmp_path / "pairs.parquet", ORIGIN) == [ROW, ROW]
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.parquet"]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_pairs(tmp_path / "pairs.parquet", ORIGIN)


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "pairs.parquet").write_text("query,chosen")
    with pytest.raises(UserError, match="not a Parquet file"):
        read_pairs(tmp_path / "pairs.parquet", ORIGIN)


def test_a_parquet_of_something_else_is_refused_with_its_missing_columns(tmp_path):
    pq.write_table(pa.table({"prompt": ["?"], "chosen": ["!"]}), tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match=r"no column query, prompt_ids, chosen_ids"):
        read_pairs(tmp_path / "pairs.parquet", ORIGIN)


def test_an_empty_set_is_refused(tmp_path):
    write_pairs(tmp_path / "pairs.parquet", [], ORIGIN)
    with pytest.raises(UserError, match="holds no pairs"):
        read_pairs(tmp_path / "pairs.parquet", ORIGIN)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"chosen_ids": []}, "no token of the chosen side bears loss"),
        ({"rejected_ids": [4], "rejected_untrained": 1}, "no token of the rejected side bears loss"),
        ({"prompt_ids": []}, "prompt_ids is empty"),
    ],
)
def test_a_pair_that_cannot_be_trained_is_refused_with_file_and_row(tmp_path, columns, words):
    write_pairs(tmp_path / "pairs.parquet", [ROW, {**ROW, **columns}], ORIGIN)
    with pytest.raises(UserError, match=rf"pairs\.parquet:2: {words}"):
        read_pairs(tmp_path / "pairs.parquet", ORIGIN)


@pytest.mark.parametrize(
    ("origin", "what"),
    [
        (ORIGIN._replace(template_sha256="c" * 64), "chat template"),
        (ORIGIN._replace(vocabulary_sha256="c"), "tokenizer"),
    ],
)
def test_pairs_of_another_template_or_vocabulary_are_refused(tmp_path, origin, what):
    write_pairs(tmp_path / "pairs.parquet", [ROW], origin)
    with pytest.raises(UserError, match=f"another {what}"):
        read_pairs(tmp_path / "pairs.parquet", ORIGIN)


def test_pairs_without_an_origin_are_refused(tmp_path):
    pq.write_table(pa.Table.from_pylist([ROW], schema=PAIR_SCHEMA), tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match="another chat template"):
        read_pairs(tmp_path / "pairs.parquet", ORIGIN)


def test_origin_tells_a_retrained_tokenizer_and_another_template(tokenizer):
    again = train_tokenizer(["other words"] * 9, vocab_size=300, chat_template=tokenizer.chat_template)
    assert origin_of(again).template_sha256 == origin_of(tokenizer).template_sha256
    assert origin_of(again).vocabulary_sha256 != origin_of(tokenizer).vocabulary_sha256
    again.chat_template += " "
    assert origin_of(again).template_sha256 != origin_of(tokenizer).template_sha256
