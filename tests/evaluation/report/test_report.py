"""The report from plain values: right for each task, harmless whatever a class is called, with no way to a network."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from report_content import EVIL, answers_for, content_for

from tfransfer.evaluation.answers import read_answers, write_answers
from tfransfer.evaluation.plots import confusion, drawable
from tfransfer.evaluation.report import words
from tfransfer.evaluation.report.figures import selected_row
from tfransfer.evaluation.report.page import render
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL


class Page(HTMLParser):
    """What of a page matters here."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.ids, self.links, self.text = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[k] for k in ("href", "src", "xlink:href", "srcset", "action") if k in values]

    def handle_data(self, data):
        self.text += data


def page_of(**options):
    return Page(render(content_for(**options)))


@pytest.mark.parametrize("task", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_each_task_has_its_headline_with_an_interval_and_its_plots(task):
    page = page_of(task=task)
    named = {SINGLE_LABEL: "top-1 accuracy", MULTI_LABEL: "mean average precision", REGRESSION: "R2 on 60 test"}
    assert named[task] in page.text
    assert "95% interval: " in page.text
    drawn = [values["aria-label"] for tag, values in page.tags if tag == "svg"]
    assert len(drawn) == (5 if task == REGRESSION else 4)
    assert any("Reliability" in words for words in drawn) == (task != REGRESSION)
    assert ("Confusion matrix" in page.text) == (task == SINGLE_LABEL)
    assert "tfransfer train photos --base mini" in page.text


def test_the_interval_of_a_share_is_wilsons():
    content = content_for()
    low, high = 0.883, 0.939
    content.metrics["test"] |= {"n": 389, "top1": 356 / 389}
    assert f"95% interval: {low:.1%} to {high:.1%}" in Page(render(content)).text


@pytest.mark.parametrize("photos", [False, True])
def test_a_class_or_a_text_can_do_nothing(photos):
    evil = ("daisy", EVIL, '"onmouseover="alert(2)')
    page = page_of(classes=evil, photos=photos, texts=None if photos else [f"{EVIL} said $x_1$", "أحمر"])
    assert EVIL in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, values in page.tags for name in values if name.startswith("on")]
    assert not [link for link in page.links if not link.startswith(("#", "data:"))]
    (policy,) = [v["content"] for _, v in page.tags if v.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_a_figure_that_did_not_change_is_not_said_to_have_helped():
    results = {name: {"validation": {"top1": 0.9996}, "epochs": 1} for name in ("head", "fine_tune")}
    manifest = {"task": SINGLE_LABEL, "phases": results, "plan": {}}
    same = words.phases(manifest | {"kept": "fine_tune"})
    assert "helped" not in same
    assert "stayed at 100.0%" in same
    assert "lowered the loss" in same
    assert "did not help" in (other := words.phases(manifest | {"kept": "head"}))
    assert "stayed at 100.0%" in other
    results["fine_tune"] = {"validation": {"top1": 1.0}}
    results["head"] = {"validation": {"top1": 0.9}}
    assert "helped: on validation top-1 went from 90.0% to 100.0%" in words.phases(manifest | {"kept": ""})


def test_nothing_points_to_a_network():
    made = render(content_for(photos=True))
    addresses = set(re.findall(r"https?://[^\s\"'<]+", made))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not places
    assert "@import" not in made
    assert "url(http" not in made


def test_every_picture_has_words_and_no_id_stands_twice_outside_of_plots():
    page = page_of(photos=True)
    assert all(values.get("alt") for tag, values in page.tags if tag == "img")
    assert sum(tag == "img" for tag, _ in page.tags) >= 2
    own = [name for name in page.ids if re.fullmatch(r"[a-z]+|h-[a-z]+", name)]
    assert len(own) == len(set(own))
    assert {link[1:] for link in page.links if link.startswith("#") and len(link) < 12} <= set(page.ids)


def test_plots_mark_the_selected_epoch():
    content = content_for()
    assert selected_row(content.manifest, content.history) == 4  # of three epochs of each phase
    content = content_for(manifest={"kept": "head"})
    assert selected_row(content.manifest, content.history) == 2
    assert selected_row({}, content.history) is None


def test_a_fine_tuning_that_was_rolled_back_is_said():
    page = page_of(manifest={"kept": "head"})
    assert "did not help on validation" in page.text
    assert "rolled back" in page.text
    assert "rolled back" not in page_of().text


def test_many_classes_give_pairs_and_a_picture_and_not_40_000_cells():
    classes = tuple(f"class {i}" for i in range(200))
    made = render(content_for(classes=classes))
    page = Page(made)
    assert "Confused most often" in page.text
    assert sum(tag == "td" for tag, _ in page.tags) < 1500
    assert len(made) < 1_500_000


def test_without_data_it_says_so_and_still_names_the_mistakes():
    page = page_of(missing="No photos are shown, because the training data is not available.")
    assert "the training data is not available" in page.text
    assert "folder/" in page.text
    assert "img" not in {tag for tag, _ in page.tags}


def test_without_answers_there_is_what_the_metrics_know():
    page = page_of(answers=None, shown=(), missing="No photos are shown.")
    assert "Confusion matrix" in page.text
    assert "No photos are shown." in page.text
    assert not any("Reliability" in values.get("aria-label", "") for _, values in page.tags)


def test_what_is_known_of_the_exports_gets_columns():
    assert "threads" not in page_of().text
    more = {"tflite": {"file": "m.tflite", "bytes": 10, "latency_ms": {"1": 12.5, "2": 7.25}, "agreement": 0.97,
                       "load_seconds": None}, "keras": {"file": "m.keras", "bytes": 9}}  # fmt: skip
    text = page_of(manifest={"exports": more}).text
    assert {"ms, 1 thread", "ms, 2 threads", "12.5", "7.2", "97.0%"} <= set(re.findall(r"[^\n]+", text)) | {
        word for word in ("ms, 1 thread", "ms, 2 threads", "12.5", "7.2", "97.0%") if word in text
    }
    assert "loads in" not in text


def test_findings_stand_one_line_a_kind_with_what_to_do():
    issues = [{"kind": "duplicate", "path": f"{i}.jpg", "detail": "2 are the same", "set_aside": "false"}
              for i in range(3)]  # fmt: skip
    assert "delete all but one" in page_of(issues=issues).text
    assert "Nothing was skipped" in page_of().text


def test_a_base_that_stands_in_for_another_one_is_told():
    plan = content_for().manifest["plan"]
    assert "are not available" not in page_of().text
    page = page_of(manifest={"plan": plan | {"instead_of": "mobilenet_v2"}})
    assert "mini (the weights of mobilenet_v2 are not available), trained" in page.text


def test_a_kind_of_finding_shows_its_first_photos():
    issues = [{"kind": "duplicate", "path": "a.jpg = b.jpg", "detail": "2 are the same", "set_aside": "false"}]
    photos = {"duplicate": (np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8))}
    page = page_of(issues=issues, odd=photos)
    assert [v["alt"] for tag, v in page.tags if tag == "img"] == ["Photo 1 of 2: duplicate", "Photo 2 of 2: duplicate"]


