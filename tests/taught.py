"""A small model that knows a few answers by heart: both modes, thinking and a tool call, for real."""

from pathlib import Path
from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION, THINKING, ANSWER = "2+3?", "Two and three more are five.", "It is 5."
SECOND_QUESTION, SECOND_THINKING, SECOND_ANSWER = "sure?", "I am.", "Yes."
DIRECT_ANSWER = "Five."
TOOL_QUESTION, CITY, TOOL_RESULT, TOOL_ANSWER = "rain?", "Seoul", "wet", "It rains."


def conversations() -> list[tuple[list[dict[str, Any]], list[Any] | None]]:
    """Messages and tools; thinking where the conversation is in reasoning mode."""
    user = {"role": "user", "content": QUESTION}
    thoughtful = {"role": "assistant", "content": ANSWER, "reasoning_content": THINKING}
    direct = {"role": "assistant", "content": DIRECT_ANSWER}
    second = {"role": "user", "content": SECOND_QUESTION}
    sure = {"role": "assistant", "content": SECOND_ANSWER}
    call = {"function": {"name": "weather", "arguments": {"city": CITY}}}
    asks = [
        {"role": "user", "content": TOOL_QUESTION},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    reports = [{"role": "tool", "content": TOOL_RESULT}, {"role": "assistant", "content": TOOL_ANSWER}]
    return [
        ([user, thoughtful], None),
        ([user, direct], None),
        ([user, direct, second, sure], None),
        ([user, thoughtful, second, {**sure, "reasoning_content": SECOND_THINKING}], None),
        (asks, [TOOL]),
        (asks + reports, [TOOL]),
    ]


def teach(folder: Path) -> None:
    """Train the model until it says every token of the conversations, and save it."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pad_sequence

    from posttrain.chat import read_template, render_for_training
    from posttrain.models.build import HybridShape, build_model
    from posttrain.models.load import save_model
    from posttrain.models.tokenizer import train_tokenizer

    texts = [str(message) for messages, _ in conversations() for message in messages] + [str(TOOL)] * 4
    tokenizer = train_tokenizer(texts, vocab_size=400, chat_template=read_template("exaone4"))
    shape = HybridShape(hidden_size=64, intermediate_size=128, num_heads=2, num_kv_heads=1, max_position_embeddings=512)
    model = build_model(shape, tokenizer, seed=0)
    rendered = [render_for_training(tokenizer, messages, tools) for messages, tools in conversations()]
    ids_BT = pad_sequence([torch.tensor(one.input_ids) for one in rendered], batch_first=True)
    targets = [
        torch.tensor([token if trained else -100 for token, trained in zip(*one, strict=True)]) for one in rendered
    ]
    targets_BT = pad_sequence(targets, batch_first=True, padding_value=-100)[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(100):
        logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
        loss = cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=-100)
        if loss.item() < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_model(model.eval(), tokenizer, folder)
