# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Writes what every dependency is licensed under, from the metadata of what is installed.

    python scripts/list_licenses.py docs/licenses.md

Lists what `wings_hf` and its extras need, directly or through others, and which extra it is for. Licences that ask for
something in return for distribution (copyleft) are marked.
"""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PACKAGE = "wings_hf"
HEAD = """\
# Licences of dependencies

Made by `make licenses` from the metadata of the packages that are installed for development; none of them is part of
what wings_hf distributes. wings_hf itself is under Apache-2.0.

"""
NOT_EXTRAS = ("test", "dev", "docs", "browser")  # for work on this package, not for its users
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL)|GNU .*General Public|Mozilla Public|Lesser", re.IGNORECASE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def found(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def needed(name: str, extras: Iterable[str] = ()) -> dict[str, set[str]]:
    """Canonical name -> extras asked of it, of everything that `name` needs in this environment."""
    reached: dict[str, set[str]] = {}
    waiting = [(name, frozenset(extras))]
    while waiting:
        current, asked = waiting.pop()
        key = canonical(current)
        if key in reached and asked <= reached[key]:
            continue
        reached[key] = reached.get(key, set()) | asked
        package = found(current)
        for text in (package.requires or []) if package else []:
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in ("", *asked)]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    reached.pop(canonical(name))
    return reached


def licence(package: Distribution) -> str:
    """As short as the metadata have it: an SPDX expression, else classifiers, else the licence field's first line."""
    fields = package.metadata
    if fields.get("License-Expression"):
        return fields["License-Expression"]
    named = [line.rsplit(" :: ", 1)[-1] for line in fields.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [name for name in named if name != "OSI Approved"]
    text = (fields.get("License") or "").strip().splitlines()
    short = text[0].strip() if text and len(text[0]) < 80 else ""
    return " and ".join(named) or short or "not said"


def rows() -> list[tuple[str, str, str, str]]:
    """(name, version, licence, what for) of each dependency, by name."""
    package = distribution(PACKAGE)
    uses: dict[str, list[str]] = {name: ["always"] for name in needed(PACKAGE)}
    for extra in package.metadata.get_all("Provides-Extra") or []:
        for name in needed(PACKAGE, [extra]) if extra != "all" else ():
            if "always" not in uses.setdefault(name, []):
                uses[name].append(extra)
    listed = []
    for name, extras in sorted(uses.items()):
        installed = found(name)
        shown = [extra for extra in extras if extra not in NOT_EXTRAS] or ["development"]
        if installed is None:
            listed.append((name, "not installed", "not looked up", ", ".join(shown)))
        else:
            listed.append((name, installed.version, licence(installed), ", ".join(shown)))
    return listed


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    listed = rows()
    marked = [name for name, _, text, _ in listed if COPYLEFT.search(text)]
    lines = ["| Package | Version | Licence | For |", "|---|---|---|---|"]
    for name, version, text, shown in listed:
        cells = (name, version.partition("+")[0], text + (" (copyleft)" if name in marked else ""), shown)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    closing = f"\n{len(listed)} packages; copyleft: {', '.join(marked) or 'none'}.\n"
    Path(sys.argv[1]).write_text(HEAD + "\n".join(lines) + "\n" + closing, encoding="utf-8")


if __name__ == "__main__":
    main()
