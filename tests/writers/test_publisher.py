"""The publisher keeps the training loop free of rendering, of writing and of their failures."""

from __future__ import annotations

import copy
import signal
import string
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwcallbacks.media import Entry, Image, Table
from lwcallbacks.readers import Logged, read_folder
from lwcallbacks.writers import FolderWriter, Publisher, Writer, writers_for
from lwcallbacks.writers.publisher import MAX_REASONS, Render

IMAGE = Image(np.zeros((2, 2), np.uint8))


class Recorder(Writer):
    """Remembers what it was given, and on which thread."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], int]] = []
        self.threads: set[int] = set()
        self.closed = 0

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        self.threads.add(threading.get_ident())
        self.seen.append((list(entries), step))

    def close(self) -> None:
        self.closed += 1


class Broken(Recorder):
    """Never manages."""

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        raise OSError("no space left")


def test_rendering_and_writing_happen_in_order_on_one_other_thread() -> None:
    """What was published first is written first."""
    writer, rendered = Recorder(), set()
    publisher = Publisher([writer])

    def render() -> dict[str, Entry | float]:
        rendered.add(threading.get_ident())
        return {"image": IMAGE}

    for step in range(50):
        publisher.publish(render, step)
    publisher.close()
    assert writer.seen == [(["image"], step) for step in range(50)]
    assert len(writer.threads) == 1
    assert rendered == writer.threads != {threading.get_ident()}


class Numbers:
    """A logger that remembers what it was given, and on which thread; or one that never manages."""

    def __init__(self, broken: bool = False) -> None:
        self.seen: list[tuple[dict[str, float], int]] = []
        self.threads: set[int] = set()
        self.broken = broken

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        if self.broken:
            raise ConnectionError("no server")
        self.threads.add(threading.get_ident())
        self.seen.append((metrics, step))


def test_floats_go_to_the_loggers_on_the_main_thread_and_to_the_folder(tmp_path: Path) -> None:
    """A scalar is delivered once, with its step; numbers of numpy count as floats; media writers get none."""
    writer, logger = Recorder(), Numbers()
    publisher = Publisher([writer, FolderWriter(tmp_path)], [logger])
    publisher.publish(lambda: {"accuracy": np.float32(0.5), "n": 3, "image": IMAGE}, 1)  # type: ignore[dict-item]
    publisher.publish(lambda: {"accuracy": float("nan")}, 2)
    publisher.flush()
    publisher.close()
    [first, (second, step)] = logger.seen
    assert first == ({"accuracy": 0.5, "n": 3.0}, 1)
    assert np.isnan(second["accuracy"])
    assert step == 2
    assert logger.threads == {threading.get_ident()}
    assert writer.seen == [(["image"], 1)]
    lines = (tmp_path / "scalars.js").read_text().splitlines()
    assert lines == ['LW.scalars(1,null,{"accuracy":0.5,"n":3.0});', 'LW.scalars(2,null,{"accuracy":"nan"});']


def test_a_logger_that_raises_warns_once_and_the_others_get_the_numbers(tmp_path: Path) -> None:
    """Every failure is counted, and the folder has all numbers."""
    good = Numbers()
    publisher = Publisher([FolderWriter(tmp_path)], [Numbers(broken=True), good])

    def three() -> None:
        for step in (3, 4, 5):
            publisher.publish(lambda: {"a": 0.5, "b": 1.0, "c": 2.0, "d": 3.0}, step)
        publisher.close()

    message = "Numbers could not log a, b, c and 1 more of step 3: ConnectionError: no server"
    with pytest.warns(UserWarning, match=message) as caught:
        three()
    assert len(caught) == 1
    assert publisher.failures == 3
    assert [step for _, step in good.seen] == [3, 4, 5]
    assert len((tmp_path / "scalars.js").read_text().splitlines()) == 3


def test_what_is_attempted_on_the_main_thread_is_counted_and_reported_later() -> None:
    """As in the background: an Exception stops nothing, a KeyboardInterrupt is passed on."""
    publisher = Publisher()
    with publisher.attempt("MyCallback", "could not look"):
        raise OSError("gone")
    with pytest.warns(UserWarning, match="MyCallback could not look: OSError: gone"):
        publisher.deliver()
    with pytest.raises(KeyboardInterrupt), publisher.attempt("MyCallback", "could not look"):
        raise KeyboardInterrupt
    assert publisher.failures == 1


def test_a_failing_writer_warns_once_and_the_others_get_their_part() -> None:
    """The warning names writer, key, step and cause; every failure is counted."""
    good = Recorder()
    publisher = Publisher([Broken(), good])

    def three() -> None:
        for step in (3, 4, 5):
            publisher.publish(lambda: {"val/image": IMAGE}, step)
        publisher.close()

    with pytest.warns(UserWarning, match="Broken could not write val/image of step 3: OSError: no space") as caught:
        three()
    assert len(caught) == 1
    assert publisher.failures == 3
    assert [step for _, step in good.seen] == [3, 4, 5]


def test_a_failing_render_warns_and_the_next_one_is_written() -> None:
    """One bad picture does not end the pictures."""
    good = Recorder()
    publisher = Publisher([good])

    def both() -> None:
        publisher.publish(lambda: {"x": 1 / 0}, 1)
        publisher.publish(lambda: {"image": IMAGE}, 2)
        publisher.close()

    with pytest.warns(UserWarning, match=r"^lwcallbacks: A callback could not be drawn at step 1: ZeroDivisionError"):
        both()
    assert good.seen == [(["image"], 2)]


def test_warnings_come_on_the_main_thread() -> None:
    """Where warnings are errors, training gets them and no thread dies silently."""
    publisher = Publisher([Broken()])
    publisher.publish(lambda: {"image": IMAGE}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="no space left"):
            publisher.flush()
    publisher.close()


def test_raise_passes_the_first_exception_to_the_main_thread() -> None:
    """The exception itself comes, with a note of what was being written, and the next call goes on."""
    publisher = Publisher([Broken()], on_error="raise")
    publisher.publish(lambda: {"val/image": IMAGE}, 7)
    with pytest.raises(OSError, match="no space left") as caught:
        publisher.flush()
    assert caught.value.__notes__ == ["lwcallbacks: Broken could not write val/image of step 7"]
    publisher.flush()
    publisher.close()


def test_publish_waits_while_too_much_is_pending() -> None:
    """The queue is bounded: with two places, the third call returns only after the first is done."""
    publisher, gate, done = Publisher([], max_pending=2), threading.Event(), threading.Event()

    def wait() -> dict[str, Entry | float]:
        gate.wait(30)
        return {}

    def third() -> None:
        publisher.publish(dict, 3)
        done.set()

    publisher.publish(wait, 1)
    publisher.publish(dict, 2)
    thread = threading.Thread(target=third)
    thread.start()
    assert not done.wait(0.2)
    gate.set()
    assert done.wait(5)
    thread.join()
    publisher.close()


def test_publish_waits_while_what_is_pending_holds_too_much() -> None:
    """The queue is bounded in bytes: what does not fit beside the others waits, what fits nowhere waits alone."""
    publisher, gates = Publisher([], max_bytes=100, patience=30), [threading.Event() for _ in range(3)]
    sizes, order = (60, 30, 500), list[int]()

    def published(i: int) -> None:
        publisher.publish(lambda: {"opened": gates[i].wait(30)}, i, size=sizes[i])
        order.append(i)

    try:
        published(0)
        published(1)
        thread = threading.Thread(target=published, args=(2,))
        thread.start()
        thread.join(0.2)
        gates[0].set()
        thread.join(0.2)
        assert order == [0, 1], "500 bytes find no place beside 60, nor beside 30"
        gates[1].set()
        thread.join(30)
        assert order == [0, 1, 2]
    finally:
        for gate in gates:
            gate.set()
        publisher.close()


def test_what_was_spent_is_told_when_it_is_written() -> None:
    """Processor time of the worker and bytes on disk, of each call by itself; also of one that fails."""

    class Disk(Recorder):
        def write(self, entries: Mapping[str, Entry], step: int) -> None:
            self.bytes_written += 100 * step

    def busy() -> dict[str, Entry | float]:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return {"image": IMAGE}

    publisher, spent = Publisher([Disk()]), list[tuple[float, int]]()
    publisher.publish(busy, 1, spent=lambda seconds, size: spent.append((seconds, size)))
    publisher.publish(lambda: {"image": IMAGE}, 2, spent=lambda seconds, size: spent.append((seconds, size)))
    publisher.publish(lambda: 1 // 0, 3, spent=lambda seconds, size: spent.append((seconds, size)))
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        publisher.close()
    assert [size for _, size in spent] == [100, 200, 0]
    assert spent[0][0] >= 0.05 > spent[1][0]


def test_a_writer_that_hangs_costs_pictures_and_not_the_training() -> None:
    """With no place in the queue for as long as `patience`, a step is skipped and counted; later ones are written."""
    writer, gate, cleaned = Recorder(), threading.Event(), []
    publisher = Publisher([writer], max_pending=1, patience=0.05)

    def wait() -> dict[str, Entry | float]:
        gate.wait(30)
        return {"image": IMAGE}

    for step in (0, 1):
        publisher.publish(wait, step, lambda step=step: cleaned.append(step))  # type: ignore[misc]
    with pytest.warns(UserWarning, match=r"A callback had to skip step 1: TimeoutError: nothing was written for 0"):
        publisher.publish(wait, 2)
    gate.set()
    publisher.flush()
    publisher.publish(wait, 3)
    publisher.close()
    assert [step for _, step in writer.seen] == [0, 3]
    assert sorted(cleaned) == [0, 1], "what was held for a step is released, written or not"
    assert publisher.failures == 2


def threads() -> set[threading.Thread]:
    """The background threads of all publishers, those that earlier tests have left included."""
    return {thread for thread in threading.enumerate() if thread.name == "lwcallbacks"}


def interrupt_soon() -> None:
    threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()  # type: ignore[arg-type]


def test_an_interrupted_flush_loses_nothing() -> None:
    """Ctrl-C while waiting in mid-run: the queue is written all the same."""
    writer, gate = Recorder(), threading.Event()
    publisher = Publisher([writer])

    def wait() -> dict[str, Entry | float]:
        gate.wait(30)
        return {"image": IMAGE}

    for step in range(3):
        publisher.publish(wait, step)
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        publisher.flush()
    gate.set()
    publisher.close()
    assert [step for _, step in writer.seen] == [0, 1, 2]
    assert writer.closed == 1


def test_an_interrupted_close_drops_the_queue_and_says_how_much() -> None:
    """The write under way is finished by itself, what is behind it is not begun, and everything is released."""
    writer, begun, gate, cleaned = Recorder(), threading.Event(), threading.Event(), []
    publisher, others = Publisher([writer]), threads()

    def wait() -> dict[str, Entry | float]:
        begun.set()
        gate.wait(30)
        return {"image": IMAGE}

    for step in range(3):
        publisher.publish(wait, step, lambda step=step: cleaned.append(step))  # type: ignore[misc]
    begun.wait()
    [thread] = threads() - others
    interrupt_soon()
    with (
        pytest.warns(UserWarning, match=r"On Ctrl-C the queue is dropped: 2 queued drawings were not written\."),
        pytest.raises(KeyboardInterrupt),
    ):
        publisher.close()
    gate.set()
    thread.join(10)
    publisher.close()
    assert [step for _, step in writer.seen] == [0]
    assert cleaned == [1, 2, 0]
    assert publisher.failures == 2


def test_a_writer_that_never_returns_does_not_keep_the_interpreter() -> None:
    """After an interrupted close the program ends, though the thread still hangs."""
    script = """
