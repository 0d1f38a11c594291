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
