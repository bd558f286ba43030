"""Fills a page with a user's name and a list of random numbers, with the template engine Jinja."""

import hashlib
import os
import random

from jinja2 import Template

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")


def handle(given):
    # The published function draws from the clock; here the request brings the seed and the date.
    numbers = random.Random(given["seed"]).sample(range(1_000_000), given["numbers"])
    with open(PAGE, encoding="utf-8") as file:
        template = Template(file.read())
    return template.render(username=given["username"], date=given["date"], numbers=numbers)


def describe(html):
    return {
        "items": html.count("<li>"),
        "sha256_without_spaces": hashlib.sha256("".join(html.split()).encode()).hexdigest(),
    }
