"""Generates the videos of video-processing: three seconds each, one per input, of discs that move over a gradient."""

import sys

import cv2
import numpy

# Ours: only the length is published.
WIDTH, HEIGHT, FRAMES_PER_SECOND, SECONDS = 1280, 720, 30, 3
NAMES = ["base", "_1", "_2", "warm-up"]


def main(folder):
    for seed, name in enumerate(NAMES):
        fourcc = cv2.VideoWriter_fourcc(*"mp4v")
        video = cv2.VideoWriter(f"{folder}/{name}.mp4", fourcc, FRAMES_PER_SECOND, (WIDTH, HEIGHT))
        if not video.isOpened():
            sys.exit("this OpenCV writes no MP4")
        for frame in frames(seed):
            video.write(frame)
        video.release()


def frames(seed):
    # Raw words of PCG64, a stream that numpy keeps the same in all versions.
    words = numpy.random.PCG64(seed)
    discs = [[int(words.random_raw() >> 33) for _ in range(8)] for _ in range(12)]
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    ground = numpy.stack([x * 200 // WIDTH, y * 200 // HEIGHT, (x + y) * 200 // (WIDTH + HEIGHT)], axis=2)
    for number in range(FRAMES_PER_SECOND * SECONDS):
        grain = (words.random_raw(HEIGHT * WIDTH // 8).view(numpy.uint8) >> 6).reshape(HEIGHT, WIDTH, 1)
        frame = (ground + grain).astype(numpy.uint8)
        for left, top, across, down, radius, *colour in discs:
            centre = ((left + number * (across % 32)) % WIDTH, (top + number * (down % 24)) % HEIGHT)
            cv2.circle(frame, centre, 20 + radius % 80, [c % 256 for c in colour], thickness=-1)
        yield frame


if __name__ == "__main__":
    main(sys.argv[1])
