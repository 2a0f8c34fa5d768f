"""Reports: what an analysis says, as a page, as a table in the terminal. They compute nothing themselves."""
