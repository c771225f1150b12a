"""How weights change; knows no tasks."""
