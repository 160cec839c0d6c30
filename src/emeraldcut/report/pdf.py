"""PDF: a page printed by a headless browser, if one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from emeraldcut.errors import UsageError

BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
)  # fmt: skip
MOST_SECONDS = 180


def write_pdf(page: str | Path) -> Path:
    """Prints the page `NAME.html` to `NAME.pdf` in the same folder, and returns its path.

    Raises
    ------
    ValueError
        No Chromium or Chrome is installed, or it does not print.
    """
    page = Path(page).resolve()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UsageError(
            "a PDF needs a Chromium or Chrome, which was not found; install one (Debian: apt install chromium), or "
            f"open '{page}' in any browser and print it."
        )
    target = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "page.pdf"
        command = [browser, "--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # which does not work for root
        try:
            done = subprocess.run([*command, page.as_uri()], capture_output=True, check=False, timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            done = None
        if not printed.exists():
            how = f"did not end in {MOST_SECONDS} s" if done is None else f"ended with status {done.returncode}"
            raise UsageError(f"'{browser}' printed nothing and {how}; open '{page}' in any browser and print it.")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(printed, temporary)
        os.replace(temporary, target)
    return target
