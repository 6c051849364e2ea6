"""Notes what a scan looks at after crashed starts; what crashed the process on being found is skipped."""

from dropsight.errors import StoreError
from dropsight.intake.in_hand import FINDING, InHand, Suspect
from dropsight.intake.turns import Caution
from dropsight.names import as_text
from dropsight.status.troubles import Troubles

PART = "internal"


class WalkGuard:
    """Used by the thread that walks."""

    def __init__(self, in_hand: InHand, troubles: Troubles, caution: Caution) -> None:
        self._in_hand, self._troubles, self._caution = in_hand, troubles, caution
        self._noted = False

    @property
    def watches(self) -> bool:
        """Whether there is anything to guard against: else `begin` need not be asked."""
        return bool(self._in_hand.suspects) or self._caution.one_by_one

    def begin(self, path: str) -> bool:
        """Tell whether to look at this path."""
        suspect = self._in_hand.suspect(path)
        if suspect and self._is_skipped(suspect):
            fault = f"{as_text(path)} is skipped: the process crashed on it {suspect.ends} times"
            self._troubles.raised(PART, StoreError(fault))
            return False
        if suspect or self._caution.one_by_one:
            self._in_hand.note(FINDING, path, "find")
            self._noted = True
        return True

    def _is_skipped(self, suspect: Suspect) -> bool:
        # To find another one is no danger: whoever examines it has it wait.
        return suspect.is_untouchable or (suspect.stage == "find" and not self._in_hand.may_try(suspect))

    def end(self) -> None:
        if self._noted:
            self._in_hand.clear(FINDING)
            self._noted = False
