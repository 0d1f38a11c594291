"""Equations of one field u(x, t) on a periodic ring, and the parameters a user gives them.

All are cases of

    u_t = sum_j a_j d^j u / dx^j + b/2 (u^2)_x + g/2 ((u_x)^2 - mean)

so one spectral right-hand side serves them all. None changes the mean of u.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from graphs.errors import MeshcastError
from graphs.kinds import ByKind


@dataclass(frozen=True)
class RingEquation:
    """Physical coefficients of the general ring equation (see the module).

    linear: a_1, a_2, ...; a_j in length^j per time.
    flux: b. gradient_norm: g.
    """

    linear: tuple[float, ...]
    flux: float = 0.0
    gradient_norm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Advection:
    """u_t + c u_x = 0.

    speed: c.
    """

    kind: Literal["advection"] = "advection"
    speed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class AdvectionDiffusion:
    """u_t + c u_x = nu u_xx.

    speed: c. diffusivity: nu.
    """

    kind: Literal["advection_diffusion"] = "advection_diffusion"
    speed: float = 1.0
    diffusivity: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Burgers:
    """u_t + b/2 (u^2)_x = nu u_xx.

    diffusivity: nu; the mesh must resolve shocks of width nu / (b max|u|). convection: b.
    """

    kind: Literal["burgers"] = "burgers"
    diffusivity: float = 0.01
    convection: float = 1.0


@dataclass(frozen=True, kw_only=True)
class KortewegDeVries:
    """u_t + b/2 (u^2)_x + d u_xxx = -h u_xxxx.

    convection: b. dispersion: d. hyperdiffusivity: h. With b = 6, d = 1, h = 0 a soliton of speed c is
    u = c/2 sech^2(sqrt(c)/2 (x - c t)).
    """

    kind: Literal["korteweg_de_vries"] = "korteweg_de_vries"
    convection: float = 6.0
    dispersion: float = 1.0
    hyperdiffusivity: float = 0.0


@dataclass(frozen=True, kw_only=True)
class KuramotoSivashinsky:
    """u_t + N(u) + u_xx + u_xxxx = 0, chaotic on rings longer than about 20.

    form: `conservative` N = 1/2 (u^2)_x, or `gradient_norm` N = 1/2 ((u_x)^2 - mean), whose slope obeys the
    conservative form.
    """

    kind: Literal["kuramoto_sivashinsky"] = "kuramoto_sivashinsky"
    form: Literal["conservative", "gradient_norm"] = "conservative"


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """The equation by APEBench's normalised difficulty numbers (Koehler et al. 2024, arXiv:2411.00180, appendix).

    gamma: of the linear terms, from the first derivative on; delta: of b, then of g.
    On a ring of length L with N nodes and a time step T, where |u| is about one,
    a_j = gamma_j L^j / (T N^j 2^(j-1)), b = delta_1 L / (T N), g = delta_2 L^2 / (T N^2); gamma_1 is minus the number
    of cells a wave travels per step. Signs are those of the right-hand side.
    """

    kind: Literal["difficulty"] = "difficulty"
    gamma: tuple[float, ...] = (-4.0,)
    delta: tuple[float, ...] = ()


EquationConfig = Annotated[
    Advection | AdvectionDiffusion | Burgers | KortewegDeVries | KuramotoSivashinsky | Difficulty, ByKind
]

# APEBench's one-dimensional scenarios on 160 nodes, by its names; the Kuramoto-Sivashinsky ones warm up for 500 steps.
# `diff_adv_fast` is its `diff_adv` at 10.5 cells a step, the fastest that its documentation trains (docs/using_cli.md).
APEBENCH = {
    "diff_adv": Difficulty(gamma=(-4.0,)),
    "diff_adv_fast": Difficulty(gamma=(-10.5,)),
    "diff_disp": Difficulty(gamma=(0.0, 0.0, 4.0)),
    "diff_burgers": Difficulty(gamma=(0.0, 1.5), delta=(-1.5,)),
    "diff_kdv": Difficulty(gamma=(0.0, 0.0, -14.0, -9.0), delta=(-2.0,)),
    "diff_ks": Difficulty(gamma=(0.0, -1.2, 0.0, -15.0), delta=(0.0, -6.0)),
    "diff_ks_cons": Difficulty(gamma=(0.0, -2.0, 0.0, -18.0), delta=(-1.0,)),
}


NAMES = {
    "advection": "linear advection",
    "advection_diffusion": "linear advection and diffusion",
    "burgers": "Burgers' equation",
    "korteweg_de_vries": "the Korteweg-de Vries equation",
    "kuramoto_sivashinsky": "the Kuramoto-Sivashinsky equation",
    "difficulty": "an equation of APEBench's normalised difficulties [@koehler2024]",
}


def equation_in_words(config: EquationConfig) -> str:
    """Return an equation and its parameters, for a paragraph on methods, sources by their keys in references.bib."""
    parameters = {name: value for name, value in vars(config).items() if name != "kind"}
    listed = ", ".join(f"{name.replace('_', ' ')} {_spelt(value)}" for name, value in parameters.items())
    return f"{NAMES[config.kind]} ({listed})"


def _spelt(value: float | str | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_spelt, value))}]"
    return value.replace("_", " ") if isinstance(value, str) else f"{value:g}"


def ring_equation(config: EquationConfig, num_nodes: int, length: float, time_step: float) -> RingEquation:
    """Return the equation's physical coefficients; mesh and time step matter to difficulty numbers alone."""
    match config:
        case Advection():
            return RingEquation((-config.speed,))
        case AdvectionDiffusion():
            return RingEquation((-config.speed, _not_negative(config.diffusivity, "diffusivity")))
        case Burgers():
            return RingEquation((0.0, _not_negative(config.diffusivity, "diffusivity")), flux=-config.convection)
        case KortewegDeVries():
            damping = _not_negative(config.hyperdiffusivity, "hyperdiffusivity")
            return RingEquation((0.0, 0.0, -config.dispersion, -damping), flux=-config.convection)
        case KuramotoSivashinsky(form="conservative"):
            return RingEquation((0.0, -1.0, 0.0, -1.0), flux=-1.0)
        case KuramotoSivashinsky():
            return RingEquation((0.0, -1.0, 0.0, -1.0), gradient_norm=-1.0)
        case Difficulty():
            return _from_difficulty(config, num_nodes, length, time_step)


