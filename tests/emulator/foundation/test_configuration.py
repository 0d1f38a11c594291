"""Configurations: what is read is what was meant, and every fault is named with its place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import AllowInfNan

from emulator.foundation.configuration import dump, load, read_yaml, resolve
from emulator.physics.simulate import SimulationConfig
from emulator.physics.sphere_simulation import SphereSimulationConfig
from graphs.edges.build import GridGraphs
from graphs.errors import MeshcastError
from graphs.kinds import ByKind, kinds_in, members_of
from training.comparison.configuration import CompareConfig
from training.experiment import ExperimentConfig


@dataclass(frozen=True)
class Convolution:
    kernel: int
    kind: Literal["cnn"] = "cnn"


@dataclass(frozen=True)
class Messages:
    width: int = 8
    rates: tuple[float, ...] = (1e-3,)
    kind: Literal["gnn"] = "gnn"


Model = Annotated[Convolution | Messages, ByKind]


@dataclass(frozen=True)
class Training:
    seed: int = 0
    noise: float = 0.0
    longest: Annotated[float, AllowInfNan()] = math.inf
    schedule: Literal["cosine", "constant"] = "cosine"
    resume: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise MeshcastError(f"seed must be at least 0, but is {self.seed}.")


@dataclass(frozen=True)
class Experiment:
    name: str
    model: Model
    training: Training = Training()
    shape: tuple[int, int] = (1, 2)
    note: str | None = None
    second: Model | None = None
    studies: tuple[Training, ...] = ()
    source: str | list[Any] | dict[str, Any] = "data.zarr"
    by_name: dict[str, tuple[Model, ...]] = field(default_factory=dict)
    output: Path = Path("runs")


MINIMAL: dict[str, Any] = {"name": "a", "model": {"kind": "gnn"}}


def faults_of(content: Any, *overrides: str) -> list[str]:
    with pytest.raises(MeshcastError) as caught:
        load(Experiment, content, overrides)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_a_complete_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "name: ring\nmodel: {kind: cnn, kernel: 3}\ntraining:\n  seed: 1\n  noise: 1e-3\nshape: [3, 4]\n"
        "second: {kind: gnn, rates: [1e-4, 2]}\nstudies: [{seed: 1}, {seed: 2}]\n"
        "source: {join: [a.zarr, b.zarr]}\nby_name: {x: [{kind: cnn, kernel: 5}]}\noutput: ../runs\n"
    )
    assert load(Experiment, path) == Experiment(
        name="ring",
        model=Convolution(3),
        training=Training(seed=1, noise=0.001),
        shape=(3, 4),
        second=Messages(rates=(1e-4, 2.0)),
        studies=(Training(1), Training(2)),
        source={"join": ["a.zarr", "b.zarr"]},
        by_name={"x": (Convolution(5),)},
        output=Path("../runs"),
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 0.001), ("1E5", 1e5), ("-2.5e+1", -25.0), (".5", 0.5), ("5.", 5.0), ("3", 3.0), ("-0.0", 0.0)],
)
def test_numbers_are_read_as_people_write_them(text: str, number: float) -> None:
    read = load(Experiment, MINIMAL, [f"training.noise={text}"]).training.noise
    assert read == number and math.copysign(1.0, read) == math.copysign(1.0, number)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused_unless_its_key_allows_it(text: str) -> None:
    with pytest.raises(MeshcastError, match=r"training\.noise: got (nan|-?inf), expected a finite number"):
        load(Experiment, MINIMAL, [f"training.noise={text}"])
    with pytest.raises(MeshcastError, match=r"model\.rates\.1: .* a finite number"):
        load(Experiment, MINIMAL, [f"model={{kind: gnn, rates: [0.1, {text}]}}"])
    read = load(Experiment, MINIMAL, [f"training.longest={text}"]).training.longest
    assert str(read) == str(float(text.replace(".", "")))


@pytest.mark.parametrize("key", ["noise", "learning_rate", "weight_decay", "ema_decay", "gradient_clip", "minutes"])
@pytest.mark.parametrize("value", [".nan", ".inf", "-0.5"])
def test_no_setting_of_a_training_takes_what_it_cannot_use(key: str, value: str) -> None:
    with pytest.raises(MeshcastError, match=rf"training.*{key}|training.{key}"):
        load(ExperimentConfig, Path(__file__).parents[3] / "configs" / "demo-ring.yaml", [f"training.{key}={value}"])


@pytest.mark.parametrize("text", ["no", "2019-03-01", "12:30", "1e-3 m", "on"])
def test_words_dates_and_clock_times_stay_text(text: str) -> None:
    assert load(Experiment, MINIMAL, [f"name={text}"]).name == text


def test_what_is_dumped_is_complete_and_read_back_equal(tmp_path: Path) -> None:
    for name in ("plain", "1e-3", "true", "null", "2019-03-01", "0o7", "", "a: b # c", "größer"):
        config = Experiment(name, Messages(rates=(1e-5, 1e22)), note="~", training=Training(noise=1e300))
        dump(config, tmp_path / "new" / "config.yaml")
        assert load(Experiment, tmp_path / "new" / "config.yaml") == config
        assert load(Experiment, resolve(config)) == config
    assert "schedule: cosine" in (tmp_path / "new" / "config.yaml").read_text()
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["config.yaml"]


def test_overrides_reach_every_level() -> None:
    config = load(
        Experiment,
        MINIMAL | {"studies": [{"seed": 1}, {"seed": 2}]},
        ["training.seed=3", "studies.1.noise=.5", "model={kind: cnn, kernel: 7}", "note=null", "name=x=y"],
    )
    assert config.training.seed == 3
    assert config.studies[1] == Training(2, 0.5)
    assert config.model == Convolution(7)
    assert config.name == "x=y"


def test_loading_leaves_the_mapping_given_as_it_was() -> None:
    content = MINIMAL | {"training": {"seed": 1}}
    load(Experiment, content, ["training.seed=3"])
    assert content["training"] == {"seed": 1}


def test_every_fault_is_reported_with_its_place_what_came_and_what_was_expected() -> None:
    faults = faults_of(
        {
            "name": 3,
            "modle": {},
            "model": {"kind": "gnn", "width": "2", "rates": ["a"]},
            "training": {"sead": 3, "noise": "x", "schedule": "cosin", "resume": 1},
            "shape": [1],
            "second": {"kind": "cn"},
            "studies": [{"seed": True}, {"seed": -1}, 4],
            "by_name": {"x": [{"kernel": 1}, {"kind": "cnn"}, {"kind": "gnn", "widht": 2}]},
        }
    )
    assert set(faults) == {
        "name: got 3, expected a valid string",
        "modle: unknown key; did you mean model?",
        "model.width: got '2', expected a valid integer",
        "model.rates.0: got 'a', expected a valid number",
        "training.sead: unknown key; did you mean training.seed?",
        "training.noise: got 'x', expected a valid number",
        "training.schedule: got 'cosin', expected 'cosine' or 'constant'; did you mean cosine?",
        "training.resume: got 1, expected a valid boolean",
        "shape: got [1], expected tuple[int, int]",
        "second.kind: got 'cn', expected one of cnn, gnn; did you mean cnn?",
        "studies.0.seed: got True, expected a valid integer",
        "studies.1: seed must be at least 0, but is -1.",
        "studies.2: got 4, expected a section with the keys seed, noise, longest, schedule, resume",
        "by_name.x.0.kind: missing, expected one of cnn, gnn",
        "by_name.x.1.kernel: missing, expected int",
        "by_name.x.2.widht: unknown key; did you mean by_name.x.2.width?",
    }


def test_a_missing_key_says_what_belongs_there() -> None:
    assert faults_of({}) == [
        "name: missing, expected str",
        "model: missing, expected a section with the keys kernel, kind, width, rates",
    ]


def test_a_misspelt_override_names_the_nearest_key_and_itself() -> None:
    assert faults_of(MINIMAL, "training.sead=3") == [
        "training.sead: unknown key; did you mean training.seed? (from training.sead=3)"
    ]
    (fault,) = faults_of(MINIMAL, "zzz.a.b=3")
    assert fault.startswith("zzz: unknown key; known keys: name, model, training")


def test_overrides_that_cannot_be_followed_are_all_named() -> None:
    faults = faults_of(MINIMAL | {"studies": [{}]}, "seed", "=3", "name.x=3", "studies.4.seed=1", "note=[", "a..b=1")
    assert len(faults) == 6
    assert "name is 'a', which has no keys" in faults[2]
    assert "a list of 1" in faults[3]
    assert "not valid YAML" in faults[4]


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    path = tmp_path / "ring.yaml"
    path.write_text("name: a\nmodel: {kind: gnn\ntraining: 3\n")
    with pytest.raises(MeshcastError, match=r"not valid YAML: line 3"):
        load(Experiment, path)
    with pytest.raises(MeshcastError, match=r"Did you mean .*ring\.yaml"):
        load(Experiment, tmp_path / "rimg.yaml")
    path.write_text("name: a\nname: b\n")
    with pytest.raises(MeshcastError, match=r"line 2.*'name' stands twice"):
        load(Experiment, path)
    for text, came in (("", "is empty"), ("- 1\n", r"holds \[1\]")):
        path.write_text(text)
        with pytest.raises(MeshcastError, match=came):
            load(Experiment, path)
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(MeshcastError, match="Cannot read"):
        load(Experiment, path)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    path = tmp_path / "attack.yaml"
    path.write_text(f"name: !!python/object/apply:os.mkdir ['{tmp_path}/made']\nmodel: {{kind: gnn}}\n")
    with pytest.raises(MeshcastError, match="not valid YAML: line 1"):
        load(Experiment, path)
    assert not (tmp_path / "made").exists()


def test_half_a_character_is_told(tmp_path: Path) -> None:
    path = tmp_path / "smile.yaml"
    path.write_text('name: "\\ud83d\\ude42"\nmodel: {kind: gnn}\n')
    with pytest.raises(MeshcastError, match=r"smile.yaml holds .* halves of a character.* in UTF-8"):
        load(Experiment, path)


def test_a_fault_of_a_section_names_every_override_that_may_have_made_it() -> None:
    fault = "training: seed must be at least 0, but is -5. (from training.noise=0.1, training.seed=-5)"
    assert faults_of(MINIMAL, "training.noise=0.1", "training.seed=-5") == [fault]


def bare_unions(cls: type, seen: set[type]) -> list[str]:
    """The fields in or below a configuration whose sections pydantic would try one by one."""
    if cls in seen:
        return []
    seen.add(cls)
    hints = get_type_hints(cls, include_extras=True)
    found = [f"{cls.__name__}.{field.name}" for field in fields(cls) if is_bare(hints[field.name])]
    return found + [fault for field in fields(cls) for part in parts_of(hints[field.name])
                    for fault in bare_unions(part, seen)]  # fmt: skip


def is_bare(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return False
    arguments = get_args(hint)
    return sum(map(is_dataclass, arguments)) > 1 or any(map(is_bare, arguments))


def parts_of(hint: Any) -> list[type]:
    return [
        part
        for member in members_of(hint)
        for part in ([member] if is_dataclass(member) else [p for a in get_args(member) for p in parts_of(a)])
    ]


@pytest.mark.parametrize("cls", [ExperimentConfig, CompareConfig, SimulationConfig, SphereSimulationConfig, GridGraphs])
def test_every_union_of_sections_is_told_apart_by_kind(cls: type) -> None:
    assert bare_unions(cls, set()) == []


def test_a_bare_union_is_found() -> None:
    @dataclass(frozen=True)
    class Careless:
        model: Convolution | Messages
        others: dict[str, tuple[Convolution | Messages, ...]]
        marked: Model

    assert bare_unions(Careless, set()) == ["Careless.model", "Careless.others"]


def test_an_open_base_stands_for_what_is_registered() -> None:
    @dataclass(frozen=True)
    class Open:
        registered: ClassVar[dict[str, type]] = {"cnn": Convolution}

    assert kinds_in(Annotated[Open | Messages, ByKind]) == {"cnn": Convolution, "gnn": Messages}
    Open.registered["training"] = Training
    assert members_of(Open) == [Convolution, Training]


def _doubled(lines: int, first: str, line: str) -> str:
    """Return YAML in which each line holds the one before it nine times."""
    return first + "".join(line.format(i, ", ".join([f"*a{i - 1}"] * 9)) for i in range(1, lines))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_doubled(30, "a0: &a0 [x]\n", "a{0}: &a{0} [{1}]\n"), "more than 200,000 values"),
        (_doubled(30, "a0: &a0 {x: 1}\n", "a{0}: &a{0} {{<<: [{1}]}}\n"), "more than 200,000 values"),
        ("name: &a [*a]\n", "line 1"),
        ("name: &a {b: *a}\n", "line 1"),
        (f"name: {'9' * 5000}\n", "line 1, column 7: a number of 5000 digits"),
        (f"name: {'[' * 3000}{']' * 3000}\n", "not valid YAML"),
        ("name: '" + 2**24 * "x" + "'\n", "longer than 16 MiB"),
    ],
    ids=["aliases", "merged sections", "list in itself", "section in itself", "digits", "depth", "length"],
)
def test_a_file_that_would_fill_memory_is_refused_before_it_does(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(MeshcastError, match=says):
        read_yaml(tmp_path / "bomb.yaml")


def test_an_override_of_a_thousand_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("name: x\n")
    with pytest.raises(MeshcastError, match="more sections within each other"):
        load(Experiment, tmp_path / "plain.yaml", [".".join(["x"] * 2000) + "=1"])
