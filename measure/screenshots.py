"""Pictures of a report for the README: the page, asked about somebody, as a PNG.

    python measure/screenshots.py report.html --name "Dang Ruilin" --outputs_path docs/ask.png

Needs playwright (requirements-dev.txt) and Chromium, as chromium or google-chrome on the PATH.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

QUIET = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"


def screenshot(report: Path, name: str, output: Path, width: int, height: int, scheme: str) -> None:
    """Open the report, ask about `name`, wait until the answer and the tree are there, and take a picture."""
    from playwright.sync_api import sync_playwright

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise ValueError("no Chromium: install it, so that chromium or google-chrome is on the PATH")
    flags = [*QUIET.split(), "--disable-sync"] + ["--no-sandbox"] * (getattr(os, "geteuid", lambda: 1)() == 0)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=flags)
        size = {"width": width, "height": height}
        page = chromium.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        page.goto(report.resolve().as_uri())
        if name:
            page.fill("#ask-name", name)
            page.click("#ask-go")
            page.wait_for_selector("#ask-tree li")
            page.wait_for_timeout(2000)  # the tree grows
            page.evaluate("document.activeElement.blur()")
        page.screenshot(path=output)
        chromium.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, help="a page that run.py report wrote")
    parser.add_argument("--name", default="", help="ask about this person first")
    parser.add_argument("--outputs_path", type=Path, required=True, help="where to write the PNG")
    parser.add_argument("--width", type=int, default=1200, help="of the window, in pixels")
    parser.add_argument("--height", type=int, default=760)
    parser.add_argument("--dark", action="store_true", help="with a dark page")
    given = parser.parse_args()
    try:
        scheme = "dark" if given.dark else "light"
        screenshot(given.report, given.name, given.outputs_path, given.width, given.height, scheme)
    except (ImportError, OSError, ValueError) as error:
        print(f"screenshots.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
