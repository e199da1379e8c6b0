"""Which chat templates are fit for training, and what is said of those that are not."""

from pathlib import Path
from typing import Any

import pytest
import trl
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
    read_template,
    render_for_training,
    render_prompt,
)
from posttrain.chat.conversations import CONVERSATIONS
from posttrain.data.encode import encode_row
from posttrain.data.unusable import RowError
from tests.chat.conftest import FAMILIES, Family

BOTH = ("reasoning", "non_reasoning")
DIRECT = ("non_reasoning",)
QUESTION = {"role": "user", "content": "What is 4+7?"}
THOUGHT = {"role": "assistant", "content": "It is 11.", "reasoning_content": "4+7=11"}
REPLY = {"role": "assistant", "content": "It is 11."}


def row(mode: Mode) -> list[dict[str, Any]]:
    return [QUESTION, THOUGHT if mode == "reasoning" else REPLY]


def trained_text(tokenizer: Any, messages: list[dict[str, Any]], mode: Mode) -> str:
    ids, trained = render_for_training(tokenizer, messages, mode)
    return str(tokenizer.decode([token for token, is_trained in zip(ids, trained, strict=True) if is_trained]))


# --- templates that keep to it ---


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


# --- templates that break it ---

HISTORY = "{%- if loop.index0 > last_user.index and message.reasoning_content -%}"
SPEAKS = """{{- "<think>\\n" -}}
            {%- generation -%}
                {{- message.reasoning_content"""
UNTRAINED = '{{- "<think>\\n\\n</think>\\n\\n" ~ assistant_body(message) ~ "[|endofturn|]" -}}'
KEPT = UNTRAINED.replace("<think>\\n\\n", '<think>\\n" ~ message.reasoning_content ~ "\\n')
ONE, TWO, FOUR = "one turn, en", "system and two turns, ko", "system, tools and two turns, en"


