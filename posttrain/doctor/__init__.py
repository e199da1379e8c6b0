"""`posttrain doctor [RECIPE]`: what this machine has for a run, what it lacks, and what to do about it.

- `finding`: one line of it
- `versions`, `devices`, `memory`, `kernels`, `sandbox`, `disk`, `limits`, `network`: the machine
- `endpoints`, `trackers`: what a recipe asks for beside it
- `examination`: all of them, printed
"""

from posttrain.doctor.examination import examine

__all__ = ["examine"]
