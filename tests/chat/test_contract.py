"""Which chat templates are fit for training, and what they are able to say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.chat import (
    Abilities,
    ContractError,
    Mode,
    check_template,
    encode_prompt,
    leaves_thinking_open,
    parse_completion,
    render_for_training,
    render_prompt,
)
from posttrain.chat.conversations import CONVERSATIONS
from tests.chat.conftest import BOTH, DIRECT, FAMILIES, QUESTION, REPLY, Family, row, trained_text


@pytest.mark.parametrize(
    ("template", "abilities"),
    [
        ("exaone4", Abilities(BOTH, system=True, tools=True)),
        ("qwen3", Abilities(BOTH, system=True, tools=True)),
        ("chatml", Abilities(DIRECT, system=True, tools=True)),
        ("smollm2_shape", Abilities(DIRECT, system=True, tools=False)),
        ("smollm3_shape", Abilities(BOTH, system=True, tools=False)),
    ],
)
def test_templates_of_several_families_keep_to_the_contract(
    family: Family, template: str, abilities: Abilities
) -> None:
    assert check_template(family(template)) == abilities


def test_abilities_are_told_in_words() -> None:
    assert str(Abilities(BOTH, system=True, tools=False)) == "reasoning and non_reasoning, system"
    assert str(Abilities(DIRECT, system=False, tools=True)) == "non_reasoning, tools"


@pytest.mark.parametrize(
    ("template", "mode", "prompt_end", "said"),
    [
        ("exaone4", "reasoning", "[|assistant|]\n<think>\n", "4+7=11\n</think>\n\nIt is 11.[|endofturn|]"),
        ("exaone4", "non_reasoning", "[|assistant|]\n<think>\n\n</think>\n\n", "It is 11.[|endofturn|]"),
        ("qwen3", "reasoning", "<|im_start|>assistant\n", "<think>\n4+7=11\n</think>\n\nIt is 11.<|im_end|>"),
        ("qwen3", "non_reasoning", "<|im_start|>assistant\n<think>\n\n</think>\n\n", "It is 11.<|im_end|>"),
        ("chatml", "non_reasoning", "<|im_start|>assistant\n", "It is 11.<|im_end|>"),
        ("smollm2_shape", "non_reasoning", "<|im_start|>assistant\n", "It is 11.<|im_end|>"),
        ("smollm3_shape", "reasoning", "<|im_start|>assistant\n", "<think>\n4+7=11\n</think>\nIt is 11.<|im_end|>"),
        ("smollm3_shape", "non_reasoning", "<|im_start|>assistant\n<think>\n\n</think>\n", "It is 11.<|im_end|>"),
    ],
)
def test_model_is_trained_on_what_follows_the_prompt_of_its_mode(
    family: Family, template: str, mode: Mode, prompt_end: str, said: str
) -> None:
    """Where the prompt does not open the thinking, the model learns to write the tag; nowhere else."""
    tokenizer = family(template)
    prompt = render_prompt(tokenizer, [QUESTION], mode)
    assert prompt.endswith(prompt_end)
    assert trained_text(tokenizer, row(mode), mode) == said
    rendered = render_for_training(tokenizer, row(mode), mode)
    prompt_ids, said_ids = encode_prompt(tokenizer, prompt), encode_prompt(tokenizer, said)
    assert rendered.input_ids == prompt_ids + said_ids + encode_prompt(tokenizer, "\n")
    assert rendered.trained == [False] * len(prompt_ids) + [True] * len(said_ids) + [False]
    parsed = parse_completion(said.removesuffix(tokenizer.eos_token), is_open=leaves_thinking_open(prompt))
    assert parsed == ("4+7=11" if mode == "reasoning" else None, "It is 11.", True)


WORDS = st.text(alphabet="ab7 \n\t<>{}\\né가🙂\xa0", min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(question=WORDS, thinking=WORDS, answer=WORDS, mode=st.sampled_from(BOTH))
def test_no_row_is_refused_for_its_words(family: Family, question: str, thinking: str, answer: str, mode: Mode) -> None:
    """The rules hold of any text, white space at its ends included; what is trained follows the prompt's own tokens."""
    reply = {"role": "assistant", "content": answer}
    if mode == "reasoning":
        reply["reasoning_content"] = f"a{thinking}"
    for template in ("exaone4", "qwen3", "smollm3_shape"):
        tokenizer = family(template)
        ids, trained = render_for_training(tokenizer, [{"role": "user", "content": question}, reply], mode)
        prompt = render_prompt(tokenizer, [{"role": "user", "content": question}], mode)
        assert ids[: trained.index(True)] == encode_prompt(tokenizer, prompt)


@pytest.mark.parametrize("template", FAMILIES)
def test_thinking_of_an_earlier_turn_is_neither_in_the_prompt_nor_in_the_row(family: Family, template: str) -> None:
    tokenizer = family(template)
    mode = check_template(tokenizer).modes[0]
    messages = [*row(mode), {"role": "user", "content": "And 5+7?"}]
    prompt = render_prompt(tokenizer, messages, mode)
    assert "4+7=11" not in prompt
    last = {"role": "assistant", "content": "12."} | ({"reasoning_content": "5+7=12"} if mode == "reasoning" else {})
    whole = tokenizer.decode(render_for_training(tokenizer, [*messages, last], mode).input_ids)
    assert whole.startswith(prompt)


def test_earlier_turns_that_the_history_shows_otherwise_bear_no_loss(family: Family) -> None:
    """In Qwen3's format the empty block stands in the prompt alone: an earlier answer would be one without it."""
    messages = [QUESTION, REPLY, {"role": "user", "content": "And 5+7?"}, {"role": "assistant", "content": "12."}]
    assert trained_text(family("qwen3"), messages, "non_reasoning") == "12.<|im_end|>"
    assert trained_text(family("chatml"), messages, "non_reasoning") == "It is 11.<|im_end|>12.<|im_end|>"


def test_row_that_the_model_opens_is_held_to_the_generation_prompt(family: Family) -> None:
    greeted = [{"role": "assistant", "content": "Hello!"}, QUESTION, REPLY]
    tokenizer = family("exaone4")
    assert trained_text(tokenizer, greeted, "non_reasoning") == "Hello![|endofturn|]It is 11.[|endofturn|]"
    careless = tokenizer.chat_template.replace('{{- "<think>\\n\\n</think>\\n\\n" -}}', "", 1)
    assert careless != tokenizer.chat_template
    tokenizer.chat_template = careless
    with pytest.raises(ContractError, match=r"non_reasoning, turn 1 \(message 2, assistant\)"):
        render_for_training(tokenizer, greeted, "non_reasoning")


def test_every_conversation_says_each_thing_once() -> None:
    """Else a template could drop a turn and its words would still be found."""
    for conversation in CONVERSATIONS:
        said = [
            message[key]
            for message in conversation.messages
            for key in ("content", "reasoning_content")
            if message.get(key)
        ]
        whole = "\n".join(said)
        assert all(whole.count(words) == 1 for words in said)


def test_conversations_cover_what_the_contract_is_about() -> None:
    assert {conversation.name.rpartition(", ")[2] for conversation in CONVERSATIONS} == {"en", "ko", "es"}
    roles = [[message["role"] for message in conversation.messages] for conversation in CONVERSATIONS]
    assert {each[0] for each in roles} == {"system", "user"}
    assert max(each.count("user") for each in roles) == 3
    assert any("tool" in each for each in roles)
    assert all(not message.get("reasoning_content") for each in CONVERSATIONS for message in each.in_mode(DIRECT[0]))
