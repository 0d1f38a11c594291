"""The exception a user's mistake raises, that of a package which is not installed, and text that is safe to show."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    """Return a text whose control characters, but for new lines and tabs, are spelt out, as `\\x1b` or `\\u202e`.

    Names and attributes of files, and configurations, may hold what would colour, move or reverse a terminal's lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelt_out(character) if _controls(character) else character for character in text)


def on_one_line(text: str) -> str:
    """Return a `printable` text with its new lines and tabs spelt out, too: a name that came from a file."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _controls(character: str) -> bool:
    """Whether it is a control, format, line-separating or half character (Unicode, section 4.5, general category)."""
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _spelt_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


class MeshcastError(ValueError):
    """A mistake a user can mend; its message says what was expected, what came and what to do.

    The command line catches it once, prints the message without a traceback and exits with its `exit_code`.
    """

    exit_code = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class UnreadableError(MeshcastError):
    """A file or a disk fails: no reason to go on without what it holds."""


@contextmanager
def refuse_damaged(source: object) -> Iterator[None]:
    """Raise UnreadableError where `source` cannot be read, whatever a library makes of a file that is damaged."""
    try:
        yield
    except (MeshcastError, MemoryError):
        raise
    except OSError as error:
        if (error.errno or 0) > 0:  # the system's; libraries have numbers of their own, below zero
            raise UnreadableError(
                f"Cannot read {source}: {error.strerror}. Look after the disk or the limit that this names, then start "
                "again."
            ) from error
        raise UnreadableError(f"{source} is damaged or truncated: {error}. Fetch it again, or make it anew.") from error
    except Exception as error:
        raise UnreadableError(
            f"{source} is damaged or truncated: {type(error).__name__}: {error}. Fetch it again, or make it anew."
        ) from error


class OutOfMemoryError(MeshcastError):
    """Memory did not suffice; the message says for what, and what would take less."""


class MissingExtraError(MeshcastError):
    """An emulator needs a package that one of the extras brings, which is not installed."""
