"""How smoothly the page scrolls through a very large library, in Debian's Chromium.

    python benchmarks/page_speed.py [--photos N]

A real `sensorium serve` on the example photographs; the grid that the page asks for is replaced by one of N
photos over 20 years that shows them again and again, so that pictures are drawn wherever the page goes. No
graphics card: everything is drawn by the processor, which the server and whatever else runs here share.

- first paint: from the request of the page to the first content, second visit.
- layout: computing the places of all photos once.
- frames: milliseconds between two frames over 300 frames, while scrolling steadily (60 pixels a frame), fast
  (700) and by jumps along the timeline; 16.7 is a screen's own pace. "Works": processor
  time of the page's main thread, which hardly depends on what else the machine does.
- moved: layout shift as the browser counts it, over all of that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from peer import describe_machine

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from browsing import browsing, serving  # noqa: E402
from test_page_photos import many  # noqa: E402

from sensorium.photos.library import Library  # noqa: E402

EXAMPLES = ROOT / "examples" / "photos"
PACES = {"steady": "y += 60", "fast": "y += 700", "jumps": "if (n % 6 === 0) y = Math.random() * most"}
SHIFTS = """window.moved = 0; new PerformanceObserver(all => all.getEntries().forEach(one => {
  window.moved += one.value })).observe({ type: 'layout-shift', buffered: true })"""
SCROLL = """() => new Promise(done => {
  const most = document.documentElement.scrollHeight - innerHeight;
  const frames = []; let y = scrollY, n = 0, last = performance.now();
  const frame = now => {
    frames.push(now - last); last = now; n += 1; PACE; scrollTo(0, Math.min(y, most));
    if (n < 302) requestAnimationFrame(frame); else done(frames.slice(2));
  };
  requestAnimationFrame(frame);
})"""
LAYOUT = """async () => {
  const { layOut } = await import(document.querySelector('script').src.replace('main.js', 'lib/geometry.js'));
  const { ratios, months } = await (await fetch('/api/v1/grid?scope=all')).json();
  const sections = months.map(one => ({ key: one.month, start: one.start, count: one.count }));
  const shape = { width: 1200, rowHeight: 212, gap: 5, headHeight: 48, captionHeight: 0 };
  const times = [1, 2, 3, 4, 5].map(() => {
    const start = performance.now(); layOut(ratios, sections, shape); return performance.now() - start });
  return times.sort((a, b) => a - b)[2];
}"""


def worked(session: Any) -> float:
    """Milliseconds of processor time that the page's main thread has used."""
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"] * 1000


def measure(page: Any) -> None:
    """Print what a page does that shows the large grid."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.reload()
    page.wait_for_selector(".photo img.ready")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint {paint:.0f} ms; layout {page.evaluate(LAYOUT):.0f} ms")
    for name, pace in PACES.items():
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(500)
        before = worked(session)
        frames = sorted(page.evaluate(SCROLL.replace("PACE", pace)))
        work = (worked(session) - before) / len(frames)
        median, p95, p99 = (frames[int(len(frames) * share)] for share in (0.5, 0.95, 0.99))
        print(
            f"{name}: median {median:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, worst {frames[-1]:.1f} ms a frame,"
            f" of which the page's thread works {work:.1f}"
        )
    print(f"moved {page.evaluate('window.moved'):.4f}; {page.locator('.cell').count()} photos have nodes")


def main() -> None:
    """Make the library, serve it, open the page and scroll."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=100_000)
    photos = parser.parse_args().photos
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, browsing() as chromium:
        library = Path(folder) / "library"
        with Library.open(library, create=True) as opened:
            for _ in opened.index([EXAMPLES]):
                pass
            count = opened.status().photos
        with serving(library) as server:
            page = chromium.new_page(viewport={"width": 1440, "height": 900})
            page.add_init_script(SHIFTS)
            document = json.loads(many(photos))
            document["ids"] = [number % count + 1 for number in range(photos)]
            grid = json.dumps(document)
            page.route(
                "**/api/v1/grid*", lambda route: route.fulfill(body=grid, content_type="application/json")
            )
            page.goto(server.url)
            page.wait_for_selector(".photo img.ready")
            measure(page)


if __name__ == "__main__":
    main()