@pytest.mark.parametrize(
    ("changes", "conversation", "place", "problem"),
    [
        pytest.param(
            {HISTORY: "{%- if message.reasoning_content -%}"},
            TWO,
            "reasoning, turn 1 (message 2, assistant)",
            "the thinking reads back otherwise; rendered '1은 소수가 아니므로",
            id="strips nothing and trains it again",
        ),
        pytest.param(
            {"{%- elif thinks.now -%}": "{%- elif thinks.now or message.reasoning_content -%}", UNTRAINED: KEPT},
            TWO,
            "reasoning, turn 1 (message 2, assistant)",
            "its thinking is still in the prompt after the next user message; rendered '1은 소수가",
            id="strips nothing",
        ),
        pytest.param(
            {UNTRAINED: KEPT},
            TWO,
            "reasoning, turn 2 (message 4, assistant)",
            "must follow this turn's prompt as it is at inference; rendered",
            id="strips nothing in training alone",
        ),
        pytest.param(
            {SPEAKS: '{%- generation -%}{{- "<think>\\n" ~ message.reasoning_content'},
            ONE,
            "reasoning, turn 1 (message 1, assistant)",
            "must follow this turn's prompt as it is at inference; rendered",
            id="trains the pre-filled tag",
        ),
        pytest.param(
            {"{{- messages[0].content -}}": ""},
            TWO,
            "reasoning, turn 1 (message 0, system)",
            "is not rendered where it belongs; needed '존댓말로",
            id="drops the system",
        ),
        pytest.param(
            {'"[|user|]\\n" ~ message.content': '"[|user|]\\n" ~ (message.content if loop.index0 else "")'},
            ONE,
            "reasoning, turn 1 (message 0, user)",
            "is not rendered where it belongs",
            id="drops the user",
        ),
        pytest.param(
            {
                '{{- "[|user|]\\n" ~ message.content ~ "[|endofturn|]\\n" -}}': (
                    '{{- "[|user|]\\n" -}}{%- generation -%}{{- message.content ~ "[|endofturn|]" -}}'
                    '{%- endgeneration -%}{{- "\\n" -}}'
                )
            },
            ONE,
            "reasoning, turn 1 (message 0, user)",
            "is trained, though not the model says it; rendered 'What is 17 + 25?",
            id="trains the user",
        ),
        pytest.param(
            {'"[|tool|]\\n" ~ message.content ~ "[|endofturn|]\\n"': '"[|tool|]\\n[|endofturn|]\\n"'},
            FOUR,
            "reasoning, turn 1 (message 3, tool)",
            "is not rendered where it belongs",
            id="drops the tool's result",
        ),
        pytest.param(
            {'~ "\\n</think>\\n\\n" ~': '~ "\\n\\n" ~'},
            ONE,
            "reasoning, turn 1 (message 1, assistant)",
            "the thinking reads back otherwise",
            id="never closes the thinking",
        ),
        pytest.param(
            {
                'message.reasoning_content.strip("\\n") ~ "\\n</think>\\n\\n" ~ assistant_body(message)': (
                    '"\\n</think>\\n\\n" ~ message.reasoning_content ~ assistant_body(message)'
                )
            },
            ONE,
            "reasoning, turn 1 (message 1, assistant)",
            "the thinking reads back otherwise; rendered '', needed '7 + 5 = 12",
            id="moves the thinking into the answer",
        ),
        pytest.param(
            {
                'assistant_body(message) ~ "[|endofturn|]" -}}\n            {%- endgeneration -%}': (
                    'assistant_body(message) -}}\n            {%- endgeneration -%}{{- "[|endofturn|]" -}}'
                )
            },
            ONE,
            "reasoning, turn 1 (message 1, assistant)",
            "42.\\n\\nDone.', needed '[|endofturn|]'",
            id="does not train the end",
        ),
        pytest.param(
            {'"arguments": \' ~': '"parameter": \' ~'},
            FOUR,
            "reasoning, turn 1 (message 2, assistant)",
            'the tool calls do not read back; rendered \'<tool_call>{"name": "find_weather", "parameter',
            id="writes tool calls otherwise",
        ),
        pytest.param(
            {"{{- tool | tojson ~": "{{- loop.index ~"},
            FOUR,
            "reasoning",
            "the tool 'find_route' is not rendered",
            id="drops the tools",
        ),
        pytest.param(
            {'"[|user|]\\n" ~': '"[|user|] " ~ loop.revindex ~ "\\n" ~'},
            ONE,
            "reasoning, turn 1 (message 1, assistant)",
            "must follow this turn's prompt as it is at inference; rendered '[|user|] 2\\nWhat",
            id="counts from the end, so that a turn changes the one before",
        ),
        pytest.param(
            {
                "{{- messages[0].content -}}": (
                    '{{- (messages | selectattr("role", "eq", "user") | list | length) ~ messages[0].content -}}'
                )
            },
            TWO,
            "reasoning, turn 1 (message 1, user)",
            "the next turn's prompt must begin with it; rendered '[|system|]\\n2존댓말로",
            id="counts the questions at the top",
        ),
        pytest.param(
            {
                HISTORY: HISTORY.replace(" -%}", " and not loop.last -%}")
                + '{{- "<think>\\n" ~ message.reasoning_content ~ "\\n</think>\\n\\n" ~ assistant_body(message) '
                '~ "[|endofturn|]" -}}' + HISTORY.replace("if", "elif")
            },
            FOUR,
            "reasoning, turn 1 (message 2, assistant)",
            "it belongs to the last response and is not trained",
            id="trains no call of a tool",
        ),
    ],
)
def test_broken_template_is_refused_with_conversation_mode_and_turn(
    family: Family, changes: dict[str, str], conversation: str, place: str, problem: str
) -> None:
    template = read_template("exaone4")
    for old, new in changes.items():
        assert old in template
        template = template.replace(old, new)
    with pytest.raises(ContractError) as caught:
        check_template(family(template))
    where = f"the chat template breaks its contract in the conversation '{conversation}', {place}: "
    assert str(caught.value).startswith(where)
    assert problem in str(caught.value)
    assert "(docs/sft.md, Templates)" in str(caught.value)


def test_template_of_one_mode_alone_is_held_to_that_mode(family: Family) -> None:
    """Rows of the other mode are refused one by one."""
    always = read_template("exaone4").replace("if enable_thinking else", "if true else")
    tokenizer = family(always)
    assert check_template(tokenizer).modes == ("reasoning",)
    with pytest.raises(ContractError, match=r"non_reasoning, turn 1 \(message 1, assistant\): what is trained must"):
        render_for_training(tokenizer, row("non_reasoning"), "non_reasoning")
    with pytest.raises(ContractError, match=r"the thinking reads back otherwise; rendered '', needed '4\+7=11'"):
        render_for_training(family("chatml"), row("reasoning"), "reasoning")


def test_template_without_any_mode_or_marks_is_refused(family: Family) -> None:
    always = read_template("chatml").replace('"<|im_start|>assistant\\n" -}}\n{%- endif', '"<think>\\n" -}}\n{%- endif')
    with pytest.raises(ContractError, match="has neither mode: it drops the thinking"):
        check_template(family(always))
    unmarked = read_template("chatml").replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
    with pytest.raises(ContractError, match="marks no token as the model's own"):
        check_template(family(unmarked))


