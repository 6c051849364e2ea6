"""What is known about each camera: its rhythm, its problems, its memory over restarts."""
