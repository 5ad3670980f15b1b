"""Make `words.npz`, the table of the built-in text base `words`, from GloVe vectors and a sentence encoder.

    python tools/make_words.py GLOVE.npz MINILM_PRESET

GLOVE.npz holds `words`, by frequency, and `vectors`, one row for each. Each word also goes through the encoder alone;
the mean of its tokens' outputs, reduced to its principal components, stands beside the GloVe vector. The same input
gives the same table up to rounding.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

ASSET = Path(__file__).parent.parent / "tfransfer" / "assets" / "words.npz"
_TOKENS = 8  # of one word, its class token and its separator included; longer words are cut


def main() -> None:
    """Read both sources, join and quantize them, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("glove", type=Path, help="an .npz with words and vectors")
    parser.add_argument("preset", type=Path, help="folder of a KerasHub preset of a sentence encoder (BERT)")
    parser.add_argument("--words", type=int, default=32_000, help="how many of the most frequent words are taken")
    parser.add_argument("--components", type=int, default=64, help="of the encoder's vectors")
    parser.add_argument("--out", type=Path, default=ASSET)
    asked = parser.parse_args()
    with np.load(asked.glove, allow_pickle=False) as archive:
        words = [str(word) for word in archive["words"][: asked.words]]
        glove = archive["vectors"][: asked.words].astype(np.float32)
    encoded = principal(encode(words, asked.preset), asked.components)
    vectors = np.concatenate([scaled(glove), scaled(encoded)], axis=1)
    steps = np.abs(vectors).max(0) / 127
    rows = np.round(vectors / steps).astype(np.int8)
    names = np.frombuffer("\n".join(words).encode(), np.uint8)
    np.savez_compressed(asked.out, words=names, vectors=rows, steps=steps.astype(np.float32))
    print(f"{len(words)} words, {vectors.shape[1]} wide: {asked.out}, {asked.out.stat().st_size} bytes")


def encode(words: list[str], preset: Path, batch: int = 500) -> np.ndarray:
    """The mean of the encoder's outputs for each word alone, float32 (words, width)."""
    import keras_hub

    backbone = keras_hub.models.BertBackbone.from_preset(str(preset), dtype="float32")
    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(preset))
    pack = keras_hub.layers.MultiSegmentPacker(
        sequence_length=_TOKENS, start_value=tokenizer.cls_token_id, end_value=tokenizer.sep_token_id,
        pad_value=tokenizer.pad_token_id,
    )  # fmt: skip

    @tf.function
    def run(tokens: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
        mask = tf.cast(tokens != tokenizer.pad_token_id, tf.int32)
        given = {"token_ids": tokens, "segment_ids": segments, "padding_mask": mask}
        weights = tf.cast(mask, tf.float32)[..., tf.newaxis]
        return tf.reduce_sum(backbone(given, training=False)["sequence_output"] * weights, 1) / tf.reduce_sum(
            weights, 1
        )

    progress = keras.utils.Progbar(len(words))
    found = []
    for start in range(0, len(words), batch):
        found.append(run(*pack((tokenizer(words[start : start + batch]),))).numpy())
        progress.update(min(start + batch, len(words)))
    return np.concatenate(found)


def principal(vectors: np.ndarray, components: int) -> np.ndarray:
    """The first principal components of rows."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:components].T


def scaled(vectors: np.ndarray) -> np.ndarray:
    """Rows without their mean, divided by their root mean square length."""
    centred = vectors - vectors.mean(0)
    return centred / np.sqrt((centred**2).sum(1).mean())


if __name__ == "__main__":
    main()
