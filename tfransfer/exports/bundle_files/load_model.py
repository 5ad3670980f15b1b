"""Classify photos: python load_model.py MODEL.tflite PHOTO... (needs ai-edge-litert, numpy and pillow)."""

import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

model, *photos = sys.argv[1:]
labels = zipfile.ZipFile(model).read("labels.txt").decode().removesuffix("\n").split("\n")
interpreter = Interpreter(model_path=model)
interpreter.allocate_tensors()
model_input, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]


def shown(name: str) -> str:
    """A name without sequences that would control the terminal."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in name)


for photo in photos:
    upright = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    pixels = np.asarray(upright.resize(model_input["shape"][2:0:-1], Image.Resampling.BILINEAR))  # raw, 0 to 255
    interpreter.set_tensor(model_input["index"], pixels[np.newaxis].astype(model_input["dtype"]))
    interpreter.invoke()
    scores = interpreter.get_tensor(output["index"])[0].astype(np.float32)
    scores = scores / 256 if output["dtype"] == np.uint8 else scores
    print(shown(photo), *(f"{shown(labels[i])} {scores[i]:.3f}" for i in np.argsort(-scores)[:3]), sep="  ")
