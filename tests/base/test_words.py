"""The built-in text base of pretrained word vectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfransfer.base import words
from tfransfer.base.records import WORD_COUNT, WORD_FEATURES


@pytest.fixture(scope="module")
def model():
    return words.word_model()


def vectors_of(model, *texts):
    return np.asarray(model(tf.constant(texts)))


def alike(model, one, other):
    a, b = vectors_of(model, one, other)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't!", ["do", "n't", "!"]),
        ("It\u2019s O'Brien's 3,5", ["it", "'s", "o'brien", "'s", "3", ",", "5"]),
        ("ÜBER Straße", ["über", "straße"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("a\tb\nc", ["a", "b", "c"]),
        (" ", []),
        ("🙂🙂", ["🙂", "🙂"]),
    ],
)
def test_texts_are_cut_into_words_and_signs(text, expected):
    (found,) = words.words_of(tf.constant([text])).to_list()
    assert [word.decode() for word in found] == expected


def test_every_word_of_the_table_is_found_by_its_own_hash():
    names, table = words.read_words(), words.read_vectors()
    assert len(set(names)) == len(names) == WORD_COUNT
    assert table.shape == (WORD_COUNT, WORD_FEATURES)
    assert len(np.unique(words.fingerprints_of(names))) == WORD_COUNT


def test_a_word_has_its_row_of_the_table(model):
    names, table = words.read_words(), words.read_vectors()
    for name in ("the", "zebra", "n't", "1997"):
        row = table[names.index(name)]
        expected = row / np.sqrt(np.mean(row**2))
        np.testing.assert_allclose(vectors_of(model, name)[0], expected, atol=1e-5)


def test_frequent_words_weigh_less(model):
    assert alike(model, "the movie", "movie") > alike(model, "the movie", "the")


def test_texts_of_one_meaning_are_alike_without_sharing_a_word(model):
    assert alike(model, "a superb film", "an excellent movie") > alike(model, "a superb film", "their football stadium")


def test_texts_without_known_words_are_zeros_and_others_beside_them_are_not(model):
    found = vectors_of(model, "", "movie", " \n", "🙂", "xqzvjk", "a" * 100_000, "\0\x07")
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(np.abs(found).max(1) > 0, [False, True, False, False, False, False, False])


def test_a_very_long_text_is_read(model):
    long = "a superb film " * 7_000
    np.testing.assert_allclose(vectors_of(model, long), vectors_of(model, "a superb film"), atol=1e-4)


def test_what_a_task_teaches_reaches_unknown_words():
    model = words.word_model()
    layer = model.layers[-1]
    assert [variable.name for variable in layer.trainable_variables] == ["pieces"]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(tf.constant(["movie xqzvjk"]))[:, 0])
    (gradient,) = tape.gradient(loss, layer.trainable_variables)
    layer.pieces.assign_sub(tf.convert_to_tensor(gradient))
    assert np.abs(vectors_of(model, "xqzvjks")).max() > 0, "it shares pieces with xqzvjk"


def test_it_is_saved_and_served_by_plain_tensorflow(model, tmp_path):
    model.save(tmp_path / "words.keras")
    again = keras.saving.load_model(tmp_path / "words.keras")
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    texts = ["A superb film!", "", "xqzvjk"]
    np.testing.assert_allclose(vectors_of(again, *texts), vectors_of(model, *texts), atol=1e-6)
    np.testing.assert_allclose(served.serve(tf.constant(texts)), vectors_of(model, *texts), atol=1e-6)


def test_other_languages_are_told_from_english():
    english = "The film is not as funny as its makers think, but its second half has some good scenes."
    german = "Der Film ist weniger lustig, als seine Macher glauben, doch die zweite Hälfte hat ein paar gute Szenen."
    assert words.known_share([english]) > 0.9
    assert words.known_share([german]) < 0.6
    assert words.known_share(["Фильм не так смешон, как думают его создатели"]) < 0.1
    assert words.known_share(["", "🙂 !"]) == 1.0
