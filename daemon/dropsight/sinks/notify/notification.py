"""What the daemon and the process that notifies say to each other."""

import msgspec

# A URL is no longer than its file, the words are bounded, and so is what a socket takes at once.
MESSAGE_BYTES = 2**17


class Notification(msgspec.Struct, frozen=True):
    """A notification for one target; its picture, a JPEG, travels beside it as a descriptor.

    `send` False: only say whether the URL is one that Apprise knows.
    """

    url: str
    title: str
    body: str
    id: str
    sender: str = "dropsight"
    picture: str | None = None
    """The picture's file name."""
    send: bool = True


class Receipt(msgspec.Struct, frozen=True):
    """`fault` is why the target did not get it, `plain` why it got the text alone; both hold no secret."""

    fault: str | None = None
    plain: str | None = None
