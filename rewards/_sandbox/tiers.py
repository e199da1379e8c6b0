"""Which isolation this machine gives. Nothing is believed: a program tries to break out of each, and must not."""

import platform
import socket
import tempfile
from functools import cache
from pathlib import Path

from rewards._sandbox.failure import AnswerError, SandboxError
from rewards._sandbox.limits import Limits
from rewards._sandbox.process import Tier
from rewards._sandbox.sandbox import Sandbox
from rewards._sandbox.seccomp import is_supported

ADVICE = {
    Tier.BUBBLEWRAP: (
        "install bubblewrap (`apt install bubblewrap`), version 0.8 or later; in Docker start the container with "
        "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, in Kubernetes with the seccompProfile "
        "Unconfined; on Ubuntu 24.04 allow user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, "
        "or an AppArmor profile for bwrap"
    ),
    Tier.LANDLOCK: "use Linux 5.13 or later with Landlock among its security modules (/sys/kernel/security/lsm)",
}

_LIMITS = Limits(cpu_s=5, wall_s=60.0, memory_mb=256, file_mb=1)
_BREAK_OUT = """
def break_out(secret, port):
    import os, socket
    got_through = []
    try:
        open(secret).close()
        got_through.append("reads files")
    except OSError:
        pass
    try:
        open(secret + ".new", "w").close()
        got_through.append("writes files")
    except OSError:
        pass
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        got_through.append("reaches the network")
    except OSError:
        pass
    try:
        if os.fork() == 0:
            os._exit(0)
        got_through.append("starts processes")
    except OSError:
        pass
    with open("own.txt", "w") as file:
        file.write("may be written")
    return got_through
"""


@cache
def fault(tier: Tier) -> str | None:
    """Why this machine does not give `tier`, None where it does. Takes some 50 ms, once a process."""
    if not is_supported():
        return f"the list of system calls is for x86_64 and aarch64, not for {platform.machine()}"
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        secret = Path(folder) / "secret"
        secret.write_text("secret")
        try:
            with Sandbox(tier, _LIMITS) as sandbox:
                sandbox.load(_BREAK_OUT)
                got_through = sandbox.call("break_out", [str(secret), server.getsockname()[1]])
        except (SandboxError, AnswerError, OSError) as error:
            return str(error).removeprefix(f"{tier.value}: ")
    return f"what runs inside {', '.join(map(str, got_through))}" if got_through else None


@cache
def best_tier() -> Tier:
    """The best isolation that this machine gives.

    Raises:
        SandboxError: it gives none; what to do about it.
    """
    for tier in ADVICE:
        if fault(tier) is None:
            return tier
    why = "; ".join(f"{tier.value}: {fault(tier)}" for tier in ADVICE)
    raise SandboxError(
        f"this machine cannot isolate a model's code ({why}); {'; or '.join(ADVICE.values())}; or let it run without "
        "any isolation, as you, with `sandbox: unsafe`"
    )
