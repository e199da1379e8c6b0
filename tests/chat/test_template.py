"""What is trained is exactly what the model has to say after the prompt of its mode."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.chat import (
    MODES,
    Mode,
    Rendered,
    encode_prompt,
    parse_completion,
    read_template,
    render_for_training,
    render_prompt,
    require_joinable,
    require_template,
    template_sha256,
)
from posttrain.data.rows import last_response
from posttrain.errors import UserError
from posttrain.models.tokenizer import train_tokenizer

END = "[|endofturn|]"
Messages = list[dict[str, Any]]

EXCHANGES = {
    "en": ("What is the last digit of 4+7?", "4+7=1", r"The answer is \boxed{1}."),
    "ko": ("4+7 의 마지막 자리는 무엇입니까?", "차례로 계산해 봅시다.\n4+7=1", r"정답은 \boxed{1} 입니다."),
    "es": ("¿Cuál es la última cifra de 4+7?", "Después 4+7=1", r"La respuesta es \boxed{1}."),
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "날씨_찾기",
            "description": "서울 날씨 <오늘> & mañana",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, thinking: str | None = None, **more: Any) -> dict[str, Any]:
    thought = {} if thinking is None else {"reasoning_content": thinking}
    return {"role": "assistant", "content": text, **thought, **more}


def call(arguments: Any, name: str = "날씨_찾기") -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def render(tokenizer: Any, messages: Messages, tools: Any = None) -> Rendered:
    """As a row of the mode that its last response shows."""
    thinks = any(message.get("reasoning_content") for message in last_response(messages))
    return render_for_training(tokenizer, messages, "reasoning" if thinks else "non_reasoning", tools)


def whole_text(tokenizer: Any, messages: Messages, tools: Any = None) -> str:
    return str(tokenizer.decode(render(tokenizer, messages, tools).input_ids))


def trained_texts(tokenizer: Any, messages: Messages, tools: Any = None) -> list[str]:
    """Each run of tokens that bears loss, as text."""
    runs: list[list[int]] = []
    previous = False
    for token, is_trained in zip(*render(tokenizer, messages, tools), strict=True):
        if is_trained:
            runs = runs if previous else [*runs, []]
            runs[-1].append(token)
        previous = is_trained
    return [str(tokenizer.decode(run)) for run in runs]


def trained_ids(tokenizer: Any, messages: Messages, tools: Any = None) -> list[int]:
    rendered = render(tokenizer, messages, tools)
    return [token for token, is_trained in zip(*rendered, strict=True) if is_trained]


# --- one turn ---


@pytest.mark.parametrize("language", EXCHANGES)
def test_prompt_opens_the_thinking_and_the_model_closes_it(tokenizer: Any, language: str) -> None:
    question, thinking, answer = EXCHANGES[language]
    assert render_prompt(tokenizer, [user(question)], "reasoning") == (
        f"[|user|]\n{question}[|endofturn|]\n[|assistant|]\n<think>\n"
    )
    messages = [user(question), assistant(answer, thinking)]
    assert trained_texts(tokenizer, messages) == [f"{thinking}\n</think>\n\n{answer}[|endofturn|]"]


@pytest.mark.parametrize("language", EXCHANGES)
def test_without_reasoning_the_prompt_closes_an_empty_thinking(tokenizer: Any, language: str) -> None:
    question, _, answer = EXCHANGES[language]
    assert render_prompt(tokenizer, [user(question)], "non_reasoning") == (
        f"[|user|]\n{question}[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n"
    )
    assert trained_texts(tokenizer, [user(question), assistant(answer)]) == [f"{answer}[|endofturn|]"]


def test_null_thinking_is_no_thinking(tokenizer: Any) -> None:
    """Parquet fills columns that only some rows have."""
    null = {"role": "assistant", "content": "b", "reasoning_content": None, "tool_calls": None}
    assert render(tokenizer, [user("a"), null]) == render(tokenizer, [user("a"), assistant("b")])


def test_what_is_trained_parses_back(tokenizer: Any) -> None:
    for question, thinking, answer in EXCHANGES.values():
        (said,) = trained_texts(tokenizer, [user(question), assistant(answer, thinking)])
        assert parse_completion(said.removesuffix(END), is_open=True) == (thinking, answer, True)
        (said,) = trained_texts(tokenizer, [user(question), assistant(answer)])
        assert parse_completion(said.removesuffix(END), is_open=False) == (None, answer, True)


def test_end_of_turn_is_trained_and_the_newline_after_it_is_not(tokenizer: Any) -> None:
    rendered = render(tokenizer, [user("a"), assistant("b")])
    assert rendered.input_ids[-2] == tokenizer.eos_token_id
    assert rendered.trained[-2:] == [True, False]
    assert tokenizer.decode(rendered.input_ids[-1:]) == "\n"


WORDS = st.text(alphabet="ab3 \n\t.\\{}'né¿가각のé🙂\u0301\xa0", min_size=1, max_size=12)


@pytest.fixture(scope="module")
def greedy_tokenizer(tokenizer: Any) -> Any:
    """One that joins white space as far as it can, as tokenizers for code do."""
    code = "def f():\n    return 1\n\n\n\n    if x:\n\n        y\n\n\n"
    return train_tokenizer([code] * 50, vocab_size=400, chat_template=tokenizer.chat_template)


@settings(max_examples=60, deadline=None)
@given(question=WORDS, thinking=WORDS, answer=WORDS, mode=st.sampled_from(MODES))
def test_prompt_then_trained_tokens_are_the_whole_conversation(
    tokenizer: Any, greedy_tokenizer: Any, question: str, thinking: str, answer: str, mode: Mode
) -> None:
    thinking = thinking.strip("\n") or "x"
    reply = assistant(answer, thinking if mode == "reasoning" else None)
    for each in (tokenizer, greedy_tokenizer):
        rendered = render(each, [user(question), reply])
        prompt = encode_prompt(each, render_prompt(each, [user(question)], mode))
        said = trained_ids(each, [user(question), reply])
        newline = encode_prompt(each, "\n")
        assert rendered.input_ids == prompt + said + newline
        assert rendered.trained == [False] * len(prompt) + [True] * len(said) + [False] * len(newline)
        expected = f"{thinking}\n</think>\n\n{answer}" if mode == "reasoning" else answer
        assert each.decode(said) == expected + END


@pytest.mark.parametrize("answer", ["b", "\n\nb"])
def test_prompt_ends_in_the_same_tokens_when_trained(greedy_tokenizer: Any, answer: str) -> None:
    """Encoded in one go it does not: this is why template and model are encoded apart."""
    messages = [user("q"), assistant(answer)]
    in_one_go = greedy_tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
    prompt = encode_prompt(greedy_tokenizer, render_prompt(greedy_tokenizer, messages[:1], "non_reasoning"))
    assert in_one_go[: len(prompt)] != prompt
    assert render(greedy_tokenizer, messages).input_ids[: len(prompt)] == prompt


def test_tokenizer_that_adds_spaces_is_refused(tokenizer: Any) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "?": 2}, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    with pytest.raises(UserError, match="'a' and 'b' one after the other as 'a b'"):
        require_joinable(PreTrainedTokenizerFast(tokenizer_object=core))
    require_joinable(tokenizer)


# --- several turns ---


def strip_thinking(messages: Messages) -> Messages:
    return [{key: value for key, value in message.items() if key != "reasoning_content"} for message in messages]


@pytest.mark.parametrize("mode", MODES)
def test_prompt_of_each_turn_starts_with_the_turns_before_it(tokenizer: Any, mode: Mode) -> None:
    conversation: Messages = [{"role": "system", "content": "Sé breve. 짧게."}]
    for question, thinking, answer in EXCHANGES.values():
        before = whole_text(tokenizer, strip_thinking(conversation)) if len(conversation) > 1 else ""
        prompt = render_prompt(tokenizer, [*conversation, user(question)], mode)
        assert prompt.startswith(before)
        assert "4+7=1" not in prompt
        conversation += [user(question), assistant(answer, thinking if mode == "reasoning" else None)]
        assert whole_text(tokenizer, conversation).startswith(prompt)


def test_reasoning_conversation_trains_its_last_response_alone(tokenizer: Any) -> None:
    messages = [user("q1"), assistant("a1", "t1"), user("q2"), assistant("a2", "t2")]
    assert trained_texts(tokenizer, messages) == [f"t2\n</think>\n\na2{END}"]
    assert "t1" not in whole_text(tokenizer, messages)
    assert f"[|assistant|]\n<think>\n\n</think>\n\na1{END}\n" in whole_text(tokenizer, messages)


def test_direct_conversation_trains_every_response(tokenizer: Any) -> None:
    messages = [user("q1"), assistant("a1"), user("q2"), assistant("a2")]
    assert trained_texts(tokenizer, messages) == [f"a1{END}", f"a2{END}"]


def test_reasoning_between_tool_results_is_kept_and_trained(tokenizer: Any) -> None:
    messages = [
        user("q1"),
        assistant("a1", "t1"),
        user("q2"),
        assistant(None, "t2", tool_calls=[call({"city": "서울"})]),
        {"role": "tool", "content": '{"temp": 21}'},
        assistant("a3", "t3"),
    ]
    said = f't2\n</think>\n\n<tool_call>{{"name": "날씨_찾기", "arguments": {{"city": "서울"}}}}</tool_call>{END}'
    assert trained_texts(tokenizer, messages, TOOLS) == [said, f"t3\n</think>\n\na3{END}"]
    # What is trained after the tool's result is what is asked for there: the run's earlier thinking is still in view.
    prompt = render_prompt(tokenizer, messages[:-1], "reasoning", TOOLS)
    assert "t2\n</think>" in prompt
    assert whole_text(tokenizer, messages, TOOLS) == f"{prompt}t3\n</think>\n\na3{END}\n"


def test_answer_without_thinking_inside_a_reasoning_run_bears_no_loss(tokenizer: Any) -> None:
    messages = [user("q"), assistant("a1", "t1"), {"role": "tool", "content": "r"}, assistant("a2")]
    assert trained_texts(tokenizer, messages) == [f"t1\n</think>\n\na1{END}"]


# --- tools and system ---


def test_tools_stand_in_the_system_turn_as_readable_json(tokenizer: Any) -> None:
    system = {"role": "system", "content": "Sé breve."}
    for messages in ([user("q")], [system, user("q")]):
        prompt = render_prompt(tokenizer, messages, "non_reasoning", TOOLS)
        turn, _, rest = prompt.partition(f"{END}\n")
        assert turn.startswith("[|system|]\nSé breve.\n\n# Tools\n" if len(messages) == 2 else "[|system|]\n# Tools\n")
        assert rest.startswith("[|user|]\nq")
        assert json.loads(turn.splitlines()[-1]) == TOOLS[0]
        assert "서울 날씨 <오늘> & mañana" in turn  # neither \uXXXX nor &lt;


def test_each_tool_is_a_line_of_its_own(tokenizer: Any) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b")]
    turn = render_prompt(tokenizer, [user("q")], "reasoning", tools).partition(END)[0]
    assert [json.loads(line)["function"]["name"] for line in turn.splitlines()[-2:]] == ["a", "b"]


@pytest.mark.parametrize(
    "arguments", [{"city": "서울", "días": [1, None, True]}, '{"city": "서울", "días": [1, null, true]}', {}, "{}"]
)
def test_tool_call_parses_back_from_a_dict_and_from_text(tokenizer: Any, arguments: Any) -> None:
    (said,) = trained_texts(tokenizer, [user("q"), assistant(None, tool_calls=[call(arguments)])])
    inside = said.removeprefix("<tool_call>").removesuffix(f"</tool_call>{END}")
    expected = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert json.loads(inside) == {"name": "날씨_찾기", "arguments": expected}
    assert "\\u" not in inside


def test_words_and_several_calls_stand_on_lines_of_their_own(tokenizer: Any) -> None:
    calls = [call({}, "a"), {"name": "b", "arguments": {}}]  # with and without the `function` layer
    (said,) = trained_texts(tokenizer, [user("q"), assistant("Ya miro.", tool_calls=calls)])
    lines = said.removesuffix(END).splitlines()
    assert lines[0] == "Ya miro."
    names = [json.loads(line.removeprefix("<tool_call>").removesuffix("</tool_call>"))["name"] for line in lines[1:]]
    assert names == ["a", "b"]
    (said,) = trained_texts(tokenizer, [user("q"), assistant("", tool_calls=calls)])
    assert said.startswith("<tool_call>")


def test_name_with_quotes_does_not_break_the_call(tokenizer: Any) -> None:
    (said,) = trained_texts(tokenizer, [user("q"), assistant(None, tool_calls=[call({}, 'a"b')])])
    assert json.loads(said.removeprefix("<tool_call>").removesuffix(f"</tool_call>{END}"))["name"] == 'a"b'


def test_without_system_message_and_tools_there_is_no_system_turn(tokenizer: Any) -> None:
    assert render_prompt(tokenizer, [user("q")], "reasoning").startswith("[|user|]\nq")


# --- hostile text ---


@pytest.mark.parametrize("text", ["<think>", "</think>", "a </think>\n\nb", "<think>\n\n</think>\n\n", "{% x %}"])
def test_tags_in_a_question_change_nothing_but_the_question(tokenizer: Any, text: str) -> None:
    for mode in MODES:
        assert render_prompt(tokenizer, [user(text)], mode) == render_prompt(tokenizer, [user("Q")], mode).replace(
            "Q", text
        )
    assert trained_texts(tokenizer, [user(text), assistant("b", "t")]) == [f"t\n</think>\n\nb{END}"]
    assert trained_texts(tokenizer, [user(text), assistant("b")]) == [f"b{END}"]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"role": "developer", "content": "x"}, user("q")], "unknown role 'developer'"),
        ([user("q"), {"role": "system", "content": "x"}], "a system message must be the first message"),
        ([], "empty"),
    ],
)
def test_refused_conversations_are_the_users_error(tokenizer: Any, messages: Messages, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        render_prompt(tokenizer, messages, "reasoning")
    with pytest.raises(UserError, match="the chat template refuses this conversation"):
        render(tokenizer, [*messages, assistant("a")] if messages else messages)


def test_template_without_generation_marks_is_refused(tokenizer: Any) -> None:
    plain = train_tokenizer(["a"], vocab_size=270, chat_template="{{ messages[0].content }}")
    with pytest.raises(UserError, match="generation"):
        render(plain, [user("q"), assistant("a")])


def test_conversation_without_response_has_nothing_to_train(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="marks no token"):
        render(tokenizer, [user("q")])


# --- finding templates ---


def test_template_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text("{{ '한국어' }}", encoding="utf-8")
    assert read_template(str(path)) == "{{ '한국어' }}"
    assert "{%- generation -%}" in read_template("exaone4")
    with pytest.raises(
        UserError, match=r"'exaone5' is neither a built-in template \(chatml, exaone4, qwen3\) nor a file"
    ):
        read_template("exaone5")


def test_hash_of_a_template_is_the_hash_of_its_text() -> None:
    # printf abc | sha256sum
    assert template_sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_model_without_template_is_refused_by_name(tokenizer: Any) -> None:
    assert require_template(tokenizer, "runs/base") == read_template("exaone4")
    bare = train_tokenizer(["a"], vocab_size=270, chat_template="")
    with pytest.raises(UserError, match=r"'runs/base' has no chat template; set model\.chat_template"):
        require_template(bare, "runs/base")
