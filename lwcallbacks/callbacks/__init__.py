"""The callbacks: one thin file each, on a common base."""
