"""A plug-in in numpy: one complex factor a wavenumber, fitted by least squares; for `meshcast compare --plugin`."""

from __future__ import annotations

import numpy as np
import torch


class SpectralRegression:
    """Each wave of a ring grows and travels by itself: u_k(t + 1) = a_k u_k(t)."""

    def __init__(self, task, mesh, factors):
        self.task, self.mesh, self.factors = task, mesh, factors

    @classmethod
    def fit(cls, task, part, penalty=1e-6):
        fields = part.fields.read(part.available, task.prognostic, part.rows)  # [time, trajectory, node, variable]
        waves = np.fft.rfft(fields, axis=2)
        now, later = waves[:-1], waves[1:]
        power = (np.abs(now) ** 2).sum(axis=(0, 1))
        return cls(task, part.fields.mesh, (np.conj(now) * later).sum(axis=(0, 1)) / (power + penalty * power.max()))

    def step(self, state, forcing, generator=None):
        waves = np.fft.rfft(state.now.numpy(), axis=2) * self.factors  # [batch, member, wavenumber, variable]
        later = np.fft.irfft(waves, n=self.mesh.num_nodes, axis=2).astype(np.float32)
        return state.followed_by(torch.from_numpy(later), self.task.time_step.advance(state.valid_time)), None

    def arrays(self):
        return {"growth": self.factors.real, "rotation": self.factors.imag}

    @classmethod
    def from_arrays(cls, task, mesh, arrays, penalty=1e-6):
        return cls(task, mesh, arrays["growth"].numpy() + 1j * arrays["rotation"].numpy())


EMULATORS = {"spectral regression": SpectralRegression}
