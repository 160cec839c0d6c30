"""Checks the site that `make docs` has built: links within it lead somewhere, and nothing is loaded from elsewhere.

python tools/check_site.py build/docs
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src"}  # what a browser fetches by itself
LOADED_LINKS = {"stylesheet", "preload", "icon", "shortcut icon"}  # of <link>


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.anchors, self.links, self.loads = path, set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        facts = dict(attrs)
        self.anchors |= {facts[name] for name in ("id", "name") if facts.get(name)}
        if tag == "a" and facts.get("href"):
            self.links.append(facts["href"])
        if facts.get(LOADED.get(tag, "")):
            self.loads.append(facts[LOADED[tag]])
        if tag == "link" and facts.get("rel") in LOADED_LINKS:
            self.loads.append(facts["href"])


def broken(site: Path, pages: dict[Path, Page]) -> list[str]:
    """Links within the site that lead nowhere."""
    found = []
    for page in pages.values():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("data:"):
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            anchor, there = unquote(parts.fragment), pages.get(target)
            if not target.exists() or (anchor and there is not None and anchor not in there.anchors):
                found.append(f"{page.path.relative_to(site)}: {link}")
    return found


def from_elsewhere(site: Path, pages: dict[Path, Page]) -> list[str]:
    """What pages load by themselves from other servers."""
    return [
        f"{page.path.relative_to(site)}: {link}"
        for page in pages.values()
        for link in page.loads
        if urlsplit(link).netloc
    ]


def main() -> None:
    site = Path(sys.argv[1]).resolve()
    pages = {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}
    faults = {"broken links": broken(site, pages), "loaded from elsewhere": from_elsewhere(site, pages)}
    if not (site / "searchindex.js").exists():
        faults["search"] = ["searchindex.js is not there"]
    for what, found in faults.items():
        if found:
            print(f"{len(found)} {what}:", *sorted(set(found))[:20], sep="\n  ", file=sys.stderr)
    if any(faults.values()):
        sys.exit(1)
    links = sum(len(page.links) for page in pages.values())
    print(f"{len(pages)} pages, {links:,} links, none broken; nothing is loaded from elsewhere. Open {site}/index.html")


if __name__ == "__main__":
    main()
