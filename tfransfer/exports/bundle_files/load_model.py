"""Name what is on photos, python load_model.py MODEL.tflite PHOTO..., with ai-edge-litert, numpy and pillow."""

import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

model, *photos = sys.argv[1:]
labels = zipfile.ZipFile(model).read("labels.txt").decode().splitlines()
interpreter = Interpreter(model_path=model)
interpreter.allocate_tensors()
given, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
for photo in photos:
    upright = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    pixels = np.asarray(upright.resize(given["shape"][2:0:-1], Image.Resampling.BILINEAR))  # raw, 0 to 255
    interpreter.set_tensor(given["index"], pixels[np.newaxis].astype(given["dtype"]))
    interpreter.invoke()
    scores = interpreter.get_tensor(said["index"])[0].astype(np.float32)
    scores = scores / 256 if said["dtype"] == np.uint8 else scores
    print(photo, *(f"{labels[i]} {scores[i]:.3f}" for i in np.argsort(-scores)[:3]), sep="  ")
