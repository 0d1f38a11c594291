"""Do runs of a climate model lie within the bands of an emulator that has not seen them? As JSON.

    python benchmarks/band_coverage.py configs/climate-response.yaml "data.train.source={dataset: data/ipsl.zarr}"

Every run of the training part is left out in turn: the closed form and the variability are fitted on the others, and
the left-out run's regional means, of single years and of twenty, are counted that lie between the 5th and the 95th
percentile of members.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emulator.build import fit_closed_form
from emulator.foundation.configuration import load
from emulator.variability import Variability
from graphs.atomic_file import write_text
from inference.scenarios.regions import read_regions, region_means
from training.experiment import ExperimentConfig
from training.preparation.prepared import prepare
from training.runs.scenario_test import REGIONS, coverage_of
from training.runs.variability import free_series


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML of an experiment with a closed form and a variability")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_args(arguments)

    prepared = prepare(load(ExperimentConfig, options.config, options.overrides))
    config, part, mesh = prepared.config, prepared.part, prepared.train.mesh
    assert config.variability is not None, "the experiment names no variability"
    means = region_means(read_regions(list(REGIONS)), mesh)
    rows = []
    for left_out in part.rows:
        seen = [row for row in part.rows if row != left_out]
        others = type(part)(part.fields, part.times, seen, part.forcings)
        fitted = fit_closed_form(config.emulator, prepared.task, others)
        predicted = fitted.task.predicted
        times, truth, expected = free_series(fitted, part.fields, part.provider, part.available, [*seen, left_out])
        known = times, truth[:-1], expected[:-1]
        variability = Variability.of(config.variability, predicted, *known, mesh.areas)
        shares = coverage_of(variability, times, truth[-1:], expected[-1:], means)
        found = [None if share is None else round(share, 3) for share in shares]
        rows.append({"left_out": left_out, "coverage": found[0], "of_20_years": found[1]})
    mean = round(float(np.mean([row["coverage"] for row in rows])), 3)
    report = {"regions": len(means.regions), "rows": rows, "mean": mean}
    text = json.dumps(report, indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


if __name__ == "__main__":
    main()