def reflections(equation: RingEquation) -> tuple[int, ...]:
    """Return the signs s for which s u(-x, t) solves the equation wherever u(x, t) does.

    Under it the derivative of order j takes the factor (-1)^j s, (u^2)_x the factor -1 and (u_x)^2 the factor 1. Hence
    no odd derivative may stand alone, the flux asks for s = -1 and the gradient norm for s = 1.
    """
    if any(equation.linear[::2]):
        return ()
    return tuple(
        sign for sign in (1, -1) if not ((equation.flux and sign == 1) or (equation.gradient_norm and sign == -1))
    )


def _from_difficulty(config: Difficulty, num_nodes: int, length: float, time_step: float) -> RingEquation:
    if len(config.delta) > 2:
        raise MeshcastError(f"delta holds at most two numbers, of (u^2)_x and (u_x)^2, but came as {config.delta}.")
    linear = tuple(
        gamma * length**j / (time_step * num_nodes**j * 2 ** (j - 1)) for j, gamma in enumerate(config.gamma, 1)
    )
    flux, gradient_norm = (*config.delta, 0.0, 0.0)[:2]
    return RingEquation(
        linear, flux * length / (time_step * num_nodes), gradient_norm * length**2 / (time_step * num_nodes**2)
    )


def _not_negative(value: float, name: str) -> float:
    if value < 0:
        raise MeshcastError(f"{name} must not be negative (the equation would be ill-posed), but is {value:g}.")
    return value
