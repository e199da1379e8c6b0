"""What one sandbox may use up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one sandbox, from its start to its end.

    Attributes:
        cpu_s: CPU seconds, whole ones, of all threads together.
        wall_s: seconds.
        memory_mb: MiB of address space, the interpreter's own 30 included.
        file_mb: MiB of the largest file, and of what is printed; all files together may take twice as much.
    """

    cpu_s: int = 5
    wall_s: float = 13.0
    memory_mb: int = 1024
    file_mb: int = 8

    def __post_init__(self) -> None:
        """Refuse limits under which no answer could pass.

        Raises:
            ValueError: one of them is too small.
        """
        for name, least in (("cpu_s", 1), ("wall_s", 0.1), ("memory_mb", 64), ("file_mb", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"got {name}={getattr(self, name)}, need at least {least}")

    @property
    def tmp_mb(self) -> int:
        """MiB that all files together may take."""
        return 2 * self.file_mb
