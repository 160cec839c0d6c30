"""How quick is the review page, how soon are rectangles found on it, and what does a kill cost?

    python benchmarks/review.py [--quick] [--seed N] [--snr-min S]

- In a browser (Chromium, driven by Playwright), with 100,000 candidates: from asking for the page to the first card,
  and from the key of a verdict to the next card.
- 20 rectangles among 2,000 galaxies with confusers are screened. One rectangle is given, and a reviewer who knows the
  truth views 100 more candidates in the suggested order, in the order of the run, and in a random one. The same is done
  with a score that is the similarity alone, as if there were no network.
- Two clients send 1,000 verdicts while the server is killed five times.

With --quick there are 4 rectangles among 400 galaxies and 20 views, 200 verdicts and two kills. Keys of the last line:

    candidates, planted, viewed    of the screened pool
    found, found_without_network   by order: mean, least and most rectangles found, over the choice of the given one,
                                   which counts
    first_card_s, first_card_again_s, next_card_median_ms, next_card_worst_ms
    sent, acknowledged, lost, doubled, kept
                                   verdicts: sent, with repetitions; acknowledged; then missing or twice in the log
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import record
from astropy.io import fits
from astropy.table import Table
from retrieval import scored_galaxies

from emeraldcut.data import ImageSet, concatenate
from emeraldcut.data.columns import numbers
from emeraldcut.images import ReadSettings
from emeraldcut.review.order import Order
from emeraldcut.review.subject import LOG
from emeraldcut.review.verdicts import VERDICTS, Verdicts
from emeraldcut.runs import Run
from emeraldcut.screening import examine
from emeraldcut.screening.screen import rank
from emeraldcut.tables import write_table

TOKEN = "of-the-benchmark"
REFRESH = 5
SERVER = """
import sys
from emeraldcut.review import server
from emeraldcut.review.reviewed_run import ReviewedRun, ReviewSettings
server.secrets.token_urlsafe = lambda n: sys.argv[3]
run = ReviewedRun(sys.argv[1], ReviewSettings(port=int(sys.argv[2])))
server.serve(run, lambda address: print(address, flush=True))
"""


def pool(number: int, seed: int, snr_min: float) -> ImageSet:
    """Galaxies of known kind: 1 in 100 rectangular, 1 in 50 obround, the rest half oval, half confusers."""
    k = number // 100
    half = (number - 3 * k) // 2
    parts = {"rectangular": k, "obround": 2 * k, "oval": half, "other": number - 3 * k - half}
    kinds = [scored_galaxies(n, seed + i, classes=(c,), snr_min=snr_min) for i, (c, n) in enumerate(parts.items())]
    images = concatenate(kinds)
    images.table["id"] = np.array([f"galaxy {i}" for i in range(len(images))], dtype=object)
    return images


def found(table: Table, views: int, given: int, seed: int) -> dict[str, int]:
    """How many other rectangles a reviewer who knows the truth finds in so many views, by order."""
    truth = np.asarray(table["label"]) == "rectangular"
    order, judged, left = Order(table), [given], np.ones(len(table), dtype=bool)
    left[given] = False
    while len(judged) <= views:
        order.learn(np.array(judged), truth[judged].astype(float))
        judged += order.next("suggested", left, min(REFRESH, views + 1 - len(judged)))
        left[judged] = False
    left[:], left[given] = True, False
    static = order.next("rank", left, views)
    chance = np.random.default_rng(seed).permutation(np.flatnonzero(left))[:views]
    return {
        "suggested": int(truth[judged[1:]].sum()),
        "rank": int(truth[static].sum()),
        "random": int(truth[chance].sum()),
    }


def found_by_order(table: Table, views: int, seed: int) -> dict[str, list[float]]:
    """Mean, least and most rectangles found, over the choice of the given one, which counts."""
    rectangles = np.flatnonzero(np.asarray(table["label"]) == "rectangular")
    trials = [found(table, views, int(given), seed + k) for k, given in enumerate(rectangles)]
    counts = {order: [1 + trial[order] for trial in trials] for order in trials[0]}
    return {order: [np.mean(of), min(of), max(of)] for order, of in counts.items()}


def without_network(table: Table) -> Table:
    """The candidates as they would be without a network: ranked by similarity."""
    rest = table[[name for name in table.colnames if not name.startswith("p_") and name != "typical"]]
    rest["p_boxy"], rest["score"] = table["p_boxy"], np.clip(numbers(table["similarity"], 0.0), 0, 1)
    return rank(rest)


def large_run(folder: Path, table: Table, images: ImageSet, number: int) -> Path:
    """A run of `number` candidates that repeats the rows of `table`, with the images as files."""
    pixels = dict(zip(images.table["id"], images.pixels, strict=True))
    files = [folder / "images" / f"{row}.fits" for row in range(len(table))]
    files[0].parent.mkdir(parents=True)
    for path, name in zip(files, table["id"], strict=True):
        fits.PrimaryHDU(np.asarray(pixels[name])).writeto(path)
    which = np.sort(np.arange(number) % len(table))
    many = table[which]
    many["id"] = np.array([f"candidate {row}" for row in range(number)], dtype=object)
    many["file"] = np.array([str(files[row]) for row in which], dtype=object)
    many["rank"] = np.arange(1, number + 1)
    run = Run.start(folder / "run", "screen", ReadSettings(), 0, [folder / "images"])
    write_table(many, run.path("candidates.parquet"))
    run.finish()
    return run.folder


def start(folder: Path, port: int = 0) -> tuple[subprocess.Popen, int]:
    """A server of its own process, and its port."""
    command = [sys.executable, "-c", SERVER, str(folder), str(port), TOKEN]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline()
    return process, int(address.split(":")[2].split("/")[0])


def in_the_browser(port: int, n_verdicts: int) -> dict[str, float]:
    """Seconds to the first card, and milliseconds from a verdict to the next card."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.add_init_script("try { localStorage.setItem('emeraldcut/reviewer', 'bench') } catch {}")
        page.goto(f"http://127.0.0.1:{port}/nothing")  # so that the browser runs and has shown another page
        firsts = []
        for _ in range(5):
            page.goto("about:blank")
            begin = time.perf_counter()
            page.goto(f"http://127.0.0.1:{port}/judge?token={TOKEN}", wait_until="commit")
            page.wait_for_selector("body[data-shown] svg.picture")
            firsts.append(time.perf_counter() - begin)
        # from the key to the next card being drawn, by the browser's own clock
        page.evaluate("""() => { window.times = []; let begin = 0;
          addEventListener('keydown', () => { begin = performance.now(); }, true);
          new MutationObserver(() => requestAnimationFrame(() => times.push(performance.now() - begin)))
            .observe(document.body, { attributes: true, attributeFilter: ['data-shown'] }); }""")
        for k in range(n_verdicts):
            page.keyboard.press("rox"[k % 3])
            page.wait_for_function("k => times.length > k", arg=k)
            page.wait_for_timeout(150)  # nobody is quicker
        times = np.array(page.evaluate("() => times"))
        browser.close()
    return {
        "first_card_s": firsts[0],
        "first_card_again_s": np.median(firsts[1:]),
        "next_card_median_ms": np.median(times),
        "next_card_worst_ms": times.max(),
    }


