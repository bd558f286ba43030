"""Has a game written, plays it in the browser, and has it improved until a game can be won.

The model writes whole pages. A game draws on a canvas, takes the arrow keys, and tells how it stands in
`window.game`: {score, over, error}.
"""

import hashlib
import http.client

import trenvx_agent

VERSIONS = 6
MOVES = 40
GOALS = [3, 4, 5, 6]
TASK = "You write games for the web: one HTML page, no libraries. Answer with the page."


def upload(agent, name, page):
    connection = http.client.HTTPConnection(agent.site, timeout=60)
    try:
        connection.request("PUT", f"/game/{name}", page.encode())
        if connection.getresponse().status != 200:
            raise trenvx_agent.AgentError("the site did not take the game")
    finally:
        connection.close()


def play(browser, page):
    """Follows what falls, with the arrow keys, and returns how the game stands in the end."""
    for _ in range(MOVES):
        key = browser.do("evaluate", page=page, expression="window.game ? window.game.hint() : null")
        if key is None:
            return {"score": 0, "over": False, "error": "there is no window.game"}
        browser.do("press", page=page, key=key)
    return browser.do("evaluate", page=page, expression="window.game.state()")


def work(agent):
    goal = GOALS[agent.seed % len(GOALS)]
    model = agent.model(TASK)
    browser = agent.browser()
    try:
        name = f"{agent.name}-{agent.number}"
        scores = []
        text = f"Write a game in which blocks fall and a paddle catches them; {goal} caught blocks win it."
        for version in range(1, VERSIONS + 1):
            game = model.ask(text)
            upload(agent, name, game)
            page = browser.open(f"/game/{name}")
            state = play(browser, page)
            picture = browser.do("screenshot", page=page)
            browser.do("close", page=page)
            scores.append(state["score"])
            if picture < 1000:
                raise trenvx_agent.AgentError(f"a picture of {picture} bytes is none")
            if state["over"] and state["score"] >= goal:
                digest = hashlib.sha256(game.encode()).hexdigest()
                return {"goal": goal, "versions": version, "scores": scores, "sha256": digest}
            text = f"Played with {MOVES} keys: score {state['score']}, won: {state['over']}, error: {state['error']}. Improve it."
        raise trenvx_agent.AgentError(f"no version of {VERSIONS} can be won")
    finally:
        browser.close()


if __name__ == "__main__":
    trenvx_agent.run(work)
