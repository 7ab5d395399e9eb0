"""A batch whose gradient or loss was not finite, saved with the state that it met, and run again.

write(folder, "process-0", {"batch": batch})       # what is no tensor or built-in value is left out
print(replay("runs/1/nonfinite/step-12", module))  # which module it was
"""

from lwcallbacks.replaying.run import Replay, random_state, replay
from lwcallbacks.replaying.saved import refusals, write

__all__ = ["Replay", "random_state", "refusals", "replay", "write"]