def killed(folder: Path, n_verdicts: int, n_kills: int) -> dict[str, int]:
    """Two clients send verdicts until each is acknowledged, while the server is killed and restarted."""
    (folder / LOG).unlink(missing_ok=True)
    process, port = start(folder)
    sent, acknowledged = [0, 0], [set(), set()]

    def client(number: int) -> None:
        for k in range(n_verdicts // 2):
            one = {"key": f"client{number}-{k:06d}", "reviewer": f"client {number}", "id": f"candidate {k}",
                   "what": "verdict", "value": VERDICTS[k % 5]}  # fmt: skip
            while True:
                sent[number] += 1
                try:
                    body = json.dumps({"entries": [one]}).encode()
                    url = f"http://127.0.0.1:{port}/verdicts.json?token={TOKEN}"
                    urllib.request.urlopen(url, body, timeout=20).close()
                    break
                except OSError:
                    time.sleep(0.05)
            acknowledged[number].add(one["key"])

    threads = [threading.Thread(target=client, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for kill in range(n_kills):
        while sum(map(len, acknowledged)) < n_verdicts * (kill + 1) // (n_kills + 1):
            time.sleep(0.002)
        process.kill()
        process.wait()
        process, _ = start(folder, port)
    for thread in threads:
        thread.join()
    process.kill()
    process.wait()
    log = Verdicts(folder / LOG)
    keys = [entry.key for entry in log.entries]
    log.close()
    return {
        "sent": sum(sent),
        "acknowledged": sum(map(len, acknowledged)),
        "lost": len(set.union(*acknowledged) - set(keys)),
        "doubled": len(keys) - len(set(keys)),
        "kept": len(keys),
    }


def main() -> None:
    parser = record.parser(__doc__, "a smaller pool, fewer verdicts", seed=61_000)
    parser.add_argument("--snr-min", type=float, default=60.0, help="of the galaxies in the pool; they go up to 300")
    arguments = parser.parse_args()
    number, views, n_verdicts, n_kills = (400, 20, 200, 2) if arguments.quick else (2000, 100, 1000, 5)
    images = pool(number, arguments.seed, arguments.snr_min)
    table = rank(examine(images))
    figures: dict[str, object] = {"candidates": number, "planted": number // 100, "viewed": views}
    for name, of in (("found", table), ("found_without_network", without_network(table))):
        figures[name] = found_by_order(of, views, arguments.seed)
        print(f"{name}, mean, least and most over the given one, which counts: {record.plain(figures[name])}")
    with tempfile.TemporaryDirectory() as name:
        folder = large_run(Path(name), table[:200], images, 100_000)
        process, port = start(folder)
        try:
            figures |= in_the_browser(port, 30)
        except (ImportError, StopIteration):
            print("not timed in a browser: Playwright or Chromium is missing")
        process.kill()
        process.wait()
        figures |= killed(folder, n_verdicts, n_kills)
    record.finish("review", figures, arguments, peers=("playwright",))


if __name__ == "__main__":
    main()
