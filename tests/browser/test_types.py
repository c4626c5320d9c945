"""The page's modules under TypeScript's strict check of JSDoc types, and its texts in both languages."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from browsing import do_without

import sensorium.server

pytestmark = pytest.mark.browser

WEB = Path(sensorium.server.__file__).parent / "web"


def texts(name: str) -> dict[str, str]:
    """The texts of a file, in their most usual plural form."""
    loaded = json.loads((WEB / "i18n" / f"{name}.json").read_text(encoding="utf-8"))
    return {key: text if isinstance(text, str) else text["other"] for key, text in loaded.items()}


def test_the_types_of_the_page_fit():
    compiler = WEB / "node_modules" / ".bin" / "tsc"
    if not compiler.exists():
        do_without(f"no TypeScript to check with: npm ci in {WEB} (Debian packages nodejs and npm)")
    checked = subprocess.run([compiler, "-p", WEB], capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("part", ["", "rooms."])
def test_both_languages_say_the_same_things(part):
    english, chinese = texts(f"{part}en"), texts(f"{part}zh")
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert text.strip()
        assert chinese[key].strip()
        assert {*re.findall(r"\{\w+\}", text)} == {*re.findall(r"\{\w+\}", chinese[key])}, key
