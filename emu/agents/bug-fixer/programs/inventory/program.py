"""Keeps count of goods."""


class Inventory:
    """Goods by name."""

    def __init__(self, goods={}):
        self.goods = goods

    def add(self, name, count):
        """More of something."""
        if count <= 0:
            raise ValueError("count: expected at least 1")
        self.goods[name] = count

    def take(self, name, count):
        """Less of something; all or nothing."""
        left = self.goods.get(name, 0) - count
        self.goods[name] = left
        if left < 0:
            raise KeyError(name)

    def total(self):
        """How many there are of everything."""
        return sum(self.goods.values())
