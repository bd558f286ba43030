"""Reads a file of JSON and writes it again, indented."""

import hashlib
import json
import os

DATA = os.environ["FUNCTION_DATA"]


def handle(given):
    with open(os.path.join(DATA, f"{given['file']}.json"), encoding="utf-8") as file:
        parsed = json.load(file)
    return parsed, json.dumps(parsed, indent=4)


def describe(result):
    parsed, text = result
    return {
        "records": len(parsed),
        "bytes": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
