"""The section `task`: names and patterns become the variables of the training data."""

import numpy as np
import pytest

from emulator.data.arrays import ArrayFields
from emulator.foundation.configuration import load, resolve
from emulator.foundation.scaling import Log1p, Quantile, Sqrt
from emulator.foundation.time_step import TimeStep
from emulator.task import wind_pairs
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring
from training.task_config import TaskConfig

NAMES = ("2t", "lsm", "q_100", "q_1000", "q_50", "tp", "u_50", "u_850", "v_50", "v_850")


def fields(names: tuple[str, ...] = NAMES) -> ArrayFields:
    values = np.random.default_rng(0).random((4, 1, 6, len(names)), dtype=np.float32)
    return ArrayFields(values, names, ("1",) * len(names), ring(6), TimeStep(3600), 3600 * np.arange(4))


def config(**sections: object) -> TaskConfig:
    return load(TaskConfig, {"prognostic": ["q_*", "u_*", "v_*", "!q_1000"], **sections})


def test_patterns_stand_for_the_variables_of_the_data_in_an_order_of_their_own():
    task = config(
        diagnostic=["tp"],
        static=["ls?"],
        forcing=["insolation"],
        partners={"u_*": "v_*"},
        bounds={"q_*": [0, None], "q_50": [0, 1]},
        conserved=["q_*"],
    ).build(fields())
    assert task.prognostic == ("q_50", "q_100", "u_50", "u_850", "v_50", "v_850")
    assert (task.diagnostic, task.forcing, task.static) == (("tp",), ("insolation",), ("lsm",))
    assert wind_pairs(task) == [(2, 4), (3, 5)]
    by_name = {variable.name: variable for variable in task.variables}
    assert by_name["q_100"].bounds == (0, None) and by_name["q_50"].bounds == (0, 1)
    assert by_name["q_100"].conserved and not by_name["u_50"].conserved
    assert task == config(
        diagnostic=["tp"],
        static=["ls?"],
        forcing=["insolation"],
        partners={"u_*": "v_*"},
        bounds={"q_*": [0, None], "q_50": [0, 1]},
        conserved=["q_*"],
    ).build(fields((*NAMES[:2], "q_50", "q_1000", "q_100", *NAMES[5:])))  # fmt: skip


def test_a_resolved_section_is_one_of_names():
    resolved = config(partners={"u_*": "v_*"}).resolved(fields())
    assert resolved.partners == {"u_50": "v_50", "u_850": "v_850"}
    assert resolved == resolved.resolved(fields()) == load(TaskConfig, resolve(resolved))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"prognostic": ["z_*"]}, r"task\.prognostic: 'z_\*' matches none of the variables 2t, lsm"),
        ({"diagnostic": ["qq_*"]}, r"nearest are q_"),
        ({"diagnostic": ["*"]}, r'prognostic and task\.diagnostic both stand for q_50.* as "!q_50"'),
        ({"prognostic": ["q_*"], "forcing": ["q_50"]}, r"task\.prognostic and task\.forcing both stand for q_50"),
        ({"bounds": {"w_*": [0, 1]}}, r"task\.bounds: 'w_\*' matches none"),
        ({"partners": {"u_*": "v"}}, r"task\.partners pairs 'u_\*' with 'v'"),
        ({"conserved": ["tp*"]}, r"task\.conserved: 'tp\*' matches none"),
    ],
)
def test_a_fault_names_the_key_and_the_pattern(sections, message):
    with pytest.raises(MeshcastError, match=message):
        config(**sections).build(fields())


def test_transforms_normalisers_and_imputation_are_given_by_pattern():
    asked = config(
        diagnostic=["tp"],
        transforms={"tp": {"kind": "log1p", "scale": 0.001}, "q_*": "sqrt", "q_50": "quantile"},
        normalisers={"u_*": "max", "v_*": "max"},
        imputation={"q_*": "nearest", "u_*": 1.5},
    )
    by_name = {variable.name: variable for variable in asked.build(fields()).variables}
    assert by_name["tp"].transform == Log1p(scale=0.001) and by_name["q_100"].transform == Sqrt()
    assert by_name["q_50"].transform == Quantile() and by_name["u_850"].transform is None
    assert (by_name["u_50"].normaliser, by_name["q_50"].normaliser) == ("max", "mean_std")
    assert (by_name["q_50"].imputation, by_name["u_50"].imputation, by_name["tp"].imputation) == (
        "nearest",
        1.5,
        "mean",
    )
    assert load(TaskConfig, resolve(asked)) == asked


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"transforms": {"q_*": "logp"}}, r"transforms.*'logp'.*log1p"),
        ({"transforms": {"q_*": {"kind": "log1p", "scal": 1}}}, r"scal.*scale"),
        ({"transforms": {"q_*": {"kind": "log1p", "scale": -1}}}, r"scale of log1p must be positive"),
        ({"normalisers": {"q_*": "meanstd"}}, r"normalisers\.q_\*.*did you mean mean_std"),
        ({"imputation": {"q_*": "median"}}, r"imputation\.q_\*"),
    ],
)
def test_a_transform_that_is_none_is_refused_with_the_ones_there_are(sections, message):
    with pytest.raises(MeshcastError, match=message):
        config(**sections)
