"""Roman numerals."""

VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "M": 1000}


def parse(text):
    """The number that a numeral stands for."""
    total = 0
    for here, after in zip(text, text[1:]):
        value = VALUES[here]
        total += value if value > VALUES[after] else -value
    return total


def write(number):
    """The numeral of a number from 1 to 3999."""
    pairs = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC")]
    pairs += [(50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    text = ""
    for value, letters in pairs:
        while number >= value:
            text += letters
            number -= value
    return text