def test_template_may_refuse_what_it_cannot_say(family: Family) -> None:
    proud = read_template("chatml").replace("{{- messages[0].content -}}", "{{- raise_exception('no system') -}}")
    assert check_template(family(proud)) == Abilities(DIRECT, system=False, tools=True)
    busy = read_template("chatml").replace(
        "{%- set function", "{%- if not loop.first -%}{{- raise_exception('one call') -}}{%- endif -%}{%- set function"
    )
    assert check_template(family(busy)).tools


def test_white_space_marked_behind_the_end_of_a_turn_is_not_trained(family: Family) -> None:
    """Many templates in use mark it; nobody samples it."""
    assert (
        '<|im_end|>\\n" -}}{%- endgeneration' in (Path(__file__).parent / "templates/smollm2_shape.jinja").read_text()
    )
    assert trained_text(family("smollm2_shape"), row("non_reasoning"), "non_reasoning") == "It is 11.<|im_end|>"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "qwen3_training",
            r"'one turn, en', non_reasoning, turn 1 \(message 1, assistant\): what is trained must follow",
        ),
        ("qwen3_5_think_training", r"'one turn, en', reasoning, turn 1 \(message 1, assistant\): what is trained must"),
        ("qwen2_5_training", r"must follow .*rendered '.*assistant', needed '.*assistant\\n'"),
        ("qwen3_instruct_2507_training", None),
    ],
)
def test_templates_of_trl_are_judged_as_any_other(family: Family, name: str, problem: str | None) -> None:
    template = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()
    tokenizer = family(template)
    if problem is None:
        assert check_template(tokenizer) == Abilities(DIRECT, system=True, tools=True)
        return
    with pytest.raises(ContractError, match=problem):
        check_template(tokenizer)


# --- rows that a template breaks ---


@pytest.mark.parametrize(
    ("change", "messages", "problem"),
    [
        pytest.param(
            ("message.content ~", "message.content[:200] ~"),
            [{"role": "user", "content": "word " * 60}, REPLY],
            r"turn 1 \(message 0, user\): is not rendered where it belongs; needed 'word word",
            id="cuts what is long",
        ),
        pytest.param(
            (
                '{%- for message in messages -%}\n    {%- if message.role == "system"',
                '{%- for message in messages[-12:] -%}\n    {%- if message.role == "system"',
            ),
            [{"role": "user" if n % 2 == 0 else "assistant", "content": f"number {n}"} for n in range(14)],
            r"turn 1 \(message 0, user\): is not rendered where it belongs; needed 'number 0'",
            id="drops the first turn of many",
        ),
        pytest.param(
            (
                '"[|user|]\\n" ~ message.content',
                '"[|user|]\\n" ~ message.content ~ (" (asked again)" if '
                'messages[loop.index:] | selectattr("content", "eq", message.content) | list else "")',
            ),
            [QUESTION, REPLY, QUESTION, REPLY],
            r"turn \d \(message \d, assistant\): what is trained must follow .* rendered '.*\(asked again\)",
            id="changes a turn because of a later one",
        ),
        pytest.param(
            ('{{- message.content or "" -}}', '{{- (message.content or "") | replace("7", "seven") -}}'),
            [QUESTION, {"role": "assistant", "content": "7 it is"}],
            r"turn 1 \(message 1, assistant\): is not rendered where it belongs; needed '7 it is'",
            id="rewrites the answer",
        ),
    ],
)
def test_row_that_the_template_changes_is_refused_with_its_turn(
    family: Family, change: tuple[str, str], messages: list[dict[str, Any]], problem: str
) -> None:
    """Though the template keeps to the contract in the small conversations."""
    template = read_template("exaone4").replace(*change)
    assert template != read_template("exaone4")
    tokenizer = family(template)
    assert check_template(tokenizer).modes == BOTH
    with pytest.raises(RowError, match=f"non_reasoning, {problem}") as caught:
        encode_row({"messages": messages, "mode": "non_reasoning"}, tokenizer)
    assert caught.value.reason == "changed by the chat template"


def test_reasoning_answer_without_thinking_is_not_trained(family: Family) -> None:
    eager = read_template("qwen3").replace(
        "elif loop.index0 > last_user.index and not thinks", "elif loop.index0 > last_user.index and thinks"
    )
    eager = eager.replace('{{- "<think>\\n\\n</think>\\n\\n" -}}', "")
    messages = [QUESTION, THOUGHT, {"role": "tool", "content": "r"}, {"role": "assistant", "content": "12."}]
    with pytest.raises(ContractError, match=r"message 3, assistant\): an answer without thinking is trained"):
        render_for_training(family(eager), messages, "reasoning")
    assert trained_text(family("qwen3"), messages, "reasoning") == "<think>\n4+7=11\n</think>\n\nIt is 11.<|im_end|>"
