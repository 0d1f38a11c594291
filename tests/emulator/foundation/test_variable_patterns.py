"""Patterns stand for the variables that are there, in an order that no file decides."""

import pytest

from emulator.foundation.variable_patterns import by_pattern, matching, pairs_by_pattern
from graphs.errors import MeshcastError

NAMES = ("2t", "t_100", "t_50", "tp", "u_50", "u_850", "v_50", "v_850", "z_1000", "z_50", "z_500")


def test_levels_come_by_their_number_and_each_name_once():
    assert matching(["z_*", "2t", "t_*"], NAMES, "k") == ("z_50", "z_500", "z_1000", "2t", "t_50", "t_100")
    assert matching(["z_500", "z_*"], reversed(NAMES), "k") == ("z_500", "z_50", "z_1000")
    assert matching(["z_?0", "computed"], NAMES, "k") == ("z_50", "computed")


def test_exclusions_take_away_wherever_they_stand():
    assert matching(["!z_1000", "z_*"], NAMES, "k") == matching(["z_*", "!z_1???"], NAMES, "k") == ("z_50", "z_500")


def test_names_without_a_pattern_stay_as_they_are():
    assert matching(["b", "a", "a"], NAMES, "k") == ("b", "a", "a")  # the task refuses a name twice


def test_what_matches_nothing_is_refused_with_the_nearest_names():
    with pytest.raises(MeshcastError, match=r"task\.prognostic: 'zz_\*' matches none .*nearest are .*z_50"):
        matching(["zz_*"], NAMES, "task.prognostic")
    with pytest.raises(MeshcastError, match=r"'!q_\*' takes nothing away from the variables z_50, z_500, z_1000"):
        matching(["z_*", "!q_*"], NAMES, "k")
    with pytest.raises(MeshcastError, match=r"task\.bounds: 'q_\*' matches none"):
        by_pattern({"q_*": 0}, NAMES, "task.bounds")
    with pytest.raises(MeshcastError, match=r"'w_\*' matches none"):
        pairs_by_pattern({"w_*": "v_*"}, NAMES, "task.partners")


def test_a_name_goes_before_a_pattern_and_patterns_must_agree():
    assert by_pattern({"z_*": 1, "z_50": 2, "absent": 3}, NAMES, "k") == {
        "z_50": 2, "z_500": 1, "z_1000": 1, "absent": 3
    }  # fmt: skip
    assert by_pattern({"z_*": 1, "*_50": 2, "z_50": 3}, NAMES, "k")["z_50"] == 3
    with pytest.raises(MeshcastError, match=r"1 of z_50 by 'z_\*', and 2 by '\*_50'.*Name z_50 itself"):
        by_pattern({"z_*": 1, "*_50": 2}, NAMES, "k")


def test_partners_share_what_the_wildcard_stands_for():
    assert pairs_by_pattern({"u_*": "v_*", "2t": "tp"}, NAMES, "k") == {"u_50": "v_50", "u_850": "v_850", "2t": "tp"}
    with pytest.raises(MeshcastError, match="same"):
        pairs_by_pattern({"u_*": "v_850"}, NAMES, "k")
