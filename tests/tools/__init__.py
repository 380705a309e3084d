"""Programs for a developer: pages of docs, packages, the checks of a release."""
