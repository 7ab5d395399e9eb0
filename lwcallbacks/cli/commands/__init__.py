"""The commands: one file each, as `lwcallbacks.cli` says."""
