"""The page in headless Chromium: search, weights, filters, marks, export, uploads; and that nothing leaves it."""

import json
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest

from rgcn_jax.gallery import Gallery
from scripts.walkers_gallery import write_video
from tests.commands import REPOSITORY
from tests.gallery import small_world

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.jit]
selenium = pytest.importorskip("selenium", reason="selenium is not installed")
if not os.environ.get("RGCN_JAX_BROWSER"):
    pytest.skip("RGCN_JAX_BROWSER is not set: run by .ci/full", allow_module_level=True)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if not (BROWSER and DRIVER):
    pytest.skip("no Chromium with chromedriver here", allow_module_level=True)

from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

SHOTS = os.environ.get("RGCN_JAX_SCREENSHOTS")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A gallery that the command serves, and an address with its token."""
    folder = tmp_path_factory.mktemp("page")
    with jax.disable_jit(False):
        world = small_world.make(folder)
    command = [sys.executable, "-m", "rgcn_jax", "gallery", "serve", f"--gallery={world.people}"]
    command += [f"--model={world.model}", "--port=0", "--user=ann"]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    line = next(line for line in process.stdout if line.startswith("ann: "))
    yield SimpleNamespace(world=world, address=line.removeprefix("ann: ").strip(), folder=folder)
    process.terminate()
    assert process.wait(20) == 0
    assert (folder / "stderr").read_text() == ""


@pytest.fixture(scope="module")
def browser(served):
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={served.folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(served.folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(DRIVER))
    driver.set_window_size(1600, 1100)
    yield driver
    driver.quit()


@pytest.fixture
def page(served, browser):
    browser.get(served.address)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".entry"))
    return browser


def until(browser, condition):
    wait = WebDriverWait(browser, 120, 0.1, ignored_exceptions=[StaleElementReferenceException])
    return wait.until(lambda _: condition())


def click(page, selector):
    page.find_element(By.CSS_SELECTOR, selector).click()


def shown(page):
    return [int(row.get_dom_attribute("data-id")) for row in page.find_elements(By.CSS_SELECTOR, "#matches .row")]


def distances(page):
    ranks = page.find_elements(By.CSS_SELECTOR, "#matches .rank")
    return [float(rank.text.split("distance ")[1].split(",")[0]) for rank in ranks]


def pick(page, entry):
    click(page, f".entry:nth-of-type({entry})")
    until(page, lambda: f"Entry {entry}\n" in page.find_element(By.ID, "query").text and shown(page))


def set_range(page, share):
    page.execute_script(
        "const s = document.getElementById('weight'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
        share,
    )


def shot(page, name):
    if SHOTS:
        time.sleep(1)  # images below are loaded when they are scrolled to
        page.save_screenshot(f"{SHOTS}/{name}.png")


def test_the_ranking_changes_with_the_branch_and_the_weight(served, page):
    pick(page, 2)
    gallery = served.world.gallery

    def ranked(by):
        return [m.id for m in gallery.similar(2, k=20, by=by)]

    assert shown(page) == ranked("fused")
    for row in ("pose", "appearance", "fused"):
        click(page, f"#by-{row}")
        until(page, lambda row=row: shown(page) == ranked(row))
    for share in (10, 90):
        set_range(page, share)
        expected = gallery.similar(2, k=20, by=(1 - share / 100, share / 100))
        until(page, lambda expected=expected: shown(page) == [m.id for m in expected])
        until(page, lambda e=expected: np.allclose(distances(page), [m.distance for m in e], atol=1e-4))
    shot(page, "ranking")


def test_names_are_shown_as_text(served, page):
    pick(page, 1)
    assert small_world.EVIL in page.find_element(By.ID, "matches").text
    assert not page.find_elements(By.CSS_SELECTOR, "#matches script, img[src=x]")
    assert page.title == "Gallery search"  # an alert would raise


def test_cameras_and_times_are_filtered(served, page):
    pick(page, 1)
    click(page, "#cameras input[value='1']")
    until(page, lambda: set(shown(page)) == set(range(7, 13)))
    page.execute_script(
        "const e = document.getElementById('seen-before'); e.value = '2025-11-24T16:09'; "
        "e.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    until(page, lambda: set(shown(page)) == {7, 8, 9, 10})
    shot(page, "filters")


def test_marks_are_exported(served, page):
    pick(page, 3)
    best, second = shown(page)[:2]
    click(page, f"[data-id='{best}'] .mark-right")
    click(page, f"[data-id='{second}'] .mark-wrong")
    assert page.find_elements(By.CSS_SELECTOR, f".row.right[data-id='{best}']")
    click(page, "#by-appearance")  # marks stay with their entries
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, f".row.wrong[data-id='{second}']"))
    shot(page, "marks")
    click(page, "#json")
    file = served.folder / "downloads" / "ranking.json"
    until(page, file.exists)
    content = json.loads(file.read_text())
    assert {m["id"]: m["mark"] for m in content["matches"] if m["mark"]} == {best: "right", second: "wrong"}


def test_skeletons_are_drawn(served, page):
    pick(page, 4)
    before = page.find_element(By.CSS_SELECTOR, "#matches img").get_attribute("src")
    click(page, "#skeletons")
    after = page.find_element(By.CSS_SELECTOR, "#matches img").get_attribute("src")
    assert after == f"{before}?skeletons"
    until(page, lambda: page.execute_script("return document.querySelector('#matches img').naturalWidth > 0"))
    shot(page, "skeletons")


def test_crops_are_uploaded(served, page):
    for n, frame in enumerate(served.world.frames[4]):
        cv2.imwrite(str(served.folder / f"{n}.png"), frame[..., ::-1])
    np.savez(served.folder / "k.npz", keypoints=served.world.keypoints[4])
    files = [str(served.folder / f"{n}.png") for n in range(len(served.world.frames[4]))]
    click(page, "#tab-crops")
    page.find_element(By.ID, "crops").send_keys("\n".join(files))
    page.find_element(By.ID, "keypoints").send_keys(str(served.folder / "k.npz"))
    click(page, "#pick-crops button")
    until(page, lambda: shown(page)[:1] == [5])
    assert distances(page)[0] == 0
    shot(page, "crops")
    click(page, "#forget")
    until(page, lambda: shown(page) == [])


def test_a_person_in_a_video_is_drawn_a_box_around(served, page):
    walkers = small_world.generate(small_world.SPEC)
    chosen = [t for t in walkers.split.gallery if t.camera_id == 1][:3]
    write_video(served.folder, 1, chosen, walkers, (256, 128), 10)
    click(page, "#tab-video")
    page.find_element(By.ID, "video").send_keys(str(served.folder / "cam1.mp4"))
    click(page, "#video-form button")
    until(page, lambda: page.find_element(By.ID, "canvas").is_displayed())
    until(page, lambda: "Choose the person" in page.find_element(By.ID, "status").text)
    canvas = page.find_element(By.ID, "canvas")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    left, right = 129 - 128 * 3 / 2, 255 - 128 * 3 / 2  # the second person, from the middle of the image
    scale = (width - 2) / (3 * 128)
    chain = ActionChains(page, duration=20)
    chain.move_to_element_with_offset(canvas, round(left * scale) + 1, -height // 2 + 3).click_and_hold()
    chain.move_to_element_with_offset(canvas, round(right * scale) - 1, height // 2 - 3).release().perform()
    box = [float(page.find_element(By.ID, f"box-{name}").get_property("value")) for name in ("left", "width", "height")]
    assert abs(box[0] - 128) < 6
    assert abs(box[1] - 128) < 10
    assert box[2] > 230
    shot(page, "box")
    click(page, "#person-form button")
    until(page, lambda: shown(page))
    status = page.find_element(By.ID, "status").text
    assert "simple tracker" in status
    assert "by appearance only" in status
    assert not page.find_element(By.ID, "by-pose").is_enabled()
    shot(page, "video")
    page.find_element(By.ID, "tracks").send_keys(str(served.folder / "cam1.txt"))
    click(page, "#video-form button")
    until(page, lambda: len(Select(page.find_element(By.ID, "track")).options) == 4)
    until(page, lambda: "Choose the person" in page.find_element(By.ID, "status").text)
    click(page, "#person-form button")
    until(page, lambda: "of the file" in page.find_element(By.ID, "status").text)


def test_an_upload_that_is_refused_is_said(served, page):
    (served.folder / "no.jpg").write_bytes(b"nothing")
    click(page, "#tab-crops")
    page.find_element(By.ID, "crops").send_keys(str(served.folder / "no.jpg"))
    click(page, "#pick-crops button")
    until(page, lambda: "no.jpg" in page.find_element(By.ID, "status").text)
    assert "error" in page.find_element(By.ID, "status").get_dom_attribute("class")


def test_an_error_of_the_list_is_shown(served, page):
    page.execute_script("window.fetch = () => Promise.reject(new Error('no answer from the server'))")
    Select(page.find_element(By.ID, "browse-camera")).select_by_value("2")
    until(page, lambda: "no answer from the server" in page.find_element(By.ID, "status").text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_fits_narrow_and_wide_windows(served, page, width, scheme):
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 1300, "deviceScaleFactor": 1, "mobile": False,
    })  # fmt: skip
    emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    pick(page, 6)
    assert page.find_element(By.CSS_SELECTOR, ".entry[aria-current=true]").get_dom_attribute("data-id") == "6"
    if width == 400:  # the ranking is below the panel
        until(
            page,
            lambda: (
                abs(page.execute_script("return document.getElementById('results').getBoundingClientRect().top")) < 2
            ),
        )
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    text, back = page.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    light = [sum(int(part) for part in colour[4:-1].split(",")[:3]) for colour in (text, back)]
    assert (light[0] > light[1]) == (scheme == "dark")
    shot(page, f"page-{width}-{scheme}")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_left_the_page(served, browser):
    """Of all tests of this file, by the browser's own log of requests."""
    time.sleep(0.5)
    origin = served.address.split("/?")[0]
    messages = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert sum(url.startswith(f"{origin}/") for url in sent) > 30
    assert [u for u in sent if not u.startswith((f"{origin}/", f"blob:{origin}/", "data:", "chrome"))] == []
    complaints = [line["message"] for line in browser.get_log("browser")]
    assert [text for text in complaints if "Content Security" in text or "Uncaught" in text] == []
    assert Gallery.open(served.world.people).count() == 12
