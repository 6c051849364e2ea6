"""A page as a person sees it: what it complains of, whom it asks, how well it is to be read."""

from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page, Request, expect

# Pictures have the lowest priority, on a machine that may be busy: the usual five seconds are few.
expect.set_options(timeout=30_000)


@dataclass
class Window:
    """A page, and all that it asked for and complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._note)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _note(self, request: Request) -> None:
        self.hosts.add(request.url.split("/")[2])


def contrast(page: Page, one: str, other: str) -> float:
    def luminance(name: str) -> float:
        value = page.evaluate(
            f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"
        )
        digits = value.removeprefix("#")
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        red, green, blue = (_linear(part) for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
