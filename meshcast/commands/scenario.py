"""`meshcast scenario`: a climate under pathways of forcing, as files, tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def scenario(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of what is written.")],
    emulator: Annotated[
        Path | None, typer.Argument(help="An emulator.safetensors, or the run folder that holds it; or --solver.")
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(help="In its place the equation of a simulated climate: simulate-climate, or a YAML."),
    ] = None,
    pathways: Annotated[
        str,
        typer.Option(
            help="'ssp126, ssp585': names; CSV files by year; means, 0.5*ssp126+0.5*ssp245; levers on emissions, "
            "low:peak=2030:net-zero=2070:methane=-40%."
        ),
    ] = "ssp126, ssp245, ssp585",
    base_period: Annotated[str, typer.Option(help="FIRST-LAST, whose mean is the zero of a change.")] = "1850-1900",
    years: Annotated[str, typer.Option(help="FIRST-LAST, which are written.")] = "1850-2100",
    members: Annotated[
        int,
        typer.Option(
            min=1,
            help="Of each pathway: of emissions by so many parameter sets of FaIR, and where the emulator has a "
            "variability with weather of their own; else one.",
        ),
    ] = 1,
    regions: Annotated[
        str,
        typer.Option(help="'global, land, MED': also ar6, a box NORTH/WEST/SOUTH/EAST, or a GeoJSON file of polygons."),
    ] = "global, land, sea, north, south, ar6",
    initial: Annotated[
        str | None, typer.Option(help="Dataset or file whose first time an emulator starts from, where it needs one.")
    ] = None,
    trajectory: Annotated[
        int | None,
        typer.Option(min=0, help="Which of the trajectories or members of --initial, where it holds several."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 where a forcing leaves the range of the training.")
    ] = False,
    plots: Annotated[bool, typer.Option(help="Draw the global mean and maps.")] = True,
    explorer: Annotated[bool, typer.Option(help="Write explorer.html, maps and series to look around in.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace the folder where it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Run a climate under pathways of forcing: fields, regional means and pictures.

    Exit code 0; with --strict 4 where a pathway leaves the range of forcing that the emulator was trained on: all is
    written, and flagged.

    Example: meshcast scenario --solver simulate-climate --pathways "ssp126, ssp585" -o scenarios
    """
    from emulator.pathways.named import read_pathway
    from emulator.physics.climate_simulation import ClimateSimulationConfig
    from emulator.physics.simulate import load_simulation
    from graphs.atomic_file import atomic_folder, refuse_other
    from graphs.errors import MeshcastError
    from inference.pictures.style import file_name
    from inference.scenarios.climate import (
        ENOUGH,
        climate_of_emulator,
        climate_of_solver,
        first_words,
        held_by_bands,
        limits_of,
        too_few,
    )
    from inference.scenarios.explorer import ExplorerNotes, write_explorer
    from inference.scenarios.regions import AR6_SOURCE, read_regions, region_means
    from inference.scenarios.scenario import run_scenarios
    from inference.scenarios.scenario_file import is_scenario_folder, write_scenario
    from inference.scenarios.scenario_pictures import draw_maps, draw_series
    from inference.scenarios.summary import BasePeriod, RegionSeries, left_out_table, region_table, summary
    from meshcast.commands.configs import config_path
    from meshcast.console import BEYOND, listed, print_json, progress, say

    refuse_other(output, is_scenario_folder, overwrite)
    base, span = BasePeriod.read(base_period), BasePeriod.read(years, "--years")
    chosen = read_regions(listed(regions))
    if "global" not in [region.key for region in chosen]:
        chosen = (*read_regions(["global"]), *chosen)
    if (emulator is None) == (solver is None):
        raise MeshcastError("A scenario takes an emulator or --solver CONFIGURATION, one of both.")
    if emulator is not None:
        climate = climate_of_emulator(emulator, initial, trajectory)
    else:
        settings = load_simulation(config_path(Path(str(solver))), [])
        if not isinstance(settings, ClimateSimulationConfig):
            raise MeshcastError(f"{solver} simulates no climate; expected kind: climate, such as simulate-climate.")
        climate = climate_of_solver(settings)
    named = listed(pathways)
    if not named or len(set(named)) < len(named):
        raise MeshcastError(f"--pathways names {pathways!r}; expected one or more, each once.")
    known = [read_pathway(name, span.last) for name in named]
    if len({pathway.name for pathway in known}) < len(known):
        raise MeshcastError("Two of the pathways' files have the same name, under which each is written. Rename one.")
    for pathway in known:
        for note in pathway.notes:
            say(f"{pathway.name}: {note}")
        if members > 1 and len(pathway.forcing) == 1 and climate.variability is None:
            say(f"{pathway.name}: its forcing is one series, so that it has one member")
    with progress("running", 100) as done:
        found = run_scenarios(
            climate.emulator,
            climate.name,
            known,
            span.first,
            span.last,
            members,
            climate.initial,
            climate.ranges,
            lambda step, steps: done(100 * step // steps),
            climate.variability,
        )
    means = region_means(chosen, climate.emulator.mesh, found[0].there)
    series = [[RegionSeries.of(one, variable, means, base) for variable in range(len(one.variables))] for one in found]
    results = []
    with atomic_folder(output, is_scenario_folder, overwrite) as folder:
        folder.mkdir(exist_ok=True)
        for one in found:
            write_scenario(folder / f"{file_name(one.pathway.name)}.nc", one, base, climate.about)
        region_table([part for parts in series for part in parts], means, base).to_csv(
            folder / "regions.csv", index=False
        )
        if means.left_out:
            left_out_table(means).to_csv(folder / "regions_left_out.csv", index=False)
        if plots:
            draw_series([parts[0] for parts in series], means, base, folder / "global_mean")
            draw_maps(found, 0, base, folder / "maps")
        if explorer:
            notes = ExplorerNotes(
                limits_of(climate, found),
                [pathway.source for pathway in known],
                first_words(climate),
                held_by_bands(climate),
            )
            step = write_explorer(folder / "explorer.html", found, [parts[0] for parts in series], means, base, notes)
            if step > 1:
                say(f"explorer.html shows every {step} years, since with every year it would be larger than 5 MB")
        for one, parts in zip(found, series, strict=True):
            results.append({**summary(parts[0], means), "beyond training": dict(one.beyond)})
    if (few := too_few(found)) is not None:
        say(f"bands of {few} members are narrower than 5 to 95 %; take {ENOUGH} or more")
    if means.left_out:
        some = ", ".join(means.left_out)
        say(f"no mean of {len(means.left_out)} regions, the reasons in regions_left_out.csv: {some}")
    for one in found:
        for name, year in one.beyond.items():
            say(
                f"BEYOND TRAINING: in {year} {one.pathway.name} leaves the range of {name} that {climate.name} was "
                "trained on"
            )
    if as_json:
        print_json({"output": str(output), "pathways": results, "regions": AR6_SOURCE, "left_out": means.left_out})
    else:
        for result in results:
            passes = [
                f"{key} {value or 'never'}" for key, value in result.items() if key.startswith(("passes", "northern"))
            ]
            band = " ({} to {})".format(*result["band"]) if "band" in result else ""
            change = f"{result['change']:+.2f} {result['units']}{band} in {result['years']} over {base}"
            print(f"{result['pathway']}: {'; '.join([change, *passes])}")
        print(f"Wrote {output}.")
    if strict and any(one.beyond for one in found):
        raise typer.Exit(BEYOND)
