"""What a topic says, by the filter that lets it through."""

from collections.abc import Sequence


def levels(topics: str, topic: str) -> Sequence[str] | None:
    """Return what stands for each + of the filter; None where it does not let this topic through."""
    wanted, found = topics.split("/"), topic.split("/")
    if len(wanted) != len(found):
        return None
    pairs = list(zip(wanted, found, strict=True))
    if any(want not in {"+", level} for want, level in pairs):
        return None
    return [level for want, level in pairs if want == "+"]
