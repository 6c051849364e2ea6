"""`dropsight compare`: what another model changes, by paths, without holding an archive in memory."""

import json
import os
import tracemalloc
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path

import fsspec
import pytest

from daemons import PHOTOS, dropsight
from dropsight.archive import manifest
from dropsight.archive.comparing import MOST_PAIRS, Comparison, compare
from dropsight.archive.comparison_page import page_of
from dropsight.archive.side_by_side import FinishedJob
from dropsight.archive.truths import FOLDER_NAMES, truths_of
from dropsight.commands.compare import compare as command
from dropsight.errors import ConfigError, DropsightError, StoreError
from results import Answers, make_results

A: Answers = {
    "a/1.jpg": ("cat", 0.5),
    "a/2.jpg": ("cat", 0.75),
    "a/3.jpg": ("dog", 0.5),
    "a/4.jpg": ("dog", 0.25),
    "b/1.jpg": None,
    "b/2.jpg": ("dog", 0.5),
    "b/3.jpg": None,
    "only.jpg": ("cat", 0.5),
}
B: Answers = {
    "a/1.jpg": ("cat", 1.0),
    "a/2.jpg": ("tiger cat", 0.25),
    "a/3.jpg": ("cat", 0.5),
    "a/4.jpg": ("cat", 0.75),
    "b/1.jpg": ("fox", 0.5),
    "b/2.jpg": None,
    "b/3.jpg": None,
    "a/0.jpg": ("cat", 0.5),
    "z.jpg": ("cat", 0.5),
}


def compared(a: str, b: str, labels: str | None = None) -> Comparison:
    one, other = FinishedJob.at(a), FinishedJob.at(b)
    sources = [*one.job.sources, *other.job.sources]
    with truths_of(labels, sources) if labels else nullcontext() as truths:
        return compare(one, other, truths)


@pytest.fixture
def both(tmp_path: Path) -> tuple[str, str]:
    return make_results(tmp_path / "old", A, model="old"), make_results(
        tmp_path / "new", B, model="new", shard=4
    )


def test_of_models_that_have_groups_it_is_said_how_many_files_are_of_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    groups = {"cat": "cat", "tiger cat": "cat", "dog": "dog"}
    a, b = (make_results(tmp_path / name, each, groups=groups) for name, each in (("a", A), ("b", B)))
    command(a, b, labels=None, html=None, as_json=False)
    shown = capfd.readouterr().out
    assert "agreement 25.0%: 1 of 4 images\nagreement by group 50.0%: 2 have the same class or group" in shown
    found = compared(a, b)
    assert found.agreed_by_group == 2
    assert "agree by group</h2><strong>50.0%" in page_of(found)


