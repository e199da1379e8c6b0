import pytest

from posttrain.chat import read_template
from posttrain.environment import prepare_environment
from posttrain.models.build import HybridShape, build_model
from posttrain.models.load import save_model
from posttrain.models.tokenizer import train_tokenizer

prepare_environment()  # before anything imports the heavy libraries

TEXTS = [
    "What is 3+4? The answer is \\boxed{7}.",
    "¿Cuánto es 3+4? La respuesta es \\boxed{7}.",
    "정답은 \\boxed{7} 입니다.",
]
SHAPE = HybridShape(
    hidden_size=32, num_layers=2, intermediate_size=64, num_heads=2, num_kv_heads=1, head_dim=16, sliding_window=16
)


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300, chat_template=read_template("exaone4"))


@pytest.fixture
def model(tokenizer):
    return build_model(SHAPE, tokenizer, seed=0)


@pytest.fixture(scope="session")
def model_folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(build_model(SHAPE, tokenizer, seed=0), tokenizer, folder)
    return folder
