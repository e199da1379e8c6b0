"""Without a network: data sets that `datasets` has put into its cache are moved to where a download would lie."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from posttrain.data.hub import load_hub_dataset
from posttrain.data.rows import read_all, read_records, source_files
from posttrain.errors import UserError
from posttrain.recipe import HubPath, Source

COMMIT, OTHER = "a1" * 20, "b2" * 20
ROWS = [
    {"messages": [{"role": "user", "content": "4+7?"}, {"role": "assistant", "content": "11"}], "id": 1},
    {
        "messages": [
            {"role": "user", "content": "얼마?"},
            {"role": "assistant", "content": "11", "reasoning_content": "4+7=11"},
        ],
        "id": 2,
    },
]


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache after a download of one data set with two splits, and of a config of another."""
    root = tmp_path_factory.mktemp("hub")
    for name, config, splits in (("small", "default", ("train", "test")), ("parts", "extra", ("train",))):
        folder = root / "sets" / name
        folder.mkdir(parents=True)
        for split in splits:
            rows = [{**row, "part": f"{config} {split}"} for row in ROWS]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        made = datasets.load_dataset(str(folder), split="train", cache_dir=str(root / "made"))
        there = root / "cache" / f"owner___{name}" / config / "0.0.0" / COMMIT
        shutil.copytree(Path(made.cache_files[0]["filename"]).parent, there)
        info = json.loads((there / "dataset_info.json").read_text())
        (there / "dataset_info.json").write_text(json.dumps({**info, "config_name": config}))
    return root / "cache"


@pytest.fixture(autouse=True)
def offline(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", downloaded)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    load_hub_dataset.cache_clear()
    yield
    load_hub_dataset.cache_clear()


def source(commit: str = COMMIT, name: str = "owner/small", **part: str) -> Source:
    return Source(path=f"hub:{name}@{commit}", **part)


def test_rows_are_those_of_the_data_set_numbered_from_1() -> None:
    path = f"hub:owner/small@{COMMIT}"
    records = list(read_records(source()))
    assert [(record.file, record.line) for record in records] == [(path, 1), (path, 2)]
    assert [record.row["messages"] for record in records] == [row["messages"] for row in ROWS]
    assert [record.row["mode"] for record in records] == ["non_reasoning", "reasoning"]


def test_config_and_split_name_the_part() -> None:
    parts = [source(), source(split="test"), source(name="owner/parts", config="extra")]
    assert [read_all([part])[0]["part"] for part in parts] == ["default train", "default test", "extra train"]


def test_files_to_hash_are_those_in_the_cache() -> None:
    (file,) = source_files([source()])
    assert file.is_file()
    assert COMMIT in file.parts


def test_another_commit_in_the_cache_is_not_taken_for_the_one_asked_for() -> None:
    with pytest.raises(UserError, match=rf"'owner/small' at {OTHER} is not in the cache and cannot be downloaded"):
        read_all([source(OTHER)])


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (source(name="owner/none"), "'owner/none' at .* cannot be loaded .*check its name"),
        (source(split="tset"), "cannot be loaded .*tset.*check its name, config, split"),
        (source(config="none"), "cannot be loaded .*none"),
    ],
)
def test_what_cannot_be_loaded_is_named_in_one_line(wanted: Source, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        source_files([wanted])
    assert "\n" not in str(caught.value)


def test_loading_it_twice_asks_once() -> None:
    path = HubPath("owner/small", COMMIT)
    assert load_hub_dataset(path, None, "train") is load_hub_dataset(path, None, "train")
