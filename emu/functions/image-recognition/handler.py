"""Classifies a picture with ResNet-50, on ONNX Runtime. The weights are generated, so the classes mean nothing."""

import os

import numpy
import onnxruntime
from PIL import Image

DATA = os.environ["FUNCTION_DATA"]
MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32)
DEVIATION = numpy.array([0.229, 0.224, 0.225], numpy.float32)


def load():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["FUNCTION_CPUS"])
    options.inter_op_num_threads = 1
    # A worker that spins between requests would steal the time of other sandboxes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = os.path.join(DATA, "resnet50.onnx")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


SESSION = load()


def handle(given):
    with Image.open(os.path.join(DATA, f"{given['image']}.jpg")) as image:
        pixels = prepare(image)
    return SESSION.run(["scores"], {"data": pixels})[0][0]


def prepare(image):
    """Shrinks the shorter side to 256, cuts the middle 224 x 224 out, and normalises, as the network is used."""
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = numpy.asarray(image.crop((left, top, left + 224, top + 224)), numpy.float32) / 255
    return ((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)[numpy.newaxis]


def describe(scores):
    top = numpy.argsort(-scores)[:5]
    return {
        "classes": len(scores),
        "top": top.tolist(),
        "top_scores": [round(float(scores[index]), 4) for index in top],
        "mean": round(float(scores.mean()), 4),
        "deviation": round(float(scores.std()), 4),
    }
