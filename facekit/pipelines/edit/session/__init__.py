"""One photo, many edits: undo, record, scripts and files of a session."""
