"""The one exception a user's mistake raises."""


class MeshcastError(ValueError):
    """A mistake a user can mend; its message says what was expected, what came and what to do.

    The command line catches it once, prints the message without a traceback and exits with code 2.
    """
