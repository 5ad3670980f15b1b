"""The plan's lines for the user."""

from tfransfer.features.plan import CachePlan


def test_the_time_after_training_is_estimated_from_the_examples_and_the_files():
    plan = CachePlan(head=True, seconds=60.0, plain_seconds=90.0, example_seconds=0.01)
    assert plan.predicted() == "time: about 60 s; without cached features about 90 s"
    # 400 examples, and for each file as long again for the validation split, at most 15 s.
    assert plan.finishing([200, 200], 1) == "time: then about 16 s to evaluate, and to write and check one file"
    assert "about 4 min" in CachePlan(example_seconds=0.1).finishing([900, 900], 3)


def test_where_nothing_was_measured_no_time_is_given():
    assert CachePlan().finishing([10, 10], 3) == ""
