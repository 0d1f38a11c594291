"""Verification: forecasts against the truth at their valid times, by case, lead time and variable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator import scores
from emulator.data.forecast import Forecast
from emulator.fields import Fields
from emulator.foundation.progress import Progress, no_progress
from emulator.foundation.winds import winds
from emulator.foundation.workers import OneByOne, Workers
from emulator.protocol import Emulator
from graphs.errors import MeshcastError
from graphs.geometry import Index
from inference.scores.climatologies import Climatology, climatology_function
from inference.scores.conservation import area_mean
from inference.scores.flow import FlowChunk, FlowScorer, resolved_degree
from inference.scores.matching import LatestRead, MatchedTruth, common_variables, match, without_truth
from inference.scores.metrics import case_scores
from inference.scores.region import Region, cut_mesh
from inference.scores.scorecard import ForecastScores, Verification
from inference.scores.spectra import SharedSpectra, power_spectrum, wavenumber_axis
from inference.scores.wet_area import wet_from

Array = NDArray[np.float64]
CHUNK_VALUES = 4_000_000  # forecast values read at once: 32 MB in float64
BLOCK_VALUES = 250_000  # of these scored at once: what stays in a processor's cache is scored several times as fast
SPECTRA_VALUES = 1_000_000  # and transformed at once


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
    region: Region | None = None,
    progress: Progress = no_progress,
    wet: Mapping[str, float] | None = None,
    workers: Workers | None = None,
) -> Verification:
    """Score forecasts against the truth valid at init_time + lead_time.

    Baselines are forecasts like any other. Cases, leads and variables without truth are left out and named in
    `left_out`; a forecast with none at all is refused. Fields pass through in chunks of cases, all forecasts side by
    side, so that the truth is read once.

    climatology: for the anomaly correlation: an emulator that forecasts it, a function from valid times [time] to
        [time, node, variable], or an array that broadcasts to [time, node, variable], variables as in the result.
    baselines: names of the forecasts that skill is measured against.
    threshold: RMSE over the truth's standard deviation past which a forecast no longer counts as stable.
    spectra: whether to compute power spectra, of the whole mesh alone.
    region: to score within, in place of the whole mesh.
    wet: from which value on a place is wet, by variable; a millimetre a day for those in kg m-2 s-1.
    level, num_resamples: of the intervals, see `inference.scores.bootstrap`; `dataclasses.replace` of the result gives
        others, with `block_cases` and `bootstrap_seed` too.
    workers: who scores the chunks, this process alone by default. The result is the same.
    """
    if not forecasts:
        raise MeshcastError("Nothing to verify: give at least one forecast.")
    labels = _labels(forecasts)
    unknown = set(baselines) - set(labels) - {forecast.name for forecast in forecasts}
    if unknown:
        raise MeshcastError(f"No forecast of the baseline {', '.join(sorted(unknown))}; there are {', '.join(labels)}.")
    left_out: list[str] = []
    variables, units = common_variables(forecasts, labels, truth, left_out)
    scorers = []
    shared, reader = SharedSpectra() if spectra else None, LatestRead(truth)
    unverified: dict[str, list[str]] = {}
    given, rain = climatology_function(climatology, variables), wet_from(wet or {}, variables, units)
    nodes = None if region is None else region.nodes(truth.mesh)
    for forecast, label in zip(forecasts, labels, strict=True):
        found = match(forecast, label, reader, variables)
        for sentence in without_truth(forecast, found.has_truth):
            unverified.setdefault(sentence, []).append(label)
        scorers.append(_Scorer(forecast, label, found, given, shared, nodes, rain))
    fields, num_parts = sum(scorer.num_fields for scorer in scorers), max(len(scorer.chunks) for scorer in scorers)
    waiting: dict[int, list[_Scored | None]] = {}
    with progress("scoring fields", fields) as done:
        scored_fields = next_part = 0
        for part, chunks in (workers or OneByOne()).results(_score_part, range(num_parts), scorers):
            waiting[part] = chunks
            scored_fields += sum(chunk.num_fields for chunk in chunks if chunk is not None)
            done(scored_fields)
            while next_part in waiting:  # sums are taken in the order of the parts
                for scorer, chunk in zip(scorers, waiting.pop(next_part), strict=True):
                    if chunk is not None:
                        scorer.add(chunk)
                next_part += 1
    results = [scorer.results() for scorer in scorers]
    for sentence, those in unverified.items():
        left_out.append(f"{sentence} ({'all forecasts' if len(those) == len(labels) else ', '.join(those)})")
    scale, magnitude = _scales([moments for _, moments in results])
    emulators = tuple(scored.with_stable_steps(scale, threshold) for scored, _ in results)
    return Verification(
        emulators=emulators,
        variables=variables,
        units=units,
        mesh=truth.mesh if nodes is None else cut_mesh(truth.mesh, nodes),
        region="" if region is None else str(region),
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


@dataclass(frozen=True, eq=False)
class _Scored:
    """What scoring a chunk of cases and leads finds: scores and sums, never fields.

    values, member_mse: of the chunk alone, see `ForecastScores`. verified: [case, lead, variable].
    moments: of smaller chunks, one after another. power: leads, power [forecast or truth, lead, wavenumber, variable]
        and how many fields count, of each of them. flow: likewise.
    """

    cases: slice
    leads: slice
    verified: NDArray[np.bool_]
    values: dict[str, Array]
    member_mse: Array | None
    moments: list[Array]
    power: list[tuple[slice, Array, Array]]
    flow: list[FlowChunk]

    @property
    def num_fields(self) -> int:
        return self.verified.shape[0] * self.verified.shape[1]


def _score_part(part: int, scorers: Sequence[_Scorer]) -> list[_Scored | None]:
    """Return what the chunk of that number gives of each forecast, None of one that has fewer."""
    return [scorer.scored(*scorer.chunks[part]) if part < len(scorer.chunks) else None for scorer in scorers]


class _Scorer:
    """Scores a forecast in chunks of cases and leads, and keeps scores and sums, never fields.

    num_fields: cases times lead times. chunks: cases and leads of each.
    """

    def __init__(
        self,
        forecast: Forecast,
        label: str,
        found: MatchedTruth,
        climatology: Climatology | None,
        shared: SharedSpectra | None,
        nodes: Index | None = None,
        wet: Tensor | None = None,
    ) -> None:
        self.wet = wet
        self.forecast, self.label, self.found, self.climatology = forecast, label, found, climatology
        columns = [forecast.variables.index(name) for name in found.variables]
        self.columns = slice(None) if columns == list(range(len(forecast.variables))) else columns
        self.nodes = slice(None) if nodes is None else nodes
        self.mesh = forecast.mesh if nodes is None else cut_mesh(forecast.mesh, nodes)
        self.areas = torch.from_numpy(self.mesh.weights)
        self.chunks = list(_chunks(forecast.values.shape, CHUNK_VALUES))
        cases, self.members, leads = forecast.values.shape[:3]
        self.num_fields, self.shape = cases * leads, (cases, leads, len(columns))
        self.values: dict[str, Array] = {}
        self.verified = np.zeros(self.shape, dtype=bool)
        self.member_mse = np.full((cases, self.members, *self.shape[1:]), np.nan) if self.members > 1 else None
        self.moments = np.zeros((3, len(columns)))  # fields seen, sum of area means, sum of mean squares
        units = [forecast.units[column] for column in columns]
        self.wind = next(iter(winds(found.variables, units)), None)
        self.shared = shared
        self.mesh_key = hash((self.mesh.positions.tobytes(), self.mesh.areas.tobytes()))
        self.axis = None if shared is None else wavenumber_axis(self.mesh)
        self.flow = None
        if shared is not None and self.wind is not None and resolved_degree(self.mesh) is not None:
            self.flow = FlowScorer(forecast, found.variables, units, self.wind)
        if self.axis is not None:
            self.power = np.zeros((2, leads, len(self.axis.wavenumber), len(columns)))
            self.num_power = np.zeros((leads, 1, len(columns)))

    def add(self, chunk: _Scored) -> None:
        """Take what was found of a chunk; chunks come in one order, on which the last digit of sums depends."""
        here = chunk.cases, chunk.leads
        self.verified[here] = chunk.verified
        for name, score in chunk.values.items():
            self.values.setdefault(name, np.full(self.shape, np.nan))[here] = score
        if self.member_mse is not None:
            self.member_mse[chunk.cases, :, chunk.leads] = chunk.member_mse
        for moments in chunk.moments:
            self.moments += moments
        for leads, power, number in chunk.power:
            self.power[:, leads] += power
            self.num_power[leads] += number
        for part in chunk.flow:
            assert self.flow is not None
            self.flow.add(part)

    def results(self) -> tuple[ForecastScores, Array]:
        """Return the scores, and the truth's moments for its standard deviation."""
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

    def scored(self, cases: slice, leads: slice) -> _Scored:
        """Return what scoring some cases and leads finds; nothing is kept."""
        values = _node_by_node(self.forecast.values[cases, :, leads], self.nodes, self.columns)
        observed = _node_by_node(self.found.read(cases, leads), self.nodes)
        initial = _node_by_node(self.found.initial(cases), self.nodes)
        seen = ~np.isnan(observed)
        known = torch.from_numpy(seen.any((0, 1)) | ~seen.any())
        climatology = self._climatology(self.forecast.valid_time[cases, leads])
        shape = (*values.shape[:1], *values.shape[2:3], values.shape[4])
        member_mse = np.full((len(values), self.members, *shape[1:]), np.nan) if self.members > 1 else None
        chunk = _Scored(cases, leads, np.asarray(seen.any(2)), {}, member_mse, [], [], [])
        for here in _chunks(values.shape, BLOCK_VALUES):
            few, some = here
            found = case_scores(
                torch.from_numpy(values[few, :, some]),
                torch.from_numpy(observed[here]),
                self.areas,
                climatology=None if climatology is None else climatology[here],
                initial=torch.from_numpy(initial[few]),
                known=known,
                mesh=self.mesh,
                wind=self.wind,
                wet=self.wet,
            )
            for name, score in found.items():
                chunk.values.setdefault(name, np.full(shape, np.nan))[here] = score.numpy()
            if member_mse is not None:
                members, truth = torch.from_numpy(values[few, :, some]), torch.from_numpy(observed[here])
                member = scores.mse(members, truth[:, None].expand_as(members), self.areas)
                member_mse[few, :, some] = member.numpy()
        kind = f"moments {hash(known.numpy().tobytes())}"
        for few, some in _chunks(values.shape, SPECTRA_VALUES):
            at = _within(cases, few), _within(leads, some)
            moments = partial(self._moments, torch.from_numpy(observed[few, some]), known)
            chunk.moments.append(moments() if self.shared is None else self._share(*at, kind, moments))
            if self.axis is not None:
                chunk.power.append(self._spectra(values[few, :, some], observed[few, some], *at))
            if self.flow is not None:
                share = partial(self._share, *at)
                chunk.flow.append(self.flow.scored(values[few, :, some], observed[few, some], initial[few], *at, share))
        return chunk

    def _share(self, cases: slice, leads: slice, kind: str, compute: Callable[[], Array]) -> Array:
        """Return what is computed of the truth in a chunk, or what another forecast has computed of it."""
        assert self.shared is not None
        times = self.found.time_index[cases, 1:][:, leads]
        key = (kind, self.mesh_key, times.shape, times.tobytes(), self.found.row[cases].tobytes())
        return self.shared.get(key, compute)

    def _moments(self, truth: Tensor, known: Tensor) -> Array:
        """Return count, sum of area means and of mean squares [3, variable] of the truth, on the nodes it ever has."""
        mean, square = area_mean(truth, self.areas, known), area_mean(truth.square(), self.areas, known)
        there = torch.isfinite(square)
        return torch.stack([x.where(there, 0.0).sum((0, 1)) for x in (there.double(), mean, square)]).numpy()

    def _spectra(self, values: Array, truth: Array, cases: slice, leads: slice) -> tuple[slice, Array, Array]:
        """Return leads, sums of power over cases [forecast or truth, lead, wavenumber, variable], and their count."""
        # [case, lead, variable]
        whole = np.logical_and(np.isfinite(values).all((1, 3)), np.isfinite(truth).all(2))
        mesh = self.mesh
        of_truth = self._share(cases, leads, "power", lambda: power_spectrum(truth[:, None], mesh))
        both = power_spectrum(values, mesh), of_truth
        sums = [np.where(whole[:, :, None], power.mean(1), 0.0).sum(0) for power in both]
        return leads, np.stack(sums), whole.sum(0)[:, None]

    def _climatology(self, valid_time: NDArray[np.int64]) -> Tensor | None:
        """Return the climatology, [case, lead, node, variable]; each valid time is asked for once."""
        if self.climatology is None:
            return None
        times, place = np.unique(valid_time, return_inverse=True)
        given = self.climatology(times)
        fields = np.broadcast_to(given, (len(times), self.forecast.mesh.num_nodes, self.shape[2]))
        return torch.from_numpy(_node_by_node(fields, self.nodes)[place.reshape(valid_time.shape)])


