"""The page of a large run: how big it is, and how soon it is open in a browser.

    python benchmarks/report.py [--quick] [--number N] [--seed N] [--keep FOLDER]

Draws galaxies, lays fresh noise on each of them again and again until there are 10,000 images (1,000 with --quick),
screens them all, and writes the page. It is opened from disk in Chromium (driven by Playwright), which has shown
another page before: in light, in dark and as on a phone, five times each. The time ends when the page is loaded and
drawn; beside it stands what the page's main thread works for that, which other programs that are running make hardly
longer. With --keep the run stays in FOLDER, and one that is there already is taken. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from retrieval import scored_galaxies

from emeraldcut.data import ImageSet
from emeraldcut.images import write_images
from emeraldcut.report import report, write_latex, write_pdf
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST
from emeraldcut.screening import screen_run

DRAWN = 500  # galaxies, each of which is seen many times
NOISE = 0.5  # that is added, in units of the noise that a drawn galaxy has
LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True},
}
TIMES = 5


def many(number: int, seed: int) -> Iterator[ImageSet]:
    """`number` images in chunks of `DRAWN`: the same galaxies, each time in other noise."""
    galaxies = scored_galaxies(min(DRAWN, number), seed)
    sigma = np.array([np.std(image[:8]) for image in galaxies.pixels])
    for k in range(-(-number // len(galaxies))):
        rng = np.random.default_rng([seed, k])
        chunk = galaxies[: min(len(galaxies), number - k * len(galaxies))]
        noise = rng.normal(0, NOISE, np.shape(chunk.pixels)) * sigma[: len(chunk), None, None]
        pixels = (chunk.pixels + noise).astype(np.float32)
        table = chunk.table.copy()
        table["id"] = np.array([f"{row}, seen {k}" for row in range(len(chunk))], dtype=object)
        yield ImageSet(pixels, table)


def opened(page_file: Path) -> dict[str, np.ndarray]:
    """For each of `LOOKS` seconds until the page is drawn, (TIMES, 2): by the clock, and of the page's thread."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    found = {}
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, look in LOOKS.items():
            context = browser.new_context(**look)
            page, times = context.new_page(), []
            tools_of_page = context.new_cdp_session(page)
            tools_of_page.send("Performance.enable", {"timeDomain": "threadTicks"})

            def worked(tools_of_page=tools_of_page) -> float:
                metrics = tools_of_page.send("Performance.getMetrics")["metrics"]
                return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

            for _ in range(TIMES):
                page.goto("about:blank")
                begin, before = time.perf_counter(), worked()
                page.goto(page_file.resolve().as_uri(), wait_until="load")
                page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                times.append((time.perf_counter() - begin, worked() - before))
            found[name] = np.array(times)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"the page is too wide: {name}"
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 images")
    parser.add_argument("--number", type=int, help="of images; 10,000 if not given")
    parser.add_argument("--seed", type=int, default=71_000)
    parser.add_argument("--keep", metavar="FOLDER", help="where the run stays")
    arguments = parser.parse_args()
    number = arguments.number or (1000 if arguments.quick else 10_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Path(arguments.keep or folder / "run")
        if not (run / MANIFEST).exists():
            images = write_images(
                many(number, arguments.seed), folder / "images", command="benchmark", seed=arguments.seed
            )
            print(f"{number:,} images of {min(DRAWN, number)} galaxies are drawn")
            begin = time.perf_counter()
            screen_run(images, run)
            print(f"screened in {time.perf_counter() - begin:.0f} s")
        begin, cpu = time.perf_counter(), time.process_time()
        page = report(run)
        figures: dict[str, object] = {
            "images": read_manifest(run)["images"],
            "write_s": round(time.perf_counter() - begin, 2),
            "write_cpu_s": round(time.process_time() - cpu, 2),
            "size_mb": round(page.stat().st_size / 1e6, 2),
            "latex_files": len(write_latex(run)),
        }
        try:
            for look, times in opened(page).items():
                clock, thread = np.percentile(times, [0, 50, 100], axis=0).round(3).T.tolist()
                figures[f"open_{look}_s"], figures[f"open_{look}_thread_s"] = clock, thread
                print(f"open, {look}: least, median and most of {TIMES}: {clock} s, of its thread {thread} s")
            figures["pdf_mb"] = round(write_pdf(page).stat().st_size / 1e6, 2)
        except (ImportError, StopIteration, ValueError) as error:
            print(f"without a browser or Playwright, the page is not timed: {error}")
    figures["load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
