"""The model's part in a recording: for each program its repairs, of which the first is not enough."""

import json

REPAIRS = {
    "Merges intervals": [
        (
            "        if merged and start < merged[-1][1]:\n",
            "        if merged and start <= merged[-1][1]:\n",
        ),
        (
            "    for start, end in intervals:\n",
            "    for start, end in sorted(intervals):\n",
        ),
        (
            "            merged[-1] = (merged[-1][0], end)\n",
            "            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))\n",
        ),
    ],
    "Roman numerals": [
        ('"C": 100, "M": 1000', '"C": 100, "D": 500, "M": 1000'),
        (
            "    for here, after in zip(text, text[1:]):\n",
            '    for here, after in zip(text, text[1:] + "I"):\n',
        ),
        ("value if value > VALUES[after]", "value if value >= VALUES[after]"),
    ],
    "Breaks text into lines": [
        ("            line = word\n    return lines\n", "            line = word\n    return lines + [line] if line else lines\n"),
        (
            '    for word in text.split(" "):\n        if len(line) + len(word) < width:\n            line = f"{line} {word}"\n        else:\n            lines.append(line)\n            line = word\n',
            '    for word in text.split():\n        if line and len(line) + 1 + len(word) <= width:\n            line = f"{line} {word}"\n            continue\n        if line:\n            lines.append(line)\n        while len(word) > width:\n            lines.append(word[:width])\n            word = word[width:]\n        line = word\n',
        ),
    ],
    "Keeps count of goods": [
        (
            "    def __init__(self, goods={}):\n        self.goods = goods\n",
            "    def __init__(self, goods=None):\n        self.goods = dict(goods or {})\n",
        ),
        (
            "        self.goods[name] = count\n",
            "        self.goods[name] = self.goods.get(name, 0) + count\n",
        ),
        (
            "        self.goods[name] = left\n        if left < 0:\n            raise KeyError(name)\n",
            "        if left < 0:\n            raise KeyError(name)\n        self.goods[name] = left\n",
        ),
    ],
}


def reply(messages):
    text = messages[-1]["content"]
    turn = sum(message["role"] == "assistant" for message in messages)
    for title, repairs in REPAIRS.items():
        if title in text:
            old, new = repairs[turn]
            return json.dumps({"old": old, "new": new})
    raise ValueError("no program that is known")
