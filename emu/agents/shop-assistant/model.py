"""The model's part in a recording: all pages of the category, then its goods from the cheapest on."""

import json
import re


def reply(messages):
    asked = [message["content"] for message in messages if message["role"] == "user"]
    wish = re.match(r"Put the cheapest of the (\w+) with at least (\d) stars", asked[0])
    category, stars = wish.group(1), int(wish.group(2))
    page = asked[-1]
    if len(asked) == 1:
        return json.dumps({"go": f"/shop/c/{category}"})
    total = re.search(r"Total: (\d+)\.(\d\d) EUR for 1 goods", page)
    if total:
        product = int(re.search(r"#(\d+) ", page).group(1))
        return json.dumps({"done": {"product": product, "cents": int(total.group(1) + total.group(2))}})
    at = re.search(r"Page (\d+) of (\d+)", page)
    if at and at.group(1) != at.group(2):
        return json.dumps({"go": f"/shop/c/{category}?page={int(at.group(1)) + 1}"})
    if not at and f"Stars: {stars}" <= re.search(r"Stars: \d", page).group(0) and "In stock" in page:
        return json.dumps({"click": "#add"})
    goods = {}
    for one in asked:
        for number, whole, cents in re.findall(r"#(\d+) [^\n]*? (\d+)\.(\d\d) EUR", one):
            goods[int(number)] = int(whole + cents)
    looked_at = {int(number) for one in asked for number in re.findall(r"#(\d+): ", one)}
    best = min((cents, number) for number, cents in goods.items() if number not in looked_at)
    return json.dumps({"go": f"/shop/p/{best[1]}"})
