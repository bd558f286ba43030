import unittest

from program import Inventory


class Counting(unittest.TestCase):
    def test_add_a_first(self):
        inventory = Inventory()
        inventory.add("cup", 2)
        self.assertEqual(inventory.goods, {"cup": 2})

    def test_add_more(self):
        inventory = Inventory()
        inventory.add("cup", 2)
        inventory.add("cup", 3)
        self.assertEqual(inventory.total(), 5)

    def test_two_are_apart(self):
        Inventory().add("pan", 1)
        self.assertEqual(Inventory().total(), 0)

    def test_take(self):
        inventory = Inventory({"cup": 3})
        inventory.take("cup", 1)
        self.assertEqual(inventory.total(), 2)

    def test_take_too_many_changes_nothing(self):
        inventory = Inventory({"cup": 1})
        with self.assertRaises(KeyError):
            inventory.take("cup", 2)
        self.assertEqual(inventory.goods, {"cup": 1})

    def test_nothing_is_no_count(self):
        with self.assertRaises(ValueError):
            Inventory().add("cup", 0)


if __name__ == "__main__":
    unittest.main()
