"""Tuning from a spoilt start: what `meshcast tune` finds in 20 trials, killed once, beside the settings of an expert.

`ring-ks`, whose settings were found by hand, is spoilt: a learning rate 30 times too high, no noise, one layer. Trials
are as long as its training, 2,500 updates, so that their scores compare. Killed while it makes its tenth trial, the
study goes on. Prints JSON: what the spoilt start, the hand-tuned one and the best trial score by validation.

    python benchmarks/tuning.py FOLDER --seed 0 --minutes 7

What is finished in FOLDER is not repeated: started again, it goes on where the minutes were over.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

from emulator.foundation.configuration import load
from emulator.physics.simulate import SimulationConfig, simulate
from meshcast.commands.configs import shipped_config
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.runs.study import Result, Run, run_study
from training.tuning.tune import SearchConfig, Tuned, make_trials, outcome, planned

SPACE = {
    "training.learning_rate": "1e-4..1e-1 log",
    "training.noise": "1e-4..1e-1 log",
    "emulator.processor.num_layers": "1..8",
}
SPOILT = ("training.learning_rate=9e-2", "training.noise=0.0", "emulator.processor.num_layers=1")
TRIALS, KILLED_IN = 20, 9


def main() -> None:
    """Print what tuning finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--space", choices=("three", "default"), default="three")
    asked = parser.parse_args()
    deadline = time.monotonic() + 60 * asked.minutes
    asked.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(asked.folder)
    if not Path("data/ks.zarr").is_dir():
        simulate(load(SimulationConfig, shipped_config("simulate-ks")))
    place = [f"output=runs/{asked.space}-seed{asked.seed}"]
    known = {name: _fitted(name, overrides, place, asked.seed) for name, overrides in
             {"hand-tuned": (), "spoilt": SPOILT}.items()}  # fmt: skip
    spoilt = load(ExperimentConfig, shipped_config("ring-ks"), [*place, "name=tuned", *SPOILT])
    search = SearchConfig(space=SPACE if asked.space == "three" else {}, trials=TRIALS, share=1.0, seed=asked.seed)
    tuned = _tuned(spoilt, search, Path(f"killed-{asked.space}-seed{asked.seed}"), deadline)
    best = tuned.chosen
    if len(tuned.trials) < TRIALS or best is None:
        print(json.dumps({"trials so far": len(tuned.trials)}))
        return
    hand = known["hand-tuned"]
    print(json.dumps({
        "seed": asked.seed,
        "space": asked.space,
        "hand-tuned": {"counts as": _rank(hand), "score": hand.validation_score, "seconds": hand.seconds},
        "spoilt": {"counts as": _rank(known["spoilt"]), "status": known["spoilt"].status},
        "best trial": {"counts as": best.counts_as, "score": best.score, "settings": best.settings},
        "over hand-tuned": best.counts_as / _rank(hand),
        "first trial within 10 %": min(
            (n for n, trial in zip(tuned.numbers, tuned.trials, strict=True) if trial.counts_as <= 1.1 * _rank(hand)),
            default=None,
        ),
        "pruned": sum(trial.status == "pruned" for trial in tuned.trials),
        "diverged": sum(trial.status == "diverged" for trial in tuned.trials),
        "updates": sum(trial.updates for trial in tuned.trials),
        "clock seconds of all trials": sum(trial.seconds or 0.0 for trial in tuned.trials),
        "importances": tuned.importances,
    }, indent=1))  # fmt: skip


def _fitted(name: str, overrides: tuple[str, ...], place: list[str], seed: int) -> Result:
    config = load(ExperimentConfig, shipped_config("ring-ks"), [*place, f"name={name}", *overrides])
    (result,) = run_study([Run(name, config, seed)], Path(place[0].partition("=")[2]) / "results", progress=False)
    return result


def _rank(result: Result) -> float:
    found = result.validation_score if result.rank is None else result.rank
    return float("inf") if found is None or result.status != "done" else found


def _tuned(config: ExperimentConfig, search: SearchConfig, killed: Path, deadline: float) -> Tuned:
    """Make trials in a process that is killed once, in the middle of one of them."""
    plan = planned(config, search, PreparedData())
    while time.monotonic() < deadline:
        process = multiprocessing.get_context("fork").Process(target=_work, args=(plan, deadline))
        process.start()
        while process.is_alive() and not killed.exists():
            process.join(1.0)
            if _in_the_middle(plan.folder.parent):
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                killed.touch()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
    return outcome(plan)


def _in_the_middle(trials: Path) -> bool:
    """Return whether a trial after KILLED_IN others has been validated, but is not finished."""
    begun = list(trials.glob(f"*trial-{KILLED_IN}-*/last.ckpt"))
    return bool(begun) and not (begun[0].parent / "done.json").exists()


def _work(plan: Any, deadline: float) -> None:
    make_trials(plan, PreparedData(), timeout=deadline - time.monotonic(), progress=False, say=print)


if __name__ == "__main__":
    main()
