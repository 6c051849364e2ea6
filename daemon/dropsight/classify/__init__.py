"""From an examined image to scores."""
