"""Plays five hands of blackjack; the model decides."""

import random

import trenvx_agent

HANDS = 5
RULES = "You play blackjack. Answer with one word: HIT or STAND."
CARDS = ["A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K"]


def value(hand):
    """The best value of a hand, and whether an ace counts eleven in it."""
    total = sum(1 if card == "A" else min(CARDS.index(card) + 1, 10) for card in hand)
    if "A" in hand and total + 10 <= 21:
        return total + 10, True
    return total, False


def deal(seed):
    """A shuffled pack. Only random() is used: its sequence is the same in every version of Python."""
    source = random.Random(seed)
    keyed = [(source.random(), number) for number in range(52)]
    return [CARDS[number % 13] for _, number in sorted(keyed)]


def play(model, pack, number):
    """One hand: 1 won, 0 even, -1 lost."""
    player, dealer = [pack.pop(), pack.pop()], [pack.pop(), pack.pop()]
    while value(player)[0] < 21:
        total, soft = value(player)
        kind = "soft" if soft else "hard"
        reply = model.ask(
            f"Hand {number}. You hold {' '.join(player)}: {kind} {total}. The dealer shows {dealer[0]}."
        )
        word = reply.split(":")[0].strip()
        if word == "STAND":
            break
        if word != "HIT":
            raise trenvx_agent.WrongReply(f"expected HIT or STAND, found {reply!r}")
        player.append(pack.pop())
    ours = value(player)[0]
    if ours > 21:
        return -1
    while value(dealer)[0] < 17:
        dealer.append(pack.pop())
    theirs = value(dealer)[0]
    if theirs > 21:
        return 1
    return (ours > theirs) - (ours < theirs)


def work(agent):
    model = agent.model(RULES)
    pack = deal(agent.seed)
    results = [play(model, pack, number) for number in range(1, HANDS + 1)]
    return {"results": results, "sum": sum(results), "cards_left": len(pack)}


if __name__ == "__main__":
    trenvx_agent.run(work)
