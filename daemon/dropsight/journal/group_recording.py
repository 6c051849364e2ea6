"""A group of records all the way into the journal, whichever of them is at fault."""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from dropsight.errors import DamagedError
from dropsight.journal.committing import Committer
from dropsight.journal.consequences import Consequences
from dropsight.journal.filer import Filer
from dropsight.journal.hand import OutcomesInHand
from dropsight.journal.kept_files import KeptChanges
from dropsight.journal.mishaps import EncodedRecord
from dropsight.journal.reader import JournalReader, RecordedFile
from dropsight.journal.recording import Durable, Finished, Recorded, free_repeat, returned, row_of
from dropsight.journal.settling import Settler
from dropsight.records import decode
from dropsight.status.troubles import Troubles

# Of one name, size and time: other inboxes, or cards that take turns in one, may have some of them.
SEVERAL = 16
_by_seq = attrgetter("seq")


class GroupRecording:
    """For the recorder's thread. Between an insert and its commit a bug is one image's failure."""

    def __init__(
        self,
        committer: Committer,
        hand: OutcomesInHand,
        reader: JournalReader,
        filer: Filer,
        settler: Settler,
        consequences: Consequences,
        *,
        troubles: Troubles,
        newest_before: int,
    ) -> None:
        """`newest_before` is the newest record of earlier lives."""
        self._committer, self._hand, self._reader, self._filer = committer, hand, reader, filer
        self._settler, self._consequences, self._troubles = settler, consequences, troubles
        self._newest_before = newest_before

    def record(self, group: Sequence[EncodedRecord]) -> bool:
        """Take a group all the way; False when the journal takes nothing and it is time to stop."""
        if not group:
            return True
        first, later = _by_file(group)
        if later:
            return self.record(first) and self.record(later)
        try:
            new = [made for made in group if not self._is_known(made.finished)]
            entered = self._committer.commit(new) if new else []
        except DamagedError:
            raise
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            return self._record_singly(group, error)
        if entered is None:
            return False
        recorded: list[Durable] = []
        for entry in entered:
            if entry.seq is not None:
                recorded += entry.durable()
                continue
            try:
                recorded += self._record_again(entry.made.finished)
            except DamagedError:
                raise
            except Exception as error:  # noqa: BLE001 - one image's, whatever it is
                self._record_singly([entry.made], error)
        # What was dropped a second time came into the journal after the others of its group.
        self._consequences.follow(sorted(recorded, key=_by_seq))
        return True

    def _record_singly(self, group: Sequence[EncodedRecord], error: Exception) -> bool:
        """Find whose fault it is among those that are not on record for all that."""
        self._consequences.follow(self._hand.on_record())
        left = [made for made in group if self._hand.holds(made.finished.path)]
        if len(group) > 1:
            return all(self.record([each]) for each in left)
        return all(self._record_failure(each, error.__cause__ or error) for each in left)

    def _record_failure(self, made: EncodedRecord, error: BaseException) -> bool:
        instead = made.failed(error, self._troubles)
        if made.finished.record == instead.finished.record:  # not even that it failed can be recorded
            self._hand.let_go(made.finished.path)
            return True
        return self.record([instead])

    def _record_again(self, finished: Finished) -> Sequence[Durable]:
        """A file just like an earlier, finished one: a drop of its own, told apart by an ordinal."""
        free = free_repeat(finished, self._reader)
        if known := self._returned(finished, free):
            self._file_known(finished, known)
            return ()
        return self._committer.commit_again(finished, free)

    def _returned(self, finished: Finished, free: int) -> RecordedFile | None:
        gone, upto = self._filer.gone, self._newest_before
        most = SEVERAL if finished.candidate.folder.settings.after == "keep" else 1
        rows = (
            returned(finished, repeat, self._reader, upto=upto, is_back=gone.is_back)
            for repeat in reversed(range(max(free - most, 0), free))
        )
        return next(filter(None, rows), None)

    def _is_known(self, finished: Finished) -> bool:
        """Whether it is on record by another name, or time: then it is filed with the record that it has."""
        known = self._filer.gone.known(finished, self._reader)
        if known:
            self._file_known(finished, known)
        return known is not None

    def _file_known(self, finished: Finished, row: RecordedFile) -> None:
        finished.candidate.counted = False
        again = msgspec.structs.replace(finished, record=decode(row.line))
        self._hand.followed(finished.path)
        self._filer.file([Recorded(row.seq, again, row.line, 0.0)])
        if kept := row_of(finished, row.line).kept:
            self._settler.note_kept(KeptChanges(known=[kept]))


def _by_file(group: Sequence[EncodedRecord]) -> tuple[list[EncodedRecord], list[EncodedRecord]]:
    """Part those whose file is in the group once more, by another path: their turn is when that is filed."""
    files, first, later = set[tuple[int, int]](), list[EncodedRecord](), list[EncodedRecord]()
    for made in group:
        stat = made.finished.stat
        file = stat.st_dev, stat.st_ino  # its time may have been set since
        (later if file in files and stat.st_nlink == 1 else first).append(made)
        files.add(file)
    return first, later
