"""What a label may begin with."""

from __future__ import annotations

import pytest

from inference.report.latex_tables import booktabs


@pytest.mark.parametrize("label", ["[ours] GNN", "* GNN"])
def test_a_label_is_no_option_of_the_line_before(label: str) -> None:
    table = booktabs(["row", "score"], [[label, "1"], [label, "2"]], "Scores", "tab:scores", bold=[(1, 0)])
    assert f"\\midrule\n    {{}}{label} & 1 \\\\\n    {{}}\\textbf{{{label}}} & 2" in table
    assert "{}ridge" not in booktabs(["row", "score"], [["ridge", "1"]], "Scores", "tab:scores")