import os, signal, threading, time
from lwcallbacks.writers import Publisher
publisher = Publisher()
begun = threading.Event()
publisher.publish(lambda: (begun.set(), time.sleep(1000)), 1)
begun.wait()
try:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    publisher.close()
except KeyboardInterrupt:
    print("interrupted")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "interrupted\n"


def test_a_render_that_asks_to_exit_does_not_end_the_thread() -> None:
    """A SystemExit on the worker is a failure as any other: what comes after it is written."""
    writer = Recorder()
    publisher = Publisher([writer])

    def both() -> None:
        publisher.publish(lambda: sys.exit(3), 1)
        publisher.publish(lambda: {"image": IMAGE}, 2)
        publisher.close()

    with pytest.warns(UserWarning, match=r"^lwcallbacks: A callback could not be drawn at step 1: SystemExit"):
        both()
    assert writer.seen == [(["image"], 2)]


def test_close_is_idempotent_and_publishing_again_starts_anew() -> None:
    """A second fit uses the same publisher; no thread is left behind."""
    writer, others = Recorder(), threads()
    publisher = Publisher([writer])
    publisher.close()
    for fit in (1, 2):
        publisher.publish(lambda: {"image": IMAGE}, fit)
        publisher.close()
        publisher.close()
        assert writer.closed == fit
        assert not threads() - others
    assert [step for _, step in writer.seen] == [1, 2]


