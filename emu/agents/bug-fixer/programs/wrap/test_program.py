import unittest

from program import wrap


class Wrap(unittest.TestCase):
    def test_nothing(self):
        self.assertEqual(wrap("", 10), [])

    def test_one_line(self):
        self.assertEqual(wrap("one two", 10), ["one two"])

    def test_exact_fit(self):
        self.assertEqual(wrap("one two six", 7), ["one two", "six"])

    def test_last_line(self):
        self.assertEqual(wrap("alpha beta gamma", 10), ["alpha beta", "gamma"])

    def test_long_word(self):
        self.assertEqual(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"])

    def test_spaces(self):
        self.assertEqual(wrap("a  b", 10), ["a b"])


if __name__ == "__main__":
    unittest.main()
