"""A number of things in words."""

_MANY = {"entry": "entries", "class": "classes", "copy": "copies"}


def counted(n: float, noun: str) -> str:
    """ "1 image", "2 images", "0.5 CPUs"; noun: of one thing, the last of its words the one that changes."""
    *before, last = noun.split(" ")
    number = f"{n:g}" if isinstance(n, float) else str(n)
    return f"{number} {noun if n == 1 else ' '.join([*before, _MANY.get(last, f'{last}s')])}"
