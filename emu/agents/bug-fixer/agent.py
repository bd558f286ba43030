"""Runs the tests of a small program, shows the model what fails, and changes the program as the model says."""

import hashlib
import os
import re
import shutil
import subprocess
import sys

import trenvx_agent

PROGRAMS = ["intervals", "roman", "wrap", "inventory"]
ATTEMPTS = 5
DEADLINE_S = 60
TASK = (
    "You repair a Python program. Answer with JSON: "
    '{"old": lines of the program as they are, "new": what replaces them}.'
)


def run_tests(agent, folder):
    """Runs the tests in a process of their own; what failed, and how many there were."""
    agent.spent["tool_runs"] += 1
    done = subprocess.run(
        [sys.executable, "-B", "-m", "unittest", "test_program"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    # Versions of Python differ in all but these lines.
    failed = sorted(re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.MULTILINE))
    reasons = re.findall(r"^(\w*(?:Error|Exception): .*)$", done.stderr, re.MULTILINE)
    ran = re.search(r"^Ran (\d+) test", done.stderr, re.MULTILINE)
    if ran is None:
        raise trenvx_agent.AgentError(f"the tests did not run: {done.stderr[-500:]}")
    return failed, sorted(reasons), int(ran.group(1))


def work(agent):
    name = PROGRAMS[agent.seed % len(PROGRAMS)]
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs", name)
    folder = os.path.join(os.getcwd(), name)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    path = os.path.join(folder, "program.py")
    model = agent.model(TASK)
    failures = []
    for _ in range(ATTEMPTS):
        failed, reasons, ran = run_tests(agent, folder)
        failures.append(len(failed))
        if not failed:
            break
        with open(path, encoding="utf-8") as file:
            text = file.read()
        change = trenvx_agent.fields(
            model.ask(f"{len(failed)} of {ran} tests fail: {', '.join(failed)}.\n" + "\n".join(reasons) + f"\n\n{text}")
        )
        if text.count(change["old"]) != 1:
            raise trenvx_agent.WrongReply(f"the lines to replace are there {text.count(change['old'])} times")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(change["old"], change["new"]))
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {"program": name, "tests": ran, "failures": failures, "sha256": digest}


if __name__ == "__main__":
    trenvx_agent.run(work)
