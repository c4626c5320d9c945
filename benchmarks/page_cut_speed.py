"""How long it takes from a click in the page to the painted mask, in Debian's Chromium.

    python benchmarks/page_cut_speed.py [--model NAME] [--photos N] [--clicks N]

A real `sensorium serve` on some of the example photographs, which are opened for cutting one after the other.
Once one is understood, fingers tap on it at places chosen by a seed. Fingers, because a mouse that rests
somewhere has asked for that place already (the preview), and its click would be painted at once. Time runs
from the end of the tap to the frame that shows its answer: request, decoder, outline and drawing.

- understood: milliseconds from opening the view until it is ready; the first photo opens the graphs.
- click: a fresh click with three answers; refine: one that adds to it.
- server: milliseconds that the server took for the clicks.

There is no graphics card: everything is drawn by the processor, which the server needs as well. The aim is
120 ms for 95 of 100 clicks.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from page_speed import EXAMPLES, browsing, serving
from peer import describe_machine
from sensorium.photos.library import Library
from sensorium.server.settings import CUT_MODEL

AIM = 120.0
PATIENCE = 300_000
WATCH = """() => {
  window.painted = []; let begun = null;
  addEventListener("pointerup", (event) => { begun = event.timeStamp; }, true);
  const drawn = (change) => change.target.closest?.(".cut-masks, .cut-marks");
  new MutationObserver((changes) => {  // masks and points change with the answer, buttons before
    if (begun === null || !changes.some(drawn)) return;
    const from = begun; begun = null;
    requestAnimationFrame(() => setTimeout(() => window.painted.push(performance.now() - from)));
  }).observe(document.querySelector(".cut"),
    { subtree: true, childList: true, attributes: true, characterData: true });
}"""


def quantile(values: list[float], share: float) -> float:
    """The value that a share of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def tap(page: Any, spot: Any) -> float:
    """Milliseconds from a tap at a random place of the photo until its answer is painted."""
    box = page.locator(".cut-picture").bounding_box()
    x, y = (
        box[side] + box[length] * spot.uniform(0.05, 0.95)
        for side, length in (("x", "width"), ("y", "height"))
    )
    before = page.evaluate("painted.length")
    page.touchscreen.tap(x, y)
    page.wait_for_function("before => painted.length > before", arg=before)
    return float(page.evaluate("painted.at(-1)"))


def measure(page: Any, url: str, clicks: int, spot: Any) -> tuple[float, list[float], list[float]]:
    """Milliseconds until the photo at an address was understood, of fresh clicks, of clicks that refine."""
    begun = time.perf_counter()
    page.goto(url)
    page.wait_for_function(
        "() => document.querySelector('.cut-line') && !document.querySelector('.cut-busy, .cut-line-error')",
        timeout=PATIENCE,
    )
    understood = (time.perf_counter() - begun) * 1000
    page.evaluate(WATCH)
    times: dict[str, list[float]] = {"Select": [], "Add": []}
    for _ in range(clicks):
        for tool, kept in times.items():
            page.locator(".cut-option", has_text=tool).first.click()
            kept.append(tap(page, spot))
    return understood, times["Select"], times["Add"]


def main() -> None:
    """Make the library, serve it, open photos and tap on them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=CUT_MODEL)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--clicks", type=int, default=25, help="of each kind, a photo")
    arguments = parser.parse_args()
    print(describe_machine())
    spot = random.Random(5)
    understood: list[float] = []
    fresh: list[float] = []
    refined: list[float] = []
    server: list[float] = []

    def answered(answer: Any) -> None:
        if "/api/" in answer.url and answer.url.endswith("/cut") and answer.ok:
            server.append(answer.json()["took"])

    with tempfile.TemporaryDirectory() as folder, browsing() as chromium:
        library, pictures = Path(folder) / "library", Path(folder) / "Pictures"
        pictures.mkdir()
        for photo in sorted(EXAMPLES.glob("*.jpg"))[: arguments.photos]:
            shutil.copy(photo, pictures)
        with Library.open(library, create=True) as opened:
            for _ in opened.index([pictures]):
                pass
            numbers = opened.browse.grid("all").ids.tolist()
        with serving(library, "--cut-model", arguments.model) as running:
            page = chromium.new_page(viewport={"width": 1440, "height": 900}, has_touch=True)
            page.set_default_timeout(60_000)
            page.on("response", answered)
            for number in numbers:
                address = f"{running.url}/photo/{number}/cut"
                one = measure(page, address, arguments.clicks, spot)
                understood.append(one[0])
                fresh += one[1]
                refined += one[2]
            page.remove_listener("response", answered)
    print(f"understood: {', '.join(f'{one:.0f}' for one in understood)} ms")
    for name, values in (("click", fresh), ("refine", refined), ("server", server)):
        median, p95 = quantile(values, 0.5), quantile(values, 0.95)
        print(f"{name}: median {median:.0f}, p95 {p95:.0f} ms of {len(values)}")
    both = quantile(fresh + refined, 0.95)
    print(f"aim: {both:.0f} of {AIM:.0f} ms, {'met' if both <= AIM else 'missed'}")


if __name__ == "__main__":
    main()
