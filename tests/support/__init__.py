"""What several test files need: small modules and data, real processes, and reading back what was logged."""
