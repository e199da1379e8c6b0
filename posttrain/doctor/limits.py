"""The limits of the shell that a long run meets."""

import resource
from collections.abc import Iterator

from posttrain.doctor.finding import Finding, fix, ok, warning

LEAST = 256  # a stage with its workers has about a hundred open
COMFORTABLE = 4096
RECOMMENDED = 65536


def check_limits() -> Iterator[Finding]:
    """Open files."""
    yield judge_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))


def judge_open_files(soft: int, hard: int) -> Finding:
    """Each worker, engine and data file keeps some open; resource.RLIM_INFINITY is no limit."""
    if soft == resource.RLIM_INFINITY or soft >= COMFORTABLE:
        return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,} at most (ulimit -n)")
    within = hard == resource.RLIM_INFINITY or hard >= COMFORTABLE
    wanted = RECOMMENDED if hard == resource.RLIM_INFINITY else min(hard, RECOMMENDED)
    outside = f"in Docker --ulimit nofile={RECOMMENDED}, else in /etc/security/limits.conf"
    say = fix if soft < LEAST else warning
    return say("open files", f"{soft:,} at most (ulimit -n)", f"ulimit -n {wanted}" if within else outside)
