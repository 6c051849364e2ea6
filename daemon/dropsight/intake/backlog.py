"""The queue: how images and clips come into it, whose turn is next, and how they leave it."""

import time

from dropsight.intake.backlog_state import BacklogState
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.lineup import Lineup
from dropsight.records import Status

ROOM_SECONDS = 0.25
# So many wait for whoever comes next, before anybody takes more than one.
LEFT_FOR_OTHERS = 32
# One for which there is no place in the line of large ones is met again after so long.
LARGE_SECONDS = 5.0


class Backlog(BacklogState):
    """Thread-safe. Holds at most `capacity` paths; what does not fit waits in its folder for a scan.

    Those that are postponed or set aside are held beside them; for postponed ones without a place of their
    own there is the overflow, as for clips beyond those in their lane.
    """

    def hint(self, folder: DropFolder, path: str, *, closed: bool, renamed: bool = False) -> bool:
        """Something happened to this path. Never blocks; False when something has to wait for a walk."""
        with self._lock:
            known = self._known.get(path)
            if known is None:
                candidate = Candidate(folder, path, closed=closed, renamed=renamed, ready_at=time.monotonic())
                candidate.since = candidate.ready_at
                return self._add(candidate) or self._add_instead(candidate)
            known.renamed = renamed
            if known.place in {"in_hand", "aside"}:
                known.again, known.closed_again = True, known.closed_again or closed
                known.renewed = True
            elif known.place == "postponed":
                known.ahead = None
                self._enqueue(known, closed=closed)
            else:
                known.closed = known.closed or closed
            return True

    def offer(self, folder: DropFolder, path: str, *, since: float) -> bool:
        """A scan found this path, there `since` then. False when there is no room for it.

        A clip for which there is none waits in its folder for another scan.
        """
        with self._lock:
            if known := self._known.get(path):
                # It may be another one: a disk that was just mounted holds what no event told of.
                known.again |= known.place in {"in_hand", "aside"}
                return True
            candidate = Candidate(folder, path, closed=False, ready_at=time.monotonic(), since=since)
            if candidate.is_clip:
                return self._add(candidate) or self._add_instead(candidate)
            return self._add(candidate) or self._add_beside_another_inbox(candidate)

    def wait_for_room(self) -> None:
        """Wait until there is room for many more, but not for long.

        Beside many that are in hand for long, there is room before the notice of it.
        """
        with self._lock:
            if not self._stopped:
                self._wants_room = True
                self._room.wait(ROOM_SECONDS)

    def take(self) -> Candidate | None:
        """Wait for the next candidate; None when the backlog was stopped."""
        with self._lock:
            while not self._stopped:
                self._bring_due()
                if self._has_next and not (self._paused or self.turns.closed):
                    if (candidate := self._pop_alone()) is not None:
                        return candidate
                    continue
                self._idle += 1
                self._work.wait(self._seconds_to_next_due())
                self._idle -= 1
            return None

    def take_clip(self, *, seconds: float | None = None) -> Candidate | None:
        """Wait for the next clip; None when the backlog was stopped, or none has come for so long."""
        until = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            while not self._stopped and (until is None or time.monotonic() < until):
                self._bring_due()
                if len(self._clips) and not (self._paused or self.turns.closed):
                    if (candidate := self._pop_clip()) is not None:
                        return candidate
                    self._clips.work.wait(1.0)
                    continue
                due = (self._seconds_to_next_due(), None if until is None else until - time.monotonic())
                self._clips.work.wait(min((each for each in due if each is not None), default=None))
            return None

    def share_among(self, workers: int) -> None:
        """Of several workers, one is left to inboxes whose disks are quick."""
        self._slow_turns.most = max(workers - 1, 1)

    def clip_hangs(self, candidate: Candidate) -> None:
        """Have no other clip of its disk be taken until it has got on."""
        with self._lock:
            self._clips.hanging.add(candidate)

    def is_through(self, candidate: Candidate) -> None:
        """Its worker is done with it, whatever is still to follow."""
        with self._lock:
            if self._slow_turns.leave(candidate):
                self._wake_all()

    def waits_for_disk(self, folder: DropFolder, count: int) -> None:
        """So many more of it than before, or fewer, are to be on its disk before they are recorded."""
        with self._lock:
            if self._slow_turns.waits(folder, count):
                self._wake_all()

    def other_lane(self, candidate: Candidate) -> None:
        """It is no clip, or is one, as its content tells: have it wait there, where there is room."""
        with self._lock:
            self._leave(candidate)
            self._forget(candidate)
            candidate.is_clip, candidate.place = not candidate.is_clip, "queued"
            if not (self._add(candidate) or self._add_instead(candidate)):
                self.overflow.add(candidate)

    def take_group(self, most: int) -> list[Candidate]:
        """Wait for the next and bring along some after it while many wait; empty when it was stopped."""
        with self._lock:
            first = self.take()
            if first is None:
                return []
            group = [first]
            more = min(most - 1, len(self._queue) - LEFT_FOR_OTHERS)
            if self.slow.holds(first.folder):
                return group
            while len(group) <= more and not self.turns.closed and (candidate := self._pop()):
                if self.slow.holds(candidate.folder) or not self.turns.joins(candidate):
                    self._enqueue_again(candidate)
                    break
                group.append(candidate)
            return group

    def postpone(self, candidate: Candidate, *, seconds: float, alone: bool = False) -> None:
        """Not ready yet: look again after a while, or at the next sign of life; then alone, if so told."""
        with self._lock:
            if alone:
                self.turns.was_alone_in_vain(candidate)
            self._leave(candidate)
            self.turns.alone_next(candidate.path, alone=alone)
            if candidate.again:
                self._enqueue(candidate, closed=candidate.closed_again)
                candidate.again = candidate.closed_again = candidate.renewed = False
                return
            candidate.closed = False
            if self._postponed.add(candidate, seconds=seconds):
                candidate.place = "postponed"
            else:
                self._let_go(candidate)
            self._work.notify()
            self._tell_of_room()

    def may_decode_large(self, candidate: Candidate) -> bool:
        """Whether it is this one's turn; else it leaves the hand, and comes again when it is."""
        with self._lock:
            if self._large.takes_turn(candidate):
                return True
            left_out = self._large.line_up(candidate)
            if left_out is not candidate:
                candidate.place = "queued"
                self._leave(candidate)
            if left_out is not None:
                self.postpone(left_out, seconds=LARGE_SECONDS)
            return False

    def decoded(self, candidate: Candidate) -> None:
        """If it was a large one, it is the next one's turn."""
        with self._lock:
            if self._large.leave(candidate):
                self._work.notify()

    def pause(self, *, paused: bool) -> None:
        """Hand out nothing, or again; what comes meanwhile waits."""
        with self._lock:
            self._paused, self._served_at = paused, time.monotonic()
            self._wake_all()

    def drop(self, candidate: Candidate, *, looks: bool = True) -> None:
        """The file vanished before it was read, or is on record already: it was never ours to count."""
        there = candidate.again and (not looks or self._is_there_again(candidate))
        with self._lock:
            if candidate.holds > 1:
                candidate.holds -= 1
                candidate.again |= there
                return
            self._seen -= 1
            self._release(candidate, again=there)

    def finish(self, candidate: Candidate, status: Status, *, looks: bool = True) -> None:
        """It is done with; who cannot wait for its disk has somebody else look whether another is there."""
        there = candidate.again and (not looks or self._is_there_again(candidate))
        with self._lock:
            self._finished[status] += 1
            self._finished_in[candidate.folder] += 1
            self._release(candidate, again=there)

    def hold(self, folder: DropFolder, path: str) -> Candidate:
        """Take in hand, room or no room, what an earlier life left unfinished: no scan may find it anew.

        Where that are several records of one path, it is let go of with the last of them.
        """
        with self._lock:
            candidate = self._known.get(path)
            if candidate is None:
                candidate = Candidate(folder, path, closed=True, ready_at=time.monotonic(), place="in_hand")
                candidate.counted = False
                self._known[path] = candidate
                self._seen += 1
            candidate.holds += 1
            return candidate

    def set_aside(self, candidate: Candidate) -> None:
        """In hand for as long as it takes: others have its room."""
        with self._lock:
            self._leave(candidate)
            if candidate.place != "aside":
                candidate.place = "aside"
                self.have_waited.add(candidate.folder)
                self._aside.add(candidate.line)
                self._room.notify()

    def let_pass(self, candidate: Candidate) -> None:
        """Though it stays in hand, others need not wait for it: it is on record."""
        with self._lock:
            self._leave(candidate)

    def stop(self) -> None:
        """Hand out nothing more. What is queued lies in its folder and is found at the next start."""
        with self._lock:
            self._stopped = True
            self._wake_all()
            self._room.notify_all()

    def _pop_alone(self) -> Candidate | None:
        """Take the next; one that has to be alone waits until it is, or the backlog is stopped.

        None where its inbox has kept all others waiting too much already: then it is put off.
        """
        candidate = self._pop()
        if candidate is None:  # its disk has got slow just now
            return None
        if rest := self.turns.seconds_of_rest(candidate):
            self.postpone(candidate, seconds=rest, alone=True)
            return None
        if self.turns.enter(candidate):
            while not (self.turns.is_alone or self._stopped):
                self._idle += 1
                self._work.wait()
                self._idle -= 1
        return None if self._stopped else candidate

    def _leave(self, candidate: Candidate) -> None:
        self._clips.hanging.discard(candidate)
        left = self.turns.leave(candidate) | self._large.leave(candidate)
        if left | self._slow_turns.leave(candidate):
            self._wake_all()

    def _wake_all(self) -> None:
        self._work.notify_all()
        self._clips.work.notify_all()

    def _bring_due(self) -> None:
        for candidate in self._postponed.due():
            self._enqueue(candidate, closed=False)

    def _line_of(self, candidate: Candidate) -> Lineup[Candidate]:
        return self._clips.line if candidate.is_clip else self._queue

    def _pop_clip(self) -> Candidate | None:
        """Take the next clip, if it may be taken now."""
        candidate = self._clips.pop(images_wait=len(self._queue) > 0)
        if candidate and self._clips.is_spacious:
            self.overflow.call_clips()
        return candidate

    def _pop(self) -> Candidate | None:
        """Take the next that may be taken."""
        slow = self._slow_turns
        candidate = self._large.next() or self._queue.pop_but(slow.puts_off) or self._queue.pop_but(slow.bars)
        if candidate is None:
            return None
        slow.enter(candidate)
        self._served_at = time.monotonic()
        candidate.place = "in_hand"
        return candidate

    def _add(self, candidate: Candidate) -> bool:
        if self._stopped or not self._has_room_for(candidate):
            return False
        self._take_in(candidate)
        return True

    def _take_in(self, candidate: Candidate) -> None:
        self._known[candidate.path] = candidate
        self._seen += 1
        self._push(candidate)

    def _has_room_for(self, candidate: Candidate) -> bool:
        if candidate.is_clip:
            return self._clips.room > 0
        # Among those that are known some may have places of their own.
        return len(self._known) < self.capacity or self._held() < self.capacity

    def _add_instead(self, candidate: Candidate) -> bool:
        """Where another would be taken later than this one, that one waits in its folder for a scan.

        False where the scan is to be soon; for clips it is when there is room.
        """
        last = None if self._stopped else self._line_of(candidate).last(candidate)
        if last:
            self._exchange(last, candidate)
        outside = last or candidate
        if candidate.is_clip:
            self.overflow.add_clips(outside.folder)
        else:
            self.overflow.call(outside.folder)
        return candidate.is_clip

    def _add_beside_another_inbox(self, candidate: Candidate) -> bool:
        """Where another inbox has more in line, its last one waits in its folder for a scan."""
        last = None if self._stopped else self._line_of(candidate).last(candidate)
        if last is None or last.folder is candidate.folder:
            return False
        self._exchange(last, candidate)
        self.overflow.call(last.folder)
        return True

    def _exchange(self, last: Candidate, candidate: Candidate) -> None:
        """One for one: with those that were put off and came back there may be more than have room."""
        self._line_of(last).remove(last)
        self._forget(last)
        self._take_in(candidate)

    def _enqueue(self, candidate: Candidate, *, closed: bool) -> None:
        now = time.monotonic()
        if candidate.place == "postponed":
            self._postponed.remove(candidate)
        candidate.place, candidate.closed, candidate.ready_at = "queued", closed, now
        # Who was not ready at its turn goes behind those that wait: else a file that is touched without an
        # end would be before all that came after it.
        self._push(candidate, turn=None if self.order == "newest" else now)

    def _enqueue_again(self, candidate: Candidate) -> None:
        self._slow_turns.leave(candidate)
        candidate.place = "queued"
        self._push(candidate)

    def _push(self, candidate: Candidate, *, turn: float | None = None) -> None:
        if candidate.is_clip:
            self._clips.push(candidate, turn=turn)
            return
        if not len(self._queue):
            self._served_at = time.monotonic()
        self._queue.push(candidate, turn=turn)
        if self._idle:
            self._work.notify()

    def _let_go(self, candidate: Candidate) -> None:
        self._forget(candidate)
        self.overflow.add(candidate)

    def _forget(self, candidate: Candidate) -> None:
        """It waits in its folder, as if nobody had heard of it."""
        del self._known[candidate.path]
        self._seen -= 1

    def _seconds_to_next_due(self) -> float | None:
        due = self._postponed.first_due
        return None if due is None else max(due - time.monotonic(), 0.0)

    def _tell_of_room(self) -> None:
        """One that waits for room is woken for many, not for each."""
        if self._held() <= self.capacity - max(self.capacity // 4, 1):
            self._wants_room = False
            self._room.notify()

    def _is_there_again(self, candidate: Candidate) -> bool:
        """Look, without the lock, whether there is a file to what was heard while it was in hand.

        What is heard from here on counts as heard of since.
        """
        with self._lock:
            candidate.again = False
        return self.exists(candidate.path)

    def _release(self, candidate: Candidate, *, again: bool) -> None:
        self._leave(candidate)
        self.turns.alone_next(candidate.path, alone=False)
        del self._known[candidate.path]
        if candidate.place == "aside":
            self._aside.remove(candidate.line)
        if again or candidate.again:  # or heard of since it was looked for
            closed, renamed = candidate.closed_again, candidate.renamed
            self.hint(candidate.folder, candidate.path, closed=closed, renamed=renamed)
        if self._wants_room:
            self._tell_of_room()
