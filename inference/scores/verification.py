"""Verification: forecasts against the truth at their valid times, by case, lead time and variable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator import scores
from emulator.data.forecast import Forecast
from emulator.fields import Fields
from emulator.protocol import Emulator
from emulator.state import State
from graphs.errors import MeshcastError
from inference.scores.conservation import area_mean
from inference.scores.flow import FlowScorer, resolved_degree, winds
from inference.scores.matching import MatchedTruth, common_variables, match, without_truth
from inference.scores.metrics import case_scores
from inference.scores.scorecard import ForecastScores, Verification
from inference.scores.spectra import SharedSpectra, power_spectrum, wavenumber_axis

Array = NDArray[np.float64]
Climatology = Callable[[NDArray[np.int64]], NDArray[np.floating]]
CHUNK_VALUES = 4_000_000  # forecast values scored at once: 32 MB in float64


def verify(
    forecasts: Sequence[Forecast],
    truth: Fields,
    *,
    climatology: Emulator | Climatology | NDArray[np.floating] | None = None,
    baselines: Sequence[str] = (),
    threshold: float = 0.5,
    spectra: bool = True,
    level: float = 0.95,
    num_resamples: int = 4000,
) -> Verification:
    """Score forecasts against the truth valid at init_time + lead_time.

    Baselines are forecasts like any other. Cases, leads and variables without truth are left out and named in
    `left_out`; a forecast with none at all is refused. Fields pass through in chunks of cases.

    climatology: for the anomaly correlation: an emulator that forecasts it, a function from valid times [time] to
        [time, node, variable], or an array that broadcasts to [time, node, variable], variables as in the result.
    baselines: names of the forecasts that skill is measured against.
    threshold: RMSE over the truth's standard deviation past which a forecast no longer counts as stable.
    spectra: whether to compute power spectra.
    level, num_resamples: of the intervals, see `inference.scores.bootstrap`; `dataclasses.replace` of the result gives
        others, with `block_cases` and `bootstrap_seed` too.
    """
    if not forecasts:
        raise MeshcastError("Nothing to verify: give at least one forecast.")
    labels = _labels(forecasts)
    unknown = set(baselines) - set(labels) - {forecast.name for forecast in forecasts}
    if unknown:
        raise MeshcastError(f"No forecast of the baseline {', '.join(sorted(unknown))}; there are {', '.join(labels)}.")
    left_out: list[str] = []
    variables, units = common_variables(forecasts, labels, truth, left_out)
    results = []
    shared = SharedSpectra() if spectra else None
    unverified: dict[str, list[str]] = {}
    for forecast, label in zip(forecasts, labels, strict=True):
        found = match(forecast, label, truth, variables)
        for sentence in without_truth(forecast, found.has_truth):
            unverified.setdefault(sentence, []).append(label)
        results.append(_Scorer(forecast, label, found, _as_function(climatology, variables), shared).run())
    for sentence, those in unverified.items():
        left_out.append(f"{sentence} ({'all forecasts' if len(those) == len(labels) else ', '.join(those)})")
    scale, magnitude = _scales([moments for _, moments in results])
    emulators = tuple(scored.with_stable_steps(scale, threshold) for scored, _ in results)
    return Verification(
        emulators=emulators,
        variables=variables,
        units=units,
        mesh=truth.mesh,
        time_step=forecasts[0].time_step,
        scale=scale,
        magnitude=magnitude,
        threshold=threshold,
        baselines=tuple(e.label for e in emulators if e.label in baselines or e.name in baselines),
        left_out=tuple(left_out),
        truth={"source": truth.source, **truth.attributes},
        level=level,
        num_resamples=num_resamples,
    )


class _Scorer:
    """Walks through one forecast in chunks of cases and leads, and keeps scores and sums, never fields."""

    def __init__(
        self,
        forecast: Forecast,
        label: str,
        found: MatchedTruth,
        climatology: Climatology | None,
        shared: SharedSpectra | None,
    ) -> None:
        self.forecast, self.label, self.found, self.climatology = forecast, label, found, climatology
        self.columns = [forecast.variables.index(name) for name in found.variables]
        self.areas = torch.from_numpy(forecast.mesh.weights)
        cases, self.members, leads = forecast.values.shape[:3]
        self.shape = (cases, leads, len(self.columns))
        self.values: dict[str, Array] = {}
        self.verified = np.zeros(self.shape, dtype=bool)
        self.member_mse = np.full((cases, self.members, *self.shape[1:]), np.nan) if self.members > 1 else None
        self.moments = np.zeros((3, len(self.columns)))  # fields seen, sum of area means, sum of mean squares
        units = [forecast.units[column] for column in self.columns]
        self.wind = next(iter(winds(found.variables, units)), None)
        self.shared = shared
        self.mesh_key = hash((forecast.mesh.positions.tobytes(), forecast.mesh.areas.tobytes()))
        self.axis = None if shared is None else wavenumber_axis(forecast.mesh)
        self.flow = None
        if shared is not None and self.wind is not None and resolved_degree(forecast.mesh) is not None:
            self.flow = FlowScorer(forecast, found.variables, units, self.wind)
        if self.axis is not None:
            self.power = np.zeros((2, leads, len(self.axis.wavenumber), len(self.columns)))
            self.num_power = np.zeros((leads, 1, len(self.columns)))

    def run(self) -> tuple[ForecastScores, Array]:
        """Return the scores, and the truth's moments for its standard deviation."""
        for cases, leads in self._chunks():
            self._score(cases, leads)
        with np.errstate(invalid="ignore"):
            power, truth_power = (None, None) if self.axis is None else self.power / self.num_power
        forecast = self.forecast
        scored = ForecastScores(
            label=self.label,
            name=forecast.name,
            seed=str(forecast.attributes.get("seed", "")),
            init_time=forecast.init_time,
            trajectory=forecast.trajectory,
            lead_steps=forecast.lead_steps,
            values=self.values,
            verified=self.verified,
            member_mse=self.member_mse,
            power=power,
            truth_power=truth_power,
            attributes=dict(forecast.attributes),
            flow=None if self.flow is None else self.flow.scores(),
        )
        return scored, self.moments

    def _chunks(self) -> Iterator[tuple[slice, slice]]:
        num_cases, num_members, num_leads, num_nodes, num_variables = self.forecast.values.shape
        field = num_members * num_nodes * num_variables
        leads = min(max(CHUNK_VALUES // field, 1), num_leads)
        cases = max(CHUNK_VALUES // (field * leads), 1)
        for case in range(0, num_cases, cases):
            for lead in range(0, num_leads, leads):
                yield slice(case, case + cases), slice(lead, lead + leads)

    def _score(self, cases: slice, leads: slice) -> None:
        values = torch.from_numpy(
            np.asarray(self.forecast.values[cases, :, leads][..., self.columns], dtype=np.float64)
        )
        observed = self.found.read(cases, leads).astype(np.float64)
        truth = torch.from_numpy(observed)
        seen = ~np.isnan(observed)
        self.verified[cases, leads] = seen.any(2)
        initial = torch.from_numpy(self.found.initial(cases).astype(np.float64))
        known = torch.from_numpy(seen.any((0, 1)) | ~seen.any())
        found = case_scores(
            values,
            truth,
            self.areas,
            climatology=self._climatology(self.forecast.valid_time[cases, leads]),
            initial=initial,
            known=known,
            mesh=self.forecast.mesh,
            wind=self.wind,
        )
        for name, score in found.items():
            self.values.setdefault(name, np.full(self.shape, np.nan))[cases, leads] = score.numpy()
        if self.member_mse is not None:
            member = scores.mse(values, truth[:, None].expand_as(values), self.areas)
            self.member_mse[cases, :, leads] = member.numpy()
        self._add_moments(truth, known)
        if self.axis is not None:
            self._spectra(values.numpy(), observed, cases, leads)
        if self.flow is not None:
            covered = slice(leads.start, leads.start + observed.shape[1])
            share = partial(self._share, cases, leads)
            self.flow.add(values.numpy(), observed, initial.numpy(), cases, covered, share)

    def _share(self, cases: slice, leads: slice, kind: str, compute: Callable[[], Array]) -> Array:
        """Return what is computed of the truth in a chunk, or what another forecast has computed of it."""
        assert self.shared is not None
        times = self.found.time_index[cases, 1:][:, leads]
        key = (kind, self.mesh_key, times.shape, times.tobytes(), self.found.row[cases].tobytes())
        return self.shared.get(key, compute)

    def _add_moments(self, truth: Tensor, known: Tensor) -> None:
        """Add the area mean and the mean square of the truth, on the nodes it ever has."""
        mean, square = area_mean(truth, self.areas, known), area_mean(truth.square(), self.areas, known)
        there = torch.isfinite(square)
        self.moments += torch.stack([x.where(there, 0.0).sum((0, 1)) for x in (there.double(), mean, square)]).numpy()

    def _spectra(self, values: Array, truth: Array, cases: slice, leads: slice) -> None:
        # [case, lead, variable]
        whole = np.logical_and(np.isfinite(values).all((1, 3)), np.isfinite(truth).all(2))
        mesh = self.forecast.mesh
        of_truth = self._share(cases, leads, "power", lambda: power_spectrum(truth[:, None], mesh))
        for place, power in enumerate((power_spectrum(values, mesh), of_truth)):
            self.power[place, leads] += np.where(whole[:, :, None], power.mean(1), 0.0).sum(0)
        self.num_power[leads] += whole.sum(0)[:, None]

    def _climatology(self, valid_time: NDArray[np.int64]) -> Tensor | None:
        """Return the climatology, [case, lead, node, variable]; each valid time is asked for once."""
        if self.climatology is None:
            return None
        times, place = np.unique(valid_time, return_inverse=True)
        given = np.asarray(self.climatology(times), dtype=np.float64)
        fields = np.broadcast_to(given, (len(times), self.forecast.mesh.num_nodes, len(self.columns)))
        return torch.from_numpy(fields[place.reshape(valid_time.shape)])


def _labels(forecasts: Sequence[Forecast]) -> tuple[str, ...]:
    """Return names, with the seed where one emulator has several, and a number where they are still the same."""
    names = [forecast.name for forecast in forecasts]
    labels: list[str] = []
    for forecast in forecasts:
        label, seed = forecast.name, forecast.attributes.get("seed")
        if names.count(label) > 1 and seed is not None:
            label = f"{label} (seed {seed})"
        numbered = (f"{label} #{number}" for number in count(2))
        labels.append(next(name for name in chain([label], numbered) if name not in labels))
    return tuple(labels)


def _as_function(
    climatology: Emulator | Climatology | NDArray[np.floating] | None, variables: tuple[str, ...]
) -> Climatology | None:
    """Return the climatology, in whatever form it came, as a function of valid time."""
    if isinstance(climatology, Emulator):
        return partial(_forecast_climatology, climatology, variables)
    if climatology is None or callable(climatology):
        return climatology
    return lambda valid_time: climatology


def _forecast_climatology(emulator: Emulator, variables: tuple[str, ...], valid_time: NDArray[np.int64]) -> Array:
    """Return [time, node, variable] of a climatology, which forecasts the same from any state: here from zeros."""
    task = emulator.task
    shape = (len(valid_time), 1, task.history, emulator.mesh.num_nodes, len(task.prognostic))
    state = State(torch.zeros(shape), task.time_step.advance(valid_time, -1))
    forcing = torch.zeros(len(valid_time), task.history + 1, emulator.mesh.num_nodes, len(task.forcing))
    with torch.no_grad():
        state, diagnostic = emulator.step(state, forcing)
    fields = state.now if diagnostic is None else torch.cat([state.now, diagnostic], dim=-1)
    names = [variable.name for variable in task.predicted]
    absent = [name for name in variables if name not in names]
    if absent:
        raise MeshcastError(f"The climatology has no {', '.join(absent)}; it has {', '.join(names)}.")
    return fields[:, 0][..., [names.index(name) for name in variables]].double().numpy()


def _scales(moments: Sequence[Array]) -> tuple[Array, Array]:
    """Return the truth's standard deviation and root mean square in space and time, [variable], from summed moments."""
    number, mean, square = np.sum(moments, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.maximum(square / number - (mean / number) ** 2, 0.0)), np.sqrt(square / number)
