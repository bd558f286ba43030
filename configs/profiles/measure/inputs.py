"""The functions' input files, the same at every run. Each has a first version, for the call before
the checkpoint, and a base version, for the calls that are measured."""

import json
import random
from pathlib import Path


def make(folder: Path):
    """Writes every input into `folder`."""
    image(folder / "first.jpg", 1600, 1200, seed=1)
    image(folder / "base.jpg", 2000, 1500, seed=2)
    video(folder / "first.avi", seconds=2, seed=3)
    video(folder / "base.avi", seconds=3, seed=4)
    document(folder / "first.json", 750_000, seed=5)
    document(folder / "base.json", 1_500_000, seed=6)
    weights(folder / "resnet50.pt")


def image(path, width, height, seed):
    """A photograph-like JPEG: large soft shapes under fine noise; 1.6 MB at 2000 x 1500."""
    from PIL import Image

    draw = random.Random(seed)
    shapes = Image.frombytes("RGB", (20, 15), draw.randbytes(20 * 15 * 3)).resize((width, height))
    noise = Image.frombytes("RGB", (width, height), draw.randbytes(width * height * 3))
    Image.blend(shapes, noise, 0.2).save(path, quality=93)


def video(path, seconds, seed):
    """Discs that move over a noisy ground: 640 x 360 at 30 frames a second."""
    import cv2
    import numpy

    draw = numpy.random.default_rng(seed)
    ground = draw.integers(0, 64, (360, 640, 3), dtype=numpy.uint8)
    speed = draw.integers(2, 9, (8, 2))
    colour = draw.integers(64, 256, (8, 3)).tolist()
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 30, (640, 360))
    for t in range(30 * seconds):
        frame = ground.copy()
        for (x, y), c in zip(speed * t % (640, 360), colour):
            cv2.circle(frame, (int(x), int(y)), 30, c, -1)
        out.write(frame)
    out.release()


def document(path, size, seed):
    """A list of records with text, numbers and a nested list; about `size` bytes."""
    draw = random.Random(seed)
    records, length = [], 0
    while length < size:
        record = {
            "id": len(records),
            "name": "%016x" % draw.getrandbits(64),
            "active": draw.random() < 0.5,
            "balance": round(draw.uniform(0, 10_000), 2),
            "tags": [draw.choice(("red", "green", "blue", "grey")) for _ in range(5)],
            "place": {"lat": draw.uniform(-90, 90), "lon": draw.uniform(-180, 180)},
            "text": " ".join("%x" % draw.getrandbits(24) for _ in range(20)),
        }
        records.append(record)
        length += len(json.dumps(record))
    path.write_text(json.dumps(records))


def weights(path):
    """Untrained weights: the arithmetic and the memory are those of trained ones."""
    import torch

    from resnet import resnet50

    torch.manual_seed(7)
    torch.save(resnet50().state_dict(), path)
