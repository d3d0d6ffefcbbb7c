"""The tests, laid out as the packages are; see CONTRIBUTING.md."""
