import unittest

from program import length, merge


class Intervals(unittest.TestCase):
    def test_apart(self):
        self.assertEqual(merge([(1, 2), (4, 5)]), [(1, 2), (4, 5)])

    def test_overlap(self):
        self.assertEqual(merge([(1, 4), (3, 6)]), [(1, 6)])

    def test_touch(self):
        self.assertEqual(merge([(1, 3), (3, 6)]), [(1, 6)])

    def test_inside(self):
        self.assertEqual(merge([(1, 9), (3, 4)]), [(1, 9)])

    def test_unordered(self):
        self.assertEqual(merge([(5, 6), (1, 2)]), [(1, 2), (5, 6)])

    def test_length(self):
        self.assertEqual(length([(0, 4), (2, 6), (8, 9)]), 7)


if __name__ == "__main__":
    unittest.main()
