import unittest

from program import parse, write


class Roman(unittest.TestCase):
    def test_one_letter(self):
        self.assertEqual(parse("X"), 10)

    def test_equal_letters(self):
        self.assertEqual(parse("XXX"), 30)

    def test_subtraction(self):
        self.assertEqual(parse("XIV"), 14)

    def test_five_hundred(self):
        self.assertEqual(parse("MDC"), 1600)

    def test_write(self):
        self.assertEqual(write(1994), "MCMXCIV")

    def test_there_and_back(self):
        self.assertTrue(all(parse(write(number)) == number for number in range(1, 4000)))


if __name__ == "__main__":
    unittest.main()
