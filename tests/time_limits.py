"""How long a test waits for a process."""

HUNG = 900  # seconds after which a process hangs, rather than being slow because the machine is busy
