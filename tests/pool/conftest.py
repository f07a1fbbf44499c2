from tests.lab import as_nobody, lab, nothing_said

__all__ = ["as_nobody", "lab", "nothing_said"]
