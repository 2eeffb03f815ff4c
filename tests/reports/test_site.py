"""The static site: the same bytes for the same records, nothing from outside, hostile names inert, the old one kept."""

import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from reports.site import build, build_site
from rice_core.disk.temporaries import beside
from rice_core.errors import UserError
from rice_core.record import Record, Skipped
from rice_core.spec import DatasetSpec, ProbeSpec
from rice_core.store import Store

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
HOSTILE = "<script>alert(1)</script>\"'onload=x&amp; javascript:1 \u202e=cmd|x|"


class Page(HTMLParser):
    """Reads a page strictly: every tag closed in order, every address noted."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.problems, self.links, self.ids, self.tags = [], [], [], [], []
        self.scripts: list[dict] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.problems += [f"never closed: {tag}" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"closed out of order: {tag} at {self.getpos()}")

    def handle_data(self, data):
        self.words += data

    def _note(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        if len(values) != len(attrs):
            self.problems.append(f"an attribute twice in {tag} at {self.getpos()}")
        self.links += [values[key] for key in ("href", "src", "srcset", "action", "data", "poster") if key in values]
        self.problems += [f"{key} in {tag}" for key in values if key.startswith("on") or key == "style"]
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "script":
            self.scripts.append(values)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def pages_of(folder: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


@pytest.fixture(scope="module")
def pages(site):
    return pages_of(site)


def test_every_page_is_there(site, full_store):
    names = {path.name for path in site.glob("*.html")}
    assert names == {
        "index.html",
        "compare.html",
        "cells.html",
        "missing.html",
        "assumptions.html",
        "provenance.html",
        "paper.html",
    }
    assert {path.stem for path in site.glob("records/*.html")} == {record.cell.id for record in full_store.records()}


def test_pages_are_well_formed(pages):
    assert {path.name: page.problems for path, page in pages.items() if page.problems} == {}
    assert all(len(set(page.ids)) == len(page.ids) for page in pages.values())


def test_every_address_is_a_file_of_the_site(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links:
            assert not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//|/", link), f"{link} in {path.name} leaves the site"
            target, _, anchor = unquote(link).partition("#")
            file = (path.parent / target).resolve() if target else path
            if not file.is_file() or (anchor and anchor not in Page(file).ids):
                dead.append((path.name, link))
    assert dead == []


def test_style_and_script_reach_nothing(site):
    for name in ("style.css", "site.js"):
        text = (site / name).read_text()
        assert not re.search(r"@import|url\(|https?:|fetch\(|XMLHttp|WebSocket|innerHTML|eval\(", text)


def test_every_page_forbids_what_it_does_not_need(pages):
    for path, page in pages.items():
        assert [script.get("src", "").split("/")[-1] for script in page.scripts] == ["site.js"], path
        head = path.read_text().split("</head>")[0]
        assert "Content-Security-Policy" in head
        assert "default-src 'none'" in head
        assert "unsafe" not in head


def test_the_same_records_give_the_same_bytes(site, full_store, tmp_path):
    class Reversed(Store):
        def records(self):
            return super().records()[::-1]

    assert files_of(build_site(Reversed(full_store.root), tmp_path / "again").parent) == files_of(site)


def test_the_bytes_do_not_depend_on_the_process(site, full_store, tmp_path):
    code = (
        "import sys; from pathlib import Path; from rice_core.store import Store; from reports.site import build_site;"
        f"build_site(Store(Path({str(full_store.root)!r})), Path({str(tmp_path / 'other')!r}));"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONHASHSEED": "77", "PATH": "", "TZ": "Asia/Tokyo", "HOME": str(tmp_path)}
    root = Path(build.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False).returncode == 0
    assert files_of(tmp_path / "other") == files_of(site)


def test_hostile_names_are_inert(fake, store, tmp_path):
    probe = ProbeSpec(name=HOSTILE, version=1, params={HOSTILE: HOSTILE})
    dataset = DatasetSpec(name="mini-" + HOSTILE, layout="coco", fingerprint=HOSTILE)
    spec = fake.cell("a=hf:x/1").encoder.model_copy(update={"name": HOSTILE, "model": HOSTILE})
    for seed in (0, 1):
        cell = fake.cell("b=hf:x/2", probe=probe, dataset=dataset, seed=seed).model_copy(update={"encoder": spec})
        record = fake.simple(cell, taints=(HOSTILE,))
        metric = record.metrics[0].model_copy(update={"name": HOSTILE, "unit": HOSTILE, "method": HOSTILE})
        found = record.evidence.model_copy(
            update={"encoder_facts": {HOSTILE: HOSTILE}, "libraries": {HOSTILE: HOSTILE}}
        )
        skipped = (Skipped(item=HOSTILE, reason=HOSTILE),)
        changes = {"metrics": (metric,), "evidence": found, "skipped": skipped, "assumptions": (HOSTILE,)}
        store.put(record.model_copy(update=changes))
    store.put(Record(cell=cell.model_copy(update={"seed": 2}), status="failed", error=HOSTILE))
    out = build_site(store, tmp_path / "out", title=HOSTILE).parent
    for path, page in pages_of(out).items():
        assert page.problems == [], path
        assert [script.get("src", "").split("/")[-1] for script in page.scripts] == ["site.js"]
        assert not any("javascript:" in link for link in page.links)
        assert "\u202e" not in path.read_text()
    assert "<script>alert(1)</script>" in Page(out / "index.html").words


def test_a_record_page_sums_what_was_left_out(fake, store, tmp_path):
    for seed, skipped in enumerate(((("a.json: 40 crowds", 40), ("b.png", 1)), (("b.png", 1),))):
        lines = tuple(Skipped(item=item, reason="is no object", times=times) for item, times in skipped)
        record = fake.simple(fake.cell("a=hf:x/1", seed=seed))
        store.put(record.model_copy(update={"skipped": lines}))
    out = build_site(store, tmp_path / "out").parent
    words = [page.words for page in pages_of(out).values()]
    assert sum("41 things were left out." in said for said in words) == 1
    assert sum("1 thing was left out." in said for said in words) == 1


def test_a_failure_leaves_the_old_site_whole(fake, store, tmp_path, monkeypatch):
    store.put(fake.simple(fake.cell("a=hf:x/1")))
    out = build_site(store, tmp_path / "out").parent
    before = files_of(out)
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(build, "write_records", fail)
        with pytest.raises((UserError, KeyboardInterrupt)):
            build_site(store, out)
        assert files_of(out) == before
        assert {path.name for path in tmp_path.iterdir()} == {"out", "runs"}


def test_a_new_site_replaces_the_old_one(fake, store, tmp_path):
    old, new = fake.simple(fake.cell("a=hf:x/1")), fake.simple(fake.cell("b=hf:x/2"))
    store.put(old)
    out = build_site(store, tmp_path / "out").parent
    (store.root / "records" / f"{old.cell.id}.json").unlink()
    store.put(new)
    build_site(store, out)
    assert [path.stem for path in out.glob("records/*.html")] == [new.cell.id]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "runs"}


def test_what_a_killed_build_left_is_put_right(fake, store, tmp_path):
    store.put(fake.simple(fake.cell("a=hf:x/1")))
    out = build_site(store, tmp_path / "out").parent
    before = files_of(out)
    # Killed between the two renames, with the new site beside; a living build writes another one.
    for kind in ("old", "tmp"):
        code = f"from pathlib import Path; from rice_core.disk.temporaries import beside; print(beside(Path({str(out)!r}), {kind!r}))"
        left = Path(
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
        )
        out.rename(left) if kind == "old" else left.mkdir()
    fresh = beside(out)
    fresh.mkdir()
    # A version that told no process: swept when it is old.
    for number, hours in enumerate((0, 25)):
        unnamed = tmp_path / f".out.{number}.0000000{number}.tmp"
        unnamed.mkdir()
        os.utime(unnamed, (time.time() - 3600 * hours,) * 2)
    build._clear_up(out)
    assert files_of(out) == before
    assert {path.name for path in tmp_path.iterdir()} == {"out", "runs", fresh.name, ".out.0.00000000.tmp"}


def test_a_folder_with_other_files_is_left_alone(full_store, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="holds other files"):
        build_site(full_store, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_empty_store_says_what_to_do(store, tmp_path):
    assert "ricebench demo" in Page(build_site(store, tmp_path / "out")).words


def test_the_banner_stands_on_miniature_pages_alone(fake, store, site, tmp_path):
    caution = "A miniature number is not a paper number"
    assert caution in Page(site / "index.html").words
    assert all(caution in Page(path).words for path in site.glob("records/*.html"))
    store.put(fake.simple(fake.cell("a=hf:x/1", dataset=DatasetSpec(name="coco", layout="coco", fingerprint="1"))))
    out = build_site(store, tmp_path / "out").parent
    assert not any(caution in page.words for page in pages_of(out).values())


def test_the_papers_numbers_stand_apart(site):
    paper = Page(site / "paper.html").words
    assert "None of them was measured here" in paper
    assert "synthetic:oracle" not in paper
    assert paper.count("as printed") >= 5


def test_a_record_page_tells_the_whole_story(site, full_store):
    records = full_store.records()
    knn = next(r for r in records if r.cell.probe.name == "knn" and r.cell.encoder.name == "mlcd" and r.cell.seed == 0)
    words = " ".join(Page(site / "records" / f"{knn.cell.id}.html").words.split())
    for fact in (knn.evidence.weights, knn.evidence.data, knn.scores_sha256, "torch 2.13.0", "val/broken.png"):
        assert fact in words
    assert f"{knn.metrics[0].value:.4g} %" in words
    assert f"{knn.metrics[0].chance:.4g}" in words
    failed = next(r for r in records if r.status == "failed")
    words = Page(site / "records" / f"{failed.cell.id}.html").words
    assert failed.error in words
    assert "--only failed" in words


def test_pictures_and_charts_are_there(site):
    names = {path.name.split("-")[0] for path in site.glob("figures/*.png")}
    assert {"distances", "tsne"} <= names
    assert len(list(site.glob("figures/*-pca.png"))) == 10
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in site.glob("figures/*.png"))


def test_a_damaged_picture_is_left_out(full_store, tmp_path):
    copy = Store(Path(shutil.copytree(full_store.root, tmp_path / "runs")))
    for path in copy.root.glob("artifacts/*/*-pca.png"):
        path.write_bytes(b"\x89PNG something else")
    for path in copy.root.glob("artifacts/*/*-tokens.json"):
        path.write_bytes(b"[]")
    out = build_site(copy, tmp_path / "out").parent
    assert not list(out.glob("figures/*pca.png"))
    assert {path.name: page.problems for path, page in pages_of(out).items() if page.problems} == {}


def test_every_table_can_be_downloaded(site):
    stems = {suffix: {path.stem for path in site.glob(f"tables/*.{suffix}")} for suffix in ("csv", "md", "tex")}
    assert stems["csv"] == stems["md"] == stems["tex"]
    assert {"cells", "encoders", "data-sets", "made-with"} <= stems["csv"]


def test_many_encoders_are_compared_with_the_first_alone(fake, store, tmp_path):
    for i in range(14):
        fake.scored(store, fake.cell(f"e{i:02d}=hf:x/{i}"), [50.0 + i + j % 3 for j in range(9)])
    out = build_site(store, tmp_path / "out").parent
    rows = Page(out / "compare.html").words.count(" − e")
    assert rows == 13


def test_progress_is_shown(fake, store, tmp_path):
    class Heard:
        def __init__(self):
            self.told = []

        def track(self, sequence, what):
            self.told.append((what, len(sequence)))
            yield from sequence

    heard = Heard()
    store.put(fake.simple(fake.cell("a=hf:x/1")))
    build_site(store, tmp_path / "out", progress=heard)
    assert ("record pages", 1) in heard.told
