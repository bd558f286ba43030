"""Reads the posts of a topic, each in a tab, and has each summarised, then all of them."""

import trenvx_agent

TOPICS = ["travel", "cooking", "gardens", "trains"]
TASK = "You summarise posts of a blog. Answer with JSON."


def work(agent):
    topic = TOPICS[agent.seed % len(TOPICS)]
    model = agent.model(TASK)
    browser = agent.browser()
    try:
        index = browser.open("/blog")
        posts = trenvx_agent.fields(
            model.ask(f'Which posts are about {topic}? Answer {{"posts": [numbers]}}.\n\n{browser.text(index)}')
        )["posts"]
        words, summaries = 0, []
        for number in posts:
            page = browser.open(f"/blog/p/{number}")
            text = browser.text(page, "article")
            words += len(text.split())
            summaries.append(
                trenvx_agent.fields(model.ask(f'Summarise it: {{"summary": sentence}}.\n\n{text}'))["summary"]
            )
            browser.do("close", page=page)
        whole = trenvx_agent.fields(
            model.ask('Summarise the summaries: {"summary": sentence}.\n\n' + "\n".join(summaries))
        )["summary"]
        return {"topic": topic, "posts": posts, "words": words, "summary": whole}
    finally:
        browser.close()


if __name__ == "__main__":
    trenvx_agent.run(work)
