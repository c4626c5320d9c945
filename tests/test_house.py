"""The layout keeps its promise: imports point down, peers stay out, the command line stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sensorium

SOURCE = Path(sensorium.__file__).parent

# docs/design.md, "The house". A room may import itself and rooms with a lower number.
FLOOR = {
    "errors": -1,  # settings raises them
    "settings": 0,
    "media": 1,
    "nn": 1,
    "models": 2,
    "runtime": 3,
    "sampling": 3,
    "weights": 3,
    "skills": 4,
    "train": 5,
    "photos": 6,
    "ask": 6,
    "voice": 6,
    "desktop": 6,
    "lab": 7,
    "server": 7,
    "cli": 8,
    "__init__": 9,
    "__main__": 9,
}
# The numbers alone would allow these: a network never sees files, pictures or text.
ALSO_FORBIDDEN = {("models", "media"), ("server", "torch")}
ORACLES = {"transformers", "diffusers", "open_clip", "segment_anything", "peft", "timm", "cn_clip"}


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, inside functions and type-checking blocks as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            for argument in node.args:
                if isinstance(argument, ast.Constant):
                    yield node.lineno, str(argument.value)


def room_of(path: Path, source: Path) -> str:
    return path.relative_to(source).parts[0].removesuffix(".py")


def violations(source: Path) -> list[str]:
    """Every import in the tree below ``source`` that the table of floors does not allow."""
    found = []
    for path in sorted(source.rglob("*.py")):
        room = room_of(path, source)
        if room not in FLOOR:
            found.append(f"{path.name}: room {room} is not in the design")
            continue
        for line, name in imported_names(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(source)}:{line} imports {name}"
            top, _, rest = name.partition(".")
            if top in ORACLES:
                found.append(f"{where}: a development dependency")
            if (room, top) in ALSO_FORBIDDEN:
                found.append(where)
            if top != "sensorium" or not rest:
                continue
            target = rest.split(".")[0]
            if target not in FLOOR:
                if target in ("__version__",):
                    continue
                found.append(f"{where}: no such room")
            elif target != room and (FLOOR[target] >= FLOOR[room] or (room, target) in ALSO_FORBIDDEN):
                found.append(where)
    return found


def test_imports_point_down() -> None:
    assert violations(SOURCE) == []


@pytest.mark.parametrize(
    ("room", "statement"),
    [
        ("media", "from sensorium.skills.embed import load"),
        ("models", "from sensorium.media.image import ImageSpec"),
        ("photos", "from sensorium import ask"),
        ("weights", "def late():\n    from sensorium.runtime import device"),
        ("nn", "import transformers"),
        ("attic", "import os"),
    ],
)
def test_the_check_sees_forbidden_edges(tmp_path: Path, room: str, statement: str) -> None:
    (tmp_path / room).mkdir()
    (tmp_path / room / "late.py").write_text(statement)
    assert len(violations(tmp_path)) == 1


def test_every_room_says_what_lives_there() -> None:
    for package in SOURCE.rglob("__init__.py"):
        if "migrations" not in package.parts:
            assert ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))), package


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import sensorium", {"numpy", "torch", "openvino", "sqlalchemy"}),
        (
            "import sensorium.cli.main",
            {"torch", "openvino", "sqlalchemy", "numpy", "faiss", "alembic", "nncf"},
        ),
        ("import sensorium.media.image, sensorium.media.text", {"torch", "openvino"}),
        ("import sensorium.photos.search.ranking, sensorium.skills.embed", {"torch", "transformers"}),
    ],
)
def test_heavy_libraries_are_imported_where_they_are_used(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not absent & set(done.stdout.split())
