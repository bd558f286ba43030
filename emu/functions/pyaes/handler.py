"""Encrypts and decrypts a message again and again, with AES-128 in counter mode in pure Python."""

import hashlib
import random
import string

import pyaes

KEY = bytes(range(16))
LETTERS = string.ascii_lowercase + string.digits


def handle(given):
    # A seed of its own: the same message each time, where the published function draws another.
    draw = random.Random(given["length"])
    message = "".join(draw.choice(LETTERS) for _ in range(given["length"])).encode()
    for _ in range(given["iterations"]):
        encrypted = pyaes.AESModeOfOperationCTR(KEY).encrypt(message)
        decrypted = pyaes.AESModeOfOperationCTR(KEY).decrypt(encrypted)
    return message, encrypted, decrypted


def describe(result):
    message, encrypted, decrypted = result
    return {
        "bytes": len(encrypted),
        "sha256": hashlib.sha256(encrypted).hexdigest(),
        "round_trip": decrypted == message,
    }
