"""Turns a video grey, frame by frame through a JPEG file, with OpenCV."""

import os
import tempfile

import cv2

DATA = os.environ["FUNCTION_DATA"]
cv2.setNumThreads(int(os.environ["FUNCTION_CPUS"]))


def handle(given):
    folder = tempfile.mkdtemp(prefix="video-processing-")
    output, still = os.path.join(folder, "grey.mp4"), os.path.join(folder, "frame.jpg")
    video = cv2.VideoCapture(os.path.join(DATA, f"{given['video']}.mp4"))
    size = (int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(output, cv2.VideoWriter_fourcc(*"mp4v"), 20.0, size)
    while True:
        there, frame = video.read()
        if not there:
            break
        # Through a file and back, as the published function does.
        cv2.imwrite(still, cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
        writer.write(cv2.imread(still))
    video.release()
    writer.release()
    os.remove(still)
    return folder, output


def describe(result):
    """Frames, size, mean levels of blue, green and red of the first and the last frame, and how far these three are
    apart from each other in a pixel of the last (in a grey frame hardly at all), of what was written, which is then
    removed."""
    folder, output = result
    video = cv2.VideoCapture(output)
    first, last, frames = None, None, 0
    while True:
        there, frame = video.read()
        if not there:
            break
        frames += 1
        first = frame if first is None else first
        last = frame
    video.release()
    os.remove(output)
    os.rmdir(folder)
    if frames == 0:
        return {"frames": 0}
    height, width, _ = last.shape
    return {
        "frames": frames,
        "size": [width, height],
        "first": mean(first),
        "last": mean(last),
        "colour": round(float((last.max(axis=2) - last.min(axis=2)).mean()), 2),
    }


def mean(frame):
    return [round(level, 2) for level in cv2.mean(frame)[:3]]
