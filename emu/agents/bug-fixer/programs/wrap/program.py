"""Breaks text into lines."""


def wrap(text, width):
    """Lines of at most `width` characters, broken between words; a longer word is cut."""
    lines, line = [], ""
    for word in text.split(" "):
        if len(line) + len(word) < width:
            line = f"{line} {word}"
        else:
            lines.append(line)
            line = word
    return lines
