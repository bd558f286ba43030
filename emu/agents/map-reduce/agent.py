"""Counts the words of a text in parts, each in a process of its own, and has the parts and then all of it summarised.

The text is of 1776 and free of rights: most of the Declaration of Independence of the United States. The seed
decides how many parts it is cut into.
"""

import json
import os
import subprocess
import sys

import trenvx_agent

TASK = "You summarise texts. Answer with one sentence of the text that says most of it."
# A worker reads a part and prints how often each of its words is there.
WORKER = """
import collections, json, re, sys
words = re.findall(r"[a-z']+", sys.stdin.read().lower())
json.dump(collections.Counter(words), sys.stdout)
"""
DEADLINE_S = 60
AT_ONCE = 2


def cut(paragraphs, count):
    """The paragraphs in `count` parts of as equal numbers as can be."""
    total = len(paragraphs)
    return ["\n\n".join(paragraphs[i * total // count : (i + 1) * total // count]) for i in range(count)]


def count_words(agent, parts):
    """How often each word is in each part; a few processes at once."""
    counts = []
    for begin in range(0, len(parts), AT_ONCE):
        workers = []
        for part in parts[begin : begin + AT_ONCE]:
            agent.spent["tool_runs"] += 1
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            workers.append((worker, part))
        counts += [json.loads(worker.communicate(part, timeout=DEADLINE_S)[0]) for worker, part in workers]
    return counts


def work(agent):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "text.txt"), encoding="utf-8") as file:
        paragraphs = file.read().strip().split("\n\n")
    parts = cut(paragraphs, 4 + agent.seed)
    merged = {}
    for counts in count_words(agent, parts):
        for word, count in counts.items():
            merged[word] = merged.get(word, 0) + count
    model = agent.model(TASK)
    summaries = [model.ask(f"Summarise part {number}:\n\n{part}") for number, part in enumerate(parts, 1)]
    summary = model.ask("Summarise the summaries:\n\n" + " ".join(summaries))
    often = sorted(merged.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    return {"parts": len(parts), "words": sum(merged.values()), "often": dict(often), "summary": summary}


if __name__ == "__main__":
    trenvx_agent.run(work)
