"""The kinds of measurement, one file each: its fields, its columns, and how it is measured."""
