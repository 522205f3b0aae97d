"""A real run in the real tensorboard, seen by a real browser; and its report.

    make test-browser

Chromium and its driver are Debian's packages `chromium` and `chromium-driver`. With SCREENSHOTS=FOLDER every page is
saved there.
"""

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from tests.reporting.test_tensorboard import served

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent
SHOTS = os.environ.get("SCREENSHOTS")
# The text of a page, that behind shadow roots too.
TEXT = """
const texts = [];
function gather(node) {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
  if (node.tagName === 'STYLE' || node.tagName === 'SCRIPT') return;
  if (node.shadowRoot) gather(node.shadowRoot);
  node.childNodes.forEach(gather);
}
gather(document.body);
return texts.join(' ').replace(/\\s+/g, ' ');
"""
COUNT = """
let count = 0;
const selector = arguments[0];
(function walk(node) {
  if (node.matches && node.matches(selector)) count += 1;
  if (node.shadowRoot) node.shadowRoot.childNodes.forEach(walk);
  node.childNodes.forEach(walk);
})(document.body);
return count;
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The main job in little: 2 arms of 6 points, 3 seeds."""
    folder = tmp_path_factory.mktemp("run")
    flags = "--steps 200 --seeds 3 --evaluations 4 --decays 0 1 5 --strengths 0 1e-2 1e-1 --learning-rates 3e-3 1e-2"
    command = [sys.executable, "-m", "experiments.decay_values", "--workdir", str(folder), *flags.split()]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or pytest.fail("no chromium: apt-get install chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    driver = shutil.which("chromedriver") or pytest.fail("no chromedriver: apt-get install chromium-driver")
    window = webdriver.Chrome(options=options, service=Service(driver))
    window.set_window_size(1500, 1100)
    yield window
    window.quit()


@pytest.fixture(scope="module")
def charts(run):
    with served(run / "tensorboard") as address:
        yield address


@pytest.fixture(scope="module")
def members(run):
    with served(run / "members") as address:
        yield address


def shows(browser, address, name, condition):
    """Open a page and wait until the condition on its text holds; the text."""
    browser.get("about:blank")  # a change of what follows the # alone would load nothing
    browser.get(address)
    text, begin = "", time.monotonic()
    while time.monotonic() - begin < 600:
        text = browser.execute_script(TEXT)
        if condition(text):
            break
        time.sleep(0.5)
    if SHOTS:
        time.sleep(3)
        Path(SHOTS).mkdir(exist_ok=True)
        browser.save_screenshot(f"{SHOTS}/{name}.png")
    assert condition(text), text[:3000]
    return text


def reaches(browser, least, script, *arguments):
    """Wait until what a script counts is at least that; charts are drawn after the text around them."""
    begin = time.monotonic()
    while browser.execute_script(script, *arguments) < least and time.monotonic() - begin < 600:
        time.sleep(0.5)
    return browser.execute_script(script, *arguments) >= least


def test_scalars_are_shown(browser, charts):
    tags = [f"{part}_{metric}/mean" for part in ("train", "validation", "test") for metric in ("accuracy", "loss")]
    shows(
        browser, f"{charts}/#scalars", "scalars", lambda text: all(tag in text for tag in ("over_decay", "decoupled"))
    )
    text = shows(browser, f"{charts}/#timeseries&tagFilter=mean", "time_series", lambda text: "test_accuracy" in text)
    assert "coupled without decay" in text
    assert sum(tag.partition("/")[0] in text for tag in tags) >= 4


def test_margin_charts_have_their_bands(browser, charts):
    titles = ["train accuracy", "validation accuracy", "test accuracy", "test loss", "weights norm"]
    # Four runs match each chart: both arms, with and without decay.
    shows(browser, f"{charts}/#custom_scalars", "margins", lambda text: text.count("Matches (4)") >= 3)
    text = shows(browser, f"{charts}/#custom_scalars", "margins", lambda text: all(title in text for title in titles))
    assert "accuracy" in text
    assert reaches(browser, 1, COUNT, ".area")


def test_the_figures_are_shown(browser, charts):
    shows(
        browser,
        f"{charts}/#images",
        "images",
        lambda text: all(n in text for n in ("accuracy", "heat_map", "training")),
    )
    loaded = "return performance.getEntriesByType('resource').filter(e => e.name.includes('individualImage')).length"
    assert reaches(browser, 3, loaded)


def test_histograms_of_weights_are_shown(browser, charts):
    shows(browser, f"{charts}/#histograms", "histograms", lambda text: text.count("weights") >= 4)


def test_the_answer_is_shown(browser, charts, run):
    answer = json.loads((run / "summary.json").read_text())["answer"]
    shows(browser, f"{charts}/#text", "text", lambda text: answer[:60] in text)


def test_the_table_of_members_has_a_row_per_point_and_the_best_one_is_right(browser, members, run):
    ends = {}
    tree = xr.open_datatree(run / "results.nc")
    for name in tree.children:
        arm = tree[name].to_dataset().load()
        means = arm.test_accuracy.isel(step=-1).mean("seed").to_numpy()
        ends |= {f"{name}, point {point}": mean for point, mean in enumerate(means)}
    tree.close()
    rows = list(ends)
    text = shows(browser, f"{members}/#hparams", "members", lambda text: all(row in text for row in rows))
    assert text.count(", point ") - text.count(", confirming, point ") == len(rows) == 12
    shown = {}
    for row in rows:
        after = text.split(f"{row} ", 1)[1].split(", point ")[0].split()
        shown[row] = [float(word) for word in after if word.replace(".", "", 1).isdigit()]
    best = max(ends, key=lambda row: ends[row])
    for row in rows:
        assert any(abs(number - ends[row]) < 6e-6 for number in shown[row]), (row, ends[row], shown[row])
    assert any(abs(number - max(ends.values())) < 6e-6 for number in shown[best])


@pytest.mark.parametrize(("name", "size"), {"report": (1200, 1000), "report_on_a_telephone": (390, 840)}.items())
def test_the_report_needs_no_network_and_fits(browser, run, name, size):
    browser.set_window_size(*size)
    with contextlib.ExitStack() as stack:
        stack.callback(browser.set_window_size, 1500, 1100)
        text = shows(browser, f"file://{run}/report.html", name, lambda text: "Reproduce" in text)
        wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        broken = browser.execute_script("return [...document.images].filter(i => !i.naturalWidth).length")
        images = browser.execute_script("return document.images.length")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["answer"] in text
    assert wide <= 0  # nothing but tables and figures scrolls sideways
    assert (broken, images) == (0, len(json.loads((run / "experiment.json").read_text())["figures"]))


def test_the_report_runs_no_script_and_loads_nothing_from_elsewhere(browser, run, tmp_path):
    """Whatever got into a page, by a tampered run or a mistake of ours, stays without effect."""
    page = (run / "report.html").read_text()
    (tmp_path / "loaded.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    bad = f"<script>document.body.id = 'ran'</script><img id='own' src='file://{tmp_path}/loaded.svg'>"
    for name, content, ran in (
        ("guarded", page, False),
        ("bare", re.sub("<meta http-equiv[^>]*>", "", page), True),  # the test can fail
    ):
        file = tmp_path / f"{name}.html"
        file.write_text(content.replace("</body>", f"{bad}</body>"))
        browser.get(f"file://{file}")
        assert (browser.execute_script("return document.body.id") == "ran") == ran, name
        assert bool(browser.execute_script("return document.getElementById('own').naturalWidth")) == ran, name


def test_the_report_is_whole_in_print(browser, run):
    """On a page as wide as A4 between its margins nothing is cut off that a screen would scroll to."""
    browser.set_window_size(718, 1000)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    with contextlib.ExitStack() as stack:
        stack.callback(browser.set_window_size, 1500, 1100)
        stack.callback(browser.execute_cdp_cmd, "Emulation.setEmulatedMedia", {"media": ""})
        shows(browser, f"file://{run}/report.html", "report_in_print", lambda text: "Reproduce" in text)
        cut = "return [...document.querySelectorAll('*')].filter(e => e.scrollWidth > window.innerWidth).length"
        assert browser.execute_script(cut) == 0
        paper = base64.b64decode(browser.print_page())
    assert paper.startswith(b"%PDF")
    if SHOTS:
        Path(SHOTS, "report.pdf").write_bytes(paper)
