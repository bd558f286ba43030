"""The Python functions, written for this measurement after the descriptions of FunctionBench's and
SeBS's (no code of theirs). Each is a generator that becomes ready step by step: after a step it
yields what the step added to the process (LIBRARY, or IGNORED: left out of the profile), and at
last the handler, after loading what is loaded once."""

import ctypes
import importlib.util
import os
import random
from pathlib import Path

LIBRARY, IGNORED = "library", "ignored"

FIRST_IMAGE, BASE_IMAGE = "first.jpg", "base.jpg"

# The inputs of the call before the checkpoint and of the measured calls: the paper's, where it
# states them (chameleon, pyaes, pagerank's and dynamic-html's base).
INPUTS = {
    "hello-world": ((), ()),
    "chameleon": ((700, 400), (400, 400)),
    "dynamic-html": ((500,), (1000,)),
    "image-processing": ((FIRST_IMAGE,), (BASE_IMAGE,)),
    "pyaes": ((2000, 200), (1000, 150)),
    "image-recognition": ((FIRST_IMAGE,), (BASE_IMAGE,)),
    "video-processing": (("first.avi",), ("base.avi",)),
    "json-serde": (("first.json",), ("base.json",)),
    "pagerank": ((50_000, 12), (75_000, 12)),
}


def hello_world(folder):
    yield lambda: "hello"


def chameleon(folder):
    from chameleon import PageTemplate

    yield LIBRARY
    source = """<table><tr tal:repeat="row rows">
      <td tal:repeat="column columns">${row} <b tal:content="column">column</b></td></tr></table>"""

    def handle(rows, columns):
        return len(PageTemplate(source)(rows=range(rows), columns=range(columns)))

    yield handle


def dynamic_html(folder):
    from jinja2 import Template

    yield LIBRARY
    source = """<html><body><h1>{{ user }}</h1><p>{{ count }} items</p><ul>
      {% for item in items %}<li class="{{ loop.cycle('odd', 'even') }}">{{ item }}</li>{% endfor %}
      </ul></body></html>"""

    def handle(count):
        items = random.sample(range(1_000_000), count)
        return len(Template(source).render(user="somebody", count=count, items=items))

    yield handle


def image_processing(folder):
    from PIL import Image, ImageFilter

    yield LIBRARY
    flips = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM
    turns = Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270
    filters = ImageFilter.BLUR, ImageFilter.CONTOUR, ImageFilter.SHARPEN

    def results(image):
        yield from (image.transpose(way) for way in flips + turns)
        yield from (image.filter(kind) for kind in filters)
        yield image.convert("L")
        yield image.resize((128, 128))

    def handle(name):
        with Image.open(folder / name) as image:
            for result in results(image):
                result.save(folder / f"out-{os.getpid()}.jpg")

    yield handle


def pyaes(folder):
    import pyaes

    yield LIBRARY
    key = bytes(range(16))

    def handle(length, iterations):
        message = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=length))
        for _ in range(iterations):
            secret = pyaes.AESModeOfOperationCTR(key).encrypt(message)
            plain = pyaes.AESModeOfOperationCTR(key).decrypt(secret)
        return len(plain)

    yield handle


def image_recognition(folder):
    import numpy
    from PIL import Image

    parts = Path(importlib.util.find_spec("torch").origin).parent / "lib"
    if (parts / "libtorch_cuda.so").exists():  # Not in the CPU build, which the profile stands for.
        ctypes.CDLL(parts / "libtorch_global_deps.so", mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(parts / "libtorch_cpu.so")
        yield LIBRARY
        ctypes.CDLL(parts / "libtorch_cuda.so")
        yield IGNORED
    import resnet
    import torch

    yield LIBRARY
    model = resnet.resnet50()
    model.load_state_dict(torch.load(folder / "resnet50.pt"))
    model.eval()
    mean, deviation = numpy.float32((0.485, 0.456, 0.406)), numpy.float32((0.229, 0.224, 0.225))

    def handle(name):
        with Image.open(folder / name) as image:
            scale = 256 / min(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)))
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = numpy.asarray(image.crop((left, top, left + 224, top + 224)), numpy.float32)
        planes = ((pixels / 255 - mean) / deviation).transpose(2, 0, 1)[None]
        with torch.no_grad():
            return int(model(torch.from_numpy(numpy.ascontiguousarray(planes))).argmax())

    yield handle


def video_processing(folder):
    import cv2

    cv2.setNumThreads(1)
    yield LIBRARY

    def handle(name):
        video = cv2.VideoCapture(str(folder / name))
        size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        code = cv2.VideoWriter_fourcc(*"XVID")
        out = cv2.VideoWriter(str(folder / f"out-{os.getpid()}.avi"), code, 30, size, False)
        frames = 0
        while True:
            more, frame = video.read()
            if not more:
                break
            out.write(cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (7, 7), 0))
            frames += 1
        video.release()
        out.release()
        return frames

    yield handle


def json_serde(folder):
    import json

    yield LIBRARY

    def handle(name):
        with open(folder / name) as file:
            return len(json.dumps(json.load(file), indent=4))

    yield handle


def pagerank(folder):
    import igraph

    yield LIBRARY

    def handle(nodes, degree):
        return max(igraph.Graph.Barabasi(nodes, degree).pagerank())

    yield handle


FUNCTIONS = {name: globals()[name.replace("-", "_")] for name in INPUTS}
