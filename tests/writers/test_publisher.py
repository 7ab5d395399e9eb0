"""The publisher keeps the training loop free of rendering, of writing and of their failures."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from lwcallbacks.media import Entry, Image
from lwcallbacks.writers import FolderWriter, Publisher, Writer, writers_for

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


def test_floats_go_to_the_mailbox_and_not_to_the_writers() -> None:
    """A scalar is taken once, with its step; numbers of numpy count as floats."""
    writer = Recorder()
    publisher = Publisher([writer])
    publisher.publish(lambda: {"accuracy": np.float32(0.5), "n": 3, "image": IMAGE}, 1)  # type: ignore[dict-item]
    publisher.publish(lambda: {"accuracy": 0.25}, 2)
    publisher.flush()
    assert publisher.take_scalars() == [({"accuracy": 0.5, "n": 3.0}, 1), ({"accuracy": 0.25}, 2)]
    assert publisher.take_scalars() == []
    assert writer.seen == [(["image"], 1)]
    publisher.close()


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

    with pytest.warns(UserWarning, match="render failed for step 1: ZeroDivisionError"):
        both()
    assert good.seen == [(["image"], 2)]


def test_warnings_come_on_the_main_thread() -> None:
    """Where warnings are errors, training hears of it and no thread dies silently."""
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
        gate.wait()
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


def test_an_interrupted_flush_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a KeyboardInterrupt while waiting, the queue is written all the same."""
    writer, gate = Recorder(), threading.Event()
    publisher = Publisher([writer])

    def wait() -> dict[str, Entry | float]:
        gate.wait()
        return {"image": IMAGE}

    for step in range(3):
        publisher.publish(wait, step)
    last = publisher._last
    assert last is not None
    with monkeypatch.context() as patch:
        patch.setattr(type(last), "result", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        for wait_for_all in (publisher.flush, publisher.close):
            with pytest.raises(KeyboardInterrupt):
                wait_for_all()
    gate.set()
    publisher.close()
    assert [step for _, step in writer.seen] == [0, 1, 2]
    assert writer.closed == 1


def test_close_is_idempotent_and_publishing_again_starts_anew() -> None:
    """A second fit uses the same publisher; no thread is left behind."""
    writer = Recorder()
    publisher = Publisher([writer])
    publisher.close()
    for fit in (1, 2):
        publisher.publish(lambda: {"image": IMAGE}, fit)
        publisher.close()
        publisher.close()
        assert writer.closed == fit
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("lwcallbacks")]
    assert [step for _, step in writer.seen] == [1, 2]


def test_a_deep_copy_is_the_publisher_itself() -> None:
    """Callbacks are copied with the model, locks and threads cannot be."""
    publisher = Publisher([Recorder()])
    assert copy.deepcopy({"a": publisher})["a"] is publisher


def test_what_is_queued_at_exit_is_still_written(tmp_path: Path) -> None:
    """A script that forgets to close ends by itself and with all its files, even what an atexit handler publishes."""
    script = f"""
import atexit, time, numpy as np
from lwcallbacks.media import Image
from lwcallbacks.writers import FolderWriter, Publisher
publisher = Publisher([FolderWriter({str(tmp_path)!r})])
def render():
    time.sleep(0.05)
    return {{"x": Image(np.zeros((2, 2), np.uint8))}}
for step in range(4):
    publisher.publish(render, step)
atexit.register(lambda: (publisher.publish(render, 4), publisher.close()))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)
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
    assert [type(writer).__name__ for writer in writers] == ["WandbWriter", "TensorBoardWriter", "FolderWriter"]
    assert writers_for([CSVLogger()]) == []
    assert isinstance(writers[-1], FolderWriter)
