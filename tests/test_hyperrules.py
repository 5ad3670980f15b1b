"""Defaults that depend on the size of the data."""

import pytest

from tfransfer import hyperrules


@pytest.mark.parametrize(("images", "batch"), [(1, 4), (40, 4), (94, 8), (320, 32), (2900, 32), (10**6, 32)])
def test_batch_gives_about_ten_steps_on_small_data(images, batch):
    assert hyperrules.batch_size(images) == batch


def test_epochs_fall_with_the_size_of_the_data():
    epochs = [hyperrules.head_epochs(n) for n in (10, 1500, 2900, 5000, 10**6)]
    assert epochs == [20, 20, 10, 6, 5]
    assert [hyperrules.fine_tune_epochs(n) for n in (1000, 2900, 10**6)] == [20, 10, 5]


def test_few_pictures_are_fine_tuned_for_more_epochs_and_with_more_patience():
    epochs = [hyperrules.fine_tune_epochs(n) for n in (1, 200, 300, 600)]
    assert epochs == [60, 60, 40, 20]
    assert [hyperrules.fine_tune_patience(n) for n in (1, 5, *epochs)] == [5, 5, 15, 15, 10, 5]
    assert [hyperrules.fine_tune_patience(n, hyperrules.SMALL) for n in (12, 20, 80)] == [10, 10, 40]
    assert hyperrules.fine_tune_patience(20, hyperrules.SMALL) > hyperrules.fine_tune_patience(20)
    assert hyperrules.fine_tune_epochs(50, hyperrules.UNTRAINED) == hyperrules.head_epochs(50)


@pytest.mark.parametrize(("blocks", "top"), [(1, 1), (5, 1), (16, 3), (17, 3), (58, 10)])
def test_a_sixth_of_the_blocks_is_unfrozen(blocks, top):
    assert hyperrules.unfrozen_blocks(blocks) == top


def test_the_small_base_is_fine_tuned_deeper_and_longer():
    small = hyperrules.SMALL
    epochs = [hyperrules.fine_tune_epochs(n, small) for n in (10, 500, 1437, 2900, 6000, 10**6)]
    assert epochs == [80, 34, 12, 20, 10, 5]
    assert [hyperrules.unfrozen_blocks(17, small, n) for n in (10, 1999, 2000, 10**6)] == [8, 8, 12, 12]
    assert [hyperrules.views(n, small) for n in (1, 1500, 2902, 10**6)] == [8, 4, 4, 4]


def test_a_base_that_knows_nothing_learns_whole():
    assert hyperrules.unfrozen_blocks(3, hyperrules.UNTRAINED, 10**6) == 3


def test_learning_rate_follows_the_square_root_of_the_batch():
    assert hyperrules.fine_tune_learning_rate(32) == pytest.approx(1e-4)
    assert hyperrules.fine_tune_learning_rate(128) == pytest.approx(2e-4)


def test_warm_up_is_a_fraction_of_the_steps_and_never_longer():
    assert hyperrules.warmup_steps(100, 0.1) == 10
    assert hyperrules.warmup_steps(3, 0.1) == 1
    assert hyperrules.warmup_steps(3, 1.0) == 3
    assert hyperrules.warmup_steps(100, 0.0) == 0


def test_views_are_more_where_pictures_are_few():
    assert [hyperrules.views(n) for n in (1, 100, 750, 1500, 2902, 10**6)] == [8, 8, 8, 4, 2, 2]


def test_texts_are_cut_after_what_nearly_all_of_them_need():
    assert hyperrules.sequence_length([10] * 99 + [300], 512) == 16
    assert hyperrules.sequence_length([10] * 98 + [300] * 2, 512) == 304
    assert hyperrules.sequence_length([900] * 10, 512) == 512
    assert hyperrules.sequence_length([3], 512) == 8
