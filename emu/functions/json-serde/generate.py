"""Generates the files 1 to 5 of json-serde and js-json-serde: records about people, as a well-known generator of
test data makes them, just under one kilobyte each. The numbers of records make the published sizes of files 3
(1.5 MB) and 4 (3.0 MB). Those of the others are not published and are ours; 5 is one with which Node's
own memory stays within the 100 MB that js-json-serde declares for it."""

import json
import random
import sys

RECORDS = {1: 400, 2: 800, 3: 1655, 4: 3360, 5: 2200}
SYLLABLES = "a do re mi fa sol la ti lor ip sum dolo cul pa no stra ve li con se qui ex er ci ta tion".split()
COLOURS = ["blue", "brown", "green"]
FRUIT = ["apple", "banana", "strawberry"]


def main(folder):
    for name, count in RECORDS.items():
        draw = random.Random(name)
        records = [person(draw, index) for index in range(count)]
        with open(f"{folder}/{name}.json", "w", encoding="utf-8") as file:
            json.dump(records, file, indent=2)


def person(draw, index):
    name = f"{word(draw).title()} {word(draw).title()}"
    return {
        "_id": f"{draw.getrandbits(96):024x}",
        "index": index,
        "isActive": draw.getrandbits(1) == 1,
        "balance": f"${draw.randrange(1000, 4000):,}.{draw.randrange(100):02}",
        "age": draw.randrange(20, 41),
        "eyeColor": draw.choice(COLOURS),
        "name": name,
        "company": word(draw).upper(),
        "email": f"{name.replace(' ', '').lower()}@example.com",
        "phone": f"+1 (555) {draw.randrange(1000):03}-{draw.randrange(10000):04}",
        "about": " ".join(sentence(draw) for _ in range(3)),
        # Whole millionths, so that both languages write the same digits.
        "latitude": draw.randrange(-90_000_000, 90_000_000),
        "longitude": draw.randrange(-180_000_000, 180_000_000),
        "tags": [word(draw) for _ in range(7)],
        "friends": [{"id": i, "name": word(draw).title()} for i in range(3)],
        "favoriteFruit": draw.choice(FRUIT),
    }


def sentence(draw):
    return " ".join(word(draw) for _ in range(draw.randrange(8, 16))).capitalize() + "."


def word(draw):
    return "".join(draw.choice(SYLLABLES) for _ in range(draw.randrange(1, 4)))


if __name__ == "__main__":
    main(sys.argv[1])
