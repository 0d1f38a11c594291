"""BibTeX of what a text cites, and of nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import emulator

BIBLIOGRAPHY = Path(emulator.__file__).with_name("references.bib")
VERSION = "VERSION"  # stands in the entry of a library for the one that was used
PACKAGES = {"pytorch": "torch", "pyg": "torch-geometric"}  # where the entry's key is not the library's name
SPECIAL = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {letter: f"\\{letter}" for letter in "&%$#_"}


@cache
def known_entries() -> dict[str, str]:
    """Return the entries of the package's references.bib by their keys."""
    text = BIBLIOGRAPHY.read_text(encoding="utf-8")
    return {match[1]: match[0] for match in re.finditer(r"^@\w+\{([\w-]+),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)}


def keys_in(text: str) -> list[str]:
    """Return the keys that a text cites as [@key] or [@key; @other], each once, in their order."""
    places = re.findall(r"\[(@[\w-]+(?:; @[\w-]+)*)\]", text)
    return list(dict.fromkeys(key.lstrip("@") for place in places for key in place.split("; ")))


def uncited(text: str) -> str:
    """Return a text from elsewhere in which nothing is taken for a citation, on one line."""
    return " ".join(text.split()).replace("[@", "[ @")


def bibliography(text: str, versions: Mapping[str, str], own: Mapping[str, str] | None = None) -> str:
    """Return BibTeX with the entries that a text cites, in the order of their keys.

    versions: of the libraries, by their names; own: further entries by their keys.
    """
    entries = known_entries() | dict(own or {})
    found = []
    for key in sorted(keys_in(text)):
        version = versions.get(PACKAGES.get(key, key), "unknown")
        found.append(entries[key].replace(f"Version {VERSION}", f"Version {version}"))
    return "\n\n".join(found) + "\n"


def entry_of_data(title: str, attribution: str, licence: str) -> str:
    """Return the entry `data`, of what data say of themselves."""
    fields = {"title": title, "author": attribution and "{" + escaped(attribution) + "}"}
    fields |= {"note": licence and f"Licence: {licence}"}
    written = {name: value if name == "author" else escaped(value) for name, value in fields.items() if value}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in written.items())
    return f"@misc{{data,\n{lines}\n}}"


def key_of_doi(text: str) -> str | None:
    """Return the key of a known entry whose DOI stands in a text, such as an attribution."""
    for key, entry in known_entries().items():
        if (match := re.search(r"doi = \{(.+)\}", entry)) and match[1].lower() in text.lower():
            return key
    return None


def escaped(text: str) -> str:
    """Return a text in which BibTeX and LaTeX read every letter as itself."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))
