"""Effective radiative forcing of greenhouse gases, by simple laws."""

from __future__ import annotations

import numpy as np

from graphs.errors import MeshcastError
from graphs.geometry import Array

CO2_SLOPE = 5.35  # [W m-2], Myhre et al. (1998), table 3, doi:10.1029/98GL01908
CO2_PREINDUSTRIAL = 278.3  # [ppm] in 1750, AR6 WG1 section 2.2.3.2.1
CO2_DOUBLING = CO2_SLOPE * float(np.log(2.0))  # 3.71 W m-2


def of_co2(concentration: Array, reference: float = CO2_PREINDUSTRIAL) -> Array:
    """Return the forcing [W m-2] of CO2 at concentrations [ppm], over that at a reference, 5.35 ln(C / C₀)."""
    if not (np.all(np.asarray(concentration) > 0) and reference > 0):
        raise MeshcastError("Concentrations of CO2 are positive, in ppm.")
    return np.asarray(CO2_SLOPE * np.log(np.asarray(concentration, np.float64) / reference), np.float64)


# Meinshausen et al. (2020), table 3, doi:10.5194/gmd-13-3571-2020, with the tropospheric adjustments of AR6 WG1 7.3.2
PREINDUSTRIAL = {"co2": CO2_PREINDUSTRIAL, "ch4": 729.2, "n2o": 270.1}  # 1750 [ppm, ppb, ppb], AR6 WG1 table 7.5
_CO2 = (-2.4785e-7, 7.5906e-4, -2.1492e-3, 5.2488)
_N2O = (-3.4197e-4, 2.5455e-4, -2.4357e-4, 0.12173)
_CH4 = (-8.9603e-5, -1.2462e-4, 0.045194)
ADJUSTMENTS = {"co2": 1.05, "ch4": 0.86, "n2o": 1.07}


def of_gases(co2: Array, ch4: Array, n2o: Array) -> dict[str, Array]:
    """Return the forcing [W m-2] of each gas over 1750, from concentrations of CO2 [ppm], methane and N2O [ppb].

    Where gases absorb the same wavelengths, the forcing of one depends on the others. Source: Meinshausen et al. 2020.
    """
    gases = {name: np.asarray(values, np.float64) for name, values in (("co2", co2), ("ch4", ch4), ("n2o", n2o))}
    for name, values in gases.items():
        if not (values > 0).all():
            raise MeshcastError(f"Concentrations of {name} must be positive, but the lowest is {values.min():g}.")
    over = np.maximum(gases["co2"] - PREINDUSTRIAL["co2"], 0.0)
    a, b, c, d = _CO2
    over = np.minimum(over, -b / (2 * a))  # the parabola's highest point
    roots = {name: np.sqrt(values) for name, values in gases.items()}
    since = {name: root - PREINDUSTRIAL[name] ** 0.5 for name, root in roots.items()}
    forcing = {
        "co2": (d + a * over**2 + b * over + c * roots["n2o"]) * np.log(gases["co2"] / PREINDUSTRIAL["co2"]),
        "ch4": (_CH4[0] * roots["ch4"] + _CH4[1] * roots["n2o"] + _CH4[2]) * since["ch4"],
        "n2o": (_N2O[0] * roots["co2"] + _N2O[1] * roots["n2o"] + _N2O[2] * roots["ch4"] + _N2O[3]) * since["n2o"],
    }
    return {name: ADJUSTMENTS[name] * values for name, values in forcing.items()}
