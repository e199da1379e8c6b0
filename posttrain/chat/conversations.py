"""The small conversations on which chat templates are tried out: of one turn and of several, in three languages.

What a message says occurs nowhere else, so that it can be told whether a template renders it, and where.
"""

from typing import Any, NamedTuple

from posttrain.chat.modes import Mode

MessageDict = dict[str, Any]


class Conversation(NamedTuple):
    """Every assistant's turn has thinking, which its non-reasoning form is without."""

    name: str
    messages: list[MessageDict]
    tools: list[dict[str, Any]] | None = None

    def in_mode(self, mode: Mode) -> list[MessageDict]:
        """The messages as a row of `mode` has them."""
        if mode == "reasoning":
            return self.messages
        return [{key: each[key] for key in each if key != "reasoning_content"} for each in self.messages]


def _system(text: str) -> MessageDict:
    return {"role": "system", "content": text}


def _user(text: str) -> MessageDict:
    return {"role": "user", "content": text}


def _tool(text: str) -> MessageDict:
    return {"role": "tool", "content": text}


def _assistant(thinking: str, text: str, *calls: tuple[str, dict[str, Any]]) -> MessageDict:
    message: MessageDict = {"role": "assistant", "content": text, "reasoning_content": thinking}
    if calls:
        functions = [{"name": name, "arguments": arguments} for name, arguments in calls]
        message["tool_calls"] = [{"type": "function", "function": function} for function in functions]
    return message


def _function(name: str, description: str, parameter: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    _function("find_weather", "The weather of a city <today> & tomorrow", "city"),
    _function("find_route", "서울 버스 노선", "stop"),
]

CONVERSATIONS = [
    Conversation(
        "one turn, en",
        [_user("What is 17 + 25?"), _assistant("7 + 5 = 12, carry 1.\n\n1 + 2 + 1 = 4.", "The sum is 42.\n\nDone.")],
    ),
    Conversation(
        "system and two turns, ko",
        [
            _system("존댓말로 짧게 답하세요."),
            _user("가장 작은 소수는 무엇입니까?"),
            _assistant("1은 소수가 아니므로 그다음을 본다.", "2입니다."),
            _user("다음 소수는요?"),
            _assistant("홀수 가운데 처음 것이다.", "3입니다."),
        ],
    ),
    Conversation(
        "three turns, es",
        [
            _user("¿Cuántos días tiene marzo?"),
            _assistant("Enero, marzo y mayo son largos.", "Treinta y uno."),
            _user("¿Y abril?"),
            _assistant("Es uno de los cortos.", "Tiene treinta."),
            _user("¿Y febrero de 2024?"),
            _assistant("Dividir entre cuatro: bisiesto.", "Veintinueve, ¡sí!"),
        ],
    ),
    Conversation(
        "system, tools and two turns, en",
        [
            _system("You help travellers."),
            _user("Should I take a coat to Seoul?"),
            _assistant("I cannot know without a forecast.", "Let me look.", ("find_weather", {"city": "서울"})),
            _tool('{"temperature": -3, "sky": "clear"}'),
            _assistant("Minus three is below freezing.", "Yes, a warm one."),
            _user("How do I get to the palace?"),
            _assistant("There is a route finder.", "", ("find_route", {"stop": "경복궁"})),
            _tool('{"bus": "109"}'),
            _assistant("One line goes there.", "By bus 109."),
        ],
        TOOLS,
    ),
    Conversation(
        "two tool calls at once, es",
        [
            _user("¿Hace sol en Lima o en Quito?"),
            _assistant(
                "Son dos ciudades, dos consultas.",
                "",
                ("find_weather", {"city": "Lima"}),
                ("find_weather", {"city": "Quito", "días": [1, None, True]}),
            ),
            _tool('{"cielo": "nublado"}'),
            _tool('{"cielo": "despejado"}'),
            _assistant("Solo uno está despejado.", "En Quito."),
        ],
        TOOLS,
    ),
]
