"""The report in headless Chromium: no error, no request, working filters, readable at two widths and in dark mode."""

import json
import os
import shutil
import time
from dataclasses import replace

import pytest

from rgcn_jax.embedder import load
from rgcn_jax.experiments.corruptions import CORRUPTIONS
from rgcn_jax.experiments.robustness import METRICS
from rgcn_jax.report import __main__ as command
from rgcn_jax.training.train import train
from tests.commands import status
from tests.test_whole_run import config  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.jit]
BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
if not os.environ.get("RGCN_JAX_BROWSER"):
    pytest.skip("run by .ci/full (RGCN_JAX_BROWSER=1)", allow_module_level=True)
if not (BROWSER and DRIVER):
    pytest.skip("no Chromium with chromedriver here", allow_module_level=True)
for name in ("selenium", "plotly", "sklearn", "matplotlib"):
    pytest.importorskip(name, reason=f"{name} is not installed")

from selenium.webdriver import Chrome, ChromeOptions, ChromeService  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

SHOTS = os.environ.get("RGCN_JAX_SCREENSHOTS")

LUMINANCE = """
const parse = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const light = c => { const [r, g, b] = parse(c).map(v => linear(v / 255)); return .2126 * r + .7152 * g + .0722 * b };
const paper = light(getComputedStyle(document.body).backgroundColor);
return [...document.querySelectorAll("p, td, th, h2, figcaption, .xtick text, .legendtext")].map(e => {
  const style = getComputedStyle(e), ink = light(e instanceof SVGElement ? style.fill : style.color);
  return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05) });
"""
"""Contrast of every text with the page (WCAG 2)."""


@pytest.fixture
def page(config, tmp_path):  # noqa: F811
    """The report of a short run, with curves of robustness."""
    run = tmp_path / "run"
    run.mkdir()
    train(replace(config, num_steps=3, eval_every_epochs=0), run)
    metrics = {**dict.fromkeys((*METRICS, "valid_queries", "persons"), 50.0), "intervals": {"mAP": [40.0, 60.0]}}
    points = [{"level": level, "rows": {"fused": metrics}} for level in (0.0, *CORRUPTIONS["jitter"].levels)]
    curves = {"jitter": {"unit": "torso lengths", "points": points}}
    content = {"header": {"model": load(run).hash}, "curves": curves}
    (run / "robustness.json").write_text(json.dumps(content))
    out = tmp_path / "report.html"
    assert status(command.main, [run, f"--out={out}", "--queries=8"]) == 0
    return out


@pytest.fixture
def browser(tmp_path):
    options = ChromeOptions()
    options.binary_location = BROWSER or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(DRIVER))
    yield driver
    driver.quit()


def resize(browser, width, height):
    """The page's own size: a window is never narrower than 500 pixels."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def requests(browser):
    """Addresses that pages of files asked for since the last call; the browser's own new tab asks for its own."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [p["request"]["url"] for p in sent if p["documentURL"].startswith("file:")]


def shown(browser):
    return [c for c in browser.find_elements(By.CSS_SELECTOR, "#lists > article") if c.is_displayed()]


def choose(browser, name, value):
    Select(browser.find_element(By.ID, name)).select_by_value(value)


def shot(browser, name):
    if SHOTS:
        width, height = browser.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
        resize(browser, width, height)
        time.sleep(1)
        browser.save_screenshot(f"{SHOTS}/report-{name}.png")


def test_the_report_in_a_browser(page, browser):
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for width in (1600, 400):
            resize(browser, width, 1000)
            browser.get(page.as_uri())
            charts = len(browser.find_elements(By.CSS_SELECTOR, ".chart"))
            assert charts >= 10
            drawn = ".chart .main-svg .xtick, .chart .main-svg .trace, .chart .main-svg .hm"
            WebDriverWait(browser, 120).until(lambda b, s=drawn: b.find_elements(By.CSS_SELECTOR, s))
            every = "return [...document.querySelectorAll('.chart')].every(c => c.querySelector('.main-svg'))"
            assert browser.execute_script(every)
            inside = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert browser.execute_script(inside), f"the page scrolls sideways at {width} pixels"
            fits = "return [...document.querySelectorAll('.chart:not(.panels)')].every(c => c.offsetWidth < innerWidth)"
            assert browser.execute_script(fits)
            ratios = browser.execute_script(LUMINANCE)
            assert len(ratios) > 50
            assert min(ratios) >= 4.5
            shot(browser, f"{scheme}-{width}")
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert {url for url in requests(browser) if not url.startswith(("data:", "blob:"))} == {page.as_uri()}


def test_filters_of_the_rank_lists(page, browser):
    browser.get(page.as_uri())
    cards = shown(browser)
    gains = [float(card.get_attribute("data-gain")) for card in cards]
    assert len(cards) > 2
    assert gains == sorted(gains, reverse=True)
    choose(browser, "order", "loss")
    assert [float(card.get_attribute("data-gain")) for card in shown(browser)] == sorted(gains)
    choose(browser, "order", "camera")
    cameras = [int(card.get_attribute("data-camera")) for card in shown(browser)]
    assert cameras == sorted(cameras)
    choose(browser, "which", "gains")
    assert len(shown(browser)) == sum(gain > 0 for gain in gains)
    choose(browser, "which", "losses")
    assert len(shown(browser)) == sum(gain < 0 for gain in gains)
    choose(browser, "which", "")
    pair = cards[0].get_attribute("data-pair")
    choose(browser, "pair", pair)
    assert shown(browser)
    assert {card.get_attribute("data-pair") for card in shown(browser)} == {pair}
    choose(browser, "pair", "")
    choose(browser, "camera", str(cameras[0]))
    assert {int(card.get_attribute("data-camera")) for card in shown(browser)} == {cameras[0]}
    assert browser.find_element(By.ID, "shown").text == str(len(shown(browser)))
