"""The smallest function: what is left is the cost of the sandbox and of the interpreter."""


def handle(given):
    return {"message": f"Hello, {given['name']}!"}
