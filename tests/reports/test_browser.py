"""The site in headless Chromium, opened from disk: it sorts, filters, works by keyboard, and asks for nothing."""

import re
import shutil

import pytest

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without these Chromium itself looks for updates; as root (CI) it needs --no-sandbox.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here; Debian: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright; its own browser is not needed")
    with api.sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        except api.Error as error:  # it is there, and lacks a library or may open no sandbox
            pytest.skip(f"{CHROMIUM} does not start: {str(error).splitlines()[0]}")
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """A page that fails the test at its end if anything was said on the console or asked of a network."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    opened.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
    yield opened
    context.close()
    assert said == []


def open_(page, site, name="index.html"):
    page.goto((site / name).as_uri())
    return page.locator("table.ricebench-table").first


def labels(table):
    """Names of the rows that are seen, without chance and ceiling."""
    return table.locator("tbody").first.locator("tr:not(.section):visible th").all_inner_texts()


def test_every_kind_of_page_is_silent_and_fits(page, site):
    names = [path.name for path in site.glob("*.html")] + [f"records/{next(site.glob('records/*.html')).name}"]
    for width in (390, 1200):
        page.set_viewport_size({"width": width, "height": 900})
        for name in names:
            page.goto((site / name).as_uri())
            page.evaluate(LOAD_IMAGES)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)")
            assert broken == []


def test_metrics_of_a_record_stay_lines_on_a_phone(page, site, full_store):
    page.set_viewport_size({"width": 390, "height": 900})
    record = max(full_store.records(), key=lambda r: max((len(m.method or "") for m in r.metrics), default=0))
    page.goto((site / "records" / f"{record.cell.id}.html").as_uri())
    heights = page.evaluate("[...document.querySelectorAll('.facts tbody tr')].map(row => row.clientHeight)")
    assert heights
    assert max(heights) < 60  # two lines: how an error was found is a sentence, and was one word a line


def test_metrics_of_a_record_fit_a_desktop(page, site, full_store):
    page.set_viewport_size({"width": 1200, "height": 900})
    record = max(full_store.records(), key=lambda r: max((len(m.method or "") for m in r.metrics), default=0))
    page.goto((site / "records" / f"{record.cell.id}.html").as_uri())
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.facts').parentElement)")


def test_the_style_sheet_and_the_script_are_allowed_from_disk(page, site):
    open_(page, site)
    assert page.evaluate("getComputedStyle(document.querySelector('nav ul')).display") == "flex"
    assert page.locator("th button").count() > 0


def test_a_click_on_a_header_sorts_and_the_third_undoes_it(page, site):
    table = open_(page, site)
    head = table.locator("thead th", has_text="miou")
    before = labels(table)
    assert head.get_attribute("aria-sort") == "none"
    orders = []
    for direction in ("descending", "ascending", "none"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        orders.append(labels(table))
    # mlcd lacks a seed, so it has no place in the order, and noise has no number: both stay last in both directions.
    assert orders[0] == ["synthetic:oracle †", "mini-vit", "synthetic:random-weights †", "mlcd", "synthetic:noise †"]
    assert orders[1] == [*orders[0][2::-1], "mlcd", "synthetic:noise †"]
    assert orders[2] == before
    assert table.locator("tbody").last.locator("th").all_inner_texts()[-2:] == ["chance", "ceiling"]


def test_a_missing_entry_is_last_in_both_directions(page, site):
    table = open_(page, site)
    head = table.locator("thead tr").last.locator("th").nth(1)  # linear
    for _ in range(2):
        head.locator("button").click()
        assert labels(table)[-1] == "synthetic:random-weights †"


def test_every_header_of_a_page_can_be_clicked(page, site):
    open_(page, site)
    page.evaluate("document.querySelectorAll('th button').forEach(button => { button.click(); button.click(); })")
    assert page.locator("th[aria-sort=ascending], th[aria-sort=descending]").count() >= 5


def test_names_sort_as_words(page, site):
    table = open_(page, site)
    table.locator("thead th").first.locator("button").click()
    assert labels(table) == sorted(labels(table))


def test_the_keyboard_sorts_too(page, site):
    table = open_(page, site)
    head = table.locator("thead th", has_text="miou")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"


def test_the_first_tab_leads_to_the_content(page, site):
    open_(page, site)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#content"


def test_the_filter_hides_rows_and_says_how_many(page, site):
    table = open_(page, site)
    page.locator(".tools input[type=search]").first.fill("VIT")
    assert labels(table) == ["mini-vit"]
    assert page.locator(".tools [role=status]").first.inner_text() == "1 of 7 rows"
    page.locator(".tools input[type=search]").first.fill("")
    assert len(labels(table)) == 5


def test_yardsticks_can_be_hidden(page, site):
    table = open_(page, site)
    page.get_by_label("hide yardsticks").first.check()
    assert labels(table) == ["mlcd", "mini-vit"]
    assert table.locator("tr:visible", has_text="chance").count() == 0
    assert table.locator("tr.section:visible").count() == 0


def test_without_javascript_all_numbers_are_there(browser, site):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    table = open_(opened, site)
    assert len(labels(table)) == 5
    assert re.search(r"\d+\.\d ± \d", table.inner_text())
    assert opened.locator("th button").count() == 0
    context.close()


def test_text_is_readable_in_light_and_dark(browser, site):
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        opened = context.new_page()
        open_(opened, site)
        for selector in (
            "body",
            ".meta",
            ".muted th",
            ".banner strong",
            ".notes",
            ".tag.decisive",
            "figcaption",
            "nav a",
        ):
            ratio = opened.evaluate(CONTRAST, selector)
            assert ratio >= 4.5, f"{selector} in {scheme}: {ratio:.2f}"
        context.close()


# Also those below the fold, which load when they are scrolled to.
LOAD_IMAGES = """() => Promise.all([...document.images].map(image => {
  image.loading = "eager";
  return image.decode().catch(() => null);
}))"""

# WCAG 2 contrast of an element's text against the nearest painted background.
CONTRAST = """selector => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let element = document.querySelector(selector);
  const ink = light(numbers(getComputedStyle(element).color));
  while (numbers(getComputedStyle(element).backgroundColor)[3] === 0) element = element.parentElement;
  const paper = light(numbers(getComputedStyle(element).backgroundColor));
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""
