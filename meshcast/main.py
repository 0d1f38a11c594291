"""The command line: what there is, and how a mistake ends."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
import traceback
import warnings
from typing import Annotated, NoReturn, TextIO

import typer

from graphs.atomic_file import FULL
from graphs.errors import MeshcastError
from meshcast import __version__
from meshcast.commands.compare import compare
from meshcast.commands.configs import app as configs_app
from meshcast.commands.dataset import dataset
from meshcast.commands.demo import demo
from meshcast.commands.export import export
from meshcast.commands.forecast import forecast
from meshcast.commands.graph import graph
from meshcast.commands.inspect import inspect
from meshcast.commands.plot import plot
from meshcast.commands.reproduce import reproduce
from meshcast.commands.scenario import scenario
from meshcast.commands.simulate import simulate
from meshcast.commands.train import train
from meshcast.commands.tune import tune
from meshcast.commands.verify import verify
from meshcast.console import complain, say
from meshcast.json_log import OPTION, json_log, logged

app = typer.Typer(
    name="meshcast",
    help="Emulate physics with graph neural networks: simulate, train, forecast, verify.",
    epilog="Exit codes: 0 done; 1 demo or reproduce did not find what it looked for; 2 wrong input, said in one "
    "message; 3 done but for a part: the guard stopped a forecast, whose file is missing from there on, or a row of "
    "a comparison failed; 4 with --strict, a scenario beyond the forcings of the training; 75 a training whose time "
    "was up, or that lost a process, to be started again with resume=auto; 128 + N ended by signal N.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo,
    simulate,
    dataset,
    graph,
    train,
    tune,
    forecast,
    scenario,
    verify,
    plot,
    compare,
    reproduce,
    export,
    inspect,
):
    app.command()(command)
app.add_typer(configs_app, name="configs")


@app.callback()
def options(
    log_json: Annotated[
        bool, typer.Option(OPTION, help="Write standard error as one JSON object a line; after a command, too.")
    ] = False,
) -> None:
    """Take what every command takes: `run` has seen it by now."""


TOO_MANY = (errno.EMFILE, errno.ENFILE)
INTERRUPTED = 130  # exit code of typer, by the shell's custom of 128 + signal
READER_GONE = 141  # 128 + SIGPIPE, as git and grep end


def run() -> None:
    """The console script. A user's mistake ends in one message and exit code 2, without a traceback."""
    # As often as Python looks for cycles by default costs a tenth of a comparison: it holds millions of small objects.
    gc.set_threshold(50_000, 20, 20)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a connection that breaks is fifty lines of C++, else
    ours = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
    if OPTION not in ours:
        _finish()
        return
    sys.argv = [*(word for word in ours if word != OPTION), *sys.argv[len(ours) :]]
    with logged(sys.argv[1:], __version__):
        _finish()


def _finish() -> None:
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:  # what libraries warn of is for developers; what a user must know, a message says
                warnings.simplefilter("ignore")
            _run()
        sys.stdout.flush()
    except BrokenPipeError:
        _end_quietly()
    except SystemExit as stop:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _end_quietly()
        except OSError as error:  # a full disk, behind a redirection
            _to_nowhere(sys.stdout)
            complain(f"Error: {error.strerror}, so that standard output is not whole.")
            sys.exit(2)
        if isinstance(stop.__context__, BrokenPipeError):  # which typer and rich turn into exit code 1
            _end_quietly()
        raise


def _command() -> None:
    """Run the command that is named. Where standard error is a log, a mistake in its options is one line, too."""
    log = json_log()
    if log is None:
        app()
        return
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except (MeshcastError, OSError, MemoryError):
        raise
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not hasattr(error, "format_message"):  # a fault of ours
            log.event("error", message=f"{type(error).__name__}: {error}", traceback=traceback.format_exc(), code=1)
            sys.exit(1)
        code = getattr(error, "exit_code", 2)
        log.event("error", message=error.format_message(), code=code)
        sys.exit(code)


def _end_quietly() -> NoReturn:
    """End as a process does whose reader has gone, `head` say: without a word, by the signal's exit code."""
    for stream in (sys.stdout, sys.stderr):
        _to_nowhere(stream)
    sys.exit(READER_GONE)


def _to_nowhere(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, so that Python does not complain at its end."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run() -> None:
    try:
        _command()
    except MeshcastError as error:
        complain(f"Error: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        if (error.errno or 0) <= 0:  # no refusal of the system: a fault of ours, or of a library
            raise
        complain(f"Error: {_of_system(error)}")
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        from graphs.available_memory import is_out_of_memory, memory_in_words

        if not is_out_of_memory(error):
            raise
        what = f" ({str(error).splitlines()[0]})" if str(error) else ""
        complain(
            f"Error: The memory that this process may take is used up{what}; {memory_in_words()}. Ask for less at "
            "once, or more memory."
        )
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            say("Interrupted. No half-written file has a final name; resume=auto goes on with a training, --resume "
                "with a forecast, and a comparison when it is started again.")  # fmt: skip
        raise


def _of_system(error: OSError) -> str:
    """Return what the system refused, where, and what to do."""
    where = f" at {error.filename}" if error.filename else ""
    if error.errno in FULL:
        advice = "Free some space, or choose another disk"
    elif error.errno in TOO_MANY:
        advice = "Allow this process more open files (ulimit -n), or close what else runs"
    elif error.errno == errno.EIO:
        advice = "The disk or its connection fails: look after it, then start again"
    else:
        advice = "Choose a place that exists and that you may read and write"
    return f"{error.strerror}{where}. {advice}."