def test_a_deep_copy_is_the_publisher_itself() -> None:
    """Callbacks are copied with the model, locks and threads cannot be."""
    publisher = Publisher([Recorder()])
    assert copy.deepcopy({"a": publisher})["a"] is publisher


def test_what_is_queued_at_exit_is_still_written(tmp_path: Path) -> None:
    """A script that forgets to close ends by itself and with all its files, even what an atexit handler publishes."""
    script = f"""
import atexit, time, warnings, numpy as np
from lwcallbacks.media import Image
from lwcallbacks.writers import FolderWriter, Publisher
warnings.simplefilter("error")  # from here on: what old libraries say of each other while they are imported is not ours
publisher = Publisher([FolderWriter({str(tmp_path)!r})])
def render():
    time.sleep(0.05)
    return {{"x": Image(np.zeros((2, 2), np.uint8))}}
for step in range(4):
    publisher.publish(render, step)
atexit.register(lambda: publisher.publish(render, 4))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert sorted(path.name for path in tmp_path.glob("x/*.png")) == [f"{step:08d}.png" for step in range(5)]


@pytest.mark.parametrize(("options", "message"), [({"on_error": "ignore"}, "'ignore'"), ({"max_pending": 0}, "is 0")])
def test_a_wrong_argument_is_an_error(options: dict[str, object], message: str) -> None:
    """The error names what was found."""
    with pytest.raises(ValueError, match=message):
        Publisher([], **options)  # type: ignore[arg-type]


def test_a_logger_is_known_by_the_name_of_a_base_and_others_get_no_writer(tmp_path: Path) -> None:
    """Subclasses of either Lightning's logger count; a CSVLogger without a folder has no place for media."""
    WandbLogger = type("WandbLogger", (), {"experiment": "run"})
    TensorBoardLogger = type("TensorBoardLogger", (), {"experiment": "summary"})
    CSVLogger = type("CSVLogger", (), {})
    mine = type("Mine", (WandbLogger,), {})
    writers = writers_for([CSVLogger(), mine(), TensorBoardLogger()], tmp_path)
    assert [type(writer).__name__ for writer in writers] == ["FolderWriter", "WandbWriter", "TensorBoardWriter"]
    assert writers_for([CSVLogger()]) == []


