"""The report reads well in a real browser: on a screen and on a phone, light and dark, without network."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.small_run import add_ablation, make_run
from tests.unit.test_build_report import SECTIONS, build

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
]
WIDTHS = (1280, 400)


class Browser:
    """A headless Chromium, driven over chromedriver's HTTP interface (W3C WebDriver)."""

    def __init__(self, profile: Path) -> None:
        programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
        if not all(programs):
            missing("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen(
            [str(programs[1]), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        options = {"binary": programs[0], "args": [*FLAGS, f"--user-data-dir={profile}"]}
        logging = {"performance": "ALL"}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logging}}
        self.session = ""
        self.session = self._ask("POST", "/session", {"capabilities": wanted}, patience_s=60)["sessionId"]

    def _ask(self, method: str, path: str, body: Any = None, patience_s: float = 0) -> Any:
        address = self.root + (f"/session/{self.session}" if self.session else "") + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    return json.load(answer)["value"]
            except urllib.error.HTTPError as error:
                raise AssertionError(error.read().decode()) from error
            except urllib.error.URLError:
                # The driver is still starting.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def cdp(self, command: str, **parameters: Any) -> Any:
        """Send one command of the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show(self, page: Path, width: int, scheme: str = "light") -> None:
        """Open a page in a window of a width, in a light or dark scheme."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._ask("POST", "/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        """Return what a script's `return` gives in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def requests(self) -> list[str]:
        """List the addresses asked for since the last call."""
        entries = self._ask("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            if self.session:
                self._ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(timeout=30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of several models, with every section filled."""
    run = make_run(tmp_path_factory.mktemp("run"))
    build(run, **add_ablation(run, {"passing": 0.85, "random": 0.6, "failing": 0.45}))
    return run.results / "report.html"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.show(page, width)
    browser.run("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.run("return window.innerWidth") == width
    assert browser.run("return document.documentElement.scrollWidth") <= width
    outside = browser.run(
        "return [...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, pre, svg') &&"
        " one.getBoundingClientRect().right > window.innerWidth + 0.5).map(one => one.outerHTML.slice(0, 80))"
    )
    assert outside == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_asks_for_nothing_but_itself(browser: Browser, page: Path, width: int) -> None:
    browser.requests()
    browser.show(page, width)
    asked = browser.requests()
    assert page.as_uri() in asked
    assert [address for address in asked if address != page.as_uri() and not address.startswith("data:")] == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


def test_every_section_is_visible(browser: Browser, page: Path) -> None:
    browser.show(page, 1280)
    shown = browser.run(
        "return [...document.querySelectorAll('section')].filter(one => one.offsetHeight > 60).map(one => one.id)"
    )
    assert tuple(shown) == SECTIONS


@pytest.mark.parametrize("width", WIDTHS)
def test_the_text_of_charts_stays_readable(browser: Browser, page: Path, width: int) -> None:
    """No chart is shrunk below nine tenths of its size: 11 px stay about 10."""
    browser.show(page, width)
    scales = browser.run(
        "return [...document.querySelectorAll('figure svg')].map(svg => svg.clientWidth / svg.viewBox.baseVal.width)"
    )
    assert len(scales) > 8
    assert min(scales) >= 0.9


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, page: Path, scheme: str) -> None:
    """Contrast of running text is at least 4.5 to 1, as the accessibility guidelines ask, in both schemes."""
    browser.show(page, 1280, scheme)
    ratios = browser.run(
        """
        const lit = colour => {
          const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255);
          const [r, g, b] = parts.map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = one => {
          for (let at = one; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
          }
          return 'rgb(255, 255, 255)';
        };
        const text = 'p, td, th, .why, .card span, figcaption, footer, nav a, svg text';
        return [...document.querySelectorAll(text)].map(one => {
          const style = getComputedStyle(one);
          const pair = [lit(one.closest('svg') ? style.fill : style.color), lit(ground(one))].sort((a, b) => b - a);
          return [(pair[0] + 0.05) / (pair[1] + 0.05), one.outerHTML.slice(0, 80)];
        }).sort((a, b) => a[0] - b[0]).slice(0, 3);
        """
    )
    assert ratios[0][0] >= 4.5, ratios
    bright = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (bright == "rgb(255, 255, 255)") == (scheme == "light")
