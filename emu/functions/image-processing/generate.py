"""Generates the pictures of image-processing and image-flip-rotate: photographs of 1.6 MB, one per input."""

import sys

import picture

# Ours, like the quality; together they make the published size of the file.
WIDTH, HEIGHT, QUALITY = 2400, 1600, 90
NAMES = ["base", "_1", "_2", "warm-up"]


def main(folder):
    for seed, name in enumerate(NAMES):
        picture.draw(seed, WIDTH, HEIGHT).save(f"{folder}/{name}.jpg", quality=QUALITY)


if __name__ == "__main__":
    main(sys.argv[1])
