"""The exception a user's mistake raises, and that of a package which is not installed."""


class MeshcastError(ValueError):
    """A mistake a user can mend; its message says what was expected, what came and what to do.

    The command line catches it once, prints the message without a traceback and exits with code 2.
    """


class MissingExtraError(MeshcastError):
    """An emulator needs a package that one of the extras brings, which is not installed."""
