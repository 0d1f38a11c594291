"""The command line: what there is, and how a mistake ends."""

from __future__ import annotations

import errno
import gc
import os
import sys

import typer

from graphs.errors import MeshcastError
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
from meshcast.commands.simulate import simulate
from meshcast.commands.train import train
from meshcast.commands.verify import verify
from meshcast.console import say

app = typer.Typer(
    name="meshcast",
    help="Emulate physics with graph neural networks: simulate, train, forecast, verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, simulate, dataset, graph, train, forecast, verify, plot, compare, reproduce, export, inspect):
    app.command()(command)
app.add_typer(configs_app, name="configs")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TOO_MANY = (errno.EMFILE, errno.ENFILE)
INTERRUPTED = 130  # exit code of typer, by the shell's custom of 128 + signal


def run() -> None:
    """The console script. A user's mistake ends in one message and exit code 2, without a traceback."""
    # As often as Python looks for cycles by default costs a tenth of a comparison: it holds millions of small objects.
    gc.set_threshold(50_000, 20, 20)
    try:
        app()
    except MeshcastError as error:
        say(f"Error: {error}")
        sys.exit(2)
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if (error.errno or 0) <= 0:  # no refusal of the system: a fault of ours, or of a library
            raise
        say(f"Error: {_of_system(error)}")
        sys.exit(2)
    except MemoryError as error:
        what = f" ({error})" if str(error) else ""
        say(f"Error: The memory that this process may take is used up{what}. Ask for less at once, or more memory.")
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
