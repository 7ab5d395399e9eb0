"""How soon the page of a large run is there, how quickly it slides, and what memory it takes. Needs Chromium.

    python benchmarks/page.py               # a table; about three minutes
    python benchmarks/page.py --json        # one JSON object: name, ours, units, versions

Made-up runs, each in a folder of its own that is opened from the disk in headless Chromium:

    steps         200 steps of 40 keys: matrices, images and tables
    curves        20 curves of 5,000 points
    parameters    histograms and norms of 200 parameters at 2,000 steps
    classes       matrix and report of 1,000 classes in 90 epochs

    first paint   s from the navigation to the first text or image that is drawn (first contentful paint)
    ready         s from the navigation until all sections are there
    slide         s from a move of the time line until all that is seen shows it and a frame is drawn: the median of 20
                  moves over the whole run, with the part of the page in view that changes
    slowest       s, the slowest of these moves, which may load a file of data
    heap          MiB of JavaScript's heap in the end, after garbage collection
    page          kB, the page in a run's folder
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import finish, medians, options

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support import page_runs
from support.browser import CHROMIUM, Browser

QUICK: dict[str, dict[str, int]] = {
    "steps": {"num_steps": 20, "num_keys": 8},
    "curves": {"num_steps": 200},
    "parameters": {"num_parameters": 10, "num_steps": 50},
    "classes": {"num_epochs": 3, "num_classes": 100},
}
RUNS = {
    "steps": (page_runs.many_steps, "confusion"),
    "curves": (page_runs.long_curves, "curves"),
    "parameters": (page_runs.many_parameters, "gradients"),
    "classes": (page_runs.many_classes, "confusion"),
}
AT_MOST = {"first paint": 0.5, "slide": 0.1, "heap": 150, "page": 300}
UNITS = {"first paint": "s", "ready": "s", "slide": "s", "slowest": "s", "heap": "MiB", "page": "kB"}
SLIDE = """(async () => {
    const took = [], frame = () => new Promise(requestAnimationFrame);
    for (let i = 0; i < 20; i++) {
        const step = time.steps[(i * 7919) % 20 * (time.steps.length - 1) / 19 | 0];
        if (step === time.now) continue;
        const began = performance.now();
        goTo(step);
        await frame();
        await time.drawn;
        await frame();
        took.push((performance.now() - began) / 1000);
    }
    return took;
})()"""


def measured(browser: Browser, folder: Path, part: str) -> dict[str, float]:
    """One visit of a folder's page."""
    page = browser.open(folder / "index.html")
    page.wait("document.body.dataset.ready", 60)
    ready = page.value("performance.now() / 1000")
    paint = page.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime") / 1000
    page.settle(1)
    page.value(f"document.getElementById('{part}')?.scrollIntoView()")
    page.settle(2)
    took = page.value(SLIDE)
    page.call("HeapProfiler.collectGarbage")
    heap = page.call("Runtime.getHeapUsage")["usedSize"] / 2**20
    assert not [error for error in page.errors if "ERR_FILE_NOT_FOUND" not in error], page.errors
    page.close()
    size = (folder / "index.html").stat().st_size / 1000
    slides = {"slide": statistics.median(took), "slowest": max(took)}
    return {"first paint": paint, "ready": ready, **slides, "heap": heap, "page": size}


def main() -> None:
    given = options(__doc__, repeats=3).parse_args()
    if CHROMIUM is None:
        return print("benchmarks/page.py needs Chromium: see `make test-page`", file=sys.stderr)
    repeats = 1 if given.quick else given.repeats
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
    with tempfile.TemporaryDirectory(prefix="lwcallbacks-bench-", ignore_cleanup_errors=True) as directory:
        for name, (make, _) in RUNS.items():
            print(f"write the run of {name}", file=sys.stderr, flush=True)
            make(Path(directory, name), **(QUICK[name] if given.quick else {}))
        for repeat in range(repeats):
            for name, (_, part) in RUNS.items():
                print(f"visit {repeat + 1} of {repeats}: {name}", file=sys.stderr, flush=True)
                with Browser() as browser:
                    runs[name].append(measured(browser, Path(directory, name), part))
    ours = {name: medians(found) for name, found in runs.items()}
    result: dict[str, Any] = {"name": "page of a large run", "repeats": repeats, "ours": ours, "units": UNITS}
    lines = [f"{'':<20}" + "".join(f"{name:>12}" for name in ours) + f"{'at most':>12}"]
    for quantity, unit in UNITS.items():
        limit = AT_MOST.get(quantity, "")
        values = "".join(f"{found[quantity]:>12.3g}" for found in ours.values())
        lines.append(f"{quantity + ' [' + unit + ']':<20}{values}{limit:>12}")
    finish(result, given.json, lines)


if __name__ == "__main__":
    main()