def test_what_answers_have_beside_one_class_is_said_not_to_be_compared(
    both: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Heads that all differ were an agreement of 100 %, without a word."""
    job = Path(both[1]) / "job.json"
    job.write_text(
        json.dumps(json.loads(job.read_text()) | {"further": ["present", "heads", "prediction_set"]})
    )
    command(*both, labels=None, html=None, as_json=False)
    told = "compared by the first class of each alone: not by present and heads"
    assert told in capfd.readouterr().out
    assert "not compared</h2><strong>present and heads" in page_of(compared(*both))


def labels_file(folder: Path, *lines: str) -> str:
    file = folder / "labels.csv"
    file.write_text("\n".join(("path,label", *lines)) + "\n")
    return str(file)


def test_files_are_paired_by_their_paths_and_answers_counted(both: tuple[str, str]) -> None:
    found = compared(*both)
    assert (found.both, found.a.only, found.b.only) == (7, 1, 2)
    assert (found.a.failed, found.b.failed, found.failed_both) == (1, 1, 1)
    assert (found.compared, found.agreed, found.pairs) == (4, 1, 2)
    assert (found.confidence.a, found.confidence.b) == (0.5, 0.625)
    assert (found.confidence_agreed.a, found.confidence_agreed.b) == (0.5, 1.0)
    assert found.confidence_changed.images == 3
    first, second = found.changed
    assert (first.label_a, first.label_b, first.images) == ("dog", "cat", 2)
    assert (first.confidence_a, first.confidence_b) == (0.375, 0.625)
    assert [each.path for each in first.examples] == ["/cards/a/3.jpg", "/cards/a/4.jpg"]
    assert (second.label_a, second.label_b, second.images) == ("cat", "tiger cat", 1)
    assert {step - 10: images for step, images in enumerate(found.shifts) if images} == {-5: 1, 0: 1, 5: 2}
    assert found.truths is None


def test_labels_say_what_got_better_and_worse_and_which_of_them_are_of_no_use(
    both: tuple[str, str], tmp_path: Path
) -> None:
    """Paths of the labels may be whole, or begin after the source."""
    file = labels_file(
        tmp_path,
        "/cards/a/1.jpg,Cat",
        "a/2.jpg,cat",
        "./a/3.jpg,cat",
        "a/4.jpg,wombat",
        "gone.jpg,dog",
        "b/1.jpg,dog",
    )
    found = compared(*both, file)
    told = found.truths
    assert told
    assert (told.images, told.right_a, told.right_b, told.better, told.worse) == (3, 2, 2, 1, 1)
    assert (told.left_out, told.strange, told.unused) == (1, "wombat", 1)
    (cats,) = told.classes
    assert (cats.label, cats.images, cats.right_a, cats.right_b) == ("cat", 3, 2, 2)
    assert [(pair.better, pair.worse) for pair in found.changed] == [(1, 0), (0, 1)]
    assert [each.truth for each in found.changed[0].examples] == ["cat", "wombat"]


def test_a_label_that_one_of_the_models_cannot_say_counts_against_it(tmp_path: Path) -> None:
    a = make_results(tmp_path / "a", {"1.jpg": ("cat", 0.5)}, labels=("cat", "dog"))
    b = make_results(tmp_path / "b", {"1.jpg": ("lynx", 0.5)}, labels=("lynx", "Cat"))
    told = compared(a, b, labels_file(tmp_path, "1.jpg,lynx")).truths
    assert told
    assert (told.right_a, told.right_b, told.unknown_a, told.unknown_b) == (0, 1, 1, 0)


def test_folders_names_are_labels_where_they_are_asked_for(tmp_path: Path) -> None:
    a = make_results(
        tmp_path / "a", {"fox/1.jpg": ("fox", 0.5), "dog/1.jpg": ("cat", 0.5), "x/1.jpg": ("cat", 1)}
    )
    b = make_results(
        tmp_path / "b", {"fox/1.jpg": ("cat", 0.5), "dog/1.jpg": ("dog", 0.5), "x/1.jpg": ("cat", 1)}
    )
    told = compared(a, b, FOLDER_NAMES).truths
    assert told
    assert (told.images, told.better, told.worse, told.left_out, told.strange) == (2, 1, 1, 1, "x")


def test_models_of_other_labels_are_compared_by_name_those_of_the_same_by_number(tmp_path: Path) -> None:
    a = make_results(tmp_path / "a", {"1.jpg": ("tiger cat", 0.5)}, labels=("fox", "tiger cat"))
    b = make_results(tmp_path / "b", {"1.jpg": ("Tiger_Cat", 0.5)}, labels=("Tiger_Cat",))
    assert compared(a, b).agreed == 1


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a/1.jpg,cat", "a/1.jpg,dog"], "a/1.jpg has two labels"),
        (["a/1.jpg"], "line 2 has no label"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(
    both: tuple[str, str], tmp_path: Path, lines: list[str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        compared(*both, labels_file(tmp_path, *lines))


def test_the_same_files_at_two_places_are_the_same_and_names_that_are_no_text_are_kept_apart(
    tmp_path: Path,
) -> None:
    names: Answers = {os.fsdecode(name): ("cat", 0.5) for name in (b"\xc3\xa9.jpg", b"\xff.jpg", b"z.jpg")}
    a = make_results(tmp_path / "a", names, source="/mnt/cards")
    b = make_results(tmp_path / "b", names, source="s3://bucket/cards")
    assert (compared(a, b).both, compared(a, b).a.only) == (3, 0)


def test_what_cannot_be_compared_is_refused_in_a_line(both: tuple[str, str], tmp_path: Path) -> None:
    other = make_results(tmp_path / "other", {"else.jpg": ("cat", 0.5)})
    begun = make_results(tmp_path / "begun", A, state="stopped")
    for place, says in (
        (other, "no path is in both"),
        (begun, "its job is stopped"),
        ("/gone", "no job.json"),
    ):
        with pytest.raises(ConfigError, match=says):
            compared(both[0], place)
    (Path(both[1]) / "part-000001.parquet").unlink()
    with pytest.raises(StoreError, match="are not those of its manifest"):
        compared(*both)


def test_memory_does_not_grow_with_the_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_GROUP_ROWS", 200)

    def peak(count: int) -> int:
        a, b = (
            make_results(
                tmp_path / f"{label}{count}",
                {f"{number:06}.jpg": (label, 0.5) for number in range(count)},
                shard=200,
            )
            for label in ("cat", "dog")
        )
        tracemalloc.start()
        try:
            assert compared(a, b).changed[0].images == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(3000) < peak(1000) + 50_000


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_stands_alone_with_names_escaped_and_says_which_pictures_are_missing() -> None:
    """All of it in a store; strangers name files and write labels."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/cards/1.jpg", PHOTOS[0].read_bytes())
    store.pipe_file('/cards/<img src=x>".jpg', PHOTOS[1].read_bytes())
    names = ["1.jpg", '<img src=x>".jpg', "gone.jpg"]
    labels = ("<script>alert(1)</script>", "dog")
    source = "memory://cards"
    a, b = (
        make_results(
            f"memory://results/{len(label)}", dict.fromkeys(names, (label, 0.5)), labels=labels, source=source
        )
        for label in labels
    )
    store.pipe_file("/told/labels.csv", b"path,label\n1.jpg,dog\n")
    command(a, b, labels="memory://told/labels.csv", html="memory://told/page.html", as_json=True)
    page = store.cat_file("/told/page.html").decode()
    assert "is dog</small>" in page
    elements = _Elements(page).found
    pictures = [attributes for tag, attributes in elements if tag == "img"]
    assert len(pictures) == 2
    assert all((each["src"] or "").startswith("data:image/jpeg;base64,/9j/") for each in pictures)
    assert [each["alt"] for each in pictures if "<" in (each["alt"] or "")] == [
        'memory://cards/<img src=x>".jpg'
    ]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in elements}
    assert "&lt;script&gt;" in page
    assert "1 of 3 pictures cannot be read: memory://cards/gone.jpg: there is no such file" in page
    assert ("name", "viewport") in [pair for _, attributes in elements for pair in attributes.items()]
    assert "prefers-color-scheme: dark" in page


