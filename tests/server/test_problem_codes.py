"""Every word by which the server says what went wrong has its sentence in both languages of the page."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import sensorium.server
from sensorium.server.api import problems
from sensorium.server.pictures import media

SERVER = Path(sensorium.server.__file__).parent


def codes() -> set[str]:
    """The codes of all problems that are raised anywhere in the server."""
    found = set(problems._CODES.values()) | {told[1] for told in problems._BY_SQLITE_CODE.values()}
    found |= {f"photo_{fault}" for fault in media._STATUS}
    for file in SERVER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith("Problem")
                and len(node.args) > 1
            ):
                code = node.args[1]
                if isinstance(code, ast.Constant):
                    found.add(code.value)
    return found - {"range_not_satisfiable"}  # of media players, which show none


def test_codes_are_found():
    assert {"sign_in_needed", "csrf", "disk_full", "photo_gone", "share_expired", "body_timeout"} <= codes()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_code_has_its_sentence(language):
    sentences = {}
    for name in (f"{language}.json", f"rooms.{language}.json"):
        sentences |= json.loads((SERVER / "web" / "i18n" / name).read_text(encoding="utf-8"))
    assert not {code for code in codes() if f"error.{code}" not in sentences}