def test_dropping_is_idempotent_and_leaves_nothing_for_the_interpreters_end() -> None:
    """An interrupt that comes before `close` has begun to wait: nobody waits for a picture that is never done."""
    begun, never = threading.Event(), threading.Event()
    publisher = Publisher()
    publisher.publish(lambda: (begun.set(), never.wait(), {})[2], 0)
    publisher.publish(dict, 1)
    assert begun.wait(10)
    with pytest.warns(UserWarning, match=r"On Ctrl-C the queue is dropped: 1 queued drawing was not written\."):
        publisher.drop()
    publisher.drop()  # a second warning would be an error
    publisher.close()
    assert publisher.failures == 1
    never.set()


def test_two_owners_that_fail_are_both_named_and_each_reason_is_said_once() -> None:
    """Equal types of different owners or reasons are told apart; the numbers in a message are not."""
    publisher = Publisher()

    def fails(text: str) -> Render:
        def render() -> dict[str, Entry | float]:
            raise ValueError(text)

        return render

    def publish() -> None:
        for step in (1, 2):
            publisher.publish(fails(f"images are ({step}, 4)"), step, owner="ImageMosaic('val/mosaic')")
            publisher.publish(fails("no names"), step, owner="PredictionGrid('val/predictions')")
            publisher.publish(fails("no images"), step, owner="PredictionGrid('val/predictions')")
        publisher.close()

    with pytest.warns(UserWarning, match="Training goes on") as caught:
        publish()
    goes_on = ". Training goes on; further failures of this kind are only counted."
    assert [str(warning.message) for warning in caught] == [
        f"lwcallbacks: ImageMosaic('val/mosaic') could not be drawn at step 1: ValueError: images are (1, 4){goes_on}",
        f"lwcallbacks: PredictionGrid('val/predictions') could not be drawn at step 1: ValueError: no names{goes_on}",
        f"lwcallbacks: PredictionGrid('val/predictions') could not be drawn at step 1: ValueError: no images{goes_on}",
    ]
    assert publisher.failures == 6


def test_reasons_that_never_repeat_are_not_said_for_ever() -> None:
    """Every message is another one: the first few are enough."""
    publisher = Publisher()

    def publish() -> None:
        for letter in string.ascii_letters:
            with publisher.attempt("Mine", "could not look"):
                raise ValueError(letter)
        publisher.close()

    with pytest.warns(UserWarning, match="Training goes on") as caught:
        publish()
    assert len(caught) == MAX_REASONS
    assert publisher.failures == len(string.ascii_letters)


