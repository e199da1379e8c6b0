"""Whether the hub of models and data sets can be reached; a run needs it only for what is not on disk yet."""

import os
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from posttrain.doctor.finding import Finding, fix, ok, warning

TIMEOUT_S = 4.0
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
YES = ("1", "ON", "YES", "TRUE")  # what huggingface_hub takes for one


def check_network() -> Iterator[Finding]:
    """One request to HF_ENDPOINT; none where the environment says that there is no network."""
    for name in OFFLINE:
        if os.environ.get(name, "").upper() in YES:
            yield ok("hub", f"not asked: {name} is set, models and data come from the disk")
            return
    yield check_hub(os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/"))


def check_hub(endpoint: str) -> Finding:
    """Whether something answers there."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return fix("hub", f"HF_ENDPOINT is {endpoint!r}", "give one such as https://huggingface.co, or unset it")
    shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    began = time.monotonic()
    try:
        status = httpx.head(endpoint, timeout=TIMEOUT_S).status_code
    except httpx.HTTPError as error:
        advice = "fine where models and data are on disk (say so: HF_HUB_OFFLINE=1); else HTTPS_PROXY or HF_ENDPOINT"
        return warning("hub", f"{shown} cannot be reached ({type(error).__name__})", advice)
    if status >= 500:
        return warning("hub", f"{shown} answers {status}", "it is not well: wait, or take another HF_ENDPOINT")
    return ok("hub", f"{shown} answers in {time.monotonic() - began:.1f} s, {_signed_in()}")


def _signed_in() -> str:
    from huggingface_hub import get_token

    return "with your token" if get_token() else "without a token (HF_TOKEN), which gated models ask for"