def test_a_run_of_a_linear_probe_alone_has_a_report():
    page = page_of(history=[], manifest={"phases": {"head": {"epochs": 0}}, "kept": "head"})
    assert "Only the head was trained" in page.text


def test_names_without_letters_in_the_font_become_numbers_in_plots():
    assert drawable(["rot", "grün"]) == ["rot", "grün"]
    assert drawable(["猫", "犬"]) == ["0", "1"]
    labels = [t.get_text() for t in confusion(np.eye(2, dtype=int), ["猫", "$x$"]).axes[0].get_yticklabels()]
    assert labels == ["0", "1"]


def test_answers_are_kept_as_plain_arrays_and_damage_is_seen(tmp_path):
    answers = answers_for(SINGLE_LABEL, ("a", "b"))
    write_answers(tmp_path / "answers.npz", answers)
    again = read_answers(tmp_path / "answers.npz", ("a", "b"))
    assert again.paths == answers.paths
    np.testing.assert_array_equal(again.outputs, answers.outputs)
    assert read_answers(tmp_path / "answers.npz", ("a", "b", "c")) is None
    (tmp_path / "answers.npz").write_bytes((tmp_path / "answers.npz").read_bytes()[:200])
    assert read_answers(tmp_path / "answers.npz", ("a", "b")) is None
    assert read_answers(tmp_path / "none.npz", ("a", "b")) is None
