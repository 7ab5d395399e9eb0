"""The state of a run: reductions by name, as metrics, over processes."""
