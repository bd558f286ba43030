"""Draws pictures from a seed, with Pillow alone: they need no download and compress as photographs do."""

import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter


def draw(seed, width, height):
    """A picture with soft large shapes, sharp edges and fine grain."""
    source = random.Random(seed)
    picture = cloud(source, 4, 3, width, height)
    # Finer and finer clouds around grey, each weaker than the one before.
    for cells, strength in [(16, 0.5), (64, 0.3), (256, 0.2)]:
        layer = cloud(source, cells, cells * 3 // 4, width, height)
        picture = Image.blend(picture, layer, strength / (1 + strength))
    pen = ImageDraw.Draw(picture)
    for _ in range(24):
        x, y = source.randrange(width), source.randrange(height)
        w, h = source.randrange(width // 40, width // 6), source.randrange(height // 40, height // 6)
        colour = tuple(source.randrange(256) for _ in range(3))
        shape = pen.ellipse if source.getrandbits(1) else pen.rectangle
        shape((x - w, y - h, x + w, y + h), fill=colour)
    return grain(source, picture.filter(ImageFilter.GaussianBlur(1)))


def cloud(source, columns, rows, width, height):
    dots = Image.frombytes("RGB", (columns, rows), source.randbytes(3 * columns * rows))
    return dots.resize((width, height), Image.Resampling.BICUBIC)


def grain(source, picture, strength=48):
    """Adds noise of less than `strength` levels, one tile of it laid side by side."""
    side = 256
    table = [value * strength // 256 for value in range(256)]
    noise = Image.frombytes("RGB", (side, side), source.randbytes(3 * side * side)).point(table * 3)
    tiled = Image.new("RGB", picture.size)
    for y in range(0, picture.height, side):
        for x in range(0, picture.width, side):
            tiled.paste(noise, (x, y))
    return ImageChops.add(picture, tiled, offset=-strength // 2)
