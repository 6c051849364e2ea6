"""From a path to a clip that is whole and new, open to be decoded: it is never read into memory."""

import os
from functools import partial

import msgspec

from dropsight.errors import ImageError, MachineError
from dropsight.images.opening import ImageFile
from dropsight.inference.image_records import Drop
from dropsight.inference.planning import Plan
from dropsight.intake.candidate import Candidate, digest_of_open
from dropsight.intake.examiner import Examiner, NotMineError
from dropsight.video.completeness import is_whole
from dropsight.video.decoder import MOST_BYTES
from dropsight.video.sniffing import HEAD_BYTES, is_clip

# Of the settle time: so long stands still what does not tell where it ends.
STILL_SETTLES = 8


class ExaminedClip(msgspec.Struct, frozen=True):
    """A clip that is whole and new; whoever has it closes `file`. `young` is as of an image."""

    plan: Plan
    candidate: Candidate
    drop: Drop
    file: ImageFile
    young: float


class ClipExaminer(Examiner[ExaminedClip]):
    """Opens clips, and gives to the lane of images what is none."""

    def seconds_to_wait(self, candidate: Candidate, file: ImageFile) -> float:
        """As of an image; a clip that does not tell that it is whole has to stand still for longer.

        Cameras pause in mid-clip, and many a container can be decoded as far as it goes.
        """
        wait = super().seconds_to_wait(candidate, file)
        if wait or candidate.renamed or is_whole(file):
            return wait
        settings = candidate.folder.settings
        still = min(STILL_SETTLES * settings.settle_seconds, settings.patience_seconds)
        return max(still - self.seconds_still(candidate, file), 0.0)

    def gets_on(self, candidate: Candidate) -> None:
        """See Examiner; of gigabytes that are read to tell whether they are known, no stop sees the end."""
        super().gets_on(candidate)
        if self._backlog.stopped:
            raise MachineError("clips wait: stopped")

    def take(self, candidate: Candidate, file: ImageFile, drop: Drop, plan: Plan) -> ExaminedClip:
        """See Examiner."""
        if not file.stat.st_size:
            raise ImageError("empty", "the file is empty")
        if not is_clip(file.head(HEAD_BYTES)):
            if file.stat.st_size > plan.bounds.max_bytes:
                raise ImageError("not_an_image", "it is neither a clip nor an image")
            raise NotMineError
        # One that is refused for its size, perhaps of nothing but holes, would take hours to read.
        if candidate.folder.settings.after == "keep" and file.stat.st_size <= MOST_BYTES:
            candidate.digest = digest_of_open(file.fd, gets_on=partial(self.gets_on, candidate))
        young = self.seconds_young(candidate, file)
        return ExaminedClip(
            plan.of(drop.camera), candidate, drop, ImageFile(os.dup(file.fd), file.stat), young
        )
