"""Write the files of emulator/pathways/files anew from what was published, rounded and packed.

python scripts/pathway_files.py DATA

DATA holds `ssp/ERF_*_1750-2500.csv` of github.com/chrisroadmap/ar6 (MIT) and `fair/`, the calibrated, constrained
ensemble 1.4.1 of doi:10.5281/zenodo.10566813 with its emissions (Apache-2.0).
"""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pandas as pd

PATHWAYS = ("ssp119", "ssp126", "ssp245", "ssp370", "ssp534-over", "ssp585")
FILES = Path(__file__).parents[1] / "emulator/pathways/files"


def main(data: Path) -> None:
    FILES.mkdir(parents=True, exist_ok=True)
    found = {name: data / "ssp" / f"ERF_{name}_1750-2500.csv" for name in PATHWAYS}
    tables = [pd.read_csv(path).assign(pathway=name) for name, path in found.items()]
    forcing = pd.concat(tables)
    agents = [name for name in forcing if name not in ("pathway", "year") and not name.startswith("total")]
    forcing.columns = [name.replace("-", "_") for name in forcing]
    agents = [name.replace("-", "_") for name in agents]
    _write("ssp_forcing", forcing[["pathway", "year", *agents]].round(dict.fromkeys(agents, 5)), "%.10g")

    emissions = pd.read_csv(data / "fair/extensions_1750-2500.csv").drop(columns="region")
    years = {name: str(int(float(name))) for name in emissions.columns[3:]}
    _write("fair_emissions", emissions.rename(columns=years | {"variable": "species"}), "%.6g")

    sets = pd.read_csv(data / "fair/calibrated_constrained_parameters_calibration1.4.1.csv", index_col=0)
    _write(
        "fair_parameters",
        sets.drop(columns=["seed", "stochastic_run", "use_seed"]).rename_axis("set").reset_index(),
        "%.6g",
    )
    natural = pd.read_csv(data / "fair/volcanic_solar.csv", encoding="utf-8-sig")
    natural = natural[natural["Scenario"] == natural["Scenario"].iloc[0]]  # the same in all of them
    natural = natural.drop(columns=["Scenario", "Region", "Unit"]).rename(columns={"Variable": "agent"})
    _write("fair_natural_forcing", natural, "%.6g")
    species = pd.read_csv(data / "fair/species_configs_properties_calibration1.4.1.csv")
    _write("fair_species", species, "%.10g")


def _write(name: str, table: pd.DataFrame, digits: str) -> None:
    text = io.StringIO()
    table.to_csv(text, index=False, float_format=digits)
    with open(FILES / f"{name}.csv.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.getvalue().encode())
    print(f"{name}: {len(table)} rows, {(FILES / f'{name}.csv.gz').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
