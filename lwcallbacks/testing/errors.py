"""What the kit raises. All are AssertionErrors: in a test, they are failures and not errors."""

from __future__ import annotations


class LawViolation(AssertionError):
    """A law does not hold; the message has the law, what that means for a training, and a smallest counterexample."""


class WouldHang(LawViolation):
    """Real processes would wait for each other for ever, or exchange what does not fit together."""


class HostSync(AssertionError):
    """An operation that makes the host wait for the device, where none is allowed."""