def test_the_page_has_a_bounded_number_of_pictures_and_says_what_is_left_out(tmp_path: Path) -> None:
    labels = tuple(f"class {number}" for number in range(MOST_PAIRS + 3))
    names = [f"{number:03}.jpg" for number in range(1, len(labels))]
    a = make_results(tmp_path / "a", dict.fromkeys(names, (labels[0], 0.5)), labels=labels)
    b = make_results(
        tmp_path / "b", {name: (labels[1 + number], 0.5) for number, name in enumerate(names)}, labels=labels
    )
    found = compared(a, b)
    assert (found.pairs, len(found.changed)) == (MOST_PAIRS + 2, MOST_PAIRS)
    page = page_of(found)
    assert "2 images of 2 rarer kinds are not shown" in page
    assert f"<h1>{found.a.place} to {found.b.place}</h1>" in page  # the models have one name


def test_the_command_prints_a_table_and_writes_the_page(both: tuple[str, str], tmp_path: Path) -> None:
    file, page = labels_file(tmp_path, "a/3.jpg,cat"), tmp_path / "page.html"
    shown = dropsight("compare", *both, "--labels", file, "--html", str(page))
    assert shown.returncode == 0, shown.stderr
    assert "7 images in both; 1 in A only, 2 in B only" in shown.stdout
    assert "agreement 25.0%: 1 of 4 images" in shown.stdout
    assert f"right by {file}: 0.0% -> 100.0% of 1 images; 1 got better, 0 worse" in shown.stdout
    assert "2       1      0  dog -> cat: /cards/a/3.jpg" in shown.stdout
    assert page.read_text().startswith("<!doctype html>")


def test_json_is_for_programs(both: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    command(*both, labels=None, html=None, as_json=True)
    found = json.loads(capfd.readouterr().out)
    assert (found["both"], found["changed"][0]["images"], found["truths"]) == (7, 2, None)


def test_a_page_that_cannot_be_written_is_named(both: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(DropsightError, match="cannot be written"):
        command(*both, labels=None, html=str(tmp_path / "no" / "page.html"), as_json=False)
