"""Tables for a paper: booktabs LaTeX, text escaped."""

from __future__ import annotations

from collections.abc import Sequence

NAMES = ("times", "cdot", "leq", "geq", "approx", "pm", "alpha", "lambda", "sigma", "mu")
SPECIAL = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{letter: rf"$\{name}$" for letter, name in zip("×·≤≥≈±αλσμ", NAMES, strict=True)},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "°": r"$^\circ$",
    "∗": r"$^{*}$",
    "†": r"$^{\dagger}$",
    "²": r"$^2$",
    "³": r"$^3$",
    "⁻": r"$^-$",
    "¹": r"$^1$",
}


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it stands; a letter that pdfTeX has no glyph for becomes a question mark."""
    return "".join(SPECIAL.get(letter, letter if _printable(letter) else "?") for letter in text)


def booktabs(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    label: str,
    columns: str | None = None,
    bold: Sequence[tuple[int, int]] = (),
) -> str:
    """Return a floating table of text, not LaTeX, with cells (row, column) in bold.

    columns: of the tabular, by default one to the left and the others to the right.
    """
    columns = columns or "l" + "r" * (len(head) - 1)
    lines = [
        r"\begin{table}",
        r"  \centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{escaped(caption)}}}",
        rf"  \label{{{label}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        rf"    {' & '.join(map(escaped, head))} \\",
        r"    \midrule",
    ]
    for place, row in enumerate(rows):
        assert len(row) == len(head)
        cells = [escaped(cell) for cell in row]
        cells = [rf"\textbf{{{cell}}}" if (place, k) in bold else cell for k, cell in enumerate(cells)]
        guard = "{}" if row[0].startswith(("[", "*")) else ""  # which \\ and \midrule would take for options
        lines.append(f"    {guard}{' & '.join(cells)} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def document(tables: Sequence[str]) -> str:
    """Return tables as a file that a paper may \\input, with what it needs said in comments."""
    return "% Needs \\usepackage{booktabs}.\n" + "\n".join(tables)


def _printable(letter: str) -> bool:
    return " " <= letter <= "~" or "À" <= letter <= "ÿ"  # ASCII, or Latin-1 as the T1 encoding has it
