"""The recipes that come with the package: `recipes/`, which is linked to in a checkout and copied into a wheel."""

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "recipes"
