"""How large is the page of a large run, and how soon is it open in a browser?

    python benchmarks/report.py [--quick] [--seed N] [--number N] [--keep FOLDER]

Draws 500 galaxies, adds fresh noise to each of them until there are 10,000 images (1,000 with --quick), screens them
all and writes the page. Then Chromium (driven by Playwright), which has shown another page before, opens it from disk:
light, dark and as on a phone, five times each. The time ends when the page and its table of all rows are drawn; the
work of the page's main thread is given too, since other programs hardly affect it. With --keep the run stays in FOLDER,
and an existing one is used.

Keys of the last line:

    images, latex_files
    write_s, write_cpu_s          wall and CPU seconds to write the page with its pictures
    size_mb, pdf_mb               size of the page, and as PDF
    open_*_s, open_*_thread_s     seconds until the page is drawn, and those of its main thread; [least, median, most]
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import record
from retrieval import scored_galaxies

from emeraldcut.data import ImageSet
from emeraldcut.images import write_images
from emeraldcut.report import report, write_latex, write_pdf
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST
from emeraldcut.screening import screen_run

DRAWN = 500  # galaxies, each used for many images
NOISE = 0.5  # that is added, in units of the noise of the drawn image
SCREENS = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True},
}
TIMES = 5


def many(number: int, seed: int) -> Iterator[ImageSet]:
    """`number` images in chunks of `DRAWN`: the same galaxies, each time with fresh noise."""
    galaxies = scored_galaxies(min(DRAWN, number), seed)
    sigma = np.array([np.std(image[:8]) for image in galaxies.pixels])
    for k in range(-(-number // len(galaxies))):
        rng = np.random.default_rng([seed, k])
        chunk = galaxies[: min(len(galaxies), number - k * len(galaxies))]
        noise = rng.normal(0, NOISE, np.shape(chunk.pixels)) * sigma[: len(chunk), None, None]
        pixels = (chunk.pixels + noise).astype(np.float32)
        table = chunk.table.copy()
        table["id"] = np.array([f"{row}, exposure {k}" for row in range(len(chunk))], dtype=object)
        yield ImageSet(pixels, table)


def opened(page_file: Path) -> dict[str, np.ndarray]:
    """For each of `SCREENS`, seconds (TIMES, 2) until the page is drawn: by the clock, and of the page's thread."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    found = {}
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, screen in SCREENS.items():
            context = browser.new_context(**screen)
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
                page.wait_for_selector("#explorer[data-ready]")  # its table is unpacked and drawn
                page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                times.append((time.perf_counter() - begin, worked() - before))
            found[name] = np.array(times)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"the page is too wide: {name}"
        browser.close()
    return found


def main() -> None:
    parser = record.parser(__doc__, "1,000 images", seed=71_000)
    parser.add_argument("--number", type=int, help="of images (default 10,000)")
    parser.add_argument("--keep", metavar="FOLDER", help="where to keep the run")
    arguments = parser.parse_args()
    number = arguments.number or (1000 if arguments.quick else 10_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Path(arguments.keep or folder / "run")
        if not (run / MANIFEST).exists():
            images = write_images(
                many(number, arguments.seed), folder / "images", command="benchmark", seed=arguments.seed
            )
            print(f"{number:,} images of {min(DRAWN, number)} galaxies drawn")
            begin = time.perf_counter()
            screen_run(images, run)
            print(f"screened in {time.perf_counter() - begin:.0f} s")
        begin, cpu = time.perf_counter(), time.process_time()
        page = report(run)
        figures: dict[str, object] = {
            "images": read_manifest(run)["images"],
            "write_s": time.perf_counter() - begin,
            "write_cpu_s": time.process_time() - cpu,
            "size_mb": page.stat().st_size / 1e6,
            "latex_files": len(write_latex(run)),
        }
        try:
            for screen, times in opened(page).items():
                clock, thread = np.percentile(times, [0, 50, 100], axis=0).round(3).T.tolist()
                figures[f"open_{screen}_s"], figures[f"open_{screen}_thread_s"] = clock, thread
                print(f"open, {screen}: least, median and most of {TIMES}: {clock} s, of its thread {thread} s")
            figures["pdf_mb"] = write_pdf(page).stat().st_size / 1e6
        except (ImportError, StopIteration, ValueError) as error:
            print(f"not timed in a browser, Playwright or Chromium is missing: {error}")
    record.finish("report", figures, arguments, peers=("playwright",))


if __name__ == "__main__":
    main()
