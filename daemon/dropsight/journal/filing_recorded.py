"""Filing away one image that is on record: whatever goes wrong is why it stays where it is for now."""

from collections.abc import Callable

import msgspec

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.files.original import FiledAt, identity
from dropsight.journal.copying import NO_COPYING, Copying, LeftToThreadError
from dropsight.journal.filing import Filing, file_away
from dropsight.journal.gone_images import Gone, has_no_inbox
from dropsight.journal.mishaps import internal_error
from dropsight.journal.recording import Recorded
from dropsight.names import as_text
from dropsight.status.troubles import Troubles
from dropsight.video.decoder import MOST_BYTES

Placed = StoreError | FiledAt | Gone | None
"""Why an image could not be filed away, or where it was put; None where it was put nowhere."""


class RecordedFiling(msgspec.Struct, frozen=True):
    """From any thread."""

    troubles: Troubles
    max_copy_bytes: int

    def without_copying(self, entry: Recorded) -> Placed:
        """See `file_away`."""
        return self._file(entry, NO_COPYING)

    def whole(self, entry: Recorded, gets_on: Callable[[], None]) -> Placed:
        """See `file_away`; `gets_on` is called for each piece that was copied."""
        most = MOST_BYTES if entry.finished.record.kind == "clip" else self.max_copy_bytes
        return self._file(entry, Copying(max_bytes=most, gets_on=gets_on))

    def _file(self, entry: Recorded, copying: Copying) -> Placed:
        candidate, stat, record = entry.finished.candidate, entry.finished.stat, entry.finished.record
        renewed = candidate.renewed
        if renewed:  # from here on it may be written over once more
            candidate.renewed = False
        filing = Filing(
            candidate.folder,
            candidate.path,
            identity(stat),
            record,
            entry.line,
            copying,
            candidate.digest,
            renewed,
            is_again=candidate.place == "aside",
        )
        try:
            crashpoints.reach_path("in_filing_away", candidate.path)
            found = file_away(filing)
            return "away" if found == "gone" and has_no_inbox(candidate) else found
        except StoreError as error:
            if renewed and isinstance(error, LeftToThreadError):  # which is to look
                candidate.renewed = True
            return error
        except Exception as error:  # noqa: BLE001 - one image's, which is on record: it is tried again
            failure = internal_error(error, candidate.path, self.troubles)
            return StoreError(f"{as_text(candidate.path)} cannot be filed away: {failure}")
