"""What is said of chat templates that are not fit for training."""

from pathlib import Path

import pytest
import trl

from posttrain.chat import (
    Abilities,
    ContractError,
    check_template,
    read_template,
    render_for_training,
)
from tests.chat.conftest import DIRECT, Family, row, trained_text

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
