"""Looks through a category of the shop for the cheapest good that is good enough and in stock, and buys it.

The model sees the text of every page and says where to go next.
"""

import trenvx_agent

CATEGORIES = ["lamps", "chairs", "kettles", "clocks", "bags"]
STEPS = 30
TASK = (
    "You use a shop through a browser. Answer with JSON: "
    '{"go": path} to see another page, {"click": selector} to press a button of this page, '
    '{"done": {"product": number, "cents": total of the cart}} when it is in the cart.'
)


def work(agent):
    category = CATEGORIES[agent.seed % len(CATEGORIES)]
    stars = 4 if agent.seed % 2 == 0 else 3
    model = agent.model(TASK)
    browser = agent.browser()
    try:
        page = browser.open("/shop")
        wish = f"Put the cheapest of the {category} with at least {stars} stars that is in stock into the cart.\n\n"
        visited = 0
        for _ in range(STEPS):
            visited += 1
            reply = trenvx_agent.fields(model.ask(wish + browser.text(page)))
            wish = ""
            if "done" in reply:
                seen = browser.do("evaluate", page=page, expression="JSON.parse(localStorage.getItem('seen') || '[]')")
                return {"category": category, "stars": stars, "pages": visited, "seen": seen, **reply["done"]}
            if "click" in reply:
                browser.do("click", page=page, selector=reply["click"], load=True)
            elif "go" in reply:
                browser.go(page, reply["go"])
            else:
                raise trenvx_agent.WrongReply(f"neither go, click nor done: {reply}")
        raise trenvx_agent.AgentError(f"nothing found in {STEPS} pages")
    finally:
        browser.close()


if __name__ == "__main__":
    trenvx_agent.run(work)
