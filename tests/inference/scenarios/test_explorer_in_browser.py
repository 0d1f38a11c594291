"""The explorer in a real browser, from a file: no request leaves, it is quick, and the keyboard is enough."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from inference.scenarios.reduction import features_of, reduced
from inference.scenarios.regions import read_regions, region_means
from tests.inference.scenarios.test_explorer import MESH, scenario, written

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here; on Debian and Ubuntu: apt install chromium")
    folder = tmp_path_factory.mktemp("explorer")
    scenarios = scenario("low", 0.01, noise=0.3), scenario("high", 0.05, members=5, noise=0.3)
    written(folder / "explorer.html", *scenarios)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = browser.new_page(viewport={"width": 1280, "height": 1800}, accept_downloads=True)
        found.asked, found.said, found.scenarios, found.folder = [], [], scenarios, folder
        found.on("request", lambda request: found.asked.append(request.url))
        found.on("console", lambda message: found.said.append(message.text))
        found.on("pageerror", lambda error: found.said.append(str(error)))
        found.goto(f"file://{folder}/explorer.html")
        found.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        yield found
        browser.close()


def test_no_request_leaves_and_nothing_fails(page: Any) -> None:
    assert page.asked == [f"file://{page.folder}/explorer.html"]
    assert page.said == []


def test_what_is_read_on_the_page_is_what_was_found(page: Any) -> None:
    page.select_option("#first", label="high")
    page.eval_on_selector("#year", "(slider) => { slider.value = 60; slider.dispatchEvent(new Event('input')); }")
    assert page.inner_text("#shown") == "2010"
    with page.expect_download() as download:
        page.click("#map-csv")
    download.value.save_as(page.folder / "map.csv")
    with open(page.folder / "map.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    column = "high_2010_change_over_1951-1960_K"
    mean = page.scenarios[1].values[..., 0].astype(float).mean(axis=0)
    change = mean[60] - mean[1:11].mean(axis=0)
    at = {(round(float(row["latitude"]), 2), round(float(row["longitude"]), 2)): float(row[column]) for row in rows}
    node = int(np.argmin(np.abs(MESH.latitudes - 52)))
    near = min(at, key=lambda place: (place[0] - MESH.latitudes[node]) ** 2
               + ((place[1] - MESH.longitudes[node] + 180) % 360 - 180) ** 2)  # fmt: skip
    assert at[near] == pytest.approx(change[node], abs=0.01)


def test_the_keyboard_alone_does_it_all(page: Any) -> None:
    page.focus("#map")
    before = page.inner_text("#reading")
    page.keyboard.press("ArrowUp")
    assert page.inner_text("#reading") != before and "K" in page.inner_text("#reading")
    page.focus("#year")
    page.keyboard.press("Home")
    assert page.inner_text("#shown") == "1950"
    page.focus("#play")
    page.keyboard.press("Enter")
    page.wait_for_timeout(1000)
    assert page.inner_text("#shown") != "1950"
    page.keyboard.press("Enter")
    assert page.get_attribute("#play", "aria-pressed") == "false"
    page.focus("#view")
    page.keyboard.press("B")
    assert "minus" in page.get_attribute("#map", "aria-label") or page.input_value("#view") == "b"


def test_a_year_is_drawn_while_one_blinks(page: Any, record_property: Any) -> None:
    """Prints the milliseconds; the machine is shared, so that none is asserted but that it ends."""
    took = page.evaluate(
        """() => { const slider = document.getElementById("year"); const took = [];
        for (let k = 0; k < 100; k += 1) { slider.value = k; const start = performance.now();
          slider.dispatchEvent(new Event("input")); took.push(performance.now() - start); } return took; }"""
    )
    record_property("milliseconds", sorted(took)[50])
    print(f"a new year: median {sorted(took)[50]:.1f} ms, longest {max(took):.1f} ms")
    assert len(took) == 100


def test_a_drawn_pathway_is_evaluated_as_the_reduction_says(page: Any) -> None:
    page.select_option("#region", label="the globe (global)")
    took = page.evaluate(
        """() => { const slider = document.getElementById("knot-2050"); const start = performance.now();
        slider.value = 3; slider.dispatchEvent(new Event("input")); return performance.now() - start; }"""
    )
    print(f"a drawn pathway of 101 years: {took:.1f} ms")
    assert "Pathway B is now your own" in page.inner_text("#own-shown")
    assert page.input_value("#second") == "2" and "your own" in page.inner_text("#passes")
    with page.expect_download() as download:
        page.click("#chart-csv")
    download.value.save_as(page.folder / "chart.csv")
    with open(page.folder / "chart.csv", encoding="utf-8") as file:
        rows = {int(row["year"]): float(row["your_own_global_change_over_1951-1960_K"]) for row in csv.DictReader(file)}
    changes = np.stack([one.values[..., 0].astype(float).mean(axis=0) for one in page.scenarios])
    changes -= changes[:, 1:11].mean(axis=1, keepdims=True)
    found = reduced(page.scenarios, changes)
    assert found is not None
    forcing = page.scenarios[0].pathway.total[0].copy()
    years = np.arange(1950, 2051)
    set_so = {year: float(page.input_value(f"#knot-{year}")) for year in (2030, 2035, 2040, 2045, 2050)}
    knots = {2022: forcing[72], **set_so}
    forcing[72:] = np.interp(years[72:], list(knots), list(knots.values()))
    apart = features_of(forcing, found.years) - features_of(page.scenarios[0].pathway.total[0], found.years)
    expected = (changes[0] + apart @ found.weights) @ MESH.areas
    assert max(abs(rows[year] - expected[year - 1950]) for year in years.tolist()) < 0.01


def test_a_guess_is_marked_wherever_it_is_shown(page: Any) -> None:
    """The high pathway of the page leaves its training in 2040; a drawn one is the first and a difference from it."""
    assert "high +8.4 K (a guess from 2040 on)" in page.inner_text("#headline").replace("\u2212", "-")
    page.select_option("#first", label="high")
    assert "from 2040 a guess (dotted)" in page.inner_html("#chart")
    assert "a guess" not in page.inner_text("#passes")  # it passes all levels before
    page.select_option("#first", label="low")
    assert "low, from" not in page.inner_html("#chart")
    page.select_option("#first", label="high")
    page.select_option("#view", "a")
    move = "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }"
    for place, guess in ((89, False), (90, True)):  # 2039 and 2040
        page.eval_on_selector("#year", move, place)
        page.focus("#map")
        page.keyboard.press("ArrowUp")
        assert ("(a guess)" in page.inner_text("#reading")) is guess
        assert ("A high (a guess)" in page.inner_text("#ranking")) is guess
        assert ("K), a guess;" in page.inner_text("#chart-caption")) is guess
    for forcing, guess in ((4, False), (5.5, True)):  # the high pathway had up to 4.45 W m-2 before 2040
        page.eval_on_selector("#knot-2050", move, forcing)
        warning = page.inner_text("#own-warning")
        assert ("your pathway forces the climate as no year did" in warning) is guess
        assert "Your own: +" in page.inner_text("#own-result")
    page.select_option("#first", label="low")


def test_the_chart_is_read_by_pointing_and_tells_the_difference(page: Any) -> None:
    page.select_option("#first", label="low")
    page.select_option("#second", label="high")
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.52, box["y"] + box["height"] / 3)
    caption = page.inner_text("#chart-caption")
    assert any(f", {year}:" in caption for year in (1999, 2000, 2001)) and "B minus A" in caption
    page.mouse.move(2, 2)


def test_regions_are_ranked_by_what_the_map_shows_and_chosen_by_keyboard(page: Any) -> None:
    page.select_option("#first", label="low")
    page.select_option("#second", label="high")
    page.select_option("#view", "d")
    page.eval_on_selector("#year", "(slider) => { slider.value = 60; slider.dispatchEvent(new Event('input')); }")
    with page.expect_download() as download:
        page.click("#ranking-csv")
    download.value.save_as(page.folder / "regions.csv")
    with open(page.folder / "regions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    low, high = (
        np.array([float(row[f"{side}_{name}_2010_change_over_1951-1960_K"]) for row in rows])
        for side, name in (("a", "low"), ("b", "high"))
    )
    assert (np.diff(high - low) <= 1e-3).all() and len(rows) == page.evaluate(
        "document.querySelectorAll('#ranking tr').length - 1"
    )
    mean = page.scenarios[1].values[..., 0].astype(float).mean(axis=0)
    there = [row["region"] for row in rows].index("north")
    north = region_means(read_regions(["north"]), MESH).of(mean[60] - mean[1:11].mean(axis=0))[0]
    assert high[there] == pytest.approx(north, abs=0.01)
    before = page.evaluate("document.getElementById('map').toDataURL()")
    some = next(row for row in rows if row["region"].isupper())
    page.get_by_role("button", name=f"{some['name']} ({some['region']})").focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#chart-title") == some["name"]
    assert page.evaluate("document.activeElement.textContent") == f"{some['name']} ({some['region']})"
    assert page.evaluate("document.getElementById('map').toDataURL()") != before  # its outline
    page.select_option("#region", label="northern hemisphere (north)")


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(page: Any, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page.set_viewport_size({"width": width, "height": 900})
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"]) for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
