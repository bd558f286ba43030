"""Flips, rotates, filters, greys and shrinks a picture and saves every result, with Pillow."""

import os
import tempfile

from PIL import Image, ImageChops, ImageFilter, ImageStat

DATA = os.environ["FUNCTION_DATA"]
STEPS = {
    "flip-left-right": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "flip-top-bottom": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "rotate-90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "rotate-180": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "rotate-270": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "blur": lambda image: image.filter(ImageFilter.BLUR),
    "contour": lambda image: image.filter(ImageFilter.CONTOUR),
    "sharpen": lambda image: image.filter(ImageFilter.SHARPEN),
    "grey": lambda image: image.convert("L"),
}


def handle(given):
    folder = tempfile.mkdtemp(prefix="image-processing-")
    saved = {}
    with Image.open(os.path.join(DATA, f"{given['image']}.jpg")) as image:
        for name, step in STEPS.items():
            saved[name] = os.path.join(folder, f"{name}.jpg")
            step(image).save(saved[name])
        # In place, so it comes last.
        saved["thumbnail"] = os.path.join(folder, "thumbnail.jpg")
        image.thumbnail((128, 128))
        image.save(saved["thumbnail"])
    return folder, saved


def describe(result):
    """Of what was saved, which is then removed: sizes, mean levels of red, green and blue (or grey), of the whole and
    of a corner, and how much neighbours in a row differ."""
    folder, saved = result
    described = {}
    for name, path in saved.items():
        with Image.open(path) as image:
            # The corner tells the flips and rotations apart; the means do not.
            corner = image.crop((0, 0, image.width // 8, image.height // 8))
            described[name] = {
                "size": list(image.size),
                "mean": rounded(ImageStat.Stat(image).mean),
                "corner": rounded(ImageStat.Stat(corner).mean),
                # Tells the filters apart.
                "detail": detail(image),
            }
        os.remove(path)
    os.rmdir(folder)
    return described


def detail(image):
    grey = image.convert("L")
    left = grey.crop((0, 0, grey.width - 1, grey.height))
    right = grey.crop((1, 0, grey.width, grey.height))
    return round(ImageStat.Stat(ImageChops.difference(left, right)).mean[0], 2)


def rounded(levels):
    return [round(level, 2) for level in levels]
