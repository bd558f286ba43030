"""The model's part in a recording: basic strategy without doubling and splitting."""

import re


def reply(messages):
    found = re.search(r": (soft|hard) (\d+)\. The dealer shows (\w+)\.", messages[-1]["content"])
    kind, total, shown = found.group(1), int(found.group(2)), found.group(3)
    weak = shown in ("4", "5", "6") or (shown in ("2", "3") and total >= 13)
    if kind == "soft":
        stand = total >= 19 or (total == 18 and shown not in ("9", "10", "J", "Q", "K", "A"))
    else:
        stand = total >= 17 or (total >= 12 and weak)
    if stand:
        return f"STAND: {total} is enough against {shown}."
    return f"HIT: {total} is too little against {shown}."
