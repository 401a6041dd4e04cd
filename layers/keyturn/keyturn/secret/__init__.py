"""The secret: its key and document, staging labels, marks, trigger and rotation window."""
