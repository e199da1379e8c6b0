"""The way to a verdict: the cache, a slot, a turn, a request, and again until there is one or the time is up."""

import hashlib
import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from rewards._judge.endpoint import UnansweredError, ask
from rewards._judge.judgement import Judgement, NonsenseError, read_judgement, schema
from rewards._judge.ledger import BudgetSpentError, JudgeDownError, Ledger
from rewards._judge.prompt import FIRST_OR_SECOND, RIGHT_OR_WRONG, Form, fill, read_prompt
from rewards._judge.slots import slot

_FIRST_PAUSE_S = 0.5
_JITTER = random.SystemRandom()
_RESPONSE_FORMATS = ("json_schema", "json_object", "text")


@dataclass(frozen=True)
class Judge:
    """Asks a chat model a question of a given form: whether an answer says the same as the gold answer.

    Attributes:
        url: the endpoint up to its version, as `http://localhost:8000/v1`.
        model: its name there.
        folder: where verdicts and the number of requests are kept. Who shares it shares the cache, the limits and the
            budget: one per run counts per run.
        prompt_file: a prompt of your own (see `read_prompt`).
        api_key_env: the environment variable with the key; None: no key.
        request: more of the request, as the endpoint calls it.
        response_format: json_schema, json_object or text: what the endpoint can be asked for. The reply is checked
            either way.
        timeout_s: for a verdict: waiting for slots and turns, requests and pauses. The grading pool kills a worker
            after `grading.timeout_s` for all rewards of an attempt, so this must stay well below it.
        request_timeout_s: for one request.
        max_tries: requests for a verdict.
        max_concurrency: requests at the same time, of all processes of this machine.
        max_requests_per_minute: of all processes of this machine, evenly spaced; None: no limit.
        max_requests: the budget, with retries; None: no limit.

    Raises:
        ValueError: a setting makes no sense, the prompt cannot be used, or the variable with the key is not set.
    """

    form: ClassVar[Form] = RIGHT_OR_WRONG

    url: str
    model: str
    folder: str
    prompt_file: str | None = None
    api_key_env: str | None = None
    request: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.0, "max_tokens": 512})
    response_format: str = "json_schema"
    timeout_s: float = 20.0
    request_timeout_s: float = 10.0
    max_tries: int = 4
    max_concurrency: int = 8
    max_requests_per_minute: float | None = None
    max_requests: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(
                f"judge.url={parts._replace(netloc=parts.hostname or '', query='').geturl()!r}, need one such as "
                "http://localhost:8000/v1, without user, password or query: a key goes into the variable `api_key_env`"
            )
        for name in ("model", "folder"):
            if not getattr(self, name):
                raise ValueError(f"judge.{name} is empty, need the model's name and a folder for its verdicts")
        positive = ("timeout_s", "request_timeout_s", "max_tries", "max_concurrency", "max_requests_per_minute")
        for name in (*positive, "max_requests"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"judge.{name}={value}, need more than 0")
        if not isinstance(self.request, Mapping):
            raise ValueError(f"judge.request={self.request!r}, need fields of the request, such as {{max_tokens: 512}}")
        if self.response_format not in _RESPONSE_FORMATS:
            raise ValueError(
                f"judge.response_format={self.response_format!r}, need one of {', '.join(_RESPONSE_FORMATS)}"
            )
        if self.api_key_env is not None and not os.environ.get(self.api_key_env):
            raise ValueError(f"judge.api_key_env={self.api_key_env!r} is not set, need the key in that variable")
        read_prompt(self.prompt_file, self.form)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The judge that a recipe describes.

        Raises:
            ValueError: a setting is unknown or missing, or as for the class.
        """
        known = [setting.name for setting in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        missing = sorted({"url", "model", "folder"} - set(settings))
        if unknown or missing:
            raise ValueError(f"judge has {unknown=} and {missing=} settings, need some of {', '.join(known)}")
        return cls(**settings)

    def __call__(self, **texts: str) -> Judgement:
        """The judge's verdict; None with its cause when the budget is spent or all it says is nonsense.

        Args:
            texts: one for each placeholder of the form.

        Raises:
            JudgeDownError: no answer in all tries or all the time, or none by others a short while ago.
            JudgeRefusedError: the endpoint does not take such requests.
        """
        body = self._body(fill(read_prompt(self.prompt_file, self.form), texts))
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        ledger = _open(str(Path(self.folder).absolute()))
        known = ledger.find(key)
        if known is not None:
            return known
        self._require_up(ledger)
        try:
            judgement = self._judgement(body, ledger)
        except BudgetSpentError as error:
            return Judgement(None, f"the judge's {error}")
        if judgement.verdict is not None:
            ledger.keep(key, judgement)
        return judgement

    def _require_up(self, ledger: Ledger) -> None:
        ledger.check_is_up()

    def _body(self, prompt: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"model": self.model, "messages": messages, **self._response_format(), **self.request}

    def _response_format(self) -> dict[str, Any]:
        if self.response_format == "text":
            return {}
        response_format: dict[str, Any] = {"type": self.response_format}
        if self.response_format == "json_schema":
            verdict = {"name": "verdict", "strict": True, "schema": schema(self.form.verdicts)}
            response_format["json_schema"] = verdict
        return {"response_format": response_format}

    def _judgement(self, body: dict[str, Any], ledger: Ledger) -> Judgement:
        """Ask until there is an answer that counts."""
        began_at, began = time.time(), time.monotonic()
        deadline = began + self.timeout_s
        failure: NonsenseError | UnansweredError | TimeoutError
        for num_retries in range(self.max_tries):
            pause_s = _FIRST_PAUSE_S * 2**num_retries * _JITTER.uniform(0.5, 1.0)
            try:
                judgement = read_judgement(self._reply(body, ledger, deadline), self.form.verdicts)
            except NonsenseError as error:
                ledger.answered()
                failure = error
            except TimeoutError as error:
                failure = error
                break
            except UnansweredError as error:
                failure = error
                if error.retry_after_s:
                    ledger.hold(error.retry_after_s)
                    pause_s = max(pause_s, error.retry_after_s)
            else:
                ledger.answered()
                return judgement
            if num_retries + 1 == self.max_tries or time.monotonic() + pause_s >= deadline:
                break
            time.sleep(pause_s)
        tries = f"{num_retries + 1} tries and {time.monotonic() - began:.3g} s"
        if isinstance(failure, NonsenseError):
            return Judgement(None, f"the judge gave no verdict in {tries}: {failure}")
        reason = f"the judge at {self.url} gave no answer in {tries}: {failure}"
        ledger.gave_up(began_at=began_at, reason=reason)
        raise JudgeDownError(reason)

    def _reply(self, body: dict[str, Any], ledger: Ledger, deadline: float) -> str:
        """One request, when there is room for it and its turn has come."""
        with slot(Path(self.folder), self.max_concurrency, deadline):
            interval_s = 60 / self.max_requests_per_minute if self.max_requests_per_minute else 0.0
            seconds_left = deadline - time.monotonic()
            time.sleep(
                ledger.take_turn(interval_s=interval_s, max_requests=self.max_requests, seconds_left=seconds_left)
            )
            api_key = os.environ[self.api_key_env] if self.api_key_env else None
            timeout_s = min(self.request_timeout_s, max(0.05, deadline - time.monotonic()))
            return ask(self.url.rstrip("/"), body, api_key=api_key, timeout_s=timeout_s)


class PreferenceJudge(Judge):
    """Asks a chat model which of two answers is the better one; the settings are those of `Judge`.

    It is asked in no worker whose time runs out. So an endpoint that is down is waited for, `timeout_s` at most, while
    somebody tries it.
    """

    form: ClassVar[Form] = FIRST_OR_SECOND

    def _require_up(self, ledger: Ledger) -> None:
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                return ledger.check_is_up()
            except JudgeDownError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_JITTER.uniform(0.1, 0.3))


@lru_cache(maxsize=8)
def _open(folder: str) -> Ledger:
    return Ledger(Path(folder))