def _node_by_node(
    fields: NDArray[np.floating], nodes: Index | slice, columns: Sequence[int] | slice = slice(None)
) -> Array:
    """Return fields [..., node, variable] in float64, a variable's nodes side by side, where sums run fast."""
    wanted = np.swapaxes(fields[..., nodes, :][..., columns], -1, -2)
    return np.swapaxes(np.ascontiguousarray(wanted, dtype=np.float64), -1, -2)


def _within(chunk: slice, part: slice) -> slice:
    return slice(chunk.start + part.start, chunk.start + part.stop)


def _chunks(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, slice]]:
    """Yield cases and leads of at most so many values [case, member, lead, node, variable], at least one field."""
    num_cases, num_members, num_leads, num_nodes, num_variables = shape
    field = num_members * num_nodes * num_variables
    leads = min(max(most // field, 1), num_leads)
    cases = max(most // (field * leads), 1)
    for case in range(0, num_cases, cases):
        for lead in range(0, num_leads, leads):
            yield slice(case, min(case + cases, num_cases)), slice(lead, min(lead + leads, num_leads))


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


def _scales(moments: Sequence[Array]) -> tuple[Array, Array]:
    """Return the truth's standard deviation and root mean square in space and time, [variable], from summed moments."""
    number, mean, square = np.sum(moments, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.maximum(square / number - (mean / number) ** 2, 0.0)), np.sqrt(square / number)
