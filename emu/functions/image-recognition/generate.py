"""Generates the pictures of image-recognition, one per input, and its model: ResNet-50 with seeded weights, as an
ONNX file.

The layout is the published one (bottleneck blocks of 3, 4, 6 and 3; 25.6 million weights; the stride in the 3x3
convolution), with batch normalisation folded into the convolutions as is usual for inference. The weights are no
trained ones: they are uniform with He's bound, from the raw words of PCG64, a stream that numpy keeps the same in
all versions. So the arithmetic and the memory are those of the real network, and the classes mean nothing.

ONNX is a protocol buffer; the few messages that are needed are written by hand, so that the package `onnx` is not.
"""

import sys

import numpy
import picture

SEED = 50
CLASSES = 1000
# The last convolution of a block is scaled down, as trained networks' last normalisation does, so that the sums
# along the shortcuts stay in range.
LAST_OF_BLOCK = 0.25
# The published picture is 800 pixels wide.
WIDTH, HEIGHT = 800, 600
NAMES = ["base", "_1", "_2", "warm-up"]


def main(folder):
    model = Model()
    x = model.conv("data", "stem", 3, 64, kernel=7, stride=2)
    x = model.relu(x)
    x = model.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}.block{block + 1}"
            x = model.bottleneck(x, name, channels, width, stride)
            channels = 4 * width
    x = model.node("GlobalAveragePool", [x])
    x = model.node("Flatten", [x], axis=1)
    weight = model.weights("classes.weight", [CLASSES, channels], channels)
    bias = model.zeros("classes.bias", [CLASSES])
    model.node("Gemm", [x, weight, bias], output="scores", transB=1)
    with open(f"{folder}/resnet50.onnx", "wb") as file:
        model.write(file)
    for seed, name in enumerate(NAMES):
        picture.draw(1000 + seed, WIDTH, HEIGHT).save(f"{folder}/{name}.jpg", quality=90)


class Model:
    """The nodes and weights of a graph under construction; an edge is its name."""

    def __init__(self):
        self.nodes = []
        self.tensors = []
        self.words = numpy.random.PCG64(SEED)

    def bottleneck(self, x, name, channels, width, stride):
        y = self.relu(self.conv(x, f"{name}.1", channels, width, kernel=1))
        y = self.relu(self.conv(y, f"{name}.2", width, width, kernel=3, stride=stride))
        y = self.conv(y, f"{name}.3", width, 4 * width, kernel=1, scale=LAST_OF_BLOCK)
        if channels != 4 * width:
            x = self.conv(x, f"{name}.shortcut", channels, 4 * width, kernel=1, stride=stride, scale=0.5**0.5)
        return self.relu(self.node("Add", [x, y]))

    def conv(self, x, name, channels, filters, kernel, stride=1, scale=1.0):
        weight = self.weights(f"{name}.weight", [filters, channels, kernel, kernel], channels * kernel**2, scale)
        bias = self.zeros(f"{name}.bias", [filters])
        pads = [kernel // 2] * 4
        return self.node("Conv", [x, weight, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)

    def relu(self, x):
        return self.node("Relu", [x])

    def weights(self, name, shape, inputs, scale=1.0):
        count = int(numpy.prod(shape))
        uniform = (self.words.random_raw(count) >> 40).astype(numpy.float32) / numpy.float32(1 << 23) - 1
        return self.tensor(name, shape, uniform * numpy.float32(scale * (6 / inputs) ** 0.5))

    def zeros(self, name, shape):
        return self.tensor(name, shape, numpy.zeros(shape, numpy.float32))

    def tensor(self, name, shape, values):
        data = values.astype("<f4").tobytes()
        self.tensors.append(b"".join(number(1, d) for d in shape) + number(2, 1) + text(8, name) + field(9, data))
        return name

    def node(self, operator, inputs, output=None, **attributes):
        output = output or f"{operator}{len(self.nodes)}"
        encoded = b"".join(text(1, x) for x in inputs) + text(2, output) + text(4, operator)
        self.nodes.append(encoded + b"".join(field(5, attribute(*item)) for item in attributes.items()))
        return output

    def write(self, file):
        graph = b"".join(field(1, node) for node in self.nodes) + text(2, "resnet50")
        graph += b"".join(field(5, tensor) for tensor in self.tensors)
        graph += field(11, edge("data", [1, 3, 224, 224])) + field(12, edge("scores", [1, CLASSES]))
        # Version 8 of the format, version 13 of the operators.
        file.write(number(1, 8) + field(7, graph) + field(8, text(1, "") + number(2, 13)))


def attribute(name, value):
    """An AttributeProto: a whole number or a list of them."""
    if isinstance(value, int):
        return text(1, name) + number(3, value) + number(20, 2)
    return text(1, name) + b"".join(number(8, v) for v in value) + number(20, 7)


def edge(name, shape):
    """A ValueInfoProto of 32-bit floats."""
    dimensions = b"".join(field(1, number(1, d)) for d in shape)
    return text(1, name) + field(2, field(1, number(1, 1) + field(2, dimensions)))


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(tag, value):
    return varint(tag << 3) + varint(value)


def field(tag, content):
    return varint(tag << 3 | 2) + varint(len(content)) + content


def text(tag, value):
    return field(tag, value.encode())


if __name__ == "__main__":
    main(sys.argv[1])
