"""The model's part in a recording: the sentence whose longer words are the most frequent ones of the text."""

import re


def reply(messages):
    text = messages[-1]["content"].split("\n\n", 1)[1]
    sentences = re.split(r"(?<=[.;]) ", " ".join(text.split()))

    def words(part):
        return [word for word in re.findall(r"[a-z]+", part.lower()) if len(word) > 5]

    all_words = words(text)

    def weight(sentence):
        found = words(sentence)
        return sum(all_words.count(word) for word in found) / (len(found) + 5)

    return max(sentences, key=weight)