def test_an_entry_that_fails_costs_itself(tmp_path: Path) -> None:
    """One is no media, one cannot be drawn: the third is written, and so are the numbers."""
    table = Table(("a",), [[1]])
    empty = Image(np.zeros((0, 2), np.uint8))  # which no PNG can hold
    publisher = Publisher([FolderWriter(tmp_path)])
    entries: dict[str, Any] = {"no": "text", "empty": empty, "table": table, "n": 0.5}

    def publish() -> None:
        publisher.publish(lambda: entries, 1, owner="Mine('val')")
        publisher.close()

    with pytest.warns(UserWarning, match="Training goes on") as caught:
        publish()
    first, second = (str(warning.message) for warning in caught)
    found = "TypeError: 'no' is a str, expected Image"
    assert first.startswith(f"lwcallbacks: Mine('val') could not be drawn at step 1: {found}")
    assert second.startswith(f"lwcallbacks: The folder {tmp_path} could not write empty of step 1: ")
    folder = read_folder(tmp_path)
    assert (folder.steps(), folder.scalars) == ({"table": [1]}, (Logged(1, None, {"n": 0.5}),))
    assert publisher.failures == 2


def test_numbers_that_cannot_be_written_cost_no_media() -> None:
    """They go to a writer apart."""

    class Wordless(Recorder):
        def write_scalars(self, scalars: Mapping[str, float], step: int) -> None:
            raise OSError("no space left")

    writer = Wordless()
    publisher = Publisher([writer])
    publisher.publish(lambda: {"image": IMAGE, "n": 0.5}, 1)
    with pytest.warns(UserWarning, match="Wordless could not write n of step 1: OSError"):
        publisher.close()
    assert writer.seen == [(["image"], 1)]


def test_what_is_said_is_a_warning_on_the_main_thread_once() -> None:
    """Also when strict: it is no failure. Other numbers make it no other text."""
    publisher = Publisher(on_error="raise")

    def render(step: int) -> dict[str, Entry | float]:
        publisher.say("Mine('val')", f"images are float32 from {-step} to {step}.5, expected 0 to 1")
        return {}

    def publish() -> None:
        for step in (1, 2):
            publisher.publish(lambda step=step: render(step), step)  # type: ignore[misc]
        publisher.close()

    with pytest.warns(UserWarning, match="Mine") as caught:
        publish()
    told = "lwcallbacks: Mine('val'): images are float32 from -1 to 1.5, expected 0 to 1"
    assert [str(w.message) for w in caught] == [told]
    assert publisher.failures == 0


FORK = """
import os, sys, threading, time
from lwcallbacks.writers import Publisher, Writer

class Slow(Writer):
    def __init__(self): self.pids, self.closed = [], 0
    def write(self, entries, step): pass
    def write_scalars(self, scalars, step): self.pids.append(os.getpid())
    def close(self): self.closed += 1

writer, begun, gate = Slow(), threading.Event(), threading.Event()
publisher = Publisher([writer], max_pending=2)
publisher.publish(lambda: (begun.set(), gate.wait(30), {"n": 1.0})[2], 1)
publisher.publish(lambda: {"n": 1.0}, 2)
begun.wait()
with publisher._lock:  # as held by the thread, which the child has not
    child = os.fork()
if not child:
    if "publishes" in sys.argv:
        publisher.publish(lambda: {"n": 1.0}, 3)
        publisher.close()
        assert (writer.pids, writer.closed) == ([os.getpid()], 1), writer.pids
    sys.exit(7)  # by the handlers that wait for the queue
end = time.monotonic() + 30
while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
    time.sleep(0.01)
if not ended[0]:
    os.kill(child, 9)
gate.set()
publisher.close()
print(os.waitstatus_to_exitcode(ended[1]), writer.pids == [os.getpid()] * 2, writer.closed)
"""


@pytest.mark.parametrize("child", ["leaves", "publishes"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_ends_and_the_parents_queue_is_the_parents(child: str) -> None:
    """The child has no thread to wait for: it ends, or begins with a queue of its own; the parent writes all."""
    done = subprocess.run([sys.executable, "-c", FORK, child], capture_output=True, text=True, timeout=90)
    assert done.stdout == "7 True 1\n", done.stderr
